//! What nodes say to each other.
//!
//! Every message is bounded, and its decoder total: whatever a peer sends is a message or an error.

use bytemuck::{Pod, Zeroable};

use super::block::{Block, Decided, Header};
use super::certificate::{Beacon, Certificate};
use super::evidence::Evidence;
use super::intent::Intent;
use super::pledge::PledgeRow;
use super::share::Share;
use super::snapshot::{Part, PartRow, SnapshotProof};
use super::vote::{NO_ROUND, Proposal, Vote};
use super::{DecodeError, Hash, Reader, decode_pod};
use crate::ids::Height;
use crate::limits::{
    BLOCK_BYTES_MAX, GROUP_BYTES, NODE_INTENTS_MAX, NODE_PLEDGES_MAX, NODE_VOTES_MAX, PART_GROUPS_MAX, PART_VALUES_MAX,
    RANGE_BYTES_MAX, RANGE_HEIGHTS_MAX, VALIDATORS_MAX,
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

/// What every claim's signature covers first.
pub const CLAIM_DOMAIN: [u8; 32] = *b"bitcraps slot 1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// Which network key a validator speaks with. Layout: 64 bytes, no padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ClaimBody {
    /// The Ed25519 key that its connections prove.
    pub network: [u8; 32],
    /// The validator's slot.
    pub slot: u32,
    /// Zero.
    pub reserved: [u8; 28],
}

/// A signed claim. Layout: 128 bytes, two cache lines; the body, then the signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Claim {
    /// What is claimed.
    pub body: ClaimBody,
    /// Ed25519 of the validator's vote key.
    pub signature: [u8; 64],
}

/// A beacon and what it is over. Layout: 88 bytes, no padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BeaconRow {
    /// The decided height.
    pub height: Height,
    /// The decided block's hash.
    pub block: Hash,
    /// The beacon.
    pub beacon: Beacon,
}

/// Where a node's chain stands, as it tells other nodes. Layout: 64 bytes, no padding.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct NodeStanding {
    /// The last decided height that is on its disk.
    pub decided: Height,
    /// The last settled height that is on its disk.
    pub settled: Height,
    /// The last height whose root a decided header certifies.
    pub certified: Height,
    /// `root_chain` of the settled height.
    pub root_chain: Hash,
    /// Bit 0: it follows, and votes on nothing. Bit 1: it lost its log, and its operator let it sign again.
    pub flags: u32,
    /// Zero.
    pub reserved: [u8; 4],
}

/// A block by height and hash. Layout: 40 bytes, no padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BlockRow {
    /// The height.
    pub height: Height,
    /// The block's hash.
    pub block: Hash,
}

/// A range of heights. Layout: 16 bytes, no padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct RangeRow {
    /// The first height.
    pub from: Height,
    /// How many, at most.
    pub count: u32,
    /// Zero.
    pub reserved: [u8; 4],
}

/// A decided height as a node tells it to one that is behind.
#[derive(Clone, PartialEq, Debug)]
pub struct RangeEntry {
    /// The block, with the teller's certificate for it.
    pub decided: Box<Decided>,
    /// Its beacon, if the teller knows it.
    pub beacon: Option<Beacon>,
}

const _: () = assert!(size_of::<BeaconRow>() == 88 && size_of::<NodeStanding>() == 64);
const _: () = assert!(size_of::<ClaimBody>() == 64 && size_of::<Claim>() == 128);
const _: () = assert!(PART_VALUES_MAX as usize * size_of::<Hash>() <= PART_GROUPS_MAX as usize * GROUP_BYTES);
const _: () = assert!(size_of::<BlockRow>() == 40 && size_of::<RangeRow>() == 16);

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
/// Bytes before a range's entry: its length and whether there is a beacon.
const ENTRY_HEAD: usize = 8;

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
        if found > most {
            return Err(DecodeError::TooMany { what: "bytes of a node message", most, found });
        }
        Ok(match kind {
            NodeKind::Votes => Self::Votes(rows("votes", bytes, Vote::decode)?),
            NodeKind::Proposal => Self::Proposal(Proposal::decode(bytes)?),
            NodeKind::Body => Self::Body(Box::new(Block::decode(bytes)?)),
            NodeKind::Polka => {
                let polka = Certificate::decode(bytes)?;
                if polka.round == NO_ROUND {
                    return Err(DecodeError::Value { field: "polka round", found: polka.round.into() });
                }
                Self::Polka(polka)
            }
            NodeKind::Round => Self::Round(RoundCertificate::decode(bytes)?),
            NodeKind::Share => Self::Share(Share::decode(bytes)?),
            NodeKind::Beacon => Self::Beacon(decode_pod("beacon", bytes)?),
            NodeKind::Intents => Self::Intents(rows("intents", bytes, |row| decode_pod("intent", row))?),
            NodeKind::Pledges => Self::Pledges(rows("pledges", bytes, PledgeRow::decode)?),
            NodeKind::Standing => Self::Standing(NodeStanding::decode(bytes)?),
            NodeKind::AskBody => Self::AskBody(decode_pod("question for a body", bytes)?),
            NodeKind::AskRange => Self::AskRange(RangeRow::decode(bytes)?),
            NodeKind::Range => Self::Range(decode_range(bytes)?),
            NodeKind::Evidence => Self::Evidence(Evidence::decode(bytes)?),
            NodeKind::Claim => Self::Claim(Claim::decode(bytes)?),
            NodeKind::AskSnapshot => Self::AskSnapshot(decode_pod("question for a snapshot", bytes)?),
            NodeKind::Snapshot => Self::Snapshot(Box::new(SnapshotProof::decode(bytes)?)),
            NodeKind::AskPart => Self::AskPart(PartRow::decode(bytes)?),
            NodeKind::Part => Self::Part(Part::decode(bytes)?),
        })
    }
}

/// One row after another, at least one.
fn rows<T>(
    what: &'static str,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(size_of::<T>()) {
        return Err(DecodeError::Length { what, expected: size_of::<T>(), found: bytes.len() });
    }
    bytes.chunks_exact(size_of::<T>()).map(decode).collect()
}

fn decode_range(bytes: &[u8]) -> Result<Vec<RangeEntry>, DecodeError> {
    let mut reader = Reader::new("range", bytes);
    let mut entries = Vec::new();
    while reader.left() > 0 {
        if entries.len() == RANGE_HEIGHTS_MAX {
            let (most, found) = (RANGE_HEIGHTS_MAX, RANGE_HEIGHTS_MAX + 1);
            return Err(DecodeError::TooMany { what: "heights of a range", most, found });
        }
        entries.push(RangeEntry::read(&mut reader)?);
    }
    Ok(entries)
}

impl RangeEntry {
    /// Bytes of the encoding.
    pub fn encoded_len(&self) -> usize {
        let Decided { block, certificate } = &*self.decided;
        ENTRY_HEAD + self.beacon.map_or(0, |_| 48) + block.encoded_len() + certificate.encoded_len()
    }

    /// Appends: bytes of the decided body u32, whether there is a beacon u8, three zeros, the beacon, the decided body.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let body = self.decided.encode();
        out.extend_from_slice(&u32::try_from(body.len()).expect("a block is bounded").to_le_bytes());
        out.extend_from_slice(&[u8::from(self.beacon.is_some()), 0, 0, 0]);
        if let Some(beacon) = &self.beacon {
            out.extend_from_slice(beacon);
        }
        out.extend_from_slice(&body);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let length = reader.u32()? as usize;
        let has_beacon = match reader.array()? {
            [0, 0, 0, 0] => false,
            [1, 0, 0, 0] => true,
            [found, ..] => return Err(DecodeError::Value { field: "range entry flags", found: found.into() }),
        };
        let beacon = if has_beacon { Some(reader.array()?) } else { None };
        let decided = Box::new(Decided::decode(reader.take(length)?)?);
        Ok(Self { decided, beacon })
    }
}

impl RoundCertificate {
    /// Appends: height u64, round u32, 1 for precommits or 0 as u8, three zeros, then the votes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.height.0.to_le_bytes());
        out.extend_from_slice(&self.round.to_le_bytes());
        out.extend_from_slice(&[u8::from(self.precommits), 0, 0, 0]);
        out.extend_from_slice(bytemuck::cast_slice(&self.votes));
    }

    /// Reads exactly one round certificate. Its votes are of its height and round, of different validators by slot
    /// ascending, and precommits where it says so.
    ///
    /// # Errors
    /// The first thing that is otherwise.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("round certificate", bytes);
        let (height, round) = (Height(reader.u64()?), reader.u32()?);
        let precommits = match reader.array()? {
            [0, 0, 0, 0] => false,
            [1, 0, 0, 0] => true,
            [found, ..] => return Err(DecodeError::Value { field: "round certificate flags", found: found.into() }),
        };
        let votes = rows("round certificate's votes", reader.take(reader.left())?, Vote::decode)?;
        for (place, Vote { body, .. }) in votes.iter().enumerate() {
            let ascends = place == 0 || votes[place - 1].body.slot < body.slot;
            let fits = body.height == height && body.round == round;
            if !ascends || !fits || body.slot >= VALIDATORS_MAX {
                return Err(DecodeError::Value { field: "round certificate's vote", found: body.slot.into() });
            }
        }
        Ok(Self { height, round, precommits, votes })
    }
}

impl NodeStanding {
    /// The bit of [`NodeStanding::flags`] of a node that votes on nothing.
    pub const FOLLOWS: u32 = 1;
    /// The bit of one that signs again because its operator answers for what it signed before.
    pub const BY_OPERATOR: u32 = 2;

    /// Reads exactly one standing.
    ///
    /// # Errors
    /// Another length, heights out of order, or unknown bits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let row: Self = decode_pod("standing of a node", bytes)?;
        let fail = |field, found| Err(DecodeError::Value { field, found });
        match () {
            () if row.settled > row.decided => fail("settled height", row.settled.0),
            () if row.certified > row.settled => fail("certified height", row.certified.0),
            () if row.flags > Self::FOLLOWS | Self::BY_OPERATOR => fail("standing flags", row.flags.into()),
            () if row.reserved != [0; 4] => fail("standing reserved", 1),
            () => Ok(row),
        }
    }
}

impl Claim {
    /// Reads exactly one claim.
    ///
    /// # Errors
    /// Another length, or reserved bytes that are not zero.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let claim: Self = decode_pod("claim", bytes)?;
        if claim.body.reserved != [0; 28] {
            return Err(DecodeError::Value { field: "claim reserved", found: 1 });
        }
        Ok(claim)
    }
}

impl RangeRow {
    /// Asks for `count` heights from one on.
    pub fn new(from: Height, count: u32) -> Self {
        Self { from, count, reserved: [0; 4] }
    }

    /// Reads exactly one question.
    ///
    /// # Errors
    /// Another length, no height, or reserved bytes that are not zero.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let row: Self = decode_pod("question for a range", bytes)?;
        let fail = |field, found| Err(DecodeError::Value { field, found });
        match () {
            () if row.from == Height::GENESIS => fail("first height of a range", 0),
            () if row.count == 0 => fail("heights of a range", 0),
            () if row.reserved != [0; 4] => fail("range reserved", 1),
            () => Ok(row),
        }
    }
}

#[cfg(test)]
mod tests;
