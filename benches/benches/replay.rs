//! Replay of a session of 1,000 tables, each rolling once a second, at about 300 intents a second: how many times
//! faster than it was played. Re-execution alone, and everything verified.
//!
//! The limit it is compared with is real time itself. `cargo test` shrinks it.

use std::sync::atomic::AtomicBool;

use audit::replay::{Outcome, ReplayConfig, replay};
use benches::tiny;
use load::dev::{DevConfig, open};
use load::players::Temper;
use node::clock::Pace;

const RUNS: usize = 5;

fn main() {
    let (tables, heights, runs) = if tiny() { (20, 40, 1) } else { (1_000, 1_200, RUNS) };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("session");
    let _pool = engine::pool::build(threads).expect("a pool");

    let temper = Temper { think_min_ms: 2_400, think_max_ms: 7_200, ..Temper::default() };
    let config = DevConfig {
        tables,
        players: tables,
        threads,
        pace: Pace::Max,
        temper,
        block_interval_ms: 100,
        ..DevConfig::default()
    };
    let mut opened = open(&session, &config).expect("a session");
    opened.node.run(Some(heights), &AtomicBool::new(false), |_, _, _| ()).expect("the session runs");
    let totals = opened.node.close();

    for (name, verify) in [("replay::execute", false), ("replay::verify", true)] {
        let config = ReplayConfig { verify, ..ReplayConfig::all(threads) };
        let mut outcomes: Vec<Outcome> =
            (0..runs).map(|_| replay(&session, &config, |_| ()).expect("a whole session")).collect();
        assert!(outcomes.iter().all(|outcome| outcome.root == totals.root && outcome.difference.is_none()));
        outcomes.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        let median = &outcomes[outcomes.len() / 2];
        let played = median.played_ms as f64 / 1_000.0;
        let intents = median.counts.applied + median.counts.refused;
        println!(
            "{name}/tables={tables}: {:.0} times real time (median of {runs}; {played:.1} s of play in {:.3} s; \
             {:.1} heights/s, {:.0} rolls/s, {:.0} intents/s, {} signatures, {} beacons, {threads} threads)",
            played / median.seconds,
            median.seconds,
            median.heights as f64 / played,
            median.counts.rolls as f64 / played,
            intents as f64 / played,
            median.signatures,
            median.beacons,
        );
    }
}
