//! Files in memory, for tests and for sessions that nobody keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Access, Backend, Handle};

/// Files in memory. Clones are the same place.
#[derive(Clone, Default)]
pub struct MemoryBackend {
    tree: Arc<Mutex<Tree>>,
}

#[derive(Default)]
struct Tree {
    files: BTreeMap<PathBuf, Content>,
    dirs: BTreeSet<PathBuf>,
    locks: BTreeSet<PathBuf>,
}

type Content = Arc<Mutex<Vec<u8>>>;

/// A poisoned lock means that a test panicked elsewhere; bytes are never left half changed.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Open {
    content: Content,
    access: Access,
}

impl Backend for MemoryBackend {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut tree = lock(&self.tree);
        if path.parent().is_none_or(|dir| !tree.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if tree.files.contains_key(path) || tree.dirs.contains(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        // Its bytes are shared with whoever opens it, and outlive its name, as those of the file system do.
        let content = Content::default();
        tree.files.insert(path.to_owned(), content.clone());
        Ok(Box::new(Open { content, access: Access::Write }))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn Handle>> {
        let content = lock(&self.tree).files.get(path).cloned().ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Open { content, access }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let tree = lock(&self.tree);
        if !tree.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = |path: &&PathBuf| path.parent() == Some(dir);
        let mut paths: Vec<_> = tree.files.keys().chain(&tree.dirs).filter(inside).cloned().collect();
        paths.sort_unstable();
        Ok(paths)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        lock(&self.tree).dirs.extend(path.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        lock(&self.tree).files.remove(path).map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        if !lock(&self.tree).locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Guard { tree: self.tree.clone(), path: path.to_owned() }))
    }
}

struct Guard {
    tree: Arc<Mutex<Tree>>,
    path: PathBuf,
}

impl Drop for Guard {
    fn drop(&mut self) {
        lock(&self.tree).locks.remove(&self.path);
    }
}

impl Open {
    fn change(&self, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        if self.access == Access::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        change(&mut lock(&self.content));
        Ok(())
    }
}

pub(super) fn read(content: &[u8], buf: &mut [u8], at: u64) -> usize {
    let from = usize::try_from(at).unwrap_or(usize::MAX).min(content.len());
    let count = buf.len().min(content.len() - from);
    buf[..count].copy_from_slice(&content[from..from + count]);
    count
}

pub(super) fn write(content: &mut Vec<u8>, buf: &[u8], at: u64) {
    let from = usize::try_from(at).expect("files in memory are small");
    if content.len() < from + buf.len() {
        content.resize(from + buf.len(), 0);
    }
    content[from..from + buf.len()].copy_from_slice(buf);
}

impl Handle for Open {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.content).len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        Ok(read(&lock(&self.content), buf, at))
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.change(|content| write(content, buf, at))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(|content| content.resize(usize::try_from(len).expect("files in memory are small"), 0))
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        Ok(())
    }
}
