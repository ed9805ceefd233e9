//! A pledged table kept by several validators: what its player sends to one node, or to one that votes on nothing, reaches
//! whoever proposes, and every node has the same state.

use std::convert::Infallible;

use crate::hosts::{CHAIN, Cluster};
use bevy_ecs::system::Res;
use engine::io::{Input, Offence, Output, Verdict, Watched};
use engine::limits::{BLOCK_PLEDGES_MAX, GROUP_BYTES, NODE_CHECKS_MAX, NODE_PLEDGES_MAX};
use engine::message::intent::IntentKind;
use engine::message::node::NodeMessage;
use engine::message::pledge::{PledgeRow, pledge_end};
use engine::message::refusal::Refusal;
use engine::rules::DiceSource;
use engine::{Hash, PeerId, TableId, Tick};
use order::signature::PlayerKey;
use systems::exchange::{Clock, Inbox};

const TABLE: TableId = TableId(0);

/// Four validators with pledged tables.
pub fn cluster(followers: usize) -> Cluster {
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

/// The value that opens a roll, in these tests.
fn value(roll: u32) -> Hash {
    [roll as u8 + 6; 32]
}

/// The end that is pledged for a roll.
fn end(key: &PlayerKey, roll: u32) -> Hash {
    pledge_end(&CHAIN, TABLE, &key.public(), roll, &value(roll))
}

/// Player 0 sits at the pledged table by way of a node.
fn seated(slot: usize, followers: usize) -> (Cluster, PlayerKey) {
    let mut cluster = cluster(followers);
    let key = cluster.keys.player(0);
    let seated = cluster.seat(0, slot);
    assert!(cluster.until(2_000, |cluster| seated.iter().all(|intent| cluster.verdict(slot, intent).is_some())));
    (cluster, key)
}

/// The same with a pledge for a roll, a bet down and the roll called: it waits for what is given back.
fn call(cluster: &mut Cluster, slot: usize, key: &PlayerKey, roll: u32) -> PledgeRow {
    let row = PledgeRow::pledge(key.public(), TABLE, roll, roll.into(), end(key, roll));
    let pledge = give(cluster, slot, key, row);
    assert!(cluster.until(2_000, |cluster| answer(cluster, slot, &pledge) == Some(Verdict::Applied)), "pledged");
    let bet = cluster.intent(0, IntentKind::Bet, |body| body.at(TABLE).on(crate::common::bet("field"), 0).amount(10));
    cluster.give(slot, vec![bet]);
    cluster.steps(100);
    let call = cluster.intent(0, IntentKind::Roll, |body| body.at(TABLE));
    cluster.give(slot, vec![call]);
    assert!(cluster.until(2_000, |cluster| cluster.verdict(slot, &call) == Some(Verdict::Applied)), "called");
    let block = cluster.machine(slot).read(|rows| rows.pledges[0].block);
    assert_ne!(block, [0; 32], "the bets are closed");
    PledgeRow::opening(key.public(), TABLE, roll, value(roll), block)
}

/// One roll by way of a node.
fn roll_at(slot: usize, followers: usize) {
    let (mut cluster, key) = seated(slot, followers);
    let opening = call(&mut cluster, slot, &key, 1);
    let opening = give(&mut cluster, slot, &key, opening);
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
    let (mut cluster, key) = seated(1, 0);
    let forged = PledgeRow { signature: [3; 64], ..PledgeRow::pledge(key.public(), TABLE, 1, 1, [5; 32]) };
    cluster.hosts[1].inputs.push(Input::Pledges { from: PeerId::LOCAL, pledges: vec![forged] });
    let refused = Verdict::Refused(Refusal::BadSignature);
    assert!(cluster.until(100, |cluster| answer(cluster, 1, &forged) == Some(refused)));
    cluster.steps(300);
    assert_eq!(pledged_blocks(&cluster).len(), 0);
}

/// The pledges and openings of each block that a node decided, where it has some.
fn pledged_blocks(cluster: &Cluster) -> Vec<Vec<PledgeRow>> {
    let blocks = cluster.hosts[0].decided.values().map(|decided| decided.block.pledges.clone());
    blocks.filter(|pledges| !pledges.is_empty()).collect()
}

/// Rows that whoever has no seat can sign: more than a block holds, of keys that nobody knows, at the table and elsewhere.
pub fn foreign(count: u32, block: Hash) -> Vec<PledgeRow> {
    let row = |number: u32| {
        let mut seed = [77; 32];
        seed[..4].copy_from_slice(&number.to_le_bytes());
        let key = PlayerKey::from_seed(&seed);
        let table = TableId(number % 2);
        let row = match number % 4 {
            0 | 1 => PledgeRow::pledge(key.public(), table, 1, 1, [5; 32]),
            _ => PledgeRow::opening(key.public(), table, 1, [5; 32], block),
        };
        key.sign_pledge(row, &CHAIN)
    };
    (0..count).map(row).collect()
}

/// However many keys without the seat pledge and open at a node, by themselves and by way of another node.
#[test]
fn foreign_pledges_take_no_place_and_the_opening_goes_into_the_next_block() {
    let (mut cluster, key) = seated(0, 0);
    let opening = call(&mut cluster, 0, &key, 1);
    let foreign = foreign(BLOCK_PLEDGES_MAX as u32 + 104, opening.block);
    for slot in 0..4usize {
        let from = PeerId { slot: (slot as u32 + 1) % 4, generation: 1 };
        for rows in foreign.chunks(64) {
            let message = NodeMessage::Pledges(rows.to_vec());
            cluster.hosts[slot].inputs.push(Input::Node { from, message: Box::new(message) });
        }
        cluster.hosts[slot].inputs.push(Input::Pledges { from: PeerId::LOCAL, pledges: foreign.clone() });
    }
    cluster.step();
    let before = cluster.machine(0).chain().decided;
    let opening = give(&mut cluster, 0, &key, opening);
    assert!(cluster.until(400, |cluster| answer(cluster, 0, &opening) == Some(Verdict::Applied)), "opened");
    let place = cluster.hosts[0].decided.iter().find(|(_, decided)| decided.block.pledges.contains(&opening));
    let height = place.map(|(height, _)| *height).expect("decided");
    assert!(
        height <= before.next().next(),
        "{height} after {before}: the block that was under way, or the one after it"
    );
    for pledges in pledged_blocks(&cluster) {
        assert!(pledges.iter().all(|row| row.key == key.public()), "no block has what can only be refused");
    }
    let told = foreign.iter().filter(|row| answer(&cluster, 0, row) == Some(Verdict::Refused(Refusal::UnknownAccount)));
    assert_eq!(told.count(), foreign.len(), "each is told why");
}

/// Anybody can forge pledges in the name of a key with a seat, and only their signatures tell: of one node as many are verified in a
/// tick as of its votes.
#[test]
fn forged_pledges_of_another_node_cost_no_more_than_its_votes() {
    let (mut cluster, key) = seated(0, 0);
    let row = |number| PledgeRow::pledge(key.public(), TABLE, 1, number, [5; 32]);
    let forged: Vec<PledgeRow> = (1..=600).map(|number| PledgeRow { signature: [3; 64], ..row(number) }).collect();
    assert!(forged.len() > NODE_CHECKS_MAX);
    let from = cluster.id(1);
    for rows in forged.chunks(NODE_PLEDGES_MAX) {
        let message = NodeMessage::Pledges(rows.to_vec());
        cluster.hosts[0].inputs.push(Input::Node { from, message: Box::new(message) });
    }
    cluster.step();
    let mut look = systems::schedule::chained();
    look.add_systems(move |inbox: Res<'_, Inbox>| {
        assert!(inbox.offences.iter().all(|offence| *offence == (from, Offence::BadSignature)));
        assert_eq!(inbox.offences.len(), NODE_CHECKS_MAX);
    });
    cluster.machine(0).run(&mut look);
}

/// Those who sit at other tables have a place there, and none at this one.
#[test]
fn a_key_with_a_seat_has_one_place_for_a_pledge_and_the_last_one_counts() {
    let (mut cluster, key) = seated(0, 0);
    let other = cluster.keys.player(1);
    let seats = cluster.seat(1, 0);
    assert!(cluster.until(2_000, |cluster| seats.iter().all(|intent| cluster.verdict(0, intent).is_some())));
    let pledge = |number| PledgeRow::pledge(key.public(), TABLE, 1, number, [number as u8; 32]);
    let many: Vec<PledgeRow> = (1..=40).map(|number| give(&mut cluster, 0, &key, pledge(number))).collect();
    let foreign = give(&mut cluster, 0, &other, PledgeRow::pledge(other.public(), TABLE, 1, 99, [9; 32]));
    assert!(cluster.until(2_000, |cluster| answer(cluster, 0, &many[39]) == Some(Verdict::Applied)));
    for row in &many[..39] {
        assert_eq!(answer(&cluster, 0, row), Some(Verdict::Refused(Refusal::PledgeBehind)));
    }
    assert_eq!(answer(&cluster, 0, &foreign), Some(Verdict::Refused(Refusal::UnknownPlayer)));
    assert_eq!(pledged_blocks(&cluster), [vec![many[39]]]);
    // What was pledged once is behind now, whoever keeps a copy of it.
    cluster.hosts[2].inputs.push(Input::Pledges { from: PeerId::LOCAL, pledges: many.clone() });
    cluster.steps(200);
    assert_eq!(answer(&cluster, 2, &many[39]), Some(Verdict::Refused(Refusal::PledgeBehind)));
    assert_eq!(pledged_blocks(&cluster).len(), 1);
}

/// After the deadline, and after what it would have opened is forfeited: audits read it in the record.
#[test]
fn an_opening_that_comes_too_late_is_recorded_once_without_effect() {
    let (mut cluster, key) = seated(0, 0);
    let opening = call(&mut cluster, 0, &key, 1);
    assert!(forfeited(&mut cluster, 4_000), "nobody opens it");
    let wrong = give(&mut cluster, 0, &key, PledgeRow { value: [1; 32], ..opening });
    let right = give(&mut cluster, 0, &key, opening);
    let late = Some(Verdict::Refused(Refusal::StaleRoll));
    assert!(cluster.until(2_000, |cluster| answer(cluster, 0, &right) == late && answer(cluster, 0, &wrong) == late));
    cluster.steps(100);
    let again = give(&mut cluster, 0, &key, opening);
    assert_eq!(again, right);
    cluster.steps(400);
    let recorded = pledged_blocks(&cluster).into_iter().flatten().filter(PledgeRow::is_opening);
    assert_eq!(recorded.collect::<Vec<_>>(), [right]);
    let (rolls, forfeited) = cluster.machine(0).read(|rows| (rows.tables[0].roll_number, rows.house.forfeited.0));
    assert_eq!((rolls, forfeited), (1, 10));
}

/// Steps until the bets are forfeited.
fn forfeited(cluster: &mut Cluster, ticks: u64) -> bool {
    (0..ticks).any(|_| {
        cluster.step();
        cluster.machine(0).read(|rows| rows.house.forfeited.0) > 0
    })
}

/// The deadline of an opening runs by the clock of openings, in which a gap between two blocks counts a second: the block that closed
/// the bets may be as much older than receipts are as the chain stood still.
#[test]
fn a_node_that_loads_a_snapshot_shows_the_block_of_a_roll_that_waits_however_long_the_chain_stood_still() {
    let (mut cluster, key) = seated(0, 0);
    let opening = call(&mut cluster, 0, &key, 1);
    for _ in 0..2 {
        cluster.hosts.iter_mut().for_each(|host| host.skew_ms += 90_000);
        cluster.steps(150);
    }
    let host = &mut cluster.hosts[0];
    let machine = host.machine.as_mut().expect("it runs");
    let (note, image) = (machine.chain().note().expect("heights are settled"), crate::common::image(machine));
    assert!(machine.read(|rows| rows.pledges[0].is_frozen()), "its time has not passed");
    let mut loaded = cluster.follower();
    loaded
        .load(&note, |group, bytes| {
            bytes.copy_from_slice(&image[group * GROUP_BYTES..][..GROUP_BYTES]);
            Ok::<(), Infallible>(())
        })
        .expect("its own image");
    let host = &cluster.hosts[0];
    for (height, settled) in host.settled.range(note.receipts_from..=note.height) {
        loaded.recall(&host.decided[height], settled).expect("its own record");
    }
    let from = loaded.chain().note().expect("it stands there").receipts_from;
    assert_eq!(from, note.receipts_from, "the next snapshot says the same");
    let (clock, mut outputs) = (Clock { tick: Tick(1), now_ms: note.time_ms }, Vec::new());
    let peer = PeerId { slot: 0, generation: 1 };
    let joined = Input::Joined { peer, key: [1; 32], address: [0; 16], node: false };
    let watch = Input::Watch { peer, what: Watched::Table(TABLE), on: true };
    loaded.exchange(clock, &mut vec![joined, watch], &mut outputs).expect("nothing is wrong");
    let shown = outputs.iter().find_map(|output| if let Output::Table(table) = output { Some(table) } else { None });
    let closing = shown.expect("whoever watches is told").closing.as_ref().expect("the roll waits");
    assert_eq!(closing.header.hash(), opening.block);
}
