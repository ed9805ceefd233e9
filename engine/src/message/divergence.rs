//! Divergence: a block that names another root than the one this node computed.

use super::Hash;
use super::block::Header;
use super::certificate::Certificate;
use super::vote::Proposal;
use crate::ids::Height;

/// A block that names another root than this node computed: its header, and who answers for it. What this node has instead
/// is in its own journal, as the settled frame of that height.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Divergence {
    /// The settled height whose root differs: two below the block's.
    pub height: Height,
    /// `root_chain` of that height as this node computed it.
    pub own: Hash,
    /// The block's header, which names another one.
    pub header: Header,
    /// Its proposer's signed word, where it came with one.
    pub proposal: Option<Proposal>,
    /// The certificate of a quorum, where one decided it.
    pub certificate: Option<Certificate>,
}

impl Divergence {
    /// Whose word it is: the slot that signed the proposal. The header's own, which anybody may write, where none came.
    pub fn proposer(&self) -> u32 {
        self.proposal.map_or(self.header.proposer, |proposal| proposal.body.slot)
    }

    /// `root_chain` as the block names it.
    pub fn theirs(&self) -> Hash {
        self.header.root_chain
    }
}
