//! One load run from its beginning to its report.

mod site;
mod judging;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use engine::Genesis;
use engine::rules::DiceSource;
use net::client::{Lost, RawConnection, socket};
use net::transport::{IDLE_BYTES, PLAYING_BYTES};
use net::wire::{Hello, Role, ToClient, ToNode, Welcome};

pub(crate) use self::judging::{Judged, judge, judge_also, receipt_goal};
pub use self::site::RunSite;
use super::cluster::local_config;
use super::drive::Driver;
use super::ending;
use super::hostile::{Disturbed, disturb};
use super::meter::{Meter, Sample, Seen};
use super::recorder::{Counts, quantile_ms};
use super::report::{Report, Transport};
use super::scenario::Load;
use super::schedule::{Heard, goes_on};
use super::signing::SignedAhead;
use super::target::Target;
use super::users::{PlayedChain, Users, stray_key};
use keys::identity;
use node::init::{NewChain, create};
use words::Failure;

/// Milliseconds after which a table rolls by itself.
const WINDOW_MS: u64 = 2_000;
/// Chips of an account: four hours of bets do not use them up.
const GRANT: u64 = 1_000_000;

/// What a run says while it goes on.
pub enum Progress {
    /// Which part of its intents is signed, before it starts.
    Signing(f64),
    /// How it goes.
    Running(Running),
}

/// How a run goes.
pub struct Running {
    /// Time since the start.
    pub elapsed: Duration,
    /// Sums so far.
    pub counts: Counts,
    /// P95 so far, in milliseconds.
    pub p95_ms: f64,
    /// The node's memory and processor time; none before its first second, and of one that runs elsewhere.
    pub node: Option<Sample>,
}

/// Takes a sample in each second of a run, and says how the run goes.
pub(super) fn look(
    elapsed: Duration,
    heard: &Heard,
    samples: &mut Vec<Seen>,
    sample: impl FnOnce() -> Seen,
    on_progress: &mut impl FnMut(&Progress),
) {
    if elapsed.as_secs() as usize > samples.len() {
        samples.push(sample());
    }
    let node = samples.last().and_then(|seen| seen.node);
    let (counts, p95_ms) = heard.read(|recorder| (recorder.total, quantile_ms(&recorder.receipts, 0.95)));
    on_progress(&Progress::Running(Running { elapsed, counts, p95_ms, node }));
}

/// Makes a node for a load and starts it.
fn start(load: &Load, site: &RunSite) -> anyhow::Result<Target> {
    let (connections, playing) = (load.connections(), load.playing());
    let mut config = local_config(site.threads, connections, load.intents_per_connection());
    config.net.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    config.net.buffer_bytes_max = u64::from(playing) * PLAYING_BYTES + u64::from(connections - playing) * IDLE_BYTES;
    // Its log is this command's, which says only what is wrong; what a start says of the configuration was chosen here.
    config.log.filter = "warn,bitcraps=error".into();
    let created = create(&site.dir, &new_chain(load), config, None)?;
    Target::start(&created.config, site.dir.join("session"))
}

/// The chain of a load.
pub(super) fn new_chain(load: &Load) -> NewChain {
    NewChain {
        name: "load".into(),
        tables: load.tables(),
        seats: super::scenario::USERS_PER_TABLE,
        accounts: load.accounts(),
        grant: GRANT,
        per_height: load.users,
        window_ms: WINDOW_MS,
        dice: DiceSource::Beacon,
    }
}

/// What a node says to whoever connects, and its chain.
pub(super) fn meet(address: SocketAddr, seed: u64) -> anyhow::Result<(Welcome, PlayedChain)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let local: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
        let endpoint = socket(local, 1 << 20)?;
        let mut connection =
            RawConnection::connect(&endpoint, &identity(&stray_key(seed, "first", 0))?, address).await?;
        connection.say(&ToNode::Hello(Hello { chain: None, program: "load".into(), role: Role::Client })).await?;
        let ToClient::Welcome(welcome) = connection.hear().await? else { anyhow::bail!("the node said no welcome") };
        connection.say(&ToNode::AskGenesis).await?;
        let bytes = loop {
            if let ToClient::Genesis(bytes) = connection.hear().await? {
                break bytes;
            }
        };
        connection.close();
        // The node may be anybody's: nothing is counted with that its genesis could not be.
        let genesis: Genesis = serde_json::from_slice(&bytes).context("the node's genesis")?;
        genesis.check()?;
        let (chain, Genesis { tables, grant, .. }) = (Genesis::chain_id(&bytes), genesis);
        anyhow::ensure!(chain == welcome.chain, "the genesis that the node gives is of another chain than it says");
        Ok((welcome, PlayedChain { chain, tables, grant }))
    })
}

/// Runs a load at one node and judges it. `on_progress` is called while it goes on.
///
/// # Errors
/// If the node does not start, or not all users can connect.
pub fn run(
    load: &Load,
    site: &RunSite,
    stop: &AtomicBool,
    mut on_progress: impl FnMut(&Progress),
) -> anyhow::Result<Report> {
    let mut target = if site.target.is_none() { Some(start(load, site)?) } else { None };
    let address = target.as_ref().map(|target| target.address).or(site.target).context("no node was started")?;
    let (welcome, played) = meet(address, load.seed).map_err(|error| match error.downcast_ref::<Lost>() {
        Some(lost) => {
            let lost = lost.to_string();
            let lost = lost.trim_end_matches(&format!(" at {address}"));
            Failure::Unreachable(format!("{address}: {lost}; is the node running, and is this its address?")).into()
        }
        None => error,
    })?;
    let users = Users::new(load.users, played, load.seed, welcome.standing.now_ms);
    let signed = SignedAhead::sign(load, &users, &site.dir, stop, |part| on_progress(&Progress::Signing(part)))?;
    let driver = Driver::connect(load, &[address], users)?;
    let signed_count = signed.count;
    let others =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).thread_name("others").enable_all().build()?;
    let disturbed = disturb(&others, load, address, played.chain)?;
    // The disturbers are there before the first intent is due.
    std::thread::sleep(Duration::from_micros(600) * load.idle);
    let mut node = target.as_ref().map(|target| Meter::new(target.pid())).transpose()?;
    let mut own = Meter::new(std::process::id())?;
    let mut samples: Vec<Seen> = Vec::new();
    let started = SystemTime::now();
    let stopped_after = driver.run(load, signed, stop, |elapsed, heard| {
        let sample = || Seen { node: node.as_mut().and_then(Meter::sample), own: own.sample() };
        look(elapsed, heard, &mut samples, sample, &mut on_progress);
        goes_on(target.as_mut().is_none_or(Target::is_running))
    })?;
    let mut notes = notes(load, &driver, signed_count, &disturbed);
    let heard = driver.close();
    others.shutdown_timeout(Duration::from_secs(1));
    let (mut recorded, mut goal) = (None, None);
    if let Some(target) = target {
        let session = target.session.clone();
        let said = target.stop();
        let problem = said.as_ref().err().map(|problem| format!("{problem:#}"));
        goal = Some(ending::goal(1, problem.as_slice()));
        notes.extend(said.as_ref().ok().map(|said| format!("The node says: {said}")));
        recorded = said.ok().map(|said| (session, said));
    } else {
        notes.push("The node was not started by this run: its memory and session are its own.".into());
    }
    let (tables, transport) = (played.tables, Transport::Quic);
    let judged = Judged { site, heard: &heard, samples: &samples, started, stopped_after, tables, transport, notes };
    let mut report = judge(load, judged, recorded.as_ref().map(|(session, said)| (session.as_path(), said)))?;
    judge_also(&mut report, goal);
    Ok(report)
}

/// What a reader of the report should know of the run.
fn notes(load: &Load, driver: &Driver, signed_count: u64, disturbed: &Disturbed) -> Vec<String> {
    let mut notes = vec![
        "Open loop: intent n is due at its time whatever the node does, and its latency counts from then. A receipt is \
         sent after its height is on disk."
            .to_owned(),
        format!(
            "{} users connected in {:.2} s, opened accounts and sat down before the first intent.",
            load.users,
            driver.connected_in.as_secs_f64()
        ),
        format!("Generator and node share the machine; {signed_count} intents were signed before the first was due."),
    ];
    if load.watchers > 0 {
        notes.push(format!("{} updates of watched tables arrived.", driver.heard().updates()));
    }
    let connections = driver.heard().connections();
    if load.churn > 0.0 || connections.lost > 0 {
        notes.push(connections.words());
    }
    if load.hostile + load.slow_readers + load.idle > 0 {
        let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        notes.push(format!(
            "Disturbers had {} connections; the node ended {} and refused {}.",
            count(&disturbed.connections),
            count(&disturbed.ended),
            count(&disturbed.refused)
        ));
    }
    notes
}
