//! Tendermint as a synchronous state machine: inputs in, effects out. Malachite's core does the work behind it.
//!
//! ```text
//!  Input --check--> core --effects--> sign, verify (here) | Log, Publish, GetValue, timers, Decide (out)
//! ```
//! It holds no socket, file, clock or block body. One validator is the same machine with a set of one.

mod timeout;
mod entry;
mod message;
mod context;
mod config;
mod shell;
mod recover;
mod timer;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod crash_tests;

use arc_malachitebft_core_consensus as malachite;
use arc_malachitebft_core_types as core;
use core::{Validity, ValueOrigin, VoteExtensionPolicy};
use engine::limits::AHEAD_ROUNDS;
use engine::message::DecodeError;
use engine::message::certificate::Certificate;
use engine::message::node::RoundCertificate;
use engine::message::vote::NO_ROUND;
use engine::{Hash, Height};
use malachite::{LocallyProposedValue, Params, State, process};
use thiserror::Error;

use self::config::CoreInput;
use self::context::{BlockHash, CoreHeight, CoreValidators, Ctx, Slot};
use self::context::{from_polka, from_proposal, from_round, from_vote, to_round};
use self::shell::Shell;
use crate::certificate::{CertificateError, check_polka};
use crate::signature::SignedItem;
use crate::validators::Validators;

pub use self::config::{ConsensusConfig, Quorum};
pub use self::entry::{LogEntry, ProposedValue};
pub use self::message::{Effect, Input, Message};
pub use self::timeout::{Timeout, TimeoutConfig, TimeoutKind};
pub use self::timer::Timers;

/// The core would keep messages of later heights; nothing of a later height is handed to it, since their signatures are
/// those of another set.
const AHEAD_HEIGHTS: usize = 1;
const AHEAD_MESSAGES: usize = 1;

// Votes further ahead than the core looks would be kept for nothing; nearer ones that were not kept would be missing once it does.
const _: () = assert!(AHEAD_ROUNDS == malachite::MAX_FUTURE_ROUND_LOOKAHEAD);

/// Why an input was refused or the machine must stop. See [`ConsensusError::is_fatal`].
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum ConsensusError {
    /// The replayed log leads to another message than the one that was signed: this node must stop.
    #[error("at height {height}, round {round} the log holds another {kind} of ours than it leads to")]
    Divergence {
        /// Prevote, precommit or proposal.
        kind: &'static str,
        /// The height.
        height: Height,
        /// The round.
        round: u32,
    },
    /// The core failed: this node must stop.
    #[error("consensus failed at height {height}: {problem}")]
    Core {
        /// The height.
        height: Height,
        /// What it said.
        problem: String,
    },
    /// The own key is not the one that the validator set has for the own slot.
    #[error("the vote key of slot {slot} is not ours")]
    OwnKey {
        /// The slot.
        slot: u32,
    },
    /// A height that cannot follow, or an entry of another height than the one replayed.
    #[error("height {found} where {expected} was due")]
    Height {
        /// The height that was due.
        expected: Height,
        /// The height that came.
        found: Height,
    },
    /// A block of another chain, or of another proposer's present round.
    #[error("the built block of height {height} is not ours")]
    ForeignBlock {
        /// The block's height.
        height: Height,
    },
    /// A field that cannot be so.
    #[error(transparent)]
    Form(#[from] DecodeError),
    /// A certificate that proves nothing.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A message of someone who is no validator, or whose signature does not verify.
    #[error("a message of slot {slot} is not signed by it")]
    Signature {
        /// Who is said to have signed.
        slot: u32,
    },
}

impl ConsensusError {
    /// Whether this node must stop. Otherwise only the input was wrong, and nothing changed.
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::Divergence { .. } | Self::Core { .. } | Self::OwnKey { .. })
    }
}

/// The state machine of one node.
pub struct Consensus {
    state: State<Ctx>,
    shell: Shell,
}

impl Consensus {
    /// A machine that has heard nothing yet; its first input starts `height` or a later one.
    ///
    /// # Errors
    /// If the own key is not the one of the own slot.
    pub fn new(config: ConsensusConfig, height: Height) -> Result<Self, ConsensusError> {
        if let Some((slot, key)) = &config.own
            && config.validators.key(*slot) != Some(&key.public())
        {
            return Err(ConsensusError::OwnKey { slot: *slot });
        }
        let validators = CoreValidators::new(config.validators.clone());
        let address = Slot(config.own.as_ref().map_or(u32::MAX, |(slot, _)| *slot));
        let params = Params {
            address,
            threshold_params: config.quorum.thresholds(),
            // ProposalOnly would mark every proposal valid by itself.
            value_payload: core::ValuePayload::ProposalAndParts,
            enabled: config.own.is_some(),
        };
        let state = State::new(Ctx, CoreHeight(height.0), validators.clone(), params, AHEAD_HEIGHTS, AHEAD_MESSAGES);
        let machine = Self { state, shell: Shell::new(config, validators) };
        // The first height is started as every other is: were it begun here, it would never hear its log.
        assert_eq!(machine.height(), height, "the first height is the one that was asked for");
        assert!(machine.round().is_none(), "no height is begun yet");
        assert!(!machine.is_decided(), "a height that is not begun is not decided");
        Ok(machine)
    }

    /// The height that is being decided, or was decided last.
    pub fn height(&self) -> Height {
        Height(self.state.height().0)
    }

    /// The round, or none before the height was started.
    pub fn round(&self) -> Option<u32> {
        self.state.round().as_u32()
    }

    /// Whether the height is decided.
    pub fn is_decided(&self) -> bool {
        self.state.driver.step_is_commit()
    }

    /// Hears one input and appends what follows from it.
    ///
    /// # Errors
    /// The input was wrong and changed nothing, or the node must stop: [`ConsensusError::is_fatal`].
    pub fn step(&mut self, input: Input, out: &mut Vec<Effect>) -> Result<(), ConsensusError> {
        // What was verified in an earlier step is not believed in this one: a row would outlive the message that it was of.
        self.shell.trusted.clear();
        assert!(self.shell.replay.is_none(), "nothing is heard from outside before the whole log was");
        let input = match input {
            Input::StartHeight(height, validators) => return self.start_height(height, &validators, out),
            Input::Value { round, header } => {
                let own = self.shell.own_slot();
                // A block of this round that another proposed, offered as our own, would be signed as a second proposal of it.
                let is_ours = Some(header.proposer) == own || header.round < round;
                if header.chain != self.shell.chain || !is_ours {
                    return Err(ConsensusError::ForeignBlock { height: header.height });
                }
                propose(header.height, round, header.hash())
            }
            Input::Vote { vote, verified } => {
                vote.body.check_form()?;
                if !self.is_of_this_height(vote.body.height)? {
                    return Ok(());
                }
                // Before the core hears of it: a vote that nobody signed would be counted, logged and sent on.
                self.admit(vote.body.slot, verified, |key, chain| SignedItem::vote(&vote, key, chain).verify())?;
                self.shell.trust(bytemuck::cast(vote.body), vote.signature);
                CoreInput::Vote(from_vote(&vote))
            }
            Input::Proposal { proposal, verified } => {
                proposal.body.check_form()?;
                if !self.is_of_this_height(proposal.body.height)? {
                    return Ok(());
                }
                self.admit(proposal.body.slot, verified, |key, chain| {
                    SignedItem::proposal(&proposal, key, chain).verify()
                })?;
                self.shell.trust(bytemuck::cast(proposal.body), proposal.signature);
                CoreInput::Proposal(from_proposal(&proposal))
            }
            Input::ProposedValue(value) => {
                value.check_form()?;
                if !self.is_of_this_height(value.height)? {
                    return Ok(());
                }
                proposed(&value)
            }
            // The core looks at their height, round and block before their signatures would be asked for; so do we.
            Input::Polka(polka) if !self.is_of_this_height(polka.height)? || self.knows_polka(&polka) => return Ok(()),
            Input::Round(certificate) if !self.is_of_this_height(certificate.height)? || self.is_past(&certificate) => {
                return Ok(());
            }
            // It stands for none: a start would refuse the log that holds it.
            Input::Polka(polka) if polka.round == NO_ROUND => {
                return Err(DecodeError::Value { field: "polka round", found: NO_ROUND.into() }.into());
            }
            Input::Polka(polka) => {
                check_polka(&polka, self.shell.validators.set(), &self.shell.chain, &self.shell.secret)?;
                CoreInput::PolkaCertificate(from_polka(&polka))
            }
            Input::Round(certificate) => {
                self.check_round_certificate(&certificate)?;
                CoreInput::RoundCertificate(shell::from_round_certificate(&certificate))
            }
            Input::Timeout(timeout) => CoreInput::TimeoutElapsed(shell::from_timeout(timeout)),
        };
        self.run(input, out)
    }

    /// Whether a message is of the height that was started; one of an earlier height is of no use any more.
    fn is_of_this_height(&self, found: Height) -> Result<bool, ConsensusError> {
        let expected = self.height();
        // Its signature is one of a set that is not known yet, and the core would keep it under the present one's.
        if found > expected || (found == expected && self.round().is_none()) {
            return Err(ConsensusError::Height { expected, found });
        }
        Ok(found == expected)
    }

    /// Whether a certificate would be checked and heard: one of another height, and one that lets nothing new be known, is
    /// dropped as it is, and its signatures may be anything.
    pub fn wants(&self, input: &Input) -> bool {
        match input {
            Input::Polka(polka) => self.is_of_this_height(polka.height) == Ok(true) && !self.knows_polka(polka),
            Input::Round(certificate) => {
                self.is_of_this_height(certificate.height) == Ok(true) && !self.is_past(certificate)
            }
            _ => true,
        }
    }

    /// Whether the core holds a certificate for the same polka, so that another one proves nothing more.
    fn knows_polka(&self, polka: &Certificate) -> bool {
        self.state.polka_certificate(from_round(polka.round), &BlockHash(polka.block)).is_some()
    }

    /// Whether the round that a certificate lets be entered was entered.
    fn is_past(&self, certificate: &RoundCertificate) -> bool {
        let enters = certificate.round.saturating_add(u32::from(certificate.precommits));
        self.round().is_some_and(|round| enters <= round)
    }

    fn start_height(
        &mut self,
        height: Height,
        validators: &Validators,
        out: &mut Vec<Effect>,
    ) -> Result<(), ConsensusError> {
        // A height that was begun is never begun again: its votes are out, and others would contradict them.
        let expected = if self.round().is_some() { self.height().next() } else { self.height() };
        if height < expected {
            return Err(ConsensusError::Height { expected, found: height });
        }
        self.shell.start(validators).map_err(|slot| ConsensusError::OwnKey { slot })?;
        let validators = self.shell.validators.clone();
        // Not a restart in the core's sense: that would say the log was discarded. No target time: no clock.
        let input =
            CoreInput::StartHeight(CoreHeight(height.0), validators, false, None, VoteExtensionPolicy::Disabled);
        self.run(input, out)?;
        assert_eq!(self.height(), height, "the height that was asked for is started, and no other");
        // Whatever it is that was heard of it before it was begun would have led further, under the keys of another set.
        assert_eq!(self.round(), Some(0), "a height begins with its first round");
        assert!(!self.is_decided(), "a height begins undecided");
        Ok(())
    }

    fn admit(
        &self,
        slot: u32,
        verified: bool,
        verify: impl FnOnce(&[u8; 32], &Hash) -> bool,
    ) -> Result<(), ConsensusError> {
        match self.shell.validators.set().key(slot) {
            // The slot decides the key, never the message: else anybody could vote under a key of their own.
            Some(key) if verified || verify(key, &self.shell.chain) => Ok(()),
            _ => Err(ConsensusError::Signature { slot }),
        }
    }

    /// Votes of one height and round, of different validators, enough of them, signed.
    fn check_round_certificate(&self, certificate: &RoundCertificate) -> Result<(), ConsensusError> {
        let (set, chain) = (self.shell.validators.set(), &self.shell.chain);
        let mut items: Vec<SignedItem<'_>> = Vec::with_capacity(certificate.votes.len());
        for (place, vote) in certificate.votes.iter().enumerate() {
            let (kind, slot) = (vote.body.check_form()?, vote.body.slot);
            // Ascending slots are of different validators: one that stood in it twice would count twice.
            if place > 0 && certificate.votes[place - 1].body.slot >= slot {
                return Err(CertificateError::Order { slot }.into());
            }
            let expected = certificate.height;
            if vote.body.height != expected {
                return Err(CertificateError::Height { expected, found: vote.body.height }.into());
            }
            let fits = vote.body.round == certificate.round;
            // A round is left after precommits of a quorum; other votes, however many, prove only that some were in it.
            if !fits || (certificate.precommits && kind != engine::message::vote::VoteKind::Precommit) {
                return Err(DecodeError::Value { field: "round certificate's vote", found: slot.into() }.into());
            }
            let key = set.key(slot).ok_or(CertificateError::UnknownSlot { slot, count: set.count() })?;
            items.push(SignedItem::vote(vote, key, chain));
        }
        // One more than may be faulty: at least one of them is honest, and was there.
        let quorum = if certificate.precommits { set.quorum() } else { set.count() / 3 + 1 };
        let found = items.len();
        assert!(quorum <= set.count(), "those who are there can be enough");
        assert!(quorum > set.faulty_max(), "not all of them are faulty");
        assert!(found <= set.count(), "slots ascend, and each has a key");
        if found < quorum {
            return Err(CertificateError::Quorum { quorum, found }.into());
        }
        if !crate::signature::verify_all(&items, &self.shell.secret) {
            return Err(CertificateError::Signature { height: certificate.height }.into());
        }
        Ok(())
    }

    /// Lets the core hear one input, answering its effects on the way.
    fn run(&mut self, input: CoreInput, out: &mut Vec<Effect>) -> Result<(), ConsensusError> {
        let before = (self.height(), self.round());
        let (is_start, was_decided) = (matches!(input, CoreInput::StartHeight(..)), self.is_decided());
        let asked = out.len();
        let (state, shell) = (&mut self.state, &mut self.shell);
        let result: Result<(), malachite::Error<Ctx>> = process!(
            input: input,
            state: state,
            metrics: &(),
            with: effect => Ok::<_, std::convert::Infallible>(shell.answer(effect, out))
        );
        let height = self.height();
        match result {
            Ok(()) => {
                // A validator that went back to a round could vote in it twice.
                assert!((height, self.round()) >= before, "heights and rounds never go back");
                // The next height has other validators, whom only the caller knows.
                assert!(is_start || height == before.0, "no height begins by itself");
                // A height that opens again could be decided otherwise, and its frame is written.
                assert!(is_start || !was_decided || self.is_decided(), "what is decided stays decided");
                // Nobody would write the frame, and the chain would stand still.
                let decides = out[asked..].iter().filter(|effect| matches!(effect, Effect::Decide(_))).count();
                let is_new = self.is_decided() && (is_start || !was_decided);
                assert_eq!(decides, usize::from(is_new), "a height that is decided is told once");
                Ok(())
            }
            Err(malachite::Error::ReplayDivergence(kind, height, round)) => Err(ConsensusError::Divergence {
                kind: match kind {
                    malachite::RecordKind::Prevote => "prevote",
                    malachite::RecordKind::Precommit => "precommit",
                    malachite::RecordKind::Proposal => "proposal",
                },
                height: Height(height.0),
                round: to_round(round),
            }),
            Err(error) => Err(ConsensusError::Core { height, problem: error.to_string() }),
        }
    }
}

fn propose(height: Height, round: u32, block: Hash) -> CoreInput {
    CoreInput::Propose(LocallyProposedValue::new(CoreHeight(height.0), from_round(round), BlockHash(block)))
}

fn proposed(value: &ProposedValue) -> CoreInput {
    assert!(value.check_form().is_ok(), "a value's form is checked before the core hears of it");
    let origin = if value.caught_up == 1 { ValueOrigin::Sync } else { ValueOrigin::Consensus };
    let proposed = malachite::ProposedValue {
        height: CoreHeight(value.height.0),
        round: from_round(value.round),
        valid_round: from_round(value.polka_round),
        proposer: Slot(value.slot),
        value: BlockHash(value.block),
        validity: Validity::from_bool(value.valid == 1),
    };
    CoreInput::ProposedValue(proposed, origin)
}
