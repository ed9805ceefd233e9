//! The command line over all that a person may do: `node`, `audit`, `play` and `load` do it.
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod allocator;
pub mod cli;
pub mod db;
