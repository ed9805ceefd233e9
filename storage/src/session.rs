//! A session directory: genesis, journal, consensus log, and the lock that keeps a second writer out.
//!
//! ```text
//!  DIR/genesis.json           what the chain fixes; its BLAKE3 is the chain id
//!  DIR/journal/00000001.seg   frames, in segments
//!  DIR/consensus/00000001.log the consensus log
//!  DIR/LOCK                   held by the process that writes
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aside::{Wanted, is_aside, with_owner};
use engine::genesis::GENESIS_VERSION;
use engine::limits::{FILE_NUMBER_MAX, GENESIS_BYTES_MAX};
use engine::{Genesis, Hash};
use thiserror::Error;

use crate::Damage;
use crate::backend::{Backend, FileBackend, open_regular};
use crate::log_group::first_block;
use crate::snapshot::IndexError;

/// A directory that is no session, or cannot be used as one.
#[derive(Error, Debug)]
pub enum OpenError {
    /// Something is there already.
    #[error("{0} is not empty; give a new directory, nothing is overwritten")]
    NotEmpty(PathBuf),
    /// It does not exist, or is empty, or holds something else.
    #[error("{path} is not a recorded session: {missing}")]
    NotASession {
        /// The directory.
        path: PathBuf,
        /// What a session has and this one has not.
        missing: String,
    },
    /// Another process writes it.
    #[error("{0} is in use by another process: one at a time writes a session; end that one first")]
    Locked(PathBuf),
    /// It was damaged.
    #[error("{0}")]
    Damaged(#[from] Damage),
    /// Its genesis is not one.
    #[error("{path}: {problem}")]
    Genesis {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        problem: String,
    },
    /// The index of its snapshots cannot be used.
    #[error("{0}")]
    Index(IndexError),
    /// The system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        |source| Self::Io { source: with_owner(&path, Wanted::Read, source), path }
    }
}

/// A session that this process may write.
pub struct Session {
    dir: PathBuf,
    chain: Hash,
    backend: Arc<dyn Backend>,
    /// Held while the session is open.
    _lock: Box<dyn Send + Sync>,
}

/// How often a lock that is taken is asked for, 10 ms apart.
const LOCK_ATTEMPTS: u32 = 3;

const _: () = assert!(LOCK_ATTEMPTS > 1, "a reader's look at the lock keeps no writer out");

fn lock(backend: &dyn Backend, dir: &Path) -> Result<Box<dyn Send + Sync>, OpenError> {
    let path = dir.join("LOCK");
    let mut attempt = 1;
    loop {
        match backend.lock(&path) {
            Ok(lock) => return Ok(lock),
            // A reader may be asking, for a moment, whether somebody writes.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && attempt < LOCK_ATTEMPTS => {
                attempt += 1;
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(OpenError::Locked(dir.to_owned())),
            Err(error) => return Err(OpenError::io(&path)(error)),
        }
    }
}

/// Whether a directory holds nothing, or only what a process made that was stopped before it wrote the genesis.
fn is_fresh(backend: &dyn Backend, dir: &Path) -> Result<bool, OpenError> {
    for path in backend.list(dir).map_err(OpenError::io(dir))? {
        let begun = match path.file_name().and_then(|name| name.to_str()) {
            Some("LOCK") => true,
            Some("journal") => backend.list(&path).is_ok_and(|files| files.is_empty()),
            // Nothing was signed before there was a genesis.
            Some("consensus") => {
                let is_begun = |path: &PathBuf| path.ends_with(name(1, "log")) || is_aside(path);
                backend.list(&path).is_ok_and(|files| files.iter().all(is_begun))
            }
            _ => is_aside(&path),
        };
        if !begun {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Whether some process writes the session now. Whoever starts to write it in this very moment waits a little.
pub fn is_written(dir: &Path) -> bool {
    let Ok(file) = open_regular(&dir.join("LOCK"), std::fs::File::options().read(true)) else { return false };
    matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}

/// The genesis file of a session.
///
/// # Errors
/// If there is no session.
pub fn genesis_bytes(dir: &Path) -> Result<Vec<u8>, OpenError> {
    genesis_bytes_on(&FileBackend, dir)
}

/// The genesis file of a session that is elsewhere than on the file system.
///
/// # Errors
/// If there is no session.
pub fn genesis_bytes_on(backend: &dyn Backend, dir: &Path) -> Result<Vec<u8>, OpenError> {
    let missing = |missing: &str| OpenError::NotASession { path: dir.to_owned(), missing: missing.into() };
    if backend.list(dir).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
        return Err(missing("there is no such directory"));
    }
    let path = dir.join("genesis.json");
    match backend.read(&path, GENESIS_BYTES_MAX) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let more = match backend.list(&dir.join("journal")) {
                Ok(_) => {
                    "; it is one file for all nodes of a chain: copy it from another of them, or from a backup".into()
                }
                Err(_) => session_below(backend, dir),
            };
            Err(missing(&format!("it has no genesis.json{more}")))
        }
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Err(missing("it is a file")),
        Err(error) => Err(OpenError::io(&path)(error)),
        Ok(bytes) => {
            // One that somebody else's mode hides is there all the same.
            let journal = dir.join("journal");
            match backend.list(&journal) {
                // A journal that was begun anew by itself would hide that one is lost, or lies on a disk that is not mounted.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing(
                    "it has no folder `journal`: restore it from a backup, or, where other nodes have the chain, begin anew as \
                     `A lost log` in docs/operating.md says",
                )),
                Err(error) => Err(OpenError::io(&journal)(error)),
                Ok(_) => Ok(bytes),
            }
        }
    }
}

/// Where the session is, in words, if a node's folder was named in its place, or that of a chain's nodes.
fn session_below(backend: &dyn Backend, dir: &Path) -> String {
    let has_genesis = |below: &Path| backend.read(&below.join("genesis.json"), GENESIS_BYTES_MAX).is_ok();
    let (own, first) = (dir.join("session"), dir.join("node-0/session"));
    match (has_genesis(&own), has_genesis(&first)) {
        (true, _) => format!("; its session is {}", own.display()),
        (_, true) => format!("; its nodes have a session each, such as {}", first.display()),
        _ => String::new(),
    }
}

/// A session's genesis and its chain id.
///
/// # Errors
/// If there is none, or it cannot be read.
pub fn read_genesis(dir: &Path) -> Result<(Genesis, Hash), OpenError> {
    read_genesis_on(&FileBackend, dir)
}

/// As [`read_genesis`], of a session that is elsewhere than on the file system.
///
/// # Errors
/// As [`read_genesis`].
pub fn read_genesis_on(backend: &dyn Backend, dir: &Path) -> Result<(Genesis, Hash), OpenError> {
    let bytes = genesis_bytes_on(backend, dir)?;
    let wrong = |problem| OpenError::Genesis { path: dir.join("genesis.json"), problem };
    // The version first: whatever else an older file says is refused under its name.
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    if let Some(version) = value["version"].as_u64()
        && version != u64::from(GENESIS_VERSION)
    {
        return Err(wrong(format!(
            "this session has format {version}, and this program reads format {GENESIS_VERSION}: only the program that \
             wrote it reads it"
        )));
    }
    let genesis = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
    Ok((genesis, Genesis::chain_id(&bytes)))
}

impl Session {
    /// Makes a session of a new or empty directory, for a validator that has signed nothing yet: its consensus log says so.
    /// One that lost its disk has no log, and knows less.
    ///
    /// # Errors
    /// If the directory holds anything, or the system refuses.
    pub fn create(dir: &Path, genesis: &[u8]) -> Result<Self, OpenError> {
        Self::create_on(Arc::new(FileBackend), dir, genesis)
    }

    /// Makes a session elsewhere than on the file system.
    ///
    /// # Errors
    /// If the directory holds anything but the beginnings of a session, or the backend refuses.
    pub fn create_on(backend: Arc<dyn Backend>, dir: &Path, genesis: &[u8]) -> Result<Self, OpenError> {
        backend.create_dir(dir).map_err(OpenError::io(dir))?;
        if !is_fresh(&*backend, dir)? {
            return Err(OpenError::NotEmpty(dir.to_owned()));
        }
        // Before anything is made: of two processes that find the directory fresh one goes on.
        let lock = lock(&*backend, dir)?;
        for part in ["journal", "consensus"] {
            backend.create_dir(&dir.join(part)).map_err(OpenError::io(dir))?;
        }
        let log = dir.join("consensus").join(name(1, "log"));
        let begin = || {
            // One that an earlier attempt left is made again.
            backend
                .remove(&log)
                .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
            backend.write_new(&log, &first_block())?;
            backend.sync_dir(&dir.join("consensus"))
        };
        begin().map_err(OpenError::io(&log))?;
        // Last: a directory without it is no session, and is begun anew.
        let path = dir.join("genesis.json");
        backend.write_new(&path, genesis).map_err(OpenError::io(&path))?;
        backend.sync_dir(dir).map_err(OpenError::io(dir))?;
        Ok(Self { dir: dir.to_owned(), chain: Genesis::chain_id(genesis), backend, _lock: lock })
    }

    /// Takes an existing session to go on writing it.
    ///
    /// # Errors
    /// If it is none, or another process has it.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(FileBackend), dir)
    }

    /// Takes an existing session that is elsewhere than on the file system.
    ///
    /// # Errors
    /// If it is none, or another process has it.
    pub fn open_on(backend: Arc<dyn Backend>, dir: &Path) -> Result<Self, OpenError> {
        let genesis = genesis_bytes_on(&*backend, dir)?;
        let lock = lock(&*backend, dir)?;
        Ok(Self { dir: dir.to_owned(), chain: Genesis::chain_id(&genesis), backend, _lock: lock })
    }

    /// Where its files are.
    pub fn backend(&self) -> &Arc<dyn Backend> {
        &self.backend
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The chain id.
    pub fn chain(&self) -> Hash {
        self.chain
    }
}

/// The numbered files of a folder, in order.
pub(crate) fn numbered(backend: &dyn Backend, folder: &Path, ending: &str) -> Result<Vec<(u32, PathBuf)>, OpenError> {
    let mut files = Vec::new();
    let entries = match backend.list(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
        entries => entries.map_err(OpenError::io(folder))?,
    };
    for path in entries {
        let number = path.extension().filter(|found| *found == ending).and(path.file_stem());
        let Some(number) = number.and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok()) else { continue };
        // `7.seg` and `+7.seg` are no second names of `00000007.seg`.
        if path.file_name().is_some_and(|found| *found == *name(number, ending)) {
            if number > FILE_NUMBER_MAX {
                let problem = format!("no session has a file of number {number}");
                return Err(Damage::new(path.display().to_string(), 0, problem).into());
            }
            files.push((number, path));
        }
    }
    files.sort_unstable();
    // A folder that changes while it is listed may name a file twice.
    files.dedup();
    // Two files of one number would be read as two parts of a journal or a log.
    assert!(files.is_sorted_by(|one, next| one.0 < next.0), "a number has one name, and a folder has a name once");
    Ok(files)
}

/// The name of a numbered file.
pub(crate) fn name(number: u32, ending: &str) -> String {
    format!("{number:08}.{ending}")
}
