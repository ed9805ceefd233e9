//! The plots of one run, or of two in the same axes.

use super::svg::{Axis, Limit, Line, Plot, Scale};
use super::{MEMORY_TARGET, RECEIPT_TARGET, Report, SAMPLES_MAX, Second, Transport, in_parts};

/// Where a line runs.
type Points = Vec<(f64, f64)>;
/// A figure of a second by name; none where it is of nothing.
type OfSecond = (&'static str, fn(&Second) -> Option<f64>);

/// A plot and what is said below it.
pub struct Figure {
    /// The plot.
    pub plot: Plot,
    /// What a reader has to know to read it.
    pub caption: String,
}

/// A run as plots see it.
struct Run<'a> {
    report: &'a Report,
    seconds: Vec<Second>,
}

/// All runs of a page: one, or two whose lines are named A and B.
struct Runs<'a> {
    runs: Vec<Run<'a>>,
    /// What is said where a mark is more than a second.
    parts: String,
}

/// The plots of one run or two.
pub fn figures<'a>(reports: &[&'a Report]) -> Vec<Figure> {
    let longest = reports.iter().map(|report| report.seconds.len()).max().unwrap_or(0);
    let part = longest.div_ceil(SAMPLES_MAX);
    let parts = match part {
        0 | 1 => String::new(),
        _ => format!(
            " Up to {part} seconds are drawn as one: counts, p50 and CPU as their mean, p95, max and memory as the largest."
        ),
    };
    let run = |report: &&'a Report| Run { seconds: in_parts(&report.seconds, SAMPLES_MAX), report };
    let runs = reports.iter().map(run).collect();
    let runs = Runs { runs, parts };
    vec![runs.distribution(), runs.latency(), runs.rate(), runs.cpu(), runs.memory()]
}

impl Runs<'_> {
    /// The lines of every run. A page of one run tells figures apart by colour, a page of two has a colour for each.
    fn lines(&self, names: &[&str], marks: impl Fn(&Run<'_>, usize) -> Points) -> Vec<Line> {
        let mut lines = Vec::new();
        for (index, run) in self.runs.iter().enumerate() {
            for (dash, name) in names.iter().enumerate() {
                let (name, colour) = match self.runs.len() {
                    1 => ((*name).to_owned(), dash),
                    _ => (format!("{} {name}", if index == 0 { "A" } else { "B" }), index),
                };
                // What both runs have in common would hide the first.
                let broad = index + 1 < self.runs.len();
                lines.push(Line { name, colour, broad, dash, marks: marks(run, dash) });
            }
        }
        lines
    }

    /// The axis of time, and what its unit is to a second.
    fn time(&self) -> (Axis, f64) {
        let ends = || {
            let marks = self.runs.iter().flat_map(|run| &run.seconds).map(|second| second.at_s);
            marks.chain(self.runs.iter().map(|run| run.report.load.duration_s))
        };
        let (unit, seconds) = match ends().filter(|end| end.is_finite()).fold(0.0, f64::max) {
            end if end >= 7_200.0 => ("hours", 3_600.0),
            end if end >= 600.0 => ("minutes", 60.0),
            _ => ("seconds", 1.0),
        };
        let scale = Scale::exact(ends().map(|end| end / seconds));
        (Axis { title: format!("{unit} since the start"), scale }, seconds)
    }

    /// Lines over time, one for each figure of a second; a figure of nothing is a gap.
    fn over_time(&self, figures: &[OfSecond]) -> (Axis, Vec<Line>) {
        let (across, unit) = self.time();
        let names: Vec<&str> = figures.iter().map(|(name, _)| *name).collect();
        let marks = |run: &Run<'_>, index: usize| {
            let mark = |second: &Second| (second.at_s / unit, figures[index].1(second).unwrap_or(f64::NAN));
            run.seconds.iter().map(mark).collect()
        };
        let mut lines = self.lines(&names, marks);
        // What was never seen has no line, and no name beside those that have one.
        lines.retain(|line| line.marks.iter().any(|mark| mark.1.is_finite()));
        (across, lines)
    }

    /// The bound that a run was judged by, or both were by the same.
    fn limit(&self, target: &str, unit: &str, upright: bool) -> Option<Limit> {
        let limit_of = |run: &Run<'_>| run.report.targets.iter().find(|found| found.name == target)?.limit;
        let value = self.runs.first().and_then(limit_of)?;
        let is_common = self.runs.iter().all(|run| limit_of(run) == Some(value));
        is_common.then(|| Limit { name: format!("target {value} {unit}"), value, upright })
    }

    /// What has to be said where a run's node and its generator are one process.
    fn shared(&self) -> &'static str {
        let is_shared = self.runs.iter().any(|run| run.report.load.transport == Transport::InProcess);
        if is_shared {
            " In-process, the node and the generator are one: what the node has is that of both."
        } else {
            ""
        }
    }

    fn distribution(&self) -> Figure {
        let lines = self.lines(&["receipts", "acknowledged"], |run, index| {
            let cdf = if index == 0 { &run.report.receipt_cdf } else { &run.report.acknowledgement_cdf };
            cdf.iter().map(|(quantile, ms)| (*ms, *quantile)).collect()
        });
        let all = || lines.iter().flat_map(|line| &line.marks);
        let limit = self.limit(RECEIPT_TARGET, "ms", true);
        let across = Scale::ratios(all().map(|mark| mark.0).chain(limit.iter().map(|limit| limit.value)));
        let up = Scale::nines(all().map(|mark| mark.1));
        let plot = Plot {
            title: "Latency: how many answers came within a time".into(),
            across: Axis { title: "milliseconds, logarithmic".into(), scale: across },
            up: Axis { title: "share of answers, a step for each nine".into(), scale: up },
            lines,
            limit,
        };
        let caption = "Further left is faster. Lost intents have no latency, and are in no share.".into();
        Figure { plot, caption }
    }

    fn latency(&self) -> Figure {
        fn heard(second: &Second, ms: f64) -> Option<f64> {
            second.has_receipts().then_some(ms)
        }
        let figures: [OfSecond; 3] = [
            ("p50", |second| heard(second, second.p50_ms)),
            ("p95", |second| heard(second, second.p95_ms)),
            ("max", |second| heard(second, second.max_ms)),
        ];
        // The largest of each second is noise to compare; the distribution has the largest of all.
        let (across, lines) = self.over_time(if self.runs.len() == 1 { &figures } else { &figures[..2] });
        let limit = self.limit(RECEIPT_TARGET, "ms", false);
        let scale = Scale::ratios(values(&lines).chain(limit.iter().map(|limit| limit.value)));
        let plot = Plot {
            title: "Latency of receipts over time".into(),
            across,
            up: Axis { title: "milliseconds, logarithmic".into(), scale },
            lines,
            limit,
        };
        Figure { plot, caption: format!("A second without receipts is a gap.{}", self.parts) }
    }

    fn rate(&self) -> Figure {
        let (across, lines) = self.over_time(&[
            ("offered", |second| Some(second.offered as f64)),
            ("settled", |second| Some(second.settled as f64)),
        ]);
        let up = Axis { title: "intents a second".into(), scale: Scale::rounded(values(&lines)) };
        let plot = Plot { title: "Offered and settled intents".into(), across, up, lines, limit: None };
        let caption = "Where settled stays below offered, intents wait, are refused or are lost.";
        Figure { plot, caption: format!("{caption}{}", self.parts) }
    }

    fn cpu(&self) -> Figure {
        let (across, lines) = self
            .over_time(&[("node", |second| second.node_cpu_percent), ("generator", |second| second.own_cpu_percent)]);
        let up = Axis { title: "percent of one core".into(), scale: Scale::rounded(values(&lines)) };
        let plot = Plot { title: "Processor time of node and generator".into(), across, up, lines, limit: None };
        let caption = "A generator without processor time to spare measures itself.";
        Figure { plot, caption: format!("{caption}{}{}", self.shared(), self.parts) }
    }

    fn memory(&self) -> Figure {
        let (across, lines) = self.over_time(&[("memory", |second| second.rss_mb)]);
        let limit = self.limit(MEMORY_TARGET, "MB", false);
        let scale = Scale::rounded(values(&lines).chain(limit.iter().map(|limit| limit.value)));
        let plot = Plot {
            title: "Memory of the node".into(),
            across,
            up: Axis { title: "megabytes resident".into(), scale },
            lines,
            limit,
        };
        Figure { plot, caption: format!("{}{}", self.shared(), self.parts).trim_start().to_owned() }
    }
}

fn values(lines: &[Line]) -> impl Iterator<Item = f64> {
    lines.iter().flat_map(|line| &line.marks).map(|mark| mark.1)
}
