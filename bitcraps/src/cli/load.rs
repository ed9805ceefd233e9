//! `load`: many players against one node, judged.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use indicatif::ProgressBar;

use super::args::{Format, OutputArgs, time, workers_in_range};
use super::bars::bar;
use super::signals::stop_signals;
use load::kills::shortest_run;
use load::meter::Sample;
use load::report::{Comparison, Report, comparison_html, write_new_in};
use load::rogue::RogueKind;
use load::run::{Progress, RunSite, run as run_load};
use load::scenario::{DURATION_MAX, HostileKind, Load, Scenario};
use net::settings::parse_address;
use node::config::workers;
use words::{Failure, thousands};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps load baseline --time-scale 0.1        30 seconds instead of 5 minutes\n  bitcraps load peak --report reports/peak\n  bitcraps load baseline --nodes 4 --kill 1 --duration 60s\n  bitcraps load baseline --nodes 4 --delay-ms 5..15 --duration 1m\n  bitcraps load pledged --users 200               half of them bring half of their dice\n  bitcraps load peak --rate 15000 --duration 60s --watchers 100 --hostile 50\n  bitcraps load --compare reports/before reports/after\n\nExit codes: 6 if a target was missed. The targets: bet to receipt P95 under 50 ms, bet to acknowledgement P95 under 10 ms,\nnothing lost, 99% of what was due settled, memory under 512 MB, the node runs to the end, and the recorded session replays\nto the same root chain. Of several validators also: receipts under 150 ms, those that were killed are level again, all run\nand are level at the end, and all root chains are equal."
)]
pub struct LoadArgs {
    /// How much, and for how long.
    #[arg(value_enum, required_unless_present = "compare")]
    scenario: Option<Scenario>,
    /// Users, instead of the scenario's.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: Option<u32>,
    /// Intents a second of all users together, instead of the scenario's.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Intents that a user sends at once, and is silent for as much longer. The rate is that of all, as ever.
    #[arg(long, default_value_t = 1, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(engine::limits::PEER_CREDIT)))]
    burst: u32,
    /// For how long, such as 90s or 20m, instead of the scenario's; a bare number is seconds.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    duration: Option<Duration>,
    /// A part of the scenario's duration, such as 0.1.
    #[arg(long, default_value_t = 1.0, value_name = "PART", value_parser = part, conflicts_with = "duration")]
    time_scale: f64,
    /// How long the rate rises from nothing, such as 10s.
    #[arg(long, default_value = "0", value_name = "TIME", value_parser = time)]
    ramp: Duration,
    /// Users who watch their table.
    #[arg(long, default_value_t = 0, value_name = "COUNT")]
    watchers: u32,
    /// Connections that are dropped and made again, a second.
    #[arg(long, default_value_t = 0.0, value_name = "RATE", value_parser = churn)]
    churn: f64,
    /// Further connections that watch tables and never read.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    slow_readers: u32,
    /// Further connections that do what is forbidden, from an address of their own.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    hostile: u32,
    /// What they do, instead of each kind in turn.
    #[arg(long, value_enum, value_name = "KIND", requires = "hostile")]
    hostile_kind: Option<HostileKind>,
    /// Further connections that say hello and nothing else.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=15_000))]
    idle: u32,
    /// Craps tables, instead of as many as the users fill.
    #[arg(long, conflicts_with = "target", value_parser = clap::value_parser!(u32).range(1..=i64::from(engine::limits::TABLES_MAX)))]
    tables: Option<u32>,
    /// A node that runs already. Without it, one is started, and its session replayed at the end.
    #[arg(long, value_name = "ADDR", value_parser = parse_address)]
    target: Option<SocketAddr>,
    /// Validators that are started, each a process; users are spread over all of them.
    #[arg(long, default_value_t = 1, conflicts_with_all = ["target", "in_process", "hostile", "idle", "slow_readers"], value_parser = clap::value_parser!(u32).range(1..=16))]
    nodes: u32,
    /// Validators that are killed in the middle of the run, one after another, and started again after 5 s.
    #[arg(long, default_value_t = 0, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(0..=16))]
    kill: u32,
    /// Milliseconds that a packet takes from one validator to another, such as 5..15.
    #[arg(long, value_name = "A..B", value_parser = delay)]
    delay_ms: Option<std::ops::RangeInclusive<u64>>,
    /// The last validator takes part in nothing and floods the others with this.
    #[arg(long, value_enum, value_name = "KIND", conflicts_with = "kill")]
    rogue: Option<RogueKind>,
    /// No sockets: the node is part of this process. For up to a million users.
    #[arg(long, conflicts_with_all = ["target", "watchers", "churn", "slow_readers", "hostile", "idle"])]
    in_process: bool,
    /// Where the report goes: `report.html` and `report.json`.
    #[arg(long, value_name = "DIR")]
    report: Option<PathBuf>,
    /// Compare two reports instead.
    #[arg(long, num_args = 2, value_names = ["A", "B"], conflicts_with = "scenario")]
    compare: Option<Vec<PathBuf>>,
    /// Keep the started node and its session here.
    #[arg(long, value_name = "DIR", conflicts_with = "target")]
    data: Option<PathBuf>,
    /// Workers of the started node's tick pool.
    #[arg(long, default_value_t = workers(), value_name = "N", value_parser = workers_in_range, conflicts_with = "target")]
    threads: usize,
    /// Decides the users' keys and bets.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    output: OutputArgs,
}

impl LoadArgs {
    /// Whether something was said that does not go with players who have a table each.
    fn asks_for_more(&self) -> bool {
        let others = [self.watchers, self.slow_readers, self.hostile, self.idle, self.kill];
        let is_elsewhere = self.in_process || self.target.is_some() || self.delay_ms.is_some();
        others.into_iter().any(|count| count > 0)
            || self.churn > 0.0
            || self.burst > 1
            || self.ramp > Duration::ZERO
            || self.rate.is_some()
            || self.tables.is_some()
            || self.rogue.is_some()
            || is_elsewhere
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let least = Duration::from_secs(1);
    let wrong = || format!("a time from 1s to {}h, such as 90s, not {text}", DURATION_MAX.as_secs() / 3_600);
    time(text).and_then(|time| if (least..=DURATION_MAX).contains(&time) { Ok(time) } else { Err(wrong()) })
}

fn part(text: &str) -> Result<f64, String> {
    let wrong = || "a number above 0, at most 10".to_owned();
    text.parse().ok().filter(|part| *part > 0.0 && *part <= 10.0).ok_or_else(wrong)
}

fn delay(text: &str) -> Result<std::ops::RangeInclusive<u64>, String> {
    let wrong = || "two numbers of milliseconds, at most 1000, such as 5..15".to_owned();
    let (least, most) = text.split_once("..").ok_or_else(wrong)?;
    let (least, most): (u64, u64) = (least.parse().map_err(|_| wrong())?, most.parse().map_err(|_| wrong())?);
    if least <= most && most <= 1_000 { Ok(least..=most) } else { Err(wrong()) }
}

fn rate(text: &str) -> Result<f64, String> {
    let wrong = || "a number from 1 to 1000000".to_owned();
    text.parse().ok().filter(|rate| (1.0..=1e6).contains(rate)).ok_or_else(wrong)
}

fn churn(text: &str) -> Result<f64, String> {
    let wrong = || "a number from 0 to 10000".to_owned();
    text.parse().ok().filter(|churn| (0.0..=1e4).contains(churn)).ok_or_else(wrong)
}

/// Runs the command.
pub fn run(args: &LoadArgs) -> anyhow::Result<()> {
    if let Some([a, b]) = args.compare.as_deref() {
        return compare(args, a, b);
    }
    let scenario = args.scenario.expect("required without --compare");
    let load = load_of(args, scenario)?;
    check_nodes(args, load.duration)?;
    // Before a run of minutes whose report would have no place.
    if let Some(dir) = &args.report {
        Report::check_place(dir)?;
    }
    let stop = stop_signals()?;
    let temporary = std::env::temp_dir().join(format!("bitcraps-load-{}", std::process::id()));
    let dir = args.data.clone().unwrap_or_else(|| temporary.clone());
    let (nodes, kill, delay_ms, rogue) = (args.nodes, args.kill, args.delay_ms.clone(), args.rogue);
    let site = RunSite { target: args.target, dir, threads: args.threads, nodes, kill, delay_ms, rogue };
    if args.output.is_for_people() {
        say!(
            "Load `{}`: {} users, {} intents a second, {} s.\n",
            scenario.name(),
            thousands(load.users.into()),
            thousands(load.rate as u64),
            load.duration.as_secs_f64()
        );
    }
    let length = load.duration.as_millis() as u64;
    let bar = bar(args.output.is_watched(), length, "{wide_msg}\n  [{wide_bar}] {percent}%, {eta} left");
    let show = |progress: &Progress| show(&bar, progress);
    let result = if scenario == Scenario::Pledged {
        load::pledged::run(&load, &site, &stop, show)
    } else if args.in_process {
        load::in_process::run(&load, &site, &stop, show)
    } else if site.nodes > 1 {
        load::several::run(&load, &site, &stop, show)
    } else {
        run_load(&load, &site, &stop, show)
    };
    bar.finish_and_clear();
    // What was kept only for the replay goes, whatever came of the run.
    let is_kept = args.data.is_some() || !temporary.exists();
    let removed = if is_kept { Ok(()) } else { std::fs::remove_dir_all(&temporary) };
    let mut report = result?;
    report.scenario = scenario.name().into();
    tell(args, &report)?;
    Ok(removed?)
}

/// What is to be run, if it can be.
fn load_of(args: &LoadArgs, scenario: Scenario) -> Result<Load, Failure> {
    let (users, rate, seconds) = scenario.figures();
    let duration = args.duration.unwrap_or(Duration::from_secs(seconds).mul_f64(args.time_scale));
    let ramp = args.ramp;
    if ramp > duration {
        return Err(Failure::Usage("the ramp is longer than the run".into()));
    }
    let is_pledged = scenario == Scenario::Pledged;
    if is_pledged && args.asks_for_more() {
        let problem = "`pledged` has a table for each player, which bets and calls once a second: it takes --users, --duration, \
                       --time-scale, --nodes, --threads, --seed, --data and --report";
        return Err(Failure::Usage(problem.into()));
    }
    let users = args.users.unwrap_or(users);
    if is_pledged && users < 2 {
        return Err(Failure::Usage("`pledged` compares two kinds of tables: --users 2 or more".into()));
    }
    if args.watchers > users {
        return Err(Failure::Usage(format!("--watchers {}: there are {users} users", args.watchers)));
    }
    let rate = args.rate.unwrap_or(if is_pledged { users.into() } else { rate.into() });
    let most = 30.0 * f64::from(users);
    if rate > most && !args.in_process {
        return Err(Failure::Usage(format!("{users} users send at most {most} intents a second; ask for more")));
    }
    Ok(Load {
        users,
        rate,
        burst: args.burst,
        duration,
        ramp,
        watchers: args.watchers,
        churn: args.churn,
        slow_readers: args.slow_readers,
        hostile: args.hostile,
        hostile_kind: args.hostile_kind,
        idle: args.idle,
        tables_min: args.tables.unwrap_or(0),
        seed: args.seed,
    })
}

/// Refuses what so few validators cannot do.
fn check_nodes(args: &LoadArgs, length: Duration) -> Result<(), Failure> {
    let problem = match args.nodes {
        ..2 if args.kill > 0 || args.delay_ms.is_some() => {
            "--kill and --delay-ms are for several validators: say --nodes 4".into()
        }
        ..4 if args.rogue.is_some() => {
            "--rogue: fewer than four validators do nothing without one of them: say --nodes 4".into()
        }
        nodes if args.kill > nodes => format!("--kill {}: there are {nodes} validators", args.kill),
        _ if length < shortest_run(args.kill) => format!(
            "--kill {}: each is away and comes back before the next one goes, which takes {} s: say a longer --duration",
            args.kill,
            shortest_run(args.kill).as_secs() + 1
        ),
        _ => return Ok(()),
    };
    Err(Failure::Usage(problem))
}

/// Says what came of a run, and fails if a target was missed. It is said first: a report that cannot be written takes nothing of it.
fn tell(args: &LoadArgs, report: &Report) -> anyhow::Result<()> {
    let people = args.output.is_for_people();
    if people {
        say!("{}", summary(report));
    } else {
        say!("{}", serde_json::to_string(report)?);
    }
    if let Some(dir) = &args.report {
        report.write(dir)?;
        if people {
            say!("\nReport: {}", dir.join("report.html").display());
        }
    }
    if report.summary.ok {
        return Ok(());
    }
    let missed: Vec<String> = report
        .targets
        .iter()
        .filter(|target| !target.met)
        .map(|target| format!("{}: wanted {}, found {}", target.name, target.wanted, target.found))
        .collect();
    Err(Failure::Target(format!("missed: {}", missed.join("; "))).into())
}

fn show(bar: &ProgressBar, progress: &Progress) {
    let progress = match progress {
        Progress::Signing(part) => {
            bar.set_message(format!("signing ahead: {:.0}%", 100.0 * part));
            return;
        }
        Progress::Running(running) => running,
    };
    if bar.position() == 0 {
        bar.reset_eta();
    }
    let counts = &progress.counts;
    bar.set_position(progress.elapsed.as_millis() as u64);
    let node = progress.node.map_or_else(String::new, |Sample { memory_mb, cpu_percent }| {
        format!("  node {cpu_percent:.0}% CPU, {memory_mb:.0} MB")
    });
    bar.set_message(format!(
        "{} offered  {} acknowledged  {} settled  {} refused  P95 {:.1} ms{node}",
        thousands(counts.offered),
        thousands(counts.acknowledged),
        thousands(counts.settled),
        thousands(counts.refused),
        progress.p95_ms,
    ));
}

fn summary(report: &Report) -> String {
    let found = &report.summary;
    let mut text = format!(
        "  offered       {}\n  acknowledged  {}\n  settled       {}, {:.0} a second\n  refused       {}\n  lost          {}\n  \
         bet to receipt   P50 {:.1}  P95 {:.1}  P99 {:.1}  max {:.1} ms\n  \
         bet to acknowledgement  P50 {:.1}  P95 {:.1}  P99 {:.1}  max {:.1} ms\n  node          {}\n",
        thousands(found.offered),
        thousands(found.acknowledged),
        thousands(found.settled),
        found.rate,
        thousands(found.refused),
        thousands(found.lost),
        found.p50_ms,
        found.p95_ms,
        found.p99_ms,
        found.max_ms,
        report.acknowledgement.p50_ms,
        report.acknowledgement.p95_ms,
        report.acknowledgement.p99_ms,
        report.acknowledgement.max_ms,
        match (found.cpu_percent, found.rss_mb) {
            (Some(cpu_percent), Some(rss_mb)) => format!("{cpu_percent:.0}% of one core, {rss_mb:.0} MB"),
            _ => "not measured".into(),
        },
    );
    for (code, count) in &report.refusals {
        text += &format!("                {code} {}\n", thousands(*count));
    }
    for target in &report.targets {
        let mark = if target.met { "met   " } else { "MISSED" };
        text += &format!("\n  {mark}  {}: {} (wanted: {})", target.name, target.found, target.wanted);
    }
    text
}

fn compare(args: &LoadArgs, a: &std::path::Path, b: &std::path::Path) -> anyhow::Result<()> {
    let read = |path| Report::read(path).map_err(|error| Failure::Data(error.to_string()));
    let (a, b) = (read(a)?, read(b)?);
    let comparison = Comparison::of(&a, &b);
    match args.output.format {
        Format::Table => say!("{comparison}"),
        Format::Json | Format::Ndjson => say!("{}", serde_json::to_string(&comparison)?),
    }
    if let Some(dir) = &args.report {
        write_new_in(dir, &[("comparison.html", comparison_html(&a, &b))])?;
    }
    Ok(())
}
