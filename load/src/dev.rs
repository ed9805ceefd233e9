//! `dev`: everything on this machine with no configuration: a genesis, a validator of one, simulated players, a session.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use engine::genesis::{GENESIS_VERSION, Genesis, HexBytes, KeySource, Opening};
use engine::rules::DiceSource;
use order::keys::{DevKeys, dev_keys};
use storage::backend::{Access, Backend, FileBackend};
use storage::{Session, Writing};
use systems::Setup;
use words::Failure;

use crate::players::{Habits, Players};
use node::clock::{Pace, Time};
use node::config::workers;
use node::init::rules;
use node::open::{self, Keys, Options, SessionFound};
use node::recording::Driving;
use node::run::Node;
use node::snapshots::SnapshotPace;

/// When every development chain begins: 2026-01-01, midnight UTC. Its time is virtual.
const START_MS: u64 = 1_767_225_600_000;
/// Chips a new account is granted.
const GRANT: u64 = 10_000;
/// Chips a bank is filled to.
const BANK: u64 = 200_000;
/// Accounts for people, where nothing else is said.
const GUESTS: u32 = 64;

/// Does something on a thread of its own, with a pool of one worker: a thread has one pool, and who does several things that need
/// one, as tests do, has no other way.
///
/// # Panics
/// If what is done does.
pub fn apart<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let run = || {
            let _pool = engine::pool::build(1).expect("this thread has none yet");
            work()
        };
        scope.spawn(run).join().expect("the work does not panic")
    })
}

/// What shapes a development session.
#[derive(Clone, Debug)]
pub struct DevConfig {
    /// Craps tables.
    pub tables: u32,
    /// Simulated players.
    pub players: u32,
    /// Decides keys, players and their choices.
    pub seed: u64,
    /// Workers of the tick pool.
    pub threads: usize,
    /// How fast virtual time runs.
    pub pace: Pace,
    /// How the players think.
    pub habits: Habits,
    /// Milliseconds between two blocks, at least.
    pub block_interval_ms: u64,
    /// Milliseconds after which a table rolls by itself.
    pub window_ms: u64,
    /// What the dice follow from.
    pub dice: DiceSource,
    /// Connections that it may have; none if it does not listen.
    pub peers: u32,
    /// Accounts that people may open beside the simulated players.
    pub guests: u32,
    /// How the session is written.
    pub writing: Writing,
    /// When snapshots are taken.
    pub snapshots: SnapshotPace,
}

impl Default for DevConfig {
    fn default() -> Self {
        Self {
            tables: 8,
            players: 40,
            seed: 1,
            threads: workers(),
            pace: Pace::Real,
            habits: Habits::default(),
            block_interval_ms: 50,
            window_ms: 1_000,
            dice: DiceSource::Beacon,
            peers: 0,
            guests: GUESTS,
            writing: Writing::default(),
            snapshots: SnapshotPace::default(),
        }
    }
}

/// The keys of a development session.
pub fn keys(seed: u64) -> DevKeys {
    dev_keys(&seed_bytes(seed), NonZeroU32::MIN)
}

/// A seed as the keys are made of it.
pub(crate) fn seed_bytes(seed: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes
}

/// The genesis of a development session. Its treasury can grant a few accounts more than there are players.
pub fn genesis(config: &DevConfig) -> Genesis {
    let (tables, players) = (u64::from(config.tables), u64::from(config.players));
    let mut genesis = Genesis {
        version: GENESIS_VERSION,
        name: format!("dev, seed {}", config.seed),
        keys: KeySource::Seed,
        start_ms: START_MS,
        supply: tables * BANK + (players + u64::from(config.guests) + 3) * GRANT,
        tables: config.tables,
        seats: if config.dice == DiceSource::Both { 1 } else { 8 },
        accounts: config.players + config.guests + 6,
        grant: GRANT,
        opening: Opening::Free { per_height: (config.players / 4).max(4) },
        rules: rules(config.dice),
        bank_target: BANK,
        window_min_ms: config.window_ms / 5,
        window_max_ms: config.window_ms,
        clock_phases: config.tables.min(10),
        idle_ms: 20 * config.window_ms,
        account_idle_ms: (60 * config.window_ms).max(60_000),
        idleness: Default::default(),
        block_interval_ms: config.block_interval_ms,
        validators: Vec::new(),
        group_key: HexBytes([0; 96]),
    };
    keys(config.seed).install(&mut genesis);
    genesis
}

/// The file of that genesis.
///
/// # Errors
/// None that a genesis of plain data can have.
pub fn genesis_bytes(config: &DevConfig) -> anyhow::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec_pretty(&genesis(config)).context("genesis is plain data")?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// A session that was begun or found.
pub struct DevNode {
    /// The node, ready for its next tick.
    pub node: Node,
    /// The genesis of the session, which follows from the configuration and its seed.
    pub genesis: Genesis,
    /// The chain id.
    pub chain: engine::Hash,
    /// What was found, if the session goes on.
    pub found: Option<SessionFound>,
}

/// Refuses a session whose keys are not those of a seed.
pub(crate) fn check_seed(dir: &Path, genesis: &Genesis, keys: &DevKeys, seed: u64) -> Result<(), Failure> {
    if genesis.group_key.0 == keys.group.key() {
        return Ok(());
    }
    let (dir, name) = (dir.display(), &genesis.name);
    Err(Failure::Data(format!("{dir} was begun with another seed than {seed} (its genesis is `{name}`)")))
}

/// The next free directory for a session below `sessions`.
pub fn next_session() -> PathBuf {
    (1..)
        .map(|number| Path::new("sessions").join(format!("{number:04}")))
        .find(|path| !path.exists())
        .expect("numbers do not end")
}

/// Begins a session in an empty directory, or goes on with the one that is there.
///
/// # Errors
/// If the directory holds something else, was made with another seed, or is damaged.
pub fn open(dir: &Path, config: &DevConfig) -> anyhow::Result<DevNode> {
    open_on(Arc::new(FileBackend), dir, config)
}

/// As [`open()`], on a disk that may be another than the file system.
///
/// # Errors
/// As [`open()`].
pub fn open_on(backend: Arc<dyn Backend>, dir: &Path, config: &DevConfig) -> anyhow::Result<DevNode> {
    open_seen(backend, dir, config, |_| ())
}

/// As [`open_on`]; `look` hears what it is at, for people.
///
/// # Errors
/// As [`open()`].
pub fn open_seen(
    backend: Arc<dyn Backend>,
    dir: &Path,
    config: &DevConfig,
    on_step: impl Fn(&str) + Send + Sync + 'static,
) -> anyhow::Result<DevNode> {
    let path = dir.join("genesis.json");
    let session = if backend.open(&path, Access::Read).is_ok() {
        Session::open_on(backend.clone(), dir)?
    } else {
        // What cannot be played leaves no session behind.
        genesis(config).check()?;
        Session::create_on(backend.clone(), dir, &genesis_bytes(config)?)?
    };
    let (genesis, chain) = storage::read_genesis_on(&*backend, dir)?;
    let mut keys = keys(config.seed);
    check_seed(dir, &genesis, &keys, config.seed)?;
    let setup = Setup::new(genesis.clone(), chain)?;
    let beacon = keys.beacons.pop().expect("a group of one has one share");
    let options = Options {
        keys: Some(Keys { vote: keys.votes[0].clone(), group: keys.group.clone(), beacon }),
        threads: config.threads,
        peers: config.peers,
        writing: config.writing.clone(),
        pace: config.snapshots,
        driving: Driving::Threads,
        sign_from: None,
        network: None,
    };
    let mut opened = open::open(session, setup, options, on_step)?;
    let found = opened.found.take();
    let players = Players::new(keys, chain, config.players, genesis.tables, genesis.seats, config.seed, config.habits);
    let node = opened.into_node(Some(Box::new(players)), Time::Virtual(config.pace));
    Ok(DevNode { node, genesis, chain, found })
}
