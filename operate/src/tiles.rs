//! What the dashboard shows: four sections of tiles, each with its value, its limit where there is one, and a chart.

use serde::Serialize;

use crate::history::Expr::{self, Fixed, Growth, Less, Now, Quantile, Rate, Ratio, Sum};
use crate::metrics::Unit;

/// A value beside its limit.
pub struct Tile {
    /// Its name for programs.
    pub id: &'static str,
    /// Its name for people.
    pub title: &'static str,
    /// What is shown.
    pub value: Expr,
    /// What it is to stay below, or above.
    pub limit: Option<Limit>,
    /// What it is counted in.
    pub unit: Unit,
    /// Whether it is a rate, a second.
    pub per_second: bool,
}

/// What a value is to stay below, or above.
pub struct Limit {
    /// The limit.
    pub value: Expr,
    /// Whether it is what there is at most, a target, or what must be left.
    pub kind: LimitKind,
}

/// What a limit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LimitKind {
    /// There is no more than that.
    Most,
    /// It is meant to stay below.
    Target,
}

/// A section of the dashboard.
pub struct Section {
    /// Its name.
    pub title: &'static str,
    /// Its tiles.
    pub tiles: &'static [Tile],
}

const fn tile(id: &'static str, title: &'static str, value: Expr, unit: Unit) -> Tile {
    Tile { id, title, value, limit: None, unit, per_second: false }
}

const fn rate(id: &'static str, title: &'static str, value: Expr, unit: Unit) -> Tile {
    Tile { id, title, value, limit: None, unit, per_second: true }
}

impl Tile {
    const fn most(self, value: Expr) -> Self {
        Self { limit: Some(Limit { value, kind: LimitKind::Most }), ..self }
    }

    const fn target(self, value: Expr) -> Self {
        Self { limit: Some(Limit { value, kind: LimitKind::Target }), ..self }
    }
}

/// Seconds over which the tiles look.
const SPAN: u32 = 10;

const fn p95(name: &'static str) -> Expr {
    Quantile(0.95, name, SPAN)
}

/// Processor time a second: how many processors are busy.
pub const CPUS_BUSY: Expr = Rate("bitcraps_cpu_seconds_total", SPAN);
/// The share of the buffers for others than validators that is taken: those of validators are kept for them whether they are
/// there or not.
pub const BUFFERS_USED: Expr = Ratio(
    &Less(&Now("bitcraps_net_reserved_bytes"), &Now("bitcraps_net_kept_bytes")),
    &Less(&Now("bitcraps_net_buffer_max_bytes"), &Now("bitcraps_net_kept_bytes")),
);
/// Intents that were not done, of all that came: refused by the rules, or not taken by the tick or, before it, by the network.
pub const TURNED_AWAY: Expr = Ratio(
    &Sum(
        &Sum(&Rate("bitcraps_intents_refused_total", SPAN), &Rate("bitcraps_intents_shed_total", SPAN)),
        &Rate("bitcraps_net_intents_busy_total", SPAN),
    ),
    &Sum(&Rate("bitcraps_intents_arrived_total", SPAN), &Rate("bitcraps_net_intents_busy_total", SPAN)),
);

/// The four sections.
pub const SECTIONS: [Section; 4] = [
    Section {
        title: "System Health",
        tiles: &[
            tile("height", "Height settled", Now("bitcraps_height_settled"), Unit::Count),
            tile(
                "behind",
                "Heights decided, not settled",
                Less(&Now("bitcraps_height_decided"), &Now("bitcraps_height_settled")),
                Unit::Count,
            )
            .target(Fixed(2.0)),
            tile("frozen", "Threads that stand still", Now("bitcraps_threads_frozen"), Unit::Count).target(Fixed(0.0)),
            tile("unanswered", "Intents without a receipt", Now("bitcraps_intents_unanswered"), Unit::Count)
                .most(Fixed(engine::limits::PENDING_MAX as f64)),
            tile("unsynced", "Ticks not on disk", Now("bitcraps_unsynced_ticks"), Unit::Count)
                .most(Fixed(engine::limits::STALLING_TICKS as f64)),
            tile("pressure", "Machine waits for memory", Now("bitcraps_pressure_memory_ratio"), Unit::Ratio)
                .target(Fixed(0.1)),
        ],
    },
    Section {
        title: "Application Performance",
        tiles: &[
            rate("intents", "Intents", Rate("bitcraps_intents_arrived_total", SPAN), Unit::Count),
            rate("receipts", "Receipts", Rate("bitcraps_receipts_total", SPAN), Unit::Count),
            tile("refused", "Turned away", TURNED_AWAY, Unit::Ratio),
            tile("receipt", "Receipt, P95", p95("bitcraps_receipt_seconds"), Unit::Seconds)
                .target(Now("bitcraps_receipt_target_seconds")),
            tile("decision", "Decision of several, P95", p95("bitcraps_decision_seconds"), Unit::Seconds)
                .target(Fixed(0.1)),
            tile("sync", "Disk sync, P95", p95("bitcraps_sync_seconds"), Unit::Seconds).target(Fixed(0.02)),
            tile("connections", "Connections", Now("bitcraps_connections"), Unit::Count)
                .most(Now("bitcraps_connections_max")),
        ],
    },
    Section {
        title: "Game Engine",
        tiles: &[
            rate("rolls", "Rolls", Rate("bitcraps_rolls_total", SPAN), Unit::Count),
            rate("placed", "Bets placed", Rate("bitcraps_bets_placed_total", SPAN), Unit::Count),
            rate("resolved", "Bets decided", Rate("bitcraps_bets_resolved_total", SPAN), Unit::Count),
            rate(
                "chips",
                "Chips won and lost",
                Sum(&Rate("bitcraps_paid_chips_total", SPAN), &Rate("bitcraps_lost_chips_total", SPAN)),
                Unit::Chips,
            ),
            rate("verified", "Signatures that held", Rate("bitcraps_intents_verified_total", SPAN), Unit::Count),
            tile("tick", "Tick, P95", p95("bitcraps_tick_seconds"), Unit::Seconds).target(Fixed(0.005)),
            tile("exchange", "Exchange, P95", p95("bitcraps_exchange_seconds"), Unit::Seconds).target(Fixed(0.005)),
            tile("settle", "Settle, P95", p95("bitcraps_settle_seconds"), Unit::Seconds).target(Fixed(0.005)),
            rate("missed", "Ticks missed", Rate("bitcraps_ticks_missed_total", SPAN), Unit::Count).target(Fixed(0.0)),
        ],
    },
    Section {
        title: "Resource Utilization",
        tiles: &[
            tile("cpu", "Processors busy", CPUS_BUSY, Unit::Count).most(Now("bitcraps_cpus")),
            tile("memory", "Memory", Now("bitcraps_memory_bytes"), Unit::Bytes)
                .most(Now("bitcraps_memory_budget_bytes")),
            tile("memory_level", "Level of memory", Now("bitcraps_memory_level"), Unit::Level),
            tile("cpu_level", "Level of processors", Now("bitcraps_cpu_level"), Unit::Level),
            tile("network_level", "Level of buffers", Now("bitcraps_network_level"), Unit::Level),
            tile("disk_level", "Level of the disk", Now("bitcraps_disk_level"), Unit::Level),
            tile("session", "Session on disk", Now("bitcraps_session_bytes"), Unit::Bytes)
                .most(Now("bitcraps_session_max_bytes")),
            rate("growth", "Session grows", Growth("bitcraps_session_bytes", 60), Unit::Bytes),
            rate("written", "Disk writes", Rate("bitcraps_disk_written_bytes_total", SPAN), Unit::Bytes),
            rate("packets_in", "Packets received", Rate("bitcraps_net_packets_received_total", SPAN), Unit::Count),
            rate("packets_out", "Packets sent", Rate("bitcraps_net_packets_sent_total", SPAN), Unit::Count),
            tile("buffers", "Connection buffers", Now("bitcraps_net_reserved_bytes"), Unit::Bytes)
                .most(Now("bitcraps_net_buffer_max_bytes")),
            tile("files", "Open files", Now("bitcraps_open_files"), Unit::Count).most(Now("bitcraps_open_files_max")),
            rate("switches", "Context switches", Rate("bitcraps_context_switches_total", SPAN), Unit::Count)
                .target(Fixed(10_000.0)),
        ],
    },
];

/// All tiles.
pub fn tiles() -> impl Iterator<Item = &'static Tile> {
    SECTIONS.iter().flat_map(|section| section.tiles)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::metrics::{Source, metric};

    /// Whether an expression asks of each metric what that is.
    pub(crate) fn assert_sound(expr: &Expr) {
        match expr {
            Rate(name, _) | Expr::Increase(name, _) => {
                assert!(metric(name).is_some_and(|metric| metric.kind() == "counter"), "{name} is no counter")
            }
            Now(name) | Growth(name, _) => {
                assert!(metric(name).is_some_and(|metric| metric.kind() == "gauge"), "{name} is no gauge")
            }
            Quantile(_, name, _) => {
                assert!(metric(name).is_some_and(|metric| matches!(metric.source, Source::Times(_))), "{name}")
            }
            Ratio(a, b) | Less(a, b) | Sum(a, b) => [a, b].into_iter().for_each(|expr| assert_sound(expr)),
            Fixed(_) => {}
        }
    }

    #[test]
    fn every_tile_asks_of_a_metric_what_it_is() {
        for tile in tiles() {
            assert_sound(&tile.value);
            tile.limit.iter().for_each(|limit| assert_sound(&limit.value));
            assert_eq!(tiles().filter(|other| other.id == tile.id).count(), 1, "{}", tile.id);
        }
    }
}
