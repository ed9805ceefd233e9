//! `bitcraps history` as a person or a script meets it: on a stopped session and on one that is being written.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use engine::message::block::Decided;
use engine::message::intent::IntentKind;
use serde_json::Value;
use storage::{FrameKind, JournalReader};

thread_local! {
    /// The cache folder of the user: each test has its own, and with it its thread.
    static CACHE: tempfile::TempDir = tempfile::tempdir().expect("a directory");
}

fn cache() -> PathBuf {
    CACHE.with(|cache| cache.path().to_owned())
}

fn bitcraps(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcraps"));
    command.env("XDG_CACHE_HOME", cache()).args(args).output().expect("the program runs")
}

fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn json(args: &[&str]) -> Value {
    serde_json::from_str(&printed(&bitcraps(args))).expect("one JSON object")
}

fn failure(args: &[&str]) -> (i32, String) {
    let output = bitcraps(args);
    (output.status.code().expect("no signal"), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary path is text")
}

/// A session of 400 heights below `dir`.
fn session(dir: &Path) -> String {
    let path = dir.join("s");
    let path = text(&path).to_owned();
    printed(&bitcraps(&[
        "dev",
        "--heights",
        "400",
        "--pace",
        "max",
        "--tables",
        "3",
        "--output",
        "json",
        "--data",
        &path,
    ]));
    path
}

/// The key of the first account that opened.
fn first_key(session: &str) -> [u8; 32] {
    let mut journal = JournalReader::open(Path::new(session)).expect("a session");
    while let Some(frame) = journal.next_frame().expect("a whole journal") {
        if frame.kind == FrameKind::Decided {
            let block = Decided::decode(&frame.body).expect("a block").block;
            if let Some(intent) = block.intents.iter().find(|intent| intent.body.kind == IntentKind::Open as u8) {
                return intent.body.key;
            }
        }
    }
    panic!("somebody opened an account");
}

#[test]
fn a_player_is_shown_by_number_and_by_key_in_every_output() {
    let dir = tempfile::tempdir().expect("a directory");
    let session = session(dir.path());
    let key = engine::hex(&first_key(&session));
    let by_number = json(&["history", &session, "--player", "0", "--limit", "100000", "--output", "json"]);
    let by_key = json(&["history", "--data", &session, "--player", &key, "--limit", "100000", "--output", "json"]);
    assert_eq!(by_number["rows"], by_key["rows"]);
    let rows = by_key["rows"].as_array().expect("rows");
    assert_eq!((&rows[0]["event"], &rows[0]["chips"]), (&"open".into(), &10_000.into()));
    assert!(["sit", "bet", "roll", "win", "lose"].iter().all(|event| rows.iter().any(|row| row["event"] == **event)));
    // Chips that rolls won and lost, and those a player began with, are those the player has.
    let sum: i64 = rows.iter().filter_map(|row| row["chips"].as_i64()).sum();
    let chips = |row: &Value, place: &str| row[place].as_i64().expect("chips");
    let cage = rows.iter().rfind(|row| !row["cage"].is_null()).map_or(0, |row| chips(row, "cage"));
    let at_table = |table: u64| {
        let last = rows.iter().rfind(|row| row["table"] == table && !row["rail"].is_null());
        last.map_or(0, |row| chips(row, "rail") + chips(row, "felt"))
    };
    assert_eq!(sum, cage + (0..3).map(at_table).sum::<i64>());

    let args = ["history", &session, "--player", "0", "--limit", "100000", "--output"];
    let lines = printed(&bitcraps(&[&args[..], &["ndjson"]].concat()));
    let parsed: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    assert_eq!(&parsed, rows);
    let csv = printed(&bitcraps(&[&args[..], &["csv"]].concat()));
    assert_eq!(csv.lines().count(), rows.len() + 1);
    assert!(csv.starts_with("height,time_ms,event,table,roll,dice,"));
    let people = printed(&bitcraps(&["history", &session, "--player", "0", "--limit", "5"]));
    assert!(people.contains("What is older: the same with --to "), "{people}");
    assert!(people.contains(" height   time (UTC) "), "{people}");
}

#[test]
fn a_roll_is_shown_with_its_bets_and_payouts_and_the_cache_may_go() {
    let dir = tempfile::tempdir().expect("a directory");
    let session = session(dir.path());
    let roll = |number: &str| json(&["history", &session, "--roll", number, "--output", "json"]);
    let shown = roll("1:3");
    let rows = shown["rows"].as_array().expect("rows");
    let rolls: Vec<_> = rows.iter().filter(|row| row["event"] == "roll").collect();
    assert_eq!(rolls.len(), 1);
    assert_eq!((&rolls[0]["table"], &rolls[0]["roll"]), (&1.into(), &3.into()));
    assert!(rows.iter().all(|row| row["table"] == 1 && (row["roll"].is_null() || row["roll"] == 3)));
    let made = printed(&bitcraps(&["history", &session, "--reindex"]));
    assert!(made.contains("\nthe index tells of heights 1 to "), "{made}");
    std::fs::remove_dir_all(cache().join("bitcraps/history")).expect("the cache's folder");
    assert_eq!(roll("1:3")["rows"], shown["rows"]);
    let from_disk = json(&["history", &session, "--table", "1", "--to", "300", "--output", "json"]);
    assert!(from_disk["tiers"]["disk"].as_u64().is_some_and(|pages| pages > 0), "{}", from_disk["tiers"]);
    assert_eq!(from_disk["tiers"]["cold"], 0);
}

#[test]
fn what_cannot_be_shown_is_said() {
    let dir = tempfile::tempdir().expect("a directory");
    let session = session(dir.path());
    for (args, code, says) in [
        (&[&session[..]][..], 2, "--player"),
        (&[&session[..], "--player", "1", "--table", "1"], 2, "cannot be used with"),
        (&["--player", "1"], 2, "SESSION"),
        (&[&session[..], "--player", "abc"], 2, "64 hex digits"),
        (&[&session[..], "--roll", "3-1"], 2, "TABLE:NUMBER"),
        (&[&session[..], "--table", "1", "--from", "9", "--to", "3"], 2, "--to is not below --from"),
        (&[&session[..], "--table", "3"], 4, "numbered 0 to 2"),
        (&[&session[..], "--player", "999999"], 4, "there is no account 999999"),
        (&[&session[..], "--player", &"ab".repeat(32)], 4, "no account has this key now"),
        (&[&session[..], "--roll", "0:4000"], 4, "its rolls are numbered from 1"),
        (&[text(dir.path()), "--table", "0"], 4, "no genesis.json"),
    ] {
        let (found, message) = failure(&[&["history"], args].concat());
        assert!(found == code && message.contains(says), "{args:?}: {found} {message}");
    }
}

#[test]
fn a_session_is_read_while_another_process_writes_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let mut node = Command::new(env!("CARGO_BIN_EXE_bitcraps"))
        .args(["dev", "--listen", "none", "--output", "json", "--data", text(&path)])
        .stdout(Stdio::null())
        .spawn()
        .expect("the program runs");
    let began = Instant::now();
    let (mut last, mut grew) = (0, 0);
    while grew < 3 && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(300));
        let output = bitcraps(&["history", text(&path), "--table", "0", "--output", "json"]);
        // At first there may be no session yet, or nothing settled.
        let Ok(answer) = serde_json::from_slice::<Value>(&output.stdout) else { continue };
        let height = answer["rows"].as_array().and_then(|rows| rows.last()).and_then(|row| row["height"].as_u64());
        if height > Some(last) {
            grew += 1;
        }
        last = height.unwrap_or(last);
    }
    node.kill().expect("it can be killed");
    node.wait().expect("it ends");
    assert!(grew >= 3, "the history grew {grew} times, up to height {last}");
    let replayed = json(&["replay", text(&path), "--output", "json"]);
    assert_eq!(replayed["ok"], true);
}
