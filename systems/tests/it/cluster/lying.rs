//! What is said falsely, twice or not at all: it is proven, told, and changes nothing.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bevy_ecs::system::{Query, ResMut};
use bytemuck::Zeroable;
use engine::component::{House, Table};
use engine::image::DirtyMap;
use engine::io::{Alarm, SlotList, Verdict};
use engine::limits::{BLOCK_INTENTS_MAX, CLOCK_SKEW_MS_MAX};
use engine::message::block::{Block, Header, intents_root};
use engine::message::evidence::Evidence;
use engine::message::intent::{Intent, IntentKind};
use engine::message::node::{BeaconRow, BlockRow, NodeMessage, NodeStanding, RangeEntry, RangeRow};
use engine::message::share::ShareBody;
use engine::message::vote::{NO_ROUND, ProposalBody, VoteBody, VoteKind};
use engine::{Chips, Height, TableId};
use order::signature::SignedItem;
use systems::exchange::ExchangeError;
use systems::exchange::bodies::Bodies;

use super::{all_answered, all_applied, bet_all, level, seated, tell};
use crate::common;
use crate::hosts::Cluster;

/// Validator 3 prevotes one thing to some and another to others. The others go on, and each of them can prove it.
#[test]
fn one_that_votes_twice_is_proven_to_lie_and_changes_nothing() {
    let mut cluster = Cluster::new(4, 0, 9);
    let (key, public) = (cluster.keys.votes[3].clone(), cluster.keys.votes[3].public());
    cluster.liars.insert(3);
    cluster.tamper = Some(Box::new(move |from, to, message| {
        let NodeMessage::Votes(votes) = &message else { return Some(message) };
        if from != 3 || to != 0 {
            return Some(message);
        }
        let other = |vote: &engine::message::vote::Vote| {
            let body = vote.body;
            if body.kind != VoteKind::Prevote as u8 || body.value().is_none() {
                return *vote;
            }
            let nil = VoteBody::new(VoteKind::Prevote, body.height, body.round, None, body.slot);
            key.sign_vote(nil, &[9; 32])
        };
        // Both, so that node 0 has the proof at once.
        let mut both: Vec<_> = votes.iter().map(other).collect();
        both.extend(votes.iter().filter(|vote| other(vote) != **vote));
        Some(NodeMessage::Votes(both))
    }));
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(4_000, |cluster| all_applied(cluster, &given)));
    // A vote that comes when the height is long decided proves nothing: some heights more.
    for _ in 0..6 {
        let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
        assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    }
    cluster.steps(50);
    for slot in 0..4 {
        let host = &cluster.hosts[slot];
        let found = host.evidence.iter().any(|evidence| match evidence {
            Evidence::Votes(one, other) => [one, other]
                .into_iter()
                .all(|vote| vote.body.slot == 3 && SignedItem::vote(vote, &public, &[9; 32]).verify()),
            _ => false,
        });
        // The liar hears of it too; it says that its key is in use elsewhere, or keeps the proof.
        assert!(found || (slot == 3 && host.fault.is_some()), "node {slot} cannot prove it");
        let alarmed = |alarm: &Alarm| matches!(alarm, Alarm::Equivocated { slot: 3, .. });
        assert!(host.alarms.iter().any(alarmed) || slot == 3);
    }
    assert!(level(&mut cluster));
}

#[test]
fn one_that_was_away_for_long_catches_up_from_several_and_puts_out_a_liar() {
    let mut cluster = Cluster::new(4, 0, 41);
    let given = seated(&mut cluster, 4, 3);
    cluster.stop(3);
    assert!(cluster.until(6_000, |cluster| all_applied(cluster, &given)));
    for _ in 0..12 {
        let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
        assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    }
    let before = cluster.settled(0);
    assert!(before > Height(12));
    // Node 1 changes a beacon in whatever it tells of.
    cluster.tamper = Some(Box::new(|from, _, message| match message {
        NodeMessage::Range(mut entries) if from == 1 => {
            let forged = |entry: &mut RangeEntry| entry.beacon = entry.beacon.map(|_| [0xc0; 48]);
            entries.iter_mut().for_each(forged);
            Some(NodeMessage::Range(entries))
        }
        other => Some(other),
    }));
    cluster.start(3);
    assert!(cluster.until(4_000, |cluster| cluster.settled(3) >= before), "{:?}", cluster.settled(3));
    assert_eq!(cluster.hosts[3].settled[&before].root_chain, cluster.hosts[0].settled[&before].root_chain);
}

/// A share in another's name has no envelope of that other; garbage in the own envelope is dropped.
#[test]
fn shares_that_do_not_verify_stop_no_beacon() {
    let mut cluster = Cluster::new(4, 0, 51);
    let key = cluster.keys.votes[2].clone();
    cluster.liars.insert(2);
    cluster.tamper = Some(Box::new(move |from, _, message| match message {
        NodeMessage::Share(share) if from == 2 => {
            let mut body = share.body;
            // A point, but no share of this block.
            body.share = [0; 48];
            (body.share[0], body.share[47]) = (0xc0, 0);
            Some(NodeMessage::Share(key.sign_share(body, &[9; 32])))
        }
        // The beacon too is a lie.
        NodeMessage::Beacon(row) if from == 2 => Some(NodeMessage::Beacon(BeaconRow { beacon: [0xc0; 48], ..row })),
        other => Some(other),
    }));
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(6_000, |cluster| all_applied(cluster, &given)));
}

/// A beacon that does not come says whose shares are missing, for as long as they are.
#[test]
fn a_beacon_that_is_overdue_says_whose_shares_are_missing() {
    let mut cluster = Cluster::new(4, 0, 52);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    let missing = |cluster: &Cluster, slot: usize| {
        let machine = cluster.hosts[slot].machine.as_ref().expect("it runs");
        machine.order_progress().missing_shares
    };
    assert!((0..4).all(|slot| missing(&cluster, slot) == SlotList::default()));
    cluster.tamper = Some(Box::new(|from, _, message| match message {
        NodeMessage::Share(_) if from > 1 => None,
        // Nobody else tells it either.
        NodeMessage::Beacon(_) | NodeMessage::Range(_) => None,
        other => Some(other),
    }));
    bet_all(&mut cluster, 4, &[0]);
    assert!(cluster.until(2_000, |cluster| !cluster.hosts[0].alarms.is_empty()));
    assert_eq!(missing(&cluster, 0), SlotList(0b1100), "those whose shares nobody hears");
    cluster.tamper = None;
    assert!(cluster.until(2_000, |cluster| missing(cluster, 0) == SlotList::default()), "they came");
    let bets = bet_all(&mut cluster, 4, &[0]);
    assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
}

/// An intent that is given to two nodes, and another one with its number, signed on a second machine of the player.
#[test]
fn whoever_signs_two_intents_with_one_number_gets_a_receipt_for_each() {
    let mut cluster = Cluster::new(4, 0, 61);
    let given = seated(&mut cluster, 2, 2);
    assert!(cluster.until(2_000, |cluster| all_applied(cluster, &given)));
    let bet = common::bet("field");
    let first = cluster.intent(0, IntentKind::Bet, |body| body.at(TableId(0)).on(bet, 0).amount(10));
    let key = cluster.keys.player(0);
    let mut body = first.body;
    body.amount = 20;
    let second = key.sign(body, &[9; 32]);
    cluster.give(0, vec![first]);
    cluster.give(1, vec![second]);
    let both = [(0, first), (1, second)];
    assert!(cluster.until(8_000, |cluster| all_answered(cluster, &both)));
    let applied = both.iter().filter(|(slot, intent)| cluster.verdict(*slot, intent) == Some(Verdict::Applied));
    assert_eq!(applied.count(), 1, "one number, one bet");
    cluster.check_receipts();
    let twice: BTreeMap<_, usize> = cluster.hosts[0].decided.values().flat_map(|decided| &decided.block.intents).fold(
        BTreeMap::new(),
        |mut counts, intent| {
            *counts.entry(intent.id()).or_default() += 1;
            counts
        },
    );
    assert!(twice.values().all(|count| *count == 1), "honest proposers include an intent once");
}

/// The state of a node changes without a block.
fn differ(cluster: &mut Cluster, slot: usize) {
    cluster.liars.insert(slot as u32);
    let mut differ = systems::schedule::chained();
    differ.add_systems(|mut tables: Query<'_, '_, &mut Table>, mut dirty: ResMut<'_, DirtyMap>| {
        tables.iter_mut().next().expect("a table").hand_number += 1;
        dirty.mark_all();
    });
    cluster.machine(slot).run(&mut differ);
}

/// A follower hears no proposals: the block that a quorum signed over another root is the first that it can find wrong.
#[test]
fn a_follower_whose_state_differs_stops_before_it_records_what_a_quorum_signed() {
    let mut cluster = Cluster::new(4, 1, 92);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(2_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    differ(&mut cluster, 4);
    for _ in 0..8 {
        let bets = bet_all(&mut cluster, 4, &[0, 1, 2, 3]);
        assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    }
    let follower = &cluster.hosts[4];
    let Some(ExchangeError::Diverged(divergence)) = follower.fault.clone() else {
        panic!("{:?}", follower.fault);
    };
    let (height, rows) = (divergence.height, (divergence.own, divergence.theirs()));
    assert_eq!(rows, (follower.settled[&height].root_chain, cluster.hosts[0].settled[&height].root_chain));
    let block = divergence.header.hash();
    assert_eq!(divergence.certificate.map(|quorum| quorum.block), Some(block), "a quorum answers for it");
    assert!(!follower.decided.contains_key(&Height(height.0 + 2)));
}

/// The state of one node changes without a block: it finds every proposal of the others wrong, and when they decide one it is
/// the one that stops, before it records that height.
#[test]
fn a_node_whose_state_differs_says_so_and_stops() {
    let mut cluster = Cluster::new(4, 0, 91);
    let given = seated(&mut cluster, 4, 3);
    assert!(cluster.until(2_000, |cluster| all_applied(cluster, &given)));
    differ(&mut cluster, 3);
    for _ in 0..8 {
        let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
        assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)), "the others go on");
    }
    let differing = &cluster.hosts[3];
    let Some(ExchangeError::Diverged(divergence)) = differing.fault.clone() else {
        panic!("{:?}", differing.fault);
    };
    let (height, rows) = (divergence.height, (divergence.own, divergence.theirs()));
    assert_eq!(rows, (differing.settled[&height].root_chain, cluster.hosts[0].settled[&height].root_chain));
    let block = divergence.header.hash();
    assert_eq!(divergence.certificate.as_ref().map(|quorum| quorum.block), Some(block), "a quorum answers for it");
    // It was told before, as the block was proposed, with its proposer's signed word.
    let first = differing.divergences.first().expect("it says so before it stops");
    assert_eq!(first.proposal.map(|proposal| proposal.body.block), Some(first.header.hash()));
    assert!(first.theirs() != first.own && first.certificate.is_none());
    assert!(!differing.decided.contains_key(&Height(height.0 + 2)), "the block that says otherwise is not recorded");
}

/// A chip appears from nowhere while a block is on its way: the height that finds out is named, and not recorded.
#[test]
fn a_height_that_breaks_an_invariant_is_named_and_not_recorded() {
    let mut cluster = Cluster::new(1, 0, 71);
    let given = seated(&mut cluster, 1, 1);
    assert!(cluster.until(400, |cluster| all_applied(cluster, &given)));
    let before = cluster.settled(0);
    let mut forge = systems::schedule::chained();
    forge.add_systems(|mut houses: Query<'_, '_, &mut House>| {
        houses.single_mut().expect("one house").treasury += Chips(1);
    });
    cluster.machine(0).run(&mut forge);
    bet_all(&mut cluster, 1, &[0]);
    assert!(cluster.until(400, |cluster| cluster.hosts[0].fault.is_some()));
    let fault = cluster.hosts[0].fault.clone();
    assert!(matches!(fault, Some(ExchangeError::Poison { .. })), "{fault:?}");
    assert!(cluster.hosts[0].decided.len() > cluster.hosts[0].settled.len(), "decided, and not settled");
    assert!(cluster.settled(0) >= before);
}

/// Heights with which a sum overflows: no decoder takes them, and what is behind the decoders does not stop for them either.
#[test]
fn heights_that_no_chain_has_stop_nobody() {
    let mut cluster = Cluster::new(4, 0, 95);
    let given = seated(&mut cluster, 4, 3);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    // One that follows looks at what others tell of: none of it is true.
    cluster.stop(2);
    cluster.hosts[2].log_is_lost = true;
    cluster.start(2);
    let key = cluster.keys.votes[3].clone();
    for height in [u64::MAX, u64::MAX - 4].map(Height) {
        let vote = |block| key.sign_vote(VoteBody::new(VoteKind::Precommit, height, 0, block, 3), &[9; 32]);
        let body = ProposalBody { block: [1; 32], height, round: 0, slot: 3, polka_round: NO_ROUND, reserved: [0; 12] };
        let proposal = key.sign_proposal(body, &[9; 32]);
        let share = |byte| key.sign_share(ShareBody::new(height, [1; 32], 0, 3, [byte; 48]), &[9; 32]);
        let standing = NodeStanding { decided: height, settled: height, certified: height, ..NodeStanding::default() };
        let messages = [
            NodeMessage::Evidence(Evidence::Votes(vote(None), vote(Some([1; 32])))),
            NodeMessage::Evidence(Evidence::Shares(share(1), share(2))),
            NodeMessage::Standing(standing),
            NodeMessage::Votes(vec![vote(None)]),
            NodeMessage::Proposal(proposal),
            NodeMessage::Share(share(1)),
            NodeMessage::AskBody(BlockRow { height, block: [1; 32] }),
            NodeMessage::AskRange(RangeRow::new(height, 64)),
        ];
        (0..4).filter(|from| *from != 2).for_each(|from| tell(&mut cluster, from, &[2], &messages));
        tell(&mut cluster, 3, &[0], &messages);
        for message in &messages {
            let mut bytes = Vec::new();
            message.encode(&mut bytes);
            assert!(NodeMessage::decode(message.kind(), &bytes).is_err(), "{:?}", message.kind());
        }
        cluster.steps(5);
    }
    let bets = bet_all(&mut cluster, 4, &[0, 1]);
    assert!(cluster.until(6_000, |cluster| all_answered(cluster, &bets)));
    assert!(cluster.hosts.iter().all(|host| host.fault.is_none() && host.evidence.is_empty()));
}

/// Anybody may come as a node, tell that the chain is further, and have nothing of it: no validator believes that its past is gone,
/// whether it has one or begins.
#[test]
fn one_that_is_ahead_and_has_nothing_to_tell_alarms_nobody() {
    for has_played in [false, true] {
        let mut cluster = Cluster::new(4, 1, 99);
        if has_played {
            let given = seated(&mut cluster, 4, 4);
            assert!(cluster.until(4_000, |cluster| all_applied(cluster, &given)));
            assert!(level(&mut cluster));
        }
        let asked = Rc::new(Cell::new(0));
        let count = asked.clone();
        cluster.tamper = Some(Box::new(move |from, to, message| {
            let is_question = (from, to) == (0, 4) && matches!(message, NodeMessage::AskRange(_));
            count.set(count.get() + u32::from(is_question));
            Some(message)
        }));
        let decided = Height(cluster.settled(0).0 + 1_000);
        tell(&mut cluster, 4, &[0], &[NodeMessage::Standing(NodeStanding { decided, ..NodeStanding::default() })]);
        for _ in 0..1_200 {
            cluster.step();
            tell(&mut cluster, 4, &[0], &[NodeMessage::Range(Vec::new())]);
            assert!(!cluster.machine(0).past_is_gone());
        }
        assert!(asked.get() > 1, "it is asked, and asked again: {}", asked.get());
        assert!(cluster.hosts[0].alarms.is_empty(), "{:?}", cluster.hosts[0].alarms);
    }
}

/// The blocks of one validator are an hour ahead, and a second proposal of each, for a round in which it has no turn, says that
/// a quorum voted for it.
#[test]
fn nobody_sets_the_time_ahead_by_saying_that_others_voted_for_a_block() {
    const HOUR_MS: u64 = 3_600_000;
    let mut cluster = Cluster::new(4, 0, 96);
    let key = cluster.keys.votes[3].clone();
    cluster.liars.insert(3);
    let built: Rc<RefCell<Vec<Block>>> = Rc::default();
    let stolen = built.clone();
    cluster.tamper = Some(Box::new(move |from, to, message| match message {
        NodeMessage::Body(block) if from == 3 && block.header.proposer == 3 => {
            stolen.borrow_mut().extend((to == 0).then_some(*block));
            None
        }
        NodeMessage::Proposal(proposal) if from == 3 && proposal.body.slot == 3 => None,
        other => Some(other),
    }));
    let mut lies = 0;
    for turn in 0..8 {
        let given = if turn == 0 { seated(&mut cluster, 4, 3) } else { bet_all(&mut cluster, 4, &[0, 1, 2]) };
        for _ in 0..2_000 {
            cluster.step();
            for mut block in built.take() {
                block.header.time_ms += HOUR_MS;
                block.intents.clear();
                (block.header.intent_count, block.header.intents) = (0, intents_root(&[]));
                let Header { height, round, .. } = block.header;
                let again = ProposalBody {
                    block: block.header.hash(),
                    height,
                    round: round + 1,
                    slot: 3,
                    polka_round: round,
                    reserved: [0; 12],
                };
                let first = ProposalBody { round, polka_round: NO_ROUND, ..again };
                let said = [again, first].map(|body| NodeMessage::Proposal(key.sign_proposal(body, &[9; 32])));
                let said = said.into_iter().chain([NodeMessage::Body(Box::new(block))]);
                tell(&mut cluster, 3, &[0, 1, 2], &said.collect::<Vec<_>>());
                lies += 1;
            }
            if all_answered(&cluster, &given) {
                break;
            }
        }
        assert!(all_answered(&cluster, &given), "turn {turn}");
    }
    assert!(lies > 0, "its turn came");
    let last = cluster.hosts[0].decided.values().map(|decided| decided.block.header.time_ms).max();
    let latest_ms = cluster.now_ms() + CLOCK_SKEW_MS_MAX;
    assert!(last.is_some_and(|time_ms| time_ms <= latest_ms), "{last:?} is after {latest_ms}");
}

/// One validator sends more bodies than there is room for, of blocks that it proposes for later rounds, while the others wait for
/// each other's votes.
#[test]
fn no_number_of_other_bodies_puts_out_the_one_that_was_voted_for() {
    let mut cluster = Cluster::new(4, 0, 97);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    let height = cluster.machine(0).chain().decided.next();
    let proposer = cluster.machine(0).validators_at(height).proposer(height, 0);
    let liar = (proposer + 1) % 4;
    let honest: Vec<usize> = (0..4).filter(|slot| *slot != liar as usize).collect();
    cluster.liars.insert(liar);
    let waits = Rc::new(Cell::new(true));
    let waiting = waits.clone();
    cluster.tamper = Some(Box::new(move |_, _, message| match &message {
        NodeMessage::Votes(votes) if waiting.get() && votes.iter().any(|vote| vote.body.height == height) => None,
        _ => Some(message),
    }));
    bet_all(&mut cluster, 4, &honest);
    let voters = honest.clone();
    let have_voted = move |cluster: &Cluster| {
        let voted = |slot: usize| {
            let votes = cluster.logged_votes(slot, height);
            votes.iter().any(|vote| vote.slot as usize == slot && vote.value().is_some())
        };
        voters.iter().all(|slot| voted(*slot))
    };
    assert!(cluster.until(400, have_voted));
    let mut junk = Vec::new();
    for round in 1..=5 {
        let mut block = cluster.hosts[0].decided[&height.back(1)].block.clone();
        block.intents = vec![Intent::zeroed(); BLOCK_INTENTS_MAX];
        let (intents, intent_count) = (intents_root(&block.intents), BLOCK_INTENTS_MAX as u32);
        block.header = Header { height, round, proposer: liar, intents, intent_count, ..block.header };
        let named = block.header.hash();
        let body = ProposalBody { block: named, height, round, slot: liar, polka_round: NO_ROUND, reserved: [0; 12] };
        junk.push(NodeMessage::Proposal(cluster.keys.votes[liar as usize].sign_proposal(body, &[9; 32])));
        junk.push(NodeMessage::Body(Box::new(block)));
    }
    tell(&mut cluster, liar, &honest, &junk);
    cluster.steps(3);
    waits.set(false);
    assert!(
        cluster.until(2_000, |cluster| honest.iter().all(|slot| cluster.hosts[*slot].decided.contains_key(&height)))
    );
    assert_eq!(cluster.hosts[honest[0]].decided[&height].block.header.proposer, proposer);
}

/// One alone hears that a block is decided whose body had to make room: nobody can tell it of that height. It asks for the body, and
/// tells the others of the height.
#[test]
fn whoever_has_no_body_of_what_it_alone_knows_to_be_decided_asks_for_it() {
    let mut cluster = Cluster::new(4, 0, 98);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    let height = cluster.machine(0).chain().decided.next();
    let is_open = Rc::new(Cell::new(false));
    let opens = is_open.clone();
    cluster.tamper = Some(Box::new(move |_, to, message| match message {
        NodeMessage::Votes(mut votes) => {
            let is_heard = |body: &VoteBody| body.height != height || body.kind != VoteKind::Precommit as u8;
            votes.retain(|vote| is_heard(&vote.body) || (to == 3 && opens.get()));
            (!votes.is_empty()).then_some(NodeMessage::Votes(votes))
        }
        NodeMessage::Round(round) if round.height == height => None,
        other => Some(other),
    }));
    let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
    let has_voted = |cluster: &Cluster, slot: usize| {
        let votes = cluster.logged_votes(slot, height);
        votes.iter().any(|vote| vote.slot as usize == slot && vote.kind == VoteKind::Precommit as u8)
    };
    assert!(cluster.until(400, |cluster| (0..4).all(|slot| has_voted(cluster, slot))));
    let mut forget = systems::schedule::chained();
    forget.add_systems(move |mut bodies: ResMut<'_, Bodies>| bodies.forget_up_to(height));
    cluster.machine(3).run(&mut forget);
    is_open.set(true);
    assert!(cluster.until(3_000, |cluster| (0..4).all(|slot| cluster.hosts[slot].decided.contains_key(&height))));
    assert!(cluster.hosts[3].fence < height, "nobody told it of that height");
    cluster.tamper = None;
    assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    assert!(level(&mut cluster), "they go on together");
}
