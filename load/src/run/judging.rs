//! What was measured in a run, made into its report, and judged.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use audit::reading::ReadOptions;
use audit::replay::{ReplayConfig, replay};
use clap::ValueEnum;
use engine::limits::COALESCED_ABOVE_PER_S;

use super::site::RunSite;
use crate::meter::Seen;
use crate::recorder::{self, Counts, Recorder, cdf, quantile_ms};
use crate::report::{
    Goal, Host, LATENCY_TARGET_MS, Latencies, MEMORY_TARGET, MEMORY_TARGET_MB, Offered, RECEIPT_TARGET, Report, Second,
    Summary, Transport,
};
use crate::scenario::Load;
use crate::schedule::{Heard, lock};

/// The name of the target for how much of what was due was settled.
const SETTLED_TARGET: &str = "settled";

/// What was measured, to be judged.
pub(crate) struct Judged<'a> {
    pub(crate) site: &'a RunSite,
    pub(crate) heard: &'a Heard,
    /// One a second.
    pub(crate) samples: &'a [Seen],
    pub(crate) started: SystemTime,
    /// After how long it was stopped, where it did not come to its end.
    pub(crate) stopped_after: Option<Duration>,
    pub(crate) tables: u32,
    pub(crate) transport: Transport,
    pub(crate) notes: Vec<String>,
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
pub(crate) fn judge_also(report: &mut Report, goals: impl IntoIterator<Item = Goal>) {
    report.targets.extend(goals);
    report.summary.ok = report.targets.iter().all(|target| target.met);
}

/// Makes the report: figures, targets, and whether the recorded session agrees with what the node said at its end. Nothing is
/// recorded where the node was somebody else's, or did not come to its end.
pub(crate) fn judge(
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
        let second = |(at, second): (usize, recorder::Second)| {
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
pub(crate) fn receipt_goal(summary: &Summary, limit_ms: f64) -> Goal {
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
