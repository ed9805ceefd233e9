//! What a run has done so far.

use std::collections::BTreeMap;

use engine::io::{Output, ShedReason, Verdict};
use engine::{Hash, Height, PeerId};
use systems::{Counts, Machine};

use crate::snapshots::SnapshotCounts;

/// What a run has done so far.
#[derive(Clone, Default, Debug)]
pub struct Totals {
    /// The last settled height.
    pub height: Height,
    /// BLAKE3 of the image after that height.
    pub root: Hash,
    /// The hash that chains this root to those of all heights before.
    pub root_chain: Hash,
    /// Sums over all heights.
    pub counts: Counts,
    /// Intents that simulated players sent.
    pub sent: u64,
    /// Receipts that went out, settled and refused.
    pub receipts: u64,
    /// Receipts that were refusals before any block.
    pub turned_away: u64,
    /// Intents and pledges that this node did not take.
    pub shed: u64,
    /// Those of them that it had no room or no time for.
    pub short: u64,
    /// Receipts that were refusals, by code.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Ticks that the clock passed by.
    pub ticks_missed: u64,
    /// Ticks that were skipped because the disk was behind.
    pub ticks_stalled: u64,
    /// What has become of snapshots; known when the node has ended.
    pub snapshots: SnapshotCounts,
    /// What the disk says if it has no room now: this node stands still until it has.
    pub disk_full: Option<String>,
}

impl Totals {
    /// The totals of a node that goes on where its machine stands.
    pub(crate) fn begin(machine: &Machine) -> Self {
        let chain = machine.chain();
        Self { height: chain.settled, root_chain: chain.root_chains[0], ..Self::default() }
    }

    /// All counts with the names that programs read.
    pub fn list(&self) -> [(&'static str, u64); 11] {
        [
            ("rolls", self.counts.rolls),
            ("bets_placed", self.counts.bets_placed),
            ("bets_resolved", self.counts.bets_resolved),
            ("refused", self.counts.refused + self.turned_away),
            ("applied", self.counts.applied),
            ("receipts", self.receipts),
            ("shed", self.shed),
            ("snapshots", self.snapshots.taken),
            ("snapshots_failed", self.snapshots.failed),
            ("ticks_missed", self.ticks_missed),
            ("ticks_stalled", self.ticks_stalled),
        ]
    }

    /// Adds the height that was settled last.
    pub(crate) fn add_height(&mut self, machine: &Machine) {
        let report = machine.report();
        // A height that was added twice would count its bets twice.
        assert!(machine.chain().settled > self.height, "a height is added once");
        self.counts += report.counts;
        self.root = report.root;
        self.height = machine.chain().settled;
        self.root_chain = machine.chain().root_chains[0];
    }

    /// Adds an output that goes out.
    pub(crate) fn add_output(&mut self, output: &Output) {
        match output {
            // It was taken, and goes on to wait: its receipt goes over the later connection.
            Output::Shed { reason: ShedReason::Moved, .. } => {}
            Output::Shed { reason, .. } => {
                self.shed += 1;
                self.short += u64::from(reason.is_shortage());
            }
            // It goes nowhere from here: who waits for it is at another node, which counts it, or has left.
            Output::Receipt { to: PeerId::NONE, .. } => {}
            Output::Receipt { receipt, .. } => {
                self.receipts += 1;
                if let Verdict::Refused(refusal) = receipt.verdict {
                    *self.refusals.entry(refusal.name()).or_default() += 1;
                    // A receipt without a height is that of an intent that no block ever had.
                    self.turned_away += u64::from(receipt.height == Height::GENESIS);
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::message::intent::IntentId;

    use super::*;

    #[test]
    fn what_is_the_senders_own_fault_is_no_shortage_and_what_moved_was_taken() {
        let counted = |reason| {
            let mut totals = Totals::default();
            let id = IntentId { key: [7; 32], number: 1, mark: [3; 16] };
            totals.add_output(&Output::Shed { to: PeerId::LOCAL, id, reason });
            (totals.shed, totals.short)
        };
        for (reason, name, _) in ShedReason::ALL {
            let wanted = match name {
                "BUSY" | "CLOSED" | "DISK_FULL" | "CLOCK_BEHIND" => (1, 1),
                "MOVED" => (0, 0),
                _ => (1, 0),
            };
            assert_eq!(counted(reason), wanted, "{name}");
        }
    }
}
