//! What an operator's process needs and nothing else: the one loop, opening, recording, snapshots, configuration.
//!
//! ```text
//!  init, deal -> startup: open -> run: clock, edge -> machine -> record -> disk -> edge
//!                                         \-> snapshots
//! ```
//! Nothing here knows a rule that another node would need to agree on, and nothing draws, prints or asks.
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod config;
pub mod layers;
pub mod init;
pub mod deal;
pub mod activity;
pub mod open;
mod arriving;
pub mod network;
pub mod threads;
pub mod throttles;
pub mod startup;
pub mod edge;
mod wall;
pub mod clock;
pub mod run;
pub mod record;
pub mod recording;
pub mod serving;
pub mod snapshots;
pub mod totals;
pub mod readings;
pub mod stopped;

pub use storage::{check_writable, left_by_root};
