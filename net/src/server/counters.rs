//! Numbers of the network: what happened since the start, and what there is now.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use crate::session::Handled;

/// Numbers of the network since the start.
#[derive(Default, Debug)]
pub struct Counters {
    /// Connections that were let in.
    pub accepted: AtomicU64,
    /// Connections that were turned away because there were enough.
    pub refused_full: AtomicU64,
    /// Connections that were turned away for their address: too many, too fast.
    pub refused_address: AtomicU64,
    /// Connections that were turned away because their key or address is banned.
    pub refused_banned: AtomicU64,
    /// Connections that were turned away because this node is short of memory or of buffers.
    pub refused_short: AtomicU64,
    /// Connections that had to prove their address first.
    pub retried: AtomicU64,
    /// Handshakes that failed or took too long.
    pub handshakes_failed: AtomicU64,
    /// Connections that this node closed for what they did or did not do.
    pub closed: AtomicU64,
    /// Connections that this node closed since they did not read.
    pub slow_readers: AtomicU64,
    /// Keys that were banned.
    pub banned: AtomicU64,
    /// Intents that arrived.
    pub intents: AtomicU64,
    /// Intents, pledges and openings that were shed before the tick.
    pub shed: AtomicU64,
    /// Of what was shed, that for which the tick, which was behind, had no room.
    pub busy: AtomicU64,
    /// Messages that were handled; of intents, each one.
    pub handled: AtomicU64,
    /// Messages that were beyond the budget of their connection, and were not handled.
    pub beyond_budget: AtomicU64,
    /// Updates of watched tables that were left out for those that were behind; they got the whole later.
    pub updates_skipped: AtomicU64,
    /// Messages for other nodes that were left out: they are decided, or asked for again.
    pub lanes_left_out: AtomicU64,
    /// Packets that arrived.
    pub packets_in: AtomicU64,
    /// Packets that were sent.
    pub packets_out: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn add_handled(&self, Handled { handled, dropped }: Handled) {
        Self::add(&self.handled, handled.into());
        Self::add(&self.beyond_budget, dropped.into());
    }

    /// All numbers with their names.
    pub fn list(&self) -> [(&'static str, u64); 19] {
        [
            ("accepted", &self.accepted),
            ("refused_full", &self.refused_full),
            ("refused_address", &self.refused_address),
            ("refused_banned", &self.refused_banned),
            ("refused_short", &self.refused_short),
            ("retried", &self.retried),
            ("handshakes_failed", &self.handshakes_failed),
            ("closed", &self.closed),
            ("slow_readers", &self.slow_readers),
            ("banned", &self.banned),
            ("intents", &self.intents),
            ("shed", &self.shed),
            ("busy", &self.busy),
            ("handled", &self.handled),
            ("beyond_budget", &self.beyond_budget),
            ("updates_skipped", &self.updates_skipped),
            ("lanes_left_out", &self.lanes_left_out),
            ("packets_in", &self.packets_in),
            ("packets_out", &self.packets_out),
        ]
        .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
    }
}

/// What there is now, as the end of the last turn left it.
#[derive(Default, Debug)]
pub struct Gauges {
    /// Turns of the host: at least one every [`engine::limits::HEARTBEAT`].
    pub turns: Arc<AtomicU64>,
    /// Connections that were let in and are open.
    pub connections: AtomicU32,
    /// Bytes that they may hold together.
    pub reserved: AtomicU64,
    /// Bytes that wait in this process for them.
    pub held: AtomicUsize,
    /// Other nodes that this node knows of.
    pub nodes_known: AtomicUsize,
    /// Whether so many intents arrive that they share what each would cost alone.
    pub coalesces: AtomicBool,
}
