//! The wire format: a fixed header, and bodies of fixed layout.
//!
//! ```text
//!  0        4      5         6            8
//!  | length | kind | version | zero       | body: `length` bytes |
//! ```
//! Little-endian. `docs/formats/protocol.md` draws every body byte by byte. Decoders are total: they return an error for
//! whatever they do not know, never panic, and check a length against the kind's bounds before a byte of it is kept.

mod message;
mod record;
mod table;

use thiserror::Error;

pub use message::{ToClient, ToNode};
pub use record::{AccountRow, Answer, AnswerVerdict, Hello, PeerRecord, Role, Welcome};

/// The version of the protocol that this code speaks, in every header and in [`ALPN`].
pub const VERSION: u8 = 1;
/// The protocol's name in the TLS handshake.
pub const ALPN: &[u8] = b"bitcraps/1";
/// Bytes of a header.
pub const HEADER_BYTES: usize = 8;
/// Bytes of the largest body: that of a genesis.
pub const BODY_BYTES_MAX: usize = GENESIS_BYTES_MAX;
/// Bytes of the largest genesis that is sent.
pub const GENESIS_BYTES_MAX: usize = 256 * 1024;
/// Intents of one message.
pub const INTENTS_MAX: usize = 64;
/// Bytes of one thing to watch.
pub(crate) const WATCH_BYTES: usize = size_of::<record::WatchBody>();
/// Answers of one message.
pub const ANSWERS_MAX: usize = 128;
/// Peer records of one message.
pub const PEERS_MAX: usize = 32;
/// Bytes of the largest table update: 16 seats of 32 bets, and what a roll did to each of them.
pub const TABLE_BYTES_MAX: usize = 32 + 64 + 16 + 16 * (8 + 64 + 32 * 8) + 16 * 32 * 24;

/// What a message is. The numbers never change meaning; those below 64 go to a node, those from 64 come from one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Kind {
    /// The first message to a node.
    Hello = 1,
    /// Signed intents.
    Intents = 2,
    /// What to watch from now on, or no longer.
    Watch = 3,
    /// Asks for the genesis.
    AskGenesis = 4,
    /// Other nodes that one node knows, to another.
    PeersToNode = 5,
    /// Where a node's chain stands, to another node.
    StandingToNode = 6,
    /// The first message from a node.
    Welcome = 64,
    /// What became of intents.
    Answers = 65,
    /// The genesis.
    Genesis = 66,
    /// An account that is watched.
    Account = 67,
    /// What changed at a table that is watched.
    Table = 68,
    /// Other nodes that this node knows.
    Peers = 69,
    /// Where this node's chain stands.
    Standing = 70,
}

/// Bytes of a body: `least` and `most` of them, in whole `unit`s above `least`.
struct Bounds {
    least: usize,
    most: usize,
    unit: usize,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 13] = [
        Self::Hello,
        Self::Intents,
        Self::Watch,
        Self::AskGenesis,
        Self::PeersToNode,
        Self::StandingToNode,
        Self::Welcome,
        Self::Answers,
        Self::Genesis,
        Self::Account,
        Self::Table,
        Self::Peers,
        Self::Standing,
    ];

    fn bounds(self) -> Bounds {
        let fixed = |bytes| Bounds { least: bytes, most: bytes, unit: 1 };
        let list = |unit, most| Bounds { least: unit, most: unit * most, unit };
        match self {
            Self::Hello => fixed(size_of::<record::HelloBody>()),
            Self::Intents => list(size_of::<engine::message::intent::Intent>(), INTENTS_MAX),
            Self::Watch => list(size_of::<record::WatchBody>(), engine::limits::PEER_WATCHES_MAX),
            Self::AskGenesis => fixed(0),
            Self::PeersToNode | Self::Peers => list(size_of::<PeerRecord>(), PEERS_MAX),
            Self::StandingToNode | Self::Standing => fixed(size_of::<record::StandingBody>()),
            Self::Welcome => fixed(size_of::<record::WelcomeBody>()),
            Self::Answers => list(size_of::<record::AnswerBody>(), ANSWERS_MAX),
            Self::Genesis => Bounds { least: 1, most: GENESIS_BYTES_MAX, unit: 1 },
            Self::Account => fixed(size_of::<record::AccountBody>()),
            Self::Table => Bounds { least: 32 + 64, most: TABLE_BYTES_MAX, unit: 8 },
        }
    }
}

impl TryFrom<u8> for Kind {
    type Error = WireError;

    fn try_from(byte: u8) -> Result<Self, WireError> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte).ok_or(WireError::Kind(byte))
    }
}

/// Bytes that are no message.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum WireError {
    /// Another version of the protocol.
    #[error("the message is of version {found} of the protocol, and this program speaks version {VERSION}")]
    Version {
        /// The version it says.
        found: u8,
    },
    /// A kind that does not exist.
    #[error("no message has kind {0}")]
    Kind(u8),
    /// A kind that goes the other way, or comes out of order.
    #[error("a {0:?} message has no place here")]
    Place(Kind),
    /// A length that the kind does not have.
    #[error("a {kind:?} message of {found} bytes: it has {least} to {most}")]
    Length {
        /// The kind.
        kind: Kind,
        /// The length it says.
        found: usize,
        /// The least.
        least: usize,
        /// The most.
        most: usize,
    },
    /// A field that cannot be so.
    #[error("{field} is {found}")]
    Value {
        /// The field.
        field: &'static str,
        /// What it held.
        found: u64,
    },
    /// Bytes that must be zero and are not.
    #[error("{0}: bytes that must be zero are not")]
    NotZero(&'static str),
}

/// Puts a message together: its header before the body that `fill` appends.
fn frame(kind: Kind, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; HEADER_BYTES]);
    fill(out);
    let length = out.len() - start - HEADER_BYTES;
    out[start..start + HEADER_BYTES].copy_from_slice(&header(kind, length));
}

/// # Panics
/// If the body has a length that its kind does not have: what we send is ours.
fn header(kind: Kind, length: usize) -> [u8; HEADER_BYTES] {
    assert!(check_length(kind, length).is_ok(), "a {kind:?} message of {length} bytes");
    let [a, b, c, d] = (length as u32).to_le_bytes();
    [a, b, c, d, kind as u8, VERSION, 0, 0]
}

fn check_length(kind: Kind, found: usize) -> Result<(), WireError> {
    let Bounds { least, most, unit } = kind.bounds();
    if found < least || found > most || !(found - least).is_multiple_of(unit) {
        return Err(WireError::Length { kind, found, least, most });
    }
    Ok(())
}

/// Cuts a stream of bytes into messages. Holds at most one unfinished message.
#[derive(Default)]
pub struct Cutter {
    held: Vec<u8>,
    /// Bytes of `held` that were given out.
    done: usize,
}

impl Cutter {
    /// Bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.done == self.held.len() {
            self.held.clear();
        } else if self.done > 0 {
            self.held.drain(..self.done);
        }
        self.done = 0;
        self.held.extend_from_slice(bytes);
    }

    /// Bytes of an unfinished message.
    pub fn unfinished(&self) -> usize {
        self.held.len() - self.done
    }

    /// The next whole message: its kind and body.
    ///
    /// # Errors
    /// If what comes next is no message: nothing after it can be understood.
    pub fn cut(&mut self) -> Result<Option<(Kind, &[u8])>, WireError> {
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
        if zero != [0; 2] {
            return Err(WireError::NotZero("header"));
        }
        let kind = Kind::try_from(kind)?;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        check_length(kind, length)?;
        if rest.len() < HEADER_BYTES + length {
            return Ok(None);
        }
        let body = self.done + HEADER_BYTES;
        self.done = body + length;
        Ok(Some((kind, &self.held[body..body + length])))
    }
}

#[cfg(test)]
mod tests;
