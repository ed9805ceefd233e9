//! A cluster in one thread from one seed: nodes with their disks, players, a network, and all that goes wrong with them, in
//! virtual time.
//!
//! ```text
//!  seed -> plan -> heap of events (time, node, sequence) -> Node::step, open -> what was recorded and sent -> properties
//! ```
//! The nodes are the ones that run outside: what is simulated is the time, the disk below the journal, and the network
//! above the messages' bytes. For development only: nothing here is part of a node.

mod audit;
pub mod cluster;
pub mod draw;
mod edge;
pub mod fault;
mod heap;
mod host;
mod liars;
mod links;
pub mod marks;
pub mod minimise;
pub mod network;
pub mod outcome;
pub mod plan;
mod plants;
mod players;
pub mod properties;
mod witness;

pub use cluster::Cluster;
pub use host::Clock;
pub use order::memory::{Signatures, remembering};
pub use outcome::Outcome;
pub use plan::Plan;

use engine::Height;

/// Runs a plan to its end. `look` is called now and then with the highest settled height and the virtual milliseconds.
/// The calling thread is the cluster's.
///
/// # Errors
/// If its genesis cannot be.
pub fn run(plan: &Plan, look: impl FnMut(Height, u64)) -> anyhow::Result<Outcome> {
    remembering(plan.signatures, || Ok(Cluster::new(plan.clone())?.run(look)))
}
