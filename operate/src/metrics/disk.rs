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
        "1 while the disk has no room and this node stands still.",
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
        "bitcraps_disk_fills_seconds",
        Unit::Seconds,
        |reading| reading.disk_fills(),
        "Until it has filled that, at its pace of the last five minutes, or six hours once it has come to storage.bytes_max; left out where it does not grow, and for the first six hours at `storage.bytes_max`.",
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
        // A journal that has come to its bound is as it should be, for good: what is scarce is the disk.
        |reading| Some(reading.disk_room()?.saturating_add(reading.session_bytes?) as f64),
        "What they may come to: all that the disk has for them beside what is to stay free.",
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

    fn value(name: &str, reading: &Reading) -> Option<f64> {
        metric(name).expect("it is a metric").value(reading)
    }

    #[test]
    fn a_session_may_come_to_what_the_disk_has_for_it() {
        let mut reading = Reading::empty(Instant::now());
        let most = |reading: &Reading| value("bitcraps_session_max_bytes", reading);
        assert_eq!(most(&reading), None, "nothing is known yet");
        (reading.session_bytes, reading.disk_free_bytes) = (Some(10), Some(15));
        for (bound, reserve, wanted) in [(0, 0, 25.0), (30, 4, 21.0), (0, 16, 10.0)] {
            (reading.journal_bytes_max, reading.disk_reserve_bytes) = (bound, reserve);
            assert_eq!(most(&reading), Some(wanted), "{bound} {reserve}");
        }
        // A ring that is full is no session that has no room.
        (reading.journal_bytes_max, reading.disk_reserve_bytes) = (10, 0);
        assert!(most(&reading).is_some_and(|most| 10.0 < 0.8 * most), "the tile has no warning for it");
    }

    #[test]
    fn a_bound_stops_a_session_until_it_has_come_to_it() {
        let mut reading = Reading::empty(Instant::now());
        (reading.disk_free_bytes, reading.session_growth) = (Some(1_000), Some(2.0));
        let fills = |bound: u64, has: u64| {
            let reading = Reading { journal_bytes_max: bound, session_bytes: Some(has), ..reading.clone() };
            value("bitcraps_disk_fills_seconds", &reading)
        };
        assert_eq!((fills(0, 10), fills(5_000, 10)), (Some(500.0), Some(500.0)), "no bound, and one that is too far");
        assert_eq!((fills(900, 10), fills(900, 899)), (None, None), "it ends there");
        assert_eq!(
            (fills(900, 900), fills(900, 1_200)),
            (Some(500.0), Some(500.0)),
            "what grows all the same fills it"
        );
        reading.session_growth = Some(0.0);
        let steady = Reading { journal_bytes_max: 900, session_bytes: Some(1_200), ..reading };
        assert_eq!(value("bitcraps_disk_fills_seconds", &steady), None, "a ring");
    }
}
