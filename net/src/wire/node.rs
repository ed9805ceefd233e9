//! What goes between two nodes, as messages of a stream.

use engine::message::node::NodeMessage;

use super::decoder::Message;
use super::frame::frame;
use super::{Direction, Kind, Role, WireError};

/// Appends what one node says to another.
///
/// # Panics
/// If it has more bytes than its kind may: what we send is ours.
pub fn encode_node(message: &NodeMessage, out: &mut Vec<u8>) {
    frame(Kind::Between(message.kind()).head(), out, |out| message.encode(out));
}

impl Message for NodeMessage {
    const DIRECTION: Direction = Direction::Between;

    fn decode(kind: Kind, body: &[u8]) -> Result<Self, WireError> {
        kind.check_length(body.len())?;
        let Kind::Between(between) = kind else { return Err(WireError::Direction(kind)) };
        Ok(Self::decode(between, body)?)
    }

    fn role(&self) -> Option<Role> {
        None
    }
}
