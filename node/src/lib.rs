//! What an operator's process needs and nothing else: the one loop, opening, recording, snapshots, configuration.

pub mod activity;
pub mod config;
pub mod init;
pub mod network;
pub mod open;
pub mod record;
pub mod run;
pub mod snapshots;
