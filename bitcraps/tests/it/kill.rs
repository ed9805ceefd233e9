//! kill -9 on the real process while a client plays: after each, the session replays, holds every receipt that the client
//! was given, and the node goes on by itself.
//!
//! A few times here; `BITCRAPS_KILLS=50` for more.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use engine::message::block::Decided;
use serde_json::Value;
use storage::{FrameKind, JournalReader};

use super::lines::Lines;

fn bitcraps(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcraps"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Receipts of one life: the client plays until the node is killed, some time after its first receipt.
fn life(session: &str, key: &str, address: &str, after: Duration) -> (Vec<(u64, u64)>, String) {
    let args = ["dev", "--data", session, "--listen", address, "--players", "20", "--tables", "4", "--threads", "1"];
    let mut node = bitcraps(&args).spawn().expect("the program runs");
    let began = Instant::now();
    let (mut player, lines, first) = loop {
        // Until the node listens, a client finds nobody.
        let mut player = bitcraps(&["play", address, "--key", key, "--script"])
            .stdin(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let script = format!("sit 2000\n{}", "bet field 1\nsleep 20\n".repeat(500));
        let mut input = player.stdin.take().expect("a pipe");
        let lines = Lines::of(player.stdout.take().expect("a pipe"));
        // A client that ended has closed its pipe; the script needs no answer.
        std::thread::spawn(move || {
            _ = input.write_all(script.as_bytes()).map(|()| std::thread::sleep(Duration::from_secs(60)))
        });
        match lines.within(Duration::from_secs(20)) {
            Some(first) => break (player, lines, first),
            None => end(&mut player),
        }
        assert!(began.elapsed() < Duration::from_secs(60), "the node does not listen");
        std::thread::sleep(Duration::from_millis(50));
    };
    let (mut receipts, mut next) = (Vec::new(), first);
    let mut kill_at = None;
    let killer = loop {
        let line: Value = serde_json::from_str(&next).expect("a JSON object");
        if line["event"] == "receipt" {
            kill_at.get_or_insert_with(|| Instant::now() + after);
            receipts.push((line["number"].as_u64().expect("a number"), line["height"].as_u64().expect("a height")));
        }
        if kill_at.is_some_and(|at| Instant::now() >= at) {
            break node.kill();
        }
        next = lines.next();
    };
    killer.expect("it can be killed");
    let said = node.wait_with_output().expect("it ends");
    // What was on its way when the node died may still have come.
    std::thread::sleep(Duration::from_millis(50));
    end(&mut player);
    for line in lines.rest().lines() {
        let line: Value = serde_json::from_str(line).expect("a JSON object");
        if line["event"] == "receipt" && line["refusal"] != "EXPIRED" {
            receipts.push((line["number"].as_u64().expect("a number"), line["height"].as_u64().expect("a height")));
        }
    }
    (receipts, String::from_utf8_lossy(&said.stdout).into_owned())
}

fn end(child: &mut Child) {
    let _ = child.kill();
    child.wait().expect("it ends");
}

/// The keys that have an intent with this number at this height, for every receipt.
fn keys_of(session: &Path, receipts: &[(u64, u64)]) -> BTreeSet<[u8; 32]> {
    let mut heights: BTreeMap<u64, BTreeSet<(u64, [u8; 32])>> = BTreeMap::new();
    let mut reader = JournalReader::open(session).expect("a session");
    while let Some(frame) = reader.next_frame().expect("a whole journal") {
        if frame.kind == FrameKind::Decided {
            let block = Decided::decode(&frame.body).expect("a block").block;
            let intents = block.intents.iter().map(|intent| (intent.body.number, intent.body.key));
            heights.entry(frame.height.0).or_default().extend(intents);
        }
    }
    let mut keys: Option<BTreeSet<[u8; 32]>> = None;
    for (number, height) in receipts {
        let intents = heights.get(height).unwrap_or_else(|| panic!("height {height} had receipts and is gone"));
        let here: BTreeSet<_> = intents.iter().filter(|intent| intent.0 == *number).map(|intent| intent.1).collect();
        let both: BTreeSet<_> = keys.map_or(here.clone(), |keys| keys.intersection(&here).copied().collect());
        assert!(
            !both.is_empty(),
            "the receipt of number {number} names height {height}, which holds {} with it",
            here.len()
        );
        keys = Some(both);
    }
    keys.unwrap_or_default()
}

#[test]
fn a_killed_node_goes_on_and_keeps_every_receipt_slow() {
    let kills: u64 = std::env::var("BITCRAPS_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(3);
    let dir = tempfile::tempdir().expect("a directory");
    let (session, key) = (dir.path().join("s"), dir.path().join("key.pem"));
    let (session_text, key) = (session.to_str().expect("text"), key.to_str().expect("text"));
    let port = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let mut receipts = Vec::new();
    for kill in 0..kills {
        let after = Duration::from_millis(100 + kill * 263 % 900);
        let (given, said) = life(session_text, key, &port.to_string(), after);
        assert_eq!(said.contains("goes on"), kill > 0, "life {kill}: {said}");
        // Refusals before any block name no height.
        receipts.extend(given.into_iter().filter(|(_, height)| *height > 0));
        let replayed = bitcraps(&["replay", session_text, "--output", "json"]).output().expect("the program runs");
        let replayed: Value = serde_json::from_slice(&replayed.stdout).expect("one JSON object");
        assert_eq!(replayed["ok"], true, "life {kill}: {replayed}");
        assert_eq!(keys_of(&session, &receipts).len(), 1, "life {kill}: every receipt is in the chain, of one player");
    }
    println!("{kills} times killed; {} receipts, all kept", receipts.len());
    assert!(receipts.len() as u64 > 4 * kills, "{} receipts", receipts.len());
}
