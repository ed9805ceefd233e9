//! Snapshots of a running node: when one begins, what each tick gives to it, when it counts.
//!
//! ```text
//!  idle -> (6,000 ticks, or many groups written; then a height divisible by 64) begin -> each tick: sweep, hand blocks over -> all copied
//!       -> (the journal has the height on disk) finish -> in the index -> idle
//! ```
//! The columns are only ever looked at by the tick; the snapshot thread sees copies. Nothing here changes the state.

use std::time::{Duration, Instant};

use anyhow::Context;
use engine::image::GroupBlock;
use engine::limits::{RECEIVED_BLOCKS_MAX, SNAPSHOT_BLOCK_GROUPS, SNAPSHOT_HEIGHTS};
use engine::message::note::ChainNote;
use engine::{Height, Tick};
use storage::snapshot::{KeeperEvent, SnapshotDone, SnapshotInfo, Snapshots};
use systems::Machine;

use crate::threads::{BACKGROUND_PERIOD, WatchedThread};
use crate::throttles::TickThrottle;

/// When snapshots begin, and how fast they are copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotPace {
    /// Ticks between two, at most.
    pub ticks: u64,
    /// Groups that heights wrote between two, each counted at every height that wrote it: what a restart has to do again,
    /// at most.
    pub groups: u64,
    /// A snapshot that is due begins at the next height divisible by this, the same on every node.
    pub heights: u64,
    /// Groups that a tick copies beside those that its height overwrites.
    pub groups_per_tick: usize,
}

impl Default for SnapshotPace {
    fn default() -> Self {
        // 30 s; and what takes between half a second and one to execute, whichever tables roll (ARCHITECTURE.md).
        Self { ticks: 6_000, groups: 200_000, heights: SNAPSHOT_HEIGHTS, groups_per_tick: SNAPSHOT_BLOCK_GROUPS }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Nothing is under way.
    Idle,
    /// Groups of the state after this height are being copied.
    Copying(Height),
    /// All were copied; the journal does not have the height on disk yet.
    Copied(Height),
    /// The snapshot thread finishes it.
    Finishing,
    /// Groups come from other nodes.
    Receiving,
    /// All groups are on disk, or they came to nothing.
    Received(bool),
}

/// What a tick has done before its part for snapshots.
pub(crate) struct SnapshotTurn {
    pub tick: Tick,
    /// Whether the tick settled a height.
    pub settled: bool,
    /// The last height that the journal has on disk.
    pub on_disk: Height,
}

/// A node's snapshots.
pub struct Keeping {
    snapshots: Snapshots,
    pace: SnapshotPace,
    state: State,
    /// The height of the last one that began.
    last: Height,
    /// The tick of now, and the one at which the last one began or failed.
    tick: Tick,
    began: Tick,
    /// Groups written since then.
    groups: u64,
    blocks: Vec<GroupBlock>,
    /// From where on the journal is needed by the newest snapshots, the newest last; the one under way apart.
    needed: [Option<Height>; 2],
    under_way: Height,
    /// Blocks from other nodes that are not on disk yet.
    received: usize,
    /// What has become of them.
    pub counts: SnapshotCounts,
}

/// What has become of a node's snapshots since it started.
#[derive(Clone, Default, Debug)]
pub struct SnapshotCounts {
    /// Snapshots on disk.
    pub taken: u64,
    /// Snapshots that came to nothing.
    pub failed: u64,
    /// The last one.
    pub last: Option<SnapshotDone>,
    /// From which height on a restart needs whole blocks, as [`Keeping::needed_from`] has it.
    pub needed_from: Option<Height>,
    /// The longest that a tick was held by its sweep.
    pub longest_hold: Duration,
    /// Ticks whose height waited because the pool was full.
    pub waits: u64,
}

impl Keeping {
    /// The snapshots of a node that starts at a tick, from the one at `loaded`.
    pub fn new(snapshots: Snapshots, pace: SnapshotPace, loaded: Option<&ChainNote>) -> Self {
        Self {
            snapshots,
            pace,
            state: State::Idle,
            last: loaded.map(|note| note.height).unwrap_or_default(),
            tick: Tick(0),
            began: Tick(0),
            groups: 0,
            blocks: Vec::new(),
            needed: [None, loaded.map(|note| note.receipts_from)],
            under_way: Height::GENESIS,
            received: 0,
            counts: SnapshotCounts::default(),
        }
    }

    /// The thread that keeps them.
    pub(crate) fn threads(&self) -> Option<WatchedThread> {
        self.snapshots.turns().map(|turns| WatchedThread::new("snapshots", BACKGROUND_PERIOD, turns))
    }

    /// The node goes on at this tick: what came before is over.
    pub fn begin_at(&mut self, tick: Tick) {
        (self.tick, self.began) = (tick, tick);
    }

    /// A tick's part: hears what has become of blocks, copies some groups, hands over what is copied.
    pub(crate) fn turn(&mut self, machine: &mut Machine, throttle: &TickThrottle, at: SnapshotTurn) {
        let SnapshotTurn { tick, settled, on_disk } = at;
        assert!(tick >= self.tick, "ticks go on");
        self.tick = tick;
        while let Ok(kept) = self.snapshots.kept().try_recv() {
            self.hear(kept, machine);
        }
        if settled {
            self.groups += machine.touched_groups() as u64;
        }
        let due = tick.0 - self.began.0 >= self.pace.ticks || self.groups >= self.pace.groups;
        let height = machine.chain().settled;
        assert!(on_disk <= height, "the disk has nothing that the machine has not settled");
        // A height is taken once: it would otherwise be taken again in every tick until the next one is settled.
        let is_one = due && height > self.last && height.0.is_multiple_of(self.pace.heights);
        if self.state == State::Idle && is_one && throttle.lets_snapshots_begin() {
            self.begin(machine);
        }
        if let State::Copying(height) = self.state {
            let began = Instant::now();
            machine.sweep_snapshot(throttle.groups(self.pace.groups_per_tick));
            self.counts.longest_hold = self.counts.longest_hold.max(began.elapsed());
            self.hand_over(machine);
            // Before a height is settled its groups are marked by a rule that repeats what settling does, and may drift
            // from it: a snapshot with such a group would be of no state at all.
            if let Some(group) = machine.saver().spoiled() {
                tracing::error!("snapshot {height} is given up: group {group} was written before it was saved");
                self.snapshots.give_up();
                self.fail(machine);
            } else if machine.saver().left() == 0 {
                machine.end_snapshot();
                self.state = State::Copied(height);
            }
        }
        // A snapshot that is ahead of the journal is not finished: it would be of a height that a crash takes back.
        if let State::Copied(height) = self.state
            && on_disk >= height
        {
            self.snapshots.finish();
            self.state = State::Finishing;
        }
    }

    /// Waits until a block comes back: a height needs room, and time stands still meanwhile.
    ///
    /// # Errors
    /// If the snapshot thread is gone.
    pub fn await_room(&mut self, machine: &mut Machine) -> anyhow::Result<()> {
        // With no snapshot under way no block is out, and none would ever come back.
        assert!(matches!(self.state, State::Copying(_)), "only a snapshot that is copied takes room");
        self.counts.waits += 1;
        self.hand_over(machine);
        let kept = self.snapshots.kept().recv().context("the snapshot thread has stopped")?;
        self.hear(kept, machine);
        Ok(())
    }

    /// From which height on a restart needs whole blocks in the journal, whichever of the newest two snapshots it begins
    /// with. Nothing before there are two: then it needs all of them.
    pub fn needed_from(&self) -> Option<Height> {
        self.needed[0]
    }

    /// Whether none is under way.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// Begins to take a snapshot that other nodes give.
    ///
    /// # Panics
    /// If one is under way.
    pub fn receive(&mut self, note: &ChainNote, groups: usize) {
        assert_eq!(self.state, State::Idle, "one snapshot at a time");
        let info = SnapshotInfo { height: note.height, time_ms: note.time_ms };
        self.snapshots.begin_foreign(info, note.encode(), groups);
        (self.state, self.received) = (State::Receiving, 0);
    }

    /// Takes some of its groups, which were verified.
    pub fn take(&mut self, block: GroupBlock) {
        assert_ne!(self.state, State::Idle, "groups come only while a snapshot is received");
        assert!(self.received < RECEIVED_BLOCKS_MAX, "no more was asked for than has room");
        self.received += 1;
        self.snapshots.put(block);
    }

    /// How many blocks may come before others are on disk.
    pub fn room(&self) -> usize {
        RECEIVED_BLOCKS_MAX.saturating_sub(self.received)
    }

    /// All groups were taken.
    pub fn finish_receiving(&self) {
        assert_eq!(self.state, State::Receiving, "only what is under way is finished");
        self.snapshots.finish();
    }

    /// Gives up what other nodes give.
    pub fn give_up_receiving(&mut self) {
        assert!(matches!(self.state, State::Receiving | State::Received(_)), "only what was begun is given up");
        self.snapshots.give_up();
        self.state = State::Idle;
    }

    /// Whether what other nodes gave is on disk; unknown as long as it is under way.
    pub fn is_received(&self) -> Option<bool> {
        if let State::Received(good) = self.state { Some(good) } else { None }
    }

    /// Ends: what was finished is on disk, what was not is left out.
    pub fn close(self) -> SnapshotCounts {
        self.snapshots.close();
        self.counts
    }

    fn begin(&mut self, machine: &mut Machine) {
        let groups = machine.layout().groups();
        assert_eq!(self.state, State::Idle, "one snapshot at a time");
        let Some((note, changed)) = machine.begin_snapshot() else { return };
        assert!(note.height > self.last, "a snapshot is of a later height than the one before it");
        assert!(note.receipts_from <= note.height, "receipts are known again from below the snapshot on");
        assert!(changed <= groups, "no more groups have changed than there are");
        (self.began, self.groups) = (self.tick, 0);
        self.last = note.height;
        self.under_way = note.receipts_from;
        let info = SnapshotInfo { height: note.height, time_ms: note.time_ms };
        self.snapshots.begin(info, note.encode(), groups, changed);
        self.state = State::Copying(note.height);
    }

    fn hand_over(&mut self, machine: &mut Machine) {
        machine.take_blocks(&mut self.blocks);
        self.blocks.drain(..).for_each(|block| self.snapshots.put(block));
    }

    fn hear(&mut self, kept: KeeperEvent, machine: &mut Machine) {
        let receives = matches!(self.state, State::Receiving | State::Received(_));
        match kept {
            // A block of another node's snapshot is none of the machine's, and does not go back to it.
            KeeperEvent::Block(_) if self.received > 0 => self.received -= 1,
            KeeperEvent::Done(_) if receives => self.state = State::Received(true),
            KeeperEvent::Failed(problem) if receives => {
                tracing::warn!("a snapshot from other nodes came to nothing: {problem}");
                self.state = State::Received(false);
            }
            KeeperEvent::Block(block) => machine.give_back_block(block),
            KeeperEvent::Done(taken) => {
                tracing::info!(
                    "snapshot {}: {} groups changed, {} written, {} bytes, {}",
                    taken.height,
                    taken.groups,
                    taken.groups_written,
                    taken.bytes,
                    if taken.direct { "past the page cache" } else { "through the page cache" },
                );
                assert_eq!(self.state, State::Finishing, "a snapshot is done when all of it was handed over");
                assert_eq!(taken.height, self.last, "the snapshot that is done is the one that began last");
                assert!(self.needed[1].is_none_or(|before| before <= self.under_way), "what a start needs moves up");
                self.counts.taken += 1;
                self.needed = [self.needed[1], Some(self.under_way)];
                self.counts.needed_from = self.needed_from();
                self.counts.last = Some(taken);
                self.state = State::Idle;
            }
            KeeperEvent::Failed(problem) => {
                tracing::warn!("a snapshot came to nothing ({problem}); the next one is tried in a while");
                self.fail(machine);
            }
        }
    }

    fn fail(&mut self, machine: &mut Machine) {
        // Its groups belong to the next one, which comes after the usual pause: a disk that fails is not tried in every
        // tick.
        machine.give_up_snapshot();
        self.counts.failed += 1;
        self.state = State::Idle;
        (self.began, self.groups) = (self.tick, 0);
    }
}
