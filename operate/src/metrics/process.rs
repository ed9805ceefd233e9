//! The process and its machine: processors, memory by what has it, threads, the start.

use node::startup::Phase;

use super::metric::{Metric, Source, counter, gauge};
use super::unit::Unit;

/// How long a phase of the start took.
macro_rules! start {
    ($phase:ident) => {
        |reading| reading.start.map(|times| times.of(Phase::$phase).as_secs_f64())
    };
}

/// Its lines, in the order in which they are shown.
pub(super) const METRICS: &[Metric] = &[
    // The process.
    Metric {
        name: "bitcraps_cpu_seconds_total",
        unit: Unit::Seconds,
        source: Source::FractionCounter(|reading| reading.process.cpu_seconds),
        help: "Processor time of this process.",
    },
    Metric {
        name: "bitcraps_thread_cpu_seconds_total",
        unit: Unit::Seconds,
        source: Source::Labelled("thread", |reading| {
            let seconds = reading.process.thread_seconds();
            seconds.into_iter().map(|(name, seconds)| (name.to_owned(), seconds)).collect()
        }),
        help: "Processor time of its threads, by name, also of those that have ended.",
    },
    gauge(
        "bitcraps_cpus",
        Unit::Count,
        system!(machine.cpus),
        "Processors that it may use; a fraction where its control group has time of so many.",
    ),
    gauge(
        "bitcraps_memory_bytes",
        Unit::Bytes,
        system!(process.memory_bytes),
        "RssAnon and RssShmem: what the process alone has in memory.",
    ),
    gauge(
        "bitcraps_memory_budget_bytes",
        Unit::Bytes,
        system!(memory_budget),
        "What it may have (memory.budget_bytes, the control group, or the machine).",
    ),
    gauge(
        "bitcraps_memory_columns_bytes",
        Unit::Bytes,
        tick!(now column_bytes),
        "Of it the columns of the state, as far as they are in use.",
    ),
    gauge("bitcraps_memory_arenas_bytes", Unit::Bytes, tick!(now arena_bytes), "Of it the arenas of the workers."),
    gauge(
        "bitcraps_memory_arenas_used_bytes",
        Unit::Bytes,
        tick!(now arena_given_bytes),
        "Of the arenas what the last settled height was given.",
    ),
    gauge(
        "bitcraps_memory_arenas_lost_bytes",
        Unit::Bytes,
        tick!(now arena_lost_bytes),
        "Of that what held none of its results at the end: lists that grew and left their place, and room at their ends.",
    ),
    gauge(
        "bitcraps_memory_blocks_bytes",
        Unit::Bytes,
        tick!(now block_bytes),
        "Of it what was copied for a snapshot, or was and is kept for the next; bitcraps_net_held_bytes are of it too.",
    ),
    gauge(
        "bitcraps_memory_group_bytes",
        Unit::Bytes,
        |reading| reading.group.map(|(used, _)| used as f64),
        "What the control group has, where it is bounded, without files that the system takes back first.",
    ),
    gauge(
        "bitcraps_memory_group_max_bytes",
        Unit::Bytes,
        |reading| reading.group.map(|(_, most)| most as f64),
        "What the control group may have.",
    ),
    gauge(
        "bitcraps_memory_peak_bytes",
        Unit::Bytes,
        system!(process.peak_bytes),
        "The most that was resident at once, mapped files included.",
    ),
    gauge(
        "bitcraps_memory_mapped_bytes",
        Unit::Bytes,
        system!(process.mapped_bytes),
        "Mapped files in memory; the system takes them back.",
    ),
    gauge("bitcraps_open_files", Unit::Count, system!(process.files), "Open files."),
    gauge("bitcraps_open_files_max", Unit::Count, system!(machine.files_max), "Files that may be open."),
    counter(
        "bitcraps_disk_written_bytes_total",
        |reading| reading.process.written_bytes,
        "Bytes that were written to the disk for it.",
    ),
    counter(
        "bitcraps_disk_read_bytes_total",
        |reading| reading.process.read_bytes,
        "Bytes that were read from the disk for it.",
    ),
    counter(
        "bitcraps_major_faults_total",
        |reading| reading.process.major_faults,
        "Page faults that had to wait for the disk.",
    ),
    counter(
        "bitcraps_context_switches_total",
        |reading| Some(reading.process.switches()),
        "Context switches of its threads, also of those that have ended.",
    ),
    gauge("bitcraps_threads", Unit::Count, |reading| Some(reading.process.threads.len() as f64), "Threads."),
    gauge(
        "bitcraps_threads_frozen",
        Unit::Count,
        |reading| Some(reading.frozen.len() as f64),
        "Threads that stand still; /readyz names them.",
    ),
    gauge(
        "bitcraps_stalled_seconds",
        Unit::Seconds,
        |reading| Some(reading.stalled.as_secs_f64()),
        "For how long something has waited without any progress; 0 where all goes on.",
    ),
    gauge(
        "bitcraps_uptime_seconds",
        Unit::Seconds,
        |reading| Some(reading.uptime.as_secs_f64()),
        "Since the node started.",
    ),
    gauge("bitcraps_start_system_seconds", Unit::Seconds, start!(System), "Of its start the limits and the keys."),
    gauge(
        "bitcraps_start_core_seconds",
        Unit::Seconds,
        start!(Core),
        "Of its start the pool, and the session with what was executed again.",
    ),
    gauge(
        "bitcraps_start_service_seconds",
        Unit::Seconds,
        start!(Service),
        "Of its start the self-test of signatures, and the network.",
    ),
    gauge("bitcraps_start_final_seconds", Unit::Seconds, start!(Final), "Of its start the monitor."),
    // The machine.
    gauge(
        "bitcraps_pressure_cpu_ratio",
        Unit::Ratio,
        system!(pressure.cpu),
        "Share of the last 10 s in which some task of the control group, or else of the machine, waited for a processor.",
    ),
    gauge("bitcraps_pressure_memory_ratio", Unit::Ratio, system!(pressure.memory), "The same for memory."),
    gauge("bitcraps_pressure_io_ratio", Unit::Ratio, system!(pressure.io), "The same for a disk."),
];
