//! Proof that q validators precommitted one block, and what the beacon adds to it.

use super::verdict::Verdict;
use super::{DecodeError, Hash, Reader, check_height};
use crate::ids::Height;
use crate::limits::{
    BLOCK_BYTES_MAX, BLOCK_INTENTS_MAX, BLOCK_PLEDGES_MAX, BOOK_LINE_BYTES_MAX, RANGE_BYTES_MAX, VALIDATORS_MAX,
};

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

// The largest block fits an answer to a node that is behind with its certificate, and a line of a book has one whole, in hex.
const _: () = assert!(RANGE_BYTES_MAX >= BLOCK_BYTES_MAX + Certificate::BYTES_MAX + 1_024);
const _: () = assert!(BOOK_LINE_BYTES_MAX >= 2 * Certificate::BYTES_MAX as u64 + 1_024);

impl Certificate {
    /// Bytes before the signatures.
    pub const HEAD: usize = 48;
    /// Bytes of one signature.
    pub const ENTRY: usize = 68;
    /// Bytes of one that all validators have signed: the largest.
    pub const BYTES_MAX: usize = Self::HEAD + VALIDATORS_MAX as usize * Self::ENTRY;

    /// Bytes of the encoding.
    pub fn encoded_len(&self) -> usize {
        Self::HEAD + self.signatures.len() * Self::ENTRY
    }

    /// Appends: height u64, round u32, count u32, block 32, then per signature slot u32 and 64 bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.height.0.to_le_bytes());
        out.extend_from_slice(&self.round.to_le_bytes());
        let count = u32::try_from(self.signatures.len()).expect("a validator set bounds the signatures");
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&self.block);
        for entry in &self.signatures {
            out.extend_from_slice(&entry.slot.to_le_bytes());
            out.extend_from_slice(&entry.signature);
        }
        assert_eq!(out.len() - start, self.encoded_len(), "a certificate has as many bytes as it says");
    }

    /// BLAKE3 of the encoding: what a header says of the certificate it carries.
    pub fn hash(&self) -> Hash {
        let mut bytes = Vec::with_capacity(self.encoded_len());
        self.encode(&mut bytes);
        blake3::derive_key("bitcraps certificate 1", &bytes)
    }

    /// Reads a certificate that other bytes follow.
    ///
    /// # Errors
    /// As [`Certificate::decode`].
    pub fn read(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let height = check_height(Height(reader.u64()?))?;
        let round = reader.u32()?;
        // Its bound comes before the memory: a count is as foreign as what it counts.
        let count = reader.count("certificate signatures", VALIDATORS_MAX as usize)?;
        let block = reader.array()?;
        let mut signatures: Vec<CertificateSignature> = Vec::with_capacity(count);
        for _ in 0..count {
            let slot = reader.u32()?;
            // A slot that stood in it twice would count as two validators.
            let ascends = signatures.last().is_none_or(|last| last.slot < slot);
            if !ascends || slot >= VALIDATORS_MAX {
                return Err(reader.value("certificate slot", slot));
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
        let mut reader = Reader::new("certificate", bytes);
        let certificate = Self::read(&mut reader)?;
        reader.end()?;
        assert_eq!(certificate.encoded_len(), bytes.len(), "a certificate has as many bytes as it says");
        Ok(certificate)
    }
}

/// What a settled frame holds: the beacon over a decided block, the state it led to, and what became of its intents, so
/// that receipts are known without executing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// The settled height.
    pub height: Height,
    /// BLS12-381 signature in G1, compressed.
    pub beacon: Beacon,
    /// BLAKE3 of the image after this height.
    pub root: Hash,
    /// `BLAKE3(root_chain(h-1), h, block hash, beacon, root, hash of the verdicts)`.
    pub root_chain: Hash,
    /// What became of each intent, in block order, and then of each pledge and opening.
    pub verdicts: Vec<Verdict>,
}

/// A BLS12-381 signature in G1, compressed: the randomness of one height.
pub type Beacon = [u8; 48];

impl Settled {
    /// Bytes before the verdicts.
    pub const HEAD: usize = 124;

    /// Height u64, beacon 48, root 32, root chain 32, how many verdicts u32, then a byte for each.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::HEAD + self.verdicts.len());
        bytes.extend_from_slice(&self.height.0.to_le_bytes());
        bytes.extend_from_slice(&self.beacon);
        bytes.extend_from_slice(&self.root);
        bytes.extend_from_slice(&self.root_chain);
        let count = u32::try_from(self.verdicts.len()).expect("a block bounds its intents and pledges");
        bytes.extend_from_slice(&count.to_le_bytes());
        assert_eq!(bytes.len(), Self::HEAD, "verdicts stand behind a head of one length");
        bytes.extend(self.verdicts.iter().map(|verdict| verdict.to_byte()));
        assert_eq!(bytes.len(), Self::HEAD + self.verdicts.len(), "a verdict is a byte");
        bytes
    }

    /// Reads exactly one settled body.
    ///
    /// # Errors
    /// Too short, too long, more verdicts than a block has intents, or a verdict that is none.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("settled body", bytes);
        let (height, beacon) = (check_height(Height(reader.u64()?))?, reader.array()?);
        let (root, root_chain) = (reader.array()?, reader.array()?);
        // How many there must be follows from the block; here they are no more than any block has.
        let count = reader.count("verdicts", BLOCK_INTENTS_MAX + BLOCK_PLEDGES_MAX)?;
        let verdicts = reader.take(count)?.iter().map(|byte| Verdict::try_from(*byte)).collect::<Result<_, _>>()?;
        reader.end()?;
        let settled = Self { height, beacon, root, root_chain, verdicts };
        assert_eq!(Self::HEAD + settled.verdicts.len(), bytes.len(), "a verdict is a byte");
        Ok(settled)
    }
}

/// The hash of what became of a block's intents and pledges: BLAKE3 of a byte for each, in block order.
pub fn verdicts_hash(verdicts: impl Iterator<Item = Verdict>) -> Hash {
    let bytes: Vec<u8> = verdicts.map(Verdict::to_byte).collect();
    *blake3::hash(&bytes).as_bytes()
}

/// What one settled height adds to the chain of roots.
#[derive(Clone, Copy, Debug)]
pub struct ChainLink<'a> {
    /// The settled height.
    pub height: Height,
    /// Its block's hash.
    pub block: &'a Hash,
    /// Its beacon.
    pub beacon: &'a Beacon,
    /// BLAKE3 of the image after it.
    pub root: &'a Hash,
    /// [`verdicts_hash`] of its intents: what makes a receipt provable.
    pub verdicts: &'a Hash,
}

impl ChainLink<'_> {
    /// The chain of roots: `BLAKE3(root_chain(h-1), h, block hash, beacon, root, hash of the verdicts)`.
    pub fn after(&self, previous: &Hash) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key("bitcraps root chain 2");
        hasher.update(previous).update(&self.height.0.to_le_bytes()).update(self.block).update(self.beacon);
        hasher.update(self.root).update(self.verdicts);
        *hasher.finalize().as_bytes()
    }
}
