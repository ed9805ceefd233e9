//! Secret keys: where they lie, and who their holder is on the network.

pub mod identity;
pub mod keyfile;

pub use identity::identity;
