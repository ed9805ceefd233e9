//! The one loop.
//!
//! ```text
//!  begin -> poll -> exchange -> answer -> settle -> record -> flush -> snapshot -> arrive -> end
//! ```

mod disk;
mod snapshots;
mod state;
mod waiting;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use engine::io::{AlarmLevel, ChainProgress, Input, Output};
use engine::limits::{SETTLE_TOLD_MAX, STALLING_TICKS};
use engine::{Height, PeerId};
use storage::Arrival;
use systems::Machine;
use systems::exchange::{Clock, ExchangeError};

use crate::arriving::Arriving;
use crate::clock::{NodeClock, QUANTUM_MS, Time, Told};
use crate::edge::{Edge, LocalPlayers};
use crate::open::StartedNode;
use crate::readings::{Lap, Laps, Recorder, nanoseconds};
use crate::record::{UnsyncedReplies, is_at_once};
use crate::recording::Recording;
use crate::serving::{Asked, Asker, Serving};
use crate::snapshots::Keeping;
use crate::stopped::StopNotes;
use crate::throttles::TickThrottle;
use crate::totals::Totals;

impl Node {
    /// One tick. Gives its time, or nothing if it was left out.
    ///
    /// # Errors
    /// If the disk fails, or the order of blocks contradicts itself.
    pub fn step(&mut self) -> anyhow::Result<Option<u64>> {
        self.begin();
        let Some(clock) = self.poll()? else { return Ok(None) };
        let mut laps = Laps::begin();
        self.exchange(clock)?;
        laps.end(Lap::Exchange);
        self.answer(clock, laps.began());
        laps.end(Lap::Answer);
        let settled = self.settle()?;
        laps.end(Lap::Settle);
        self.record();
        laps.end(Lap::Record);
        self.flush()?;
        laps.end(Lap::Flush);
        self.snapshot(settled);
        laps.end(Lap::Snapshot);
        self.arrive();
        self.end(&laps, settled);
        Ok(Some(clock.now_ms))
    }

    /// One tick at a time that the caller says.
    ///
    /// # Errors
    /// As [`Node::step`].
    ///
    /// # Panics
    /// If the node is not told its time, or time goes back.
    pub fn step_at(&mut self, told: Told) -> anyhow::Result<()> {
        self.clock.tell(told);
        self.step().map(|_| ())
    }

    /// Runs until `heights` are settled, or `stop` is set; `on_tick` is called after every tick. A node with a network that
    /// is stopped takes no intents any more and goes on until those it took have their receipts.
    ///
    /// # Errors
    /// If the disk fails, or the order of blocks contradicts itself.
    pub fn run(
        &mut self,
        heights: Option<u64>,
        stop: &AtomicBool,
        mut on_tick: impl FnMut(&Totals, &mut Machine, u64),
    ) -> anyhow::Result<()> {
        let last = heights.map_or(Height(u64::MAX), Height);
        let mut ends: Option<Instant> = None;
        // Some may wait that no tick has taken yet: they hear that the node ends from one that does.
        let mut took_last = self.network.is_none();
        self.clock.go_on();
        while self.totals.height < last
            && !self.arrived
            && ends.is_none_or(|end| !(took_last && self.is_drained()) && Instant::now() < end)
        {
            if let Some(now_ms) = self.step()? {
                took_last |= ends.is_some() && self.took_intents;
                on_tick(&self.totals, &mut self.machine, now_ms);
            } else if self.totals.disk_full.is_some() {
                // Nothing moves then, and whoever watches must see why.
                on_tick(&self.totals, &mut self.machine, self.clock.now_ms());
            }
            if ends.is_none() && stop.load(Ordering::Relaxed) {
                // What was acknowledged gets its receipt, but not at any price: without a quorum none would ever come.
                self.machine.close_intake();
                ends = Some(Instant::now() + if self.network.is_some() { DRAIN } else { Duration::ZERO });
            }
        }
        Ok(())
    }

    /// The step is counted. Once a second others may read how the node is, and what it holds in spare goes back.
    fn begin(&mut self) {
        self.recorder.step();
        if self.recorder.is_due() {
            self.publish();
            self.trim();
            engine::pool::answer();
        }
    }

    /// Time moves on, players act, and the network hands over what arrived. `None` if this tick is left out: the disk has no
    /// room or is behind, or the journal is about to begin at a snapshot of others.
    fn poll(&mut self) -> anyhow::Result<Option<Clock>> {
        if self.totals.disk_full.is_some() {
            self.wait_for_room()?;
            return Ok(None);
        }
        self.totals.ticks_missed += self.clock.advance().saturating_sub(self.quanta - 1);
        self.await_tick()?;
        let clock = self.clock.begin();
        self.tell_step();
        // The disk is behind: one more tick would only lengthen what receipts wait for.
        if self.held.ticks() >= STALLING_TICKS {
            self.totals.ticks_stalled += 1;
            return Ok(None);
        }
        self.let_players_act(clock);
        self.take_inputs();
        // Once the journal is about to begin at a snapshot of others, whatever a tick did here would be lost at the
        // next start.
        Ok((!self.take_arrived()?).then_some(clock))
    }

    /// Players of this process say what they want, as those on the network do.
    fn let_players_act(&mut self, clock: Clock) {
        let Some(players) = &mut self.players else { return };
        let intents = players.act(&mut self.machine, clock.now_ms, self.clock.start_ms());
        if !intents.is_empty() {
            self.totals.sent += intents.len() as u64;
            self.inputs.push(Input::Intents { from: PeerId::LOCAL, intents });
        }
        let pledges = players.pledge(&mut self.machine, clock.now_ms);
        if !pledges.is_empty() {
            self.inputs.push(Input::Pledges { from: PeerId::LOCAL, pledges });
        }
    }

    /// Takes what the network has. While outputs wait for it no more is taken: each input would add to them, without a bound.
    fn take_inputs(&mut self) {
        self.took_intents = self.network.is_none();
        self.quanta = 1;
        if let Some(network) = &mut self.network
            && network.is_flowing()
        {
            self.took_intents = network.take_inputs(&mut self.inputs);
            // A tick that takes what others left to it has their time for it.
            self.quanta += if self.took_intents { std::mem::take(&mut self.left) } else { 0 };
            self.left += u64::from(!self.took_intents);
        }
    }

    /// If the clock on the wall was set, the operator reads it, and everyone who is connected hears it.
    fn tell_step(&mut self) {
        let Some(step_ms) = self.clock.take_step() else { return };
        let (way, then) = match step_ms {
            ..0 => (
                "back",
                "blocks go on for what is sent, a millisecond apart; windows wait until it has caught up with the chain, and \
                 intents that end before that are shed",
            ),
            _ => ("forward", "windows that ended meanwhile roll at once, and nobody is absent for it"),
        };
        tracing::warn!("the clock was set {way} by {:.1} s: {then}", step_ms.unsigned_abs() as f64 / 1_000.0);
        let told = self.told();
        if let Some(network) = &mut self.network {
            network.tell_time(told);
        }
    }

    /// Waits until the tick begins. What reaches the disk meanwhile lets its receipts out at once.
    fn await_tick(&mut self) -> anyhow::Result<()> {
        let Some(due) = self.clock.due() else { return Ok(()) };
        let calls = self.network.as_ref().is_some_and(|network| network.urgent().is_some());
        let early = self.clock.early().filter(|_| calls);
        while let Some(synced) = self.storage.wait(early.or(Some(due)))? {
            self.synced(synced)?;
        }
        // In a height several messages wait for each other: one that arrives now need not wait until the next tick is
        // due.
        while calls
            && let Some(urgent) = self.network.as_ref().and_then(|network| network.urgent())
            && let Some(synced) = self.storage.wait_unless(due, urgent)?
        {
            self.synced(synced)?;
        }
        Ok(())
    }

    /// The machine takes what arrived, and says what it has to say.
    fn exchange(&mut self, clock: Clock) -> anyhow::Result<()> {
        self.hear_snapshots();
        self.recorder.arrived(&self.inputs, self.took_intents);
        let exchanged = self.machine.exchange(clock, &mut self.inputs, &mut self.outputs);
        noted(&self.stopped, exchanged)?;
        assert!(self.inputs.is_empty(), "what arrived is taken once");
        Ok(())
    }

    /// What promises nothing about the disk goes out, before a height is settled; and what was read from it for others.
    /// `began` is when the tick did.
    fn answer(&mut self, clock: Clock, began: Instant) {
        self.recorder.add_outputs(&self.outputs, clock.now_ms, began);
        assert!(self.released.is_empty(), "what was given out once is not given out again");
        let at_once = &mut self.released;
        at_once.extend(self.outputs.extract_if(.., |output| is_at_once(output)));
        for output in at_once.extract_if(.., |output| matches!(output, Output::Serve { .. })) {
            let Output::Serve { to, range } = output else { continue };
            self.serving.ask(Asker::of(&self.machine, to), Asked::Range(range), self.standing.decided);
        }
        self.serving.turn(at_once);
        self.recorder.leaves(at_once);
        at_once.iter().for_each(|output| self.totals.add_output(output));
        for output in &*at_once {
            match output {
                Output::Alarm(alarm) => match alarm.level() {
                    AlarmLevel::Notice => tracing::warn!("{alarm}"),
                    AlarmLevel::Stuck | AlarmLevel::Violation => tracing::error!("{alarm}"),
                },
                Output::Diverged(divergence) => self.stopped.leave_divergence(divergence),
                _ => {}
            }
        }
        if let Some(network) = &mut self.network {
            network.send(at_once);
        }
        at_once.clear();
    }

    /// Settles a height that is ready, and behind it those that others have settled already. Says whether there was one.
    fn settle(&mut self) -> anyhow::Result<bool> {
        let settled = self.settle_next()?;
        if settled {
            self.totals.add_height(&self.machine);
            self.settle_told()?;
        }
        Ok(settled)
    }

    /// Settles the next height if it is ready. One that must wait for a snapshot's room is settled in a later tick; virtual time
    /// stands still instead, so that a session is the same with snapshots and without.
    fn settle_next(&mut self) -> anyhow::Result<bool> {
        let mut settled = noted(&self.stopped, self.machine.settle_ready(&mut self.outputs))?;
        while self.machine.is_held() && !self.clock.is_wall() {
            // Only a block that comes back makes room. Where the tick's share was used up, the next call goes on by
            // itself.
            if self.machine.waits_for_room() {
                self.snapshots.await_room(&mut self.machine)?;
            }
            settled = noted(&self.stopped, self.machine.settle_ready(&mut self.outputs))?;
        }
        Ok(settled)
    }

    /// Settles further heights in one tick while others have told of more than this node has.
    fn settle_told(&mut self) -> anyhow::Result<()> {
        for _ in 0..SETTLE_TOLD_MAX {
            if !self.machine.is_behind() {
                break;
            }
            let settled = self.machine.settle_ready(&mut self.outputs);
            if !noted(&self.stopped, settled)? {
                break;
            }
            self.totals.add_height(&self.machine);
        }
        Ok(())
    }

    /// Counts what the steps of the tick took.
    fn end(&mut self, laps: &Laps, settled: bool) {
        // Virtual time waits for the disk while it flushes, which is no work of the tick.
        let waited = if self.clock.waits_for_disk() { laps.took(Lap::Flush) } else { Duration::ZERO };
        self.recorder.end(laps, settled, waited, Duration::from_millis(QUANTUM_MS * self.quanta));
        self.machine.take_system_times(|place, taken_ns| self.recorder.system(place, taken_ns));
    }
}

/// What the machine says; if it must stop, a note of why is left.
fn noted<T>(stopped: &StopNotes, said: Result<T, ExchangeError>) -> anyhow::Result<T> {
    said.map_err(|fault| {
        stopped.leave(&fault);
        fault.into()
    })
}

/// How long a node that ends waits for the receipts of what it acknowledged.
const DRAIN: Duration = Duration::from_secs(5);

/// One node, a validator or one that follows, with its disk, and with its network and simulated players if it has any.
pub struct Node {
    machine: Machine,
    storage: Box<dyn Recording>,
    players: Option<Box<dyn LocalPlayers>>,
    network: Option<Box<dyn Edge>>,
    snapshots: Keeping,
    serving: Serving,
    /// A snapshot from other nodes, once it is needed; and what marks its session before.
    arriving: Option<Arriving>,
    arrival: Option<Arrival>,
    /// The tick whose group has the journal's base frame.
    base: Option<u64>,
    arrived: bool,
    stopped: StopNotes,
    held: UnsyncedReplies,
    clock: NodeClock,
    /// The height that it began with.
    found: Height,
    standing: ChainProgress,
    /// Whether the last tick looked for intents.
    took_intents: bool,
    /// Ticks since then that left intents to the next one.
    left: u64,
    /// Quanta that this tick may take: its own, and those of the ticks that left it their intents.
    quanta: u64,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    released: Vec<Output>,
    recorder: Recorder,
    throttle: Arc<TickThrottle>,
    /// Requests to trim that were seen.
    trimmed: u64,
    /// What has happened.
    pub totals: Totals,
}

impl StartedNode {
    /// The node that goes on with the session.
    pub fn into_node(self, players: Option<Box<dyn LocalPlayers>>, time: Time) -> Node {
        let StartedNode { mut machine, storage, mut snapshots, serving, stopped, arrival, .. } = self;
        machine.time_systems(nanoseconds);
        // No tick comes before the last block.
        let clock = NodeClock::new(time, machine.setup().genesis.start_ms, machine.chain().parent_time_ms);
        snapshots.begin_at(clock.tick());
        let standing = machine.standing(clock.now_ms());
        let totals = Totals::begin(&machine);
        let found = totals.height;
        Node {
            machine,
            storage,
            players,
            network: None,
            snapshots,
            serving,
            arriving: None,
            arrival: Some(arrival),
            base: None,
            arrived: false,
            stopped,
            held: UnsyncedReplies::at(standing),
            clock,
            found,
            standing,
            took_intents: true,
            left: 0,
            quanta: 1,
            inputs: Vec::new(),
            outputs: Vec::new(),
            released: Vec::new(),
            recorder: Recorder::new(),
            throttle: Arc::default(),
            trimmed: 0,
            totals,
        }
    }
}

impl Node {
    /// Takes inputs from a network too, and gives it what concerns its peers.
    pub fn listen(&mut self, mut network: impl Edge + 'static) {
        self.clock.look();
        // It may have listened for a while: whoever is connected was told no time yet.
        network.tell_time(self.told());
        self.network = Some(Box::new(network));
    }

    fn is_drained(&self) -> bool {
        self.machine.unanswered() == 0 && self.held.ticks() == 0
    }

    /// Ends cleanly: peers are told, what was recorded is on disk, and the files are sealed.
    pub fn close(mut self) -> Totals {
        if let Some(network) = self.network.take() {
            network.close();
        }
        self.totals.snapshots = self.snapshots.close();
        self.storage.close();
        if self.totals.height == self.found && self.found > Height::GENESIS {
            // This process settled nothing, so no report has told it the root of where the record stands.
            self.totals.root = self.machine.root();
        }
        self.totals
    }
}
