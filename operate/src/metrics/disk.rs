//! The disk, the session on it, and its snapshots.

use super::metric::{Metric, counter, gauge};
use super::unit::Unit;

/// Its lines, in the order in which they are shown.
pub(super) const METRICS: &[Metric] = &[
    // The disk.
    gauge(
        "bitcraps_unsynced_ticks",
        Unit::Count,
        tick!(now unsynced_ticks),
        "Ticks whose record is not synced; the tick skips at 48.",
    ),
    gauge(
        "bitcraps_disk_full",
        Unit::Count,
        tick!(now disk_full),
        "1 while the disk has no room and the chain stands still.",
    ),
    gauge("bitcraps_disk_free_bytes", Unit::Bytes, system!(disk_free_bytes), "Free where the session lies."),
    gauge(
        "bitcraps_disk_to_fill_bytes",
        Unit::Bytes,
        |reading| reading.disk_to_fill().map(|bytes| bytes as f64),
        "What of it the session will fill; left out where storage.bytes_max stops it before that.",
    ),
    gauge(
        "bitcraps_disk_reserve_bytes",
        Unit::Bytes,
        |reading| Some(reading.disk_reserve_bytes as f64),
        "What is to stay free there (storage.min_free, 64 MiB at least).",
    ),
    gauge("bitcraps_session_bytes", Unit::Bytes, system!(session_bytes), "The session's files."),
    counter("bitcraps_snapshots_total", tick!(snapshots_taken), "Snapshots that are on disk."),
    counter("bitcraps_snapshots_failed_total", tick!(snapshots_failed), "Snapshots that came to nothing."),
    counter("bitcraps_snapshot_waits_total", tick!(snapshot_waits), "Ticks whose height waited for a snapshot's room."),
    gauge(
        "bitcraps_snapshot_longest_hold_seconds",
        Unit::Seconds,
        |reading| Some(reading.tick.snapshot_longest_hold_us as f64 / 1e6),
        "The longest that a tick was held by a snapshot.",
    ),
];
