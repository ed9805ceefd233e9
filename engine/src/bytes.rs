//! Foreign bytes: taking values off them one after another, and what is wrong with them.

use bytemuck::Pod;
use thiserror::Error;

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
    /// Something of another height than the place where it is.
    #[error("what it holds is of height {found}, not {expected}")]
    Height {
        /// The height of the place.
        expected: u64,
        /// Its own.
        found: u64,
    },
    /// A value that its field cannot have.
    #[error("{field} is {found}")]
    Value {
        /// The name that the format's page has for it.
        field: &'static str,
        /// What it held.
        found: u64,
    },
    /// Bytes that must be zero and are not.
    #[error("{field}: bytes that must be zero are not")]
    NotZero {
        /// The name that the format's page has for it.
        field: &'static str,
    },
    /// Text that is not UTF-8, or has a control character.
    #[error("{field} is no text: UTF-8 without control characters")]
    Text {
        /// The name that the format's page has for it.
        field: &'static str,
    },
    /// One of the others, and where it was found.
    #[error("{what}, byte {offset}: {problem}")]
    At {
        /// What was read.
        what: &'static str,
        /// Where in it the field begins.
        offset: usize,
        /// What is wrong with the field.
        problem: Box<Self>,
    },
}

/// Takes values off the front of foreign bytes. An error says where in them it was found.
pub struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    /// Where the value begins that was taken last.
    last: usize,
    /// Where the next value begins.
    at: usize,
}

impl<'a> Reader<'a> {
    /// At the first byte of `what`.
    pub const fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Self { what, bytes, last: 0, at: 0 }
    }

    /// Bytes that are left.
    pub const fn left(&self) -> usize {
        // Where fewer bytes were left than asked for, the place stays before them.
        assert!(self.last <= self.at);
        assert!(self.at <= self.bytes.len(), "no more is taken than there is");
        self.bytes.len() - self.at
    }

    /// Something is wrong with the value that was taken last.
    pub fn wrong(&self, problem: DecodeError) -> DecodeError {
        DecodeError::At { what: self.what, offset: self.last, problem: Box::new(problem) }
    }

    /// The value that was taken last is none that its field can have.
    pub fn value(&self, field: &'static str, found: impl Into<u64>) -> DecodeError {
        self.wrong(DecodeError::Value { field, found: found.into() })
    }

    /// The next bytes.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        // Foreign lengths are added here: a sum that wrapped would lie within the bytes again.
        (self.last, self.at) = (self.at, self.at.saturating_add(count));
        self.bytes.get(self.last..self.at).ok_or_else(|| {
            let (expected, found) = (count, self.bytes.len() - self.last);
            self.at = self.last;
            self.wrong(DecodeError::Length { what: "a part", expected, found })
        })
    }

    /// The next bytes, as many as the array has.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N)?.try_into().expect("take returns as many bytes as asked for"))
    }

    /// The next byte.
    ///
    /// # Errors
    /// If none is left.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// The next 2 bytes, little-endian.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// The next 4 bytes, little-endian.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// The next 8 bytes, little-endian.
    ///
    /// # Errors
    /// If fewer are left.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// The next row of fixed layout.
    ///
    /// # Errors
    /// If fewer bytes are left.
    pub fn row<T: Pod>(&mut self) -> Result<T, DecodeError> {
        Ok(bytemuck::pod_read_unaligned(self.take(size_of::<T>())?))
    }

    /// The next 4 bytes as a count of elements.
    ///
    /// # Errors
    /// If there are more than `most`.
    pub fn count(&mut self, what: &'static str, most: usize) -> Result<usize, DecodeError> {
        match self.u32()? as usize {
            found if found > most => Err(self.wrong(DecodeError::TooMany { what, most, found })),
            found => Ok(found),
        }
    }

    /// The next bytes, which must be zero.
    ///
    /// # Errors
    /// If one is not, or fewer are left.
    pub fn zeros(&mut self, field: &'static str, count: usize) -> Result<(), DecodeError> {
        let bytes = self.take(count)?;
        zeros(field, bytes).map_err(|problem| self.wrong(problem))
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// If something is.
    pub fn end(&self) -> Result<(), DecodeError> {
        if self.left() == 0 {
            return Ok(());
        }
        let problem = DecodeError::Length { what: "what is left", expected: 0, found: self.left() };
        Err(DecodeError::At { what: self.what, offset: self.at, problem: Box::new(problem) })
    }
}

/// That bytes are zero, which must be.
///
/// # Errors
/// If one is not.
pub fn zeros(field: &'static str, bytes: &[u8]) -> Result<(), DecodeError> {
    if bytes.iter().all(|byte| *byte == 0) { Ok(()) } else { Err(DecodeError::NotZero { field }) }
}

/// Reads exactly one row of fixed layout.
///
/// # Errors
/// If there are more or fewer bytes.
pub fn decode_pod<T: Pod>(what: &'static str, bytes: &[u8]) -> Result<T, DecodeError> {
    let (expected, found) = (size_of::<T>(), bytes.len());
    // Rows of one kind stand behind each other in messages, at any address: none of them need be aligned.
    if found == expected {
        Ok(bytemuck::pod_read_unaligned(bytes))
    } else {
        Err(DecodeError::Length { what, expected, found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_where_it_was_found() {
        let bytes = [1, 2, 0, 0, 0, 7, 0, 9];
        let mut reader = Reader::new("sample", &bytes);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u32(), Ok(2));
        let seven = reader.u8().expect("a byte");
        assert_eq!(reader.value("colour", seven).to_string(), "sample, byte 5: colour is 7");
        let short = reader.u32().expect_err("two bytes are left");
        assert_eq!(short.to_string(), "sample, byte 6: a part of 2 bytes, expected 4");
        assert_eq!(reader.left(), 2, "what was too short is not taken");
        let dirty = reader.zeros("reserved", 2).expect_err("the last byte is 9");
        assert_eq!(dirty.to_string(), "sample, byte 6: reserved: bytes that must be zero are not");
        assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn what_is_left_is_an_error_at_its_place() {
        let mut reader = Reader::new("sample", &[0; 5]);
        assert_eq!(reader.zeros("reserved", 3), Ok(()));
        assert_eq!(
            reader.end().expect_err("two bytes").to_string(),
            "sample, byte 3: what is left of 2 bytes, expected 0"
        );
        assert!(decode_pod::<u32>("sample", &[0; 5]).is_err() && decode_pod::<u32>("sample", &[0; 3]).is_err());
        assert_eq!(decode_pod::<u32>("sample", &[1, 0, 0, 0]), Ok(1));
    }

    #[test]
    fn a_length_that_overflows_is_too_short() {
        let mut reader = Reader::new("sample", &[0; 5]);
        assert!(reader.u8().is_ok() && reader.take(usize::MAX).is_err());
        assert_eq!(reader.left(), 4);
    }
}
