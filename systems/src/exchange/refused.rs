//! Refused: intents that a block refused and whose number it left, so that a copy on its way from another node is not taken for another
//! try.
//!
//! An intent that enters at one node goes to all others, one copy to each from there. One that comes after the height that refused it
//! would go into a block of its own otherwise: whoever was told that it is refused would have it applied, and hear of it nowhere. The
//! client may try again, and its node then sends another copy. Anybody can have as many such refusals as blocks hold, which makes a
//! node forget those before: what is forgotten here is only as it would be without.

use std::collections::{BTreeMap, VecDeque};

use engine::PeerId;
use engine::limits::REFUSED_KEPT_MAX;
use engine::message::intent::IntentId;

/// The last of them, each with the node whose copy has come.
#[derive(Default)]
pub struct Refused {
    rows: BTreeMap<IntentId, PeerId>,
    /// From the oldest on.
    order: VecDeque<IntentId>,
}

impl Refused {
    /// An intent was refused and left its number. A copy of it came from `copied`, or from no other node.
    pub fn keep(&mut self, id: IntentId, copied: PeerId) {
        if self.rows.insert(id, copied).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > REFUSED_KEPT_MAX {
            let oldest = self.order.pop_front().expect("there are many");
            assert!(self.rows.remove(&oldest).is_some(), "what is in order has a row");
        }
        assert_eq!(self.rows.len(), self.order.len(), "each of them goes in its turn");
    }

    /// Whether an intent that comes from another node was refused before and is the first copy of it from there: it was on its way. Another
    /// one from there is another try.
    pub fn is_late(&mut self, id: &IntentId, from: PeerId) -> bool {
        let Some(copied) = self.rows.get_mut(id) else { return false };
        std::mem::replace(copied, from) != from
    }
}
