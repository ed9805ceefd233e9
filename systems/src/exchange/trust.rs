//! Trust: how many intents of other nodes are looked at.
//!
//! To look at an intent is to verify a signature, and whoever may pass intents on could have others do nothing else. Each validator,
//! and each connection of one that follows, therefore has so many that may come to nothing, and some more with time; one that is
//! applied makes up for two. What is not looked at waits where it entered: a validator proposes it itself, and at one that follows
//! it expires, and its player hears so.

use std::collections::BTreeMap;

use engine::Tick;
use engine::limits::{UNPROVEN_MAX, UNPROVEN_PER_TICK};

use super::sender::{Origin, Sender};

/// Intents that one that is applied makes up for: itself, and one that its table or its account refused meanwhile.
const APPLIED_COUNTS: u64 = 2;

const _: () = assert!(UNPROVEN_PER_TICK < UNPROVEN_MAX, "a share comes back over many ticks");
const _: () = assert!(APPLIED_COUNTS > 1, "whoever passes on what others refuse half of the time is not held up");

/// How many were looked at for each node, and led to nothing yet.
#[derive(Default, Debug)]
pub struct Trust(BTreeMap<Node, Unproven>);

/// A validator, whatever its connection, or the row of a connection of one that follows: nobody vouches for those, and none of
/// them takes another's share. There are as many as validators and rows of connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Node {
    Validator(u32),
    Follower(u32),
}

impl Node {
    /// `None` for intents that entered at this node: `Pending` bounds those.
    fn of(sender: &Sender) -> Option<Self> {
        match sender.origin {
            Origin::Here => None,
            Origin::Validator(slot) => Some(Self::Validator(slot)),
            Origin::Follower => Some(Self::Follower(sender.peer.slot)),
        }
    }
}

/// Intents of one node.
#[derive(Clone, Copy, Default, Debug)]
struct Unproven {
    count: u64,
    /// At this tick.
    at: u64,
}

impl Unproven {
    fn now(self, tick: Tick) -> u64 {
        self.count.saturating_sub(UNPROVEN_PER_TICK * tick.0.saturating_sub(self.at))
    }
}

impl Trust {
    /// How many intents of a sender may be looked at now.
    pub(super) fn left(&self, sender: &Sender, tick: Tick) -> usize {
        let Some(node) = Node::of(sender) else { return usize::MAX };
        let unproven = self.0.get(&node).map_or(0, |unproven| unproven.now(tick));
        assert!(unproven <= UNPROVEN_MAX, "no more are looked at than may be");
        (UNPROVEN_MAX - unproven) as usize
    }

    /// Counts `count` intents of `sender` as looked at.
    ///
    /// # Panics
    /// If they are more than may be.
    pub(super) fn look(&mut self, sender: &Sender, count: usize, tick: Tick) {
        assert!(count <= self.left(sender, tick), "it was asked how many");
        if let Some(node) = Node::of(sender).filter(|_| count > 0) {
            let unproven = self.0.entry(node).or_default();
            *unproven = Unproven { count: unproven.now(tick) + count as u64, at: tick.0 };
            assert!(unproven.count <= UNPROVEN_MAX, "no more are looked at than may be");
        }
    }

    /// One of them was applied.
    pub(crate) fn prove(&mut self, sender: &Sender) {
        if let Some(unproven) = Node::of(sender).and_then(|node| self.0.get_mut(&node)) {
            unproven.count = unproven.count.saturating_sub(APPLIED_COUNTS);
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::PeerId;

    use super::*;

    fn at(slot: u32, origin: Origin) -> Sender {
        Sender { peer: PeerId { slot, generation: 0 }, origin }
    }

    /// Looks at as many of a thousand as may be, each of so many ticks.
    fn looked(trust: &mut Trust, sender: &Sender, ticks: std::ops::Range<u64>, applied: usize) -> usize {
        let mut all = 0;
        for tick in ticks.map(Tick) {
            let count = trust.left(sender, tick).min(1_000);
            trust.look(sender, count, tick);
            (0..count.min(applied)).for_each(|_| trust.prove(sender));
            all += count;
        }
        all
    }

    #[test]
    fn what_leads_to_nothing_is_looked_at_slowly() {
        let mut trust = Trust::default();
        let (most, per_tick) = (UNPROVEN_MAX as usize, UNPROVEN_PER_TICK as usize);
        for rogue in [at(3, Origin::Validator(1)), at(4, Origin::Follower)] {
            assert_eq!(looked(&mut trust, &rogue, 0..1_000, 0), most + 999 * per_tick);
            // It has its whole share again after a while.
            assert_eq!(trust.left(&rogue, Tick(1_000 + UNPROVEN_MAX / UNPROVEN_PER_TICK)), most);
        }
        for other in [at(3, Origin::Validator(2)), at(5, Origin::Follower)] {
            assert_eq!(trust.left(&other, Tick(999)), most, "others have their own");
        }
        assert!(trust.left(&at(9, Origin::Validator(1)), Tick(999)) < most, "another connection is the same validator");
        assert_eq!(looked(&mut trust, &at(4, Origin::Here), 0..10, 0), 10_000);
    }

    #[test]
    fn who_passes_on_what_is_applied_is_not_held_up() {
        let mut trust = Trust::default();
        let node = at(3, Origin::Validator(1));
        assert_eq!(looked(&mut trust, &node, 0..1_000, 500), 1_000_000, "half of them applied");
        let few = looked(&mut trust, &node, 1_000..2_000, 100);
        assert!((150_000..250_000).contains(&few), "a tenth of them applied: {few}");
    }
}
