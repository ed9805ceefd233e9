use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering;
use std::time::Instant;

use clap::{Args, ValueEnum};
use engine::hex;
use serde_json::{Value, json};
use sim::fault::Faults;
use sim::marks;
use sim::minimise::minimise;
use sim::plan::Plant;
use sim::{Cost, Outcome, Plan, Signatures};

use super::args::OutputArgs;
use super::bars::bar;
use super::out::remark;
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
    match (args.seeds, args.minimise, args.plant) {
        (Some((from, to)), ..) => many(args, from, to),
        (_, Some(seed), _) => smaller(args, seed),
        (.., Some(plant)) => planted(args, plant),
        _ => one(args, args.seed.unwrap_or_default()),
    }
}

/// Runs a plan. If the simulation itself panics, which is no property of the nodes, the command that shows it again is said too.
fn live(plan: &Plan, mut look: impl FnMut(u64)) -> anyhow::Result<(Outcome, Cost)> {
    let lived = catch_unwind(AssertUnwindSafe(|| sim::run_timed(plan, |height, _| look(height.0))));
    lived.unwrap_or_else(|panic| {
        remark(format_args!("bitcraps: the simulation itself stopped\n  again: {}", plan.repeat()));
        resume_unwind(panic)
    })
}

fn one(args: &SimArgs, seed: u64) -> anyhow::Result<()> {
    let plan = args.plan(seed);
    let bar = bar(args.output.is_watched(), plan.heights, "{wide_bar} height {pos} of {len}");
    let began = Instant::now();
    let (outcome, cost) = live(&plan, |height| bar.set_position(height))?;
    bar.finish_and_clear();
    let seconds = began.elapsed().as_secs_f64();
    if !args.output.is_for_people() {
        say!("{}", as_json(&plan, &outcome, cost, seconds))
    } else {
        print(&plan, &outcome, cost, seconds)?;
    }
    judge(&plan, &outcome)
}

/// A broken property is a mismatch, and names the command that shows it again.
fn judge(plan: &Plan, outcome: &Outcome) -> anyhow::Result<()> {
    let Some(broken) = &outcome.broken else { return Ok(()) };
    let (property, seen) = (broken.property.name(), &broken.seen);
    Err(Failure::Mismatch(format!("{property}: {seen}\n  again: {}", plan.repeat())).into())
}

fn print(plan: &Plan, outcome: &Outcome, cost: Cost, seconds: f64) -> anyhow::Result<()> {
    let names: Vec<&str> = plan.drawn().iter().map(|fault| fault.name()).collect();
    let (nodes, players) = (counted(plan.nodes, "node"), counted(plan.players, "player"));
    say!("seed {}, {nodes}, {players}: keys from the seed, a chain for development", plan.seed);
    say!("  signatures  {}", signing(plan));
    say!("  faults      {}", if names.is_empty() { "none".into() } else { names.join(", ") });
    for (name, count) in &outcome.faults {
        say!("    {:<18} {count}", name);
    }
    say!("  height      {}", thousands(outcome.height.0));
    let whose = if plan.nodes > 1 { format!(", the same on all {} nodes", plan.nodes) } else { String::new() };
    say!("  root chain  {}{whose}", hex(&outcome.root_chain));
    say!(
        "  time        {:.1} s of the chain in {seconds:.1} s, {} events",
        outcome.virtual_ms as f64 / 1_000.0,
        thousands(outcome.events)
    );
    let [whole, cryptography] = a_height(cost, outcome);
    say!("  a height    {whole:.2} ms, of which cryptography {cryptography:.2} ms");
    let traffic = &outcome.traffic;
    say!(
        "  messages    {} sent, {} KB; {} lost, {} cut off, {} doubled, {} reordered, {} again much later, {} held back",
        thousands(traffic.sent),
        thousands(traffic.bytes / 1_000),
        traffic.lost,
        traffic.cut,
        traffic.doubled,
        traffic.reordered,
        traffic.replayed,
        traffic.clogged
    );
    let heard: Vec<String> = outcome.heard.iter().map(|(name, count)| format!("{name} {count}")).collect();
    say!("  answers     {}", heard.join(", "));
    say!(
        "  checked     {} receipts against their blocks; {} sessions replayed",
        thousands(outcome.receipts),
        outcome.replayed
    );
    print_marks(plan.nodes, &outcome.marks)
}

/// Milliseconds of a height: all, and real cryptography alone.
fn a_height(cost: Cost, outcome: &Outcome) -> [f64; 2] {
    let heights = outcome.height.0.max(1) as f64;
    [cost.whole, cost.cryptography].map(|time| time.as_secs_f64() * 1_000.0 / heights)
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

fn print_marks(nodes: u32, marks: &std::collections::BTreeMap<&'static str, u64>) -> anyhow::Result<()> {
    say!("  sometimes");
    for mark in marks::reachable(nodes) {
        say!("    {:>8}  {mark}", thousands(marks.get(mark).copied().unwrap_or_default()));
    }
    Ok(())
}

fn as_json(plan: &Plan, outcome: &Outcome, cost: Cost, seconds: f64) -> Value {
    let broken = outcome.broken.as_ref();
    let mut value = json!({
        "ok": broken.is_none(),
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
        "height_ms": a_height(cost, outcome)[0],
        "cryptography_ms": a_height(cost, outcome)[1],
        "events": outcome.events,
        "marks": outcome.marks,
        "answers": outcome.heard,
        "receipts": outcome.receipts,
        "replayed": outcome.replayed,
    });
    if let Some(broken) = broken {
        value["broken"] = json!(broken.property.name());
        value["seen"] = json!(broken.seen);
        value["repeat"] = json!(plan.repeat());
    }
    value
}

/// Many seeds: the first that breaks something ends it.
fn many(args: &SimArgs, from: u64, to: u64) -> anyhow::Result<()> {
    let stop = stop_signals()?;
    let bar = bar(args.output.is_watched(), to - from, "{wide_bar} seed {msg}, {pos} of {len}, {per_sec}, {eta} left");
    let began = Instant::now();
    let (mut done, mut virtual_ms, mut heights) = (0, 0, 0);
    let (mut reached, mut faults) = (std::collections::BTreeMap::new(), std::collections::BTreeMap::new());
    for seed in from..to {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        bar.set_message(seed.to_string());
        let plan = args.plan(seed);
        let outcome = live(&plan, |_| ())?.0;
        judge(&plan, &outcome)?;
        outcome.marks.iter().for_each(|(name, count)| *reached.entry(*name).or_insert(0) += count);
        outcome.faults.iter().for_each(|(name, count)| *faults.entry(*name).or_insert(0) += count);
        done += 1;
        heights += outcome.height.0;
        virtual_ms += outcome.virtual_ms;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let hours = began.elapsed().as_secs_f64() / 3_600.0;
    let (virtual_hours, per_hour) = (virtual_ms as f64 / 3_600_000.0, f64::from(done) / hours);
    let mut asked = marks::asked(&args.plan(from)).iter();
    let never = asked.find(|mark| !reached.contains_key(*mark)).filter(|_| done >= 1_000);
    let judged = never
        .map_or(Ok(()), |mark| Err(Failure::Mismatch(format!("in {done} seeds this never happened: {mark}")).into()));
    if !args.output.is_for_people() {
        let value = json!({
            "ok": never.is_none(), "seeds": done, "nodes": args.nodes, "heights": heights, "virtual_hours": virtual_hours,
            "seconds": hours * 3_600.0, "seeds_per_hour": per_hour, "faults": faults, "marks": reached,
        });
        say!("{value}");
        return judged;
    }
    say!("{done} seeds, {} heights: nothing was broken", thousands(heights));
    say!("  {per_hour:.0} seeds an hour, {virtual_hours:.2} h of the chain in {:.1} s", hours * 3_600.0);
    for (name, count) in &faults {
        say!("    {:<18} {}", name, thousands(*count));
    }
    print_marks(args.nodes, &reached)?;
    judged
}

fn smaller(args: &SimArgs, seed: u64) -> anyhow::Result<()> {
    let plan = args.plan(seed);
    let Some(broken) = live(&plan, |_| ())?.0.broken else {
        say!("seed {seed} breaks nothing");
        return Ok(());
    };
    let left = minimise(
        plan,
        broken.property,
        |plan| Ok(live(plan, |_| ())?.0),
        |plan| remark(format_args!("  still {}: {}", broken.property.name(), plan.repeat())),
    )?;
    let outcome = live(&left, |_| ())?.0;
    judge(&left, &outcome)
}

/// A planted bug is to be caught.
fn planted(args: &SimArgs, plant: Plant) -> anyhow::Result<()> {
    let from = args.seed.unwrap_or_default();
    for tried in 1..=PLANT_SEEDS {
        // Behind the last seed of all comes the first.
        let seed = from.wrapping_add(tried - 1);
        let plan = args.plan(seed);
        let Some(broken) = live(&plan, |_| ())?.0.broken else { continue };
        if !args.output.is_for_people() {
            say!(
                "{}",
                json!({ "ok": true, "plant": plant.name(), "seeds": tried, "seed": seed, "broken": broken.property.name(), "seen": broken.seen })
            );
        } else {
            say!("{}: caught by seed {seed}, after {tried} seeds, by {}", plant.name(), broken.property.name());
            say!("  {}", broken.seen);
        }
        return Ok(());
    }
    Err(Failure::Mismatch(format!("the planted bug {} was not caught within {PLANT_SEEDS} seeds", plant.name())).into())
}
