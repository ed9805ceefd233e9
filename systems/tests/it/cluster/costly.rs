//! One validator, or anybody, has the others work for nothing: it costs them little, and whoever pays nothing for it is put out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use engine::component::{Peer, PeerStatus};
use engine::io::{Input, Offence};
use engine::limits::{AHEAD_ROUNDS, BLOCK_INTENTS_MAX, BLOCK_PLEDGES_MAX, NODE_QUESTIONS_MAX, TICK_MS};
use engine::message::block::{Block, Header, intents_root, pledges_root};
use engine::message::certificate::{Certificate, CertificateSignature};
use engine::message::intent::{Intent, IntentKind};
use engine::message::node::{BlockRow, NodeMessage, NodeStanding, RoundCertificate};
use engine::message::pledge::PledgeRow;
use engine::message::vote::{NO_ROUND, ProposalBody, Vote, VoteBody, VoteKind};
use engine::{Hash, Height, PeerId};

use super::{all_answered, all_applied, bet_all, level, seated, tell};
use crate::cluster_pledged;
use crate::hosts::{CHAIN, Cluster, network_key};

/// A block that may be the next one, with the sections of the one before.
fn next_block(cluster: &mut Cluster, proposer: u32, round: u32) -> Block {
    let height = cluster.machine(0).chain().decided.next();
    let (root_chain, time_ms) = (cluster.machine(0).chain().root_chain_for(height), cluster.now_ms());
    let decided = cluster.hosts[0].decided[&height.back(1)].clone();
    let (parent, certificate) = (decided.certificate.block, decided.certificate.hash());
    let mut block = Block { certificate: Some(decided.certificate), ..decided.block };
    block.header = Header { height, round, root_chain, proposer, parent, time_ms, certificate, ..block.header };
    block
}

/// What the proposer of a block says of it.
fn proposed(cluster: &Cluster, block: Block) -> [NodeMessage; 2] {
    let Header { height, round, proposer: slot, .. } = block.header;
    let named = block.header.hash();
    let body = ProposalBody { block: named, height, round, slot, polka_round: NO_ROUND, reserved: [0; 12] };
    let proposal = cluster.keys.votes[slot as usize].sign_proposal(body, &CHAIN);
    [NodeMessage::Proposal(proposal), NodeMessage::Body(Box::new(block))]
}

/// Anybody may come as a node and send certificates that nobody signed, each of which costs as many verifications as it names
/// validators: it is put out. Whoever sends what was signed is not.
#[test]
fn whoever_sends_certificates_that_nobody_signed_is_put_out() {
    let mut cluster = Cluster::new(4, 1, 94);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    let height = cluster.machine(0).chain().decided.next();
    let waits = Rc::new(Cell::new(true));
    let waiting = waits.clone();
    cluster.tamper = Some(Box::new(move |_, _, message| match &message {
        NodeMessage::Votes(votes) if waiting.get() && votes.iter().any(|vote| vote.body.height == height) => None,
        _ => Some(message),
    }));
    let bets = bet_all(&mut cluster, 4, &[0, 1, 2, 3]);
    assert!(cluster.until(400, |cluster| !cluster.logged_votes(0, height).is_empty()), "the height is under way");
    let signature = [5; 64];
    let signatures: Vec<CertificateSignature> = (0..3).map(|slot| CertificateSignature { slot, signature }).collect();
    let nil = |slot| Vote { body: VoteBody::new(VoteKind::Precommit, height, 0, None, slot), signature };
    let polka = NodeMessage::Polka(Certificate { height, round: 0, block: [7; 32], signatures });
    let round = RoundCertificate { height, round: 0, precommits: true, votes: (0..3).map(nil).collect() };
    let forged = [polka, NodeMessage::Round(round)];
    let status = |cluster: &mut Cluster, slot: usize| cluster.machine(0).read_peers(|rows| rows[slot].status);
    (0..4).for_each(|_| tell(&mut cluster, 4, &[0], &forged));
    cluster.step();
    assert_eq!(status(&mut cluster, 4), PeerStatus::Node as u8, "eight of them");
    (0..3).for_each(|_| tell(&mut cluster, 4, &[0], &forged));
    cluster.step();
    assert_eq!(status(&mut cluster, 4), PeerStatus::Banned as u8);
    waits.set(false);
    assert!(cluster.until(4_000, |cluster| all_answered(cluster, &bets)));
    assert!((1..4).all(|slot| status(&mut cluster, slot) == PeerStatus::Node as u8), "others told what they verified");
}

/// One validator votes at every height before anybody has a reason to begin it: heights follow each other at the interval all the
/// same.
#[test]
fn no_single_vote_cuts_the_interval_between_heights_short() {
    let (interval_ms, ticks) = (1_000, 1_000);
    let mut cluster = Cluster::with(4, 0, 93, |genesis| genesis.block_interval_ms = interval_ms);
    let given = seated(&mut cluster, 4, 3);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    cluster.liars.insert(3);
    let key = cluster.keys.votes[3].clone();
    let (before, mut last) = (cluster.machine(0).chain().decided, Height::GENESIS);
    for _ in 0..ticks {
        let height = cluster.machine(0).chain().decided.next();
        if height > last {
            let nil = key.sign_vote(VoteBody::new(VoteKind::Prevote, height, 0, None, 3), &[9; 32]);
            tell(&mut cluster, 3, &[0, 1, 2], &[NodeMessage::Votes(vec![nil])]);
            last = height;
        }
        cluster.step();
    }
    let heights = cluster.machine(0).chain().decided.0 - before.0;
    assert!(heights > 1, "what one validator alone says is heard");
    assert!(heights <= ticks * TICK_MS / interval_ms + 1, "{heights} heights");
}

/// One validator proposes for later rounds what takes many ticks to verify, before the proposer of the first one proposes.
#[test]
fn what_is_proposed_for_later_rounds_keeps_the_present_one_waiting_for_nothing() {
    let mut cluster = Cluster::new(4, 0, 92);
    cluster.delay = (1, 0);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    let mut sign = |place: usize| cluster.intent(100 + place as u32 / 64, IntentKind::Open, |body| body);
    let intents: Vec<Intent> = (0..BLOCK_INTENTS_MAX).map(&mut sign).collect();
    let height = cluster.machine(0).chain().decided.next();
    let validators = cluster.machine(0).validators_at(height);
    let proposer = validators.proposer(height, 0);
    let liar = (proposer + 1) % 4;
    let honest: Vec<usize> = (0..4).filter(|slot| *slot != liar as usize).collect();
    cluster.liars.insert(liar);
    let rounds = (1..=AHEAD_ROUNDS).filter(|round| validators.proposer(height, *round) == liar);
    let mut junk = Vec::new();
    for (round, twice) in rounds.flat_map(|round| [(round, 0), (round, 1)]).take(4) {
        let mut block = Block { intents: intents.clone(), ..next_block(&mut cluster, liar, round) };
        block.header.time_ms += twice;
        (block.header.intents, block.header.intent_count) = (intents_root(&block.intents), BLOCK_INTENTS_MAX as u32);
        junk.extend(proposed(&cluster, block));
    }
    assert_eq!(junk.len(), 8, "as many bodies as there is room for");
    tell(&mut cluster, liar, &honest, &junk);
    bet_all(&mut cluster, 4, &[proposer as usize]);
    // A body of the junk alone takes eight ticks.
    assert!(cluster.until(16, |cluster| honest.iter().all(|slot| cluster.hosts[*slot].decided.contains_key(&height))));
    assert_eq!(cluster.hosts[honest[0]].decided[&height].block.header.round, 0);
}

/// Has whose turn it is propose a block of these pledges and say nothing else, once nothing happens any more. Gives the block's height
/// and hash, and the others.
fn propose_pledges(cluster: &mut Cluster, pledges: Vec<PledgeRow>) -> (Height, Hash, Vec<usize>) {
    cluster.steps(600);
    let height = cluster.machine(0).chain().decided.next();
    let liar = cluster.machine(0).validators_at(height).proposer(height, 0);
    let others: Vec<usize> = (0..4).filter(|slot| *slot != liar as usize).collect();
    cluster.liars.insert(liar);
    cluster.tamper = Some(Box::new(move |from, _, message| (from != liar as usize).then_some(message)));
    let mut block = Block { pledges, ..next_block(cluster, liar, 0) };
    block.header.pledges = pledges_root(&block.pledges);
    let named = block.header.hash();
    let said = proposed(cluster, block);
    tell(cluster, liar, &others, &said);
    (height, named, others)
}

/// A cluster with pledged tables of which one block is decided, and pledges that are signed by keys without a seat.
fn pledged(followers: usize) -> (Cluster, Vec<PledgeRow>) {
    let mut cluster = cluster_pledged::cluster(followers);
    cluster.delay = (1, 0);
    let open = cluster.intent(0, IntentKind::Open, |body| body);
    cluster.give(0, vec![open]);
    assert!(cluster.until(400, |cluster| all_applied(cluster, &[(0, open)])));
    (cluster, cluster_pledged::foreign(BLOCK_PLEDGES_MAX as u32, [8; 32]))
}

/// One validator proposes what is valid and takes many signatures to verify: they are verified in parts, so that no tick's votes wait
/// for all of them, and each of them before anybody votes for the block.
#[test]
fn pledges_of_a_proposed_block_are_verified_in_parts() {
    let (mut cluster, mut rows) = pledged(0);
    for is_forged in [false, true] {
        if is_forged {
            rows.last_mut().expect("there are many").signature = [3; 64];
        }
        let (height, named, others) = propose_pledges(&mut cluster, rows.clone());
        let has_voted = |cluster: &Cluster, slot: usize| {
            let votes = cluster.logged_votes(slot, height);
            votes.iter().any(|vote| vote.slot as usize == slot && vote.value() == Some(named))
        };
        cluster.steps(3);
        assert!(!others.iter().any(|slot| has_voted(&cluster, *slot)), "a quarter of them is verified in a tick");
        cluster.steps(7);
        assert!(others.iter().all(|slot| has_voted(&cluster, *slot) != is_forged), "forged: {is_forged}");
        cluster.tamper = None;
    }
}

/// The same where others tell of what was decided: as many heights are verified in a tick as there are signatures to it.
#[test]
fn heights_of_many_pledges_are_verified_one_after_another() {
    let (mut cluster, rows) = pledged(1);
    cluster.stop(4);
    let heights = [(); 2].map(|()| {
        let (height, _, others) = propose_pledges(&mut cluster, rows.clone());
        assert!(cluster.until(200, |cluster| others.iter().all(|slot| has_decided(cluster, *slot, height))));
        cluster.tamper = None;
        height
    });
    cluster.start(4);
    assert!(cluster.until(400, |cluster| has_decided(cluster, 4, heights[0])));
    assert!(!has_decided(&cluster, 4, heights[1]));
    assert!(cluster.until(40, |cluster| has_decided(cluster, 4, heights[1])));
}

fn has_decided(cluster: &Cluster, slot: usize, height: Height) -> bool {
    cluster.hosts[slot].decided.contains_key(&height)
}

/// Whoever asks for a body pays a few bytes for up to a megabyte: of one node's questions one is answered in a tick, and of those for
/// one body one in the time after which an honest node asks again.
#[test]
fn bodies_are_told_no_faster_than_whoever_lacks_them_asks() {
    let mut cluster = Cluster::new(4, 1, 90);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    cluster.liars.insert(3);
    let blocks = [1, 2].map(|round| next_block(&mut cluster, 3, round));
    let (height, names) = (blocks[0].header.height, blocks.each_ref().map(|block| block.header.hash()));
    let told: Rc<RefCell<Vec<Hash>>> = Rc::default();
    let heard = told.clone();
    cluster.tamper = Some(Box::new(move |from, to, message| match &message {
        // The height stays under way, so that its bodies are there.
        NodeMessage::Votes(_) => None,
        NodeMessage::Body(block) if (from, to) == (0, 4) && names.contains(&block.header.hash()) => {
            heard.borrow_mut().push(block.header.hash());
            Some(message)
        }
        _ => Some(message),
    }));
    for block in blocks {
        let said = proposed(&cluster, block);
        tell(&mut cluster, 3, &[0], &said);
    }
    cluster.step();
    let questions = names.map(|block| NodeMessage::AskBody(BlockRow { height, block }));
    let questions: Vec<NodeMessage> = questions.iter().cycle().take(NODE_QUESTIONS_MAX).cloned().collect();
    let ask = |cluster: &mut Cluster| {
        tell(cluster, 4, &[0], &questions);
        cluster.step();
    };
    ask(&mut cluster);
    cluster.steps(2);
    assert_eq!(*told.borrow(), names[..1], "one in a tick");
    // From the third tick to the twelfth; each is told again behind the tenth after it was.
    (0..10).for_each(|_| ask(&mut cluster));
    cluster.steps(2);
    assert_eq!(*told.borrow(), [names[0], names[1], names[0]]);
}

/// A claim is of the network key that it names: whoever tells another's has proved nothing by it, and nobody has two lives for it.
#[test]
fn whoever_tells_the_claim_of_another_is_no_validator() {
    let mut cluster = Cluster::new(4, 1, 88);
    cluster.steps(10);
    let claim = cluster.keys.votes[2].sign_claim(2, network_key(2), &CHAIN);
    tell(&mut cluster, 4, &[0], &[NodeMessage::Claim(claim)]);
    cluster.step();
    let (own, teller) = cluster.machine(0).read_peers(|rows| (rows[2], rows[4]));
    assert_eq!((own.validator, own.score), (2, 0));
    assert_eq!(teller.validator, Peer::NO_VALIDATOR);
    assert!(teller.score > 0, "it is held against the teller");
    assert!(cluster.hosts[0].alarms.is_empty(), "{:?}", cluster.hosts[0].alarms);
}

/// Whoever leaves before it is put out has the same score when it comes back, with that key alone.
#[test]
fn whoever_comes_back_is_held_to_what_it_did_before() {
    let mut cluster = Cluster::new(1, 0, 87);
    let peer = |generation| PeerId { slot: 1, generation };
    let joins = |peer, key| Input::Joined { peer, key, address: [0; 16], node: false };
    let offends = |peer| Input::Offended { peer, offence: Offence::BadSignature };
    let status = |cluster: &mut Cluster| {
        cluster.step();
        cluster.machine(0).read_peers(|rows| rows[1].status)
    };
    cluster.hosts[0].inputs.push(joins(peer(1), [9; 32]));
    cluster.hosts[0].inputs.extend((0..9).map(|_| offends(peer(1))));
    assert_eq!(status(&mut cluster), PeerStatus::Client as u8, "one more is too many");
    cluster.hosts[0].inputs.extend([Input::Left(peer(1)), joins(peer(2), [8; 32]), offends(peer(2))]);
    assert_eq!(status(&mut cluster), PeerStatus::Client as u8, "another key has a score of its own");
    cluster.hosts[0].inputs.extend([Input::Left(peer(2)), joins(peer(3), [9; 32]), offends(peer(3))]);
    assert_eq!(status(&mut cluster), PeerStatus::Banned as u8);
}

/// Anybody may come as a node and say that the chain is further: a validator that lacks one height still waits for its votes before it
/// asks others for it, and asks them then.
#[test]
fn whoever_says_that_the_chain_is_further_cuts_the_wait_for_votes_short_for_nobody_else() {
    let mut cluster = Cluster::new(4, 1, 91);
    cluster.delay = (1, 0);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    // Until nothing happens any more.
    cluster.steps(600);
    let height = cluster.machine(0).chain().decided.next();
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    cluster.tamper = Some(Box::new(move |from, to, message| match message {
        NodeMessage::AskRange(_) if from == 0 && to < 4 => {
            count.set(count.get() + 1);
            Some(message)
        }
        NodeMessage::Votes(mut votes) if to == 0 => {
            votes.retain(|vote| vote.body.height != height || vote.body.kind != VoteKind::Precommit as u8);
            (!votes.is_empty()).then_some(NodeMessage::Votes(votes))
        }
        other => Some(other),
    }));
    let decided = Height(height.0 + 1_000);
    tell(&mut cluster, 4, &[0], &[NodeMessage::Standing(NodeStanding { decided, ..NodeStanding::default() })]);
    cluster.step();
    // It was asked, and has nothing.
    tell(&mut cluster, 4, &[0], &[NodeMessage::Range(Vec::new())]);
    cluster.steps(40);
    bet_all(&mut cluster, 4, &[1, 2, 3]);
    assert!(cluster.until(100, |cluster| (1..4).all(|slot| cluster.hosts[slot].decided.contains_key(&height))));
    cluster.steps(6);
    assert!(!cluster.hosts[0].decided.contains_key(&height), "its votes are on their way");
    assert_eq!(asked.get(), 0, "votes are waited for");
    assert!(cluster.until(60, |cluster| cluster.hosts[0].decided.contains_key(&height)));
    assert!(asked.get() > 0, "others are asked then");
}
