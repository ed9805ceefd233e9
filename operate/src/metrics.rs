//! The table of metrics: name, unit, kind and help of each, and where in a reading its value is. What `/metrics` answers, the
//! page of metrics, the dashboard and the alerts follow from it.
//!
//! A new metric is two files: a field where it is measured (`node/src/readings.rs`, or a reading here), and its line below.

use bytesize::ByteSize;
use engine::message::refusal::Refusal;
use node::readings::Histogram;
use node::startup::Phase;

use crate::reading::Reading;
use crate::resources::level::Resource;
use crate::resources::reactions::PAUSE_SNAPSHOTS;

/// What a value is counted in. The name of a metric ends with it, as Prometheus has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// A share, from 0 to 1.
    Ratio,
    /// Chips.
    Chips,
    /// How scarce something is: 0 for low, 1 for medium, 2 for high.
    Level,
}

impl Unit {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
            Self::Ratio => "ratio",
            Self::Chips => "chips",
            Self::Level => "level",
        }
    }

    /// A value of it, for people.
    pub fn written(self, value: f64) -> String {
        match self {
            Self::Count | Self::Chips if value.abs() < 1.0 => format!("{}", (value * 100.0).round() / 100.0),
            Self::Count | Self::Chips => format!("{}", (value * 10.0).round() / 10.0),
            Self::Level => (if value < 0.5 {
                "low"
            } else if value < 1.5 {
                "medium"
            } else {
                "high"
            })
            .into(),
            Self::Bytes => ByteSize(value.max(0.0) as u64).to_string(),
            Self::Ratio => format!("{:.1} %", 100.0 * value),
            Self::Seconds if value >= 86_400.0 => format!("{:.1} days", value / 86_400.0),
            Self::Seconds if value >= 1.0 => format!("{value:.1} s"),
            Self::Seconds => format!("{:.1} ms", 1_000.0 * value),
        }
    }
}

/// Where a metric's value is in a reading, which also says what kind it is.
#[derive(Clone, Copy)]
pub enum Source {
    /// A number that only grows.
    Counter(fn(&Reading) -> Option<u64>),
    /// The same in fractions.
    FractionCounter(fn(&Reading) -> Option<f64>),
    /// How it is now.
    Gauge(fn(&Reading) -> Option<f64>),
    /// A number that only grows, for each value of a label.
    Labelled(&'static str, fn(&Reading) -> Vec<(String, f64)>),
    /// How long something took, each time, by buckets.
    Times(fn(&Reading) -> &Histogram),
}

/// One metric.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// Where its value is.
    pub source: Source,
    /// What it means, in a sentence.
    pub help: &'static str,
}

impl Metric {
    /// Its kind, as Prometheus names it.
    pub fn kind(&self) -> &'static str {
        match self.source {
            Source::Counter(_) | Source::FractionCounter(_) | Source::Labelled(..) => "counter",
            Source::Gauge(_) => "gauge",
            Source::Times(_) => "histogram",
        }
    }

    /// Its value as one number, if it is one; of labelled ones, all together.
    pub fn value(&self, reading: &Reading) -> Option<f64> {
        match self.source {
            Source::Counter(read) => read(reading).map(|count| count as f64),
            Source::FractionCounter(read) | Source::Gauge(read) => read(reading),
            Source::Labelled(_, read) => Some(read(reading).iter().map(|(_, value)| value).sum()),
            Source::Times(_) => None,
        }
    }

    /// Its buckets, if it has any.
    pub fn times<'a>(&self, reading: &'a Reading) -> Option<&'a Histogram> {
        match self.source {
            Source::Times(read) => Some(read(reading)),
            _ => None,
        }
    }
}

/// The metric of a name.
pub fn metric(name: &str) -> Option<&'static Metric> {
    METRICS.iter().find(|metric| metric.name == name)
}

const fn counter(name: &'static str, read: fn(&Reading) -> Option<u64>, help: &'static str) -> Metric {
    Metric { name, unit: Unit::Count, source: Source::Counter(read), help }
}

const fn gauge(name: &'static str, unit: Unit, read: fn(&Reading) -> Option<f64>, help: &'static str) -> Metric {
    Metric { name, unit, source: Source::Gauge(read), help }
}

const fn times(name: &'static str, read: fn(&Reading) -> &Histogram, help: &'static str) -> Metric {
    Metric { name, unit: Unit::Seconds, source: Source::Times(read), help }
}

/// What receipts may take: from a set of validators by what goes back and forth between them. Nothing where nothing is known.
fn receipt_target(validators: u64) -> Option<f64> {
    match validators {
        0 => None,
        1 => Some(0.05),
        _ => Some(0.15),
    }
}

/// A number of the network.
macro_rules! network {
    ($field:ident) => {
        |reading| reading.network.as_ref().map(|network| network.$field as f64)
    };
    (counted $name:literal) => {
        |reading| reading.network.as_ref()?.counter($name)
    };
}

/// A number of the tick, which is always known.
macro_rules! tick {
    ($field:ident) => {
        |reading| Some(reading.tick.$field)
    };
    (now $field:ident) => {
        |reading| Some(reading.tick.$field as f64)
    };
}

/// How long a phase of the start took.
macro_rules! start {
    ($phase:ident) => {
        |reading| reading.start.map(|times| times.of(Phase::$phase).as_secs_f64())
    };
}

/// How scarce something is.
macro_rules! level {
    ($resource:ident) => {
        |reading| Some(f64::from(reading.resources.levels[Resource::$resource as usize] as u8))
    };
}

/// A number that the system may not tell.
macro_rules! system {
    ($($field:ident).+) => {
        |reading| reading.$($field).+.map(|value| value as f64)
    };
}

/// All metrics, in the order in which they are shown.
pub const METRICS: &[Metric] = &[
    // Ticks.
    counter("bitcraps_ticks_total", tick!(ticks), "Ticks that were run."),
    counter("bitcraps_ticks_missed_total", tick!(ticks_missed), "Ticks that the clock passed by."),
    counter(
        "bitcraps_ticks_stalled_total",
        tick!(ticks_stalled),
        "Ticks that were skipped because the disk was behind.",
    ),
    counter(
        "bitcraps_ticks_overrun_total",
        tick!(ticks_overrun),
        "Ticks whose work took longer than a tick has, 5 ms.",
    ),
    times("bitcraps_tick_seconds", |reading| &reading.tick.tick, "A tick's work, from its inputs to its end."),
    times(
        "bitcraps_exchange_seconds",
        |reading| &reading.tick.exchange,
        "The exchange of a tick: verifying, ordering, answering.",
    ),
    times(
        "bitcraps_answer_seconds",
        |reading| &reading.tick.answer,
        "Of a tick what goes out before a height is settled.",
    ),
    times("bitcraps_settle_seconds", |reading| &reading.tick.settle, "Settling in a tick that settled."),
    times(
        "bitcraps_record_seconds",
        |reading| &reading.tick.record,
        "Of a tick handing over to the disk what it gets.",
    ),
    times("bitcraps_flush_seconds", |reading| &reading.tick.flush, "Of a tick sending what the disk has."),
    times("bitcraps_snapshot_seconds", |reading| &reading.tick.snapshot, "Of a tick a snapshot's share."),
    times(
        "bitcraps_acknowledgement_seconds",
        |reading| &reading.tick.acknowledgement,
        "From an intent's arrival here until its acknowledgement leaves: its way to the tick and its signature.",
    ),
    times(
        "bitcraps_receipt_seconds",
        |reading| &reading.tick.receipt,
        "From an intent's arrival here until its receipt leaves: what players wait for, without their network.",
    ),
    gauge(
        "bitcraps_receipt_target_seconds",
        Unit::Seconds,
        |reading| receipt_target(reading.tick.validators),
        "What one in twenty receipts may take at most: 0.05 with one validator, 0.15 with several.",
    ),
    times(
        "bitcraps_decision_seconds",
        |reading| &reading.tick.decision,
        "From a block's time to its decision here, among several validators; a lone one decides at once, and none is counted.",
    ),
    times(
        "bitcraps_block_seconds",
        |reading| &reading.tick.block,
        "From a block's time until it is decided and on this disk.",
    ),
    times(
        "bitcraps_sync_seconds",
        |reading| &reading.tick.sync,
        "From handing a tick's record to the disk until it is synced.",
    ),
    // The chain.
    gauge("bitcraps_height_decided", Unit::Count, tick!(now decided), "The last decided height on this node's disk."),
    gauge("bitcraps_height_settled", Unit::Count, tick!(now settled), "The last settled height on this node's disk."),
    gauge(
        "bitcraps_height_certified",
        Unit::Count,
        tick!(now certified),
        "The last height whose root a quorum answers for.",
    ),
    gauge(
        "bitcraps_heights_behind",
        Unit::Count,
        tick!(now behind),
        "Heights that others have settled and this node has not, as more of them say than may be liars.",
    ),
    gauge("bitcraps_validators", Unit::Count, tick!(now validators), "Validators that decide."),
    gauge(
        "bitcraps_follows",
        Unit::Count,
        tick!(now follows),
        "1 while a validator votes on nothing, since it cannot know what it signed.",
    ),
    gauge(
        "bitcraps_intents_unanswered",
        Unit::Count,
        tick!(now unanswered),
        "Intents that were acknowledged and have no receipt yet.",
    ),
    counter(
        "bitcraps_alarms_total",
        tick!(alarms),
        "Alarms: something was seen that must not happen, such as two votes of one validator.",
    ),
    // Intents.
    counter("bitcraps_intents_arrived_total", tick!(arrived), "Intents that reached the tick."),
    counter(
        "bitcraps_intents_verified_total",
        tick!(acknowledged),
        "Intents whose signature held and that were acknowledged.",
    ),
    counter("bitcraps_intents_applied_total", tick!(applied), "Intents that blocks applied."),
    counter("bitcraps_intents_shed_total", tick!(shed), "Intents that the tick did not take; they may be sent again."),
    counter("bitcraps_receipts_total", tick!(receipts), "Receipts that went out, settled and refused."),
    Metric {
        name: "bitcraps_intents_refused_total",
        unit: Unit::Count,
        source: Source::Labelled("code", |reading| {
            let codes = Refusal::ALL.iter().zip(reading.tick.refused);
            codes.map(|((_, code, _), count)| ((*code).to_owned(), count as f64)).collect()
        }),
        help: "Refused intents, by code.",
    },
    // The game.
    counter("bitcraps_rolls_total", tick!(rolls), "Rolls of all tables."),
    counter("bitcraps_bets_placed_total", tick!(bets_placed), "Bets placed or raised."),
    counter("bitcraps_bets_resolved_total", tick!(bets_resolved), "Bets won, lost, pushed or returned."),
    Metric {
        name: "bitcraps_paid_chips_total",
        unit: Unit::Chips,
        source: Source::Counter(tick!(paid_chips)),
        help: "Chips that players won beyond their wagers.",
    },
    Metric {
        name: "bitcraps_lost_chips_total",
        unit: Unit::Chips,
        source: Source::Counter(tick!(lost_chips)),
        help: "Wagers that players lost, and commissions of bets that were decided.",
    },
    // The disk.
    gauge(
        "bitcraps_unsynced_ticks",
        Unit::Count,
        tick!(now unsynced_ticks),
        "Ticks whose record is not synced; the tick skips at 48.",
    ),
    gauge(
        "bitcraps_disk_full",
        Unit::Count,
        tick!(now disk_full),
        "1 while the disk has no room and the chain stands still.",
    ),
    gauge("bitcraps_disk_free_bytes", Unit::Bytes, system!(disk_free_bytes), "Free where the session lies."),
    gauge(
        "bitcraps_disk_to_fill_bytes",
        Unit::Bytes,
        |reading| reading.disk_to_fill().map(|bytes| bytes as f64),
        "What of it the session will fill; left out where storage.bytes_max stops it before that.",
    ),
    gauge(
        "bitcraps_disk_reserve_bytes",
        Unit::Bytes,
        |reading| Some(reading.disk_reserve_bytes as f64),
        "What is to stay free there (storage.min_free, 64 MiB at least).",
    ),
    gauge("bitcraps_session_bytes", Unit::Bytes, system!(session_bytes), "The session's files."),
    counter("bitcraps_snapshots_total", tick!(snapshots_taken), "Snapshots that are on disk."),
    counter("bitcraps_snapshots_failed_total", tick!(snapshots_failed), "Snapshots that came to nothing."),
    counter("bitcraps_snapshot_waits_total", tick!(snapshot_waits), "Ticks whose height waited for a snapshot's room."),
    gauge(
        "bitcraps_snapshot_longest_hold_seconds",
        Unit::Seconds,
        |reading| Some(reading.tick.snapshot_longest_hold_us as f64 / 1e6),
        "The longest that a tick was held by a snapshot.",
    ),
    // The network.
    gauge("bitcraps_connections", Unit::Count, network!(connections), "Connections that are open."),
    gauge(
        "bitcraps_connections_max",
        Unit::Count,
        network!(connections_max),
        "Connections that may be open (net.connections_max).",
    ),
    gauge(
        "bitcraps_net_reserved_bytes",
        Unit::Bytes,
        network!(reserved_bytes),
        "What the connections may hold together.",
    ),
    gauge(
        "bitcraps_net_buffer_max_bytes",
        Unit::Bytes,
        network!(buffer_bytes_max),
        "What they may hold at most (net.buffer_bytes_max).",
    ),
    gauge(
        "bitcraps_net_kept_bytes",
        Unit::Bytes,
        network!(kept_bytes),
        "What of both is kept for validators, whether they are connected or not.",
    ),
    gauge("bitcraps_net_held_bytes", Unit::Bytes, network!(held_bytes), "What waits in this process for them."),
    gauge("bitcraps_nodes_known", Unit::Count, network!(nodes_known), "Other nodes that are known."),
    counter("bitcraps_net_accepted_total", network!(counted "accepted"), "Connections that were let in."),
    counter(
        "bitcraps_net_refused_full_total",
        network!(counted "refused_full"),
        "Connections that were turned away because there were enough.",
    ),
    counter(
        "bitcraps_net_refused_address_total",
        network!(counted "refused_address"),
        "Connections that were turned away for their address.",
    ),
    counter(
        "bitcraps_net_refused_short_total",
        network!(counted "refused_short"),
        "Connections that were turned away because this node is short of memory or of buffers.",
    ),
    counter(
        "bitcraps_net_refused_banned_total",
        network!(counted "refused_banned"),
        "Connections that were turned away because they are banned.",
    ),
    counter(
        "bitcraps_net_retried_total",
        network!(counted "retried"),
        "Connections that had to prove their address first.",
    ),
    counter(
        "bitcraps_net_handshakes_failed_total",
        network!(counted "handshakes_failed"),
        "Handshakes that failed or took too long.",
    ),
    counter(
        "bitcraps_net_closed_total",
        network!(counted "closed"),
        "Connections that this node closed for what they did or did not do.",
    ),
    counter("bitcraps_net_slow_readers_total", network!(counted "slow_readers"), "Of them, those that did not read."),
    counter("bitcraps_net_banned_total", network!(counted "banned"), "Keys that were banned."),
    counter("bitcraps_net_intents_total", network!(counted "intents"), "Intents that arrived over the network."),
    counter("bitcraps_net_intents_shed_total", network!(counted "shed"), "Intents that were shed before the tick."),
    counter("bitcraps_net_messages_total", network!(counted "handled"), "Messages that were handled."),
    counter(
        "bitcraps_net_messages_beyond_budget_total",
        network!(counted "beyond_budget"),
        "Messages beyond the budget of their connection.",
    ),
    counter(
        "bitcraps_net_updates_skipped_total",
        network!(counted "updates_skipped"),
        "Updates that were left out for connections that were behind.",
    ),
    counter(
        "bitcraps_net_lanes_left_out_total",
        network!(counted "lanes_left_out"),
        "Messages for other nodes that were left out; they are decided, or asked for again.",
    ),
    counter("bitcraps_net_packets_received_total", network!(counted "packets_in"), "Packets that arrived."),
    counter("bitcraps_net_packets_sent_total", network!(counted "packets_out"), "Packets that were sent."),
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
            let mut threads: Vec<(String, f64)> = Vec::new();
            for thread in &reading.process.threads {
                match threads.last_mut().filter(|(name, _)| *name == thread.name) {
                    Some((_, seconds)) => *seconds += thread.cpu_seconds,
                    None => threads.push((thread.name.clone(), thread.cpu_seconds)),
                }
            }
            threads
        }),
        help: "Processor time of its threads, by name.",
    },
    gauge("bitcraps_cpus", Unit::Count, system!(machine.cpus), "Processors that it may use."),
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
        "Context switches of its threads.",
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
    // Resources.
    gauge(
        "bitcraps_memory_level",
        Unit::Level,
        level!(Memory),
        "How scarce memory is: 0 low, 1 medium, 2 high. What follows is in the guide.",
    ),
    gauge("bitcraps_cpu_level", Unit::Level, level!(Cpu), "The same for processors."),
    gauge("bitcraps_network_level", Unit::Level, level!(Network), "The same for buffers of connections."),
    gauge("bitcraps_disk_level", Unit::Level, level!(Disk), "The same for the disk, its room and its speed."),
    Metric {
        name: "bitcraps_reactions_total",
        unit: Unit::Count,
        source: Source::Labelled("reaction", |reading| {
            reading.resources.begun.iter().map(|(name, count)| ((*name).to_owned(), *count as f64)).collect()
        }),
        help: "Times that the node began to hold something back because a resource was scarce, by what.",
    },
    gauge(
        "bitcraps_reactions",
        Unit::Count,
        |reading| Some(reading.resources.on.len() as f64),
        "What the node holds back now; /healthz names it.",
    ),
    gauge(
        "bitcraps_snapshots_paused",
        Unit::Count,
        |reading| Some(f64::from(u8::from(reading.resources.on.contains(&PAUSE_SNAPSHOTS)))),
        "1 while no snapshot begins because memory or the disk is scarce.",
    ),
    counter("bitcraps_trims_total", tick!(trims), "Times that the tick gave back memory that it did not need."),
    gauge(
        "bitcraps_trim_longest_seconds",
        Unit::Seconds,
        |reading| Some(reading.tick.trim_longest_us as f64 / 1e6),
        "The longest that it was held by that.",
    ),
    // The monitor.
    gauge("bitcraps_alerts", Unit::Count, |reading| Some(reading.alerts as f64), "Alerts that are on."),
    counter(
        "bitcraps_alerts_untold_total",
        |reading| Some(reading.own.untold),
        "Times that a webhook, a command or a letter did not take an alert; the log says why.",
    ),
    counter("bitcraps_scrapes_total", |reading| Some(reading.own.scrapes), "Answers of /metrics."),
    gauge(
        "bitcraps_scrape_seconds",
        Unit::Seconds,
        |reading| Some(reading.own.scrape_seconds),
        "How long the last one took to make.",
    ),
    gauge(
        "bitcraps_dashboard_viewers",
        Unit::Count,
        |reading| Some(reading.own.viewers as f64),
        "Pages that follow this node now.",
    ),
];

/// The page of metrics, as `docs/metrics.md` has it.
pub fn page() -> String {
    let mut page = PAGE_HEAD.to_owned();
    for metric in METRICS {
        let label =
            if let Source::Labelled(label, _) = metric.source { format!(", by `{label}`") } else { String::new() };
        let (name, kind, unit) = (metric.name, metric.kind(), metric.unit.name());
        page.push_str(&format!("| `{name}` | {kind}{label} | {unit} | {} |\n", metric.help));
    }
    page
}

const PAGE_HEAD: &str = "\
# Metrics

`http://127.0.0.1:7480/metrics` answers in Prometheus' text format ([how to turn it on](operating.md#watching-a-node)). Each is
measured; what the system does not tell is left out, and so is the network where a node has none. The tick publishes what it counts
once a second, without a lock. Histograms have buckets from 50 us to 5 s.

| name | kind | unit | what it is |
|---|---|---|---|
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_unit_and_kind_and_are_there_once() {
        for metric in METRICS {
            let name = metric.name;
            assert!(name.starts_with("bitcraps_"), "{name}");
            assert_eq!(METRICS.iter().filter(|other| other.name == name).count(), 1, "{name}");
            assert_eq!(metric.kind() == "counter", name.ends_with("_total"), "{name}");
            let stem = name.trim_end_matches("_total");
            if !metric.unit.name().is_empty() {
                assert!(stem.ends_with(metric.unit.name()), "{name} is in {}", metric.unit.name());
            }
            assert!(metric.help.ends_with('.') && metric.help.len() > 5, "{name}: {}", metric.help);
        }
    }

    #[test]
    fn whatever_metric_a_page_names_is_one() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let pages = std::fs::read_dir(root.join("docs")).expect("pages").map(|page| page.expect("a page").path());
        let mut named = 0;
        for page in pages.filter(|page| page.extension() == Some("md".as_ref())) {
            let text = std::fs::read_to_string(&page).expect("a page");
            for word in text.split('`').skip(1).step_by(2).filter(|word| word.starts_with("bitcraps_")) {
                assert!(metric(word).is_some(), "{}: no metric `{word}`", page.display());
                named += 1;
            }
        }
        assert!(named > METRICS.len() + 20, "{named} metrics are named on pages");
    }

    #[test]
    fn whatever_the_network_counts_has_its_metric() {
        for (name, _) in net::server::Counters::default().list() {
            let mut reading = Reading::empty(std::time::Instant::now());
            let counters = vec![(name, 1)];
            let mut network = crate::reading::NetworkReading { counters, ..crate::reading::NetworkReading::quiet() };
            (network.connections, network.connections_max, network.reserved_bytes) = (0, 0, 0);
            reading.network = Some(network);
            let is_shown =
                |metric: &&Metric| metric.name.starts_with("bitcraps_net_") && metric.value(&reading) == Some(1.0);
            assert_eq!(METRICS.iter().filter(is_shown).count(), 1, "{name}");
        }
    }
}
