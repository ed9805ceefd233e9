//! The monitor of a real process: page, metrics, health, and what is said when a thread stands still.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use operate::history::Expr;
use operate::tiles::{Tile, tiles};
use serde_json::json;

use super::lines::Lines;

/// A `dev` that runs until it is dropped.
pub(super) struct Dev {
    process: Child,
    pub(super) address: SocketAddr,
    pub(super) session: PathBuf,
    _dir: tempfile::TempDir,
}

impl Dev {
    pub(super) fn start(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let session = dir.path().join("s");
        let named = session.to_str().expect("a plain path");
        let args = ["dev", "--data", named, "--tables", "4", "--players", "24", "--window", "500"];
        let mut process = Command::new(env!("CARGO_BIN_EXE_bitcraps"))
            .args(args)
            .args(["--dashboard", "127.0.0.1:0"])
            .args(more)
            .env("XDG_CACHE_HOME", dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program runs");
        let line = Lines::of(process.stdout.take().expect("a pipe")).until("dashboard");
        let address = line.split("http://").nth(1).and_then(|rest| rest.trim_end_matches('/').parse().ok());
        Self { process, address: address.expect("an address"), session, _dir: dir }
    }

    /// An answer of the monitor: its status, its head and its body.
    pub(super) fn get(&self, path: &str, host: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer of text");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        (status, head.to_lowercase(), body.to_owned())
    }

    pub(super) fn ask(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.get(path, &self.address.to_string());
        (status, body)
    }

    /// The values of all metrics without labels.
    fn scrape(&self) -> BTreeMap<String, f64> {
        let (status, text) = self.ask("/metrics");
        assert_eq!(status, 200);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let values = lines.filter_map(|line| line.rsplit_once(' '));
        values.map(|(name, value)| (name.to_owned(), value.parse().expect("a number"))).collect()
    }

    /// What the page follows.
    fn events(&self) -> impl Iterator<Item = serde_json::Value> {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        write!(&stream, "GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n").expect("it reads");
        let lines = BufReader::new(stream).lines().map_while(Result::ok);
        lines.filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok())
    }

    /// Asks whether it is ready until an answer is as wanted; what was answered last.
    pub(super) fn until_ready_is(&self, wanted: impl Fn(u16, &str) -> bool) -> String {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let (status, body) = self.ask("/readyz");
            if wanted(status, &body) {
                return body;
            }
            assert!(Instant::now() < until, "it goes on to say {status} {body}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn what_is_served_is_live_and_for_this_machine_only() {
    let dev = Dev::start(&["--listen", "none"]);
    dev.until_ready_is(|status, _| status == 200);
    let own = dev.address.to_string();
    let (status, head, page) = dev.get("/", &own);
    assert_eq!(status, 200);
    assert!(head.contains("content-security-policy: default-src 'none'") && head.contains("nosniff"), "{head}");
    let mut bytes = page.len();
    for file in page.split(['"', '\'']).filter(|part| part.ends_with(".js") || part.ends_with(".css")) {
        let (status, _, text) = dev.get(&format!("/{file}"), &own);
        assert_eq!(status, 200, "{file}");
        bytes += text.len();
    }
    assert!((60_000..300_000).contains(&bytes), "the page with all its files has {bytes} bytes");
    let (status, ..) = dev.get("/metrics", "evil.example");
    assert_eq!(status, 421, "a name that was made to point here");
    assert_eq!(dev.ask("/nowhere").0, 404);
    let (status, page) = dev.ask("/runbook/memory-high.md");
    assert!(status == 200 && page.contains("<h1>MemoryHigh: "), "{status} {page}");
    assert_eq!(dev.ask("/runbook/nothing").0, 404);
    assert_eq!((dev.ask("/livez").0, dev.ask("/healthz").0), (200, 200));

    let grows =
        ["bitcraps_ticks_total", "bitcraps_height_settled", "bitcraps_rolls_total", "bitcraps_cpu_seconds_total"];
    let before = dev.scrape();
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let now = dev.scrape();
        if grows.iter().all(|name| now[*name] > before[*name]) {
            assert_eq!(now["bitcraps_tick_seconds_count"], now["bitcraps_ticks_total"]);
            // Nobody's intents are left out: each receipt was waited for.
            let (waited, receipts) = (now["bitcraps_receipt_seconds_count"], now["bitcraps_receipts_total"]);
            assert!(waited > 0.9 * receipts && now["bitcraps_receipt_seconds_sum"] > 0.0, "{waited} of {receipts}");
            assert_eq!(now["bitcraps_decision_seconds_count"], 0.0, "a lone validator decides at once");
            assert!(now["bitcraps_block_seconds_sum"] > 0.0, "{now:?}");
            assert!(now["bitcraps_memory_bytes"] > 1e6 && now["bitcraps_session_bytes"] > 0.0);
            break;
        }
        assert!(Instant::now() < until, "{before:?} does not grow: {now:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
    let (_, text) = dev.ask("/metrics");
    let ran = |system: &&str| {
        let name = format!("bitcraps_system_seconds_count{{system=\"{system}\"}} ");
        let count = text.lines().find_map(|line| line.strip_prefix(&name)?.parse::<u64>().ok());
        count.is_some_and(|count| count > 0)
    };
    let still: Vec<_> = systems::schedule::SYSTEMS.iter().filter(|system| !ran(system)).collect();
    assert!(still.is_empty(), "{still:?} have no time");
    promtool(&["check", "metrics"], &text);
}

/// Runs Prometheus' own checker, where it is installed.
fn promtool(args: &[&str], input: &str) {
    let child =
        Command::new("promtool").args(args).stdin(Stdio::piped()).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut child) = child else {
        println!("promtool is not installed: what it says of {args:?} was left out");
        return;
    };
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let said = child.wait_with_output().expect("it ends");
    let text = [said.stdout, said.stderr].concat();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&text));
}

#[test]
fn rules_for_prometheus_are_good() {
    let rules = crate::manifests::root().join("packaging/prometheus/bitcraps.rules.yml");
    promtool(&["check", "rules", rules.to_str().expect("a plain path")], "");
}

#[test]
fn events_follow_one_another() {
    let dev = Dev::start(&["--listen", "none"]);
    let mut events = dev.events();
    let mut heights = Vec::new();
    for _ in 0..6 {
        let event = events.next().expect("they go on");
        assert!(heights.len() < 2 || event["limits"]["cpu"].as_f64().is_some_and(|cpus| cpus >= 1.0), "{event}");
        heights.push(event["values"]["height"].as_f64().unwrap_or(0.0));
    }
    assert!(heights.windows(2).all(|pair| pair[0] <= pair[1]) && heights[0] < heights[5], "{heights:?}");
}

#[test]
fn an_address_that_is_taken_is_named_and_leaves_no_session() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("s");
    let run = Command::new(env!("CARGO_BIN_EXE_bitcraps"))
        .args(["dev", "--data", session.to_str().expect("a plain path"), "--dashboard", &address])
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&run.stderr);
    assert_eq!(run.status.code(), Some(3), "{said}");
    assert!(
        said.contains(&format!("cannot serve the dashboard on {address}")) && said.contains("monitoring.listen"),
        "{said}"
    );
    assert!(!session.exists());
}

/// The tiles that show one metric each, and how: the browser compares them with `/metrics`. What grows over a whole minute is left
/// out: a minute would pass before there is anything to compare.
fn tiles_of_one_metric() -> serde_json::Value {
    let of = |tile: &Tile| {
        let id = tile.id;
        match tile.value {
            Expr::Now(metric) => Some(json!({ "id": id, "how": "now", "metric": metric })),
            Expr::Rate(metric, seconds) => {
                Some(json!({ "id": id, "how": "rate", "metric": metric, "seconds": seconds }))
            }
            Expr::Quantile(share, metric, seconds) => {
                Some(json!({ "id": id, "how": "quantile", "metric": metric, "share": share, "seconds": seconds }))
            }
            _ => None,
        }
    };
    tiles().filter_map(of).collect()
}

/// Looks at the page of a node in a browser, where there is one: false where there is none.
fn browse(dev: &Dev, args: &[&str]) -> bool {
    let root = crate::manifests::root();
    let modules = root.join("target/browser/node_modules");
    let chromium = std::env::var("CHROMIUM").unwrap_or("/usr/bin/chromium".into());
    if !modules.join("playwright-core").exists() || !Path::new(&chromium).exists() {
        println!("no browser and playwright, which .ci/run installs: looking at the dashboard was left out");
        return false;
    }
    let run = Command::new("node")
        .arg(root.join("web/tests/dashboard.cjs"))
        .arg(format!("http://{}/", dev.address))
        .args(args)
        .env("NODE_PATH", modules)
        .env("DASHBOARD_TILES", tiles_of_one_metric().to_string())
        .output()
        .expect("node is there with npm");
    let said = [run.stdout, run.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(run.status.success(), "{said}");
    print!("{said}");
    true
}

#[test]
fn the_page_is_filled_true_accessible_and_readable_in_a_browser() {
    let dev = Dev::start(&["--listen", "127.0.0.1:0"]);
    dev.until_ready_is(|status, _| status == 200);
    let shots = tempfile::tempdir().expect("a directory");
    let folder = std::env::var("BITCRAPS_SCREENSHOTS").unwrap_or(shots.path().to_string_lossy().into_owned());
    browse(&dev, &["look", &folder]);
}

/// The first thread of a process that has a name, if one has it.
#[cfg(target_os = "linux")]
fn named_thread(process: u32, name: &str) -> Option<i32> {
    let tasks = Path::new("/proc").join(process.to_string()).join("task");
    let tasks = std::fs::read_dir(tasks).expect("a process").map(|task| task.expect("a thread"));
    let named = |task: &std::fs::DirEntry| {
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|found| found.trim_end() == name)
    };
    tasks.filter(named).map(|task| task.file_name().to_string_lossy().parse().expect("a number")).min()
}

/// The thread of a process that has a name.
#[cfg(target_os = "linux")]
fn thread_of(process: u32, name: &str) -> nix::unistd::Pid {
    nix::unistd::Pid::from_raw(named_thread(process, name).unwrap_or_else(|| panic!("no thread `{name}`")))
}

/// A node that follows one that runs, and says no word.
#[cfg(target_os = "linux")]
fn follower_of(ready: &serde_json::Value, config: &Path, dir: &Path) -> Child {
    use super::newcomer::{program, run, text};

    let word = |name: &str| ready[name].as_str().expect("a word");
    let (place, addresses) = (dir.join("follower"), dir.join("validators.txt"));
    std::fs::write(&addresses, format!("{}@{}\n", word("key"), word("listen"))).expect("written");
    let genesis = config.with_file_name("session").join("genesis.json");
    let args = ["init", text(&place), "--follow", text(&genesis), "--addresses", text(&addresses)];
    let quiet = ["--plain-keys", "--listen", "127.0.0.1:0", "--dashboard", "off", "--bytes-max", "0"];
    let (code, _, err) = run(&[&args[..], &quiet].concat());
    assert_eq!(code, 0, "{err}");
    let mut follower = program();
    follower.args(["node", "--config", text(&place.join("bitcraps.toml")), "--follow", "--output", "ndjson"]);
    // It ends with this process, however that ends.
    follower.arg("--ends-with-input").stdin(Stdio::piped());
    follower.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the program runs")
}

#[cfg(target_os = "linux")]
#[test]
fn whichever_thread_is_frozen_is_named_until_it_moves_again() {
    use nix::sys::ptrace::{Options, detach, interrupt, seize};
    use nix::sys::wait::{WaitPidFlag, waitpid};

    // What reads the configuration again is a node's alone, as is what tells alerts; and who answers cannot say that it stands still:
    // the log does.
    let dir = tempfile::tempdir().expect("a directory");
    let config = super::newcomer::made_node(&dir.path().join("node"), &["--window", "1000"]);
    let log = dir.path().join("log");
    let mut node = super::newcomer::program()
        .args(["node", "--config", super::newcomer::text(&config), "--output", "ndjson"])
        .args(["--set", "monitoring.listen=127.0.0.1:0", "--set", "net.followers_max=1"])
        .args(["--set", "alerts.webhook=http://127.0.0.1:9/"])
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(&log).expect("a file"))
        .spawn()
        .expect("the program runs");
    let ready = Lines::of(node.stdout.take().expect("piped")).next();
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("a ready line");
    let monitor = ready["dashboard"].as_str().expect("an address").trim_start_matches("http://").trim_end_matches('/');
    let until = |what: &str, has: &dyn Fn() -> String| {
        let until = Instant::now() + Duration::from_secs(60);
        loop {
            let body = has();
            if body.contains(what) {
                break;
            }
            assert!(Instant::now() < until, "it goes on to say {body}");
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let answers = || String::from_utf8_lossy(&super::secrets::ask(monitor, "/readyz")).into_owned();
    let logged = || std::fs::read_to_string(&log).expect("the log");
    until("\"ready\":true", &answers);
    // Answers for those that are behind are read by a thread that begins with the first of them; behind is who has no height
    // where there is one, and the first player's account makes one.
    let mut player =
        super::newcomer::silent_player(ready["listen"].as_str().expect("an address"), &dir.path().join("player.pem"));
    player.stdin.as_mut().expect("piped").write_all(b"open\n").expect("it reads");
    let settled = || {
        let metrics = String::from_utf8_lossy(&super::secrets::ask(monitor, "/metrics")).into_owned();
        if metrics.contains("\nbitcraps_height_settled 0\n") { "none" } else { "settled" }.to_owned()
    };
    until("settled", &settled);
    let mut follower = follower_of(&ready, &config, dir.path());
    let has_thread = || named_thread(node.id(), "serving").map_or("none", |_| "serving").to_owned();
    until("serving", &has_thread);
    // The alert is told once while it goes on, whichever thread it is for: the one that only it names comes first.
    for (thread, says, who) in [
        ("dashboard", ": dashboard; critical", &logged as &dyn Fn() -> String),
        ("reload", "the thread `reload` has not moved", &answers),
        ("serving", "the thread `serving` has not moved", &answers),
        ("alerts", "the thread `alerts` has not moved", &answers),
    ] {
        let id = thread_of(node.id(), thread);
        if seize(id, Options::empty()).is_ok() {
            interrupt(id).expect("it was seized");
            waitpid(id, Some(WaitPidFlag::__WALL)).expect("it stops");
            until(says, who);
            detach(id, None::<nix::sys::signal::Signal>).expect("it goes on");
            until("\"ready\":true", &answers);
        }
    }
    for process in [&mut follower, &mut player, &mut node] {
        process.kill().expect("it runs");
        process.wait().expect("it ends");
    }

    let dev = Dev::start(&["--listen", "127.0.0.1:0", "--threads", "2"]);
    dev.until_ready_is(|status, _| status == 200);
    // The tick's thread is the first of the process, and has its name.
    for (thread, name) in [
        ("storage", "storage"),
        ("net", "net"),
        ("bitcraps", "tick"),
        ("worker-1", "worker-1"),
        ("snapshots", "snapshots"),
        ("archive", "archive"),
        ("disk", "disk"),
        ("monitor", "monitor"),
    ] {
        let id = thread_of(dev.process.id(), thread);
        if let Err(error) = seize(id, Options::empty()) {
            println!("this system lets nobody stop a thread ({error}): freezing was left out");
            return;
        }
        interrupt(id).expect("it was seized");
        waitpid(id, Some(WaitPidFlag::__WALL)).expect("it stops");
        let (wanted, since) = (format!("the thread `{name}` has not moved"), Instant::now());
        dev.until_ready_is(|status, body| status == 503 && body.contains(&wanted));
        if thread == "monitor" {
            // No reading is taken: whoever follows hears so all the same.
            let mut told = dev.events().filter(|event| event["reasons"].to_string().contains(&wanted));
            assert!(told.nth(1).is_some(), "it is told again and again");
        }
        println!("`{name}` was named after {:.1} s", since.elapsed().as_secs_f64());
        if thread == "storage" && browse(&dev, &["wait", "a thread stands still"]) {
            detach(id, None::<nix::sys::signal::Signal>).expect("it goes on");
            browse(&dev, &["wait", "No alert is on."]);
        } else {
            detach(id, None::<nix::sys::signal::Signal>).expect("it goes on");
        }
        dev.until_ready_is(|status, _| status == 200);
    }
}
