//! Entries of the consensus log: everything the core must hear again after a restart, in fixed layouts.

use bytemuck::{Pod, Zeroable};
use engine::bytes::{DecodeError, Reader, decode_pod};
use engine::message::certificate::Certificate;
use engine::message::check_height;
use engine::message::vote::{NO_ROUND, Proposal, Vote};
use engine::{Hash, Height};

use super::timeout::{Timeout, TimeoutKind};

/// One entry of the consensus log, as docs/formats/order.md draws it. Blocks are named by hash; their bodies are
/// logged once, beside.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogEntry {
    /// A vote, of any validator.
    Vote(Vote),
    /// A proposal, of any validator.
    Proposal(Proposal),
    /// A block that arrived or was built, with the verdict on it.
    Value(ProposedValue),
    /// A quorum of prevotes for one block: a [`Certificate`] of prevotes.
    Polka(Certificate),
    /// A timeout that elapsed.
    Timeout {
        /// The height it was for.
        height: Height,
        /// Which.
        timeout: Timeout,
    },
}

/// A block and the verdict on it. Layout: 64 bytes, no padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ProposedValue {
    /// The block's hash.
    pub block: Hash,
    /// The height that the block was proposed for.
    pub height: Height,
    /// The round it was proposed in.
    pub round: u32,
    /// The earlier round in which it had a quorum of prevotes, or [`NO_ROUND`].
    pub polka_round: u32,
    /// The proposer's slot.
    pub slot: u32,
    /// 1 where the block is valid, else 0.
    pub valid: u8,
    /// 1 where it came by catching up, else 0.
    pub caught_up: u8,
    /// Zero.
    pub reserved: [u8; 10],
}

const _: () = assert!(size_of::<ProposedValue>() == 64);

/// Bytes before the body: the kind, then seven zeros.
const HEAD: usize = 8;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct TimeoutRow {
    height: u64,
    round: u32,
    kind: u8,
    reserved: [u8; 3],
}

const _: () = assert!(size_of::<TimeoutRow>() == 16);
const _: () = assert!(size_of::<Vote>() == 128 && size_of::<Proposal>() == 128);

impl ProposedValue {
    /// Checks that every field holds what it may.
    ///
    /// # Errors
    /// Names the first field that does not.
    pub fn check_form(&self) -> Result<(), DecodeError> {
        let fail = |field, found| Err(DecodeError::Value { field, found });
        check_height(self.height)?;
        match self {
            _ if self.round == NO_ROUND => fail("value round", self.round.into()),
            _ if self.valid > 1 => fail("value verdict", self.valid.into()),
            _ if self.caught_up > 1 => fail("value origin", self.caught_up.into()),
            _ if self.reserved != [0; 10] => fail("value reserved", 1),
            _ => Ok(()),
        }
    }
}

impl LogEntry {
    /// The height that the entry belongs to.
    pub fn height(&self) -> Height {
        match self {
            Self::Vote(vote) => vote.body.height,
            Self::Proposal(proposal) => proposal.body.height,
            Self::Value(value) => value.height,
            Self::Polka(polka) => polka.height,
            Self::Timeout { height, .. } => *height,
        }
    }

    /// Appends: the kind (1 vote, 2 proposal, 3 value, 4 polka, 5 timeout), seven zeros, the body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let kind: u8 = match self {
            Self::Vote(_) => 1,
            Self::Proposal(_) => 2,
            Self::Value(_) => 3,
            Self::Polka(_) => 4,
            Self::Timeout { .. } => 5,
        };
        let start = out.len();
        out.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
        match self {
            Self::Vote(vote) => out.extend_from_slice(bytemuck::bytes_of(vote)),
            Self::Proposal(proposal) => out.extend_from_slice(bytemuck::bytes_of(proposal)),
            Self::Value(value) => {
                // A restart refuses a log with an entry that cannot be so, and the validator would not vote again.
                assert_eq!(value.check_form(), Ok(()), "a reader takes the value that is logged");
                out.extend_from_slice(bytemuck::bytes_of(value));
            }
            Self::Polka(polka) => polka.encode(out),
            Self::Timeout { height, timeout } => {
                assert_ne!(timeout.kind, TimeoutKind::Rebroadcast, "a reader takes no such timeout");
                let (kind, round) = (timeout.kind as u8, timeout.round);
                let row = TimeoutRow { height: height.0, round, kind, reserved: [0; 3] };
                out.extend_from_slice(bytemuck::bytes_of(&row));
            }
        }
        // Of a log that a start cannot read it is not known what was signed: its validator would not vote again.
        assert_eq!(Self::decode(&out[start..]).as_ref(), Ok(self), "a reader takes the entry that is logged");
    }

    /// The encoding.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD + size_of::<Vote>());
        self.encode(&mut bytes);
        bytes
    }

    /// Reads exactly one entry.
    ///
    /// # Errors
    /// Too short, too long, an unknown kind, a field that cannot be so.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("log entry", bytes);
        let kind = reader.u8()?;
        reader.zeros("log entry reserved", HEAD - 1)?;
        let body = reader.take(reader.left())?;
        match kind {
            1 => Vote::decode(body).map(Self::Vote),
            2 => Proposal::decode(body).map(Self::Proposal),
            3 => {
                let value: ProposedValue = decode_pod("log entry of a value", body)?;
                value.check_form().map(|()| Self::Value(value))
            }
            4 => {
                let polka = Certificate::decode(body)?;
                match polka.round {
                    NO_ROUND => Err(DecodeError::Value { field: "polka round", found: NO_ROUND.into() }),
                    _ => Ok(Self::Polka(polka)),
                }
            }
            5 => Self::decode_timeout(body),
            unknown => Err(DecodeError::Value { field: "log entry kind", found: unknown.into() }),
        }
    }

    fn decode_timeout(body: &[u8]) -> Result<Self, DecodeError> {
        let row: TimeoutRow = decode_pod("log entry of a timeout", body)?;
        let kind = TimeoutKind::try_from(row.kind)?;
        // A rebroadcast changes nothing of what was signed, so the core never has one logged.
        if row.round == NO_ROUND || row.reserved != [0; 3] || kind == TimeoutKind::Rebroadcast {
            return Err(DecodeError::Value { field: "logged timeout", found: row.kind.into() });
        }
        Ok(Self::Timeout { height: check_height(Height(row.height))?, timeout: Timeout { kind, round: row.round } })
    }
}

#[cfg(test)]
mod tests {
    use engine::limits::HEIGHT_MAX;
    use engine::message::certificate::CertificateSignature;

    use super::*;
    use crate::signature::VoteKey;
    use engine::message::vote::{ProposalBody, VoteBody, VoteKind};

    fn entries() -> Vec<LogEntry> {
        entries_at(Height(5))
    }

    fn entries_at(height: Height) -> Vec<LogEntry> {
        let (key, chain, block) = (VoteKey::from_seed(&[1; 32]), [9; 32], [7; 32]);
        let proposal = ProposalBody { block, height, round: 3, slot: 2, polka_round: 1, reserved: [0; 12] };
        let value = ProposedValue {
            block,
            height,
            round: 3,
            polka_round: NO_ROUND,
            slot: 2,
            valid: 1,
            caught_up: 0,
            reserved: [0; 10],
        };
        let signatures = (0..3).map(|slot| CertificateSignature { slot, signature: [slot as u8; 64] }).collect();
        vec![
            LogEntry::Vote(key.sign_vote(VoteBody::new(VoteKind::Prevote, height, 3, Some(block), 2), &chain)),
            LogEntry::Vote(key.sign_vote(VoteBody::new(VoteKind::Precommit, height, 3, None, 2), &chain)),
            LogEntry::Proposal(key.sign_proposal(proposal, &chain)),
            LogEntry::Value(value),
            LogEntry::Polka(Certificate { height, round: 3, block, signatures }),
            LogEntry::Timeout { height, timeout: Timeout { kind: TimeoutKind::Precommit, round: 3 } },
        ]
    }

    #[test]
    fn entries_round_trip_and_no_other_length_is_read() {
        for entry in entries() {
            let bytes = entry.to_bytes();
            assert_eq!(LogEntry::decode(&bytes), Ok(entry));
            for cut in 0..bytes.len() {
                assert!(LogEntry::decode(&bytes[..cut]).is_err());
            }
            assert!(LogEntry::decode(&[&bytes[..], &[0]].concat()).is_err());
        }
    }

    /// Whatever one changed byte decodes to encodes to the same bytes: nothing in an entry is ignored.
    #[test]
    fn every_byte_of_an_entry_counts() {
        for entry in entries() {
            let bytes = entry.to_bytes();
            for place in 0..bytes.len() {
                for flip in [1, 2, 0x80, 0xff] {
                    let mut changed = bytes.clone();
                    changed[place] ^= flip;
                    if let Ok(read) = LogEntry::decode(&changed) {
                        assert_eq!(read.to_bytes(), changed);
                        assert_ne!(read, entry);
                    }
                }
            }
        }
    }

    #[test]
    fn an_entry_of_a_height_that_no_chain_has_is_refused() {
        // A node asserts that it logs no such entry: its bytes are made of one that may be.
        for entry in entries_at(Height(HEIGHT_MAX)) {
            let place = match &entry {
                LogEntry::Vote(_) => std::mem::offset_of!(VoteBody, height),
                LogEntry::Proposal(_) => std::mem::offset_of!(ProposalBody, height),
                LogEntry::Value(_) => std::mem::offset_of!(ProposedValue, height),
                LogEntry::Polka(_) | LogEntry::Timeout { .. } => 0,
            };
            let mut bytes = entry.to_bytes();
            assert_eq!(LogEntry::decode(&bytes), Ok(entry));
            bytes[HEAD + place] = 1;
            assert!(LogEntry::decode(&bytes).is_err());
        }
    }

    /// Changes only on purpose: a log written by an older version must be readable or refused.
    #[test]
    fn the_layouts_are_pinned() {
        let all: Vec<u8> = entries().iter().flat_map(LogEntry::to_bytes).collect();
        let found = blake3::hash(&all).to_hex();
        assert_eq!(found.as_str(), "36869bd7617cee032fb85822e3cca6ef37e0bec249cc221d892e354f59d586f9");
    }
}
