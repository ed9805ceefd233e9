//! What is signed, ordered and stored: intents, votes, blocks, certificates, beacons, the codes that answer intents, and
//! where the chain stood.

pub mod block;
pub mod certificate;
pub mod intent;
pub mod note;
pub mod pledge;
pub mod refusal;
pub mod vote;

use bytemuck::Pod;
use thiserror::Error;

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

/// Foreign bytes that are not what they should be.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum DecodeError {
    /// Fewer or more bytes than the message has.
    #[error("{what} of {found} bytes, expected {expected}")]
    Length {
        /// The message or part.
        what: &'static str,
        /// Bytes expected.
        expected: usize,
        /// Bytes found.
        found: usize,
    },
    /// More elements than a bound allows.
    #[error("{found} {what}, at most {most} are allowed")]
    TooMany {
        /// The elements.
        what: &'static str,
        /// The bound.
        most: usize,
        /// How many there were.
        found: usize,
    },
    /// A value that its field cannot have.
    #[error("{field} is {found}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it held.
        found: u64,
    },
}

/// Reads exactly one row of fixed layout; says nothing about its fields.
///
/// # Errors
/// Another length.
pub fn decode_pod<T: Pod>(what: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    let (expected, found) = (size_of::<T>(), bytes.len());
    if found != expected {
        return Err(DecodeError::Length { what, expected, found });
    }
    Ok(bytemuck::pod_read_unaligned(bytes))
}

/// Takes values off the front of foreign bytes.
pub(crate) struct Reader<'a> {
    pub(crate) what: &'static str,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.bytes.split_at_checked(count).ok_or(DecodeError::Length {
            what: self.what,
            expected: count,
            found: self.bytes.len(),
        })?;
        self.bytes = rest;
        Ok(head)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N)?.try_into().expect("take returns as many bytes as asked for"))
    }

    /// A count of elements that are at most `most`.
    pub(crate) fn count(&mut self, what: &'static str, most: usize) -> Result<usize, DecodeError> {
        match self.u32()? as usize {
            found if found > most => Err(DecodeError::TooMany { what, most, found }),
            found => Ok(found),
        }
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        match self.bytes.len() {
            0 => Ok(()),
            found => Err(DecodeError::Length { what: self.what, expected: 0, found }),
        }
    }
}
