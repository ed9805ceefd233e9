//! Several validators on this machine: processes of this program, each with a directory, keys and a port of its own.
//!
//! ```text
//!  seed -> folders node-0 .. node-N -> processes, whose standard input is held: they end when this one does
//!  each node is asked for its status over QUIC, whoever started it
//! ```

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use engine::genesis::{Genesis, HexBytes, KeySource};
use engine::io::NodeStatus;
use engine::limits::VALIDATORS_MAX;
use engine::{Hash, Height};
use keys::identity;
use keys::keyfile::Seed;
use net::client::{Endpoint, socket, status};
use node::config::{Config, ServedAt};
use node::deal::{Role, ValidatorAddress, deal, folder};
use node::init::now_ms;
use node::layers::Layered;
use order::keys::{dev_keys, dev_secret};
use storage::{FrameKind, JournalReader};
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use words::Failure;

use crate::dev::{DevConfig, check_seed, genesis, seed_bytes};
use crate::report::Goal;
use crate::target::Target;
use crate::users::stray_key;

/// The first port that is tried for a node of this machine.
const FIRST_PORT: u16 = 7_400;
/// How often each node is asked how it is.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// Journal frames of the last heights that are looked through for two sessions' common end.
const TAIL_HEIGHTS: u64 = 4_096;

/// Ports on this machine that nobody has, as many as there are nodes.
///
/// # Errors
/// If there are not so many.
pub fn free_places(count: u32) -> anyhow::Result<Vec<ValidatorAddress>> {
    let mut held: Vec<UdpSocket> = Vec::new();
    for port in FIRST_PORT..u16::MAX {
        if held.len() == count as usize {
            break;
        }
        held.extend(UdpSocket::bind((Ipv4Addr::LOCALHOST, port)));
    }
    // They are given back here, and taken by the nodes: a port that another program takes in between is refused there.
    let places: Vec<ValidatorAddress> =
        held.iter().filter_map(|socket| socket.local_addr().ok()).map(ValidatorAddress::here).collect();
    if places.len() < count as usize {
        let problem = format!(
            "only {} of {count} UDP ports that the validators need are free on this machine from {FIRST_PORT} on: end what holds the \
             others, or start fewer validators",
            places.len()
        );
        return Err(Failure::Data(problem).into());
    }
    Ok(places)
}

/// The bounds of a node whose players and whose peers all have one address.
///
/// # Panics
/// Never: the rates are not zero.
pub fn local_config(threads: usize, connections: u32, intents_per_s: u32) -> Config {
    let rate = |count| NonZeroU32::new(count).expect("not zero");
    let mut config = Config::default();
    config.node.threads = threads;
    // Each has a dashboard of its own; its log says where.
    config.monitoring.listen = ServedAt::Address(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    config.net.connections_max = connections;
    config.net.connections_per_address_max = connections;
    config.net.connects_per_address_per_s = rate(1_000_000);
    config.net.opens_per_connection_per_min = rate(1_000_000);
    config.net.opens_per_address_per_min = rate(1_000_000);
    config.net.intents_per_connection_per_s = rate(intents_per_s.max(1));
    config
}

/// The configurations of a cluster's validators in a folder.
fn configs_in(dir: &Path, nodes: u32) -> impl Iterator<Item = PathBuf> {
    (0..nodes as usize).map(|slot| dir.join(folder(slot)).join("bitcraps.toml"))
}

/// How many validators the folder of a cluster holds; none in any other folder.
pub fn size_of(dir: &Path) -> u32 {
    configs_in(dir, VALIDATORS_MAX).map(|config| u32::from(config.exists())).sum()
}

/// The genesis that validators of these configurations begin with.
///
/// # Errors
/// If the first one's session cannot be read.
pub fn genesis_of(configs: &[PathBuf]) -> anyhow::Result<Genesis> {
    let config = Layered::load(configs.first().context("no validator was given")?, &[])?.config;
    Ok(storage::read_genesis(&config.node.data)?.0)
}

/// Makes the directories of a development cluster, or finds those that are there.
///
/// # Errors
/// If they cannot be made, were made with another seed, or something else is there.
pub fn open_dev(
    dir: &Path,
    dev: &DevConfig,
    nodes: u32,
    threads: usize,
    connections: u32,
) -> anyhow::Result<Vec<PathBuf>> {
    let (there, name) = (size_of(dir), dir.display());
    if there == nodes && configs_in(dir, nodes).all(|config| config.exists()) {
        let configs: Vec<PathBuf> = configs_in(dir, nodes).collect();
        let keys =
            dev_keys(&seed_bytes(dev.seed), NonZeroU32::new(nodes).context("a cluster has one validator or more")?);
        check_seed(dir, &genesis_of(&configs)?, &keys, dev.seed)?;
        return Ok(configs);
    }
    if there > 0 {
        return Err(Failure::Data(format!(
            "{name} has a cluster of {there} validators, and --nodes is {nodes}: say --nodes {there}, or give a new directory"
        ))
        .into());
    }
    if dir.join("genesis.json").exists() {
        return Err(Failure::Data(format!(
            "{name} is the session of one validator: leave out --nodes, or give a new directory"
        ))
        .into());
    }
    let seed = seed_bytes(dev.seed);
    let secret = |role: Role, slot: u32| {
        let name = match role {
            Role::Vote => "vote",
            Role::Dkg => "dkg",
            Role::Beacon => "beacon",
            Role::Net => "net",
        };
        Ok(Seed::new(dev_secret(&seed, name, slot)))
    };
    let start_ms = now_ms()?;
    let make = |validators, group_key: HexBytes<96>| {
        Ok(Genesis { keys: KeySource::Seed, start_ms, validators, group_key, ..genesis(dev) })
    };
    let base = local_config(threads, connections, 100);
    let dealt = deal(dir, &free_places(nodes)?, &base, None, secret, make)?;
    Ok(dealt.nodes.into_iter().map(|node| node.config).collect())
}

/// One validator of the cluster.
pub struct Member {
    /// The file of the validator's configuration.
    pub config: PathBuf,
    /// Where the validator listens for clients and other nodes.
    pub address: SocketAddr,
    /// The directory of the validator's session.
    pub session: PathBuf,
    /// The network key by which the others know the validator.
    pub key: [u8; 32],
    /// The process that this one started, until that has ended.
    target: Option<Target>,
    /// How it has ended, if it did so by itself.
    exit: Option<ExitStatus>,
    /// The last status that the validator told, while it answers.
    status: Arc<Mutex<Option<NodeStatus>>>,
    /// Told when that process has ended: whoever asks it how it is asks anew, in case somebody else starts it again.
    ended: Arc<Notify>,
}

impl Member {
    /// The process that this one started, while it runs. What it said is forgotten as soon as it is seen to have ended: its
    /// connection is silent for seconds before that is a loss.
    pub fn pid(&mut self) -> Option<u32> {
        let target = self.target.as_mut()?;
        if target.is_running() {
            return Some(target.pid());
        }
        self.exit = target.exit();
        self.forget();
        None
    }

    /// Why the validator is not one that runs and has settled a height, if it is not.
    pub(crate) fn problem(&mut self, height: Height) -> Option<String> {
        if self.pid().is_none() {
            return Some(self.exit.map_or_else(|| "does not run".into(), |exit| format!("ended with {exit}")));
        }
        let Some(status) = self.status() else { return Some("does not answer".into()) };
        let settled = status.standing.settled;
        (settled < height).then(|| format!("stands at height {settled} of {height}"))
    }

    /// Ends its process at once, if that runs, and knows nothing of how it is any more.
    fn forget(&mut self) {
        self.target = None;
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.ended.notify_one();
    }

    /// The last status that the validator told; nothing while it does not answer.
    pub fn status(&self) -> Option<NodeStatus> {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a session has on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionEnd {
    /// The last height that it has settled.
    pub settled: Height,
    /// The session's root chain at the height at which sessions are compared, if it has settled that.
    pub root_chain: Option<Hash>,
}

/// The sessions of a cluster beside each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Compared {
    /// The highest height that all have settled which settled any; genesis if none did.
    pub height: Height,
    /// By slot.
    pub ends: Vec<SessionEnd>,
}

impl Compared {
    /// Whether all sessions have the same root chain, or none has settled anything.
    pub fn agree(&self) -> bool {
        let first = self.root_chain();
        self.height == Height::GENESIS || first.is_some() && self.ends.iter().all(|end| end.root_chain == first)
    }

    /// The goal of a load that every session settled something, and all have the same root chain.
    pub(crate) fn goal(&self) -> Goal {
        let (count, height) = (self.ends.len(), self.height);
        let empty = self.ends.iter().filter(|end| end.settled == Height::GENESIS).count();
        let met = empty == 0 && self.agree();
        let found = match (empty, met) {
            (0, true) => format!("equal at height {height}"),
            (0, false) => format!("THEY DIFFER at height {height}"),
            _ => format!("{empty} of {count} settled NOTHING"),
        };
        Goal::new("root chains", format!("equal, all {count}"), found, met)
    }

    /// The root chain of the first session that has one.
    pub fn root_chain(&self) -> Option<Hash> {
        self.ends.iter().find_map(|end| end.root_chain)
    }
}

/// Several validators on this machine.
pub struct Cluster {
    /// The validators, by slot.
    pub members: Vec<Member>,
    /// The chain id.
    pub chain: Hash,
    /// The genesis that all members have.
    pub genesis: Genesis,
    runtime: Runtime,
}

impl Cluster {
    /// Starts a process for each configuration, and waits until each listens.
    ///
    /// # Errors
    /// If one does not.
    pub fn start(configs: &[PathBuf]) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut members = Vec::with_capacity(configs.len());
        for path in configs {
            let config = Layered::load(path, &[])?.config;
            let folder = path.parent().context("a configuration lies in a folder")?;
            let target = Target::start_quietly(path, config.node.data.clone(), &folder.join("node.log"))?;
            members.push(Member {
                config: path.clone(),
                address: target.address,
                session: config.node.data,
                key: target.key,
                target: Some(target),
                exit: None,
                status: Arc::default(),
                ended: Arc::default(),
            });
        }
        let (genesis, chain) = storage::read_genesis(&members.first().context("no validator was started")?.session)?;
        let endpoint = {
            let _inside = runtime.enter();
            socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), 1 << 20).context("a UDP socket")?
        };
        for (slot, member) in members.iter().enumerate() {
            let (latest, ended) = (Arc::clone(&member.status), Arc::clone(&member.ended));
            runtime.spawn(ask(endpoint.clone(), slot as u32, member.address, latest, ended));
        }
        Ok(Self { members, chain, genesis, runtime })
    }

    /// The runtime that asks, for others who connect.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Kills a process that this one started, at once.
    pub fn kill(&mut self, slot: usize) {
        self.members[slot].forget();
    }

    /// What starts a validator again and waits until it listens, on whatever thread.
    pub(crate) fn starter(&self, slot: usize) -> impl FnOnce() -> anyhow::Result<Target> + Send + use<> {
        let member = &self.members[slot];
        let (config, session) = (member.config.clone(), member.session.clone());
        move || {
            let folder = config.parent().context("a configuration lies in a folder")?;
            Target::start_quietly(&config, session, &folder.join("node.log"))
        }
    }

    /// Takes a validator back that was killed and started again.
    pub(crate) fn put(&mut self, slot: usize, started: Target) {
        self.members[slot].exit = None;
        self.members[slot].target = Some(started);
    }

    /// The processes that this one started and that run.
    pub(crate) fn pids(&mut self) -> Vec<u32> {
        self.members.iter_mut().filter_map(Member::pid).collect()
    }

    /// Why not every validator runs and has settled a height, in words for each of which that is so.
    pub(crate) fn problems(&mut self, height: Height) -> Vec<String> {
        let members = self.members.iter_mut().enumerate();
        members.filter_map(|(slot, member)| Some(format!("validator {slot} {}", member.problem(height)?))).collect()
    }

    /// The highest settled height that a node told of.
    pub fn highest(&self) -> Height {
        self.members.iter().filter_map(Member::status).map(|status| status.standing.settled).max().unwrap_or_default()
    }

    /// The lowest settled height of the nodes that answer.
    pub fn lowest(&self) -> Height {
        self.members.iter().filter_map(Member::status).map(|status| status.standing.settled).min().unwrap_or_default()
    }

    /// Ends the processes that this one started and that still run, cleanly.
    ///
    /// # Errors
    /// If one does not end so; the others have ended nevertheless.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let targets: Vec<Target> = self.members.iter_mut().filter_map(|member| member.target.take()).collect();
        let running: Vec<Target> =
            targets.into_iter().filter_map(|mut target| target.is_running().then_some(target)).collect();
        let told: Vec<anyhow::Result<()>> = running.iter().map(Target::end).collect();
        let ended = running.into_iter().zip(told).map(|(target, told)| told.and_then(|()| target.ended().map(|_| ())));
        // Each is waited for before the first problem is told: what is dropped while it runs is killed.
        ended.collect::<Vec<anyhow::Result<()>>>().into_iter().collect()
    }

    /// Where the sessions stand on disk.
    ///
    /// # Errors
    /// If a session cannot be read.
    pub fn compare(&self) -> anyhow::Result<Compared> {
        let last: Vec<Height> =
            self.members.iter().map(|member| last_settled(&member.session)).collect::<anyhow::Result<_>>()?;
        // One that settled nothing has no height to be compared at, and is shown beside the others.
        let height = last.iter().copied().filter(|last| *last > Height::GENESIS).min().unwrap_or_default();
        let ends = self.members.iter().zip(last).map(|(member, settled)| {
            let settled_any = settled > Height::GENESIS;
            let root_chain = if settled_any { root_chain(&member.session, height)? } else { None };
            Ok(SessionEnd { settled, root_chain })
        });
        Ok(Compared { height, ends: ends.collect::<anyhow::Result<_>>()? })
    }
}

/// Asks a node how it is, for as long as the program runs; over a new connection once its process has ended.
async fn ask(
    endpoint: Endpoint,
    slot: u32,
    at: SocketAddr,
    latest: Arc<Mutex<Option<NodeStatus>>>,
    ended: Arc<Notify>,
) {
    let set = |status| *latest.lock().unwrap_or_else(PoisonError::into_inner) = status;
    let Ok(identity) = identity(&stray_key(0, "status", slot)) else { return };
    loop {
        if let Ok(mut asking) = status::Asking::connect(&endpoint, &identity, at).await {
            let answers = async {
                while let Ok(status) = asking.ask().await {
                    set(Some(status));
                    tokio::time::sleep(ASK_EVERY).await;
                }
            };
            tokio::select! {
                () = answers => {}
                () = ended.notified() => {}
            }
        }
        set(None);
        tokio::time::sleep(ASK_EVERY).await;
    }
}

/// The last height that a session has settled.
fn last_settled(session: &Path) -> anyhow::Result<Height> {
    Ok(audit::walker::last_settled(session)?.map_or(Height::GENESIS, |(height, _)| height))
}

/// The root chain of a height, as a session records it; none where it has none of that height.
fn root_chain(session: &Path, height: Height) -> anyhow::Result<Option<Hash>> {
    let mut reader = JournalReader::open_at(session, height.back(TAIL_HEIGHTS))?;
    while let Some(frame) = reader.next_frame()? {
        if frame.kind == FrameKind::Settled && frame.height == height {
            let settled = engine::message::certificate::Settled::decode(&frame.body);
            return Ok(Some(settled.map_err(|error| Failure::Data(error.to_string()))?.root_chain));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use engine::io::{ChainProgress, OrderProgress};

    use super::*;

    #[test]
    fn what_a_dead_process_said_is_forgotten_before_its_connection_is_silent() {
        let child = Command::new("sleep").arg("600").stdout(Stdio::piped()).spawn().expect("a process");
        let pid = child.id();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
        let status = NodeStatus {
            standing: ChainProgress::default(),
            connections: 0,
            nodes: 0,
            behind: 0,
            furthest: None,
            order: OrderProgress::default(),
        };
        let mut member = Member {
            config: PathBuf::new(),
            address,
            session: PathBuf::new(),
            key: [0; 32],
            target: Some(Target::of(child, address).expect("its output is piped")),
            exit: None,
            status: Arc::new(Mutex::new(Some(status))),
            ended: Arc::default(),
        };
        assert_eq!((member.pid(), member.status()), (Some(pid), Some(status)));
        assert_eq!(member.problem(Height::GENESIS), None);
        assert_eq!(member.problem(Height(315)), Some("stands at height 0 of 315".into()));
        let killed = Command::new("kill").args(["-KILL", &pid.to_string()]).status().expect("kill runs");
        assert!(killed.success());
        while member.pid().is_some() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(member.status(), None);
        let problem = member.problem(Height::GENESIS).expect("it was killed");
        assert!(problem.starts_with("ended with signal: 9"), "{problem}");
        // Somebody else starts it again, and it answers.
        *member.status.lock().expect("whole") = Some(status);
        assert_eq!((member.pid(), member.status()), (None, Some(status)));
    }

    #[test]
    fn a_cluster_of_another_seed_is_refused_as_a_session_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let of = |seed| {
            let dev = DevConfig { tables: 2, players: 2, seed, ..DevConfig::default() };
            open_dev(dir.path(), &dev, 3, 1, 8)
        };
        let made = of(7).expect("made");
        assert_eq!(of(7).expect("found"), made);
        assert_eq!(genesis_of(&made).expect("a genesis").tables, 2);
        let problem = format!("{:#}", of(8).expect_err("another seed's keys"));
        assert!(problem.contains("was begun with another seed than 8 (its genesis is `dev, seed 7`)"), "{problem}");
    }

    #[test]
    fn sessions_agree_with_one_root_chain_or_with_nothing_settled() {
        let none = SessionEnd { settled: Height::GENESIS, root_chain: None };
        let end = |root_chain| SessionEnd { settled: Height(7), root_chain };
        let agree = |height, ends: &[SessionEnd]| Compared { height: Height(height), ends: ends.to_vec() }.agree();
        let (one, two) = (end(Some([1; 32])), end(Some([2; 32])));
        assert!(agree(0, &[none, none]) && agree(7, &[one, one]));
        assert!(!agree(7, &[one, two]));
        assert!(!agree(7, &[one, end(None)]), "one that settled heights and has not this one");
        assert!(!agree(7, &[none, one, one]), "one that settled nothing beside others that did");
        assert!(!agree(7, &[end(None)]));
        let goal = |ends: &[SessionEnd]| {
            let goal = Compared { height: Height(7), ends: ends.to_vec() }.goal();
            (goal.found, goal.met)
        };
        assert_eq!(goal(&[one, one]), ("equal at height 7".into(), true));
        assert_eq!(goal(&[one, two]), ("THEY DIFFER at height 7".into(), false));
        assert_eq!(goal(&[none, one]), ("1 of 2 settled NOTHING".into(), false));
        assert!(!goal(&[none, none]).1, "a load at which nothing was settled is no success");
    }
}
