//! The table of reactions: what a node does by itself while a resource is scarce, and takes back once it is not.

use std::sync::Arc;
use std::time::Duration;

use engine::limits::TRIMS_WAITING_MAX;
use net::server::Throttle;
use node::throttles::Throttles;

use super::level::{Level, Resource};

/// What reactions act on.
pub struct Handles {
    /// The node's work beside the tick.
    pub throttles: Throttles,
    /// Its network, if it has one.
    pub network: Option<Arc<Throttle>>,
    /// The tick's pool, whose workers hold memory of their own.
    pub pool: Option<Arc<rayon::ThreadPool>>,
    /// Lets go of what the allocator keeps for the thread that calls it.
    pub trim: fn(),
    /// Held by each request to the pool that not all of its workers have done.
    pub asked: Arc<()>,
}

impl Handles {
    /// Has every thread that holds much give back what it holds in spare.
    fn trim(&self) {
        let trim = self.trim;
        self.throttles.ask_trim(trim);
        self.network.iter().for_each(|network| network.trim.ask(trim));
        if let Some(pool) = &self.pool
            && Arc::strong_count(&self.asked) <= TRIMS_WAITING_MAX
        {
            let asked = Arc::clone(&self.asked);
            pool.spawn_broadcast(move |_| {
                let _held = &asked;
                trim();
            });
        }
        trim();
    }
}

/// How scarce everything is.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Levels {
    /// How scarce each resource is, by its number.
    pub resources: [Level; Resource::ALL.len()],
    /// How scarce the disk's room is, by itself.
    pub room: Level,
}

impl Levels {
    /// How scarce one is.
    pub fn of(&self, resource: Resource) -> Level {
        self.resources[resource as usize]
    }

    fn is_high(&self, resource: Resource) -> bool {
        self.of(resource) == Level::High
    }
}

/// One reaction.
pub struct Reaction {
    /// Its name.
    pub name: &'static str,
    /// What it follows from.
    pub because: &'static [Resource],
    /// What is so while it is on.
    pub begins: &'static str,
    /// What is so again once it is over.
    pub ends: &'static str,
    /// How strong it is to be: low is not at all.
    pub strength: fn(&Levels) -> Level,
    /// Does it, or at low takes it back.
    pub act: fn(&Handles, Level),
    /// After how long it is done again while it is on.
    pub again: Option<Duration>,
}

fn high_if(is_high: bool) -> Level {
    if is_high { Level::High } else { Level::Low }
}

/// One of three values by a level.
fn by<T>(level: Level, [low, medium, high]: [T; 3]) -> T {
    match level {
        Level::Low => low,
        Level::Medium => medium,
        Level::High => high,
    }
}

/// Whether snapshots wait is an alert's business too.
pub const PAUSE_SNAPSHOTS: &str = "pause_snapshots";

/// All reactions.
pub const REACTIONS: [Reaction; 7] = [
    Reaction {
        name: "trim_memory",
        because: &[Resource::Memory],
        begins: "memory that is not needed now is given back, every 30 s",
        ends: "memory is kept for what comes next",
        strength: |levels| levels.of(Resource::Memory),
        act: |handles, level| {
            if level > Level::Low {
                handles.trim();
            }
        },
        again: Some(Duration::from_secs(30)),
    },
    Reaction {
        name: "refuse_newcomers",
        because: &[Resource::Memory, Resource::Network],
        begins: "nobody new is let in; those who are in play on",
        ends: "newcomers are let in",
        strength: |levels| high_if(levels.is_high(Resource::Memory) || levels.is_high(Resource::Network)),
        act: |handles, level| handles.network.iter().for_each(|network| network.close(level > Level::Low)),
        again: None,
    },
    Reaction {
        name: PAUSE_SNAPSHOTS,
        because: &[Resource::Memory, Resource::Disk],
        begins: "no snapshot begins",
        ends: "snapshots begin",
        strength: |levels| high_if(levels.is_high(Resource::Memory) || levels.is_high(Resource::Disk)),
        act: |handles, level| handles.throttles.pause_snapshots(level > Level::Low),
        again: None,
    },
    Reaction {
        name: "slow_background",
        because: &[Resource::Cpu],
        begins: "segments are compressed and snapshots copied more slowly",
        ends: "segments are compressed and snapshots copied as usual",
        // A disk that is short of room needs its segments compressed, whatever that costs.
        strength: |levels| if levels.room > Level::Low { Level::Low } else { levels.of(Resource::Cpu) },
        act: |handles, level| {
            handles.throttles.slow_compression(by(level, [1, 10, 50]));
            handles.throttles.slow_snapshots(by(level, [1, 4, 16]));
        },
        again: None,
    },
    Reaction {
        name: "larger_batches",
        because: &[Resource::Cpu],
        begins: "the network takes more packets together, and waits longer for them",
        ends: "the network waits for no more packets than usual",
        strength: |levels| levels.of(Resource::Cpu),
        act: |handles, level| {
            let longer = Duration::from_millis(by(level, [0, 1, 3]));
            handles.network.iter().for_each(|network| network.wait_longer(longer));
        },
        again: None,
    },
    Reaction {
        name: "thin_updates",
        because: &[Resource::Network],
        begins: "those who watch a table are told how it is once a second, in place of each change",
        ends: "those who watch a table are told each change",
        strength: |levels| levels.of(Resource::Network),
        act: |handles, level| handles.network.iter().for_each(|network| network.thin_updates(level > Level::Low)),
        again: None,
    },
    Reaction {
        name: "retire_early",
        because: &[Resource::Disk],
        begins: "old blocks are given up beyond half of storage.bytes_max",
        ends: "old blocks are given up beyond storage.bytes_max",
        strength: |levels| levels.room,
        act: |handles, level| handles.throttles.retire_early(level > Level::Low),
        again: None,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::signals::SIGNALS;

    #[test]
    fn the_guide_has_a_row_for_each_signal_and_each_reaction_and_no_other() {
        let guide = include_str!("../../../docs/operating.md");
        let section = guide.split("### When something is scarce").nth(1).and_then(|rest| rest.split("###").next());
        let section = section.expect("a section");
        let rows = |column: usize, from: &str| -> Vec<&str> {
            let table = section.split(from).nth(1).expect("a table").split("\n\n").next().expect("its rows");
            table
                .lines()
                .filter_map(|line| line.split('|').nth(column)?.trim().strip_prefix('`')?.strip_suffix('`'))
                .collect()
        };
        assert_eq!(rows(2, "| level | signal |"), SIGNALS.each_ref().map(|signal| signal.name));
        assert_eq!(rows(1, "| reaction | while |"), REACTIONS.each_ref().map(|reaction| reaction.name));
    }

    #[test]
    fn a_reaction_is_on_only_while_one_of_its_resources_is_scarce() {
        let all = [Level::Low, Level::Medium, Level::High];
        for reaction in &REACTIONS {
            for resource in Resource::ALL {
                let is_on = all.map(|level| {
                    let mut levels = Levels::default();
                    levels.resources[resource as usize] = level;
                    if resource == Resource::Disk {
                        levels.room = level;
                    }
                    (reaction.strength)(&levels)
                });
                assert!(is_on.windows(2).all(|pair| pair[0] <= pair[1]), "{}: worse is no weaker", reaction.name);
                let expected = reaction.because.contains(&resource);
                assert_eq!(is_on[2] > Level::Low, expected, "{} by {}", reaction.name, resource.name());
                assert_eq!(is_on[0], Level::Low);
            }
        }
    }
}
