//! What an operator sees of a node: metrics, health, alerts, the dashboard.
//!
//! ```text
//!  node's readings, network's counters, /proc -> Reading -> History -> expressions -> dashboard, alerts
//!                                                  |  \-> metrics table -> /metrics
//!                                                  |---> health -> /livez, /readyz
//!                                                  \---> levels of resources -> reactions -> throttles of the node
//! ```
//! A thread beside the node takes a reading every second, of the disk as another found it last, gives back to the system the memory that the node's threads have
//! let go of, and answers HTTP. It reads what other threads published as words:
//! no tick waits for it, and a node runs the same without it. Every answer is one to read; what is done by itself holds back work
//! beside the tick, and who comes in, and nothing that is replicated.
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

pub mod process;
pub mod past;
mod disk;
pub mod reading;
pub mod metrics;
mod text;
pub mod history;
pub mod health;
pub mod tiles;
pub mod alerts;
pub mod resources;
pub mod dashboards;
pub mod watching;
mod http;
pub mod service;
pub mod starting;
pub mod monitor;
pub mod doctor;
pub mod named;
pub mod ask;
pub mod top;
