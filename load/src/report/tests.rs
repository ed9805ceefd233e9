use std::fs;

use super::*;
use crate::scenario::DURATION_MAX;
use crate::schedule::LAST;

/// A run as a small machine gives it: slow to start, one stall, a tail.
fn sample(rate: f64, slow: f64) -> Report {
    let mut wobble = 12_345_u64;
    let mut next = move || {
        wobble = wobble.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (wobble >> 33) as f64 / (1_u64 << 31) as f64
    };
    let places = |value: f64| (value * 1e6).round() / 1e6;
    let second = |at: u64| {
        let (stall, warm) = (if at == 71 { 9.0_f64 } else { 1.0 }, if at < 4 { 2.0 } else { 1.0 });
        let offered = rate + 40.0 * (next() - 0.5);
        let settled = offered
            * if at == 71 {
                0.4
            } else if at == 72 {
                1.55
            } else {
                0.985
            };
        let p50_ms = places((11.0 + 2.0 * next()) * slow * warm);
        Second {
            at_s: at as f64,
            offered: offered as u64,
            acknowledged: offered as u64,
            settled: settled as u64,
            refused: (offered * 0.015) as u64,
            p50_ms,
            p95_ms: places(p50_ms * (1.5 + 0.3 * next()) * stall.sqrt()),
            max_ms: places(p50_ms * (2.0 + 2.0 * next()) * stall),
            node_cpu_percent: Some(places(61.0 + 9.0 * next())),
            own_cpu_percent: Some(places(24.0 + 6.0 * next())),
            rss_mb: Some(places(96.0 + (at as f64).sqrt())),
        }
    };
    let cdf = |base: f64, spread: f64| {
        let ms = move |q: f64| base + spread * (-(1.0 - q).max(6e-5).log10()).powf(1.9);
        let inner = (0..200).map(|step| 1.0 - 10_f64.powf(-f64::from(step) * 0.021));
        inner.chain([1.0]).map(|q| (places(q), places(ms(q)))).collect()
    };
    let words = |name: &str, wanted: &str, found: &str, met| Goal::new(name, wanted, found, met);
    let drawn = |limit, goal| Goal { limit: Some(limit), ..goal };
    Report {
        scenario: "steady".into(),
        command: "bitcraps load steady --users 1000 --rate 2000 --seconds 120 --seed 7 --out reports/steady".into(),
        started: "2026-11-23T21:14:05Z".into(),
        version: "0.1.0 (f82d04a)".into(),
        machine: Host { cores: 2, memory_mb: 7_941, cpu: "AMD EPYC 7B13".into(), os: "Debian 12, Linux 6.1".into() },
        load: Offered {
            users: 1_000,
            rate,
            duration_s: 120.0,
            tables: 100,
            transport: Transport::Quic,
            options: vec![("connections".into(), "64".into())],
        },
        summary: Summary {
            offered: 240_031,
            acknowledged: 240_029,
            settled: 236_426,
            refused: 3_603,
            lost: 2,
            rate: rate * 0.985,
            p50_ms: 12.4 * slow,
            p95_ms: 19.8 * slow,
            p99_ms: 31.7 * slow,
            max_ms: 212.6 * slow,
            rss_mb: Some(107.3),
            cpu_percent: Some(65.2),
            replay_ok: Some(true),
            ok: true,
        },
        acknowledgement: Latencies { p50_ms: 0.412, p95_ms: 1.93, p99_ms: 5.27, max_ms: 38.6 },
        lateness: Latencies { p50_ms: 0.31, p95_ms: 0.87, p99_ms: 1.4, max_ms: 7.2 },
        refusals: [("number_seen", 402), ("felt_full", 3_001), ("too_late", 200)]
            .map(|(code, count)| (code.to_owned(), count))
            .into(),
        receipt_cdf: cdf(6.0 * slow, 14.0 * slow),
        acknowledgement_cdf: cdf(0.2, 2.6),
        seconds: (0..120).map(second).collect(),
        targets: vec![
            drawn(50.0, words(RECEIPT_TARGET, "under 50 ms", "19.8 ms", true)),
            words("settled", "at least 1,900 /s", "1,970 /s", true),
            drawn(512.0, words(MEMORY_TARGET, "under 512 MB", "107 MB", true)),
            words("lost intents", "none", "2", false),
        ],
        notes: vec!["Generator and node shared the machine's two cores.".into()],
    }
}

fn nothing() -> Report {
    let sample = sample(2_000.0, 1.0);
    Report {
        load: Offered { users: 0, rate: 0.0, duration_s: 0.0, tables: 0, options: Vec::new(), ..sample.load },
        summary: Summary {
            offered: 0,
            acknowledged: 0,
            settled: 0,
            refused: 0,
            lost: 0,
            rate: 0.0,
            p50_ms: 0.0,
            p95_ms: 0.0,
            p99_ms: 0.0,
            max_ms: 0.0,
            rss_mb: Some(0.0),
            cpu_percent: Some(0.0),
            replay_ok: Some(false),
            ok: false,
        },
        acknowledgement: Latencies::default(),
        lateness: Latencies::default(),
        refusals: BTreeMap::new(),
        receipt_cdf: Vec::new(),
        acknowledgement_cdf: Vec::new(),
        seconds: Vec::new(),
        targets: Vec::new(),
        notes: Vec::new(),
        ..sample
    }
}

/// What no page may hold: anything from outside, or a figure that is none.
fn assert_sound(page: &str) {
    for banned in ["http://", "https://", "src=", "url(", "@import", "<script", "<link", "NaN", ">inf", "-inf"] {
        assert!(!page.contains(banned), "the page holds {banned}");
    }
    for tag in ["table", "tr", "td", "div", "svg", "figure", "p", "section", "pre", "ul", "text"] {
        let opened = page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count();
        assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "<{tag}>");
    }
}

#[test]
fn json_is_read_as_it_was_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let report = sample(2_000.0, 1.0);
    let run = dir.path().join("new/run");
    report.write(&run).expect("written");
    assert_eq!(Report::read(&run).expect("by directory"), report);
    assert_eq!(Report::read(&run.join("report.json")).expect("by file"), report);
    assert_eq!(fs::read_to_string(run.join("report.html")).expect("the page"), html(&report));
}

#[test]
fn the_json_has_the_summary_at_its_top() {
    let json: Value = serde_json::from_str(&sample(2_000.0, 1.0).json().expect("json")).expect("json");
    for (name, value) in [("offered", 240_031), ("acknowledged", 240_029), ("settled", 236_426), ("refused", 3_603)] {
        assert_eq!(json[name], value, "{name}");
    }
    for name in ["rate", "p50_ms", "p95_ms", "p99_ms", "max_ms", "rss_mb", "cpu_percent"] {
        assert!(json[name].is_f64(), "{name}");
    }
    assert!(json["replay_ok"].is_boolean() && json["ok"].is_boolean() && json["lost"] == 2);
}

#[test]
fn what_is_no_number_is_zero_in_json() {
    let mut report = sample(2_000.0, 1.0);
    report.summary.p99_ms = f64::NAN;
    report.receipt_cdf.push((1.0, f64::INFINITY));
    report.seconds[0].p50_ms = f64::NAN;
    assert_sound(&html(&report));
    let read: Report = serde_json::from_str(&report.json().expect("json")).expect("a report");
    assert_eq!((read.summary.p99_ms, read.seconds[0].p50_ms), (0.0, 0.0));
    assert_eq!(read.receipt_cdf.last(), Some(&(1.0, 0.0)));
}

#[test]
fn errors_name_the_file_and_what_is_wrong() {
    let dir = tempfile::tempdir().expect("a directory");
    let missing = Report::read(&dir.path().join("none.json")).expect_err("it is not there").to_string();
    assert!(missing.contains("none.json: "), "{missing}");
    let empty = Report::read(dir.path()).expect_err("the directory is empty").to_string();
    assert!(empty.contains("report.json: "), "{empty}");
    let path = dir.path().join("report.json");
    for (text, wrong) in [("{\"scenario\": \n 7}", "line 2"), ("{\"scenario\": \"a\"}", "missing field `command`")] {
        fs::write(&path, text).expect("written");
        let error = Report::read(&path).expect_err(text).to_string();
        assert!(error.contains("report.json: not a load report: ") && error.contains(wrong), "{error}");
    }
    let below_a_file = sample(2_000.0, 1.0).write(&path).expect_err("a file is no directory").to_string();
    assert!(below_a_file.contains("report.json: "), "{below_a_file}");
}

#[test]
fn the_report_of_the_longest_run_can_be_read() {
    let busy = Second {
        at_s: 172_799.0,
        offered: 1_000_000,
        acknowledged: 1_000_000,
        settled: 1_000_000,
        refused: 1_000_000,
        p50_ms: 600_000.123_456,
        p95_ms: 600_000.123_456,
        max_ms: 600_000.123_456,
        node_cpu_percent: Some(102_400.123_456),
        own_cpu_percent: Some(102_400.123_456),
        rss_mb: Some(1_000_000.123_456),
    };
    let bytes = |seconds: usize| {
        let report = Report { seconds: vec![busy; seconds], ..sample(2_000.0, 1.0) };
        report.json().expect("json").len() as u64
    };
    let of_one = (bytes(101) - bytes(1)) / 100;
    // What is under way at the end is waited for.
    let seconds = DURATION_MAX.as_secs() + LAST.as_secs() + 60;
    assert!(bytes(0) + of_one * seconds <= REPORT_BYTES_MAX, "{of_one} bytes a second");
}

#[test]
fn a_place_where_no_report_can_go_is_told_before_the_run() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("new/run");
    Report::check_place(&place).expect("it can be made");
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0, "nothing stays behind");
    Report::check_place(dir.path()).expect("an empty one serves, and stays");
    assert!(dir.path().exists());
    let file = dir.path().join("file");
    fs::write(&file, "").expect("written");
    for place in [file.clone(), file.join("below")] {
        let problem = Report::check_place(&place).expect_err("a file is no directory").to_string();
        assert!(problem.contains("file"), "{problem}");
    }
    sample(2_000.0, 1.0).write(&place).expect("written");
    let there = Report::check_place(&place).expect_err("a report is there").to_string();
    assert!(there.contains("report.json is there already"), "{there}");
}

#[test]
fn the_page_has_every_figure() {
    let page = html(&sample(2_000.0, 1.0));
    assert_sound(&page);
    for figure in [
        "240,031",
        "240,029",
        "236,426",
        "3,603",
        "&gt; 99.99 %",
        "&lt; 0.01 %",
        "98.50 %",
        "1,970 /s",
        "12.4 ms",
        "19.8 ms",
        "31.7 ms",
        "213 ms",
        "0.412 ms",
        "1.93 ms",
        "5.27 ms",
        "38.6 ms",
        "107 MB",
        "65.2 %",
        "felt_full",
        "3,001",
        "AMD EPYC 7B13",
        "7,941 MB",
        "Debian 12",
        "0.1.0 (f82d04a)",
        "2026-11-23T21:14:05Z",
        "--users 1000 --rate 2000",
        "shared the machine",
        "open loop",
        "durable",
        "at least 1,900 /s",
        "✗ missed",
        "Missed: lost intents. 3 of 4",
        "connections",
        "target 50 ms",
        "target 512 MB",
    ] {
        assert!(page.contains(figure), "the page lacks {figure}");
    }
    // Each plot is there for screens and for telephones.
    assert_eq!(page.matches("<svg class=\"plot").count(), 10);
}

#[test]
fn a_page_draws_the_bounds_of_its_targets_and_what_was_seen() {
    let mut several = sample(2_000.0, 1.0);
    several.targets[0].limit = Some(150.0);
    let page = html(&several);
    assert!(page.contains("target 150 ms") && !page.contains("target 50 ms"));
    let both = comparison_html(&several, &sample(2_000.0, 1.0));
    assert!(!both.contains("target 150 ms") && !both.contains("target 50 ms"), "they were judged by different ones");
    assert!(both.contains("target 512 MB"));
    // As in one process: the generator is not seen by itself, and nobody judges the memory of both.
    let mut shared = sample(2_000.0, 1.0);
    shared.load.transport = Transport::InProcess;
    shared.targets.retain(|target| target.name != MEMORY_TARGET);
    shared.seconds.iter_mut().for_each(|second| second.own_cpu_percent = None);
    let page = html(&shared);
    assert_sound(&page);
    assert!(page.contains("target 50 ms") && !page.contains("target 512 MB"));
    assert!(!page.contains("generator</span>") && page.contains("what the node has is that of both"), "{page}");
}

#[test]
fn a_second_of_refusals_alone_has_times() {
    let mut report = sample(2_000.0, 1.0);
    for second in &mut report.seconds {
        (second.settled, second.refused) = (0, 10);
    }
    report.summary.settled = 0;
    let of_latency = |report: &Report| {
        let figure = plots::figures(&[report]).into_iter().nth(1).expect("latency over time");
        let drawn = figure.plot.lines.iter().flat_map(|line| &line.marks).filter(|mark| mark.1.is_finite()).count();
        (drawn, figure.caption)
    };
    assert_eq!(of_latency(&report), (3 * 120, "A second without receipts is a gap.".into()));
    assert!(
        html(&report).contains("12.4 ms")
            && Comparison::of(&report, &report)
                .rows
                .iter()
                .any(|row| { row.figure == "receipt p50" && row.a.is_some() })
    );
    let part = joined(&report.seconds[..2]);
    assert!(part.p50_ms > 0.0, "{part:?}");
    report.seconds.iter_mut().for_each(|second| (second.p50_ms, second.p95_ms, second.max_ms) = (0.0, 0.0, 0.0));
    assert_eq!(of_latency(&report).0, 0);
}

#[test]
fn foreign_text_is_escaped() {
    let mut report = sample(2_000.0, 1.0);
    let evil = "<b onload='x'>&\"";
    let Report { scenario, command, started, version, machine, load, notes, targets, refusals, .. } = &mut report;
    for text in [scenario, command, started, version, &mut machine.cpu, &mut machine.os] {
        *text = evil.into();
    }
    notes.push(evil.into());
    load.options.push((evil.into(), evil.into()));
    targets.push(Goal::new(evil, evil, evil, false));
    refusals.insert(evil.into(), 1);
    for page in [html(&report), comparison_html(&report, &sample(2_000.0, 1.0))] {
        assert_sound(&page);
        assert!(!page.contains("<b onload") && !page.contains("'x'"));
        assert!(page.contains("&lt;b onload=&#39;x&#39;&gt;&amp;&quot;"));
    }
}

#[test]
fn runs_of_nothing_and_of_one_second_have_pages() {
    let mut zeros = nothing();
    zeros.seconds = vec![Second::default(); 3];
    zeros.receipt_cdf = vec![(0.0, 0.0), (1.0, 0.0)];
    let mut one = sample(2_000.0, 1.0);
    one.seconds.truncate(1);
    one.receipt_cdf = vec![(1.0, 3.0)];
    let mut odd = sample(2_000.0, 1.0);
    odd.seconds[5] =
        Second { at_s: f64::NAN, settled: u64::MAX, p50_ms: f64::MAX, rss_mb: Some(-1.0), ..odd.seconds[5] };
    for report in [&nothing(), &zeros, &one, &odd] {
        assert_sound(&html(report));
        assert_sound(&comparison_html(report, &sample(2_000.0, 1.0)));
        assert_sound(&comparison_html(report, report));
        assert!(!Comparison::of(report, &zeros).to_string().contains("NaN"));
    }
    assert!(html(&nothing()).contains("Nothing was measured."));
    assert!(html(&one).contains("<circle"));
}

#[test]
fn long_runs_are_drawn_in_parts() {
    let second = |at: u64| Second {
        at_s: at as f64,
        offered: 10,
        settled: at % 2,
        p50_ms: 4.0,
        max_ms: at as f64,
        ..Second::default()
    };
    let seconds: Vec<Second> = (0..1_500).map(second).collect();
    let parts = in_parts(&seconds, SAMPLES_MAX);
    assert_eq!(parts.len(), 500);
    let expected = Second { at_s: 3.0, offered: 10, settled: 1, p50_ms: 4.0, max_ms: 5.0, ..Second::default() };
    assert_eq!(parts[1], expected);
    assert_eq!(in_parts(&seconds[..600], SAMPLES_MAX), seconds[..600]);
    assert!(in_parts(&[], SAMPLES_MAX).is_empty());
    let page = html(&Report { seconds, ..sample(2_000.0, 1.0) });
    assert!(page.contains("Up to 3 seconds are drawn as one") && page.contains("minutes since the start"));
}

#[test]
fn less_latency_and_more_rate_are_better() {
    let judged = |a: &Report, b: &Report, figure: &str| {
        Comparison::of(a, b).row(figure).unwrap_or_else(|| panic!("no row {figure}")).judgement
    };
    let (a, b) = (sample(2_000.0, 1.0), sample(2_200.0, 1.2));
    for (figure, there, back) in [
        ("settled", Judgement::Better, Judgement::Worse),
        ("receipt p50", Judgement::Worse, Judgement::Better),
        ("receipt max", Judgement::Worse, Judgement::Better),
        ("acknowledged p99", Judgement::Same, Judgement::Same),
        ("memory", Judgement::Same, Judgement::Same),
        ("offered", Judgement::Unjudged, Judgement::Unjudged),
    ] {
        assert_eq!((judged(&a, &b, figure), judged(&b, &a, figure)), (there, back), "{figure}");
    }
    assert_eq!(Comparison::of(&a, &b).differences, ["intents/s asked for: A 2,000, B 2,200"]);
}

#[test]
fn five_percent_is_the_same_and_more_is_not() {
    let row = |a: f64, b: f64| {
        let of = |ms| {
            let mut report = sample(2_000.0, 1.0);
            report.summary.p50_ms = ms;
            report
        };
        let comparison = Comparison::of(&of(a), &of(b));
        let row = comparison.row("receipt p50").expect("a row");
        (row.change_percent, row.judgement)
    };
    assert_eq!(row(100.0, 105.0), (Some(5.0), Judgement::Same));
    assert_eq!(row(100.0, 95.0), (Some(-5.0), Judgement::Same));
    assert_eq!(row(100.0, 106.0), (Some(6.0), Judgement::Worse));
    assert_eq!(row(100.0, 94.0), (Some(-6.0), Judgement::Better));
    assert_eq!(row(0.0, 0.0), (None, Judgement::Same));
    assert_eq!(row(0.0, 1.0), (None, Judgement::Worse));
}

#[test]
fn a_run_without_receipts_is_not_the_fastest() {
    let comparison = Comparison::of(&sample(2_000.0, 1.0), &nothing());
    for figure in ["receipt p50", "acknowledged max", "lost of offered"] {
        let row = comparison.row(figure).expect("a row");
        assert_eq!((row.b, row.judgement), (None, Judgement::Unjudged), "{figure}");
    }
    assert_eq!(comparison.row("replay is the same").expect("a row").judgement, Judgement::Worse);
    let text = comparison.to_string();
    assert!(text.contains("receipt p50") && text.contains("worse") && text.contains("Within 5 %"), "{text}");
}

#[test]
fn what_was_not_measured_is_neither_zero_nor_compared() {
    let mut elsewhere = sample(2_000.0, 1.0);
    (elsewhere.summary.rss_mb, elsewhere.summary.cpu_percent, elsewhere.summary.replay_ok) = (None, None, None);
    elsewhere.targets.truncate(3);
    for second in &mut elsewhere.seconds {
        (second.rss_mb, second.node_cpu_percent) = (None, None);
    }
    let json = elsewhere.json().expect("json");
    assert_eq!(serde_json::from_str::<Report>(&json).expect("a report"), elsewhere);
    let value: Value = serde_json::from_str(&json).expect("json");
    for name in ["rss_mb", "cpu_percent", "replay_ok"] {
        assert_eq!(value.get(name), Some(&Value::Null), "{name} is a field that says so");
    }
    for (a, b) in [(&elsewhere, &sample(2_000.0, 1.0)), (&sample(2_000.0, 1.0), &elsewhere)] {
        let comparison = Comparison::of(a, b);
        for figure in ["memory", "CPU, 100 % is a core", "replay is the same"] {
            assert_eq!(comparison.row(figure).expect("a row").judgement, Judgement::Unjudged, "{figure}");
        }
        assert_sound(&comparison_html(a, b));
    }
    assert_eq!(html::headline(&elsewhere), (true, "Met: all 3 targets.".into()));
    let page = html(&elsewhere);
    assert_sound(&page);
    assert!(!page.contains("<td class=\"number\">0 MB</td>") && page.contains("Nothing was measured."), "{page}");
}

#[test]
fn the_headline_hides_nothing() {
    let of = |change: fn(&mut Report)| {
        let mut report = sample(2_000.0, 1.0);
        report.targets.truncate(3);
        change(&mut report);
        html::headline(&report)
    };
    assert_eq!(of(|_| ()), (true, "Met: all 3 targets.".into()));
    assert_eq!(of(|report| report.targets[1].met = false).1, "Missed: settled. 2 of 3 targets were met.");
    assert!(!of(|report| report.summary.ok = false).0);
    let (passed, text) = of(|report| report.summary.replay_ok = Some(false));
    assert!(!passed && text.contains("replay"), "{text}");
    assert_eq!(of(|report| report.targets.clear()).1, "Passed. No target was set.");
}

#[test]
fn counts_that_do_not_add_up_are_shown() {
    let mut report = sample(2_000.0, 1.0);
    report.summary.settled -= 10;
    assert!(html(&report).contains("not accounted for"));
    report.summary.settled += 30;
    assert!(html(&report).contains("counted twice"));
}
