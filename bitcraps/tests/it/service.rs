//! A node under a manager of services: what it says to that, and what SIGHUP changes.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use serde_json::Value;

use super::lines::{Lines, PATIENCE};
use super::newcomer::{made_node, program, run, signal, text};
use super::secrets::ask;

/// A node that tells a manager how it is, and logs for programs.
struct Served {
    node: Child,
    log: Lines,
    /// What the manager is told, a line each.
    told: Lines,
}

/// Reads what a manager is told, always, by a thread of its own.
fn read(manager: UnixDatagram) -> Lines {
    let (lines, told) = channel();
    std::thread::spawn(move || {
        let mut bytes = [0; 4_096];
        while let Ok(count) = manager.recv(&mut bytes) {
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if text.lines().any(|line| lines.send(line.to_owned()).is_err()) {
                return;
            }
        }
    });
    Lines::heard(told)
}

impl Served {
    fn start(dir: &Path, config: &Path) -> Self {
        let path = dir.join("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let mut served = Self::under(&path, config);
        served.told = read(manager);
        served
    }

    /// A node under a manager that is somebody else's, and that is told nothing here.
    fn under(manager: &Path, config: &Path) -> Self {
        Self::of(&mut program(), manager, config)
    }

    fn of(program: &mut Command, manager: &Path, config: &Path) -> Self {
        let mut node = program
            .args(["node", "--config", text(config), "--output", "ndjson"])
            .env("NOTIFY_SOCKET", manager)
            .env("WATCHDOG_USEC", "1000000")
            .env("BITCRAPS_LOG_FORMAT", "json")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let log = Lines::of(node.stderr.take().expect("piped"));
        Self { node, log, told: Lines::heard(channel().1) }
    }

    /// Waits until the manager is told this.
    fn tells(&self, what: &str) {
        self.told.until(what);
    }

    /// The level of the next message with this text.
    fn says(&self, message: &str) -> String {
        // As it stands in a line of JSON.
        let quoted = Value::from(message).to_string();
        let line = self.log.until(quoted.trim_matches('"'));
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(said["message"].as_str().is_some_and(|said| said.contains(message)), "{line}");
        said["level"].as_str().expect("a level").to_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

/// What `doctor` finds for a node of this configuration: its exit code, and the grade of each thing.
fn doctor(config: &Path, set: &str) -> (i32, Value) {
    let (code, out, err) = run(&["doctor", "--config", text(config), "--set", set, "--output", "json"]);
    let said: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {err}"));
    let grades = said["findings"].as_array().expect("findings").iter();
    let grades = grades.map(|one| (one["what"].as_str().expect("a word").to_owned(), one["grade"].clone())).collect();
    (code, Value::Object(grades))
}

#[test]
fn doctor_finds_what_is_wrong_for_a_node_and_leaves_a_running_one_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = made_node(&dir.path().join("node"), &[]);
    let (_, grades) = doctor(&config, "net.name=x");
    assert_eq!((&grades["address"], &grades["memory"]), (&"ok".into(), &"ok".into()), "{grades}");
    let (code, grades) = doctor(&config, "memory.budget_bytes=900000GiB");
    assert_eq!((code, &grades["memory"]), (0, &"note".into()), "{grades}");
    let taken = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let set = format!("net.listen={}", taken.local_addr().expect("it is bound"));
    let (code, grades) = doctor(&config, &set);
    assert_eq!((code, &grades["address"]), (3, &"wrong".into()), "{grades}");
    let served = Served::start(dir.path(), &config);
    served.tells("READY=1");
    let (_, grades) = doctor(&config, "net.name=x");
    assert_eq!(
        (&grades["address"], &grades["disk"].is_string()),
        (&Value::Null, &true),
        "the address is its own: {grades}"
    );
}

#[test]
fn a_manager_hears_how_a_node_is_and_sighup_reads_its_configuration_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = made_node(&dir.path().join("node"), &["--window", "1000"]);
    let mut served = Served::start(dir.path(), &config);
    served.tells("READY=1");
    served.tells("WATCHDOG=1");
    served.tells("WATCHDOG=1");

    let original = fs::read_to_string(&config).expect("a configuration");
    let changed = original
        .replace("mail_to = []", "mail_to = [\"ops@example.org\"]")
        .replace("sendmail = \"/usr/sbin/sendmail\"", "sendmail = \"/nowhere/sendmail\"")
        .replace("name = \"craps\"", "name = \"new\"");
    let changed = changed.replace("hosts = []", "hosts = [\"node.example\"]");
    fs::write(&config, &changed).expect("written");
    signal(&served.node, "-HUP");
    served.tells("RELOADING=1");
    assert_eq!(served.says("net.name: \"craps\" -> \"new\", from the next start on"), "INFO");
    served.says("monitoring.hosts: [] -> [\"node.example\"]");
    served.says("alerts.mail_to: changed");
    assert_eq!(served.says("alerts.sendmail: no program of that name is there"), "WARN");
    served.tells("READY=1");

    fs::write(&config, changed.replace("filter = \"", "filter = \"=,")).expect("written");
    signal(&served.node, "-HUP");
    let says = format!("the configuration stays as it was: {}, line ", config.display());
    assert_eq!(served.says(&says), "ERROR");

    // With these no node would start: what could be taken at once is not taken either.
    let (data, net) = ("data = \"session\"", "net = \"keys/net.pem\"");
    assert!(changed.contains(data) && changed.contains(net), "{changed}");
    let more = changed.replace("hosts = [\"node.example\"]", "hosts = [\"other.example\"]");
    let (listen, elsewhere) = ("listen = \"127.0.0.1:0\"", "listen = \"192.0.2.1:7400\"");
    for (was, is, says, code) in [
        (data, "data = \"nosuch\"", "nosuch", 4),
        (net, "net = \"keys/none.pem\"", "none.pem", 3),
        (net, "net = \"keys\"", "this is a folder", 3),
        (listen, elsewhere, "this machine does not have that address", 3),
    ] {
        fs::write(&config, more.replacen(was, is, 1)).expect("written");
        signal(&served.node, "-HUP");
        let line = served.log.until("the configuration ");
        assert!(line.contains("stays as it was") && line.contains(says) && line.contains("ERROR"), "{line}");
        let (found, _, err) = run(&["config", "check", text(&config)]);
        assert!(found == code && err.contains(says), "`config check` says the same: {found} {err}");
    }

    // What a file of a newer program has beside is named.
    fs::write(&config, changed.replace("version = 1", "version = 2\nshiny = 1")).expect("written");
    signal(&served.node, "-HUP");
    let newer = "the file is of version 2, and this program of version 1: it does not know shiny, which is left out";
    assert_eq!(served.says(newer), "WARN");

    // What waits for the next start is said again; what was taken is not.
    fs::write(&config, &changed).expect("written");
    signal(&served.node, "-HUP");
    served.says("net.name");
    fs::write(&config, original.replace("hosts = []", "hosts = [\"node.example\"]")).expect("written");
    signal(&served.node, "-HUP");
    served.says("alerts.mail_to: changed");

    signal(&served.node, "-TERM");
    served.tells("STOPPING=1");
    // Its log ends with it.
    served.log.rest();
    assert!(served.node.wait().expect("it ends").success());
}

/// A pipe, open for writing, once somebody has it open for reading.
fn once_read(pipe: &Path) -> fs::File {
    let until = Instant::now() + PATIENCE;
    loop {
        let opened = fs::File::options().write(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(pipe);
        match opened {
            Ok(file) => return file,
            Err(error) => assert!(Instant::now() < until, "nobody reads: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A start is held up where it is wanted: the passphrase of the keys comes from a pipe, into which nobody writes yet.
#[test]
fn sighup_during_a_start_is_followed_and_the_manager_hears_of_the_end_of_the_start_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let (place, pipe, path) = (dir.path().join("node"), dir.path().join("passphrase"), dir.path().join("notify"));
    let made = program()
        .args(["init", text(&place), "--listen", "127.0.0.1:0", "--dashboard", "off", "--bytes-max", "0"])
        .env("BITCRAPS_PASSPHRASE", "correct horse")
        .output()
        .expect("the program runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let config = place.join("bitcraps.toml");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("a program of every system").success());
    let manager = UnixDatagram::bind(&path).expect("a socket");
    let mut served = Served::of(program().env("BITCRAPS_PASSPHRASE_FILE", &pipe), &path, &config);
    served.told = read(manager);
    let mut passphrase = once_read(&pipe);
    signal(&served.node, "-HUP");
    served.says("the configuration is what it was");
    let changed = fs::read_to_string(&config).expect("a configuration");
    fs::write(&config, changed.replace("hosts = []", "hosts = [\"node.example\"]")).expect("written");
    signal(&served.node, "-HUP");
    served.says("monitoring.hosts: [] -> [\"node.example\"]");
    passphrase.write_all(b"correct horse\n").expect("the node reads");
    drop(passphrase);
    let mut told = vec![served.told.next()];
    while !told.iter().any(|line| line == "READY=1") {
        told.push(served.told.next());
    }
    assert!(!told.contains(&"RELOADING=1".to_owned()), "before it is ready there is nothing to tell: {told:?}");
    // However long a session takes to open, its start is not ended for it.
    assert!(told.contains(&"EXTEND_TIMEOUT_USEC=120000000".to_owned()), "{told:?}");
    signal(&served.node, "-HUP");
    served.tells("RELOADING=1");
    served.tells("READY=1");
    signal(&served.node, "-TERM");
    served.tells("STOPPING=1");
    served.log.rest();
    assert!(served.node.wait().expect("it ends").success());
}

#[test]
fn a_manager_that_does_not_read_holds_up_neither_the_start_nor_the_monitor() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = made_node(&dir.path().join("node"), &[]);
    // A port that was free a moment ago.
    let monitor =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port").to_string();
    let file = fs::read_to_string(&config).expect("a configuration");
    let (head, tail) = file.split_once("[monitoring]").expect("a section");
    let tail = tail.replacen("listen = \"off\"", &format!("listen = \"{monitor}\""), 1);
    fs::write(&config, format!("{head}[monitoring]{tail}")).expect("written");
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    // A sender has a bound of its own: the queue is full where a new one has no room for its first word.
    let full = (0..100_000).any(|_| {
        let sender = UnixDatagram::unbound().expect("a socket");
        sender.set_nonblocking(true).expect("it is a socket");
        sender.send_to(b"FULL=1", &path).is_err()
    });
    assert!(full, "this system lets any number of words wait");
    let mut served = Served::under(&path, &config);
    served.says("the manager of services does not listen: it was not told READY=1");
    // A reading is taken every second, and the watchdog is due twice in one.
    let mut times = BTreeSet::new();
    let until = Instant::now() + PATIENCE;
    while times.len() < 4 {
        let answer = String::from_utf8(ask(&monitor, "/api/now")).expect("text");
        let (_, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let now: Value = serde_json::from_str(body).expect("JSON");
        times.extend(now["time_ms"].as_u64());
        assert!(Instant::now() < until, "readings of {times:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
    served.told = read(manager);
    served.tells("WATCHDOG=1");
    signal(&served.node, "-TERM");
    served.tells("STOPPING=1");
}
