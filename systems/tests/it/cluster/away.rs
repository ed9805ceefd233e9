//! Validators that are away, and come back with less than they left with.

use engine::Height;
use engine::io::{Alarm, Input};
use engine::limits::{CLOCK_SKEW_MS_MAX, UNSETTLED_MAX};
use engine::message::node::{NodeMessage, NodeStanding};
use engine::message::vote::{Vote, VoteBody, VoteKind};

use super::{all_answered, all_applied, bet_all, level, seated};
use crate::hosts::{Cluster, network_key};

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
fn bets_that_lie_where_too_few_vote_have_a_height_under_way() {
    let mut cluster = Cluster::new(4, 0, 5);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(2_000, |cluster| all_applied(cluster, &given)));
    let bets = bet_all(&mut cluster, 4, &[0, 1, 2, 3]);
    assert!(cluster.until(2_000, |cluster| all_answered(cluster, &bets)));
    // Between two heights, with bets that lie.
    let rests = |cluster: &Cluster| {
        let mut machines = cluster.hosts.iter().filter_map(|host| host.machine.as_ref());
        machines.all(|machine| machine.chain().unsettled.is_empty() && !machine.has_height_under_way())
    };
    assert!(cluster.until(100, rests) && cluster.machine(0).next_due_ms().is_some());
    cluster.stop(2);
    cluster.stop(3);
    cluster.steps(3_000);
    for slot in [0, 1] {
        assert_eq!(cluster.machine(slot).unanswered(), 0, "nobody waits for an answer");
        assert!(cluster.machine(slot).has_height_under_way(), "and the dice do not fall");
    }
    let stood = cluster.settled(0);
    cluster.start(3);
    assert!(cluster.until(6_000, |cluster| cluster.settled(0) > stood), "three of four go on");
    let mut follower = Cluster::new(4, 1, 5);
    follower.steps(100);
    assert!(!follower.machine(4).has_height_under_way() && !follower.machine(0).has_height_under_way());
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

/// The power goes at all of them, and their journals lose heights that their logs hold: the first of those was decided in its second
/// round, and whose turn failed there lost it at one of the others.
#[test]
fn all_that_lost_heights_of_their_journals_decide_them_again_from_their_logs() {
    let mut cluster = Cluster::new(4, 0, 15);
    let given = seated(&mut cluster, 4, 3);
    cluster.stop(3);
    assert!(cluster.until(6_000, |cluster| all_applied(cluster, &given)));
    let failed = |cluster: &Cluster| {
        let decided = cluster.hosts[0].decided.iter();
        decided.rev().find(|(_, decided)| decided.block.header.round > 0).map(|(height, _)| *height)
    };
    // A height beyond the next four, so that each validator's turn came at one of those that see the failure.
    while failed(&cluster).is_none_or(|failed| cluster.settled(0) < Height(failed.0 + 6)) {
        let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
        assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    }
    assert!(level(&mut cluster));
    let (first, last) = (failed(&cluster).expect("the loop has ended"), cluster.settled(0));
    let root_chain = cluster.root_chain(0);
    (0..3).for_each(|slot| cluster.stop(slot));
    for host in &mut cluster.hosts[..3] {
        host.decided.retain(|height, _| *height < first);
        host.settled.retain(|height, _| *height < first);
        assert_eq!(host.fence, Height::GENESIS, "nobody was told of what it lacked");
    }
    (0..3).for_each(|slot| cluster.start(slot));
    assert!(cluster.until(1_000, |cluster| (0..3).all(|slot| cluster.settled(slot) >= last)), "{last} again");
    assert_eq!(cluster.root_chain(0), root_chain);
    let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
    assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    assert!(cluster.hosts.iter().all(|host| host.evidence.is_empty() && host.fault.is_none()));
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
    // What bounded what it had signed when it began to follow bounds nothing that it signed since.
    assert!(cluster.machine(3).follow());
    cluster.steps(3);
    assert!(!cluster.machine(3).is_voting());
}

/// A validator that lost its log signs by its operator's word: another's operator hears that once, however often it connects anew.
#[test]
fn that_one_signs_by_its_operators_word_is_said_once() {
    let mut cluster = Cluster::new(4, 0, 84);
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    // Far above all that it signed: it has no part in what comes next.
    let fence = Height(cluster.settled(0).0 + 50);
    cluster.machine(3).sign_above(fence);
    for _ in 0..3 {
        cluster.steps(60);
        let is_known = |(slot, told): (u32, NodeStanding)| slot == 3 && told.flags & NodeStanding::BY_OPERATOR != 0;
        assert!(cluster.machine(0).validators_told().any(is_known));
        for (at, peer) in [(0, 3), (3, 0)] {
            let (peer, key) = (cluster.id(peer), network_key(peer));
            let again = [Input::Left(peer), Input::Joined { peer, key, address: [0; 16], node: true }];
            cluster.hosts[at].inputs.extend(again);
        }
    }
    assert_eq!(cluster.hosts[0].alarms, [Alarm::SignsByOperator { slot: 3 }]);
}

/// The heights of some nodes up to one of them are retired: nobody gets them from those any more.
fn retire(cluster: &mut Cluster, slots: std::ops::Range<usize>, last: Height) {
    for host in &mut cluster.hosts[slots] {
        host.decided.retain(|height, _| *height > last);
        host.settled.retain(|height, _| *height > last);
    }
}

/// What a node's operator heard of blocks that are gone everywhere.
fn gone(cluster: &Cluster, slot: usize) -> Vec<Alarm> {
    let alarms = cluster.hosts[slot].alarms.iter();
    alarms.filter(|alarm| matches!(alarm, Alarm::PastGone { .. })).copied().collect()
}

/// Node 3 of four is away while the others play. Returns the last height that it has.
fn one_is_away(cluster: &mut Cluster) -> Height {
    let given = seated(cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(cluster));
    cluster.stop(3);
    for _ in 0..6 {
        let bets = bet_all(cluster, 4, &[0, 1, 2]);
        assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    }
    assert!(level(cluster));
    let height = *cluster.hosts[3].decided.last_key_value().expect("it took part").0;
    assert!(cluster.settled(0).0 > height.0 + 4);
    height
}

/// The others have given up the block that comes next for one that was away: one of them alone is not believed, and its operator
/// hears it once from more of them, however often they are asked again.
#[test]
fn whoever_lacks_a_block_that_is_gone_everywhere_says_so_once() {
    let mut cluster = Cluster::new(4, 0, 85);
    let height = one_is_away(&mut cluster);
    (1..3).for_each(|slot| cluster.stop(slot));
    retire(&mut cluster, 0..1, height.next());
    cluster.start(3);
    cluster.steps(600);
    assert_eq!(gone(&cluster, 3), [], "one of four may lie");
    assert!(!cluster.machine(3).past_is_gone());
    (1..3).for_each(|slot| cluster.start(slot));
    retire(&mut cluster, 1..3, height.next());
    cluster.steps(2_500);
    assert_eq!(gone(&cluster, 3), [Alarm::PastGone { height }]);
    assert!(cluster.machine(3).past_is_gone());
}

/// Two that are ahead never answer, one of which says that it is far ahead: nobody waits for them, where more of the others than may
/// be liars say that the block is gone. Their silence is no such word, and once they answer, all goes on.
#[test]
fn those_that_never_answer_keep_nobody_from_believing_that_a_block_is_gone() {
    let mut cluster = Cluster::new(4, 1, 87);
    let height = one_is_away(&mut cluster);
    cluster.stop(1);
    retire(&mut cluster, 0..1, height.next());
    cluster.tamper = Some(Box::new(|from, to, message| match message {
        NodeMessage::Range(_) if to == 3 && (from == 2 || from == 4) => None,
        NodeMessage::Standing(standing) if (from, to) == (4, 3) => {
            let decided = Height(standing.decided.0 + 1_000);
            Some(NodeMessage::Standing(NodeStanding { decided, ..standing }))
        }
        other => Some(other),
    }));
    cluster.start(3);
    cluster.steps(2_000);
    assert_eq!(gone(&cluster, 3), [], "one says so, and one of four may lie");
    cluster.start(1);
    retire(&mut cluster, 1..2, height.next());
    assert!(cluster.until(2_000, |cluster| !gone(cluster, 3).is_empty()));
    assert!(cluster.machine(3).past_is_gone());
    cluster.tamper = None;
    let last = cluster.settled(0);
    assert!(cluster.until(2_000, |cluster| cluster.settled(3) >= last), "{}", cluster.settled(3));
    assert_eq!(gone(&cluster, 3), [Alarm::PastGone { height }]);
    assert!(!cluster.machine(3).past_is_gone());
}

/// Whoever follows may know fewer validators than may be liars: it believes those that it knows.
#[test]
fn a_follower_of_one_validator_is_told_that_its_next_block_is_gone() {
    let mut cluster = Cluster::new(4, 1, 86);
    cluster.cut = [(1, 4), (2, 4), (3, 4)].into();
    let given = seated(&mut cluster, 4, 4);
    assert!(cluster.until(4_000, |cluster| all_applied(cluster, &given)));
    assert!(level(&mut cluster));
    cluster.stop(4);
    for _ in 0..3 {
        let bets = bet_all(&mut cluster, 4, &[0, 1, 2, 3]);
        assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    }
    let height = *cluster.hosts[4].decided.last_key_value().expect("it followed").0;
    retire(&mut cluster, 0..1, height.next());
    cluster.start(4);
    cluster.steps(400);
    assert_eq!(gone(&cluster, 4), [Alarm::PastGone { height }]);
}

/// One of the others tells of heights that nobody has decided: that keeps nobody out who lost its log, where a quorum of others
/// tells the truth.
#[test]
fn one_that_lost_its_log_votes_again_whatever_one_of_the_others_tells() {
    let mut cluster = Cluster::new(7, 0, 82);
    let given = seated(&mut cluster, 4, 5);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    cluster.tamper = Some(Box::new(|from, to, message| match message {
        NodeMessage::Standing(standing) if (from, to) == (5, 6) => {
            let decided = Height(standing.decided.0 + 1_000);
            Some(NodeMessage::Standing(NodeStanding { decided, ..standing }))
        }
        other => Some(other),
    }));
    cluster.stop(6);
    cluster.hosts[6].log_is_lost = true;
    cluster.start(6);
    assert!(!cluster.machine(6).is_voting());
    let told = cluster.settled(0);
    for _ in 0..8 {
        let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
        assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
    }
    assert!(cluster.machine(6).is_voting());
    assert!(cluster.hosts[6].fence >= Height(told.0 + 3), "not before it is far above all that it can have signed");
}

/// Of seven validators five are a quorum: four others that tell where they stand bound nothing that was signed.
#[test]
fn one_that_lost_its_log_votes_on_nothing_before_a_quorum_of_the_others_has_told() {
    let mut cluster = Cluster::new(7, 0, 88);
    let given = seated(&mut cluster, 4, 5);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    cluster.tamper = Some(Box::new(|from, to, message| match message {
        NodeMessage::Standing(_) if to == 6 && (4..6).contains(&from) => None,
        other => Some(other),
    }));
    cluster.stop(6);
    cluster.hosts[6].log_is_lost = true;
    cluster.start(6);
    let told = cluster.settled(0);
    for votes in [false, true] {
        for _ in 0..8 {
            let bets = bet_all(&mut cluster, 4, &[0, 1, 2]);
            assert!(cluster.until(3_000, |cluster| all_answered(cluster, &bets)));
        }
        assert!(cluster.settled(6).0 > told.0 + 3, "it is far enough");
        assert_eq!(cluster.machine(6).is_voting(), votes);
        cluster.tamper = None;
    }
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
/// it is locked on it, and without it there is no quorum. Returns the height, and whose turns its rounds are; whoever has the
/// second one heard no proposal of the first round, and the last one is gone.
fn one_is_locked(cluster: &mut Cluster) -> (Height, [usize; 4]) {
    let given = seated(cluster, 4, 4);
    assert!(cluster.until(3_000, |cluster| all_applied(cluster, &given)));
    assert!(level(cluster));
    let height = cluster.machine(0).chain().decided.next();
    let validators = cluster.machine(0).validators_at(height);
    let turns: [usize; 4] = std::array::from_fn(|round| validators.proposer(height, round as u32) as usize);
    let [locked, second, _, gone] = turns;
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
    bet_all(cluster, 4, &[0, 1, 2, 3]);
    let is_locked = |cluster: &Cluster| {
        let of_one = |vote: &VoteBody| vote.slot as usize == locked && vote.kind == VoteKind::Precommit as u8;
        cluster.logged_votes(locked, height).iter().any(|vote| of_one(vote) && vote.value().is_some())
    };
    assert!(cluster.until(400, is_locked));
    cluster.stop(gone);
    (height, turns)
}

/// The others hear of what the first proposer is locked on, and propose that block before its turn comes.
#[test]
fn whoever_hears_what_another_is_locked_on_proposes_it() {
    let mut cluster = Cluster::new(4, 0, 84);
    let (height, [_, _, third, _]) = one_is_locked(&mut cluster);
    cluster.tamper = None;
    assert!(cluster.until(3_000, |cluster| cluster.hosts[third].decided.contains_key(&height)));
    let decided = &cluster.hosts[third].decided[&height];
    assert_eq!((decided.block.header.round, decided.certificate.round), (0, 2), "the third turn is enough");
}

/// One whose vote is needed hears for seconds that the block is proposed again, and not that a quorum voted for it: no clock
/// finds its time right any more, and it is not wrong either. As soon as it hears of that quorum it votes for it.
#[test]
fn a_block_that_is_late_by_now_is_voted_for_once_its_polka_is_known() {
    let mut cluster = Cluster::new(4, 0, 84);
    let (height, [_, second, third, _]) = one_is_locked(&mut cluster);
    let is_of_first = move |vote: &Vote| (vote.body.height, vote.body.round) == (height, 0);
    cluster.tamper = Some(Box::new(move |_, to, message| match &message {
        NodeMessage::Polka(_) if to == second => None,
        NodeMessage::Votes(votes) if to == second && votes.iter().any(is_of_first) => None,
        _ => Some(message),
    }));
    cluster.steps(1_600);
    assert!(!cluster.hosts[third].decided.contains_key(&height), "without it there is no quorum");
    cluster.tamper = None;
    assert!(cluster.until(4_000, |cluster| cluster.hosts[third].decided.contains_key(&height)));
    let decided = &cluster.hosts[third].decided[&height];
    assert_eq!(decided.block.header.round, 0, "it is the one that the first proposer was locked on");
    let late_ms = cluster.now_ms() - decided.block.header.time_ms;
    assert!(late_ms > 10 * CLOCK_SKEW_MS_MAX, "{late_ms} ms");
}
