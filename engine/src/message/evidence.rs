//! Evidence: two signed statements of one validator of which only one may be.

use super::share::Share;
use super::vote::{Proposal, Vote};
use super::{DecodeError, Reader};
use crate::ids::Height;

/// Two signed statements of one validator of which only one may be. Whoever verifies both signatures knows who lied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Evidence {
    /// Two votes of one kind in one round.
    Votes(Vote, Vote),
    /// Two proposals in one round.
    Proposals(Proposal, Proposal),
    /// Two shares of one height.
    Shares(Share, Share),
}

impl Evidence {
    /// Whose statements they are, by slot.
    pub fn slot(&self) -> u32 {
        match self {
            Self::Votes(one, _) => one.body.slot,
            Self::Proposals(one, _) => one.body.slot,
            Self::Shares(one, _) => one.body.slot,
        }
    }

    /// The height that they are about.
    pub fn height(&self) -> Height {
        match self {
            Self::Votes(one, _) => one.body.height,
            Self::Proposals(one, _) => one.body.height,
            Self::Shares(one, _) => one.body.height,
        }
    }

    /// Whether the two contradict each other: the same slot, height, round and kind, and another value. Signatures are
    /// not looked at.
    pub fn contradicts(&self) -> bool {
        match self {
            Self::Votes(one, other) => {
                let place = |vote: &Vote| (vote.body.slot, vote.body.height, vote.body.round, vote.body.kind);
                place(one) == place(other) && one.body != other.body
            }
            Self::Proposals(one, other) => {
                let place = |proposal: &Proposal| (proposal.body.slot, proposal.body.height, proposal.body.round);
                place(one) == place(other) && one.body != other.body
            }
            Self::Shares(one, other) => {
                let place = |share: &Share| (share.body.slot, share.body.height, share.body.epoch);
                place(one) == place(other) && one.body != other.body
            }
        }
    }

    /// Appends: kind u8 (1 votes, 2 proposals, 3 shares), seven zeros, then the two rows.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (kind, one, other) = match self {
            Self::Votes(one, other) => (1, bytemuck::bytes_of(one), bytemuck::bytes_of(other)),
            Self::Proposals(one, other) => (2, bytemuck::bytes_of(one), bytemuck::bytes_of(other)),
            Self::Shares(one, other) => (3, bytemuck::bytes_of(one), bytemuck::bytes_of(other)),
        };
        out.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        out.extend_from_slice(one);
        out.extend_from_slice(other);
    }

    /// Reads exactly one piece of evidence; says nothing about its signatures.
    ///
    /// # Errors
    /// Too short, too long, an unknown kind, a row that cannot be so, or two rows that do not contradict each other.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("evidence", bytes);
        let [kind, zeros @ ..] = reader.array::<8>()?;
        // What says the same has one form, so that it is kept and told once.
        if zeros != [0; 7] {
            return Err(DecodeError::Value { field: "evidence reserved", found: 1 });
        }
        let evidence = match kind {
            1 => Self::Votes(
                Vote::decode(reader.take(size_of::<Vote>())?)?,
                Vote::decode(reader.take(size_of::<Vote>())?)?,
            ),
            2 => Self::Proposals(
                Proposal::decode(reader.take(size_of::<Proposal>())?)?,
                Proposal::decode(reader.take(size_of::<Proposal>())?)?,
            ),
            3 => Self::Shares(
                Share::decode(reader.take(size_of::<Share>())?)?,
                Share::decode(reader.take(size_of::<Share>())?)?,
            ),
            _ => return Err(DecodeError::Value { field: "evidence kind", found: kind.into() }),
        };
        reader.end()?;
        // Two statements that may both be true would hold an honest validator to be faulty.
        if !evidence.contradicts() {
            return Err(DecodeError::Value { field: "evidence that proves nothing", found: kind.into() });
        }
        Ok(evidence)
    }
}
