mod prometheus;

use node::readings::{BUCKET_ENDS_US, Histogram, TickReadings};

use super::*;
use crate::reading::{NetworkReading, Reading};

const SECOND: Duration = Duration::from_secs(1);

/// A node where all is well: nothing that a rule compares is beyond its thresholds, and all of it is known.
fn well(at: Instant, second: u64) -> Reading {
    let mut reading = Reading::empty(at);
    reading.at_ms = 1_000 * second;
    reading.tick = TickReadings {
        ticks: 200 * second,
        arrived: 100 * second,
        validators: 4,
        heard: 4,
        block_interval_ms: 40,
        ..reading.tick
    };
    took(&mut reading.tick.receipt, 9_000, 20 * second);
    took(&mut reading.tick.decision, 900, 20 * second);
    took(&mut reading.tick.sync, 900, 20 * second);
    reading.memory_budget = Some(1_000);
    reading.process.memory_bytes = Some(500);
    reading.process.cpu_seconds = Some(0.1 * second as f64);
    reading.process.files = Some(10);
    reading.machine.cpus = Some(2.0);
    reading.machine.files_max = Some(1_000);
    reading.disk_free_bytes = Some(1 << 40);
    reading.session_bytes = Some(1 << 20);
    reading.pressure.memory = Some(0.0);
    reading.network = Some(NetworkReading::quiet());
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
    ("ThreadFrozen", |reading, _| reading.frozen = vec!["storage".into()]),
    ("DiskFull", |reading, _| reading.tick.disk_full = 1),
    ("Alarm", |reading, _| reading.tick.alarms += 1),
    ("PastGone", |reading, _| reading.tick.past_gone = 1),
    ("ValidatorsAway", |reading, _| reading.tick.heard = 2),
    ("MemoryHigh", |reading, _| reading.process.memory_bytes = Some(999)),
    ("ConnectionsHigh", |reading, _| network(reading).connections = 99),
    ("BuffersHigh", |reading, _| network(reading).reserved_bytes = 99),
    ("ReceiptSlow", |reading, second| took(&mut reading.tick.receipt, 490_000, 40 * second)),
    ("DecisionSlow", |reading, second| took(&mut reading.tick.decision, 200_000, 40 * second)),
    ("SyncSlow", |reading, second| took(&mut reading.tick.sync, 400_000, 40 * second)),
    ("TicksOverrun", |reading, second| reading.tick.ticks_overrun += 190 * second),
    ("TicksMissed", |reading, second| reading.tick.ticks_missed += 150 * second),
    ("Shedding", |reading, second| reading.tick.short += 50 * second),
    ("IntentsWaiting", |reading, _| reading.tick.unanswered = engine::limits::PENDING_MAX as u64),
    ("CpuHigh", |reading, second| reading.process.cpu_seconds = Some(2.0 * second as f64)),
    ("DiskLow", |reading, _| reading.disk_free_bytes = Some(1 << 20)),
    ("DiskFilling", |reading, _| reading.session_growth = Some((1_u64 << 30) as f64)),
    ("SnapshotsFail", |reading, _| reading.tick.snapshots_failed += 1),
    ("SnapshotsPaused", |reading, _| reading.resources.on = vec!["pause_snapshots"]),
    ("NewcomersRefused", |reading, second| network(reading).counters = vec![("refused_short", second)]),
    ("Follows", |reading, _| reading.tick.lost_its_votes = 1),
    ("NodeBehind", |reading, _| reading.tick.behind = 5_000),
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

/// A node that gets into trouble after 20 seconds and out of it again: its reading at each second.
fn lived(trouble: Trouble) -> Vec<Reading> {
    let began = Instant::now();
    let at = |second| {
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
            reading.tick = TickReadings {
                disk_full: 0,
                unanswered: 0,
                lost_its_votes: 0,
                past_gone: 0,
                behind: 0,
                heard: 4,
                ..left
            };
            (reading.process.cpu_seconds, reading.process.threads) = (process.cpu_seconds, process.threads);
        }
        reading
    };
    (1..=LASTS + CALM).map(at).collect()
}

/// All that changes meanwhile.
fn changes(lived: &[Reading]) -> Vec<Change> {
    let (mut alerts, mut history) = (Alerts::default(), History::default());
    let changes = lived.iter().flat_map(|reading| {
        history.push(reading.clone());
        alerts.step(&history)
    });
    let changes = changes.collect();
    assert!(alerts.on().is_empty());
    changes
}

fn rule_of(name: &str) -> &'static Rule {
    RULES.iter().find(|rule| rule.name == name).expect("a rule of that name")
}

#[test]
fn every_rule_fires_in_its_own_trouble_and_clears_after_it() {
    assert_eq!(TROUBLES.len(), RULES.len(), "each rule has its trouble");
    for (name, trouble) in TROUBLES {
        let changes = changes(&lived(*trouble));
        let others: Vec<_> = changes.iter().filter(|change| change.rule != *name).collect();
        assert!(others.is_empty(), "{name}: {others:?}");
        let levels: Vec<AlertLevel> = changes.iter().map(|change| change.level).collect();
        let rule = rule_of(name);
        let worst = rule.thresholds().next().expect("a threshold").0;
        assert!(levels.contains(&worst), "{name} comes to {levels:?}");
        assert_eq!(levels.last(), Some(&AlertLevel::None), "{name} clears: {levels:?}");
        assert!(levels.len() <= 4, "{name} does not flutter: {levels:?}");
        let first_second = changes[0].at_ms / 1_000;
        let least = rule.thresholds().map(|(_, threshold)| threshold.seconds).min().expect("a threshold");
        assert!(first_second >= 20 + u64::from(least), "{name} waits for its duration, and fired at {first_second} s");
    }
}

/// Hears what is posted to a webhook: the rule and the level of each change.
fn hear(listener: &std::net::TcpListener, count: usize) -> Vec<String> {
    use std::io::{BufRead, BufReader, Read, Write};
    let heard = (0..count).map(|_| {
        let (mut stream, _) = listener.accept().expect("somebody comes");
        let mut reader = BufReader::new(stream.try_clone().expect("a stream"));
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            if let Some(bytes) = line.to_lowercase().strip_prefix("content-length:") {
                length = bytes.trim().parse().expect("a number");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        write!(stream, "HTTP/1.1 204 No Content\r\n\r\n").expect("an answer");
        let said: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
        format!("{} {}", said["rule"].as_str().expect("a rule"), said["level"].as_str().expect("a level"))
    });
    heard.collect()
}

#[test]
fn each_alert_fires_and_clears_through_each_channel() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let (commands, letters, sendmail) =
        (dir.path().join("commands"), dir.path().join("letters"), dir.path().join("sendmail"));
    std::fs::write(&sendmail, format!("#!/bin/sh\ngrep ^Subject: >> '{}'\n", letters.display())).expect("written");
    std::fs::set_permissions(&sendmail, std::fs::Permissions::from_mode(0o755)).expect("its own file");
    let all: Vec<Change> = TROUBLES.iter().flat_map(|(_, trouble)| changes(&lived(*trouble))).collect();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let command = format!("echo $BITCRAPS_ALERT $BITCRAPS_ALERT_LEVEL >> '{}'", commands.display());
    let config = node::config::AlertsConfig {
        webhook: format!("http://{}/", listener.local_addr().expect("an address")),
        exec: ["/bin/sh", "-c", &command].map(str::to_owned).into(),
        mail_to: vec!["ops@example.org".into()],
        sendmail: sendmail.display().to_string(),
    };
    let count = all.len();
    let posted = std::thread::spawn(move || hear(&listener, count));
    for few in all.chunks(16) {
        let channels = crate::alerts::channels::Channels::start(config.clone(), "north", &Default::default());
        let mut channels = channels.expect("a thread");
        few.iter().for_each(|change| channels.tell(change.clone()));
        channels.end(Duration::from_secs(120));
    }
    let wanted: Vec<String> = all.iter().map(|change| format!("{} {}", change.rule, change.level.name())).collect();
    assert_eq!(posted.join().expect("it heard"), wanted);
    let run = std::fs::read_to_string(&commands).expect("commands ran");
    assert_eq!(run.lines().collect::<Vec<_>>(), wanted);
    let letters = std::fs::read_to_string(&letters).expect("letters went out");
    let subjects = all.iter().map(|change| {
        let level = match (change.level, change.before) {
            (AlertLevel::None, _) => "over",
            (AlertLevel::Warning, AlertLevel::Critical) => "less severe, now a warning",
            (level, _) => level.name(),
        };
        format!("Subject: [{level}] north: {}", change.title)
    });
    assert_eq!(letters.lines().collect::<Vec<_>>(), subjects.collect::<Vec<_>>());
    for rule in RULES {
        let of = |level: &str| wanted.contains(&format!("{} {level}", rule.name));
        assert!(
            rule.thresholds().all(|(level, _)| of(level.name()) || level == AlertLevel::Warning) && of("none"),
            "{}",
            rule.name
        );
    }
}

#[test]
fn what_is_on_when_the_node_ends_is_over_once() {
    let (mut alerts, mut history) = (Alerts::default(), History::default());
    let mut readings = lived(TROUBLES[0].1).into_iter();
    while alerts.on().is_empty() {
        history.push(readings.next().expect("it fires"));
        alerts.step(&history);
    }
    let on = alerts.on();
    let over = alerts.end(7);
    assert_eq!((on.len(), over.len()), (1, 1), "{on:?} {over:?}");
    assert_eq!((over[0].rule, over[0].before, over[0].level), (on[0].rule, on[0].level, AlertLevel::None));
    assert!(alerts.on().is_empty() && alerts.end(8).is_empty());
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
    let rule = rule_of("ConnectionsHigh");
    let (mut state, began) = (State::new(rule), Instant::now());
    let mut levels = Vec::new();
    for second in 0..200_u32 {
        // Beyond 0.80 most of the time, and back of it by less than the hysteresis for 15 s at a time.
        let value = if second < 20 || second % 30 < 15 { 0.81 } else { 0.79 };
        levels.extend(state.step(Some(value), "", began + SECOND * second, 0).map(|change| change.level));
    }
    assert_eq!(levels, [AlertLevel::Warning]);
    for second in 200..220 {
        levels.extend(state.step(Some(0.5), "", began + SECOND * second, 0).map(|change| change.level));
    }
    assert_eq!(levels, [AlertLevel::Warning, AlertLevel::None]);
}

#[test]
fn what_is_seldom_is_counted_and_what_is_over_names_its_own_threshold() {
    let words = |name: &str| {
        let trouble = TROUBLES.iter().find(|(of, _)| *of == name).expect("a trouble").1;
        let changes = changes(&lived(trouble));
        (changes[0].why.clone(), changes.last().expect("it is over").why.clone())
    };
    let (fired, over) = words("ThreadFrozen");
    assert_eq!((&*fired, &*over), ("1: storage; critical is above 0", "0; critical is above 0"));
    let (fired, over) = words("Alarm");
    assert_eq!((&*fired, &*over), ("1 in 300 s; critical is above 0", "0 in 300 s; critical is above 0"));
    let (fired, _) = words("TicksMissed");
    assert!(fired.ends_with("/s; warning is above 2/s for 30 s"), "{fired}");
}

/// A node that is in trouble all the time: its reading at each of 200 seconds.
fn readings_of(trouble: Trouble) -> impl Iterator<Item = Reading> {
    let began = Instant::now();
    (1..=200_u64).map(move |second| {
        let mut reading = well(began + SECOND * second as u32, second);
        trouble(&mut reading, second);
        reading
    })
}

/// What a rule says after so many seconds of a trouble.
fn level_in(name: &str, trouble: Trouble) -> Vec<AlertLevel> {
    let (mut alerts, mut history) = (Alerts::default(), History::default());
    let changes = readings_of(trouble).flat_map(|reading| {
        history.push(reading);
        alerts.step(&history)
    });
    changes.filter(|change| change.rule == name).map(|change| change.level).collect()
}

#[test]
fn one_validator_away_is_a_warning_and_a_missing_quorum_is_critical() {
    use AlertLevel::{Critical, Warning};
    let of = |trouble: Trouble| level_in("ValidatorsAway", trouble);
    assert_eq!(of(|_, _| ()), [], "all four are there");
    assert_eq!(of(|reading, _| reading.tick.heard = 3), [Warning]);
    assert_eq!(of(|reading, _| reading.tick.heard = 2), [Critical]);
    assert_eq!(of(|reading, second| reading.tick.heard = 4 - second / 50 % 2), [], "each is back within a minute");
    let many: [Trouble; 2] = [
        |reading, _| (reading.tick.validators, reading.tick.heard) = (128, 86),
        |reading, _| (reading.tick.validators, reading.tick.heard) = (128, 85),
    ];
    assert_eq!(many.map(of), [vec![Warning], vec![Critical]], "86 are a quorum of 128");
    assert_eq!(of(|reading, _| reading.tick.heard = 0), [], "it has no slot");
    assert_eq!(of(|reading, _| (reading.tick.validators, reading.tick.heard) = (1, 1)), [], "it is alone");
    assert_eq!(
        of(|reading, _| (reading.tick.heard, reading.tick.disk_full) = (1, 1)),
        [],
        "it does not hear who comes"
    );
    let changes = changes(&lived(|reading, _| reading.tick.heard = 2));
    let says = "100.0 %: 2 of 4 validators are heard, a quorum is 3; critical is above 99.0 % for 30 s";
    assert_eq!(changes[0].why, says);
}

/// Validators are away, or this one is behind, and then its disk is full, so that it takes up nothing that others tell.
#[test]
fn an_alert_about_others_is_not_over_because_the_own_disk_is_full() {
    use AlertLevel::{Critical, None, Warning};
    let away: Trouble = |reading, second| {
        reading.tick.heard = if second < 170 { 2 } else { 4 };
        reading.tick.disk_full = u64::from((50..120).contains(&second));
    };
    assert_eq!(level_in("ValidatorsAway", away), [Critical, None], "it is over once they are heard");
    let behind: Trouble = |reading, second| {
        reading.tick.behind = 500;
        reading.tick.disk_full = u64::from(second > 50);
    };
    assert_eq!(level_in("NodeBehind", behind), [Warning]);
    // What was short before and is short behind a full disk is not long.
    let twice: Trouble = |reading, second| {
        reading.tick.heard = if second < 20 || (100..120).contains(&second) { 2 } else { 4 };
        reading.tick.disk_full = u64::from((20..100).contains(&second));
    };
    assert_eq!(level_in("ValidatorsAway", twice), []);
}

/// The network turns intents away for which the tick has no room: they do not arrive, and are shed all the same.
#[test]
fn what_the_network_sheds_for_a_tick_that_is_behind_is_shed() {
    let shed = |busy: bool| {
        let trouble: Trouble = match busy {
            true => |reading, second| {
                reading.tick.arrived = 7;
                network(reading).counters = vec![("shed", 50 * second), ("busy", 50 * second)];
            },
            // Those who send more than they may are none of the node's trouble.
            false => |reading, second| network(reading).counters = vec![("shed", 50 * second), ("busy", 0)],
        };
        level_in("Shedding", trouble)
    };
    assert_eq!((shed(true), shed(false)), (vec![AlertLevel::Critical], Vec::new()));
    let few: Trouble = |reading, second| network(reading).counters = vec![("busy", 3 * second)];
    assert_eq!(level_in("Shedding", few), [AlertLevel::Warning], "3 of 103");
    let none: Trouble = |reading, second| {
        reading.network = None;
        reading.tick.short = 50 * second;
    };
    assert_eq!(level_in("Shedding", none), [AlertLevel::Critical], "a node without a network sheds too");
    // Nor is what no node would take: anybody may send that for nothing.
    let malformed: Trouble = |reading, second| reading.tick.shed = 50 * second;
    assert_eq!(level_in("Shedding", malformed), []);
}

#[test]
fn a_session_whose_bound_fits_fills_no_disk() {
    let growing = TROUBLES.iter().find(|(name, _)| *name == "DiskFilling").expect("a trouble").1;
    let (mut alerts, mut history, began) = (Alerts::default(), History::default(), Instant::now());
    for second in 1..=700_u64 {
        let mut reading = well(began + SECOND * second as u32, second);
        growing(&mut reading, second);
        reading.journal_bytes_max = 1 << 40;
        history.push(reading);
        assert_eq!(alerts.step(&history), []);
    }
}

#[test]
fn a_short_peak_is_no_alert_and_worse_escalates() {
    let rule = rule_of("MemoryHigh");
    let (mut state, began) = (State::new(rule), Instant::now());
    let mut step = |second: u32, value: f64| state.step(Some(value), "", began + SECOND * second, 7);
    assert_eq!(step(0, 0.99), None);
    assert_eq!(step(59, 0.99), None);
    assert_eq!(step(59, 0.5), None, "one moment below begins anew");
    assert_eq!(step(60, 0.8), None);
    let change = step(120, 0.8).expect("a warning after 60 s");
    assert_eq!((change.level, change.before), (AlertLevel::Warning, AlertLevel::None));
    assert_eq!(change.why, "80.0 %; warning is above 78.0 % for 60 s");
    assert_eq!(step(121, 0.99), None);
    let change = step(181, 0.99).expect("worse after 60 s more");
    assert_eq!((change.level, change.before), (AlertLevel::Critical, AlertLevel::Warning));
    let change = (182..200).find_map(|second| step(second, 0.8)).expect("it falls back");
    assert_eq!((change.level, change.before), (AlertLevel::Warning, AlertLevel::Critical));
}
