//! The index that ends a sealed segment: at some of its frames, which heights lie before.

use bytemuck::{Pod, Zeroable};
use engine::bytes::Reader;
use engine::limits::{SEGMENT_FILE_BYTES_MAX, SEGMENT_MARK_BYTES, SEGMENT_MARKS_MAX};
use engine::{Hash, Height};

use crate::{BLOCK, Problem, align_up};

/// First bytes of an index; the last two digits are the version.
const MAGIC: [u8; 8] = *b"BCSIDX01";
/// The version that this code writes and reads.
const INDEX_VERSION: u32 = 1;
const _: () = assert!(MAGIC[6] == b'0' && MAGIC[7] as u32 == b'0' as u32 + INDEX_VERSION);

/// Last bytes of an index.
const END: [u8; 8] = *b"BCSIDXEN";
/// Bytes before the marks.
const HEADER: usize = size_of::<HeaderRow>();
/// Bytes of a mark.
const MARK: usize = size_of::<MarkRow>();
/// Bytes after the padding.
const FOOTER: usize = size_of::<FooterRow>();
/// Bytes of the footer that say where an index begins: the offset and the last magic.
pub const TAIL: usize = 16;
/// Bytes of the longest index.
pub const INDEX_BYTES_MAX: usize = align_up((HEADER + SEGMENT_MARKS_MAX * MARK + FOOTER) as u64) as usize;

/// How an index begins. Layout: 96 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct HeaderRow {
    magic: [u8; 8],
    marks: u32,
    reserved: u32,
    /// Where the index begins.
    offset: u64,
    last: u64,
    previous: Hash,
    zero: [u8; 32],
}

/// A mark in an index. Layout: 48 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct MarkRow {
    before: u64,
    offset: u64,
    previous: Hash,
}

/// How an index ends. Layout: 48 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FooterRow {
    /// BLAKE3 of all bytes before.
    hash: Hash,
    /// Where the index begins.
    offset: u64,
    magic: [u8; 8],
}

const _: () = assert!(HEADER == 96 && MARK == 48 && FOOTER == 32 + TAIL);

/// A frame that can be begun with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentMark {
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
    pub marks: Vec<SegmentMark>,
    /// The highest height of all frames up to its end.
    pub last: Height,
    /// Hash of its last frame's header.
    pub previous: Hash,
    /// Where it begins.
    pub offset: u64,
}

/// The last of some marks, in order, before which all frames are of lower heights.
pub fn mark_below(marks: &[SegmentMark], height: Height) -> Option<&SegmentMark> {
    let after = marks.partition_point(|mark| mark.before < height);
    marks.get(after.saturating_sub(1))
}

impl Index {
    /// The last mark before which all frames are of lower heights.
    pub fn mark(&self, height: Height) -> Option<&SegmentMark> {
        mark_below(&self.marks, height)
    }

    /// Bytes of the index that starts `bytes`, if they start one.
    pub fn begins(bytes: &[u8]) -> bool {
        bytes.len() >= 6 && bytes[..6] == MAGIC[..6]
    }

    /// Its bytes, whole blocks: how it begins, the marks, zeros, how it ends.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        assert!(self.marks.len() <= SEGMENT_MARKS_MAX, "a reader takes no more marks");
        let count = u32::try_from(self.marks.len()).expect("marks are bounded by the segment's bytes");
        let (offset, last, previous) = (self.offset, self.last.0, self.previous);
        let header = HeaderRow { magic: MAGIC, marks: count, reserved: 0, offset, last, previous, zero: [0; 32] };
        out.extend_from_slice(bytemuck::bytes_of(&header));
        for SegmentMark { before, offset, previous } in self.marks.iter().copied() {
            out.extend_from_slice(bytemuck::bytes_of(&MarkRow { before: before.0, offset, previous }));
        }
        let length = align_up((out.len() - start + FOOTER) as u64) as usize;
        out.resize(start + length - FOOTER, 0);
        let footer = FooterRow { hash: *blake3::hash(&out[start..]).as_bytes(), offset, magic: END };
        out.extend_from_slice(bytemuck::bytes_of(&footer));
        // The file ends here: a later start looks at its last bytes, and finds the way back from them.
        assert!((out.len() - start).is_multiple_of(BLOCK as usize), "an index is of whole blocks");
        assert!(out.len() - start <= INDEX_BYTES_MAX, "a segment was left room for its index");
        assert_eq!(Self::find(&out[start..], offset + length as u64), Some(offset), "a reader finds where it begins");
        assert_eq!(Self::decode(&out[start..], offset).as_ref(), Ok(self), "a reader takes the index that is written");
    }

    /// Where the index of a file begins, from its last bytes; `None` if it has none.
    pub fn find(tail: &[u8], file_bytes: u64) -> Option<u64> {
        let mut end = Reader::new("end of an index", tail.get(tail.len().checked_sub(TAIL)?..)?);
        let (offset, magic) = (end.u64().ok()?, end.array().ok()?);
        let fits = offset >= BLOCK && offset.is_multiple_of(BLOCK) && offset < file_bytes;
        (magic == END && fits).then_some(offset)
    }

    /// Reads an index that begins at `offset` and takes all of `bytes`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn decode(bytes: &[u8], offset: u64) -> Result<Self, Problem> {
        let footer =
            bytes.len().checked_sub(FOOTER).filter(|footer| *footer >= HEADER).ok_or("the index is cut short")?;
        if Self::begins(bytes) && bytes[..8] != MAGIC {
            let found = String::from_utf8_lossy(&bytes[6..8]).into_owned();
            return Err(Problem::version("the index", found, INDEX_VERSION));
        }
        let whole = |_| "the index is cut short";
        let mut reader = Reader::new("index", bytes);
        let header: HeaderRow = reader.row().map_err(whole)?;
        let end: FooterRow = Reader::new("end of an index", &bytes[footer..]).row().map_err(whole)?;
        if header.magic != MAGIC || end.magic != END {
            return Err("this is no index".into());
        }
        let count = header.marks as usize;
        let marks_end = HEADER + count.min(SEGMENT_MARKS_MAX) * MARK;
        let expected = align_up((marks_end + FOOTER) as u64) as usize;
        if count > SEGMENT_MARKS_MAX || bytes.len() != expected || header.offset != offset || end.offset != offset {
            return Err("the index says another length or place".into());
        }
        // After the length: only as much is hashed as an index can have.
        if *blake3::hash(&bytes[..footer]).as_bytes() != end.hash {
            return Err("the index's hash is wrong".into());
        }
        let padding = bytes[marks_end..footer].iter().any(|byte| *byte != 0);
        if header.reserved != 0 || header.zero != [0; 32] || padding {
            return Err("the index's padding is not zero".into());
        }
        let mut mark = || -> Result<SegmentMark, &'static str> {
            let MarkRow { before, offset, previous } = reader.row().map_err(whole)?;
            Ok(SegmentMark { before: Height(before), offset, previous })
        };
        let marks: Vec<SegmentMark> = (0..count).map(|_| mark()).collect::<Result<_, _>>()?;
        let rising = |pair: &[SegmentMark]| pair[0].before <= pair[1].before && pair[0].offset < pair[1].offset;
        let inside = marks.iter().all(|mark| mark.offset >= BLOCK && mark.offset < offset);
        let last = Height(header.last);
        if !marks.windows(2).all(rising) || !inside || marks.last().is_some_and(|mark| mark.before > last) {
            return Err("the index's marks are out of order".into());
        }
        Ok(Self { marks, last, previous: header.previous, offset })
    }
}

/// The marks of a segment, as its frames pass by.
#[derive(Clone, Default, Debug)]
pub struct FrameMarks {
    /// What was marked.
    pub marks: Vec<SegmentMark>,
}

impl FrameMarks {
    /// A frame at `offset`, behind others up to height `before`, the last of which has the header hash `previous`.
    pub fn pass(&mut self, offset: u64, before: Height, previous: &Hash) {
        assert!(self.marks.last().is_none_or(|mark| mark.offset < offset), "frames pass by in order");
        assert!(self.marks.last().is_none_or(|mark| mark.before <= before), "the highest height only grows");
        if self.marks.last().is_none_or(|mark| offset - mark.offset >= SEGMENT_MARK_BYTES) {
            self.marks.push(SegmentMark { before, offset, previous: *previous });
            assert!(self.marks.len() <= SEGMENT_MARKS_MAX, "the marks of a segment are bounded");
        }
    }
}

const _: () = assert!(MARK == 8 + 8 + 32);
// Marks are so far apart that the longest segment has no more of them than an index takes.
const _: () = assert!(SEGMENT_MARKS_MAX as u64 > SEGMENT_FILE_BYTES_MAX / SEGMENT_MARK_BYTES);
const _: () = assert!(SEGMENT_MARKS_MAX <= u32::MAX as usize);
