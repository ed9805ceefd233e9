//! The node under load: a process of its own, so that its memory and its processor time are its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use serde_json::Value;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// A node that this process started.
pub struct Target {
    child: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its session.
    pub session: PathBuf,
}

impl Target {
    /// Starts `bitcraps node` with a configuration, and waits until it listens.
    ///
    /// # Errors
    /// If it does not.
    pub fn start(config: &Path, session: PathBuf) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("this program's own file")?;
        let mut child = Command::new(program)
            .args(["node", "--output", "ndjson", "--config"])
            .arg(config)
            .stdout(Stdio::piped())
            .spawn()
            .context("the node's process")?;
        let stdout = child.stdout.take().context("the node's output")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = lines.next().transpose()?.and_then(|line| serde_json::from_str::<Value>(&line).ok());
        let address = ready.as_ref().and_then(|ready| ready["listen"].as_str()?.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            bail!("the node under load did not start");
        };
        Ok(Self { child, lines, address, session })
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it cleanly, and returns what it says at its end.
    ///
    /// # Errors
    /// If it does not end, or says nothing.
    pub fn stop(mut self) -> anyhow::Result<Value> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).context("ending the node")?;
        let last = self.lines.by_ref().map_while(Result::ok).last();
        let status = self.child.wait().context("the node's end")?;
        if !status.success() {
            bail!("the node under load ended with {status}");
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

    /// What it uses now.
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
