//! A session's files under `db`: checked to the last byte, copied while they are written, compacted.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use audit::db::{CheckReport, FileKind, Severity, check, session_files, stats};
use audit::reading::ReadOptions;
use audit::replay::{ReplayConfig, replay};
use audit::walker::{Recording, Walker, walk_to};
use bitcraps::db::{backup, compact};
use engine::Height;
use load::dev::{DevConfig, apart, open};
use node::clock::Pace;
use node::snapshots::SnapshotPace;
use node::totals::Totals;

use super::newcomer::{run, text};

static STOP: AtomicBool = AtomicBool::new(false);

/// Snapshots one after another, in a small image.
fn config() -> DevConfig {
    let snapshots = SnapshotPace { ticks: 0, groups: 0, heights: 1, groups_per_tick: 4 };
    DevConfig { pace: Pace::Max, threads: 1, snapshots, ..DevConfig::default() }
}

fn dev(dir: &Path, heights: u64, stop: &AtomicBool) -> Totals {
    dev_with(dir, heights, stop, &config())
}

fn dev_with(dir: &Path, heights: u64, stop: &AtomicBool, config: &DevConfig) -> Totals {
    apart(|| {
        let mut opened = open(dir, config).expect("a session");
        opened.node.run(Some(heights), stop, |_, _, _| ()).expect("the session runs");
        opened.node.close()
    })
}

fn audit(dir: &Path) -> audit::replay::Outcome {
    apart(|| {
        let config = ReplayConfig::all(ReadOptions::default());
        replay(dir, &config, |_| ()).expect("a whole session")
    })
}

fn checked(dir: &Path) -> CheckReport {
    check(dir, |_| ()).expect("a session")
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a directory")
}

/// The files of a session that hold its content, relative to it.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("genesis.json")];
    for folder in ["journal", "consensus", "snapshots"] {
        for entry in fs::read_dir(dir.join(folder)).expect("a folder") {
            found.push(Path::new(folder).join(entry.expect("an entry").file_name()));
        }
    }
    found
}

#[test]
fn a_whole_session_is_found_whole_and_its_numbers_are_right() {
    let dir = temp();
    let session = dir.path().join("s");
    let totals = dev(&session, 150, &STOP);
    let report = checked(&session);
    assert!(report.ok, "{:?}", report.findings);
    assert_eq!((report.settled, report.live), (150, false));
    assert!(report.snapshots > 0 && report.pack_records > report.snapshots && report.log_entries > 0);

    let stats = stats(&session, Some(1 << 30), 0).expect("stats");
    assert_eq!((stats.first, stats.settled, stats.snapshots), (1, 150, report.snapshots));
    assert_eq!((stats.decided, stats.frames), (report.decided, report.frames));
    assert!(stats.days_to_bytes_max.is_some_and(|days| days > 0.0) && stats.journal_bytes > 0);
    assert!(stats.last_time_ms > stats.first_time_ms && stats.newest_snapshot.is_some());

    // A walk from the nearest snapshot stands where a walk from genesis stands, at every height.
    apart(|| {
        let mut walker = Walker::open(&session, ReadOptions::default()).expect("a session");
        while let Some(step) = walker.step().expect("a whole session") {
            let height = step.settled.height;
            if height.0 % 7 == 0 || height == totals.height {
                let mut machine =
                    walk_to(&session, Some(height), ReadOptions::default()).expect("a state").into_machine();
                assert_eq!(machine.root(), step.settled.root, "height {height}");
                assert_eq!(machine.chain().root_chains[0], step.settled.root_chain);
                assert_eq!(machine.read(|rows| *rows.house), walker.machine().read(|rows| *rows.house));
            }
        }
        let near = Walker::near(&session, ReadOptions::default(), Height(u64::MAX)).expect("a session");
        assert!(near.height() > Height(100), "it began at height {}", near.height());
    });
}

#[test]
fn an_index_of_snapshots_that_is_too_long_to_be_read_is_no_damage() {
    let dir = temp();
    let session = dir.path().join("s");
    dev(&session, 150, &STOP);
    let before = checked(&session);
    let index = fs::File::options().write(true).open(session.join("snapshots/index.redb")).expect("the index");
    index.set_len(engine::limits::SNAPSHOT_INDEX_BYTES_MAX + 1).expect("room for a hole");
    let report = checked(&session);
    assert!(report.ok && before.ok, "{:?}", report.findings);
    assert!(
        report.findings.iter().any(|finding| finding.problem.contains("too long to be read")),
        "{:?}",
        report.findings
    );
    // Its snapshots are found in the packs, and those that went before may be whole there too.
    assert!(
        report.snapshots >= before.snapshots && before.snapshots > 0,
        "{} of {}",
        report.snapshots,
        before.snapshots
    );
}

#[test]
fn every_flipped_bit_is_found_and_its_file_named() {
    let dir = temp();
    let session = dir.path().join("s");
    dev(&session, 60, &STOP);
    assert!(checked(&session).ok);
    let (mut flips, mut in_index) = (0, 0);
    for file in files(&session) {
        let path = session.join(&file);
        let bytes = fs::read(&path).expect("a file");
        // redb's file has pages that nothing points to: a flip there says nothing, and may say nothing.
        let index = file.ends_with("index.redb");
        let genesis = file.ends_with("genesis.json");
        let places: Vec<usize> = (0..bytes.len()).filter(|at| !index || bytes[*at] != 0).collect();
        let step = (places.len() / 45).max(1) | 1;
        for at in places.into_iter().step_by(step) {
            let mut altered = bytes.clone();
            altered[at] ^= 1 << (at % 8);
            fs::write(&path, &altered).expect("written");
            let report = check(&session, |_| ());
            flips += 1;
            match report {
                // A genesis that cannot be read is no session; one that can is that of another chain.
                Err(error) if genesis => assert!(error.to_string().contains("genesis.json"), "{error}"),
                Err(error) => {
                    assert!(index && error.to_string().contains("index"), "{}: {error}", file.display());
                    in_index += 1;
                }
                Ok(report) => {
                    let torn = |finding: &audit::db::Finding| finding.problem.contains("never completed");
                    let named = report.findings.iter().any(|finding| {
                        (finding.severity == Severity::Damaged
                            || torn(finding)
                            || finding.problem.contains("unfinished"))
                            && (genesis || finding.file == file.display().to_string().replace('\\', "/"))
                    });
                    in_index += usize::from(index && named);
                    assert!(named || index, "{} at {at}: {:?}", file.display(), report.findings);
                }
            }
        }
        fs::write(&path, &bytes).expect("written");
    }
    assert!(checked(&session).ok, "everything was put back");
    assert!(flips > 200 && in_index > 0, "{flips} flips, {in_index} found in the index");
}

/// Puts something where a file was.
type Maker = fn(&Path);

/// A folder, a pipe or a file without end in the place of a file is damage, behind which everything else is looked at.
#[test]
fn a_check_reads_on_where_a_file_of_a_session_is_none() {
    let dir = temp();
    let session = dir.path().join("s");
    let writing = storage::Writing { segment_bytes: 32 << 10, ..storage::Writing::default() };
    dev_with(&session, 1_200, &STOP, &DevConfig { writing, ..config() });
    let damaged = |report: &CheckReport| -> Vec<String> {
        let damaged = report.findings.iter().filter(|finding| finding.severity == Severity::Damaged);
        damaged.map(|finding| format!("{} {}", finding.file, finding.problem)).collect()
    };
    let mut segments = files(&session);
    segments.retain(|file| file.starts_with("journal"));
    segments.sort();
    assert!(segments.len() > 2, "{segments:?}");
    // It may be compressed by now: both forms have their header first.
    let (second, beside) = (session.join(&segments[1]), segments[1].to_str().expect("a name"));
    let whole = fs::read(&second).expect("a second segment");
    let mut altered = whole.clone();
    altered[9] ^= 1;
    fs::write(&second, &altered).expect("written");
    let folder = |path: &Path| fs::create_dir(path).expect("a folder");
    let pipe = |path: &Path| {
        assert!(Command::new("mkfifo").arg(path).status().expect("a system has it").success());
    };
    let long = |path: &Path| fs::File::create(path).and_then(|file| file.set_len(1 << 40)).expect("a hole");
    let makers: [(Maker, &str); 3] =
        [(folder, "no regular file"), (pipe, "no regular file"), (long, "no file of its kind has more than")];
    let names = session_files(&session).expect("files");
    let first = |kind| names.iter().find(|file| file.kind == kind).expect("one of each kind").name.as_str();
    for name in [first(FileKind::Segment), first(FileKind::Log), first(FileKind::Pack)] {
        let (path, kept) = (session.join(name), dir.path().join("kept"));
        fs::rename(&path, &kept).expect("moved");
        for (make, says) in makers {
            make(&path);
            let report = checked(&session);
            let found = damaged(&report);
            let told = |file: &str, says: &str| found.iter().any(|text| text.starts_with(file) && text.contains(says));
            assert!(told(name, says), "{name}: {found:?}");
            assert!(told(beside, "") && name != beside, "{name}: {found:?}");
            assert!(report.frames > 0, "{name}: the other segments are read");
            let removed = if path.is_dir() { fs::remove_dir(&path) } else { fs::remove_file(&path) };
            removed.expect("removed");
        }
        fs::rename(&kept, &path).expect("moved back");
    }
    fs::write(&second, &whole).expect("written");
    assert!(checked(&session).ok, "everything was put back");
}

#[test]
fn what_is_no_part_of_a_session_is_named() {
    let dir = temp();
    let session = dir.path().join("s");
    dev(&session, 20, &STOP);
    for name in ["notes.txt", "journal/00000009.tmp", "snapshots/other.redb"] {
        fs::write(session.join(name), b"x").expect("written");
        let report = checked(&session);
        let unknown: Vec<_> = report.findings.iter().filter(|finding| finding.severity == Severity::Unknown).collect();
        assert!(!report.ok && unknown.len() == 1 && unknown[0].file == name, "{unknown:?}");
        fs::remove_file(session.join(name)).expect("removed");
    }
    // A link may lead anywhere: only what is a session's own is followed, and no further than into that folder.
    let outside = dir.path().join("outside");
    fs::create_dir_all(outside.join("nested")).expect("folders");
    fs::write(outside.join("nested/x"), b"x").expect("written");
    for (link, named) in [("other", "other"), ("stopped", "stopped/nested")] {
        std::os::unix::fs::symlink(&outside, session.join(link)).expect("a link");
        let unknown = checked(&session).findings.into_iter().filter(|finding| finding.severity == Severity::Unknown);
        assert_eq!(unknown.map(|finding| finding.file).collect::<Vec<_>>(), [named], "of the link {link}");
        fs::remove_file(session.join(link)).expect("removed");
    }
    fs::create_dir(session.join("cache")).expect("a folder");
    fs::write(session.join("cache/page"), b"x").expect("written");
    assert!(checked(&session).ok, "a folder that an earlier program left");
    fs::remove_file(session.join("snapshots/index.redb")).expect("removed");
    let report = checked(&session);
    assert!(report.ok && report.findings.iter().any(|finding| finding.problem.contains("made again")), "{report:?}");
    let log = session.join("consensus/00000001.log");
    fs::remove_file(&log).expect("removed");
    let report = checked(&session);
    assert!(report.ok && report.findings.iter().any(|finding| finding.problem.contains("may not sign")), "{report:?}");
    assert!(report.findings.iter().any(|finding| finding.problem.contains("among others")), "{report:?}");
}

/// A crash while a segment gives up its bodies, or is compressed, leaves what was begun: nothing is wrong with that, nor is it more.
#[test]
fn what_was_begun_when_a_process_ended_is_a_part_of_a_session() {
    let dir = temp();
    let session = dir.path().join("s");
    dev(&session, 20, &STOP);
    let before = stats(&session, None, 0).expect("stats");
    fs::write(session.join("journal/.00000001.head.bitcraps-part"), b"begun").expect("written");
    fs::write(session.join("journal/00000001.zst"), b"begun").expect("written");
    let report = checked(&session);
    let named =
        |finding: &audit::db::Finding| finding.file.contains("bitcraps-part") && finding.problem.contains("begun");
    assert!(report.ok && report.findings.iter().any(named), "{:?}", report.findings);
    let after = stats(&session, None, 0).expect("stats");
    assert_eq!((after.segments, after.compressed), (before.segments, before.compressed));
    assert_eq!((after.journal_bytes_per_day, after.cache_bytes), (before.journal_bytes_per_day, before.cache_bytes));
}

/// A snapshot is kept once the journal has its height: a node refuses a session in which it has not.
#[test]
fn a_journal_that_ends_below_a_snapshot_is_not_called_whole() {
    let dir = temp();
    let session = dir.path().join("s");
    let writing = storage::Writing { segment_bytes: 32 << 10, ..storage::Writing::default() };
    dev_with(&session, 1_200, &STOP, &DevConfig { writing, ..config() });
    let before = checked(&session);
    assert!(before.ok && before.snapshots > 1, "{:?}", before.findings);
    let mut segments = files(&session);
    segments.retain(|file| file.starts_with("journal"));
    segments.sort();
    assert!(segments.len() > 1, "{segments:?}");
    for later in &segments[1..] {
        fs::remove_file(session.join(later)).expect("removed");
    }
    // As a copy has none, which would know of later heights.
    fs::remove_dir_all(session.join("consensus")).expect("removed");
    let report = checked(&session);
    let damaged: Vec<_> = report.findings.iter().filter(|finding| finding.severity == Severity::Damaged).collect();
    assert!(!report.ok && damaged.len() == 1 && damaged[0].problem.contains("there is a snapshot of"), "{damaged:?}");
    assert!(report.snapshots < before.snapshots, "{} of {}", report.snapshots, before.snapshots);
}

/// While a node plays, its session is copied again and again: every copy replays to a root that the session had.
#[test]
fn a_copy_of_a_live_session_replays_to_the_same_root_and_does_not_sign() {
    let dir = temp();
    let session = dir.path().join("s");
    dev(&session, 30, &STOP);
    let stop = AtomicBool::new(false);
    let copies = std::thread::scope(|scope| {
        let node = scope.spawn(|| dev(&session, 1_000_000, &stop));
        let mut copies = Vec::new();
        for number in 0..4 {
            std::thread::sleep(Duration::from_millis(300));
            let to = dir.path().join(format!("copy-{number}"));
            copies.push((backup(&session, &to, |_| ()).expect("a copy"), to));
            let live = checked(&session);
            assert!(live.ok && live.live, "{:?}", live.findings);
        }
        stop.store(true, Ordering::Relaxed);
        node.join().expect("no panic");
        copies
    });
    let heights: Vec<_> = copies.iter().map(|(copied, _)| copied.height).collect();
    assert!(heights.windows(2).all(|pair| pair[0] < pair[1]), "{heights:?}");
    for (copied, to) in &copies {
        let outcome = audit(to);
        assert_eq!((outcome.difference, outcome.height), (None, copied.height));
        assert_eq!((outcome.root, outcome.root_chain), (copied.root, copied.root_chain));
        let walked = || walk_to(&session, Some(copied.height), ReadOptions::default()).expect("a state");
        assert_eq!(apart(|| walked().into_machine().root()), copied.root);
        assert!(checked(to).ok);
        let error = open(to, &config()).err().expect("it may not sign").to_string();
        assert!(error.contains("consensus log"), "{error}");
    }
    let error = backup(&session, &copies[0].1, |_| ()).expect_err("it is there").to_string();
    assert!(error.contains("nothing is overwritten"), "{error}");
    // What cannot be read is named: this one leads to itself.
    let segment = session.join("journal/90000000.seg");
    std::os::unix::fs::symlink(&segment, &segment).expect("a link");
    let error = backup(&session, &dir.path().join("another"), |_| ()).expect_err("it cannot be read");
    assert!(format!("{error:#}").contains(&*segment.display().to_string()), "{error:#}");
}

/// Its own check would call it unknown, and the next copy would have it in it.
#[test]
fn nothing_new_is_put_into_a_session() {
    let dir = temp();
    let session = dir.path().join("s");
    dev(&session, 20, &STOP);
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&session, &link).expect("a link");
    // Neither of the two last folders is there yet.
    let (inside, by_link) = (session.join("new/rows"), link.join("rows"));
    let (of, inside, by_link) = (text(&session), text(&inside), text(&by_link));
    for args in [
        &["db", "backup", of, inside][..],
        &["db", "backup", of, by_link],
        &["export", of, "--csv", inside],
        &["export", of, "--parquet", inside],
        &["export", of, "--image", inside],
        &["export", of, "--evidence", by_link],
        &["bisect", of, "--images", inside],
    ] {
        let (code, _, err) = run(args);
        assert!(code == 4 && err.contains("lies inside of the session"), "{args:?}: {code} {err}");
    }
    assert!(checked(&session).ok && !session.join("new").exists());
}

/// Where the journal gave up its oldest bodies, everything that reads a session begins behind them.
#[test]
fn tools_begin_behind_bodies_that_were_given_up() {
    let dir = temp();
    let (session, copy) = (dir.path().join("s"), dir.path().join("copy"));
    let retention = Some(storage::Retention { bytes_max: 100 << 10, retire: node::config::retire });
    let config = DevConfig {
        writing: storage::Writing { segment_bytes: 32 << 10, retention, ..storage::Writing::default() },
        ..config()
    };
    let totals = apart(|| {
        let mut totals = None;
        for heights in [1_200, 2_400, 3_000] {
            let mut opened = open(&session, &config).expect("a session");
            opened.node.run(Some(heights), &STOP, |_, _, _| ()).expect("the session runs");
            totals = Some(opened.node.close());
        }
        totals.expect("it ran")
    });
    let numbers = stats(&session, Some(1 << 30), 0).expect("stats");
    assert!(numbers.heads > 0 && numbers.settled == 3_000, "{numbers:?}");
    // What stays of the given-up heights is no part of the rate at which whole segments grow.
    let first =
        Recording::whole(&session).and_then(|mut record| record.read()).expect("a session").expect("whole heights");
    let first = first.decided.block.header;
    assert_eq!((numbers.first, numbers.first_time_ms), (first.height.0, first.time_ms));
    let whole = session_files(&session).expect("files").into_iter().filter(|file| file.kind == FileKind::Segment);
    let whole: u64 = whole.map(|file| file.on_disk).sum();
    let days = (numbers.last_time_ms - first.time_ms) as f64 / 86_400_000.0;
    assert_eq!(numbers.journal_bytes_per_day, Some(whole as f64 / days));
    assert_eq!(numbers.days_to_bytes_max, Some(((1 << 30) - whole) as f64 / (whole as f64 / days)));
    // That grows by itself, and fills the disk once the limit is reached.
    let heads = session_files(&session).expect("files").into_iter().filter(|file| file.kind == FileKind::Head);
    let a_height = heads.map(|file| file.on_disk).sum::<u64>() as f64 / (numbers.first - 1) as f64;
    assert_eq!(numbers.head_bytes_per_day, Some(a_height * (numbers.decided + 1 - numbers.first) as f64 / days));
    assert!(numbers.days_to_full_of_heads.is_some_and(|left| left > numbers.days_to_bytes_max.unwrap_or(0.0)));
    let report = checked(&session);
    assert!(report.ok, "{:?}", report.findings);

    let outcome = audit(&session);
    assert_eq!((outcome.difference, outcome.root), (None, totals.root));
    assert!(outcome.base > Height::GENESIS && outcome.heights == 3_000 - outcome.base.0, "from {}", outcome.base);
    let rows = audit::export::ExportConfig { csv: Some(dir.path().join("rows")), ..Default::default() };
    let exported = apart(|| audit::export::export(&session, &rows, |_| ())).expect("an export");
    assert_eq!((exported.height, exported.root), (Height(3_000), totals.root));

    let copied = backup(&session, &copy, |_| ()).expect("a copy");
    assert_eq!((copied.root, audit(&copy).root), (totals.root, totals.root));
    let config = audit::bisect::BisectConfig { reading: ReadOptions::default(), images: None };
    let result = apart(|| audit::bisect::bisect(&session, &copy, &config, |_| ())).expect("two sessions");
    assert!(result.ok && result.agree == 3_000, "{result:?}");
    let result = apart(|| audit::bisect::bisect_replay(&session, &config, |_| ())).expect("a session");
    assert!(result.ok && result.agree == 3_000, "{result:?}");
    // What stays of the heights that were given up is not read to find where the whole ones begin.
    assert!(numbers.heads > 2, "but the first frame of the first one, and the index of the last one");
    fs::write(session.join("journal/00000002.head"), b"none").expect("written");
    let again = stats(&session, Some(1 << 30), 0).expect("stats");
    assert_eq!(
        (again.first, again.first_time_ms, again.frames),
        (numbers.first, numbers.first_time_ms, numbers.frames)
    );
    let again = Recording::whole(&session).and_then(|mut record| record.read()).expect("whole").expect("whole heights");
    assert_eq!(again.decided.block.header, first);
    fs::remove_dir_all(copy.join("snapshots")).expect("removed");
    let error =
        apart(|| Walker::earliest(&copy, ReadOptions::default())).err().expect("nothing to begin with").to_string();
    assert!(error.contains("no snapshot at or above"), "{error}");
}

#[test]
fn compaction_loses_nothing_and_the_session_goes_on() {
    let dir = temp();
    let session = dir.path().join("s");
    for heights in [100, 200, 300] {
        dev(&session, heights, &STOP);
    }
    let before = checked(&session);
    let compacted = compact(&session).expect("compacted");
    let after = checked(&session);
    assert!(after.ok, "{:?}", after.findings);
    assert!(compacted.after <= compacted.before, "{compacted:?}");
    assert!(after.pack_records < before.pack_records, "dead records are gone: {before:?} {after:?}");
    assert_eq!((after.snapshots, after.settled, after.frames), (before.snapshots, before.settled, before.frames));
    let again = compact(&session).expect("compacted");
    assert_eq!(again.before, again.after, "there is nothing left to give back");

    let totals = dev(&session, 360, &STOP);
    let outcome = audit(&session);
    assert_eq!((outcome.difference, outcome.root), (None, totals.root));
    let held = storage::Session::open(&session).expect("nobody has it");
    let error = compact(&session).expect_err("it is in use").to_string();
    assert!(error.contains("stop the node first"), "{error}");
    drop(held);
}
