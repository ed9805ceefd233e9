//! Fault: why a node must stop.

use engine::message::divergence::Divergence;
use engine::message::vote::Vote;
use engine::{Hash, Height};
use order::consensus::ConsensusError;
use thiserror::Error;

/// Why a node must stop.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum ExchangeError {
    /// The order of blocks contradicts itself.
    #[error(transparent)]
    Order(#[from] ConsensusError),
    /// A quorum decided a block that names another root than this node computed.
    #[error(
        "at height {} a quorum of validators has another state than this node: root chain {} where {} was computed; \
         `bisect` shows where a session of theirs and this one differ",
        .0.height,
        engine::hex(&.0.theirs()),
        engine::hex(&.0.own)
    )]
    Diverged(Box<Divergence>),
    /// Settling a block broke an invariant: nothing of it was recorded, and every honest node stops here.
    #[error("settling height {height}, block {}, breaks an invariant: {problem}", engine::hex(.block))]
    Poison {
        /// The height whose settling broke it.
        height: Height,
        /// Its block's hash.
        block: Hash,
        /// The invariant, in words.
        problem: String,
    },
    /// A vote of this validator that is not in its log.
    #[error(
        "a vote of this validator for height {}, round {} is not in its log: its key is in use elsewhere, or this directory \
         is a copy",
        .vote.body.height,
        .vote.body.round
    )]
    OtherLife {
        /// The vote, whose signature holds.
        vote: Box<Vote>,
    },
}
