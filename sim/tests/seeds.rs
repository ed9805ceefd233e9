//! Whole runs: what a seed gives, that it gives it again, and that planted bugs are caught.

use std::collections::BTreeMap;

use sim::fault::Faults;
use sim::marks::{MARKS, MARKS_ALONE};
use sim::plan::Plant;
use sim::{Outcome, Plan, Signatures};

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

/// Sizes at which the number that may be faulty, or that must agree, changes.
const SIZES: [u32; 8] = [1, 2, 3, 4, 5, 7, 10, 13];

/// How many seeds a test runs where nothing else is said.
fn seeds(usual: u64) -> u64 {
    std::env::var("BITCRAPS_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Changes only where replicated bytes or what is simulated changes on purpose.
#[test]
fn a_seed_is_one_run() {
    let plan = Plan { faults: Faults::All, heights: 60, ..Plan::of(7) };
    let first = sound(&plan);
    assert_eq!(sound(&plan), first);
    assert!(first.height.0 >= plan.heights && first.receipts > 20, "{first:?}");
}

#[test]
fn a_lone_node_keeps_its_promises_whatever_goes_wrong() {
    let mut marks = BTreeMap::new();
    for seed in 0..seeds(12) {
        let outcome = sound(&lone(seed));
        outcome.marks.into_iter().for_each(|(name, count)| *marks.entry(name).or_insert(0) += count);
        assert_eq!(outcome.twice, 0, "seed {seed}: an intent was applied twice");
    }
    // A list of rare states proves nothing about seeds that never reach them.
    for mark in &MARKS[..MARKS_ALONE] {
        assert!(marks.contains_key(mark), "this never happened: {mark}");
    }
}

#[test]
fn a_cluster_of_any_size_keeps_its_promises_whatever_goes_wrong() {
    for (place, nodes) in SIZES.into_iter().enumerate() {
        for seed in 0..seeds(3) {
            let seed = 100 * place as u64 + seed;
            sound(&Plan { nodes, heights: 60, signatures: Signatures::Simulated, ..Plan::of(seed) });
        }
    }
}

#[test]
fn planted_bugs_are_caught() {
    for plant in Plant::all() {
        let caught = (0..50).find(|seed| {
            let plan = Plan { plant: Some(plant), heights: 100, signatures: Signatures::Simulated, ..Plan::of(*seed) };
            run(&plan).broken.is_some()
        });
        let seed = caught.unwrap_or_else(|| panic!("{} was not caught within 50 seeds", plant.name()));
        println!("{}: caught by seed {seed}", plant.name());
    }
}
