//! A file that grows by groups: append at an offset, zeros ahead, sync.

use std::io;
use std::path::{Path, PathBuf};

use crate::backend::{Access, Backend, Handle};
use crate::refused::named;
use crate::{BLOCK, align_up};

/// Bytes that are written with zeros ahead of the data, so that a sync changes no metadata of the file; fewer in a file
/// that will not have as many.
pub const AHEAD: u64 = 1 << 20;

/// A file that grows by groups of whole blocks, with zeros written ahead.
pub struct GroupFile {
    file: Box<dyn Handle>,
    /// What it is called: errors say it, for whoever must mend the disk under a running node.
    path: PathBuf,
    /// Where the next group starts; a multiple of the block.
    end: u64,
    /// Up to where zeros were written.
    zeroed: u64,
    /// Zeros that are written at a time.
    ahead: u64,
}

const fn ahead(file_bytes: u64) -> u64 {
    if file_bytes < AHEAD { align_up(file_bytes) } else { AHEAD }
}

impl GroupFile {
    /// A new file that will have about `file_bytes`; an existing one is an error.
    pub fn create(backend: &dyn Backend, path: &Path, file_bytes: u64) -> io::Result<Self> {
        let file = backend.create(path).map_err(named(path, "made"))?;
        Ok(Self { file, path: path.to_owned(), end: 0, zeroed: 0, ahead: ahead(file_bytes) })
    }

    /// An existing file whose data ends at `data_end`: whatever follows is cut, and the rest of that block zeroed. Errors do not name
    /// it; the caller does.
    pub fn reopen(backend: &dyn Backend, path: &Path, data_end: u64, file_bytes: u64) -> io::Result<Self> {
        let file = backend.open(path, Access::Write)?;
        let end = align_up(data_end);
        // Cut first and lengthened then: what the system adds is zeros, and nothing of a torn group stays in the last
        // block.
        file.set_len(data_end)?;
        file.set_len(end)?;
        file.sync_all()?;
        Ok(Self { file, path: path.to_owned(), end, zeroed: end, ahead: ahead(file_bytes) })
    }

    /// Where the next group starts.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Appends a group, padded with zeros to whole blocks. After an error the same group may be appended again: what
    /// was written of it lies behind the end.
    pub fn append(&mut self, group: &mut Vec<u8>) -> io::Result<()> {
        assert!(!group.is_empty(), "a group that takes no room could not be told from the one behind it");
        group.resize(align_up(group.len() as u64) as usize, 0);
        let end = self.end + group.len() as u64;
        if end > self.zeroed {
            // Where the group goes it needs no zeros before: it changes the file's metadata this once.
            let (mut at, zeroed) = (end, end + self.ahead);
            let zeros = vec![0; 1 << 16];
            while at < zeroed {
                let count = zeros.len().min((zeroed - at) as usize);
                self.file.write_all_at(&zeros[..count], at).map_err(named(&self.path, "written"))?;
                at += count as u64;
            }
            self.zeroed = zeroed;
        }
        self.file.write_all_at(group, self.end).map_err(named(&self.path, "written"))?;
        self.end = end;
        assert!(self.end.is_multiple_of(BLOCK), "a block that was synced is never written again");
        assert!(self.end <= self.zeroed, "zeros lie ahead of the data");
        Ok(())
    }

    /// Goes back to where a group began that did not reach the disk: it is written anew, and so are the zeros, since
    /// the system may have dropped any of it.
    pub fn rewind(&mut self, end: u64) {
        assert!(end <= self.end, "a file goes back, never ahead over what was not written");
        assert!(end.is_multiple_of(BLOCK), "a file goes back to where a group began");
        self.end = end;
        self.zeroed = end;
    }

    /// Waits until everything appended is on disk.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync().map_err(named(&self.path, "synced"))
    }

    /// Cuts the zeros ahead: the file is complete.
    pub fn seal(&mut self) -> io::Result<()> {
        assert!(self.end.is_multiple_of(BLOCK), "only zeros are cut, no part of a group");
        self.file.set_len(self.end).map_err(named(&self.path, "cut"))?;
        // What is appended later is written behind the end of the file: no zeros are ahead of it any more.
        self.zeroed = self.end;
        self.file.sync_all().map_err(named(&self.path, "synced"))
    }
}

const _: () = assert!(AHEAD.is_multiple_of(BLOCK));
