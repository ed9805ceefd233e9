use bytemuck::Zeroable;
use engine::message::block::{Block, Header};
use engine::message::certificate::Certificate;
use engine::message::intent::Intent;

use super::*;

const PEER: PeerId = PeerId { slot: 1, generation: 0 };

/// A height whose block is of about half a megabyte.
fn entry(height: u64) -> RangeEntry {
    let height = Height(height);
    let header = Header { height, ..Header::zeroed() };
    let intents = vec![Intent::zeroed(); 4_000];
    let block = Block { header, certificate: None, system: Vec::new(), pledges: Vec::new(), intents };
    let certificate = Certificate { height, round: 0, block: [0; 32], signatures: Vec::new() };
    RangeEntry { decided: Box::new(Decided { block, certificate }), beacon: None }
}

/// Other nodes told of so many heights far above that there is no room left: those that come next find some all the same.
#[test]
fn what_comes_next_puts_out_what_is_further_above() {
    let mut state = CatchUp::default();
    assert!(state.has_room());
    let most = CAME_BYTES_MAX / entry(0).encoded_len();
    (65..65 + 2 * most as u64).for_each(|height| state.keep(PEER, entry(height)));
    assert_eq!(state.came.len(), most, "what is above all others makes no room");
    assert!(!state.has_room(), "nothing is asked for above what is missing first");
    (1..5).for_each(|height| state.keep(PEER, entry(height)));
    let kept: Vec<u64> = state.came.keys().map(|height| height.0).collect();
    let expected: Vec<u64> = (1..5).chain(65..65 + most as u64 - 4).collect();
    assert_eq!(kept, expected);
    // The same height from another node takes no room beside itself.
    state.keep(PEER, entry(2));
    assert_eq!(state.came.len(), most);
    assert_eq!(state.bytes, most * entry(0).encoded_len());
    state.forget(Height(4));
    assert_eq!(state.bytes, (most - 4) * entry(0).encoded_len());
}

/// A question that lapses at a time, in milliseconds of ticks.
fn asked(of: PeerId, from: u64, until_ms: u64) -> Asked {
    Asked { range: RangeRow::new(Height(from), ASK_HEIGHTS), of, until_ms }
}

fn came(state: &CatchUp) -> Vec<u64> {
    state.came.keys().map(|height| height.0).collect()
}

/// Over a narrow line an answer takes longer than another node is waited for: what it tells is taken all the same.
#[test]
fn an_answer_that_comes_late_is_taken() {
    let other = PeerId { slot: 2, generation: 0 };
    let mut state = CatchUp::default();
    state.asked.push(asked(PEER, 1, 1_000));
    state.note_lapsed(1_000, Height::GENESIS);
    state.put_lapsed_aside(1_000, |_| true, Height::GENESIS);
    assert!(state.asked.is_empty() && state.in_vain(&PEER) == 1, "others are asked now");
    state.asked.push(asked(other, 1, 2_000));
    state.take(PEER, vec![entry(1), entry(2)], Height::GENESIS);
    assert_eq!(came(&state), [1, 2]);
    assert_eq!((state.asked.len(), state.in_vain(&PEER)), (1, 0), "the other one may answer yet");
    // It was asked once.
    state.take(PEER, vec![entry(3)], Height::GENESIS);
    assert_eq!(came(&state), [1, 2]);
}

/// What a node was asked for before is no answer to what it is asked for now.
#[test]
fn a_late_answer_leaves_the_question_open_that_came_after() {
    let mut state = CatchUp::default();
    state.asked.push(asked(PEER, 129, 1_000));
    state.put_lapsed_aside(1_000, |_| true, Height::GENESIS);
    state.asked.push(asked(PEER, 1, 2_000));
    state.take(PEER, vec![entry(129), entry(130)], Height::GENESIS);
    assert_eq!(came(&state), [129, 130]);
    // Nor is what nobody asked for.
    state.take(PEER, vec![entry(500)], Height::GENESIS);
    assert_eq!((state.asked.len(), state.in_vain.len()), (1, 0));
    state.take(PEER, vec![entry(1)], Height::GENESIS);
    assert_eq!(came(&state), [1, 129, 130]);
    assert!(state.asked.is_empty());
}

/// Questions that lapsed are few for each node, and none of a node that has left, of what is settled, or of long ago.
#[test]
fn few_late_answers_are_waited_for() {
    let mut state = CatchUp::default();
    for from in [1, 65, 129] {
        state.asked.push(asked(PEER, from, 1_000));
        state.put_lapsed_aside(1_000, |_| true, Height::GENESIS);
    }
    let late = |state: &CatchUp| -> Vec<u64> { state.late.iter().map(|late| late.range.from.0).collect() };
    assert_eq!(late(&state), [65, 129]);
    state.put_lapsed_aside(1_000, |_| true, Height(128));
    assert_eq!(late(&state), [129]);
    state.put_lapsed_aside(31_000, |_| true, Height(128));
    assert_eq!(late(&state), [0; 0]);
    state.asked.push(asked(PEER, 129, 32_000));
    state.put_lapsed_aside(32_000, |_| true, Height(128));
    assert_eq!(late(&state), [129]);
    state.put_lapsed_aside(32_000, |_| false, Height(128));
    assert_eq!(late(&state), [0; 0]);
}
