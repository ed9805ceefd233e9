//! What came of a run.

use std::collections::BTreeMap;

use engine::{Hash, Height};

use crate::network::Traffic;
use crate::properties::Broken;

/// What came of a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The property that it broke, if it broke one.
    pub broken: Option<Broken>,
    /// The highest settled height.
    pub height: Height,
    /// Its root chain, which all nodes share.
    pub root_chain: Hash,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// Faults that befell somebody, by kind; of those that befall a disk at one of its next writes, how often they were planned.
    pub faults: BTreeMap<&'static str, u64>,
    /// Rare states that were reached, by name.
    pub marks: BTreeMap<&'static str, u64>,
    /// Last words that players heard, by what they were.
    pub heard: BTreeMap<&'static str, u64>,
    /// Messages between nodes and players.
    pub traffic: Traffic,
    /// Events that were handled.
    pub events: u64,
    /// Receipts that were compared with the blocks they name.
    pub receipts: u64,
    /// Intents that were decided once more, although their number was used up.
    pub twice: u64,
    /// Sessions that passed `replay`.
    pub replayed: u32,
}
