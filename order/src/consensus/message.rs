//! What goes into the state machine and what comes out of it: plain values.

use engine::message::block::Header;
use engine::message::certificate::Certificate;
use engine::message::evidence::Evidence;
use engine::message::node::RoundCertificate;
use engine::message::vote::{Proposal, Vote};
use engine::{Hash, Height};

use super::entry::{LogEntry, ProposedValue};
use super::timeout::Timeout;
use crate::validators::Validators;

/// What the state machine hears.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Begin a height, above every one before. What was heard of the present one is forgotten: its decision came from
    /// elsewhere if the core did not find it.
    StartHeight(Height, Validators),
    /// The answer to [`Effect::GetValue`]: a block that this validator built, valid by construction, or one of an earlier
    /// round that it found valid. Its body must be in the log before the entries of this step are.
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
        /// The height under way.
        height: Height,
        /// From 0, and above every one before it in this height.
        round: u32,
        /// Who proposes in it.
        proposer: u32,
    },
    /// Build a block, or find one, and answer with [`Input::Value`] in a later step, before the propose timeout.
    GetValue {
        /// The height under way.
        height: Height,
        /// The round in which this validator proposes it.
        round: u32,
    },
    /// Append to the consensus log.
    Log(LogEntry),
    /// Send to all validators, once what was logged before is on disk.
    Publish(Message),
    /// Send the body of a block again, it is being proposed again.
    SendBlock {
        /// The height under way.
        height: Height,
        /// The hash of the block.
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
        /// The height that was decided.
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
