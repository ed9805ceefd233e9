//! The program as somebody meets it who follows the pages, breaks off, types it wrong, or pipes it into something that ends.

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
pub(super) fn play_script(address: &str, key: &Path, script: &str) -> (i32, String, String) {
    let mut child = program()
        .args(["play", address, "--script", "--key", text(key)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program runs");
    child.stdin.take().expect("piped").write_all(script.as_bytes()).expect("it reads");
    said(&end(child))
}

/// Plays a script: the exit code, and the events.
fn play(address: &str, key: &Path, script: &str) -> (i32, Vec<Value>, String) {
    let (code, out, err) = play_script(address, key, script);
    let events = out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    (code, events, err)
}

fn events<'a>(events: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    events.iter().filter(move |event| event["event"] == kind)
}

/// The script on the page about playing, as it stands there.
fn example_of_the_page() -> String {
    let page = include_str!("../../../docs/play.md");
    let example = page.split("```").find(|part| part.contains("wait receipt\nsit 1000")).expect("an example");
    example.trim_start().to_owned()
}

#[test]
fn the_example_of_the_page_about_playing_ends() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    let key = dir.path().join("player.pem");
    let (code, all, err) = play(&dev.address, &key, &example_of_the_page());
    assert_eq!(code, 0, "{err}");
    let receipts: Vec<&Value> = events(&all, "receipt").collect();
    assert_eq!(receipts.len(), 3, "open, sit, pass: {receipts:?}");
    assert!(receipts.iter().all(|receipt| receipt["result"] == "applied"), "{receipts:?}");
    assert!(events(&all, "roll").count() >= 1);
    assert!(events(&all, "table").any(|table| table["may_roll_ms"].is_u64()), "it says when the shooter may roll");
    // With the account there already, and with nothing at all between the lines.
    let (code, all, err) =
        play(&dev.address, &key, "open\nopen\nwait receipt\nfield 5\nfield 5\nleave\nwait receipt\nquit\n");
    assert_eq!(code, 0, "{err}");
    let mut numbers: Vec<u64> = events(&all, "sent").map(|sent| sent["number"].as_u64().expect("a number")).collect();
    // An account that is being opened is not opened once more: both have one number, and one receipt. Where the first has
    // its receipt already, the second is another intent.
    assert!(numbers.len() == 5 && numbers[1] - numbers[0] <= 1, "{numbers:?}");
    numbers.dedup();
    assert!(numbers.is_sorted_by(|one, next| one < next), "no two others have one number: {numbers:?}");
    assert_eq!(events(&all, "receipt").count(), numbers.len());
    // A key that is new, and a script that does not wait.
    let (code, all, _) = play(&dev.address, &dir.path().join("other.pem"), "open\nopen\nsit 100\nwait receipt\nquit\n");
    let mut numbers: Vec<u64> = events(&all, "sent").map(|sent| sent["number"].as_u64().expect("a number")).collect();
    // The account was asked for before the first line; where it was there by then, the lines have other numbers.
    numbers.insert(0, 1);
    numbers.dedup();
    let receipts = events(&all, "receipt").map(|receipt| receipt["number"].as_u64().expect("a number"));
    assert_eq!((code, receipts.collect::<Vec<u64>>()), (0, numbers), "{all:?}");
}

#[test]
fn a_table_that_does_not_exist_is_refused_with_the_range() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    let key = dir.path().join("player.pem");
    let (code, all, err) = play(&dev.address, &key, "table 99\ntable 1\nquit\n");
    let problem = events(&all, "error").next().expect("an error");
    assert!(problem["message"].as_str().is_some_and(|text| text.contains("the tables are 0 to 1")), "{problem}");
    assert!(code == 2 && err.contains("1 of 3 lines"), "{code} {err}");
    let output = bitcraps(&["play", &dev.address, "--script", "--table", "2", "--key", text(&key)]);
    let (code, _, err) = said(&output);
    assert!(code == 2 && err.contains("the tables are 0 to 1"), "{code} {err}");
}

/// Every `dev` with another seed is another chain, and each listens where the one before did.
#[test]
fn another_chain_at_the_same_address_is_another_game() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("player.pem");
    let dev = Dev::start(&dir.path().join("a"), "127.0.0.1:0", &["--seed", "1"]);
    let address = dev.address.clone();
    assert_eq!(play(&address, &key, "wait receipt\nquit\n").0, 0);
    drop(dev);
    let dev = Dev::start(&dir.path().join("b"), &address, &["--seed", "2"]);
    let (code, all, err) = play(&address, &key, "wait receipt\nquit\n");
    assert_eq!(code, 0, "{err}");
    let opened: Vec<&Value> = events(&all, "receipt").collect();
    assert!(matches!(opened[..], [receipt] if receipt["result"] == "applied"), "an account of its own: {opened:?}");
    drop(dev);
    // The same chain under another key is not: somebody may pretend to be the node.
    let known = dir.path().join("known_nodes");
    let lines = fs::read_to_string(&known).expect("known nodes");
    assert_eq!(lines.lines().count(), 2, "{lines}");
    let first = lines.lines().next().expect("a line");
    let (kept, _) = first.rsplit_once(' ').expect("a key");
    fs::write(&known, format!("{kept} {}\n", "ab".repeat(32))).expect("written");
    let dev = Dev::start(&dir.path().join("a"), &address, &["--seed", "1"]);
    let (code, _, err) = play(&dev.address, &key, "quit\n");
    assert!(code == 7 && err.contains("was expected"), "{code} {err}");
}

#[test]
fn a_node_that_falls_silent_is_said_to_be_lost() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    let mut child = program()
        .args(["play", &dev.address, "--script", "--key", text(&dir.path().join("player.pem"))])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let lines = Lines::of(child.stdout.take().expect("piped"));
    lines.until(r#""event":"account""#);
    signal(&dev.child, "-STOP");
    let lost = lines.until(r#""state":"down""#);
    signal(&dev.child, "-CONT");
    assert!(lost.contains("no node answers"), "{lost}");
    lines.until(r#""state":"up""#);
    drop(child.stdin.take());
    assert!(child.wait().expect("it ends").success());
}

/// A command under a terminal of its own, and after it the state of that terminal.
#[cfg(target_os = "linux")]
struct AtTerminal {
    script: Child,
    /// Held open: its end would be an end of file at the terminal.
    _keys: std::process::ChildStdin,
    out: ChildStdout,
    seen: Vec<u8>,
    /// The command's process.
    pid: String,
}

#[cfg(target_os = "linux")]
impl AtTerminal {
    /// Starts a command, and waits until it shows a text. Either a shell waits behind it, or it is the terminal's only
    /// process, which hears of its end once and no more.
    fn start(dir: &Path, args: &str, shows: &str, in_shell: bool) -> Self {
        let number = dir.join("pid");
        let run = format!("echo $$ >{}; exec {} {args}", text(&number), env!("CARGO_BIN_EXE_bitcraps"));
        let run = if in_shell { format!("sh -c '{run}'; echo; stty -a") } else { run };
        let command = format!("stty rows 30 cols 100; {run}");
        let mut script = Command::new("script");
        script.args(["--quiet", "--command", &command, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = script.env("TERM", "xterm").env_remove("BITCRAPS_PASSPHRASE").spawn().expect("script runs");
        let (keys, out) = (script.stdin.take().expect("piped"), script.stdout.take().expect("piped"));
        let mut terminal = Self { script, _keys: keys, out, seen: Vec::new(), pid: String::new() };
        terminal.until(shows);
        terminal.pid = fs::read_to_string(&number).expect("its number").trim().to_owned();
        terminal
    }

    fn until(&mut self, what: &str) {
        let mut byte = [0];
        while !String::from_utf8_lossy(&self.seen).contains(what) {
            assert!(self.out.read(&mut byte).expect("bytes") > 0, "{}", String::from_utf8_lossy(&self.seen));
            self.seen.push(byte[0]);
        }
    }

    /// Whether the command runs; one that has ended may wait for somebody who asks how.
    fn is_running(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
    }
}

/// What a command at a terminal is started with, and what it shows once it has changed the terminal.
#[cfg(target_os = "linux")]
fn at_terminals(dir: &Path, address: &str) -> [(String, &'static str); 2] {
    let (key, node) = (dir.join("player.pem"), dir.join("node"));
    [
        (format!("play {address} --key {}", text(&key)), "quit"),
        (format!("init {} --bytes-max 0", text(&node)), "Passphrase"),
    ]
}

#[test]
#[cfg(target_os = "linux")]
fn a_hangup_leaves_the_terminal_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    for (args, shows) in at_terminals(dir.path(), &dev.address) {
        let mut at = AtTerminal::start(dir.path(), &args, shows, true);
        assert!(Command::new("kill").args(["-HUP", &at.pid]).status().expect("kill runs").success());
        at.until("echoke");
        let said = String::from_utf8_lossy(&at.seen).into_owned();
        assert!(said.contains("isig icanon iexten echo echoe"), "{args}: {said}");
        assert!(at.script.wait().expect("it ends").success());
    }
}

/// A window is closed, a connection to another machine breaks: nobody is left who could end the command.
#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_goes_away_ends_the_command() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    for (args, shows) in at_terminals(dir.path(), &dev.address) {
        let mut at = AtTerminal::start(dir.path(), &args, shows, false);
        assert!(at.is_running(), "{args}");
        at.script.kill().expect("it runs");
        at.script.wait().expect("it ends");
        let until = Instant::now() + PATIENCE;
        while at.is_running() {
            assert!(Instant::now() < until, "{args}: it runs on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A pipe whose reader has gone.
fn gone() -> Stdio {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    writer.into()
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

/// A session of a few heights.
fn session(dir: &Path, name: &str, seed: u64) -> PathBuf {
    let path = dir.join(name);
    session_of(&path, 30, seed);
    path
}

#[test]
fn a_reader_of_standard_output_that_goes_away_changes_no_exit_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let (one, other) = (session(dir.path(), "one", 1), session(dir.path(), "other", 2));
    let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/../audit/tests/data/scenarios.json");
    let (one, other) = (text(&one), text(&other));
    let copy = dir.path().join("copy");
    for (args, code) in [
        (&["odds"][..], 0),
        (&["odds", "--output", "csv"], 0),
        (&["odds", "--output", "ndjson"], 0),
        (&["script", scenarios], 0),
        (&["script", scenarios, "--check"], 0),
        (&["replay", one], 0),
        (&["history", one, "--table", "0"], 0),
        (&["history", one, "--table", "0", "--output", "csv"], 0),
        (&["history", one, "--table", "0", "--output", "ndjson"], 0),
        (&["db", "stats", one], 0),
        (&["db", "stats", one, "--output", "csv"], 0),
        (&["db", "check", one, "--output", "csv"], 0),
        (&["db", "backup", one, text(&copy)], 0),
        (&["bisect", one, other], 5),
        (&["replay", "no such session"], 4),
        (&["dev", "--heights", "3", "--pace", "max", "--data", text(&dir.path().join("third"))], 0),
        (&["--help"], 0),
    ] {
        let output = program().args(args).stdout(gone()).output().expect("the program runs");
        let (found, _, err) = said(&output);
        assert_eq!(found, code, "{args:?}: {err}");
        // Beside rows, what the session says of itself is a note.
        let rows = args[0] == "history" && args.contains(&"--output");
        let notes =
            if rows { said(&program().args(args).output().expect("the program runs")).2 } else { String::new() };
        assert!(code != 0 || err == notes, "{args:?} is not quiet: {err}");
    }
}

#[test]
fn a_reader_of_standard_error_that_goes_away_changes_no_exit_code() {
    let dir = tempfile::tempdir().expect("a directory");
    let one = session(dir.path(), "one", 1);
    for (args, code) in [
        (&["replay", "no such session"][..], 4),
        (&["odds", "--bet", "no such bet"], 2),
        (&["no such command"], 2),
        (&["history", text(&one), "--table", "0", "--stats"], 0),
        (&["bisect", text(&one), "no such session"], 4),
        (&["dev", "--players", "0", "--heights", "1"], 2),
    ] {
        let output = program().args(args).stderr(gone()).output().expect("the program runs");
        assert_eq!(output.status.code(), Some(code), "{args:?}");
    }
}

#[test]
fn a_node_whose_readers_have_gone_goes_on_and_ends_cleanly() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("node");
    let config = made_node(&place, &["--window", "1000"]);
    let mut child = program()
        .args(["node", "--config", text(&config), "--output", "ndjson"])
        .env("BITCRAPS_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(gone())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped"));
    let mut ready = String::new();
    lines.read_line(&mut ready).expect("text");
    let ready: Value = serde_json::from_str(&ready).expect("a ready line");
    drop(lines);
    // It logs, into nothing, and serves.
    let address = ready["listen"].as_str().expect("an address");
    let (code, all, err) =
        play(address, &dir.path().join("player.pem"), "wait receipt\nsit 1000\nwait receipt\nquit\n");
    assert_eq!((code, events(&all, "receipt").count()), (0, 2), "{err}");
    signal(&child, "-TERM");
    assert_eq!(end(child).status.code(), Some(0));
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
    assert!(code == 3 && err.contains("does not open this key"), "{code} {err}");
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
    assert!(code == 7 && err.contains(&address) && err.contains("is the node running"), "{code} {err}");
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
}
