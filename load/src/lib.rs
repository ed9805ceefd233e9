//! Load: many players against one node, and what came of it.
//!
//! ```text
//!  users -> signed ahead -> schedule (open loop) -> clients over QUIC -> node, a process of its own
//!                                                                         |
//!  report <- recorder <- answers, timed from when the intent was due <----+ -> session -> replay
//! ```
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod scenario;
pub mod users;
pub mod players;
mod signing;
mod connections;
mod schedule;
mod bringing;
pub mod drive;
pub mod crowd;
pub mod target;
pub mod meter;
pub mod hostile;
pub mod rogue;
pub mod delays;
pub mod cluster;
mod ending;
pub mod dev;
pub mod recorder;
pub mod run;
pub mod in_process;
pub mod kills;
pub mod several;
pub mod pledged;
pub mod report;
