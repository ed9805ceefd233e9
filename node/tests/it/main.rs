//! A node as a whole, in its own process.

mod cluster;
mod disk;
mod simulation;
mod snapshots;
mod ticks;
