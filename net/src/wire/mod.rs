//! The wire format: a fixed header, and bodies of fixed layout.
//!
//! ```text
//!  0        4      5         6            8
//!  | length | kind | version | zero       | body: `length` bytes |
//! ```
//! Little-endian. `docs/formats/protocol.md` draws every body byte by byte; the table in `kind.rs` says of every kind which
//! way it goes, when, between whom, and how long it is. Decoders are total: they return an error for whatever they do not
//! know, never panic, and check all that a header says before they wait for a byte of its body.

mod kind;

mod frame;
mod payload;
mod field;
mod greeting;
mod status;
mod rows;
mod answer;
mod watched;
mod table;
mod peer;
mod node;

mod decoder;

use thiserror::Error;

pub use answer::{Answer, AnswerVerdict, encode_answers};
pub use decoder::{Decoder, Message};
pub use frame::genesis_header;
pub use greeting::{Hello, Role, Welcome};
pub use kind::{Direction, Kind, Order, Spec, ToClient, ToNode};
pub use node::encode_node;
pub use payload::Bounds;
pub use peer::PeerRecord;
pub use table::{TableMessage, encode_table};
pub use watched::AccountRow;

use engine::bytes::DecodeError;

/// The version of the protocol that this code speaks, in every header and in [`ALPN`].
pub const VERSION: u8 = 2;
/// The protocol's name in the TLS handshake.
pub const ALPN: &[u8] = b"bitcraps/2";
/// Bytes of a header.
pub const HEADER_BYTES: usize = 8;
/// Bytes of the largest table update: 16 seats of 32 bets, and what a roll did to each of them.
pub const TABLE_BYTES_MAX: usize = 32 + 64 + 16 + PLEDGED_BYTES_MAX + 16 * (8 + 64 + 32 * 8) + 16 * 32 * 24;
/// Bytes of what a pledged table's update has beside, at most: its pledge, and the block that closed the bets with its certificate.
const PLEDGED_BYTES_MAX: usize = 128 + 384 + 48 + engine::limits::VALIDATORS_MAX as usize * 68;

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
    /// A kind that goes the other way.
    #[error("a {0} message goes the other way")]
    Direction(Kind),
    /// A first message that is not one, or a second that is.
    #[error("a {0} message comes out of order: hello and welcome come first, and once")]
    Order(Kind),
    /// A kind that this role neither says nor is told.
    #[error("a {0} message is not for this role: some are for players' programs, others for nodes")]
    Role(Kind),
    /// A kind that another stream between two nodes carries.
    #[error("a {0} message goes over the stream of another lane")]
    Lane(Kind),
    /// A length that the kind does not have.
    #[error("a {kind} message of {found} bytes: it has {least} to {most}")]
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
    /// Bytes of a header or a body that are not what they should be.
    #[error(transparent)]
    Bytes(#[from] DecodeError),
}

#[cfg(test)]
mod tests;
