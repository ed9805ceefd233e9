//! Whole runs: what a seed gives, that it gives it again, and that planted bugs are caught.

use std::collections::BTreeMap;
use std::ops::Range;

use engine::Height;
use sim::fault::Faults;
use sim::marks::reachable;
use sim::plan::Plant;
use sim::{Outcome, Plan, Signatures};

/// That of seed 7 at height 40, where nothing goes wrong.
const ROOT_CHAIN: &str = "e2df29906f2bb2a0404304990c5fbd3f9ce721d23a2355973e764723b09fa57f";

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

/// Two hundred seeds in all, so many of each size; most of four, where one may be faulty.
const SEEDS: [u64; 8] = [40, 30, 24, 76, 14, 10, 4, 2];

#[test]
fn a_seed_is_one_run() {
    let plan = Plan { faults: Faults::All, heights: 60, ..Plan::of(7) };
    let first = sound(&plan);
    assert_eq!(sound(&plan), first);
    assert!(first.height.0 >= plan.heights && first.receipts > 20, "{first:?}");
}

/// The root chain of one run: the same on every machine, at any optimisation. What changes replicated bytes, or when something
/// is said, moves it; then it is made again, and whoever does that knows why.
#[test]
fn a_seed_is_the_same_run_on_every_machine() {
    let plan = Plan { faults: Faults::None, heights: 40, ..Plan::of(7) };
    let outcome = sound(&plan);
    assert_eq!((outcome.height, engine::hex(&outcome.root_chain).as_str()), (Height(40), ROOT_CHAIN));
}

#[test]
fn a_lone_node_keeps_its_promises_whatever_goes_wrong() {
    let mut marks = BTreeMap::new();
    for seed in 0..12 {
        let outcome = sound(&lone(seed));
        outcome.marks.into_iter().for_each(|(name, count)| *marks.entry(name).or_insert(0) += count);
    }
    // A list of rare states proves nothing about seeds that never reach them.
    for mark in reachable(1) {
        assert!(marks.contains_key(mark), "this never happened: {mark}");
    }
}

/// Runs some seeds of one size with simulated signatures.
fn seeds(nodes: u32, seeds: Range<u64>) {
    for seed in seeds {
        let plan = Plan { nodes, signatures: Signatures::Simulated, ..Plan::of(seed) };
        let outcome = sound(&plan);
        let is_honest = plan.drawn().into_iter().all(|fault| !fault.is_of_the_weak());
        assert!(outcome.twice == 0 || !is_honest, "seed {seed}: {} intents were decided twice", outcome.twice);
    }
}

fn of_size(place: usize, part: u64, of: u64) {
    let (from, count) = (1_000 * place as u64, SEEDS[place]);
    seeds(SIZES[place], from + count * part / of..from + count * (part + 1) / of);
}

#[test]
fn clusters_of_one_to_three_keep_their_promises_whatever_goes_wrong() {
    (0..3).for_each(|place| of_size(place, 0, 1));
}

#[test]
fn clusters_of_four_keep_their_promises_whatever_goes_wrong() {
    of_size(3, 0, 2);
}

#[test]
fn clusters_of_four_keep_their_promises_with_other_seeds_too() {
    of_size(3, 1, 2);
}

#[test]
fn clusters_of_five_to_thirteen_keep_their_promises_whatever_goes_wrong() {
    assert_eq!(SEEDS.iter().sum::<u64>(), 200);
    (4..8).for_each(|place| of_size(place, 0, 1));
}

/// Seeds that once broke a property. What drew them has changed since, and will again: where a small test shows the same, it
/// is beside the code.
const ONCE_BROKEN: [u64; 4] = [
    // `one-voice`: the log was ahead of the journal, and what was signed behind the fence was forgotten.
    20_250, // `progress`: one was locked on a block, and nobody else proposed it.
    20_079, // `progress`: after a sync of the index of snapshots failed, no snapshot could be received.
    20_260, // `progress`: heights were ready behind two whose beacons had not been told with them, and nobody asked for those.
    305_305,
];

#[test]
fn what_once_broke_holds() {
    ONCE_BROKEN.into_iter().for_each(|seed| seeds(4, seed..seed + 1));
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
