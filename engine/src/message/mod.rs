//! What is signed, ordered and stored: intents, blocks, certificates, beacons, the codes that answer intents, and
//! where the chain stood.

pub mod block;
pub mod certificate;
pub mod intent;
pub mod note;
pub mod refusal;
pub mod signed;

pub use crate::bytes::DecodeError;
use crate::bytes::Reader;

/// A BLAKE3 hash.
pub type Hash = [u8; 32];
