//! Bugs that others had, each as a schedule that leads a cluster to where it was: a test is named after what must hold.

use engine::Height;
use engine::message::node::{NodeMessage, RoundCertificate};
use engine::message::vote::{Vote, VoteBody, VoteKind};
use sim::cluster::script::{Meddling, Said};
use sim::draw::Draw;
use sim::fault::Faults;
use sim::{Clock, Cluster, Plan, Signatures, remembering};

/// Leads a cluster of four through a schedule.
fn led(seed: u64, lead: impl FnOnce(Cluster) + Send) {
    let plan = Plan { faults: Faults::None, signatures: Signatures::Simulated, ..Plan::of(seed) };
    std::thread::scope(|scope| {
        let work = || {
            let _pool = engine::pool::build(1).expect("a pool");
            remembering(Signatures::Simulated, || {
                let mut cluster = Cluster::new(plan).expect("a genesis");
                cluster.begin_schedule();
                lead(cluster);
            });
        };
        scope.spawn(work).join().expect("the schedule holds");
    });
}

/// Goes on until every node that runs has settled some more heights.
fn goes_on(cluster: &mut Cluster, more: u64) {
    let target = Height(cluster.highest().0 + more);
    let levelled = cluster.until(20_000, |cluster| cluster.all_settled(target)).expect("sound");
    assert!(levelled, "height {target} was not settled everywhere in 20 s; the highest is {}", cluster.highest());
}

/// Drops everything that a rule picks.
fn dropping(mut picks: impl FnMut(&Said<'_>) -> bool + 'static) -> Option<Meddling> {
    Some(Box::new(move |said| picks(&said).then(Vec::new)))
}

#[test]
fn a_lock_that_only_one_knows_of_holds_up_nothing_for_long() {
    led(1, |mut cluster| {
        goes_on(&mut cluster, 5);
        // Its first proposer is node 0.
        let height = Height(cluster.highest().0 / 4 * 4 + 8);
        // Node 3 hears no proposal of round 0, votes nil there, and is silent from then on. Of the others, node 1 alone sees
        // that the block has a quorum: it is locked, and would vote for nothing else.
        cluster.meddle(dropping(move |said| match said.message {
            NodeMessage::Proposal(proposal) if proposal.body.height == height => {
                (said.to == 3 && proposal.body.round == 0) || said.from == 3
            }
            NodeMessage::Votes(votes) => votes.iter().any(|vote| {
                let body = vote.body;
                let hidden = said.from == 1 && said.to != 3 && body.kind == VoteKind::Prevote as u8 && body.round == 0;
                body.height == height && (hidden || (said.from == 3 && body.round > 0))
            }),
            _ => false,
        }));
        let decided = cluster.until(20_000, |cluster| (0..3).all(|node| cluster.decided(node) > height));
        assert!(decided.expect("sound"), "height {height} was not decided in 20 s");
        assert!(cluster.reached("decided in a later round") > 0);
        cluster.meddle(None);
        goes_on(&mut cluster, 3);
        cluster.finish().expect("sound");
    });
}

#[test]
fn all_down_at_any_moment_without_certificates_of_prevotes_they_go_on() {
    led(2, |mut cluster| {
        let mut draw = Draw::new(2, "all down");
        for round in 0..8 {
            goes_on(&mut cluster, 3);
            // Whoever restarts hears no certificate of prevotes for a while, and bodies before or after proposals.
            cluster.meddle(dropping(|said| matches!(said.message, NodeMessage::Polka(_))));
            cluster.go_on(draw.below(120)).expect("sound");
            let mut order = [0, 1, 2, 3];
            draw.shuffle(&mut order);
            for node in order {
                if (round + node) % 2 == 0 { cluster.take_down(node) } else { cluster.cut_power_of(node) }
            }
            draw.shuffle(&mut order);
            for node in order {
                cluster.bring_up(node).expect("sound");
                cluster.go_on(draw.below(300)).expect("sound");
            }
            cluster.go_on(1_000).expect("sound");
            cluster.meddle(None);
        }
        goes_on(&mut cluster, 3);
        assert!(cluster.reached("all nodes were down at once") > 0);
        cluster.finish().expect("sound");
    });
}

#[test]
fn one_that_missed_the_last_decision_levels_and_takes_the_place_of_another() {
    led(3, |mut cluster| {
        goes_on(&mut cluster, 5);
        for missed in 0..4 {
            let at = cluster.highest();
            cluster.cut_between(&[0, 1, 2], &[3], true);
            let went_on = cluster.until(10_000, |cluster| cluster.highest().0 > at.0 + missed % 2);
            assert!(went_on.expect("sound"));
            cluster.take_down(2);
            cluster.cut_between(&[0, 1, 2], &[3], false);
            goes_on(&mut cluster, 4);
            cluster.bring_up(2).expect("sound");
            goes_on(&mut cluster, 2);
        }
        cluster.finish().expect("sound");
    });
}

#[test]
fn all_down_with_heights_that_wait_for_their_beacons_they_get_them() {
    led(4, |mut cluster| {
        for spread in 0..3u32 {
            goes_on(&mut cluster, 3);
            // Shares get to one node more each time, and no whole beacon does.
            cluster.meddle(dropping(move |said| match said.message {
                NodeMessage::Share(_) => said.to > spread,
                NodeMessage::Beacon(_) | NodeMessage::Range(_) => true,
                _ => false,
            }));
            cluster.go_on(2_500).expect("sound");
            (0..4).for_each(|node| cluster.take_down(node));
            for node in [spread, (spread + 2) % 4, (spread + 1) % 4, (spread + 3) % 4] {
                cluster.bring_up(node).expect("sound");
                cluster.go_on(200).expect("sound");
            }
            cluster.meddle(None);
        }
        goes_on(&mut cluster, 5);
        cluster.finish().expect("sound");
    });
}

#[test]
fn clocks_that_step_stop_nothing_and_no_lock_is_judged_by_a_clock() {
    led(5, |mut cluster| {
        goes_on(&mut cluster, 3);
        for (node, ahead_ms) in [(0, 5_000), (1, -5_000)] {
            cluster.set_clock(node, Clock { ahead_ms, drift: 0 });
            goes_on(&mut cluster, 4);
            cluster.set_clock(node, Clock::default());
        }
        for ahead_ms in [5_000, 0, -5_000] {
            (0..4).for_each(|node| cluster.set_clock(node, Clock { ahead_ms, drift: 0 }));
            goes_on(&mut cluster, 4);
        }
        (0..4).for_each(|node| cluster.set_clock(node, Clock::default()));
        // Precommits get through to nobody for twelve seconds: the block that all are locked on is decided in the end.
        let stuck = cluster.highest();
        cluster.meddle(dropping(|said| {
            let NodeMessage::Votes(votes) = said.message else { return false };
            votes.iter().any(|vote| vote.body.kind == VoteKind::Precommit as u8 && vote.body.value().is_some())
        }));
        cluster.go_on(12_000).expect("sound");
        assert!(cluster.highest().0 <= stuck.0 + 1);
        cluster.meddle(None);
        goes_on(&mut cluster, 4);
        cluster.finish().expect("sound");
    });
}

#[test]
fn a_copy_of_a_directory_says_nothing_that_contradicts_the_original() {
    led(6, |mut cluster| {
        let mut draw = Draw::new(6, "copies");
        for _ in 0..10 {
            goes_on(&mut cluster, 1);
            cluster.go_on(draw.below(150)).expect("sound");
            let node = draw.below(4) as u32;
            let copy = cluster.copy_disk_of(node);
            cluster.go_on(draw.below(600)).expect("sound");
            cluster.replace_disk_of(node, copy);
            cluster.go_on(draw.below(400)).expect("sound");
            cluster.bring_up(node).expect("sound");
            // Until it votes again: no rule is safe where more than may be faulty do not know what they signed.
            let votes = cluster.until(20_000, |cluster| cluster.votes(node)).expect("sound");
            assert!(votes, "node {node} does not vote again");
        }
        goes_on(&mut cluster, 5);
        cluster.finish().expect("sound");
    });
}

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
    for seed in 0..12 {
        led(seed, |mut cluster| {
            goes_on(&mut cluster, 3);
            cluster.distrust(3);
            cluster.meddle(Some(garbling(seed)));
            // A lock that it hides is found when its holder proposes: rounds are long by then.
            for _ in 0..4 {
                let target = Height(cluster.highest().0 + 3);
                let went_on = cluster.until(40_000, |cluster| (0..3).all(|node| cluster.settled(node) >= target));
                assert!(went_on.expect("sound"), "seed {seed}: {}", cluster.stands());
            }
        });
    }
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

#[test]
fn a_power_cut_at_any_write_of_one_stops_no_other_and_not_itself() {
    led(9, |mut cluster| {
        goes_on(&mut cluster, 2);
        for operation in 0..24 {
            cluster.cut_power_at(0, 1 + operation);
            let is_down = cluster.until(3_000, |cluster| !cluster.is_up(0)).expect("sound");
            assert!(is_down, "node 0 writes");
            cluster.bring_up(0).expect("sound");
        }
        goes_on(&mut cluster, 3);
        cluster.finish().expect("sound");
    });
}
