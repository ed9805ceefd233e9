//! Pledged tables as a person meets them: `dev --dice both` with simulated players, and `play` through the deaths of client
//! and node.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

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

/// A bet and a roll. The sleep is the window's minimum, which the client does not wait for by itself.
const ROLL: &str = "bet field 5\nwait receipt\nsleep 400\nroll\nwait roll\n";

#[test]
fn a_player_goes_on_with_the_same_pledge_after_client_and_node_were_killed() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = path.to_str().expect("a temporary path is text");
    let port = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port").port();
    let address = format!("127.0.0.1:{port}");
    let mut running = node(dir.path(), session, &address);
    let until = Instant::now() + PATIENCE;
    while !path.join("genesis.json").exists() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
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
