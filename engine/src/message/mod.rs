//! What is signed, ordered and stored: intents, votes, blocks, certificates, beacons, the codes that answer intents, and
//! where the chain stood.

pub mod signed;
pub mod refusal;
pub mod verdict;
pub mod intent;
pub mod vote;
pub mod pledge;
pub mod certificate;
pub mod share;
pub mod evidence;
pub mod block;
pub mod divergence;
pub mod note;
pub mod snapshot;
pub mod node;

use crate::bytes::Reader;
pub use crate::bytes::{DecodeError, decode_pod};

use crate::ids::Height;
use crate::limits::HEIGHT_MAX;

/// A BLAKE3 hash.
pub type Hash = [u8; 32];

/// A height that a chain can have: sums with it do not overflow.
///
/// # Errors
/// If no chain can have it.
pub fn check_height(height: Height) -> Result<Height, DecodeError> {
    if height.0 > HEIGHT_MAX { Err(DecodeError::Value { field: "height", found: height.0 }) } else { Ok(height) }
}

/// What something says of its height, where it is known which one it must be.
///
/// # Errors
/// If it is another.
pub fn expect_height(found: Height, expected: Height) -> Result<(), DecodeError> {
    if found != expected { Err(DecodeError::Height { expected: expected.0, found: found.0 }) } else { Ok(()) }
}
