//! What can go wrong in a simulation, by name.

use std::collections::BTreeSet;

use crate::draw::Draw;

/// A kind of fault. A seed draws a subset of them: runs in which everything fails at once find less.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Fault {
    /// Messages are lost.
    Loss,
    /// Messages are late.
    Delay,
    /// Messages come twice.
    Duplication,
    /// Messages overtake each other.
    Reorder,
    /// Messages come again much later.
    Replay,
    /// Nodes are cut from each other, in parts of any size, one alone, or one way only.
    Partition,
    /// A way between two nodes holds messages back, and lets them through in any order.
    Clog,
    /// A clock jumps.
    ClockStep,
    /// A clock runs fast or slow.
    ClockDrift,
    /// The power goes at some write or sync: what was not synced is torn, reordered, dropped.
    PowerCut,
    /// The process is killed: the system keeps what was written.
    Kill,
    /// It is killed again while it recovers.
    KillInRecovery,
    /// A sync fails.
    FailedSync,
    /// The disk is full for a while.
    Full,
    /// Syncs take long.
    Stall,
    /// The process stands still for a while.
    Pause,
    /// All nodes go down at once, and come up in any order.
    AllDown,
    /// A disk is lost with all that was on it.
    LostDisk,
    /// A validator says nothing.
    Silence,
    /// A validator says one thing to some, and another to others.
    Equivocation,
    /// A validator keeps blocks and shares to itself.
    Withholding,
    /// A validator's shares are none.
    GarbageShares,
    /// A validator tells of blocks that were never decided, and of heights that it does not have.
    FalseHistory,
    /// A validator's directory is copied, and a second process runs with the copy: two lives with one key.
    TwoLives,
    /// A disk says that a write is done which is lost, or went elsewhere.
    BadWrites,
}

/// All kinds, with their names.
const ALL: [(Fault, &str); 25] = [
    (Fault::Loss, "loss"),
    (Fault::Delay, "delay"),
    (Fault::Duplication, "duplication"),
    (Fault::Reorder, "reorder"),
    (Fault::Replay, "replay"),
    (Fault::Partition, "partition"),
    (Fault::Clog, "clog"),
    (Fault::ClockStep, "clock-step"),
    (Fault::ClockDrift, "clock-drift"),
    (Fault::PowerCut, "power-cut"),
    (Fault::Kill, "kill"),
    (Fault::KillInRecovery, "kill-in-recovery"),
    (Fault::FailedSync, "failed-sync"),
    (Fault::Full, "full-disk"),
    (Fault::Stall, "stall"),
    (Fault::Pause, "pause"),
    (Fault::AllDown, "all-down"),
    (Fault::LostDisk, "lost-disk"),
    (Fault::Silence, "silence"),
    (Fault::Equivocation, "equivocation"),
    (Fault::Withholding, "withholding"),
    (Fault::GarbageShares, "garbage-shares"),
    (Fault::FalseHistory, "false-history"),
    (Fault::TwoLives, "two-lives"),
    (Fault::BadWrites, "bad-writes"),
];

impl Fault {
    /// Whether a validator that has it is not one that others may rely on: at most as many have one as may be faulty.
    pub fn is_of_the_weak(self) -> bool {
        self.is_a_lie() || matches!(self, Self::LostDisk | Self::TwoLives | Self::BadWrites)
    }

    /// Whether it is told by a validator's own key.
    pub fn is_a_lie(self) -> bool {
        matches!(
            self,
            Self::Silence | Self::Equivocation | Self::Withholding | Self::GarbageShares | Self::FalseHistory
        )
    }

    /// Whether what a validator says that has it need not be its honest word.
    pub fn spoils_words(self) -> bool {
        self.is_of_the_weak() && self != Self::LostDisk
    }

    /// All kinds.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL.into_iter().map(|(fault, _)| fault)
    }

    /// Its name in output and options.
    pub fn name(self) -> &'static str {
        ALL[self as usize].1
    }

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|(_, other)| *other == name).map(|(fault, _)| fault)
    }
}

/// Which faults a run may have.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Faults {
    /// None.
    None,
    /// Those that the seed draws: each with an even chance, those of faulty validators with a small one.
    Some,
    /// Every kind.
    All,
    /// These.
    List(BTreeSet<Fault>),
}

impl Faults {
    /// The kinds of one seed.
    pub fn of_seed(&self, seed: u64) -> BTreeSet<Fault> {
        let mut draw = Draw::new(seed, "faults");
        match self {
            Self::None => BTreeSet::new(),
            Self::Some => {
                Fault::all().filter(|fault| draw.below(if fault.is_of_the_weak() { 6 } else { 2 }) == 0).collect()
            }
            Self::All => Fault::all().collect(),
            Self::List(faults) => faults.clone(),
        }
    }
}

impl std::str::FromStr for Faults {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "some" => Ok(Self::Some),
            "all" => Ok(Self::All),
            list => {
                let kind = |name: &str| {
                    let names: Vec<&str> = ALL.iter().map(|(_, name)| *name).collect();
                    Fault::named(name.trim()).ok_or_else(|| {
                        format!("`{name}` is no fault; there are none, some, all, or a list of {}", names.join(", "))
                    })
                };
                list.split(',').map(kind).collect::<Result<_, _>>().map(Self::List)
            }
        }
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Some => f.write_str("some"),
            Self::All => f.write_str("all"),
            Self::List(faults) if faults.is_empty() => f.write_str("none"),
            Self::List(faults) => {
                let names: Vec<&str> = faults.iter().map(|fault| fault.name()).collect();
                f.write_str(&names.join(","))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_own_name_and_reads_back() {
        for (place, (fault, name)) in ALL.into_iter().enumerate() {
            assert_eq!((fault as usize, fault.name(), Fault::named(name)), (place, name, Some(fault)));
        }
        let all = Faults::List(Fault::all().collect());
        assert_eq!(all.to_string().parse(), Ok(all));
        assert!("loss,fire".parse::<Faults>().expect_err("no fault").contains("`fire` is no fault"));
    }

    #[test]
    fn seeds_draw_subsets() {
        let sizes: BTreeSet<usize> = (0..64).map(|seed| Faults::Some.of_seed(seed).len()).collect();
        assert!(sizes.len() > 5 && !sizes.contains(&ALL.len()), "{sizes:?}");
    }
}
