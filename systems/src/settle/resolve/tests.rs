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
#[should_panic(expected = "chunk 3: banks gain what players lost, less what they won")]
fn a_loss_that_is_counted_and_reached_no_bank_stops_the_node() {
    let mut chunk = chunk(10, 0);
    chunk.counts.lost += 1;
    chunk.check_conserved();
}

#[test]
fn chips_that_moved_within_a_chunk_are_all_there() {
    chunk(10, 0).check_conserved();
}

/// A chunk with 10 chips on the felt before its tables rolled, and so many in banks after; so many left it, the others were lost.
fn chunk(banks: u64, departed: u64) -> ChunkDone<'static> {
    ChunkDone {
        index: 3,
        next_roll_ms: 0,
        before: TableTotals { felts: Chips(10), ..TableTotals::default() },
        after: TableTotals { banks: Chips(banks), ..TableTotals::default() },
        departed: Chips(departed),
        skimmed: Chips::ZERO,
        counts: Counts { lost: 10 - departed, ..Counts::default() },
        departures: &[],
        to_fill: &[],
        rolls: &[],
        resolutions: &[],
        leavings: &[],
    }
}
