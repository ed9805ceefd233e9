//! What stands before every message.

use super::{HEADER_BYTES, Kind, VERSION};

/// Puts a message together: its header before the body that `fill` appends.
pub(super) fn frame(kind: Kind, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; HEADER_BYTES]);
    fill(out);
    let length = out.len() - start - HEADER_BYTES;
    out[start..start + HEADER_BYTES].copy_from_slice(&header(kind, length));
}

/// # Panics
/// If the body has a length that its kind does not have: what we send is ours.
pub(super) fn header(kind: Kind, length: usize) -> [u8; HEADER_BYTES] {
    assert!(kind.check_length(length).is_ok(), "a {kind} message of {length} bytes");
    let [a, b, c, d] = (length as u32).to_le_bytes();
    [a, b, c, d, kind.number(), VERSION, 0, 0]
}

/// What stands before a genesis of this length, whose bytes follow.
///
/// # Panics
/// If it is longer than a message may be: a node checks that when it starts.
pub fn genesis_header(length: usize) -> [u8; HEADER_BYTES] {
    header(Kind::Genesis, length)
}
