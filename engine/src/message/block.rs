//! A block: what one height decides.

use bytemuck::{Pod, Zeroable};

use super::certificate::Certificate;
use super::intent::{Intent, IntentBody};
use super::{DecodeError, Hash, Reader};
use crate::ids::Height;
use crate::limits::{BLOCK_BYTES_MAX, BLOCK_INTENTS_MAX};

/// The version of header and block that this code writes.
pub const BLOCK_VERSION: u32 = 1;

/// The header of a block. Layout: 256 bytes, no padding. Its hash is the block's hash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct Header {
    /// BLAKE3 of the genesis file.
    pub chain: Hash,
    /// Hash of the block before; zero at height 1.
    pub parent: Hash,
    /// Hash of the validator set that votes on this height.
    pub validators: Hash,
    /// Merkle root of the intents: BLAKE3, itself a Merkle tree over 1 KiB, of the intents one after another.
    pub intents: Hash,
    /// Hash of the carried certificate of the height before; zero at height 1.
    pub certificate: Hash,
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
    pub reserved: [u8; 32],
}

const _: () = assert!(size_of::<Header>() == 256);

impl Header {
    /// The block's hash.
    pub fn hash(&self) -> Hash {
        blake3::derive_key("bitcraps block 1", bytemuck::bytes_of(self))
    }
}

/// A block: header, the certificate of the height before, intents in the order they are applied.
#[derive(Clone, PartialEq, Debug)]
pub struct Block {
    /// What the hash covers.
    pub header: Header,
    /// Certificate of the height before; `None` only at height 1.
    pub certificate: Option<Certificate>,
    /// The intents.
    pub intents: Vec<Intent>,
}

/// The Merkle root of a block's intents.
pub fn intents_root(intents: &[Intent]) -> Hash {
    *blake3::hash(bytemuck::cast_slice(intents)).as_bytes()
}

impl Block {
    /// Bytes of the encoding.
    pub fn encoded_len(&self) -> usize {
        size_of::<Header>()
            + self.certificate.as_ref().map_or(0, Certificate::encoded_len)
            + self.intents.len() * size_of::<Intent>()
    }

    /// Appends: header, certificate (from height 2 on), the column of bodies, the column of signatures.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        out.extend_from_slice(bytemuck::bytes_of(&self.header));
        if let Some(certificate) = &self.certificate {
            certificate.encode(out);
        }
        for intent in &self.intents {
            out.extend_from_slice(bytemuck::bytes_of(&intent.body));
        }
        for intent in &self.intents {
            out.extend_from_slice(&intent.signature);
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        // Twice a block: a decided body has a certificate of its own behind it.
        if reader.left() > 2 * BLOCK_BYTES_MAX {
            let (most, found) = (2 * BLOCK_BYTES_MAX, reader.left());
            return Err(DecodeError::TooMany { what: "bytes of a block and its certificates", most, found });
        }
        let (header, certificate) = read_header(reader)?;
        let count = header.intent_count as usize;
        if count > BLOCK_INTENTS_MAX {
            return Err(DecodeError::TooMany { what: "intents", most: BLOCK_INTENTS_MAX, found: count });
        }
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
        Ok(Self { header, certificate, intents })
    }

    /// Reads exactly one block. Says nothing about its validity beyond its form.
    ///
    /// # Errors
    /// Too short, too long, another version, nonzero reserved bytes, too many intents or signatures.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("block", bytes);
        let block = Self::read(&mut reader)?;
        reader.end()?;
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
        Ok(Self { block, certificate })
    }
}

/// What a retired frame holds: all of a decided block but its intents, whose hash is in the header.
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
    if header.version != BLOCK_VERSION {
        return Err(reader.value("block version", header.version));
    }
    if header.reserved != [0; 32] {
        return Err(reader.wrong(DecodeError::NotZero { field: "header reserved" }));
    }
    let carried = if header.height > Height(1) { Some(Certificate::read(reader)?) } else { None };
    Ok((header, carried))
}
