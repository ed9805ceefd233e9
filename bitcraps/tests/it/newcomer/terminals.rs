//! Commands at a terminal that hangs up or goes away.

use super::*;

/// A command under a terminal of its own, and after it the state of that terminal.
struct AtTerminal {
    script: Child,
    /// Held open: its end would be an end of file at the terminal.
    _keys: std::process::ChildStdin,
    out: ChildStdout,
    seen: Vec<u8>,
    /// The command's process.
    pid: String,
}

impl AtTerminal {
    /// Starts a command, and waits until it shows a text. Either a shell waits behind it, or it is the terminal's only
    /// process, which hears of its end once and no more.
    fn start(dir: &Path, args: &str, shows: &str, in_shell: bool) -> Self {
        let number = dir.join("pid");
        let run = format!("echo $$ >{}; exec {} {args}", text(&number), env!("CARGO_BIN_EXE_bitcraps"));
        let run = if in_shell { format!("sh -c '{run}'; echo; stty -a") } else { run };
        let command = format!("stty rows 30 cols 100; {run}");
        let mut script = Command::new("script");
        script.args(["--quiet", "--command", &command, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut script = script.env("TERM", "xterm").env_remove("BITCRAPS_PASSPHRASE").spawn().expect("script runs");
        let (keys, out) = (script.stdin.take().expect("piped"), script.stdout.take().expect("piped"));
        let mut terminal = Self { script, _keys: keys, out, seen: Vec::new(), pid: String::new() };
        terminal.until(shows);
        terminal.pid = fs::read_to_string(&number).expect("its number").trim().to_owned();
        terminal
    }

    fn until(&mut self, what: &str) {
        let mut byte = [0];
        while !String::from_utf8_lossy(&self.seen).contains(what) {
            assert!(self.out.read(&mut byte).expect("bytes") > 0, "{}", String::from_utf8_lossy(&self.seen));
            self.seen.push(byte[0]);
        }
    }

    /// Whether the command runs; one that has ended may wait for somebody who asks how.
    fn is_running(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        status.lines().any(|line| line.starts_with("State:") && !line.contains('Z'))
    }
}

/// What a command at a terminal is started with, and what it shows once it has changed the terminal.
fn at_terminals(dir: &Path, address: &str) -> [(String, &'static str); 2] {
    let (key, node) = (dir.join("player.pem"), dir.join("node"));
    [
        (format!("play {address} --key {}", text(&key)), "quit"),
        (format!("init {} --bytes-max 0", text(&node)), "Passphrase"),
    ]
}

#[test]
fn a_hangup_leaves_the_terminal_as_it_was() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    for (args, shows) in at_terminals(dir.path(), &dev.address) {
        let mut at = AtTerminal::start(dir.path(), &args, shows, true);
        assert!(Command::new("kill").args(["-HUP", &at.pid]).status().expect("kill runs").success());
        at.until("echoke");
        let said = String::from_utf8_lossy(&at.seen).into_owned();
        assert!(said.contains("isig icanon iexten echo echoe"), "{args}: {said}");
        assert!(at.script.wait().expect("it ends").success());
    }
}

/// A window is closed, a connection to another machine breaks: nobody is left who could end the command.
#[test]
fn a_terminal_that_goes_away_ends_the_command() {
    let dir = tempfile::tempdir().expect("a directory");
    let dev = Dev::start(&dir.path().join("s"), "127.0.0.1:0", &[]);
    for (args, shows) in at_terminals(dir.path(), &dev.address) {
        let mut at = AtTerminal::start(dir.path(), &args, shows, false);
        assert!(at.is_running(), "{args}");
        at.script.kill().expect("it runs");
        at.script.wait().expect("it ends");
        let until = Instant::now() + PATIENCE;
        while at.is_running() {
            assert!(Instant::now() < until, "{args}: it runs on");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
