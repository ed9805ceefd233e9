//! The terminal client: what a player sees, and what the keys mean.
//!
//! ```text
//!  session client --(rolls, rows, receipts)--> model::Game --> screen::draw --> terminal
//!        ^                                                                         |
//!        +---- action::Action <---- ui::key (keys) / action::parse (words) <-------+
//! ```
//! Nothing here opens a socket, signs, or decides: the model repeats what the node said, and the node refuses what the
//! rules forbid. `docs/play.md` is the page for players and for programs.
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod player_keys;
pub mod known_nodes;
mod problems;
pub mod pledging;
pub mod player;
pub mod model;
pub mod odds;
pub mod felt;
pub mod theme;
pub mod screen;
pub mod terminal;
pub mod input;
pub mod action;
pub mod ui;
pub mod lines;
#[cfg(test)]
mod fixture;
