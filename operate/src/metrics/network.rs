//! The network: connections, what they hold, who was turned away.

use super::metric::{Metric, counter, gauge};
use super::unit::Unit;

/// A number of the network.
macro_rules! network {
    ($field:ident) => {
        |reading| reading.network.as_ref().map(|network| network.$field as f64)
    };
    (counted $name:literal) => {
        |reading| reading.network.as_ref()?.counter($name)
    };
    // Expressions add it up with what the tick counts, also where there is no network.
    (counted or none $name:literal) => {
        |reading| Some(reading.network.as_ref().and_then(|network| network.counter($name)).unwrap_or(0))
    };
}

/// Its lines, in the order in which they are shown.
pub(super) const METRICS: &[Metric] = &[
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
    gauge(
        "bitcraps_net_coalesces",
        Unit::Count,
        network!(coalesces),
        "1 while so many intents arrive that they share batches, blocks and packets; receipts are some milliseconds later then.",
    ),
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
    counter(
        "bitcraps_net_intents_shed_total",
        network!(counted or none "shed"),
        "Intents, pledges and openings that were shed before the tick.",
    ),
    counter(
        "bitcraps_net_intents_busy_total",
        network!(counted or none "busy"),
        "Of them, intents for which the tick, which was behind, had no room.",
    ),
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
];
