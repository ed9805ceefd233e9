//! What passes between a node and its disk: looked at, and where a bug is planted, spoiled.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::message::block::Decided;
use engine::message::certificate::Settled;
use engine::{Hash, Height};
use node::recording::Recording;
use order::consensus::LogEntry;
use storage::{Disk, Frame, FrameKind, SyncGroup, Synced};

/// What was seen at one node's disk.
#[derive(Default)]
pub struct Record {
    /// Decided blocks that were said to be on disk, and nobody looked at yet. What a node decides and loses with its power
    /// bound nobody: nothing that followed from it had left the node.
    pub decided: Vec<Decided>,
    /// Settled heights that were said to be on disk, and nobody looked at yet.
    pub settled: Vec<Settled>,
    /// What groups hold that was not said to be on disk, oldest first.
    waiting: VecDeque<Waiting>,
    /// What groups hold that is not on disk, whatever was said, oldest first.
    unkept: VecDeque<Unkept>,
    /// The highest decided height that was said to be on disk, over all lives.
    pub promised: Height,
    /// The highest settled height that was said to be on disk, over all lives.
    pub settled_to: Height,
    /// The last decided blocks that are on disk in truth.
    pub kept: BTreeMap<Height, Hash>,
    /// The highest height that an entry of the consensus log on the disk is of.
    pub logged_to: Height,
    /// The fence that is on the disk.
    pub fence: Height,
    /// When the disk will have something to say.
    pub due: Option<Duration>,
    /// Groups that were submitted.
    pub submitted: u64,
    /// Ticks that shared a sync with another.
    pub merged: u64,
    /// How often there was no room.
    pub full: u64,
    /// Statements of which only one may be that were recorded: by whom.
    pub blamed: Vec<u32>,
}

/// What a group holds that was not said to be on disk.
struct Waiting {
    group: u64,
    decided: Vec<Decided>,
    settled: Vec<Settled>,
}

/// What a group holds that is not on disk.
struct Unkept {
    group: u64,
    blocks: Vec<(Height, Hash)>,
    logged: Option<Height>,
    fence: Option<Height>,
}

/// Decided blocks of which it is remembered that they are on disk.
const KEPT: usize = 64;

impl Record {
    /// A decided block is on disk.
    pub fn keep(&mut self, height: Height, block: Hash) {
        self.kept.insert(height, block);
        while self.kept.len() > KEPT {
            self.kept.pop_first();
        }
    }

    fn submit(&mut self, group: &SyncGroup) {
        let (mut decided, mut settled) = (Vec::new(), Vec::new());
        for frame in &group.frames {
            take_frame(frame, &mut decided, &mut settled);
            if frame.kind == FrameKind::Evidence
                && let Ok(evidence) = engine::message::evidence::Evidence::decode(&frame.body)
            {
                self.blamed.push(evidence.slot());
            }
        }
        let blocks = decided.iter().map(|decided| (decided.block.header.height, decided.certificate.block)).collect();
        let logged = group.entries.iter().map(|(height, _)| *height).max();
        self.unkept.push_back(Unkept { group: group.id, blocks, logged, fence: group.fence });
        self.waiting.push_back(Waiting { group: group.id, decided, settled });
        self.submitted += 1;
    }

    /// Groups are on disk in truth.
    fn reached(&mut self, group: u64) {
        while let Some(unkept) = self.unkept.pop_front_if(|unkept| unkept.group <= group) {
            unkept.blocks.into_iter().for_each(|(height, block)| self.keep(height, block));
            self.logged_to = self.logged_to.max(unkept.logged.unwrap_or_default());
            self.fence = self.fence.max(unkept.fence.unwrap_or_default());
        }
    }

    /// Groups were said to be on disk.
    fn synced(&mut self, group: u64) {
        let mut ticks = 0;
        while let Some(waiting) = self.waiting.pop_front_if(|waiting| waiting.group <= group) {
            ticks += 1;
            let highest = waiting.decided.iter().map(|decided| decided.block.header.height).max();
            self.promised = self.promised.max(highest.unwrap_or_default());
            let highest = waiting.settled.iter().map(|settled| settled.height).max();
            self.settled_to = self.settled_to.max(highest.unwrap_or_default());
            self.decided.extend(waiting.decided);
            self.settled.extend(waiting.settled);
        }
        self.merged += u64::from(ticks > 1);
    }

    /// The node died: what was not on disk is not awaited any more.
    pub fn died(&mut self) {
        self.waiting.clear();
        self.unkept.clear();
        self.due = None;
    }

    /// The disk was lost: what was promised before is not there any more, and nobody holds that against it.
    pub fn wiped(&mut self) {
        self.died();
        self.kept.clear();
        (self.promised, self.logged_to, self.fence) = Default::default();
    }
}

/// How what passes by is spoiled.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Spoiled {
    /// Not at all.
    #[default]
    Not,
    /// The consensus log is not written.
    LogSkipped,
    /// The consensus log has what this validator said, and nothing of what it heard.
    OwnLogOnly(u32),
    /// It is said at once that everything is on disk.
    SaidBeforeSync,
    /// The fence is not written.
    FenceSkipped,
}

impl Spoiled {
    fn spoil(self, group: &mut SyncGroup) {
        match self {
            Self::Not | Self::SaidBeforeSync => {}
            Self::LogSkipped => group.entries.clear(),
            Self::OwnLogOnly(slot) => group.entries.retain(|(_, entry)| is_of(slot, entry)),
            Self::FenceSkipped => group.fence = None,
        }
    }
}

/// Whether an entry of the consensus log is a body, or a message that a validator signed.
fn is_of(slot: u32, entry: &[u8]) -> bool {
    match entry.split_first() {
        Some((1, rest)) => match LogEntry::decode(rest) {
            Ok(LogEntry::Vote(vote)) => vote.body.slot == slot,
            Ok(LogEntry::Proposal(proposal)) => proposal.body.slot == slot,
            _ => false,
        },
        _ => true,
    }
}

/// A record that a node and whoever looks at it share. Everything is one thread: nobody ever waits for it.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Record>>);

impl Shared {
    /// The record.
    pub fn get(&self) -> MutexGuard<'_, Record> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk that is looked at.
pub struct Witness {
    disk: Disk,
    record: Shared,
    spoiled: Spoiled,
    /// Groups that were said to be on disk before they are.
    said: Vec<u64>,
}

impl Witness {
    /// Looks at a disk.
    pub fn new(disk: Disk, record: Shared, spoiled: Spoiled) -> Self {
        Self { disk, record, spoiled, said: Vec::new() }
    }

    fn hear(&mut self, synced: &Synced) {
        let mut record = self.record.get();
        match synced {
            Synced::UpTo(group) => record.synced(*group),
            Synced::Full(_) => record.full += 1,
            Synced::Failed(_) => {}
        }
    }
}

/// Reads a frame that a node wrote.
pub fn take_frame(frame: &Frame, decided: &mut Vec<Decided>, settled: &mut Vec<Settled>) {
    match frame.kind {
        FrameKind::Decided => decided.push(Decided::decode(&frame.body).expect("the node's own frame")),
        FrameKind::Settled => settled.push(Settled::decode(&frame.body).expect("the node's own frame")),
        _ => {}
    }
}

impl Recording for Witness {
    fn submit(&mut self, mut group: SyncGroup) {
        self.spoiled.spoil(&mut group);
        self.record.get().submit(&group);
        if self.spoiled == Spoiled::SaidBeforeSync {
            self.said.push(group.id);
        }
        self.disk.submit(group);
    }

    fn poll(&mut self, now: Duration) -> anyhow::Result<Option<Synced>> {
        if let Some(group) = self.said.pop() {
            self.said.clear();
            let synced = Synced::UpTo(group);
            self.hear(&synced);
            self.record.get().due = Some(now);
            return Ok(Some(synced));
        }
        let synced = self.disk.poll(now);
        if let Some(Synced::UpTo(group)) = &synced {
            self.record.get().reached(*group);
        }
        // What was said already is not said again.
        let synced =
            synced.filter(|synced| self.spoiled != Spoiled::SaidBeforeSync || !matches!(synced, Synced::UpTo(_)));
        if let Some(synced) = &synced {
            self.hear(synced);
        }
        self.record.get().due = self.disk.due();
        Ok(synced)
    }

    fn wait(&mut self, _: Option<Instant>) -> anyhow::Result<Option<Synced>> {
        self.poll(Duration::MAX)
    }

    fn keep_from(&mut self, height: Height) {
        self.disk.keep_from(height);
    }

    fn close(self: Box<Self>) {
        self.disk.close();
    }
}
