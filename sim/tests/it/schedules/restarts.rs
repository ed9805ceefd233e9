//! What nodes that stop, restart, are away or lose something must not do.

use engine::Height;
use engine::message::node::NodeMessage;
use engine::message::vote::VoteKind;
use sim::HostClock;
use sim::draw::Draw;

use super::{dropping, goes_on, led};

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
fn whose_power_goes_while_it_recovers_is_counted_when_it_does_and_recovers_again() {
    led(20, |mut cluster| {
        goes_on(&mut cluster, 3);
        cluster.take_down(1);
        cluster.cut_power_at(1, 1);
        assert_eq!(cluster.reached("killed while it recovered"), 0, "it is planned");
        cluster.bring_up(1).expect("sound");
        assert_eq!((cluster.is_up(1), cluster.reached("killed while it recovered")), (false, 1));
        let is_up = cluster.until(5_000, |cluster| cluster.is_up(1)).expect("sound");
        assert!(is_up, "it did not start again in 5 s");
        goes_on(&mut cluster, 3);
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
            cluster.set_clock(node, HostClock { ahead_ms, drift: 0 });
            goes_on(&mut cluster, 4);
            cluster.set_clock(node, HostClock::default());
        }
        for ahead_ms in [5_000, 0, -5_000] {
            (0..4).for_each(|node| cluster.set_clock(node, HostClock { ahead_ms, drift: 0 }));
            goes_on(&mut cluster, 4);
        }
        (0..4).for_each(|node| cluster.set_clock(node, HostClock::default()));
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
    // Fifty moments, over five chains.
    for seed in 60..65 {
        led(seed, move |mut cluster| {
            copies(&mut cluster, seed);
            cluster.finish().expect("sound");
        });
    }
}

fn copies(cluster: &mut sim::Cluster, seed: u64) {
    let mut draw = Draw::new(seed, "copies");
    for _ in 0..10 {
        goes_on(cluster, 1);
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
    goes_on(cluster, 5);
}

#[test]
fn one_that_lost_its_disk_signs_nothing_before_it_knows_where_the_others_are() {
    led(11, |mut cluster| {
        goes_on(&mut cluster, 10);
        for _ in 0..3 {
            cluster.lose_disk_of(3);
            cluster.cut_between(&[0, 1, 2], &[3], true);
            cluster.bring_up(3).expect("sound");
            cluster.go_on(6_000).expect("sound");
            assert!(!cluster.votes(3), "it hears nobody");
            cluster.cut_between(&[0, 1, 2], &[3], false);
            let votes = cluster.until(20_000, |cluster| cluster.votes(3)).expect("sound");
            assert!(votes, "{}", cluster.stands());
            goes_on(&mut cluster, 5);
        }
        cluster.finish().expect("sound");
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

#[test]
fn one_that_was_away_levels_over_heights_that_were_decided_in_later_rounds() {
    led(16, |mut cluster| {
        goes_on(&mut cluster, 3);
        cluster.cut_between(&[0, 1, 2], &[3], true);
        cluster.cut_between(&[3], &[0, 1, 2], true);
        // Nobody hears a proposal of a first round.
        cluster.meddle(dropping(
            |said| matches!(said.message, NodeMessage::Proposal(proposal) if proposal.body.round == 0),
        ));
        let target = Height(cluster.highest().0 + 12);
        let went_on = cluster.until(60_000, |cluster| (0..3).all(|node| cluster.settled(node) >= target));
        assert!(went_on.expect("sound"), "{}", cluster.stands());
        assert!(cluster.reached("decided in a later round") >= 10);
        cluster.meddle(None);
        // Each tells the certificates that it saw itself.
        for of in 0..3 {
            let behind = cluster.settled(3);
            cluster.cut_between(&[of], &[3], false);
            cluster.cut_between(&[3], &[of], false);
            let levels = cluster.until(20_000, |cluster| cluster.settled(3) > behind).expect("sound");
            assert!(levels, "of node {of} alone: {}", cluster.stands());
            if of < 2 {
                cluster.cut_between(&[of], &[3], true);
                cluster.cut_between(&[3], &[of], true);
                goes_on_without_3(&mut cluster);
            }
        }
        goes_on(&mut cluster, 3);
        cluster.finish().expect("sound");
    });
}

fn goes_on_without_3(cluster: &mut sim::Cluster) {
    let target = Height(cluster.highest().0 + 3);
    let went_on = cluster.until(20_000, |cluster| (0..3).all(|node| cluster.settled(node) >= target));
    assert!(went_on.expect("sound"), "{}", cluster.stands());
}

#[test]
fn a_session_that_begins_at_a_snapshot_replays_from_there() {
    led(18, |mut cluster| {
        while cluster.now_ms() < 150_000 {
            goes_on(&mut cluster, 20);
        }
        cluster.lose_disk_of(2);
        cluster.bring_up(2).expect("sound");
        let came = cluster.until(60_000, |cluster| cluster.reached("a snapshot was transferred") > 0);
        assert!(came.expect("sound"), "{}", cluster.stands());
        // Before it has taken a snapshot of its own.
        goes_on(&mut cluster, 3);
        cluster.finish().expect("sound");
    });
}

#[test]
fn whose_turn_it_is_follows_alike_from_a_live_a_restored_and_a_transferred_state() {
    led(17, |mut cluster| {
        goes_on(&mut cluster, 3);
        // Node 3 proposes nothing that anybody hears: it loses its first turns.
        cluster.meddle(dropping(|said| said.from == 3 && matches!(said.message, NodeMessage::Proposal(_))));
        goes_on(&mut cluster, 8);
        // Two minutes on the others have no first blocks any more: whoever has nothing begins at a snapshot.
        let begun = cluster.now_ms();
        while cluster.now_ms() < begun + 150_000 {
            goes_on(&mut cluster, 20);
        }
        cluster.lose_disk_of(2);
        cluster.bring_up(2).expect("sound");
        let level = cluster.until(60_000, |cluster| cluster.votes(2)).expect("sound");
        assert!(level && cluster.reached("a snapshot was transferred") > 0, "{}", cluster.stands());
        let mut skipped = 0;
        for step in 0..12 {
            if step % 4 == 0 {
                cluster.take_down(0);
                cluster.bring_up(0).expect("sound");
            }
            goes_on(&mut cluster, 6);
            let same = cluster.until(10_000, |cluster| {
                let turns: Vec<_> = (0..4).map(|node| cluster.turns(node)).collect();
                turns
                    .iter()
                    .all(|turn| turn.is_some() && turn.as_ref().map(|turn| turn.0) == turns[0].as_ref().map(|t| t.0))
            });
            assert!(same.expect("sound"), "{}", cluster.stands());
            let turns: Vec<_> = (0..4).filter_map(|node| cluster.turns(node)).collect();
            assert!(turns.iter().all(|turn| *turn == turns[0]), "{turns:?}");
            let (height, order) = &turns[0];
            skipped += u32::from(u64::from(order[0]) != height.0 % 4 || order[3] == 3);
        }
        assert!(skipped > 0, "somebody lost a turn");
        cluster.finish().expect("sound");
    });
}
