//! Writing packs: records in order, whole blocks at a time, past the page cache where the file system takes it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use engine::Hash;
use engine::limits::PACK_FILE_BYTES_MAX;

use crate::backend::{Access, Backend, Handle};
use crate::refused::named;
use crate::session::name;
use crate::snapshot::record::{ALIGN, pack_header};
use crate::{BLOCK, align_up};

/// Blocks that are written at a time: 1 MiB.
const BUFFER_BLOCKS: usize = 256;

/// Where a record lies.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct PackOffset {
    /// The number in its file's name.
    pub pack: u32,
    /// Bytes of the record.
    pub bytes: u32,
    /// Where it begins.
    pub offset: u64,
}

impl PackOffset {
    /// The pack and where the record ends in it. An index may say anything.
    pub fn end(&self) -> (u32, u64) {
        (self.pack, self.offset.saturating_add(self.bytes.into()))
    }
}

/// A block of memory that a write past the page cache may start at.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(4096))]
struct Aligned([u8; BLOCK as usize]);

const _: () = assert!(size_of::<Aligned>() == BLOCK as usize && align_of::<Aligned>() == BLOCK as usize);
// A record that begins in a block begins where one may, whatever the buffer held before it.
const _: () = assert!(BLOCK.is_multiple_of(ALIGN as u64));
const _: () = assert!(BUFFER_BLOCKS > 0);

/// The end of the packs, where records are appended.
pub struct PackWriter {
    backend: Arc<dyn Backend>,
    folder: PathBuf,
    chain: Hash,
    pack_bytes: u64,
    number: u32,
    file: Option<OpenPack>,
    buffer: Vec<Aligned>,
    /// Bytes of the buffer that hold records.
    filled: usize,
    /// Bytes that were written since the start.
    pub written: u64,
}

struct OpenPack {
    path: PathBuf,
    plain: Box<dyn Handle>,
    /// Writes past the page cache; gone once the file system refused one.
    direct: Option<Box<dyn Handle>>,
    /// Where the buffer goes: a multiple of the block.
    end: u64,
}

impl OpenPack {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!(bytes.len().is_multiple_of(BLOCK as usize), "packs are written in whole blocks");
        // `InvalidInput` says that the file system wants another alignment, or has no such writes after all: the same bytes go
        // the usual way then, and all that follow.
        let refused = match &self.direct {
            Some(direct) => match direct.write_all_at(bytes, self.end) {
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => true,
                result => {
                    result.map_err(named(&self.path, "written"))?;
                    false
                }
            },
            None => true,
        };
        if refused {
            self.direct = None;
            self.plain.write_all_at(bytes, self.end).map_err(named(&self.path, "written"))?;
        }
        self.end += bytes.len() as u64;
        Ok(())
    }
}

/// The path of a pack.
pub fn pack_path(folder: &Path, number: u32) -> PathBuf {
    folder.join(name(number, "pack"))
}

impl PackWriter {
    /// Goes on at `end` of pack `number`, or with the pack after `number` if there is no end: whatever lies behind is cut.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(
        backend: Arc<dyn Backend>,
        folder: PathBuf,
        chain: Hash,
        (number, end): (u32, Option<u64>),
        pack_bytes: u64,
    ) -> io::Result<Self> {
        let buffer = vec![Aligned::zeroed(); BUFFER_BLOCKS];
        let mut writer = Self { backend, folder, chain, pack_bytes, number, file: None, buffer, filled: 0, written: 0 };
        if let Some(end) = end {
            writer.reopen(end)?;
        }
        Ok(writer)
    }

    fn reopen(&mut self, end: u64) -> io::Result<()> {
        let path = pack_path(&self.folder, self.number);
        let plain = self.backend.open(&path, Access::Write).map_err(named(&path, "opened"))?;
        plain.set_len(end).map_err(named(&path, "cut"))?;
        plain.sync_all().map_err(named(&path, "synced"))?;
        let direct = self.backend.open_direct(&path).map_err(named(&path, "opened"))?;
        self.file = Some(OpenPack { path, plain, direct, end });
        Ok(())
    }

    /// The chain whose packs these are.
    pub fn chain(&self) -> Hash {
        self.chain
    }

    /// Bytes after which a new pack begins.
    pub fn pack_bytes(&self) -> u64 {
        self.pack_bytes
    }

    /// Whether packs are written past the page cache; nothing before the first.
    pub fn is_direct(&self) -> Option<bool> {
        self.file.as_ref().map(|file| file.direct.is_some())
    }

    /// Where the last flush ended.
    pub fn end(&self) -> Option<(u32, u64)> {
        self.file.as_ref().map(|file| (self.number, file.end))
    }

    /// Appends a record, which must fill a multiple of 8 bytes. It is on disk after [`PackWriter::sync`].
    ///
    /// # Errors
    /// What the system says; [`PackWriter::cut`] makes the writer good again.
    pub fn append(&mut self, record: &[u8], bytes: usize) -> io::Result<PackOffset> {
        if self.file.as_ref().is_none_or(|file| file.end + self.filled as u64 >= self.pack_bytes) {
            self.next_pack()?;
        }
        assert!(bytes > 0, "a record has a header");
        assert!(bytes <= record.len(), "a place is no longer than what is written there");
        assert!(record.len() - bytes < ALIGN, "only what fills it up lies behind a record");
        assert!(record.len().is_multiple_of(ALIGN), "a record is filled up to where another may begin");
        let file = self.file.as_mut().expect("a pack was begun");
        let place = PackOffset {
            pack: self.number,
            bytes: u32::try_from(bytes).expect("records are bounded"),
            offset: file.end + self.filled as u64,
        };
        let end = place.offset + record.len() as u64;
        assert!(end <= PACK_FILE_BYTES_MAX, "a pack is no longer than its readers read");
        let mut rest = record;
        while !rest.is_empty() {
            let buffer: &mut [u8] = bytemuck::cast_slice_mut(&mut self.buffer);
            let count = rest.len().min(buffer.len() - self.filled);
            buffer[self.filled..self.filled + count].copy_from_slice(&rest[..count]);
            self.filled += count;
            rest = &rest[count..];
            if self.filled == buffer.len() {
                self.written += self.filled as u64;
                file.write(buffer)?;
                self.filled = 0;
            }
        }
        Ok(place)
    }

    fn next_pack(&mut self) -> io::Result<()> {
        if self.file.is_some() {
            self.sync()?;
        }
        assert_eq!(self.filled, 0, "what waited belongs to the pack before, and is on disk");
        let number = self.number + 1;
        let path = pack_path(&self.folder, number);
        // One that was begun and never came to hold anything that counts.
        match self.backend.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(named(&path, "removed")(error)),
            _ => {}
        }
        let plain = self.backend.create(&path).map_err(named(&path, "made"))?;
        plain.write_all_at(&pack_header(number, &self.chain), 0).map_err(named(&path, "written"))?;
        plain.sync_all().map_err(named(&path, "synced"))?;
        self.backend.sync_dir(&self.folder).map_err(named(&self.folder, "synced"))?;
        let direct = self.backend.open_direct(&path).map_err(named(&path, "opened"))?;
        self.number = number;
        self.file = Some(OpenPack { path, plain, direct, end: BLOCK });
        Ok(())
    }

    /// Writes what waits, filled with zeros to a whole block.
    fn flush(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        let buffer: &mut [u8] = bytemuck::cast_slice_mut(&mut self.buffer);
        let end = align_up(self.filled as u64) as usize;
        buffer[self.filled..end].fill(0);
        if end > 0 {
            self.written += end as u64;
            file.write(&buffer[..end])?;
        }
        self.filled = 0;
        Ok(())
    }

    /// Waits until every record is on disk.
    ///
    /// # Errors
    /// What the system says; [`PackWriter::cut`] makes the writer good again.
    pub fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        // The length of the file changes with every write, so data alone would not do.
        self.file.as_ref().map_or(Ok(()), |file| file.plain.sync_all().map_err(named(&file.path, "synced")))
    }

    /// Goes back to where the packs ended before something failed.
    ///
    /// # Errors
    /// What the system says.
    pub fn cut(&mut self, (number, end): (u32, Option<u64>)) -> io::Result<()> {
        assert!(number <= self.number, "packs go back to where they ended, never ahead");
        self.filled = 0;
        self.file = None;
        for later in number + 1..=self.number {
            // Where it cannot be removed, it goes when the next pack of its number begins.
            let _ = self.backend.remove(&pack_path(&self.folder, later));
        }
        self.number = number;
        end.map_or(Ok(()), |end| self.reopen(end))
    }
}
