//! The node under load: a process of its own, so that its memory and its processor time are its own.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, anyhow, bail};
use serde_json::Value;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

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
    pub fn stop(self) -> anyhow::Result<Value> {
        self.end()?;
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

/// Memory and processor time of a process, sampled.
pub struct Meter {
    system: System,
    pid: Pid,
    last: (Instant, u64),
}

/// One sample.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sample {
    /// Memory that is the process' own (anonymous and shared), in megabytes.
    pub memory_mb: f64,
    /// Processor time since the last sample; 100 is one core.
    pub cpu_percent: f64,
}

impl Meter {
    /// For a process of this machine.
    ///
    /// # Errors
    /// If the system shows no processes.
    pub fn new(pid: u32) -> anyhow::Result<Self> {
        let system = System::new().context("this system's processes")?;
        let mut meter = Self { system, pid: Pid::from_u32(pid), last: (Instant::now(), 0) };
        meter.sample();
        Ok(meter)
    }

    /// Processor time since the last sample, and memory now.
    pub fn sample(&mut self) -> Sample {
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), false, what);
        let Some(process) = self.system.process(self.pid) else { return Sample::default() };
        let (now, cpu_ms) = (Instant::now(), process.accumulated_cpu_time());
        let elapsed_ms = now.duration_since(self.last.0).as_secs_f64() * 1_000.0;
        let cpu_percent = cpu_ms.saturating_sub(self.last.1) as f64 / elapsed_ms.max(1.0) * 100.0;
        self.last = (now, cpu_ms);
        let resident = process.memory();
        Sample { memory_mb: own_memory(self.pid.as_u32()).unwrap_or(resident) as f64 / 1e6, cpu_percent }
    }
}

/// RssAnon and RssShmem of a process, in bytes: mapped files are the system's to take back.
fn own_memory(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()
    };
    Some((kib("RssAnon:")? + kib("RssShmem:")?) * 1_024)
}
