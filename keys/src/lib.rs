//! Secret keys: where they lie, and who their holder is on the network; and what a player pledges for dice.
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod prompt;
pub mod keyfile;
pub mod identity;
pub mod pledges;

pub use identity::identity;
