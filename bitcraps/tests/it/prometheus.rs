//! What is made for Prometheus and Grafana, evaluated by a Prometheus that scrapes a node. Where none is installed this is left out,
//! and says so.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::manifests::root;
use super::monitor::Dev;

/// What may pass until everything has data: a start, and the scrapes that a rate needs.
const PATIENCE: Duration = Duration::from_secs(120);

/// A Prometheus that runs until it is dropped.
struct Prometheus {
    process: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes an address each second and evaluates the packaged rules, if there is such a program.
    fn start(scrapes: SocketAddr, rules: &Path) -> Option<Self> {
        let dir = tempfile::tempdir().expect("a directory");
        let config = dir.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: [{}]\nscrape_configs:\n- job_name: bitcraps\n  \
             static_configs: [{{targets: [\"{scrapes}\"]}}]\n",
            rules.display()
        );
        fs::write(&config, text).expect("written");
        // It is told a port, and says nothing of one that it chose.
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", config.display()));
        command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}"));
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        Some(Self { process, address, _dir: dir })
    }

    /// What its API answers, once it does.
    fn ask(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        // The older version of the protocol has answers in one piece.
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let answer: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        (answer["status"] == "success").then(|| answer["data"].clone())
    }

    /// Whether an expression has a value now.
    fn has_data(&self, expression: &str) -> bool {
        let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let found = self.ask(&format!("query?query={encoded}"));
        found.is_some_and(|data| data["result"].as_array().is_some_and(|series| !series.is_empty()))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a rule compares: all before its first comparison, which stands outside of its parentheses.
fn compared(expression: &str) -> &str {
    let depths = expression.char_indices().scan(0_i32, |depth, (at, c)| {
        *depth += i32::from(matches!(c, '(' | '{')) - i32::from(matches!(c, ')' | '}'));
        Some((at, c, *depth))
    });
    let mut comparisons = depths.filter(|(_, c, depth)| *depth == 0 && matches!(c, '<' | '>' | '='));
    comparisons.next().map_or(expression, |(at, ..)| expression[..at].trim())
}

#[test]
fn a_prometheus_has_data_for_every_panel_and_every_rule() {
    assert_eq!(compared("((a / b)) >= 0 < 7"), "((a / b))");
    assert_eq!(compared("up{job=\"bitcraps\"} == 0"), "up{job=\"bitcraps\"}");
    let dev = Dev::start(&["--listen", "127.0.0.1:0"]);
    dev.until_ready_is(|status, _| status == 200);
    let rules = root().join("packaging/prometheus/bitcraps.rules.yml");
    let Some(prometheus) = Prometheus::start(dev.address, &rules) else {
        println!("prometheus is not installed: whether panels and rules have data was left out");
        return;
    };
    let grafana = fs::read_to_string(root().join("packaging/grafana/bitcraps.json")).expect("a dashboard");
    let grafana: Value = serde_json::from_str(&grafana).expect("JSON");
    let panels = grafana["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let mut missing: Vec<String> =
        targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect();
    let rules = fs::read_to_string(&rules).expect("rules");
    let rules = rules.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    missing.extend(rules.map(|rule| compared(rule).to_owned()));
    assert!(missing.len() > 60, "{} expressions", missing.len());

    let until = Instant::now() + PATIENCE;
    while !missing.is_empty() {
        assert!(Instant::now() < until, "no data for {missing:#?}");
        std::thread::sleep(Duration::from_millis(500));
        missing.retain(|expression| !prometheus.has_data(expression));
    }
    assert!(!prometheus.has_data("bitcraps_nothing"), "what is not there has none");
    let groups = prometheus.ask("rules").expect("it has rules")["groups"].clone();
    let rules: Vec<&Value> =
        groups.as_array().expect("groups").iter().flat_map(|group| group["rules"].as_array().expect("rules")).collect();
    assert!(rules.len() > 20, "{} rules", rules.len());
    let unhealthy: Vec<&&Value> = rules.iter().filter(|rule| rule["health"] != "ok").collect();
    assert!(unhealthy.is_empty(), "{unhealthy:#?}");
}
