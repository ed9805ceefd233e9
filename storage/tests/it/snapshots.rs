//! Snapshots on a disk: what was taken comes back, whatever is dropped, rewritten, damaged or cut.

mod faults;
mod ranges;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use engine::Height;
use engine::columns::{Capacity, Columns};
use engine::genesis::{GENESIS_VERSION, Genesis, GenesisValidator, HexBytes, KeySource, Opening};
use engine::image::{DirtyMap, GroupSaver, ImageLayout};
use engine::limits::GROUP_BYTES;
use storage::Session;
use storage::backend::{Backend, FileBackend, MemoryBackend};
use storage::snapshot::{
    Catalog, KeeperEvent, SnapshotDone, SnapshotInfo, Snapshots, SnapshotsFound, StoredSnapshot, read_catalog,
    read_index,
};

fn genesis() -> Genesis {
    Genesis {
        version: GENESIS_VERSION,
        name: "test".into(),
        keys: KeySource::Seed,
        start_ms: 1,
        supply: 1 << 40,
        tables: 2_000,
        seats: 8,
        accounts: 400,
        grant: 10,
        opening: Opening::Free { per_height: 1 },
        rules: vec![Default::default()],
        bank_target: 1,
        window_min_ms: 100,
        window_max_ms: 1_000,
        clock_phases: 1,
        idle_ms: 10_000,
        account_idle_ms: 10_000,
        idleness: Default::default(),
        block_interval_ms: 10,
        validators: vec![GenesisValidator {
            name: "a".into(),
            vote_key: HexBytes([3; 32]),
            dkg_key: HexBytes([8; 32]),
        }],
        group_key: HexBytes([4; 96]),
    }
}

/// A world whose rows are written at will, and the snapshots of it.
struct Stage {
    world: bevy_ecs::world::World,
    layout: ImageLayout,
    saver: GroupSaver,
    dirty: DirtyMap,
    lot: u64,
    height: u64,
    /// What each snapshot must be.
    images: BTreeMap<Height, Vec<u8>>,
}

impl Stage {
    fn new() -> Self {
        let genesis = genesis();
        let layout = ImageLayout::new(Capacity::of(&genesis));
        let mut world = bevy_ecs::world::World::new();
        engine::world::spawn(&mut world, &genesis, &[[7; 32]], 0, 1);
        let (saver, dirty) = (GroupSaver::new(layout.clone()), DirtyMap::new(layout.clone()));
        Self { world, layout, saver, dirty, lot: 5, height: 0, images: BTreeMap::new() }
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.lot = self.lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.lot >> 33) % bound
    }

    /// Writes some rows, then takes a snapshot.
    fn take(&mut self, snapshots: &Snapshots, time_ms: u64) -> Result<SnapshotDone, String> {
        self.height += 1;
        let rows: Vec<usize> = (0..20).map(|_| self.below(16_000) as usize).collect();
        let mut state = bevy_ecs::system::SystemState::<Columns<'_, '_>>::new(&mut self.world);
        let mut columns = state.get_mut(&mut self.world).expect("columns");
        let view = columns.rows();
        for row in rows {
            view.seats[row].rail.0 = self.height * 1_000 + row as u64;
            self.dirty.mark(engine::columns::Column::Seats, row);
        }
        self.dirty.take(&mut Vec::new());
        let mut image = Vec::new();
        let all: Result<(), ()> = engine::image::export(&self.layout, &view, |part| {
            image.extend_from_slice(part);
            Ok(())
        });
        all.expect("writing to a vector cannot fail");
        let info = SnapshotInfo { height: Height(self.height), time_ms };
        let changed = self.saver.begin(&mut self.dirty);
        snapshots.begin(info, format!("note {}", self.height).into_bytes(), self.layout.groups(), changed);
        let mut blocks = Vec::new();
        while self.saver.left() > 0 {
            self.saver.sweep(&view, 64);
            self.saver.take_full(&mut blocks);
            blocks.drain(..).for_each(|block| snapshots.put(block));
        }
        self.saver.end();
        snapshots.finish();
        loop {
            // What says nothing fails; it does not hang.
            match snapshots.kept().recv_timeout(Duration::from_secs(60)).expect("the thread lives") {
                KeeperEvent::Block(block) => self.saver.give_back(block),
                KeeperEvent::Done(taken) => {
                    self.images.insert(info.height, image);
                    return Ok(taken);
                }
                KeeperEvent::Failed(problem) => {
                    self.saver.give_up(&mut self.dirty);
                    return Err(problem);
                }
            }
        }
    }
}

fn read(snapshot: &StoredSnapshot) -> Result<Vec<u8>, storage::Damage> {
    let mut image = Vec::with_capacity(snapshot.groups() * GROUP_BYTES);
    let mut group = [0; GROUP_BYTES];
    for index in 0..snapshot.groups() {
        snapshot.read_group(index, &mut group)?;
        image.extend_from_slice(&group);
    }
    Ok(image)
}

fn session(dir: &Path) -> Session {
    Session::create(dir, b"{}").expect("a new session")
}

fn found(session: &Session) -> SnapshotsFound {
    SnapshotsFound::open(session, |_| {}).expect("the snapshots of a session")
}

/// All snapshots that are there are whole, and are what they must be.
fn check(found: &SnapshotsFound, stage: &Stage) -> usize {
    let all = found.newest_first();
    for info in &all {
        let snapshot = found.snapshot(info.height).expect("a whole snapshot");
        assert_eq!(snapshot.note, format!("note {}", info.height.0).into_bytes());
        assert!(read(&snapshot).expect("whole groups") == stage.images[&info.height], "snapshot {}", info.height);
    }
    all.len()
}

fn files(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir.join("snapshots")).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
    files.sort();
    files
}

#[test]
fn snapshots_come_back_and_write_what_changed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let mut session = session(&path);
    let mut stage = Stage::new();
    let mut bytes = Vec::new();
    for round in 0..4 {
        let snapshots =
            found(&session).start(stage.images.last_key_value().map(|(height, _)| *height)).expect("a thread");
        for number in 0..6 {
            let taken = stage.take(&snapshots, (round * 6 + number) * 30_000).expect("there is room");
            bytes.push(taken.bytes);
            assert!(taken.groups_written <= taken.groups);
        }
        snapshots.close();
        drop(session);
        session = Session::open(&path).expect("the session");
        let found = found(&session);
        assert_eq!(found.repaired, None);
        let count = check(&found, &stage);
        assert!((3..12).contains(&count), "{count} snapshots of {}", stage.images.len());
    }
    // Most of the image is alike, and what did not change is not written again.
    assert!(bytes[0] < 400_000, "{} bytes", bytes[0]);
    assert!(bytes[1..].iter().all(|later| *later < 400_000), "{bytes:?}");
    let open = found(&session);
    let index = path.join("snapshots/index.redb");
    let read = read_index(&index, &session.chain()).expect("readable while a writer has it open");
    assert_eq!(read.snapshots.len(), open.newest_first().len());
    drop(open);
    let catalog =
        read_catalog(&(Arc::new(FileBackend) as _), &path, &session.chain()).expect("the index, read by another");
    assert_eq!(catalog.snapshots.len(), found(&session).newest_first().len());
}

#[test]
fn an_index_that_is_missing_or_damaged_is_made_again_from_the_packs() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = session(&path);
    let mut stage = Stage::new();
    let snapshots = found(&session).start(None).expect("a thread");
    (0..5).for_each(|number| _ = stage.take(&snapshots, number * 30_000).expect("there is room"));
    snapshots.close();
    let before = found(&session).newest_first();
    let index = path.join("snapshots/index.redb");
    let bytes = fs::read(&index).expect("the index");
    fs::remove_file(&index).expect("removed");
    let again = found(&session);
    assert!(again.repaired.as_ref().is_some_and(|repaired| repaired.contains("was missing")), "{:?}", again.repaired);
    let heights = |all: &[SnapshotInfo]| all.iter().map(|info| (info.height, info.time_ms)).collect::<Vec<_>>();
    // What had been dropped may be back: its groups are there still.
    assert!(heights(&before).iter().all(|info| heights(&again.newest_first()).contains(info)));
    check(&again, &stage);
    drop(again);

    // A flipped bit anywhere: opened as it was, or named and made again; never a panic, never another state.
    let mut named = 0;
    for at in (0..bytes.len()).step_by(bytes.len() / 150) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&index, &flipped).expect("written");
        let again = found(&session);
        named += usize::from(again.repaired.is_some());
        for info in again.newest_first() {
            let snapshot = again.snapshot(info.height);
            let Ok(image) = snapshot.and_then(|snapshot| read(&snapshot)) else { continue };
            assert!(image == stage.images[&info.height], "byte {at}, snapshot {}", info.height);
        }
        assert!(!again.newest_first().is_empty(), "byte {at}");
    }
    println!("{named} of 150 flips were named");
    assert!(named > 0);
}

#[test]
fn a_flipped_bit_in_a_pack_is_named_and_never_taken_for_another_state() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = session(&path);
    let mut stage = Stage::new();
    let snapshots = found(&session).start(None).expect("a thread");
    (0..3).for_each(|number| _ = stage.take(&snapshots, number * 30_000).expect("there is room"));
    snapshots.close();
    let pack = files(&path, "pack").remove(0);
    let bytes = fs::read(&pack).expect("a pack");
    let mut damaged = 0;
    for at in (0..bytes.len()).step_by(bytes.len() / 150) {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        fs::write(&pack, &flipped).expect("written");
        let found = found(&session);
        let mut any = false;
        for info in found.newest_first() {
            match found.snapshot(info.height).and_then(|snapshot| read(&snapshot)) {
                Ok(image) => assert!(image == stage.images[&info.height], "byte {at}"),
                Err(damage) => {
                    assert!(damage.file.starts_with("snapshots/"), "{damage}");
                    any = true;
                }
            }
        }
        damaged += usize::from(any);
        // The walk that checks every byte names each flip.
        let (_, damages) =
            storage::snapshot::check_packs(&(Arc::new(FileBackend) as _), &path, &session.chain()).expect("readable");
        assert!(!damages.is_empty(), "byte {at} of {} is not named", bytes.len());
    }
    assert!(damaged > 40, "{damaged} flips hit a snapshot");
}

#[test]
fn a_pack_that_is_torn_behind_the_last_snapshot_is_cut_and_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = session(&path);
    let mut stage = Stage::new();
    let snapshots = found(&session).start(None).expect("a thread");
    stage.take(&snapshots, 1).expect("there is room");
    snapshots.close();
    let pack = files(&path, "pack").remove(0);
    let mut bytes = fs::read(&pack).expect("a pack");
    let whole = bytes.len();
    bytes.extend_from_slice(&[7; 10_000]);
    fs::write(&pack, &bytes).expect("written");
    fs::write(path.join("snapshots/00000002.pack"), [1; 5_000]).expect("written");
    let snapshots = found(&session).start(Some(Height(1))).expect("a thread");
    stage.take(&snapshots, 30_001).expect("there is room");
    snapshots.close();
    assert_eq!(check(&found(&session), &stage), 2);
    assert_eq!(files(&path, "pack").len(), 1);
    assert!(fs::read(&pack).expect("a pack").len() > whole);

    // Without the index the torn end is no damage either.
    fs::remove_file(path.join("snapshots/index.redb")).expect("removed");
    bytes = fs::read(&pack).expect("a pack");
    bytes.extend_from_slice(&[9; 5_000]);
    fs::write(&pack, &bytes).expect("written");
    let again = found(&session);
    assert_eq!(check(&again, &stage), 2);
    assert!(!again.repaired.as_ref().expect("made again").contains("byte"), "{:?}", again.repaired);
}

/// A start removes the packs behind the last snapshot one by one: where it ended in between, the next one goes on with those
/// that are left.
#[test]
fn a_pack_that_is_left_behind_a_gap_goes_and_snapshots_are_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = session(&path);
    let mut stage = Stage::new();
    let snapshots = found(&session).start(None).expect("a thread");
    stage.take(&snapshots, 1).expect("there is room");
    snapshots.close();
    let left = path.join("snapshots/00000003.pack");
    fs::write(&left, [1; 5_000]).expect("written");
    let snapshots = found(&session).start(Some(Height(1))).expect("a thread");
    stage.take(&snapshots, 30_001).expect("what is left of others does not matter");
    snapshots.close();
    assert_eq!(check(&found(&session), &stage), 2);
    assert_eq!(files(&path, "pack").len(), 1);

    // What cannot be removed is named: here no file is.
    fs::create_dir(&left).expect("a directory");
    let snapshots = found(&session).start(Some(Height(2))).expect("a thread");
    let problem = stage.take(&snapshots, 60_001).expect_err("it stays");
    assert!(problem.contains("00000003.pack"), "{problem}");
}

/// Writes a number that the index of a session has under a name.
fn write_meta(path: &Path, name: &str, value: u64) {
    let db = redb::Database::open(path.join("snapshots/index.redb")).expect("the index");
    let txn = db.begin_write().expect("a transaction");
    let meta: redb::TableDefinition<'_, &str, u64> = redb::TableDefinition::new("meta");
    txn.open_table(meta).expect("a table").insert(name, value).expect("written");
    txn.commit().expect("committed");
}

/// The index says where the packs end, and what lies behind is cut off: an end at which none can be is not taken.
#[test]
fn an_end_of_the_packs_that_cannot_be_cuts_nothing_off() {
    let block = storage::BLOCK;
    for wrong in [0, 100, block, block + 8, 3 * block - 1] {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let session = session(&path);
        let mut stage = Stage::new();
        let snapshots = found(&session).start(None).expect("a thread");
        (0..2).for_each(|number| _ = stage.take(&snapshots, number * 30_000).expect("there is room"));
        snapshots.close();
        write_meta(&path, "end", wrong);
        let snapshots = found(&session).start(Some(Height(2))).expect("a thread");
        stage.take(&snapshots, 60_000).unwrap_or_else(|problem| panic!("{wrong}: {problem}"));
        snapshots.close();
        assert_eq!(check(&found(&session), &stage), 3, "{wrong}");
    }
}

#[test]
fn packs_that_are_mostly_dead_are_rewritten_and_nothing_is_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let mut session = session(&path);
    let mut stage = Stage::new();
    for round in 0..12 {
        let loaded = stage.images.last_key_value().map(|(height, _)| *height);
        // Small packs, so that many are begun.
        let snapshots = found(&session).start_with(loaded, 200_000).expect("a thread");
        for number in 0..10 {
            stage.take(&snapshots, (round * 10 + number) * 30_000).expect("there is room");
        }
        snapshots.close();
        drop(session);
        session = Session::open(&path).expect("the session");
        check(&found(&session), &stage);
    }
    let packs = files(&path, "pack");
    let last: u32 = packs.last().and_then(|path| path.file_stem()?.to_str()?.parse().ok()).expect("a number");
    assert!(packs.len() < last as usize / 2, "{} packs of {last} are left", packs.len());
    let count = found(&session).newest_first().len();
    assert!(count < 20, "{count} snapshots of 120");
}

/// Turns a bit of a file over.
fn flip(file: &Path, at: u64) {
    let mut bytes = fs::read(file).expect("a file");
    bytes[at as usize] ^= 1;
    fs::write(file, bytes).expect("written");
}

fn catalog(session: &Session) -> Catalog {
    read_catalog(session.backend(), session.dir(), &session.chain()).expect("the index")
}

#[test]
fn an_old_map_that_cannot_be_read_is_dropped_and_keeps_no_snapshot_from_coming() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = session(&path);
    let mut stage = Stage::new();
    let snapshots = found(&session).start(None).expect("a thread");
    (0..4).for_each(|number| _ = stage.take(&snapshots, number * 30_000).expect("there is room"));
    // Two, which are dropped one after the other: with the first one the second is still to be counted.
    for height in [Height(1), Height(2)] {
        let (place, _) = catalog(&session).snapshots[&height];
        flip(&files(&path, "pack")[0], place.offset + u64::from(place.bytes) / 2);
    }
    (4..12).for_each(|number| _ = stage.take(&snapshots, number * 30_000).expect("old maps are not its own"));
    snapshots.close();
    let before = catalog(&session);
    assert!([1, 2].iter().all(|height| !before.snapshots.contains_key(&Height(*height))), "{:?}", before.snapshots);
    assert!(check(&found(&session), &stage) >= 3);
    // A start counts anew which groups a snapshot has, and finds none beyond them.
    found(&session).start(Some(Height(12))).expect("a thread").close();
    assert_eq!(catalog(&session), before);
}

#[test]
fn a_group_that_cannot_be_read_keeps_its_own_pack_and_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = session(&path);
    let mut stage = Stage::new();
    let snapshots = found(&session).start_with(None, 200_000).expect("a thread");
    stage.take(&snapshots, 0).expect("there is room");
    snapshots.close();
    // Among them is the group of zeros, which every snapshot has: something lives in this pack for ever.
    for place in catalog(&session).groups.values() {
        flip(&files(&path, "pack")[0], place.offset + u64::from(place.bytes) / 2);
    }
    for round in 0..12 {
        let snapshots = found(&session).start_with(Some(Height(stage.height)), 200_000).expect("a thread");
        for number in 1..=10 {
            stage.take(&snapshots, (round * 10 + number) * 30_000).expect("there is room");
        }
        snapshots.close();
    }
    let packs = files(&path, "pack");
    let last: u32 = packs.last().and_then(|path| path.file_stem()?.to_str()?.parse().ok()).expect("a number");
    assert!(packs[0].ends_with("00000001.pack"), "what lives in it cannot be moved");
    assert!(packs.len() <= last as usize / 2, "{} packs of {last} are left", packs.len());

    let problem = found(&session).compact().expect_err("one pack cannot be rewritten");
    assert!(problem.starts_with("pack 1: "), "{problem}");
    let left = files(&path, "pack");
    assert!(left.len() < packs.len(), "{} of {} packs are left", left.len(), packs.len());
    let (_, damages) = storage::snapshot::check_packs(session.backend(), &path, &session.chain()).expect("readable");
    assert!(damages.told.iter().all(|damage| damage.file == "snapshots/00000001.pack"), "{damages:?}");
}

#[test]
fn a_newer_index_is_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = session(&path);
    drop(found(&session));
    write_meta(&path, "version", 2);
    let error = SnapshotsFound::open(&session, |_| {}).err().expect("a newer index").to_string();
    assert!(error.contains("version 2, this program reads version 1"), "{error}");
}

/// The readers of packs and index under whatever bytes there are: an answer or an error, never a panic.
#[test]
fn any_bytes_are_packs_and_an_index_or_an_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = session(&path);
    let mut stage = Stage::new();
    let snapshots = found(&session).start(None).expect("a thread");
    (0..2).for_each(|number| _ = stage.take(&snapshots, number * 30_000).expect("there is room"));
    snapshots.close();
    let (chain, dir) = (session.chain(), Path::new("/s"));
    let file = |name: &str| fs::read(path.join("snapshots").join(name)).expect("a file");
    let (pack, index) = (file("00000001.pack"), file("index.redb"));
    let write = |pack: &[u8], index: &[u8]| -> Arc<dyn Backend> {
        let backend: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
        backend.create_dir(&dir.join("snapshots")).expect("a directory");
        backend.create_dir(&dir.join("journal")).expect("a directory");
        backend.write_new(&dir.join("genesis.json"), b"{}").expect("written");
        backend.write_new(&dir.join("snapshots/00000001.pack"), pack).expect("written");
        backend.write_new(&dir.join("snapshots/index.redb"), index).expect("written");
        backend
    };
    let read_all = |backend: &Arc<dyn Backend>| {
        let mut whole = 0;
        let session = Session::open_on(backend.clone(), dir).expect("a session");
        let Ok(found) = SnapshotsFound::open(&session, |_| {}) else { return whole };
        for info in found.newest_first() {
            if let Ok(image) = found.snapshot(info.height).and_then(|snapshot| read(&snapshot)) {
                assert!(image == stage.images[&info.height], "never another state");
                whole += 1;
            }
        }
        let _ = Catalog::from_packs(backend, dir, &chain);
        whole
    };
    assert_eq!(read_all(&write(&pack, &index)), 2);
    assert_eq!(read_all(&write(&pack, b"")), 2, "made again from the pack");

    // Bytes put over a whole pack or index at some place, or cut there.
    bolero::check!().with_iterations(60).with_type::<(bool, u32, bool, Vec<u8>)>().for_each(
        |(which, at, cut, bytes)| {
            let (mut pack, mut index) = (pack.clone(), index.clone());
            let file = if *which { &mut pack } else { &mut index };
            let at = *at as usize % file.len();
            let end = file.len().min(at + bytes.len());
            file[at..end].copy_from_slice(&bytes[..end - at]);
            if *cut {
                file.truncate(at);
            }
            read_all(&write(&pack, &index));
        },
    );
    bolero::check!().with_iterations(100).for_each(|bytes: &[u8]| _ = read_all(&write(bytes, b"")));
    bolero::check!().with_iterations(30).for_each(|bytes: &[u8]| _ = read_all(&write(&pack, bytes)));
}
