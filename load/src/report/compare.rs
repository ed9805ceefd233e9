//! Two runs beside each other.

use std::fmt;

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};

use super::html::{headline, page, push_plots, push_run};
use super::svg::push;
use super::text::{NOTHING, escape, fixed, number, share, with_unit, yes};
use super::{Latencies, Report};

/// Figures that differ by no more than this are the same: runs on a shared machine differ by as much on their own.
pub const SAME_PERCENT: f64 = 5.0;

/// Two runs, figure by figure.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Comparison {
    /// What the first is called.
    pub a: String,
    /// What the second is called.
    pub b: String,
    /// Conditions that were not the same, as sentences. With any of them, rows may compare unlike things.
    pub differences: Vec<String>,
    /// The figures.
    pub rows: Vec<Row>,
}

/// One figure of two runs.
#[derive(Clone, PartialEq, Debug, serde::Serialize)]
pub struct Row {
    /// What it is.
    pub figure: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// In the first run, if it was measured.
    pub a: Option<f64>,
    /// In the second.
    pub b: Option<f64>,
    /// What the second has more than the first, in percent of the first; nothing can be said of zero.
    pub change_percent: Option<f64>,
    /// Whether the second is better.
    pub judgement: Judgement,
}

/// What a figure is counted in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Milliseconds.
    Ms,
    /// Megabytes.
    Mb,
    /// Percent of what was offered.
    Share,
    /// Percent of a core.
    Cpu,
    /// Intents a second.
    Rate,
    /// One is yes.
    Yes,
}

/// How the second run's figure is to the first's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Better by more than [`SAME_PERCENT`].
    Better,
    /// Worse by more than that.
    Worse,
    /// Neither.
    Same,
    /// It is a condition, or one of the runs did not measure it.
    Unjudged,
}

/// Which way a figure is better.
#[derive(Clone, Copy)]
enum Wanted {
    Higher,
    Lower,
    /// It was asked for.
    Neither,
}

impl Comparison {
    /// Compares two runs; `b` is judged by `a`.
    pub fn of(a: &Report, b: &Report) -> Self {
        let (in_a, in_b) = (figures(a), figures(b));
        let rows = in_a.into_iter().zip(in_b);
        Self {
            a: name(a),
            b: name(b),
            differences: differences(a, b),
            rows: rows.map(|((figure, unit, wanted, a), (.., b))| Row::of(figure, unit, wanted, a, b)).collect(),
        }
    }

    /// The row of a figure.
    pub fn row(&self, figure: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.figure == figure)
    }
}

impl Row {
    fn of(figure: &'static str, unit: Unit, wanted: Wanted, a: Option<f64>, b: Option<f64>) -> Self {
        let [a, b] = [a, b].map(|value| value.filter(|value| value.is_finite()));
        let pair = a.zip(b);
        let change_percent =
            pair.filter(|(a, _)| *a != 0.0 && unit != Unit::Yes).map(|(a, b)| (b - a) / a.abs() * 100.0);
        let judgement = match (pair, wanted) {
            (None, _) | (_, Wanted::Neither) => Judgement::Unjudged,
            (Some((a, b)), _) if a == b => Judgement::Same,
            (Some(_), _) if change_percent.is_some_and(|change| change.abs() <= SAME_PERCENT) => Judgement::Same,
            (Some((a, b)), Wanted::Higher) if b > a => Judgement::Better,
            (Some((a, b)), Wanted::Lower) if b < a => Judgement::Better,
            _ => Judgement::Worse,
        };
        Self { figure, unit, a, b, change_percent, judgement }
    }

    /// Both values, the change and the judgement, in words.
    fn cells(&self) -> [String; 4] {
        let shown = |value: Option<f64>| match (self.unit, value) {
            (Unit::Yes, Some(value)) => yes(value > 0.0).into(),
            (Unit::Ms, value) => with_unit(value, "ms"),
            (Unit::Mb, value) => with_unit(value, "MB"),
            (Unit::Rate, value) => with_unit(value, "/s"),
            (Unit::Cpu, value) => with_unit(value, "%"),
            (Unit::Share, value) => share(value),
            (Unit::Yes, None) => NOTHING.into(),
        };
        let change = match self.change_percent {
            Some(change) => format!("{}{} %", if change > 0.0 { "+" } else { "" }, fixed(change, 1)),
            None => NOTHING.into(),
        };
        [shown(self.a), shown(self.b), change, self.judgement.word().into()]
    }
}

impl Judgement {
    fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "worse",
            Self::Same => "same",
            Self::Unjudged => "",
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(UTF8_HORIZONTAL_ONLY);
        table.set_header(["", "A", "B", "change", "B is"]);
        for row in &self.rows {
            let [a, b, change, word] = row.cells();
            table.add_row([row.figure.to_owned(), a, b, change, word]);
        }
        for column in 1..4 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        writeln!(f, "A  {}\nB  {}\n{table}\n{}", self.a, self.b, threshold())?;
        self.differences.iter().try_for_each(|difference| writeln!(f, "Not the same: {difference}"))
    }
}

/// The page of two runs, with both runs' curves in the same plots.
pub fn comparison_html(a: &Report, b: &Report) -> String {
    let comparison = Comparison::of(a, b);
    let mut body = String::new();
    for (letter, name, report) in [("A", &comparison.a, a), ("B", &comparison.b, b)] {
        let (passed, text) = headline(report);
        let class = if passed { "good" } else { "bad" };
        let (name, text) = (escape(name), escape(&text));
        push(&mut body, format_args!("<p><b>{letter}</b> {name}<br><span class=\"{class}\">{text}</span></p>\n"));
    }
    if !comparison.differences.is_empty() {
        let items: String = comparison.differences.iter().map(|item| format!("<li>{}</li>", escape(item))).collect();
        push(&mut body, format_args!("<h2>What was not the same</h2>\n<ul>{items}</ul>\n"));
    }
    body.push_str(
        "<h2>Figures</h2>\n<div class=\"scroll tight\"><table><thead><tr><th></th><th class=\"number\">A</th>",
    );
    body.push_str("<th class=\"number\">B</th><th class=\"number\">change</th><th>B is</th></tr></thead><tbody>\n");
    for row in &comparison.rows {
        let [a, b, change, word] = row.cells().map(|cell| escape(&cell));
        let class = match row.judgement {
            Judgement::Better => "good",
            Judgement::Worse => "bad",
            Judgement::Same | Judgement::Unjudged => "",
        };
        let figure = escape(row.figure);
        let cells =
            format!("<td class=\"number\">{a}</td><td class=\"number\">{b}</td><td class=\"number\">{change}</td>");
        push(
            &mut body,
            format_args!("<tr><th scope=\"row\">{figure}</th>{cells}<td class=\"{class}\">{word}</td></tr>\n"),
        );
    }
    push(&mut body, format_args!("</tbody></table></div>\n<p class=\"quiet\">{}</p>\n", threshold()));
    push_plots(&mut body, &[a, b]);
    push_run(&mut body, "What A was", a);
    push_run(&mut body, "What B was", b);
    let title = if a.scenario == b.scenario {
        format!("Two load runs: {}", a.scenario)
    } else {
        format!("Two load runs: {} and {}", a.scenario, b.scenario)
    };
    page(&title, &body)
}

fn threshold() -> String {
    format!("Within {SAME_PERCENT} % of A is the same. Two runs cannot tell a change from chance: repeat them.")
}

fn name(report: &Report) -> String {
    [&report.scenario, &report.version, &report.started].map(String::as_str).join(", ")
}

type Figure = (&'static str, Unit, Wanted, Option<f64>);

/// The figures that are compared, in the order in which they are shown.
fn figures(report: &Report) -> Vec<Figure> {
    use Unit::{Cpu, Mb, Ms, Rate, Share, Yes};
    use Wanted::{Higher, Lower, Neither};
    let summary = &report.summary;
    let mut figures = vec![
        ("passed", Yes, Higher, Some(f64::from(u8::from(summary.ok)))),
        ("replay is the same", Yes, Higher, summary.replay_ok.map(|ok| f64::from(u8::from(ok)))),
        ("offered", Rate, Neither, report.offered_rate()),
        ("settled", Rate, Higher, Some(summary.rate)),
        ("settled of offered", Share, Higher, report.share(summary.settled)),
        ("refused of offered", Share, Lower, report.share(summary.refused)),
        ("lost of offered", Share, Lower, report.share(summary.lost)),
    ];
    // Where there was any answer, the slowest took some time.
    let latency = |name, max_ms, value| (name, Ms, Lower, (max_ms > 0.0).then_some(value));
    let Latencies { p50_ms, p95_ms, p99_ms, max_ms } = report.receipts();
    let receipts = [("receipt p50", p50_ms), ("receipt p95", p95_ms), ("receipt p99", p99_ms), ("receipt max", max_ms)];
    figures.extend(receipts.map(|(name, value)| latency(name, max_ms, value)));
    let Latencies { p50_ms, p95_ms, p99_ms, max_ms } = report.acknowledgement;
    let acknowledged = [
        ("acknowledged p50", p50_ms),
        ("acknowledged p95", p95_ms),
        ("acknowledged p99", p99_ms),
        ("acknowledged max", max_ms),
    ];
    figures.extend(acknowledged.map(|(name, value)| latency(name, max_ms, value)));
    figures.push(("memory", Mb, Lower, summary.rss_mb));
    figures.push(("CPU, 100 % is a core", Cpu, Lower, summary.cpu_percent));
    figures
}

fn differences(a: &Report, b: &Report) -> Vec<String> {
    let conditions = |report: &Report| {
        let (load, machine) = (&report.load, &report.machine);
        [
            ("scenario", report.scenario.clone()),
            ("users", load.users.to_string()),
            ("craps tables", load.tables.to_string()),
            ("intents/s asked for", number(load.rate)),
            ("seconds", number(load.duration_s)),
            ("transport", load.transport.to_string()),
            (
                "options",
                load.options.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" "),
            ),
            ("processor", machine.cpu.clone()),
            ("cores", machine.cores.to_string()),
            ("memory of the machine, MB", machine.memory_mb.to_string()),
            ("system", machine.os.clone()),
        ]
    };
    let shown = |value: String| if value.is_empty() { "none".to_owned() } else { value };
    let pairs = conditions(a).into_iter().zip(conditions(b)).filter(|((_, a), (_, b))| a != b);
    pairs.map(|((name, a), (_, b))| format!("{name}: A {}, B {}", shown(a), shown(b))).collect()
}
