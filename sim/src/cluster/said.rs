//! What nodes say to each other, and what a schedule makes of it.

use engine::message::node::NodeMessage;

use crate::queue::Time;

/// What one node is about to say to another.
#[derive(Clone, Copy, Debug)]
pub struct Said<'a> {
    /// Virtual microseconds since the beginning.
    pub now: Time,
    /// Who says it.
    pub from: u32,
    /// To whom.
    pub to: u32,
    /// What.
    pub message: &'a NodeMessage,
}

/// What becomes of what nodes say: nothing said here leaves it as it is; else these go instead.
pub type Meddling = Box<dyn FnMut(Said<'_>) -> Option<Vec<NodeMessage>>>;
