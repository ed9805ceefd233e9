//! Whole clusters in virtual time, and the checks of what they did. One binary: each would
//! compile and link the crate again.

mod properties;
mod schedules;
mod seeds;
