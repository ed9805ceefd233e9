//! Snapshots of 100,000 tables while they roll: the longest that copying holds a tick, what a snapshot writes, the memory
//! meanwhile; then a start from it, against reading and hashing the same bytes.
//!
//! `cargo test` shrinks everything: then the figures mean nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::beside::{Beside, alone, beside, group, pooled, readable, time};
use benches::{World, resident_mib, tiny};
use bytemuck::Zeroable;
use criterion::{Criterion, Throughput};
use engine::Height;
use engine::image::{GroupBlock, Saved};
use engine::limits::{GROUP_BYTES, SNAPSHOT_BLOCK_GROUPS};
use engine::message::block::{Block, Header};
use engine::message::certificate::Certificate;
use engine::message::note::ChainNote;
use storage::Session;
use storage::backend::{Backend, FileBackend};
use storage::snapshot::{
    KeeperEvent, SnapshotDone, SnapshotInfo, Snapshots, SnapshotsFound, StoredSnapshot, read_catalog,
};
use systems::{Draw, Machine};

const SEATS: u32 = 8;
/// A tick.
const TICK: Duration = Duration::from_millis(5);

fn main() {
    let tables = if tiny() { 600 } else { 100_000 };
    for (phases, rolls) in [(20, "5%"), (1, "100%")] {
        pooled(1, |criterion| while_tables_roll(criterion, tables, phases, rolls));
    }
}

/// What one snapshot cost the ticks.
#[derive(Default)]
struct Cost {
    /// What copying took of each tick.
    holds: Vec<Duration>,
    /// What settling took, copying apart.
    settles: Vec<Duration>,
    /// Ticks whose height waited for copies, or for room.
    waits: u64,
    ticks: u64,
    resident_mib: u64,
}

fn middle(mut figures: Vec<Duration>) -> Duration {
    figures.sort();
    figures[figures.len() / 2]
}

/// One snapshot after another while tables roll: what is measured is the tick that copying held longest.
fn while_tables_roll(criterion: &mut Criterion, tables: u32, phases: u32, rolls: &str) {
    let mut world = World::new(tables, SEATS, phases, 1);
    world.machine.root();
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = Session::create(&path, b"{}").expect("a session");
    let snapshots = SnapshotsFound::open(&session, |_| ()).expect("none").start(None).expect("a thread");
    let before = resident_mib();
    let (mut last, mut longest) = (None, Duration::ZERO);
    let name = format!("snapshot/longest hold/tables={tables}/rolls={rolls}");
    let mut held = group(criterion, name.clone(), Throughput::Elements(1));
    let runs = alone(&mut held, "tick", || {
        let groups = world.machine.layout().groups();
        let changed = world.machine.begin_saving();
        let note = note(&mut world);
        let info = SnapshotInfo { height: note.height, time_ms: note.time_ms };
        let began = Instant::now();
        snapshots.begin(info, note.encode(), groups, changed);
        let (cost, taken) = take(&mut world, &snapshots);
        print_cost(&name, &cost, &taken, groups, began.elapsed(), before);
        last = Some(note);
        let held = cost.holds.iter().copied().max().expect("some ticks");
        longest = longest.max(held);
        held
    });
    held.finish();
    snapshots.close();
    if !runs.is_empty() {
        println!("{name}: a bare copy of 64 groups takes {}", readable(copy_limit().as_secs_f64()));
    }
    // While Criterion warms up too: a tick that was held then was held.
    if !tiny() && longest >= Duration::from_millis(5) {
        println!("{name}: TARGET MISSED: a tick was held 5 ms or more");
    }
    if let Some(last) = last {
        start(criterion, &world, &session, &path, &last, tables);
    }
}

fn print_cost(name: &str, cost: &Cost, taken: &SnapshotDone, groups: usize, took: Duration, before: u64) {
    let milliseconds = |of: Duration| of.as_secs_f64() * 1e3;
    println!(
        "{name}: copying held a tick {:.2} ms at most, {:.2} ms in the middle; settling took {:.2} ms in the middle, {:.2} at \
         most; in {} of {} ticks a height waited",
        milliseconds(cost.holds.iter().copied().max().unwrap_or_default()),
        milliseconds(middle(cost.holds.clone())),
        milliseconds(middle(cost.settles.clone())),
        milliseconds(cost.settles.iter().copied().max().unwrap_or_default()),
        cost.waits,
        cost.ticks,
    );
    println!(
        "{name}: {} of {groups} groups changed, {} written, {:.1} MiB of {:.1}; {:.2} s; {}; {} MiB resident, {before} before",
        taken.groups,
        taken.groups_written,
        taken.bytes as f64 / (1 << 20) as f64,
        (taken.groups * GROUP_BYTES as u64) as f64 / (1 << 20) as f64,
        took.as_secs_f64(),
        if taken.direct { "past the page cache" } else { "through the page cache" },
        cost.resident_mib,
    );
}

/// Runs ticks until the snapshot is on disk: each settles a height, copies what it overwrites before, and some more after.
fn take(world: &mut World, snapshots: &Snapshots) -> (Cost, SnapshotDone) {
    let mut cost = Cost::default();
    let (mut blocks, mut handed): (Vec<GroupBlock>, bool) = (Vec::new(), false);
    loop {
        let began = Instant::now();
        let time_ms = world.machine.next_due_ms().expect("players sit");
        let header = Header { height: world.next, time_ms, ..Header::zeroed() };
        let block = Block { header, certificate: None, system: Vec::new(), pledges: Vec::new(), intents: Vec::new() };
        let mut saved = Saved::All;
        let mut hold = time(|| saved = world.machine.save_before(&block));
        if saved == Saved::All {
            let beacon = Draw::Beacon([world.next.0 as u8; 48]);
            cost.settles.push(time(|| _ = world.machine.settle(world.next, time_ms, Vec::new(), beacon)));
            world.next = world.next.next();
        } else {
            cost.waits += 1;
        }
        assert_eq!(world.machine.saver().spoiled(), None, "every group was saved before it was written");
        if world.machine.saver().is_running() {
            hold += time(|| {
                world.machine.sweep_snapshot(SNAPSHOT_BLOCK_GROUPS);
                world.machine.take_blocks(&mut blocks);
                blocks.drain(..).for_each(|block| snapshots.put(block));
            });
            cost.holds.push(hold);
            cost.ticks += 1;
        }
        if world.machine.saver().left() == 0 && !handed {
            world.machine.end_snapshot();
            snapshots.finish();
            handed = true;
        }
        cost.resident_mib = cost.resident_mib.max(resident_mib());
        std::thread::sleep(TICK.saturating_sub(began.elapsed()));
        while let Ok(kept) = snapshots.kept().try_recv() {
            match kept {
                KeeperEvent::Block(block) => world.machine.give_back_block(block),
                KeeperEvent::Done(taken) => return (cost, taken),
                KeeperEvent::Failed(problem) => panic!("{problem}"),
            }
        }
    }
}

fn note(world: &mut World) -> ChainNote {
    let (height, time_ms) = world.machine.read(|rows| (rows.house.height, rows.house.time_ms));
    let certificate = Certificate { height, round: 0, block: [1; 32], signatures: Vec::new() };
    let root = world.machine.report().root;
    ChainNote {
        height,
        time_ms,
        receipts_from: height,
        block: [1; 32],
        root,
        root_chains: [[2; 32]; 2],
        validators: [[3; 32]; 2],
        certificate,
    }
}

/// A bare copy of as many groups as a tick sweeps, from memory that is not at hand.
fn copy_limit() -> Duration {
    let bytes = SNAPSHOT_BLOCK_GROUPS * GROUP_BYTES;
    let (from, mut to) = (vec![7_u8; 64 * bytes], vec![0_u8; bytes]);
    let copies = (0..63).map(|place| {
        time(|| {
            to.copy_from_slice(&from[place * bytes..][..bytes]);
            std::hint::black_box(&mut to);
        })
    });
    middle(copies.collect())
}

/// A start: the index, the snapshot's map, every group, the root, and what is derived from the columns; and reading and
/// checking the groups alone.
fn start(criterion: &mut Criterion, world: &World, session: &Session, path: &Path, note: &ChainNote, tables: u32) {
    let backend: Arc<dyn Backend> = Arc::new(FileBackend);
    let open = || {
        let catalog = read_catalog(&backend, path, &session.chain()).expect("the index");
        let (height, _) = catalog.snapshots.last_key_value().expect("a snapshot");
        assert!(*height > Height::GENESIS);
        StoredSnapshot::open(&backend, path, &catalog, *height).expect("whole")
    };
    let ours = || {
        let mut machine = Machine::new(world.machine.setup().clone(), 1);
        time(|| {
            SnapshotsFound::open(session, |_| ()).expect("the index").newest_first();
            let stored = open();
            machine.load(note, |index, group| stored.read_group(index, group)).expect("the root is right");
        })
    };
    let limit = || {
        let stored = open();
        let mut group = [0; GROUP_BYTES];
        time(|| (0..stored.groups()).for_each(|index| stored.read_group(index, &mut group).expect("whole")))
    };
    let groups = world.machine.layout().groups();
    let mut group = group(criterion, "snapshot/start".to_owned(), Throughput::Elements(groups as u64));
    let name = format!("tables={tables}");
    let started: Beside = beside(&mut group, &name, ours, limit);
    started.print(&format!("snapshot/start/{name}"), "reading and checking the groups alone");
    if !tiny() && !started.ours.is_empty() && started.ours.median() >= 5.0 {
        println!("snapshot/start/{name}: TARGET MISSED: 5 s");
    }
    group.finish();
}
