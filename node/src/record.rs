//! Record: what a tick gives out, sorted into what goes out at once, what the disk gets, and what waits for it: votes,
//! proposals and standings leave when the group that holds what they say is on disk.

use std::collections::VecDeque;

use engine::io::{ChainProgress, Output};
use engine::limits::UNSYNCED_TICKS_MAX;
use engine::{Hash, Height};
use storage::{Frame, FrameKind, SyncGroup};

/// Outputs that wait until the group of their tick is on disk.
#[derive(Default)]
pub struct UnsyncedReplies {
    ticks: VecDeque<Tick>,
    /// Where the chain stands on disk.
    standing: ChainProgress,
}

struct Tick {
    id: u64,
    outputs: Vec<Output>,
    /// A height that this tick decided.
    decided: Option<Height>,
    /// A height that this tick settled, and its root chain.
    settled: Option<(Height, Hash)>,
}

/// Whether an output promises nothing about the disk, and does not wait for it.
pub fn is_at_once(output: &Output) -> bool {
    match output {
        Output::Acknowledged { .. } | Output::Shed { .. } | Output::Ban { .. } => true,
        Output::Serve { .. } | Output::Alarm(_) | Output::Diverged(_) => true,
        Output::ToNode { message, .. } => !message.awaits_disk(),
        _ => false,
    }
}

impl UnsyncedReplies {
    /// Nothing waits, and the chain stands here.
    pub fn at(standing: ChainProgress) -> Self {
        assert!(standing.settled <= standing.decided, "nothing is settled before it is decided");
        Self { ticks: VecDeque::new(), standing }
    }

    /// Sorts a tick's outputs: frames and log entries make a group for the disk, receipts and updates wait for it. `None` if
    /// there is nothing for the disk, and nothing that waits.
    ///
    /// # Panics
    /// If an output is among them that should have gone out at once, or heights or ticks do not follow one another.
    pub fn record(&mut self, id: u64, outputs: &mut Vec<Output>) -> Option<SyncGroup> {
        assert!(self.ticks.back().is_none_or(|last| last.id < id), "tick {id} is recorded after the one before it");
        let mut group = SyncGroup { id, ..SyncGroup::default() };
        let mut held = Tick { id, outputs: Vec::new(), decided: None, settled: None };
        for output in outputs.drain(..) {
            match output {
                Output::Decided(decided) => {
                    let height = decided.block.header.height;
                    assert!(self.last_decided(&held) < height, "height {height} is decided once, and in its turn");
                    held.decided = Some(height);
                    group.frames.push(Frame { kind: FrameKind::Decided, height, body: decided.encode() });
                }
                Output::Settled(settled) => {
                    let body = settled.encode();
                    let before = held.settled.map(|(height, _)| height);
                    assert!(before.is_none_or(|before| before < settled.height), "heights are settled in order");
                    assert!(settled.height <= self.last_decided(&held), "nothing is settled before it is decided");
                    group.frames.push(Frame { kind: FrameKind::Settled, height: settled.height, body });
                    held.settled = Some((settled.height, settled.root_chain));
                }
                Output::Log { height, entry } => group.entries.push((height, entry)),
                // Refusals before any block need no disk, but they keep their place in the order.
                Output::Receipt { .. } | Output::Table(_) | Output::Account { .. } | Output::ToNode { .. } => {
                    held.outputs.push(output);
                }
                Output::Evidence(evidence) => {
                    let mut body = Vec::new();
                    evidence.encode(&mut body);
                    // The frame stands under the last decided height; the one that the evidence speaks of is inside.
                    let height = self.last_decided(&held);
                    group.frames.push(Frame { kind: FrameKind::Evidence, height, body });
                }
                Output::Fence { height } => {
                    assert!(group.fence.is_none_or(|before| before <= height), "a fence moves up");
                    group.fence = Some(height);
                }
                Output::Acknowledged { .. }
                | Output::Shed { .. }
                | Output::Ban { .. }
                | Output::Serve { .. }
                | Output::Diverged(_)
                | Output::Alarm(_) => {
                    unreachable!("what does not wait for the disk has gone out")
                }
            }
        }
        let nothing = group.frames.is_empty() && group.entries.is_empty() && held.outputs.is_empty();
        let nothing = nothing && group.fence.is_none();
        // A tick that produced nothing costs no sync: an idle node would otherwise write all the time.
        if nothing {
            return None;
        }
        assert!(self.ticks.len() < UNSYNCED_TICKS_MAX, "ticks are skipped before too many wait for the disk");
        self.ticks.push_back(held);
        Some(group)
    }

    /// The last height that was decided, by this tick or before it.
    fn last_decided(&self, held: &Tick) -> Height {
        let before = self.ticks.iter().rev().find_map(|tick| tick.decided);
        held.decided.or(before).unwrap_or(self.standing.decided)
    }

    /// What waited for every group up to `synced`, in order, and where the chain stands on disk if that changed.
    pub fn release(&mut self, synced: u64, released: &mut Vec<Output>) -> Option<ChainProgress> {
        let before = self.standing;
        // Groups are synced in their order, so whatever an earlier tick recorded is on disk too.
        while let Some(tick) = self.ticks.pop_front_if(|tick| tick.id <= synced) {
            released.extend(tick.outputs);
            tick.decided.iter().for_each(|height| self.standing.decide(*height));
            tick.settled.iter().for_each(|(height, root_chain)| self.standing.settle(*height, *root_chain));
        }
        // What left promises something about the disk: nothing of a tick that the disk does not have may be among it.
        assert!(self.ticks.front().is_none_or(|tick| tick.id > synced), "what waits is not on disk");
        assert!(self.standing.decided >= before.decided, "what is decided never goes back");
        assert!(self.standing.settled >= before.settled, "what is settled never goes back");
        assert!(self.standing.settled <= self.standing.decided, "nothing is settled before it is decided");
        (self.standing != before).then_some(self.standing)
    }

    /// Ticks that wait for the disk.
    pub fn ticks(&self) -> usize {
        self.ticks.len()
    }
}
