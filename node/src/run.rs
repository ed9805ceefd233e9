//! The one loop: `poll -> exchange -> settle -> record -> flush`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use engine::io::{Input, Output, Receipt};
use engine::{Hash, Height, Tick};
use storage::{Storage, Synced};
use systems::exchange::Clock;
use systems::{Counts, Machine};

use crate::players::Players;
use crate::record::Held;

/// Milliseconds of a tick.
pub const QUANTUM_MS: u64 = 5;

/// How fast virtual time runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Pace {
    /// As the clock on the wall.
    Real,
    /// As fast as the machine can.
    Max,
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
    /// Intents that players sent.
    pub sent: u64,
    /// Receipts that went out, settled and refused.
    pub receipts: u64,
    /// Refusals before any block.
    pub turned_away: u64,
    /// Refusals by code.
    pub refusals: std::collections::BTreeMap<&'static str, u64>,
}

/// One node with its players: a validator of one, in virtual time.
///
/// Virtual time waits for the disk: a tick begins when the group of the one before is synced. That is what makes a
/// session the same at any pace; a node with a clock on the wall does not wait.
pub struct Node {
    machine: Machine,
    storage: Storage,
    players: Players,
    held: Held,
    start_ms: u64,
    tick: Tick,
    submitted: u64,
    pace: Pace,
    began: (Instant, u64),
    inputs: Vec<Input>,
    outputs: Vec<Output>,
    /// What has happened.
    pub totals: Totals,
}

impl Node {
    /// A node that goes on at tick `tick` of its chain.
    pub fn new(machine: Machine, storage: Storage, players: Players, pace: Pace, tick: Tick) -> Self {
        let start_ms = machine.setup().genesis.start_ms;
        let chain = machine.chain();
        let totals = Totals { height: chain.settled, root_chain: chain.root_chains[0], ..Totals::default() };
        Self {
            machine,
            storage,
            players,
            held: Held::default(),
            start_ms,
            tick,
            submitted: 0,
            pace,
            began: (Instant::now(), tick.0),
            inputs: Vec::new(),
            outputs: Vec::new(),
            totals,
        }
    }

    /// Runs until `heights` are settled, or `stop` is set; `look` is called after every tick.
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
        while self.totals.height < last && !stop.load(Ordering::Relaxed) {
            let clock = self.poll()?;
            let settled = self.machine.tick(clock, &mut self.inputs, &mut self.outputs)?;
            self.record(settled);
            self.flush()?;
            look(&self.totals, &mut self.machine, clock.now_ms);
        }
        Ok(())
    }

    /// Time moves on, and the players act.
    fn poll(&mut self) -> anyhow::Result<Clock> {
        self.tick = Tick(self.tick.0 + 1);
        if self.pace == Pace::Real {
            let due = self.began.0 + Duration::from_millis((self.tick.0 - self.began.1) * QUANTUM_MS);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let now_ms = self.start_ms + self.tick.0 * QUANTUM_MS;
        let intents = self.players.act(&mut self.machine, now_ms, self.start_ms);
        if !intents.is_empty() {
            self.totals.sent += intents.len() as u64;
            self.inputs.push(Input::Intents { from: engine::PeerId::LOCAL, intents });
        }
        Ok(Clock { tick: self.tick, now_ms })
    }

    /// What the tick produced goes to the storage thread; its receipts wait.
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

    /// Waits until the group is on disk, then lets its receipts out.
    fn flush(&mut self) -> anyhow::Result<()> {
        let mut synced = 0;
        while synced < self.submitted {
            match self.storage.synced().recv().context("the storage thread has stopped")? {
                Synced::UpTo(group) => synced = group,
                Synced::Failed(problem) => bail!("the session cannot be written any more: {problem}"),
            }
        }
        if synced > 0 {
            self.submitted = 0;
            self.inputs.push(Input::Synced { group: synced });
            self.held.release(synced).iter().for_each(|receipt| self.deliver(receipt));
        }
        Ok(())
    }

    fn deliver(&mut self, receipt: &Receipt) {
        self.totals.receipts += 1;
        if let engine::io::Verdict::Refused(refusal) = receipt.verdict {
            *self.totals.refusals.entry(refusal.name()).or_default() += 1;
            if receipt.height == Height::GENESIS {
                self.totals.turned_away += 1;
            }
        }
        self.players.hear(receipt);
    }

    /// Ends cleanly: what was recorded is on disk, and the files are sealed.
    pub fn close(self) -> Totals {
        self.storage.close();
        self.totals
    }

    /// Intents that wait for a block.
    pub fn pending(&self) -> usize {
        self.machine.pending().queue.len()
    }
}
