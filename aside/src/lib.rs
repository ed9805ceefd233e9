//! Files and directories that appear whole or not at all: written aside, synced, then renamed.
//!
//! What is written aside has a name of its own, `.NAME.bitcraps-part`. A process that is killed leaves it behind, and whoever
//! tries again takes it over: nothing that was broken off stands in the way. A lock tells what somebody is writing from what
//! somebody left. Errors do not name the path; the caller does.
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod owner;

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, OFlags, RenameFlags, renameat_with};
use rustix::io::Errno;

pub use owner::{Wanted, with_owner};

/// How the name of what is written aside ends.
const ENDING: &str = ".bitcraps-part";
/// How often a leftover is opened that its writer renames in that moment.
const ATTEMPTS: usize = 8;

/// Who may read a new file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    /// Whom the system's mask allows.
    Usual,
    /// Its owner alone.
    Owner,
}

/// A new file, which is seen under its name once it is whole. Dropped before, it is gone.
pub struct NewFile {
    path: PathBuf,
    aside: PathBuf,
    file: File,
    published: bool,
}

/// A new directory, whose contents are seen once they are whole. Dropped before, they are gone.
pub struct NewDir {
    path: PathBuf,
    aside: PathBuf,
    /// Written inside of the directory, which was there and empty, and not beside it.
    inside: bool,
    /// Holds the lock.
    _lock: File,
    published: bool,
}

fn refused(problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::AlreadyExists, problem)
}

/// The directory that a path is in.
fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The name under which something is written before it is whole.
fn aside_of(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| refused("no name for something new"))?;
    let mut aside = OsString::from(".");
    aside.push(name);
    aside.push(ENDING);
    Ok(path.with_file_name(aside))
}

/// Opens what lies aside and locks it, by `open`; what another process renamed meanwhile is left to it.
fn locked(aside: &Path, open: impl Fn() -> io::Result<File>) -> io::Result<File> {
    let mut problem = refused("being written by other processes");
    for _ in 0..ATTEMPTS {
        let file = match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                problem = error;
                continue;
            }
            file => file?,
        };
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => return Err(refused("being written by another process")),
            Err(TryLockError::Error(error)) => return Err(error),
            Ok(()) => {}
        }
        let (ours, there) = (file.metadata()?, fs::symlink_metadata(aside));
        if there.is_ok_and(|there| (there.dev(), there.ino()) == (ours.dev(), ours.ino())) {
            return Ok(file);
        }
    }
    Err(problem)
}

/// Waits until the name of a file is on disk, beside its bytes.
///
/// # Errors
/// If the system refuses.
pub fn sync_name(path: &Path) -> io::Result<()> {
    sync_dir(folder(path))
}

fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path).and_then(|dir| dir.sync_all())
}

impl NewFile {
    /// Begins a file that is not there yet.
    ///
    /// # Errors
    /// If something is there, or the system refuses.
    pub fn create(path: &Path, readers: Readers) -> io::Result<Self> {
        if fs::symlink_metadata(path).is_ok() {
            return Err(refused("there already; nothing is overwritten"));
        }
        let aside = aside_of(path)?;
        let mode = if readers == Readers::Owner { 0o600 } else { 0o666 };
        let flags = OFlags::NOFOLLOW.bits().cast_signed();
        let open =
            || OpenOptions::new().write(true).create(true).truncate(false).mode(mode).custom_flags(flags).open(&aside);
        let file = locked(&aside, open)?;
        let new = Self { path: path.to_owned(), aside, file, published: false };
        // A leftover may have another mode, and is half of something.
        if readers == Readers::Owner {
            new.file.set_permissions(fs::Permissions::from_mode(mode))?;
        }
        new.file.set_len(0)?;
        Ok(new)
    }

    /// The file, to be written.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Shows the file under its name, once it is on disk.
    ///
    /// # Errors
    /// If something is there by now, or the system refuses.
    pub fn publish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        rename_new(&self.aside, &self.path)?;
        self.published = true;
        sync_dir(folder(&self.path))
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.aside);
        }
    }
}

/// Renames, and never over something.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system without it has links, which replace nothing either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::hard_link(from, to).and_then(|()| fs::remove_file(from))
        }
        result => Ok(result?),
    }
}

/// A new file with these bytes, whole or not at all.
///
/// # Errors
/// If something is there, or the system refuses.
pub fn write_new(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let mut file = NewFile::create(path, readers)?;
    file.write_all(bytes)?;
    file.publish()
}

impl NewDir {
    /// Begins a directory that is not there yet, or is empty.
    ///
    /// # Errors
    /// If something is in it, or the system refuses.
    pub fn create(path: &Path) -> io::Result<Self> {
        let (aside, inside) = match fs::read_dir(path) {
            Ok(entries) => {
                let aside = path.join(ENDING);
                for entry in entries {
                    if entry?.path() != aside {
                        return Err(refused("not empty; give a new directory, nothing is overwritten"));
                    }
                }
                (aside, true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(folder(path))?;
                (aside_of(path)?, false)
            }
            Err(error) => return Err(error),
        };
        let flags = (OFlags::NOFOLLOW | OFlags::DIRECTORY).bits().cast_signed();
        let open = || match fs::create_dir(&aside) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => OpenOptions::new().read(true).custom_flags(flags).open(&aside),
        };
        let lock = locked(&aside, open)?;
        let new = Self { path: path.to_owned(), aside, inside, _lock: lock, published: false };
        // A leftover is half of something.
        for entry in fs::read_dir(&new.aside)? {
            let entry = entry?;
            let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
            let removed = if is_dir { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
            removed?;
        }
        Ok(new)
    }

    /// Where its contents are written.
    pub fn place(&self) -> &Path {
        &self.aside
    }

    /// Shows the directory under its name, once all of it is on disk.
    ///
    /// # Errors
    /// If something is there by now, or the system refuses.
    pub fn publish(mut self) -> io::Result<()> {
        sync_tree(&self.aside)?;
        if self.inside {
            self.move_up()?;
            self.published = true;
            fs::remove_dir(&self.aside)?;
            return sync_dir(&self.path);
        }
        // A rename replaces an empty directory at most.
        fs::rename(&self.aside, &self.path)?;
        self.published = true;
        sync_dir(folder(&self.path))
    }

    /// Moves the contents up into the directory that was there; all of them, or none. Files come last: a session without
    /// its genesis is none.
    fn move_up(&self) -> io::Result<()> {
        let mut entries = fs::read_dir(&self.aside)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(|entry| (entry.file_type().is_ok_and(|kind| kind.is_file()), entry.file_name()));
        for (moved, entry) in entries.iter().enumerate() {
            let to = self.path.join(entry.file_name());
            if let Err(error) = fs::rename(entry.path(), &to) {
                for entry in &entries[..moved] {
                    let _ = fs::rename(self.path.join(entry.file_name()), entry.path());
                }
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Drop for NewDir {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_dir_all(&self.aside);
        }
    }
}

/// Waits until everything in a directory is on disk.
fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let path = entry.path();
        match entry.file_type()? {
            kind if kind.is_dir() => sync_tree(&path)?,
            kind if kind.is_file() => File::open(&path).and_then(|file| file.sync_all())?,
            _ => {}
        }
    }
    sync_dir(dir)
}

/// Whether a name is that of something that is written aside.
pub fn is_aside(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().ends_with(ENDING.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All files below a directory, with their bytes.
    fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut found = Vec::new();
        for entry in fs::read_dir(dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                found.extend(files(&path));
            } else {
                let bytes = fs::read(&path).expect("a file");
                found.push((path, bytes));
            }
        }
        found.sort();
        found
    }

    #[test]
    fn a_file_is_there_whole_or_not_at_all() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("report.json");
        let mut broken_off = NewFile::create(&path, Readers::Usual).expect("begun");
        broken_off.write_all(b"half").expect("written");
        assert!(!path.exists());
        drop(broken_off);
        assert_eq!(files(dir.path()), []);
        write_new(&path, b"whole", Readers::Usual).expect("written");
        assert_eq!(files(dir.path()), [(path.clone(), b"whole".to_vec())]);
        let again = write_new(&path, b"other", Readers::Usual).expect_err("it is there");
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        assert!(again.to_string().contains("nothing is overwritten"), "{again}");
    }

    #[test]
    fn a_file_that_appears_meanwhile_is_not_overwritten() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("report.json");
        let mut mine = NewFile::create(&path, Readers::Usual).expect("begun");
        mine.write_all(b"mine").expect("written");
        fs::write(&path, b"theirs").expect("written");
        assert_eq!(mine.publish().expect_err("it is there").kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(files(dir.path()), [(path, b"theirs".to_vec())]);
    }

    #[test]
    fn what_a_killed_process_left_does_not_block_the_next_and_a_running_one_does() {
        let dir = tempfile::tempdir().expect("a directory");
        let (file, folder) = (dir.path().join("k.pem"), dir.path().join("rows"));
        fs::write(aside_of(&file).expect("a name"), b"half of a longer key").expect("a leftover");
        let left = aside_of(&folder).expect("a name");
        fs::create_dir_all(left.join("deep")).expect("a leftover");
        fs::write(left.join("deep/half"), b"half").expect("a leftover");

        let mut new = NewFile::create(&file, Readers::Owner).expect("begun");
        let busy = NewFile::create(&file, Readers::Owner).err().expect("it is being written");
        assert!(busy.to_string().contains("another process"), "{busy}");
        new.write_all(b"whole").expect("written");
        new.publish().expect("published");
        assert_eq!(fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);

        let new = NewDir::create(&folder).expect("begun");
        assert!(NewDir::create(&folder).is_err(), "it is being written");
        fs::write(new.place().join("a"), b"1").expect("written");
        new.publish().expect("published");
        assert_eq!(files(dir.path()), [(file, b"whole".to_vec()), (folder.join("a"), b"1".to_vec())]);
    }

    #[test]
    fn a_directory_is_there_whole_or_not_at_all_whether_it_was_empty_or_absent() {
        let dir = tempfile::tempdir().expect("a directory");
        let (absent, empty) = (dir.path().join("deep/absent"), dir.path().join("empty"));
        fs::create_dir(&empty).expect("a directory");
        for path in [&absent, &empty] {
            let write = |new: &NewDir| {
                fs::create_dir(new.place().join("journal")).expect("a directory");
                fs::write(new.place().join("journal/1"), b"1").expect("written");
                fs::write(new.place().join("genesis"), b"2").expect("written");
            };
            let broken_off = NewDir::create(path).expect("begun");
            write(&broken_off);
            drop(broken_off);
            let new = NewDir::create(path).expect("what was broken off is gone");
            write(&new);
            new.publish().expect("published");
            assert_eq!(files(path), [(path.join("genesis"), b"2".to_vec()), (path.join("journal/1"), b"1".to_vec())]);
            let again = NewDir::create(path).err().expect("it is not empty");
            assert!(again.to_string().contains("not empty"), "{again}");
        }
        assert_eq!(files(dir.path()).len(), 4);
    }
}
