//! Four validators as four processes, over QUIC on loopback: killed, stopped, restored and lied to.
//!
//! Every wait has a bound and none of them decides: what must hold is asked of the nodes and of what they recorded.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use audit::replay::{ReplayConfig, replay};
use engine::io::NodeStatus;
use engine::{Hash, Height};
use load::crowd::Crowd;
use load::delays::Links;
use net::client::{Endpoint, socket, status::Asking};
use order::keys::{DevKeys, dev_keys};
use order::signature::NetKey;
use serde_json::Value;
use tokio::runtime::Runtime;

/// How long anything may take: far longer than it does.
const PATIENCE: Duration = Duration::from_secs(120);

/// One validator: a folder, and a process while it runs.
struct Member {
    config: PathBuf,
    session: PathBuf,
    address: SocketAddr,
    process: Option<Process>,
}

/// A process whose standard input is held, so that it ends with this one.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, signal).expect("the process is there");
    }
}

/// Four validators with some players.
struct Cluster {
    members: Vec<Member>,
    chain: Hash,
    keys: DevKeys,
    runtime: Runtime,
    endpoint: Endpoint,
    _dir: tempfile::TempDir,
}

fn bitcraps() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitcraps"));
    command.env("BITCRAPS_LOG", "warn");
    command
}

/// Addresses that nobody has, each given back as soon as all are known.
fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let held: Vec<UdpSocket> = (0..count).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
    held.iter().map(|socket| socket.local_addr().expect("it is bound")).collect()
}

impl Cluster {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let addresses = free_addresses(4);
        let file = dir.path().join("addresses.txt");
        let lines: String = addresses.iter().map(|address| format!("{address}\n")).collect();
        std::fs::write(&file, lines).expect("a file");
        let place = dir.path().join("chain");
        let made = bitcraps()
            .args([
                "init",
                "--dashboard",
                "127.0.0.1:0",
                "--validators",
                "4",
                "--plain-keys",
                "--tables",
                "2",
                "--window",
                "1000",
                "--output",
                "json",
            ])
            .args(["--bytes-max", "0", "--addresses"])
            .args([&file, &place])
            .output()
            .expect("the program runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let made: Value = serde_json::from_slice(&made.stdout).expect("an object");
        assert_eq!(made["keys"], "dealer");
        let chain = engine::unhex(made["chain"].as_str().expect("a chain")).expect("a hash");
        let members = addresses.iter().enumerate().map(|(slot, address)| {
            let folder = place.join(format!("node-{slot}"));
            let (config, session) = (folder.join("bitcraps.toml"), folder.join("session"));
            Member { config, session, address: *address, process: None }
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("one");
        let endpoint = {
            let _inside = runtime.enter();
            socket(([127, 0, 0, 1], 0).into(), 1 << 20).expect("a socket")
        };
        let keys = dev_keys(&[9; 32], NonZeroU32::MIN);
        Self { members: members.collect(), chain, keys, runtime, endpoint, _dir: dir }
    }

    fn started() -> Self {
        let mut cluster = Self::new();
        (0..4).for_each(|slot| cluster.start(slot));
        cluster
    }

    /// Starts a validator, and waits until it listens.
    fn start(&mut self, slot: usize) {
        let config = self.members[slot].config.clone();
        self.members[slot].process = Some(start(&config, &[]).0);
    }

    fn kill(&mut self, slot: usize) {
        self.members[slot].process = None;
    }

    fn process(&self, slot: usize) -> &Process {
        self.members[slot].process.as_ref().expect("it runs")
    }

    /// Ends a validator cleanly.
    fn end(&mut self, slot: usize) {
        let mut process = self.members[slot].process.take().expect("it runs");
        process.signal(rustix::process::Signal::TERM);
        assert!(process.0.wait().expect("it ends").success(), "node {slot}");
    }

    /// Players at the nodes that are named.
    fn crowd(&self, nodes: &[usize]) -> Crowd {
        let at: Vec<SocketAddr> = nodes.iter().map(|slot| self.members[*slot].address).collect();
        let (genesis, _) = storage::read_genesis(&self.members[0].session).expect("a session");
        Crowd::start(&self.runtime, &self.keys, 8, &genesis, self.chain, &at).expect("players")
    }

    fn status_at(&self, address: SocketAddr) -> Option<NodeStatus> {
        let identity = keys::identity(&NetKey::from_seed(&[77; 32])).expect("a key");
        self.runtime.block_on(async {
            let asking =
                tokio::time::timeout(Duration::from_secs(1), Asking::connect(&self.endpoint, &identity, address));
            let mut asking = asking.await.ok()?.ok()?;
            let status = tokio::time::timeout(Duration::from_secs(1), asking.ask()).await.ok()?.ok();
            asking.close();
            status
        })
    }

    fn status(&self, slot: usize) -> Option<NodeStatus> {
        self.status_at(self.members[slot].address)
    }

    fn settled(&self, slot: usize) -> Height {
        self.status(slot).map(|status| status.standing.settled).unwrap_or_default()
    }

    /// The highest settled height of those that run.
    fn highest(&self) -> Height {
        let running = (0..self.members.len()).filter(|slot| self.members[*slot].process.is_some());
        running.map(|slot| self.settled(slot)).max().expect("one runs")
    }

    /// Waits until something holds.
    fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !holds(self) {
            assert!(Instant::now() < end, "{what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the nodes that are named have settled some heights more.
    fn progress(&self, nodes: &[usize], heights: u64) {
        let before = self.highest();
        let wanted = Height(before.0 + heights);
        self.until("heights come", |cluster| nodes.iter().all(|slot| cluster.settled(*slot) >= wanted));
    }

    /// Waits until no height comes any more, and gives the highest.
    fn until_still(&self) -> Height {
        let mut last = self.highest();
        self.until("heights end", |cluster| {
            std::thread::sleep(Duration::from_secs(1));
            let now = cluster.highest();
            std::mem::replace(&mut last, now) == now
        });
        last
    }

    fn log(&self) -> String {
        let statuses: Vec<_> = (0..self.members.len()).map(|slot| self.status(slot)).collect();
        format!("{statuses:#?}")
    }

    /// All end; then every session replays, all root chains agree, and every intent had one last answer.
    fn finish(mut self, crowd: Crowd) {
        let highest = self.highest();
        self.until("all are level", |cluster| (0..4).all(|slot| cluster.settled(slot) >= highest));
        let counted = std::sync::Arc::clone(&crowd.counted);
        crowd.stop();
        (0..4).for_each(|slot| self.end(slot));
        assert_eq!(counted.wrong.load(Ordering::Relaxed), 0, "each intent has one last answer");
        assert!(counted.applied.load(Ordering::Relaxed) > 8, "players played: {counted:?}");
        let sessions: Vec<&Path> = self.members.iter().map(|member| member.session.as_path()).collect();
        check(&sessions);
    }
}

/// Starts a node, waits until it listens, and gives its first line.
fn start(config: &Path, more: &[&str]) -> (Process, Value) {
    let mut child = bitcraps()
        .args(["node", "--ends-with-input", "--output", "ndjson", "--config"])
        .arg(config)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let ready = lines.next().and_then(Result::ok).and_then(|line| serde_json::from_str::<Value>(&line).ok());
    let process = Process(child);
    // Read to its end, so that the process never waits for a reader.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    (process, ready.expect("the node listens"))
}

/// Sessions of one chain replay, and have the same root chain at the last height that all of them have.
fn check(sessions: &[&Path]) {
    let ends: Vec<Height> = sessions
        .iter()
        .map(|session| {
            let outcome = replay(session, &ReplayConfig::all(1), |_| {}).expect("a session");
            assert!(outcome.difference.is_none(), "{}: {:?}", session.display(), outcome.difference);
            outcome.height
        })
        .collect();
    let common = *ends.iter().min().expect("sessions");
    assert!(common > Height(5), "{ends:?}");
    let root_chains: Vec<Hash> = sessions
        .iter()
        .map(|session| {
            let config = ReplayConfig { to: Some(common), verify: false, ..ReplayConfig::all(1) };
            replay(session, &config, |_| {}).expect("a session").root_chain
        })
        .collect();
    assert!(root_chains.iter().all(|root_chain| *root_chain == root_chains[0]), "at height {common}");
}

#[test]
fn four_processes_agree_though_each_is_killed_in_turn_and_then_all_at_once() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2, 3]);
    cluster.progress(&[0, 1, 2, 3], 3);
    for slot in 0..4 {
        cluster.kill(slot);
        let others: Vec<usize> = (0..4).filter(|other| *other != slot).collect();
        cluster.progress(&others, 3);
        cluster.start(slot);
        let highest = cluster.highest();
        cluster.until("it is level again", |cluster| cluster.settled(slot) >= highest);
        cluster
            .until("it votes again", |cluster| cluster.status(slot).is_some_and(|status| status.unready().is_none()));
    }
    (0..4).for_each(|slot| cluster.kill(slot));
    (0..4).for_each(|slot| cluster.start(slot));
    cluster.progress(&[0, 1, 2, 3], 3);
    cluster.finish(crowd);
}

#[test]
fn one_that_stands_still_is_done_without_and_comes_back() {
    let cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2, 3]);
    cluster.progress(&[0, 1, 2, 3], 2);
    cluster.process(2).signal(rustix::process::Signal::STOP);
    cluster.progress(&[0, 1, 3], 10);
    cluster.process(2).signal(rustix::process::Signal::CONT);
    let highest = cluster.highest();
    cluster.until("it is level again", |cluster| cluster.settled(2) >= highest);
    cluster.finish(crowd);
}

/// Two halves are no quorum and decide nothing; three that lost one go on; and all agree once they hear each other again.
#[test]
fn a_network_that_falls_apart_decides_once_and_goes_on_when_it_is_whole() {
    let mut cluster = Cluster::new();
    let configs: Vec<PathBuf> = cluster.members.iter().map(|member| member.config.clone()).collect();
    let links = Links::between(&cluster.runtime, &configs, &(0..=1)).expect("links");
    (0..4).for_each(|slot| cluster.start(slot));
    let crowd = cluster.crowd(&[0, 1, 2, 3]);
    cluster.progress(&[0, 1, 2, 3], 3);

    links.cut(|one, other| one / 2 != other / 2);
    let still = cluster.until_still();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(cluster.highest(), still, "no half is a quorum");
    links.cut(|_, _| false);
    let healed = Instant::now();
    cluster.progress(&[0, 1, 2, 3], 1);
    println!("two halves: the next height {} ms after they were whole", healed.elapsed().as_millis());

    links.cut(|one, other| one == 3 && other != 3);
    cluster.progress(&[0, 1, 2], 10);
    links.cut(|_, _| false);
    let (healed, highest) = (Instant::now(), cluster.highest());
    cluster.until("it is level again", |cluster| cluster.settled(3) >= highest);
    println!("one apart: level {} ms after it was back", healed.elapsed().as_millis());
    cluster.progress(&[0, 1, 2, 3], 3);
    cluster.finish(crowd);
}

/// A validator whose disk is damaged says where and does not start; the others go on; with nothing left of its session but the
/// genesis it gets the rest from them, and votes when it may.
#[test]
fn one_whose_disk_is_damaged_does_not_start_and_gets_all_from_the_others() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2]);
    cluster.progress(&[0, 1, 2, 3], 5);
    cluster.end(3);
    let Member { session, config, .. } = &cluster.members[3];
    let segment = session.join("journal/00000001.seg");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    // Behind the header of the segment, and long before its end.
    bytes[4_096 + 200] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    let said = bitcraps().args(["node", "--config"]).arg(config).output().expect("the program runs");
    let problem = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.code() == Some(4) && problem.contains("journal/00000001.seg"), "{problem}");
    for folder in ["journal", "consensus", "snapshots"] {
        let folder = session.join(folder);
        for file in std::fs::read_dir(&folder).into_iter().flatten() {
            std::fs::remove_file(file.expect("a file").path()).expect("a file");
        }
    }
    cluster.progress(&[0, 1, 2], 5);
    cluster.start(3);
    let highest = cluster.highest();
    cluster.until("it has all", |cluster| cluster.settled(3) >= highest);
    cluster.until("it votes again", |cluster| cluster.status(3).is_some_and(|status| !status.standing.follows));
    cluster.finish(crowd);
}

/// A validator whose log is gone cannot know what it signed: it votes on nothing until the others are far above.
#[test]
fn one_whose_log_is_lost_follows_until_it_may_vote_again() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2]);
    cluster.progress(&[0, 1, 2, 3], 3);
    cluster.kill(3);
    for file in std::fs::read_dir(cluster.members[3].session.join("consensus")).expect("its log") {
        std::fs::remove_file(file.expect("a file").path()).expect("a file");
    }
    // Two that vote are no quorum: no height comes, so that the third one stays as it is.
    cluster.kill(2);
    cluster.start(3);
    cluster.until("it follows", |cluster| cluster.status(3).is_some_and(|status| status.standing.follows));
    cluster.start(2);
    cluster.until("it votes again", |cluster| cluster.status(3).is_some_and(|status| !status.standing.follows));
    cluster.kill(1);
    cluster.progress(&[0, 2, 3], 3);
    cluster.start(1);
    cluster.finish(crowd);
}

/// How often a directory is copied: a few times here; `BITCRAPS_MOMENTS=50` is the long run.
fn moments() -> u64 {
    std::env::var("BITCRAPS_MOMENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(3)
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            // What a running node removes in between is not copied.
            let _ = std::fs::copy(entry.path(), &target);
        }
    }
}

#[test]
fn a_copied_directory_signs_nothing_beside_the_original() {
    let cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2]);
    cluster.progress(&[0, 1, 2, 3], 2);
    for moment in 0..moments() {
        std::thread::sleep(Duration::from_millis((moment * 397) % 900));
        let folder = cluster._dir.path().join(format!("copy-{moment}"));
        copy(cluster.members[3].config.parent().expect("a folder"), &folder);
        let address = free_addresses(1)[0];
        let config = folder.join("bitcraps.toml");
        let text = std::fs::read_to_string(&config).expect("its configuration");
        let text = text.replace(&cluster.members[3].address.to_string(), &address.to_string());
        std::fs::write(&config, text).expect("its configuration");
        let (second, _) = start(&config, &[]);
        cluster.progress(&[0, 1, 2, 3], 5);
        // It has stopped by itself, or it votes on nothing.
        let status = cluster.status_at(address);
        assert!(status.is_none_or(|status| status.standing.follows), "moment {moment}: {status:?}");
        drop(second);
    }
    for slot in 0..4 {
        let log = cluster.members[slot].session.join("stopped");
        assert!(!log.exists(), "node {slot} did not stop for what the copy did");
        cluster
            .until("the originals vote", |cluster| cluster.status(slot).is_some_and(|status| !status.standing.follows));
    }
    cluster.finish(crowd);
}

fn health(config: &Path, more: &[&str]) -> bool {
    let said = bitcraps().args(["health", "--output", "json", "--config"]).arg(config).args(more).output();
    let said = said.expect("the program runs");
    assert!(matches!(said.status.code(), Some(0 | 7)), "{}", String::from_utf8_lossy(&said.stderr));
    said.status.success()
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
        let others = (slot + 1) % 4;
        assert!(!health(&cluster.members[others].config.clone(), &["--before-restart"]), "no other may go");
        cluster.start(slot);
        assert!(health(&config, &["--after-restart"]), "it is back");
    }
    let config = cluster.members[0].config.clone();
    cluster.until("all is well", |_| health(&config, &["--cluster"]));
    cluster.finish(crowd);
}

#[test]
fn one_that_follows_verifies_everything_serves_players_and_votes_on_nothing() {
    let mut cluster = Cluster::started();
    let chain = cluster._dir.path().join("chain");
    let place = cluster._dir.path().join("eyes");
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
        cluster.status_at(address).is_some_and(|status| status.standing.settled >= highest && status.standing.follows)
    });
    // Two of four are no quorum, whoever follows.
    cluster.kill(0);
    cluster.kill(1);
    let stood = cluster.until_still();
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(cluster.highest(), stood, "one that follows is no validator");
    (0..2).for_each(|slot| cluster.start(slot));
    cluster.progress(&[0, 1, 2, 3], 3);
    follower.signal(rustix::process::Signal::TERM);
    assert!(follower.0.wait().expect("it ends").success());
    let session = place.join("session");
    check(&[&session]);
    cluster.finish(crowd);
}

/// A peer with a validator's network key that lies: about its height, with blocks and certificates that nobody signed, and by
/// asking for everything again and again.
#[test]
fn a_validator_that_lies_holds_up_nobody() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[0, 1, 2]);
    cluster.progress(&[0, 1, 2, 3], 2);
    cluster.kill(3);
    let config = node::layers::Layered::load(&cluster.members[3].config, &[]).expect("its configuration").config;
    let (keys, setup) = node::init::open_keys(&config, true).expect("its network key");
    let genesis = storage::genesis_bytes(&config.node.data).expect("its genesis");
    let mut liar = node::network::listen(&setup.genesis, genesis, &keys.net, config.net.clone()).expect("its address");
    let mut lie_for = |seconds, height| {
        let (mut heard, end) = (0, Instant::now() + Duration::from_secs(seconds));
        while Instant::now() < end {
            let mut inputs = Vec::new();
            liar.take_inputs(&mut inputs);
            heard += inputs.iter().filter(|input| matches!(input, engine::io::Input::Node { .. })).count();
            liar.send(&mut lies(height));
            std::thread::sleep(Duration::from_millis(20));
        }
        heard
    };
    let before = cluster.highest();
    assert!(lie_for(5, before) > 0, "the others took it for a validator at first");
    let lied_to = cluster.highest();
    assert!(lied_to > before, "heights come");
    // One that starts knows nobody's lies, and hears them before it knows where the others are.
    cluster.kill(2);
    cluster.start(2);
    assert!(lie_for(5, lied_to) > 0, "it took it for a validator too");
    cluster.progress(&[0, 1, 2], 3);
    liar.close();
    // The key is banned for what it did; its operator waits until that is over, or a restart forgets it.
    (0..3).for_each(|slot| {
        cluster.end(slot);
        cluster.start(slot);
    });
    cluster.start(3);
    cluster.progress(&[0, 1, 2, 3], 3);
    cluster.finish(crowd);
}

/// What a liar says.
fn lies(height: Height) -> Vec<engine::io::Output> {
    use engine::message::certificate::{Certificate, CertificateSignature};
    use engine::message::node::{NodeMessage, NodeStanding, RangeEntry, RangeRow};
    use engine::message::vote::{Vote, VoteBody, VoteKind};
    let standing = NodeStanding { decided: Height(1 << 60), settled: Height(1 << 60), ..NodeStanding::default() };
    let signatures = (0..3).map(|slot| CertificateSignature { slot, signature: [3; 64] }).collect();
    let certificate = Certificate { height: height.next(), round: 0, block: [9; 32], signatures };
    let header = engine::message::block::Header {
        height: height.next(),
        version: engine::message::block::BLOCK_VERSION,
        ..bytemuck::Zeroable::zeroed()
    };
    let block = engine::message::block::Block {
        header,
        certificate: None,
        system: Vec::new(),
        pledges: Vec::new(),
        intents: Vec::new(),
    };
    let decided = engine::message::block::Decided { block: block.clone(), certificate: certificate.clone() };
    let votes = (0..64)
        .map(|round| Vote {
            body: VoteBody::new(VoteKind::Precommit, height.next(), round, Some([round as u8; 32]), 3),
            signature: [1; 64],
        })
        .collect();
    let said = [
        NodeMessage::Standing(standing),
        NodeMessage::Polka(certificate),
        NodeMessage::Body(Box::new(block)),
        NodeMessage::Votes(votes),
        NodeMessage::AskRange(RangeRow::new(Height(1), 256)),
        NodeMessage::Range(vec![RangeEntry { decided: Box::new(decided), beacon: Some([5; 48]) }]),
    ];
    said.into_iter().map(|message| engine::io::Output::ToNode { to: None, message }).collect()
}

/// A player who was told of all nodes plays on when their own is killed: the same numbers, one receipt for each.
#[test]
fn a_player_goes_on_at_another_node_with_the_same_numbers() {
    let mut cluster = Cluster::started();
    let crowd = cluster.crowd(&[1, 2, 3]);
    cluster.progress(&[0, 1, 2, 3], 2);
    let key = cluster._dir.path().join("player.pem");
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
        while !holds(&heard) {
            heard.push(events.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what}: {heard:#?}")));
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
    crowd.stop();
    for member in &cluster.members {
        let outcome = replay(&member.session, &ReplayConfig::all(1), |_| {}).expect("a session");
        assert_eq!((outcome.height, outcome.difference.is_none()), (Height(30), true));
    }
    // Without the flag they go on.
    (0..4).for_each(|slot| cluster.start(slot));
    let crowd = cluster.crowd(&[0, 1, 2, 3]);
    cluster.until("players play again", |_| crowd.counted.applied.load(Ordering::Relaxed) > 8);
    cluster.finish(crowd);
}
