//! Bytes <-> messages: what carries intents in, and receipts and updates out.
//!
//! ```text
//!  client: commands -> intents without receipt ~~ QUIC ~~> server: admission -> session -> inputs -> the tick
//!          events   <- answers, updates        <~~     ~~  writers <- queues <- router <- outputs <- the tick
//! ```
//! `wire` draws the messages, `session` is a node's side of a connection without the connection, `server` and `client` are
//! the two ends over QUIC, `memory` carries packets in one process for simulation. This crate knows no rule of the game
//! and of consensus: it checks lengths, rates and room, never what an intent means.
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod transport;
pub mod tls;
pub mod wire;
pub mod budget;
pub mod session;
pub mod settings;
mod quic;
pub mod server;
pub mod client;
pub mod lan;
pub mod memory;
