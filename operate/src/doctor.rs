//! Whether a machine is one on which a node does well: each thing that is looked at, what was found, and what mends it.
//!
//! Nothing is changed by it but a file in the session's folder that is written, synced and removed again.

mod warnings;

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use net::transport::{bind, segments};
use node::config::Config;
use node::{check_writable, left_by_root};
use rustix::fs::statfs;
use serde::Serialize;

pub use self::warnings::warnings;
use self::warnings::{budget_warning, connections_warning, open_warning, program_warning, programs, room_warning};
use crate::disk::{existing, free_bytes};
use crate::monitor::{Listening, MonitorError};
use crate::process::Machine;

/// Syncs of which the median is told.
const SYNCS: usize = 21;
/// A sync that takes longer than this is seen by players: a receipt waits for one.
const SYNC_SLOW: Duration = Duration::from_millis(20);
/// Files that a node may have open at once, with some room: its own, and those who look at it.
const FILES_LEAST: u64 = 1_024;
/// What an empty node needs, with some room.
const MEMORY_LEAST: u64 = 256 << 20;
/// What is left of a disk when a node asks for room.
const DISK_LEAST: u64 = 1 << 30;

/// How much something matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Grade {
    /// It is as it should be, or cannot be otherwise.
    Ok,
    /// The node runs, and could run better.
    Note,
    /// The node does not start, or loses what it holds.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// What it is.
    pub what: &'static str,
    /// How much it matters.
    pub grade: Grade,
    /// What was found.
    pub found: String,
    /// What to do, where something is to be done.
    pub advice: Option<String>,
}

fn ok(what: &'static str, found: impl Into<String>) -> Finding {
    Finding { what, grade: Grade::Ok, found: found.into(), advice: None }
}

fn note(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { what, grade: Grade::Note, found: found.into(), advice: Some(advice.into()) }
}

fn wrong(what: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Finding {
    Finding { what, grade: Grade::Wrong, found: found.into(), advice: Some(advice.into()) }
}

/// Looks at this machine with the eyes of a node of this configuration, whose journal has so many bytes. `runs` says that the
/// node runs now, so that its addresses are taken by itself.
pub fn look(config: &Config, runs: bool, journal: u64) -> Vec<Finding> {
    let machine = Machine::take();
    let mut findings = vec![
        processors(config, machine.cpus.map(|cpus| cpus.max(1.0) as u64)),
        vectors(),
        memory(config, machine.memory_bytes),
    ];
    findings.extend(machine.memory_bytes.and_then(|bytes| connections_warning(config, bytes)).map(|found| {
        note("memory of connections", found, "fewer of them, smaller buffers, or a larger memory.budget_bytes")
    }));
    findings.extend(pages());
    findings.push(files(machine.files_max));
    findings.push(pressure());
    findings.extend(programs(config).map(|(what, is_there)| match is_there {
        true => ok(what, "it is there"),
        false => note(what, program_warning(what), "a program that this user may run, with its whole path"),
    }));
    findings.extend(
        open_warning(config).map(|found| note("dashboard for others", found, "127.0.0.1, and a proxy or a tunnel")),
    );
    let folder = existing(&config.node.data);
    findings.extend(file_system(&folder));
    findings.push(room(config, &folder, journal));
    findings.push(syncs(&folder));
    findings.extend(session(&config.node.data));
    findings.extend(sockets(config));
    findings.extend(address("address", config.net.listen, runs, |at| bind(at, 1 << 16).map(drop)));
    let dashboard = config.monitoring.listen.address();
    findings.extend(dashboard.and_then(|at| {
        address("dashboard", at, runs, |at| match Listening::at(at) {
            Err(MonitorError::Bind { error, .. }) => Err(error),
            listening => listening.map(drop).map_err(io::Error::other),
        })
    }));
    findings
}

fn processors(config: &Config, cpus: Option<u64>) -> Finding {
    let threads = config.node.threads as u64;
    let workers = if threads == 1 { "1 worker".to_owned() } else { format!("{threads} workers") };
    match cpus {
        None => ok("processors", "not told by the system"),
        Some(1) => note("processors", "1", "two or more: the network and the tick share this one"),
        Some(cpus) if threads > cpus => note(
            "processors",
            format!("{cpus}, for {workers}"),
            format!("node.threads = {} leaves one for the network and the disk", cpus - 1),
        ),
        Some(cpus) => ok("processors", format!("{cpus}, for {workers} beside the network and the disk")),
    }
}

/// What the processor has for signatures: the library of curves chooses by itself.
fn vectors() -> Finding {
    #[cfg(target_arch = "x86_64")]
    {
        let has = [
            ("AVX-512 IFMA", std::is_x86_feature_detected!("avx512ifma")),
            ("AVX2", std::is_x86_feature_detected!("avx2")),
        ];
        match has.iter().find(|(_, has)| *has) {
            Some((name, _)) => ok("vectors", format!("{name}, used for signatures")),
            None => {
                note("vectors", "neither AVX2 nor AVX-512", "signatures take a multiple of the time; another machine")
            }
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    ok("vectors", "signatures are verified without them on this processor")
}

fn memory(config: &Config, machine: Option<u64>) -> Finding {
    let budget = config.memory.budget_bytes;
    match (machine, budget) {
        (None, _) => ok("memory", "not told by the system"),
        (Some(bytes), _) if bytes < MEMORY_LEAST => {
            wrong("memory", ByteSize(bytes).to_string(), format!("{} or more", ByteSize(MEMORY_LEAST)))
        }
        (Some(bytes), budget) if budget > bytes => note(
            "memory",
            budget_warning(config, bytes).unwrap_or_default(),
            "memory.budget_bytes below what there is, or 0",
        ),
        (Some(bytes), 0) => ok("memory", format!("{}, all of it the budget", ByteSize(bytes))),
        (Some(bytes), budget) => ok("memory", format!("{} for a budget of {}", ByteSize(bytes), ByteSize(budget))),
    }
}

/// To whom the system gives huge pages, where it has them; a node takes none.
fn pages() -> Option<Finding> {
    let text = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled").ok()?;
    let chosen = text.split('[').nth(1)?.split(']').next()?.to_owned();
    Some(ok("huge pages", format!("{chosen}; a node takes small ones")))
}

fn files(most: Option<u64>) -> Finding {
    match most {
        None => ok("files", "no bound is told by the system"),
        Some(most) if most < FILES_LEAST => wrong(
            "files",
            format!("{most} may be open"),
            format!("`ulimit -n 65536`, or LimitNOFILE={FILES_LEAST} or more"),
        ),
        Some(most) => ok("files", format!("{most} may be open")),
    }
}

/// Whether the system tells what waits for what; the alerts of pressure need it.
fn pressure() -> Finding {
    match fs::read_to_string("/proc/pressure/memory") {
        Ok(_) => ok("pressure", "told by the system"),
        Err(_) => {
            note("pressure", "not told by the system", "the kernel option `psi=1`; alerts of pressure stay silent")
        }
    }
}

/// Kinds of file systems by their number, as statfs(2) has them, that are no place for a session.
const UNFIT: [(u64, &str, &str); 3] = [
    (0x0102_1994, "tmpfs", "a session in memory is gone when the machine stops: node.data on a disk"),
    (0x6969, "nfs", "its locks and syncs depend on another machine: node.data on a disk of this one"),
    (0xff53_4d42, "cifs", "its locks and syncs depend on another machine: node.data on a disk of this one"),
];

fn file_system(folder: &Path) -> Option<Finding> {
    let kind = statfs(folder).ok()?.f_type as u64 & 0xffff_ffff;
    let unfit = UNFIT.iter().find(|(number, ..)| *number == kind);
    Some(match unfit {
        Some((_, name, advice)) => wrong("file system", format!("{name} at {}", folder.display()), *advice),
        None => ok("file system", format!("fit for a session, at {}", folder.display())),
    })
}

fn room(config: &Config, folder: &Path, journal: u64) -> Finding {
    let Some(free) = free_bytes(folder) else { return ok("room", "not told by the system") };
    let bound = config.storage.bytes_max;
    let found = |more: &str| format!("{} free{more}", ByteSize(free));
    let warning = room_warning(config, free, journal);
    match bound {
        _ if free < config.storage.min_free => {
            wrong("room", warning.unwrap_or_default(), "more room, or a lower storage.min_free")
        }
        _ if free < DISK_LEAST => wrong("room", found(""), format!("{} or more", ByteSize(DISK_LEAST))),
        0 => note("room", found(", no bound of the journal"), "storage.bytes_max below what is free"),
        bound => match warning {
            Some(warning) => note("room", warning, "storage.bytes_max below what is free, or more room"),
            None => ok("room", found(&format!(", storage.bytes_max is {}", ByteSize(bound)))),
        },
    }
}

/// How long a write of a block takes until it is on the disk: a receipt waits for that.
fn syncs(folder: &Path) -> Finding {
    match sync_times(folder) {
        Err(error) => wrong("disk", format!("{}: {error}", folder.display()), "a folder that this user may write in"),
        Ok(mut times) => {
            times.sort_unstable();
            let median = times[times.len() / 2];
            let found = format!("a sync takes {:.1} ms (median of {})", median.as_secs_f64() * 1e3, times.len());
            match median > SYNC_SLOW {
                true => note("disk", found, "a disk with less: each receipt waits for one sync"),
                false => ok("disk", found),
            }
        }
    }
}

/// Whether this user may write all of a session, where there is one: a node finds out when it writes there, and stops.
fn session(data: &Path) -> Option<Finding> {
    let whose = "all of it is the node's user's, who runs this command too";
    data.is_dir().then(|| match check_writable(data).and_then(|()| left_by_root(data)) {
        Ok(None) => ok("session", "this user may write all of it"),
        Ok(Some(left)) => note("session", left, whose),
        Err(error) => wrong("session", error.to_string(), whose),
    })
}

fn sync_times(folder: &Path) -> io::Result<Vec<Duration>> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let mut file = fs::File::options().write(true).create_new(true).open(&path)?;
    let times = (0..SYNCS)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&[0; 4_096])?;
            file.sync_data()?;
            Ok(began.elapsed())
        })
        .collect();
    fs::remove_file(&path)?;
    times
}

/// What the system gives a UDP socket.
fn sockets(config: &Config) -> Vec<Finding> {
    let asked = config.net.socket_buffer_bytes;
    let here = SocketAddr::from(([127, 0, 0, 1], 0));
    let bound = match bind(here, asked as usize) {
        Ok(bound) => bound,
        Err(error) => return vec![wrong("sockets", error.to_string(), "UDP on loopback")],
    };
    let least = bound.receive_bytes.min(bound.send_bytes) as u64;
    let buffers = match least < asked {
        true => note(
            "socket buffers",
            format!("{} of {}", ByteSize(least), ByteSize(asked)),
            format!("`sysctl -w net.core.rmem_max={asked} net.core.wmem_max={asked}`"),
        ),
        false => ok("socket buffers", ByteSize(least).to_string()),
    };
    let batches = match segments(bound.socket) {
        Ok((1, _)) => {
            note("packets", "one packet a system call", "a kernel with UDP segmentation offload (Linux 4.18)")
        }
        Ok((out, into)) => ok("packets", format!("{out} out and {into} in, of one connection, a system call")),
        Err(error) => wrong("packets", error.to_string(), "UDP on loopback"),
    };
    vec![buffers, batches]
}

/// Whether an address can be had. A node that runs has its own, of which there is nothing to tell, unless this machine has no
/// such address: then it is that of the next start.
fn address(
    what: &'static str,
    at: SocketAddr,
    runs: bool,
    take: impl FnOnce(SocketAddr) -> io::Result<()>,
) -> Option<Finding> {
    match take(at) {
        Ok(()) => (!runs).then(|| ok(what, at.to_string())),
        Err(error) if runs && error.kind() == io::ErrorKind::AddrInUse => None,
        Err(error) => Some(wrong(what, format!("{at}: {error}"), "end what has it, or choose another address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::rules::RULES;
    use net::transport::{IDLE_BYTES, IDLE_PACKETS_BYTES, PLAYING_BYTES, PLAYING_PACKETS_BYTES};
    use node::config::ServedAt;

    fn graded(findings: &[Finding], what: &str) -> Option<Grade> {
        findings.iter().find(|finding| finding.what == what).map(|finding| finding.grade)
    }

    #[test]
    fn whatever_is_wrong_has_an_advice_and_is_found() {
        let dir = tempfile::tempdir().expect("a directory");
        let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let udp = std::net::UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
        let mut config = Config::default();
        config.node.data = dir.path().join("not/there");
        config.node.threads = 64;
        config.memory.budget_bytes = u64::MAX;
        config.storage.min_free = u64::MAX;
        config.net.listen = udp.local_addr().expect("an address");
        config.monitoring.listen = ServedAt::Address(taken.local_addr().expect("an address"));
        let findings = look(&config, false, 0);
        assert_eq!(graded(&findings, "memory"), Some(Grade::Note), "what there is counts: {findings:?}");
        for what in ["room", "address", "dashboard"] {
            assert_eq!(graded(&findings, what), Some(Grade::Wrong), "{what}: {findings:?}");
        }
        assert!(matches!(graded(&findings, "disk"), Some(Grade::Ok | Grade::Note)), "{findings:?}");
        assert!(findings.iter().all(|finding| (finding.grade == Grade::Ok) == finding.advice.is_none()));
        assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 0, "nothing is left behind");
        let running = look(&config, true, 0);
        assert_eq!((graded(&running, "address"), graded(&running, "dashboard")), (None, None), "they are its own");
        // Addresses for documentation, which no machine has.
        config.net.listen = SocketAddr::from(([192, 0, 2, 1], 7_400));
        config.monitoring.listen = ServedAt::Address(SocketAddr::from(([203, 0, 113, 9], 7_480)));
        let running = look(&config, true, 0);
        let wrong = Some(Grade::Wrong);
        assert_eq!((graded(&running, "address"), graded(&running, "dashboard")), (wrong, wrong), "{running:?}");
    }

    #[test]
    fn bounds_that_are_too_low_are_wrong() {
        assert_eq!(files(Some(FILES_LEAST - 1)).grade, Grade::Wrong);
        assert_eq!(files(Some(FILES_LEAST)).grade, Grade::Ok);
        assert_eq!(processors(&Config::default(), Some(1)).grade, Grade::Note);
        assert_eq!(memory(&Config::default(), Some(MEMORY_LEAST - 1)).grade, Grade::Wrong);
        let missing = syncs(Path::new("/nowhere"));
        assert!(missing.grade == Grade::Wrong && missing.found.starts_with("/nowhere: "), "{missing:?}");
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(session(&dir.path().join("not yet")), None);
        assert_eq!(session(dir.path()).map(|found| found.grade), Some(Grade::Ok));
        // Where a folder should be lies a file, which nobody can write into.
        fs::write(dir.path().join("journal"), b"").expect("a file");
        let found = session(dir.path()).expect("a session");
        let journal = dir.path().join("journal").display().to_string();
        assert!(found.grade == Grade::Wrong && found.found.starts_with(&journal), "{found:?}");
        let in_memory = file_system(Path::new("/dev/shm"));
        assert!(in_memory.is_none_or(|found| found.grade == Grade::Wrong && found.found.contains("tmpfs")));
    }

    #[test]
    fn connections_that_memory_has_no_room_for_are_told() {
        let mut config = Config::default();
        config.net.connections_max = 1_000;
        config.net.buffer_bytes_max = 300 << 20;
        // All of them may play, and each may send packets that hold one byte of what QUIC waits for.
        let connections = 1_000 * ((22 << 10) + PLAYING_PACKETS_BYTES);
        let needed = (150 << 20) + connections + (300 << 20);
        assert_eq!(connections_warning(&config, needed), None);
        let warning = connections_warning(&config, needed - 1).expect("it is too much");
        let start = format!("net.connections_max takes {} for 1000 connections", ByteSize(connections));
        assert!(warning.starts_with(&start), "{warning}");
        config.memory.budget_bytes = 256 << 20;
        assert!(connections_warning(&config, 8 << 30).is_some(), "the budget is what counts");
    }

    #[test]
    fn guides_and_steps_say_what_a_connection_may_hold() {
        let [idle, playing] = [IDLE_BYTES, PLAYING_BYTES].map(|bytes| bytes.div_ceil(1 << 10));
        let [idle_packets, packets] = [IDLE_PACKETS_BYTES, PLAYING_PACKETS_BYTES].map(|bytes| bytes.div_ceil(1 << 10));
        let guide = include_str!("../../docs/operating.md").split_whitespace().collect::<Vec<_>>().join(" ");
        let said =
            format!("An idle connection reserves {idle} KiB of `net.buffer_bytes_max`, a playing one {playing} KiB,");
        assert!(guide.contains(&said), "{said}");
        let said = format!("{idle_packets} KiB of packets, {packets} where it plays");
        assert!(guide.contains(&said), "{said}");
        let steps = |name: &str| {
            let rule = RULES.iter().find(|rule| rule.name == name).expect("a rule");
            rule.steps.join(" ")
        };
        assert!(
            steps("BuffersHigh")
                .contains(&format!("{playing} KiB for each that plays, {idle} KiB for each that is idle"))
        );
        assert!(steps("ConnectionsHigh").contains(&format!("({playing} KiB a playing connection)")));
        let shown = Config::default().text();
        assert!(shown.contains(&format!("A connection that plays may hold {playing} KiB, an idle one {idle} KiB.")));
    }

    #[test]
    fn what_the_node_warns_of_is_noted_with_the_same_words() {
        let mut config = Config::default();
        config.storage.bytes_max = 500 << 30;
        let warning = room_warning(&config, 76 << 30, 1 << 30).expect("it does not fit");
        assert!(warning.starts_with("storage.bytes_max is 500.0 GiB, and only 76.0 GiB is free"), "{warning}");
        assert!(room_warning(&config, 500 << 30, 0).is_some(), "what is to stay free is not the journal's");
        assert_eq!(room_warning(&config, (500 << 30) + config.storage.min_free, 0), None);
        let warning = room_warning(&config, config.storage.min_free - 1, 0).expect("the node takes nothing");
        assert!(warning.starts_with("storage.min_free is 256.0 MiB, and 256.0 MiB is free"), "{warning}");
        config.storage.bytes_max = u64::MAX;
        config.storage.min_free = 0;
        config.memory.budget_bytes = u64::MAX;
        config.monitoring.listen = ServedAt::Address(SocketAddr::from(([0, 0, 0, 0], 7_480)));
        config.alerts.exec = vec!["/no/such".into()];
        let (warnings, findings) = (warnings(&config, 0), look(&config, true, 0));
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        for warning in &warnings {
            let noted = findings.iter().find(|finding| finding.found == *warning);
            assert!(noted.is_some_and(|noted| noted.grade == Grade::Note), "{warning}: {findings:?}");
        }
        assert_eq!(graded(&findings, "alerts.exec"), Some(Grade::Note));
        config.alerts.exec = vec!["sh".into()];
        assert_eq!(graded(&look(&config, true, 0), "alerts.exec"), Some(Grade::Ok));
    }
}
