//! Files of the file system.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::statvfs;

use super::{Access, Backend, FileBytes, Handle, bounded_len};

/// Files of the file system.
#[derive(Clone, Copy, Default, Debug)]
pub struct FileBackend;

impl Backend for FileBackend {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        // Never one that is there: a second writer that got past the lock would write over the first one's frames.
        Ok(Box::new(OpenOptions::new().read(true).write(true).create_new(true).open(path)?))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn Handle>> {
        Ok(Box::new(open_regular(path, OpenOptions::new().read(true).write(access == Access::Write))?))
    }

    #[cfg(target_os = "linux")]
    fn open_direct(&self, path: &Path) -> io::Result<Option<Box<dyn Handle>>> {
        use std::os::unix::fs::OpenOptionsExt;
        let flags = rustix::fs::OFlags::DIRECT.bits();
        let flags = i32::try_from(flags).map_err(|_| io::ErrorKind::Unsupported)?;
        match OpenOptions::new().read(true).write(true).custom_flags(flags).open(path) {
            Ok(file) => Ok(Some(Box::new(file))),
            // A file system that does not have it.
            Err(error) if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn is_file_system(&self) -> bool {
        true
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let mut paths = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        paths.sort_unstable();
        Ok(paths)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn write_new(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        aside::write_new(path, bytes, aside::Readers::Usual)
    }

    fn view(&self, path: &Path, from: u64, most: u64) -> io::Result<FileBytes> {
        let file = open_regular(path, OpenOptions::new().read(true))?;
        let length = bounded_len(&file, most)?.saturating_sub(from as usize);
        // A file system that cannot map reads.
        super::bytes::map(&file, from, length).or_else(|_| file.read_range(from, length).map(FileBytes::Read))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let system = statvfs(path)?;
        Ok(system.f_bavail.saturating_mul(system.f_frsize))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        // The system lets the lock go when the process ends, however it ends: no file has to be removed by hand.
        let file = open_regular(path, File::options().create(true).truncate(false).write(true))?;
        file.try_lock()?;
        Ok(Box::new(file))
    }
}

/// Opens a regular file. Nothing else is waited for: opening a pipe that nobody writes returns at once, and is refused.
///
/// # Errors
/// What the system says; `InvalidInput` if it is no regular file.
pub fn open_regular(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).map_err(|_| io::ErrorKind::Unsupported)?;
    let file = options.custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() {
        return Ok(file);
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"))
}

impl Handle for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        FileExt::read_at(self, buf, at)
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        FileExt::write_all_at(self, buf, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        File::set_len(self, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}
