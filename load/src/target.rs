//! The node under load: a process of its own, so that its memory and its processor time are its own.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, anyhow, bail};
use serde_json::Value;

/// Bytes at the end of a log in which its last line is looked for.
const LAST_BYTES: u64 = 64 << 10;

/// A node that this process started. It ends when this process does, however that happens: its standard input ends then.
pub struct Target {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    /// Where the node listens.
    pub address: SocketAddr,
    /// The node's network key.
    pub key: [u8; 32],
    /// The directory of the node's session.
    pub session: PathBuf,
}

impl Target {
    /// Starts `bitcraps node` with a configuration, and waits until it listens. Its log is this process'.
    ///
    /// # Errors
    /// If it does not.
    pub fn start(config: &Path, session: PathBuf) -> anyhow::Result<Self> {
        Self::start_logging(config, session, Stdio::inherit())
    }

    /// Starts `bitcraps node` as [`Target::start`] does, with a log in a file of its own, behind what is there.
    ///
    /// # Errors
    /// If it does not listen, or the file cannot be written.
    pub fn start_quietly(config: &Path, session: PathBuf, log: &Path) -> anyhow::Result<Self> {
        let at_log = || log.display().to_string();
        let file = OpenOptions::new().create(true).append(true).open(log).with_context(at_log)?;
        let before = file.metadata().with_context(at_log)?.len();
        Self::start_logging(config, session, file.into()).map_err(|error| match last_line(log, before) {
            Some(line) => anyhow!("{error:#}: {line}; its log is {}", log.display()),
            None => anyhow!("{error:#}, and {} does not say why", log.display()),
        })
    }

    /// A process that listens already.
    #[cfg(test)]
    pub(crate) fn of(mut child: Child, address: SocketAddr) -> Option<Self> {
        let lines = BufReader::new(child.stdout.take()?).lines();
        Some(Self { child, lines, address, key: [0; 32], session: PathBuf::new() })
    }

    fn start_logging(config: &Path, session: PathBuf, log: Stdio) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program's own file")?;
        let mut child = Command::new(program)
            .args(["node", "--ends-with-input", "--output", "ndjson", "--config"])
            .arg(config)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            // Ctrl-C at a terminal goes to a whole group: the node would end while it is still asked. It ends with its input.
            .process_group(0)
            .spawn()
            .context("the node's process")?;
        let stdout = child.stdout.take().context("the node's output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = lines.next().transpose()?.and_then(|line| serde_json::from_str::<Value>(&line).ok());
        let address = ready.as_ref().and_then(|ready| ready["listen"].as_str()?.parse().ok());
        let key = ready.as_ref().and_then(|ready| engine::unhex(ready["key"].as_str()?));
        let (Some(address), Some(key)) = (address, key) else {
            let _ = child.kill();
            let _ = child.wait();
            bail!("the node of {} did not start", config.display());
        };
        Ok(Self { child, lines, address, key, session })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether its process has not ended.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// How its process has ended, if it has.
    pub fn exit(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Tells it to end, and does not wait for that.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn end(&self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("ending the node")
    }

    /// Ends it cleanly, and returns what it says at its end.
    ///
    /// # Errors
    /// If it does not end, or says nothing.
    pub fn stop(mut self) -> anyhow::Result<Value> {
        // The number of one that has ended may be another process' by now.
        if self.is_running() {
            self.end()?;
        }
        self.ended()
    }

    /// Waits until it has ended, and returns what it says at its end. A second signal would end it at once.
    ///
    /// # Errors
    /// If it ends otherwise than cleanly, or says nothing.
    pub fn ended(mut self) -> anyhow::Result<Value> {
        let last = self.lines.by_ref().map_while(Result::ok).last();
        let status = self.child.wait().context("the node's end")?;
        if !status.success() {
            bail!("the node of {} ended with {status}", self.session.display());
        }
        last.and_then(|line| serde_json::from_str(&line).ok()).context("the node said nothing at its end")
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a node said last in its log behind what was there before: why it did not start, where it did not.
fn last_line(log: &Path, before: u64) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let written = file.metadata().ok()?.len().saturating_sub(before).min(LAST_BYTES);
    file.seek(SeekFrom::End(-i64::try_from(written).ok()?)).ok()?;
    let mut bytes = Vec::new();
    file.take(LAST_BYTES).read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty())?;
    Some(line.trim_start_matches("bitcraps: ").to_owned())
}
