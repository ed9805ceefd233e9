//! What the state machine is made of, and what its core takes in.

use arc_malachitebft_core_consensus as malachite;
use arc_malachitebft_core_types as core;
use engine::Hash;

use super::context::Ctx;
use super::timeout::TimeoutConfig;
use crate::batch::BatchSecret;
use crate::signature::VoteKey;
use crate::validators::Validators;

pub(super) type CoreInput = malachite::Input<Ctx>;

/// What a node brings to the state machine.
#[derive(Clone, Debug)]
pub struct ConsensusConfig {
    /// The chain id.
    pub chain: Hash,
    /// The validators, by slot.
    pub validators: Validators,
    /// This node's slot and vote key; none for a node that only follows.
    pub own: Option<(u32, VoteKey)>,
    /// How many must agree.
    pub quorum: Quorum,
    /// How long to wait for what.
    pub timeouts: TimeoutConfig,
    /// For the coefficients of batch verification.
    pub secret: BatchSecret,
}

/// How many must agree: what a machine is made with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Quorum {
    /// More than two thirds.
    TwoThirds,
    /// More than 45 of a hundred, which of small sets is twice as many as may be faulty: one too few. A simulation plants it.
    TooFew,
}

impl Quorum {
    pub(super) fn thresholds(self) -> malachite::ThresholdParams {
        let sound = malachite::ThresholdParams::default();
        match self {
            Self::TwoThirds => sound,
            Self::TooFew => malachite::ThresholdParams { quorum: core::ThresholdParam::new(9, 20), ..sound },
        }
    }
}
