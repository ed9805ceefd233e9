//! `load` for some seconds: that it counts what happened, judges it, and that the session replays. Not how fast it is.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn load(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcraps"));
    command
        .env_remove("BITCRAPS_LOG")
        .arg("load")
        .args(args)
        .args(["--output", "json"])
        .output()
        .expect("the program runs")
}

/// What it says, and the code it ends with: a missed target is for a quiet machine to judge.
fn summary(output: &Output) -> Value {
    let code = output.status.code();
    assert!(code == Some(0) || code == Some(6), "{code:?}: {}", String::from_utf8_lossy(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(summary["ok"].as_bool(), Some(code == Some(0)), "the exit code is the judgement");
    summary
}

fn count(summary: &Value, field: &str) -> u64 {
    summary[field].as_u64().unwrap_or_else(|| panic!("{field} is part of the contract"))
}

fn assert_whole(summary: &Value) {
    let [offered, acknowledged, settled, refused, lost] =
        ["offered", "acknowledged", "settled", "refused", "lost"].map(|field| count(summary, field));
    assert_eq!((offered, lost), (120, 0), "40 a second for 3 seconds: {summary}");
    assert_eq!(settled + refused, offered, "each ends in a receipt or is shed");
    assert!(settled > 60 && acknowledged >= settled, "{summary}");
    assert_eq!(summary["replay_ok"], true);
    for field in ["rate", "p50_ms", "p95_ms", "p99_ms", "max_ms", "rss_mb", "cpu_percent"] {
        assert!(summary[field].as_f64().is_some_and(|value| value > 0.0), "{field}: {}", summary[field]);
    }
    let times = ["p50_ms", "p95_ms", "p99_ms", "max_ms"].map(|field| summary[field].as_f64().expect("a number"));
    assert!(times.is_sorted(), "{times:?}");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

#[test]
fn a_run_over_sockets_loses_nothing_and_replays() {
    let dir = tempfile::tempdir().expect("a directory");
    let report = dir.path().join("report");
    let size = ["baseline", "--users", "8", "--rate", "40", "--duration", "3", "--watchers", "2", "--churn", "1"];
    let output = load(&[&size[..], &["--report", text(&report)]].concat());
    assert_whole(&summary(&output));
    let made = summary(&output);
    let notes = made["notes"].as_array().expect("a list").iter().filter_map(Value::as_str);
    let churned = notes.clone().find_map(|note| note.split_once(" connections were to be dropped and "));
    let (asked, (dropped, _)) =
        churned.map(|(asked, rest)| (asked, rest.split_once(' ').expect("words"))).expect("a note");
    let [asked, dropped] = [asked, dropped].map(|count| count.parse::<u32>().expect("a number"));
    assert!((1..=asked).contains(&dropped), "one a second is dropped: {asked}, {dropped}");
    let page = std::fs::read_to_string(report.join("report.html")).expect("the page");
    assert!(page.contains("<svg") && !page.contains("src=") && !page.contains("<link"), "it works offline");
    let beside: Value =
        serde_json::from_slice(&std::fs::read(report.join("report.json")).expect("beside it")).expect("JSON");
    assert_eq!(beside["settled"], summary(&output)["settled"]);
    // The node's log is the command's, which says only what is wrong.
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(!log.contains(" INFO ") && !log.contains("storage.bytes_max"), "{log}");
}

/// A run of a minute at a node of its own, in a group of processes of its own.
fn begin() -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcraps"));
    command.env_remove("BITCRAPS_LOG").args(["load", "baseline", "--users", "8", "--rate", "40", "--duration", "60"]);
    command.args(["--output", "json"]).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::null()).spawn().expect("the program runs")
}

/// The process whose parent that is, and its group.
fn child_of(parent: u32) -> Option<(i32, u32)> {
    let processes = std::fs::read_dir("/proc").expect("processes").filter_map(Result::ok);
    processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok()).find_map(|stat| {
        // Behind its name, which may have any letters: state, parent, group.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(1).map_while(|field| field.parse::<u32>().ok());
        let pid = stat.split(' ').next()?.parse().ok()?;
        (fields.next() == Some(parent)).then_some((pid, fields.next()?))
    })
}

/// The node of a run, once the run is likely to be under way.
fn node_of(run: &Child, after: Duration) -> (i32, u32) {
    let until = Instant::now() + Duration::from_secs(30);
    let node = loop {
        if let Some(node) = child_of(run.id()) {
            break node;
        }
        assert!(Instant::now() < until, "no node was started");
        std::thread::sleep(Duration::from_millis(20));
    };
    std::thread::sleep(after);
    // A process that was just seen may not have had a group of its own yet.
    child_of(run.id()).unwrap_or(node)
}

fn missed(summary: &Value) -> Vec<&str> {
    let targets = summary["targets"].as_array().expect("a list");
    targets.iter().filter(|target| target["met"] == false).filter_map(|target| target["name"].as_str()).collect()
}

#[test]
fn a_run_whose_node_is_killed_ends_then_and_is_judged() {
    // A machine that is busy may not have its users at the tables yet, which is no run.
    let report = [3, 6, 12].into_iter().find_map(|seconds| {
        let run = begin();
        let (node, _) = node_of(&run, Duration::from_secs(seconds));
        let killed = Instant::now();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(node), nix::sys::signal::SIGKILL).expect("it runs");
        let output = run.wait_with_output().expect("it ends");
        assert!(killed.elapsed() < Duration::from_secs(40), "it went on without its node");
        (output.status.code() == Some(6)).then(|| summary(&output))
    });
    let report = report.expect("a report of what was measured");
    let missed = missed(&report);
    assert!(missed.contains(&"node at the end") && missed.contains(&"run to its end"), "{missed:?}");
    assert_eq!(report["replay_ok"], Value::Null, "{report}");
}

#[test]
fn a_run_that_a_terminal_ends_keeps_its_node_until_it_is_judged() {
    let report = [3, 6, 12].into_iter().find_map(|seconds| {
        let run = begin();
        let (_, group) = node_of(&run, Duration::from_secs(seconds));
        assert_ne!(group, run.id(), "what a terminal sends to the run goes to its node too");
        let of_the_run = nix::unistd::Pid::from_raw(i32::try_from(run.id()).expect("a process"));
        nix::sys::signal::killpg(of_the_run, nix::sys::signal::SIGINT).expect("it runs");
        let output = run.wait_with_output().expect("it ends");
        (output.status.code() == Some(6)).then(|| summary(&output))
    });
    let report = report.expect("a report of what was measured");
    let missed = missed(&report);
    assert!(missed.contains(&"run to its end") && !missed.contains(&"node at the end"), "{missed:?}");
    assert_eq!((count(&report, "lost"), &report["replay_ok"]), (0, &Value::Bool(true)), "{report}");
}

#[test]
fn a_load_that_nobody_can_mean_is_a_usage_error() {
    for (args, says) in [
        (&["baseline", "--churn", "inf"][..], "a number from 0 to 10000"),
        (&["baseline", "--churn", "NaN"], "a number from 0 to 10000"),
        (&["baseline", "--churn=-5"], "a number from 0 to 10000"),
        (&["baseline", "--users", "10", "--watchers", "500"], "--watchers 500: there are 10 users"),
        (&["endurance", "--duration", "168h"], "from 1s to 48h"),
        (&["pledged", "--watchers", "4294967295", "--idle", "1"], "`pledged` has a table for each player"),
        (&["baseline", "--target", "127.0.0.1:9", "--threads", "2"], "cannot be used with"),
        (&["baseline", "--nodes", "4", "--kill", "5"], "--kill 5: there are 4 validators"),
        (&["baseline", "--nodes", "4", "--kill", "3", "--duration", "15"], "which takes 19 s: say a longer --duration"),
    ] {
        let output = load(args);
        let problem = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && problem.contains(says), "{args:?}: {:?} {problem}", output.status);
    }
}

#[test]
fn a_report_that_cannot_be_written_fails_before_a_node_starts() {
    let dir = tempfile::tempdir().expect("a directory");
    let (file, data) = (dir.path().join("f"), dir.path().join("data"));
    std::fs::write(&file, "").expect("written");
    let output = load(&["baseline", "--duration", "3", "--report", text(&file), "--data", text(&data)]);
    let problem = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(4) && problem.contains(text(&file)), "{:?} {problem}", output.status);
    assert!(output.stdout.is_empty() && !data.exists(), "nothing was run");
}

#[test]
fn a_run_in_one_process_loses_nothing_and_replays() {
    let output = load(&["peak", "--in-process", "--users", "8", "--rate", "40", "--duration", "3"]);
    assert_whole(&summary(&output));
}

#[test]
fn pledged_tables_and_others_roll_beside_each_other_and_nothing_is_forfeited() {
    let dir = tempfile::tempdir().expect("a directory");
    let kept = dir.path().join("kept");
    let output = load(&["pledged", "--users", "6", "--duration", "4", "--data", text(&kept)]);
    let summary = summary(&output);
    assert_eq!((count(&summary, "lost"), &summary["replay_ok"]), (0, &Value::Bool(true)), "{summary}");
    let targets = summary["targets"].as_array().expect("a list");
    let names: Vec<&str> = targets.iter().filter_map(|target| target["name"].as_str()).collect();
    assert!(names.contains(&"called roll to dice at pledged tables, P95"), "{names:?}");
    let notes = summary["notes"].as_array().expect("a list").iter().filter_map(Value::as_str);
    let rolls = |of: &str| {
        let note = notes.clone().find_map(|note| note.strip_prefix(of)?.split_once(" rolls;"));
        note.and_then(|(rolls, _)| rolls.parse::<u32>().ok()).unwrap_or_else(|| panic!("{of}: {summary}"))
    };
    assert!(notes.clone().any(|note| note.contains(" and 0 calls were refused")), "{summary}");
    assert!(rolls("Pledged tables: ") > 0 && rolls("Tables of the beacon alone, in the same run: ") > 0, "{summary}");
    let mut audit = Command::new(env!("CARGO_BIN_EXE_bitcraps"));
    audit.env("XDG_CACHE_HOME", dir.path().join("cache")).args(["audit-dice", "--output", "json"]);
    let audit = audit.arg(kept.join("node-0/session")).output().expect("the program runs");
    let audit: Value = serde_json::from_slice(&audit.stdout).expect("one JSON object");
    assert_eq!(audit["forfeited"], 0, "{audit}");
    assert!(audit["foreseeable_by"]["neither_alone"].as_u64() > Some(0), "{audit}");
}
