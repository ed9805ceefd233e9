//! Snapshots of a session, read beside whoever takes them.

use std::path::PathBuf;
use std::sync::Arc;

use engine::{Hash, Height};

use super::stored::StoredSnapshot;
use super::thread::read_catalog;
use crate::Damage;
use crate::backend::Backend;
use crate::session::{OpenError, Session};
use crate::snapshot::Catalog;

/// Reads snapshots of a session. What is there is looked up each time that heights are asked for.
pub struct SnapshotReader {
    backend: Arc<dyn Backend>,
    dir: PathBuf,
    chain: Hash,
    catalog: Catalog,
}

impl SnapshotReader {
    /// The snapshots of a session that this process writes, or is about to.
    pub fn of(session: &Session) -> Self {
        let (backend, dir, chain) = (session.backend().clone(), session.dir().to_owned(), session.chain());
        Self { backend, dir, chain, catalog: Catalog::default() }
    }

    /// The heights of all snapshots that are there now, ascending.
    ///
    /// # Errors
    /// If the index and the packs cannot be read.
    pub fn heights(&mut self) -> Result<Vec<Height>, OpenError> {
        self.catalog = read_catalog(&self.backend, &self.dir, &self.chain)?;
        Ok(self.catalog.snapshots.keys().copied().collect())
    }

    /// Opens one that was there when heights were asked for.
    ///
    /// # Errors
    /// Where it is damaged, or gone.
    pub fn open(&self, height: Height) -> Result<StoredSnapshot, Damage> {
        StoredSnapshot::open(&self.backend, &self.dir, &self.catalog, height)
    }
}
