//! The program, and what holds for the tree as a whole. One binary: each would link the whole world.

mod alerts;
mod bisect;
mod cli;
mod db;
mod fuzz;
mod guide;
mod history;
mod kill;
mod lines;
mod load;
mod log;
mod manifests;
mod monitor;
mod network;
mod newcomer;
mod past;
mod pledged;
mod prometheus;
mod readme;
mod resources;
mod secrets;
mod service;
mod sources;
mod strangers;

/// Held by whoever starts a cluster with `dev --nodes`: ports are looked for before its nodes take them, and two clusters that
/// look in the same moment find the same.
static PORTS: std::sync::Mutex<()> = std::sync::Mutex::new(());
