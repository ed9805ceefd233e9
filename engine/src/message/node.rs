//! What nodes say to each other.
//!
//! Every message is bounded, and its decoder total: whatever a peer sends is a message or an error.

mod rows;

pub use self::rows::{
    BeaconRow, BlockRow, CLAIM_DOMAIN, Claim, ClaimBody, NodeStanding, RangeEntry, RangeRow, RoundCertificate,
};
use self::rows::{decode_range, rows};
use super::block::{Block, Header};
use super::certificate::Certificate;
use super::evidence::Evidence;
use super::intent::{INTENT_DOMAIN, Intent};
use super::pledge::{PLEDGE_DOMAIN, PledgeRow};
use super::share::{SHARE_DOMAIN, Share};
use super::snapshot::{Part, PartRow, SnapshotProof};
use super::vote::{NO_ROUND, PRECOMMIT_DOMAIN, PREVOTE_DOMAIN, PROPOSAL_DOMAIN, Proposal, Vote};
use super::{DecodeError, Hash, check_height, decode_pod};
use crate::ids::Height;
use crate::limits::{
    BLOCK_BYTES_MAX, GROUP_BYTES, LANE_QUEUE_BYTES, LANES, NODE_INTENTS_MAX, NODE_PLEDGES_MAX, NODE_VOTES_MAX,
    PART_GROUPS_MAX, PART_VALUES_MAX, RANGE_BYTES_MAX, VALIDATORS_MAX,
};

/// What one node says to another.
#[derive(Clone, PartialEq, Debug)]
pub enum NodeMessage {
    /// Votes, of one or of several validators.
    Votes(Vec<Vote>),
    /// A proposal; the block's body travels beside.
    Proposal(Proposal),
    /// The body of a proposed block.
    Body(Box<Block>),
    /// A quorum of prevotes for one block: a certificate of prevotes.
    Polka(Certificate),
    /// Votes that let a round be entered.
    Round(RoundCertificate),
    /// A share of the beacon over a decided block.
    Share(Share),
    /// A beacon, whole: for those who lack it.
    Beacon(BeaconRow),
    /// Intents of the sender's own clients. One hop: whoever receives them passes them on to nobody.
    Intents(Vec<Intent>),
    /// Pledges and openings of the sender's own clients, as intents.
    Pledges(Vec<PledgeRow>),
    /// Where the sender's chain stands, on its disk.
    Standing(NodeStanding),
    /// Asks for the body of a proposed block.
    AskBody(BlockRow),
    /// Asks for decided blocks, with their beacons.
    AskRange(RangeRow),
    /// Decided blocks, one height after another.
    Range(Vec<RangeEntry>),
    /// Two statements of one validator of which only one may be.
    Evidence(Evidence),
    /// Says which validator the sender is.
    Claim(Claim),
    /// Asks for what proves a snapshot: the one of a height, or the newest for height 0.
    AskSnapshot(Height),
    /// What proves a snapshot that the sender has.
    Snapshot(Box<SnapshotProof>),
    /// Asks for a part of a snapshot.
    AskPart(PartRow),
    /// A part of a snapshot.
    Part(Part),
}

const _: () = assert!(PART_VALUES_MAX as usize * size_of::<Hash>() <= PART_GROUPS_MAX as usize * GROUP_BYTES);

// Whoever checks a length before the bytes come knows which lengths a kind may have.
const _: () = {
    let mut index = 0;
    while index < NodeKind::ALL.len() {
        let kind = NodeKind::ALL[index];
        assert!(kind as usize == index + 1, "a list of all kinds that lacks one would refuse its byte");
        assert!(kind.bytes_min() <= kind.bytes_max());
        assert!((kind.bytes_max() - kind.bytes_min()).is_multiple_of(kind.bytes_unit()));
        index += 1;
    }
};

// A message that its lane has no room for could never leave.
const _: () = assert!(Lane::ALL.len() == LANES);
const _: () = {
    let mut index = 0;
    while index < LANES {
        assert!(Lane::ALL[index] as usize == index, "a lane has the bounds of its own number");
        assert!(Lane::ALL[index].bytes_max() <= LANE_QUEUE_BYTES[index]);
        index += 1;
    }
};

/// What signatures cover first, of all kinds that this crate knows.
const DOMAINS: [[u8; 32]; 7] =
    [INTENT_DOMAIN, PLEDGE_DOMAIN, PREVOTE_DOMAIN, PRECOMMIT_DOMAIN, PROPOSAL_DOMAIN, SHARE_DOMAIN, CLAIM_DOMAIN];

// A signature that were valid for two kinds would let anybody make a vote of a proposal, or an intent of a pledge.
const _: () = {
    let mut one = 0;
    while one < DOMAINS.len() {
        let mut other = one + 1;
        while other < DOMAINS.len() {
            let mut byte = 0;
            while byte < 32 && DOMAINS[one][byte] == DOMAINS[other][byte] {
                byte += 1;
            }
            assert!(byte < 32);
            other += 1;
        }
        one += 1;
    }
};

/// What a message is. The numbers never change meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum NodeKind {
    /// [`NodeMessage::Votes`].
    Votes = 1,
    /// [`NodeMessage::Proposal`].
    Proposal = 2,
    /// [`NodeMessage::Body`].
    Body = 3,
    /// [`NodeMessage::Polka`].
    Polka = 4,
    /// [`NodeMessage::Round`].
    Round = 5,
    /// [`NodeMessage::Share`].
    Share = 6,
    /// [`NodeMessage::Beacon`].
    Beacon = 7,
    /// [`NodeMessage::Intents`].
    Intents = 8,
    /// [`NodeMessage::Standing`].
    Standing = 9,
    /// [`NodeMessage::AskBody`].
    AskBody = 10,
    /// [`NodeMessage::AskRange`].
    AskRange = 11,
    /// [`NodeMessage::Range`].
    Range = 12,
    /// [`NodeMessage::Evidence`].
    Evidence = 13,
    /// [`NodeMessage::Claim`].
    Claim = 14,
    /// [`NodeMessage::AskSnapshot`].
    AskSnapshot = 15,
    /// [`NodeMessage::Snapshot`].
    Snapshot = 16,
    /// [`NodeMessage::AskPart`].
    AskPart = 17,
    /// [`NodeMessage::Part`].
    Part = 18,
    /// [`NodeMessage::Pledges`].
    Pledges = 19,
}

/// Bytes of a block without certificate, messages, pledges and intents.
const BLOCK_BYTES_MIN: usize = size_of::<Header>() + 8;
/// Bytes of a certificate before its signatures, and of one of those.
const CERTIFICATE_HEAD: usize = 48;
const CERTIFICATE_ENTRY: usize = 68;
/// Bytes of a certificate of all validators, at most.
const CERTIFICATE_BYTES_MAX: usize = CERTIFICATE_HEAD + VALIDATORS_MAX as usize * CERTIFICATE_ENTRY;
/// Bytes before a round certificate's votes.
const ROUND_HEAD: usize = 16;

impl NodeKind {
    /// All kinds.
    pub const ALL: [Self; 19] = [
        Self::Votes,
        Self::Proposal,
        Self::Body,
        Self::Polka,
        Self::Round,
        Self::Share,
        Self::Beacon,
        Self::Intents,
        Self::Standing,
        Self::AskBody,
        Self::AskRange,
        Self::Range,
        Self::Evidence,
        Self::Claim,
        Self::AskSnapshot,
        Self::Snapshot,
        Self::AskPart,
        Self::Part,
        Self::Pledges,
    ];

    /// Bytes of a body of this kind, at most: to be checked before a byte of it is kept.
    pub const fn bytes_max(self) -> usize {
        match self {
            Self::Votes => NODE_VOTES_MAX * size_of::<Vote>(),
            Self::Proposal => size_of::<Proposal>(),
            Self::Body => BLOCK_BYTES_MAX,
            Self::Polka => CERTIFICATE_BYTES_MAX,
            Self::Round => ROUND_HEAD + VALIDATORS_MAX as usize * size_of::<Vote>(),
            Self::Share => size_of::<Share>(),
            Self::Beacon => size_of::<BeaconRow>(),
            Self::Intents => NODE_INTENTS_MAX * size_of::<Intent>(),
            Self::Pledges => NODE_PLEDGES_MAX * size_of::<PledgeRow>(),
            Self::Standing => size_of::<NodeStanding>(),
            Self::AskBody => size_of::<BlockRow>(),
            Self::AskRange => size_of::<RangeRow>(),
            Self::Range => RANGE_BYTES_MAX,
            Self::Evidence => 8 + 2 * size_of::<Share>(),
            Self::Claim => size_of::<Claim>(),
            Self::AskSnapshot => size_of::<Height>(),
            Self::Snapshot => SnapshotProof::BYTES_MIN + 2 * VALIDATORS_MAX as usize * CERTIFICATE_ENTRY,
            Self::AskPart => size_of::<PartRow>(),
            Self::Part => size_of::<PartRow>() + PART_GROUPS_MAX as usize * GROUP_BYTES,
        }
    }

    /// Bytes of a body of this kind, at least.
    pub const fn bytes_min(self) -> usize {
        match self {
            Self::Votes => size_of::<Vote>(),
            Self::Body => BLOCK_BYTES_MIN,
            Self::Polka => CERTIFICATE_HEAD,
            Self::Round => ROUND_HEAD + size_of::<Vote>(),
            Self::Intents => size_of::<Intent>(),
            Self::Pledges => size_of::<PledgeRow>(),
            // Empty, it says that the heights were given up.
            Self::Range => 0,
            Self::Evidence => 8 + 2 * size_of::<Vote>(),
            Self::Proposal | Self::Share | Self::Beacon | Self::Standing => self.bytes_max(),
            Self::AskBody | Self::AskRange | Self::Claim | Self::AskSnapshot | Self::AskPart => self.bytes_max(),
            Self::Snapshot => SnapshotProof::BYTES_MIN,
            Self::Part => size_of::<PartRow>() + size_of::<Hash>(),
        }
    }

    /// What a body of this kind grows by above the least.
    pub const fn bytes_unit(self) -> usize {
        match self {
            Self::Votes | Self::Round => size_of::<Vote>(),
            Self::Polka | Self::Snapshot => CERTIFICATE_ENTRY,
            Self::Part => size_of::<Hash>(),
            Self::Intents => size_of::<Intent>(),
            Self::Pledges => size_of::<PledgeRow>(),
            Self::Evidence => 2 * (size_of::<Share>() - size_of::<Vote>()),
            _ => 1,
        }
    }

    /// Which messages wait behind which: a lane keeps its order, and a full one holds up no lane before it.
    pub const fn lane(self) -> Lane {
        match self {
            Self::Votes | Self::Proposal | Self::Polka | Self::Round | Self::Share | Self::Beacon => Lane::Order,
            Self::Standing | Self::AskBody | Self::AskRange | Self::Evidence | Self::Claim => Lane::Order,
            Self::AskSnapshot | Self::AskPart => Lane::Order,
            // A megabyte of a proposed block holds up no vote, and a flood of intents no block.
            Self::Body => Lane::Bodies,
            Self::Intents | Self::Pledges => Lane::Intents,
            Self::Range | Self::Snapshot | Self::Part => Lane::History,
        }
    }
}

/// The lanes between two nodes, the most urgent first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Lane {
    /// Votes, proposals, shares, and short questions.
    Order = 0,
    /// Bodies of proposed blocks.
    Bodies = 1,
    /// Intents, pledges and openings of clients.
    Intents = 2,
    /// Decided blocks for those who are behind.
    History = 3,
}

impl Lane {
    /// All lanes, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Order, Self::Bodies, Self::Intents, Self::History];

    /// Its name in output and documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Bodies => "bodies",
            Self::Intents => "intents",
            Self::History => "history",
        }
    }

    /// Bytes of the largest body that it carries.
    pub const fn bytes_max(self) -> usize {
        let (mut most, mut index) = (0, 0);
        while index < NodeKind::ALL.len() {
            let kind = NodeKind::ALL[index];
            if kind.lane() as u8 == self as u8 && kind.bytes_max() > most {
                most = kind.bytes_max();
            }
            index += 1;
        }
        most
    }
}

impl TryFrom<u8> for NodeKind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        let known = Self::ALL.into_iter().find(|kind| *kind as u8 == byte);
        known.ok_or(DecodeError::Value { field: "node message kind", found: byte.into() })
    }
}

impl NodeMessage {
    /// What it is.
    pub fn kind(&self) -> NodeKind {
        match self {
            Self::Votes(_) => NodeKind::Votes,
            Self::Proposal(_) => NodeKind::Proposal,
            Self::Body(_) => NodeKind::Body,
            Self::Polka(_) => NodeKind::Polka,
            Self::Round(_) => NodeKind::Round,
            Self::Share(_) => NodeKind::Share,
            Self::Beacon(_) => NodeKind::Beacon,
            Self::Intents(_) => NodeKind::Intents,
            Self::Pledges(_) => NodeKind::Pledges,
            Self::Standing(_) => NodeKind::Standing,
            Self::AskBody(_) => NodeKind::AskBody,
            Self::AskRange(_) => NodeKind::AskRange,
            Self::Range(_) => NodeKind::Range,
            Self::Evidence(_) => NodeKind::Evidence,
            Self::Claim(_) => NodeKind::Claim,
            Self::AskSnapshot(_) => NodeKind::AskSnapshot,
            Self::Snapshot(_) => NodeKind::Snapshot,
            Self::AskPart(_) => NodeKind::AskPart,
            Self::Part(_) => NodeKind::Part,
        }
    }

    /// Whether it says something that must be on the sender's disk first: what was signed, and what is said to be
    /// decided. The rest may leave at once.
    pub fn awaits_disk(&self) -> bool {
        match self {
            Self::Votes(_) | Self::Proposal(_) | Self::Polka(_) | Self::Round(_) | Self::Standing(_) => true,
            // Behind its proposal, without which nobody takes it.
            Self::Body(_) => true,
            // Of blocks that were on disk before.
            Self::Share(_) | Self::Beacon(_) | Self::Range(_) => false,
            Self::Intents(_)
            | Self::Pledges(_)
            | Self::AskBody(_)
            | Self::AskRange(_)
            | Self::Evidence(_)
            | Self::Claim(_) => false,
            Self::AskSnapshot(_) | Self::Snapshot(_) | Self::AskPart(_) | Self::Part(_) => false,
        }
    }

    /// Appends the body: rows one after another, or as `docs/formats/node.md` draws it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Votes(votes) => out.extend_from_slice(bytemuck::cast_slice(votes)),
            Self::Proposal(proposal) => out.extend_from_slice(bytemuck::bytes_of(proposal)),
            Self::Body(block) => block.encode(out),
            Self::Polka(certificate) => certificate.encode(out),
            Self::Round(certificate) => certificate.encode(out),
            Self::Share(share) => out.extend_from_slice(bytemuck::bytes_of(share)),
            Self::Beacon(row) => out.extend_from_slice(bytemuck::bytes_of(row)),
            Self::Intents(intents) => out.extend_from_slice(bytemuck::cast_slice(intents)),
            Self::Pledges(pledges) => out.extend_from_slice(bytemuck::cast_slice(pledges)),
            Self::Standing(row) => out.extend_from_slice(bytemuck::bytes_of(row)),
            Self::AskBody(row) => out.extend_from_slice(bytemuck::bytes_of(row)),
            Self::AskRange(row) => out.extend_from_slice(bytemuck::bytes_of(row)),
            Self::Range(entries) => entries.iter().for_each(|entry| entry.encode(out)),
            Self::Evidence(evidence) => evidence.encode(out),
            Self::Claim(claim) => out.extend_from_slice(bytemuck::bytes_of(claim)),
            Self::AskSnapshot(height) => out.extend_from_slice(&height.0.to_le_bytes()),
            Self::Snapshot(proof) => proof.encode(out),
            Self::AskPart(row) => out.extend_from_slice(bytemuck::bytes_of(row)),
            Self::Part(part) => part.encode(out),
        }
    }

    /// Reads exactly one message of a kind. Says nothing about signatures.
    ///
    /// # Errors
    /// More bytes than the kind may have, no message of the kind, or fields that cannot be so.
    pub fn decode(kind: NodeKind, bytes: &[u8]) -> Result<Self, DecodeError> {
        let (most, found) = (kind.bytes_max(), bytes.len());
        // Before anything of it is kept: a row takes as much memory again as its bytes do.
        if found > most {
            return Err(DecodeError::TooMany { what: "bytes of a node message", most, found });
        }
        Ok(match kind {
            NodeKind::Votes => Self::Votes(rows("votes", bytes, Vote::decode)?),
            NodeKind::Proposal => Self::Proposal(Proposal::decode(bytes)?),
            NodeKind::Body => Self::Body(Box::new(Block::decode(bytes)?)),
            NodeKind::Polka => {
                let polka = Certificate::decode(bytes)?;
                // It stands for no round: a polka of it would be later than every other.
                if polka.round == NO_ROUND {
                    return Err(DecodeError::Value { field: "polka round", found: polka.round.into() });
                }
                Self::Polka(polka)
            }
            NodeKind::Round => Self::Round(RoundCertificate::decode(bytes)?),
            NodeKind::Share => Self::Share(Share::decode(bytes)?),
            NodeKind::Beacon => Self::Beacon(BeaconRow::decode(bytes)?),
            NodeKind::Intents => Self::Intents(rows("intents", bytes, |row| decode_pod("intent", row))?),
            NodeKind::Pledges => Self::Pledges(rows("pledges", bytes, PledgeRow::decode)?),
            NodeKind::Standing => Self::Standing(NodeStanding::decode(bytes)?),
            NodeKind::AskBody => Self::AskBody(BlockRow::decode(bytes)?),
            NodeKind::AskRange => Self::AskRange(RangeRow::decode(bytes)?),
            NodeKind::Range => Self::Range(decode_range(bytes)?),
            NodeKind::Evidence => Self::Evidence(Evidence::decode(bytes)?),
            NodeKind::Claim => Self::Claim(Claim::decode(bytes)?),
            NodeKind::AskSnapshot => Self::AskSnapshot(check_height(decode_pod("question for a snapshot", bytes)?)?),
            NodeKind::Snapshot => Self::Snapshot(Box::new(SnapshotProof::decode(bytes)?)),
            NodeKind::AskPart => Self::AskPart(PartRow::decode(bytes)?),
            NodeKind::Part => Self::Part(Part::decode(bytes)?),
        })
    }
}

#[cfg(test)]
mod tests;
