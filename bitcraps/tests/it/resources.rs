//! What a node does by itself while memory is scarce, seen from outside: on a budget that SIGHUP changes, and in a control group.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::lines::{Lines, PATIENCE};
use super::newcomer::{made_node, program, run, signal, text};

/// A node with a monitor.
struct Node {
    process: Child,
    address: String,
    dashboard: String,
}

impl Node {
    /// Runs a command that starts a node, which says where it is.
    fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the program runs");
        let ready = Lines::of(process.stdout.take().expect("piped")).next();
        let ready: Value = serde_json::from_str(&ready).expect("a ready line");
        let dashboard = ready["dashboard"].as_str().expect("an address");
        let dashboard = dashboard.trim_start_matches("http://").trim_end_matches('/').to_owned();
        Self { process, address: ready["listen"].as_str().expect("an address").to_owned(), dashboard }
    }

    /// The body of an answer of its monitor.
    fn ask(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.dashboard).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.dashboard).expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("text");
        answer.split_once("\r\n\r\n").expect("a head and a body").1.to_owned()
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.ask("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is there")).parse().expect("a number")
    }

    /// Waits until memory has a level, and gives what is held back then.
    fn until_memory_is(&self, level: &str) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let health: Value = serde_json::from_str(&self.ask("/healthz")).expect("JSON");
            if health["levels"]["memory"] == level {
                let on = health["reactions"].as_array().expect("a list").iter();
                return on.map(|name| name.as_str().expect("a name").to_owned()).collect();
            }
            assert!(Instant::now() < until, "memory does not become {level}: {health}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A node whose tables alone need more than the least that a budget may be.
fn made_large(dir: &Path) -> PathBuf {
    made_node(&dir.join("node"), &["--tables", "20000", "--window", "1000"])
}

fn node(config: &Path) -> Command {
    let mut command = program();
    command.args(["node", "--config", text(config), "--output", "ndjson", "--set", "monitoring.listen=127.0.0.1:0"]);
    command
}

#[test]
fn a_budget_that_is_too_small_closes_the_door_and_those_who_are_in_play_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = made_large(dir.path());
    let node = Node::start(node(&config));
    node.until_memory_is("low");
    let key = dir.path().join("player.pem");
    let mut player = program()
        .args(["play", &node.address, "--script", "--key", text(&key)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let events = Lines::of(player.stdout.take().expect("piped"));
    let mut say = |line: &str| player.stdin.as_mut().expect("piped").write_all(line.as_bytes()).expect("it reads");
    say("open\n");
    events.until("\"receipt\"");

    let original = fs::read_to_string(&config).expect("a configuration");
    let small = original.replace("budget_bytes = \"0\"", "budget_bytes = \"64MiB\"");
    assert_ne!(small, original);
    fs::write(&config, small).expect("written");
    signal(&node.process, "-HUP");
    let since = Instant::now();
    let on = node.until_memory_is("high");
    println!("all that a small budget asks for was on {:.1} s after SIGHUP", since.elapsed().as_secs_f64());
    for reaction in ["trim_memory", "refuse_newcomers", "pause_snapshots"] {
        assert!(on.iter().any(|name| name == reaction), "{on:?}");
    }
    let (code, _, err) = run(&["health", &node.address]);
    assert_eq!(code, 7, "nobody new is let in: {err}");
    assert!(node.metric("bitcraps_net_refused_short_total") >= 1.0);
    assert_eq!((node.metric("bitcraps_memory_level"), node.metric("bitcraps_snapshots_paused")), (2.0, 1.0));
    say("sit 1000\n");
    events.until("\"receipt\"");
    let until = Instant::now() + PATIENCE;
    while node.metric("bitcraps_trims_total") < 1.0 {
        assert!(Instant::now() < until, "the tick gives memory back");
        std::thread::sleep(Duration::from_millis(200));
    }

    fs::write(&config, original).expect("written");
    signal(&node.process, "-HUP");
    assert_eq!(node.until_memory_is("low").iter().filter(|name| *name == "refuse_newcomers").count(), 0);
    let (code, _, err) = run(&["health", &node.address]);
    assert_eq!(code, 0, "the door is open again: {err}");
    say("quit\n");
    assert!(player.wait().expect("it ends").success());
}

#[test]
fn a_node_is_in_memory_with_what_it_uses_and_not_with_what_lies_beside_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let node = Node::start(node(&made_node(&dir.path().join("node"), &[])));
    let status = fs::read_to_string(format!("/proc/{}/status", node.process.id())).expect("Linux");
    match status.lines().find_map(|line| line.strip_prefix("THP_enabled:")) {
        Some(enabled) => assert_eq!(enabled.trim(), "0", "the allocator asks for huge pages"),
        None => println!("this kernel does not say whether a process has huge pages: left out"),
    }
}

/// A control group of this test's own, which is gone with it.
struct Group {
    folder: PathBuf,
    bound: &'static str,
}

impl Group {
    /// Nothing, said aloud, where this process may make none.
    fn make() -> Option<Self> {
        let name = format!("bitcraps-test-{}", std::process::id());
        for (root, bound) in [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")] {
            let group = Self { folder: Path::new(root).join(&name), bound };
            if fs::create_dir(&group.folder).is_ok() && group.bind(512 << 20).is_ok() {
                return Some(group);
            }
        }
        println!("no control group can be made here: what a node does in one was left out");
        None
    }

    fn bind(&self, bytes: u64) -> std::io::Result<()> {
        fs::write(self.folder.join(self.bound), bytes.to_string())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Whatever was in it has just ended.
        for _ in 0..50 {
            if fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn a_node_in_a_narrow_control_group_gives_way_and_comes_back() {
    let Some(group) = Group::make() else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let config = made_large(dir.path());
    let inner = node(&config);
    let mut command = Command::new("/bin/sh");
    let enter = format!("echo $$ > '{}' && exec \"$0\" \"$@\"", group.folder.join("cgroup.procs").display());
    command.args(["-c", &enter]).arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
    let node = Node::start(command);
    node.until_memory_is("low");
    assert_eq!(node.metric("bitcraps_memory_group_max_bytes"), f64::from(512 << 20), "its own bound, and no other");
    let used = node.metric("bitcraps_memory_group_bytes");
    assert!(used > 1e6 && used < f64::from(512 << 20), "{used}");
    // What takes a little more than it has now leaves it no room for anything.
    group.bind((used * 1.03) as u64).expect("it fits");
    let since = Instant::now();
    let on = node.until_memory_is("high");
    println!("newcomers were refused {:.1} s after the group was narrowed", since.elapsed().as_secs_f64());
    assert!(on.iter().any(|name| name == "refuse_newcomers"), "{on:?}");
    assert_eq!(run(&["health", &node.address]).0, 7);
    group.bind(512 << 20).expect("a wider one");
    let on = node.until_memory_is("low");
    assert!(on.iter().all(|name| name != "refuse_newcomers"), "{on:?}");
    assert_eq!(run(&["health", &node.address]).0, 0);
}
