//! What people read: numbers, names of bets, sentences about rolls and intents, and why something failed; and the text that
//! they hand over.
//!
//! The terminal client and the history say the same things, and neither sees the other.
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod text;
pub mod names;
pub mod wish;
pub mod number;
pub mod sentences;
pub mod failure;

pub use failure::Failure;
pub use number::{counted, thousands};
