use std::collections::VecDeque;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use engine::io::BetResult;
use engine::limits::DEV_GUESTS_MAX;
use engine::{Chips, Height, hex};
use indicatif::{ProgressBar, ProgressStyle};
use net::server::{Server, ServerConfig, StartError};
use node::config::{AlertsConfig, ServedAt, workers};
use operate::monitor::{Listening, Monitor, MonitorError};
use operate::reading::Sources;
use operate::watching::MonitorConfig;
use order::signature::NetKey;
use serde_json::json;
use storage::backend::FileBackend;
use systems::Machine;
use systems::catalogue::{BETS, bet_of};

use super::args::{DiceOf, OutputArgs};
use super::out::fit;
use super::past::{PastSource, past_of};
use super::{Failure, Opening, disk_full, program, stop_signals, thousands, with_counts};
use crate::allocator;
use load::cluster;
use load::dev::{DevConfig, DevNode, genesis, genesis_bytes, next_session, open_seen};
use node::totals::Totals;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps dev                                   watch it, end it with Ctrl-C\n  bitcraps dev --tables 100 --players 600 --heights 2000 --pace max\n  bitcraps dev --seed 7 --heights 500 --pace max --output json\n  bitcraps dev --data my-session                 again: goes on where it ended\n  bitcraps dev --dice both --tables 40           one seat a table; its player brings half of the dice\n  bitcraps dev --nodes 4                         four validators, each a process: kill one, and start it again"
)]
pub struct DevArgs {
    /// Validators: more than one are processes of their own, below DIR/node-0 and so on, on the wall's time.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=16))]
    pub(super) nodes: u32,
    /// Craps tables.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) tables: u32,
    /// Simulated players.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(0..=800_000))]
    pub(super) players: u32,
    /// Stop after this height; without it, run until Ctrl-C.
    #[arg(long)]
    pub(super) heights: Option<u64>,
    /// Decides keys, players and dice: the same seed gives the same session.
    #[arg(long, default_value_t = 1)]
    pub(super) seed: u64,
    /// The session's directory; one that exists goes on. Without it, the next free number below `sessions`.
    #[arg(long, value_name = "DIR")]
    pub(super) data: Option<PathBuf>,
    /// Workers of the tick pool; they change nothing but speed.
    #[arg(long, default_value_t = workers(), value_name = "N", value_parser = workers_in_range)]
    pub(super) threads: usize,
    /// Where people connect with `play`; `none` to stay alone. At real pace, the first free port from 7400 on.
    #[arg(long, value_name = "ADDR|none")]
    pub(super) listen: Option<String>,
    /// Where a browser finds the dashboard; `off` for nowhere. At real pace, the first free port from 7480 on. Of several
    /// validators, each has its own, and this is not said.
    #[arg(long, value_name = "ADDR|off")]
    pub(super) dashboard: Option<ServedAt>,
    /// Milliseconds after which a table rolls by itself. Without it, 10,000 for people to follow; with `--pace max`, 1,000.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=600_000))]
    pub(super) window: Option<u64>,
    /// What the dice follow from.
    #[arg(long, value_enum, default_value_t)]
    pub(super) dice: DiceOf,
    /// Virtual time as on the wall, or as fast as this machine can.
    #[arg(long, value_enum, default_value_t = Pace::Real)]
    pub(super) pace: Pace,
    #[command(flatten)]
    pub(super) output: OutputArgs,
}

/// How fast virtual time runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Pace {
    /// As the clock on the wall.
    Real,
    /// As fast as the machine can.
    Max,
}

pub(super) fn workers_in_range(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(workers) if (1..=engine::limits::WORKERS_MAX).contains(&workers) => Ok(workers),
        _ => Err(format!("a number from 1 to {}", engine::limits::WORKERS_MAX)),
    }
}

/// Refuses a session in which nothing would ever happen.
pub(super) fn check_players(args: &DevArgs, listens: bool) -> Result<(), Failure> {
    let problem = match args.heights {
        _ if args.players > 0 => return Ok(()),
        Some(_) => "--players 0 with --heights: heights come when somebody plays; leave out one of the two",
        None if listens => return Ok(()),
        None => "--players 0 where nobody can connect: nothing would ever happen; see --listen",
    };
    Err(Failure::Usage(problem.into()))
}

/// Runs the command.
pub fn run(args: &DevArgs) -> anyhow::Result<()> {
    if args.nodes > 1 {
        return super::cluster::run(args);
    }
    allocator::leave_to_monitor();
    let listens = listen_at(args)?;
    check_players(args, listens.is_some())?;
    let window_ms = args.window.unwrap_or(if args.pace == Pace::Max { WINDOW_MAX_MS } else { WINDOW_REAL_MS });
    let config = DevConfig {
        tables: args.tables,
        players: args.players,
        seed: args.seed,
        threads: args.threads,
        pace: match args.pace {
            Pace::Real => node::clock::Pace::Real,
            Pace::Max => node::clock::Pace::Max,
        },
        window_ms,
        dice: args.dice.into(),
        peers: DEV_GUESTS_MAX,
        ..DevConfig::default()
    };
    let stop = stop_signals()?;
    let dir = args.data.clone().unwrap_or_else(next_session);
    let several = cluster::size_of(&dir);
    if several > 1 {
        let text = format!("{} has a cluster of {several} validators: say --nodes {several}", dir.display());
        return Err(Failure::Data(text).into());
    }
    let listening = dashboard_at(args)?;
    let pool = Arc::new(engine::pool::build(args.threads)?);
    // Before the session is begun: where nobody can listen, none is left behind. The address is given back until the node
    // knows its time, since an intent that is dated before that has expired when it arrives.
    if let Some(address) = listens {
        std::net::UdpSocket::bind(address).map_err(|error| StartError::Bind { address, error })?;
    }
    let DevNode { mut node, genesis, chain, found } =
        open_seen(Arc::new(FileBackend), &dir, &config, Opening::new().on_step())?;
    let network = listens.map(|address| listen(&dir, &config, address)).transpose()?;
    let listens = network.as_ref().map(|network| network.address);
    let past = Some(past_of(PastSource::Session(dir.clone())));
    let mut sources = Sources { pool: Some(pool), past, ..Sources::of(&node, &dir, allocator::MEMORY) };
    if let Some(network) = network {
        sources = sources.with_network(&network, &server_config(&config, network.address));
        node.listen(network);
    }
    let title = format!("dev, seed {}", args.seed);
    let watching = MonitorConfig { hosts: Vec::new(), title, alerts: AlertsConfig::default(), memory_budget: 0 };
    // Whoever wants heights and no page has no use for alerts either.
    let monitor = listening.map(|listening| Monitor::start(Some(listening), watching, sources)).transpose()?;
    let dashboard = monitor.as_ref().and_then(|monitor| monitor.address).map(|address| format!("http://{address}/"));
    let people = args.output.is_for_people();
    if people {
        let (tables, players) = (thousands(genesis.tables.into()), thousands(args.players.into()));
        say!("BitCraps: {tables} craps tables, {players} simulated players, one validator; seed {}.\n", args.seed);
        say!("  session   {}", dir.display());
        say!("  chain     {}", hex(&chain));
        match &found {
            Some(found) => say!("  goes on   from height {} ({})", thousands(found.height.0), found.path()),
            None => say!("  begins    at height 1"),
        }
        if let Some(address) = listens {
            say!("  listens   {address}: in another terminal, `{} play {address}`", program());
        }
        if let Some(dashboard) = &dashboard {
            say!("  dashboard {dashboard}");
        }
        for repaired in found.iter().flat_map(|found| &found.repaired) {
            say!("  repaired  {repaired}");
        }
        if args.dice == DiceOf::Both {
            say!(
                "\nEach table has one seat, and its player brings half of the dice: what you pledge, nobody can foresee."
            );
        }
        say!(
            "\nPlay chips only. The keys follow from the seed, so anyone can foresee these dice; and with one\nvalidator, whoever runs it could choose them. Nobody is asked to trust: every roll can be checked.\n"
        );
        if args.heights.is_none() {
            say!("Ctrl-C ends it cleanly.\n");
        }
    }
    let mut status = Status::new(args.output, args.heights, genesis.start_ms, found.map_or(0, |found| found.height.0));
    let mut rest = Rest::new(window_ms);
    let result = node.run(args.heights, &stop, |totals, machine, now_ms| {
        status.show(totals, machine, now_ms);
        // Whoever asked for heights is not kept waiting for some that nobody plays for any more.
        let mut people = || machine.read_peers(|peers| peers.iter().any(|peer| peer.is_connected()));
        let waits = totals.disk_full.is_some() || people();
        if args.heights.is_some() && rest.is_for_good(totals.height, waits, now_ms) {
            stop.store(true, Ordering::Relaxed);
        }
    });
    status.bar.finish_and_clear();
    drop(monitor);
    let totals = node.close();
    result?;
    let settled = totals.height > Height::GENESIS;
    if people {
        summary(&totals, &dir.display().to_string(), status.played_s)?;
    } else {
        let summary = json!({
            "height": totals.height.0,
            "root": settled.then(|| hex(&totals.root)),
            "root_chain": settled.then(|| hex(&totals.root_chain)),
            "session": dir.display().to_string(),
            "tables": genesis.tables,
            "players": args.players,
            "refusals": totals.refusals,
            "keys": genesis.keys.name(),
            "listen": listens.map(|address| address.to_string()),
            "dashboard": dashboard,
        });
        say!("{}", with_counts(summary, &totals));
    }
    match args.heights {
        Some(wanted) if rest.ended => Err(Failure::Target(format!(
            "nobody plays any more: the session ends at height {} and does not come to {wanted}",
            totals.height
        ))
        .into()),
        _ => Ok(()),
    }
}

/// Milliseconds of a window that a person can follow, and place a bet in.
pub(super) const WINDOW_REAL_MS: u64 = 10_000;
/// Milliseconds of a window that keeps simulated players busy.
const WINDOW_MAX_MS: u64 = 1_000;
/// Ports that are tried for one that is free.
const PORTS: std::ops::Range<u16> = 7_400..7_420;
/// The same for the dashboard.
const DASHBOARD_PORTS: std::ops::Range<u16> = 7_480..7_500;

/// The first address on this machine that nobody listens at.
fn first_free() -> Option<SocketAddr> {
    let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
    PORTS.map(at).find(|address| std::net::UdpSocket::bind(address).is_ok())
}

/// Where people can connect, if they can.
fn listen_at(args: &DevArgs) -> Result<Option<SocketAddr>, Failure> {
    match args.listen.as_deref() {
        None if args.pace == Pace::Max => Ok(None),
        None => Ok(first_free()),
        Some("none") => Ok(None),
        Some(text) => {
            let wrong =
                |_| Failure::Usage(format!("--listen {text}: expected an address such as 127.0.0.1:7400, or none"));
            text.parse().map(Some).map_err(wrong)
        }
    }
}

/// Where the dashboard is, if it is anywhere: whoever asked for an address is told if it cannot be had.
fn dashboard_at(args: &DevArgs) -> Result<Option<Listening>, MonitorError> {
    let mut ports = DASHBOARD_PORTS;
    match args.dashboard {
        Some(at) => at.address().map(Listening::at).transpose(),
        None if args.pace == Pace::Max => Ok(None),
        None => Ok(ports.find_map(|port| Listening::at(SocketAddr::from(([127, 0, 0, 1], port))).ok())),
    }
}

/// The bounds of its network.
fn server_config(dev: &DevConfig, address: SocketAddr) -> ServerConfig {
    ServerConfig {
        name: format!("dev, seed {}", dev.seed),
        connections_max: DEV_GUESTS_MAX,
        connections_per_address_max: DEV_GUESTS_MAX,
        listen: address,
        ..ServerConfig::default()
    }
}

/// Listens for the session that is there, or will be.
fn listen(dir: &Path, dev: &DevConfig, address: SocketAddr) -> anyhow::Result<Server> {
    let (seed, config) = (dev.seed, server_config(dev, address));
    let mut bytes = *b"bitcraps development network key";
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let (genesis, file) = match storage::read_genesis(dir) {
        Ok((genesis, _)) => (genesis, storage::genesis_bytes(dir)?),
        // A session that cannot be opened is named where it is opened.
        Err(_) => (genesis(dev), genesis_bytes(dev)?),
    };
    Ok(node::network::listen(&genesis, file, &NetKey::from_seed(&bytes), config)?)
}

/// Tells a table that is between two rolls from a house where nothing will happen any more.
struct Rest {
    last: Option<Height>,
    since_ms: u64,
    /// As long as anybody sits somewhere, a table rolls within its window.
    patience_ms: u64,
    /// Whether the run was ended for it.
    ended: bool,
}

impl Rest {
    fn new(window_ms: u64) -> Self {
        Self { last: None, since_ms: 0, patience_ms: (10 * window_ms).max(60_000), ended: false }
    }

    /// Whether no height has come for so long that none will. `waits` says that one may: somebody is connected, or the disk
    /// has no room.
    fn is_for_good(&mut self, height: Height, waits: bool, now_ms: u64) -> bool {
        if self.last != Some(height) || waits {
            (self.last, self.since_ms) = (Some(height), now_ms);
        }
        self.ended = now_ms - self.since_ms > self.patience_ms;
        self.ended
    }
}

/// Columns of the spinner and the space after it.
const SPINNER_COLUMNS: usize = 2;
/// Wins that stay on the screen.
const NOTICES: usize = 5;

/// The lines that live while the session runs.
struct Status {
    bar: ProgressBar,
    shown: Instant,
    start_ms: u64,
    first_height: u64,
    played_s: u64,
    last: VecDeque<String>,
    best: Chips,
    watching: bool,
}

impl Status {
    fn new(output: OutputArgs, heights: Option<u64>, start_ms: u64, first_height: u64) -> Self {
        let bar = if output.is_watched() {
            let bar = ProgressBar::new(heights.unwrap_or(0));
            let style = match heights {
                Some(_) => "{spinner} {prefix}\n{msg}\n  [{wide_bar}] {percent}%, {eta} left",
                None => "{spinner} {prefix}\n{msg}",
            };
            bar.set_style(ProgressStyle::with_template(style).expect("a fixed template"));
            bar
        } else {
            ProgressBar::hidden()
        };
        let shown = Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or_else(Instant::now);
        let (last, best) = (VecDeque::from(vec![String::new(); NOTICES]), Chips::ZERO);
        Self { bar, shown, start_ms, first_height, played_s: 0, last, best, watching: false }
    }

    fn show(&mut self, totals: &Totals, machine: &mut Machine, now_ms: u64) {
        self.played_s = (now_ms - self.start_ms) / 1_000;
        if self.bar.is_hidden() {
            return;
        }
        if !self.watching {
            // Rolls and wins are told where somebody watches.
            self.watching = true;
            machine.watch(true);
        }
        self.notice(machine);
        if self.shown.elapsed() < Duration::from_millis(100) {
            return;
        }
        self.shown = Instant::now();
        let counts = &totals.counts;
        let gain = |lost: u64, paid: u64| match lost.checked_sub(paid) {
            Some(won) => format!("house +{}", thousands(won)),
            None => format!("house -{}", thousands(paid - lost)),
        };
        self.bar.set_position(totals.height.0.max(self.first_height));
        let figures = format!(
            "height {}  {} s of play  {} rolls  {} bets  {} decided  {} refused  {}",
            thousands(totals.height.0),
            thousands(self.played_s),
            thousands(counts.rolls),
            thousands(counts.bets_placed),
            thousands(counts.bets_resolved),
            thousands(counts.refused + totals.turned_away),
            gain(counts.lost, counts.paid),
        );
        self.bar.set_prefix(fit(&figures, SPINNER_COLUMNS));
        if let Some(problem) = &totals.disk_full {
            self.bar.set_message(fit(&disk_full(problem), 0));
            self.bar.tick();
            return;
        }
        self.bar.set_message(self.last.iter().map(|line| fit(line, 0)).collect::<Vec<_>>().join("\n"));
        self.bar.tick();
        let _ = std::io::stderr().flush();
    }

    /// A roll of this height that somebody won at, and the best win so far.
    fn notice(&mut self, machine: &Machine) {
        let report = machine.report();
        let wins = report.resolutions.iter().filter(|resolution| resolution.result == BetResult::Win);
        let Some(win) = wins.max_by_key(|win| win.credit) else { return };
        let Some(roll) = report.rolls.iter().find(|roll| roll.table == win.table) else { return };
        let best = win.credit > self.best;
        self.best = self.best.max(win.credit);
        let [a, b] = roll.dice.faces();
        let (event, bet) = (roll.event.name().replace('_', " "), BETS[bet_of(win.spot).index()].name);
        let notice = format!(
            "  {:>8}  {a}-{b}  {event:<18} player {} gets {} for {} on {bet}{}",
            format!("{}:{}", roll.table, roll.roll_number),
            win.account,
            thousands(win.credit.0),
            thousands(win.wager.into()),
            if best { ", the best so far" } else { "" },
        );
        if self.last.back() != Some(&notice) {
            self.last.pop_front();
            self.last.push_back(notice);
        }
    }
}

fn summary(totals: &Totals, dir: &str, played_s: u64) -> std::io::Result<()> {
    let counts = &totals.counts;
    say!("Stopped at height {} after {} s of play.", thousands(totals.height.0), thousands(played_s));
    say!("  rolls         {}", thousands(counts.rolls));
    say!(
        "  bets          {} placed or raised, {} decided",
        thousands(counts.bets_placed),
        thousands(counts.bets_resolved)
    );
    say!("  chips         {} lost by players, {} paid to them", thousands(counts.lost), thousands(counts.paid));
    say!(
        "  intents       {} sent, {} applied, {} refused",
        thousands(totals.sent),
        thousands(counts.applied),
        thousands(counts.refused + totals.turned_away)
    );
    let mut refusals: Vec<(&str, u64)> = totals.refusals.iter().map(|(code, count)| (*code, *count)).collect();
    refusals.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let most: Vec<String> =
        refusals.iter().take(4).map(|(code, count)| format!("{code} {}", thousands(*count))).collect();
    if !most.is_empty() {
        say!("                most of them {}", most.join(", "));
    }
    if totals.height == Height::GENESIS {
        say!("  root          none: nothing was settled");
        return Ok(());
    }
    say!("  root          {}", hex(&totals.root));
    say!("  root chain    {}", hex(&totals.root_chain));
    say!("\nTry next:");
    let program = program();
    let next = [
        (format!("replay {dir}"), "re-run it: every roll, payout and signature"),
        (format!("export {dir} --image state.img"), "the state; `b3sum state.img` prints the root"),
        (format!("dev --data {dir}"), "go on where it ended"),
        ("odds".into(), "what every bet is worth, exactly"),
    ];
    let width = next.iter().map(|(command, _)| command.len()).max().unwrap_or(0);
    for (command, what) in next {
        say!("  {program} {command:<width$}   {what}");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_house_without_players_is_not_waited_for_and_one_with_people_is() {
        let mut rest = Rest::new(1_000);
        let mut ends = |height, waits, now_ms| rest.is_for_good(Height(height), waits, now_ms);
        assert!(!ends(0, false, 5_000), "the first look begins the wait");
        assert!(!ends(0, false, 65_000));
        assert!(!ends(1, false, 65_001), "a height came");
        assert!(!ends(1, false, 125_001));
        assert!(!ends(1, true, 190_000), "somebody is connected");
        assert!(!ends(1, false, 250_000));
        assert!(ends(1, false, 250_001));
    }
}
