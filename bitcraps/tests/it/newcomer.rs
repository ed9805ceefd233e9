//! The program as somebody meets it who follows the pages, breaks off, types it wrong, or pipes it into something that ends.

mod playing;
mod readers;
mod several;
#[cfg(target_os = "linux")]
mod terminals;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lines::{Lines, PATIENCE};

pub(super) fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_bitcraps"));
    // Whatever this machine says about passphrases and logs is none of a test's.
    program.env_remove("BITCRAPS_PASSPHRASE").env_remove("BITCRAPS_PASSPHRASE_FILE").env_remove("BITCRAPS_LOG");
    program.env_remove("CARGO").stdin(Stdio::null());
    program
}

fn bitcraps(args: &[&str]) -> Output {
    program().args(args).output().expect("the program runs")
}

/// The exit code, standard output and standard error.
pub(super) fn run(args: &[&str]) -> (i32, String, String) {
    said(&bitcraps(args))
}

fn said(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().expect("no signal"), text(&output.stdout), text(&output.stderr))
}

pub(super) fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

/// A player at a node, who does what is written to its standard input, and whom nobody listens to.
pub(super) fn silent_player(address: &str, key: &Path) -> Child {
    let mut play = program();
    play.args(["play", address, "--script", "--key", text(key)]);
    play.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program runs")
}

pub(super) fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([name, &child.id().to_string()]).status().expect("kill runs");
    assert!(sent.success());
}

/// Makes a node that listens at any port, shows no dashboard, and asks nobody anything. Gives its configuration.
pub(super) fn made_node(place: &Path, more: &[&str]) -> PathBuf {
    let quiet = ["--plain-keys", "--listen", "127.0.0.1:0", "--dashboard", "off", "--bytes-max", "0"];
    let (code, _, err) = run(&[&["init", text(place)], &quiet[..], more].concat());
    assert_eq!(code, 0, "{err}");
    place.join("bitcraps.toml")
}

/// Waits for a process that must end.
fn end(mut child: Child) -> Output {
    let until = Instant::now() + PATIENCE;
    while child.try_wait().expect("a child").is_none() {
        if Instant::now() > until {
            child.kill().expect("it can be killed");
            let output = child.wait_with_output().expect("it ended");
            panic!("it did not end: {}", String::from_utf8_lossy(&output.stdout));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("it ended")
}

/// A `dev` that people can connect to; it is killed when it is dropped.
struct Dev {
    child: Child,
    lines: Lines,
    address: String,
}

impl Dev {
    fn start(session: &Path, listen: &str, more: &[&str]) -> Self {
        // Few enough that a seat is free.
        let players = if more.contains(&"--players") { &[][..] } else { &["--players", "4"] };
        let mut child = program()
            .arg("dev")
            .args(players)
            .args(["--tables", "2", "--window", "1000", "--listen", listen, "--data", text(session)])
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let lines = Lines::of(child.stdout.take().expect("piped"));
        let line = lines.until("listens");
        let address = line.split_whitespace().nth(1).expect("an address").trim_end_matches(':').to_owned();
        Self { child, lines, address }
    }

    /// Ends it cleanly, and gives what it says at its end.
    fn stop(mut self) -> (i32, String) {
        signal(&self.child, "-TERM");
        let rest = self.lines.rest();
        (self.child.wait().expect("it ends").code().expect("no signal"), rest)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Plays a script: the exit code, and what is printed.
pub(super) fn play_script(address: &str, key: &Path, script: impl AsRef<[u8]>) -> (i32, String, String) {
    let mut child = program()
        .args(["play", address, "--script", "--key", text(key)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    child.stdin.take().expect("piped").write_all(script.as_ref()).expect("it reads");
    said(&end(child))
}

/// A session of so many heights; what it says at its end.
fn session_of(path: &Path, heights: u64, seed: u64) -> Value {
    let (heights, seed) = (heights.to_string(), seed.to_string());
    let size = ["--tables", "2", "--players", "6", "--heights", &heights, "--seed", &seed];
    let (code, out, err) =
        run(&[&["dev", "--pace", "max", "--output", "json", "--data", text(path)][..], &size].concat());
    assert_eq!(code, 0, "{err}");
    serde_json::from_str(&out).expect("JSON")
}

#[test]
fn a_session_that_stands_above_the_height_it_is_to_stop_at_says_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = session(dir.path(), "one", 1);
    let again = |heights| run(&["dev", "--pace", "max", "--heights", heights, "--data", text(&one)]);
    let (code, _, err) = again("20");
    assert!(code == 0 && err.contains("stands at height 30, above --heights 20: nothing is played"), "{code} {err}");
    let (code, _, err) = again("30");
    assert!(code == 0 && !err.contains("nothing is played"), "{code} {err}");
}

/// A session of a few heights.
fn session(dir: &Path, name: &str, seed: u64) -> PathBuf {
    let path = dir.join(name);
    session_of(&path, 30, seed);
    path
}

#[test]
#[cfg(target_os = "linux")]
fn a_full_disk_has_a_name_and_code_4() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = session(dir.path(), "one", 1);
    let full = || fs::File::options().write(true).open("/dev/full").expect("a full disk");
    for args in [
        &["odds"][..],
        &["odds", "--output", "csv"],
        &["db", "stats", text(&one), "--output", "csv"],
        &["replay", text(&one)],
        &["--help"],
        &["node", "--help"],
        &["--version"],
    ] {
        let (code, _, err) = said(&program().args(args).stdout(full()).output().expect("the program runs"));
        assert!(code == 4 && err.contains("standard output"), "{args:?}: {code} {err}");
    }
    // No file may be larger than half a KiB: it fails at the same writes at which a full disk does.
    let limited = |args: &[&str]| {
        let mut shell = Command::new("sh");
        shell.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_bitcraps")]);
        said(&shell.args(args).env("BITCRAPS_PASSPHRASE", "x").output().expect("sh runs"))
    };
    let place = |name: &str| dir.path().join(name);
    let (csv, parquet, image, copy) = (place("csv"), place("parquet"), place("state.img"), place("copy"));
    for (args, named) in [
        (&["export", text(&one), "--csv", text(&csv)][..], "csv"),
        (&["export", text(&one), "--parquet", text(&parquet)], "parquet"),
        (&["export", text(&one), "--image", text(&image)], "state.img"),
        (&["db", "backup", text(&one), text(&copy)], "copy"),
    ] {
        let (code, _, err) = limited(args);
        assert!(code == 4 && err.contains(named), "{args:?}: {code} {err}");
        let left: Vec<_> =
            fs::read_dir(dir.path()).expect("a directory").map(|entry| entry.expect("an entry").file_name()).collect();
        assert_eq!(left, ["one"], "nothing is left behind");
    }
}

/// Killed at any moment, the next try is as the first.
#[test]
fn work_that_is_killed_blocks_no_other_try() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = dir.path().join("one");
    session_of(&one, 300, 1);
    let place = |name: &str| dir.path().join(name);
    let (rows, image, copy) = (place("rows"), place("state.img"), place("copy"));
    let (node, dev) = (place("node"), place("dev"));
    let commands: [(&[&str], &[&Path]); 4] = [
        (&["export", text(&one), "--csv", text(&rows), "--image", text(&image)], &[&rows, &image]),
        (&["db", "backup", text(&one), text(&copy)], &[&copy]),
        (&["init", text(&node), "--bytes-max", "0"], &[&node]),
        // A session goes on.
        (&["dev", "--heights", "5", "--pace", "max", "--data", text(&dev)], &[]),
    ];
    for (args, made) in commands {
        let command = || {
            let mut command = program();
            command.args(args).env("BITCRAPS_PASSPHRASE", "x").stdout(Stdio::null());
            command
        };
        for (kill, wait_ms) in ["-INT", "-KILL", "-TERM", "-KILL"].into_iter().zip([2, 5, 12, 30]) {
            let mut child = command().stderr(Stdio::null()).spawn().expect("the program runs");
            std::thread::sleep(Duration::from_millis(wait_ms));
            let _ = Command::new("kill").args([kill, &child.id().to_string()]).stderr(Stdio::null()).status();
            // It may have been faster than the signal, which may also have come between its work and its end; what has its
            // name is whole, and goes.
            let has_ended = child.wait().expect("it ends").success();
            for path in made {
                assert!(path.exists() || !has_ended, "what was made is there");
                match path.is_dir() {
                    true => fs::remove_dir_all(path).expect("it can be removed"),
                    false if path.exists() => fs::remove_file(path).expect("it can be removed"),
                    false => {}
                }
            }
        }
        let (code, _, err) = said(&command().output().expect("the program runs"));
        assert_eq!(code, 0, "{args:?}: {err}");
    }
    assert_eq!(run(&["replay", text(&copy)]).0, 0);
    assert_eq!(run(&["replay", text(&dev)]).0, 0);
    let hidden = fs::read_dir(dir.path()).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    let hidden: Vec<_> = hidden.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(hidden.is_empty(), "what was left was taken over: {hidden:?}");
}

/// What a `dev` leaves that was killed while it began its session.
#[test]
fn a_session_that_was_only_begun_is_begun_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    for folder in ["journal", "consensus"] {
        fs::create_dir_all(path.join(folder)).expect("a directory");
    }
    fs::write(path.join("LOCK"), "").expect("written");
    fs::write(path.join(".genesis.json.bitcraps-part"), "{\"half").expect("written");
    fs::write(path.join("consensus/.00000001.log.bitcraps-part"), "half").expect("written");
    session(dir.path(), "s", 1);
    assert_eq!(run(&["db", "check", text(&path)]).0, 0, "and nothing of it is left");
    // Somebody else's files are nobody's session.
    let other = dir.path().join("other");
    fs::create_dir_all(other.join("journal")).expect("a directory");
    fs::write(other.join("journal/notes"), "mine").expect("written");
    let (code, _, err) = run(&["dev", "--heights", "1", "--pace", "max", "--data", text(&other)]);
    assert!(code == 4 && err.contains("not empty"), "{code} {err}");
}

#[test]
fn an_empty_passphrase_is_refused_and_the_first_line_of_a_file_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("node");
    let (secret, empty) = (dir.path().join("secret"), dir.path().join("empty"));
    fs::write(&secret, "correct horse\r\nnot this line\n").expect("written");
    fs::write(&empty, "\nnot this line\n").expect("written");
    let init = |name: &str, value: &str| {
        let args = ["init", text(&place), "--listen", "127.0.0.1:0", "--dashboard", "off", "--bytes-max", "0"];
        said(&program().args(args).env(name, value).output().expect("the program runs"))
    };
    for (name, value) in [("BITCRAPS_PASSPHRASE", ""), ("BITCRAPS_PASSPHRASE_FILE", text(&empty))] {
        let (code, _, err) = init(name, value);
        assert!(code == 3 && err.contains("an empty passphrase"), "{name}: {code} {err}");
        assert!(!place.exists(), "nothing was made");
    }
    let (code, _, err) = init("BITCRAPS_PASSPHRASE_FILE", text(&secret));
    assert_eq!(code, 0, "{err}");
    let config = place.join("bitcraps.toml");
    let check = |value: &str| {
        let mut command = program();
        said(
            &command
                .args(["config", "check", text(&config)])
                .env("BITCRAPS_PASSPHRASE", value)
                .output()
                .expect("it runs"),
        )
    };
    assert_eq!(check("correct horse").0, 0);
    let (code, _, err) = check("correct horse\r\nnot this line");
    assert!(code == 3 && err.contains("does not open this key") && !err.contains("goes over"), "{code} {err}");
    // One that was left in the environment hides the file.
    let both = program()
        .args(["config", "check", text(&config)])
        .envs([("BITCRAPS_PASSPHRASE", "stale"), ("BITCRAPS_PASSPHRASE_FILE", text(&secret))])
        .output();
    let (code, _, err) = said(&both.expect("it runs"));
    assert!(code == 3 && err.contains("BITCRAPS_PASSPHRASE, which goes over BITCRAPS_PASSPHRASE_FILE"), "{code} {err}");
    let (code, _, err) = init("BITCRAPS_PASSPHRASE_FILE", "/nowhere/secret");
    assert!(code == 3 && err.contains("BITCRAPS_PASSPHRASE_FILE: /nowhere/secret: "), "{code} {err}");
}

#[test]
fn heights_that_nobody_plays_for_are_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    for args in [
        &["dev", "--players", "0", "--heights", "5", "--pace", "max"][..],
        &["dev", "--players", "0", "--heights", "5"],
        &["dev", "--players", "0", "--listen", "none"],
        &["dev", "--players", "0", "--pace", "max"],
    ] {
        let (code, _, err) = run(&[args, &["--data", text(&path)]].concat());
        assert!(code == 2 && err.contains("--players 0"), "{args:?}: {code} {err}");
        assert!(!path.exists());
    }
}

#[test]
fn an_address_that_cannot_be_had_leaves_no_session_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let holder = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let taken = holder.local_addr().expect("an address").to_string();
    for (listen, code) in [("nowhere", 2), ("127.0.0.1", 2), (&taken, 3), ("192.0.2.1:7400", 3)] {
        let (found, _, err) = run(&["dev", "--heights", "5", "--listen", listen, "--data", text(&path)]);
        assert!(found == code && err.contains(listen), "{listen}: {found} {err}");
        assert!(!path.exists(), "{listen} left a session");
    }
}

#[test]
fn a_run_that_settles_nothing_prints_no_root() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let dev = Dev::start(&path, "127.0.0.1:0", &["--players", "0"]);
    let (code, rest) = dev.stop();
    assert!(code == 0 && rest.contains("nothing was settled"), "{rest}");
    assert!(!rest.contains("000000000000"), "{rest}");
    // A session that goes on, and settles nothing more, still has the root that it had.
    let one = session(dir.path(), "one", 1);
    let again = session_of(&one, 30, 1);
    let (_, replayed, _) = run(&["replay", text(&one), "--output", "json"]);
    let replayed: Value = serde_json::from_str(&replayed).expect("JSON");
    assert_eq!((&again["root"], &again["root_chain"]), (&replayed["root"], &replayed["root_chain"]));
}

#[test]
fn no_scenarios_are_no_success() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("none.json");
    fs::write(&file, r#"{"format": 2, "scenarios": []}"#).expect("written");
    let (code, out, err) = run(&["script", text(&file), "--check"]);
    assert!(code == 4 && err.contains("nothing to play") && out.is_empty(), "{code} {out} {err}");
}

#[test]
fn a_configuration_is_good_only_where_the_node_starts() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("node");
    let config = made_node(&place, &[]);
    let check = |path: &Path| run(&["config", "check", text(path)]);
    assert_eq!(check(&config).0, 0);
    let original = fs::read_to_string(&config).expect("a configuration");
    let holder = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let taken = format!("listen = \"{}\"", holder.local_addr().expect("an address"));
    for (from, to, code, says) in [
        ("validator.pem", "absent.pem", 3, "absent.pem"),
        ("data = \"session\"", "data = \"nowhere\"", 4, "nowhere"),
        ("validator = \"keys/validator.pem\"", "validator = \"keys/net.pem\"", 3, "two nodes"),
        ("listen = \"127.0.0.1:0\"", &taken, 3, "cannot listen"),
    ] {
        assert!(original.contains(from), "{from}");
        fs::write(&config, original.replace(from, to)).expect("written");
        let (found, _, err) = check(&config);
        assert!(found == code && err.contains(says), "{to}: {found} {err}");
        let (node, _, err) = run(&["node", "--config", text(&config)]);
        assert_eq!(node, code, "the node says the same: {err}");
    }
    fs::write(&config, &original).expect("written");

    // What `show` prints works wherever it is put.
    let (code, shown, _) = run(&["config", "show", text(&config)]);
    assert_eq!(code, 0);
    let elsewhere = dir.path().join("elsewhere.toml");
    fs::write(&elsewhere, &shown).expect("written");
    assert_eq!(check(&elsewhere).0, 0);
    assert_eq!(run(&["config", "show", text(&elsewhere)]).1, shown);
    let relative = program().current_dir(&place).args(["config", "show", "bitcraps.toml"]).output().expect("it runs");
    assert_eq!(said(&relative).1, shown, "from wherever it is asked");

    // As in a session from a backup: what it signed, a lone validator cannot know. Who follows signs nothing.
    let log = place.join("session/consensus/00000001.log");
    fs::remove_file(&log).expect("a new session has its log");
    for args in [&["config", "check", text(&config)][..], &["node", "--config", text(&config)]] {
        let (code, _, err) = run(args);
        assert!(
            code == 4 && err.contains("the consensus log is missing") && err.contains("--sign-from"),
            "{code} {err}"
        );
    }
    assert_eq!(run(&["config", "check", text(&config), "--follow"]).0, 0);
    // Its folder may be gone with it: whoever looks makes nothing, and whoever writes makes it again.
    let folder = place.join("session/consensus");
    fs::remove_dir_all(&folder).expect("removed");
    assert_eq!(run(&["config", "check", text(&config), "--follow"]).0, 0);
    assert!(!folder.exists(), "the user who looks may not be the one who writes");
    assert_eq!(run(&["node", "--config", text(&config)]).0, 4);
    assert!(folder.is_dir());
}

#[test]
#[cfg(unix)]
fn a_linked_journal_is_read_alike_by_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = session(dir.path(), "one", 1);
    let report = |args: &[&str]| -> Value {
        let (code, out, err) = run(&[args, &["--output", "json"]].concat());
        assert_eq!(code, 0, "{args:?}: {err}");
        serde_json::from_str(&out).expect("JSON")
    };
    let (stats, check) = (report(&["db", "stats", text(&one)]), report(&["db", "check", text(&one)]));
    let elsewhere = dir.path().join("large disk");
    fs::rename(one.join("journal"), &elsewhere).expect("moved");
    std::os::unix::fs::symlink(&elsewhere, one.join("journal")).expect("a link");
    let (linked_stats, linked_check) = (report(&["db", "stats", text(&one)]), report(&["db", "check", text(&one)]));
    for field in ["settled", "segments", "frames", "journal_bytes"] {
        assert_eq!(stats[field], linked_stats[field], "{field}");
    }
    assert_eq!((&check["ok"], &check["files"]), (&linked_check["ok"], &linked_check["files"]));
    let copied = report(&["db", "backup", text(&one), text(&dir.path().join("copy"))]);
    assert_eq!(copied["height"], stats["settled"]);
    session_of(&one, 40, 1);
    assert_eq!(report(&["replay", text(&one)])["ok"], true);
    // A link in a circle ends.
    std::os::unix::fs::symlink(&one, one.join("circle")).expect("a link");
    assert_eq!(run(&["db", "check", text(&one)]).0, 4, "it is no part of a session");
}

#[test]
fn a_target_that_nobody_answers_at_is_unreachable() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = silent.local_addr().expect("an address").to_string();
    let (code, _, err) = run(&["load", "baseline", "--target", &address, "--time-scale", "0.01"]);
    assert!(code == 7 && err.matches(&address).count() == 1 && err.contains("is the node running"), "{code} {err}");
}

#[test]
fn a_report_is_never_overwritten() {
    let dir = tempfile::tempdir().expect("a directory");
    let report = dir.path().join("report.json");
    fs::write(&report, "a report of last week").expect("written");
    let (code, out, err) = run(&["load", "baseline", "--time-scale", "0.01", "--report", text(dir.path())]);
    assert!(code == 4 && err.contains("no report is overwritten"), "{code} {err}");
    assert!(!out.contains("offered"), "before the run, not after it");
    assert_eq!(fs::read_to_string(&report).expect("a file"), "a report of last week");
}

#[test]
fn two_chains_are_called_two_chains() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, other) = (session(dir.path(), "one", 1), session(dir.path(), "other", 2));
    let (code, out, _) = run(&["bisect", text(&one), text(&other)]);
    assert_eq!(code, 5);
    assert!(out.contains("two chains") && !out.contains("the same up to"), "{out}");
    // One chain, of which one session is shorter: no more is said than what both have.
    let longer = dir.path().join("longer");
    session_of(&longer, 40, 1);
    let (code, out, _) = run(&["bisect", text(&one), text(&longer)]);
    assert_eq!(code, 0);
    assert!(
        out.contains("one ends at height 30, the other at 40") && out.ends_with("differs up to height 30\n"),
        "{out}"
    );
}

#[test]
fn a_young_session_says_that_it_will_be_compressed() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = session(dir.path(), "one", 1);
    let (code, out, _) = run(&["db", "stats", text(&one)]);
    assert!(
        code == 0 && out.contains("a day of play; none of it is compressed yet, which leaves about a tenth"),
        "{out}"
    );
    assert!(out.contains("in 1 segment, "), "{out}");
}

#[test]
fn an_address_that_nobody_answers_at_is_named_once() {
    let silent = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    let address = silent.local_addr().expect("an address").to_string();
    let (code, _, err) = run(&["health", &address]);
    assert!(code == 7 && err.matches(&address).count() == 1 && err.contains("no node answers"), "{code} {err}");
}
