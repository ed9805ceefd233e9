//! The index that ends a sealed segment: at some of its frames, which heights lie before.

use engine::{Hash, Height};

use crate::{BLOCK, align_up};

/// First bytes of an index; the last two digits are the version.
const MAGIC: [u8; 8] = *b"BCSIDX01";
/// Last bytes of an index.
const END: [u8; 8] = *b"BCSIDXEN";
/// Bytes before the marks.
const HEADER: usize = 96;
/// Bytes of a mark.
const MARK: usize = 48;
/// Bytes after the padding: the hash, the offset where the index begins, and the last magic.
const FOOTER: usize = 48;
/// Bytes of frames between two marks, about: what a reader that looks for a height reads too much.
pub const MARK_BYTES: u64 = 64 << 10;
/// FrameMarks of a segment, at most: one for each block of a segment that is as long as offsets reach.
const MARKS_MAX: usize = 1 << 20;

/// A frame that can be begun with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The highest height of all frames before it in the journal.
    pub before: Height,
    /// Where it begins in its segment.
    pub offset: u64,
    /// Hash of the frame header before it.
    pub previous: Hash,
}

/// What a sealed segment says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Index {
    /// Its marks; the first is its first frame.
    pub marks: Vec<Mark>,
    /// The highest height of all frames up to its end.
    pub last: Height,
    /// Hash of its last frame's header.
    pub previous: Hash,
    /// Where it begins.
    pub offset: u64,
}

impl Index {
    /// The last mark before which all frames are of lower heights.
    pub fn mark(&self, height: Height) -> Option<&Mark> {
        let after = self.marks.partition_point(|mark| mark.before < height);
        self.marks.get(after.saturating_sub(1))
    }

    /// Bytes of the index that starts `bytes`, if they start one.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.len() >= 6 && bytes[..6] == MAGIC[..6]
    }

    /// Its bytes, whole blocks.
    ///
    /// Layout: magic 8, marks u32, zero u32, offset u64, last height u64, hash of the last frame's header 32, zero 32;
    /// the marks, each height u64, offset u64, hash 32; zeros; in the last 48 bytes: hash of all before 32, offset u64,
    /// last magic 8.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let count = u32::try_from(self.marks.len()).expect("marks are bounded by the segment's bytes");
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.last.0.to_le_bytes());
        out.extend_from_slice(&self.previous);
        out.resize(start + HEADER, 0);
        for mark in &self.marks {
            out.extend_from_slice(&mark.before.0.to_le_bytes());
            out.extend_from_slice(&mark.offset.to_le_bytes());
            out.extend_from_slice(&mark.previous);
        }
        let length = align_up((out.len() - start + FOOTER) as u64) as usize;
        out.resize(start + length - FOOTER, 0);
        let hash = *blake3::hash(&out[start..]).as_bytes();
        out.extend_from_slice(&hash);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&END);
    }

    /// Where the index of a file begins, from its last bytes; `None` if it has none.
    pub fn find(tail: &[u8], file_bytes: u64) -> Option<u64> {
        let footer = tail.get(tail.len().checked_sub(16)?..)?;
        let offset = u64::from_le_bytes(footer[..8].try_into().expect("8 bytes"));
        let fits = offset >= BLOCK && offset.is_multiple_of(BLOCK) && offset < file_bytes;
        (footer[8..] == END && fits).then_some(offset)
    }

    /// Reads an index that begins at `offset` and takes all of `bytes`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn decode(bytes: &[u8], offset: u64) -> Result<Self, String> {
        if bytes.len() < HEADER + FOOTER {
            return Err("the index is cut short".into());
        }
        if Self::begins(bytes) && bytes[..8] != MAGIC {
            return Err("the index has another version than this program reads".into());
        }
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        let hash = |at: usize| -> Hash { bytes[at..at + 32].try_into().expect("32 bytes") };
        let footer = bytes.len() - FOOTER;
        if bytes[..8] != MAGIC || bytes[footer + 40..] != END {
            return Err("this is no index".into());
        }
        if *blake3::hash(&bytes[..footer]).as_bytes() != bytes[footer..footer + 32] {
            return Err("the index's hash is wrong".into());
        }
        let count = word(8) as usize;
        let marks_end = HEADER + count.min(MARKS_MAX) * MARK;
        let expected = align_up((marks_end + FOOTER) as u64) as usize;
        if count > MARKS_MAX || bytes.len() != expected || word(16) != offset || word(footer + 32) != offset {
            return Err("the index says another length or place".into());
        }
        if bytes[64..HEADER].iter().chain(&bytes[marks_end..footer]).any(|byte| *byte != 0) {
            return Err("the index's padding is not zero".into());
        }
        let mark = |at: usize| Mark { before: Height(word(at)), offset: word(at + 8), previous: hash(at + 16) };
        let marks: Vec<Mark> = (0..count).map(|index| mark(HEADER + index * MARK)).collect();
        let rising = |pair: &[Mark]| pair[0].before <= pair[1].before && pair[0].offset < pair[1].offset;
        let inside = marks.iter().all(|mark| mark.offset >= BLOCK && mark.offset < offset);
        let last = Height(word(24));
        if !marks.windows(2).all(rising) || !inside || marks.last().is_some_and(|mark| mark.before > last) {
            return Err("the index's marks are out of order".into());
        }
        Ok(Self { marks, last, previous: hash(32), offset })
    }
}

/// The marks of a segment, as its frames pass by.
#[derive(Clone, Default, Debug)]
pub struct FrameMarks {
    /// What was marked.
    pub marks: Vec<Mark>,
}

impl FrameMarks {
    /// A frame at `offset`, behind others up to height `before`, the last of which has the header hash `previous`.
    pub fn pass(&mut self, offset: u64, before: Height, previous: &Hash) {
        if self.marks.last().is_none_or(|mark| offset - mark.offset >= MARK_BYTES) {
            self.marks.push(Mark { before, offset, previous: *previous });
        }
    }
}

const _: () = assert!(MARK == 8 + 8 + 32);
