//! What of a configuration its operator should know, though a node runs with it.

use std::fs;
use std::path::Path;

use bytesize::ByteSize;
use net::transport::{IDLE_PACKETS_BYTES, PLAYING_BYTES, PLAYING_PACKETS_BYTES};
use node::config::Config;

use crate::disk::{existing, free_bytes};
use crate::process::Machine;

/// What its operator should know of a configuration with which a node runs all the same: the node says it at its start, and
/// `config check` before. `journal` is what the session's journal has on the disk.
pub fn warnings(config: &Config, journal: u64) -> Vec<String> {
    let free = free_bytes(&existing(&config.node.data));
    let room = free.and_then(|free| room_warning(config, free, journal));
    let memory = Machine::take().memory_bytes;
    let budget = memory.and_then(|bytes| budget_warning(config, bytes));
    let connections = memory.and_then(|bytes| connections_warning(config, bytes));
    let missing = programs(config).filter(|(_, is_there)| !is_there).map(|(what, _)| program_warning(what));
    room.into_iter().chain(budget).chain(connections).chain(open_warning(config)).chain(missing).collect()
}

/// The warning of a journal that the disk has no room for, beside what is to stay free.
pub(super) fn room_warning(config: &Config, free: u64, journal: u64) -> Option<String> {
    let (bytes_max, min_free) = (config.storage.bytes_max, config.storage.min_free);
    if free < min_free {
        return Some(format!(
            "storage.min_free is {}, and {} is free: the node takes no intents until there is room",
            ByteSize(min_free),
            ByteSize(free)
        ));
    }
    match bytes_max {
        0 => Some(format!(
            "storage.bytes_max is 0: the journal grows until the disk, where {} is free, is full; `db stats` says when",
            ByteSize(free)
        )),
        bytes if bytes > journal.saturating_add(free - min_free) => Some(format!(
            "storage.bytes_max is {}, and only {} is free beside the {} that the journal has, of which storage.min_free keeps \
             {}: the disk is full before old blocks are given up",
            ByteSize(bytes),
            ByteSize(free),
            ByteSize(journal),
            ByteSize(min_free)
        )),
        _ => None,
    }
}

/// The warning of a budget beyond what there is, which is none.
pub(super) fn budget_warning(config: &Config, machine: u64) -> Option<String> {
    let budget = config.memory.budget_bytes;
    (budget > machine).then(|| {
        format!(
            "memory.budget_bytes is {}, and the machine, or its control group, has {}: that is what counts",
            ByteSize(budget),
            ByteSize(machine)
        )
    })
}

/// What QUIC, TLS and this node keep of a connection, beside its buffers (docs/measurements.md, "When something is scarce"), and the
/// packets that QUIC may have to hold for one whose peer sends a byte with each.
const CONNECTION_BYTES: u64 = (22 << 10) + IDLE_PACKETS_BYTES;
/// More of those packets for one that plays.
const PLAYER_BYTES: u64 = PLAYING_PACKETS_BYTES - IDLE_PACKETS_BYTES;
/// What an empty node has, answers to the newest intents, and as many as may wait while a disk or the processors are slow.
const WORK_BYTES: u64 = 150 << 20;

/// The warning of connections that may take more memory together than the node may have.
pub(super) fn connections_warning(config: &Config, machine: u64) -> Option<String> {
    let budget =
        Some(config.memory.budget_bytes).filter(|bytes| *bytes > 0).map_or(machine, |bytes| bytes.min(machine));
    let connections = u64::from(config.net.connections_max);
    let players = connections.min(config.net.buffer_bytes_max / PLAYING_BYTES);
    let connections = connections * CONNECTION_BYTES + players * PLAYER_BYTES;
    let needed = WORK_BYTES + connections + config.net.buffer_bytes_max;
    (needed > budget).then(|| {
        format!(
            "net.connections_max takes {} for {} connections, net.buffer_bytes_max {}, and a node's work {}: together more than \
             the {} that it may have, and if all of it is used at once the system ends the node",
            ByteSize(connections),
            config.net.connections_max,
            ByteSize(config.net.buffer_bytes_max),
            ByteSize(WORK_BYTES),
            ByteSize(budget)
        )
    })
}

/// The warning of a dashboard that others reach.
pub(super) fn open_warning(config: &Config) -> Option<String> {
    let address = config.monitoring.listen.address().filter(|address| !address.ip().is_loopback())?;
    Some(format!(
        "monitoring.listen is {address}: whoever reaches this machine reads there how the node is and what players did; \
         127.0.0.1 keeps it here"
    ))
}

/// The programs that tell alerts, where the configuration names any: the key, and whether the program is there.
pub(super) fn programs(config: &Config) -> impl Iterator<Item = (&'static str, bool)> {
    let alerts = &config.alerts;
    let exec = alerts.exec.first().map(|program| ("alerts.exec", program));
    let sendmail = (!alerts.mail_to.is_empty()).then_some(("alerts.sendmail", &alerts.sendmail));
    exec.into_iter().chain(sendmail).map(|(what, program)| (what, is_program(program)))
}

/// The warning of a program that is to tell alerts and cannot. Its name may hold a secret.
pub(super) fn program_warning(what: &str) -> String {
    format!("{what}: no program of that name is there, so it tells nobody of any alert")
}

/// Whether a program could be run: by its path, or by its name in one of the folders for programs.
fn is_program(name: &str) -> bool {
    use std::os::unix::fs::PermissionsExt;
    let may_run =
        |path: &Path| fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0);
    if name.contains('/') {
        return may_run(Path::new(name));
    }
    std::env::var_os("PATH")
        .is_some_and(|folders| std::env::split_paths(&folders).any(|folder| may_run(&folder.join(name))))
}
