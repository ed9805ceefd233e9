//! What a session was opened to: the parts of a node.

use storage::Arrival;
use systems::Machine;

use super::found::SessionFound;
use crate::recording::Recording;
use crate::serving::Serving;
use crate::snapshots::Keeping;
use crate::stopped::StopNotes;

/// A session that was begun or found.
pub struct StartedNode {
    /// The validator's or follower's machine.
    pub machine: Machine,
    /// Who writes the journal and the consensus log.
    pub storage: Box<dyn Recording>,
    /// Who takes snapshots and keeps them.
    pub snapshots: Keeping,
    /// What answers nodes that are behind.
    pub serving: Serving,
    /// Where the node leaves a note of why it stopped.
    pub stopped: StopNotes,
    /// What marks a session to which a snapshot of other nodes is coming.
    pub arrival: Arrival,
    /// What was found of a session that goes on; nothing if it begins.
    pub found: Option<SessionFound>,
}
