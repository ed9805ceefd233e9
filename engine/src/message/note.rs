//! What a snapshot holds beside the image: where the chain stood.

use super::certificate::Certificate;
use super::{DecodeError, Hash, Reader, check_height};
use crate::ids::Height;
use crate::limits::TIME_MS_MAX;

/// The version of notes that this code writes and reads.
pub const NOTE_VERSION: u32 = 2;

/// Bytes before the certificate.
const HEAD: usize = 224;

/// Where the chain stood when a snapshot began: right after a height was settled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChainNote {
    /// The settled height.
    pub height: Height,
    /// Its block's time.
    pub time_ms: u64,
    /// The first height whose receipts a player may still ask for.
    pub receipts_from: Height,
    /// The block's hash.
    pub block: Hash,
    /// The root of the image.
    pub root: Hash,
    /// `root_chain` of the height and of the one before it.
    pub root_chains: [Hash; 2],
    /// Hashes of the sets of validators that vote on the height and on the one after it.
    pub validators: [Hash; 2],
    /// This node's certificate for the block.
    pub certificate: Certificate,
}

impl ChainNote {
    /// Version u32, zero u32, height u64, time u64, first height of receipts u64, block 32, root 32, root chains 2 x 32,
    /// sets of validators 2 x 32, then the certificate.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.certificate.encoded_len());
        out.extend_from_slice(&NOTE_VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.height.0.to_le_bytes());
        out.extend_from_slice(&self.time_ms.to_le_bytes());
        out.extend_from_slice(&self.receipts_from.0.to_le_bytes());
        for hash in [&self.block, &self.root].into_iter().chain(&self.root_chains).chain(&self.validators) {
            out.extend_from_slice(hash);
        }
        assert_eq!(out.len(), HEAD, "the certificate stands behind a head of one length");
        self.certificate.encode(&mut out);
        assert_eq!(out.len(), HEAD + self.certificate.encoded_len(), "nothing stands behind the certificate");
        out
    }

    /// Reads exactly one note.
    ///
    /// # Errors
    /// Too short, too long, another version, or a certificate of another block.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("chain note", bytes);
        let version = reader.u32()?;
        if version != NOTE_VERSION {
            return Err(reader.value("chain note version", version));
        }
        reader.zeros("chain note reserved", 4)?;
        let note = Self {
            height: check_height(Height(reader.u64()?))?,
            time_ms: reader.u64()?,
            receipts_from: Height(reader.u64()?),
            block: reader.array()?,
            root: reader.array()?,
            root_chains: [reader.array()?, reader.array()?],
            validators: [reader.array()?, reader.array()?],
            certificate: Certificate::read(&mut reader)?,
        };
        reader.end()?;
        assert_eq!(HEAD + note.certificate.encoded_len(), bytes.len(), "a note has as many bytes as it says");
        if note.time_ms > TIME_MS_MAX {
            return Err(DecodeError::Value { field: "chain note time", found: note.time_ms });
        }
        // A restart reads receipts from the one up to the other: if they were turned around it would read none.
        if note.height == Height::GENESIS || note.receipts_from > note.height {
            return Err(DecodeError::Value { field: "chain note height", found: note.height.0 });
        }
        // A block that follows carries this certificate: one of another block would be refused by everybody.
        if note.certificate.height != note.height || note.certificate.block != note.block {
            let found = note.certificate.height.0;
            return Err(DecodeError::Value { field: "height of the chain note's certificate", found });
        }
        Ok(note)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::certificate::CertificateSignature;

    #[test]
    fn a_note_is_read_as_it_was_written_and_no_byte_may_differ() {
        let signatures = vec![CertificateSignature { slot: 0, signature: [9; 64] }];
        let certificate = Certificate { height: Height(7), round: 0, block: [5; 32], signatures };
        let (block, root, root_chains) = ([5; 32], [6; 32], [[7; 32], [8; 32]]);
        let note = ChainNote {
            height: Height(7),
            time_ms: 99,
            receipts_from: Height(3),
            block,
            root,
            root_chains,
            validators: [[9; 32], [10; 32]],
            certificate,
        };
        let bytes = note.encode();
        assert_eq!(ChainNote::decode(&bytes), Ok(note.clone()));
        for cut in 0..bytes.len() {
            assert!(ChainNote::decode(&bytes[..cut]).is_err());
        }
        for at in 0..bytes.len() {
            let mut other = bytes.clone();
            other[at] ^= 1;
            assert_ne!(ChainNote::decode(&other), Ok(note.clone()), "byte {at}");
        }
    }
}
