//! The types that Malachite's core is generic over, and their translation from and to ours.

use std::fmt;

use arc_malachitebft_core_types as core;
use core::{NilOrVal, Round, SignedExtension, VoteType};
use engine::message::certificate::{Certificate, CertificateSignature};
use engine::message::vote::{NO_ROUND, Proposal, ProposalBody, Vote, VoteBody, VoteKind};
use engine::{Hash, Height, hex};

use crate::signature::{PublicKey, Signature};
use crate::validators::Validators;

/// The core's parameters: our types.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ctx;

/// A validator's slot as the core's address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Slot(pub u32);

/// A height as the core knows it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub(super) struct CoreHeight(pub u64);

/// A block by its hash; the core never sees a body.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct BlockHash(pub Hash);

/// One validator as the core knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CoreValidator {
    slot: Slot,
    key: PublicKey,
}

/// The validators as the core knows them. Cloned by the core at will, so behind one pointer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CoreValidators(pub std::sync::Arc<(Vec<CoreValidator>, Validators)>);

/// No proposal comes in parts: bodies travel beside the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NoPart;

/// Names the signature scheme; the core only carries signatures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Scheme;

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for CoreHeight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for BlockHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl CoreValidators {
    pub(super) fn new(validators: Validators) -> Self {
        let rows: Vec<CoreValidator> = (0..validators.count() as u32)
            .filter_map(|slot| Some(CoreValidator { slot: Slot(slot), key: *validators.key(slot)? }))
            .collect();
        // The core finds a validator by its place: a row left out would give every later slot another's key.
        assert_eq!(rows.len(), validators.count(), "every slot has a key");
        // It counts by rules of its own. With fewer votes than ours it would decide what others do not take for decided.
        let (rules, total) = (core::ThresholdParams::default(), rows.len() as u64);
        let enough = rules.quorum.min_expected(total);
        assert_eq!(enough, validators.quorum() as u64, "the core decides with as many votes as prove a decision");
        let honest = rules.honest.min_expected(total);
        assert!(honest > validators.faulty_max() as u64, "the core follows no faulty ones alone into another round");
        Self(std::sync::Arc::new((rows, validators)))
    }

    pub(super) fn set(&self) -> &Validators {
        &self.0.1
    }
}

impl core::Address for Slot {}

impl core::Height for CoreHeight {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

impl core::Value for BlockHash {
    type Id = Self;

    fn id(&self) -> Self {
        *self
    }
}

impl core::Validator<Ctx> for CoreValidator {
    fn address(&self) -> &Slot {
        &self.slot
    }

    fn public_key(&self) -> &PublicKey {
        &self.key
    }

    fn voting_power(&self) -> u64 {
        1
    }
}

impl core::ValidatorSet<Ctx> for CoreValidators {
    fn count(&self) -> usize {
        self.0.0.len()
    }

    fn total_voting_power(&self) -> u64 {
        self.0.0.len() as u64
    }

    fn get_by_address(&self, address: &Slot) -> Option<&CoreValidator> {
        let found = self.0.0.get(address.0 as usize);
        // Under this row's key its messages are verified.
        assert!(found.is_none_or(|row| row.slot == *address), "a validator stands at the place of its slot");
        found
    }

    fn get_by_index(&self, index: usize) -> Option<&CoreValidator> {
        self.0.0.get(index)
    }
}

impl core::ProposalPart<Ctx> for NoPart {
    fn is_first(&self) -> bool {
        true
    }

    fn is_last(&self) -> bool {
        true
    }
}

impl core::SigningScheme for Scheme {
    type DecodingError = std::array::TryFromSliceError;
    type Signature = Signature;
    type PublicKey = PublicKey;
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<Signature, Self::DecodingError> {
        bytes.try_into()
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.to_vec()
    }

    fn decode_public_key(bytes: &[u8]) -> Result<PublicKey, Self::DecodingError> {
        bytes.try_into()
    }

    fn encode_public_key(key: &PublicKey) -> Vec<u8> {
        key.to_vec()
    }
}

/// A vote between the core and us: our body, and the value in the shape the core borrows it in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CoreVote {
    body: VoteBody,
    slot: Slot,
    value: NilOrVal<BlockHash>,
}

impl CoreVote {
    pub(super) fn new(body: VoteBody) -> Self {
        let value = body.value().map_or(NilOrVal::Nil, |block| NilOrVal::Val(BlockHash(block)));
        Self { body, slot: Slot(body.slot), value }
    }

    pub(super) fn body(&self) -> VoteBody {
        self.body
    }
}

impl core::Vote<Ctx> for CoreVote {
    fn height(&self) -> CoreHeight {
        CoreHeight(self.body.height.0)
    }

    fn round(&self) -> Round {
        Round::new(self.body.round)
    }

    fn value(&self) -> &NilOrVal<BlockHash> {
        &self.value
    }

    fn take_value(self) -> NilOrVal<BlockHash> {
        self.value
    }

    fn vote_type(&self) -> VoteType {
        if self.body.kind == VoteKind::Precommit as u8 { VoteType::Precommit } else { VoteType::Prevote }
    }

    fn validator_address(&self) -> &Slot {
        &self.slot
    }

    fn extension(&self) -> Option<&SignedExtension<Ctx>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Ctx>> {
        None
    }

    fn extend(self, _: SignedExtension<Ctx>) -> Self {
        self
    }
}

/// A proposal between the core and us.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct CoreProposal {
    body: ProposalBody,
    slot: Slot,
    value: BlockHash,
}

impl CoreProposal {
    pub(super) fn new(body: ProposalBody) -> Self {
        Self { body, slot: Slot(body.slot), value: BlockHash(body.block) }
    }

    pub(super) fn body(&self) -> ProposalBody {
        self.body
    }
}

impl core::Proposal<Ctx> for CoreProposal {
    fn height(&self) -> CoreHeight {
        CoreHeight(self.body.height.0)
    }

    fn round(&self) -> Round {
        Round::new(self.body.round)
    }

    fn value(&self) -> &BlockHash {
        &self.value
    }

    fn take_value(self) -> BlockHash {
        self.value
    }

    fn pol_round(&self) -> Round {
        from_round(self.body.polka_round)
    }

    fn validator_address(&self) -> &Slot {
        &self.slot
    }
}

impl core::Context for Ctx {
    type Address = Slot;
    type Height = CoreHeight;
    type ProposalPart = NoPart;
    type Proposal = CoreProposal;
    type Validator = CoreValidator;
    type ValidatorSet = CoreValidators;
    type Timeouts = core::LinearTimeouts;
    type Value = BlockHash;
    type Vote = CoreVote;
    type Extension = ();
    type SigningScheme = Scheme;

    fn select_proposer<'a>(
        &self,
        validators: &'a CoreValidators,
        height: CoreHeight,
        round: Round,
    ) -> &'a CoreValidator {
        let slot = validators.set().proposer(Height(height.0), round.as_u32().unwrap_or(0));
        let proposer = &validators.0.0[slot as usize];
        assert_eq!(proposer.slot, Slot(slot), "a validator stands at the place of its slot");
        proposer
    }

    fn new_proposal(
        &self,
        height: CoreHeight,
        round: Round,
        value: BlockHash,
        polka_round: Round,
        slot: Slot,
    ) -> CoreProposal {
        // Everybody drops a proposal that says anything else, and the round is lost.
        assert_ne!(round, Round::Nil, "nobody proposes before the first round");
        assert!(polka_round < round, "a block is proposed again for a polka of an earlier round");
        let (height, round, polka_round) = (Height(height.0), to_round(round), to_round(polka_round));
        CoreProposal::new(ProposalBody { block: value.0, height, round, slot: slot.0, polka_round, reserved: [0; 12] })
    }

    fn new_prevote(&self, height: CoreHeight, round: Round, value: NilOrVal<BlockHash>, slot: Slot) -> CoreVote {
        new_vote(VoteKind::Prevote, height, round, value, slot)
    }

    fn new_precommit(&self, height: CoreHeight, round: Round, value: NilOrVal<BlockHash>, slot: Slot) -> CoreVote {
        new_vote(VoteKind::Precommit, height, round, value, slot)
    }
}

fn new_vote(kind: VoteKind, height: CoreHeight, round: Round, value: NilOrVal<BlockHash>, slot: Slot) -> CoreVote {
    // No round is written as the number of one: such a vote would be evidence of nothing, and be counted nowhere.
    assert_ne!(round, Round::Nil, "nobody votes before the first round");
    let block = match value {
        NilOrVal::Nil => None,
        NilOrVal::Val(block) => Some(block.0),
    };
    CoreVote::new(VoteBody::new(kind, Height(height.0), to_round(round), block, slot.0))
}

pub(super) fn to_round(round: Round) -> u32 {
    round.as_u32().unwrap_or(NO_ROUND)
}

pub(super) fn from_round(round: u32) -> Round {
    if round == NO_ROUND { Round::Nil } else { Round::new(round) }
}

pub(super) fn to_vote(vote: &core::SignedVote<Ctx>) -> Vote {
    Vote { body: vote.message.body(), signature: vote.signature }
}

pub(super) fn from_vote(vote: &Vote) -> core::SignedVote<Ctx> {
    // The core asks for a kind and a value, and would take one of each for whatever else stands there.
    assert!(vote.body.check_form().is_ok(), "a vote's form is checked before the core hears of it");
    core::SignedVote::new(CoreVote::new(vote.body), vote.signature)
}

pub(super) fn to_proposal(proposal: &core::SignedProposal<Ctx>) -> Proposal {
    Proposal { body: proposal.message.body(), signature: proposal.signature }
}

pub(super) fn from_proposal(proposal: &Proposal) -> core::SignedProposal<Ctx> {
    assert!(proposal.body.check_form().is_ok(), "a proposal's form is checked before the core hears of it");
    core::SignedProposal::new(CoreProposal::new(proposal.body), proposal.signature)
}

pub(super) fn to_polka(polka: &core::PolkaCertificate<Ctx>) -> Certificate {
    let signatures = polka.polka_signatures.iter().map(|entry| (entry.address, entry.signature));
    certificate(polka.height, polka.round, polka.value_id, signatures)
}

pub(super) fn from_polka(polka: &Certificate) -> core::PolkaCertificate<Ctx> {
    core::PolkaCertificate {
        height: CoreHeight(polka.height.0),
        round: from_round(polka.round),
        value_id: BlockHash(polka.block),
        polka_signatures: polka
            .signatures
            .iter()
            .map(|entry| core::PolkaSignature::new(Slot(entry.slot), entry.signature))
            .collect(),
    }
}

pub(super) fn to_certificate(commit: &core::CommitCertificate<Ctx>) -> Certificate {
    let signatures = commit.commit_signatures.iter().map(|entry| (entry.address, entry.signature));
    certificate(commit.height, commit.round, commit.value_id, signatures)
}

/// Sorts by slot: the core keeps signatures in the order they came.
fn certificate(
    height: CoreHeight,
    round: Round,
    block: BlockHash,
    signatures: impl Iterator<Item = (Slot, Signature)>,
) -> Certificate {
    let mut signatures: Vec<CertificateSignature> =
        signatures.map(|(slot, signature)| CertificateSignature { slot: slot.0, signature }).collect();
    signatures.sort_by_key(|entry| entry.slot);
    // Others would refuse the whole certificate for a slot that stands in it twice.
    assert!(signatures.is_sorted_by(|one, next| one.slot < next.slot), "the core counts a validator once");
    Certificate { height: Height(height.0), round: to_round(round), block: block.0, signatures }
}
