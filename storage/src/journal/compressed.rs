//! Compressed segments: the bytes of a sealed segment in a tenth of its room. What stays of a segment that has given up its
//! bodies is compressed alike: where little is played it would else take more room than the compressed segment did.
//!
//! ```text
//!  00000001.zst   a Zstandard frame for each MiB of the segment ..., a skippable frame with the length of each
//!  00000001.head  the same of what stays of it
//! ```
//! This is Zstandard's seekable format: `zstd -d 00000001.zst -o 00000001.seg` gives the segment back, and a reader reads a part
//! of it without the rest. What is verified are the segment's own bytes, by its own hashes.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::bytes::Reader;
use engine::limits::{COMPRESSED_CHUNK_BYTES, COMPRESSED_SEGMENT_BYTES_MAX, SEGMENT_FILE_BYTES_MAX};

use super::segment::SegmentKind;
use crate::backend::{Access, Backend, Handle, bounded_len};
use crate::session::{OpenError, name, numbered};
use crate::{Damage, Problem};

/// How a compressed segment's file name ends.
pub const ENDING: &str = "zst";
/// Zstandard's quickest levels leave a hundredth more, the slowest a tenth less for fifty times the work.
const LEVEL: i32 = 3;
/// How a skippable frame that holds a seek table begins.
const TABLE_MAGIC: u32 = 0x184d_2a5e;
/// How a seek table ends.
const FOOTER_MAGIC: u32 = 0x8f92_eab1;
/// Magic and length before the rows.
const TABLE_HEAD: usize = 8;
/// Compressed and decompressed length of a frame.
const TABLE_ROW: usize = 8;
/// Number of frames, a byte of flags, magic.
const FOOTER: usize = 9;
/// The most frames that a compressed segment has.
const CHUNKS_MAX: usize = COMPRESSED_SEGMENT_BYTES_MAX.div_ceil(COMPRESSED_CHUNK_BYTES);

const _: () = assert!(COMPRESSED_CHUNK_BYTES <= u32::MAX as usize);
// A reader takes the table of the longest segment, and its length fits the field that says it.
const _: () = assert!(CHUNKS_MAX * TABLE_ROW + FOOTER <= u32::MAX as usize);
const _: () = assert!(TABLE_ROW == 2 * size_of::<u32>());

/// Compresses a segment's bytes, as long as `goes_on`, which is asked behind each chunk, says so. `put` is given the file's bytes
/// in their order, a frame at a time. Says whether that was all of them.
fn compress(
    bytes: &[u8],
    put: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    goes_on: &dyn Fn() -> bool,
) -> io::Result<bool> {
    assert!(bytes.len() <= COMPRESSED_SEGMENT_BYTES_MAX, "a longer segment stays as it is");
    let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
    compressor.include_checksum(true)?;
    let mut rows = Vec::new();
    for chunk in bytes.chunks(COMPRESSED_CHUNK_BYTES) {
        let frame = compressor.compress(chunk)?;
        // Whoever reads it sets no more aside for a frame, and would call the segment damaged.
        assert!(frame.len() <= zstd::zstd_safe::compress_bound(COMPRESSED_CHUNK_BYTES));
        rows.extend((frame.len() as u32).to_le_bytes());
        rows.extend((chunk.len() as u32).to_le_bytes());
        put(&frame)?;
        if !goes_on() {
            return Ok(false);
        }
    }
    let frames = (rows.len() / TABLE_ROW) as u32;
    assert!(frames as usize <= CHUNKS_MAX, "a reader takes as many frames");
    assert_eq!(frames as usize, bytes.len().div_ceil(COMPRESSED_CHUNK_BYTES), "every chunk has its row");
    let mut table = Vec::with_capacity(TABLE_HEAD + rows.len() + FOOTER);
    table.extend(TABLE_MAGIC.to_le_bytes());
    table.extend(((rows.len() + FOOTER) as u32).to_le_bytes());
    table.extend(rows);
    table.extend(frames.to_le_bytes());
    table.push(0);
    table.extend(FOOTER_MAGIC.to_le_bytes());
    assert_eq!(table.len(), TABLE_HEAD + frames as usize * TABLE_ROW + FOOTER, "its length is where a reader finds it");
    put(&table)?;
    Ok(true)
}

/// The compressed file of some bytes, in memory.
pub fn file_of(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut file = Vec::new();
    let mut put = |frame: &[u8]| {
        file.extend_from_slice(frame);
        Ok(())
    };
    let is_whole = compress(bytes, &mut put, &|| true)?;
    assert!(is_whole, "nothing stops it halfway");
    Ok(file)
}

/// Looks whether a file that was written is the compressed one of these bytes, a chunk at a time.
///
/// # Errors
/// If it is not, or cannot be read.
pub fn check_file(backend: &dyn Backend, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = Compressed::open(backend.open(path, Access::Read)?)?;
    let mut is_same = written.length == bytes.len() as u64;
    for (index, chunk) in bytes.chunks(COMPRESSED_CHUNK_BYTES).enumerate() {
        is_same = is_same && *written.chunk(index)? == *chunk;
    }
    if is_same { Ok(()) } else { Err(wrong("is not what was written")) }
}

/// A compressed segment that is read as if it were the segment. What is wrong with its bytes is an error of the kind
/// `InvalidData`.
struct Compressed {
    file: Box<dyn Handle>,
    /// Where each frame begins, and where the last one ends.
    starts: Vec<u64>,
    /// Bytes of the segment.
    length: u64,
}

fn wrong(problem: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the compressed segment {problem}"))
}

impl Compressed {
    /// Reads the seek table. Only the lengths that [`compress`] writes are taken: nothing is allocated for others.
    fn open(file: Box<dyn Handle>) -> io::Result<Self> {
        let length = bounded_len(&*file, SEGMENT_FILE_BYTES_MAX)?;
        let cut = || match file.read_range(0, 8) {
            Ok(magic) if magic == SegmentKind::Head.magic() => {
                wrong("was written by a build that did not compress what stays of a segment: read it with that one")
            }
            _ => wrong("has no seek table"),
        };
        let at = length.checked_sub(FOOTER).ok_or_else(cut)?;
        let (frames, flags, magic) = read_footer(&file.read_range(at as u64, FOOTER)?).ok_or_else(cut)?;
        if magic != FOOTER_MAGIC || flags != 0 {
            return Err(cut());
        }
        let frames = frames as usize;
        if frames > CHUNKS_MAX {
            return Err(wrong(format!("says that it has {frames} frames; no segment has more than {CHUNKS_MAX}")));
        }
        let table = TABLE_HEAD + frames * TABLE_ROW + FOOTER;
        let at = length.checked_sub(table).ok_or_else(cut)?;
        let table = file.read_range(at as u64, table - FOOTER)?;
        Self::table(file, &table, frames, at as u64)
            .ok_or_else(|| wrong("has a seek table that is not that of its frames"))
    }

    fn table(file: Box<dyn Handle>, table: &[u8], frames: usize, frames_end: u64) -> Option<Self> {
        let mut table = Reader::new("seek table", table);
        let head = (table.u32().ok()?, table.u32().ok()?);
        if head != (TABLE_MAGIC, (frames * TABLE_ROW + FOOTER) as u32) {
            return None;
        }
        let (mut starts, mut length) = (vec![0], 0);
        for frame in 0..frames {
            let (compressed, chunk) = (table.u32().ok()?, table.u32().ok()? as usize);
            let is_last = frame + 1 == frames;
            // A place in the segment is found by division: only the last chunk may be shorter than the others.
            if chunk == 0 || chunk > COMPRESSED_CHUNK_BYTES || (chunk < COMPRESSED_CHUNK_BYTES && !is_last) {
                return None;
            }
            starts.push(starts.last()? + u64::from(compressed));
            length += chunk as u64;
        }
        (starts.last() == Some(&frames_end)).then_some(Self { file, starts, length })
    }

    /// One chunk of the segment.
    fn chunk(&self, index: usize) -> io::Result<Vec<u8>> {
        assert!(
            (index * COMPRESSED_CHUNK_BYTES) as u64 <= self.length,
            "a chunk that is asked for lies in the segment"
        );
        let (from, to) = (self.starts[index], self.starts[index + 1]);
        assert!(from <= to, "frames follow each other");
        let most = zstd::zstd_safe::compress_bound(COMPRESSED_CHUNK_BYTES) as u64;
        // The table may be a stranger's: it must not say how much memory is taken.
        if to - from > most {
            return Err(wrong(format!("has a frame of {} bytes for a chunk of {COMPRESSED_CHUNK_BYTES}", to - from)));
        }
        let length = (self.length as usize - index * COMPRESSED_CHUNK_BYTES).min(COMPRESSED_CHUNK_BYTES);
        let frame = self.file.read_range(from, (to - from) as usize)?;
        let chunk = zstd::bulk::decompress(&frame, length)
            .map_err(|error| wrong(format!("cannot be decompressed at byte {from}: {error}")))?;
        if chunk.len() != length {
            return Err(wrong(format!("has {} bytes instead of {length} in the frame at byte {from}", chunk.len())));
        }
        Ok(chunk)
    }
}

fn read_footer(bytes: &[u8]) -> Option<(u32, u8, u32)> {
    let mut footer = Reader::new("seek table", bytes);
    Some((footer.u32().ok()?, footer.u8().ok()?, footer.u32().ok()?))
}

impl Handle for Compressed {
    fn len(&self) -> io::Result<u64> {
        Ok(self.length)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        if at >= self.length || buf.is_empty() {
            return Ok(0);
        }
        let (index, within) = (at as usize / COMPRESSED_CHUNK_BYTES, at as usize % COMPRESSED_CHUNK_BYTES);
        let chunk = self.chunk(index)?;
        assert!(within < chunk.len(), "a place before the end lies in its chunk");
        let count = buf.len().min(chunk.len() - within);
        buf[..count].copy_from_slice(&chunk[within..within + count]);
        Ok(count)
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn set_len(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Whether a file of the journal is a compressed one, by its name.
pub fn is_compressed(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == ENDING) || SegmentKind::of(path) == SegmentKind::Head
}

/// Opens a file of the journal for reading, compressed or not, as the bytes of the segment.
pub fn open(backend: &dyn Backend, path: &Path) -> io::Result<Box<dyn Handle>> {
    let file = backend.open(path, Access::Read)?;
    Ok(if is_compressed(path) { Box::new(Compressed::open(file)?) } else { file })
}

/// The bytes of a file of the journal from an offset on, decompressed or copied.
pub fn read(backend: &dyn Backend, path: &Path, from: u64) -> io::Result<Vec<u8>> {
    let file = open(backend, path)?;
    file.read_range(from, bounded_len(&*file, SEGMENT_FILE_BYTES_MAX)?.saturating_sub(from as usize))
}

/// What went wrong with a file of the journal: its bytes, or the system.
pub fn failed(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
    |error| {
        if is_compressed(path) && error.kind() == io::ErrorKind::InvalidData {
            let file = format!("journal/{}", path.file_name().unwrap_or_default().display());
            return Damage::new(file, 0, Problem::from(error.to_string())).into();
        }
        OpenError::io(path)(error)
    }
}

/// Compresses the sealed segments of a session.
pub struct Compressor {
    backend: Arc<dyn Backend>,
    folder: PathBuf,
}

impl Compressor {
    /// For a session's journal.
    pub fn new(backend: Arc<dyn Backend>, dir: &Path) -> Self {
        Self { backend, folder: dir.join("journal") }
    }

    /// Compresses every segment but the last, which is being written, as long as `goes_on`, which is asked behind each
    /// [`COMPRESSED_CHUNK_BYTES`], says so. Returns the numbers of those that were compressed.
    ///
    /// # Errors
    /// If the system refuses: then a segment stays as it is, and so do those after it.
    pub fn compress_sealed(&self, goes_on: &dyn Fn() -> bool) -> Result<Vec<u32>, OpenError> {
        let mut segments = numbered(&*self.backend, &self.folder, "seg")?;
        segments.pop();
        let mut compressed = Vec::new();
        for (number, path) in segments {
            if self.compress_one(number, &path, goes_on).map_err(OpenError::io(&path))? {
                compressed.push(number);
            }
        }
        Ok(compressed)
    }

    fn compress_one(&self, number: u32, path: &Path, goes_on: &dyn Fn() -> bool) -> io::Result<bool> {
        let segment = self.backend.view(path, 0, SEGMENT_FILE_BYTES_MAX)?;
        // Whoever reads a compressed segment has it in memory: a larger one stays as it is, and mapped.
        if segment.len() > COMPRESSED_SEGMENT_BYTES_MAX {
            return Ok(false);
        }
        let to = self.folder.join(name(number, ENDING));
        assert_ne!(to, path, "what is removed first is not the only copy");
        match self.backend.remove(&to) {
            // One that was begun when the machine stopped.
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let written = self.write_compressed(&segment, &to, goes_on);
        if !matches!(written, Ok(true)) {
            // Where it cannot be removed, it goes before the next try.
            let _ = self.backend.remove(&to);
            return written;
        }
        // The other copy was read from the disk and its name is safe: from here on the segment is not needed.
        self.backend.remove(path)?;
        self.backend.sync_dir(&self.folder)?;
        Ok(true)
    }

    /// Writes a segment's compressed file, and reads it again: the segment, the only other copy, may go if what was written says
    /// the same. One chunk is in memory at a time: a node whose budget is narrow seals segments too.
    fn write_compressed(&self, segment: &[u8], to: &Path, goes_on: &dyn Fn() -> bool) -> io::Result<bool> {
        let (file, mut at) = (self.backend.create(to)?, 0);
        let mut put = |bytes: &[u8]| {
            file.write_all_at(bytes, at)?;
            at += bytes.len() as u64;
            Ok(())
        };
        if !compress(segment, &mut put, goes_on)? {
            return Ok(false);
        }
        file.sync_all()?;
        self.backend.sync_dir(&self.folder)?;
        check_file(&*self.backend, to, segment).map(|()| true)
    }
}

#[cfg(test)]
mod tests;
