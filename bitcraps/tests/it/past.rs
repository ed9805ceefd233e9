//! What happened in the game, as a running node tells it over HTTP.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lines::{Lines, PATIENCE};
use super::monitor::Dev;
use super::newcomer::{made_node, play_script, program, text};
use super::secrets;

/// The answer to a question, once there is one: another one may be answered at the moment, and whoever answers has the lowest
/// priority of all that runs here.
fn ask(dev: &Dev, path: &str) -> (u16, Value) {
    once_answered(path, || dev.ask(path))
}

fn once_answered(path: &str, ask: impl Fn() -> (u16, String)) -> (u16, Value) {
    let until = Instant::now() + PATIENCE;
    loop {
        let (status, body) = ask();
        if ![503, 504].contains(&status) {
            return (status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}")));
        }
        assert!(Instant::now() < until, "{path}: {body}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn answered(dev: &Dev, path: &str) -> Value {
    let (status, answer) = ask(dev, path);
    assert_eq!(status, 200, "{path}: {answer}");
    answer
}

fn rows(answer: &Value) -> &[Value] {
    answer["rows"].as_array().unwrap_or_else(|| panic!("rows: {answer}"))
}

/// What `history` says of the same session.
fn history(dev: &Dev, args: &[&str]) -> Value {
    let cache = dev.session.with_extension("cache");
    let mut command = program();
    command.args(["history", text(&dev.session), "--output", "json"]).args(args).env("XDG_CACHE_HOME", cache);
    let said = command.output().expect("the program runs");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    serde_json::from_slice(&said.stdout).expect("one JSON object")
}

#[test]
fn a_running_node_tells_what_happened_as_history_does() {
    let dev = Dev::start(&["--listen", "none"]);
    dev.until_ready_is(|status, _| status == 200);
    let until = Instant::now() + PATIENCE;
    // Until a table has rolled, and there is something older.
    let newest = loop {
        let (status, answer) = ask(&dev, "/api/game/table/0?limit=5");
        if status == 200 && rows(&answer).iter().any(|row| row["event"] == "roll") && !answer["older"].is_null() {
            break answer;
        }
        assert!(Instant::now() < until, "no roll is told: {status} {answer}");
        std::thread::sleep(Duration::from_millis(200));
    };
    let last = |answer: &Value| rows(answer).last().expect("a row")["height"].as_u64().expect("a height");
    let to = last(&newest).to_string();
    let same = history(&dev, &["--table", "0", "--limit", "5", "--to", &to]);
    let told = answered(&dev, &format!("/api/game/table/0?limit=5&to={to}"));
    assert_eq!((&told["rows"], &told["older"], &told["chain"]), (&same["rows"], &same["older"], &same["chain"]));

    let older = told["older"].as_u64().expect("something is older");
    let page = answered(&dev, &format!("/api/game/table/0?to={older}&limit=3"));
    assert!(last(&page) <= older && rows(&page).len() >= 3, "{page}");

    let bet = rows(&told).iter().chain(rows(&page)).find(|row| row["account"].is_u64()).expect("somebody plays");
    let account = bet["account"].to_string();
    let told = answered(&dev, &format!("/api/game/player/{account}?to={to}"));
    assert_eq!(told["rows"], history(&dev, &["--player", &account, "--to", &to])["rows"]);
    assert!(!rows(&told).is_empty() && told["account"] == bet["account"], "{told}");

    let told = answered(&dev, "/api/game/roll/0:1");
    assert_eq!(rows(&told).iter().filter(|row| row["event"] == "roll").count(), 1, "{told}");
    assert_eq!(told["rows"], history(&dev, &["--roll", "0:1"])["rows"]);
    dev.until_ready_is(|status, _| status == 200);
}

#[test]
fn what_cannot_be_told_is_said() {
    let dev = Dev::start(&["--listen", "none"]);
    let until = Instant::now() + PATIENCE;
    while ask(&dev, "/api/game/table/0").0 != 200 {
        assert!(Instant::now() < until, "nothing is settled");
        std::thread::sleep(Duration::from_millis(200));
    }
    for (path, status, says) in [
        ("/api/game/table/x", 400, "a table is a number"),
        ("/api/game/player/abc", 400, "64 hex digits"),
        ("/api/game/roll/3", 400, "TABLE:NUMBER"),
        ("/api/game/house/1", 400, "/api/game/table/N"),
        ("/api/game/table/0?limit=1001", 400, "`limit=1001`"),
        ("/api/game/table/0?before=3", 400, "to=HEIGHT"),
        ("/api/game/roll/0:1?limit=3", 400, "shown whole"),
        ("/api/game/table/4", 404, "tables are numbered 0 to 3"),
        ("/api/game/player/999999", 404, "there is no account 999999"),
        ("/api/game/roll/0:40000", 404, "its rolls are numbered from 1"),
        ("/api/game/table/0?to=99999999", 404, "is beyond"),
    ] {
        let (found, answer) = ask(&dev, path);
        let problem = answer["error"].as_str().unwrap_or_default();
        assert!(found == status && problem.contains(says), "{path}: {found} {answer}");
    }
    let unknown = format!("/api/game/player/{}", "ab".repeat(32));
    assert_eq!(ask(&dev, &unknown).0, 404, "no account has this key");
    assert_eq!(dev.get("/api/game/table/0", "evil.example").0, 421, "a name that was made to point here");
}

#[test]
fn what_is_edited_for_the_next_start_changes_nothing_of_what_a_running_node_tells() {
    let dir = tempfile::tempdir().expect("a directory");
    let (config, _other) = (made_node(&dir.path().join("node"), &[]), made_node(&dir.path().join("other"), &[]));
    let mut node = program()
        .args(["node", "--config", text(&config), "--output", "ndjson", "--set", "monitoring.listen=127.0.0.1:0"])
        .args(["--ends-with-input"])
        .env("XDG_CACHE_HOME", dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program runs");
    let said = Lines::of(node.stdout.take().expect("piped")).next();
    let ready: Value = serde_json::from_str(&said).expect("a ready line");
    let monitor = ready["dashboard"].as_str().expect("an address").trim_start_matches("http://").trim_end_matches('/');
    let address = ready["listen"].as_str().expect("an address");
    let (code, _, err) = play_script(address, &dir.path().join("p.pem"), "open\nwait receipt\nquit\n");
    assert_eq!(code, 0, "{err}");
    let path = "/api/game/player/0";
    let ask = || {
        once_answered(path, || {
            let answer = String::from_utf8(secrets::ask(monitor, path)).expect("text");
            let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
            (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body.to_owned())
        })
    };
    let original = fs::read_to_string(&config).expect("a configuration");
    let elsewhere = original.replace("data = \"session\"", "data = \"../other/session\"");
    assert_ne!(elsewhere, original);
    for file in [original, elsewhere, "[node]\ndata = \"ses".into()] {
        fs::write(&config, &file).expect("written");
        let (status, answer) = ask();
        assert!(status == 200 && answer["chain"] == ready["chain"] && !rows(&answer).is_empty(), "{status} {answer}");
    }
    drop(node.stdin.take());
    assert!(node.wait().expect("it ends").success());
}
