//! The index: where groups and snapshots lie in the packs, in redb. Everything in it can be had from the packs again.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;

use engine::limits::SNAPSHOT_INDEX_BYTES_MAX;
use engine::{Hash, Height};
use redb::{
    Builder, ConcurrencyMode, Database, ReadOnlyDatabase, ReadableDatabase, ReadableTable, StorageBackend,
    TableDefinition,
};

use super::catalog::Catalog;
use super::database::{
    CHAIN, INDEX_VERSION, IndexError, META, check_file, check_version, damaged, guarded, open_error, read_version,
    refused,
};
use super::pack::PackOffset;
use super::ranges::{self, ActivityRow, Coverage};
use crate::backend::{Access, Backend, Handle};

/// Where each group lies: pack, bytes, offset.
const GROUPS: TableDefinition<'_, &[u8; 32], (u32, u32, u64)> = TableDefinition::new("groups");
/// Where each snapshot's record lies: pack, bytes, offset; and its block's time.
const SNAPSHOTS: TableDefinition<'_, u64, (u32, u32, u64, u64)> = TableDefinition::new("snapshots");

/// What one transaction changes.
#[derive(Default)]
pub struct Change {
    /// Groups that are new or lie elsewhere now.
    pub groups: Vec<(Hash, PackOffset)>,
    /// Groups that no snapshot has any more.
    pub groups_gone: Vec<Hash>,
    /// Snapshots that are new or lie elsewhere now, with their blocks' time.
    pub snapshots: Vec<(Height, PackOffset, u64)>,
    /// Snapshots that are dropped.
    pub snapshots_gone: Vec<Height>,
    /// Where the packs end.
    pub end: Option<(u32, u64)>,
    /// Rows of the index of history, and the heights that they tell of.
    pub ranges: Option<(Vec<ActivityRow>, Coverage)>,
}

/// The index, open for writing.
pub struct Index {
    db: Database,
    /// Bytes of the rows of the index of history, once they were counted.
    ranges_bytes: Cell<Option<u64>>,
}

/// A file of a backend that is no file system, as redb wants it.
struct OnHandle(Box<dyn Handle>);

impl std::fmt::Debug for OnHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("index.redb")
    }
}

impl StorageBackend for OnHandle {
    fn len(&self) -> Result<u64, std::io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), std::io::Error> {
        // redb asks for whole pages of a file whose length it knows: fewer bytes are a file that was cut.
        let bytes = self.0.read_range(offset, out.len())?;
        if bytes.len() < out.len() {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        out.copy_from_slice(&bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), std::io::Error> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), std::io::Error> {
        self.0.sync_all()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), std::io::Error> {
        self.0.write_all_at(data, offset)
    }
}

impl Index {
    /// Opens the index, or makes an empty one. Every page is verified. `repairing` hears how far a repair is, from 0 to 1.
    ///
    /// # Errors
    /// [`IndexError`]; a damaged one may be removed and made again.
    pub fn open(
        backend: &Arc<dyn Backend>,
        path: &Path,
        chain: &Hash,
        cache_bytes: usize,
        repairing: impl Fn(f64) + 'static,
    ) -> Result<Self, IndexError> {
        assert!(cache_bytes > 0, "without a cache every page is read at each look");
        guarded(|| {
            let mut builder = Builder::new();
            builder.set_cache_size(cache_bytes);
            builder.set_repair_callback(move |session| repairing(session.progress()));
            builder.set_check_integrity_on_open(true);
            let db = if backend.is_file_system() {
                builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
                if path.exists() {
                    check_file(path, u64::MAX)?;
                }
                builder.create(path).map_err(open_error)?
            } else {
                let handle = backend.open(path, Access::Write).or_else(|_| backend.create(path)).map_err(refused)?;
                builder.create_with_backend(OnHandle(handle)).map_err(open_error)?
            };
            let index = Self { db, ranges_bytes: Cell::new(None) };
            match read_version(&index.db)? {
                // A file that was made, and no table in it: the process ended before the first transaction.
                None => index.begin(chain)?,
                Some(version) => check_version(&index.db, version, chain)?,
            }
            Ok(index)
        })
    }

    fn begin(&self, chain: &Hash) -> Result<(), IndexError> {
        let write = || -> Result<(), redb::Error> {
            let mut txn = self.db.begin_write()?;
            txn.set_quick_repair(true);
            txn.open_table(META)?.insert("version", INDEX_VERSION)?;
            txn.open_table(CHAIN)?.insert("chain", chain)?;
            txn.open_table(GROUPS)?;
            txn.open_table(SNAPSHOTS)?;
            txn.commit()?;
            Ok(())
        };
        write().map_err(refused)
    }

    /// Writes a change, all or nothing; it is on disk afterwards.
    ///
    /// # Errors
    /// What redb says; nothing changed then.
    pub fn write(&self, change: &Change) -> Result<(), IndexError> {
        // Both in one transaction would leave a snapshot without a group that its map names.
        let (new, gone) = (&change.snapshots, &change.snapshots_gone);
        assert!(new.iter().all(|(height, ..)| !gone.contains(height)), "a snapshot comes or goes, never both");
        // Where it fails, they are counted anew.
        let mut ranges_bytes = self.ranges_bytes.take();
        let mut write = || -> Result<Option<u64>, redb::Error> {
            let mut txn = self.db.begin_write()?;
            // Repair after a crash then reads the allocator's state instead of every page.
            txn.set_quick_repair(true);
            {
                let mut groups = txn.open_table(GROUPS)?;
                for (name, place) in &change.groups {
                    groups.insert(name, (place.pack, place.bytes, place.offset))?;
                }
                for name in &change.groups_gone {
                    groups.remove(name)?;
                }
                let mut snapshots = txn.open_table(SNAPSHOTS)?;
                for (height, place, time_ms) in &change.snapshots {
                    snapshots.insert(height.0, (place.pack, place.bytes, place.offset, *time_ms))?;
                }
                for height in &change.snapshots_gone {
                    snapshots.remove(height.0)?;
                }
                if let Some((rows, added)) = &change.ranges {
                    ranges_bytes = Some(ranges::insert(&txn, rows, *added, ranges_bytes)?);
                }
                if let Some((pack, end)) = change.end {
                    let mut meta = txn.open_table(META)?;
                    meta.insert("pack", u64::from(pack))?;
                    meta.insert("end", end)?;
                }
            }
            txn.commit()?;
            Ok(ranges_bytes)
        };
        self.ranges_bytes.set(guarded(|| write().map_err(refused))?);
        Ok(())
    }

    /// The newest stretch of heights that the index of history tells of.
    pub fn newest_told(&self) -> Option<Coverage> {
        guarded(|| ranges::told(&self.db)).ok()?.pop()
    }

    /// Gives free pages back to the file system, and those of rows of the index of history that are too many.
    ///
    /// # Errors
    /// What redb says; nothing is lost then.
    pub fn compact(mut self) -> Result<(), IndexError> {
        if let Some(told) = self.newest_told() {
            // Rows go as they do where some are added.
            self.write(&Change { ranges: Some((Vec::new(), told)), ..Change::default() })?;
        }
        guarded(|| {
            while self.db.compact().map_err(refused)? {}
            Ok(())
        })
    }

    /// Everything in it but the ranges.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn catalog(&self) -> Result<Catalog, IndexError> {
        guarded(|| read_catalog(&self.db))
    }
}

/// Reads the index of a session that another process may be writing.
///
/// # Errors
/// [`IndexError`]: also where a process died while it wrote, and none repaired it yet.
pub fn read_index(path: &Path, chain: &Hash) -> Result<Catalog, IndexError> {
    guarded(|| {
        let mut builder = Builder::new();
        builder.set_cache_size(8 << 20);
        builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
        check_file(path, SNAPSHOT_INDEX_BYTES_MAX)?;
        let db: ReadOnlyDatabase = builder.open_read_only(path).map_err(open_error)?;
        let version = read_version(&db)?.ok_or_else(|| damaged("it has no version"))?;
        check_version(&db, version, chain)?;
        read_catalog(&db)
    })
}

fn read_catalog(db: &impl ReadableDatabase) -> Result<Catalog, IndexError> {
    let txn = db.begin_read().map_err(refused)?;
    let mut catalog = Catalog::default();
    let meta = txn.open_table(META).map_err(damaged)?;
    let number = |name: &str| meta.get(name).map(|found| found.map(|found| found.value())).map_err(damaged);
    if let (Some(pack), Some(end)) = (number("pack")?, number("end")?) {
        catalog.end = Some((u32::try_from(pack).map_err(damaged)?, end));
    }
    for row in txn.open_table(GROUPS).map_err(damaged)?.iter().map_err(damaged)? {
        let (name, place) = row.map_err(damaged)?;
        let (pack, bytes, offset) = place.value();
        catalog.groups.insert(*name.value(), PackOffset { pack, bytes, offset });
    }
    for row in txn.open_table(SNAPSHOTS).map_err(damaged)?.iter().map_err(damaged)? {
        let (height, place) = row.map_err(damaged)?;
        let (pack, bytes, offset, time_ms) = place.value();
        catalog.snapshots.insert(Height(height.value()), (PackOffset { pack, bytes, offset }, time_ms));
    }
    Ok(catalog)
}
