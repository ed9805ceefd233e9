//! How nodes agree, and where the dice come from.
//!
//! ```text
//!  intents -> block -> consensus (votes, certificates) -> decided -> beacon -> dice
//!               \________ signature: one verdict on every node ________/
//! ```
//! No socket, file, thread of its own, clock or OS entropy: time comes as timeouts that elapsed, randomness as a seed.

pub mod batch;
pub mod memory;
pub mod signature;
pub mod known_keys;
pub mod keys;
pub mod validators;
pub mod certificate;
pub mod block;
pub mod consensus;
pub mod beacon;
pub mod dice;
