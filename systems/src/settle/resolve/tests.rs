use super::*;

/// No roll makes or loses a chip, so that only a made-up one shows the check at work.
#[test]
#[should_panic(expected = "chunk 3: a roll makes and loses no chip")]
fn a_chunk_of_tables_that_has_a_chip_more_after_a_roll_stops_the_node() {
    chunk(11, 0).check_conserved();
}

#[test]
#[should_panic(expected = "chunk 3: every rail that left is handed on")]
fn a_rail_that_left_a_chunk_and_is_nobodys_stops_the_node() {
    chunk(7, 3).check_conserved();
}

#[test]
fn chips_that_moved_within_a_chunk_are_all_there() {
    chunk(10, 0).check_conserved();
}

/// A chunk with 10 chips on rails before its tables rolled, and so many in banks after; so many left it.
fn chunk(banks: u64, departed: u64) -> ChunkDone<'static> {
    ChunkDone {
        index: 3,
        next_roll_ms: 0,
        before: TableTotals { rails: Chips(10), ..TableTotals::default() },
        after: TableTotals { banks: Chips(banks), ..TableTotals::default() },
        departed: Chips(departed),
        skimmed: Chips::ZERO,
        counts: Counts::default(),
        departures: &[],
        to_fill: &[],
        rolls: &[],
        resolutions: &[],
        leavings: &[],
    }
}
