//! What a running node measures: counted on the tick's thread in plain numbers, and published once a second as words that
//! any thread may read.
//!
//! ```text
//!  tick: Recorder (its own numbers) -> once a second, one store a word -> Readings <- whoever watches
//! ```
//! A tick takes no lock here and asks the allocator for nothing. Whoever reads may see some words of one second beside some of
//! the next: each word is whole, and all of them only grow or say how it is now.

mod arrivals;
mod histogram;
mod laps;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytemuck::{Pod, Zeroable};
use engine::PeerId;
use engine::io::{AlarmLevel, ChainProgress, Input, Output, ShedReason, SlotList};
use engine::limits::UNSYNCED_TICKS_MAX;
use engine::message::refusal::Refusal;
use engine::message::vote::quorum;
use engine::pool::ArenaUse;
use systems::machine::HeldBytes;
use systems::schedule::SYSTEMS;

use self::arrivals::Arrivals;
pub use self::histogram::{BUCKET_ENDS_US, Histogram};
pub(crate) use self::laps::{Lap, Laps};
use crate::snapshots::SnapshotCounts;
use crate::totals::Totals;

/// How often readings are published.
const PUBLISH: Duration = Duration::from_secs(1);

/// Everything that the tick's thread measures. Layout: words of 64 bits, no padding. What ends in `_us` is in microseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct TickReadings {
    /// Ticks that were run.
    pub ticks: u64,
    /// Ticks that the clock passed by.
    pub ticks_missed: u64,
    /// Ticks that were skipped because the disk was behind.
    pub ticks_stalled: u64,
    /// Ticks whose work took longer than a tick has.
    pub ticks_overrun: u64,
    /// The last decided height on disk.
    pub decided: u64,
    /// The last settled height on disk.
    pub settled: u64,
    /// The last height whose root a quorum answers for.
    pub certified: u64,
    /// 1 while it is a validator and votes on nothing, since it cannot know what it signed; 0 where it only hears too few.
    pub lost_its_votes: u64,
    /// 1 while it has heights, and nobody has the block that comes next.
    pub past_gone: u64,
    /// 1 while the disk has no room.
    pub disk_full: u64,
    /// Validators whose shares of an overdue beacon have not come: a bit for each slot, those below 64 first.
    pub missing_shares: [u64; 2],
    /// 1 while it votes on a height that is not decided yet: something waits for it, be it only a table whose bets lie.
    pub height_under_way: u64,
    /// Intents without a receipt.
    pub unanswered: u64,
    /// Ticks whose group is not on disk.
    pub unsynced_ticks: u64,
    /// Tables that rolled.
    pub rolls: u64,
    /// Bets placed or raised.
    pub bets_placed: u64,
    /// Bets decided, pushed or returned.
    pub bets_resolved: u64,
    /// Intents that blocks applied.
    pub applied: u64,
    /// Chips won beyond the wagers.
    pub paid_chips: u64,
    /// Wagers lost.
    pub lost_chips: u64,
    /// Intents and pledges that arrived, from the network and from simulated players.
    pub arrived: u64,
    /// Intents whose signature was verified and that wait or waited for a block.
    pub acknowledged: u64,
    /// Times that a false signature made the keys of those who sent intents rest.
    pub known_keys_rests: u64,
    /// Receipts that went out.
    pub receipts: u64,
    /// Intents and pledges that were not taken.
    pub shed: u64,
    /// Those of them that the node had no room or no time for.
    pub short: u64,
    /// Alarms: something that must not happen was seen.
    pub alarms: u64,
    /// Snapshots on disk.
    pub snapshots_taken: u64,
    /// Snapshots that came to nothing.
    pub snapshots_failed: u64,
    /// Ticks whose height waited for a snapshot's room.
    pub snapshot_waits: u64,
    /// The longest that a tick was held by a snapshot.
    pub snapshot_longest_hold_us: u64,
    /// Validators that there are.
    pub validators: u64,
    /// Validators that are connected, itself included; 0 where it is none.
    pub heard: u64,
    /// Milliseconds between the times of two blocks, at least.
    pub block_interval_ms: u64,
    /// Heights that others have settled and this node has not: so many that not only liars say so.
    pub behind: u64,
    /// Bytes of the columns.
    pub column_bytes: u64,
    /// Bytes of the workers' arenas.
    pub arena_bytes: u64,
    /// Bytes of them that the last settled height was given.
    pub arena_given_bytes: u64,
    /// Bytes of those that held none of its results at the end.
    pub arena_lost_bytes: u64,
    /// Bytes of blocks on their way into a snapshot.
    pub block_bytes: u64,
    /// Times that the tick gave memory back, because it was asked to.
    pub trims: u64,
    /// The longest that it took.
    pub trim_longest_us: u64,
    /// Receipts that refused an intent, by the place of its code in [`Refusal::ALL`].
    pub refused: [u64; Refusal::ALL.len()],
    /// A tick's work, from its inputs to its end.
    pub tick: Histogram,
    /// The exchange of a tick.
    pub exchange: Histogram,
    /// What goes out before a height is settled.
    pub answer: Histogram,
    /// Settling, of a tick that settled.
    pub settle: Histogram,
    /// Handing over to the disk what a tick has for it.
    pub record: Histogram,
    /// Sending what the disk has.
    pub flush: Histogram,
    /// A snapshot's share of a tick.
    pub snapshot: Histogram,
    /// From a block's time to its decision here, in the node's time; where there are several validators. A lone one decides in
    /// the tick whose time the block has.
    pub decision: Histogram,
    /// From a block's time until it is decided and on this disk.
    pub block: Histogram,
    /// From an intent's arrival here until its acknowledgement leaves.
    pub acknowledgement: Histogram,
    /// From an intent's arrival here until its receipt leaves. It counts from the tick before the one that took it, which is
    /// the earliest that it can have come.
    pub receipt: Histogram,
    /// From handing a tick to the disk until it says that it is synced.
    pub sync: Histogram,
}

impl TickReadings {
    /// Validators whose shares of an overdue beacon have not come.
    pub fn missing_shares(&self) -> SlotList {
        let [low, high] = self.missing_shares.map(u128::from);
        SlotList(high << 64 | low)
    }

    /// How many validators must agree.
    pub fn quorum(&self) -> u64 {
        quorum(self.validators as usize) as u64
    }

    /// Whether it is a validator that hears too few of them for anything to be decided.
    pub fn lacks_quorum(&self) -> bool {
        self.heard > 0 && self.heard < self.quorum()
    }
}

const WORDS: usize = size_of::<TickReadings>() / size_of::<u64>();
const _: () = assert!(size_of::<TickReadings>().is_multiple_of(size_of::<u64>()));

/// How long each system takes, by its place in [`SYSTEMS`].
type SystemHistograms = [Histogram; SYSTEMS.len()];

/// What others read of a node.
#[derive(Debug)]
pub struct Readings {
    words: Box<[AtomicU64]>,
    /// The words of the systems' times: apart, since they are many and few look at them.
    system_words: Box<[AtomicU64]>,
    /// Steps of the tick's thread, also of those that wait for room on the disk.
    pub(crate) steps: Arc<AtomicU64>,
}

impl Default for Readings {
    /// The readings of a node that has counted nothing yet.
    fn default() -> Self {
        let words = |count: usize| (0..count).map(|_| AtomicU64::new(0)).collect();
        let system_words = words(size_of::<SystemHistograms>() / size_of::<u64>());
        Self { words: words(WORDS), system_words, steps: Arc::default() }
    }
}

impl Readings {
    fn publish(&self, readings: &TickReadings, systems: &SystemHistograms) {
        let words: &[u64] = bytemuck::cast_slice(std::slice::from_ref(readings));
        // Both are walked side by side: a place too few would leave out the last reading without a word.
        assert_eq!(self.words.len(), words.len(), "each reading has its place");
        self.words.iter().zip(words).for_each(|(shared, word)| shared.store(*word, Ordering::Relaxed));
        let words: &[u64] = bytemuck::cast_slice(systems);
        assert_eq!(self.system_words.len(), words.len(), "each system has its place");
        self.system_words.iter().zip(words).for_each(|(shared, word)| shared.store(*word, Ordering::Relaxed));
    }

    /// What was published last.
    pub fn read(&self) -> TickReadings {
        let mut readings = TickReadings::zeroed();
        let words: &mut [u64] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut readings));
        words.iter_mut().zip(&self.words).for_each(|(word, shared)| *word = shared.load(Ordering::Relaxed));
        readings
    }

    /// How long each system takes, by its name, as it was published last.
    pub fn read_systems(&self) -> Vec<(&'static str, Histogram)> {
        let mut systems = [Histogram::zeroed(); SYSTEMS.len()];
        let words: &mut [u64] = bytemuck::cast_slice_mut(&mut systems);
        words.iter_mut().zip(&self.system_words).for_each(|(word, shared)| *word = shared.load(Ordering::Relaxed));
        SYSTEMS.into_iter().zip(systems).collect()
    }
}

/// A group that the disk has not synced.
#[derive(Clone, Copy, Default)]
struct Handed {
    id: u64,
    /// When the disk was given it, until it is synced.
    since: Option<Instant>,
    /// When the block began that its tick decided, if it decided one.
    block: Option<Instant>,
}

/// Nanoseconds since this process first asked, for the systems' times.
pub(crate) fn nanoseconds() -> u64 {
    static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(BEGAN.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// The numbers that the tick's thread keeps for itself.
pub(crate) struct Recorder {
    own: TickReadings,
    systems: Box<SystemHistograms>,
    /// What of each system's time is no whole microsecond yet: most take less than one.
    rest_ns: [u64; SYSTEMS.len()],
    /// Groups that the disk has not synced: a ring, since groups are synced in order.
    handed: [Handed; UNSYNCED_TICKS_MAX],
    /// How many groups the disk was given.
    handed_count: usize,
    /// When the block began that this tick decided.
    block: Option<Instant>,
    /// The intents that wait for a receipt.
    arrivals: Arrivals,
    /// When a tick last took what had come.
    looked: Instant,
    shared: Arc<Readings>,
    published: Instant,
}

impl Recorder {
    pub fn new() -> Self {
        Self {
            own: TickReadings::zeroed(),
            systems: Box::new([Histogram::zeroed(); SYSTEMS.len()]),
            rest_ns: [0; SYSTEMS.len()],
            handed: [Handed::default(); UNSYNCED_TICKS_MAX],
            handed_count: 0,
            block: None,
            arrivals: Arrivals::new(),
            looked: Instant::now(),
            shared: Arc::default(),
            published: Instant::now(),
        }
    }

    pub fn shared(&self) -> Arc<Readings> {
        Arc::clone(&self.shared)
    }

    /// The thread takes a step.
    pub fn step(&self) {
        self.shared.steps.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts what a tick has to say that began then.
    pub fn add_outputs(&mut self, outputs: &[Output], now_ms: u64, began: Instant) {
        for output in outputs {
            match output {
                Output::Decided(decided) => {
                    let took_ms = now_ms.saturating_sub(decided.block.header.time_ms);
                    if self.own.validators > 1 {
                        self.own.decision.add_us(took_ms.saturating_mul(1_000));
                    }
                    self.block = began.checked_sub(Duration::from_millis(took_ms));
                }
                Output::Acknowledged { .. } => self.own.acknowledged += 1,
                Output::Alarm(alarm) if alarm.level() == AlarmLevel::Violation => self.own.alarms += 1,
                _ => {}
            }
        }
    }

    /// Counts the intents and pledges that a tick takes, and notes since when each is here: since it was looked for them before.
    pub fn arrived(&mut self, inputs: &[Input], took_intents: bool) {
        let now = Instant::now();
        for input in inputs {
            // They are shed and refused among the others, and count among them.
            if let Input::Pledges { pledges, .. } = input {
                self.own.arrived += pledges.len() as u64;
            }
            let Input::Intents { from, intents } = input else { continue };
            self.own.arrived += intents.len() as u64;
            // Players of this process have just acted.
            let since = if *from == PeerId::LOCAL { now } else { self.looked };
            intents.iter().for_each(|intent| self.arrivals.note(&intent.id(), since));
        }
        if took_intents {
            self.looked = now;
        }
    }

    /// Something leaves: what it answers does not wait any more.
    pub fn leaves(&mut self, outputs: &[Output]) {
        let now = Instant::now();
        for output in outputs {
            match output {
                Output::Receipt { to, receipt } if *to != PeerId::NONE => {
                    if let Some(waited) = self.arrivals.take(&receipt.id, now) {
                        self.own.receipt.add(waited);
                    }
                }
                Output::Acknowledged { id, .. } => {
                    if let Some(waited) = self.arrivals.waits(id, now) {
                        self.own.acknowledgement.add(waited);
                    }
                }
                // It waits on, for a receipt that goes over the later connection.
                Output::Shed { reason: ShedReason::Moved, .. } => {}
                Output::Shed { id, .. } => {
                    // What was shed gets no receipt: its place is free for another, and nothing is measured.
                    let _ = self.arrivals.take(id, now);
                }
                _ => {}
            }
        }
    }

    /// The disk was given the group of a tick.
    pub fn handed(&mut self, id: u64) {
        let (since, block) = (Some(Instant::now()), self.block.take());
        let place = &mut self.handed[self.handed_count % UNSYNCED_TICKS_MAX];
        // Ticks are skipped while too many groups wait, so the ring never comes round to one that does.
        assert!(place.since.is_none(), "a group is measured until it is synced");
        *place = Handed { id, since, block };
        self.handed_count += 1;
    }

    /// Every group up to this one is on disk.
    pub fn synced(&mut self, up_to: u64) {
        let now = Instant::now();
        // One sync may hold the groups of several ticks, wherever the ring has them.
        for handed in &mut self.handed {
            if handed.id <= up_to
                && let Some(since) = handed.since.take()
            {
                self.own.sync.add(now - since);
                if let Some(block) = handed.block.take() {
                    self.own.block.add(now - block);
                }
            }
        }
    }

    /// The tick gave memory back.
    pub fn trimmed(&mut self, took: Duration) {
        self.own.trims += 1;
        self.own.trim_longest_us = self.own.trim_longest_us.max(took.as_micros() as u64);
    }

    /// A system took so long in a tick.
    pub fn system(&mut self, place: usize, taken_ns: u64) {
        self.systems[place].add_us(taken_ns / 1_000);
        self.rest_ns[place] += taken_ns % 1_000;
        self.systems[place].sum_us += self.rest_ns[place] / 1_000;
        self.rest_ns[place] %= 1_000;
    }

    /// A tick has ended. It is late if it worked for longer than `may_take`; `waited` is how long it stood still for the disk,
    /// which is no work.
    pub fn end(&mut self, laps: &Laps, settled: bool, waited: Duration, may_take: Duration) {
        let worked = laps.began().elapsed().saturating_sub(waited);
        self.own.ticks += 1;
        self.own.ticks_overrun += u64::from(worked > may_take);
        self.own.tick.add(worked);
        self.own.exchange.add(laps.took(Lap::Exchange));
        self.own.answer.add(laps.took(Lap::Answer));
        if settled {
            self.own.settle.add(laps.took(Lap::Settle));
        }
        self.own.record.add(laps.took(Lap::Record));
        self.own.flush.add(laps.took(Lap::Flush).saturating_sub(waited));
        self.own.snapshot.add(laps.took(Lap::Snapshot));
    }

    /// Whether a second has passed since readings were published.
    pub fn is_due(&self) -> bool {
        self.published.elapsed() >= PUBLISH
    }

    /// Publishes what was counted, with how the node is now.
    pub fn publish(&mut self, totals: &Totals, now: &NodeState) {
        let counts = &totals.counts;
        let refused = Refusal::ALL.map(|(_, name, _)| totals.refusals.get(name).copied().unwrap_or(0));
        self.own = TickReadings {
            ticks_missed: totals.ticks_missed,
            ticks_stalled: totals.ticks_stalled,
            decided: now.progress.decided.0,
            settled: now.progress.settled.0,
            certified: now.progress.certified.0,
            lost_its_votes: u64::from(now.lost_its_votes),
            past_gone: u64::from(now.past_gone),
            disk_full: u64::from(totals.disk_full.is_some()),
            missing_shares: [now.missing_shares.0 as u64, (now.missing_shares.0 >> 64) as u64],
            height_under_way: u64::from(now.height_under_way),
            unanswered: now.unanswered as u64,
            unsynced_ticks: now.unsynced_ticks as u64,
            rolls: counts.rolls,
            bets_placed: counts.bets_placed,
            bets_resolved: counts.bets_resolved,
            applied: counts.applied,
            paid_chips: counts.paid,
            lost_chips: counts.lost,
            receipts: totals.receipts,
            shed: totals.shed,
            short: totals.short,
            snapshots_taken: now.snapshots.taken,
            snapshots_failed: now.snapshots.failed,
            snapshot_waits: now.snapshots.waits,
            snapshot_longest_hold_us: now.snapshots.longest_hold.as_micros() as u64,
            validators: now.validators.into(),
            heard: now.heard.into(),
            known_keys_rests: now.known_keys_rests,
            block_interval_ms: now.block_interval_ms,
            behind: now.behind,
            column_bytes: now.held.columns,
            arena_bytes: now.held.arenas,
            arena_given_bytes: now.arenas.given as u64,
            arena_lost_bytes: now.arenas.lost() as u64,
            block_bytes: now.held.blocks,
            refused,
            ..self.own
        };
        self.shared.publish(&self.own, &self.systems);
        self.published = Instant::now();
    }
}

/// How a node is at a moment.
pub(crate) struct NodeState {
    pub progress: ChainProgress,
    /// The node is a validator, and cannot know what it signed.
    pub lost_its_votes: bool,
    /// The validator votes on a height that is not decided yet.
    pub height_under_way: bool,
    pub unanswered: usize,
    pub unsynced_ticks: usize,
    pub held: HeldBytes,
    /// What the last settled height was given of the arenas.
    pub arenas: ArenaUse,
    pub missing_shares: SlotList,
    /// Validators that there are.
    pub validators: u32,
    /// Validators that are connected, itself included; 0 where it is none.
    pub heard: u32,
    /// Times that a false signature made the keys of those who sent intents rest.
    pub known_keys_rests: u64,
    /// Milliseconds between the times of two blocks, at least.
    pub block_interval_ms: u64,
    /// Heights that others have settled and it has not.
    pub behind: u64,
    /// The node has heights, and nobody has the block that comes next.
    pub past_gone: bool,
    pub snapshots: SnapshotCounts,
}

#[cfg(test)]
mod tests;
