//! How a segment begins.

use engine::Hash;

use crate::BLOCK;

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
    fn magic(self) -> [u8; 8] {
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

/// The first block of a segment, or of what stays of it.
///
/// Layout: magic 8, version u32, number u32, chain id 32, hash of the last frame header before 32, hash of the 80
/// bytes before 32, zeros to 4096.
pub fn header(kind: SegmentKind, number: u32, chain: &Hash, previous: &Hash) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK as usize);
    bytes.extend_from_slice(&kind.magic());
    bytes.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(chain);
    bytes.extend_from_slice(previous);
    let hash = *blake3::hash(&bytes).as_bytes();
    bytes.extend_from_slice(&hash);
    bytes.resize(BLOCK as usize, 0);
    bytes
}

/// A header that is not as it must be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadHeader {
    /// What is wrong, in words.
    pub problem: String,
    /// Whether it may be a header that never reached the disk as a whole.
    pub unfinished: bool,
}

/// The hash of the last frame before a segment, from its first block.
///
/// # Errors
/// What is wrong with the block.
pub fn check(bytes: &[u8], kind: SegmentKind, number: u32, chain: &Hash) -> Result<Hash, BadHeader> {
    let unfinished = |problem: &str| Err(BadHeader { problem: problem.into(), unfinished: true });
    let wrong = |problem: String| Err(BadHeader { problem, unfinished: false });
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
    if bytes.len() < BLOCK as usize {
        return unfinished("the segment header is cut short");
    }
    if bytes[..8] != kind.magic() {
        return unfinished("this is no journal segment");
    }
    if *blake3::hash(&bytes[..80]).as_bytes() != bytes[80..112] {
        return unfinished("the segment header's hash is wrong");
    }
    if word(8) != SEGMENT_VERSION {
        return wrong(format!("the segment has version {}, this program reads version {SEGMENT_VERSION}", word(8)));
    }
    if word(12) != number {
        return wrong(format!("the segment says that it is number {}", word(12)));
    }
    if bytes[16..48] != *chain {
        return wrong("the segment belongs to another genesis".into());
    }
    if bytes[112..BLOCK as usize].iter().any(|byte| *byte != 0) {
        return unfinished("the segment header's padding is not zero");
    }
    Ok(bytes[48..80].try_into().expect("32 bytes"))
}
