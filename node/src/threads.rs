//! The threads of a node, which show that they move.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use engine::limits::HEARTBEAT;

/// How long the disk may take for one batch before it is told as standing still.
pub(crate) const STORAGE_PERIOD: Duration = Duration::from_secs(1);
const _: () = assert!(STORAGE_PERIOD.as_millis() >= 2 * HEARTBEAT.as_millis());
/// How long a thread of the background may be at one piece of work: compacting packs, or giving up the bodies of a segment.
pub(crate) const BACKGROUND_PERIOD: Duration = Duration::from_secs(15);

/// A thread that shows that it moves: `turns` grows at least once in `period`, also where it has nothing to do.
#[derive(Clone, Debug)]
pub struct WatchedThread {
    /// The thread's name, as the system shows it.
    pub name: String,
    /// How often it moves, at least; work that it may be at for longer is part of it.
    pub period: Duration,
    /// How often it has turned; 0 before it was started.
    pub turns: Arc<AtomicU64>,
}

impl WatchedThread {
    /// A thread that turns at least once in `period`.
    pub fn new(name: &str, period: Duration, turns: Arc<AtomicU64>) -> Self {
        Self { name: name.to_owned(), period, turns }
    }
}
