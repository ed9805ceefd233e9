//! A session that an earlier program wrote: this one reads every file of it to the same frames, roots and snapshot, and goes
//! on with it. A change of format keeps this test as it is, or refuses the old version by name in a new one beside it.
//!
//! `BITCRAPS_MAKE_FIXTURE=1` writes it anew, for a format that nobody has released yet.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use audit::reading::ReadOptions;
use audit::replay::{ReplayConfig, replay};
use engine::Height;
use engine::hex;
use load::dev::{DevConfig, open};
use node::clock::Pace;
use node::snapshots::SnapshotPace;
use storage::{FrameKind, JournalReader, Writing};

const HEIGHTS: u64 = 24;
const ROOT: &str = "43b98284c46942495c5957b4b09b28d98797b4617d82996e80e2978e2611c654";
const ROOT_CHAIN: &str = "72088ad68f120c838969cef5d5fb34bc8213d193505e915411fde4fe4e879fc2";
const SNAPSHOT: Height = Height(1);

fn config() -> DevConfig {
    DevConfig {
        tables: 1,
        players: 3,
        guests: 1,
        threads: 1,
        pace: Pace::Max,
        writing: Writing { segment_bytes: 48 << 10, ..Writing::default() },
        snapshots: SnapshotPace { groups: 1, heights: 1, ..SnapshotPace::default() },
        ..DevConfig::default()
    }
}

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn data() -> PathBuf {
    recorded("session-2")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).expect("copied");
        }
    }
}

/// Runs to a height and ends cleanly. Gives the root, its chain, and the snapshot that the start began with.
fn run(dir: &Path, heights: u64) -> (String, String, Option<Height>) {
    let opened = open(dir, &config()).expect("a session");
    let snapshot = opened.found.and_then(|found| found.snapshot);
    let mut node = opened.node;
    node.run(Some(heights), &AtomicBool::new(false), |_, _, _| ()).expect("it runs");
    let totals = node.close();
    (hex(&totals.root), hex(&totals.root_chain), snapshot)
}

#[test]
fn a_session_of_the_first_format_is_refused_by_name() {
    let session = recorded("session-1");
    let config = ReplayConfig::all(ReadOptions::default());
    for error in [
        replay(&session, &config, |_| ()).expect_err("an older format"),
        storage::read_genesis(&session).expect_err("an older format").into(),
    ] {
        // What exits with 4.
        assert!(error.is::<storage::OpenError>(), "{error:?}");
        assert!(error.to_string().contains("has format 1, and this program reads format 2"), "{error}");
    }
    let opened = JournalReader::open(&session).and_then(|mut journal| journal.next_frame().map(|_| ()));
    let error = opened.expect_err("an older journal").to_string();
    assert!(error.contains("the segment has version 2, this program reads version 3"), "{error}");
}

#[test]
fn a_session_of_this_format_is_read_and_goes_on() {
    if std::env::var_os("BITCRAPS_MAKE_FIXTURE").is_some() {
        let _ = fs::remove_dir_all(data());
        println!("{:?}", run(&data(), HEIGHTS));
    }
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("s");
    copy(&data(), &session);
    let config = ReplayConfig::all(ReadOptions::default());
    let replayed = replay(&session, &config, |_| ()).expect("a session");
    assert_eq!(replayed.difference, None);
    assert_eq!(
        (replayed.height.0, hex(&replayed.root), hex(&replayed.root_chain)),
        (HEIGHTS, ROOT.into(), ROOT_CHAIN.into())
    );

    let mut reader = JournalReader::open(&session).expect("a session");
    let (mut decided, mut settled) = (0, 0);
    while let Some(frame) = reader.next_frame().expect("a whole journal") {
        decided += u64::from(frame.kind == FrameKind::Decided);
        settled += u64::from(frame.kind == FrameKind::Settled);
    }
    assert_eq!(settled, HEIGHTS);
    assert!(decided >= settled);

    let (_, _, snapshot) = run(&session, HEIGHTS + 6);
    assert!(snapshot >= Some(SNAPSHOT), "it began with the snapshot {snapshot:?}");
    let replayed = replay(&session, &config, |_| ()).expect("a session");
    assert_eq!((replayed.difference, replayed.height.0), (None, HEIGHTS + 6));
}
