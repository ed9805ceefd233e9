//! Memory and processor time of the processes of a run, sampled once a second.

use std::time::Instant;

use anyhow::Context;
use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System};

/// Memory and processor time of a process.
pub struct Meter {
    system: System,
    pid: Pid,
    last: (Instant, u64),
}

/// One sample.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Sample {
    /// Memory that is the process' own (anonymous and shared), in megabytes.
    pub memory_mb: f64,
    /// Processor time since the last sample; 100 is one core.
    pub cpu_percent: f64,
}

/// What was seen in a second.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Seen {
    /// What the node used, or all nodes together; none where none was seen.
    pub node: Option<Sample>,
    /// What the generator used; none where it is one process with the node.
    pub own: Option<Sample>,
}

impl Meter {
    /// For a process of this machine, from now on.
    ///
    /// # Errors
    /// If the system shows no processes.
    pub fn new(pid: u32) -> anyhow::Result<Self> {
        let mut meter = Self::since(pid, Instant::now())?;
        meter.sample();
        Ok(meter)
    }

    /// For a process that began after a moment: its first sample has all of its processor time, as if it were of the time since.
    fn since(pid: u32, began: Instant) -> anyhow::Result<Self> {
        let system = System::new().context("this system's processes")?;
        Ok(Self { system, pid: Pid::from_u32(pid), last: (began, 0) })
    }

    /// Processor time since the last sample, and memory now; nothing once the process is gone.
    pub fn sample(&mut self) -> Option<Sample> {
        let what = ProcessRefreshKind::nothing().with_cpu().with_memory();
        self.system.refresh_processes_specifics(ProcessesToUpdate::Some(&[self.pid]), true, what);
        let process = self.system.process(self.pid)?;
        // One that has ended and is still in the table of processes has no memory there any more.
        let memory = if cfg!(target_os = "linux") { own_memory(self.pid.as_u32())? } else { process.memory() };
        let (now, cpu_ms) = (Instant::now(), process.accumulated_cpu_time());
        let elapsed_ms = now.duration_since(self.last.0).as_secs_f64() * 1_000.0;
        let cpu_percent = cpu_ms.saturating_sub(self.last.1) as f64 / elapsed_ms.max(1.0) * 100.0;
        self.last = (now, cpu_ms);
        Some(Sample { memory_mb: memory as f64 / 1e6, cpu_percent })
    }
}

/// The processes of several validators, which come and go.
pub struct Meters {
    meters: Vec<(u32, Meter)>,
    /// When they were sampled last.
    last: Instant,
}

impl Meters {
    /// For processes of this machine, from now on.
    ///
    /// # Errors
    /// If the system shows no processes.
    pub fn new(pids: &[u32]) -> anyhow::Result<Self> {
        let meters = pids.iter().map(|pid| Ok((*pid, Meter::new(*pid)?))).collect::<anyhow::Result<_>>()?;
        Ok(Self { meters, last: Instant::now() })
    }

    /// The processor time of all that run now, and the memory of the largest; nothing where none is seen. What a dead one held is
    /// nobody's, and all that a new one did, it did since the last sample.
    pub fn sample(&mut self, pids: &[u32]) -> Option<Sample> {
        self.meters.retain(|(known, _)| pids.contains(known));
        for pid in pids {
            if self.meters.iter().all(|(known, _)| known != pid) {
                self.meters.extend(Meter::since(*pid, self.last).ok().map(|meter| (*pid, meter)));
            }
        }
        self.last = Instant::now();
        let samples = self.meters.iter_mut().filter_map(|(_, meter)| meter.sample());
        samples.reduce(|all, one| Sample {
            memory_mb: all.memory_mb.max(one.memory_mb),
            cpu_percent: all.cpu_percent + one.cpu_percent,
        })
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

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::Duration;

    use super::*;

    /// A process that is busy until it is dropped, and has had a processor already.
    struct Busy(Child);

    impl Busy {
        fn start() -> Self {
            let busy = Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a process"));
            busy.work();
            busy
        }

        fn pid(&self) -> u32 {
            self.0.id()
        }

        /// Waits until the process has had a processor for some time more.
        fn work(&self) {
            let mut meter = Meter::new(self.pid()).expect("it runs");
            let until = Instant::now() + Duration::from_secs(20);
            while meter.sample().expect("it runs").cpu_percent == 0.0 {
                assert!(Instant::now() < until, "no processor for 20 s");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    impl Drop for Busy {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn what_is_gone_has_no_memory_and_holds_none_of_the_others() {
        let (mut one, two) = (Busy::start(), Busy::start());
        let pids = [one.pid(), two.pid()];
        let (mut meters, mut meter) = (Meters::new(&pids).expect("they run"), Meter::new(pids[0]).expect("it runs"));
        assert!(meter.sample().is_some_and(|sample| sample.memory_mb > 0.0));
        assert!(meters.sample(&pids).is_some());
        one.0.kill().expect("it runs");
        // It is in the table of processes until it is waited for.
        let until = Instant::now() + Duration::from_secs(20);
        while meter.sample().is_some() {
            assert!(Instant::now() < until, "a dead process is still seen");
            std::thread::sleep(Duration::from_millis(5));
        }
        one.0.wait().expect("it was killed");
        assert_eq!(meter.sample(), None);
        let left = Meter::new(pids[1]).and_then(|mut meter| meter.sample().context("it runs")).expect("a sample");
        assert_eq!(meters.sample(&pids[1..]).expect("one runs").memory_mb, left.memory_mb);
        assert_eq!(meters.sample(&[]), None);
    }

    #[test]
    fn the_first_second_of_a_process_is_no_zero() {
        let busy = Busy::start();
        let mut from_the_start = Meters::new(&[busy.pid()]).expect("it runs");
        let mut without_it = Meters::new(&[]).expect("nothing to see");
        busy.work();
        for meters in [&mut from_the_start, &mut without_it] {
            let cpu_percent = meters.sample(&[busy.pid()]).expect("it runs").cpu_percent;
            assert!(cpu_percent > 0.0, "{cpu_percent}");
        }
    }
}
