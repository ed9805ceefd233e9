//! `dev --nodes`: several validators on this machine, each a process, and players at all of them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use audit::reading::ReadOptions;
use audit::replay::{ReplayConfig, replay};
use engine::limits::DEV_GUESTS_MAX;
use engine::message::vote::quorum;
use engine::{Height, hex};
use indicatif::ProgressBar;
use load::cluster::{Cluster, Compared, Member, SessionEnd, genesis_of, open_dev};
use load::crowd::{Counted, Crowd};
use load::dev::{DevConfig, keys, next_session};
use serde_json::json;

use super::args::OutputArgs;
use super::bars::spinner;
use super::dev::args::{DevArgs, Pace, WINDOW_REAL_MS};
use super::out::{fit, paragraph};
use super::phrases::program;
use super::signals::stop_signals;
use words::{Failure, counted, thousands};

/// How long the players' last intents are waited for at the end: much longer than a set with a quorum takes.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// How often the table is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(250);
/// How long the nodes have to come to one height before they end.
const LEVEL: Duration = Duration::from_secs(5);

/// Runs the command.
pub fn run(args: &DevArgs) -> anyhow::Result<()> {
    if args.pace == Pace::Max {
        let problem = "--pace max: several validators compare their clocks with the wall's; leave it out";
        return Err(Failure::Usage(problem.into()).into());
    }
    if args.listen.is_some() {
        let problem = "--listen: each of several validators takes a free port, which is shown";
        return Err(Failure::Usage(problem.into()).into());
    }
    if args.dashboard.is_some() {
        let problem = "--dashboard: each of several validators has its own, and its node.log says where";
        return Err(Failure::Usage(problem.into()).into());
    }
    args.check_players(true)?;
    let config = DevConfig {
        tables: args.tables(),
        players: args.players_at(None),
        seed: args.seed,
        window_ms: args.window.unwrap_or(WINDOW_REAL_MS),
        dice: args.dice().into(),
        ..DevConfig::default()
    };
    let stop = stop_signals()?;
    let dir = args.data.clone().unwrap_or_else(next_session);
    let configs = open_dev(&dir, &config, args.nodes, args.threads, config.players + DEV_GUESTS_MAX)?;
    args.check_begun(&dir, &genesis_of(&configs)?)?;
    let mut cluster = Cluster::start(&configs)?;
    let nodes: Vec<_> = cluster.members.iter().map(|member| member.address).collect();
    let players = args.players_at(Some(&cluster.genesis));
    let crowd = Crowd::start(cluster.runtime(), &keys(args.seed), players, &cluster.genesis, cluster.chain, &nodes)?;
    let people = args.output.is_for_people();
    if people {
        introduce(args, players, &dir, &mut cluster)?;
    }
    let mut table = Table::new(args.output);
    while !stop.load(Ordering::Relaxed) && args.heights.is_none_or(|heights| cluster.highest() < Height(heights)) {
        table.show(&mut cluster, &crowd.counted);
        std::thread::sleep(DRAWN_EVERY);
    }
    table.bar.finish_and_clear();
    end(args, players, &dir, cluster, crowd)
}

fn introduce(args: &DevArgs, players: u32, dir: &Path, cluster: &mut Cluster) -> anyhow::Result<()> {
    let tables = counted(cluster.genesis.tables.into(), "craps table");
    let players = counted(players.into(), "simulated player");
    let count = cluster.members.len();
    say!("BitCraps: {tables}, {players}, {count} validators; seed {}.\n", args.seed);
    say!("  sessions  {}", dir.display());
    say!("  chain     {}", hex(&cluster.chain));
    if let Some(warning) = cluster.genesis.keys.warning() {
        say!("  keys      {}: {warning}", cluster.genesis.keys.name());
    }
    let play: Vec<String> = cluster.members.iter().map(|member| member.address.to_string()).collect();
    say!("  play      {} play {}\n", program(), play.join(" "));
    for (slot, member) in cluster.members.iter_mut().enumerate() {
        // One that has ended meanwhile has no number, and 0 would name the reader's own processes.
        let kill = member.pid().map_or_else(|| "has ended".to_owned(), |pid| format!("kill -9 {pid}"));
        say!("  node {slot}    {}  {kill}", member.address);
        say!("            again: {}", again(member));
    }
    say!("");
    let quorum = quorum(count);
    paragraph(&format!(
        "{quorum} of {count} must run for heights to be decided. Ctrl-C ends all that this command started."
    ))?;
    say!("");
    Ok(())
}

/// The command that starts a node again.
fn again(member: &Member) -> String {
    format!("{} node --config {}", program(), member.config.display())
}

/// The lines that live while the cluster runs.
struct Table {
    bar: ProgressBar,
    /// When receipts were counted last, and how many each node had given.
    counted: (Instant, Vec<u64>),
    /// Receipts a second of each node.
    rates: Vec<f64>,
}

impl Table {
    fn new(output: OutputArgs) -> Self {
        let bar = spinner(output.is_watched(), "{prefix}\n{msg}");
        Self { bar, counted: (Instant::now(), Vec::new()), rates: Vec::new() }
    }

    fn show(&mut self, cluster: &mut Cluster, counted: &Counted) {
        if self.bar.is_hidden() {
            return;
        }
        self.count(cluster);
        let highest = cluster.highest();
        let head = format!(
            "{:<6}{:>8}  {:<9}{:>10}{:>7}{:>10}{:>8}{:>7}{:>12}",
            "node", "pid", "is", "height", "round", "proposer", "behind", "peers", "receipts/s"
        );
        let mut lines = vec![fit(&head, 0)];
        for (slot, rate) in self.rates.iter().enumerate() {
            lines.push(fit(&row(slot, &mut cluster.members[slot], highest, *rate), 0));
        }
        lines.extend(played(counted).map(|line| fit(&line, 0)));
        self.bar.set_message(lines.join("\n"));
        self.bar.tick();
    }

    /// Receipts a second, over the last second or so.
    fn count(&mut self, cluster: &Cluster) {
        let receipts: Vec<u64> =
            cluster.members.iter().map(|member| member.status().map_or(0, |status| status.order.receipts)).collect();
        let (at, before) = &self.counted;
        let seconds = at.elapsed().as_secs_f64();
        if before.is_empty() || seconds >= 1.0 {
            let rate = |(now, before): (&u64, &u64)| now.saturating_sub(*before) as f64 / seconds.max(1.0);
            self.rates = match before.is_empty() {
                true => vec![0.0; receipts.len()],
                false => receipts.iter().zip(before).map(rate).collect(),
            };
            self.counted = (Instant::now(), receipts);
        }
    }
}

/// What the players came to so far: first what should be nothing, as far as it is over.
fn played(counted: &Counted) -> [String; 2] {
    let count = |counter: &AtomicU64| thousands(counter.load(Ordering::Relaxed));
    [
        format!(
            "players: {} connected, {} answered wrongly, {} without an answer",
            count(&counted.connected),
            count(&counted.wrong),
            count(&counted.unanswered),
        ),
        format!(
            "intents: {} sent, {} applied, {} refused, {} not taken",
            count(&counted.sent),
            count(&counted.applied),
            count(&counted.refused),
            count(&counted.shed),
        ),
    ]
}

fn row(slot: usize, member: &mut Member, highest: Height, rate: f64) -> String {
    let process = member.pid();
    let pid = process.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
    let Some(status) = member.status() else {
        // One that runs is not to be started a second time.
        return match process {
            Some(_) => format!("{slot:<6}{pid:>8}  does not answer"),
            None => format!("{slot:<6}{pid:>8}  away: {}", again(member)),
        };
    };
    let (standing, order) = (status.standing, status.order);
    let (is, why) = status.unready().map_or(("votes", String::new()), |why| ("not ready", format!("  {why}")));
    let behind = highest.0 - standing.settled.0.min(highest.0);
    format!(
        "{slot:<6}{pid:>8}  {is:<9}{:>10}{:>7}{:>10}{behind:>8}{:>7}{rate:>12.0}{why}",
        standing.settled.0, order.round, order.proposer, status.nodes
    )
}

/// Everything that was started ends; then the sessions are compared and replayed.
fn end(args: &DevArgs, players: u32, dir: &Path, mut cluster: Cluster, crowd: Crowd) -> anyhow::Result<()> {
    let counted = Arc::clone(&crowd.counted);
    crowd.rest();
    let until = Instant::now() + ANSWERED_WITHIN;
    while counted.unanswered.load(Ordering::Relaxed) > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
    }
    crowd.stop();
    let until = Instant::now() + LEVEL;
    while cluster.lowest() < cluster.highest() && Instant::now() < until {
        std::thread::sleep(DRAWN_EVERY);
    }
    let started_by_others: Vec<usize> = (0..cluster.members.len())
        .filter(|slot| cluster.members[*slot].pid().is_none() && cluster.members[*slot].status().is_some())
        .collect();
    cluster.stop()?;
    let compared = cluster.compare()?;
    let mut replayed = Vec::new();
    for (member, end) in cluster.members.iter().zip(&compared.ends) {
        // One that settled nothing has nothing to replay.
        replayed.push(if end.settled > Height::GENESIS {
            let outcome = replay(&member.session, &ReplayConfig::all(ReadOptions::stranger(args.threads)), |_| {})?;
            Some((outcome.height, outcome.difference.is_none()))
        } else {
            None
        });
    }
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let replays = replayed.iter().flatten().all(|(_, ok)| *ok);
    let ok = compared.agree() && replays && count(&counted.wrong) == 0;
    if args.output.is_for_people() {
        say_sessions(&compared, &replayed)?;
        say_answers(&counted)?;
        for slot in &started_by_others {
            say!("  node {slot} runs on: this command did not start it");
        }
        say!("\nTry next:\n  {} {} --data {}", program(), args.again(), dir.display());
    } else {
        let sessions: Vec<String> = cluster.members.iter().map(|member| member.session.display().to_string()).collect();
        let summary = json!({
            "ok": ok,
            "nodes": args.nodes,
            "height": compared.height.0,
            "root_chain": compared.root_chain().map(|root_chain| hex(&root_chain)),
            "root_chains_equal": compared.agree(),
            "replay_ok": replays,
            "sessions": sessions,
            "keys": cluster.genesis.keys.name(),
            "tables": cluster.genesis.tables,
            "players": players,
            "intents_sent": count(&counted.sent),
            "intents_applied": count(&counted.applied),
            "intents_refused": count(&counted.refused),
            "intents_not_taken": count(&counted.shed),
            "intents_unanswered": count(&counted.unanswered),
            "answered_wrongly": count(&counted.wrong),
        });
        say!("{summary}");
    }
    if ok { Ok(()) } else { Err(Failure::Mismatch("the nodes' sessions do not agree".into()).into()) }
}

/// What the sessions came to.
fn say_sessions(compared: &Compared, replayed: &[Option<(Height, bool)>]) -> std::io::Result<()> {
    if compared.height == Height::GENESIS {
        say!("Stopped: nothing was settled.");
        return Ok(());
    }
    say!("Stopped. Root chains at height {}, which all sessions have:", thousands(compared.height.0));
    for (slot, (SessionEnd { root_chain, .. }, replayed)) in compared.ends.iter().zip(replayed).enumerate() {
        let Some((last, replays)) = replayed else {
            say!("  node {slot}  none: nothing was settled here");
            continue;
        };
        let root_chain = root_chain.as_ref().map_or_else(|| "none".to_owned(), |root_chain| hex(root_chain));
        let replays = if *replays { "replays" } else { "DOES NOT REPLAY" };
        say!("  node {slot}  {root_chain}");
        say!("          {replays} to height {}", thousands(last.0));
    }
    say!("  {}", if compared.agree() { "all equal" } else { "THEY DIFFER: `bisect` names the first difference" });
    Ok(())
}

/// What became of the players' intents.
fn say_answers(counted: &Counted) -> std::io::Result<()> {
    let count = |counter: &AtomicU64| thousands(counter.load(Ordering::Relaxed));
    let wrong = counted.first_wrong.get().map_or_else(String::new, |first| {
        format!(", but {} were answered wrongly, the first: {first}", count(&counted.wrong))
    });
    let last = match counted.unanswered.load(Ordering::Relaxed) {
        0 => "each has one final answer".to_owned(),
        _ => format!("{} were still without an answer", count(&counted.unanswered)),
    };
    paragraph(&format!(
        "  intents {} sent, {} applied, {} refused, {} not taken; {last}{wrong}",
        count(&counted.sent),
        count(&counted.applied),
        count(&counted.refused),
        count(&counted.shed),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_players_came_to_is_seen_on_a_terminal_of_80_columns() {
        let counted = Counted::default();
        for counter in [&counted.sent, &counted.applied, &counted.refused, &counted.shed, &counted.unanswered] {
            counter.store(234_567, Ordering::Relaxed);
        }
        counted.connected.store(1_000, Ordering::Relaxed);
        for line in played(&counted) {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}
