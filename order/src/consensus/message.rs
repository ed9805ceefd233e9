//! What goes into the state machine and what comes out of it: plain values.

use engine::message::DecodeError;
use engine::message::block::Header;
use engine::message::certificate::Certificate;
use engine::message::vote::{Proposal, Vote};
use engine::{Hash, Height};

use super::entry::{LogEntry, ProposedValue};

/// What the state machine hears.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Begin a height. The height before must be finalized, or this is the first.
    StartHeight(Height),
    /// The answer to [`Effect::GetValue`]: a block that this validator built, valid by construction.
    /// Its body must be in the log before the entries of this step are.
    Value {
        /// The round it was asked for.
        round: u32,
        /// The block's header.
        header: Box<Header>,
    },
    /// A vote arrived.
    Vote {
        /// The vote.
        vote: Vote,
        /// Its signature was verified already, in a batch.
        verified: bool,
    },
    /// A proposal arrived.
    Proposal {
        /// The proposal.
        proposal: Proposal,
        /// Its signature was verified already, in a batch.
        verified: bool,
    },
    /// A block's body arrived and was checked. Its body must be in the log before the entries of this step are.
    ProposedValue(ProposedValue),
    /// A certificate of prevotes arrived; it is checked here.
    Polka(Certificate),
    /// A certificate that lets a round be entered arrived; it is checked here.
    Round(RoundCertificate),
    /// A scheduled timeout elapsed.
    Timeout(Timeout),
}

/// What the state machine asks for. Effects are in order: a [`Effect::Publish`] or [`Effect::Decide`] may leave the
/// node only when every [`Effect::Log`] before it is on disk.
#[derive(Clone, PartialEq, Debug)]
pub enum Effect {
    /// A round began. Tells; asks for nothing.
    StartedRound {
        /// The height.
        height: Height,
        /// The round.
        round: u32,
        /// Who proposes in it.
        proposer: u32,
    },
    /// Build a block and answer with [`Input::Value`] in a later step, before the propose timeout.
    GetValue {
        /// The height.
        height: Height,
        /// The round.
        round: u32,
    },
    /// Append to the consensus log.
    Log(LogEntry),
    /// Send to all validators, once what was logged before is on disk.
    Publish(Message),
    /// Send the body of a block again, it is being proposed again.
    SendBlock {
        /// The height.
        height: Height,
        /// The block.
        block: Hash,
    },
    /// Input [`Input::Timeout`] when this much node time has passed.
    Schedule {
        /// Which.
        timeout: Timeout,
        /// Milliseconds from now.
        after_ms: u64,
    },
    /// Forget a scheduled timeout.
    Cancel(Timeout),
    /// Forget all scheduled timeouts.
    CancelAll,
    /// The height is decided: write the frame.
    Decide(Certificate),
    /// The height is over: the next may start, in a later step.
    Finalized {
        /// The height.
        height: Height,
        /// Who said two things at once in it.
        evidence: Vec<Evidence>,
    },
}

/// What validators send each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// A vote.
    Vote(Vote),
    /// A proposal; the block's body travels beside.
    Proposal(Proposal),
    /// A quorum of prevotes for one block.
    Polka(Certificate),
    /// Votes that let a round be entered.
    Round(RoundCertificate),
}

/// Votes of one height and round that let a round be entered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RoundCertificate {
    /// The height.
    pub height: Height,
    /// The round of the votes.
    pub round: u32,
    /// True: a quorum of precommits that decided nothing, so the next round begins. False: votes of more validators
    /// than may be faulty, so this round has begun.
    pub precommits: bool,
    /// The votes, by slot ascending.
    pub votes: Vec<Vote>,
}

/// Two signed statements of one validator of which only one may be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// Two votes of one kind in one round.
    Votes(Vote, Vote),
    /// Two proposals in one round.
    Proposals(Proposal, Proposal),
}

/// A timeout of a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timeout {
    /// What it waits for.
    pub kind: TimeoutKind,
    /// The round.
    pub round: u32,
}

/// What a timeout waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum TimeoutKind {
    /// A proposal.
    Propose = 1,
    /// A quorum of equal prevotes.
    Prevote = 2,
    /// A quorum of equal precommits.
    Precommit = 3,
    /// The time to send the own votes of the round again.
    Rebroadcast = 4,
}

impl TryFrom<u8> for TimeoutKind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            1 => Ok(Self::Propose),
            2 => Ok(Self::Prevote),
            3 => Ok(Self::Precommit),
            4 => Ok(Self::Rebroadcast),
            _ => Err(DecodeError::Value { field: "timeout kind", found: byte.into() }),
        }
    }
}

/// How long a validator waits, in milliseconds of node time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TimeoutConfig {
    /// For a proposal, in round 0.
    pub propose_ms: u64,
    /// For equal prevotes, once a quorum has voted, in round 0.
    pub prevote_ms: u64,
    /// For equal precommits, once a quorum has voted, in round 0.
    pub precommit_ms: u64,
    /// Until own votes are sent again.
    pub rebroadcast_ms: u64,
    /// More for every round.
    pub delta_ms: u64,
    /// At most.
    pub most_ms: u64,
}

impl Default for TimeoutConfig {
    fn default() -> Self {
        Self {
            propose_ms: 400,
            prevote_ms: 100,
            precommit_ms: 100,
            rebroadcast_ms: 600,
            delta_ms: 200,
            most_ms: 10_000,
        }
    }
}

impl TimeoutConfig {
    /// How long to wait.
    pub fn after_ms(&self, timeout: Timeout) -> u64 {
        let base = match timeout.kind {
            TimeoutKind::Propose => self.propose_ms,
            TimeoutKind::Prevote => self.prevote_ms,
            TimeoutKind::Precommit => self.precommit_ms,
            TimeoutKind::Rebroadcast => self.rebroadcast_ms,
        };
        base.saturating_add(self.delta_ms.saturating_mul(timeout.round.into())).min(self.most_ms)
    }
}
