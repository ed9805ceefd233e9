//! What the system says of this process and its machine. Where it says nothing (another system, a container), it is unknown,
//! and whoever shows it leaves it out.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How many of the system's clock ticks are a second: Linux tells processes in hundredths on every architecture.
const USER_HZ: f64 = 100.0;

/// Variables that are for the node alone: its passphrase, and how its manager of services is told something.
const FOR_THE_NODE: [&str; 5] =
    ["BITCRAPS_PASSPHRASE", "BITCRAPS_PASSPHRASE_FILE", "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"];

/// Keeps from a program that a node runs what is the node's alone: whatever a program has in its environment, it may log.
pub fn without_secrets(command: &mut Command) {
    for name in FOR_THE_NODE {
        command.env_remove(name);
    }
}

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
    /// What those had that have ended, by name.
    pub ended: Vec<ThreadReading>,
}

/// One thread of this process.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct ThreadReading {
    /// Its number in the system.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
    /// Times that it waited for something.
    pub switches_voluntary: u64,
    /// Times that the system gave its processor to another.
    pub switches_involuntary: u64,
}

/// Its control group, or its machine, at a moment: the share of the last ten seconds in which something waited, from 0 to 1.
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
            ended: Vec::new(),
        }
    }

    /// Switches of all threads, voluntary and not, also of those that have ended.
    pub fn switches(&self) -> u64 {
        self.all_threads().map(ThreadReading::switches).sum()
    }

    /// Processor time of all threads by name, in seconds, also of those that have ended.
    pub fn thread_seconds(&self) -> BTreeMap<&str, f64> {
        let mut seconds = BTreeMap::new();
        self.all_threads().for_each(|thread| *seconds.entry(&*thread.name).or_default() += thread.cpu_seconds);
        seconds
    }

    fn all_threads(&self) -> impl Iterator<Item = &ThreadReading> {
        self.threads.iter().chain(&self.ended)
    }
}

impl ThreadReading {
    fn switches(&self) -> u64 {
        self.switches_voluntary + self.switches_involuntary
    }

    /// Whether it is the thread that was seen before: the system gives a number again, and then all counts from nothing.
    fn goes_on_from(&self, before: &Self) -> bool {
        self.switches_voluntary >= before.switches_voluntary
            && self.switches_involuntary >= before.switches_involuntary
            && self.cpu_seconds >= before.cpu_seconds
    }

    fn add(&mut self, other: &Self) {
        self.cpu_seconds += other.cpu_seconds;
        self.switches_voluntary += other.switches_voluntary;
        self.switches_involuntary += other.switches_involuntary;
    }
}

/// What threads had that have ended, as far as it was seen: what is counted of all threads never becomes less.
#[derive(Default)]
pub struct EndedThreads {
    /// Threads that were there the last time, by number.
    seen: BTreeMap<u64, ThreadReading>,
    /// What ended threads had, by name, of which a program has a few.
    ended: BTreeMap<String, ThreadReading>,
}

impl EndedThreads {
    /// Takes the threads that were found. Gives what those had that have ended, and what those had the last time that were only not
    /// found: a list of threads that is read while one ends may leave another out.
    pub fn note(&mut self, threads: &[ThreadReading], has_ended: impl Fn(u64) -> bool) -> Vec<ThreadReading> {
        let now = threads.iter().map(|thread| (thread.id, thread.clone())).collect();
        let mut missed = Vec::new();
        for (id, before) in std::mem::replace(&mut self.seen, now) {
            match self.seen.get(&id) {
                Some(thread) if thread.goes_on_from(&before) => {}
                None if !has_ended(id) => {
                    missed.push(before.clone());
                    self.seen.insert(id, before);
                }
                _ => {
                    let named = || ThreadReading { name: before.name.clone(), ..ThreadReading::default() };
                    self.ended.entry(before.name.clone()).or_insert_with(named).add(&before);
                }
            }
        }
        self.ended.values().cloned().chain(missed).collect()
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

/// Where the system tells of the threads of this process, each by its number.
const THREADS: &str = "/proc/self/task";

/// Whether a thread of this process is there no longer.
pub fn has_ended(id: u64) -> bool {
    !Path::new(THREADS).join(id.to_string()).exists()
}

fn threads() -> Vec<ThreadReading> {
    let folders = fs::read_dir(THREADS).into_iter().flatten().flatten();
    let mut threads: Vec<_> = folders.filter_map(|folder| thread(&folder.path())).collect();
    threads.sort_by(|a, b| a.name.cmp(&b.name));
    threads
}

/// A thread, unless it has just ended. The first one ticks, and is called so here as in `/readyz`: its name in the system is
/// the whole process's.
fn thread(folder: &Path) -> Option<ThreadReading> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let id = folder.file_name()?.to_str()?.parse().ok()?;
    let is_first = id == u64::from(std::process::id());
    let status = read("status")?;
    Some(ThreadReading {
        id,
        name: if is_first { "tick".into() } else { read("comm")?.trim_end().to_owned() },
        cpu_seconds: cpu_seconds(&read("stat")?)?,
        switches_voluntary: field(&status, "voluntary_ctxt_switches")?,
        switches_involuntary: field(&status, "nonvoluntary_ctxt_switches")?,
    })
}

impl Pressure {
    /// The pressure now: that of a control group where the system tells it, else the machine's.
    pub fn take(group: Option<&ControlGroup>) -> Self {
        let read = |name: &str| {
            let own = group.and_then(|group| group.read(None, &format!("{name}.pressure")));
            waited(&own.or_else(|| fs::read_to_string(Path::new("/proc/pressure").join(name)).ok())?)
        };
        Self { cpu: read("cpu"), memory: read("memory"), io: read("io") }
    }
}

/// The share of the last ten seconds in which something waited, as the system's files of pressure have it.
fn waited(text: &str) -> Option<f64> {
    let average = text.lines().find_map(|line| line.strip_prefix("some avg10="))?;
    Some(average.split_whitespace().next()?.parse::<f64>().ok()? / 100.0)
}

/// What may be used of the machine, as far as this process is told.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct Machine {
    /// Processors; a fraction where a control group has time of so many.
    pub cpus: Option<f64>,
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
        let bound = ControlGroup::of_this_process().and_then(|group| group.bound());
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        Self {
            cpus: std::thread::available_parallelism()
                .ok()
                .map(|whole| cpus(whole.get() as f64, &status, &own_groups("cpu"))),
            memory_bytes: bound.into_iter().chain(total).min(),
            files_max: files_max(&limits),
        }
    }
}

/// Processors that may be used, where a program may have so many workers: their count has the time of a control group rounded down,
/// and a node would call itself busy that has a third left.
fn cpus(whole: f64, status: &str, groups: &[ControlGroup]) -> f64 {
    match groups.iter().filter_map(ControlGroup::cpus).min_by(f64::total_cmp) {
        Some(time) if time < whole + 1.0 => allowed(status).map_or(time, |allowed| time.min(allowed as f64)),
        // There is no bound, or more time than processors.
        _ => whole,
    }
}

/// How many processors a process may run on, as its status has them: `Cpus_allowed_list: 0-3,8`.
fn allowed(status: &str) -> Option<u64> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let count = |range: &str| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        Some(to.parse::<u64>().ok()?.checked_sub(from.parse().ok()?)? + 1)
    };
    list.trim().split(',').map(count).sum()
}

fn files_max(limits: &str) -> Option<u64> {
    limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse().ok())
}

/// A control group that may bound memory, or the time of processors.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ControlGroup {
    folder: PathBuf,
    /// Whether it is one of version 2, in which a group has one folder for all of its bounds.
    is_unified: bool,
}

impl ControlGroup {
    /// Of those that this process is in the one that bounds memory most, if any does.
    pub fn of_this_process() -> Option<Self> {
        own_groups("memory").into_iter().filter(|group| group.bound().is_some()).min_by_key(Self::bound)
    }

    /// The one of version 2 that this process is in, bounded or not: its pressure is this process' own.
    pub fn unified() -> Option<Self> {
        own_groups("memory").into_iter().find(|group| group.is_unified)
    }

    /// A file of it by its name in version 1, if it has one there, and in version 2.
    fn read(&self, first: Option<&str>, second: &str) -> Option<String> {
        let name = if self.is_unified { Some(second) } else { first };
        fs::read_to_string(self.folder.join(name?)).ok()
    }

    /// Bytes that all of its processes may have together.
    pub fn bound(&self) -> Option<u64> {
        let bound = self.read(Some("memory.limit_in_bytes"), "memory.max")?.trim().parse().ok()?;
        // Version 1 writes the largest number of pages for none.
        (bound < 1 << 60).then_some(bound)
    }

    /// The time of how many processors they may have together.
    fn cpus(&self) -> Option<f64> {
        let first = || {
            let (quota, period) = ("cpu.cfs_quota_us", "cpu.cfs_period_us");
            Some(format!("{} {}", self.read(Some(quota), "")?, self.read(Some(period), "")?))
        };
        let text = if self.is_unified { self.read(None, "cpu.max") } else { first() }?;
        let mut numbers = text.split_whitespace();
        // Without a bound there is `max` in version 2, and -1 in version 1.
        let (quota, period): (f64, f64) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        (quota > 0.0 && period > 0.0).then_some(quota / period)
    }

    /// Bytes that they have, without files that nobody used for a while: those the system takes back first.
    pub fn used(&self) -> Option<u64> {
        let used: u64 = self.read(Some("memory.usage_in_bytes"), "memory.current")?.trim().parse().ok()?;
        let stat = self.read(Some("memory.stat"), "memory.stat").unwrap_or_default();
        let name = if self.is_unified { "inactive_file " } else { "total_inactive_file " };
        let files = stat.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Some(used.saturating_sub(files.unwrap_or(0)))
    }
}

fn own_groups(controller: &str) -> Vec<ControlGroup> {
    groups(&fs::read_to_string("/proc/self/cgroup").unwrap_or_default(), controller)
}

/// The control groups that may bound what this process has of something: its own and those above them, in both versions.
fn groups(text: &str, controller: &str) -> Vec<ControlGroup> {
    let mut found = Vec::new();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let is_unified = controllers.is_empty();
        let root = match is_unified {
            true => PathBuf::from("/sys/fs/cgroup"),
            false if controllers.split(',').any(|one| one == controller) => {
                Path::new("/sys/fs/cgroup").join(controller)
            }
            false => continue,
        };
        let path = Path::new(path.trim_start_matches('/'));
        found.extend(path.ancestors().map(|above| ControlGroup { folder: root.join(above), is_unified }));
    }
    found
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
        let found = groups("3:cpu,memory:/a/b\n0::/c\n2:freezer:/d\n", "memory");
        let names: Vec<_> =
            found.iter().map(|group| (group.folder.to_str().expect("plain"), group.is_unified)).collect();
        assert_eq!(
            names,
            [
                ("/sys/fs/cgroup/memory/a/b", false),
                ("/sys/fs/cgroup/memory/a", false),
                ("/sys/fs/cgroup/memory/", false),
                ("/sys/fs/cgroup/c", true),
                ("/sys/fs/cgroup/", true),
            ]
        );
        let found = groups("3:cpu,cpuacct:/a\n4:memory:/b\n", "cpu");
        assert_eq!(found[0].folder, Path::new("/sys/fs/cgroup/cpu/a"));
        assert_eq!(found.len(), 2, "its own and the one above");
    }

    #[test]
    fn a_group_tells_the_time_of_how_many_processors_it_has() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        let group = |is_unified| ControlGroup { folder: dir.path().to_owned(), is_unified };
        let of = |whole: f64, list: &str| {
            cpus(whole, &format!("Cpus_allowed:\tff\nCpus_allowed_list:\t{list}\n"), &[group(true), group(false)])
        };
        assert_eq!(of(4.0, "0-3"), 4.0, "no group says anything");
        write("cpu.max", "max 100000\n");
        write("cpu.cfs_quota_us", "-1\n");
        write("cpu.cfs_period_us", "100000\n");
        assert_eq!((group(true).cpus(), group(false).cpus(), of(4.0, "0-3")), (None, None, 4.0), "none has a bound");
        write("cpu.max", "150000 100000\n");
        assert_eq!((group(true).cpus(), of(1.0, "0-3"), of(1.0, "2")), (Some(1.5), 1.5, 1.0));
        write("cpu.max", "850000 100000\n");
        assert_eq!(of(4.0, "0-127"), 4.0, "there are no more, although the system lists places for others");
        write("cpu.cfs_quota_us", "50000\n");
        assert_eq!((group(false).cpus(), of(1.0, "0-3")), (Some(0.5), 0.5), "the narrowest counts");
        let listed = ["0-3,8", "3-1", ""].map(|list| allowed(&format!("Cpus_allowed_list:\t{list}\n")));
        assert_eq!(listed, [Some(5), None, None]);
    }

    #[test]
    fn a_group_tells_its_bound_its_use_and_in_version_2_what_waits() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("written");
        let group = |is_unified| ControlGroup { folder: dir.path().to_owned(), is_unified };
        write("memory.limit_in_bytes", "9223372036854771712\n");
        write("memory.usage_in_bytes", "700\n");
        write("memory.stat", "inactive_file 5\ntotal_inactive_file 300\n");
        assert_eq!((group(false).bound(), group(false).used()), (None, Some(400)), "no bound is the largest number");
        write("memory.limit_in_bytes", "536870912\n");
        assert_eq!(group(false).bound(), Some(512 << 20));
        write("memory.max", "max\n");
        write("memory.current", "100\n");
        write("memory.pressure", "some avg10=12.50 avg60=0.00 avg300=0.00 total=1\nfull avg10=1.00\n");
        assert_eq!((group(true).bound(), group(true).used()), (None, Some(95)));
        assert_eq!(Pressure::take(Some(&group(true))).memory, Some(0.125));
        let machine = Pressure::take(None).memory;
        assert_eq!(Pressure::take(Some(&group(false))).memory.is_some(), machine.is_some(), "the machine's");
    }

    #[test]
    fn what_a_thread_had_stays_counted_when_it_ends() {
        let thread = |id, name: &str, switches_voluntary, cpu_seconds| ThreadReading {
            id,
            name: name.into(),
            cpu_seconds,
            switches_voluntary,
            switches_involuntary: 1,
        };
        let mut ended = EndedThreads::default();
        let mut take = |threads: Vec<ThreadReading>| {
            let ended = ended.note(&threads, |id| id == 2);
            let reading = ProcessReading { ended, threads, ..ProcessReading::default() };
            let seconds: Vec<(String, f64)> =
                reading.thread_seconds().into_iter().map(|(name, seconds)| (name.to_owned(), seconds)).collect();
            (reading.switches(), seconds)
        };
        let of = |tick, past| vec![("past".to_owned(), past), ("tick".to_owned(), tick)];
        assert_eq!(take(vec![thread(1, "tick", 10, 1.0), thread(2, "past", 100, 4.0)]), (112, of(1.0, 4.0)));
        assert_eq!(take(vec![thread(1, "tick", 20, 2.0)]), (122, of(2.0, 4.0)), "one has ended");
        assert_eq!(take(Vec::new()), (122, of(2.0, 4.0)), "one that is there was not found");
        assert_eq!(take(vec![thread(1, "tick", 20, 2.0)]), (122, of(2.0, 4.0)), "and is found again");
        // Its number is given to another, and that one's to a third.
        assert_eq!(take(vec![thread(1, "tick", 20, 2.0), thread(2, "past", 7, 1.0)]), (130, of(2.0, 5.0)));
        assert_eq!(take(vec![thread(1, "tick", 20, 2.0), thread(2, "past", 3, 1.0)]), (134, of(2.0, 6.0)));
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
