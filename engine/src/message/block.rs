//! A block: what one height decides.

use bytemuck::{Pod, Zeroable};

use super::certificate::Certificate;
use super::intent::{Intent, IntentBody};
use super::pledge::PledgeRow;
use super::{DecodeError, Hash, Reader, check_height};
use crate::ids::Height;
use crate::limits::{
    BLOCK_BYTES_MAX, BLOCK_INTENTS_MAX, BLOCK_PLEDGES_MAX, SYSTEM_MESSAGE_BYTES_MAX, SYSTEM_MESSAGES_MAX, TIME_MS_MAX,
};

/// The version of header and block that this code writes.
pub const BLOCK_VERSION: u32 = 2;

/// The header of a block. Layout: 384 bytes, no padding. Its hash is the block's hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// BLAKE3 of the genesis file.
    pub chain: Hash,
    /// Hash of the block before; zero at height 1.
    pub parent: Hash,
    /// Hash of the validator set that votes on this height.
    pub validators: Hash,
    /// Hash of the validator set that votes on the next height: whoever trusts this set can follow it to the next.
    pub next_validators: Hash,
    /// Merkle root of the intents: BLAKE3, itself a Merkle tree over 1 KiB, of the intents one after another.
    pub intents: Hash,
    /// Hash of the carried certificate of the height before; zero at height 1.
    pub certificate: Hash,
    /// Hash of the system section.
    pub system: Hash,
    /// BLAKE3 of the pledges and openings, one after another.
    pub pledges: Hash,
    /// `root_chain(height - 2)`; zero at heights 1 and 2.
    pub root_chain: Hash,
    /// This height.
    pub height: Height,
    /// Milliseconds since the Unix epoch, above the parent's.
    pub time_ms: u64,
    /// The round in which the block was first proposed.
    pub round: u32,
    /// The proposer's slot in the validator set.
    pub proposer: u32,
    /// How many intents follow.
    pub intent_count: u32,
    /// [`BLOCK_VERSION`].
    pub version: u32,
    /// Zero.
    pub reserved: [u8; 64],
}

const _: () = assert!(size_of::<Header>() == 384);

impl Header {
    /// The block's hash.
    pub fn hash(&self) -> Hash {
        blake3::derive_key("bitcraps block 2", bytemuck::bytes_of(self))
    }

    /// Whether a settled height may have so many verdicts: one for each intent, and for each pledge. How many pledges there
    /// were a header does not say, only whether there were any.
    pub fn fits_verdicts(&self, found: usize) -> bool {
        let intents = self.intent_count as usize;
        if self.pledges == pledges_root(&[]) {
            return found == intents;
        }
        // Verdicts of pledges stand behind those of intents: at least one, for there were some, and no more than a block holds.
        found > intents && found <= intents + BLOCK_PLEDGES_MAX
    }
}

/// A block: header, the certificate of the height before, what changes validators and keys, pledges, and intents in the
/// order they are applied.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    /// What the hash covers.
    pub header: Header,
    /// Certificate of the height before; `None` only at height 1.
    pub certificate: Option<Certificate>,
    /// Messages of the system section, as they were encoded.
    pub system: Vec<Vec<u8>>,
    /// Pledges and openings.
    pub pledges: Vec<PledgeRow>,
    /// In the order in which they are applied.
    pub intents: Vec<Intent>,
}

/// The Merkle root of a block's intents.
pub fn intents_root(intents: &[Intent]) -> Hash {
    *blake3::hash(bytemuck::cast_slice(intents)).as_bytes()
}

/// The hash of a block's pledges and openings.
pub fn pledges_root(pledges: &[PledgeRow]) -> Hash {
    *blake3::hash(bytemuck::cast_slice(pledges)).as_bytes()
}

/// The hash of a block's system section, its length fields included.
pub fn system_hash(messages: &[Vec<u8>]) -> Hash {
    let mut section = Vec::new();
    encode_system(messages, &mut section);
    blake3::derive_key("bitcraps system section 1", &section)
}

fn encode_count(count: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&u32::try_from(count).expect("sections are bounded").to_le_bytes());
}

fn encode_system(messages: &[Vec<u8>], out: &mut Vec<u8>) {
    encode_count(messages.len(), out);
    for message in messages {
        encode_count(message.len(), out);
        out.extend_from_slice(message);
    }
}

fn read_system(reader: &mut Reader<'_>) -> Result<Vec<Vec<u8>>, DecodeError> {
    let count = reader.count("system messages", SYSTEM_MESSAGES_MAX)?;
    let mut message = || {
        let length = reader.count("bytes of a system message", SYSTEM_MESSAGE_BYTES_MAX)?;
        reader.take(length).map(<[u8]>::to_vec)
    };
    (0..count).map(|_| message()).collect()
}

fn read_pledges(reader: &mut Reader<'_>) -> Result<Vec<PledgeRow>, DecodeError> {
    let count = reader.count("pledges", BLOCK_PLEDGES_MAX)?;
    let rows = reader.take(count * size_of::<PledgeRow>())?.chunks_exact(size_of::<PledgeRow>());
    rows.map(|row| {
        let row: PledgeRow = bytemuck::pod_read_unaligned(row);
        row.check_form().map(|_| row)
    })
    .collect()
}

impl Block {
    /// Bytes of the encoding.
    pub fn encoded_len(&self) -> usize {
        size_of::<Header>()
            + self.certificate.as_ref().map_or(0, Certificate::encoded_len)
            + 4
            + self.system.iter().map(|message| 4 + message.len()).sum::<usize>()
            + 4
            + self.pledges.len() * size_of::<PledgeRow>()
            + self.intents.len() * size_of::<Intent>()
    }

    /// Appends: header, certificate (from height 2 on), the system section, the pledges, the column of intents' bodies, the
    /// column of their signatures.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let (start, length) = (out.len(), self.encoded_len());
        out.reserve(length);
        out.extend_from_slice(bytemuck::bytes_of(&self.header));
        if let Some(certificate) = &self.certificate {
            certificate.encode(out);
        }
        encode_system(&self.system, out);
        encode_count(self.pledges.len(), out);
        out.extend_from_slice(bytemuck::cast_slice(&self.pledges));
        for intent in &self.intents {
            out.extend_from_slice(bytemuck::bytes_of(&intent.body));
        }
        for intent in &self.intents {
            out.extend_from_slice(&intent.signature);
        }
        assert_eq!(out.len() - start, length, "a block has as many bytes as it says");
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        // Twice a block: a decided body has a certificate of its own behind it.
        if reader.left() > 2 * BLOCK_BYTES_MAX {
            let (most, found) = (2 * BLOCK_BYTES_MAX, reader.left());
            return Err(DecodeError::TooMany { what: "bytes of a block and its certificates", most, found });
        }
        let (header, certificate) = read_header(reader)?;
        let count = header.intent_count as usize;
        // The header is anybody's: memory is taken for no more than a block may have.
        if count > BLOCK_INTENTS_MAX {
            return Err(DecodeError::TooMany { what: "intents", most: BLOCK_INTENTS_MAX, found: count });
        }
        let (system, pledges) = (read_system(reader)?, read_pledges(reader)?);
        let bodies = reader.take(count * size_of::<IntentBody>())?;
        let signatures = reader.take(count * 64)?;
        let intents = bodies
            .chunks_exact(64)
            .zip(signatures.chunks_exact(64))
            .map(|(body, signature)| Intent {
                body: bytemuck::pod_read_unaligned(body),
                signature: signature.try_into().expect("chunks of 64"),
            })
            .collect();
        Ok(Self { header, certificate, system, pledges, intents })
    }

    /// Reads exactly one block. Says nothing about its validity beyond its form.
    ///
    /// # Errors
    /// Too short, too long, another version, nonzero reserved bytes, too many of anything, a pledge that cannot be so.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("block", bytes);
        let block = Self::read(&mut reader)?;
        reader.end()?;
        // By its own length a block is counted wherever it waits: one that says less than it holds would be kept without end.
        assert_eq!(block.encoded_len(), bytes.len(), "a block has as many bytes as it says");
        Ok(block)
    }
}

/// What a decided frame holds: a block, then this node's certificate for it.
#[derive(Clone, PartialEq, Debug)]
pub struct Decided {
    /// The block.
    pub block: Block,
    /// The precommits by which this node saw it decided.
    pub certificate: Certificate,
}

impl Decided {
    /// The block, then the certificate.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.block.encoded_len() + self.certificate.encoded_len());
        self.block.encode(&mut bytes);
        self.certificate.encode(&mut bytes);
        assert_eq!(
            bytes.len(),
            self.block.encoded_len() + self.certificate.encoded_len(),
            "nothing stands between a block and its certificate, or behind them"
        );
        bytes
    }

    /// Reads exactly one decided body.
    ///
    /// # Errors
    /// As [`Block::decode`] and [`Certificate::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("decided body", bytes);
        let block = Block::read(&mut reader)?;
        let certificate = Certificate::read(&mut reader)?;
        reader.end()?;
        assert_eq!(block.encoded_len() + certificate.encoded_len(), bytes.len(), "both have as many bytes as they say");
        Ok(Self { block, certificate })
    }
}

/// What a retired frame holds: all of a decided block but its sections and intents, whose hashes are in the header.
#[derive(Clone, PartialEq, Debug)]
pub struct Retired {
    /// The block's header.
    pub header: Header,
    /// Certificate of the height before; `None` only at height 1.
    pub carried: Option<Certificate>,
    /// The precommits by which this node saw it decided.
    pub certificate: Certificate,
}

impl Retired {
    /// What stays of a decided block.
    pub fn of(decided: Decided) -> Self {
        let Decided { block, certificate } = decided;
        Self { header: block.header, carried: block.certificate, certificate }
    }

    /// The header, the carried certificate (from height 2 on), then the block's own.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = bytemuck::bytes_of(&self.header).to_vec();
        if let Some(carried) = &self.carried {
            carried.encode(&mut bytes);
        }
        self.certificate.encode(&mut bytes);
        let carried = self.carried.as_ref().map_or(0, Certificate::encoded_len);
        let expected = size_of::<Header>() + carried + self.certificate.encoded_len();
        assert_eq!(bytes.len(), expected, "nothing stands between header and certificates, or behind them");
        bytes
    }

    /// Reads exactly one retired body.
    ///
    /// # Errors
    /// As [`Block::decode`] and [`Certificate::decode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("retired body", bytes);
        let (header, carried) = read_header(&mut reader)?;
        let certificate = Certificate::read(&mut reader)?;
        reader.end()?;
        Ok(Self { header, carried, certificate })
    }
}

fn read_header(reader: &mut Reader<'_>) -> Result<(Header, Option<Certificate>), DecodeError> {
    let header: Header = reader.row()?;
    // First: what another version means by the other fields, this one cannot know.
    if header.version != BLOCK_VERSION {
        return Err(reader.value("block version", header.version));
    }
    // A later version gives them a meaning that this one would not have checked.
    if header.reserved != [0; 64] {
        return Err(reader.wrong(DecodeError::NotZero { field: "header reserved" }));
    }
    check_height(header.height)?;
    if header.time_ms > TIME_MS_MAX {
        return Err(DecodeError::Value { field: "block time", found: header.time_ms });
    }
    // The first block has no parent that anybody could have certified.
    let carried = if header.height > Height(1) { Some(Certificate::read(reader)?) } else { None };
    Ok((header, carried))
}
