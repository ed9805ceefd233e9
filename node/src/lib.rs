//! What an operator's process needs and nothing else: the one loop, opening, recording, snapshots, configuration.
//!
//! ```text
//!  init, deal -> startup: open -> run: clock, edge -> machine -> record -> disk -> edge
//!                                         \-> snapshots
//! ```
//! Nothing here knows a rule that another node would need to agree on, and nothing draws, prints or asks.
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod activity;
mod arriving;
pub mod clock;
pub mod config;
pub mod deal;
pub mod edge;
pub mod init;
pub mod layers;
pub mod network;
pub mod open;
pub mod readings;
pub mod record;
pub mod recording;
pub mod run;
pub mod serving;
pub mod snapshots;
pub mod startup;
pub mod stopped;
pub mod threads;
pub mod throttles;
pub mod totals;
mod wall;
