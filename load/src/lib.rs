//! Load: many players against one node, and what came of it.
//!
//! ```text
//!  users -> signed ahead -> schedule (open loop) -> clients over QUIC -> node, a process of its own
//!                                                                         |
//!  report <- recorder <- answers, timed from when the intent was due <----+ -> session -> replay
//! ```
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod bringing;
pub mod cluster;
pub mod crowd;
pub mod delays;
pub mod dev;
pub mod drive;
pub mod hostile;
pub mod in_process;
pub mod players;
pub mod pledged;
pub mod recorder;
pub mod report;
pub mod rogue;
pub mod run;
pub mod scenario;
mod schedule;
pub mod several;
mod signing;
pub mod target;
pub mod users;
