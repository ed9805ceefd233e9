//! What an operator must hear of.

use thiserror::Error;

use super::progress::SlotList;
use crate::Hash;
use crate::genesis::hex;
use crate::ids::Height;

/// What an operator must hear of.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// A proposed block names another root than the one this node computed. If a quorum votes for it, this node is the
    /// one that is wrong, and stops.
    #[error(
        "validator {proposer} proposes a block that names root chain {} after height {height}; this node has {}",
        hex(.proposed),
        hex(.own)
    )]
    Diverged {
        /// The settled height whose root differs.
        height: Height,
        /// `root_chain` as this node computed it.
        own: Hash,
        /// `root_chain` as the block names it.
        proposed: Hash,
        /// The proposer's slot.
        proposer: u32,
    },
    /// A validator said two things of which only one may be.
    #[error("validator {slot} said two things at height {height} of which only one may be; both are kept")]
    Equivocated {
        /// The slot of the validator that proposed the block.
        slot: u32,
        /// The height that it spoke of.
        height: Height,
    },
    /// A certificate has a vote of this validator that is not in its log: its key was, or is, in use elsewhere.
    #[error(
        "the certificate of height {height} has a vote of this validator that is not in its log: its key was in use \
         elsewhere, so it votes on nothing until it is three heights above what a quorum of the others tells"
    )]
    OwnVoteElsewhere {
        /// The certificate's height.
        height: Height,
    },
    /// A decided block waits for its beacon: too few validators have released their shares.
    #[error("height {height} waits for its beacon; no share came from validators {missing}")]
    BeaconStalls {
        /// The decided height.
        height: Height,
        /// The validators whose shares are missing.
        missing: SlotList,
    },
    /// The nodes that are ahead have given up the blocks that come next here, or never tell them.
    #[error(
        "no node has the block after height {height} any more: this session cannot go on. With the same genesis and keys, a new \
         one gets a snapshot from the others"
    )]
    PastGone {
        /// The last height that is decided here.
        height: Height,
    },
    /// A validator that cannot know what it signed signs again, because its operator said so.
    #[error("validator {slot} lost its log and signs again, because its operator answers for it")]
    SignsByOperator {
        /// The slot of its vote key.
        slot: u32,
    },
    /// This node's clock is beyond every time that a block can have: it proposes nothing, for nobody could read what it proposed.
    #[error(
        "the clock of this machine is wrong: it shows {now_ms} ms since 1970, and a block after the year 2106 is none. Nothing is \
         proposed here until the clock is set right; what is recorded stays as it is"
    )]
    ClockTooLate {
        /// What the clock shows, in milliseconds since the Unix epoch.
        now_ms: u64,
    },
    /// Two connections with different network keys prove that they speak for one validator: its keys are in two places.
    #[error("two network keys prove that they speak for validator {slot}: its vote key is in two places")]
    TwoLives {
        /// The slot that both speak for.
        slot: u32,
    },
}

/// What an alarm says of whoever it is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AlarmLevel {
    /// Nobody did what must not be: something is late, as where a network is slow or others are away, or an operator did what the
    /// rules leave to operators.
    Notice,
    /// This node cannot go on by itself, through nobody's fault.
    Stuck,
    /// Something was seen that must not happen.
    Violation,
}

impl Alarm {
    /// What it says of whoever it is about.
    pub fn level(&self) -> AlarmLevel {
        match self {
            Self::BeaconStalls { .. } | Self::SignsByOperator { .. } => AlarmLevel::Notice,
            Self::PastGone { .. } | Self::ClockTooLate { .. } => AlarmLevel::Stuck,
            Self::Diverged { .. }
            | Self::Equivocated { .. }
            | Self::OwnVoteElsewhere { .. }
            | Self::TwoLives { .. } => AlarmLevel::Violation,
        }
    }
}
