//! Several nodes as one cluster: what they say goes through the wire's encoders, what they know is on their disks.

mod arriving;
mod hosts;

use std::path::PathBuf;

use engine::component::{House, Table};
use engine::image::DirtyMap;
use engine::io::{Alarm, Offence, Verdict};
use engine::limits::{DIVERGED_NOTES_MAX, STOPPED_BYTES_MAX};
use engine::message::block::Header;
use engine::message::certificate::Certificate;
use engine::message::intent::IntentKind;
use engine::message::node::{NodeKind, NodeMessage};
use engine::message::vote::Proposal;
use engine::{Chips, Height, TableId, hex};
use hosts::Cluster;
use node::stopped::StopNote;
use storage::backend::{Access, Backend};
use words::Failure;

/// Four nodes, with players seated at those that are named.
fn playing(nodes: &[usize]) -> Cluster {
    seated(Cluster::new(4), nodes)
}

/// Players sit down at the nodes that are named.
fn seated(mut cluster: Cluster, nodes: &[usize]) -> Cluster {
    let given: Vec<_> = (0..4).flat_map(|player| cluster.seat(player, nodes[player as usize % nodes.len()])).collect();
    let all = |cluster: &mut Cluster| given.iter().all(|intent| cluster.verdict(intent) == Some(Verdict::Applied));
    assert!(cluster.until(3_000, all), "players are seated");
    cluster
}

fn level(cluster: &mut Cluster) {
    let is_level = |cluster: &mut Cluster| {
        let highest = cluster.highest();
        highest > Height::GENESIS && cluster.all_at(highest)
    };
    assert!(cluster.until(4_000, is_level), "nodes are level");
}

#[test]
fn four_nodes_over_the_wire_keep_one_chain_and_agree_on_disk() {
    let mut cluster = playing(&[0, 1, 2, 3]);
    for _ in 0..3 {
        cluster.bets(4, &[0, 1, 2, 3]);
    }
    level(&mut cluster);
    assert!([NodeKind::Votes, NodeKind::Share, NodeKind::Intents].iter().all(|kind| cluster.said[kind] > 0));
    assert!(cluster.hosts.iter().all(|host| host.alarms.is_empty() && host.banned.is_empty()));
    cluster.check_records();
}

/// Every node settles every intent, and the one that its player is connected to answers it.
#[test]
fn a_receipt_is_counted_at_the_node_that_gave_it() {
    let mut cluster = playing(&[0]);
    cluster.bets(4, &[0]);
    let elsewhere = cluster.intent(0, IntentKind::Leave, |body| body.at(TableId(1)));
    cluster.give(0, vec![elsewhere]);
    let is_refused = |cluster: &mut Cluster| matches!(cluster.verdict(&elsewhere), Some(Verdict::Refused(_)));
    assert!(cluster.until(3_000, is_refused), "nobody leaves a table where nobody sits");
    level(&mut cluster);
    for slot in 0..4 {
        let given = cluster.hosts[slot].receipts.len() as u64;
        let totals = &cluster.node(slot).totals;
        assert_eq!(totals.receipts, given, "node {slot}");
        assert_eq!(totals.receipts > 0, slot == 0, "all players are at node 0");
        assert_eq!(totals.refusals.is_empty(), slot != 0, "node {slot}: {:?}", totals.refusals);
    }
}

/// What left a node in a vote or a share was in its log or journal before: a node that is killed at any tick, and started
/// again, goes on with the others and contradicts nothing.
#[test]
fn nodes_that_are_killed_at_any_tick_go_on_where_they_were() {
    let mut cluster = playing(&[0, 1, 2, 3]);
    for round in 0..12_u64 {
        let slot = (round % 4) as usize;
        let players: Vec<usize> = (0..4).filter(|other| *other != slot).collect();
        let bet = cluster.intent(slot as u32, IntentKind::Leave, |body| body.at(TableId(slot as u32 % 2)));
        cluster.give(players[0], vec![bet]);
        cluster.steps(5 + round);
        cluster.kill(slot);
        cluster.steps(20);
        cluster.start(slot);
        assert!(cluster.until(4_000, |cluster| cluster.verdict(&bet).is_some()), "round {round}");
    }
    level(&mut cluster);
    assert!(cluster.hosts.iter().all(|host| host.fault.is_none() && host.alarms.is_empty()));
    cluster.check_records();
}

#[test]
fn one_that_was_away_reads_what_it_missed_from_the_journals_of_the_others() {
    let mut cluster = playing(&[0, 1, 2]);
    cluster.kill(3);
    for _ in 0..30 {
        cluster.bets(4, &[0, 1, 2]);
    }
    let before = cluster.settled(0);
    assert!(before > Height(24), "{before}");
    cluster.start(3);
    let from = cluster.tick;
    assert!(cluster.until(400, |cluster| cluster.settled(3) >= before), "{}", cluster.settled(3));
    let ticks = cluster.tick - from;
    assert!(ticks < before.0, "{ticks} ticks for {before} heights: many in a tick");
    assert!(cluster.said[&NodeKind::Range] > 0);
    cluster.check_records();
    // It takes part again.
    cluster.kill(1);
    cluster.bets(4, &[0, 2, 3]);
}

#[test]
fn a_node_that_lies_about_the_past_is_named_and_put_out() {
    let mut cluster = playing(&[0, 1, 2]);
    cluster.kill(3);
    for _ in 0..20 {
        cluster.bets(4, &[0, 1, 2]);
    }
    let before = cluster.settled(0);
    // Node 1 changes a signature in whatever it tells of.
    cluster.tamper = Some(Box::new(|from, _, message| match message {
        NodeMessage::Range(mut entries) if from == 1 => {
            for entry in &mut entries {
                entry.decided.certificate.signatures[0].signature[5] ^= 1;
            }
            Some(NodeMessage::Range(entries))
        }
        other => Some(other),
    }));
    cluster.start(3);
    assert!(cluster.until(3_000, |cluster| cluster.settled(3) >= before), "{}", cluster.settled(3));
    let banned: Vec<(u32, Offence)> =
        cluster.hosts[3].banned.iter().map(|(peer, offence)| (peer.slot, *offence)).collect();
    assert_eq!(banned, [(1, Offence::FalseChain)]);
    cluster.check_records();
}

/// A validator that lost its log votes on nothing until it is far above all that it can have signed, whatever it catches up
/// with meanwhile, and however often it is started again before.
#[test]
fn a_validator_whose_log_is_lost_follows_and_votes_again_far_above() {
    let mut cluster = playing(&[0, 1, 2]);
    cluster.kill(3);
    cluster.bets(4, &[0, 1, 2]);
    cluster.lose_log(3);
    for _ in 0..2 {
        cluster.start(3);
        cluster.steps(200);
        assert!(!cluster.node(3).machine().is_voting(), "what it caught up with says nothing of what it signed");
        cluster.kill(3);
    }
    cluster.start(3);
    let told = cluster.decided(0);
    for _ in 0..4 {
        cluster.bets(4, &[0, 1, 2]);
    }
    assert!(cluster.until(2_000, |cluster| cluster.node(3).machine().is_voting()));
    assert!(cluster.decided(3) >= Height(told.0 + 3));
    // It knows what it signed from then on.
    cluster.kill(3);
    cluster.start(3);
    cluster.steps(300);
    assert!(cluster.node(3).machine().is_voting());
    cluster.kill(1);
    cluster.bets(4, &[0, 2, 3]);
    level(&mut cluster);
    cluster.check_records();
}

/// Two of four are no quorum: those that wait for one have their logs, and say how many they hear.
#[test]
fn validators_that_wait_for_a_quorum_are_not_said_to_have_lost_their_logs() {
    let mut cluster = playing(&[0, 1, 2, 3]);
    level(&mut cluster);
    let read = |cluster: &mut Cluster| {
        // Readings are published once a second of the wall's, of what the steps before have heard.
        cluster.step();
        std::thread::sleep(std::time::Duration::from_millis(1_050));
        cluster.step();
        let read = cluster.node(0).readings().read();
        (read.lost_its_votes, read.heard, read.validators, read.lacks_quorum())
    };
    cluster.kill(3);
    assert_eq!(read(&mut cluster), (0, 3, 4, false), "one is away");
    (0..3).for_each(|slot| cluster.kill(slot));
    (0..2).for_each(|slot| cluster.start(slot));
    cluster.steps(60_000 / node::clock::QUANTUM_MS);
    assert!(!cluster.node(0).machine().is_voting() && cluster.node(0).machine().knows_its_votes());
    assert_eq!(read(&mut cluster), (0, 2, 4, true));
    assert!(
        cluster.hosts[0].lines.borrow().standing.is_silent,
        "it is of no help to a quorum, and the network says so"
    );
    // One that did lose its log says so.
    cluster.kill(1);
    cluster.lose_log(1);
    cluster.start(1);
    cluster.steps(100);
    std::thread::sleep(std::time::Duration::from_millis(1_050));
    cluster.step();
    assert_eq!(cluster.node(1).readings().read().lost_its_votes, 1);
}

#[test]
fn a_validator_whose_log_is_damaged_follows_until_it_votes_behind_a_fence() {
    let mut cluster = playing(&[0, 1, 2, 3]);
    cluster.kill(3);
    let file = cluster.files(3, "consensus").pop().expect("a log");
    let handle = cluster.hosts[3].disk.open(&file, Access::Write).expect("a log");
    // The first group, with others behind it.
    handle.write_all_at(&[0xee; 16], 100).expect("room");
    handle.sync_all().expect("room");
    drop(handle);
    cluster.start(3);
    cluster.steps(200);
    assert!(!cluster.node(3).machine().is_voting());
    for _ in 0..5 {
        cluster.bets(4, &[0, 1, 2]);
    }
    assert!(cluster.until(2_000, |cluster| cluster.node(3).machine().is_voting()));
    cluster.bets(4, &[0, 1, 2, 3]);
    cluster.kill(3);
    cluster.start(3);
    cluster.steps(300);
    assert!(cluster.node(3).machine().is_voting(), "the damage lies before the fence");
    level(&mut cluster);
    cluster.check_records();
}

#[test]
fn a_second_life_of_a_validator_stops_before_it_votes_and_says_why() {
    let mut cluster = playing(&[0, 1, 2]);
    let copy = cluster.hosts[3].disk.copy();
    cluster.bets(4, &[0, 1, 2]);
    let other = cluster.add(copy);
    cluster.start_as(other, 3).expect("its own directory");
    let bets = |cluster: &mut Cluster| {
        for player in 0..4 {
            let field = systems::catalogue::bet_named("field").expect("a bet");
            let at = TableId(player % 2);
            let bet = cluster.intent(player, IntentKind::Bet, |body| body.at(at).on(field, 0).amount(10));
            cluster.give(0, vec![bet]);
        }
        cluster.steps(40);
    };
    for _ in 0..10 {
        bets(&mut cluster);
    }
    let fault = cluster.hosts[other].fault.clone();
    // It heard a vote of its own, or found one in a certificate and follows.
    let follows = cluster.hosts[other].alarms.iter().any(|alarm| matches!(alarm, Alarm::OwnVoteElsewhere { .. }));
    match fault {
        Some(fault) => {
            assert!(fault.contains("is not in its log"), "{fault}");
            assert_eq!(cluster.files(other, "stopped").len(), 1);
        }
        None => assert!(follows && !cluster.node(other).machine().is_voting()),
    }
    for slot in 0..3 {
        let alarms = &cluster.hosts[slot].alarms;
        assert!(alarms.iter().any(|alarm| matches!(alarm, Alarm::TwoLives { slot: 3 })), "node {slot}: {alarms:?}");
        assert!(!alarms.iter().any(|alarm| matches!(alarm, Alarm::Equivocated { .. })), "node {slot}: {alarms:?}");
    }
    assert!(cluster.hosts[3].fault.is_none(), "the first life goes on: {:?}", cluster.hosts[3].fault);
    cluster.check_records();
}

#[test]
fn a_directory_from_an_old_copy_finds_its_own_votes_and_follows() {
    let mut cluster = playing(&[1, 2, 3]);
    // Where all votes come at once, those of the lowest slots are the ones that certificates have.
    let copy = cluster.hosts[0].disk.copy();
    for _ in 0..4 {
        cluster.bets(4, &[1, 2, 3]);
    }
    cluster.kill(0);
    cluster.hosts[0].disk = copy;
    let before = cluster.settled(1);
    cluster.start(0);
    assert!(cluster.until(1_000, |cluster| cluster.settled(0) >= before));
    // The operator hears of it with the next tick.
    cluster.step();
    let alarms = &cluster.hosts[0].alarms;
    assert!(alarms.iter().any(|alarm| matches!(alarm, Alarm::OwnVoteElsewhere { .. })), "{alarms:?}");
    // Started again, it still cannot know, although it has listened.
    cluster.kill(0);
    cluster.start(0);
    cluster.steps(125);
    assert!(!cluster.node(0).machine().is_voting());
    for _ in 0..5 {
        cluster.bets(4, &[1, 2, 3]);
    }
    assert!(cluster.until(2_000, |cluster| cluster.node(0).machine().is_voting()));
    level(&mut cluster);
    cluster.check_records();
}

/// Two of four lost their logs: nothing is decided any more, until their operators answer for them.
#[test]
fn more_lost_logs_than_may_be_need_an_operators_word() {
    let mut cluster = playing(&[0, 1, 2, 3]);
    level(&mut cluster);
    cluster.steps(600);
    (0..4).for_each(|slot| cluster.kill(slot));
    cluster.lose_log(2);
    cluster.lose_log(3);
    (0..4).for_each(|slot| cluster.start(slot));
    cluster.steps(400);
    let stood = cluster.decided(0);
    let bet = cluster.intent(0, IntentKind::Leave, |body| body.at(TableId(0)));
    cluster.give(0, vec![bet]);
    cluster.steps(1_500);
    assert_eq!(cluster.decided(0), stood, "two votes are no quorum");
    for slot in [2, 3] {
        cluster.kill(slot);
        cluster.sign_from = Some(stood.next());
        cluster.start(slot);
    }
    cluster.sign_from = None;
    assert!(cluster.until(4_000, |cluster| cluster.verdict(&bet).is_some()));
    let is_told = |alarm: &Alarm| matches!(alarm, Alarm::SignsByOperator { slot: 2 | 3 });
    assert!(cluster.hosts[0].alarms.iter().any(is_told), "{:?}", cluster.hosts[0].alarms);
    // What the operator said is in the session: it starts as any other.
    cluster.kill(2);
    cluster.start(2);
    cluster.kill(0);
    cluster.bets(4, &[1, 2, 3]);
    // And is not to be said of a log that is whole.
    cluster.kill(2);
    cluster.sign_from = Some(stood.next());
    assert!(cluster.start_as(2, 2).is_err());
    cluster.check_records();
}

/// The state of one node changes without a block: it keeps what others propose instead, and stops when a quorum decides it.
#[test]
fn a_node_whose_state_differs_keeps_both_rows_and_stops() {
    let mut cluster = playing(&[0, 1, 2]);
    let mut differ = systems::schedule::chained();
    differ.add_systems(
        |mut tables: bevy_ecs::system::Query<'_, '_, &mut Table>, mut dirty: bevy_ecs::system::ResMut<'_, DirtyMap>| {
            tables.iter_mut().next().expect("a table").hand_number += 1;
            dirty.mark_all();
        },
    );
    cluster.node(3).machine_mut().run(&mut differ);
    for _ in 0..60 {
        if cluster.hosts[3].fault.is_some() {
            break;
        }
        cluster.steps(50);
    }
    let said = cluster.hosts[3].fault.clone().expect("it stops");
    assert!(said.contains("another state than this node"), "{said}");
    let read = |path: &PathBuf| -> StopNote {
        let bytes = cluster.hosts[3].disk.read(path, STOPPED_BYTES_MAX).expect("a note");
        serde_json::from_slice(&bytes).expect("a note")
    };
    let (told, stopped): (Vec<_>, Vec<_>) = cluster
        .files(3, "stopped")
        .iter()
        .map(|path| (path.file_name().and_then(|name| name.to_str()).unwrap_or_default().contains("-by-"), read(path)))
        .partition(|(is_told, _)| *is_told);
    let [(_, stop)] = &stopped[..] else { panic!("one note of why it stopped: {stopped:?}") };
    assert!(!told.is_empty() && told.len() <= DIVERGED_NOTES_MAX);
    let recorded = cluster.journal(3);
    let own = |height: u64| recorded[&Height(height)].1.as_ref().map(|settled| hex(&settled.root_chain));
    for (_, note) in told.iter().chain(&stopped) {
        let header: Header = bytemuck::pod_read_unaligned(&unhexed(&note.header));
        assert_eq!((note.block.clone(), header.height), (Some(hex(&header.hash())), Height(note.height + 2)));
        assert_eq!(note.theirs, Some(hex(&header.root_chain)));
        assert_eq!(note.own, own(note.height), "what its own journal has");
        assert_ne!(note.own, note.theirs);
    }
    let proposal: Proposal = bytemuck::pod_read_unaligned(&unhexed(&told[0].1.proposal));
    assert_eq!(told[0].1.block, Some(hex(&proposal.body.block)), "its proposer signed it");
    let certificate = Certificate::decode(&unhexed(&stop.certificate)).expect("a certificate");
    assert!(
        stop.block == Some(hex(&certificate.block)) && certificate.signatures.len() >= 3,
        "a quorum answers for it"
    );
}

fn unhexed(text: &Option<String>) -> Vec<u8> {
    let text = text.as_ref().expect("it is in the note");
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex")).collect()
}

/// A chip appears from nowhere: the block that finds out is named, and not settled again.
#[test]
fn a_block_that_broke_an_invariant_is_named_and_not_executed_again() {
    let mut cluster = Cluster::new(1);
    let seated = cluster.seat(0, 0);
    assert!(cluster.until(400, |cluster| cluster.verdict(&seated[1]).is_some()));
    let mut forge = systems::schedule::chained();
    forge.add_systems(|mut houses: bevy_ecs::system::Query<'_, '_, &mut House>| {
        houses.single_mut().expect("one house").treasury += Chips(1);
    });
    cluster.node(0).machine_mut().run(&mut forge);
    let leave = cluster.intent(0, IntentKind::Leave, |body| body.at(TableId(0)));
    cluster.give(0, vec![leave]);
    assert!(cluster.until(400, |cluster| cluster.hosts[0].fault.is_some()));
    let said = cluster.hosts[0].fault.clone().expect("looked at above");
    assert!(said.contains("breaks an invariant"), "{said}");
    let note = cluster.files(0, "stopped").pop().expect("a note");
    let again = cluster.start_as(0, 0).expect_err("it is not settled again");
    assert!(matches!(again.downcast_ref(), Some(Failure::Data(_))), "no further start would do better: {again:?}");
    let again = again.to_string();
    assert!(again.contains("breaks an invariant") && again.contains("stopped/poison-"), "{again}");
    cluster.hosts[0].disk.remove(&note).expect("a note");
    let before = cluster.settled(0);
    cluster.start(0);
    assert!(cluster.until(800, |cluster| cluster.settled(0) > before), "the state on disk was never wrong");
}
