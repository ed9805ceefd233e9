//! What reads a session: the walker, replay, bisection, scenarios, history, export, an audit of its dice, and a look at its files.
//!
//! Nothing here opens a socket or writes a session.
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod reading;
pub mod identity;
pub mod recorded;
pub mod recording;
pub mod heads;
pub mod verify;
pub mod difference;
mod refused;
mod weight;
pub mod walker;
pub mod bounds;
pub mod replay;
pub mod bisect;
pub mod script;
pub mod dice;
pub mod history;
pub mod export;
pub mod db;
