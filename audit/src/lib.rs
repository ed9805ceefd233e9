//! What reads a session: the walker, replay, bisection, scenarios, history, export, an audit of its dice, and a look at its files.
//!
//! Nothing here opens a socket or writes a session.
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod bisect;
pub mod db;
pub mod dice;
pub mod difference;
pub mod export;
pub mod heads;
pub mod history;
pub mod identity;
pub mod reading;
pub mod recorded;
pub mod recording;
pub mod replay;
pub mod script;
pub mod verify;
pub mod walker;
