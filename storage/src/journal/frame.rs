//! A frame: a 128-byte header and a body.

use bytemuck::{Pod, Zeroable};
use engine::limits::{FRAME_BODY_BYTES_MAX, HEIGHT_MAX};
use engine::{Hash, Height};

use crate::Problem;

/// First bytes of every frame.
pub const MAGIC: u32 = u32::from_le_bytes(*b"BCFR");
/// The version that this code writes and reads.
pub const VERSION: u16 = 3;
/// Bytes of a frame's header.
pub const HEADER: usize = 128;
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

/// How a frame begins. Layout: 128 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct HeaderRow {
    magic: u32,
    version: u16,
    kind: u8,
    /// 0 as it is, 1 an LZ4 block.
    codec: u8,
    height: u64,
    length: u32,
    stored: u32,
    group: u64,
    previous: Hash,
    /// BLAKE3 of the stored body.
    body: Hash,
    /// BLAKE3 of the 96 bytes before.
    hash: Hash,
}

const _: () = assert!(size_of::<HeaderRow>() == HEADER);
const _: () = assert!(HEADER.is_multiple_of(ALIGN) && crate::BLOCK.is_multiple_of(ALIGN as u64));
const _: () = assert!(FRAME_BODY_BYTES_MAX <= u32::MAX as usize);
// The hash covers all that stands before it: a byte that it left out could be anything.
const _: () = assert!(std::mem::offset_of!(HeaderRow, hash) == 96);
// A frame is told from the zeros ahead of the data by its first bytes.
const _: () = assert!(MAGIC != 0);
// A list of all kinds that lacks one would refuse its frames at the next start.
const _: () = {
    let mut index = 0;
    while index < FrameKind::ALL.len() {
        assert!(FrameKind::ALL[index] as usize == index + 1);
        index += 1;
    }
};

impl HeaderRow {
    fn hash(&self) -> Hash {
        *blake3::hash(&bytemuck::bytes_of(self)[..96]).as_bytes()
    }
}

/// What a frame's header says.
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
    assert!(frame.body.len() <= FRAME_BODY_BYTES_MAX, "bodies are bounded where they are built");
    assert!(group.is_multiple_of(crate::BLOCK), "a group begins with a block");
    out.resize(out.len().next_multiple_of(ALIGN), 0);
    let start = out.len();
    let packed = lz4_flex::block::compress(&frame.body);
    let lz4 = packed.len() < frame.body.len();
    let stored: &[u8] = if lz4 { &packed } else { &frame.body };
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).expect("bodies are below 4 MiB");
    let mut row = HeaderRow {
        magic: MAGIC,
        version: VERSION,
        kind: frame.kind as u8,
        codec: lz4.into(),
        height: frame.height.0,
        length: length(&frame.body),
        stored: length(stored),
        group,
        previous: *previous,
        body: *blake3::hash(stored).as_bytes(),
        hash: [0; 32],
    };
    row.hash = row.hash();
    // It is looked at once more as a reader will: a frame that is refused after a restart would end the session there.
    let read = decode_header(&bytemuck::cast(row)).expect("a reader takes the header that is written");
    assert_eq!((read.kind, read.height), (frame.kind, frame.height), "a reader takes the frame for what it is");
    assert_eq!((read.lz4, read.length), (lz4, frame.body.len()), "a reader unpacks the body to what it was");
    assert_eq!((read.previous, read.group), (*previous, group), "a reader finds the frame in its chain and its group");
    out.extend_from_slice(bytemuck::bytes_of(&row));
    out.extend_from_slice(stored);
    assert_eq!(out.len() - start, HEADER + row.stored as usize, "a frame has the bytes that its header says");
    row.hash
}

/// Reads a header.
///
/// # Errors
/// What is wrong with it, in words.
pub fn decode_header(bytes: &[u8; HEADER]) -> Result<FrameHeader, Problem> {
    let row: HeaderRow = bytemuck::cast(*bytes);
    if row.magic != MAGIC {
        return Err("this is no frame".into());
    }
    if row.hash != row.hash() {
        return Err("the frame header's hash is wrong".into());
    }
    if row.version != VERSION {
        return Err(Problem::version("the frame", row.version, VERSION.into()));
    }
    let kind = FrameKind::ALL.into_iter().find(|kind| *kind as u8 == row.kind);
    let kind = kind.ok_or_else(|| format!("the frame has kind {}", row.kind))?;
    if row.codec > 1 {
        return Err("the frame header holds unknown values".into());
    }
    let (length, stored) = (row.length as usize, row.stored as usize);
    // LZ4 makes at most 255 bytes of one: no more is set aside than what is stored can fill.
    if length > FRAME_BODY_BYTES_MAX || stored > length || length > stored.saturating_mul(LZ4_RATIO_MAX) {
        return Err(format!("the frame says {length} bytes, {stored} stored").into());
    }
    let (lz4, height) = (row.codec == 1, Height(row.height));
    if height.0 > HEIGHT_MAX {
        return Err(format!("the frame has height {height}, which no chain reaches").into());
    }
    let HeaderRow { group, previous, body, hash, .. } = row;
    Ok(FrameHeader { kind, lz4, height, length, stored, group, previous, body, hash })
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
