//! The one loop: `poll -> exchange -> settle -> record -> flush`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::bail;
use crossbeam_channel::RecvTimeoutError;
use engine::io::{Input, Output, Receipt, ShedReason, Standing, Verdict};
use engine::message::intent::Intent;
use engine::{Hash, Height, PeerId, Tick};
use net::server::Server;
use storage::{Storage, Synced};
use systems::exchange::Clock;
use systems::{Counts, Machine};

use crate::record::{Held, is_at_once};
use crate::snapshots::{Keeping, SnapshotCounts};

/// Milliseconds of a tick.
pub const QUANTUM_MS: u64 = 5;
/// Ticks that may wait for the disk; a node on the wall's time that has more of them skips ticks until it has fewer.
const UNSYNCED_MAX: usize = 48;
/// Inputs that are kept while the disk is full, at most: connections that come and go, and what they watch.
const INPUTS_KEPT: usize = 1 << 16;
/// How long a node that ends waits for the receipts of what it acknowledged.
const DRAIN: Duration = Duration::from_secs(5);

/// How fast virtual time runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// As the clock on the wall.
    Real,
    /// As fast as the machine can.
    Max,
}

/// Where time comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    /// From the number of ticks; a tick begins when the group of the one before is on disk. That is what makes a
    /// session the same at any pace.
    Virtual(Pace),
    /// From the clock on the wall. Ticks that are missed are skipped and counted, and no tick waits for the disk.
    Wall,
}

/// What a run has done so far.
#[derive(Clone, Default, Debug)]
pub struct Totals {
    /// The last settled height.
    pub height: Height,
    /// Its root.
    pub root: Hash,
    /// Its root chain.
    pub root_chain: Hash,
    /// Sums over all heights.
    pub counts: Counts,
    /// Intents that simulated players sent.
    pub sent: u64,
    /// Receipts that went out, settled and refused.
    pub receipts: u64,
    /// Refusals before any block.
    pub turned_away: u64,
    /// Intents that this node did not take.
    pub shed: u64,
    /// Refusals by code.
    pub refusals: std::collections::BTreeMap<&'static str, u64>,
    /// Ticks that the clock passed by.
    pub ticks_missed: u64,
    /// Ticks that were skipped because the disk was behind.
    pub ticks_stalled: u64,
    /// What has become of snapshots; known when the node has ended.
    pub snapshots: SnapshotCounts,
    /// What the disk says if it has no room now: the chain stands still until it has.
    pub disk_full: Option<String>,
}

/// Where a node's inputs come from, and its outputs go to.
pub trait Edge {
    /// What arrived since the last time, in order; a bounded number.
    fn take_inputs(&mut self, inputs: &mut Vec<Input>);

    /// Gives outputs to those whom they concern, without waiting. Says whether everything is on its way.
    fn send(&mut self, outputs: &mut Vec<Output>) -> bool;

    /// Says where the chain stands.
    fn publish(&mut self, standing: Standing);

    /// Tells everyone that the node ends.
    fn close(self: Box<Self>);
}

/// Players that live in the node's own process: they hold keys and sign intents, and use no other door than a client would.
pub trait LocalPlayers {
    /// The intents that they send at `now_ms`, in milliseconds since the Unix epoch, after they looked at the tables.
    fn act(&mut self, machine: &mut Machine, now_ms: u64, start_ms: u64) -> Vec<Intent>;

    /// Tells them of a receipt for one of them.
    fn hear(&mut self, receipt: &Receipt);
}

impl Edge for Server {
    fn take_inputs(&mut self, inputs: &mut Vec<Input>) {
        Server::take_inputs(self, inputs);
    }

    fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        Server::send(self, outputs)
    }

    fn publish(&mut self, standing: Standing) {
        Server::publish(self, standing);
    }

    fn close(self: Box<Self>) {
        Server::close(*self);
    }
}

/// One node: a validator of one, with its disk, its network, and its simulated players.
pub struct Node {
    machine: Machine,
    storage: Storage,
    players: Option<Box<dyn LocalPlayers>>,
    network: Option<Box<dyn Edge>>,
    snapshots: Option<Keeping>,
    held: Held,
    time: Time,
    start_ms: u64,
    tick: Tick,
    /// The moment of this process at which tick `.1` began, and its time.
    began: (Instant, u64),
    now_ms: u64,
    submitted: u64,
    standing: Standing,
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    released: Vec<Output>,
    /// What has happened.
    pub totals: Totals,
}

impl Node {
    /// A node that goes on where its machine stands.
    pub fn new(machine: Machine, storage: Storage, players: Option<Box<dyn LocalPlayers>>, time: Time) -> Self {
        let start_ms = machine.setup().genesis.start_ms;
        let chain = machine.chain();
        let totals = Totals { height: chain.settled, root_chain: chain.root_chains[0], ..Totals::default() };
        // No tick comes before the last block.
        let tick = Tick((chain.parent_time_ms - start_ms).div_ceil(QUANTUM_MS));
        let now_ms = start_ms + tick.0 * QUANTUM_MS;
        let standing = machine.standing(now_ms);
        Self {
            machine,
            storage,
            players,
            network: None,
            snapshots: None,
            held: Held::default(),
            time,
            start_ms,
            tick,
            began: (Instant::now(), tick.0),
            now_ms,
            submitted: 0,
            standing,
            inputs: Vec::new(),
            outputs: Vec::new(),
            released: Vec::new(),
            totals,
        }
    }

    /// Its machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Its machine alone: what it holds is not recorded any more.
    pub fn into_machine(self) -> Machine {
        self.machine
    }

    /// Keeps snapshots from now on.
    pub fn keep(&mut self, snapshots: Keeping) {
        self.snapshots = Some(snapshots);
    }

    /// Takes inputs from a network too, and gives it what concerns its peers.
    pub fn listen(&mut self, mut network: impl Edge + 'static) {
        network.publish(Standing { now_ms: self.now_ms, ..self.standing });
        self.network = Some(Box::new(network));
    }

    /// Runs until `heights` are settled, or `stop` is set; `look` is called after every tick. A node with a network that
    /// is stopped takes no intents any more and goes on until those it took have their receipts.
    ///
    /// # Errors
    /// If the disk fails, or the order of blocks contradicts itself.
    pub fn run(
        &mut self,
        heights: Option<u64>,
        stop: &AtomicBool,
        mut look: impl FnMut(&Totals, &mut Machine, u64),
    ) -> anyhow::Result<()> {
        let last = heights.map_or(Height(u64::MAX), Height);
        let mut ends: Option<Instant> = None;
        self.began = (Instant::now(), self.tick.0);
        while self.totals.height < last && ends.is_none_or(|end| !self.is_drained() && Instant::now() < end) {
            if let Some(now_ms) = self.step()? {
                look(&self.totals, &mut self.machine, now_ms);
            } else if self.totals.disk_full.is_some() {
                look(&self.totals, &mut self.machine, self.now_ms);
            }
            if ends.is_none() && stop.load(Ordering::Relaxed) {
                self.machine.close_intake();
                ends = Some(Instant::now() + if self.network.is_some() { DRAIN } else { Duration::ZERO });
            }
        }
        Ok(())
    }

    /// One tick. Gives its time, or nothing if it was left out.
    ///
    /// # Errors
    /// If the disk fails, or the order of blocks contradicts itself.
    pub fn step(&mut self) -> anyhow::Result<Option<u64>> {
        if self.totals.disk_full.is_some() {
            self.wait_for_room()?;
            return Ok(None);
        }
        let Some(clock) = self.poll()? else { return Ok(None) };
        self.machine.exchange(clock, &mut self.inputs, &mut self.outputs)?;
        self.answer();
        let settled = self.settle()?;
        self.record(settled);
        self.flush()?;
        if let Some(snapshots) = &mut self.snapshots {
            let taken = snapshots.counts.taken;
            snapshots.turn(&mut self.machine, self.standing.settled);
            if let Some(height) = snapshots.needed_from().filter(|_| snapshots.counts.taken > taken) {
                self.storage.keep_from(height);
            }
        }
        Ok(Some(clock.now_ms))
    }

    /// Settles a height that is ready. One that must wait for a snapshot's room is settled in a later tick; virtual time
    /// stands still instead, so that a session is the same with snapshots and without.
    fn settle(&mut self) -> anyhow::Result<bool> {
        let began = Instant::now();
        let mut settled = self.machine.settle_ready(&mut self.outputs);
        let Some(snapshots) = &mut self.snapshots else { return Ok(settled) };
        while self.machine.is_held() && self.time != Time::Wall {
            if self.machine.waits_for_room() {
                snapshots.await_room(&mut self.machine)?;
            }
            settled = self.machine.settle_ready(&mut self.outputs);
        }
        if settled {
            snapshots.settled(began.elapsed());
        }
        Ok(settled)
    }

    fn is_drained(&self) -> bool {
        self.machine.unanswered() == 0 && self.held.ticks() == 0
    }

    /// Time moves on, players act, and the network hands over what arrived. `None` if this tick is left out.
    fn poll(&mut self) -> anyhow::Result<Option<Clock>> {
        match self.time {
            Time::Virtual(pace) => {
                self.tick = Tick(self.tick.0 + 1);
                if pace == Pace::Real {
                    let due = self.began.0 + Duration::from_millis((self.tick.0 - self.began.1) * QUANTUM_MS);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                }
                self.now_ms = self.start_ms + self.tick.0 * QUANTUM_MS;
            }
            Time::Wall => {
                let elapsed = self.began.0.elapsed().as_millis() as u64 / QUANTUM_MS;
                let next = Tick((self.began.1 + elapsed + 1).max(self.tick.0 + 1));
                self.totals.ticks_missed += next.0 - self.tick.0 - 1;
                self.tick = next;
                self.await_tick()?;
                let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                // A clock that is set back stands still until it has caught up.
                self.now_ms = self.now_ms.max(wall.as_millis() as u64);
                if self.held.ticks() >= UNSYNCED_MAX {
                    self.totals.ticks_stalled += 1;
                    return Ok(None);
                }
            }
        }
        if let Some(players) = &mut self.players {
            let intents = players.act(&mut self.machine, self.now_ms, self.start_ms);
            if !intents.is_empty() {
                self.totals.sent += intents.len() as u64;
                self.inputs.push(Input::Intents { from: PeerId::LOCAL, intents });
            }
        }
        if let Some(network) = &mut self.network {
            // While the network does not take what there is for it, nothing more is taken from it.
            if network.send(&mut Vec::new()) {
                network.take_inputs(&mut self.inputs);
            }
        }
        Ok(Some(Clock { tick: self.tick, now_ms: self.now_ms }))
    }

    /// Waits until the tick begins. What reaches the disk meanwhile lets its receipts out at once.
    fn await_tick(&mut self) -> anyhow::Result<()> {
        let due = self.began.0 + Duration::from_millis((self.tick.0 - self.began.1) * QUANTUM_MS);
        loop {
            match self.storage.synced().recv_deadline(due) {
                Ok(synced) => self.synced(synced)?,
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => bail!("the storage thread has stopped"),
            }
        }
    }

    /// While the disk has no room, nothing is decided or settled: what was recorded waits in memory, unsent. Intents are
    /// turned away; what else the network says is kept.
    fn wait_for_room(&mut self) -> anyhow::Result<()> {
        match self.storage.synced().recv_timeout(Duration::from_millis(QUANTUM_MS)) {
            Ok(synced) => self.synced(synced)?,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => bail!("the storage thread has stopped"),
        }
        let Some(network) = &mut self.network else { return Ok(()) };
        let kept = self.inputs.len();
        if kept < INPUTS_KEPT && network.send(&mut Vec::new()) {
            network.take_inputs(&mut self.inputs);
        }
        let mut shed = Vec::new();
        for input in self.inputs.extract_if(kept.., |input| matches!(input, Input::Intents { .. })) {
            let Input::Intents { from, intents } = input else { continue };
            shed.extend(intents.iter().map(|intent| Output::Shed {
                to: from,
                key: intent.body.key,
                number: intent.body.number,
                reason: ShedReason::DiskFull,
            }));
        }
        self.totals.shed += shed.len() as u64;
        network.send(&mut shed);
        network.publish(Standing { now_ms: self.now_ms, ..self.standing });
        Ok(())
    }

    /// What promises nothing about the disk goes out, before a height is settled.
    fn answer(&mut self) {
        let at_once = &mut self.released;
        at_once.extend(self.outputs.extract_if(.., |output| is_at_once(output)));
        self.totals.shed += at_once.iter().filter(|output| matches!(output, Output::Shed { .. })).count() as u64;
        if let Some(network) = &mut self.network {
            network.send(at_once);
        }
        at_once.clear();
    }

    /// What the tick produced: the disk's goes to the storage thread, and the rest waits for it.
    fn record(&mut self, settled: bool) {
        if settled {
            let report = self.machine.report();
            self.totals.counts += report.counts;
            self.totals.root = report.root;
            self.totals.height = self.machine.chain().settled;
            self.totals.root_chain = self.machine.chain().root_chains[0];
        }
        if let Some(group) = self.held.record(self.tick.0, &mut self.outputs) {
            self.submitted = group.id;
            self.storage.submit(group);
        }
    }

    /// What is on disk lets its receipts out. In virtual time, everything is awaited.
    fn flush(&mut self) -> anyhow::Result<()> {
        if self.time != Time::Wall {
            while self.held.ticks() > 0 && self.totals.disk_full.is_none() {
                let Ok(synced) = self.storage.synced().recv() else { bail!("the storage thread has stopped") };
                self.synced(synced)?;
            }
        }
        while let Ok(synced) = self.storage.synced().try_recv() {
            self.synced(synced)?;
        }
        if let Some(network) = &mut self.network {
            network.publish(Standing { now_ms: self.now_ms, ..self.standing });
        }
        Ok(())
    }

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
            if self.time != Time::Wall {
                self.began = (Instant::now(), self.tick.0);
            }
        }
        self.inputs.push(Input::Synced { group });
        let mut released = std::mem::take(&mut self.released);
        if let Some(standing) = self.held.release(group, &mut released) {
            self.standing = standing;
        }
        released.iter().for_each(|output| self.count(output));
        if let Some(network) = &mut self.network {
            released.retain(|output| !matches!(output, Output::Receipt { to: PeerId::LOCAL | PeerId::NONE, .. }));
            network.send(&mut released);
        }
        released.clear();
        self.released = released;
        Ok(())
    }

    fn count(&mut self, output: &Output) {
        let Output::Receipt { to, receipt } = output else { return };
        self.totals.receipts += 1;
        if let Verdict::Refused(refusal) = receipt.verdict {
            *self.totals.refusals.entry(refusal.name()).or_default() += 1;
            if receipt.height == Height::GENESIS {
                self.totals.turned_away += 1;
            }
        }
        if *to == PeerId::LOCAL {
            self.hear(receipt);
        }
    }

    fn hear(&mut self, receipt: &Receipt) {
        if let Some(players) = &mut self.players {
            players.hear(receipt);
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
        self.totals
    }

    /// Intents that wait for a block.
    pub fn pending(&self) -> usize {
        self.machine.pending().queue.len()
    }
}
