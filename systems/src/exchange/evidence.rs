//! Evidence: what validators said of which only one may be. Kept for some heights in memory, for ever on disk, and told to
//! the other nodes once.

use std::collections::BTreeMap;

use bevy_ecs::resource::Resource;
use engine::Height;
use engine::io::{Alarm, Output};
use engine::limits::{AHEAD_HEIGHTS, EVIDENCE_HEIGHTS, VALIDATORS_MAX};
use engine::message::evidence::Evidence;
use engine::message::node::NodeMessage;

use super::tick::Outbox;

// Whoever contradicts itself at a height whose votes are counted is held to it.
const _: () = assert!(EVIDENCE_HEIGHTS >= AHEAD_HEIGHTS);

/// The first contradiction of each slot at each height, of each kind.
#[derive(Resource, Default)]
pub struct EvidenceKept {
    rows: BTreeMap<(Height, u32, u8), Evidence>,
}

/// Kinds of evidence: a slot has one row of each at a height.
const KINDS: usize = 3;

fn place(evidence: &Evidence) -> (Height, u32, u8) {
    let kind = match evidence {
        Evidence::Votes(..) => 1,
        Evidence::Proposals(..) => 2,
        Evidence::Shares(..) => 3,
    };
    (evidence.height(), evidence.slot(), kind)
}

impl EvidenceKept {
    /// Whether a contradiction of this slot, height and kind is not known yet, at a height that is near.
    pub fn wants(&self, evidence: &Evidence, decided: Height) -> bool {
        let height = evidence.height();
        let near = height.0.saturating_add(EVIDENCE_HEIGHTS) > decided.0 && height.0 <= decided.0 + EVIDENCE_HEIGHTS;
        near && !self.rows.contains_key(&place(evidence))
    }

    /// Keeps evidence whose signatures were verified: it goes to the disk, the operator and the other nodes, once.
    pub fn keep(&mut self, evidence: Evidence, decided: Height, outbox: &mut Outbox) {
        assert!(evidence.contradicts(), "evidence is two statements of which only one may be");
        assert!(evidence.slot() < VALIDATORS_MAX, "only a validator's statements are kept");
        // Each is told to all others once, who tell it once themselves: without this, it would go round for ever.
        if !self.wants(&evidence, decided) {
            return;
        }
        self.rows.insert(place(&evidence), evidence);
        let (slot, height) = (evidence.slot(), evidence.height());
        outbox.outputs.push(Output::Evidence(Box::new(evidence)));
        outbox.outputs.push(Output::Alarm(Alarm::Equivocated { slot, height }));
        outbox.tell(NodeMessage::Evidence(evidence));
    }

    /// Forgets what is long past.
    pub fn forget(&mut self, decided: Height) {
        let first = Height(decided.0.saturating_sub(EVIDENCE_HEIGHTS));
        if self.rows.first_key_value().is_some_and(|((height, ..), _)| *height < first) {
            self.rows = self.rows.split_off(&(first, 0, 0));
        }
        let rows_max = (2 * EVIDENCE_HEIGHTS as usize + 1) * VALIDATORS_MAX as usize * KINDS;
        assert!(self.rows.len() <= rows_max, "what others make a node hold is bounded");
    }

    /// What is kept, by height and slot.
    pub fn rows(&self) -> impl Iterator<Item = &Evidence> {
        self.rows.values()
    }
}

#[cfg(test)]
mod tests {
    use engine::message::vote::{Vote, VoteBody, VoteKind};

    use super::*;

    #[test]
    fn evidence_of_heights_that_are_far_away_is_not_wanted_however_far() {
        let wants = |height: u64| {
            let vote = |block| {
                let body = VoteBody::new(VoteKind::Prevote, Height(height), 0, block, 1);
                Vote { body, signature: [0; 64] }
            };
            EvidenceKept::default().wants(&Evidence::Votes(vote(None), vote(Some([1; 32]))), Height(100))
        };
        assert_eq!((0..300).filter(|height| wants(*height)).collect::<Vec<u64>>(), (37..=164).collect::<Vec<u64>>());
        assert!(!wants(u64::MAX) && !wants(u64::MAX - EVIDENCE_HEIGHTS));
    }
}
