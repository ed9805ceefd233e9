//! A frame: a 128-byte header and a body.

use engine::limits::HEIGHT_MAX;
use engine::{Hash, Height};

use crate::Problem;

/// First bytes of every frame.
pub const MAGIC: u32 = u32::from_le_bytes(*b"BCFR");
/// The version that this code writes and reads.
pub const VERSION: u16 = 3;
/// Bytes of a frame's header.
pub const HEADER: usize = 128;
/// Bytes of a body before compression, at most: a block, twice over, and its certificates.
pub const BODY_MAX: usize = 4 << 20;
/// Bytes that LZ4 can make of one.
pub const LZ4_RATIO_MAX: usize = 255;
/// Frames start at multiples of this, so that padding is told from a frame by its first bytes.
pub const ALIGN: usize = 8;

/// What a frame holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum FrameKind {
    /// A block with the certificate by which this node saw it decided.
    Decided = 1,
    /// A beacon, and the root it led to.
    Settled = 2,
    /// What stays of a decided frame when its segment has given up its bodies: header and certificate.
    Retired = 3,
    /// Two signed statements of a validator of which only one may be.
    Evidence = 4,
    /// Where the chain stood at the snapshot that this journal begins at: the first frame, or none.
    Base = 5,
}

impl FrameKind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Decided, Self::Settled, Self::Retired, Self::Evidence, Self::Base];

    /// Whether the frame says that its height is decided.
    pub const fn is_decided(self) -> bool {
        matches!(self, Self::Decided | Self::Retired | Self::Base)
    }
}

/// A frame's content.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// What it holds.
    pub kind: FrameKind,
    /// Of which height.
    pub height: Height,
    /// The bytes.
    pub body: Vec<u8>,
}

/// Layout: magic u32, version u16, kind u8, codec u8, height u64, length u32, stored length u32, group u64,
/// hash of the previous frame's header 32, hash of the stored body 32, hash of the 96 bytes before 32.
pub struct FrameHeader {
    pub kind: FrameKind,
    pub lz4: bool,
    pub height: Height,
    pub length: usize,
    pub stored: usize,
    /// Where the group that it was synced with begins in the file. A frame whose group begins behind a bad place shows
    /// that the bad place had been synced; one of the same group does not, since disks write in any order.
    pub group: u64,
    pub previous: Hash,
    pub body: Hash,
    /// The header's own hash, which the next frame repeats.
    pub hash: Hash,
}

/// Appends a frame of the group that begins at `group`, and returns its header's hash.
pub fn encode(frame: &Frame, group: u64, previous: &Hash, out: &mut Vec<u8>) -> Hash {
    assert!(frame.body.len() <= BODY_MAX, "bodies are bounded where they are built");
    out.resize(out.len().next_multiple_of(ALIGN), 0);
    let packed = lz4_flex::block::compress(&frame.body);
    let lz4 = packed.len() < frame.body.len();
    let stored: &[u8] = if lz4 { &packed } else { &frame.body };
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("bodies are below 4 MiB").to_le_bytes();
    let start = out.len();
    out.extend_from_slice(&MAGIC.to_le_bytes());
    out.extend_from_slice(&VERSION.to_le_bytes());
    out.extend_from_slice(&[frame.kind as u8, lz4.into()]);
    out.extend_from_slice(&frame.height.0.to_le_bytes());
    out.extend_from_slice(&length(&frame.body));
    out.extend_from_slice(&length(stored));
    out.extend_from_slice(&group.to_le_bytes());
    out.extend_from_slice(previous);
    out.extend_from_slice(blake3::hash(stored).as_bytes());
    let hash = *blake3::hash(&out[start..]).as_bytes();
    out.extend_from_slice(&hash);
    out.extend_from_slice(stored);
    hash
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the header is longer")
}

/// Reads a header.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode_header(bytes: &[u8; HEADER]) -> Result<FrameHeader, Problem> {
    if word(bytes, 0) != MAGIC.to_le_bytes() {
        return Err("this is no frame".into());
    }
    let hash: Hash = word(bytes, 96);
    if *blake3::hash(&bytes[..96]).as_bytes() != hash {
        return Err("the frame header's hash is wrong".into());
    }
    let version = u16::from_le_bytes(word(bytes, 4));
    if version != VERSION {
        return Err(Problem::version("the frame", version, VERSION.into()));
    }
    let kind = FrameKind::ALL.into_iter().find(|kind| *kind as u8 == bytes[6]);
    let kind = kind.ok_or_else(|| format!("the frame has kind {}", bytes[6]))?;
    if bytes[7] > 1 {
        return Err("the frame header holds unknown values".into());
    }
    let length = u32::from_le_bytes(word(bytes, 16)) as usize;
    let stored = u32::from_le_bytes(word(bytes, 20)) as usize;
    // LZ4 makes at most 255 bytes of one: no more is set aside than what is stored can fill.
    if length > BODY_MAX || stored > length || length > stored.saturating_mul(LZ4_RATIO_MAX) {
        return Err(format!("the frame says {length} bytes, {stored} stored").into());
    }
    let height = Height(u64::from_le_bytes(word(bytes, 8)));
    if height.0 > HEIGHT_MAX {
        return Err(format!("the frame has height {height}, which no chain reaches").into());
    }
    Ok(FrameHeader {
        kind,
        lz4: bytes[7] == 1,
        height,
        length,
        stored,
        group: u64::from_le_bytes(word(bytes, 24)),
        previous: word(bytes, 32),
        body: word(bytes, 64),
        hash,
    })
}

/// Reads a body, given its header.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode_body(header: &FrameHeader, stored: &[u8]) -> Result<Vec<u8>, String> {
    // Of what is stored: other bytes may unpack to the same body.
    if *blake3::hash(stored).as_bytes() != header.body {
        return Err("the frame body's hash is wrong".into());
    }
    let body = if header.lz4 {
        lz4_flex::block::decompress(stored, header.length).map_err(|error| format!("the frame's body: {error}"))?
    } else {
        stored.to_vec()
    };
    if body.len() != header.length {
        return Err("the frame's body has another length than it says".into());
    }
    Ok(body)
}
