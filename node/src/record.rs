//! Record: what a tick gives out, sorted into what the disk gets and what waits for it.

use std::collections::VecDeque;

use engine::io::{Output, Receipt};
use storage::{Frame, FrameKind, Group};

/// Receipts that wait until the group that holds their height is on disk.
#[derive(Default)]
pub struct Held {
    groups: VecDeque<(u64, Vec<Receipt>)>,
}

impl Held {
    /// Sorts a tick's outputs: frames and log entries make a group, receipts wait for it. `None` if there is nothing
    /// for the disk, and nothing that waits.
    pub fn record(&mut self, id: u64, outputs: &mut Vec<Output>) -> Option<Group> {
        let mut group = Group { id, ..Group::default() };
        let mut receipts = Vec::new();
        for output in outputs.drain(..) {
            match output {
                Output::Decided(decided) => {
                    let height = decided.block.header.height;
                    group.frames.push(Frame { kind: FrameKind::Decided, height, body: decided.encode() });
                }
                Output::Settled(settled) => {
                    let body = settled.encode().to_vec();
                    group.frames.push(Frame { kind: FrameKind::Settled, height: settled.height, body });
                }
                Output::Log { height, entry } => group.entries.push((height, entry)),
                Output::Receipt { receipt, .. } => receipts.push(receipt),
                _ => {}
            }
        }
        let nothing = group.frames.is_empty() && group.entries.is_empty();
        if nothing && receipts.is_empty() {
            return None;
        }
        // Refusals before any block need no disk, but they keep their place in the order.
        self.groups.push_back((id, receipts));
        Some(group)
    }

    /// The receipts of every group up to `synced`, in order.
    pub fn release(&mut self, synced: u64) -> Vec<Receipt> {
        let mut released = Vec::new();
        while self.groups.front().is_some_and(|(group, _)| *group <= synced) {
            released.extend(self.groups.pop_front().into_iter().flat_map(|(_, receipts)| receipts));
        }
        released
    }
}
