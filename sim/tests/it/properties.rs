//! Each check of what nodes did is given something that is wrong, to see that it says so.

use bytemuck::Zeroable;
use engine::io::Verdict;
use engine::message::block::{Block, Header};
use engine::message::intent::Intent;
use engine::message::node::NodeMessage;
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;
use engine::message::vote::{Vote, VoteBody, VoteKind};
use engine::{Hash, Height, TableId};
use net::wire::{Answer, AnswerVerdict};
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
fn an_intent_that_is_applied_after_a_refusal_that_used_its_number_breaks_final_is_final() {
    let applied_after = |refusal| {
        let (mut seen, intent) = (Seen::default(), Intent::zeroed());
        for height in [1, 6] {
            seen.decided(0, &block(height, height, vec![intent])).expect("one of each height");
        }
        assert_eq!(seen.settled(0, Height(1), [1; 32], &[Verdict::Refused(refusal)]), Ok(()));
        seen.settled(0, Height(6), [2; 32], &[Verdict::Applied])
    };
    for refusal in [Refusal::UnknownTable, Refusal::WrongPhase, Refusal::NoBet] {
        assert_eq!(broken(applied_after(refusal)), Property::FinalIsFinal, "{refusal}");
    }
    for refusal in [Refusal::UnknownAccount, Refusal::NumberAhead, Refusal::HouseFull] {
        assert_eq!(applied_after(refusal), Ok(()), "{refusal} leaves the number");
    }
}

#[test]
fn what_was_promised_and_is_not_there_breaks_durable() {
    let seen = Seen::default();
    assert_eq!(seen.restarted(0, Height(7), Height(7)), Ok(()));
    assert_eq!(broken(seen.restarted(0, Height(6), Height(7))), Property::Durable);
}

fn opening(roll: u32, block: Hash) -> PledgeRow {
    PledgeRow::opening([1; 32], TableId(1), roll, [2; 32], block)
}

#[test]
fn a_roll_that_is_opened_twice_or_for_two_blocks_breaks_one_opening() {
    let mut seen = Seen::default();
    for (roll, of) in [(4, [7; 32]), (5, [8; 32]), (4, [7; 32])] {
        assert_eq!(seen.signed(&opening(roll, of)), Ok(()), "it says it again");
    }
    assert_eq!(broken(seen.signed(&opening(4, [9; 32]))), Property::OneOpening);
    for height in 1..=2 {
        let block = Block { pledges: vec![opening(4, [7; 32])], ..block(height, height, Vec::new()) };
        seen.decided(0, &block).expect("one of each height");
    }
    assert_eq!(seen.settled(0, Height(1), [1; 32], &[Verdict::Applied]), Ok(()));
    assert_eq!(broken(seen.settled(0, Height(2), [2; 32], &[Verdict::Applied])), Property::OneOpening);
}

#[test]
fn a_receipt_of_another_opening_or_with_another_verdict_breaks_receipt_matches() {
    let (mut seen, row) = (Seen::default(), opening(4, [7; 32]));
    let block = Block { pledges: vec![row], ..block(1, 1, vec![Intent::zeroed()]) };
    seen.decided(0, &block).expect("the first");
    seen.settled(0, Height(1), [1; 32], &[Verdict::Applied; 2]).expect("the first");
    let answer = |height, index, verdict| Answer {
        id: row.id(),
        verdict: AnswerVerdict::Receipt { height: Height(height), index, verdict },
    };
    let refused = Verdict::Refused(Refusal::StaleRoll);
    assert_eq!(seen.pledge_answered(0, &row, &answer(1, 1, Verdict::Applied)), Ok(()));
    assert_eq!(seen.pledge_answered(0, &row, &answer(0, 0, refused)), Ok(()), "refused before any block");
    for wrong in [answer(1, 0, Verdict::Applied), answer(1, 1, refused), answer(0, 0, Verdict::Applied)] {
        assert_eq!(broken(seen.pledge_answered(0, &row, &wrong)), Property::ReceiptMatches);
    }
    let other = answer(1, 1, Verdict::Applied);
    assert_eq!(broken(seen.pledge_answered(0, &opening(5, [7; 32]), &other)), Property::ReceiptMatches);
}
