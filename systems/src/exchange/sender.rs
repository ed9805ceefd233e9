//! Who sent something that came in, and where it entered the cluster.

use engine::PeerId;

/// Who sent an intent, a pledge or an opening.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sender {
    /// The connection.
    pub peer: PeerId,
    /// Where it entered the cluster.
    pub origin: Origin,
}

/// Where something entered the cluster.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Origin {
    /// Here.
    Here,
    /// At another validator.
    Validator(u32),
    /// At a node that votes on nothing, or has not proved which validator it is.
    Follower,
}

impl Sender {
    /// Who sent what stands in the record, or came in a block of others.
    pub const NOBODY: Self = Self { peer: PeerId::NONE, origin: Origin::Here };

    /// Who waits for the receipt here.
    pub(super) fn waits(&self) -> PeerId {
        if self.origin == Origin::Here { self.peer } else { PeerId::NONE }
    }
}
