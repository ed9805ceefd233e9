//! A pledged table kept by several validators: what its player sends to one node, or to one that votes on nothing, reaches
//! whoever proposes, and every node has the same state.

mod common;
#[expect(dead_code, reason = "each test binary uses its own part")]
#[path = "common/cluster.rs"]
mod hosts;

use engine::PeerId;
use engine::TableId;
use engine::io::{Input, Verdict};
use engine::message::intent::IntentKind;
use engine::message::pledge::{PledgeRow, pledge_end};
use engine::rules::DiceSource;
use hosts::{CHAIN, Cluster};
use order::signature::PlayerKey;

const TABLE: TableId = TableId(0);

fn cluster(followers: usize) -> Cluster {
    Cluster::with(4, followers, 5, |genesis| {
        for rules in &mut genesis.rules {
            (rules.dice, rules.open_ms) = (DiceSource::Both, 5_000);
        }
    })
}

fn give(cluster: &mut Cluster, slot: usize, key: &PlayerKey, row: PledgeRow) -> PledgeRow {
    let row = key.sign_pledge(row, &CHAIN);
    cluster.hosts[slot].inputs.push(Input::Pledges { from: PeerId::LOCAL, pledges: vec![row] });
    row
}

fn answer(cluster: &Cluster, slot: usize, row: &PledgeRow) -> Option<Verdict> {
    let receipts = &cluster.hosts[slot].receipts;
    receipts.iter().find(|receipt| receipt.id == row.id()).map(|receipt| receipt.verdict)
}

/// One roll by way of a node.
fn roll_at(slot: usize, followers: usize) {
    let mut cluster = cluster(followers);
    let key = cluster.keys.player(0);
    let seated = cluster.seat(0, slot);
    assert!(cluster.until(2_000, |cluster| seated.iter().all(|intent| cluster.verdict(slot, intent).is_some())));
    let value = [7; 32];
    let end = pledge_end(&CHAIN, TABLE, &key.public(), 1, &value);
    let pledge = give(&mut cluster, slot, &key, PledgeRow::pledge(key.public(), TABLE, 1, 1, end));
    assert!(cluster.until(2_000, |cluster| answer(cluster, slot, &pledge) == Some(Verdict::Applied)), "pledged");
    let bet = cluster.intent(0, IntentKind::Bet, |body| body.at(TABLE).on(common::bet("field"), 0).amount(10));
    cluster.give(slot, vec![bet]);
    cluster.steps(100);
    let call = cluster.intent(0, IntentKind::Roll, |body| body.at(TABLE));
    cluster.give(slot, vec![call]);
    assert!(cluster.until(2_000, |cluster| cluster.verdict(slot, &call) == Some(Verdict::Applied)), "called");
    let block = cluster.machine(slot).read(|rows| rows.pledges[0].block);
    assert_ne!(block, [0; 32], "the bets are closed");
    let opening = give(&mut cluster, slot, &key, PledgeRow::opening(key.public(), TABLE, 1, value, block));
    assert!(cluster.until(2_000, |cluster| answer(cluster, slot, &opening) == Some(Verdict::Applied)), "opened");
    cluster.steps(300);
    for slot in 0..cluster.hosts.len() {
        let rolls = cluster.machine(slot).read(|rows| (rows.tables[0].roll_number, rows.house.forfeited.0));
        assert_eq!(rolls, (1, 0), "node {slot}");
    }
    assert!(cluster.hosts.iter().all(|host| host.fault.is_none()));
}

#[test]
fn a_roll_is_opened_by_way_of_any_validator() {
    roll_at(0, 0);
    roll_at(3, 0);
}

#[test]
fn a_roll_is_opened_by_way_of_a_node_that_votes_on_nothing() {
    roll_at(4, 1);
}

#[test]
fn a_pledge_that_does_not_verify_is_refused_at_the_door_and_goes_into_no_block() {
    let mut cluster = cluster(0);
    let key = cluster.keys.player(0);
    let forged = PledgeRow { signature: [3; 64], ..PledgeRow::pledge(key.public(), TABLE, 1, 1, [5; 32]) };
    cluster.hosts[1].inputs.push(Input::Pledges { from: PeerId::LOCAL, pledges: vec![forged] });
    let refused = Verdict::Refused(engine::message::refusal::Refusal::BadSignature);
    assert!(cluster.until(100, |cluster| answer(cluster, 1, &forged) == Some(refused)));
    cluster.steps(300);
    let blocks = cluster.hosts.iter().flat_map(|host| host.decided.values());
    assert_eq!(blocks.filter(|decided| !decided.block.pledges.is_empty()).count(), 0);
}
