//! What stands before every message, and what of its kind it takes to write that.

/// The version of the protocol that this code speaks, in every header and in [`ALPN`](super::ALPN).
pub const VERSION: u8 = 2;
/// Bytes of a header.
pub const HEADER_BYTES: usize = 8;

/// Bytes of a body: `least` and `most` of them, in whole `unit`s above `least`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// The least.
    pub least: usize,
    /// The most.
    pub most: usize,
    /// What the length grows by.
    pub unit: usize,
}

impl Bounds {
    /// Whether a body may have so many bytes.
    pub(super) const fn allow(self, found: usize) -> bool {
        found >= self.least && found <= self.most && (found - self.least).is_multiple_of(self.unit)
    }
}

/// What a header says of a message's kind, and what holds its length to that.
#[derive(Clone, Copy)]
pub(super) struct Head {
    /// The kind's number.
    pub(super) number: u8,
    /// Bytes of its body.
    pub(super) bounds: Bounds,
}

/// Puts a message together: its header before the body that `fill` appends.
pub(super) fn frame(head: Head, out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend([0; HEADER_BYTES]);
    fill(out);
    let length = out.len() - start - HEADER_BYTES;
    out[start..start + HEADER_BYTES].copy_from_slice(&header(head, length));
}

/// # Panics
/// If the body has a length that its kind does not have: what we send is ours.
pub(super) fn header(head: Head, length: usize) -> [u8; HEADER_BYTES] {
    let Head { number, bounds } = head;
    assert!(bounds.allow(length), "a message of kind {number} has no {length} bytes");
    let [a, b, c, d] = (length as u32).to_le_bytes();
    [a, b, c, d, number, VERSION, 0, 0]
}
