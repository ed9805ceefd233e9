//! Clusters of every small size in one thread: one chain on all of them, whatever is lost, late, down or lying.

mod common;
#[path = "common/cluster.rs"]
mod hosts;

use std::collections::BTreeMap;

use bevy_ecs::system::{Query, ResMut};
use engine::component::{House, Table};
use engine::image::DirtyMap;
use engine::io::{Alarm, SlotList, Verdict};
use engine::limits::{TICK_MS, UNPROVEN_MAX, UNPROVEN_PER_TICK, UNSETTLED_MAX};
use engine::message::evidence::Evidence;
use engine::message::intent::{Intent, IntentKind};
use engine::message::node::{BeaconRow, NodeMessage, RangeEntry};
use engine::message::vote::{VoteBody, VoteKind};
use engine::{Chips, Height, TableId};
use hosts::Cluster;
use order::signature::SignedItem;
use systems::exchange::ExchangeError;

const SIZES: [u32; 8] = [1, 2, 3, 4, 5, 7, 10, 13];

/// Players open and sit, each at another node; returns who gave what to whom.
fn seated(cluster: &mut Cluster, players: u32, nodes: usize) -> Vec<(usize, Intent)> {
    let mut given = Vec::new();
    for player in 0..players {
        let slot = player as usize % nodes;
        given.extend(cluster.seat(player, slot).into_iter().map(|intent| (slot, intent)));
    }
    given
}

fn all_applied(cluster: &Cluster, given: &[(usize, Intent)]) -> bool {
    given.iter().all(|(slot, intent)| cluster.verdict(*slot, intent) == Some(Verdict::Applied))
}

/// Bets until every one of them has its receipt.
fn bet_all(cluster: &mut Cluster, players: u32, nodes: &[usize]) -> Vec<(usize, Intent)> {
    let bet = common::bet("field");
    let mut given = Vec::new();
    for player in 0..players {
        let slot = nodes[player as usize % nodes.len()];
        let at = TableId(player % 2);
        let intent = cluster.intent(player, IntentKind::Bet, |body| body.at(at).on(bet, 0).amount(10));
        cluster.give(slot, vec![intent]);
        given.push((slot, intent));
    }
    given
}

fn all_answered(cluster: &Cluster, given: &[(usize, Intent)]) -> bool {
    given.iter().all(|(slot, intent)| cluster.verdict(*slot, intent).is_some())
}

/// Waits until the chain has closed: every node that runs has settled what the others have.
fn level(cluster: &mut Cluster) -> bool {
    let level = |cluster: &Cluster| {
        let up: Vec<usize> = (0..cluster.hosts.len()).filter(|slot| cluster.is_up(*slot)).collect();
        let last = up.iter().map(|slot| cluster.settled(*slot)).max().unwrap_or_default();
        last > Height::GENESIS && cluster.all_at(last)
    };
    cluster.until(4_000, level)
}

#[test]
fn clusters_of_every_size_decide_and_settle_one_chain() {
    for validators in SIZES {
        let mut cluster = Cluster::new(validators, 0, 11 + u64::from(validators));
        let given = seated(&mut cluster, 4, validators as usize);
        assert!(cluster.until(2_000, |cluster| all_applied(cluster, &given)), "{validators} validators");
        let bets = bet_all(&mut cluster, 4, &(0..validators as usize).collect::<Vec<_>>());
        assert!(cluster.until(2_000, |cluster| all_answered(cluster, &bets)), "{validators} validators");
        assert!(level(&mut cluster), "{validators} validators");
        cluster.check_receipts();
        assert!(cluster.hosts.iter().all(|host| host.evidence.is_empty() && host.alarms.is_empty()));
    }
}

#[test]
fn two_empty_heights_close_a_period_of_play_and_then_nothing_happens() {
    for validators in [1, 4] {
        let mut cluster = Cluster::new(validators, 0, 3);
        let open = cluster.intent(0, IntentKind::Open, |body| body);
        cluster.give(0, vec![open]);
        assert!(cluster.until(400, |cluster| all_applied(cluster, &[(0, open)])));
        cluster.steps(600);
        let chain = cluster.machine(0).chain();
        let (live, decided) = (chain.last_live, chain.decided);
        assert_eq!((chain.certified(), decided), (live, Height(live.0 + 2)), "{validators} validators");
        assert!(cluster.hosts[0].decided[&decided].block.intents.is_empty());
        cluster.steps(2_000);
        assert_eq!(cluster.machine(0).chain().decided, decided);
    }
}

/// The proposer of a round that failed loses its turn for some heights, on every node alike.
#[test]
fn a_dead_proposer_loses_its_first_turn_while_it_counts() {
    let mut cluster = Cluster::new(4, 0, 15);
    let given = seated(&mut cluster, 4, 3);
    cluster.stop(3);
    assert!(cluster.until(6_000, |cluster| all_applied(cluster, &given)));
    for _ in 0..16 {
        let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
        assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    }
    let rounds: Vec<u32> = cluster.hosts[0].decided.values().map(|decided| decided.block.header.round).collect();
    assert!(rounds.len() > 16, "{rounds:?}");
    let failed = rounds.iter().filter(|round| **round > 0).count();
    assert_eq!(failed, 1, "once is enough: {rounds:?}");
    let until = cluster.machine(0).read(|rows| rows.validators[3].skipped_until);
    assert!(until > Height::GENESIS);
    // One that was restarted, and one that executed all of it from what others told, know whose turn it is.
    cluster.stop(1);
    cluster.start(1);
    cluster.start(3);
    let before = cluster.settled(0);
    assert!(cluster.until(3_000, |cluster| cluster.all_at(before)));
    for slot in 0..4 {
        assert_eq!(cluster.machine(slot).read(|rows| rows.validators[3].skipped_until), until);
    }
}

#[test]
fn a_cluster_goes_on_while_as_many_are_down_as_may_be_faulty_and_they_catch_up() {
    for (validators, down) in [(4, 1), (7, 2)] {
        let mut cluster = Cluster::new(validators, 0, 5);
        let up: Vec<usize> = (0..(validators - down) as usize).collect();
        let given = seated(&mut cluster, 4, up.len());
        (up.len()..validators as usize).for_each(|slot| cluster.stop(slot));
        assert!(cluster.until(6_000, |cluster| all_applied(cluster, &given)), "{validators} validators");
        let bets = bet_all(&mut cluster, 4, &up);
        assert!(cluster.until(6_000, |cluster| all_answered(cluster, &bets)));
        let before = cluster.settled(0);
        (up.len()..validators as usize).for_each(|slot| cluster.start(slot));
        assert!(cluster.until(2_000, |cluster| cluster.all_at(before)), "{validators} validators");
        let more = bet_all(&mut cluster, 4, &(0..validators as usize).collect::<Vec<_>>());
        assert!(cluster.until(4_000, |cluster| all_answered(cluster, &more)), "those that came back take part");
        assert!(level(&mut cluster));
        cluster.check_receipts();
    }
}

#[test]
fn one_more_down_than_may_be_faulty_decides_nothing() {
    let mut cluster = Cluster::new(4, 0, 5);
    cluster.stop(2);
    cluster.stop(3);
    let given = seated(&mut cluster, 2, 2);
    cluster.steps(3_000);
    assert!(given.iter().all(|(slot, intent)| cluster.verdict(*slot, intent).is_none()));
    assert_eq!(cluster.settled(0), Height::GENESIS);
    cluster.start(3);
    assert!(cluster.until(6_000, |cluster| all_applied(cluster, &given)), "three of four go on");
}

#[test]
fn loss_delay_and_a_partition_that_heals() {
    for seed in 0..3 {
        let mut cluster = Cluster::new(4, 0, 100 + seed);
        (cluster.delay, cluster.loss) = ((1, 12), 8);
        let given = seated(&mut cluster, 4, 4);
        cluster.steps(400);
        cluster.cut = [(0, 2), (0, 3), (1, 2), (1, 3), (2, 0), (3, 0), (2, 1), (3, 1)].into();
        cluster.steps(1_200);
        cluster.cut.clear();
        assert!(cluster.until(8_000, |cluster| all_answered(cluster, &given)), "seed {seed}");
        assert!(level(&mut cluster), "seed {seed}");
        cluster.check_receipts();
    }
}

#[test]
fn all_nodes_down_at_once_and_up_in_any_order_go_on_where_they_were() {
    for order in [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]] {
        let mut cluster = Cluster::new(4, 0, 77);
        let given = seated(&mut cluster, 4, 4);
        assert!(cluster.until(2_000, |cluster| all_applied(cluster, &given)));
        let bets = bet_all(&mut cluster, 4, &[0, 1, 2, 3]);
        // In the middle of whatever goes on.
        cluster.steps(7);
        (0..4).for_each(|slot| cluster.stop(slot));
        cluster.steps(20);
        for slot in order {
            cluster.start(slot);
            cluster.steps(60);
        }
        // Clients send again what has no receipt.
        for (slot, bet) in &bets {
            if cluster.verdict(*slot, bet).is_none() {
                cluster.give(*slot, vec![*bet]);
            }
        }
        assert!(cluster.until(6_000, |cluster| all_answered(cluster, &bets)), "{order:?}");
        assert!(level(&mut cluster), "{order:?}");
        cluster.check_receipts();
    }
}

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
fn clocks_that_are_wrong_by_less_than_they_may_be_change_nothing() {
    let mut cluster = Cluster::new(4, 0, 21);
    for (slot, skew_ms) in [(0, -240), (1, 240), (2, 0), (3, 120)] {
        cluster.hosts[slot].skew_ms = skew_ms;
    }
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(2_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
}

/// All clocks are set back by five seconds: the least time that the parent leaves is always acceptable.
#[test]
fn clocks_that_are_set_back_do_not_stop_the_chain() {
    let mut cluster = Cluster::new(4, 0, 22);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(2_000, |cluster| all_applied(cluster, &given)));
    cluster.hosts.iter_mut().for_each(|host| host.skew_ms = -5_000);
    let from = cluster.tick;
    let bets = bet_all(&mut cluster, 4, &[0, 1, 2, 3]);
    assert!(cluster.until(400, |cluster| all_answered(cluster, &bets)));
    assert!((cluster.tick - from) * TICK_MS < 1_000, "within a second, long before the clocks have caught up");
}

#[test]
fn a_follower_settles_what_the_validators_decide() {
    let mut cluster = Cluster::new(4, 1, 31);
    let mut given = seated(&mut cluster, 4, 4);
    // Its own clients' intents go to the validators.
    given.extend(cluster.seat(9, 4).into_iter().map(|intent| (4, intent)));
    assert!(cluster.until(4_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    assert_eq!(cluster.root_chain(4), cluster.root_chain(0));
    assert!(cluster.hosts[4].fault.is_none());
}

/// Whoever a follower told first may be gone since: those who come hear what entered there before.
#[test]
fn what_a_follower_took_is_passed_on_to_validators_that_come_later() {
    let mut cluster = Cluster::new(4, 1, 33);
    (0..4).for_each(|slot| cluster.stop(slot));
    let given: Vec<(usize, Intent)> = cluster.seat(9, 4).into_iter().map(|intent| (4, intent)).collect();
    cluster.steps(10);
    (0..4).for_each(|slot| cluster.start(slot));
    assert!(cluster.until(1_000, |cluster| all_applied(cluster, &given)), "long before they expire");
}

#[test]
fn who_passes_on_what_is_applied_is_heard_however_much_that_is() {
    let mut cluster = Cluster::new(1, 1, 37);
    let mut given = Vec::new();
    (0..8).for_each(|player| given.extend(cluster.seat(player, 1).into_iter().map(|intent| (1, intent))));
    assert!(cluster.until(500, |cluster| all_applied(cluster, &given)));
    let (field, began, mut count) = (common::bet("field"), cluster.tick, 0);
    while count < 2 * UNPROVEN_MAX {
        let mut bets = Vec::new();
        for player in 0..8 {
            let at = TableId(player % 2);
            let bet = |_| cluster.intent(player, IntentKind::Bet, |body| body.at(at).on(field, 0).amount(5));
            bets.extend((0..64).map(bet));
        }
        count += bets.len() as u64;
        cluster.give(1, bets.clone());
        let given: Vec<(usize, Intent)> = bets.into_iter().map(|bet| (1, bet)).collect();
        assert!(cluster.until(100, |cluster| all_applied(cluster, &given)), "{count} intents");
    }
    assert!((cluster.tick - began) * UNPROVEN_PER_TICK < UNPROVEN_MAX, "time alone would not have let them pass");
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

/// Whoever told of heights when their beacons were not known yet need not be asked about them again: others know.
#[test]
fn beacons_that_were_not_told_with_their_heights_are_asked_for() {
    let mut cluster = Cluster::new(4, 0, 73);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    cluster.stop(3);
    for _ in 0..6 {
        let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
        assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    }
    let before = cluster.settled(0);
    assert!(before.0 > cluster.settled(3).0 + UNSETTLED_MAX as u64 + 2);
    let mut is_first = true;
    cluster.tamper = Some(Box::new(move |_, to, message| match message {
        NodeMessage::Range(mut entries) if to == 3 && std::mem::take(&mut is_first) => {
            entries.iter_mut().take(UNSETTLED_MAX).for_each(|entry| entry.beacon = None);
            Some(NodeMessage::Range(entries))
        }
        // Nor does it hear of them otherwise.
        NodeMessage::Share(_) | NodeMessage::Beacon(_) if to == 3 => None,
        other => Some(other),
    }));
    cluster.start(3);
    assert!(cluster.until(4_000, |cluster| cluster.settled(3) >= before), "{:?}", cluster.settled(3));
}

/// A validator that lost its log follows until it is far above all that it can have signed; then it votes again. That it
/// contradicts itself nowhere, the cluster checks at every message.
#[test]
fn one_that_lost_its_log_follows_for_a_while() {
    let mut cluster = Cluster::new(4, 0, 81);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    bet_all(&mut cluster, 4, &[0, 1, 2]);
    cluster.steps(3);
    cluster.stop(3);
    cluster.hosts[3].log_is_lost = true;
    cluster.start(3);
    assert!(!cluster.machine(3).is_voting());
    let told = cluster.settled(0);
    for _ in 0..8 {
        let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
        assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    }
    assert!(cluster.machine(3).is_voting());
    assert!(cluster.hosts[3].fence >= Height(told.0 + 3));
    // It is needed now.
    cluster.stop(1);
    let bets = bet_all(&mut cluster, 4, &[0, 2, 3]);
    assert!(cluster.until(6_000, |cluster| all_answered(cluster, &bets)));
}

/// One that caught up signs above its fence; then a group of its log is on the disk, and the frames that it was written with
/// are not. It levels once more, and contradicts nothing that it signed behind the fence.
#[test]
fn one_whose_log_is_ahead_of_its_journal_repeats_what_it_signed_above_its_fence() {
    let mut cluster = Cluster::new(4, 0, 83);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    let told = cluster.machine(3).chain().decided.next();
    let height = told.next();
    // Node 3 hears of a height only when the others have decided it; of the next it hears, and is heard by nobody.
    cluster.tamper = Some(Box::new(move |from, to, message| match &message {
        NodeMessage::Votes(votes) => {
            let is_of = |height| votes.iter().any(|vote| vote.body.height == height);
            let is_lost = to == 3 && is_of(told) || from == 3 && is_of(height);
            (!is_lost).then_some(message)
        }
        NodeMessage::Proposal(proposal) if to == 3 && proposal.body.height == told => None,
        _ => Some(message),
    }));
    bet_all(&mut cluster, 4, &[0, 1, 2]);
    assert!(cluster.until(600, |cluster| cluster.hosts[3].fence == told), "it levels behind a fence");
    assert_eq!(cluster.machine(0).chain().decided, told);
    cluster.stop(1);
    bet_all(&mut cluster, 4, &[0, 2]);
    cluster.steps(150);
    let votes = cluster.logged_votes(3, height);
    assert!(votes.iter().any(|vote| vote.slot == 3 && vote.round == 0 && vote.value().is_some()), "{votes:?}");
    cluster.stop(3);
    assert!(cluster.hosts[3].decided.remove(&told).is_some(), "the journal loses the last height");
    cluster.hosts[3].settled.remove(&told);
    // It does not hear of that block again: whoever forgot it would vote for nothing now.
    cluster.tamper = Some(Box::new(move |_, to, message| match &message {
        NodeMessage::Proposal(proposal) if to == 3 && proposal.body.height == height => None,
        _ => Some(message),
    }));
    cluster.start(3);
    // Without its votes there is no quorum. That it says nothing else than before, the cluster checks at every message.
    assert!(cluster.until(3_000, |cluster| cluster.settled(0) >= height && cluster.settled(3) >= height));
    assert!(cluster.hosts.iter().all(|host| host.evidence.is_empty()));
}

/// The first proposer alone sees that its block has a quorum of prevotes, one of which is of a validator that is gone then:
/// it is locked on it, and without it there is no quorum. The others hear of it, and propose that block before its turn comes.
#[test]
fn whoever_hears_what_another_is_locked_on_proposes_it() {
    let mut cluster = Cluster::new(4, 0, 84);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    let height = cluster.machine(0).chain().decided.next();
    let validators = cluster.machine(0).validators_at(height);
    let turns: Vec<usize> = (0..4).map(|round| validators.proposer(height, round) as usize).collect();
    let [locked, second, third, gone] = turns[..] else { panic!("four turns: {turns:?}") };
    cluster.tamper = Some(Box::new(move |from, to, message| match &message {
        // The second hears no proposal of the first round, and votes for nothing.
        NodeMessage::Proposal(proposal) => {
            let is_first = (proposal.body.height, proposal.body.round) == (height, 0);
            (!is_first || to != second).then_some(message)
        }
        NodeMessage::Votes(votes) => {
            let is_hidden = from == gone && to != locked && votes.iter().any(|vote| vote.body.height == height);
            (!is_hidden).then_some(message)
        }
        _ => Some(message),
    }));
    bet_all(&mut cluster, 4, &[0, 1, 2, 3]);
    let is_locked = |cluster: &Cluster| {
        let of_one = |vote: &VoteBody| vote.slot as usize == locked && vote.kind == VoteKind::Precommit as u8;
        cluster.logged_votes(locked, height).iter().any(|vote| of_one(vote) && vote.value().is_some())
    };
    assert!(cluster.until(400, is_locked));
    cluster.stop(gone);
    cluster.tamper = None;
    assert!(cluster.until(3_000, |cluster| cluster.hosts[third].decided.contains_key(&height)));
    let decided = &cluster.hosts[third].decided[&height];
    assert_eq!((decided.block.header.round, decided.certificate.round), (0, 2), "the third turn is enough");
}

/// A share in another's name has no envelope of that other; garbage in the own envelope is dropped, and blames its author.
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

/// The state of one node changes without a block: it finds every proposal of the others wrong, and when they decide one it is
/// the one that stops, before it records that height.
#[test]
fn a_node_whose_state_differs_says_so_and_stops() {
    let mut cluster = Cluster::new(4, 0, 91);
    let given = seated(&mut cluster, 4, 3);
    assert!(cluster.until(2_000, |cluster| all_applied(cluster, &given)));
    cluster.liars.insert(3);
    let mut differ = systems::schedule::chained();
    differ.add_systems(|mut tables: Query<'_, '_, &mut Table>, mut dirty: ResMut<'_, DirtyMap>| {
        tables.iter_mut().next().expect("a table").hand_number += 1;
        dirty.mark_all();
    });
    cluster.machine(3).run(&mut differ);
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
