//! What a seed is to be run with.

use std::collections::BTreeSet;

use order::memory::Signatures;

use crate::fault::{Fault, Faults};

/// One run, whole: the same plan is the same run on every machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Validators.
    pub nodes: u32,
    /// Heights that the chain is to reach.
    pub heights: u64,
    /// What may go wrong.
    pub faults: Faults,
    /// Players.
    pub players: u32,
    /// What signatures are.
    pub signatures: Signatures,
    /// A bug that is planted, to see that it is caught.
    pub plant: Option<Plant>,
}

impl Plan {
    /// The run of a seed where nothing else is said.
    pub fn of(seed: u64) -> Self {
        let (heights, faults, players, signatures) = (300, Faults::Some, 6, Signatures::Real);
        Self { seed, nodes: 4, heights, faults, players, signatures, plant: None }
    }

    /// The faults that this run has.
    pub fn drawn(&self) -> BTreeSet<Fault> {
        let mut drawn = self.faults.of_seed(self.seed);
        if self.faults == Faults::Some {
            drawn.extend(self.plant.into_iter().flat_map(Plant::needs));
        }
        drawn
    }

    /// The command that repeats it.
    pub fn repeat(&self) -> String {
        let Self { seed, nodes, heights, faults, players, signatures, plant } = self;
        let plain = Self::of(*seed);
        let mut command = format!("bitcraps sim --seed {seed} --nodes {nodes} --heights {heights} --faults {faults}");
        if *players != plain.players {
            command.push_str(&format!(" --players {players}"));
        }
        match signatures {
            Signatures::Real => {}
            Signatures::Unshared => command.push_str(" --signatures unshared"),
            Signatures::Simulated => command.push_str(" --signatures simulated"),
        }
        if let Some(plant) = plant {
            command.push_str(&format!(" --plant {}", plant.name()));
        }
        command
    }
}

/// A bug that is planted to see that a property catches it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Plant {
    /// One too few must agree.
    TooFewAgree,
    /// A share of the beacon leaves with the precommit.
    ShareOnPrecommit,
    /// Nothing of the consensus log is written.
    LogSkipped,
    /// The consensus log has what its validator said, and nothing of what it heard.
    OwnLogOnly,
    /// What waits for the disk is let out before it is there.
    SendBeforeSync,
    /// The signatures under what others say was decided are not looked at.
    CertificateUnchecked,
    /// A clock may speak against a block that others have voted for.
    ClockOnReproposals,
    /// The clock of one node ends an intent.
    ExpiredByClock,
    /// A receipt goes to whoever waits for the number.
    ReceiptByNumber,
    /// Where nothing more is signed is not written, so that it is not known after a restart.
    FenceIgnored,
}

/// All plants, with their names and the faults without which nobody could notice.
const PLANTS: [(Plant, &str, &[Fault]); 10] = [
    (Plant::TooFewAgree, "quorum-2f", &[Fault::Partition]),
    (Plant::ShareOnPrecommit, "share-on-precommit", &[]),
    (Plant::LogSkipped, "log-skipped", &[Fault::Kill]),
    (Plant::OwnLogOnly, "own-log-only", &[Fault::Kill, Fault::AllDown]),
    (Plant::SendBeforeSync, "send-before-sync", &[Fault::PowerCut]),
    (Plant::CertificateUnchecked, "certificate-unchecked", &[Fault::FalseHistory, Fault::Kill, Fault::Pause]),
    (Plant::ClockOnReproposals, "clock-on-reproposals", &[Fault::ClockStep, Fault::Loss, Fault::Partition]),
    (Plant::ExpiredByClock, "expired-by-clock", &[Fault::ClockStep, Fault::Partition]),
    (Plant::ReceiptByNumber, "receipt-by-number", &[]),
    (Plant::FenceIgnored, "fence-ignored", &[Fault::Kill, Fault::Partition, Fault::Pause]),
];

impl Plant {
    /// All plants.
    pub fn all() -> impl Iterator<Item = Self> {
        PLANTS.into_iter().map(|(plant, ..)| plant)
    }

    /// Its name in output and options.
    pub fn name(self) -> &'static str {
        PLANTS[self as usize].1
    }

    /// Faults that a run has in any case, where this is planted.
    fn needs(self) -> &'static [Fault] {
        PLANTS[self as usize].2
    }
}

impl std::str::FromStr for Plant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || PLANTS.map(|(_, name, _)| name).join(", ");
        let found = Self::all().find(|plant| plant.name() == name);
        found.ok_or_else(|| format!("there is no bug `{name}` to plant; there are {}", names()))
    }
}
