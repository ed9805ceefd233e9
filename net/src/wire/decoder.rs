//! From a stream of bytes to messages.

use std::marker::PhantomData;

use engine::bytes::zeros;
use engine::message::node::{Lane, NodeMessage};

use super::{Direction, HEADER_BYTES, Kind, Role, ToClient, ToNode, VERSION, WireError};

/// The messages of one direction.
pub trait Message: Sized {
    /// Which way they go.
    const DIRECTION: Direction;

    /// Reads the body of a message.
    ///
    /// # Errors
    /// If the kind goes the other way, the length is not one of its own, or a field cannot be so.
    fn decode(kind: Kind, body: &[u8]) -> Result<Self, WireError>;

    /// The role that the message gives to the connection that it came over.
    fn role(&self) -> Option<Role>;
}

impl Message for ToNode {
    const DIRECTION: Direction = Direction::ToNode;

    fn decode(kind: Kind, body: &[u8]) -> Result<Self, WireError> {
        Self::decode(kind, body)
    }

    fn role(&self) -> Option<Role> {
        if let Self::Hello(hello) = self { Some(hello.role) } else { None }
    }
}

impl Message for ToClient {
    const DIRECTION: Direction = Direction::ToClient;

    fn decode(kind: Kind, body: &[u8]) -> Result<Self, WireError> {
        Self::decode(kind, body)
    }

    fn role(&self) -> Option<Role> {
        None
    }
}

/// Cuts a stream of bytes into messages of one direction. A header is checked when it is whole: direction, order, role, lane
/// and length, so that no byte is waited for of a message that may not come. Holds at most one unfinished message.
pub struct Decoder<M> {
    held: Vec<u8>,
    /// Bytes of `held` that were given out.
    done: usize,
    /// Whether the first message is still to come.
    is_first: bool,
    /// Who opened the connection, once it is known.
    role: Option<Role>,
    /// The lane of the stream, once a message has said which it is.
    lane: Option<Lane>,
    /// Bytes of the last message.
    last_bytes: usize,
    messages: PhantomData<fn() -> M>,
}

impl Decoder<ToNode> {
    /// For a node: whoever opened the connection says its role in the first message.
    pub const fn for_node() -> Self {
        Self::of(true, None)
    }
}

impl Decoder<ToClient> {
    /// For whoever opened the connection, in this role: the stream that carries answers.
    pub const fn for_opener(role: Role) -> Self {
        Self::of(true, Some(role))
    }

    /// The connection is opened in another role than it was made for.
    pub const fn open_as(&mut self, role: Role) {
        self.role = Some(role);
    }

    /// For whoever opened the connection, in this role: the stream that carries updates, which has no first message.
    pub const fn for_updates(role: Role) -> Self {
        Self::of(false, Some(role))
    }
}

impl Decoder<NodeMessage> {
    /// For either of two nodes: a stream that carries nothing but what goes between them.
    pub const fn between_nodes() -> Self {
        Self::of(false, Some(Role::Node))
    }
}

impl<M> Decoder<M> {
    const fn of(is_first: bool, role: Option<Role>) -> Self {
        Self { held: Vec::new(), done: 0, is_first, role, lane: None, last_bytes: 0, messages: PhantomData }
    }

    /// The role of whoever opened the connection, once it is known.
    pub const fn role(&self) -> Option<Role> {
        self.role
    }

    /// The lane that the stream carries, once its first header has said it.
    pub const fn lane(&self) -> Option<Lane> {
        self.lane
    }

    /// Bytes of the last message, with its header.
    pub const fn last_bytes(&self) -> usize {
        self.last_bytes
    }

    /// Bytes of an unfinished message.
    pub fn unfinished(&self) -> usize {
        self.held.len() - self.done
    }

    /// Takes bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        // What was given out goes before anything is added: no more than one unfinished message is ever held.
        if self.done == self.held.len() {
            self.held.clear();
        } else if self.done > 0 {
            self.held.drain(..self.done);
        }
        self.done = 0;
        self.held.extend_from_slice(bytes);
    }
}

impl<M: Message> Decoder<M> {
    /// The next whole message.
    ///
    /// # Errors
    /// If what comes next is no message, or none that may come now: nothing after it can be understood.
    pub fn next_message(&mut self) -> Result<Option<M>, WireError> {
        let rest = &self.held[self.done..];
        let Some(header) = rest.first_chunk::<HEADER_BYTES>() else {
            // An idle connection holds no buffer.
            if rest.is_empty() {
                self.held = Vec::new();
                self.done = 0;
            }
            return Ok(None);
        };
        let [a, b, c, d, kind, version, zero @ ..] = *header;
        if version != VERSION {
            return Err(WireError::Version { found: version });
        }
        zeros("header", &zero)?;
        let kind = Kind::try_from(kind)?;
        let spec = kind.spec();
        // All that a header says is checked before its body is waited for: a stranger must not have memory kept for a
        // length alone.
        spec.check(kind, M::DIRECTION, self.is_first, self.role)?;
        if self.lane.is_some() && spec.lane != self.lane {
            return Err(WireError::Lane(kind));
        }
        self.lane = spec.lane;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        kind.check_length(length)?;
        let Some(body) = rest[HEADER_BYTES..].get(..length) else { return Ok(None) };
        let message = M::decode(kind, body)?;
        self.last_bytes = HEADER_BYTES + length;
        self.done += self.last_bytes;
        self.is_first = false;
        // The first role stands: a second hello is refused as out of order anyway.
        self.role = self.role.or(message.role());
        Ok(Some(message))
    }
}
