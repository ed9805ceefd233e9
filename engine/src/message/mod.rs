//! What is signed, ordered and stored: intents, votes, blocks, certificates, beacons, the codes that answer intents, and
//! where the chain stood.

pub mod block;
pub mod certificate;
pub mod intent;
pub mod note;
pub mod pledge;
pub mod refusal;
pub mod signed;
pub mod vote;

use crate::bytes::Reader;
pub use crate::bytes::{DecodeError, decode_pod};

/// A BLAKE3 hash.
pub type Hash = [u8; 32];
