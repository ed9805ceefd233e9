//! How a segment begins.

use bytemuck::{Pod, Zeroable};
use engine::Hash;
use engine::bytes::Reader;

use crate::{BLOCK, Problem};

/// First bytes of every segment.
const SEGMENT_MAGIC: [u8; 8] = *b"BCSEGM01";
/// First bytes of what stays of a segment that has given up its bodies.
const HEAD_MAGIC: [u8; 8] = *b"BCHEAD01";
/// The version of segments that this code writes and reads.
const SEGMENT_VERSION: u32 = 3;

/// Which of the two files with a segment's number one is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SegmentKind {
    /// The segment itself.
    Whole,
    /// What stays of one that has given up its bodies.
    Head,
}

impl SegmentKind {
    /// Its first bytes.
    pub(super) fn magic(self) -> [u8; 8] {
        match self {
            Self::Whole => SEGMENT_MAGIC,
            Self::Head => HEAD_MAGIC,
        }
    }

    /// The kind of a file, by its name.
    pub fn of(path: &std::path::Path) -> Self {
        if path.extension().is_some_and(|ending| ending == "head") { Self::Head } else { Self::Whole }
    }
}

/// The first block of a segment: this row, and zeros. Layout: 112 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct HeaderRow {
    magic: [u8; 8],
    version: u32,
    number: u32,
    chain: Hash,
    /// The hash of the last frame header before the segment.
    previous: Hash,
    /// BLAKE3 of the 80 bytes before.
    hash: Hash,
}

const _: () = assert!(size_of::<HeaderRow>() == 112);
const _: () = assert!(size_of::<HeaderRow>() <= BLOCK as usize);
// The hash covers all that stands before it: a byte that it left out could be anything.
const _: () = assert!(std::mem::offset_of!(HeaderRow, hash) == 80);
// The same number may have both files for a while: which is which must be seen in their first bytes, not in their names alone.
const _: () = assert!(u64::from_le_bytes(SEGMENT_MAGIC) != u64::from_le_bytes(HEAD_MAGIC));

impl HeaderRow {
    fn hash(&self) -> Hash {
        *blake3::hash(&bytemuck::bytes_of(self)[..80]).as_bytes()
    }
}

/// The first block of a segment, or of what stays of it.
pub fn header(kind: SegmentKind, number: u32, chain: &Hash, previous: &Hash) -> Vec<u8> {
    let (magic, version) = (kind.magic(), SEGMENT_VERSION);
    let mut row = HeaderRow { magic, version, number, chain: *chain, previous: *previous, hash: [0; 32] };
    row.hash = row.hash();
    let mut bytes = bytemuck::bytes_of(&row).to_vec();
    bytes.resize(BLOCK as usize, 0);
    assert_eq!(check(&bytes, kind, number, chain), Ok(*previous), "a reader takes the header that is written");
    assert_eq!(bytes.len() as u64, BLOCK, "frames begin behind one block");
    bytes
}

/// A header that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadHeader {
    /// What is wrong, in words.
    pub problem: Problem,
    /// Whether it may be a header that never reached the disk as a whole.
    pub unfinished: bool,
}

/// The hash of the last frame before a segment, from its first block.
///
/// # Errors
/// What is wrong with the block.
pub fn check(bytes: &[u8], kind: SegmentKind, number: u32, chain: &Hash) -> Result<Hash, BadHeader> {
    let unfinished = |problem: &str| Err(BadHeader { problem: problem.into(), unfinished: true });
    let wrong = |problem: Problem| Err(BadHeader { problem, unfinished: false });
    let mut block = Reader::new("segment header", bytes.get(..BLOCK as usize).unwrap_or_default());
    let Ok(row) = block.row::<HeaderRow>() else { return unfinished("the segment header is cut short") };
    // In this order: what may be zeros that a crash left comes first, and is cut where it is the last; what a whole header
    // says is never cut.
    if row.magic != kind.magic() {
        return unfinished("this is no journal segment");
    }
    if row.hash != row.hash() {
        return unfinished("the segment header's hash is wrong");
    }
    if row.version != SEGMENT_VERSION {
        return wrong(Problem::version("the segment", row.version, SEGMENT_VERSION));
    }
    if row.number != number {
        return wrong(format!("the segment says that it is number {}", row.number).into());
    }
    if row.chain != *chain {
        return wrong("the segment belongs to another genesis".into());
    }
    if block.zeros("padding", block.left()).is_err() {
        return unfinished("the segment header's padding is not zero");
    }
    Ok(row.previous)
}
