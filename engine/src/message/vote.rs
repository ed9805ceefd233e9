//! Votes and proposals: 128 bytes each, the second half a signature.

use bytemuck::{Pod, Zeroable};

use super::{DecodeError, Hash, check_height, decode_pod};
use crate::ids::Height;

/// What every vote's signature covers first. Prevotes and precommits differ in it.
pub const PREVOTE_DOMAIN: [u8; 32] = *b"bitcraps prevote 1\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// See [`PREVOTE_DOMAIN`].
pub const PRECOMMIT_DOMAIN: [u8; 32] = *b"bitcraps precommit 1\0\0\0\0\0\0\0\0\0\0\0\0";
/// What every proposal's signature covers first.
pub const PROPOSAL_DOMAIN: [u8; 32] = *b"bitcraps proposal 1\0\0\0\0\0\0\0\0\0\0\0\0\0";
/// The round that stands for none.
pub const NO_ROUND: u32 = u32::MAX;

/// How many of so many validators must agree: all but floor((n-1)/3), which may be faulty.
pub const fn quorum(validators: usize) -> usize {
    validators - validators.saturating_sub(1) / 3
}

const _: () = assert!(quorum(1) == 1 && quorum(3) == 3 && quorum(4) == 3 && quorum(7) == 5);

/// The kinds of votes, for a block or for nil.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum VoteKind {
    /// The first vote of a round.
    Prevote = 1,
    /// The second vote of a round; q of them for one block decide it.
    Precommit = 2,
}

impl TryFrom<u8> for VoteKind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            1 => Ok(Self::Prevote),
            2 => Ok(Self::Precommit),
            _ => Err(DecodeError::Value { field: "vote kind", found: byte.into() }),
        }
    }
}

/// What a validator votes. Layout: 64 bytes, no padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct VoteBody {
    /// The block's hash; zero where the vote is for nil.
    pub block: Hash,
    /// The height that is decided.
    pub height: Height,
    /// The round of that height, from 0.
    pub round: u32,
    /// The voter's slot.
    pub slot: u32,
    /// A [`VoteKind`].
    pub kind: u8,
    /// 1 where the vote is for nil.
    pub nil: u8,
    /// Zero.
    pub reserved: [u8; 14],
}

/// A signed vote. Layout: 128 bytes, two cache lines; the body, then the signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Vote {
    /// What is voted.
    pub body: VoteBody,
    /// Ed25519 of the voter's vote key.
    pub signature: [u8; 64],
}

/// What a validator proposes. Layout: 64 bytes, no padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ProposalBody {
    /// The block's hash.
    pub block: Hash,
    /// The height that is decided.
    pub height: Height,
    /// The round of that height, from 0, in which it is proposed.
    pub round: u32,
    /// The proposer's slot.
    pub slot: u32,
    /// The earlier round in which the block had a quorum of prevotes, or [`NO_ROUND`].
    pub polka_round: u32,
    /// Zero.
    pub reserved: [u8; 12],
}

/// A signed proposal. Layout: 128 bytes, two cache lines; the body, then the signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Proposal {
    /// What is proposed.
    pub body: ProposalBody,
    /// Ed25519 of the proposer's vote key.
    pub signature: [u8; 64],
}

const _: () = assert!(size_of::<VoteBody>() == 64);
const _: () = assert!(size_of::<ProposalBody>() == 64);
const _: () = assert!(size_of::<Vote>() == 128);
const _: () = assert!(size_of::<Proposal>() == 128);

const _: () = assert!(std::mem::offset_of!(Vote, signature) == size_of::<VoteBody>());
const _: () = assert!(std::mem::offset_of!(Proposal, signature) == size_of::<ProposalBody>());

impl VoteBody {
    /// A vote for a block, or for nil.
    pub fn new(kind: VoteKind, height: Height, round: u32, block: Option<Hash>, slot: u32) -> Self {
        let (nil, block) = (u8::from(block.is_none()), block.unwrap_or_default());
        Self { block, height, round, slot, kind: kind as u8, nil, reserved: [0; 14] }
    }

    /// The block voted for, or none for nil.
    pub fn value(&self) -> Option<Hash> {
        if self.nil == 1 { None } else { Some(self.block) }
    }

    /// What its signature covers first.
    pub fn domain(&self) -> &'static [u8; 32] {
        if self.kind == VoteKind::Precommit as u8 { &PRECOMMIT_DOMAIN } else { &PREVOTE_DOMAIN }
    }

    /// Checks that every field holds what it may.
    ///
    /// # Errors
    /// Names the first field that does not.
    pub fn check_form(&self) -> Result<VoteKind, DecodeError> {
        let fail = |field, found| Err(DecodeError::Value { field, found });
        let kind = VoteKind::try_from(self.kind)?;
        check_height(self.height)?;
        // A vote has one encoding: two that say the same in other bytes would be evidence against an honest validator.
        match self {
            _ if self.nil > 1 => fail("vote nil", self.nil.into()),
            _ if self.nil == 1 && self.block != [0; 32] => fail("vote for nil with a block", 1),
            // It stands for none: a vote of it would be later than every other.
            _ if self.round == NO_ROUND => fail("vote round", self.round.into()),
            _ if self.reserved != [0; 14] => fail("vote reserved", 1),
            _ => Ok(kind),
        }
    }
}

impl ProposalBody {
    /// Checks that every field holds what it may.
    ///
    /// # Errors
    /// Names the first field that does not.
    pub fn check_form(&self) -> Result<(), DecodeError> {
        let fail = |field, found| Err(DecodeError::Value { field, found });
        check_height(self.height)?;
        match self {
            _ if self.round == NO_ROUND => fail("proposal round", self.round.into()),
            _ if self.reserved != [0; 12] => fail("proposal reserved", 1),
            _ => Ok(()),
        }
    }
}

impl Vote {
    /// Reads exactly one vote.
    ///
    /// # Errors
    /// Another length, or a field that cannot be so.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let vote: Self = decode_pod("vote", bytes)?;
        vote.body.check_form().map(|_| vote)
    }
}

impl Proposal {
    /// Reads exactly one proposal.
    ///
    /// # Errors
    /// Another length, or a field that cannot be so.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let proposal: Self = decode_pod("proposal", bytes)?;
        proposal.body.check_form().map(|()| proposal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_cannot_be_are_refused() {
        let body = VoteBody::new(VoteKind::Prevote, Height(4), 2, Some([7; 32]), 0);
        let vote = Vote { body, signature: [5; 64] };
        let bytes = bytemuck::bytes_of(&vote);
        assert_eq!(Vote::decode(bytes), Ok(vote));
        assert!(Vote::decode(&bytes[1..]).is_err());
        for (place, value) in [(48, 3), (48, 0), (49, 1), (49, 2), (50, 1), (63, 1)] {
            let mut changed = bytes.to_vec();
            changed[place] = value;
            assert!(Vote::decode(&changed).is_err(), "byte {place} = {value}");
        }
    }
}
