//! Logged: what a consensus log says about one height.

use engine::Height;
use engine::message::block::Block;
use order::consensus::LogEntry;

/// What a restarted validator's log says about one height.
#[derive(Default)]
pub struct LoggedHeight {
    /// The height.
    pub height: Height,
    /// The order's entries, in logged order.
    pub entries: Vec<LogEntry>,
    /// Bodies of blocks.
    pub blocks: Vec<Block>,
}
