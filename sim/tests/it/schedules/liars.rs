//! What one validator that lies must not bring about.

use std::cell::RefCell;
use std::rc::Rc;

use engine::Height;
use engine::message::block::{Block, intents_root};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::node::{NodeMessage, RoundCertificate};
use engine::message::share::ShareBody;
use engine::message::vote::{Proposal, ProposalBody, Vote, VoteBody, VoteKind};
use order::signature::VoteKey;
use sim::cluster::script::Meddling;
use sim::draw::Draw;
use sim::{Cluster, Signatures};

use super::{goes_on, led, led_with, the_others_go_on};

#[test]
fn votes_in_a_certificate_that_says_nothing_new_are_held_against_nobody() {
    led(10, |mut cluster| {
        goes_on(&mut cluster, 3);
        cluster.distrust(3);
        for _ in 0..60 {
            for node in 0..3 {
                let height = cluster.decided(node).next();
                // Everybody is in round 0, or beyond; nobody signed these.
                let vote = |slot| {
                    let body = VoteBody::new(VoteKind::Prevote, height, 0, Some([9; 32]), slot);
                    Vote { body, signature: [7; 64] }
                };
                let votes = vec![vote(0), vote(1), vote(2)];
                let forged = RoundCertificate { height, round: 0, precommits: false, votes };
                cluster.say(3, node, NodeMessage::Round(forged));
            }
            cluster.go_on(20).expect("sound");
        }
        let target = Height(cluster.highest().0 + 5);
        let went_on = cluster.until(10_000, |cluster| (0..3).all(|node| cluster.settled(node) >= target));
        assert!(went_on.expect("sound"), "{}", cluster.stands());
    });
}

#[test]
fn whatever_one_says_to_a_running_cluster_the_others_go_on() {
    for seed in 0..40 {
        led(seed, |mut cluster| {
            goes_on(&mut cluster, 3);
            cluster.distrust(3);
            cluster.meddle(Some(garbling(seed)));
            for _ in 0..4 {
                let target = Height(cluster.highest().0 + 3);
                let went_on = cluster.until(15_000, |cluster| (0..3).all(|node| cluster.settled(node) >= target));
                assert!(went_on.expect("sound"), "seed {seed}: {}", cluster.stands());
            }
        });
    }
}

#[test]
fn a_body_that_is_not_what_its_header_says_speaks_against_its_teller_and_not_against_the_block() {
    led(12, |mut cluster| {
        goes_on(&mut cluster, 3);
        cluster.distrust(3);
        let later = cluster.reached("decided in a later round");
        // Whatever node 3 proposes, node 0 hears of its header with something else behind it, before anybody's honest word.
        cluster.meddle(Some(Box::new(|said| match said.message {
            NodeMessage::Body(block) if (said.from, said.to) == (3, 0) => {
                let mut block = block.clone();
                if let Some(entry) = block.certificate.iter_mut().flat_map(|carried| &mut carried.signatures).next() {
                    entry.signature[7] ^= 1;
                }
                Some(vec![NodeMessage::Body(block)])
            }
            _ => None,
        })));
        let target = Height(cluster.highest().0 + 12);
        let went_on = cluster.until(20_000, |cluster| (0..3).all(|node| cluster.settled(node) >= target));
        assert!(went_on.expect("sound"), "{}", cluster.stands());
        assert_eq!(cluster.reached("decided in a later round"), later, "nobody votes against what node 3 proposes");
        assert!(cluster.reached("a liar was put out") > 0);
    });
}

/// Half of what node 3 says has some bits that are wrong, and is what those bytes say, if they say anything.
fn garbling(seed: u64) -> Meddling {
    let mut draw = Draw::new(seed, "garbled");
    Box::new(move |said| {
        if said.from != 3 || draw.below(2) == 0 {
            return None;
        }
        let mut bytes = Vec::new();
        said.message.encode(&mut bytes);
        for _ in 0..=draw.below(3) {
            let place = draw.below(bytes.len() as u64) as usize;
            bytes[place] ^= 1 << draw.below(8);
        }
        Some(NodeMessage::decode(said.message.kind(), &bytes).into_iter().collect())
    })
}

#[test]
fn votes_far_ahead_by_the_thousand_crowd_out_no_honest_vote() {
    led(8, |mut cluster| {
        goes_on(&mut cluster, 3);
        cluster.distrust(3);
        let (key, chain) = (cluster.vote_key(3), cluster.chain());
        for step in 0..40u32 {
            let height = Height(cluster.highest().0 + 2 + u64::from(step % 4));
            let votes: Vec<Vote> = (0..250u32)
                .map(|number| {
                    let mut block = [0; 32];
                    block[..4].copy_from_slice(&(step * 1_000 + number).to_le_bytes());
                    let kind = if number % 2 == 0 { VoteKind::Prevote } else { VoteKind::Precommit };
                    key.sign_vote(VoteBody::new(kind, height, number % 12, Some(block), 3), &chain)
                })
                .collect();
            (0..3).for_each(|node| cluster.say(3, node, NodeMessage::Votes(votes.clone())));
            cluster.go_on(25).expect("sound");
        }
        let target = Height(cluster.highest().0 + 5);
        let went_on = cluster.until(10_000, |cluster| (0..3).all(|node| cluster.settled(node) >= target));
        assert!(went_on.expect("sound"));
    });
}

/// Whether a height's first turn is node 3's, as node 0 sees it.
fn is_turn_of_3(cluster: &mut Cluster, height: Height) -> bool {
    cluster.turns(0).is_some_and(|(next, turns)| next == height && turns[0] == 3)
}

/// Goes on until node 3 is about to propose the next height, and says which that is.
fn before_a_turn_of_3(cluster: &mut Cluster) -> Height {
    let came = cluster.until(20_000, |cluster| {
        let next = cluster.decided(0).next();
        is_turn_of_3(cluster, next)
    });
    assert!(came.expect("sound"), "{}", cluster.stands());
    cluster.decided(0).next()
}

/// What node 3 says in place of a block that it proposes: another block under its own key, to those whom a rule picks; and
/// nothing else of that height.
fn proposing_otherwise(
    height: Height,
    key: VoteKey,
    chain: engine::Hash,
    picks: impl Fn(u32) -> bool + 'static,
    change: impl Fn(&mut Block) + 'static,
) -> Meddling {
    let mut first: Option<Proposal> = None;
    Box::new(move |said| match said.message {
        NodeMessage::Proposal(proposal) if said.from == 3 && proposal.body.height == height => {
            first = Some(*proposal);
            picks(said.to).then(Vec::new)
        }
        NodeMessage::Body(block) if said.from == 3 && block.header.height == height && picks(said.to) => {
            let mut other = block.clone();
            change(&mut other);
            let body = ProposalBody { block: other.header.hash(), ..first?.body };
            Some(vec![NodeMessage::Proposal(key.sign_proposal(body, &chain)), NodeMessage::Body(other)])
        }
        NodeMessage::Votes(votes) if said.from == 3 && votes.iter().any(|vote| vote.body.height == height) => {
            Some(Vec::new())
        }
        _ => None,
    })
}

#[test]
fn a_proposer_that_says_one_thing_to_two_and_another_to_the_third_is_decided_without() {
    // Who lied has no turn for a long time: each try is another cluster's.
    for seed in 130..136 {
        led(seed, |mut cluster| {
            goes_on(&mut cluster, 3);
            cluster.distrust(3);
            let (key, chain) = (cluster.vote_key(3), cluster.chain());
            let height = before_a_turn_of_3(&mut cluster);
            let mut second = proposing_otherwise(height, key, chain, |to| to == 2, |block| block.header.time_ms += 1);
            // The first block's body comes late to whoever was told of it.
            cluster.meddle(Some(Box::new(move |said| match said.message {
                NodeMessage::Body(block) if (said.from, said.to) == (3, 1) && block.header.height == height => {
                    Some(Vec::new())
                }
                _ => second(said),
            })));
            the_others_go_on(&mut cluster, 3, 15_000);
        });
    }
}

/// How many of them there are.
const MALFORMED: usize = 8;

/// What stands under an intent that no node may take, and what is wrong with it.
fn malformed(honest: &Intent) -> Vec<(&'static str, Intent)> {
    let point = |text: &str| -> [u8; 32] { engine::unhex(text).expect("32 bytes of hex") };
    let (off_curve, identity) = (point(&format!("02{}", "00".repeat(31))), point(&format!("01{}", "00".repeat(31))));
    let order = point("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
    let wrong = |name, change: &dyn Fn(&mut Intent)| {
        let mut intent = *honest;
        change(&mut intent);
        (name, intent)
    };
    vec![
        wrong("another body", &|intent| intent.body.number += 1),
        wrong("zeros", &|intent| intent.signature = [0; 64]),
        wrong("R off the curve", &|intent| intent.signature[..32].copy_from_slice(&off_curve)),
        wrong("the top bits of s", &|intent| intent.signature[63] |= 0xe0),
        wrong("s plus the order", &|intent| {
            let mut carry = 0;
            for (digit, other) in intent.signature[32..].iter_mut().zip(order) {
                let sum = u16::from(*digit) + u16::from(other) + carry;
                (*digit, carry) = (sum as u8, sum >> 8);
            }
        }),
        wrong("a key off the curve", &|intent| intent.body.key = off_curve),
        // Under ZIP-215 these hold; no such key may have an account.
        wrong("a key of small order", &|intent| {
            intent.body.key = identity;
            (intent.signature[..32].copy_from_slice(&identity), intent.signature[32..].fill(0)).1
        }),
        wrong("a key that is written otherwise", &|intent| {
            intent.body.key = point(&format!("ee{}7f", "ff".repeat(30)));
        }),
    ]
}

/// Votes of round 0 of a height on what node 3 proposed, by the voter.
type Prevotes = Rc<RefCell<Vec<(u32, Option<engine::Hash>)>>>;

#[test]
fn all_nodes_have_one_verdict_on_keys_and_signatures_that_cannot_be() {
    // The first one is honest. Who lied has no turn for a long time: each is another cluster's.
    for case in 0..=MALFORMED {
        led_with(Signatures::Real, 14, |mut cluster| {
            goes_on(&mut cluster, 3);
            cluster.distrust(3);
            let (key, chain, player) = (cluster.vote_key(3), cluster.chain(), cluster.player_key(100));
            let expiry_s = u32::try_from(cluster.wall_ms() / 1_000 + 40).expect("until 2106");
            let honest = player.sign(IntentBody::new(IntentKind::Open, player.public(), 1, expiry_s), &chain);
            let mut cases = malformed(&honest);
            cases.insert(0, ("nothing", honest));
            assert_eq!(cases.len(), MALFORMED + 1);
            let (name, intent) = cases.swap_remove(case);
            let height = before_a_turn_of_3(&mut cluster);
            let prevotes = Prevotes::default();
            let (heard, mut lie) = (Rc::clone(&prevotes), {
                let add = move |block: &mut Block| {
                    block.intents.push(intent);
                    block.header.intents = intents_root(&block.intents);
                    block.header.intent_count += 1;
                };
                proposing_otherwise(height, key, chain, |_| true, add)
            });
            cluster.meddle(Some(Box::new(move |said| {
                if let NodeMessage::Votes(votes) = said.message {
                    let first = votes.iter().map(|vote| vote.body).filter(|body| {
                        (body.height, body.round, body.slot) == (height, 0, said.from)
                            && body.kind == VoteKind::Prevote as u8
                            && said.from != 3
                    });
                    heard.borrow_mut().extend(first.map(|body| (body.slot, body.value())));
                }
                lie(said)
            })));
            the_others_go_on(&mut cluster, 2, 15_000);
            let prevotes = prevotes.borrow();
            assert!((0..3).all(|slot| prevotes.iter().any(|(voter, _)| *voter == slot)), "{name}: {prevotes:?}");
            let is_taken = name == "nothing";
            assert!(prevotes.iter().all(|(_, value)| value.is_some() == is_taken), "{name}: {prevotes:?}");
        });
    }
}

#[test]
fn a_share_that_another_is_said_to_have_sent_speaks_against_nobody_but_its_teller() {
    led(15, |mut cluster| {
        goes_on(&mut cluster, 3);
        cluster.distrust(3);
        let (key, chain) = (cluster.vote_key(3), cluster.chain());
        // Whatever node 3 hears of, it has shares of others for, which it signs itself.
        cluster.meddle(Some(Box::new(move |said| match said.message {
            NodeMessage::Share(share) if said.from == 3 => {
                let of = |slot: u32| {
                    let mut body: ShareBody = share.body;
                    body.slot = slot;
                    body.share[slot as usize] ^= 1;
                    NodeMessage::Share(key.sign_share(body, &chain))
                };
                Some((0..4).filter(|slot| *slot != said.to).map(of).collect())
            }
            _ => None,
        })));
        // No honest one is put out, and nobody keeps evidence against one: the cluster looks.
        the_others_go_on(&mut cluster, 10, 20_000);
        assert!(cluster.reached("a liar was put out") > 0);
    });
}
