//! The command line over all that a person may do: `node`, `audit`, `play` and `load` do it.

pub mod cli;
pub mod db;
