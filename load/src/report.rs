//! The result of a load run, as JSON, as one page, and beside another run.
//!
//! ```text
//! load run -> Report -+-> report.json -+-> Comparison   table, page
//!                     +-> report.html  |
//!                        another run --+
//! ```
//!
//! A report is what was measured, and nothing here measures. It judges no run either: targets arrive with their answer.
//! The page needs no network, no script and no other file, so that it can be kept and sent as it is.

mod compare;
mod text;
mod plots;
mod svg;
mod html;
mod files;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use engine::limits::REPORT_BYTES_MAX;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

pub use compare::{Comparison, Judgement, Row, SAME_PERCENT, Unit, comparison_html};
pub use files::write_new_in;
pub use html::html;

/// Receipts are wanted within this time.
pub const LATENCY_TARGET_MS: f64 = 50.0;
/// The node is to stay within this memory.
pub const MEMORY_TARGET_MB: f64 = 512.0;
/// The name of the target for what a player waits for; plots draw it where a run was judged by it.
pub const RECEIPT_TARGET: &str = "bet to receipt, P95";
/// The name of the target for the node's memory; plots draw it too.
pub const MEMORY_TARGET: &str = "memory";
/// Samples over time that a plot draws; a longer run is drawn in equal parts.
pub const SAMPLES_MAX: usize = 600;

const JSON_NAME: &str = "report.json";

/// One load run. Times are in milliseconds; a figure without a single sample is zero.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Report {
    /// What was run, by name.
    pub scenario: String,
    /// The command that repeats it.
    pub command: String,
    /// When it started, as RFC 3339.
    pub started: String,
    /// The version of the node.
    pub version: String,
    /// What it ran on.
    pub machine: Host,
    /// What was asked of the node.
    pub load: Offered,
    /// The figures of the whole run, at the top level of the JSON.
    #[serde(flatten)]
    pub summary: Summary,
    /// From when an intent was due to leave until the first word that the node has it: what routing costs.
    pub acknowledgement: Latencies,
    /// From when an intent was due to leave until it had left the generator, which is part of both.
    #[serde(default)]
    pub lateness: Latencies,
    /// Refused intents by code.
    pub refusals: BTreeMap<String, u64>,
    /// Quantile, 0 to 1, and milliseconds, from when an intent was due to leave until its receipt.
    pub receipt_cdf: Vec<(f64, f64)>,
    /// Quantile, 0 to 1, and milliseconds, from when an intent was due to leave until the first word that the node has it.
    pub acknowledgement_cdf: Vec<(f64, f64)>,
    /// The run second by second.
    pub seconds: Vec<Second>,
    /// What was wanted, and what was found.
    pub targets: Vec<Goal>,
    /// What a reader has to know beside the figures.
    pub notes: Vec<String>,
}

/// What a run ran on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Host {
    /// Cores that the system shows.
    pub cores: u32,
    /// Memory, in megabytes.
    pub memory_mb: u64,
    /// The processor's name.
    pub cpu: String,
    /// The system's name and version.
    pub os: String,
}

/// How the intents of a run travel.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// Over QUIC.
    Quic,
    /// Through memory: node and generator are one process.
    InProcess,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quic => "quic",
            Self::InProcess => "in-process",
        })
    }
}

/// What was asked of a node.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Offered {
    /// Simulated players.
    pub users: u32,
    /// Intents a second that were asked for.
    pub rate: f64,
    /// How long they were sent, in seconds.
    pub duration_s: f64,
    /// Craps tables.
    pub tables: u32,
    /// How intents travelled.
    pub transport: Transport,
    /// Further options, in the order in which they are shown.
    pub options: Vec<(String, String)>,
}

/// The figures of a whole run. `offered` is `settled`, `refused` and `lost` together.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Intents that were sent.
    pub offered: u64,
    /// Intents that the node said it has.
    pub acknowledged: u64,
    /// Intents with a receipt that says applied.
    pub settled: u64,
    /// Intents that were refused with a receipt, or shed.
    pub refused: u64,
    /// Intents without their last answer when the run ended.
    pub lost: u64,
    /// Intents settled a second.
    pub rate: f64,
    /// The time within which half of the receipts came.
    pub p50_ms: f64,
    /// The time within which 95 of 100 receipts came.
    pub p95_ms: f64,
    /// The time within which 99 of 100 receipts came.
    pub p99_ms: f64,
    /// The time within which all receipts came.
    pub max_ms: f64,
    /// The most memory that the node held, in megabytes; none where nobody saw it, since the node runs elsewhere.
    pub rss_mb: Option<f64>,
    /// The node's processor time, where 100 is one core; none where nobody saw it.
    pub cpu_percent: Option<f64>,
    /// Whether a replay of the session gave the same roots; none where the session is not this run's.
    pub replay_ok: Option<bool>,
    /// Whether the run as a whole passed.
    pub ok: bool,
}

/// The times within which shares of a run's answers came.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Latencies {
    /// The time within which half of the answers came.
    pub p50_ms: f64,
    /// The time within which 95 of 100 answers came.
    pub p95_ms: f64,
    /// The time within which 99 of 100 answers came.
    pub p99_ms: f64,
    /// The time within which all answers came.
    pub max_ms: f64,
}

/// One second of a run.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// When it began, in seconds since the start.
    pub at_s: f64,
    /// Intents sent.
    pub offered: u64,
    /// Intents acknowledged.
    pub acknowledged: u64,
    /// Intents settled.
    pub settled: u64,
    /// Intents refused.
    pub refused: u64,
    /// The time within which half of the receipts of the second came.
    pub p50_ms: f64,
    /// The time within which 95 of 100 receipts of the second came.
    pub p95_ms: f64,
    /// The time within which all receipts of the second came.
    pub max_ms: f64,
    /// Processor time of the node; 100 is one core. None where it was not seen in that second, as the next two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node_cpu_percent: Option<f64>,
    /// Processor time of the generator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_cpu_percent: Option<f64>,
    /// The node's memory, in megabytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rss_mb: Option<f64>,
}

impl Second {
    /// Whether any receipt arrived in it, be it a refusal: then the slowest took some time.
    fn has_receipts(&self) -> bool {
        self.max_ms > 0.0
    }
}

/// What was wanted, and what was found.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Goal {
    /// What it is about.
    pub name: String,
    /// What was wanted, in words.
    pub wanted: String,
    /// What was found.
    pub found: String,
    /// Whether that is what was wanted.
    pub met: bool,
    /// The bound as a number, where plots draw it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<f64>,
}

impl Goal {
    /// One that no plot draws.
    pub(crate) fn new(name: impl Into<String>, wanted: impl Into<String>, found: impl Into<String>, met: bool) -> Self {
        Self { name: name.into(), wanted: wanted.into(), found: found.into(), met, limit: None }
    }
}

/// Why a report cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file cannot be read at all.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file is not a report.
    #[error("{}: not a load report: {source}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        source: serde_json::Error,
    },
}

impl Report {
    /// Reads a report from its JSON, or from the directory that holds it.
    ///
    /// # Errors
    /// Names the file, and what is wrong with it where.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let path = if path.is_dir() { path.join(JSON_NAME) } else { path.to_path_buf() };
        let text = match words::text::read(&path, REPORT_BYTES_MAX) {
            Ok(text) => text,
            Err(source) => return Err(ReadError::File { path, source }),
        };
        serde_json::from_str(&text).map_err(|source| ReadError::Content { path, source })
    }

    fn json(&self) -> io::Result<String> {
        let mut value = serde_json::to_value(self)?;
        plain_numbers(&mut value);
        let Summary { rss_mb, cpu_percent, replay_ok, .. } = self.summary;
        let measured =
            [("rss_mb", rss_mb.is_some()), ("cpu_percent", cpu_percent.is_some()), ("replay_ok", replay_ok.is_some())];
        for (name, _) in measured.into_iter().filter(|(_, is_measured)| !is_measured) {
            value[name] = Value::Null;
        }
        Ok(serde_json::to_string_pretty(&value)? + "\n")
    }

    /// The latency of receipts, beside that of acknowledgements.
    fn receipts(&self) -> Latencies {
        let Summary { p50_ms, p95_ms, p99_ms, max_ms, .. } = self.summary;
        Latencies { p50_ms, p95_ms, p99_ms, max_ms }
    }

    /// A share of what was offered, in percent.
    fn share(&self, count: u64) -> Option<f64> {
        (self.summary.offered > 0).then(|| count as f64 * 100.0 / self.summary.offered as f64)
    }

    /// Intents a second that did leave the generator.
    fn offered_rate(&self) -> Option<f64> {
        let rate = self.summary.offered as f64 / self.load.duration_s;
        (self.load.duration_s > 0.0 && rate.is_finite()).then_some(rate)
    }
}

/// Numbers as JSON keeps them. It has no NaN and writes null, so every null is taken for a ratio of nothing to nothing: where one
/// says that something was not measured, it is put back. Six places are a nanosecond in milliseconds, and are read back as they were written.
fn plain_numbers(value: &mut Value) {
    const PLACES: f64 = 1e6;
    match value {
        Value::Null => *value = Value::from(0.0),
        Value::Number(number) if number.is_f64() => {
            let exact = number.as_f64().unwrap_or(0.0);
            // What is larger has no sixth place.
            if exact.abs() < 1e9 {
                *value = Value::from((exact * PLACES).round() / PLACES);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(plain_numbers),
        Value::Object(fields) => fields.values_mut().for_each(plain_numbers),
        _ => {}
    }
}

/// The run in at most `parts_max` equal parts. Counts and loads are means a second, `p50_ms` is the mean by receipts;
/// the times and the memory that matter when they are large are the largest of their part.
fn in_parts(seconds: &[Second], parts_max: usize) -> Vec<Second> {
    if seconds.len() <= parts_max {
        return seconds.to_vec();
    }
    seconds.chunks(seconds.len().div_ceil(parts_max.max(1))).map(joined).collect()
}

/// One part as a second of its kind. It is not empty.
fn joined(part: &[Second]) -> Second {
    let count = |figure: fn(&Second) -> u64| {
        let sum: u128 = part.iter().map(|second| u128::from(figure(second))).sum();
        (sum as f64 / part.len() as f64).round() as u64
    };
    let most = |figure: fn(&Second) -> f64| part.iter().map(figure).fold(0.0, f64::max);
    let seen = |figure: fn(&Second) -> Option<f64>| part.iter().filter_map(figure).collect::<Vec<f64>>();
    let mean_of = |seen: Vec<f64>| (!seen.is_empty()).then(|| seen.iter().sum::<f64>() / seen.len() as f64);
    // A second whose receipts are all there is must not vanish in the rounding of a mean.
    let settled: u128 = part.iter().map(|second| u128::from(second.settled)).sum();
    // A refusal has a receipt too.
    let weight =
        |second: &Second| if second.has_receipts() { second.settled as f64 + second.refused as f64 } else { 0.0 };
    let receipts: f64 = part.iter().map(weight).sum();
    let by_receipts: f64 = part.iter().map(|second| second.p50_ms * weight(second)).sum();
    Second {
        at_s: part[0].at_s,
        offered: count(|second| second.offered),
        acknowledged: count(|second| second.acknowledged),
        settled: count(|second| second.settled).max(u64::from(settled > 0)),
        refused: count(|second| second.refused),
        p50_ms: if receipts > 0.0 { by_receipts / receipts } else { 0.0 },
        p95_ms: most(|second| second.p95_ms),
        max_ms: most(|second| second.max_ms),
        node_cpu_percent: mean_of(seen(|second| second.node_cpu_percent)),
        own_cpu_percent: mean_of(seen(|second| second.own_cpu_percent)),
        rss_mb: seen(|second| second.rss_mb).into_iter().reduce(f64::max),
    }
}
