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

pub use answer::{Answer, AnswerVerdict};
pub use decoder::{Decoder, Message};
pub use frame::{Bounds, HEADER_BYTES, VERSION};
pub use greeting::{Hello, Role, Welcome};
pub use kind::{
    Direction, Kind, Order, Spec, ToClient, ToNode, WireError, encode_answers, encode_table, genesis_header,
};
pub use node::encode_node;
pub use peer::PeerRecord;
pub use table::{TABLE_BYTES_MAX, TableMessage};
pub use watched::AccountRow;

/// The protocol's name in the TLS handshake.
pub const ALPN: &[u8] = b"bitcraps/2";

#[cfg(test)]
mod tests;
