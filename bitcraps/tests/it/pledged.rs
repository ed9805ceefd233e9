//! Pledged tables as a person meets them: `dev --dice both` with simulated players, and `play` through the deaths of client
//! and node.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use keys::pledges::{PledgeBook, beside};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn bitcraps(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcraps"));
    command.env("XDG_CACHE_HOME", dir.join("cache")).args(args);
    command
}

fn done(dir: &Path, args: &[&str]) -> String {
    let Output { status, stdout, stderr } = bitcraps(dir, args).output().expect("the program runs");
    assert!(status.success(), "{args:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("text")
}

fn events(dir: &Path, session: &str, of: &[&str]) -> Vec<Value> {
    let args = [&["history", session, "--limit", "100000", "--output", "json"], of].concat();
    let answer: Value = serde_json::from_str(&done(dir, &args)).expect("one JSON object");
    answer["rows"].as_array().expect("rows").clone()
}

fn count(events: &[Value], name: &str) -> usize {
    events.iter().filter(|event| event["event"] == name).count()
}

#[test]
fn a_session_of_pledged_tables_replays_and_its_history_shows_what_was_pledged_opened_and_forfeited() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = path.to_str().expect("a temporary path is text");
    let args = ["dev", "--dice", "both", "--tables", "6", "--players", "6", "--heights", "2500", "--pace", "max"];
    done(dir.path(), &[&args[..], &["--output", "json", "--data", session]].concat());
    let replayed: Value =
        serde_json::from_str(&done(dir.path(), &["replay", session, "--output", "json"])).expect("one JSON object");
    assert_eq!(replayed["ok"], true, "{replayed}");
    let (mut rolls, mut forfeits) = (0, 0);
    for table in ["0", "1", "2", "3", "4", "5"] {
        let events = events(dir.path(), session, &["--table", table]);
        assert!(count(&events, "pledge") > 0, "table {table}");
        assert_eq!(count(&events, "roll"), count(&events, "open_roll"), "table {table}: a roll for each opening");
        rolls += count(&events, "roll");
        forfeits += count(&events, "forfeit");
    }
    assert!(rolls > 50 && forfeits > 0, "{rolls} rolls, {forfeits} forfeits");
    let rows = dir.path().join("rows");
    let rows = rows.to_str().expect("a temporary path is text");
    done(dir.path(), &["export", session, "--csv", rows]);
    let (found, lost) = recomputed(Path::new(rows));
    assert_eq!((found, lost), (rolls, forfeits), "every roll and every forfeit of the history is in the rows");
    published_script(rows, rolls);
    audited(dir.path(), session, rolls, forfeits);
}

/// What an audit says of the session: who could have foreseen its rolls, and what those that were opened too late would have
/// paid.
fn audited(dir: &Path, session: &str, rolls: usize, forfeits: usize) {
    let audit: Value =
        serde_json::from_str(&done(dir, &["audit-dice", session, "--output", "json"])).expect("one JSON object");
    let number = |value: &Value| value.as_u64().expect("a number") as usize;
    assert_eq!(number(&audit["rolls"]), rolls);
    assert_eq!(number(&audit["foreseeable_by"]["whoever_knows_the_seed"]), rolls, "its keys follow from a seed");
    // Bets that nobody rolled for are forfeited too.
    let forfeits = number(&audit["forfeited"]).min(forfeits);
    let late = audit["late_openings"].as_array().expect("a list");
    assert!(!late.is_empty() && late.len() <= forfeits, "{} late openings of {forfeits} forfeits", late.len());
    let people = done(dir, &["audit-dice", session, "--output", "table"]);
    for opening in late {
        let (table, roll, paid) = (&opening["table"], &opening["roll"], &opening["paid"]);
        assert!(opening["forfeited"].as_u64() > Some(0), "{opening}");
        let [first, second] = [0, 1].map(|die| opening["dice"][die].as_u64().expect("a face"));
        assert!((1..=6).contains(&first) && (1..=6).contains(&second), "{opening}");
        let said = people.lines().find(|line| line.contains(&format!(" {table}:{roll}  opened too late at height")));
        if let (Some(said), Some(paid)) = (said, paid.as_u64().filter(|paid| *paid < 1_000)) {
            assert!(said.contains(&format!(": {first}-{second} would have paid {paid} of ")), "{said}");
        }
    }
    assert!(people.contains("would have paid"), "{people}");
}

fn sheet(rows: &Path, name: &str) -> Vec<BTreeMap<String, String>> {
    let mut reader = csv::Reader::from_path(rows.join(format!("{name}.csv"))).expect("a CSV file");
    let names = reader.headers().expect("names").clone();
    let row = |row: csv::StringRecord| names.iter().map(str::to_owned).zip(row.iter().map(str::to_owned)).collect();
    reader.records().map(|found| row(found.expect("a row"))).collect()
}

fn derived(context: &str, parts: &[&[u8]], bytes: &mut [u8]) {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    parts.iter().for_each(|part| _ = hasher.update(part));
    hasher.finalize_xof().fill(bytes);
}

/// Recomputes every roll from exported rows, as the page about fairness says; returns how many were opened and forfeited.
fn recomputed(rows: &Path) -> (usize, usize) {
    let hex = |row: &BTreeMap<String, String>, name: &str| engine::unhex_all(&row[name]).expect("hex");
    let chain = hex(&sheet(rows, "session")[0], "chain");
    let rules: BTreeMap<String, Vec<u8>> =
        sheet(rows, "tables").iter().map(|row| (row["table_id"].clone(), hex(row, "rules_hash"))).collect();
    let rolls: BTreeMap<(String, String), [String; 2]> = sheet(rows, "rolls")
        .into_iter()
        .map(|row| {
            ((row["table_id"].clone(), row["roll_number"].clone()), [row["die_1"].clone(), row["die_2"].clone()])
        })
        .collect();
    let mut forfeited = 0;
    for row in sheet(rows, "openings") {
        if row["outcome"] == "forfeited" {
            assert!(row["opened_value"].is_empty() && row["forfeited"] != "0");
            forfeited += 1;
            continue;
        }
        let number = |name: &str| row[name].parse::<u32>().expect("a number").to_le_bytes();
        let (table, roll) = (number("table_id"), number("roll_number"));
        let (key, beacon, value) = (hex(&row, "account_key"), hex(&row, "beacon"), hex(&row, "opened_value"));
        let (mut end, mut stream) = ([0; 32], [0; 512]);
        derived("bitcraps pledge end 1", &[&chain, &table, &key, &roll, &value], &mut end);
        assert_eq!(end.to_vec(), hex(&row, "pledged_end"), "what was opened is what was pledged");
        let of_rules = &rules[&row["table_id"]];
        derived("bitcraps dice of both 1", &[&beacon, &value, of_rules, &table, &roll], &mut stream);
        let faces: Vec<String> =
            stream.iter().filter(|byte| **byte < 252).map(|byte| (byte % 6 + 1).to_string()).take(2).collect();
        assert_eq!(faces, rolls[&(row["table_id"].clone(), row["roll_number"].clone())], "{row:?}");
    }
    (rolls.len(), forfeited)
}

/// Runs the script of the page about fairness as it stands there, where Python and its `blake3` are.
fn published_script(rows: &str, rolls: usize) {
    let has_it = Command::new("python3").args(["-c", "import blake3"]).output();
    if !has_it.is_ok_and(|output| output.status.success()) {
        return;
    }
    let page =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/fairness.md")).expect("a page");
    let script = page.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a script");
    let output = Command::new("python3").args(["-c", script, rows]).output().expect("Python runs");
    let (said, problem) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(said.trim(), format!("{rolls} rolls are what both halves give"), "{problem}");
}

/// A running `play --script`, and what it writes.
struct Player {
    child: Child,
    lines: Receiver<Value>,
}

impl Player {
    fn start(dir: &Path, address: &str, script: &'static str) -> Self {
        let key = dir.join("player.pem");
        let mut child = bitcraps(dir, &["play", address, "--script", "--key"])
            .arg(key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let (told, lines) = channel();
        std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            lines.for_each(|line| _ = told.send(serde_json::from_str(&line).expect("a JSON object")));
        });
        // The pipe stays open: the end of a script ends the client.
        std::thread::spawn(move || {
            _ = input.write_all(script.as_bytes()).map(|()| std::thread::sleep(PATIENCE));
        });
        Self { child, lines }
    }

    fn until(&self, event: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            let Ok(line) = self.lines.recv_timeout(Duration::from_secs(1)) else { continue };
            if line["event"] == event && holds(&line) {
                return line;
            }
        }
        panic!("no {event} came");
    }

    fn kill(mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("it ends");
    }
}

fn node(dir: &Path, session: &str, address: &str) -> Child {
    let args = ["dev", "--dice", "both", "--tables", "1", "--players", "0", "--window", "1000", "--dashboard", "off"];
    let args = [&args[..], &["--listen", address, "--data", session]].concat();
    bitcraps(dir, &args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program runs")
}

/// A node at a port that it has again when it is started again, once its session is there.
fn begun(dir: &Path, session: &str) -> (String, Child) {
    let port = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let address = format!("127.0.0.1:{port}");
    let running = node(dir, session, &address);
    let until = Instant::now() + PATIENCE;
    while !Path::new(session).join("genesis.json").exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    (address, running)
}

/// A bet and a roll. The sleep is the window's minimum, which the client does not wait for by itself.
const ROLL: &str = "bet field 5\nwait receipt\nsleep 400\nroll\nwait roll\n";

#[test]
fn a_player_goes_on_with_the_same_pledge_after_client_and_node_were_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = path.to_str().expect("a temporary path is text");
    let (address, mut running) = begun(dir.path(), session);
    let begin = "sleep 500\nsit 1000\nwait receipt\nsleep 500\nbet field 5\nwait receipt\nsleep 400\nroll\nwait roll\n";
    let first = Player::start(dir.path(), &address, begin);
    let halves = first.until("halves", |_| true);
    assert_eq!((halves["number"].as_u64(), halves["openings_left"].as_u64()), (Some(1), Some(4_095)));
    assert_eq!(halves["yours"].as_str().map(str::len), Some(64));
    assert_eq!(halves["theirs"].as_str().map(str::len), Some(96));
    first.kill();
    // Another start of the client knows what was pledged; it is killed when the roll is called, before or after it opened it.
    let second = Player::start(dir.path(), &address, ROLL);
    second.until("table", |table| table["roll_number"] == 1 && table["called"] == true);
    second.kill();
    // The node dies too, perhaps with a roll that waits.
    running.kill().expect("it can be killed");
    running.wait().expect("it ends");
    let mut running = node(dir.path(), session, &address);
    let third = Player::start(dir.path(), &address, "sleep 60000\n");
    third.until("table", |table| table["roll_number"] == 2);
    third.kill();
    // A program that was started again knows from what it is told that it sits, and need not ask for anything.
    let looking = Player::start(dir.path(), &address, "sleep 60000\n");
    let table = looking.until("table", |table| !table["own"].is_null());
    assert!(table["own"]["rail"].as_u64() > Some(0), "{table}");
    looking.kill();
    let fourth = Player::start(dir.path(), &address, ROLL);
    let halves = fourth.until("halves", |halves| halves["number"] == 3);
    assert_eq!(halves["openings_left"], 4_093, "one pledge for all of it");
    fourth.kill();
    running.kill().expect("it can be killed");
    running.wait().expect("it ends");
    let replayed: Value =
        serde_json::from_str(&done(dir.path(), &["replay", session, "--output", "json"])).expect("one JSON object");
    assert_eq!(replayed["ok"], true, "{replayed}");
    let events = events(dir.path(), session, &["--table", "0"]);
    assert_eq!((count(&events, "pledge"), count(&events, "roll"), count(&events, "forfeit")), (1, 3, 0));
}

/// A script that was not told would call rolls, and lose its bets one after another.
#[test]
fn a_script_whose_book_of_pledges_is_held_hears_so_and_opens_its_roll_once_it_is_free() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = path.to_str().expect("a temporary path is text");
    let (address, mut running) = begun(dir.path(), session);
    let first = Player::start(dir.path(), &address, "sleep 500\nsit 1000\nwait receipt\nsleep 500\n");
    first.until("table", |table| table["own"]["rail"] == 1_000);
    let book = beside(&dir.path().join("player.pem"));
    // In the book it may be before it was sent; what is in a block is there.
    let until = Instant::now() + PATIENCE;
    let pledged = || count(&events(dir.path(), session, &["--table", "0"]), "pledge") > 0;
    while !pledged() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    first.kill();
    let held = PledgeBook::open(&book, [0; 32]).expect("nobody holds it any more");
    let second = Player::start(dir.path(), &address, "bet field 5\nwait receipt\nsleep 400\nroll\nwait receipt\n");
    let warned = |of: &'static str| {
        second.until("warning", |warning| warning["message"].as_str().is_some_and(|text| text.contains(of)))
    };
    warned("nothing is pledged here");
    let warning = warned("roll 0:1 is not opened, and its bets will be lost");
    assert!(warning["message"].as_str().is_some_and(|text| text.contains("is held by another program")), "{warning}");
    // Nobody holds the book any more, and the roll waits still.
    drop(held);
    let halves = second.until("halves", |_| true);
    assert_eq!((&halves["table"], &halves["number"]), (&0.into(), &1.into()));
    second.kill();
    running.kill().expect("it can be killed");
    running.wait().expect("it ends");
}

#[test]
fn players_who_are_clients_pledge_and_open_at_tables_of_several_validators() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let data = path.to_str().expect("a temporary path is text");
    let _ports = crate::PORTS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let args = ["dev", "--dice", "both", "--nodes", "2", "--tables", "4", "--players", "4", "--heights", "150"];
    done(dir.path(), &[&args[..], &["--window", "1000", "--output", "json", "--data", data]].concat());
    let session = path.join("node-1/session");
    let session = session.to_str().expect("a temporary path is text");
    let tables = ["0", "1", "2", "3"].map(|table| events(dir.path(), session, &["--table", table]));
    let of = |name: &str| tables.iter().map(|events| count(events, name)).sum::<usize>();
    assert_eq!((of("roll"), of("forfeit")), (of("open_roll"), 0), "what is called is opened");
    assert!(of("pledge") >= 4 && of("roll") > 4, "{} pledges, {} rolls", of("pledge"), of("roll"));
}
