//! Checking the packs, and the index against them.

use std::path::Path;
use std::sync::Arc;

use engine::limits::{SNAPSHOT_INDEX_COPY_BYTES_MAX, SNAPSHOT_INDEX_COPY_CACHE_BYTES};
use engine::{Hash, Height};

use super::catalog::Catalog;
use super::database::{IndexError, check_file};
use super::index::{Index, read_index};
use super::stored::StoredSnapshot;
use crate::backend::{Backend, FileBackend, MemoryBackend};
use crate::session::OpenError;
use crate::{Damage, Damages};

/// What an index came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct IndexCheck {
    /// Whether there is one.
    pub exists: bool,
    /// What it knows; what the packs hold, where it cannot be read.
    pub catalog: Catalog,
    /// Why it was not read, though nothing in it need be wrong.
    pub too_long: Option<IndexError>,
    /// What is damaged.
    pub damages: Damages,
}

/// Reads every byte of every pack: how many records there are, and every damage. The unfinished end of the last pack is
/// no damage.
///
/// # Errors
/// If a pack cannot be read.
pub fn check_packs(backend: &Arc<dyn Backend>, dir: &Path, chain: &Hash) -> Result<(u64, Damages), OpenError> {
    let path = dir.join("snapshots/index.redb");
    let index = if backend.is_file_system() && path.exists() { read_index(&path, chain).ok() } else { None };
    let (catalog, damages) = Catalog::from_packs_up_to(backend, dir, chain, index.and_then(|index| index.end))?;
    Ok(((catalog.groups.len() + catalog.snapshots.len()) as u64, damages))
}

/// Reads the index of a session, and looks up everything that it names. `quiet` says that nobody writes it: then every
/// page is verified, and a copy in memory is repaired as a start would repair the file.
///
/// # Errors
/// If the system refuses.
pub fn check_index(backend: &Arc<dyn Backend>, dir: &Path, chain: &Hash, quiet: bool) -> Result<IndexCheck, OpenError> {
    let path = dir.join("snapshots/index.redb");
    let mut check = IndexCheck { exists: path.exists(), ..IndexCheck::default() };
    let damage = |problem: String| Damage::new("snapshots/index.redb", 0, problem);
    let read = match check.exists {
        // To open the file itself would repair it, and a check changes nothing.
        true if quiet && check_file(&path, SNAPSHOT_INDEX_COPY_BYTES_MAX).is_ok() => read_copy(&path, chain),
        true => read_index(&path, chain),
        false => return Ok(check),
    };
    match read {
        Ok(catalog) => check.catalog = catalog,
        Err(IndexError::Damaged(problem)) => check.damages.add(damage(problem)),
        Err(error @ IndexError::TooLong(_)) => check.too_long = Some(error),
        Err(error) => return Err(OpenError::Index(error)),
    }
    // What the packs hold is told all the same: an index can be made again, and snapshots are what somebody asks for.
    if !check.damages.is_empty() || check.too_long.is_some() {
        check.catalog = Catalog::from_packs(backend, dir, chain)?.0;
        // Of one that was dropped packs may still have the record, and no groups: with a sound index nothing is wrong with that.
        if check.too_long.is_some() {
            let is_whole = |height: &Height| StoredSnapshot::open(backend, dir, &check.catalog, *height).is_ok();
            let whole: Vec<Height> = check.catalog.snapshots.keys().copied().filter(is_whole).collect();
            check.catalog.snapshots.retain(|height, _| whole.contains(height));
        }
        return Ok(check);
    }
    for height in check.catalog.snapshots.keys() {
        if let Err(found) = StoredSnapshot::open(backend, dir, &check.catalog, *height) {
            check.damages.add(found);
        }
    }
    Ok(check)
}

/// Opens a copy in memory, which verifies every page.
fn read_copy(path: &Path, chain: &Hash) -> Result<Catalog, IndexError> {
    let refused = |error: std::io::Error| IndexError::Refused(format!("{}: {error}", path.display()));
    let memory: Arc<dyn Backend> = Arc::new(MemoryBackend::default());
    memory.create_dir(Path::new("/copy")).map_err(refused)?;
    let copy = Path::new("/copy/index.redb");
    memory
        .write_new(copy, &FileBackend.read(path, SNAPSHOT_INDEX_COPY_BYTES_MAX).map_err(refused)?)
        .map_err(refused)?;
    Index::open(&memory, copy, chain, SNAPSHOT_INDEX_COPY_CACHE_BYTES, |_| ())?.catalog()
}
