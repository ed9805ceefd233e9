//! A file's bytes to read: copied into memory, or mapped where they lie.
#![expect(unsafe_code, reason = "a mapping is memory that the system fills; memmap2 hands it out by an unsafe call")]

use std::fs::File;
use std::io;
use std::ops::Deref;

use memmap2::{Mmap, MmapOptions};

/// A file's bytes from an offset on.
#[derive(Debug)]
pub enum FileBytes {
    /// A copy.
    Read(Vec<u8>),
    /// The page cache's own; what nobody reads takes no memory, and what was read can be given up again.
    Mapped(Mmap),
}

impl Default for FileBytes {
    fn default() -> Self {
        Self::Read(Vec::new())
    }
}

impl From<Vec<u8>> for FileBytes {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Read(bytes)
    }
}

impl Deref for FileBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Read(bytes) => bytes,
            Self::Mapped(map) => map,
        }
    }
}

/// Maps `length` bytes of a file that is complete: a sealed segment, which is removed at its end, but never written or cut.
pub(super) fn map(file: &File, from: u64, length: usize) -> io::Result<FileBytes> {
    if length == 0 {
        return Ok(FileBytes::default());
    }
    // SAFETY: the mapping is read-only and shared. Its bytes change only if somebody writes the file, which this program
    // does not do to a sealed segment; a removed file stays until the mapping goes. Every byte that is used is covered by a hash that was computed from the mapping itself, after it was copied or
    // decompressed. Another program that cuts the file meanwhile ends this process by a signal, as it would any reader.
    let map = unsafe { MmapOptions::new().offset(from).len(length).map(file)? };
    #[cfg(unix)]
    // A hint, and nothing else: whoever reads a segment reads it from front to back.
    let _ = map.advise(memmap2::Advice::Sequential);
    Ok(FileBytes::Mapped(map))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Backend, FileBackend, MemoryBackend};

    #[test]
    fn a_view_is_what_reading_gives_and_outlives_the_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let bytes: Vec<u8> = (0..20_000u32).map(|place| (place % 251) as u8).collect();
        let path = dir.path().join("sealed");
        for backend in [&FileBackend as &dyn Backend, &MemoryBackend::default()] {
            backend.create_dir(dir.path()).expect("a directory");
            backend.write_new(&path, &bytes).expect("written");
            for from in [0, 1, 4_096, 19_999, 20_000, 30_000] {
                let view = backend.view(&path, from, 20_000).expect("a view");
                assert_eq!(*view, bytes[(from as usize).min(bytes.len())..], "from {from}");
            }
            let long = [backend.view(&path, 0, 19_999).map(|_| ()), backend.read(&path, 19_999).map(|_| ())];
            assert!(long.iter().all(|read| matches!(read, Err(error) if error.kind() == io::ErrorKind::FileTooLarge)));
        }
        let view = FileBackend.view(&path, 0, 20_000).expect("a view");
        assert!(matches!(view, FileBytes::Mapped(_)), "a file is mapped");
        std::fs::remove_file(&path).expect("removed");
        assert_eq!(*view, bytes[..]);
        assert!(FileBackend.view(&path, 0, 20_000).is_err());
    }
}
