//! Sessions on disks that are sound, full, slow, torn or altered. One binary: each would
//! compile and link the crate again.

mod backends;
mod crashes;
mod flips;
mod opened;
mod past;
mod sessions;
mod snapshots;
