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
