//! Clusters of every small size in one thread: one chain on all of them, whatever is lost, late, down or lying.

mod away;
mod costly;
mod counting;
mod evidence;
mod late;
mod lying;
mod proposals;

use crate::hosts::Cluster;
use engine::io::{Input, Verdict};
use engine::limits::{TICK_MS, UNPROVEN_MAX, UNPROVEN_PER_TICK};
use engine::message::intent::{Intent, IntentKind};
use engine::message::node::NodeMessage;
use engine::{Height, TableId};

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
    let bet = crate::common::bet("field");
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

/// A node hears from another, in its next tick, what that one's machine never said, past the decoders.
fn tell(cluster: &mut Cluster, from: u32, to: &[usize], messages: &[NodeMessage]) {
    let id = cluster.id(from as usize);
    for to in to {
        let said = messages.iter().map(|message| Input::Node { from: id, message: Box::new(message.clone()) });
        cluster.hosts[*to].inputs.extend(said);
    }
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
    let (field, began, mut count) = (crate::common::bet("field"), cluster.tick, 0);
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
