//! What reads a session: the walker, replay, bisection, scenarios, history, export, and a look at its files.
//!
//! Nothing here opens a socket or writes a session.

pub mod bisect;
pub mod db;
pub mod export;
pub mod history;
pub mod replay;
pub mod script;
pub mod walker;
