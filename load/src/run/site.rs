//! Where a run takes place.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use crate::rogue::RogueKind;

/// Where a run takes place: at a node that runs already, or at nodes that it starts.
pub struct RunSite {
    /// A node that runs already, or none: then one is started.
    pub target: Option<SocketAddr>,
    /// Where the started node and its session live.
    pub dir: PathBuf,
    /// Workers of its tick pool.
    pub threads: usize,
    /// Validators that are started, each a process.
    pub nodes: u32,
    /// How many of them are killed in the middle of the run, one after another, and started again.
    pub kill: u32,
    /// Milliseconds that a packet takes from one of them to another.
    pub delay_ms: Option<RangeInclusive<u64>>,
    /// What the last of them does instead of what a validator should.
    pub rogue: Option<RogueKind>,
}
