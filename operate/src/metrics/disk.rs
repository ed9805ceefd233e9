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
        "bitcraps_disk_room_bytes",
        Unit::Bytes,
        |reading| reading.disk_room().map(|bytes| bytes as f64),
        "What of it is not to stay free.",
    ),
    gauge(
        "bitcraps_disk_to_fill_bytes",
        Unit::Bytes,
        |reading| reading.disk_to_fill().map(|bytes| bytes as f64),
        "What of that the session will fill; left out where storage.bytes_max stops it before that.",
    ),
    gauge(
        "bitcraps_disk_reserve_bytes",
        Unit::Bytes,
        |reading| Some(reading.disk_reserve_bytes as f64),
        "What is to stay free there (storage.min_free, 64 MiB at least).",
    ),
    gauge("bitcraps_session_bytes", Unit::Bytes, system!(session_bytes), "The session's files."),
    gauge(
        "bitcraps_session_max_bytes",
        Unit::Bytes,
        |reading| {
            let room = reading.disk_room()?.saturating_add(reading.session_bytes?);
            let bound = Some(reading.journal_bytes_max).filter(|bound| *bound > 0);
            Some(bound.map_or(room, |bound| bound.min(room)) as f64)
        },
        "What they may come to: storage.bytes_max, or all that the disk has for them where that is less.",
    ),
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

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crate::metrics::metric;
    use crate::reading::Reading;

    #[test]
    fn a_session_may_come_to_its_bound_or_to_what_the_disk_has_for_it() {
        let mut reading = Reading::empty(Instant::now());
        let most = |reading: &Reading| metric("bitcraps_session_max_bytes").expect("it is a metric").value(reading);
        assert_eq!(most(&reading), None, "nothing is known yet");
        (reading.session_bytes, reading.disk_free_bytes) = (Some(10), Some(15));
        for (bound, reserve, wanted) in [(0, 0, 25.0), (20, 0, 20.0), (30, 0, 25.0), (30, 4, 21.0), (0, 16, 10.0)] {
            (reading.journal_bytes_max, reading.disk_reserve_bytes) = (bound, reserve);
            assert_eq!(most(&reading), Some(wanted), "{bound} {reserve}");
        }
    }
}
