//! Readings as text: Prometheus' exposition format 0.0.4.

use std::fmt::Write;

use node::readings::{BUCKET_ENDS_US, Histogram};

use crate::metrics::{Metric, Source, all};
use crate::reading::Reading;

/// All metrics of a reading.
pub fn exposition(reading: &Reading) -> String {
    let mut text = String::with_capacity(32 * 1_024);
    for metric in all() {
        write_metric(&mut text, metric, reading);
    }
    text
}

/// A metric whose value is not known is left out as a whole.
fn write_metric(text: &mut String, metric: &Metric, reading: &Reading) {
    let Metric { name, help, .. } = metric;
    let kind = metric.kind();
    let mut lines = String::new();
    // Writing to a string cannot fail.
    let _ = match metric.source {
        Source::Labelled(label, read) => read(reading)
            .iter()
            .try_for_each(|(value, count)| writeln!(lines, "{name}{{{label}=\"{}\"}} {count}", escaped(value))),
        Source::Times(read) => write_times(&mut lines, name, "", read(reading)),
        Source::LabelledTimes(label, read) => read(reading).iter().try_for_each(|(value, times)| {
            write_times(&mut lines, name, &format!("{label}=\"{}\"", escaped(value)), times)
        }),
        Source::Counter(_) | Source::FractionCounter(_) | Source::Gauge(_) => {
            metric.value(reading).map_or(Ok(()), |value| writeln!(lines, "{name} {value}"))
        }
    };
    if !lines.is_empty() {
        let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}");
    }
}

/// A histogram of one label, or of none.
fn write_times(lines: &mut String, name: &str, label: &str, times: &Histogram) -> std::fmt::Result {
    let (before, whole) = match label {
        "" => (String::new(), String::new()),
        label => (format!("{label},"), format!("{{{label}}}")),
    };
    let mut below = 0;
    for (end, count) in BUCKET_ENDS_US.iter().zip(&times.counts) {
        below += count;
        writeln!(lines, "{name}_bucket{{{before}le=\"{}\"}} {below}", *end as f64 / 1e6)?;
    }
    let count = times.count();
    writeln!(lines, "{name}_bucket{{{before}le=\"+Inf\"}} {count}")?;
    writeln!(lines, "{name}_sum{whole} {}\n{name}_count{whole} {count}", times.sum_us as f64 / 1e6)
}

/// A label's value as the format has it: a thread's name may hold anything.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
