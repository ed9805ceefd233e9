//! The page of one run.

use super::plots::{Figure, figures};
use super::svg::{NARROW, WIDE, push, swatch};
use super::text::{NOTHING, escape, number, share, with_unit, yes};
use super::{Offered, Report, Summary, Transport};
use words::thousands;

const STYLE: &str = include_str!("page.css");

/// The page of one run: one file, without script, and without anything from outside.
pub fn html(report: &Report) -> String {
    let mut body = String::new();
    push_head(&mut body, report);
    push_targets(&mut body, report);
    push_figures(&mut body, report);
    push_plots(&mut body, &[report]);
    push_refusals(&mut body, report);
    push_method(&mut body, report);
    if !report.notes.is_empty() {
        let notes: String = report.notes.iter().map(|note| format!("<li>{}</li>", escape(note))).collect();
        push(&mut body, format_args!("<h2>Notes</h2><ul>{notes}</ul>"));
    }
    push_run(&mut body, "What was run", report);
    page(&format!("Load report: {}", report.scenario), &body)
}

/// A whole page around a body.
pub fn page(title: &str, body: &str) -> String {
    let title = escape(title);
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n\
         {body}</main>\n</body>\n</html>\n"
    )
}

/// Whether a run passed, and the sentence that says so.
pub fn headline(report: &Report) -> (bool, String) {
    let missed: Vec<&str> =
        report.targets.iter().filter(|target| !target.met).map(|target| target.name.as_str()).collect();
    let met = report.targets.len() - missed.len();
    let passed = report.summary.ok && report.summary.replay_ok != Some(false) && missed.is_empty();
    let mut text = match report.targets.len() {
        0 if passed => "Passed. No target was set.".into(),
        0 => "Not passed. No target was set.".into(),
        all if passed => format!("Met: all {all} targets."),
        all if !missed.is_empty() => format!("Missed: {}. {met} of {all} targets were met.", missed.join(", ")),
        all => format!("Not passed, although all {all} targets were met."),
    };
    if report.summary.replay_ok == Some(false) {
        text += " The replay did not give the same session.";
    }
    (passed, text)
}

/// A row of cells that follow its name; cells are escaped already.
pub fn push_row(body: &mut String, name: &str, cells: &[&str]) {
    let cells: String = cells.iter().map(|cell| format!("<td class=\"number\">{cell}</td>")).collect();
    push(body, format_args!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", escape(name)));
}

/// The plots of one run or two, each for screens and for telephones.
pub fn push_plots(body: &mut String, reports: &[&Report]) {
    body.push_str("<h2>Curves</h2>\n");
    for Figure { plot, caption } in figures(reports) {
        push(body, format_args!("<figure>\n<figcaption><strong>{}</strong>", escape(&plot.title)));
        let drawn = |(across, up): &(f64, f64)| across.is_finite() && up.is_finite();
        if !plot.lines.iter().flat_map(|line| &line.marks).any(drawn) {
            body.push_str("<p>Nothing was measured.</p></figcaption>\n</figure>\n");
            continue;
        }
        if plot.lines.len() > 1 {
            let entry = |line| format!("<span>{}{}</span>", swatch(line), escape(&line.name));
            push(
                body,
                format_args!("<div class=\"legend\">{}</div>", plot.lines.iter().map(entry).collect::<String>()),
            );
        }
        push(body, format_args!("</figcaption>\n{}\n{}\n", plot.svg(WIDE), plot.svg(NARROW)));
        if !caption.is_empty() {
            push(body, format_args!("<p class=\"quiet\">{}</p>\n", escape(&caption)));
        }
        body.push_str("</figure>\n");
    }
}

/// What was run, on what, and how to run it again.
pub fn push_run(body: &mut String, title: &str, report: &Report) {
    let Offered { users, rate, duration_s, tables, transport, options } = &report.load;
    let machine = &report.machine;
    let (cores, memory) = (machine.cores, thousands(machine.memory_mb));
    let mut rows = vec![
        ("scenario", report.scenario.clone()),
        ("started", report.started.clone()),
        ("version", report.version.clone()),
        ("machine", format!("{}, {cores} {}, {memory} MB", machine.cpu, plural(cores, "core"))),
        ("system", machine.os.clone()),
        (
            "users",
            format!("{} at {} {}", thousands((*users).into()), thousands((*tables).into()), plural(*tables, "table")),
        ),
        ("asked for", format!("{} intents/s for {} s", number(*rate), number(*duration_s))),
        ("transport", transport.to_string()),
    ];
    rows.extend(options.iter().map(|(name, value)| (name.as_str(), value.clone())));
    push(body, format_args!("<h2>{}</h2>\n<table><tbody>\n", escape(title)));
    for (name, value) in rows {
        push(body, format_args!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", escape(name), escape(&value)));
    }
    let command = escape(&report.command);
    push(body, format_args!("</tbody></table>\n<p>The command that repeats it:</p>\n<pre>{command}</pre>\n"));
}

fn push_head(body: &mut String, report: &Report) {
    let (passed, text) = headline(report);
    let class = if passed { "good" } else { "bad" };
    let Offered { users, rate, duration_s, .. } = &report.load;
    let offered = format!(
        "{} {}, {} intents/s asked for, {} s, over {}",
        thousands((*users).into()),
        plural(*users, "user"),
        number(*rate),
        number(*duration_s),
        report.load.transport
    );
    let facts = [offered, report.started.clone(), report.version.clone()].map(|fact| escape(&fact)).join(" · ");
    push(body, format_args!("<p class=\"quiet\">{facts}</p>\n<p class=\"verdict {class}\">{}</p>\n", escape(&text)));
}

fn push_targets(body: &mut String, report: &Report) {
    if report.targets.is_empty() {
        return;
    }
    body.push_str("<h2>Targets</h2>\n<div class=\"scroll\"><table><thead><tr><th>target</th><th>wanted</th>");
    body.push_str("<th>found</th><th></th></tr></thead><tbody>\n");
    for target in &report.targets {
        let [name, wanted, found] = [&target.name, &target.wanted, &target.found].map(|text| escape(text));
        let (class, word) = if target.met { ("good", "✓ met") } else { ("bad", "✗ missed") };
        push(
            body,
            format_args!(
                "<tr><th scope=\"row\">{name}</th><td>{wanted}</td><td>{found}</td><td class=\"{class}\">{word}</td></tr>\n"
            ),
        );
    }
    body.push_str("</tbody></table></div>\n");
}

fn push_figures(body: &mut String, report: &Report) {
    let Summary { offered, acknowledged, settled, refused, lost, .. } = report.summary;
    body.push_str("<h2>Figures</h2>\n<div class=\"sides\">\n<table><thead><tr><th>intents</th>");
    body.push_str("<th class=\"number\">count</th><th class=\"number\">share</th></tr></thead><tbody>\n");
    let counts = [
        ("offered", offered),
        ("acknowledged", acknowledged),
        ("settled", settled),
        ("refused", refused),
        ("lost", lost),
    ];
    for (name, count) in counts {
        push_row(body, name, &[&thousands(count), &share_of(report, count)]);
    }
    let ended = u128::from(settled) + u128::from(refused) + u128::from(lost);
    if ended != u128::from(offered) {
        let difference = ended.abs_diff(offered.into()).to_string();
        let name = if ended < offered.into() { "not accounted for" } else { "counted twice" };
        push_row(body, name, &[&difference, ""]);
    }
    body.push_str("</tbody></table>\n");
    push_latencies(body, report);
    push_use(body, report);
    body.push_str("</div>\n");
}

fn push_latencies(body: &mut String, report: &Report) {
    body.push_str("<table><thead><tr><th>latency</th><th class=\"number\">receipt</th>");
    body.push_str("<th class=\"number\">acknowledged</th></tr></thead><tbody>\n");
    let (receipts, acknowledged) = (report.receipts(), report.acknowledgement);
    let rows = [
        ("p50", receipts.p50_ms, acknowledged.p50_ms),
        ("p95", receipts.p95_ms, acknowledged.p95_ms),
        ("p99", receipts.p99_ms, acknowledged.p99_ms),
        ("max", receipts.max_ms, acknowledged.max_ms),
    ];
    for (name, receipt, acknowledged) in rows {
        let receipt = (receipts.max_ms > 0.0).then_some(receipt);
        let acknowledged = (report.summary.acknowledged > 0).then_some(acknowledged);
        push_row(body, name, &[&with_unit(receipt, "ms"), &with_unit(acknowledged, "ms")]);
    }
    body.push_str("</tbody></table>\n");
}

fn push_use(body: &mut String, report: &Report) {
    let Summary { rate, rss_mb, cpu_percent, replay_ok, .. } = report.summary;
    let [left, right] = [
        [
            ("asked for", with_unit(Some(report.load.rate), "/s")),
            ("offered", with_unit(report.offered_rate(), "/s")),
            ("settled", with_unit(Some(rate), "/s")),
        ],
        [
            ("memory of the node, most", with_unit(rss_mb, "MB")),
            ("CPU of the node, 100 % is a core", with_unit(cpu_percent, "%")),
            ("replay gives the same session", replay_ok.map_or(NOTHING, yes).into()),
        ],
    ];
    for (title, rows) in [("rate", left), ("node", right)] {
        push(body, format_args!("<table><thead><tr><th>{title}</th><th></th></tr></thead><tbody>\n"));
        for (name, value) in rows {
            push_row(body, name, &[&value]);
        }
        body.push_str("</tbody></table>\n");
    }
}

fn push_refusals(body: &mut String, report: &Report) {
    body.push_str("<h2>Refusals</h2>\n");
    if report.refusals.is_empty() {
        let none = if report.summary.refused == 0 { "No intent was refused." } else { "No code was counted." };
        push(body, format_args!("<p>{none}</p>\n"));
        return;
    }
    body.push_str("<table><thead><tr><th>code</th><th class=\"number\">count</th>");
    body.push_str("<th class=\"number\">share of offered</th></tr></thead><tbody>\n");
    let mut codes: Vec<_> = report.refusals.iter().collect();
    codes.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    for (code, count) in codes {
        push_row(body, code, &[&thousands(*count), &share_of(report, *count)]);
    }
    body.push_str("</tbody></table>\n");
}

fn push_method(body: &mut String, report: &Report) {
    body.push_str(
        "<h2>How latency was measured</h2>\n\
         <p>The load is an open loop: a plan says when each intent is due to leave, and is kept whether or not the node \
         answers. Latency counts from the moment in the plan, not from when the intent left, so a node that stalls \
         cannot hide the intents that had to wait behind it.</p>\n\
         <p>A receipt is durable: the node sends it when the block that settled the intent is on disk. Acknowledgement is \
         earlier, when the node says that it has the intent; it shows what routing alone costs.</p>\n",
    );
    let way = match report.load.transport {
        Transport::Quic => "Intents and receipts went over QUIC.",
        Transport::InProcess => "Generator and node were one process: no socket and no encryption is in these figures.",
    };
    let lost = match report.summary.lost {
        0 => "No intent was lost.".to_owned(),
        lost => format!(
            "{} intents ({}) were lost. They have no latency: every percentile is of the others, and would be worse with them.",
            thousands(lost),
            share_of(report, lost)
        ),
    };
    push(body, format_args!("<p>{way} {lost}</p>\n"));
}

fn share_of(report: &Report, count: u64) -> String {
    escape(&share(report.share(count)))
}

fn plural(count: u32, word: &str) -> String {
    if count == 1 { word.into() } else { format!("{word}s") }
}
