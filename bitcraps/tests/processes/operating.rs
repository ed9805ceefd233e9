//! What operators and players do with a cluster: restarts by its gates, followers, a halt, another node.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use audit::reading::ReadOptions;
use audit::replay::{ReplayConfig, replay};
use engine::Height;
use load::crowd::Crowd;
use serde_json::Value;

use crate::{Cluster, PATIENCE, Process, bitcraps, check, free_addresses, start};

fn health(config: &Path, more: &[&str]) -> bool {
    health_says(config, more).0
}

/// Whether all is well, and what was said if a node was asked.
fn health_says(config: &Path, more: &[&str]) -> (bool, Value) {
    let said = bitcraps().args(["health", "--output", "json", "--config"]).arg(config).args(more).output();
    let said = said.expect("the program runs");
    assert!(matches!(said.status.code(), Some(0 | 7)), "{}", String::from_utf8_lossy(&said.stderr));
    (said.status.success(), serde_json::from_slice(&said.stdout).unwrap_or_default())
}

#[test]
fn a_rolling_restart_by_its_gates_loses_no_answer() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2, 3]);
    cluster.progress(&[0, 1, 2, 3], 2);
    for slot in 0..4 {
        let config = cluster.members[slot].config.clone();
        cluster.until("it may be stopped", |_| health(&config, &["--before-restart"]));
        cluster.end(slot);
        assert!(!health(&config, &["--cluster"]), "one is away");
        let other = cluster.members[(slot + 1) % 4].config.clone();
        cluster.until("the others play on, and it is said so though one is silent", |_| {
            let (is_well, said) = health_says(&other, &["--cluster"]);
            !is_well && (&said["good"], &said["may_go"]) == (&Value::from(3), &Value::from(0))
        });
        assert!(!health(&other, &["--before-restart"]), "no other may go");
        cluster.start(slot);
        assert!(health(&config, &["--after-restart"]), "it is back");
    }
    let config = cluster.members[0].config.clone();
    cluster.until("all is well", |_| health(&config, &["--cluster"]));
    let rounds = cluster.finish(crowd).rounds;
    // One that is away costs a height a second round, until it is skipped. Cores that others use may cost some more.
    let (all, slow): (u64, u64) = (rounds.values().sum(), rounds.range(1..).map(|(_, count)| count).sum());
    let later: u64 = rounds.range(2..).map(|(_, count)| count).sum();
    assert!(slow * 8 <= all && later * 50 <= all, "{rounds:?}");
}

#[test]
fn one_that_follows_verifies_everything_serves_players_and_votes_on_nothing() {
    let mut cluster = Cluster::started();
    let chain = cluster.dir.path().join("chain");
    let place = cluster.dir.path().join("eyes");
    let address = free_addresses(1)[0];
    let made = bitcraps()
        .args([
            "init",
            "--dashboard",
            "127.0.0.1:0",
            "--plain-keys",
            "--bytes-max",
            "0",
            "--output",
            "json",
            "--listen",
            &address.to_string(),
            "--follow",
        ])
        .args([
            chain.join("node-0/session/genesis.json"),
            "--addresses".into(),
            chain.join("validators.txt"),
            place.clone(),
        ])
        .output()
        .expect("the program runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (mut follower, ready) = start(&place.join("bitcraps.toml"), &["--follow"]);
    assert_eq!((&ready["slot"], &ready["validators"]), (&Value::Null, &Value::from(4)));
    // Its players' intents go into blocks of the validators.
    let (genesis, _) = storage::read_genesis(&cluster.members[0].session).expect("a session");
    let crowd = Crowd::start(&cluster.runtime, &cluster.keys, 8, &genesis, cluster.chain, &[address]).expect("players");
    cluster.progress(&[0, 1, 2, 3], 5);
    let highest = cluster.highest();
    cluster.until("it is level", |cluster| {
        cluster.status_at(address).is_some_and(|status| status.standing.settled >= highest && status.standing.is_silent)
    });
    let config = place.join("bitcraps.toml");
    cluster.until("it is well, and no validator", |_| {
        let (is_well, said) = health_says(&config, &["--cluster"]);
        is_well && (&said["good"], &said["validators"]) == (&Value::from(4), &Value::from(4))
    });
    assert!(health(&config, &["--after-restart"]) && health(&config, &["--before-restart"]) && health(&config, &[]));
    // Two of four are no quorum, whoever follows.
    cluster.kill(0);
    cluster.kill(1);
    let stood = cluster.until_still();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(cluster.highest(), stood, "one that follows is no validator");
    let left = cluster.members[2].config.clone();
    // One that was killed says no farewell: its connections end by their time.
    cluster.until("it is said that too few are heard", |_| !health(&left, &[]));
    assert!(!health(&left, &["--after-restart", "--timeout", "0"]), "nor is it back");
    (0..2).for_each(|slot| cluster.start(slot));
    cluster.progress(&[0, 1, 2, 3], 3);
    cluster.until_answered(&crowd);
    follower.signal(rustix::process::Signal::TERM);
    assert!(follower.0.wait().expect("it ends").success());
    let session = place.join("session");
    check(&[&session]);
    cluster.finish(crowd);
}

#[test]
fn validators_that_agreed_on_it_halt_at_one_height() {
    let mut cluster = Cluster::new();
    for slot in 0..4 {
        let config = cluster.members[slot].config.clone();
        cluster.members[slot].process = Some(start(&config, &["--halt-at", "30"]).0);
    }
    let crowd = cluster.crowd(&[0, 1, 2, 3]);
    for slot in 0..4 {
        let mut process = cluster.members[slot].process.take().expect("it runs");
        let end = Instant::now() + PATIENCE;
        // Waiting would end its input, and it with that.
        let status = loop {
            if let Some(status) = process.0.try_wait().expect("a process") {
                break status;
            }
            assert!(Instant::now() < end, "node {slot} does not halt: {}", cluster.log());
            std::thread::sleep(Duration::from_millis(100));
        };
        assert!(status.success(), "node {slot}");
    }
    assert_eq!(crowd.counted.first_wrong.get(), None, "none was answered twice");
    crowd.stop();
    for member in &cluster.members {
        let outcome = replay(&member.session, &ReplayConfig::all(ReadOptions::default()), |_| {}).expect("a session");
        assert_eq!((outcome.height, outcome.difference.is_none()), (Height(30), true));
    }
    let config = &cluster.members[0].config;
    let late = bitcraps().args(["node", "--halt-at", "29", "--config"]).arg(config).output().expect("the program runs");
    let said = String::from_utf8_lossy(&late.stderr).into_owned();
    assert!(late.status.code() == Some(2) && said.contains("height 30 is decided here"), "{said}");
    // Without the flag they go on.
    (0..4).for_each(|slot| cluster.start(slot));
    let crowd = cluster.crowd(&[0, 1, 2, 3]);
    cluster.until("players play again", |_| crowd.counted.applied.load(Ordering::Relaxed) > 8);
    cluster.finish(crowd);
}

/// A player who was told of all nodes plays on when their own is killed: the same numbers, one receipt for each.
#[test]
fn a_player_goes_on_at_another_node_with_the_same_numbers() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[1, 2, 3]);
    cluster.progress(&[0, 1, 2, 3], 2);
    let key = cluster.dir.path().join("player.pem");
    let mut child = bitcraps()
        .args(["play", "--script", "--key"])
        .arg(&key)
        .args(cluster.members.iter().map(|member| member.address.to_string()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut script = child.stdin.take().expect("piped");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let (said, events) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in lines.map_while(Result::ok) {
            let _ = said.send(serde_json::from_str::<Value>(&line).expect("a JSON object a line"));
        }
    });
    let mut play = Process(child);
    let mut heard: Vec<Value> = Vec::new();
    let mut until = |what: &str, holds: &dyn Fn(&[Value]) -> bool| {
        // However much else is said meanwhile.
        let until = Instant::now() + PATIENCE;
        while !holds(&heard) {
            let left = until.saturating_duration_since(Instant::now());
            heard.push(events.recv_timeout(left).unwrap_or_else(|_| panic!("{what}: {heard:#?}")));
        }
    };
    let receipts = |heard: &[Value]| heard.iter().filter(|event| event["event"] == "receipt").count();
    writeln!(script, "sit 1000").expect("it reads");
    until("an account and a seat", &|heard| receipts(heard) == 2);
    cluster.kill(0);
    writeln!(script, "bet field 5\nbet any_seven 5\nbet any_craps 5").expect("it reads");
    until("three bets", &|heard| receipts(heard) >= 5);
    until("a roll is certified", &|heard| heard.iter().any(|event| event["event"] == "certified"));
    drop(script);
    assert!(play.0.wait().expect("it ends").success());
    heard.extend(events.iter());
    let mut numbers: Vec<u64> =
        heard.iter().filter(|event| event["event"] == "receipt").filter_map(|event| event["number"].as_u64()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5], "each intent has one receipt");
    cluster.start(0);
    cluster.progress(&[0, 1, 2, 3], 3);
    cluster.finish(crowd);
}
