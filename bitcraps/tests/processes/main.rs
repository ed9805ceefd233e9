//! Four validators as four processes, over QUIC on loopback: killed, stopped, restored and lied to.
//!
//! Every wait has a bound and none of them decides: what must hold is asked of the nodes and of what they recorded.

mod faults;
mod operating;
mod rogues;
mod transfer;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use audit::reading::ReadOptions;
use audit::replay::{ReplayConfig, replay};
use engine::io::NodeStatus;
use engine::message::block::Decided;
use engine::{Hash, Height};
use load::crowd::Crowd;
use net::client::{Endpoint, socket, status::Asking};
use order::keys::{DevKeys, dev_keys};
use order::signature::NetKey;
use serde_json::Value;
use storage::{FrameKind, JournalReader};
use tokio::runtime::Runtime;

/// How long anything may take: far longer than it does.
const PATIENCE: Duration = Duration::from_secs(120);

/// How often something is done: a few times here, or as `BITCRAPS_TIMES` says for the long run.
fn times(few: u64) -> u64 {
    std::env::var("BITCRAPS_TIMES").ok().and_then(|text| text.parse().ok()).unwrap_or(few)
}

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
    dir: tempfile::TempDir,
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
        Self::with_tables(2)
    }

    fn with_tables(tables: u32) -> Self {
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
                &tables.to_string(),
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
        Self { members: members.collect(), chain, keys, runtime, endpoint, dir }
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

    /// Ends the validators that are named and starts them again, one after the other: whom they banned they have forgotten.
    fn restart(&mut self, slots: &[usize]) {
        for slot in slots {
            self.end(*slot);
            self.start(*slot);
        }
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

    /// Players rest, until each of their intents has its last answer.
    fn until_answered(&self, crowd: &Crowd) {
        crowd.rest();
        self.until("each intent has its last answer", |_| crowd.counted.unanswered.load(Ordering::Relaxed) == 0);
    }

    fn log(&self) -> String {
        let statuses: Vec<_> = (0..self.members.len()).map(|slot| self.status(slot)).collect();
        format!("{statuses:#?}")
    }

    /// All end; then every session replays, all root chains agree, and every intent had one last answer.
    fn finish(mut self, crowd: Crowd) -> Finished {
        let highest = self.highest();
        self.until("all are level", |cluster| (0..4).all(|slot| cluster.settled(slot) >= highest));
        let counted = std::sync::Arc::clone(&crowd.counted);
        self.until_answered(&crowd);
        crowd.stop();
        (0..4).for_each(|slot| self.end(slot));
        assert_eq!(counted.first_wrong.get(), None, "each intent has one last answer");
        assert!(counted.applied.load(Ordering::Relaxed) > 8, "players played: {counted:?}");
        let sessions: Vec<&Path> = self.members.iter().map(|member| member.session.as_path()).collect();
        check(&sessions);
        let rounds = by_round(sessions[0]);
        println!("heights by the round in which they were decided: {rounds:?}");
        Finished { rounds, contradictions: sessions.iter().map(|session| contradictions(session)).sum() }
    }
}

/// What the sessions of a cluster say at its end.
struct Finished {
    /// How many heights were decided in each round.
    rounds: BTreeMap<u32, u64>,
    /// How often a validator was seen to contradict itself, by each of the others.
    contradictions: usize,
}

/// How many heights of a session were decided in each round: in the first but where a proposer was away or late.
fn by_round(session: &Path) -> BTreeMap<u32, u64> {
    let mut reader = JournalReader::open(session).expect("a session");
    let mut rounds = BTreeMap::new();
    while let Some(frame) = reader.next_frame().expect("a whole journal") {
        if frame.kind == FrameKind::Decided {
            let decided = Decided::decode(&frame.body).expect("a block");
            *rounds.entry(decided.certificate.round).or_default() += 1;
        }
    }
    rounds
}

/// Contradictions of a validator that a session has recorded.
fn contradictions(session: &Path) -> usize {
    let mut reader = JournalReader::open(session).expect("a session");
    let frames = std::iter::from_fn(|| reader.next_frame().expect("a whole journal"));
    frames.filter(|frame| frame.kind == FrameKind::Evidence).count()
}

/// Copies a folder, but for what a running node removes meanwhile.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy(&entry.path(), &target);
        } else {
            let _ = std::fs::copy(entry.path(), &target);
        }
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
            let outcome = replay(session, &ReplayConfig::all(ReadOptions::default()), |_| {}).expect("a session");
            assert!(outcome.difference.is_none(), "{}: {:?}", session.display(), outcome.difference);
            outcome.height
        })
        .collect();
    let common = *ends.iter().min().expect("sessions");
    assert!(common > Height(5), "{ends:?}");
    let root_chains: Vec<Hash> = sessions
        .iter()
        .map(|session| {
            let config = ReplayConfig { to: Some(common), verify: false, ..ReplayConfig::all(ReadOptions::default()) };
            replay(session, &config, |_| {}).expect("a session").root_chain
        })
        .collect();
    assert!(root_chains.iter().all(|root_chain| *root_chain == root_chains[0]), "at height {common}");
}
