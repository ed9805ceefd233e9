//! The node: the one loop, and every command that a person types.

pub mod bisect;
pub mod cli;
pub mod config;
pub mod db;
pub mod dev;
pub mod export;
pub mod history;
pub mod init;
pub mod keyfile;
pub mod load;
pub mod network;
pub mod open;
pub mod play;
pub mod players;
pub mod record;
pub mod replay;
pub mod run;
pub mod script;
pub mod snapshots;
pub mod walker;
