//! What the players measure.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::schedule::Heard;

/// Between two rolls of a table.
pub(super) const CYCLE: Duration = Duration::from_secs(1);

/// Times at the tables of one kind, in microseconds.
pub(super) struct Times {
    pub(super) receipts: Histogram<u64>,
    pub(super) dice: Histogram<u64>,
}

/// What the players measure together.
pub(super) struct Measured {
    pub(super) heard: Heard,
    /// At tables of the beacon alone, and at pledged ones.
    pub(super) kinds: [Mutex<Times>; 2],
    /// Players who sit, and have pledged where they must.
    pub(super) ready: AtomicU64,
    /// Seconds in which a player's roll before was not over yet.
    pub(super) skipped: AtomicU64,
    /// Calls that were refused.
    pub(super) refused: AtomicU64,
    /// Whether the run is over for those who play: they begin nothing any more.
    pub(super) over: AtomicBool,
}

pub(super) fn times() -> Mutex<Times> {
    let histogram = || Histogram::new_with_bounds(1, 600_000_000, 3).expect("fixed bounds");
    Mutex::new(Times { receipts: histogram(), dice: histogram() })
}

pub(super) fn micros(time: Duration) -> u64 {
    (time.as_micros() as u64).clamp(1, 600_000_000)
}
