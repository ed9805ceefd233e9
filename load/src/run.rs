//! One load run from its beginning to its report.

#[cfg(test)]
mod tests;

use audit::reading::ReadOptions;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use clap::ValueEnum;
use engine::Genesis;
use engine::limits::COALESCED_ABOVE_PER_S;
use engine::rules::DiceSource;
use net::client::{Lost, RawConnection, socket};
use net::transport::{IDLE_BYTES, PLAYING_BYTES};
use net::wire::{Hello, Role, ToClient, ToNode, Welcome};

use super::cluster::local_config;
use super::drive::Driver;
use super::ending;
use super::hostile::{Disturbed, disturb};
use super::meter::{Meter, Sample, Seen};
use super::recorder::{Counts, Recorder, cdf, quantile_ms};
use super::report::{
    Goal, Host, LATENCY_TARGET_MS, Latencies, MEMORY_TARGET, MEMORY_TARGET_MB, Offered, RECEIPT_TARGET, Report, Second,
    Summary, Transport,
};
use super::rogue::RogueKind;
use super::scenario::Load;
use super::schedule::{Heard, goes_on, lock};
use super::signing::SignedAhead;
use super::target::Target;
use super::users::{PlayedChain, Users, stray_key};
use audit::replay::{ReplayConfig, replay};
use keys::identity;
use node::init::{NewChain, create};
use words::Failure;

/// Milliseconds after which a table rolls by itself.
const WINDOW_MS: u64 = 2_000;
/// Chips of an account: four hours of bets do not use them up.
const GRANT: u64 = 1_000_000;

/// Where a run takes place: at a node that runs already, or at nodes that it starts.
pub struct RunSite {
    /// A node that runs already, or none: then one is started.
    pub target: Option<SocketAddr>,
    /// Where the started node and its session live.
    pub dir: PathBuf,
    /// Workers of its tick pool.
    pub threads: usize,
    /// Validators that are started, each a process.
    pub nodes: u32,
    /// How many of them are killed in the middle of the run, one after another, and started again.
    pub kill: u32,
    /// Milliseconds that a packet takes from one of them to another.
    pub delay_ms: Option<RangeInclusive<u64>>,
    /// What the last of them does instead of what a validator should.
    pub rogue: Option<RogueKind>,
}

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

/// The name of the target for how much of what was due was settled.
const SETTLED_TARGET: &str = "settled";

/// What was measured, to be judged.
pub(super) struct Judged<'a> {
    pub(super) site: &'a RunSite,
    pub(super) heard: &'a Heard,
    /// One a second.
    pub(super) samples: &'a [Seen],
    pub(super) started: SystemTime,
    /// After how long it was stopped, where it did not come to its end.
    pub(super) stopped_after: Option<Duration>,
    pub(super) tables: u32,
    pub(super) transport: Transport,
    pub(super) notes: Vec<String>,
}

/// The part of the receipts' P95 by which the generator may be late before a reader is told that it measures itself.
const OWN_PART: f64 = 0.2;

/// What was heard that a reader has to know, beside the figures.
fn what_was_heard(heard: &Heard) -> Vec<String> {
    let mut notes = Vec::new();
    if let Some(problem) = lock(&heard.problem).take() {
        notes.push(format!("What befell the first user who could not go on: {problem}"));
    }
    let unsent = heard.unsent.load(Ordering::Relaxed);
    if unsent > 0 {
        notes.push(format!("{unsent} of the lost intents never left the generator: its client was too far behind."));
    }
    let (lateness, receipts) = heard.read(|recorder| (latencies(&recorder.lateness), latencies(&recorder.receipts)));
    if lateness.max_ms > 0.0 {
        let Latencies { p50_ms, p95_ms, max_ms, .. } = lateness;
        let much =
            if p95_ms > OWN_PART * receipts.p95_ms { ": more than a fifth of that is the generator's own" } else { "" };
        notes.push(format!(
            "Intents left the generator {p50_ms:.1} ms after they were due, {p95_ms:.1} ms at P95, {max_ms:.1} ms at most, which is \
             part of their latency{much}."
        ));
    }
    notes
}

/// Judges a run by more.
pub(super) fn judge_also(report: &mut Report, goals: impl IntoIterator<Item = Goal>) {
    report.targets.extend(goals);
    report.summary.ok = report.targets.iter().all(|target| target.met);
}

/// Makes the report: figures, targets, and whether the recorded session agrees with what the node said at its end. Nothing is
/// recorded where the node was somebody else's, or did not come to its end.
pub(super) fn judge(
    load: &Load,
    judged: Judged<'_>,
    recorded: Option<(&Path, &serde_json::Value)>,
) -> anyhow::Result<Report> {
    let Judged { site, heard, samples, started, stopped_after, tables, transport, mut notes } = judged;
    let lasted = stopped_after.unwrap_or(load.duration);
    if stopped_after.is_some() {
        let (lasted, asked) = (lasted.as_secs_f64(), load.duration.as_secs_f64());
        notes.push(format!("The run was stopped after {lasted:.1} of {asked} s: its figures are those of this time."));
    }
    notes.extend(what_was_heard(heard));
    let mut summary = summary(heard, samples, lasted);
    if site.target.is_some() {
        // The node is somebody else's: it was not seen.
        (summary.rss_mb, summary.cpu_percent) = (None, None);
    }
    let acknowledgement = heard.read(|recorder| latencies(&recorder.acknowledgements));
    let mut goals = goals(&summary, &acknowledgement, load);
    if stopped_after.is_some() {
        // What was due in a part of a run is another rate while that rises; and a part of a run has not passed.
        goals.retain(|goal| goal.name != SETTLED_TARGET);
        let (wanted, found) = (load.duration.as_secs_f64(), lasted.as_secs_f64());
        let (wanted, found) = (format!("{wanted} s"), format!("stopped after {found:.1} s"));
        goals.push(Goal::new("run to its end", wanted, found, false));
    }
    if let Some((session, said)) = recorded {
        let goal = replayed(session, said).unwrap_or_else(|problem| replay_goal(format!("{problem:#}"), false));
        summary.replay_ok = Some(goal.met);
        goals.push(goal);
    }
    if transport == Transport::InProcess {
        // The players' memory is in the same process.
        goals.retain(|goal| goal.name != MEMORY_TARGET);
    }
    summary.ok = goals.iter().all(|goal| goal.met);
    let code = |(code, count): (&&str, &u64)| ((*code).to_owned(), *count);
    Ok(Report {
        scenario: String::new(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        started: rfc3339(started),
        version: env!("CARGO_PKG_VERSION").into(),
        machine: machine()?,
        load: Offered {
            users: load.users,
            rate: load.rate,
            duration_s: lasted.as_secs_f64(),
            tables,
            transport,
            options: options(load, site),
        },
        summary,
        acknowledgement,
        lateness: heard.read(|recorder| latencies(&recorder.lateness)),
        refusals: heard.read(|recorder| recorder.refusals.iter().map(code).collect()),
        receipt_cdf: heard.read(|recorder| cdf(&recorder.receipts)),
        acknowledgement_cdf: heard.read(|recorder| cdf(&recorder.acknowledgements)),
        seconds: seconds(heard, samples),
        targets: goals,
        notes,
    })
}

/// The conditions that are no figure of their own: a run under others is not to be compared without a word.
fn options(load: &Load, site: &RunSite) -> Vec<(String, String)> {
    let mut options = vec![("seed".to_owned(), load.seed.to_string())];
    let mut say = |name: &str, value: String| options.push((name.to_owned(), value));
    match site.target {
        Some(address) => say("node that ran already", address.to_string()),
        None => say("workers of a node", site.threads.to_string()),
    }
    if site.nodes > 1 {
        say("validators", site.nodes.to_string());
    }
    if let Some(delay_ms) = &site.delay_ms {
        say("delay between them", format!("{} to {} ms", delay_ms.start(), delay_ms.end()));
    }
    if let Some(kind) = site.rogue {
        say("rogue", name_of(kind));
    }
    if let Some(kind) = load.hostile_kind {
        say("what hostile clients do", name_of(kind));
    }
    let mut add = |name: &str, value: u32| {
        if value > 0 {
            options.push((name.to_owned(), value.to_string()));
        }
    };
    add("validators that are killed", site.kill);
    add("watchers", load.watchers);
    add("slow readers", load.slow_readers);
    add("hostile clients", load.hostile);
    add("idle clients", load.idle);
    if load.burst > 1 {
        options.push(("intents that a user sends at once".into(), load.burst.to_string()));
    }
    if load.churn > 0.0 {
        options.push(("reconnects a second".into(), load.churn.to_string()));
    }
    if !load.ramp.is_zero() {
        options.push(("ramp".into(), format!("{} s", load.ramp.as_secs_f64())));
    }
    options
}

/// A choice as it is written on the command line.
fn name_of(kind: impl ValueEnum) -> String {
    kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

fn latencies(histogram: &hdrhistogram::Histogram<u64>) -> Latencies {
    Latencies {
        p50_ms: quantile_ms(histogram, 0.5),
        p95_ms: quantile_ms(histogram, 0.95),
        p99_ms: quantile_ms(histogram, 0.99),
        max_ms: quantile_ms(histogram, 1.0),
    }
}

fn summary(heard: &Heard, samples: &[Seen], lasted: Duration) -> Summary {
    heard.read(|recorder| {
        let Counts { offered, acknowledged, settled, refused } = recorder.total;
        let Latencies { p50_ms, p95_ms, p99_ms, max_ms } = latencies(&recorder.receipts);
        // The samples of the run itself, not of what came after.
        let run = &samples[..samples.len().min(lasted.as_secs() as usize)];
        let cpu: Vec<f64> = run.iter().filter_map(|seen| Some(seen.node?.cpu_percent)).collect();
        Summary {
            offered,
            acknowledged,
            settled,
            refused,
            lost: recorder.unanswered(),
            rate: settled as f64 / lasted.as_secs_f64(),
            p50_ms,
            p95_ms,
            p99_ms,
            max_ms,
            rss_mb: samples.iter().filter_map(|seen| Some(seen.node?.memory_mb)).reduce(f64::max),
            cpu_percent: (!cpu.is_empty()).then(|| cpu.iter().sum::<f64>() / cpu.len() as f64),
            replay_ok: None,
            ok: false,
        }
    })
}

fn seconds(heard: &Heard, samples: &[Seen]) -> Vec<Second> {
    heard.read(|recorder: &Recorder| {
        let second = |(at, second): (usize, super::recorder::Second)| {
            // The seconds after the last sample were not seen.
            let Seen { node, own } = samples.get(at).copied().unwrap_or_default();
            Second {
                at_s: at as f64,
                offered: second.counts.offered,
                acknowledged: second.counts.acknowledged,
                settled: second.counts.settled,
                refused: second.counts.refused,
                p50_ms: second.p50_ms,
                p95_ms: second.p95_ms,
                max_ms: second.max_ms,
                node_cpu_percent: node.map(|node| node.cpu_percent),
                own_cpu_percent: own.map(|own| own.cpu_percent),
                rss_mb: node.map(|node| node.memory_mb),
            }
        };
        recorder.seconds().enumerate().map(second).collect()
    })
}

/// The part of the rate at which acknowledgements begin to wait up to which they are judged: a moment's rate is not the mean one.
const JUDGED_PART: f64 = 5.0 / 6.0;

/// What was wanted, and what was found.
fn goals(summary: &Summary, acknowledgement: &Latencies, load: &Load) -> Vec<Goal> {
    let answered = (summary.settled + summary.refused) as f64 / load.duration.as_secs_f64();
    let due = load.intents() as f64 / load.duration.as_secs_f64();
    let mut goals = vec![receipt_goal(summary, LATENCY_TARGET_MS)];
    // Near that rate and above it the node lets acknowledgements wait for their receipts, and there is no routing to be seen.
    if load.rate <= JUDGED_PART * f64::from(COALESCED_ABOVE_PER_S) {
        goals.push(Goal::new(
            "routing (bet to acknowledgement), P95",
            "under 10 ms",
            format!("{:.1} ms", acknowledgement.p95_ms),
            acknowledgement.p95_ms < 10.0,
        ));
    }
    goals.extend([
        Goal::new("lost", "none", summary.lost.to_string(), summary.lost == 0),
        Goal::new(
            SETTLED_TARGET,
            format!("99% of {due:.0} a second"),
            format!("{:.0} a second, {answered:.0} answered", summary.rate),
            summary.rate >= 0.99 * due,
        ),
    ]);
    goals.extend(summary.rss_mb.map(|rss_mb| {
        let (wanted, found) = (format!("under {MEMORY_TARGET_MB} MB"), format!("{rss_mb:.0} MB"));
        Goal { limit: Some(MEMORY_TARGET_MB), ..Goal::new(MEMORY_TARGET, wanted, found, rss_mb < MEMORY_TARGET_MB) }
    }));
    goals
}

/// What is asked of the time from a bet to its receipt.
pub(super) fn receipt_goal(summary: &Summary, limit_ms: f64) -> Goal {
    let (wanted, found) = (format!("under {limit_ms} ms"), format!("{:.1} ms", summary.p95_ms));
    let met = summary.p95_ms < limit_ms && summary.settled > 0;
    Goal { limit: Some(limit_ms), ..Goal::new(RECEIPT_TARGET, wanted, found, met) }
}

fn replay_goal(found: String, met: bool) -> Goal {
    Goal::new("replay", "agrees", found, met)
}

/// Replays the recorded session, and compares what it leads to with what the node said.
fn replayed(session: &Path, said: &serde_json::Value) -> anyhow::Result<Goal> {
    let began = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let _pool = engine::pool::build(threads)?;
    let config = ReplayConfig::all(ReadOptions::stranger(threads));
    let outcome = replay(session, &config, |_| {})?;
    let agrees = outcome.difference.is_none() && said["root_chain"] == engine::hex(&outcome.root_chain);
    let found = match &outcome.difference {
        None if agrees => format!("agrees, {} heights in {:.0} s", outcome.height, began.elapsed().as_secs_f64()),
        None => "another root chain than the node's".into(),
        Some(difference) => format!("differs at height {}", difference.height),
    };
    Ok(replay_goal(found, agrees))
}

fn machine() -> anyhow::Result<Host> {
    let mut system = sysinfo::System::new().context("this system's figures")?;
    system.refresh_memory();
    system.refresh_cpu_all();
    Ok(Host {
        cores: std::thread::available_parallelism().map_or(1, |cores| cores.get() as u32),
        memory_mb: system.total_memory() / 1_000_000,
        cpu: system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default(),
        os: sysinfo::System::long_os_version().unwrap_or_default(),
    })
}

/// A moment as RFC 3339, in UTC.
fn rfc3339(at: SystemTime) -> String {
    let timestamp = jiff::Timestamp::try_from(at).unwrap_or_default();
    timestamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
