//! The database of the index: what it is called, its version, and what redb's errors mean.

use std::path::Path;

use engine::Hash;
use redb::{DatabaseError, ReadableDatabase, TableDefinition, TableError};
use thiserror::Error;

use crate::backend::{bounded_len, open_regular};

/// The version of the index that this code writes and reads.
pub const INDEX_VERSION: u64 = 1;

/// Numbers about the whole: `version`; `pack` and `end`, where the packs end; those of [`super::ranges`].
pub(super) const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// The chain id, under `chain`.
pub(super) const CHAIN: TableDefinition<'_, &str, &[u8; 32]> = TableDefinition::new("chain");
/// Why an index cannot be used.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum IndexError {
    /// A later program wrote it.
    #[error(
        "snapshots/index.redb has version {found}, this program reads version {INDEX_VERSION}: use the program that wrote it, or a later one"
    )]
    Newer {
        /// Its version.
        found: u64,
    },
    /// It is of another chain, or its bytes are wrong. It can be made again from the packs.
    #[error("snapshots/index.redb is damaged: {0}")]
    Damaged(String),
    /// It is longer than whoever does not write it takes; nothing need be wrong with it.
    #[error("snapshots/index.redb is too long to be read: {0}")]
    TooLong(String),
    /// Another process writes it, or the system refused.
    #[error("snapshots/index.redb: {0}")]
    Refused(String),
}

/// Looks at the file before redb opens it, which would wait at a pipe and believe any length.
pub(super) fn check_file(path: &Path, most: u64) -> Result<(), IndexError> {
    let file = open_regular(path, std::fs::File::options().read(true));
    let checked = file.and_then(|file| bounded_len(&file, most));
    checked.map(|_| ()).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidInput => damaged(error),
        std::io::ErrorKind::FileTooLarge => IndexError::TooLong(error.to_string()),
        _ => refused(error),
    })
}

pub(super) fn refused(error: impl std::fmt::Display) -> IndexError {
    IndexError::Refused(error.to_string())
}

pub(super) fn damaged(error: impl std::fmt::Display) -> IndexError {
    IndexError::Damaged(error.to_string())
}

pub(super) fn open_error(error: DatabaseError) -> IndexError {
    match error {
        DatabaseError::DatabaseAlreadyOpen => refused("another process has it open"),
        DatabaseError::UpgradeRequired(found) => damaged(format!("redb's file format {found}")),
        DatabaseError::Storage(redb::StorageError::Io(error))
            if !matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof) =>
        {
            refused(error)
        }
        other => damaged(other),
    }
}

/// redb checks what it reads, but a page that was altered behind its back may still end in a panic of its own. That is
/// foreign bytes being wrong, not this program.
pub(super) fn guarded<R>(work: impl FnOnce() -> Result<R, IndexError>) -> Result<R, IndexError> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(damaged("its pages contradict each other")))
}

pub(super) fn read_version(db: &impl ReadableDatabase) -> Result<Option<u64>, IndexError> {
    let txn = db.begin_read().map_err(refused)?;
    let meta = match txn.open_table(META) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(None),
        meta => meta.map_err(damaged)?,
    };
    let version = meta.get("version").map_err(damaged)?.map(|version| version.value());
    version.map(Some).ok_or_else(|| damaged("it has no version"))
}

pub(super) fn check_version(db: &impl ReadableDatabase, version: u64, chain: &Hash) -> Result<(), IndexError> {
    // Before the chain: a later program may keep that elsewhere, and its index is not to be removed as a damaged one is.
    match version {
        INDEX_VERSION => {}
        found if found > INDEX_VERSION => return Err(IndexError::Newer { found }),
        found => return Err(damaged(format!("version {found}"))),
    }
    let txn = db.begin_read().map_err(refused)?;
    let table = txn.open_table(CHAIN).map_err(damaged)?;
    let found = table.get("chain").map_err(damaged)?.map(|found| *found.value());
    if found != Some(*chain) { Err(damaged("it belongs to another genesis")) } else { Ok(()) }
}
