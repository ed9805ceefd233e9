//! Answers the core's effects: signs, verifies, and passes on the rest in our words.

use arc_malachitebft_core_consensus as malachite;
use arc_malachitebft_core_types as core;
use core::{RoundCertificateType, ValueOrigin};
use engine::message::evidence::Evidence;
use engine::message::node::RoundCertificate;
use engine::message::vote::{Proposal, ProposalBody, Vote, VoteBody, VoteKind};
use engine::{Hash, Height};
use malachite::{ConsensusMsg, LivenessMsg, Resumable, Resume, SignedConsensusMsg};

use super::config::{ConsensusConfig, CoreInput};
use super::context::{
    BlockHash, CoreHeight, CoreProposal, CoreValidators, CoreVote, Ctx, Slot, from_round, from_vote, to_certificate,
    to_polka, to_proposal, to_round, to_vote,
};
use super::entry::{LogEntry, ProposedValue};
use super::message::{Effect, Message};
use super::timeout::{Timeout, TimeoutConfig, TimeoutKind};
use crate::batch::BatchSecret;
use crate::certificate::check_slots;
use crate::signature::{Signature, SignedItem, VoteKey};
use crate::validators::Validators;

/// What the core does not hold: keys, and what is known within one step or one replay.
pub(super) struct Shell {
    pub(super) chain: Hash,
    pub(super) validators: CoreValidators,
    pub(super) secret: BatchSecret,
    own: Option<(u32, VoteKey)>,
    /// What was signed last: a prevote, a precommit, a proposal.
    signed: [Option<Statement>; 3],
    timeouts: TimeoutConfig,
    /// Bodies and signatures that were verified, or made here, in this step.
    pub(super) trusted: Vec<([u8; 64], Signature)>,
    /// The log while a restart goes on: what is in it is not logged again.
    pub(super) logged: Vec<LogEntry>,
    /// Set while the log is replayed.
    pub(super) replay: Option<Replay>,
}

/// Height, round, and the body as it is signed.
type Statement = (Height, u32, [u8; 64]);

/// What is held back while the log is replayed.
#[derive(Default)]
pub(super) struct Replay {
    /// Messages that the replay led to, to be sent when it is over.
    pub(super) messages: Vec<Message>,
    /// The last value asked for, to be answered when it is over.
    pub(super) asked: Option<(Height, u32)>,
}

impl Shell {
    pub(super) fn new(config: ConsensusConfig, validators: CoreValidators) -> Self {
        let ConsensusConfig { chain, own, timeouts, secret, .. } = config;
        let fits = |(slot, key): &(u32, VoteKey)| validators.set().key(*slot) == Some(&key.public());
        assert!(own.as_ref().is_none_or(fits), "whoever makes a machine has compared its key with the set");
        let (signed, trusted, logged, replay) = ([None; 3], Vec::new(), Vec::new(), None);
        Self { chain, validators, secret, own, signed, timeouts, trusted, logged, replay }
    }

    /// Begins a height with its validators, under whose keys its messages are signed.
    ///
    /// # Errors
    /// The own slot, if it is not this node's any more.
    pub(super) fn start(&mut self, validators: &Validators) -> Result<(), u32> {
        // A validator that was replaced would sign votes that are its successor's to sign.
        if let Some((slot, key)) = &self.own
            && validators.key(*slot) != Some(&key.public())
        {
            return Err(*slot);
        }
        // The set rarely changes: the core clones the one that it has at will, and need not be given another.
        if self.validators.set() != validators {
            self.validators = CoreValidators::new(validators.clone());
        }
        Ok(())
    }

    pub(super) fn own_slot(&self) -> Option<u32> {
        self.own.as_ref().map(|(slot, _)| *slot)
    }

    pub(super) fn trust(&mut self, body: [u8; 64], signature: Signature) {
        self.trusted.push((body, signature));
    }

    /// The answer to one effect; what it asks of the caller is appended.
    pub(super) fn answer(&mut self, effect: malachite::Effect<Ctx>, out: &mut Vec<Effect>) -> Resume<Ctx> {
        use malachite::Effect as E;
        match effect {
            E::SignVote(vote, r) => r.resume_with(self.sign_vote(vote)),
            E::SignProposal(proposal, r) => r.resume_with(self.sign_proposal(proposal)),
            E::VerifySignature(message, key, r) => {
                r.resume_with(self.verify(&message.message, &message.signature, &key))
            }
            // Built by the core from votes that were verified one by one as they came; decide() panics on an error.
            E::VerifyCommitCertificate(certificate, _, _, r) => {
                r.resume_with(match check_slots(&to_certificate(&certificate), self.validators.set()) {
                    Ok(()) => Ok(()),
                    Err(_) => Err(core::CertificateError::VerificationError(None)),
                })
            }
            // Checked in `step`, before they were handed in.
            E::VerifyPolkaCertificate(_, _, _, r) | E::VerifyRoundCertificate(_, _, _, r) => r.resume_with(Ok(())),
            // Catching up and vote extensions are off: nothing asks for these.
            E::VerifyExtendedCommitCertificate(_, _, _, _, r) => {
                r.resume_with(Err(core::CertificateError::VerificationError(None)))
            }
            E::ExtendVote(_, _, _, _, r) => r.resume_with(None),
            E::VerifyVoteExtension(_, _, _, _, _, _, r) => {
                r.resume_with(Err(malachite::VoteExtensionError::InvalidVoteExtension))
            }
            other => {
                self.pass_on(other, out);
                Resume::Continue
            }
        }
    }

    /// Effects that the core does not wait for.
    fn pass_on(&mut self, effect: malachite::Effect<Ctx>, out: &mut Vec<Effect>) {
        use malachite::Effect as E;
        match effect {
            E::WalAppend(height, input, _) => self.log(height, &input, out),
            E::PublishConsensusMsg(SignedConsensusMsg::Vote(vote), _) | E::RepublishVote(vote, _) => {
                self.publish(Message::Vote(to_vote(&vote)), out);
            }
            E::PublishConsensusMsg(SignedConsensusMsg::Proposal(proposal), _) => {
                self.publish(Message::Proposal(to_proposal(&proposal)), out);
            }
            E::PublishLivenessMsg(LivenessMsg::Vote(vote), _) => self.publish(Message::Vote(to_vote(&vote)), out),
            E::PublishLivenessMsg(LivenessMsg::PolkaCertificate(polka), _) => {
                self.publish(Message::Polka(to_polka(&polka)), out);
            }
            E::PublishLivenessMsg(LivenessMsg::SkipRoundCertificate(certificate), _)
            | E::RepublishRoundCertificate(certificate, _) => {
                self.publish(Message::Round(to_round_certificate(&certificate)), out);
            }
            E::GetValue(height, round, _, _) => {
                assert!(round.is_defined(), "a value is asked for in a round that was begun");
                let (height, round) = (Height(height.0), to_round(round));
                let proposer = self.validators.set().proposer(height, round);
                assert_eq!(self.own_slot(), Some(proposer), "a value is asked of the validator whose turn it is");
                // While the log is heard again the value may stand in it: another one would be a second proposal of the round.
                match &mut self.replay {
                    Some(replay) => replay.asked = Some((height, round)),
                    None => out.push(Effect::GetValue { height, round }),
                }
            }
            E::RestreamProposal(height, _, _, _, BlockHash(block), _) => {
                out.push(Effect::SendBlock { height: Height(height.0), block });
            }
            E::ScheduleTimeout(timeout, _) => out.extend(to_timeout(timeout).and_then(|timeout| {
                // Nobody is there who could have missed a lone validator's votes.
                let needed = timeout.kind != TimeoutKind::Rebroadcast || self.validators.set().count() > 1;
                needed.then(|| Effect::Schedule { timeout, after_ms: self.timeouts.after_ms(timeout) })
            })),
            E::CancelTimeout(timeout, _) => out.extend(to_timeout(timeout).map(Effect::Cancel)),
            E::CancelAllTimeouts(_) => out.push(Effect::CancelAll),
            E::StartRound(height, round, Slot(proposer), _, _) => {
                assert!(round.is_defined(), "a round that begins has a number");
                let (height, round) = (Height(height.0), to_round(round));
                let turn = self.validators.set().proposer(height, round);
                assert_eq!(proposer, turn, "the core has each turn from this height's validators");
                out.push(Effect::StartedRound { height, round, proposer });
            }
            E::Decide(certificate, _, _) => out.push(Effect::Decide(to_certificate(&certificate))),
            E::Finalize(certificate, _, evidence, _) => {
                let height = Height(certificate.height.0);
                let evidence = self.evidence(height, &evidence);
                out.push(Effect::Finalized { height, evidence });
            }
            // Answered in `answer`, or part of catching up, which is off.
            _ => {}
        }
    }

    fn sign_vote(&mut self, vote: CoreVote) -> core::SignedVote<Ctx> {
        let (slot, key) = self.own.as_ref().expect("the core signs only where an own key was given");
        assert_eq!(vote.body().slot, *slot, "a vote is signed for the own slot only");
        assert_eq!(self.validators.set().key(*slot), Some(&key.public()), "others verify it under this key");
        let VoteBody { height, round, kind, .. } = vote.body();
        let place = usize::from(kind == VoteKind::Precommit as u8);
        once(&mut self.signed[place], (height, round, bytemuck::cast(vote.body())));
        let signed = key.sign_vote(vote.body(), &self.chain);
        self.trust(bytemuck::cast(signed.body), signed.signature);
        core::SignedVote::new(vote, signed.signature)
    }

    fn sign_proposal(&mut self, proposal: CoreProposal) -> core::SignedProposal<Ctx> {
        let (slot, key) = self.own.as_ref().expect("the core signs only where an own key was given");
        assert_eq!(proposal.body().slot, *slot, "a proposal is signed for the own slot only");
        assert_eq!(self.validators.set().key(*slot), Some(&key.public()), "others verify it under this key");
        let ProposalBody { height, round, .. } = proposal.body();
        once(&mut self.signed[2], (height, round, bytemuck::cast(proposal.body())));
        let signed = key.sign_proposal(proposal.body(), &self.chain);
        self.trust(bytemuck::cast(signed.body), signed.signature);
        core::SignedProposal::new(proposal, signed.signature)
    }

    fn verify(&self, message: &ConsensusMsg<Ctx>, signature: &Signature, key: &[u8; 32]) -> bool {
        let known = |body: [u8; 64]| self.trusted.contains(&(body, *signature));
        match message {
            ConsensusMsg::Vote(vote) => {
                let vote = Vote { body: vote.body(), signature: *signature };
                known(bytemuck::cast(vote.body)) || SignedItem::vote(&vote, key, &self.chain).verify()
            }
            ConsensusMsg::Proposal(proposal) => {
                let proposal = Proposal { body: proposal.body(), signature: *signature };
                known(bytemuck::cast(proposal.body)) || SignedItem::proposal(&proposal, key, &self.chain).verify()
            }
        }
    }

    fn log(&self, height: CoreHeight, input: &CoreInput, out: &mut Vec<Effect>) {
        let entry = to_entry(height, input).expect("the core logs votes, proposals, values, polkas and timeouts");
        // A restart sorts entries by what they say themselves, and refuses one of another height than it recovers.
        assert_eq!(entry.height(), Height(height.0), "an entry says for which height it is logged");
        // A restart that logged its log again would double it at each start.
        if !self.logged.contains(&entry) {
            out.push(Effect::Log(entry));
        }
    }

    fn publish(&mut self, message: Message, out: &mut Vec<Effect>) {
        // A proposal may be another's, and is sent on by whoever is locked on it.
        if let Message::Vote(vote) = &message {
            assert_eq!(Some(vote.body.slot), self.own_slot(), "the votes that are sent are the own ones");
        }
        // Nothing leaves before the whole log was heard: what it led to at first may not be what was signed in the end.
        match &mut self.replay {
            Some(replay) => replay.messages.push(message),
            None => out.push(Effect::Publish(message)),
        }
    }

    /// What the core holds against validators, as far as it proves anything: it also pairs a proposal with itself, where the
    /// first of two comes again.
    fn evidence(&self, height: Height, found: &malachite::MisbehaviorEvidence<Ctx>) -> Vec<Evidence> {
        // By slot, not in the order of the core's map: all nodes write the same evidence in the same order.
        let slots = (0..self.validators.set().count() as u32).map(Slot);
        let votes = slots.clone().filter_map(|slot| found.votes.get(&slot)).flatten();
        let proposals = slots.filter_map(|slot| found.proposals.get(&slot)).flatten();
        let evidence: Vec<Evidence> = votes
            .map(|(one, other)| Evidence::Votes(to_vote(one), to_vote(other)))
            .chain(proposals.map(|(one, other)| Evidence::Proposals(to_proposal(one), to_proposal(other))))
            .filter(Evidence::contradicts)
            .collect();
        // It is written under this height, and verified under the keys that its validators have.
        assert!(evidence.iter().all(|found| found.height() == height), "a height ends with evidence of its own");
        let count = self.validators.set().count();
        assert!(evidence.iter().all(|found| (found.slot() as usize) < count), "evidence is against a validator");
        evidence
    }
}

/// Takes note of what is about to be signed, of one kind. The core says one thing in a round, and nothing in one that it left; were it
/// not so, others would hold two signatures of which only one may be.
fn once(last: &mut Option<Statement>, next: Statement) {
    let (height, round, body) = next;
    let rises = last.is_none_or(|(before, left, _)| (before, left) < (height, round));
    let is_same = last.is_some_and(|(_, _, said)| said == body);
    assert!(rises || is_same, "nothing is signed that contradicts what was signed before it");
    *last = Some(next);
}

/// The log entry of an input that the core wants logged.
fn to_entry(height: CoreHeight, input: &CoreInput) -> Option<LogEntry> {
    match input {
        CoreInput::Vote(vote) => Some(LogEntry::Vote(to_vote(vote))),
        CoreInput::Proposal(proposal) => Some(LogEntry::Proposal(to_proposal(proposal))),
        CoreInput::ProposedValue(value, origin) => Some(LogEntry::Value(ProposedValue {
            block: value.value.0,
            height: Height(value.height.0),
            round: to_round(value.round),
            polka_round: to_round(value.valid_round),
            slot: value.proposer.0,
            valid: u8::from(value.validity.is_valid()),
            caught_up: u8::from(*origin == ValueOrigin::Sync),
            reserved: [0; 10],
        })),
        CoreInput::PolkaCertificate(polka) => Some(LogEntry::Polka(to_polka(polka))),
        CoreInput::TimeoutElapsed(timeout) => {
            Some(LogEntry::Timeout { height: Height(height.0), timeout: to_timeout(*timeout)? })
        }
        _ => None,
    }
}

/// Ours, or none for the wait after a decision, which a target time would ask for and we never set.
fn to_timeout(timeout: core::Timeout) -> Option<Timeout> {
    let kind = match timeout.kind {
        core::TimeoutKind::Propose => TimeoutKind::Propose,
        core::TimeoutKind::Prevote => TimeoutKind::Prevote,
        core::TimeoutKind::Precommit => TimeoutKind::Precommit,
        core::TimeoutKind::Rebroadcast => TimeoutKind::Rebroadcast,
        core::TimeoutKind::FinalizeHeight(_) => return None,
    };
    Some(Timeout { kind, round: to_round(timeout.round) })
}

pub(super) fn from_timeout(timeout: Timeout) -> core::Timeout {
    let kind = match timeout.kind {
        TimeoutKind::Propose => core::TimeoutKind::Propose,
        TimeoutKind::Prevote => core::TimeoutKind::Prevote,
        TimeoutKind::Precommit => core::TimeoutKind::Precommit,
        TimeoutKind::Rebroadcast => core::TimeoutKind::Rebroadcast,
    };
    core::Timeout::new(from_round(timeout.round), kind)
}

fn to_round_certificate(certificate: &core::RoundCertificate<Ctx>) -> RoundCertificate {
    let mut votes: Vec<Vote> = certificate.votes(&Ctx).map(|vote| to_vote(&vote)).collect();
    // The core has them in the order in which they came; whoever checks them asks for ascending slots.
    votes.sort_by_key(|vote| vote.body.slot);
    assert!(votes.is_sorted_by(|one, next| one.body.slot < next.body.slot), "the core counts a validator once");
    RoundCertificate {
        height: Height(certificate.height.0),
        round: to_round(certificate.round),
        precommits: certificate.cert_type == RoundCertificateType::Precommit,
        votes,
    }
}

pub(super) fn from_round_certificate(certificate: &RoundCertificate) -> core::RoundCertificate<Ctx> {
    let cert_type = if certificate.precommits { RoundCertificateType::Precommit } else { RoundCertificateType::Skip };
    core::RoundCertificate::new_from_votes(
        CoreHeight(certificate.height.0),
        from_round(certificate.round),
        cert_type,
        certificate.votes.iter().map(from_vote).collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_contradicts_nothing_that_was_signed_before() {
        let signed = |next: Statement| {
            let mut last = Some((Height(4), 2, [1; 64]));
            std::panic::catch_unwind(move || once(&mut last, next)).is_ok()
        };
        assert!(signed((Height(4), 2, [1; 64])), "the same again");
        assert!(signed((Height(4), 3, [2; 64])) && signed((Height(5), 0, [2; 64])));
        assert!(!signed((Height(4), 2, [2; 64])), "another in the round");
        assert!(!signed((Height(4), 1, [2; 64])) && !signed((Height(3), 9, [2; 64])), "a round that was left");
    }
}
