//! Record: what a tick gives out, sorted into what goes out at once, what the disk gets, and what waits for it: votes,
//! proposals and standings leave when the group that holds what they say is on disk.

use std::collections::VecDeque;

use engine::io::{ChainProgress, Output};
use engine::limits::{UNSETTLED_RECORDED_MAX, UNSYNCED_TICKS_MAX};
use engine::message::block::Decided;
use engine::message::certificate::Settled;
use engine::{Hash, Height};
use storage::{Frame, FrameKind, SyncGroup};

/// Outputs that wait until the group of their tick is on disk.
pub struct UnsyncedReplies {
    ticks: VecDeque<Tick>,
    /// The last tick that the disk said it has.
    synced: Option<u64>,
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
        Self { ticks: VecDeque::new(), synced: None, standing }
    }

    /// Sorts a tick's outputs: frames and log entries make a group for the disk, receipts and updates wait for it. `None` if
    /// there is nothing for the disk, and nothing that waits.
    ///
    /// # Panics
    /// If an output is among them that should have gone out at once, or heights or ticks do not follow one another.
    pub fn record(&mut self, id: u64, outputs: &mut Vec<Output>) -> Option<SyncGroup> {
        assert!(self.ticks.back().is_none_or(|last| last.id < id), "tick {id} is recorded after the one before it");
        assert!(self.synced.is_none_or(|synced| synced < id), "tick {id} is recorded before the disk can have it");
        let given = outputs.len();
        let mut fences = 0;
        let mut group = SyncGroup { id, ..SyncGroup::default() };
        let mut held = Tick { id, outputs: Vec::new(), decided: None, settled: None };
        for output in outputs.drain(..) {
            match output {
                Output::Decided(decided) => group.frames.push(self.decide(&mut held, &decided)),
                Output::Settled(settled) => group.frames.push(self.settle(&mut held, &settled)),
                Output::Log { height, entry } => group.entries.push((height, entry)),
                // Refusals before any block need no disk, but they keep their place in the order.
                Output::Receipt { .. } | Output::Table(_) | Output::Account { .. } | Output::ToNode { .. } => {
                    assert!(!is_at_once(&output), "what does not wait for the disk has gone out");
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
                    fences += 1;
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
        let placed = group.frames.len() + group.entries.len() + held.outputs.len() + fences;
        assert_eq!(placed, given, "whatever a tick gave out goes to one place, and nothing of it is lost");
        self.check_group(&group, &held);
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

    /// The frame of a block. A start refuses a journal in which a height is missing, or stands twice.
    fn decide(&self, held: &mut Tick, decided: &Decided) -> Frame {
        let (height, due) = (decided.block.header.height, self.last_decided(held).next());
        assert_eq!(height, due, "a height is decided once, and in its turn");
        assert_eq!(decided.certificate.height, height, "a block stands with the certificate of its height");
        held.decided = Some(height);
        Frame { kind: FrameKind::Decided, height, body: decided.encode() }
    }

    /// The frame of what a block led to. Whoever replays the journal executes each as it comes: one left out would change all
    /// behind it.
    fn settle(&self, held: &mut Tick, settled: &Settled) -> Frame {
        let (height, due) = (settled.height, self.last_settled(held).next());
        assert_eq!(height, due, "a height is settled once, and in its turn");
        assert!(height <= self.last_decided(held), "nothing is settled before it is decided");
        held.settled = Some((height, settled.root_chain));
        Frame { kind: FrameKind::Settled, height, body: settled.encode() }
    }

    /// What a start takes for granted of all that a node wrote.
    fn check_group(&self, group: &SyncGroup, held: &Tick) {
        let (decided, settled) = (self.last_decided(held), self.last_settled(held));
        let waiting = decided.0 - settled.0;
        assert!(waiting <= UNSETTLED_RECORDED_MAX as u64, "a start takes no more heights that are not settled");
        // A vote for a height further up would be one of a set of validators that nobody knows yet.
        let due = group.entries.iter().all(|(height, _)| *height <= decided.next());
        assert!(due, "nothing is signed above the height that is due");
    }

    /// The last height that was decided, by this tick or before it.
    fn last_decided(&self, held: &Tick) -> Height {
        let before = self.ticks.iter().rev().find_map(|tick| tick.decided);
        held.decided.or(before).unwrap_or(self.standing.decided)
    }

    /// The last height that was settled, by this tick or before it.
    fn last_settled(&self, held: &Tick) -> Height {
        let before = self.ticks.iter().rev().find_map(|tick| tick.settled);
        held.settled.or(before).map_or(self.standing.settled, |(height, _)| height)
    }

    /// What waited for every group up to `synced`, in order, and where the chain stands on disk if that changed.
    pub fn release(&mut self, synced: u64, released: &mut Vec<Output>) -> Option<ChainProgress> {
        assert!(self.synced.is_none_or(|before| before < synced), "the disk says of no tick twice that it has it");
        self.synced = Some(synced);
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

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use super::*;

    fn settled(height: u64) -> Output {
        let height = Height(height);
        let (beacon, root, root_chain) = ([1; 48], [2; 32], [height.0 as u8; 32]);
        Output::Settled(Box::new(Settled { height, beacon, root, root_chain, verdicts: Vec::new() }))
    }

    /// Where a chain stands that has decided five heights and settled two.
    fn replies() -> UnsyncedReplies {
        let (decided, settled) = (Height(5), Height(2));
        UnsyncedReplies::at(ChainProgress { decided, settled, ..ChainProgress::default() })
    }

    #[test]
    fn a_record_that_a_start_would_refuse_is_not_written() {
        let group = replies().record(7, &mut vec![settled(3), settled(4)]).expect("two frames");
        assert_eq!(group.frames.iter().map(|frame| frame.height.0).collect::<Vec<_>>(), [3, 4]);
        let entry = |height| Output::Log { height: Height(height), entry: vec![1] };
        assert!(replies().record(7, &mut vec![entry(6)]).is_some(), "of the height that is due");
        let refused: [fn() -> Vec<Output>; 4] = [
            || vec![settled(4)],
            || vec![settled(3), settled(3)],
            || (3..=6).map(settled).collect(),
            || vec![Output::Log { height: Height(7), entry: vec![1] }],
        ];
        for outputs in refused {
            assert!(catch_unwind(|| replies().record(7, &mut outputs())).is_err(), "{:?}", outputs());
        }
    }

    #[test]
    fn a_tick_is_on_disk_once_and_is_recorded_before() {
        let after = |id: u64, synced: u64| {
            let mut replies = replies();
            assert!(replies.record(7, &mut vec![settled(3)]).is_some());
            let standing = replies.release(7, &mut Vec::new()).expect("it has moved");
            assert_eq!((standing.settled, standing.root_chain), (Height(3), [3; 32]));
            replies.record(id, &mut vec![settled(4)]);
            replies.release(synced, &mut Vec::new()).map(|standing| standing.settled)
        };
        assert_eq!(after(8, 8), Some(Height(4)));
        assert!(catch_unwind(|| after(7, 8)).is_err(), "a tick that is on disk");
        assert!(catch_unwind(|| after(9, 7)).is_err(), "said twice");
    }
}
