//! Less of a session: what is free, dead or written ahead goes back to the file system, and sealed segments are compressed.

use std::path::Path;

use storage::snapshot::SnapshotsFound;
use storage::{Compressor, Disk, Session, Writing};

use audit::db::session_files;
use words::Failure;

/// What compaction came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Compacted {
    /// Bytes on the disk before.
    pub before: u64,
    /// Bytes on the disk after.
    pub after: u64,
    /// Snapshots that are kept: all there were.
    pub snapshots: u64,
}

fn on_disk(dir: &Path) -> anyhow::Result<u64> {
    Ok(session_files(dir)?.iter().map(|file| file.on_disk).sum())
}

/// Compacts a session that no node is writing.
///
/// # Errors
/// If a node has it, it is damaged, or the system refuses.
pub fn compact(dir: &Path) -> anyhow::Result<Compacted> {
    let before = on_disk(dir)?;
    let session = Session::open(dir).map_err(|error| match error {
        storage::OpenError::Locked(dir) => anyhow::Error::from(Failure::InUse(format!(
            "{} is in use: stop the node first; `db stats`, `db check` and `db backup` work beside it",
            dir.display()
        ))),
        other => other.into(),
    })?;
    // Opening reads the journal to its end and cuts what is torn; closing cuts the zeros ahead. No frame is kept on the way:
    // a journal may be longer than the memory.
    let session = Disk::open(session, Writing::default())?.disk.close();
    Compressor::new(session.backend().clone(), session.dir()).compress_sealed(&|| true)?;
    let mut snapshots = 0;
    if dir.join("snapshots").is_dir() {
        let found = SnapshotsFound::open(&session, |_| ())?;
        snapshots = found.newest_first().len() as u64;
        found.compact().map_err(|problem| Failure::Data(format!("snapshots: {problem}")))?;
    }
    drop(session);
    Ok(Compacted { before, after: on_disk(dir)?, snapshots })
}
