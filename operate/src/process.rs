//! What the system says of this process and its machine. Where it says nothing (another system, a container), it is unknown,
//! and whoever shows it leaves it out.

use std::fs;
use std::path::{Path, PathBuf};

/// How many of the system's clock ticks are a second: Linux tells processes in hundredths on every architecture.
const USER_HZ: f64 = 100.0;

/// This process at a moment.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct ProcessReading {
    /// Processor time since its start, in seconds.
    pub cpu_seconds: Option<f64>,
    /// RssAnon and RssShmem, in bytes: mapped files are the system's to take back.
    pub memory_bytes: Option<u64>,
    /// Pages of mapped files in memory, in bytes.
    pub mapped_bytes: Option<u64>,
    /// The most that was resident at once, mapped files included, in bytes.
    pub peak_bytes: Option<u64>,
    /// Open files.
    pub files: Option<u64>,
    /// Bytes that reached the disk for it.
    pub written_bytes: Option<u64>,
    /// Bytes that were read from the disk for it.
    pub read_bytes: Option<u64>,
    /// Page faults that had to wait for the disk.
    pub major_faults: Option<u64>,
    /// Its threads, by name.
    pub threads: Vec<ThreadReading>,
}

/// One thread of this process.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct ThreadReading {
    /// Its name.
    pub name: String,
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
    /// Times that it waited for something.
    pub switches_voluntary: u64,
    /// Times that the system gave its processor to another.
    pub switches_involuntary: u64,
}

/// Its machine at a moment: the share of the last ten seconds in which something waited, from 0 to 1.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Pressure {
    /// For a processor.
    pub cpu: Option<f64>,
    /// For memory.
    pub memory: Option<f64>,
    /// For a disk.
    pub io: Option<f64>,
}

/// The number behind a name, as `/proc` files have them: `VmHWM:  1234 kB`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

impl ProcessReading {
    /// This process now.
    pub fn take() -> Self {
        let read = |name: &str| fs::read_to_string(Path::new("/proc/self").join(name)).unwrap_or_default();
        let (status, io, stat) = (read("status"), read("io"), read("stat"));
        let kib = |name: &str| field(&status, name).map(|kib| kib * 1_024);
        Self {
            cpu_seconds: cpu_seconds(&stat),
            memory_bytes: kib("RssAnon").zip(kib("RssShmem")).map(|(anon, shared)| anon + shared),
            mapped_bytes: kib("RssFile"),
            peak_bytes: kib("VmHWM"),
            files: fs::read_dir("/proc/self/fd").ok().map(|files| files.count() as u64),
            written_bytes: field(&io, "write_bytes"),
            read_bytes: field(&io, "read_bytes"),
            major_faults: stat_field(&stat, 12).map(|faults| faults as u64),
            threads: threads(),
        }
    }

    /// Switches of all threads, voluntary and not.
    pub fn switches(&self) -> u64 {
        self.threads.iter().map(|thread| thread.switches_voluntary + thread.switches_involuntary).sum()
    }
}

/// A number of `/proc/PID/stat` by its place, counted from 1 as in proc(5). The name, which may hold anything, is the second.
fn stat_field(stat: &str, place: usize) -> Option<f64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(place.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / USER_HZ)
}

fn threads() -> Vec<ThreadReading> {
    let folders = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let mut threads: Vec<_> = folders.filter_map(|folder| thread(&folder.path())).collect();
    threads.sort_by(|a, b| a.name.cmp(&b.name));
    threads
}

/// A thread, unless it has just ended.
fn thread(folder: &Path) -> Option<ThreadReading> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let status = read("status")?;
    Some(ThreadReading {
        name: read("comm")?.trim_end().to_owned(),
        cpu_seconds: cpu_seconds(&read("stat")?)?,
        switches_voluntary: field(&status, "voluntary_ctxt_switches")?,
        switches_involuntary: field(&status, "nonvoluntary_ctxt_switches")?,
    })
}

impl Pressure {
    /// The machine's pressure now.
    pub fn take() -> Self {
        let read = |name: &str| {
            let text = fs::read_to_string(Path::new("/proc/pressure").join(name)).ok()?;
            let average = text.lines().find_map(|line| line.strip_prefix("some avg10="))?;
            Some(average.split_whitespace().next()?.parse::<f64>().ok()? / 100.0)
        };
        Self { cpu: read("cpu"), memory: read("memory"), io: read("io") }
    }
}

/// What may be used of the machine, as far as this process is told.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Machine {
    /// Processors.
    pub cpus: Option<u64>,
    /// Bytes of memory: those of the control group if it has a bound, else the machine's.
    pub memory_bytes: Option<u64>,
    /// Files that may be open.
    pub files_max: Option<u64>,
}

impl Machine {
    /// What there is, at the start.
    pub fn take() -> Self {
        let total = fs::read_to_string("/proc/meminfo").ok().and_then(|text| field(&text, "MemTotal"));
        let total = total.map(|kib| kib * 1_024);
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let bound =
            bound_files(&groups).iter().filter_map(|file| fs::read_to_string(file).ok()?.trim().parse().ok()).min();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            cpus: std::thread::available_parallelism().ok().map(|cpus| cpus.get() as u64),
            memory_bytes: bound.into_iter().chain(total).min(),
            files_max: files_max(&limits),
        }
    }
}

fn files_max(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
}

/// The files that may bound this process's memory: of its control group and of those above it, in both versions.
fn bound_files(groups: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = if controllers.is_empty() {
            ("/sys/fs/cgroup", "memory.max")
        } else if controllers.split(',').any(|one| one == "memory") {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            continue;
        };
        let path = Path::new(path.trim_start_matches('/'));
        files.extend(path.ancestors().map(|above| Path::new(root).join(above).join(file)));
    }
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_brackets_does_not_shift_the_numbers() {
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194304 100 0 3 0 250 50 0 0 20 0 4 0 99 0 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(stat_field(stat, 12), Some(3.0));
        assert_eq!(cpu_seconds("7 (x) S 1"), None);
    }

    #[test]
    fn both_versions_of_control_groups_bound_memory() {
        let files = bound_files("3:cpu,memory:/a/b\n0::/c\n2:freezer:/d\n");
        let names: Vec<_> = files.iter().map(|file| file.to_str().expect("plain")).collect();
        assert_eq!(
            names,
            [
                "/sys/fs/cgroup/memory/a/b/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/a/memory.limit_in_bytes",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes",
                "/sys/fs/cgroup/c/memory.max",
                "/sys/fs/cgroup/memory.max",
            ]
        );
    }

    #[test]
    fn limits_and_status_are_read_by_name() {
        assert_eq!(files_max("Limit  Soft  Hard\nMax open files            1024      4096     files\n"), Some(1_024));
        assert_eq!(field("VmHWMx: 3 kB\nVmHWM:\t  12 kB\n", "VmHWM"), Some(12));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_there() {
        let reading = ProcessReading::take();
        assert!(reading.memory_bytes.is_some_and(|bytes| bytes > 100_000), "{reading:?}");
        assert!(reading.files.is_some_and(|files| files >= 3) && !reading.threads.is_empty());
        assert!(Machine::take().memory_bytes.is_some_and(|bytes| bytes > 1 << 24));
    }
}
