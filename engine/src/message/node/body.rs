//! How what a message carries becomes the bytes of its body, and how long those may be.

use bytemuck::Pod;

use super::rows::{RangeEntry, decode_range};
use crate::ids::Height;
use crate::message::certificate::Certificate;
use crate::message::vote::NO_ROUND;
use crate::message::{DecodeError, check_height, decode_pod};

/// Bytes of a body: `least` and `most` of them, in whole `unit`s above `least`.
pub(super) struct Lengths {
    pub(super) least: usize,
    pub(super) most: usize,
    pub(super) unit: usize,
}

impl Lengths {
    /// Of one row of fixed layout.
    pub(super) const fn one<T: Pod>() -> Self {
        Self { least: size_of::<T>(), most: size_of::<T>(), unit: 1 }
    }

    /// Of such rows one after another, at least one.
    pub(super) const fn list<T: Pod>(most: usize) -> Self {
        Self { least: size_of::<T>(), most: most * size_of::<T>(), unit: size_of::<T>() }
    }

    /// Of what has a length of its own.
    pub(super) const fn between(least: usize, most: usize, unit: usize) -> Self {
        assert!(unit > 0, "a length that grows by nothing has no next one");
        Self { least, most, unit }
    }
}

/// All that one message carries.
pub(super) trait Body: Sized {
    /// Appends the bytes.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads exactly one body.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;
}

/// Rows of fixed layout: their bytes as they lie in memory, held to what their type says of them when they are read.
macro_rules! fixed {
    ($($row:ty)+) => { $(
        impl Body for $row {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(bytemuck::bytes_of(self));
            }

            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                <$row>::decode(bytes)
            }
        }
    )+ };
}

/// Lists of such rows, with what an error calls them.
macro_rules! lists {
    ($($what:literal: $row:ty, $decode:expr;)+) => { $(
        impl Body for Vec<$row> {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(bytemuck::cast_slice(self));
            }

            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                rows($what, bytes, $decode)
            }
        }
    )+ };
}

/// What has a codec of its own, as `docs/formats/node.md` draws it.
macro_rules! coded {
    ($($body:ty)+) => { $(
        impl Body for $body {
            fn encode(&self, out: &mut Vec<u8>) {
                <$body>::encode(self, out);
            }

            fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
                <$body>::decode(bytes)
            }
        }
    )+ };
}

pub(super) use {coded, fixed, lists};

impl<T: Body> Body for Box<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        T::encode(self, out);
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        T::decode(bytes).map(Box::new)
    }
}

/// A certificate of prevotes.
impl Body for Certificate {
    fn encode(&self, out: &mut Vec<u8>) {
        Self::encode(self, out);
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let polka = Self::decode(bytes)?;
        // It stands for no round: a polka of it would be later than every other.
        if polka.round == NO_ROUND {
            return Err(DecodeError::Value { field: "polka round", found: polka.round.into() });
        }
        Ok(polka)
    }
}

impl Body for Height {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.0.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        check_height(decode_pod("question for a snapshot", bytes)?)
    }
}

impl Body for Vec<RangeEntry> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|entry| entry.encode(out));
    }

    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        decode_range(bytes)
    }
}
