//! Resources: how scarce each is, and what a node does about it by itself.
//!
//! ```text
//!  history -> signals -> level of each (hysteresis, cooldown) -> reactions -> throttles of node and network
//! ```
//! Nothing that is replicated depends on it: what is held back is work beside the tick, and who comes in.

pub mod signals;
pub mod level;
pub mod reactions;
pub mod manager;
