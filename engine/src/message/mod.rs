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
pub mod note;
pub mod node;

use crate::bytes::Reader;
pub use crate::bytes::{DecodeError, decode_pod};

/// A BLAKE3 hash.
pub type Hash = [u8; 32];
