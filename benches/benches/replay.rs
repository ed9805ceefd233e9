//! Replay of a session of 1,000 tables, each rolling once a second, at about 300 intents a second: how many times
//! faster than it was played. Re-execution alone, and everything verified.
//!
//! The limit it is compared with is real time itself. `cargo test` shrinks it.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use audit::reading::ReadOptions;
use audit::replay::{Outcome, ReplayConfig, replay};
use benches::beside::{alone, criterion, group};
use benches::tiny;
use criterion::Throughput;
use load::dev::{DevConfig, open};
use load::players::Habits;
use node::clock::Pace;

fn main() {
    let (tables, heights) = if tiny() { (20, 40) } else { (1_000, 1_200) };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("session");
    let _pool = engine::pool::build(threads).expect("a pool");

    let habits = Habits { think_min_ms: 2_400, think_max_ms: 7_200, ..Habits::default() };
    let config = DevConfig {
        tables,
        players: tables,
        threads,
        pace: Pace::Max,
        habits,
        block_interval_ms: 100,
        ..DevConfig::default()
    };
    let mut opened = open(&session, &config).expect("a session");
    opened.node.run(Some(heights), &AtomicBool::new(false), |_, _, _| ()).expect("the session runs");
    let totals = opened.node.close();

    let mut criterion = criterion();
    let mut group = group(&mut criterion, format!("replay/tables={tables}"), Throughput::Elements(heights));
    for (name, verify) in [("execute", false), ("verify", true)] {
        let config = ReplayConfig { verify, ..ReplayConfig::all(ReadOptions::stranger(threads)) };
        let mut last: Option<Outcome> = None;
        let runs = alone(&mut group, name, || {
            let outcome = replay(&session, &config, |_| ()).expect("a whole session");
            assert!(outcome.root == totals.root && outcome.difference.is_none());
            let seconds = outcome.seconds;
            last = Some(outcome);
            Duration::from_secs_f64(seconds)
        });
        let Some(last) = last else { continue };
        let played = last.played_ms as f64 / 1_000.0;
        let intents = last.counts.applied + last.counts.refused;
        println!(
            "replay/tables={tables}/{name}: {:.0} times real time ({played:.1} s of play in {:.3} s; {:.1} heights/s, {:.0} \
             rolls/s, {:.0} intents/s, {} signatures, {} beacons, {threads} threads)",
            played / runs.median(),
            runs.median(),
            last.heights as f64 / played,
            last.counts.rolls as f64 / played,
            intents as f64 / played,
            last.signatures,
            last.beacons,
        );
    }
    group.finish();
    criterion.final_summary();
}
