//! Starting from snapshots: a node that does goes on exactly as one that never stopped, whatever happened to its files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use audit::reading::ReadOptions;
use audit::replay::{ReplayConfig, replay};
use audit::walker::Walker;
use engine::io::{Input, Output, Receipt};
use engine::message::block::Decided;
use engine::message::certificate::Settled;
use engine::message::note::ChainNote;
use engine::{Height, PeerId, Tick};
use load::dev::{DevConfig, DevNode, apart, open};
use node::clock::Pace;
use node::open::SessionFound;
use node::snapshots::SnapshotPace;
use node::totals::Totals;
use storage::backend::{Backend, FileBackend};
use storage::read_genesis;
use storage::snapshot::{Catalog, StoredSnapshot, read_catalog};
use storage::{FrameKind, JournalReader};
use systems::exchange::Clock;
use systems::{Machine, Setup};

static STOP: AtomicBool = AtomicBool::new(false);

fn try_dev(dir: &Path, config: &DevConfig, heights: u64) -> Result<(Totals, Option<SessionFound>), String> {
    apart(|| {
        let DevNode { mut node, found, .. } = open(dir, config).map_err(|error| format!("{error:#}"))?;
        node.run(Some(heights), &STOP, |_, _, _| ()).map_err(|error| format!("{error:#}"))?;
        Ok((node.close(), found))
    })
}

fn dev(dir: &Path, config: &DevConfig, heights: u64) -> (Totals, Option<SessionFound>) {
    try_dev(dir, config, heights).expect("the session runs")
}

/// Snapshots one after another, a few groups a tick, so that every one of them spans several heights.
fn often() -> DevConfig {
    let snapshots = SnapshotPace { ticks: 0, groups: 0, heights: 1, groups_per_tick: 1 };
    DevConfig { pace: Pace::Max, threads: 1, tables: 300, players: 400, snapshots, ..DevConfig::default() }
}

fn never() -> DevConfig {
    let snapshots = SnapshotPace { ticks: u64::MAX, groups: u64::MAX, heights: 1, groups_per_tick: 1 };
    DevConfig { snapshots, ..often() }
}

fn backend() -> Arc<dyn Backend> {
    Arc::new(FileBackend)
}

fn catalog(dir: &Path) -> Catalog {
    let (_, chain) = read_genesis(dir).expect("a genesis");
    read_catalog(&backend(), dir, &chain).expect("snapshots")
}

fn frames(dir: &Path) -> Vec<(Decided, Settled)> {
    let (mut decided, mut settled) = (Vec::new(), Vec::new());
    let mut reader = JournalReader::open(dir).expect("a session");
    while let Some(frame) = reader.next_frame().expect("a whole journal") {
        match frame.kind {
            FrameKind::Decided => decided.push(Decided::decode(&frame.body).expect("a block")),
            FrameKind::Settled => settled.push(Settled::decode(&frame.body).expect("a settled height")),
            other => unreachable!("{other:?}: nothing was given up, and nobody lied"),
        }
    }
    decided.into_iter().zip(settled).collect()
}

fn packs(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("snapshots")).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries.filter(|path| path.extension().is_some_and(|ending| ending == "pack")).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copy(&path, &target) } else { _ = fs::copy(&path, &target).expect("copied") }
    }
}

#[test]
fn snapshots_change_nothing_and_a_restarted_node_goes_on_from_the_newest() {
    let dir = tempfile::tempdir().expect("a directory");
    let (with, without) = (dir.path().join("with"), dir.path().join("without"));
    let mut from = Height::GENESIS;
    for heights in [120, 200, 280] {
        let (totals, found) = dev(&with, &often(), heights);
        let (expected, none) = dev(&without, &never(), heights);
        assert_eq!((totals.root, totals.root_chain), (expected.root, expected.root_chain), "height {heights}");
        assert_eq!((totals.counts, totals.receipts), (expected.counts, expected.receipts));
        assert!(totals.snapshots.taken > 3, "{} snapshots", totals.snapshots.taken);
        assert_eq!((totals.snapshots.failed, expected.snapshots.taken), (0, 0));
        let last = totals.snapshots.last.expect("a snapshot");
        let taken = catalog(&with);
        let before = *taken.snapshots.range(..last.height).next_back().expect("one before it").0;
        let stored = StoredSnapshot::open(&backend(), &with, &taken, before).expect("a whole snapshot");
        let note = ChainNote::decode(&stored.note).expect("a note");
        assert_eq!(totals.snapshots.needed_from, Some(note.receipts_from), "the one before is needed too");
        if let (Some(found), Some(none)) = (found, none) {
            let snapshot = found.snapshot.expect("the start began with a snapshot");
            assert!(snapshot > from && found.height.0 - snapshot.0 == found.executed, "{found:?}");
            assert!(found.executed < 60 && found.repaired.is_empty(), "{found:?}");
            assert_eq!((none.snapshot, none.executed), (None, none.height.0));
            from = snapshot;
        }
    }
    let config = ReplayConfig { verify: false, ..ReplayConfig::all(ReadOptions::default()) };
    let outcome = apart(|| replay(&with, &config, |_| ())).expect("a whole session");
    assert_eq!((outcome.difference, outcome.heights), (None, 280));
}

#[test]
fn what_is_held_back_changes_nothing_that_is_replicated() {
    let dir = tempfile::tempdir().expect("a directory");
    let (held, free) = (dir.path().join("held"), dir.path().join("free"));
    let totals = apart(|| {
        let DevNode { mut node, .. } = open(&held, &often()).expect("a session");
        let throttles = node.throttles();
        throttles.pause_snapshots(true);
        throttles.slow_compression(10);
        node.run(Some(120), &STOP, |_, machine, _| machine.trim()).expect("it runs");
        assert!(!node.machine().saver().is_running(), "no snapshot has begun");
        throttles.pause_snapshots(false);
        throttles.slow_snapshots(16);
        node.run(Some(300), &STOP, |_, machine, _| machine.trim()).expect("it runs");
        node.close()
    });
    let (expected, _) = dev(&free, &often(), 300);
    assert_eq!((totals.root, totals.root_chain), (expected.root, expected.root_chain));
    // How many there are depends on how fast the disk is meanwhile; that none began in the first 120 heights was seen above.
    assert!(totals.snapshots.taken > 0 && totals.snapshots.failed == 0, "{:?}", totals.snapshots);
}

#[test]
fn a_machine_from_any_snapshot_has_the_roots_and_receipts_of_one_that_never_stopped() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    dev(&path, &often(), 300);
    let recorded = frames(&path);
    assert_eq!(recorded.len(), 300);
    let (genesis, chain) = read_genesis(&path).expect("a genesis");
    let setup = Setup::new(genesis, chain).expect("good");
    let catalog = catalog(&path);
    assert!(catalog.snapshots.len() >= 5, "{} snapshots", catalog.snapshots.len());
    for height in catalog.snapshots.keys() {
        apart(|| {
            let stored = StoredSnapshot::open(&backend(), &path, &catalog, *height).expect("a whole snapshot");
            let mut machine = Machine::new(setup.clone(), 1);
            let note = machine
                .load_stored(stored.height, &stored.note, stored.values(), |index, group| {
                    stored.read_group(index, group)
                })
                .expect("loaded");
            assert_eq!(note.root, recorded[height.0 as usize - 1].1.root);
            for (decided, settled) in &recorded[height.0 as usize..] {
                let led_to = machine.restore(decided, Some(settled.beacon)).expect("settled");
                assert_eq!(&led_to, settled, "from snapshot {height}, height {}", settled.height);
            }
        });
    }
}

#[test]
fn a_restarted_node_answers_what_is_sent_again_as_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    dev(&path, &often(), 200);
    let recorded = frames(&path);
    apart(|| {
        let DevNode { node, found, .. } = open(&path, &never()).expect("a session");
        let snapshot = found.expect("it goes on").snapshot.expect("from a snapshot");
        let mut machine = node.into_machine();
        let mut checked = 0;
        for (decided, settled) in recorded.iter().filter(|(_, settled)| settled.height <= snapshot) {
            let from = PeerId::LOCAL;
            let intents = decided.block.intents.clone();
            let mut inputs = vec![Input::Intents { from, intents: intents.clone() }];
            let mut outputs = Vec::new();
            let clock = Clock { tick: Tick(0), now_ms: 0 };
            machine.exchange(clock, &mut inputs, &mut outputs).expect("no fault");
            for (index, (intent, verdict)) in intents.iter().zip(&settled.verdicts).enumerate() {
                let (height, index) = (settled.height, index as u32);
                let receipt = Receipt { id: intent.id(), height, index, verdict: *verdict };
                let uses = match verdict {
                    engine::io::Verdict::Refused(refusal) => refusal.uses_number(),
                    _ => true,
                };
                if uses {
                    assert!(outputs.contains(&Output::Receipt { to: from, receipt }), "{receipt:?}");
                    checked += 1;
                }
            }
        }
        assert!(checked > 500, "{checked} receipts");
    });
}

#[test]
fn damaged_snapshots_are_named_and_the_one_before_or_genesis_serves() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = dir.path().join("whole");
    dev(&whole, &often(), 150);
    let (expected, _) = dev(
        &{
            let path = dir.path().join("as-it-was");
            copy(&whole, &path);
            path
        },
        &never(),
        170,
    );
    let catalog = catalog(&whole);
    let newest: Vec<(Height, storage::snapshot::PackOffset)> =
        catalog.snapshots.iter().rev().map(|(height, (place, _))| (*height, *place)).collect();

    // The map of the newest: the one before serves.
    let path = dir.path().join("map");
    copy(&whole, &path);
    let pack = path.join(format!("snapshots/{:08}.pack", newest[0].1.pack));
    let mut bytes = fs::read(&pack).expect("a pack");
    bytes[newest[0].1.offset as usize + 120] ^= 1;
    fs::write(&pack, bytes).expect("written");
    let (totals, found) = dev(&path, &often(), 170);
    let found = found.expect("it goes on");
    assert_eq!(found.snapshot, Some(newest[1].0));
    assert!(found.repaired[0].contains("snapshot at height") && found.repaired[0].contains(".pack"), "{found:?}");
    assert_eq!(totals.root_chain, expected.root_chain);
    let (_, found) = dev(&path, &never(), 171);
    assert_eq!(found.expect("it goes on").repaired, Vec::<String>::new(), "what was damaged is gone");

    // Every pack: genesis serves, and new snapshots are taken.
    let path = dir.path().join("packs");
    copy(&whole, &path);
    for pack in packs(&path) {
        let mut bytes = fs::read(&pack).expect("a pack");
        bytes[4_096..].fill(0xAA);
        fs::write(&pack, bytes).expect("written");
    }
    let (totals, found) = dev(&path, &often(), 170);
    let found = found.expect("it goes on");
    assert_eq!((found.snapshot, found.executed), (None, 150));
    assert_eq!(found.repaired.len(), newest.len(), "{found:?}");
    assert_eq!(totals.root_chain, expected.root_chain);
    assert!(totals.snapshots.taken > 0);
    let (_, found) = dev(&path, &never(), 171);
    assert!(found.expect("it goes on").snapshot.is_some());

    // No folder at all, as in a session of before there were snapshots.
    let path = dir.path().join("none");
    copy(&whole, &path);
    fs::remove_dir_all(path.join("snapshots")).expect("removed");
    let (totals, found) = dev(&path, &often(), 170);
    assert_eq!(found.expect("it goes on").executed, 150);
    assert_eq!(totals.root_chain, expected.root_chain);
}

#[test]
fn a_walk_to_any_height_begins_at_the_snapshot_below_it_on_a_live_node_too() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    dev(&path, &often(), 200);
    let recorded = frames(&path);
    let lowest = *catalog(&path).snapshots.first_key_value().expect("a snapshot").0;
    let walks = || {
        for height in (1..=200).step_by(7).map(Height) {
            let mut walker = Walker::near(&path, ReadOptions::default(), height).expect("a session");
            let from = walker.height();
            assert!(from <= height && (height < lowest || from >= lowest), "from {from} to {height}");
            walker.walk_to(height).expect("the height is recorded");
            assert_eq!(walker.machine().root(), recorded[height.0 as usize - 1].1.root, "height {height}");
        }
    };
    apart(walks);
    // While the node has the session open.
    apart(|| {
        let opened = open(&path, &never()).expect("a session");
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| apart(walks));
            reader.join().expect("no panic");
        });
        drop(opened);
    });
}

#[test]
fn a_journal_that_ends_before_a_snapshot_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let (path, older) = (dir.path().join("s"), dir.path().join("older"));
    dev(&path, &never(), 40);
    copy(&path, &older);
    dev(&path, &often(), 150);
    // A backup of journal and log is put back, and snapshots stay.
    for part in ["journal", "consensus"] {
        fs::remove_dir_all(path.join(part)).expect("removed");
        copy(&older.join(part), &path.join(part));
    }
    let error = try_dev(&path, &never(), 160).expect_err("an older journal");
    assert!(error.contains("the journal ends before height"), "{error}");
}
