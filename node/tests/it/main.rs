//! A node as a whole, in its own process.

mod disk;
mod simulation;
mod snapshots;
