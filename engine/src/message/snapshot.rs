//! A snapshot as one node gives it to another: what proves its root, and its parts.

use bytemuck::{Pod, Zeroable};

use super::block::{BLOCK_VERSION, Header};
use super::certificate::{Beacon, Certificate, ChainLink};
use super::note::ChainNote;
use super::{DecodeError, Hash, Reader, check_height, decode_pod};
use crate::ids::Height;
use crate::limits::{GROUP_BYTES, PART_GROUPS_MAX, PART_VALUES_MAX};

/// Where the chain stood at a snapshot, and what proves it to whoever knows the validators: the header of the height but one
/// after it names the chain of roots, and a quorum signed that header.
#[derive(Clone, PartialEq, Debug)]
pub struct SnapshotProof {
    /// Where the chain stood; the first height of receipts is the snapshot's own.
    pub note: ChainNote,
    /// The beacon of its height.
    pub beacon: Beacon,
    /// The hash of what became of that height's intents.
    pub verdicts: Hash,
    /// Headers of its height and of the two after it.
    pub headers: [Header; 3],
    /// The certificate of the last of those.
    pub certificate: Certificate,
}

/// Parts of a snapshot's groups. Layout: 24 bytes, no padding.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct PartRow {
    /// The snapshot's height.
    pub height: Height,
    /// The first group.
    pub first: u32,
    /// How many.
    pub count: u32,
    /// A [`PartKind`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 7],
}

const _: () = assert!(size_of::<PartRow>() == 24);

/// What of groups a part has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PartKind {
    /// Their chaining values, 32 bytes each: the root follows from all of them.
    Values = 1,
    /// Their bytes.
    Groups = 2,
}

/// A part of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Part {
    /// Which one.
    pub row: PartRow,
    /// What it has, one group after another.
    pub bytes: Vec<u8>,
}

impl PartKind {
    /// Bytes for each group.
    pub const fn unit(self) -> usize {
        match self {
            Self::Values => size_of::<Hash>(),
            Self::Groups => GROUP_BYTES,
        }
    }

    /// Groups of one part, at most.
    pub const fn most(self) -> u32 {
        match self {
            Self::Values => PART_VALUES_MAX,
            Self::Groups => PART_GROUPS_MAX,
        }
    }
}

impl TryFrom<u8> for PartKind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            1 => Ok(Self::Values),
            2 => Ok(Self::Groups),
            _ => Err(DecodeError::Value { field: "kind of part", found: byte.into() }),
        }
    }
}

impl PartRow {
    /// Some groups of a snapshot.
    pub fn new(height: Height, kind: PartKind, first: u32, count: u32) -> Self {
        assert!(count > 0, "whoever is asked for nothing answers nothing");
        assert!(count <= kind.most(), "a part is bounded");
        Self { height, first, count, kind: kind as u8, reserved: [0; 7] }
    }

    /// What it has of its groups.
    ///
    /// # Errors
    /// If the row cannot be so.
    pub fn check_form(&self) -> Result<PartKind, DecodeError> {
        let kind = PartKind::try_from(self.kind)?;
        check_height(self.height)?;
        let fail = |field, found| Err(DecodeError::Value { field, found });
        // Everybody makes genesis from its file.
        if self.height == Height::GENESIS {
            return fail("snapshot height", 0);
        }
        if self.count == 0 || self.count > kind.most() {
            return fail("groups of a part", self.count.into());
        }
        // A sum that wrapped would name groups that nobody asked for.
        if self.first.checked_add(self.count).is_none() {
            return fail("first group of a part", self.first.into());
        }
        if self.reserved != [0; 7] { fail("part reserved", 1) } else { Ok(kind) }
    }

    /// Reads exactly one row.
    ///
    /// # Errors
    /// Another length, or a field that cannot be so.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let row: Self = decode_pod("question for a part", bytes)?;
        row.check_form().map(|_| row)
    }
}

impl Part {
    /// Appends: the row, then its bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(bytemuck::bytes_of(&self.row));
        out.extend_from_slice(&self.bytes);
    }

    /// Reads exactly one part.
    ///
    /// # Errors
    /// Another length than its row says, or a field that cannot be so.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("part of a snapshot", bytes);
        let row: PartRow = reader.row()?;
        let kind = row.check_form()?;
        // The row was checked: nobody makes a node take more than one part at a time.
        let bytes = reader.take(row.count as usize * kind.unit())?.to_vec();
        reader.end()?;
        Ok(Self { row, bytes })
    }
}

impl SnapshotProof {
    /// Bytes before the certificates' signatures.
    pub const BYTES_MIN: usize = 3 * size_of::<Header>() + 48 + 32 + 48 + 272;
    /// Bytes of a certificate before its signatures.
    const CERTIFICATE_BYTES_MIN: usize = 48;

    /// Appends: the three headers, the beacon, the hash of the verdicts, the certificate, the note.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.headers.iter().for_each(|header| out.extend_from_slice(bytemuck::bytes_of(header)));
        out.extend_from_slice(&self.beacon);
        out.extend_from_slice(&self.verdicts);
        self.certificate.encode(out);
        out.extend_from_slice(&self.note.encode());
        let certificates = self.certificate.encoded_len() + self.note.certificate.encoded_len();
        // The least is with two certificates that nobody signed.
        let expected = Self::BYTES_MIN - 2 * Self::CERTIFICATE_BYTES_MIN + certificates;
        assert_eq!(out.len() - start, expected, "a proof has as many bytes as it says");
    }

    /// Reads exactly one proof. What it proves, its hashes and signatures say.
    ///
    /// # Errors
    /// The first thing that is not as it is written.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("proof of a snapshot", bytes);
        let mut header = || -> Result<Header, DecodeError> {
            let header: Header = reader.row()?;
            if header.version != BLOCK_VERSION {
                return Err(reader.value("block version", header.version));
            }
            if header.reserved != [0; 64] {
                return Err(reader.wrong(DecodeError::NotZero { field: "header reserved" }));
            }
            check_height(header.height)?;
            Ok(header)
        };
        let headers = [header()?, header()?, header()?];
        let (beacon, verdicts) = (reader.array()?, reader.array()?);
        let certificate = Certificate::read(&mut reader)?;
        let note = ChainNote::decode(reader.take(reader.left())?)?;
        Ok(Self { note, beacon, verdicts, headers, certificate })
    }

    /// Whether all that it says follows from the hash of its last header, which its certificate is for. Signatures are not
    /// looked at.
    pub fn is_consistent(&self, chain: &Hash) -> bool {
        let Self { note, beacon, verdicts, headers: [own, next, last], certificate } = self;
        let link = ChainLink { height: note.height, block: &note.block, beacon, root: &note.root, verdicts };
        let heights = [own, next, last].map(|header| header.height);
        let is_of_chain = [own, next, last].iter().all(|header| header.chain == *chain);
        is_of_chain
            && heights == [note.height, note.height.next(), note.height.next().next()]
            && own.hash() == note.block
            && next.parent == note.block
            && last.parent == next.hash()
            && last.root_chain == note.root_chains[0]
            && link.after(&note.root_chains[1]) == note.root_chains[0]
            && note.time_ms == own.time_ms
            && note.validators == [own.validators, own.next_validators]
            && note.receipts_from == note.height
            && (certificate.height, certificate.block) == (last.height, last.hash())
    }
}
