//! The only place that touches files: append at an offset, zeros ahead, sync.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::{BLOCK, align_up};

/// Bytes that are written with zeros ahead of the data, so that a sync changes no metadata of the file.
const AHEAD: u64 = 1 << 20;

/// A file that grows by groups of whole blocks, with zeros written ahead.
pub struct GroupFile {
    file: File,
    /// Where the next group starts; a multiple of the block.
    end: u64,
    /// Up to where zeros were written.
    zeroed: u64,
}

impl GroupFile {
    /// A new file; an existing one is an error.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Self { file, end: 0, zeroed: 0 })
    }

    /// An existing file whose data ends at `data_end`: whatever follows is cut, and the rest of that block zeroed.
    pub fn reopen(path: &Path, data_end: u64) -> io::Result<Self> {
        let file = OpenOptions::new().write(true).open(path)?;
        let end = align_up(data_end);
        file.set_len(data_end)?;
        file.set_len(end)?;
        file.sync_all()?;
        Ok(Self { file, end, zeroed: end })
    }

    /// Where the next group starts.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Appends a group, padded with zeros to whole blocks.
    pub fn append(&mut self, group: &mut Vec<u8>) -> io::Result<()> {
        group.resize(align_up(group.len() as u64) as usize, 0);
        let end = self.end + group.len() as u64;
        if end > self.zeroed {
            let ahead = end - self.zeroed + AHEAD;
            let zeros = vec![0; 1 << 16];
            let mut at = self.zeroed;
            while at < self.zeroed + ahead {
                let count = zeros.len().min((self.zeroed + ahead - at) as usize);
                self.file.write_all_at(&zeros[..count], at)?;
                at += count as u64;
            }
            self.zeroed = at;
        }
        self.file.write_all_at(group, self.end)?;
        self.end = end;
        Ok(())
    }

    /// Waits until everything appended is on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Cuts the zeros ahead: the file is complete.
    pub fn seal(&mut self) -> io::Result<()> {
        self.file.set_len(self.end)?;
        self.file.sync_all()
    }
}

/// Waits until a directory's entries are on disk.
pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

const _: () = assert!(AHEAD.is_multiple_of(BLOCK));
