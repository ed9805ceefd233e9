//! Alerts of a real node: what a program that it runs for them is given, and that no channel holds up its end.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::lines::{Lines, PATIENCE};
use super::newcomer::{made_node, program, signal, silent_player, text};

/// A node with room for one connection, which is an alert after ten seconds for as long as somebody has it.
struct Crowded {
    node: Child,
    config: PathBuf,
    log: Lines,
    address: String,
}

impl Crowded {
    fn start(dir: &Path, exec: &str) -> Self {
        let config = made_node(&dir.join("node"), &["--window", "1000"]);
        let file = fs::read_to_string(&config).expect("a configuration");
        let file = file
            .replace("connections_max = 2048", "connections_max = 1")
            .replace("exec = []", &format!("exec = [\"/bin/sh\", \"-c\", \"{exec}\"]"));
        assert!(file.contains("connections_max = 1\n") && file.contains("/bin/sh"), "{file}");
        fs::write(&config, file).expect("written");
        let mut node = program()
            .args(["node", "--config", text(&config), "--output", "ndjson"])
            .env("BITCRAPS_PASSPHRASE", "open-sesame-71c0")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let ready = Lines::of(node.stdout.take().expect("piped")).next();
        let ready: serde_json::Value = serde_json::from_str(&ready).expect("a ready line");
        let log = Lines::of(node.stderr.take().expect("piped"));
        Self { node, config, log, address: ready["listen"].as_str().expect("an address").to_owned() }
    }

    /// Has another text in its configuration, which is read again.
    fn reload(&self, from: &str, to: &str) {
        let file = fs::read_to_string(&self.config).expect("a configuration");
        assert!(file.contains(from), "{file}");
        fs::write(&self.config, file.replace(from, to)).expect("written");
        signal(&self.node, "-HUP");
        self.log.until("configuration: alerts.webhook: changed");
    }
}

impl Drop for Crowded {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
    }
}

#[test]
fn a_program_for_alerts_gets_no_passphrase_and_a_silent_webhook_holds_up_neither_reload_nor_end() {
    let dir = tempfile::tempdir().expect("a directory");
    let given = dir.path().join("given");
    let mut crowded = Crowded::start(dir.path(), &format!("env > '{}'", given.display()));
    let mut player = silent_player(&crowded.address, &dir.path().join("player.pem"));
    crowded.log.until("alert: ConnectionsHigh");
    let until = Instant::now() + PATIENCE;
    let env = loop {
        let env = fs::read_to_string(&given).unwrap_or_default();
        if env.contains("BITCRAPS_ALERT_WHY=") {
            break env;
        }
        assert!(Instant::now() < until, "no program was run: {env}");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(env.contains("BITCRAPS_ALERT=ConnectionsHigh"), "{env}");
    assert!(!env.contains("PASSPHRASE") && !env.contains("open-sesame-71c0"), "{env}");

    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hook = format!("webhook = \"http://{}/\"", silent.local_addr().expect("an address"));
    crowded.reload("webhook = \"\"", &hook);
    player.stdin.take().expect("piped").write_all(b"quit\n").expect("it reads");
    player.wait().expect("it ends");
    crowded.log.until("alert over: ConnectionsHigh");
    let (_heard, _) = silent.accept().expect("the node tells it");
    let began = Instant::now();
    crowded.reload(&hook, "webhook = \"http://127.0.0.1:9/\"");
    assert!(began.elapsed() < Duration::from_secs(20), "a reload waits for no webhook: {:?}", began.elapsed());
    let other = "webhook = \"http://127.0.0.1:9/\"";
    crowded.reload(other, &hook);
    let mut player = silent_player(&crowded.address, &dir.path().join("player.pem"));
    crowded.log.until("alert: ConnectionsHigh");
    let (_again, _) = silent.accept().expect("the node tells it");
    let began = Instant::now();
    signal(&crowded.node, "-TERM");
    assert!(crowded.node.wait().expect("it ends").success());
    assert!(began.elapsed() < Duration::from_secs(20), "the end waits for no webhook: {:?}", began.elapsed());
    let _ = player.kill();
    player.wait().expect("it ends");
    let rest = crowded.log.rest();
    assert!(rest.contains("alerts not told by the end of the node: "), "{rest}");
    // The next start knows nothing of it: who was told that it is on would wait for its end for ever.
    assert!(rest.contains("alert over: ConnectionsHigh") && rest.contains("(the node has ended"), "{rest}");
}
