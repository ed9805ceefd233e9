//! Proof that q validators precommitted one block, and what the beacon adds to it.

use super::{DecodeError, Hash, Reader};
use crate::ids::Height;
use crate::limits::VALIDATORS_MAX;

/// One validator's precommit in a certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CertificateSignature {
    /// The validator's slot in the set of the certificate's height.
    pub slot: u32,
    /// Ed25519 over the precommit's bytes.
    pub signature: [u8; 64],
}

/// The precommits that decided a block: sorted by slot, no slot twice. Nodes' certificates of one height may differ;
/// the one that the next header carries is in the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Certificate {
    /// The decided height.
    pub height: Height,
    /// The round that decided it.
    pub round: u32,
    /// The decided block's hash.
    pub block: Hash,
    /// The precommits.
    pub signatures: Vec<CertificateSignature>,
}

impl Certificate {
    /// Bytes before the signatures.
    const HEAD: usize = 48;
    /// Bytes of one signature.
    const ENTRY: usize = 68;

    /// Bytes of the encoding.
    pub fn encoded_len(&self) -> usize {
        Self::HEAD + self.signatures.len() * Self::ENTRY
    }

    /// Appends: height u64, round u32, count u32, block 32, then per signature slot u32 and 64 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.height.0.to_le_bytes());
        out.extend_from_slice(&self.round.to_le_bytes());
        let count = u32::try_from(self.signatures.len()).expect("a validator set bounds the signatures");
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&self.block);
        for entry in &self.signatures {
            out.extend_from_slice(&entry.slot.to_le_bytes());
            out.extend_from_slice(&entry.signature);
        }
    }

    /// BLAKE3 of the encoding: what a header says of the certificate it carries.
    pub fn hash(&self) -> Hash {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.encode(&mut bytes);
        blake3::derive_key("bitcraps certificate 1", &bytes)
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let height = Height(reader.u64()?);
        let round = reader.u32()?;
        let count = reader.u32()?;
        if count > VALIDATORS_MAX {
            let (most, found) = (VALIDATORS_MAX as usize, count as usize);
            return Err(DecodeError::TooMany { what: "certificate signatures", most, found });
        }
        let block = reader.array()?;
        let mut signatures: Vec<CertificateSignature> = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let slot = reader.u32()?;
            let ascends = signatures.last().is_none_or(|last| last.slot < slot);
            if !ascends || slot >= VALIDATORS_MAX {
                return Err(DecodeError::Value { field: "certificate slot", found: slot.into() });
            }
            signatures.push(CertificateSignature { slot, signature: reader.array()? });
        }
        Ok(Self { height, round, block, signatures })
    }

    /// Reads exactly one certificate.
    ///
    /// # Errors
    /// Too short, too long, too many signatures, slots out of range or order.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { what: "certificate", bytes };
        let certificate = Self::read(&mut reader)?;
        reader.end()?;
        Ok(certificate)
    }
}

/// What a settled frame holds: the beacon over a decided block, and the state it led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settled {
    /// The settled height.
    pub height: Height,
    /// BLS12-381 signature in G1, compressed.
    pub beacon: Beacon,
    /// BLAKE3 of the image after this height.
    pub root: Hash,
    /// `BLAKE3(root_chain(h-1), h, block hash, beacon, root)`.
    pub root_chain: Hash,
}

/// A BLS12-381 signature in G1, compressed: the randomness of one height.
pub type Beacon = [u8; 48];

impl Settled {
    /// Bytes of the encoding.
    pub const LEN: usize = 120;

    /// Height u64, beacon 48, root 32, root chain 32.
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        bytes[..8].copy_from_slice(&self.height.0.to_le_bytes());
        bytes[8..56].copy_from_slice(&self.beacon);
        bytes[56..88].copy_from_slice(&self.root);
        bytes[88..].copy_from_slice(&self.root_chain);
        bytes
    }

    /// Reads exactly one settled body.
    ///
    /// # Errors
    /// Any other length than [`Self::LEN`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader { what: "settled body", bytes };
        let settled = Self {
            height: Height(reader.u64()?),
            beacon: reader.array()?,
            root: reader.array()?,
            root_chain: reader.array()?,
        };
        reader.end()?;
        Ok(settled)
    }
}

/// The chain of roots: `BLAKE3(root_chain(h-1), h, block hash, beacon, root)`.
pub fn chain_root(previous: &Hash, height: Height, block: &Hash, beacon: &Beacon, root: &Hash) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("bitcraps root chain 1");
    hasher.update(previous).update(&height.0.to_le_bytes()).update(block).update(beacon).update(root);
    *hasher.finalize().as_bytes()
}
