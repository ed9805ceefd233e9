//! The one loop.
//!
//! ```text
//!  poll -> exchange -> answer -> settle -> record -> flush -> snapshot
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::bail;
use engine::io::{ChainProgress, Input, OrderProgress, Output, ShedReason};
use engine::limits::{DISK_FULL_INPUTS_MAX, SETTLE_TOLD_MAX, STALLING_TICKS};
use engine::message::node::NodeMessage;
use engine::{Height, PeerId, Tick};
use storage::{Arrival, Frame, FrameKind, Group, Synced};
use systems::Machine;
use systems::exchange::{Clock, ExchangeError};

use crate::arriving::{Arriving, Turn};
use crate::clock::{NodeClock, QUANTUM_MS, Time, Told};
use crate::edge::{Edge, LocalPlayers};
use crate::readings::{NodeState, Readings, Recorder, SnapshotsSoFar, TickMoments};
use crate::record::{UnsyncedReplies, is_at_once};
use crate::recording::Recording;
use crate::serving::{Asked, Serving};
use crate::snapshots::{Keeping, SnapshotTurn};
use crate::stopped::StopNotes;
use crate::threads::WatchedThread;
use crate::throttles::{Throttles, TickThrottle};
use crate::totals::Totals;

impl Node {
    /// One tick. Gives its time, or nothing if it was left out.
    ///
    /// # Errors
    /// If the disk fails, or the order of blocks contradicts itself.
    pub fn step(&mut self) -> anyhow::Result<Option<u64>> {
        self.recorder.step();
        if self.recorder.is_due() {
            self.publish();
            self.trim();
        }
        if self.totals.disk_full.is_some() {
            self.wait_for_room()?;
            return Ok(None);
        }
        let Some(clock) = self.poll()? else { return Ok(None) };
        if self.take_arrived()? {
            return Ok(None);
        }
        let began = Instant::now();
        self.hear_snapshots();
        self.count_arrived();
        let exchanged = self.machine.exchange(clock, &mut self.inputs, &mut self.outputs);
        Self::noted(self.stopped.as_ref(), exchanged)?;
        let exchanged = Instant::now();
        self.recorder.add_outputs(&self.outputs, clock.now_ms);
        self.answer();
        let settled = self.settle()?;
        if settled {
            self.totals.add_height(&self.machine);
            self.settle_told()?;
        }
        let settled_at = settled.then(Instant::now);
        self.record();
        let recorded = Instant::now();
        self.flush()?;
        // Virtual time waits for the disk in there, which is no work of the tick.
        let waited = if self.clock.waits_for_disk() { recorded.elapsed() } else { Duration::ZERO };
        self.snapshot(settled);
        self.arrive();
        self.recorder
            .end(&TickMoments { waited, began, exchanged, settled: settled_at }, Duration::from_millis(QUANTUM_MS));
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

    /// Hears what the disk has to say by a moment between two ticks: what waited for it goes out at once.
    ///
    /// # Errors
    /// If the disk fails.
    pub fn hear_disk(&mut self, at: Duration) -> anyhow::Result<()> {
        while let Some(synced) = self.storage.poll(at)? {
            self.synced(synced)?;
        }
        Ok(())
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
        self.clock.go_on();
        while self.totals.height < last
            && !self.arrived
            && ends.is_none_or(|end| !self.is_drained() && Instant::now() < end)
        {
            if let Some(now_ms) = self.step()? {
                on_tick(&self.totals, &mut self.machine, now_ms);
            } else if self.totals.disk_full.is_some() {
                on_tick(&self.totals, &mut self.machine, self.clock.now_ms());
            }
            if ends.is_none() && stop.load(Ordering::Relaxed) {
                self.machine.close_intake();
                ends = Some(Instant::now() + if self.network.is_some() { DRAIN } else { Duration::ZERO });
            }
        }
        Ok(())
    }

    /// Time moves on, players act, and the network hands over what arrived. `None` if this tick is left out.
    fn poll(&mut self) -> anyhow::Result<Option<Clock>> {
        self.totals.ticks_missed += self.clock.advance();
        self.await_tick()?;
        let clock = self.clock.begin();
        if let Some(step_ms) = self.clock.take_step() {
            self.tell_step(step_ms);
        }
        if self.held.ticks() >= STALLING_TICKS {
            self.totals.ticks_stalled += 1;
            return Ok(None);
        }
        if let Some(players) = &mut self.players {
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
        if let Some(network) = &mut self.network
            && network.is_flowing()
        {
            network.take_inputs(&mut self.inputs);
        }
        Ok(Some(clock))
    }

    /// The clock on the wall was set: the operator reads it, and everyone who is connected hears it.
    fn tell_step(&mut self, step_ms: i64) {
        let (way, then) = match step_ms {
            ..0 => ("back", "blocks wait until it has caught up with the chain, and intents that cannot wait are shed"),
            _ => ("forward", "windows that ended meanwhile roll at once, and nobody is absent for it"),
        };
        tracing::warn!("the clock was set {way} by {:.1} s: {then}", step_ms.unsigned_abs() as f64 / 1_000.0);
        if let Some(network) = &mut self.network {
            network.tell_time(ChainProgress { now_ms: self.clock.now_ms(), ..self.standing });
        }
    }

    /// Waits until the tick begins. What reaches the disk meanwhile lets its receipts out at once.
    fn await_tick(&mut self) -> anyhow::Result<()> {
        let Some(due) = self.clock.due() else { return Ok(()) };
        let is_told = self.network.as_ref().is_some_and(|network| network.urgent().is_some());
        let early = self.clock.early().filter(|_| is_told);
        while let Some(synced) = self.storage.wait(early.or(Some(due)))? {
            self.synced(synced)?;
        }
        // A height takes as many ticks as messages wait for each other in it: none of them waits until the next tick is due.
        while is_told
            && let Some(urgent) = self.network.as_ref().and_then(|network| network.urgent())
            && let Some(synced) = self.storage.wait_unless(due, urgent)?
        {
            self.synced(synced)?;
        }
        Ok(())
    }

    /// What promises nothing about the disk goes out, before a height is settled; and what was read from it for others.
    fn answer(&mut self) {
        let at_once = &mut self.released;
        at_once.extend(self.outputs.extract_if(.., |output| is_at_once(output)));
        if let Some(serving) = &mut self.serving {
            for output in at_once.extract_if(.., |output| matches!(output, Output::Serve { .. })) {
                let Output::Serve { to, range } = output else { continue };
                serving.ask(to, Asked::Range(range), self.standing.decided);
            }
            serving.turn(at_once);
        }
        at_once.iter().for_each(|output| self.totals.add_output(output));
        for output in &*at_once {
            match output {
                Output::Alarm(alarm) => tracing::error!("{alarm}"),
                Output::Diverged(divergence) => {
                    self.stopped.iter().for_each(|notes| notes.leave_divergence(divergence));
                }
                _ => {}
            }
        }
        if let Some(network) = &mut self.network {
            network.send(at_once);
        }
        at_once.clear();
    }

    /// Settles a height that is ready. One that must wait for a snapshot's room is settled in a later tick; virtual time
    /// stands still instead, so that a session is the same with snapshots and without.
    fn settle(&mut self) -> anyhow::Result<bool> {
        let mut settled = Self::noted(self.stopped.as_ref(), self.machine.settle_ready(&mut self.outputs))?;
        let Some(snapshots) = &mut self.snapshots else { return Ok(settled) };
        while self.machine.is_held() && !self.clock.is_wall() {
            if self.machine.waits_for_room() {
                snapshots.await_room(&mut self.machine)?;
            }
            settled = Self::noted(self.stopped.as_ref(), self.machine.settle_ready(&mut self.outputs))?;
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
            if !Self::noted(self.stopped.as_ref(), settled)? {
                break;
            }
            self.totals.add_height(&self.machine);
        }
        Ok(())
    }

    /// What the tick produced: the disk's goes to the storage thread, and the rest waits for it.
    fn record(&mut self) {
        if let Some(group) = self.held.record(self.clock.tick().0, &mut self.outputs) {
            self.recorder.handed(group.id);
            self.storage.submit(group);
        }
    }

    /// What is on disk lets its receipts out. In virtual time, everything is awaited.
    fn flush(&mut self) -> anyhow::Result<()> {
        while self.clock.waits_for_disk() && self.held.ticks() > 0 && self.totals.disk_full.is_none() {
            if let Some(synced) = self.storage.wait(None)? {
                self.synced(synced)?;
            }
        }
        self.hear_disk(self.clock.at())?;
        let now_ms = self.clock.now_ms();
        if let Some(network) = &mut self.network {
            let (disk_full, follows) = (self.totals.disk_full.is_some(), !self.machine.is_voting());
            network.publish(ChainProgress { now_ms, disk_full, follows, ..self.standing });
            network.publish_order(OrderProgress { receipts: self.totals.receipts, ..self.machine.order_progress() });
        }
        Ok(())
    }

    /// What other nodes say about snapshots goes from disk to disk, past the exchange.
    fn hear_snapshots(&mut self) {
        let is_about = |input: &mut Input| match input {
            Input::Node { message, .. } => matches!(
                message,
                NodeMessage::AskSnapshot(_) | NodeMessage::Snapshot(_) | NodeMessage::AskPart(_) | NodeMessage::Part(_)
            ),
            _ => false,
        };
        let heard: Vec<Input> = self.inputs.extract_if(.., is_about).collect();
        for input in heard {
            let Input::Node { from, message } = input else { continue };
            let asked = match message {
                NodeMessage::AskSnapshot(height) => Asked::Snapshot(height),
                NodeMessage::AskPart(row) => Asked::Part(row),
                said => {
                    self.in_arrival(|arriving, turn| arriving.hear(from, said, turn));
                    continue;
                }
            };
            if let Some(serving) = &mut self.serving {
                serving.ask(from, asked, self.standing.decided);
            }
        }
    }

    fn in_arrival(&mut self, work: impl FnOnce(&mut Arriving, &mut Turn<'_>)) {
        let (Some(arriving), Some(snapshots)) = (&mut self.arriving, &mut self.snapshots) else { return };
        let now_ms = self.clock.tick().0 * QUANTUM_MS;
        let mut outputs = Vec::new();
        let (machine, inputs) = (&self.machine, &mut self.inputs);
        work(arriving, &mut Turn { now_ms, machine, snapshots, outputs: &mut outputs, inputs });
        if let Some(network) = &mut self.network {
            network.send(&mut outputs);
        }
    }

    /// Fetches a snapshot where this session has nothing, and nobody has the first blocks any more. The journal begins at it
    /// once it is on disk.
    fn arrive(&mut self) {
        let is_new = self.machine.chain().decided == Height::GENESIS;
        if self.arriving.is_none() && is_new && self.machine.past_is_gone() {
            self.arriving = self.arrival.take().map(Arriving::new);
            self.machine.await_snapshot();
        }
        self.in_arrival(Arriving::turn);
        let Some(note) = self.arriving.as_ref().and_then(Arriving::arrived) else { return };
        if self.base.is_none() {
            let id = self.clock.tick().0 + 1;
            let frame = Frame { kind: FrameKind::Base, height: note.height, body: note.encode() };
            self.storage.submit(Group { id, frames: vec![frame], ..Group::default() });
            self.base = Some(id);
        }
    }

    /// Whether the journal is about to begin at a snapshot: the node does nothing else any more.
    fn take_arrived(&mut self) -> anyhow::Result<bool> {
        if self.base.is_some() {
            self.hear_disk(self.clock.at())?;
        }
        Ok(self.base.is_some())
    }

    /// Whether a snapshot of other nodes is on disk: whoever runs this node closes it and opens its session again.
    pub fn has_arrived(&self) -> bool {
        self.arrived
    }

    /// Gives the snapshot that is under way its share of the tick. One that is complete says which heights it needs.
    fn snapshot(&mut self, settled: bool) {
        let Some(snapshots) = &mut self.snapshots else { return };
        let taken = snapshots.counts.taken;
        let turn = SnapshotTurn { tick: self.clock.tick(), settled, on_disk: self.standing.settled };
        snapshots.turn(&mut self.machine, &self.throttle, turn);
        if let Some(height) = snapshots.needed_from().filter(|_| snapshots.counts.taken > taken) {
            self.storage.keep_from(height);
        }
    }
}

/// How often a node is stepped, at least: a tick that takes longer than this has stopped moving.
const TICK_PERIOD: Duration = Duration::from_secs(1);
/// How long a node that ends waits for the receipts of what it acknowledged.
const DRAIN: Duration = Duration::from_secs(5);

/// One node: a validator, with its disk, its network, and its simulated players.
pub struct Node {
    machine: Machine,
    storage: Box<dyn Recording>,
    players: Option<Box<dyn LocalPlayers>>,
    network: Option<Box<dyn Edge>>,
    snapshots: Option<Keeping>,
    serving: Option<Serving>,
    /// A snapshot from other nodes, once it is needed; and what marks its session before.
    arriving: Option<Arriving>,
    arrival: Option<Arrival>,
    /// The tick whose group has the journal's base frame.
    base: Option<u64>,
    arrived: bool,
    stopped: Option<StopNotes>,
    held: UnsyncedReplies,
    clock: NodeClock,
    /// The height that it began with.
    found: Height,
    standing: ChainProgress,
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

impl Node {
    /// A node that goes on where its machine stands.
    pub fn new(
        machine: Machine,
        storage: Box<dyn Recording>,
        players: Option<Box<dyn LocalPlayers>>,
        time: Time,
    ) -> Self {
        // No tick comes before the last block.
        let clock = NodeClock::new(time, machine.setup().genesis.start_ms, machine.chain().parent_time_ms);
        let standing = machine.standing(clock.now_ms());
        let totals = Totals::begin(&machine);
        let found = totals.height;
        Self {
            machine,
            storage,
            players,
            network: None,
            snapshots: None,
            serving: None,
            arriving: None,
            arrival: None,
            base: None,
            arrived: false,
            stopped: None,
            held: UnsyncedReplies::at(standing),
            clock,
            found,
            standing,
            inputs: Vec::new(),
            outputs: Vec::new(),
            released: Vec::new(),
            recorder: Recorder::new(),
            throttle: Arc::default(),
            trimmed: 0,
            totals,
        }
    }

    /// What it measures, for any thread to read; published once a second.
    pub fn readings(&self) -> Arc<Readings> {
        self.recorder.shared()
    }

    /// Its threads, each of which shows that it moves: the one that steps it, and those beside it. The network's, and the
    /// workers of the pool, are with whoever started them.
    pub fn threads(&self) -> Vec<WatchedThread> {
        let own = WatchedThread::new("tick", TICK_PERIOD, Arc::clone(&self.recorder.shared().steps));
        let snapshots = self.snapshots.iter().flat_map(Keeping::threads);
        let serving = self.serving.iter().flat_map(Serving::threads);
        [own].into_iter().chain(self.storage.threads()).chain(snapshots).chain(serving).collect()
    }

    /// What may be held back of its work beside the tick; the network's is with whoever started that.
    pub fn throttles(&self) -> Throttles {
        Throttles { tick: Arc::clone(&self.throttle), archive: self.storage.throttle() }
    }

    /// Gives back what the node holds in spare, if it was asked to.
    fn trim(&mut self) {
        let Some(trim) = self.throttle.trim.take(&mut self.trimmed) else { return };
        let began = Instant::now();
        self.machine.trim();
        self.inputs.shrink_to_fit();
        self.outputs.shrink_to_fit();
        self.released.shrink_to_fit();
        trim();
        self.recorder.trimmed(began.elapsed());
    }

    fn count_arrived(&mut self) {
        let intents = |input: &Input| match input {
            Input::Intents { intents, .. } => intents.len(),
            _ => 0,
        };
        self.recorder.add_arrived(self.inputs.iter().map(intents).sum());
    }

    /// Lets others read how it is, and what it has counted so far.
    fn publish(&mut self) {
        let counts = self.snapshots.as_ref().map(|snapshots| &snapshots.counts);
        let now = NodeState {
            progress: ChainProgress { follows: !self.machine.is_voting(), ..self.standing },
            unanswered: self.machine.unanswered(),
            unsynced_ticks: self.held.ticks(),
            held_bytes: self.machine.held_bytes(),
            missing_shares: self.machine.order_progress().missing_shares,
            snapshots: counts.map_or_else(SnapshotsSoFar::default, |counts| SnapshotsSoFar {
                taken: counts.taken,
                failed: counts.failed,
                waits: counts.waits,
                longest_hold: counts.longest_hold,
            }),
        };
        self.recorder.publish(&self.totals, &now);
    }

    /// Its machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Its machine, to on_tick at its columns.
    pub fn machine_mut(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// Its last tick.
    pub fn tick(&self) -> Tick {
        self.clock.tick()
    }

    /// Whether the next tick changes nothing unless something arrives, a table is due, or the disk has something to say.
    pub fn is_idle(&self) -> bool {
        self.held.ticks() == 0
            && self.totals.disk_full.is_none()
            && self.inputs.is_empty()
            && self.machine.unanswered() == 0
            && self.machine.chain().unsettled.is_empty()
            && !self.machine.awaits_time()
            && self.arriving.is_none()
            && self.serving.as_ref().is_none_or(Serving::is_idle)
            && self.snapshots.as_ref().is_none_or(Keeping::is_idle)
    }

    /// Its machine alone: what it holds is not recorded any more.
    pub fn into_machine(self) -> Machine {
        self.machine
    }

    /// Keeps snapshots from now on.
    pub(crate) fn keep(&mut self, mut snapshots: Keeping) {
        snapshots.begin_at(self.clock.tick());
        self.snapshots = Some(snapshots);
    }

    /// Answers nodes that are behind from now on.
    pub(crate) fn serve(&mut self, serving: Serving) {
        self.serving = Some(serving);
    }

    /// May begin at a snapshot of other nodes.
    pub(crate) fn let_arrive(&mut self, arrival: Arrival) {
        self.arrival = Some(arrival);
    }

    /// Leaves a note from now on of why it stops, if it does.
    pub(crate) fn note_stops(&mut self, stopped: StopNotes) {
        self.stopped = Some(stopped);
    }

    /// What the machine says; if it must stop, a note of why is left.
    fn noted<T>(stopped: Option<&StopNotes>, said: Result<T, ExchangeError>) -> anyhow::Result<T> {
        said.map_err(|fault| {
            stopped.iter().for_each(|stopped| stopped.leave(&fault));
            fault.into()
        })
    }

    /// Takes inputs from a network too, and gives it what concerns its peers.
    pub fn listen(&mut self, mut network: impl Edge + 'static) {
        network.publish(ChainProgress {
            now_ms: self.clock.now_ms(),
            disk_full: self.totals.disk_full.is_some(),
            ..self.standing
        });
        self.network = Some(Box::new(network));
    }

    fn is_drained(&self) -> bool {
        self.machine.unanswered() == 0 && self.held.ticks() == 0
    }

    /// While the disk has no room, nothing is decided or settled: what was recorded waits in memory, unsent. Intents are
    /// turned away; what else the network says is kept.
    fn wait_for_room(&mut self) -> anyhow::Result<()> {
        let heard = if self.clock.is_told() {
            self.storage.poll(self.clock.at())?
        } else {
            self.storage.wait(Some(Instant::now() + Duration::from_millis(QUANTUM_MS)))?
        };
        if let Some(synced) = heard {
            self.synced(synced)?;
        }
        let Some(network) = &mut self.network else { return Ok(()) };
        let kept = self.inputs.len();
        if kept < DISK_FULL_INPUTS_MAX && network.is_flowing() {
            network.take_inputs(&mut self.inputs);
        }
        let mut shed = Vec::new();
        for input in self.inputs.extract_if(kept.., |input| matches!(input, Input::Intents { .. })) {
            let Input::Intents { from, intents } = input else { continue };
            let reason = ShedReason::DiskFull;
            shed.extend(intents.iter().map(|intent| Output::Shed { to: from, id: intent.id(), reason }));
        }
        self.totals.shed += shed.len() as u64;
        network.send(&mut shed);
        network.publish(ChainProgress {
            now_ms: self.clock.now_ms(),
            disk_full: self.totals.disk_full.is_some(),
            ..self.standing
        });
        Ok(())
    }

    /// The disk has a group, or says that it cannot have it.
    fn synced(&mut self, synced: Synced) -> anyhow::Result<()> {
        let group = match synced {
            Synced::UpTo(group) => group,
            Synced::Full(problem) => {
                tracing::error!(
                    "the disk is full ({problem}): no intents are taken and nothing is settled until there is room; what \
                     was recorded is kept, and tried again each second"
                );
                self.totals.disk_full = Some(problem);
                return Ok(());
            }
            Synced::Failed(problem) => bail!("the session cannot be written any more: {problem}"),
        };
        if self.totals.disk_full.take().is_some() {
            tracing::info!("the disk has room again: the node goes on");
            // Virtual time stood still meanwhile.
            if self.clock.waits_for_disk() {
                self.clock.go_on();
            }
        }
        self.recorder.synced(group);
        self.arrived |= self.base.is_some_and(|base| base <= group);
        self.inputs.push(Input::Synced { group });
        let mut released = std::mem::take(&mut self.released);
        if let Some(standing) = self.held.release(group, &mut released) {
            self.standing = standing;
        }
        self.tell(&mut released);
        released.clear();
        self.released = released;
        Ok(())
    }

    /// Gives what was released to whom it concerns.
    fn tell(&mut self, released: &mut Vec<Output>) {
        for output in &*released {
            self.totals.add_output(output);
            if let (Some(players), Output::Receipt { to: PeerId::LOCAL, receipt }) = (&mut self.players, output) {
                players.hear(receipt);
            }
        }
        if let Some(network) = &mut self.network {
            released.retain(|output| !matches!(output, Output::Receipt { to: PeerId::LOCAL | PeerId::NONE, .. }));
            network.send(released);
        }
    }

    /// Ends cleanly: peers are told, what was recorded is on disk, and the files are sealed.
    pub fn close(mut self) -> Totals {
        if let Some(network) = self.network.take() {
            network.close();
        }
        if let Some(snapshots) = self.snapshots.take() {
            self.totals.snapshots = snapshots.close();
        }
        self.storage.close();
        if self.totals.height == self.found && self.found > Height::GENESIS {
            // Nothing was settled by this process: where the record stands it is known by no report.
            self.totals.root = self.machine.root();
        }
        self.totals
    }
}
