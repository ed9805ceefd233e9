//! How nodes agree, and where the dice come from.
//!
//! ```text
//!  intents -> block -> consensus (votes, certificates) -> decided -> beacon -> dice
//!               \________ signature: one verdict on every node ________/
//! ```
//! No socket, file, thread of its own, clock or OS entropy: time comes as timeouts that elapsed, randomness as a seed.

pub mod beacon;
pub mod block;
pub mod certificate;
pub mod consensus;
pub mod dice;
pub mod keys;
pub mod signature;
pub mod validators;
