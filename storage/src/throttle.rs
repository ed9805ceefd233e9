//! What may be held back of the work on sealed segments: words that whoever watches a node sets, and the archive's thread reads
//! between two pieces of work.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use engine::limits::COMPRESSING_REST_MS;

/// How the archive works now.
#[derive(Debug)]
pub struct ArchiveThrottle {
    /// Rest behind each compressed chunk.
    rest_ms: AtomicU64,
    /// Whether bodies go early.
    retires_early: AtomicBool,
}

impl Default for ArchiveThrottle {
    fn default() -> Self {
        Self { rest_ms: AtomicU64::new(COMPRESSING_REST_MS), retires_early: AtomicBool::new(false) }
    }
}

impl ArchiveThrottle {
    /// Rests so many times as long as usual behind each compressed chunk.
    pub fn slow(&self, times: u64) {
        self.rest_ms.store(COMPRESSING_REST_MS.saturating_mul(times.max(1)), Ordering::Relaxed);
    }

    /// Has bodies given up as if the journal might have half of what it may. Where it has no bound, none go.
    pub fn retire_early(&self, is_early: bool) {
        self.retires_early.store(is_early, Ordering::Relaxed);
    }

    pub(crate) fn rest(&self) -> Duration {
        Duration::from_millis(self.rest_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn retires_early(&self) -> bool {
        self.retires_early.load(Ordering::Relaxed)
    }
}
