//! Where a session's files are: on a file system, in memory, or on a disk that fails as a seed says.
//!
//! Everything that the journal, the consensus log and the packs write goes through this seam, so that a test can stop the
//! machine at any write and any sync, and look at what may be left.

mod bytes;
mod file;
mod memory;
mod faulty;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use bytes::FileBytes;
pub use faulty::{Fault, FaultyBackend, Sector};
pub use file::{FileBackend, open_regular};
pub use memory::MemoryBackend;

/// What a handle is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

/// Where a session's files are.
pub trait Backend: Send + Sync + 'static {
    /// A new file; an existing one is an error.
    ///
    /// # Errors
    /// What the system says.
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>>;

    /// An existing file: a regular one, never a pipe or a device, at which a reader would wait for ever.
    ///
    /// # Errors
    /// What the system says; `InvalidInput` if it is no regular file.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn Handle>>;

    /// An existing file for writing past the page cache: whole blocks, from memory that is aligned to blocks. `None` where
    /// that cannot be.
    ///
    /// # Errors
    /// What the system says.
    fn open_direct(&self, _path: &Path) -> io::Result<Option<Box<dyn Handle>>> {
        Ok(None)
    }

    /// Whether paths are those of the file system, so that other processes find the same files there.
    fn is_file_system(&self) -> bool {
        false
    }

    /// The files and directories in a directory, sorted.
    ///
    /// # Errors
    /// What the system says; a directory that is missing is `NotFound`.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;

    /// A directory, and those that it needs above it, where they do not exist yet.
    ///
    /// # Errors
    /// What the system says.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Waits until a directory's entries are on disk.
    ///
    /// # Errors
    /// What the system says.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// How long whoever has it synced waits for the next sync, beside the call itself: for a disk in a simulation's time.
    fn sync_takes(&self) -> Duration {
        Duration::ZERO
    }

    /// Bytes that an unprivileged writer may still use.
    ///
    /// # Errors
    /// What the system says.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;

    /// Keeps every other process out for as long as the guard lives; the file is made if it is missing.
    ///
    /// # Errors
    /// `WouldBlock` if another one is in.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>>;

    /// A whole file of at most `most` bytes.
    ///
    /// # Errors
    /// What the system says; `FileTooLarge` before anything is read.
    fn read(&self, path: &Path, most: u64) -> io::Result<Vec<u8>> {
        let file = self.open(path, Access::Read)?;
        let length = bounded_len(&*file, most)?;
        file.read_range(0, length)
    }

    /// A file of at most `most` bytes that is complete and is never written or cut again, from an offset on: mapped where the
    /// system can, else read.
    ///
    /// # Errors
    /// As [`Backend::read`].
    fn view(&self, path: &Path, from: u64, most: u64) -> io::Result<FileBytes> {
        let file = self.open(path, Access::Read)?;
        let length = bounded_len(&*file, most)?;
        file.read_range(from, length.saturating_sub(from as usize)).map(FileBytes::Read)
    }

    /// A new file with all its bytes on disk; its directory is not synced.
    ///
    /// # Errors
    /// What the system says.
    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let file = self.create(path)?;
        file.write_all_at(bytes, 0)?;
        file.sync_all()
    }
}

/// An open file.
pub trait Handle: Send + Sync {
    /// Its length.
    ///
    /// # Errors
    /// What the system says.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds nothing.
    ///
    /// # Errors
    /// What the system says.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|length| length == 0)
    }

    /// Reads at an offset; fewer bytes than asked for only before the end, none at the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize>;

    /// Writes at an offset, all of it.
    ///
    /// # Errors
    /// What the system says; some of it may be written then.
    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()>;

    /// Cuts the file, or extends it by zeros.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Waits until the data is on disk.
    ///
    /// # Errors
    /// What the system says; what was not on disk before may be lost then.
    fn sync(&self) -> io::Result<()>;

    /// Waits until the data and all that describes the file are on disk.
    ///
    /// # Errors
    /// What the system says; what was not on disk before may be lost then.
    fn sync_all(&self) -> io::Result<()>;

    /// The bytes from `at` on: `len` of them, or up to the end.
    ///
    /// # Errors
    /// What the system says.
    fn read_range(&self, at: u64, len: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        let mut filled = 0;
        while filled < len {
            match self.read_at(&mut bytes[filled..], at + filled as u64) {
                // The end: whoever asked for more compares lengths, since a file may be shorter than it says.
                Ok(0) => break,
                Ok(count) => {
                    assert!(count <= len - filled, "no backend reads more than it was asked for");
                    filled += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    }
}

/// The length of a file that is to be read whole: a stranger's file may say any length, and need no bytes for it.
///
/// # Errors
/// `FileTooLarge` if it is longer than `most`.
pub fn bounded_len(file: &dyn Handle, most: u64) -> io::Result<usize> {
    let length = file.len()?;
    if length > most {
        let text = format!("it has {length} bytes, and no file of its kind has more than {most}");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// Whether an error says that a file is none that a session has: no regular one, or longer than any of its kind. Nothing of it is
/// read, and nothing is wrong with the system.
pub fn is_no_file(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::FileTooLarge)
}

/// Whether an error says that there is no room: what was tried may be tried again when there is.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
