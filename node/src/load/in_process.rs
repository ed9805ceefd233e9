//! A load without sockets.

use std::sync::atomic::AtomicBool;

use super::report::Report;
use super::run::{Place, Progress};
use super::scenario::Load;

/// Runs.
pub fn run(_load: &Load, _place: &Place, _stop: &AtomicBool, _look: impl FnMut(&Progress)) -> anyhow::Result<Report> {
    todo!()
}
