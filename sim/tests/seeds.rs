//! Whole runs: what a seed gives, that it gives it again, and that planted bugs are caught.

use sim::fault::Faults;
use sim::plan::Plant;
use sim::{Outcome, Plan};

fn run(plan: &Plan) -> Outcome {
    std::thread::scope(|scope| {
        let run = || {
            let _pool = engine::pool::build(1).expect("a pool");
            sim::run(plan, |_, _| ()).expect("a genesis")
        };
        scope.spawn(run).join().expect("a run tells of panics, it has none")
    })
}

fn sound(plan: &Plan) -> Outcome {
    let outcome = run(plan);
    assert_eq!(outcome.broken, None, "again: {}", plan.repeat());
    outcome
}

fn lone(seed: u64) -> Plan {
    Plan { nodes: 1, ..Plan::of(seed) }
}

/// Changes only where replicated bytes or what is simulated changes on purpose.
#[test]
fn a_seed_is_one_run() {
    let plan = Plan { faults: Faults::All, ..lone(7) };
    let first = sound(&plan);
    assert_eq!(sound(&plan), first);
    assert!(first.height.0 >= plan.heights && first.receipts > 100, "{first:?}");
}

#[test]
fn a_lone_node_keeps_its_promises_whatever_goes_wrong() {
    let seeds = std::env::var("BITCRAPS_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(12);
    let mut marks = std::collections::BTreeMap::new();
    for seed in 0..seeds {
        let outcome = sound(&lone(seed));
        outcome.marks.into_iter().for_each(|(name, count)| *marks.entry(name).or_insert(0) += count);
        assert_eq!(outcome.twice, 0, "seed {seed}: an intent was applied twice");
    }
    println!("{marks:?}");
    // A list of rare states proves nothing about seeds that never reach them.
    for mark in sim::outcome::MARKS {
        assert!(marks.contains_key(mark), "in {seeds} seeds this never happened: {mark}");
    }
}

#[test]
fn planted_bugs_are_caught() {
    for plant in Plant::ALL {
        let caught = (0..50).find(|seed| {
            let plan = Plan { plant: Some(plant), ..lone(*seed) };
            run(&plan).broken.is_some()
        });
        let seed = caught.unwrap_or_else(|| panic!("{} was not caught within 50 seeds", plant.name()));
        println!("{}: caught by seed {seed}", plant.name());
    }
}
