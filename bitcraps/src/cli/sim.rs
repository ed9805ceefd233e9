use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::{Args, ValueEnum};
use engine::hex;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use sim::fault::Faults;
use sim::marks;
use sim::minimise::minimise;
use sim::plan::Plant;
use sim::properties::Broken;
use sim::{Cost, Outcome, Plan, Signatures};

use super::args::OutputArgs;
use super::bars::bar;
use super::out::{line, remark};
use super::signals::stop_signals;
use words::{Failure, thousands};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps sim --seed 7                     four nodes, one run: what happened, and the root chain that all share\n  bitcraps sim --seed 7 --nodes 7           a cluster of seven\n  bitcraps sim --seed 7 --faults none       nothing goes wrong\n  bitcraps sim --seeds 0..200               many runs, with progress\n  bitcraps sim --minimise 7                 the smallest run like seed 7 that still fails\n  bitcraps sim --plant log-skipped          a bug is planted: exit code 0 if it is caught within 50 seeds, else 5\n\nExit codes: 5 if a property was broken, or a planted bug was not caught."
)]
pub struct SimArgs {
    /// The seed: it decides everything that happens. With --plant, the first of those that look for the bug; 0 if not given.
    #[arg(long, value_name = "S", required_unless_present_any = ["seeds", "minimise", "plant"])]
    seed: Option<u64>,
    /// Run the seeds from A on, below B.
    #[arg(long, value_name = "A..B", value_parser = seeds, conflicts_with_all = ["seed", "minimise", "plant"])]
    seeds: Option<(u64, u64)>,
    /// Make the run of a failing seed smaller.
    #[arg(long, value_name = "S", conflicts_with_all = ["seed", "plant"])]
    minimise: Option<u64>,
    /// Validators, each with a node of its own.
    #[arg(long, default_value_t = 4, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=13))]
    nodes: u32,
    /// Heights that every node is to settle.
    #[arg(long, default_value_t = 300, value_name = "H", value_parser = clap::value_parser!(u64).range(5..))]
    heights: u64,
    /// What may go wrong: none, some (each seed draws its own), all, or a list of names.
    #[arg(long, default_value = "some", value_name = "FAULTS")]
    faults: Faults,
    /// Players.
    #[arg(long, default_value_t = 6, value_name = "P", value_parser = clap::value_parser!(u32).range(1..=64))]
    players: u32,
    /// Real signatures, each verified once for all nodes; the same, unshared, verified by every node for itself; or hashes in
    /// their place, which prove nothing and are fast.
    #[arg(long, value_enum, default_value_t = Signing::Real)]
    signatures: Signing,
    /// Plant a bug, to see that it is caught.
    #[arg(long, value_name = "NAME")]
    plant: Option<Plant>,
    #[command(flatten)]
    output: OutputArgs,
}

/// What signatures are in a run.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Signing {
    Real,
    Unshared,
    Simulated,
}

/// Seeds within which a planted bug must be caught.
const PLANT_SEEDS: u64 = 50;

fn seeds(text: &str) -> Result<(u64, u64), String> {
    let wrong = || format!("`{text}` are no seeds; write A..B, with A below B");
    let (from, to) = text.split_once("..").ok_or_else(wrong)?;
    let (from, to) = (from.parse().map_err(|_| wrong())?, to.parse().map_err(|_| wrong())?);
    if from < to { Ok((from, to)) } else { Err(wrong()) }
}

impl SimArgs {
    fn plan(&self, seed: u64) -> Plan {
        let Self { nodes, heights, players, plant, .. } = *self;
        let signatures = match self.signatures {
            Signing::Real => Signatures::Real,
            Signing::Unshared => Signatures::Unshared,
            Signing::Simulated => Signatures::Simulated,
        };
        Plan { seed, nodes, heights, faults: self.faults.clone(), players, signatures, plant }
    }
}

/// Runs the command.
pub fn run(args: &SimArgs) -> anyhow::Result<()> {
    let _pool = engine::pool::build(1)?;
    // A node that stops by a panic is a finding, and is told as one. Of any other panic nobody tells but whoever panics.
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !sim::is_at_work() {
            usual(panic);
        }
    }));
    found(args, live)?.tell(args.output)
}

/// What comes of what was asked for.
fn found(args: &SimArgs, live: Live) -> anyhow::Result<Found> {
    match (args.seeds, args.minimise, args.plant) {
        (Some((from, to)), ..) => many(args, from, to, live),
        (_, Some(seed), _) => smaller(args, seed, live),
        (.., Some(plant)) => planted(args, plant, live),
        _ => one(args, args.seed.unwrap_or_default(), live),
    }
}

/// What runs a plan, and lets somebody look at its heights.
type Live = fn(&Plan, &dyn Fn(u64)) -> anyhow::Result<(Outcome, Cost)>;

/// Runs a plan. If the simulation itself panics, which is no property of the nodes, the command that shows it again is said too.
fn live(plan: &Plan, look: &dyn Fn(u64)) -> anyhow::Result<(Outcome, Cost)> {
    let lived = catch_unwind(AssertUnwindSafe(|| sim::run_timed(plan, |height, _| look(height.0))));
    lived.unwrap_or_else(|panic| {
        remark(format_args!("bitcraps: the simulation itself stopped\n  again: {}", plan.repeat()));
        resume_unwind(panic)
    })
}

/// What was found, whichever way it was looked for.
struct Found {
    /// For programs.
    value: Value,
    /// For people.
    lines: Vec<String>,
    failure: Option<Failure>,
}

impl Found {
    /// Tells it, and fails only then: what broke something is what programs ask for first.
    fn tell(self, output: OutputArgs) -> anyhow::Result<()> {
        if output.is_for_people() {
            self.lines.iter().try_for_each(|text| line(format_args!("{text}")))?;
        } else {
            say!("{}", self.value);
        }
        self.failure.map_or(Ok(()), |failure| Err(failure.into()))
    }
}

/// A run that is over.
struct Run {
    plan: Plan,
    outcome: Outcome,
    cost: Cost,
    seconds: f64,
}

impl Run {
    fn of(plan: Plan, live: Live, look: &dyn Fn(u64)) -> anyhow::Result<Self> {
        let began = Instant::now();
        let (outcome, cost) = live(&plan, look)?;
        Ok(Self { plan, outcome, cost, seconds: began.elapsed().as_secs_f64() })
    }

    /// A broken property is a mismatch, and names the command that shows it again.
    fn failure(&self) -> Option<Failure> {
        let Broken { property, seen } = self.outcome.broken.as_ref()?;
        Some(Failure::Mismatch(format!("{}: {seen}\n  again: {}", property.name(), self.plan.repeat())))
    }

    /// Adds what was broken to the output for programs.
    fn add_broken(&self, value: &mut Value) {
        if let Some(Broken { property, seen }) = &self.outcome.broken {
            value["broken"] = json!(property.name());
            value["seen"] = json!(seen);
            value["repeat"] = json!(self.plan.repeat());
        }
    }

    /// Milliseconds of a height: all, and real cryptography alone.
    fn a_height(&self) -> [f64; 2] {
        let heights = self.outcome.height.0.max(1) as f64;
        [self.cost.whole, self.cost.cryptography].map(|time| time.as_secs_f64() * 1_000.0 / heights)
    }

    fn lines(&self) -> Vec<String> {
        let Self { plan, outcome, seconds, .. } = self;
        let names: Vec<&str> = plan.drawn().iter().map(|fault| fault.name()).collect();
        let (nodes, players) = (counted(plan.nodes, "node"), counted(plan.players, "player"));
        let mut lines = vec![
            format!("seed {}, {nodes}, {players}: keys from the seed, a chain for development", plan.seed),
            format!("  signatures  {}", signing(plan)),
            format!("  faults      {}", if names.is_empty() { "none".into() } else { names.join(", ") }),
        ];
        lines.extend(outcome.faults.iter().map(|(name, count)| format!("    {name:<18} {count}")));
        lines.push(format!("  height      {}", thousands(outcome.height.0)));
        // Where something broke, the nodes may differ in that too.
        let is_of_all = plan.nodes > 1 && outcome.broken.is_none();
        let whose = if is_of_all { format!(", the same on all {} nodes", plan.nodes) } else { String::new() };
        lines.push(format!("  root chain  {}{whose}", hex(&outcome.root_chain)));
        let (chain_s, events) = (outcome.virtual_ms as f64 / 1_000.0, thousands(outcome.events));
        lines.push(format!("  time        {chain_s:.1} s of the chain in {seconds:.1} s, {events} events"));
        let [whole, cryptography] = self.a_height();
        lines.push(format!("  a height    {whole:.2} ms, of which cryptography {cryptography:.2} ms"));
        let traffic = &outcome.traffic;
        lines.push(format!(
            "  messages    {} sent, {} KB; {} lost, {} cut off, {} doubled, {} reordered, {} again much later, {} held back",
            thousands(traffic.sent),
            thousands(traffic.bytes / 1_000),
            traffic.lost,
            traffic.cut,
            traffic.doubled,
            traffic.reordered,
            traffic.replayed,
            traffic.clogged
        ));
        let heard: Vec<String> = outcome.heard.iter().map(|(name, count)| format!("{name} {count}")).collect();
        lines.push(format!("  answers     {}", heard.join(", ")));
        lines.push(format!(
            "  checked     {} receipts against their blocks; {} sessions replayed",
            thousands(outcome.receipts),
            outcome.replayed
        ));
        lines.extend(lines_of_marks(plan.nodes, &outcome.marks));
        lines
    }

    fn value(&self) -> Value {
        let Self { plan, outcome, seconds, .. } = self;
        let mut value = json!({
            "ok": outcome.broken.is_none(),
            "seed": plan.seed,
            "nodes": plan.nodes,
            "signatures": match plan.signatures {
                Signatures::Real => "real, verified once",
                Signatures::Unshared => "real",
                Signatures::Simulated => "simulated",
            },
            "heights": outcome.height.0,
            "faults": outcome.faults,
            "root_chain": hex(&outcome.root_chain),
            "virtual_ms": outcome.virtual_ms,
            "seconds": seconds,
            "height_ms": self.a_height()[0],
            "cryptography_ms": self.a_height()[1],
            "events": outcome.events,
            "marks": outcome.marks,
            "answers": outcome.heard,
            "receipts": outcome.receipts,
            "replayed": outcome.replayed,
        });
        self.add_broken(&mut value);
        value
    }
}

fn counted(count: u32, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// What the signatures of a run are worth.
fn signing(plan: &Plan) -> &'static str {
    match plan.signatures {
        Signatures::Real => "real; each was verified once, and the verdict remembered for all nodes",
        Signatures::Unshared => "real; each node verified all that it heard",
        Signatures::Simulated => "simulated: hashes stand for them, so that nothing is proved about cryptography",
    }
}

fn lines_of_marks(nodes: u32, marks: &BTreeMap<&'static str, u64>) -> Vec<String> {
    let times = |mark| thousands(marks.get(mark).copied().unwrap_or_default());
    let of_each = marks::reachable(nodes).iter().map(|mark| format!("    {:>8}  {mark}", times(*mark)));
    std::iter::once("  sometimes".to_owned()).chain(of_each).collect()
}

fn one(args: &SimArgs, seed: u64, live: Live) -> anyhow::Result<Found> {
    let plan = args.plan(seed);
    let bar = bar(args.output.is_watched(), plan.heights, "{wide_bar} height {pos} of {len}");
    let run = Run::of(plan, live, &|height| bar.set_position(height));
    bar.finish_and_clear();
    let run = run?;
    Ok(Found { value: run.value(), lines: run.lines(), failure: run.failure() })
}

/// What runs of many seeds came to.
#[derive(Default)]
struct Totals {
    /// Runs in which nothing was broken.
    done: u32,
    virtual_ms: u64,
    heights: u64,
    marks: BTreeMap<&'static str, u64>,
    faults: BTreeMap<&'static str, u64>,
    /// The run that broke something.
    broken: Option<Run>,
}

impl Totals {
    /// Runs one seed after another: the first that breaks something ends it.
    fn of(args: &SimArgs, seeds: std::ops::Range<u64>, live: Live, bar: &ProgressBar) -> anyhow::Result<Self> {
        let stop = stop_signals()?;
        let mut totals = Self::default();
        for seed in seeds {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            bar.set_message(seed.to_string());
            let run = Run::of(args.plan(seed), live, &|_| ())?;
            if run.outcome.broken.is_some() {
                totals.broken = Some(run);
                break;
            }
            let Outcome { marks, faults, height, virtual_ms, .. } = run.outcome;
            marks.into_iter().for_each(|(name, count)| *totals.marks.entry(name).or_default() += count);
            faults.into_iter().for_each(|(name, count)| *totals.faults.entry(name).or_default() += count);
            totals.done += 1;
            totals.heights += height.0;
            totals.virtual_ms += virtual_ms;
            bar.inc(1);
        }
        Ok(totals)
    }
}

fn many(args: &SimArgs, from: u64, to: u64, live: Live) -> anyhow::Result<Found> {
    let bar = bar(args.output.is_watched(), to - from, "{wide_bar} seed {msg}, {pos} of {len}, {per_sec}, {eta} left");
    let began = Instant::now();
    let totals = Totals::of(args, from..to, live, &bar);
    bar.finish_and_clear();
    let Totals { done, virtual_ms, heights, marks, faults, broken } = totals?;
    let seconds = began.elapsed().as_secs_f64();
    let (virtual_hours, per_hour) = (virtual_ms as f64 / 3_600_000.0, f64::from(done) * 3_600.0 / seconds);
    let mut lines = Vec::new();
    if broken.is_none() {
        lines.push(format!("{done} seeds, {} heights: nothing was broken", thousands(heights)));
        lines.push(format!("  {per_hour:.0} seeds an hour, {virtual_hours:.2} h of the chain in {seconds:.1} s"));
        lines.extend(faults.iter().map(|(name, count)| format!("    {name:<18} {}", thousands(*count))));
        lines.extend(lines_of_marks(args.nodes, &marks));
    }
    let mut asked = marks::asked(&args.plan(from)).iter();
    let never = asked.find(|mark| !marks.contains_key(*mark)).filter(|_| done >= 1_000);
    let never = never.map(|mark| Failure::Mismatch(format!("in {done} seeds this never happened: {mark}")));
    let failure = broken.as_ref().and_then(Run::failure).or(never);
    let mut value = json!({
        "ok": failure.is_none(), "seeds": done, "nodes": args.nodes, "heights": heights, "virtual_hours": virtual_hours,
        "seconds": seconds, "seeds_per_hour": per_hour, "faults": faults, "marks": marks,
    });
    if let Some(run) = &broken {
        value["seed"] = json!(run.plan.seed);
        run.add_broken(&mut value);
    }
    Ok(Found { value, lines, failure })
}

fn smaller(args: &SimArgs, seed: u64, live: Live) -> anyhow::Result<Found> {
    let run = Run::of(args.plan(seed), live, &|_| ())?;
    let Some(broken) = &run.outcome.broken else {
        return Ok(Found { value: run.value(), lines: vec![format!("seed {seed} breaks nothing")], failure: None });
    };
    let left = minimise(
        run.plan,
        broken,
        |plan| Ok(live(plan, &|_| ())?.0),
        |plan| remark(format_args!("  still {}: {}", broken.property.name(), plan.repeat())),
    )?;
    let run = Run::of(left, live, &|_| ())?;
    Ok(Found { value: run.value(), lines: Vec::new(), failure: run.failure() })
}

/// A planted bug is to be caught.
fn planted(args: &SimArgs, plant: Plant, live: Live) -> anyhow::Result<Found> {
    let (from, name) = (args.seed.unwrap_or_default(), plant.name());
    for tried in 1..=PLANT_SEEDS {
        // Behind the last seed of all comes the first.
        let run = Run::of(args.plan(from.wrapping_add(tried - 1)), live, &|_| ())?;
        let Some(Broken { property, seen }) = &run.outcome.broken else { continue };
        let seed = run.plan.seed;
        let mut value = json!({ "ok": true, "plant": name, "seeds": tried, "seed": seed });
        run.add_broken(&mut value);
        let caught = format!("{name}: caught by seed {seed}, after {tried} seeds, by {}", property.name());
        return Ok(Found { value, lines: vec![caught, format!("  {seen}")], failure: None });
    }
    let value = json!({ "ok": false, "plant": name, "seeds": PLANT_SEEDS });
    let problem = format!("the planted bug {name} was not caught within {PLANT_SEEDS} seeds");
    Ok(Found { value, lines: Vec::new(), failure: Some(Failure::Mismatch(problem)) })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;
    use sim::properties::Property;

    use super::super::{Cli, Command};
    use super::*;

    fn args(words: &str) -> SimArgs {
        let cli = Cli::try_parse_from(["bitcraps", "sim"].into_iter().chain(words.split(' '))).expect("good options");
        let Command::Sim(args) = cli.command else { panic!("`sim` is another command") };
        args
    }

    fn lived(is_broken: bool) -> (Outcome, Cost) {
        let broken = Broken { property: Property::EqualRoots, seen: "two roots".into() };
        let outcome = Outcome {
            broken: is_broken.then_some(broken),
            height: Default::default(),
            root_chain: [7; 32],
            virtual_ms: 1,
            faults: BTreeMap::new(),
            marks: BTreeMap::new(),
            heard: BTreeMap::new(),
            traffic: Default::default(),
            events: 1,
            receipts: 0,
            twice: 0,
            replayed: 0,
        };
        (outcome, Cost { whole: Duration::ZERO, cryptography: Duration::ZERO })
    }

    #[test]
    fn programs_are_told_what_broke_whichever_way_it_was_looked_for() {
        let odd_breaks: Live = |plan, _| Ok(lived(plan.seed % 2 == 1));
        let none_breaks: Live = |_, _| Ok(lived(false));
        for (words, live, is_broken, is_ok) in [
            ("--seed 2", odd_breaks, false, true),
            ("--seed 1", odd_breaks, true, false),
            ("--seeds 2..3", odd_breaks, false, true),
            ("--seeds 2..9", odd_breaks, true, false),
            ("--minimise 2", odd_breaks, false, true),
            ("--minimise 1", odd_breaks, true, false),
            ("--plant log-skipped --seed 2", odd_breaks, true, true),
            ("--plant log-skipped", none_breaks, false, false),
        ] {
            let Found { value, failure, .. } = found(&args(words), live).expect("it runs");
            assert_eq!((value["ok"].as_bool(), failure.is_none()), (Some(is_ok), is_ok), "{words}: {value}");
            if is_broken {
                let repeat = value["repeat"].as_str().expect(words);
                let failed = failure.is_none_or(|failure| failure.to_string().ends_with(repeat));
                assert!(repeat.starts_with("bitcraps sim --seed ") && failed, "{words}: {value}");
                assert_eq!((&value["broken"], &value["seen"]), (&json!("equal-roots"), &json!("two roots")), "{words}");
            } else {
                assert!(value.get("broken").is_none(), "{words}: {value}");
            }
        }
    }

    #[test]
    fn behind_the_last_seed_comes_the_first() {
        let from_last = args(&format!("--plant log-skipped --seed {}", u64::MAX));
        let value = found(&from_last, |plan, _| Ok(lived(plan.seed == 0))).expect("it runs").value;
        assert_eq!((&value["seed"], &value["ok"]), (&json!(0), &json!(true)), "{value}");
    }

    #[test]
    fn roots_are_said_to_be_the_same_only_where_nothing_broke() {
        let says_so = |words: &str| {
            let lines = found(&args(words), |plan, _| Ok(lived(plan.seed == 1))).expect("it runs").lines;
            lines.iter().any(|line| line.contains("the same on all 4 nodes"))
        };
        assert_eq!((says_so("--seed 1"), says_so("--seed 2"), says_so("--seed 2 --nodes 1")), (false, true, false));
    }
}
