//! Host: the one owner of a server's connections. All that happens to them happens in its turns.
//!
//! ```text
//!  turn: receive -> admit -> accept -> expire -> run_errands -> dial -> deliver -> serve -> leave -> send
//! ```
//! A turn takes what has arrived, gives out what the tick has given, and asks each connection that was moved by either what
//! it has to say. No connection has a task, a lock or a wake-up of its own.

mod admitting;
mod dialling;
mod delivering;
mod serving;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam_channel::Receiver;
use engine::PeerId;
use engine::limits::HEARTBEAT;
use quinn_proto::Incoming;
use tokio::time::Instant;

use super::coalescing::Coalescing;
use super::common::Common;
use super::counters::{Counters, Gauges};
use super::kept::Batch;
use super::peer::{Peer, Stage, Untold};
use super::throttle::Throttle;
use crate::quic::Quic;
use crate::quic::drive::Turning;
use crate::quic::dues::Dues;
use crate::session::{Close, CloseCode};

/// How often round trips are measured, and nodes told where this one stands.
const SAMPLE: Duration = Duration::from_secs(5);
/// How long connections have to hear that the node ends.
const FAREWELL: Duration = Duration::from_millis(500);

/// The owner of all connections.
pub(super) struct Host {
    common: Common,
    quic: Quic,
    /// By the rows of [`Quic`].
    peers: Vec<Option<Peer>>,
    dues: Dues,
    /// Connections that were let in and whose handshakes have not begun.
    waiting: VecDeque<Incoming>,
    /// Connections that peers opened and whose handshakes have not ended.
    half_open: u32,
    /// Rows that have something to tell the tick, which had no room for it.
    stalled: Vec<usize>,
    /// Connections that have ended, of which the tick does not know all yet.
    leaving: Vec<(PeerId, Untold)>,
    coalescing: Coalescing,
    outputs: Receiver<Batch>,
    gauges: Arc<Gauges>,
    throttle: Arc<Throttle>,
    /// Requests to trim that were seen.
    trimmed: u64,
    stop: Arc<AtomicBool>,
    /// Until when connections may hear that the node ends, once it does.
    farewell: Option<Duration>,
    /// When it is looked for nodes to dial, and when round trips are measured.
    next: (Duration, Duration),
    /// How often the clock was set when everyone was last told.
    steps: u32,
    /// Since when all moments are counted, and the moment of this turn.
    started: Instant,
    now: Duration,
    /// Whether the last turn left something to be done at once.
    is_behind: bool,
}

/// What a server's handle shares with its host.
pub(super) struct Shared {
    pub(super) outputs: Receiver<Batch>,
    pub(super) gauges: Arc<Gauges>,
    pub(super) throttle: Arc<Throttle>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Turning for Host {
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.now = self.started.elapsed();
        self.quic.poll_receive(cx, self.moment())
    }

    fn turn(&mut self, cx: &mut Context<'_>) {
        self.now = self.started.elapsed();
        let has_more = self.quic.receive(cx, self.moment());
        self.admit();
        let is_crowded = self.accept();
        self.expire();
        self.run_errands();
        self.dial();
        self.coalescing.turn(self.now);
        self.deliver();
        // Connections that had something for the tick are asked again: it may have room by now.
        self.stalled.drain(..).for_each(|row| self.quic.mark(row));
        self.serve();
        if self.stop.load(Ordering::Relaxed) && self.farewell.is_none() {
            self.end_all();
        }
        self.leave();
        self.common.visitors.tell_untold(self.now);
        // Packets leave last, in as few calls to the system as there can be, with all that this turn had to say.
        let is_sent = self.quic.send();
        self.is_behind = has_more
            || is_crowded
            || !is_sent
            // Marked while others were served: what they have to say would wait for a packet that brings about the next turn.
            || self.quic.marked() > 0
            || !self.stalled.is_empty()
            || !self.leaving.is_empty();
        self.count();
        if let Some(trim) = self.throttle.trim.take(&mut self.trimmed) {
            trim();
        }
    }

    fn waits(&self) -> Duration {
        // Intents wait for those that come later in the same ticks; what validators say to each other waits for nothing.
        self.throttle.turn(self.coalescing.is_on() && self.common.nodes.is_alone())
    }

    fn next_due(&self) -> Duration {
        // Something was left over: no packet need arrive for it, so the next turn is due at once.
        if self.is_behind {
            return self.now;
        }
        let (dial, sample) = self.next;
        self.dues
            .next()
            .into_iter()
            .chain(self.coalescing.next_due())
            .chain(self.farewell)
            .chain(self.common.visitors.next_due())
            // A host that has nothing to do turns all the same, which shows that it lives.
            .chain([self.now + HEARTBEAT])
            .fold(dial.min(sample), Ord::min)
    }

    fn last_turn(&self) -> Duration {
        self.now
    }

    fn started(&self) -> Instant {
        self.started
    }

    fn has_ended(&self) -> bool {
        self.farewell.is_some_and(|until| self.now >= until || self.quic.open() == 0)
    }
}

impl Host {
    pub(super) fn new(common: Common, quic: Quic, started: Instant, shared: Shared) -> Self {
        let Shared { outputs, gauges, throttle, stop } = shared;
        let now = Duration::ZERO;
        Self {
            common,
            quic,
            peers: Vec::new(),
            dues: Dues::default(),
            waiting: VecDeque::new(),
            half_open: 0,
            stalled: Vec::new(),
            leaving: Vec::new(),
            coalescing: Coalescing::new(now),
            outputs,
            gauges,
            throttle,
            trimmed: 0,
            stop,
            farewell: None,
            next: (now, now + SAMPLE),
            steps: 0,
            started,
            now,
            is_behind: false,
        }
    }

    /// This turn's moment as QUIC counts.
    fn moment(&self) -> std::time::Instant {
        (self.started + self.now).into_std()
    }

    /// Timers that are due do what they do.
    fn expire(&mut self) {
        let moment = self.moment();
        for row in self.dues.expired(self.now) {
            self.quic.expire(row, moment);
        }
    }

    /// What the tick must still be told of connections that have ended.
    fn leave(&mut self) {
        let Self { leaving, common, .. } = self;
        leaving.retain_mut(|(peer, untold)| {
            // The slot is another's only once the tick knows that this one has left: it would take the new one for the
            // old.
            let is_told = untold.flush(&common.events);
            if is_told {
                common.slots.free(*peer);
            }
            !is_told
        });
    }

    /// A connection is closed for what its peer did or did not do.
    fn put_out(&mut self, row: usize, close: &Close) {
        let counters = &self.common.counters;
        Counters::add(&counters.closed, 1);
        if close.code == CloseCode::SlowReader {
            Counters::add(&counters.slow_readers, 1);
        }
        self.end(row, close);
    }

    /// Every connection hears that the node ends, and nobody is let in any more.
    fn end_all(&mut self) {
        let close = Close::new(CloseCode::Shutdown, "the node ends");
        (0..self.peers.len()).for_each(|row| self.end(row, &close));
        // Their handshakes have not begun: they hear that they are refused, and try another node.
        while let Some(incoming) = self.waiting.pop_front() {
            self.quic.refuse(incoming);
        }
        self.farewell = Some(self.now + FAREWELL);
        self.serve();
    }

    /// What others read of this turn.
    fn count(&mut self) {
        let Self { common, gauges, quic, coalescing, .. } = self;
        assert!(common.slots.taken() <= common.admission.connections(), "whoever has a slot was let in");
        gauges.turns.fetch_add(1, Ordering::Relaxed);
        gauges.connections.store(common.admission.connections(), Ordering::Relaxed);
        gauges.reserved.store(common.admission.reserved(), Ordering::Relaxed);
        gauges.held.store(common.held, Ordering::Relaxed);
        gauges.coalesces.store(coalescing.is_on(), Ordering::Relaxed);
        gauges.nodes_known.store(common.nodes.known(), Ordering::Relaxed);
        let (packets_in, packets_out) = quic.take_counted();
        Counters::add(&common.counters.packets_in, packets_in);
        Counters::add(&common.counters.packets_out, packets_out);
    }
}

#[cfg(test)]
mod tests;
