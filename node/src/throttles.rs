//! What whoever watches a node may hold back of its work beside the tick. Each is a word that one thread reads between two pieces
//! of work; what is replicated depends on none of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use engine::trim::TrimRequest;
use storage::ArchiveThrottle;

/// What the tick's thread reads.
#[derive(Debug)]
pub struct TickThrottle {
    /// Whether no snapshot begins. One that is under way goes on.
    snapshots_paused: AtomicBool,
    /// A snapshot that is under way copies one group of so many that it may in a tick.
    snapshots_slowed: AtomicUsize,
    /// Asks the thread to give back what it holds in spare.
    pub trim: TrimRequest,
}

impl Default for TickThrottle {
    fn default() -> Self {
        let snapshots_slowed = AtomicUsize::new(1);
        Self { snapshots_paused: AtomicBool::default(), snapshots_slowed, trim: TrimRequest::default() }
    }
}

impl TickThrottle {
    /// Whether a snapshot that is due may begin.
    pub fn lets_snapshots_begin(&self) -> bool {
        !self.snapshots_paused.load(Ordering::Relaxed)
    }

    /// How many of so many groups are copied in a tick: one at least, so that every snapshot ends.
    pub fn groups(&self, most: usize) -> usize {
        (most / self.snapshots_slowed.load(Ordering::Relaxed).max(1)).max(1)
    }
}

/// A node's throttles, for whoever watches it.
#[derive(Clone, Default, Debug)]
pub struct Throttles {
    /// What the tick's thread is held back by.
    pub tick: Arc<TickThrottle>,
    /// What the archive's thread is held back by; none where the disk is stepped with the node.
    pub archive: Option<Arc<ArchiveThrottle>>,
}

impl Throttles {
    /// Lets no snapshot begin, or lets them begin again.
    pub fn pause_snapshots(&self, is_paused: bool) {
        self.tick.snapshots_paused.store(is_paused, Ordering::Relaxed);
    }

    /// Copies one group of so many that a snapshot may copy in a tick; 1 for all of them.
    pub fn slow_snapshots(&self, times: usize) {
        self.tick.snapshots_slowed.store(times, Ordering::Relaxed);
    }

    /// Rests so many times as long as usual between two parts of a segment that is compressed; 1 for as usual.
    pub fn slow_compression(&self, times: u64) {
        self.archive.iter().for_each(|archive| archive.slow(times));
    }

    /// Gives up bodies as if `storage.bytes_max` were half of what it is; where it is 0, none go.
    pub fn retire_early(&self, is_early: bool) {
        self.archive.iter().for_each(|archive| archive.retire_early(is_early));
    }

    /// Has the tick's thread give back what it holds in spare, within a second.
    pub fn ask_trim(&self, how: fn()) {
        self.tick.trim.ask(how);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slowed_snapshot_still_ends() {
        let throttle = TickThrottle::default();
        assert_eq!(throttle.groups(64), 64);
        for (times, groups) in [(4, 16), (1_000, 1), (0, 64)] {
            throttle.snapshots_slowed.store(times, Ordering::Relaxed);
            assert_eq!(throttle.groups(64), groups);
        }
        throttle.snapshots_slowed.store(4, Ordering::Relaxed);
        assert_eq!(throttle.groups(1), 1);
    }
}
