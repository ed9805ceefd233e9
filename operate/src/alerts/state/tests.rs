use node::readings::{BUCKET_ENDS_US, Histogram, TickReadings};

use super::*;
use crate::reading::{NetworkReading, Reading};

const SECOND: Duration = Duration::from_secs(1);

/// A node where all is well: nothing that a rule compares is beyond its thresholds, and all of it is known.
fn well(at: Instant, second: u64) -> Reading {
    let mut reading = Reading::empty(at);
    reading.at_ms = 1_000 * second;
    reading.tick = TickReadings { ticks: 200 * second, arrived: 100 * second, ..reading.tick };
    took(&mut reading.tick.decision, 900, 20 * second);
    took(&mut reading.tick.sync, 900, 20 * second);
    reading.memory_budget = Some(1_000);
    reading.process.memory_bytes = Some(500);
    reading.process.cpu_seconds = Some(0.1 * second as f64);
    reading.process.files = Some(10);
    reading.machine.cpus = Some(2);
    reading.machine.files_max = Some(1_000);
    reading.disk_free_bytes = Some(1 << 40);
    reading.session_bytes = Some(1 << 20);
    reading.pressure.memory = Some(0.0);
    reading.network = Some(NetworkReading {
        counters: Vec::new(),
        connections: 1,
        connections_max: 100,
        reserved_bytes: 1,
        buffer_bytes_max: 100,
        held_bytes: 0,
        nodes_known: 0,
    });
    reading
}

/// Counts `count` times that something took `micros` microseconds.
fn took(times: &mut Histogram, micros: u64, count: u64) {
    times.counts[BUCKET_ENDS_US.partition_point(|end| *end < micros)] += count;
    times.sum_us += micros * count;
}

fn network(reading: &mut Reading) -> &mut NetworkReading {
    reading.network.as_mut().expect("a node with a network")
}

/// What is the matter when a rule is to fire, `second` seconds after it began.
type Trouble = fn(&mut Reading, u64);

const TROUBLES: &[(&str, Trouble)] = &[
    ("NoProgress", |reading, second| reading.stalled = Duration::from_secs(second)),
    ("ThreadFrozen", |reading, _| reading.threads_frozen = 1),
    ("DiskFull", |reading, _| reading.tick.disk_full = 1),
    ("Alarm", |reading, _| reading.tick.alarms += 1),
    ("MemoryHigh", |reading, _| reading.process.memory_bytes = Some(999)),
    ("ConnectionsHigh", |reading, _| network(reading).connections = 99),
    ("BuffersHigh", |reading, _| network(reading).reserved_bytes = 99),
    ("DecisionSlow", |reading, second| took(&mut reading.tick.decision, 200_000, 40 * second)),
    ("SyncSlow", |reading, second| took(&mut reading.tick.sync, 400_000, 40 * second)),
    ("TicksOverrun", |reading, second| reading.tick.ticks_overrun += 190 * second),
    ("TicksMissed", |reading, second| reading.tick.ticks_missed += 150 * second),
    ("Shedding", |reading, second| reading.tick.shed += 50 * second),
    ("IntentsWaiting", |reading, _| reading.tick.unanswered = engine::limits::PENDING_MAX as u64),
    ("CpuHigh", |reading, second| reading.process.cpu_seconds = Some(2.0 * second as f64)),
    ("DiskLow", |reading, _| reading.disk_free_bytes = Some(1 << 20)),
    ("DiskFilling", |reading, second| reading.session_bytes = Some((1 << 20) + (second << 30))),
    ("SnapshotsFail", |reading, _| reading.tick.snapshots_failed += 1),
    ("Follows", |reading, _| reading.tick.follows = 1),
    ("FilesHigh", |reading, _| reading.process.files = Some(990)),
    ("SwitchesHigh", |reading, second| {
        reading.process.threads =
            vec![crate::process::ThreadReading { switches_voluntary: 20_000 * second, ..Default::default() }];
    }),
    ("MemoryPressure", |reading, _| reading.pressure.memory = Some(0.9)),
];

/// Seconds for which trouble lasts, and those after which all is over again: longer than any rule looks back.
const LASTS: u64 = 700;
const CALM: u64 = 1_500;

#[test]
fn every_rule_fires_in_its_own_trouble_and_clears_after_it() {
    assert_eq!(TROUBLES.len(), RULES.len(), "each rule has its trouble");
    for (name, trouble) in TROUBLES {
        let (mut alerts, mut history, began) = (Alerts::default(), History::default(), Instant::now());
        let mut changes = Vec::new();
        for second in 1..=LASTS + CALM {
            let mut reading = well(began + SECOND * second as u32, second);
            // Counters stay where trouble left them; what only says how it is now is well again.
            let counted = reading.clone();
            if second >= 20 {
                trouble(&mut reading, second.min(LASTS) - 19);
            }
            if second > LASTS {
                let left = reading.tick;
                let process = reading.process.clone();
                reading = counted;
                reading.tick = TickReadings { disk_full: 0, unanswered: 0, follows: 0, ..left };
                (reading.process.cpu_seconds, reading.process.threads) = (process.cpu_seconds, process.threads);
                if *name == "DiskFilling" {
                    reading.session_bytes = Some((1 << 20) + (LASTS << 30));
                }
            }
            history.push(reading);
            changes.extend(alerts.step(&history));
        }
        let others: Vec<_> = changes.iter().filter(|change| change.rule != *name).collect();
        assert!(others.is_empty(), "{name}: {others:?}");
        let levels: Vec<Level> = changes.iter().map(|change| change.level).collect();
        let rule = RULES.iter().find(|rule| rule.name == *name).expect("a rule of that name");
        let worst = rule.thresholds().next().expect("a threshold").0;
        assert!(levels.contains(&worst), "{name} comes to {levels:?}");
        assert_eq!(levels.last(), Some(&Level::None), "{name} clears: {levels:?}");
        assert!(levels.len() <= 4, "{name} does not flutter: {levels:?}");
        assert!(alerts.on().is_empty());
        let first_second = changes[0].at_ms / 1_000;
        let least = rule.thresholds().map(|(_, threshold)| threshold.seconds).min().expect("a threshold");
        assert!(first_second >= 20 + u64::from(least), "{name} waits for its duration, and fired at {first_second} s");
    }
}

#[test]
fn where_all_is_well_nothing_fires() {
    let (mut alerts, mut history, began) = (Alerts::default(), History::default(), Instant::now());
    for second in 1..=400 {
        history.push(well(began + SECOND * second as u32, second));
        assert_eq!(alerts.step(&history), []);
    }
}

#[test]
fn a_value_that_swings_about_its_threshold_tells_once() {
    let rule = RULES.iter().find(|rule| rule.name == "ConnectionsHigh").expect("a rule");
    let (mut state, began) = (State::new(rule), Instant::now());
    let mut levels = Vec::new();
    for second in 0..200_u32 {
        // Beyond 0.80 most of the time, and back of it by less than the hysteresis for 15 s at a time.
        let value = if second < 20 || second % 30 < 15 { 0.81 } else { 0.79 };
        levels.extend(state.step(Some(value), began + SECOND * second, 0).map(|change| change.level));
    }
    assert_eq!(levels, [Level::Warning]);
    for second in 200..220 {
        levels.extend(state.step(Some(0.5), began + SECOND * second, 0).map(|change| change.level));
    }
    assert_eq!(levels, [Level::Warning, Level::None]);
}

#[test]
fn a_short_peak_is_no_alert_and_worse_escalates() {
    let rule = RULES.iter().find(|rule| rule.name == "MemoryHigh").expect("a rule");
    let (mut state, began) = (State::new(rule), Instant::now());
    let mut step = |second: u32, value: f64| state.step(Some(value), began + SECOND * second, 7);
    assert_eq!(step(0, 0.99), None);
    assert_eq!(step(59, 0.99), None);
    assert_eq!(step(59, 0.5), None, "one moment below begins anew");
    assert_eq!(step(60, 0.8), None);
    let change = step(120, 0.8).expect("a warning after 60 s");
    assert_eq!((change.level, change.before), (Level::Warning, Level::None));
    assert_eq!(change.why, "80.0 %; warning is above 78.0 % for 60 s");
    assert_eq!(step(121, 0.99), None);
    let change = step(181, 0.99).expect("worse after 60 s more");
    assert_eq!((change.level, change.before), (Level::Critical, Level::Warning));
    let change = (182..200).find_map(|second| step(second, 0.8)).expect("it falls back");
    assert_eq!((change.level, change.before), (Level::Warning, Level::Critical));
}
