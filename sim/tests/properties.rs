//! Each check of what nodes did is given something that is wrong, to see that it says so.

use bytemuck::Zeroable;
use engine::io::Verdict;
use engine::message::block::{Block, Header};
use engine::message::intent::Intent;
use engine::message::node::NodeMessage;
use engine::message::vote::{Vote, VoteBody, VoteKind};
use engine::{Hash, Height};
use sim::properties::{Broken, Property, Seen};

fn block(height: u64, time_ms: u64, intents: Vec<Intent>) -> Block {
    let header = Header { height: Height(height), time_ms, ..Header::zeroed() };
    Block { header, certificate: None, system: Vec::new(), pledges: Vec::new(), intents }
}

fn broken(result: Result<(), Broken>) -> Property {
    result.expect_err("this is wrong").property
}

#[test]
fn two_blocks_of_a_height_break_agreement() {
    let mut seen = Seen::default();
    assert_eq!(seen.decided(0, &block(1, 10, Vec::new())), Ok(()));
    assert_eq!(seen.decided(1, &block(1, 10, Vec::new())), Ok(()));
    assert_eq!(broken(seen.decided(2, &block(1, 11, Vec::new()))), Property::Agreement);
    assert_eq!(broken(seen.settled(0, Height(2), [0; 32], &[])), Property::Agreement, "nobody decided it");
}

#[test]
fn two_votes_of_a_kind_break_one_voice_over_all_lives() {
    let vote = |kind, block: Option<Hash>| {
        let body = VoteBody::new(kind, Height(3), 1, block, 2);
        NodeMessage::Votes(vec![Vote { body, signature: [0; 64] }])
    };
    let mut seen = Seen::default();
    for said in [vote(VoteKind::Prevote, Some([1; 32])), vote(VoteKind::Precommit, None)] {
        assert_eq!((seen.said(2, &said), seen.said(2, &said)), (Ok(()), Ok(())), "it says it again");
    }
    assert_eq!(seen.said(1, &vote(VoteKind::Prevote, None)), Ok(()), "what others tell of it is not its own word");
    assert_eq!(broken(seen.said(2, &vote(VoteKind::Precommit, Some([1; 32])))), Property::OneVoice);
}

#[test]
fn two_roots_of_a_height_break_equal_roots() {
    let mut seen = Seen::default();
    seen.decided(0, &block(1, 10, Vec::new())).expect("the first");
    assert_eq!((seen.settled(0, Height(1), [5; 32], &[]), seen.settled(1, Height(1), [5; 32], &[])), (Ok(()), Ok(())));
    assert_eq!(broken(seen.settled(2, Height(1), [6; 32], &[])), Property::EqualRoots);
}

#[test]
fn an_intent_that_is_applied_twice_is_seen_and_one_that_is_decided_again_is_counted() {
    let (mut seen, intent) = (Seen::default(), Intent::zeroed());
    for height in 1..=2 {
        seen.decided(0, &block(height, height, vec![intent])).expect("one of each height");
    }
    assert_eq!(seen.twice, 1);
    assert_eq!(seen.settled(0, Height(1), [1; 32], &[Verdict::Applied]), Ok(()));
    assert_eq!(broken(seen.settled(0, Height(2), [2; 32], &[Verdict::Applied])), Property::FinalIsFinal);
}

#[test]
fn what_was_promised_and_is_not_there_breaks_durable() {
    let seen = Seen::default();
    assert_eq!(seen.restarted(0, Height(7), Height(7)), Ok(()));
    assert_eq!(broken(seen.restarted(0, Height(6), Height(7))), Property::Durable);
}
