use engine::io::{Alarm, Receipt, Verdict};
use engine::message::intent::Intent;

use super::*;

#[test]
fn a_time_falls_into_the_first_bucket_that_it_does_not_exceed() {
    let mut histogram = Histogram::zeroed();
    for micros in [0, 50, 51, 5_000_000, 5_000_001] {
        histogram.add_us(micros);
    }
    assert_eq!((histogram.counts[0], histogram.counts[1]), (2, 1));
    assert_eq!((histogram.counts[16], histogram.counts[17]), (1, 1));
    assert_eq!((histogram.count(), histogram.sum_us), (5, 10_000_102));
    assert!(BUCKET_ENDS_US.windows(2).all(|pair| pair[0] < pair[1]));
}

#[test]
fn what_was_published_is_what_is_read() {
    let mut recorder = Recorder::new();
    let shared = recorder.shared();
    for id in [7, 8] {
        recorder.handed(id);
    }
    recorder.synced(7);
    recorder.synced(7);
    let height = engine::Height(3);
    // Shares that come late are told too, and what an operator answers for, and blocks that are gone: nobody did what must not be.
    let alarms = [
        Alarm::BeaconStalls { height, missing: SlotList(2) },
        Alarm::SignsByOperator { slot: 2 },
        Alarm::PastGone { height },
        Alarm::Equivocated { slot: 1, height },
    ];
    recorder.add_outputs(&alarms.map(Output::Alarm), 0, Instant::now());
    let refused = Refusal::ALL[4].1;
    let totals = Totals { receipts: 9, shed: 8, short: 3, refusals: [(refused, 2)].into(), ..Totals::default() };
    let standing = NodeState {
        // One that listens first votes on nothing, and has lost nothing.
        progress: ChainProgress { is_silent: true, ..ChainProgress::default() },
        lost_its_votes: false,
        height_under_way: true,
        unanswered: 5,
        unsynced_ticks: 1,
        held: HeldBytes { columns: 7, arenas: 8, blocks: 9 },
        arenas: ArenaUse { held: 8, given: 6, kept: 5 },
        missing_shares: SlotList(1 << 3 | 1 << 70),
        validators: 4,
        heard: 2,
        known_keys_rests: 6,
        block_interval_ms: 40,
        behind: 0,
        past_gone: true,
        snapshots: SnapshotCounts::default(),
    };
    assert_eq!(shared.read(), TickReadings::zeroed(), "nothing is seen before");
    recorder.publish(&totals, &standing);
    let read = shared.read();
    assert_eq!((read.receipts, read.unanswered, read.unsynced_ticks), (9, 5, 1));
    assert_eq!((read.shed, read.short, read.height_under_way), (8, 3, 1));
    assert_eq!((read.validators, read.heard, read.block_interval_ms), (4, 2, 40));
    assert_eq!((read.quorum(), read.lacks_quorum()), (3, true), "two of four are no quorum");
    assert_eq!((read.known_keys_rests, read.past_gone, read.lost_its_votes), (6, 1, 0));
    assert_eq!(read.alarms, 1, "one validator contradicted itself");
    assert_eq!((read.refused[4], read.refused.iter().sum::<u64>()), (2, 2));
    assert_eq!((read.column_bytes, read.arena_bytes, read.block_bytes), (7, 8, 9));
    assert_eq!((read.arena_given_bytes, read.arena_lost_bytes), (6, 1));
    assert_eq!(read.sync.count(), 1, "a group is synced once");
    for (place, taken_ns) in [(3, 700), (3, 600), (21, 2_000_000)] {
        recorder.system(place, taken_ns);
    }
    recorder.publish(&totals, &standing);
    let systems = shared.read_systems();
    let [(name, inputs), (_, root)] = [systems[3], systems[21]];
    assert_eq!((name, inputs.count(), inputs.sum_us, root.sum_us), ("take_inputs", 2, 1, 2_000));
    assert_eq!(systems.iter().map(|(_, times)| times.count()).sum::<u64>(), 3);
    assert_eq!(read.missing_shares().slots().collect::<Vec<_>>(), [3, 70]);
}

/// Its player comes back over another connection, and is told over the one before that the intent moved.
#[test]
fn an_intent_that_moved_is_measured_when_its_receipt_leaves() {
    let mut recorder = Recorder::new();
    let (before, now) = (PeerId { slot: 1, generation: 0 }, PeerId { slot: 2, generation: 0 });
    let intent = Intent::zeroed();
    let id = intent.id();
    recorder.arrived(&[Input::Intents { from: before, intents: vec![intent] }], true);
    recorder.arrived(&[Input::Intents { from: now, intents: vec![intent] }], true);
    recorder.leaves(&[Output::Shed { to: before, id, reason: ShedReason::Moved }]);
    let receipt = Receipt { id, height: engine::Height(3), index: 0, verdict: Verdict::Applied };
    recorder.leaves(&[Output::Receipt { to: now, receipt }]);
    assert_eq!(recorder.own.receipt.count(), 1);
    // What was turned away waits for none.
    recorder.arrived(&[Input::Intents { from: now, intents: vec![intent] }], true);
    recorder.leaves(&[Output::Shed { to: now, id, reason: ShedReason::Busy }, Output::Receipt { to: now, receipt }]);
    assert_eq!(recorder.own.receipt.count(), 1);
}
