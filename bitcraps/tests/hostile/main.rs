//! Sessions that a stranger forged with right hashes: every one is refused with exit code 4 or 5, or it is equal to the honest
//! one as far as it goes. Never a panic, never more memory than a bound.
//!
//! Processes of their own, since the bound is on the memory of a process: kinds of forgeries are shared out among two.
//! `HOSTILE=5000 cargo test --test hostile` forges more; each forgery follows from its number, which a failure prints.

mod forge;

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use audit::bisect::{BisectConfig, bisect, bisect_replay};
use audit::db::{check, stats};
use audit::dice::{DiceAudit, DiceConfig, audit_dice};
use audit::export::{ExportConfig, export};
use audit::history::{Answer, CacheConfig, Entry, History, Question, Subject};
use audit::reading::ReadOptions;
use audit::recorded::Recorded;
use audit::replay::{ReplayConfig, replay};
use audit::walker::last_settled;
use bitcraps::cli::exit_code;
use bitcraps::db::{backup, compact};
use engine::{Hash, Height, TableId};
use forge::{Honest, Lot, record, record_given_up, record_pledged, snapshots_of};
use load::dev::apart;
use storage::{FrameKind, Writing};

/// Forgeries of each kind where nothing else is said.
const FORGERIES: u64 = 8;
/// What the process may take, dev sessions and all.
const MEMORY_MAX: u64 = 512 << 20;
/// What a reader may take: the state of these sessions needs a few MiB beside what every reader needs.
const READER_MEMORY_MAX: u64 = 400 << 20;

/// An honest session, and everything that can be said of it.
struct Told {
    honest: Honest,
    /// By height, from 1.
    root_chains: Vec<Hash>,
    roots: Vec<Hash>,
    history: Vec<Entry>,
    /// What an audit of its dice says after each height.
    dice: Vec<DiceAudit>,
    /// Whether its oldest bodies were given up: its history begins somewhere then.
    given_up: bool,
}

fn reading() -> ReadOptions {
    ReadOptions { memory_max: READER_MEMORY_MAX, ..ReadOptions::default() }
}

/// Everything that happened at a table.
fn history(dir: &Path) -> anyhow::Result<Answer> {
    let config = CacheConfig { memory_bytes: 1 << 20, disk_bytes: 0, folder: None };
    let history = History::open(dir, reading(), config)?;
    let (subject, from) = (Subject::Table(TableId(0)), Height(1));
    history.answer(&Question { subject, from, to: None, limit: usize::MAX, opened: false })
}

impl Told {
    fn of(dir: &Path) -> Self {
        let honest = Honest::of(dir);
        let settled = honest.frames.iter().filter_map(|frame| match Recorded::of(frame).expect("a frame") {
            Recorded::Settled(settled) => Some((settled.root_chain, settled.root)),
            _ => None,
        });
        let (root_chains, roots) = settled.unzip();
        let history = apart(|| history(dir)).expect("a history").entries;
        let mut dice = Vec::new();
        let config = DiceConfig { to: None, reading: reading() };
        apart(|| audit_dice(dir, &config, |so_far| dice.push(so_far.clone()))).expect("an audit");
        let given_up = honest.frames.iter().any(|frame| frame.kind == FrameKind::Retired);
        Self { honest, root_chains, roots, history, dice, given_up }
    }
}

/// What every command that reads a stranger's session says of it: refused with 4 or 5, or equal to the honest one.
/// Returns how many refused it.
fn judge(told: &Told, dir: &Path, place: &str) -> u64 {
    let refused = |what: &str, error: anyhow::Error| {
        let code = exit_code(&error);
        assert!(code == 4 || code == 5, "{place}: {what} ends with {code}: {error:#}");
        1
    };
    let mut refusals = match apart(|| replay(dir, &ReplayConfig::all(reading()), |_| ())) {
        Err(error) => refused("replay", error),
        Ok(outcome) if outcome.difference.is_some() => 1,
        Ok(outcome) => {
            let height = outcome.height.0 as usize;
            assert_eq!(told.root_chains.get(height - 1), Some(&outcome.root_chain), "{place}: replay says ok");
            0
        }
    };
    refusals += match apart(|| history(dir)) {
        Err(error) => refused("history", error),
        Ok(Answer { entries, given_up, .. }) if entries.is_empty() && given_up => {
            assert!(told.given_up, "{place}: history says that what happened was given up");
            0
        }
        Ok(Answer { entries, .. }) => {
            // Where the end is damaged, a history that needed none of it is judged as far as it says anything.
            let said = entries.last().map_or(Height::GENESIS, |entry| entry.height);
            let last = last_settled(dir).map_or(said, |last| last.map_or(Height::GENESIS, |(height, _)| height));
            let first = entries.first().filter(|_| told.given_up).map_or(Height(1), |entry| entry.height);
            let within = |entry: &&Entry| (first..=last).contains(&entry.height);
            let honest: Vec<&Entry> = told.history.iter().filter(within).collect();
            let differs = entries.iter().zip(&honest).find(|(said, honest)| said != *honest);
            assert!(differs.is_none(), "{place}: history from {first} to {last} differs: {differs:#?}");
            assert_eq!(entries.len(), honest.len(), "{place}: history from {first} to {last} has other entries");
            0
        }
    };
    let config = DiceConfig { to: None, reading: reading() };
    refusals += match apart(|| audit_dice(dir, &config, |_| ())) {
        Err(error) => refused("audit-dice", error),
        Ok(audit) => {
            let honest =
                told.dice.iter().find(|honest| honest.height == audit.height).expect("a height of the session");
            // Where a forged snapshot does not serve, a later one does: fewer rolls are audited, and it says so.
            assert!(audit.from >= honest.from, "{place}: audit-dice begins at {}", audit.from);
            if audit.from == honest.from {
                let said = |audit: &DiceAudit| (audit.rolls(), audit.evidence, audit.highest);
                assert_eq!(said(&audit), said(honest), "{place}: audit-dice says something else");
            }
            0
        }
    };
    let (image, rows) = (dir.with_extension("img"), dir.with_extension("rows"));
    let to_image = ExportConfig { image: Some(image.clone()), reading: reading(), ..ExportConfig::default() };
    let to_rows = ExportConfig { csv: Some(rows.clone()), reading: reading(), ..ExportConfig::default() };
    for config in [to_image, to_rows] {
        refusals += match apart(|| export(dir, &config, |_| ())) {
            Err(error) => refused("export", error),
            Ok(exported) => {
                let root = told.roots.get(exported.height.0 as usize - 1);
                assert_eq!(root, Some(&exported.root), "{place}: export is of another state");
                0
            }
        };
    }
    let config = BisectConfig { reading: ReadOptions { memory_max: 2 * READER_MEMORY_MAX, ..reading() }, images: None };
    refusals += match apart(|| bisect_replay(dir, &config, |_| ())) {
        Err(error) => refused("bisect", error),
        Ok(result) => u64::from(!result.ok),
    };
    refusals += match apart(|| bisect(&told.honest.dir, dir, &config, |_| ())) {
        Err(error) => refused("bisect of two", error),
        Ok(result) => u64::from(!result.ok),
    };
    // The last one changes the session: it cuts what was never whole.
    let copy = dir.with_extension("copy");
    for (what, result) in [
        ("check", check(dir, |_| ()).map(|_| ())),
        ("stats", stats(dir, None, 0).map(|_| ())),
        ("backup", backup(dir, &copy, |_| ()).map(|_| ())),
        ("compact", compact(dir).map(|_| ())),
    ] {
        refusals += result.err().map_or(0, |error| refused(what, error));
    }
    let _ = fs::remove_file(&image);
    for folder in [&rows, &copy] {
        let _ = fs::remove_dir_all(folder);
    }
    refusals
}

/// A way to forge: makes a session in the new directory it is given.
type Forge = fn(&Honest, &mut Lot, &Path);

/// Forges sessions of a kind and judges each. Returns how many judgements were refusals.
fn forge_all(name: &str, told: &Told, forge: Forge) -> u64 {
    let count = std::env::var("HOSTILE").map_or(FORGERIES, |count| count.parse().expect("HOSTILE is a number"));
    let mut refusals = 0;
    for number in 0..count {
        let place = tempfile::tempdir().expect("a directory");
        let dir = place.path().join("s");
        forge(&told.honest, &mut Lot(number * 0x9e37_79b9 + 7), &dir);
        refusals += judge(told, &dir, &format!("{name} {number}"));
    }
    println!("{name}: {count} forged, {refusals} of {} {JUDGED}", 11 * count);
    refusals
}

/// The most memory that this process has had.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the peak");
    let kib: u64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
    kib << 10
}

/// Says to a process which share of the kinds is its own.
const SHARE: &str = "HOSTILE_SHARE";
/// Processes among which the kinds are shared out.
const SHARES: usize = 2;
/// Kinds of forgeries.
const KINDS: usize = 13;
/// How the line ends that says what was judged of a kind.
const JUDGED: &str = "judgements refused";

/// Runs this program once for each share, side by side. What each of them printed is printed here.
fn forge_in_processes(test: &str) {
    let program = std::env::current_exe().expect("this program");
    let ran: Vec<Output> = std::thread::scope(|scope| {
        let share = |share: usize| {
            let mut command = Command::new(&program);
            command.args(["--exact", test, "--nocapture"]).env(SHARE, share.to_string());
            scope.spawn(move || command.output().expect("this program runs"))
        };
        let ran: Vec<_> = (0..SHARES).map(share).collect();
        ran.into_iter().map(|ran| ran.join().expect("it waits for a process")).collect()
    });
    let mut judged = 0;
    for ran in &ran {
        let said = String::from_utf8_lossy(&ran.stdout);
        println!("{said}{}", String::from_utf8_lossy(&ran.stderr));
        assert!(ran.status.success(), "a share of the kinds failed, as is told above");
        judged += said.lines().filter(|line| line.ends_with(JUDGED)).count();
    }
    // A process that runs no test ends well, too.
    assert_eq!(judged, KINDS, "each kind of forgery was judged in one of the processes");
}

/// Every kind of forgery, one after another in a process, so that the peak is that of one reader at a time.
#[test]
fn forged_sessions_are_refused_or_equal_and_take_no_memory() {
    let Ok(share) = std::env::var(SHARE) else {
        return forge_in_processes("forged_sessions_are_refused_or_equal_and_take_no_memory");
    };
    let share: usize = share.parse().expect("the number of a share");
    let place = tempfile::tempdir().expect("a directory");
    let (whole, given_up) = (place.path().join("whole"), place.path().join("given-up"));
    record(&whole, 70, Writing { segment_bytes: 24 << 10, ..Writing::default() });
    record_given_up(&given_up);
    let pledged = place.path().join("pledged");
    record_pledged(&pledged, 200);
    let (whole, given_up, pledged) = (Told::of(&whole), Told::of(&given_up), Told::of(&pledged));
    assert!(given_up.given_up && !whole.given_up);
    assert!(!snapshots_of(&whole.honest).is_empty() && !snapshots_of(&given_up.honest).is_empty());
    assert!(!snapshots_of(&pledged.honest).is_empty());
    for (name, told) in [("whole", &whole), ("given up", &given_up), ("pledged", &pledged)] {
        let copy = place.path().join(format!("copy of {name}"));
        told.honest.copy_to(&copy);
        assert_eq!(judge(told, &copy, name), 0, "the honest session is accepted by all");
    }
    let after_recording = peak_bytes();

    let kinds: [(&str, &Told, Forge, bool); KINDS] = [
        ("times", &whole, forge::times, true),
        ("frames", &whole, forge::frames, true),
        ("frames behind given-up ones", &given_up, forge::frames, true),
        ("frames of pledged tables", &pledged, forge::frames, true),
        ("openings", &pledged, forge::openings, true),
        ("rows of pledges", &pledged, forge::pledge_rows, false),
        ("unsettled", &whole, forge::unsettled, true),
        ("genesis", &whole, forge::genesis, true),
        ("rows", &whole, forge::rows, false),
        ("rows behind given-up bodies", &given_up, forge::rows, true),
        ("caches and indexes", &whole, forge::caches_and_indexes, false),
        ("logs", &whole, forge::logs, false),
        ("sizes", &whole, forge::sizes, true),
    ];
    assert!(share < SHARES);
    for (name, told, forge, some_refuse) in kinds.into_iter().skip(share).step_by(SHARES) {
        let refusals = forge_all(name, told, forge);
        assert!(refusals > 0 || !some_refuse, "{name}: nothing was refused, so nothing was forged");
        let peak = peak_bytes();
        assert!(peak <= MEMORY_MAX, "{name}: {} MiB, after recording {}", peak >> 20, after_recording >> 20);
    }
}

/// Says to a process that a test is its own.
const ALONE: &str = "HOSTILE_ALONE";

/// Runs one test of this program in a process of its own, since the bound is on the memory of a process.
fn run_alone(test: &str) {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    let ran = command.args(["--exact", test, "--nocapture"]).env(ALONE, test).output().expect("this program runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    println!("{said}{}", String::from_utf8_lossy(&ran.stderr));
    // A process that runs no test ends well, too.
    assert!(ran.status.success() && said.contains("1 passed"), "the test failed in its process, as is told above");
}

/// A journal is read some heights at a time, however much is in each: a block may be large without one intent.
#[test]
fn large_bodies_without_intents_take_no_memory() {
    if std::env::var_os(ALONE).is_none() {
        return run_alone("large_bodies_without_intents_take_no_memory");
    }
    const HEIGHTS: u64 = 320;
    let place = tempfile::tempdir().expect("a directory");
    let (honest, dir) = (place.path().join("honest"), place.path().join("bodies"));
    record(&honest, 4, Writing::default());
    forge::bodies(&Honest::of(&honest), HEIGHTS, &dir);
    let before = peak_bytes();
    assert!(before < MEMORY_MAX / 2, "the forger itself takes {} MiB", before >> 20);

    let outcome = apart(|| replay(&dir, &ReplayConfig::all(reading()), |_| ())).expect("it can be read");
    assert_eq!(outcome.difference.expect("no chain has such blocks").height, 1);
    let config = BisectConfig { reading: ReadOptions { memory_max: 2 * READER_MEMORY_MAX, ..reading() }, images: None };
    assert!(!apart(|| bisect_replay(&dir, &config, |_| ())).expect("it can be read").ok);
    assert!(!apart(|| bisect(&dir, &dir, &config, |_| ())).expect("it can be read").ok, "its signatures are none");
    assert_eq!(exit_code(&apart(|| history(&dir)).expect_err("no chain has such blocks")), 5);
    assert!(!check(&dir, |_| ()).expect("it can be read").ok);
    compact(&dir).expect("what its frames say is nothing to it");
    let peak = peak_bytes();
    assert!(peak <= MEMORY_MAX, "{} MiB, {} before", peak >> 20, before >> 20);
}
