//! `node`: an operator's node, from its configuration.

mod panics;

use std::collections::BTreeMap;
use std::io::Read;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use engine::{Height, hex};
use net::server::Counters;
use operate::doctor::warnings;
use operate::monitor::{Listening, Monitor};
use operate::named::named_warnings;
use operate::reading::Sources;
use operate::service;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use storage::{OpenError, Session};
use systems::Setup;
use systems::exchange::ExchangeError;

use self::panics::watched;
use super::args::OutputArgs;
use super::bars::{Opening, spinner};
use super::config::{SetArgs, check, load, own, prepare};
use super::logs::Logs;
use super::past::past_of;
use super::phrases::{disk_full, with_counts};
use super::reload::Reload;
use super::signals::{first_signal, stop_signals};
use crate::allocator;
use node::clock::Time;
use node::config::Config;
use node::init::OpenedKeys;
use node::network::listen;
use node::open::{self, Options, SessionFound, StartedNode};
use node::recording::Driving;
use node::run::Node;
use node::snapshots::SnapshotPace;
use node::startup::{Phase, PhaseTimes, Startup, self_test};
use node::totals::Totals;
use words::{Failure, counted, thousands};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps node --config my-node/bitcraps.toml\n  bitcraps node --config a-follower/bitcraps.toml --follow\n  BITCRAPS_PASSPHRASE_FILE=secret bitcraps node --config my-node/bitcraps.toml --output ndjson\n\n--output json or ndjson: one object once it listens and one at its end, for programs.\nCtrl-C or SIGTERM ends it cleanly: what it acknowledged gets its receipts first."
)]
pub struct NodeArgs {
    /// The configuration; `bitcraps init` makes one.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Sign from this height on although the consensus log is lost or older than the journal. Only where nothing was ever
    /// signed at or above it: a validator that contradicts itself is proven to have done so.
    #[arg(long, value_name = "HEIGHT", requires = "i_accept")]
    sign_from: Option<u64>,
    /// I answer for what this validator signed before.
    #[arg(long, requires = "sign_from")]
    i_accept: bool,
    /// Vote on nothing: hear from the validators what was decided, verify all of it, and serve players and other nodes.
    #[arg(long, conflicts_with = "sign_from")]
    follow: bool,
    /// Stop once this height is settled, and start none above it: for a change that all operators agreed on.
    #[arg(long, value_name = "HEIGHT", value_parser = clap::value_parser!(u64).range(1..))]
    halt_at: Option<u64>,
    /// End cleanly when standard input ends: for programs that start a node and must not leave it behind.
    #[arg(long, hide = true)]
    ends_with_input: bool,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Ends the node when whoever started it is gone: its standard input ends then, however that happened.
fn end_with_input(stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        while std::io::stdin().read(&mut bytes).is_ok_and(|count| count > 0) {}
        stop.store(true, Ordering::Relaxed);
    });
}

/// Runs the command.
pub fn run(args: &NodeArgs, logs: Logs) -> anyhow::Result<()> {
    allocator::take_small_pages();
    allocator::leave_to_monitor();
    let layered = load(&args.config, args.set.all())?;
    check(&layered)?;
    let (config, newer) = (layered.config.clone(), layered.warning.clone());
    let values = layered.rows_without_secrets();
    let values = values.into_iter().map(|(key, value, _)| (key, value)).collect();
    logs.change(&config.log)?;
    // From here on SIGHUP ends nothing, however long the rest of the start takes.
    let reload = Reload::start(args.config.clone(), args.set.all().to_owned(), args.follow, layered, logs)?;
    let mut startup = Startup::default();
    let (keys, setup, genesis) = startup.run(Phase::System, || {
        raise_files();
        prepare(&config, args.follow)
    })?;
    let stop = if args.ends_with_input { first_signal()? } else { stop_signals()? };
    if args.ends_with_input {
        end_with_input(&stop);
    }
    let pool = startup.run(Phase::Core, || Ok(Arc::new(engine::pool::build(config.node.threads)?)))?;
    let operated = Operated { args, config, newer, values, keys, setup, genesis, stop, pool, reload, startup };
    // A session that began at a snapshot of the others is opened again at it.
    while operated.run_once()? {}
    Ok(())
}

/// Has as many files open as the system lets this process have, up to what a node could ever use.
fn raise_files() {
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.unwrap_or(FILES_MAX).min(FILES_MAX);
    if now.current.is_some_and(|current| current < most) {
        // Where the system refuses, it is as it was, and `doctor` says whether that is enough.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: now.maximum });
    }
}

/// Files that a node may have open, where the system lets it.
const FILES_MAX: u64 = 65_536;

/// A node as its operator runs it.
struct Operated<'a> {
    args: &'a NodeArgs,
    config: Config,
    /// That the file is of a newer program, if it is.
    newer: Option<String>,
    /// Each key with its value, but for what may be a secret.
    values: Vec<(String, String)>,
    keys: OpenedKeys,
    setup: Setup,
    genesis: Vec<u8>,
    stop: Arc<AtomicBool>,
    pool: Arc<rayon::ThreadPool>,
    reload: Reload,
    /// What of its start lies before its session.
    startup: Startup,
}

impl Operated<'_> {
    /// Runs the node until it is told to stop, or has to be opened again, which it says.
    fn run_once(&self) -> anyhow::Result<bool> {
        let Self { args, config, keys, setup, .. } = self;
        let (began, mut startup) = (Instant::now(), self.startup.clone());
        // Before the session is touched: whoever cannot have it, or the address, hears of it at once.
        startup.run(Phase::Core, || match storage::is_written(&config.node.data) {
            true => Err(OpenError::Locked(config.node.data.clone()).into()),
            false => Ok(()),
        })?;
        let listening =
            startup.run(Phase::Service, || Ok(config.monitoring.listen.address().map(Listening::at).transpose()?))?;
        let starting = listening.as_ref().map(Listening::while_starting).transpose()?;
        let is_at = |phase| starting.iter().for_each(|starting| starting.is_at(phase));
        is_at(Phase::Core);
        let mut opened = self.open(&mut startup)?;
        let found = opened.found.take();
        let recovered = began.elapsed();
        let slot = opened.machine.order_progress().slot;
        is_at(Phase::Service);
        let network = startup.run(Phase::Service, || {
            self_test()?;
            Ok(listen(&setup.genesis, self.genesis.clone(), &keys.net, config.net.clone())?)
        })?;
        let counters = network.counters();
        let mut node = opened.into_node(None, Time::Wall);
        let mut sources = Sources {
            pool: Some(Arc::clone(&self.pool)),
            past: Some(past_of(&config.node.data, &config.cache)),
            ..Sources::of(&node, &config.node.data, allocator::MEMORY)
                .with_network(&network, &config.net)
                .with_reserve(config.storage.min_free)
                .with_journal_max(config.storage.bytes_max)
        };
        sources.threads.push(self.reload.thread());
        drop(starting);
        let monitor = startup
            .run(Phase::Final, || Ok(self.reload.watched_by(|told| Monitor::start(listening, told, sources))?))?;
        let (address, key, socket, dashboard) = (network.address, network.key(), network.socket_bytes, monitor.address);
        node.listen(network);
        let times = startup.times();
        monitor.started(times);
        let ready = Ready { address, key, socket, dashboard, recovered, slot, times };
        self.say_ready(&ready, found.as_ref())?;
        self.reload.ready();
        self.log_start(times, dashboard)?;
        if let Some(height) = args.halt_at {
            node.machine_mut().halt_at(Height(height));
        }
        let halt = Halt::at(args.halt_at);
        let (monitor, result) = watched(monitor, || watch(&mut node, &self.stop, args.output, &counters, halt));
        let has_arrived = node.has_arrived();
        if !has_arrived {
            service::stopping();
        }
        if let Err(fault) = &result {
            let is_invariant = matches!(fault.downcast_ref::<ExchangeError>(), Some(ExchangeError::Poison { .. }));
            monitor.tell_stopped(&format!("{fault:#}"), is_invariant);
        }
        // What was promised is on the disk before anybody is told of alerts that wait.
        let last_alerts = monitor.stop();
        let totals = node.close();
        if result.is_ok() {
            last_alerts.tell_over();
        }
        drop(last_alerts);
        result?;
        if has_arrived {
            return Ok(true);
        }
        self.say_end(&totals, &counters)?;
        self.check_halt(&totals)?;
        Ok(false)
    }

    /// The session, ready to be gone on with.
    fn open(&self, startup: &mut Startup) -> anyhow::Result<StartedNode> {
        let Self { args, config, keys, setup, .. } = self;
        let options = Options {
            keys: keys.validator.clone(),
            threads: config.node.threads,
            peers: config.net.connections_max,
            writing: config.writing(),
            pace: SnapshotPace::default(),
            driving: Driving::Threads,
            sign_from: args.sign_from.map(Height),
            network: Some(keys.net.public()),
        };
        let opened = startup.run(Phase::Core, || {
            // First: whoever opens a session in vain may only want to read it, and hears how that is done.
            storage::check_writable(&config.node.data)?;
            let session = Session::open(&config.node.data)?;
            let (opening, goes_on) = (Opening::new(), service::StartGoesOn::default());
            let shown = opening.on_step();
            let on_step = move |what: &str| {
                goes_on.step(Instant::now());
                shown(what);
            };
            open::open(session, setup.clone(), options, on_step)
        })?;
        let decided = opened.machine.chain().decided;
        if let Some(halt) = args.halt_at.filter(|halt| decided > Height(*halt)) {
            let text =
                format!("--halt-at {halt}: height {decided} is decided here; agree on a height that is yet to come");
            return Err(Failure::Usage(text).into());
        }
        Ok(opened)
    }

    /// Logs how the start went, and what an operator should know of it.
    fn log_start(&self, times: PhaseTimes, dashboard: Option<SocketAddr>) -> anyhow::Result<()> {
        tracing::info!("ready {} ms after the start: {}", times.total().as_millis(), times.words());
        // People have been told; of a node that a program started, this is where they look.
        if !self.args.output.is_for_people()
            && let Some(address) = dashboard
        {
            tracing::info!("the dashboard is at http://{address}/");
        }
        if times.total() > START_SLOW {
            tracing::warn!("the start took more than {} s", START_SLOW.as_secs());
        }
        self.say_values();
        let journal = audit::db::journal_bytes(&self.config.node.data)?;
        let named = named_warnings(&self.config.net, own(&self.keys, &self.setup));
        for warning in self.newer.iter().cloned().chain(warnings(&self.config, journal)).chain(named) {
            tracing::warn!("{warning}");
        }
        Ok(())
    }

    /// Fails if the node stopped at another height than the one that was agreed on.
    fn check_halt(&self, totals: &Totals) -> Result<(), Failure> {
        if let Some(halt) = self.args.halt_at.filter(|halt| totals.height > Height(*halt)) {
            let text = format!(
                "stopped at height {} and not at {halt}: the others were above it already; agree on a height that is yet to come",
                totals.height
            );
            return Err(Failure::Mismatch(text));
        }
        Ok(())
    }

    /// The log has what the node runs with: where things are, and every value. `config show --origin` says where each is from.
    fn say_values(&self) {
        let absolute = |path: &std::path::Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let Config { node, keys, .. } = &self.config;
        tracing::info!(
            "paths: configuration {}, session {}, network key {}",
            absolute(&self.args.config).display(),
            absolute(&node.data).display(),
            absolute(&keys.net).display()
        );
        let values: Vec<String> = self.values.iter().map(|(key, value)| format!("{key} = {value}")).collect();
        tracing::info!("values: {}", values.join(", "));
    }

    /// Who this node is in its set.
    fn part(&self, slot: Option<u32>) -> String {
        let count = self.setup.genesis.validators.len();
        match (slot, count) {
            (Some(_), 1) => "one validator".into(),
            (Some(slot), count) => format!("validator {slot} of {count}"),
            (None, 1) => "follows one validator, and votes on nothing".into(),
            (None, count) => format!("follows {count} validators, and votes on nothing"),
        }
    }

    fn say_ready(&self, ready: &Ready, found: Option<&SessionFound>) -> anyhow::Result<()> {
        let Self { config, setup, .. } = self;
        let Ready { address, key, socket, dashboard, recovered, slot, times } = *ready;
        let (tables, keys_from) = (setup.genesis.tables, setup.genesis.keys);
        let height = found.map_or(0, |found| found.height.0);
        let repaired: Vec<&String> = found.iter().flat_map(|found| &found.repaired).collect();
        if !self.args.output.is_for_people() {
            let ready = json!({
                "event": "ready",
                "listen": address.to_string(),
                "key": hex(&key),
                "dashboard": dashboard.map(|address| format!("http://{address}/")),
                "chain": hex(&setup.chain),
                "keys": keys_from.name(),
                "slot": slot,
                "validators": setup.genesis.validators.len(),
                "height": height,
                "recovered_ms": recovered.as_millis() as u64,
                "snapshot": found.and_then(|found| found.snapshot).map(|height| height.0),
                "executed": found.map(|found| found.executed),
                "repaired": repaired,
                "start_ms": Phase::ALL.map(|phase| (phase.name(), times.of(phase).as_millis() as u64)).into_iter().collect::<BTreeMap<_, _>>(),
                "socket_receive_bytes": socket.0,
                "socket_send_bytes": socket.1,
            });
            say!("{ready}");
            return Ok(());
        }
        let part = self.part(slot);
        say!("BitCraps node `{}`: {}, {part}.\n", config.net.name, counted(tables.into(), "craps table"));
        say!("  session   {}", std::path::absolute(&config.node.data)?.display());
        say!("  chain     {}", hex(&setup.chain));
        say!("  height    {} ({} ms to get there)", thousands(height), recovered.as_millis());
        if let Some(found) = found {
            say!("  found     {}", found.path());
        }
        for repaired in &repaired {
            say!("  repaired  {repaired}");
        }
        say!("  start     {}", times.words());
        say!("  listens   {address}");
        say!("  key       {}", hex(&key));
        if let Some(address) = dashboard {
            say!("  dashboard http://{address}/");
        }
        if let Some(warning) = keys_from.warning() {
            say!("  keys      {}: {warning}", keys_from.name());
        }
        if let Some(advice) = buffer_advice(socket, config.net.socket_buffer_bytes) {
            say!("  sockets   {advice}");
        }
        match setup.genesis.validators.len() {
            1 => say!("\nPlay chips only. With one validator, whoever runs it could foresee and choose the dice."),
            _ => say!("\nPlay chips only. A quorum of the validators together could foresee the dice."),
        }
        say!("Ctrl-C ends it cleanly.\n");
        Ok(())
    }

    fn say_end(&self, totals: &Totals, counters: &Counters) -> anyhow::Result<()> {
        let counted = counters.list();
        let settled = totals.height > Height::GENESIS;
        if self.args.output.is_for_people() {
            say!("Stopped at height {}.", thousands(totals.height.0));
            say!(
                "  receipts  {}, {} of them refused",
                thousands(totals.receipts),
                thousands(totals.refusals.values().sum())
            );
            say!("  rolls     {}", thousands(totals.counts.rolls));
            match totals.height {
                Height::GENESIS => say!("  root      none: nothing was settled"),
                _ => say!("  root      {}", hex(&totals.root)),
            }
            return Ok(());
        }
        let network: serde_json::Map<String, serde_json::Value> =
            counted.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
        let summary = json!({
            "height": totals.height.0,
            "root": settled.then(|| hex(&totals.root)),
            "root_chain": settled.then(|| hex(&totals.root_chain)),
            "session": self.config.node.data.display().to_string(),
            "tables": self.setup.genesis.tables,
            "players": 0,
            "refusals": totals.refusals,
            "network": network,
        });
        say!("{}", with_counts(summary, totals));
        Ok(())
    }
}

/// What a node is once it listens.
#[derive(Clone, Copy)]
struct Ready {
    address: SocketAddr,
    key: [u8; 32],
    socket: (usize, usize),
    dashboard: Option<SocketAddr>,
    recovered: Duration,
    slot: Option<u32>,
    times: PhaseTimes,
}

/// A start that takes longer is told.
const START_SLOW: Duration = Duration::from_secs(20);

/// What to do about socket buffers that are smaller than asked for.
fn buffer_advice((receive, send): (usize, usize), asked: u64) -> Option<String> {
    let least = receive.min(send) as u64;
    (least < asked).then(|| {
        format!(
            "the system gives buffers of {} KiB instead of {}; `sysctl -w net.core.rmem_max={asked} net.core.wmem_max={asked}` raises them",
            least / 1024,
            asked / 1024
        )
    })
}

/// Tells when a node that stops at a height may end: once that is settled here, and the others have it too or had the time.
struct Halt {
    height: Option<Height>,
    since: Option<Instant>,
}

/// How long a node that has halted stays for those that are behind.
const HALT_STAYS: Duration = Duration::from_secs(10);

impl Halt {
    fn at(height: Option<u64>) -> Self {
        Self { height: height.map(Height), since: None }
    }

    fn is_over(&mut self, settled: Height, machine: &systems::Machine) -> bool {
        let Some(height) = self.height.filter(|height| settled >= *height) else { return false };
        let since = *self.since.get_or_insert_with(Instant::now);
        let all_have_it = machine.nodes().all(|(_, standing)| standing.settled >= height);
        // A moment longer, so that what was said last is on its way.
        since.elapsed() > HALT_STAYS || (all_have_it && since.elapsed() > Duration::from_secs(1))
    }
}

/// Runs with a line of what happens, for people.
fn watch(
    node: &mut Node,
    stop: &AtomicBool,
    output: OutputArgs,
    counters: &Counters,
    mut halt: Halt,
) -> anyhow::Result<()> {
    let bar = spinner(output.is_watched(), "{spinner} {wide_msg}");
    let mut shown = Instant::now();
    let on_tick = |totals: &Totals, machine: &mut systems::Machine, _now_ms: u64| {
        if halt.is_over(totals.height, machine) {
            stop.store(true, Ordering::Relaxed);
        }
        if bar.is_hidden() || shown.elapsed() < Duration::from_millis(200) {
            return;
        }
        shown = Instant::now();
        if let Some(problem) = &totals.disk_full {
            bar.set_message(disk_full(problem));
            bar.tick();
            return;
        }
        let players = machine.read_peers(|peers| peers.iter().filter(|peer| peer.is_connected()).count());
        let banned = counters.banned.load(Ordering::Relaxed);
        bar.set_message(format!(
            "height {}  {}  {}  {}  {} refused  {} shed  {} banned",
            thousands(totals.height.0),
            counted(players as u64, "connection"),
            counted(totals.counts.rolls, "roll"),
            counted(totals.receipts, "receipt"),
            thousands(totals.refusals.values().sum()),
            thousands(totals.shed),
            thousands(banned),
        ));
        bar.tick();
    };
    let result = node.run(None, stop, on_tick);
    bar.finish_and_clear();
    result
}
