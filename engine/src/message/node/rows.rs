//! What messages between nodes are made of: rows of fixed layout, and what has a length.

use bytemuck::{Pod, Zeroable};

use crate::ids::Height;
use crate::limits::{RANGE_HEIGHTS_MAX, VALIDATORS_MAX};
use crate::message::block::Decided;
use crate::message::certificate::Beacon;
use crate::message::vote::Vote;
use crate::message::{DecodeError, Hash, Reader, check_height, decode_pod};

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
    /// Bit 0: it votes on nothing, for whatever reason. Bit 1: it lost its log, and its operator let it sign again.
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

const _: () = assert!(size_of::<BeaconRow>() == 88);
const _: () = assert!(size_of::<NodeStanding>() == 64);
const _: () = assert!(size_of::<ClaimBody>() == 64);
const _: () = assert!(std::mem::offset_of!(Claim, signature) == size_of::<ClaimBody>());
const _: () = assert!(size_of::<Claim>() == 128);
const _: () = assert!(size_of::<BlockRow>() == 40);
const _: () = assert!(size_of::<RangeRow>() == 16);

/// Bytes before a range's entry: its length and whether there is a beacon.
const ENTRY_HEAD: usize = 8;

/// One row after another, at least one.
pub(super) fn rows<T>(
    what: &'static str,
    bytes: &[u8],
    decode: impl Fn(&[u8]) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(size_of::<T>()) {
        return Err(DecodeError::Length { what, expected: size_of::<T>(), found: bytes.len() });
    }
    bytes.chunks_exact(size_of::<T>()).map(decode).collect()
}

pub(super) fn decode_range(bytes: &[u8]) -> Result<Vec<RangeEntry>, DecodeError> {
    let mut reader = Reader::new("range", bytes);
    let mut entries = Vec::new();
    while reader.left() > 0 {
        // Bytes bound a range too, but small blocks would make many more of them than anybody asks for.
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
        let (start, body) = (out.len(), self.decided.encode());
        out.extend_from_slice(&u32::try_from(body.len()).expect("a block is bounded").to_le_bytes());
        out.extend_from_slice(&[u8::from(self.beacon.is_some()), 0, 0, 0]);
        if let Some(beacon) = &self.beacon {
            out.extend_from_slice(beacon);
        }
        out.extend_from_slice(&body);
        assert_eq!(out.len() - start, self.encoded_len(), "a height has as many bytes in a range as it says");
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
        let entry = Self { decided, beacon };
        // Whoever catches up counts what waits by this length: it must be that of the bytes that came.
        let beacon_bytes = if has_beacon { size_of::<Beacon>() } else { 0 };
        assert_eq!(entry.encoded_len(), ENTRY_HEAD + beacon_bytes + length, "a height has as many bytes as it says");
        Ok(entry)
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
        let (height, round) = (check_height(Height(reader.u64()?))?, reader.u32()?);
        let precommits = match reader.array()? {
            [0, 0, 0, 0] => false,
            [1, 0, 0, 0] => true,
            [found, ..] => return Err(DecodeError::Value { field: "round certificate flags", found: found.into() }),
        };
        let votes = rows("round certificate's votes", reader.take(reader.left())?, Vote::decode)?;
        for (place, Vote { body, .. }) in votes.iter().enumerate() {
            // Ascending slots are of different validators: one that stood in it twice would count twice.
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
    /// The bit of [`NodeStanding::flags`] of a node that votes on nothing, for whatever reason.
    pub const SILENT: u32 = 1;
    /// The bit of one that signs again because its operator answers for what it signed before.
    pub const BY_OPERATOR: u32 = 2;

    /// Reads exactly one standing.
    ///
    /// # Errors
    /// Another length, heights out of order or that no chain has, or unknown bits.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let row: Self = decode_pod("standing of a node", bytes)?;
        let fail = |field, found| Err(DecodeError::Value { field, found });
        // The highest: the others are not above it.
        check_height(row.decided)?;
        // Whoever is behind asks for heights up to these: one that is settled and not decided, nobody could tell.
        if row.settled > row.decided {
            return fail("settled height", row.settled.0);
        }
        if row.certified > row.settled {
            return fail("certified height", row.certified.0);
        }
        if row.flags > Self::SILENT | Self::BY_OPERATOR {
            return fail("standing flags", row.flags.into());
        }
        if row.reserved != [0; 4] { fail("standing reserved", 1) } else { Ok(row) }
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

impl BeaconRow {
    /// Reads exactly one beacon. What it proves, its signature says.
    ///
    /// # Errors
    /// Another length, or a height that no chain has.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let row: Self = decode_pod("beacon", bytes)?;
        check_height(row.height).map(|_| row)
    }
}

impl BlockRow {
    /// Reads exactly one question.
    ///
    /// # Errors
    /// Another length, or a height that no chain has.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let row: Self = decode_pod("question for a body", bytes)?;
        check_height(row.height).map(|_| row)
    }
}

impl RangeRow {
    /// Asks for `count` heights from one on.
    pub fn new(from: Height, count: u32) -> Self {
        assert!(from > Height::GENESIS, "genesis is no block that could be told");
        assert!(count > 0, "whoever is asked for nothing answers nothing");
        Self { from, count, reserved: [0; 4] }
    }

    /// Reads exactly one question.
    ///
    /// # Errors
    /// Another length, no height or one that no chain has, or reserved bytes that are not zero.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let row: Self = decode_pod("question for a range", bytes)?;
        let fail = |field, found| Err(DecodeError::Value { field, found });
        check_height(row.from)?;
        if row.from == Height::GENESIS {
            return fail("first height of a range", 0);
        }
        // An answer to it would say that the heights are gone.
        if row.count == 0 {
            return fail("heights of a range", 0);
        }
        if row.reserved != [0; 4] { fail("range reserved", 1) } else { Ok(row) }
    }
}
