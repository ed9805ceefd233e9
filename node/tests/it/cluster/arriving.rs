//! A node that begins at a snapshot of the others, because the first blocks are gone.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;

use engine::Height;
use engine::io::Offence;
use engine::message::node::{NodeKind, NodeMessage};
use engine::message::snapshot::PartKind;
use node::snapshots::SnapshotPace;
use storage::Retention;
use storage::backend::{Backend, Fault, FaultyBackend};

use super::hosts::{Cluster, DIR};
use super::{level, seated};

/// Nodes that keep little, and a fourth with an empty disk.
fn forgetful(tables: u32) -> Cluster {
    let mut cluster = seated(Cluster::with_tables(4, tables), &[0, 1, 2]);
    (0..4).for_each(|slot| cluster.kill(slot));
    cluster.pace = SnapshotPace { ticks: 200, groups: u64::MAX, heights: 8, groups_per_tick: 64 };
    cluster.writing.segment_bytes = 32 << 10;
    cluster.writing.retention = Some(Retention { bytes_max: 64 << 10, retire: node::config::retire });
    cluster.hosts[3].disk = FaultyBackend::new(99);
    (0..3).for_each(|slot| cluster.start(slot));
    let is_gone = |cluster: &Cluster| (0..3).all(|slot| !cluster.journal(slot).contains_key(&Height(1)));
    // Blocks stay for as long as receipts are asked for: a minute.
    for _ in 0..90 {
        if is_gone(&cluster) {
            return cluster;
        }
        cluster.bets(4, &[0, 1, 2]);
        cluster.steps(250);
    }
    panic!("the first blocks are still there");
}

#[test]
fn where_the_first_blocks_are_gone_a_new_node_begins_at_a_snapshot_of_the_others() {
    let mut cluster = forgetful(2);
    let before = cluster.settled(0);
    cluster.start(3);
    assert!(cluster.until(3_000, |cluster| cluster.settled(3) >= before), "{}", cluster.settled(3));
    assert_eq!(cluster.hosts[3].arrivals, 1);
    let first = *cluster.journal(3).first_key_value().expect("heights above the snapshot").0;
    assert!(first > Height(1), "{first}");
    assert!(cluster.hosts.iter().all(|host| host.banned.is_empty() && host.fault.is_none()));
    // It has a journal of its own, and goes on from it; what it signed before, it does not know, so it follows for a while.
    cluster.kill(3);
    cluster.start(3);
    for _ in 0..5 {
        cluster.bets(4, &[0, 1, 2]);
    }
    assert!(cluster.until(2_000, |cluster| cluster.node(3).machine().is_voting()));
    cluster.kill(1);
    cluster.bets(4, &[0, 2, 3]);
    level(&mut cluster);
    cluster.check_records();
}

/// More of the others than may be liars say that the first blocks are gone, and nobody has a snapshot: whoever is new asks on, and
/// gets them from whoever has them after all.
#[test]
fn a_new_node_that_is_told_falsely_that_the_first_blocks_are_gone_gets_them_later() {
    let mut cluster = Cluster::new(4);
    cluster.kill(3);
    cluster.hosts[3].disk = FaultyBackend::new(99);
    let mut cluster = seated(cluster, &[0, 1, 2]);
    let before = cluster.settled(0);
    assert!(before > Height::GENESIS);
    cluster.tamper = Some(Box::new(|_, to, message| match message {
        NodeMessage::Range(_) if to == 3 => Some(NodeMessage::Range(Vec::new())),
        other => Some(other),
    }));
    cluster.start(3);
    assert!(cluster.until(400, |cluster| cluster.node(3).machine().past_is_gone()));
    // They have time to prove a snapshot, and have none.
    cluster.steps(400);
    cluster.tamper = None;
    assert!(cluster.until(3_000, |cluster| cluster.settled(3) >= before), "{}", cluster.settled(3));
    assert_eq!(cluster.hosts[3].arrivals, 0);
    cluster.check_records();
}

#[test]
fn a_false_group_of_a_snapshot_is_found_when_it_comes_and_whoever_gave_it_is_put_out() {
    let mut cluster = forgetful(2);
    let before = cluster.settled(0);
    cluster.tamper = Some(Box::new(|from, _, message| match message {
        NodeMessage::Part(mut part) if from == 0 && part.bytes.len() >= 16_384 => {
            part.bytes[77] ^= 1;
            Some(NodeMessage::Part(part))
        }
        other => Some(other),
    }));
    cluster.start(3);
    assert!(cluster.until(4_000, |cluster| cluster.settled(3) >= before), "{}", cluster.settled(3));
    let banned: Vec<(u32, Offence)> =
        cluster.hosts[3].banned.iter().map(|(peer, offence)| (peer.slot, *offence)).collect();
    assert_eq!(banned, [(0, Offence::FalseChain)]);
    cluster.check_records();
}

/// Of those that prove the same snapshot the last one is asked first.
#[test]
fn whoever_proves_a_snapshot_and_gives_no_values_is_asked_after_the_others() {
    let mut cluster = forgetful(2);
    let before = cluster.settled(0);
    cluster.tamper = Some(Box::new(|from, _, message| match message {
        NodeMessage::Part(_) if from == 2 => None,
        other => Some(other),
    }));
    cluster.start(3);
    assert!(cluster.until(4_000, |cluster| cluster.settled(3) >= before), "{}", cluster.settled(3));
    assert_eq!(cluster.hosts[3].arrivals, 1);
    cluster.check_records();
}

/// Its snapshot is a true one, newer than those of the others, and nobody else took it, each time that it is asked.
#[test]
fn whoever_proves_a_snapshot_of_its_own_and_gives_no_groups_holds_up_a_new_node_once() {
    let mut cluster = forgetful(2);
    (0..3).for_each(|slot| cluster.kill(slot));
    for (slot, ticks) in [(0, 1), (1, u64::MAX), (2, u64::MAX)] {
        cluster.pace = SnapshotPace { ticks, groups: u64::MAX, heights: 1, groups_per_tick: 64 };
        cluster.start(slot);
    }
    let proven: Rc<RefCell<BTreeMap<usize, Height>>> = Rc::default();
    let last = Rc::clone(&proven);
    cluster.tamper = Some(Box::new(move |from, _, message| match message {
        NodeMessage::Part(part) if from == 0 && matches!(part.row.check_form(), Ok(PartKind::Groups)) => None,
        NodeMessage::Snapshot(proof) => {
            let mut known = last.borrow_mut();
            let highest = known.entry(from).or_default();
            *highest = proof.note.height.max(*highest);
            Some(NodeMessage::Snapshot(proof))
        }
        other => Some(other),
    }));
    for _ in 0..3 {
        cluster.bets(4, &[0, 1, 2]);
        cluster.steps(250);
    }
    let before = cluster.settled(0);
    cluster.start(3);
    assert!(cluster.until(16_000, |cluster| cluster.settled(3) >= before), "{}", cluster.settled(3));
    let proven = proven.borrow();
    assert!((1..3).all(|other| proven[&0] > proven[&other]), "{proven:?}");
    assert_eq!(cluster.hosts[3].arrivals, 1);
    cluster.check_records();
}

/// A connection is replaced where two nodes dial each other.
#[test]
fn whoever_comes_back_in_another_connection_is_asked_for_its_snapshot_there() {
    let mut cluster = forgetful(2);
    let before = cluster.settled(0);
    let asked: Rc<RefCell<Vec<usize>>> = Rc::default();
    let questions = Rc::clone(&asked);
    cluster.tamper = Some(Box::new(move |_, to, message| match message {
        NodeMessage::AskPart(row) if matches!(row.check_form(), Ok(PartKind::Values)) => {
            let mut asked = questions.borrow_mut();
            asked.push(to);
            // The first one is lost with its connection.
            (asked.len() > 1).then_some(NodeMessage::AskPart(row))
        }
        other => Some(other),
    }));
    cluster.start(3);
    assert!(cluster.until(1_000, |_| !asked.borrow().is_empty()));
    let first = asked.borrow()[0];
    cluster.reconnect(first);
    assert!(cluster.until(1_000, |_| asked.borrow().len() > 1));
    assert_eq!(*asked.borrow(), [first, first]);
    assert!(cluster.until(4_000, |cluster| cluster.settled(3) >= before), "{}", cluster.settled(3));
    cluster.check_records();
}

#[test]
fn a_snapshot_for_which_the_disk_has_no_room_is_not_asked_for_at_once_again() {
    let mut cluster = forgetful(2);
    let before = cluster.settled(0);
    let asked: Rc<RefCell<bool>> = Rc::default();
    let question = Rc::clone(&asked);
    cluster.tamper = Some(Box::new(move |_, _, message| {
        *question.borrow_mut() |= matches!(message, NodeMessage::AskPart(_));
        Some(message)
    }));
    cluster.start(3);
    assert!(cluster.until(1_000, |_| *asked.borrow()));
    let disk = cluster.hosts[3].disk.clone();
    let tries = |cluster: &Cluster| cluster.said.get(&NodeKind::AskSnapshot).copied().unwrap_or_default();
    let known = tries(&cluster);
    // The mark of the session is all that is written.
    let ticks = 5_000 / node::clock::QUANTUM_MS;
    for _ in 0..ticks {
        disk.forget_faults();
        disk.plan(disk.operations() + 1, Fault::Fail(ErrorKind::StorageFull));
        cluster.step();
    }
    let tries = tries(&cluster) - known;
    assert!(disk.failures() >= 2, "{} tries failed", disk.failures());
    // Three nodes are asked, and again for the snapshot of the one that is asked for it, once in a second and what the answers take.
    assert!(tries <= 2 * 3 * 5, "{tries} questions in five seconds");
    disk.forget_faults();
    assert!(cluster.until(4_000, |cluster| cluster.settled(3) >= before), "{}", cluster.settled(3));
    assert!(cluster.hosts.iter().all(|host| host.banned.is_empty() && host.fault.is_none()));
    cluster.check_records();
}

/// How many tables a state has that is fetched: some here; `BITCRAPS_TABLES=100000` is the long run.
fn tables() -> u32 {
    std::env::var("BITCRAPS_TABLES").ok().and_then(|text| text.parse().ok()).unwrap_or(30_000)
}

/// Nobody can be reached for longer than a part is waited for, twice: what came before is not asked for again.
#[test]
fn a_large_state_that_is_cut_off_twice_comes_on_from_where_it_was() {
    let mut cluster = forgetful(tables());
    let before = cluster.settled(0);
    let groups = cluster.node(0).machine().layout().groups();
    let needed =
        (groups.div_ceil(PartKind::Groups.most() as usize) + groups.div_ceil(PartKind::Values.most() as usize)) as u64;
    let parts = |cluster: &Cluster| cluster.said.get(&NodeKind::Part).copied().unwrap_or_default();
    let (began, known) = (cluster.tick, parts(&cluster));
    cluster.start(3);
    let mut cut = Vec::new();
    for round in 1..=2 {
        assert!(cluster.until(8_000, |cluster| parts(cluster) >= known + needed * round / 3), "parts come");
        cut.push(parts(&cluster) - known);
        cluster.cut.insert(3);
        cluster.steps(1_000);
        cluster.cut.remove(&3);
    }
    assert!(cluster.until(100_000, |cluster| cluster.settled(3) >= before), "{}", cluster.settled(3));
    let said = parts(&cluster) - known;
    println!(
        "{groups} groups of 16 KiB in {needed} parts, cut after {cut:?}: {said} were sent, level after {} ms of ticks",
        (cluster.tick - began) * node::clock::QUANTUM_MS
    );
    // Of each of three nodes one part may have been under way when it was cut off, twice.
    assert!(said <= needed + 2 * 3, "{said} parts were sent, of {needed} that are needed");
    assert_eq!(cluster.hosts[3].arrivals, 1);
    assert!(cluster.hosts.iter().all(|host| host.banned.is_empty() && host.fault.is_none()));
}

/// The process ends at any tick while a snapshot comes: the next start clears what there is of it, and it comes again.
#[test]
fn a_snapshot_that_had_not_arrived_as_a_whole_comes_again() {
    let mut cluster = forgetful(2);
    let before = cluster.settled(0);
    let mut broken_off = 0;
    for ticks in 4..120 {
        cluster.start(3);
        for _ in 0..ticks {
            cluster.step();
            if cluster.hosts[3].arrivals > 0 {
                break;
            }
        }
        let marked = cluster.hosts[3].disk.read(&Path::new(DIR).join("ARRIVING"), 4_096).is_ok();
        broken_off += u32::from(marked);
        cluster.kill(3);
        if cluster.hosts[3].arrivals > 0 {
            break;
        }
    }
    assert!(broken_off > 0, "it was under way at some kill");
    cluster.start(3);
    assert!(cluster.until(3_000, |cluster| cluster.settled(3) >= before), "{}", cluster.settled(3));
    assert!(cluster.hosts[3].disk.read(&Path::new(DIR).join("ARRIVING"), 4_096).is_err());
    cluster.check_records();
}
