//! What passes between a node and its disk: looked at, and where a bug is planted, spoiled.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::Height;
use engine::message::block::Decided;
use engine::message::certificate::Settled;
use node::recording::Recording;
use storage::{Disk, Frame, FrameKind, Group, Synced};

/// What was seen at one node's disk.
#[derive(Default)]
pub struct Record {
    /// Decided blocks that were said to be on disk, and nobody looked at yet. What a node decides and loses with its power
    /// bound nobody: nothing that followed from it had left the node.
    pub decided: Vec<Decided>,
    /// Settled heights that were said to be on disk, and nobody looked at yet.
    pub settled: Vec<Settled>,
    /// What groups hold that are not on disk, oldest first.
    waiting: VecDeque<Waiting>,
    /// The highest decided height that was said to be on disk, over all lives.
    pub promised: Height,
    /// The highest settled height that was said to be on disk, over all lives.
    pub settled_to: Height,
    /// When the disk will have something to say.
    pub due: Option<Duration>,
    /// Groups that were written.
    pub groups: u64,
    /// Ticks that shared a sync with another.
    pub merged: u64,
    /// How often there was no room.
    pub full: u64,
}

/// What a group holds that is not on disk yet.
#[derive(Default)]
struct Waiting {
    group: u64,
    decided: Vec<Decided>,
    settled: Vec<Settled>,
}

impl Record {
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
        self.groups += 1;
        self.merged += u64::from(ticks > 1);
    }

    /// The node died: what was not on disk is not awaited any more.
    pub fn died(&mut self) {
        self.waiting.clear();
        self.due = None;
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
    /// It is said at once that everything is on disk.
    SaidBeforeSync,
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
    fn submit(&mut self, mut group: Group) {
        let mut waiting = Waiting { group: group.id, ..Waiting::default() };
        for frame in &group.frames {
            take_frame(frame, &mut waiting.decided, &mut waiting.settled);
        }
        self.record.get().waiting.push_back(waiting);
        if self.spoiled == Spoiled::LogSkipped {
            group.entries.clear();
        }
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
        if let Some(synced) = &synced {
            self.hear(synced);
        }
        self.record.get().due = self.disk.due();
        // What was said already is not said again.
        Ok(synced.filter(|synced| self.spoiled != Spoiled::SaidBeforeSync || !matches!(synced, Synced::UpTo(_))))
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
