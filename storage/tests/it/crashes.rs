//! A run that is stopped at every write and every sync, on a disk that tears, reorders and drops what was not synced: what
//! was said to be on disk is there, nothing else is taken for whole, and the session goes on.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::{Genesis, Height};
use storage::backend::{Backend, Fault, FaultyBackend};
use storage::{
    Compressor, Frame, FrameKind, JournalReader, LogFound, OpenError, Retention, Retirer, Session, SyncGroup, Synced,
    Writing,
};

use crate::opened::Opened;

const DIR: &str = "/disk/session";
/// Groups of a run: enough for several segments and several files of the log.
const GROUPS: u64 = 24;
/// Times that the power goes in one run, at most.
const LIVES: u32 = 4;

fn writing() -> Writing {
    Writing {
        segment_bytes: 40 << 10,
        log_bytes: 16 << 10,
        again: Duration::from_millis(1),
        retention: None,
        min_free: 0,
    }
}

/// Bytes that do not compress, some longer than a block.
fn bytes(seed: u64, length: u64) -> Vec<u8> {
    (0..length).map(|at| ((at ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// A height as a validator of one records it: what led to it in the log, then the block, and the height before settled.
fn group(height: u64) -> SyncGroup {
    let decided = Frame { kind: FrameKind::Decided, height: Height(height), body: bytes(height, height * 977 % 9_000) };
    let settled = Frame { kind: FrameKind::Settled, height: Height(height - 1), body: bytes(height, 120) };
    let frames = if height > 1 { vec![decided, settled] } else { vec![decided] };
    let entries = (0..3).map(|entry| (Height(height), bytes(height * 3 + entry, 40 + height * 331 % 3_000))).collect();
    SyncGroup { id: height, frames, entries, fence: None }
}

fn frames_to(height: u64) -> Vec<Frame> {
    (1..=height).flat_map(|height| group(height).frames).collect()
}

/// Writes on from a height. Returns the last that was said to be on disk, and what stopped it.
fn write(opened: &Opened, from: u64) -> (u64, Option<Synced>) {
    let mut synced = from;
    let mut height = from;
    // What the log has of a height is heard again, and not logged again.
    let logged = |height: u64| match &opened.log {
        LogFound::Entries { entries, .. } => entries.iter().filter(|entry| entry.0.0 == height).count(),
        _ => 0,
    };
    let unlogged = |height: u64| {
        let SyncGroup { id, frames, mut entries, fence } = group(height);
        entries.drain(..logged(height));
        SyncGroup { id, frames, entries, fence }
    };
    // A group that was torn may have left a block without the settled height that came with it.
    if opened.frames.len() < frames_to(from).len() {
        let frames = group(from).frames.split_off(1);
        opened.storage.submit(SyncGroup { id: from, frames, ..SyncGroup::default() });
        synced = from - 1;
    }
    while height < GROUPS || synced < height {
        // Now and then two ticks become one group.
        let last = (height + 1 + u64::from(height % 5 == 2)).min(GROUPS);
        (height + 1..=last).for_each(|height| opened.storage.submit(unlogged(height)));
        height = last;
        while synced < height {
            match opened.storage.synced().recv() {
                Ok(Synced::UpTo(group)) => synced = group,
                Ok(Synced::Full(_)) => {}
                Ok(failed) => return (synced, Some(failed)),
                Err(_) => return (synced, None),
            }
        }
    }
    (synced, None)
}

/// What stays of a body.
fn retire(body: &[u8]) -> Result<Vec<u8>, String> {
    Ok(body.iter().copied().take(8).collect())
}

/// A disk with a new session on it; what goes wrong goes wrong at an operation counted from there.
fn disk(seed: u64, faults: &[(u64, Fault)]) -> FaultyBackend {
    let disk = FaultyBackend::new(seed);
    drop(Session::create_on(Arc::new(disk.clone()), Path::new(DIR), b"{}").expect("nothing fails yet"));
    faults.iter().for_each(|(at, fault)| disk.plan(disk.operations() + at, *fault));
    disk
}

fn open(disk: &FaultyBackend) -> Result<Opened, OpenError> {
    let backend = Arc::new(disk.clone());
    let dir = Path::new(DIR);
    Opened::written(Session::open_on(backend, dir)?, writing())
}

/// What an opened session holds, checked against what was promised; the last decided height.
fn check(opened: &Opened, promised: u64, context: &str) -> u64 {
    let decided = opened.frames.iter().filter(|frame| frame.kind != FrameKind::Settled).count() as u64;
    assert!(decided >= promised, "{context}: height {promised} was promised, the journal ends at {decided}");
    let whole = frames_to(decided);
    let same = |(found, written): (&Frame, &Frame)| match found.kind {
        FrameKind::Retired => retire(&written.body).as_ref() == Ok(&found.body) && written.height == found.height,
        _ => found == written,
    };
    assert!(opened.frames.iter().zip(&whole).all(same), "{context}: other frames than were written");
    let (entries, synced) = match &opened.log {
        LogFound::Entries { entries, synced, .. } => (entries.clone(), *synced),
        LogFound::Missing => (Vec::new(), Height::GENESIS),
        LogFound::Damaged(damage) => panic!("{context}: {damage}"),
    };
    assert!(synced.0 <= decided, "{context}");
    // What it says was synced in the journal may be gone, or have holes: files may go in any order. All that comes after
    // it and was promised is there, once and in order.
    let needed: Vec<_> = entries.into_iter().filter(|(height, _)| *height > synced).collect();
    let model: Vec<_> = (synced.0 + 1..=GROUPS).flat_map(|height| group(height).entries).collect();
    assert!(needed.len() as u64 >= 3 * promised.saturating_sub(synced.0), "{context}: {} entries", needed.len());
    assert!(needed == model[..needed.len()], "{context}: other entries than were logged");
    decided
}

/// One run, with the power going at one operation of its first life and at others of the later ones.
fn crash(seed: u64, at: u64) {
    let mut disk = disk(seed.wrapping_mul(0x1_0000_01b3) ^ at, &[(at, Fault::PowerOff)]);
    let mut promised = 0;
    for life in 0..LIVES {
        let context = format!("seed {seed}, power off at operation {at}, life {life}");
        if let Ok(opened) = open(&disk) {
            let found = check(&opened, promised, &context);
            promised = promised.max(found.min(promised));
            // What was found on the disk is not promised before the node says so again.
            let (synced, _) = write(&opened, found);
            promised = promised.max(if synced > found { synced } else { promised });
            drop(opened.storage);
        } else {
            assert!(disk.is_off(), "{context}: {}", open(&disk).err().expect("it did not open"));
        }
        if !disk.is_off() {
            break;
        }
        disk = disk.restart();
        if life + 2 < LIVES && seed % 2 == 1 {
            disk.plan(1 + (at * 7 + seed) % 40, Fault::PowerOff);
        }
    }
    // A cut that was planned and not reached does not come any more.
    let opened = open(&disk.copy()).unwrap_or_else(|error| panic!("seed {seed}, power off at operation {at}: {error}"));
    let context = format!("seed {seed}, power off at operation {at}, at the end");
    let found = check(&opened, promised, &context);
    assert_eq!(write(&opened, found), (GROUPS, None), "{context}");
}

/// Operations of a run in which nothing fails.
fn operations() -> u64 {
    let disk = disk(0, &[]);
    let before = disk.operations();
    let opened = open(&disk).expect("nothing fails");
    assert_eq!(write(&opened, 0), (GROUPS, None));
    drop(opened.storage);
    disk.operations() - before
}

/// Seeds of each test; `BITCRAPS_SEEDS` asks for more.
fn seeds(few: u64) -> u64 {
    std::env::var("BITCRAPS_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

#[test]
fn a_power_cut_at_any_operation_loses_nothing_that_was_promised() {
    let (operations, seeds) = (operations(), seeds(16));
    for at in 1..=operations {
        (0..seeds).for_each(|seed| crash(seed, at));
    }
    println!("{} power cuts: at each of {operations} operations, from {seeds} seeds", operations * seeds);
    assert!(operations > 100, "{operations} operations: the run covers less than it should");
}

/// A write or sync that fails stops the thread, and a new start finds all that was promised. The system may have dropped
/// what a failed sync was to save, and let the next one succeed.
#[test]
fn a_failed_operation_loses_nothing_that_was_promised() {
    let (operations, seeds) = (operations(), seeds(6));
    let mut failed = 0;
    for (at, seed) in (1..=operations).flat_map(|at| (0..seeds).map(move |seed| (at, seed))) {
        let disk = disk(seed ^ at << 8, &[(at, Fault::Fail(ErrorKind::Other))]);
        let (mut promised, context) = (0, format!("seed {seed}, operation {at} fails"));
        if let Ok(opened) = open(&disk) {
            let (synced, error) = write(&opened, 0);
            promised = synced;
            failed += u32::from(matches!(error, Some(Synced::Failed(_))));
            if let Some(Synced::Failed(problem)) = &error {
                let names = problem.starts_with(&format!("{DIR}/")) && problem.contains(" cannot be ");
                assert!(names, "{context}: an operator hears which file it is: {problem}");
            }
            assert!(synced == GROUPS || error.is_some(), "{context}: it stopped without a word");
            drop(opened.storage);
        }
        let disk = disk.restart();
        let opened = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
        let found = check(&opened, promised, &context);
        assert_eq!(write(&opened, found).0, GROUPS, "{context}");
    }
    println!(
        "{} failures: at each of {operations} operations, from {seeds} seeds; {failed} were told",
        operations * seeds
    );
    assert!(failed > 100);
}

/// A disk without room at any operation, and with room again: nothing is lost, nothing is written twice.
#[test]
fn a_full_disk_at_any_operation_only_delays() {
    let (operations, seeds) = (operations(), seeds(4));
    for (at, seed) in (1..=operations).flat_map(|at| (0..seeds).map(move |seed| (at, seed))) {
        let disk = disk(seed ^ at << 8, &[]);
        let context = format!("seed {seed}, no room at operation {at}");
        let opened = open(&disk).expect("there is room");
        for more in 0..=seed % 3 {
            disk.plan(disk.operations() + at + more, Fault::Fail(ErrorKind::StorageFull));
        }
        assert_eq!(write(&opened, 0), (GROUPS, None), "{context}");
        drop(opened.storage);
        let opened = open(&disk.restart()).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(check(&opened, GROUPS, &context), GROUPS);
    }
    println!("{} times without room: at each of {operations} operations, from {seeds} seeds", operations * seeds);
}

/// The room that is to stay free is no room: the disk is full before it is, and nothing of what was taken is lost for it.
#[test]
fn a_disk_that_is_to_stay_free_is_full_before_it_is() {
    let disk = disk(1, &[]);
    let session = Session::open_on(Arc::new(disk.clone()), Path::new(DIR)).expect("a session");
    let free = |bytes: u64| disk.set_room(Some(disk.used() + bytes));
    let opened = Opened::written(session, Writing { min_free: 1 << 20, ..writing() }).expect("it opens");
    let storage = opened.storage;
    storage.submit(group(1));
    assert_eq!(storage.synced().recv(), Ok(Synced::UpTo(1)));
    free(1 << 19);
    storage.submit(group(2));
    match storage.synced().recv() {
        Ok(Synced::Full(problem)) => assert!(problem.contains("are to stay free"), "{problem}"),
        other => panic!("{other:?}"),
    }
    disk.set_room(None);
    assert_eq!(storage.synced().recv(), Ok(Synced::UpTo(2)), "it goes on when there is room");
    free(1 << 19);
    storage.submit(group(3));
    assert!(matches!(storage.synced().recv(), Ok(Synced::Full(_))));
    let again = Opened::of(storage.close()).expect("a whole session");
    assert_eq!(again.frames, frames_to(3), "at the end what was taken is written");
}

/// Segments are compressed and bodies are given up while the power goes: what proves the chain stays, and whatever a start
/// needs stays whole.
#[test]
fn a_power_cut_while_segments_become_less_keeps_what_is_needed() {
    const KEPT: u64 = 16;
    const CUTS: u64 = 120;
    let writing = Writing { retention: Some(Retention { bytes_max: 50 << 10, retire }), ..writing() };
    let open = |disk: &FaultyBackend| {
        Opened::written(Session::open_on(Arc::new(disk.clone()), Path::new(DIR))?, writing.clone())
    };
    let (mut retired_at_all, mut compressed_at_all) = (0, 0);
    let seeds = seeds(8);
    for (at, seed) in (1..=CUTS).flat_map(|at| (0..seeds).map(move |seed| (at, seed))) {
        let context = format!("seed {seed}, operation {at} while segments become less");
        let disk = disk(seed ^ at << 8, &[]);
        let opened = open(&disk).expect("nothing fails yet");
        assert_eq!(write(&opened, 0), (GROUPS, None));
        disk.plan(disk.operations() + at, Fault::PowerOff);
        // As the thread that looks after sealed segments does it, but for its rests, in which it may be told to stop.
        let compressor = Compressor::new(Arc::new(disk.clone()), Path::new(DIR));
        let _ = compressor.compress_sealed(&|| true);
        opened.storage.keep_from(Height(KEPT));
        drop(opened.storage);
        let disk = if disk.is_off() { disk.restart() } else { disk.copy() };
        let opened = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
        assert_eq!(check(&opened, GROUPS, &context), GROUPS);
        let retired = opened.frames.iter().filter(|frame| frame.kind == FrameKind::Retired);
        assert!(retired.clone().all(|frame| frame.height.0 < KEPT), "{context}: a start needs more");
        // The next turn finishes what was begun.
        let compressor = Compressor::new(Arc::new(disk.clone()), Path::new(DIR));
        compressor.compress_sealed(&|| true).unwrap_or_else(|error| panic!("{context}: {error}"));
        opened.storage.keep_from(Height(KEPT));
        drop(opened.storage);
        let opened = open(&disk).unwrap_or_else(|error| panic!("{context}: {error}"));
        check(&opened, GROUPS, &context);
        let retired = opened.frames.iter().filter(|frame| frame.kind == FrameKind::Retired).count();
        assert!(retired > 5, "{context}: {retired} bodies were given up");
        let journal = disk.list(&Path::new(DIR).join("journal")).expect("a folder");
        let compressed = journal.iter().filter(|path| path.extension().is_some_and(|ending| ending == "zst")).count();
        let segments = journal.iter().filter(|path| path.extension().is_some_and(|ending| ending == "seg")).count();
        assert!(segments <= 2, "{context}: what was sealed before the last start is compressed: {journal:?}");
        compressed_at_all += compressed;
        retired_at_all += retired;
        // A reader that wants what is whole begins there; one below is told what is gone.
        let mut reader = JournalReader::open_on(Arc::new(disk), Path::new(DIR), Height(KEPT)).expect("a session");
        let frame = reader.next_frame().expect("whole").expect("a frame");
        assert!(frame.kind != FrameKind::Retired && frame.height == Height(KEPT), "{context}: {frame:?}");
    }
    assert!(compressed_at_all > 0, "segments were compressed");
    println!(
        "{} power cuts while {compressed_at_all} segments were compressed and {retired_at_all} bodies went",
        CUTS * seeds
    );
}

/// A disk may say that it has written what it has not: the segment goes once what stays of it was read again.
#[test]
fn a_segment_keeps_its_bodies_where_what_would_stay_of_it_is_not_on_the_disk() {
    let disk = disk(1, &[]);
    let opened = open(&disk).expect("nothing fails yet");
    assert_eq!(write(&opened, 0), (GROUPS, None));
    drop(opened.storage);
    let retention = Retention { bytes_max: 0, retire };
    let retirer = Retirer::new(Arc::new(disk.clone()), Path::new(DIR), Genesis::chain_id(b"{}"), retention);
    disk.plan(disk.operations() + 1, Fault::Lose);
    retirer.retire(Height(GROUPS), false).expect_err("it was read again");
    assert!(disk.is_harmed(), "the write was lost");
    let opened = open(&disk).expect("a whole session");
    assert!(opened.frames == frames_to(GROUPS), "every body is there");
    drop(opened.storage);
    assert!(!retirer.retire(Height(GROUPS), false).expect("nothing fails any more").is_empty());
}
