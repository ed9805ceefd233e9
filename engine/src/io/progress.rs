//! Where a chain stands, and how a node is.

use crate::Hash;
use crate::ids::Height;
use crate::limits::VALIDATORS_MAX;
use crate::message::vote::quorum;

const _: () = assert!(VALIDATORS_MAX <= u128::BITS, "every slot has a bit");

/// Slots of validators: a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SlotList(pub u128);

impl SlotList {
    /// Whether a slot is among them.
    pub fn contains(self, slot: u32) -> bool {
        assert!(slot < VALIDATORS_MAX, "every slot has a bit");
        self.0 >> slot & 1 == 1
    }

    /// The slots, rising.
    pub fn slots(self) -> impl Iterator<Item = u32> {
        (0..u128::BITS).filter(move |slot| self.0 >> slot & 1 == 1)
    }
}

impl std::fmt::Display for SlotList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut slots = self.slots();
        if let Some(first) = slots.next() {
            write!(f, "{first}")?;
        }
        slots.try_for_each(|slot| write!(f, ", {slot}"))
    }
}

/// Where a node's chain stands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ChainProgress {
    /// The node's time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// The last decided height that is on disk.
    pub decided: Height,
    /// The last settled height that is on disk.
    pub settled: Height,
    /// The last height whose `root_chain` a decided header has: what a quorum of validators answers for.
    pub certified: Height,
    /// `root_chain` of the settled height.
    pub root_chain: Hash,
    /// It votes on nothing, for whatever reason: it has no slot, it listens first, or it cannot know what it signed.
    pub is_silent: bool,
    /// Its disk is full: it takes no intents, and settles nothing.
    pub disk_full: bool,
}

impl ChainProgress {
    /// Takes note of a height that was decided: its header has the root chain of the height two before.
    pub fn decide(&mut self, height: Height) {
        assert!(height >= self.decided, "a chain does not go back");
        (self.decided, self.certified) = (height, height.back(2));
    }

    /// Takes note of a height that was settled.
    pub fn settle(&mut self, height: Height, root_chain: Hash) {
        assert!(height >= self.settled, "a chain does not go back");
        assert!(height <= self.decided, "nothing is settled before it is decided");
        (self.settled, self.root_chain) = (height, root_chain);
    }
}

/// What a node's part in the order of blocks is at.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OrderProgress {
    /// The round of the height above the last decided one.
    pub round: u32,
    /// Whose turn it is there.
    pub proposer: u32,
    /// This node's slot, if it is a validator.
    pub slot: Option<u32>,
    /// How many validators there are.
    pub validators: u32,
    /// How many of them are connected, this one included.
    pub heard: u32,
    /// Receipts that it gave since its start.
    pub receipts: u64,
    /// Validators whose shares of the beacon have not come, where it has been awaited for too long.
    pub missing_shares: SlotList,
}

impl OrderProgress {
    /// How many validators must agree.
    pub fn quorum(&self) -> u32 {
        quorum(self.validators as usize) as u32
    }
}

/// How a node is, for whoever looks after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// Where its chain stands.
    pub standing: ChainProgress,
    /// Connections that it has.
    pub connections: u32,
    /// Other nodes among them.
    pub nodes: u32,
    /// Of those, the ones that are behind this node's settled height.
    pub behind: u32,
    /// The one that is furthest behind: its network key, and its settled height.
    pub furthest: Option<([u8; 32], Height)>,
    /// What its part in the order of blocks is at.
    pub order: OrderProgress,
}

impl NodeStatus {
    /// Why the node is not as it should be, in a few words; nothing if it is.
    pub fn unready(&self) -> Option<&'static str> {
        match self.standing {
            ChainProgress { disk_full: true, .. } => Some("disk full"),
            // One without a slot votes on nothing by its operator's will, and is of use to players.
            ChainProgress { is_silent: true, .. } if self.order.slot.is_some() => {
                // Whoever starts listens until it hears a quorum: its log is as whole as it was.
                Some(match self.order.heard < self.order.quorum() {
                    true => "does not vote: it hears too few validators",
                    // The first takes less than a second; the second ends by what others decide, and idle they decide nothing.
                    false => {
                        "does not vote: it has just begun and listens, or its log is lost, and it waits for heights of the others, \
                         which grow while somebody plays"
                    }
                })
            }
            _ if self.order.missing_shares != SlotList::default() => Some("waits for shares of the beacon"),
            _ => None,
        }
    }

    /// Whether it is a validator that hears too few of them for anything to be decided. It may do all that is asked of it, and count
    /// where somebody looks at all of them together; whoever looks at it alone must not take it for well.
    pub fn lacks_quorum(&self) -> bool {
        self.order.slot.is_some() && self.order.heard < self.order.quorum()
    }
}
