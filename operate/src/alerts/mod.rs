//! Alerts: one table of rules, from which the node's own alerts, the rules of a Prometheus and a page each follow.
//!
//! ```text
//!  history -> rules -> state of each (durations, hysteresis) -> changes -> log, webhook, command, e-mail
//! ```

pub mod rules;
pub mod state;
mod telling;
mod webhook;
pub mod channels;
pub mod pages;
