//! Prometheus' own tool is to find what the node's own rules say.

use std::path::Path;

use bytemuck::Zeroable;

use super::*;

/// How often the series of Prometheus' tests have a value, in seconds.
const EVERY: usize = 10;

/// The series of a metric in those tests, at every reading.
fn series(name: &str, readings: &[Reading]) -> String {
    let metric = crate::metrics::metric(name).expect("rules look at metrics");
    let mut text = String::new();
    let mut write = |name: &str, values: Vec<Option<f64>>| {
        let values: Vec<String> =
            values.iter().map(|value| value.map_or("_".into(), |value| value.to_string())).collect();
        let name = name.replace('"', "\\\"");
        text.push_str(&format!("  - {{series: \"{name}\", values: \"{}\"}}\n", values.join(" ")));
    };
    if metric.kind() != "histogram" {
        let values = readings.iter().map(|reading| metric.value(reading));
        // What is counted by label is in one series: rules add it up.
        write(&format!("{name}{{instance=\"a\"}}"), values.collect());
        return text;
    }
    let ends = BUCKET_ENDS_US.iter().map(|end| (*end as f64 / 1e6).to_string()).chain(["+Inf".into()]);
    for (bucket, end) in ends.enumerate() {
        let below = |reading: &Reading| {
            let times = metric.times(reading).expect("a histogram");
            times.counts[..=bucket].iter().sum::<u64>() as f64
        };
        let values = readings.iter().map(|reading| Some(below(reading)));
        write(&format!("{name}_bucket{{instance=\"a\",le=\"{end}\"}}"), values.collect());
    }
    text
}

/// The beginning of a test: what the rule of a name looks at, at every reading.
fn inputs(name: &str, readings: &[Reading]) -> String {
    let mut text = format!("- interval: {EVERY}s\n  name: {name}\n  input_series:\n");
    let mut names = rule_of(name).value.names();
    names.sort_unstable();
    names.dedup();
    names.iter().for_each(|name| text.push_str(&series(name, readings)));
    text.push_str("  alert_rule_test:\n");
    text
}

/// What Prometheus' own tool is to find: in its own trouble a rule fires at each of its levels, and before and after at none.
fn prometheus_test(name: &str, trouble: Trouble) -> String {
    let rule = rule_of(name);
    let all = lived(trouble);
    let changes = changes(&all);
    let readings: Vec<Reading> = all.into_iter().step_by(EVERY).collect();
    // A while before the node's own alert is over: what is a moment's trouble is looked at for minutes.
    let fires =
        changes.iter().rev().find(|change| change.level == AlertLevel::None).expect("it clears").at_ms / 1_000 - 30;
    let mut text = inputs(name, &readings);
    let alerts: Vec<String> = rule
        .thresholds()
        .map(|(level, _)| {
            format!(
                "{{exp_labels: {{instance: a, severity: {}}}, exp_annotations: {{summary: \"{}\", description: \"{}\", runbook: \"docs/runbook/{}.md\"}}}}",
                level.name(), rule.title, rule.meaning, rule.page()
            )
        })
        .collect();
    for (at, alerts) in [(10, String::new()), (fires, alerts.join(", ")), (LASTS + CALM - 10, String::new())] {
        text.push_str(&format!("  - {{eval_time: {at}s, alertname: {name}, exp_alerts: [{alerts}]}}\n"));
    }
    text
}

/// One thing that happens after a minute, where nothing of its kind happens before or after: each is far beyond what is critical, or,
/// of ticks that a pause missed, beyond what is a warning.
const ONCE: &[(&str, Trouble)] = &[
    ("ReceiptSlow", |reading, second| reading.tick.receipt = one(second, 490_000)),
    ("DecisionSlow", |reading, second| reading.tick.decision = one(second, 490_000)),
    ("SyncSlow", |reading, second| reading.tick.sync = one(second, 490_000)),
    ("TicksMissed", |reading, second| reading.tick.ticks_missed = if second < 60 { 0 } else { 600 }),
    ("Shedding", |reading, second| {
        let came = u64::from(second >= 60);
        (reading.tick.arrived, reading.tick.short) = (came, came);
    }),
];

/// What took so long, and nothing else.
fn one(second: u64, micros: u64) -> Histogram {
    let mut times = Histogram::zeroed();
    took(&mut times, micros, u64::from(second >= 60));
    times
}

/// The same for Prometheus: the rule fires at no time.
fn once_test(name: &str, once: Trouble) -> String {
    let readings: Vec<Reading> = readings_of(once).step_by(EVERY).collect();
    let mut text = inputs(name, &readings);
    for at in (0..readings.len() * EVERY).step_by(EVERY) {
        text.push_str(&format!("  - {{eval_time: {at}s, alertname: {name}, exp_alerts: []}}\n"));
    }
    text
}

#[test]
fn what_happens_once_is_no_alert_at_the_node() {
    for (name, once) in ONCE {
        let value = rule_of(name).value;
        let mut history = History::default();
        let mut values = readings_of(*once).filter_map(|reading| {
            history.push(reading);
            value.value(&history)
        });
        let least = rule_of(name).thresholds().last().expect("a threshold").1.value;
        assert!(values.any(|value| value > least), "{name} is beyond its threshold for a while");
        assert_eq!(level_in(name, *once), [], "{name}");
    }
}

/// A node that answers no scrape for two minutes, and then does again.
const SCRAPE_DOWN_TEST: &str = "\
- interval: 5s
  name: ScrapeDown
  input_series:
  - {series: 'up{job=\"bitcraps\",instance=\"a\"}', values: '1x11 0x23 1x23'}
  alert_rule_test:
  - {eval_time: 100s, alertname: ScrapeDown, exp_alerts: []}
  - {eval_time: 250s, alertname: ScrapeDown, exp_alerts: []}
  - eval_time: 170s
    alertname: ScrapeDown
    exp_alerts:
    - exp_labels: {severity: critical, job: bitcraps, instance: a}
      exp_annotations:
        summary: a node does not answer
        description: \"/metrics of a has not answered for a minute: the process is gone, or its machine.\"
        runbook: docs/runbook/scrape-down.md
";

#[test]
fn prometheus_fires_and_clears_each_rule_as_the_node_does() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
    let rules = root.join("packaging/prometheus/bitcraps.rules.yml");
    let mut text = format!("rule_files: [{}]\nevaluation_interval: {EVERY}s\ntests:\n", rules.display());
    TROUBLES.iter().for_each(|(name, trouble)| text.push_str(&prometheus_test(name, *trouble)));
    ONCE.iter().for_each(|(name, once)| text.push_str(&once_test(name, *once)));
    text.push_str(SCRAPE_DOWN_TEST);
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("tests.yml");
    std::fs::write(&file, text).expect("written");
    let Ok(run) = std::process::Command::new("promtool").args(["test", "rules"]).arg(&file).output() else {
        println!("promtool is not installed: whether Prometheus fires and clears each rule was left out");
        return;
    };
    let said = String::from_utf8_lossy(&[run.stdout, run.stderr].concat()).into_owned();
    assert!(run.status.success(), "{said}");
}
