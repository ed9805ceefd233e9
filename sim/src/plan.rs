//! What a seed is to be run with.

use std::collections::BTreeSet;

use crate::fault::{Fault, Faults};

/// One run, whole: the same plan is the same run on every machine.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Validators: one, until the simulated network carries messages between nodes.
    pub nodes: u32,
    /// Heights that the chain is to reach.
    pub heights: u64,
    /// What may go wrong.
    pub faults: Faults,
    /// Players.
    pub players: u32,
    /// A bug that is planted, to see that it is caught.
    pub plant: Option<Plant>,
}

impl Plan {
    /// The run of a seed where nothing else is said.
    pub fn of(seed: u64) -> Self {
        Self { seed, nodes: 1, heights: 300, faults: Faults::Some, players: 6, plant: None }
    }

    /// The faults that this run has.
    pub fn drawn(&self) -> BTreeSet<Fault> {
        self.faults.of_seed(self.seed)
    }

    /// The command that repeats it.
    pub fn repeat(&self) -> String {
        let Self { seed, nodes, heights, faults, players, plant } = self;
        let plain = Self::of(*seed);
        let mut command = format!("bitcraps sim --seed {seed} --nodes {nodes} --heights {heights} --faults {faults}");
        if *players != plain.players {
            command.push_str(&format!(" --players {players}"));
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
    /// Nothing of the consensus log is written.
    LogSkipped,
    /// What waits for the disk is let out before it is there.
    SendBeforeSync,
}

impl Plant {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::LogSkipped, Self::SendBeforeSync];

    /// Its name in output and options.
    pub fn name(self) -> &'static str {
        match self {
            Self::LogSkipped => "log-skipped",
            Self::SendBeforeSync => "send-before-sync",
        }
    }
}

impl std::str::FromStr for Plant {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|plant| plant.name() == name);
        found.ok_or_else(|| format!("there is no bug `{name}` to plant; there are {}", names()))
    }
}
