//! Machines, alone and in clusters, in one thread: what they settle, refuse, keep and say. One binary: each would
//! compile and link the crate again.

mod catalogue;
mod clock;
mod cluster;
mod cluster_pledged;
mod common;
mod determinism;
mod hosts;
mod idleness;
mod intents;
mod invariants;
mod ledger;
mod marks;
mod odds;
mod pledged;
mod refusals;
mod rows;
mod snapshots;
mod static_slots;
mod turns;
mod watched;
mod withholding;
