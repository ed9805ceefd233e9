//! What the state machine is made of, and what its core takes in.

use arc_malachitebft_core_consensus as malachite;
use engine::Hash;

use super::context::Ctx;
use super::timeout::TimeoutConfig;
use crate::batch::BatchSeed;
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
    /// How long to wait for what.
    pub timeouts: TimeoutConfig,
    /// For the coefficients of batch verification.
    pub seed: BatchSeed,
}
