//! The network over real QUIC, in virtual time. One binary: each would
//! compile and link the crate again.

mod common;
mod fleet;
mod hostile;
mod nodes;
