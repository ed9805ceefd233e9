//! What a node's log says of those who come to its door.

use std::fs;
use std::io::Write;
use std::process::{Child, Stdio};

use super::lines::Lines;
use super::newcomer::{made_node, program, run, signal, silent_player, text};

/// A node whose log is read, and a player that stays.
struct Door {
    node: Child,
    log: Lines,
    address: String,
}

impl Door {
    /// A node that lets so many connections of an address in at a time.
    fn open(dir: &std::path::Path, connections: u32) -> Self {
        let file = made_node(&dir.join("node"), &["--window", "1000"]);
        let config = fs::read_to_string(&file).expect("a configuration");
        assert!(config.contains("connections_per_address_max = 64"), "{config}");
        let bound = format!("connections_per_address_max = {connections}");
        let config = config.replace("connections_per_address_max = 64", &bound);
        fs::write(&file, config).expect("written");
        let mut node = program()
            .args(["node", "--config", text(&file), "--output", "ndjson"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let ready = Lines::of(node.stdout.take().expect("piped")).next();
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("a ready line");
        let log = Lines::of(node.stderr.take().expect("piped"));
        Self { node, log, address: ready["listen"].as_str().expect("an address").to_owned() }
    }

    /// The next line of the log that has this text.
    fn says(&self, what: &str) -> String {
        self.log.until(what)
    }

    /// A load run against it: its exit code, what it says for programs, and what is wrong.
    fn load(&self, more: &[&str]) -> (i32, String, String) {
        let size = ["load", "baseline", "--target", &self.address, "--rate", "6", "--output", "json"];
        run(&[&size[..], more].concat())
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

#[test]
fn the_log_says_who_came_who_was_refused_and_who_went() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut door = Door::open(dir.path(), 1);
    let warned = door.says("storage.bytes_max is 0");
    assert!(warned.contains("free") && warned.contains("db stats"), "a journal without a bound is said: {warned}");
    let mut first = silent_player(&door.address, &dir.path().join("first.pem"));
    let came = door.says("a player came");
    let key = came.split("key=").nth(1).expect("a key").trim_matches('"').split('"').next().expect("a word");
    assert!(came.contains("address=127.0.0.1") && key.len() == 64, "{came}");

    let mut second = silent_player(&door.address, &dir.path().join("second.pem"));
    let refused = door.says("was refused");
    assert!(refused.contains("ADDRESS_LIMIT") && refused.contains("unproven"), "{refused}");
    second.kill().expect("it runs");
    second.wait().expect("it ends");

    first.stdin.take().expect("piped").write_all(b"quit\n").expect("it reads");
    first.wait().expect("it ends");
    let went = door.says("a connection ended");
    assert!(went.contains(key) && went.contains("DONE"), "{went}");

    // Whoever ends with an error says so too, and is not found out by silence.
    let script = dir.path().join("script");
    fs::write(&script, "nosuchcommand\n").expect("written");
    let mut play = program();
    play.args(["play", &door.address, "--script", "--key", text(&dir.path().join("third.pem"))]);
    let ended = play.stdin(fs::File::open(&script).expect("a file")).output().expect("the program runs");
    assert_eq!(ended.status.code(), Some(2), "{}", String::from_utf8_lossy(&ended.stderr));
    let went = door.says("a connection ended");
    assert!(went.contains("DONE") && !went.contains(key), "{went}");
    signal(&door.node, "-TERM");
    door.node.wait().expect("it ends");
}

/// Against a node as `init` makes it, whose grants and limits are not those of a load's own.
#[test]
fn a_load_takes_part_at_a_node_that_runs_already_or_says_why_not_and_the_log_says_who_was_banned() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut door = Door::open(dir.path(), 64);
    let flood = ["--users", "3", "--duration", "4", "--hostile", "1", "--hostile-kind", "bad-signatures"];
    let (code, out, err) = door.load(&flood);
    // How fast it was is for a quiet machine to judge.
    assert!(code == 0 || code == 6, "{code} {err}");
    let said: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!((&said["settled"], &said["refused"], &said["lost"]), (&24.into(), &0.into(), &0.into()), "{said}");
    let banned = door.says("was banned");
    let is_said = ["WARN a key was banned: ", "address=127.0.0.66", "key=", r#"reason="bad_signature""#];
    assert!(is_said.iter().all(|what| banned.contains(what)), "{banned}");

    let (code, _, err) = door.load(&["--users", "3", "--duration", "1"]);
    assert!(code == 7 && err.contains("--seed") && err.contains("NUMBER_USED"), "{code} {err}");
    let (code, _, err) = door.load(&["--users", "30", "--duration", "1", "--seed", "2"]);
    assert!(code == 7 && err.contains("net.opens_per_address_per_min"), "{code} {err}");
    signal(&door.node, "-TERM");
    door.node.wait().expect("it ends");
}
