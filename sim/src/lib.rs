//! A cluster in one thread from one seed: nodes with their disks, players, a network, and all that goes wrong with them, in
//! virtual time.
//!
//! ```text
//!  seed -> plan -> queue of events (time, node, sequence) -> Node::step, open -> what was recorded and sent -> properties
//! ```
//! The nodes are the ones that run outside: what is simulated is the time, the disk below the journal, and the network
//! above the messages' bytes. For development only: nothing here is part of a node.

pub mod plan;
pub mod draw;
pub mod fault;
mod plants;
pub mod network;
mod links;
mod edge;
mod host;
mod witness;
mod players;
mod half;
mod liars;
mod queue;
pub mod cluster;
pub mod properties;
pub mod marks;
mod audit;
pub mod outcome;
pub mod minimise;

pub use cluster::Cluster;
pub use host::{HostClock, is_at_work};
pub use order::memory::Signatures;
pub use outcome::Outcome;
pub use plan::Plan;

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use engine::Height;

/// What a run took of the processor's time, from the start of its nodes to the last event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cost {
    /// All that the run took.
    pub whole: Duration,
    /// What real cryptography took of it.
    pub cryptography: Duration,
}

/// Time since it was asked for first.
fn stopwatch() -> Duration {
    static BEGAN: OnceLock<Instant> = OnceLock::new();
    BEGAN.get_or_init(Instant::now).elapsed()
}

/// Does some work inside whose nodes share what they know of signatures. The calling thread is theirs.
pub fn remembering<R>(signatures: Signatures, work: impl FnOnce() -> R) -> R {
    order::memory::remembering(signatures, stopwatch, work)
}

/// Runs a plan to its end. `look` is called now and then with the highest settled height and the virtual milliseconds.
/// The calling thread is the cluster's.
///
/// # Errors
/// If its genesis cannot be.
pub fn run(plan: &Plan, look: impl FnMut(Height, u64)) -> anyhow::Result<Outcome> {
    Ok(run_timed(plan, look)?.0)
}

/// Runs a plan to its end as [`run`] does, and says what it took until the sessions were read again.
///
/// # Errors
/// As [`run`].
pub fn run_timed(plan: &Plan, mut look: impl FnMut(Height, u64)) -> anyhow::Result<(Outcome, Cost)> {
    remembering(plan.signatures, || {
        let mut cluster = Cluster::new(plan.clone())?;
        let (began, known) = (stopwatch(), order::memory::spent());
        let lived = cluster.live(&mut look);
        let cost = Cost { whole: stopwatch() - began, cryptography: order::memory::spent() - known };
        Ok((cluster.judge(lived), cost))
    })
}
