//! What the disk may do to a session: cut it anywhere, alter any byte, lose or age a file.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use engine::{Genesis, Height};
use proptest::prelude::*;
use storage::backend::{Backend, FileBackend};
use storage::{
    DamageKind, Frame, FrameKind, JournalReader, LogFound, OpenError, Session, SyncGroup, Synced, Tail, check_journal,
    check_log,
};

use crate::opened::Opened;

fn frame(kind: FrameKind, height: u64, length: usize) -> Frame {
    // Half of the body repeats, so that some bodies are stored packed and some as they are.
    let byte = |index: usize| if index.is_multiple_of(2) { 7 } else { (index as u64 * (height + 31) % 251) as u8 };
    Frame { kind, height: Height(height), body: (0..length).map(byte).collect() }
}

fn group(id: u64) -> SyncGroup {
    let frames = vec![frame(FrameKind::Decided, id, 40 + 97 * id as usize % 400), frame(FrameKind::Settled, id, 120)];
    let entries = vec![(Height(id), vec![id as u8; 30]), (Height(id), vec![1; 5])];
    SyncGroup { id, frames, entries, fence: None }
}

fn write(opened: &Opened, group: SyncGroup) {
    let id = group.id;
    opened.storage.submit(group);
    assert_eq!(opened.storage.synced().recv(), Ok(Synced::UpTo(id)));
}

/// A session of `groups` groups; returns the frames.
fn session(dir: &Path, groups: u64) -> Vec<Frame> {
    let opened = Opened::of(Session::create(dir, b"{}").expect("a new session")).expect("an empty session");
    let nothing_signed = LogFound::Entries { entries: Vec::new(), synced: Height::GENESIS, fence: Height::GENESIS };
    assert_eq!(opened.log, nothing_signed);
    (1..=groups).for_each(|id| write(&opened, group(id)));
    opened.storage.close();
    (1..=groups).flat_map(|id| group(id).frames).collect()
}

fn read(dir: &Path) -> Result<(Vec<Frame>, Tail), OpenError> {
    let mut reader = JournalReader::open(dir)?;
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        frames.push(frame);
    }
    Ok((frames, reader.end().expect("read to the end").tail.clone()))
}

fn files() -> Arc<dyn Backend> {
    Arc::new(FileBackend)
}

fn segment(dir: &Path) -> std::path::PathBuf {
    dir.join("journal/00000001.seg")
}

fn log(dir: &Path) -> std::path::PathBuf {
    dir.join("consensus/00000001.log")
}

#[test]
fn frames_come_back_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let frames = session(&dir.path().join("s"), 9);
    assert_eq!(read(&dir.path().join("s")).expect("a whole session"), (frames, Tail::Clean));
}

/// Wherever the last groups are cut, the whole frames before stay, the rest is a torn tail, and a writer goes on.
#[test]
fn a_journal_cut_at_any_byte_of_its_last_groups_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let whole = dir.path().join("whole");
    let frames = session(&whole, 4);
    let bytes = fs::read(segment(&whole)).expect("a segment");
    let (mut torn, mut clean) = (0, 0);
    for cut in (3 * 4_096..bytes.len()).step_by(7) {
        let part = dir.path().join("part");
        drop(Session::create(&part, b"{}").expect("a new session"));
        fs::write(segment(&part), &bytes[..cut]).expect("a cut segment");
        let (found, tail) = read(&part).expect("a torn tail is no damage");
        assert_eq!(found, frames[..found.len()], "cut at {cut}");
        assert!(found.len() >= 4, "cut at {cut}: the first two groups are whole");
        match tail {
            Tail::Torn { .. } => torn += 1,
            Tail::Clean => clean += 1,
        }
        if cut % 97 == 0 || cut + 20 > bytes.len() {
            let opened = Opened::of(Session::open(&part).expect("a session")).expect("a torn tail is cut");
            assert_eq!(opened.frames, found);
            write(&opened, group(40));
            opened.storage.close();
            let (after, tail) = read(&part).expect("a whole session");
            assert_eq!(
                (&after[..found.len()], &after[found.len()..]),
                (&found[..], &group(40).frames[..]),
                "cut at {cut}"
            );
            assert_eq!(tail, Tail::Clean);
        }
        fs::remove_dir_all(&part).expect("removed");
    }
    assert!(torn > 70 && clean > 70, "{torn} torn, {clean} clean");
}

/// Every byte counts: one that is altered is damage with file and offset, or belongs to the last group.
#[test]
fn an_altered_byte_is_never_accepted() {
    let dir = tempfile::tempdir().expect("a directory");
    let session_dir = dir.path().join("s");
    let frames = session(&session_dir, 3);
    let bytes = fs::read(segment(&session_dir)).expect("a segment");
    let last_group = bytes.len() - 4_096;
    for at in 0..bytes.len() {
        let mut altered = bytes.clone();
        altered[at] ^= 1 << (at % 8);
        fs::write(segment(&session_dir), &altered).expect("an altered segment");
        match read(&session_dir) {
            Err(OpenError::Damaged(damage)) => {
                assert_eq!(damage.file, "journal/00000001.seg");
                assert!(damage.offset <= at as u64 && at as u64 - damage.offset < 4_096, "{damage} for byte {at}");
            }
            Err(error) => panic!("byte {at}: {error}"),
            Ok((found, tail)) => {
                assert!(at >= last_group, "byte {at} was accepted");
                assert!(matches!(tail, Tail::Torn { .. }), "byte {at} was accepted");
                assert_eq!(found, frames[..found.len()]);
            }
        }
    }
}

#[test]
fn a_journal_that_ends_below_what_was_synced_is_damaged_not_torn() {
    let dir = tempfile::tempdir().expect("a directory");
    let session_dir = dir.path().join("s");
    session(&session_dir, 5);
    let bytes = fs::read(segment(&session_dir)).expect("a segment");
    fs::write(segment(&session_dir), &bytes[..3 * 4_096]).expect("a cut segment");
    let error = Opened::of(Session::open(&session_dir).expect("a session")).err().expect("damage").to_string();
    assert!(error.contains("height 2") && error.contains("height 4 had been synced"), "{error}");
}

#[test]
fn the_log_is_missing_torn_damaged_or_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let session_dir = dir.path().join("s");
    session(&session_dir, 4);
    let bytes = fs::read(log(&session_dir)).expect("a log");
    let open = || Opened::of(Session::open(&session_dir).expect("a session")).expect("a session").log;
    let heights = |found: LogFound| match found {
        LogFound::Entries { entries, .. } => entries.iter().map(|(height, _)| height.0).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    assert_eq!(heights(open()), [1, 1, 2, 2, 3, 3, 4, 4]);
    for cut in [bytes.len() - 1, bytes.len() - 4_000, bytes.len() - 4_090] {
        fs::write(log(&session_dir), &bytes[..cut]).expect("a cut log");
        let found = heights(open());
        assert!(found == [1, 1, 2, 2, 3, 3] || found == [1, 1, 2, 2, 3, 3, 4, 4], "{found:?}");
    }
    // Torn in the middle of what a group begins with, behind the digits of no version.
    for left in 1..9 {
        let mut torn = bytes.clone();
        torn[bytes.len() - 4_096 + left..].fill(0);
        fs::write(log(&session_dir), &torn).expect("a torn log");
        assert_eq!(heights(open()), [1, 1, 2, 2, 3, 3], "{left} bytes left");
    }
    let mut altered = bytes.clone();
    altered[4_096 + 70] ^= 4;
    fs::write(log(&session_dir), &altered).expect("an altered log");
    assert!(
        matches!(open(), LogFound::Damaged(damage) if damage.offset == 4_096 && damage.file.starts_with("consensus/"))
    );
    for (id, folder_stays) in [(5, true), (6, false)] {
        fs::remove_dir_all(session_dir.join("consensus")).expect("removed");
        if folder_stays {
            fs::create_dir(session_dir.join("consensus")).expect("a folder");
        }
        let opened = Opened::of(Session::open(&session_dir).expect("a session")).expect("a session");
        assert_eq!(opened.log, LogFound::Missing);
        // It is begun again, with its folder where that is lost too.
        write(&opened, group(id));
        opened.storage.close();
        assert_eq!(heights(open()), [id, id]);
    }
}

#[test]
fn a_fence_moves_with_or_without_entries_and_never_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let session_dir = dir.path().join("s");
    session(&session_dir, 3);
    let mut opened = Opened::of(Session::open(&session_dir).expect("a session")).expect("a session");
    let fence = |found: &LogFound| match found {
        LogFound::Entries { fence, .. } => fence.0,
        other => panic!("{other:?}"),
    };
    for (id, asked, expected) in [(4, None, 0), (5, Some(9), 9), (6, Some(4), 9), (7, None, 9), (8, Some(12), 12)] {
        // A group without entries writes to the log only where the fence moves.
        let frames = vec![frame(FrameKind::Settled, id, 120)];
        write(&opened, SyncGroup { id, frames, fence: asked.map(Height), ..SyncGroup::default() });
        opened.storage.close();
        opened = Opened::of(Session::open(&session_dir).expect("a session")).expect("a session");
        assert_eq!(fence(&opened.log), expected, "group {id}");
    }
    let LogFound::Entries { entries, .. } = &opened.log else { panic!("{:?}", opened.log) };
    assert_eq!(entries.len(), 6, "and nothing else is written");
}

#[test]
fn every_kind_of_frame_is_read_as_it_was_written_and_only_blocks_decide() {
    let dir = tempfile::tempdir().expect("a directory");
    let session_dir = dir.path().join("s");
    let opened = Opened::of(Session::create(&session_dir, b"{}").expect("new")).expect("empty");
    let kinds = [FrameKind::Base, FrameKind::Decided, FrameKind::Evidence, FrameKind::Settled];
    let frames: Vec<Frame> = kinds.into_iter().zip(7..).map(|(kind, height)| frame(kind, height, 99)).collect();
    write(&opened, SyncGroup { id: 1, frames: frames.clone(), ..SyncGroup::default() });
    opened.storage.close();
    let mut reader = JournalReader::open(&session_dir).expect("a session");
    let found: Vec<Frame> = std::iter::from_fn(|| reader.next_frame().expect("whole")).collect();
    assert_eq!(found, frames);
    assert_eq!(
        reader.decided(),
        Height(8),
        "a block, and where a journal begins; neither evidence nor what came of it"
    );
}

#[test]
fn directories_that_are_no_session_are_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = dir.path().join("missing");
    assert!(matches!(JournalReader::open(&missing), Err(OpenError::NotASession { .. })));
    assert!(matches!(JournalReader::open(dir.path()), Err(OpenError::NotASession { .. })));
    fs::write(dir.path().join("genesis.json"), b"{}").expect("a file");
    let problem = Session::open(dir.path()).err().expect("it has no journal").to_string();
    assert!(problem.contains("no folder `journal`: restore it from a backup, or"), "{problem}");
    assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 1, "nothing is made of what is none");
    let half = dir.path().join("half");
    fs::create_dir_all(half.join("journal")).expect("a folder");
    let problem = Session::open(&half).err().expect("it has no genesis").to_string();
    assert!(problem.contains("no genesis.json; it is one file for all nodes of a chain: copy it"), "{problem}");
    fs::remove_dir_all(half).expect("removed");
    assert!(matches!(Session::create(dir.path(), b"{}"), Err(OpenError::NotEmpty(_))));
    // What cannot be listed is not said to be missing.
    fs::write(dir.path().join("journal"), b"").expect("a file");
    let unlisted = JournalReader::open(dir.path()).err().expect("a file is no folder");
    assert!(matches!(&unlisted, OpenError::Io { path, .. } if path.ends_with("journal")), "{unlisted}");
    // Of a node's folder, and of one of several nodes, it is said where the session is.
    for (below, says) in [("one/session", "; its session is "), ("all/node-0/session", "a session each, such as ")] {
        let session = dir.path().join(below);
        drop(Session::create(&session, b"{}").expect("a new session"));
        let folder = dir.path().join(below.split('/').next().expect("a folder"));
        let problem = Session::open(&folder).err().expect("its session is below it").to_string();
        assert!(problem.contains(says) && problem.ends_with(&session.display().to_string()), "{problem}");
    }
    let held = dir.path().join("held");
    let first = Session::create(&held, b"{}").expect("a new session");
    assert!(matches!(Session::open(&held), Err(OpenError::Locked(_))));
    drop(first);
    assert!(Session::open(&held).is_ok());
}

#[test]
fn another_genesis_and_a_newer_version_are_refused_by_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let session_dir = dir.path().join("s");
    session(&session_dir, 2);
    fs::write(session_dir.join("genesis.json"), b"{ }").expect("another genesis");
    assert!(read(&session_dir).expect_err("another chain").to_string().contains("another genesis"));
    fs::write(session_dir.join("genesis.json"), b"{}").expect("the genesis");

    let bytes = fs::read(segment(&session_dir)).expect("a segment");
    let mut newer = bytes.clone();
    newer[8] = 4;
    let hash = *blake3::hash(&newer[..80]).as_bytes();
    newer[80..112].copy_from_slice(&hash);
    fs::write(segment(&session_dir), &newer).expect("a newer segment");
    assert!(read(&session_dir).expect_err("newer").to_string().contains("version 4, this program reads version 3"));

    let mut newer = bytes;
    newer[4_096 + 4] = 9;
    let hash = *blake3::hash(&newer[4_096..4_096 + 96]).as_bytes();
    newer[4_096 + 96..4_096 + 128].copy_from_slice(&hash);
    fs::write(segment(&session_dir), &newer).expect("a newer frame");
    assert!(read(&session_dir).expect_err("newer").to_string().contains("version 9, this program reads version"));
}

/// What another version wrote at the end of a file looks as unreadable as a group that was never completed. Its kind tells
/// them apart, and nothing of it is cut: it may be a decided block, or a vote that this node signed.
#[test]
fn the_last_frame_or_log_group_of_another_version_is_damage_and_is_not_cut() {
    let dir = tempfile::tempdir().expect("a directory");
    let session_dir = dir.path().join("s");
    session(&session_dir, 1);
    let whole = fs::read(segment(&session_dir)).expect("a segment");
    let mut newer = whole.clone();
    newer[4_096 + 4] = 9;
    let hash = *blake3::hash(&newer[4_096..4_096 + 96]).as_bytes();
    newer[4_096 + 96..4_096 + 128].copy_from_slice(&hash);
    fs::write(segment(&session_dir), &newer).expect("a frame of another version");
    let error = Opened::of(Session::open(&session_dir).expect("a session")).err().expect("damage");
    let OpenError::Damaged(damage) = error else { panic!("{error}") };
    assert_eq!(damage.problem.kind, DamageKind::Version);
    assert_eq!(fs::read(segment(&session_dir)).expect("a segment"), newer);
    let check = check_journal(&files(), &session_dir, &Genesis::chain_id(b"{}"), |_| ()).expect("readable");
    assert_eq!((check.torn, check.damages.len()), (None, 1));

    fs::write(segment(&session_dir), &whole).expect("the segment");
    let whole_log = fs::read(log(&session_dir)).expect("a log");
    let mut newer = whole_log.clone();
    newer[..8].copy_from_slice(b"BCCLOG09");
    fs::write(log(&session_dir), &newer).expect("a group of another version");
    let check = check_log(&files(), &session_dir).expect("readable");
    assert_eq!((check.torn, check.damages.len()), (None, 1));
    assert_eq!(check.damages[0].problem.kind, DamageKind::Version);
    // The program that wrote it knows what was signed: nothing is begun beside it, whatever follows it.
    let second = session_dir.join("consensus/00000002.log");
    for next in [None, Some(&whole_log)] {
        next.into_iter().for_each(|whole| fs::write(&second, whole).expect("a second file"));
        let error = Opened::of(Session::open(&session_dir).expect("a session")).err().expect("another version");
        assert!(matches!(&error, OpenError::Damaged(damage) if damage.problem.kind == DamageKind::Version), "{error}");
        assert!(error.to_string().contains("version 09, this program reads version 2"), "{error}");
        assert_eq!(fs::read(log(&session_dir)).expect("a log"), newer);
        let files = fs::read_dir(session_dir.join("consensus")).expect("its log").count();
        assert_eq!(files, 1 + usize::from(next.is_some()), "nothing was written");
    }
    fs::remove_file(&second).expect("removed");
    // So it does of one behind a file that is damaged, which alone would be a finding.
    let mut altered = whole_log;
    altered[4_096 + 70] ^= 4;
    fs::write(log(&session_dir), &altered).expect("a damaged file");
    fs::write(&second, &newer).expect("one of another version");
    let error = Opened::of(Session::open(&session_dir).expect("a session")).err().expect("another version");
    assert!(matches!(&error, OpenError::Damaged(damage) if damage.file.ends_with("00000002.log")), "{error}");

    // The same bytes with a broken hash are an unfinished group, and are cut.
    let mut torn = whole;
    torn[4_096 + 4] = 9;
    fs::write(segment(&session_dir), &torn).expect("a torn frame");
    assert!(matches!(read(&session_dir), Ok((frames, Tail::Torn { at, .. }))
        if frames.is_empty() && at.problem.kind == DamageKind::Bytes));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_groups_come_back_across_reopenings(
        groups in prop::collection::vec((prop::collection::vec(0usize..9_000, 0..4), any::<bool>()), 1..12)
    ) {
        let dir = tempfile::tempdir().expect("a directory");
        let session_dir = dir.path().join("s");
        let mut opened = Opened::of(Session::create(&session_dir, b"{}").expect("new")).expect("empty");
        let mut model = Vec::new();
        for (id, (lengths, reopen)) in groups.into_iter().enumerate() {
            let frames: Vec<Frame> =
                lengths.into_iter().map(|length| frame(FrameKind::Settled, id as u64, length)).collect();
            model.extend(frames.clone());
            write(&opened, SyncGroup { id: id as u64 + 1, frames, entries: vec![(Height(id as u64), vec![3; 10])], fence: None });
            if reopen {
                let session = opened.storage.close();
                opened = Opened::of(session).expect("a whole session");
                prop_assert_eq!(&opened.frames, &model);
            }
        }
        opened.storage.close();
        prop_assert_eq!(read(&session_dir).expect("a whole session"), (model, Tail::Clean));
    }

    #[test]
    fn any_bytes_are_no_frame_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..20_000)) {
        let dir = tempfile::tempdir().expect("a directory");
        let session_dir = dir.path().join("s");
        let opened = Opened::of(Session::create(&session_dir, b"{}").expect("new")).expect("empty");
        write(&opened, group(1));
        opened.storage.close();
        let mut segment_bytes = fs::read(segment(&session_dir)).expect("a segment");
        segment_bytes.truncate(4_096);
        segment_bytes.extend(&bytes);
        fs::write(segment(&session_dir), &segment_bytes).expect("a segment");
        fs::write(log(&session_dir), &bytes).expect("a log");
        if let Ok((frames, _)) = read(&session_dir) {
            prop_assert_eq!(frames, Vec::new(), "nobody wrote a frame");
        }
        let _ = Opened::of(Session::open(&session_dir).expect("a session"));
    }
}
