//! What the packs hold, in memory: from the index, or from the packs themselves.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use engine::limits::{PACK_FILE_BYTES_MAX, PACK_RECORD_BYTES_MAX, SEARCH_LENGTHS};
use engine::{Hash, Height};

use super::pack::{PackOffset, pack_path};
use super::record::{
    ALIGN, HEADER, MAGIC, RecordKind, SnapshotInfo, check_pack_header, decode_record, decode_record_header,
};
use crate::backend::{Access, Backend, Handle, bounded_len};
use crate::session::{OpenError, name, numbered};
use crate::{BLOCK, Damage, DamageKind, Damages, Problem, align_up};

/// Where groups and snapshots lie.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Catalog {
    /// Groups by name.
    pub groups: BTreeMap<Hash, PackOffset>,
    /// Snapshots by height, with their blocks' time.
    pub snapshots: BTreeMap<Height, (PackOffset, u64)>,
    /// Where the packs end: what lies behind was never finished.
    pub end: Option<(u32, u64)>,
}

/// What is known about one record of a pack.
pub struct RecordFound {
    /// What it holds.
    pub kind: RecordKind,
    /// Where it lies.
    pub place: PackOffset,
    /// Its name.
    pub name: Hash,
    /// Its moment, if it is a snapshot.
    pub moment: SnapshotInfo,
}

/// Reads every record of a pack and checks every byte, padding included; `found` hears of each record. Returns where the
/// last one ended, and what is damaged.
///
/// # Errors
/// If the pack cannot be read at all.
pub fn walk_pack(
    pack: &dyn Handle,
    number: u32,
    chain: &Hash,
    mut found: impl FnMut(RecordFound),
) -> io::Result<(u64, Damages)> {
    let file = format!("snapshots/{}", name(number, "pack"));
    let mut damages = Damages::default();
    let mut damage = |offset: u64, problem: Problem| damages.add(Damage::new(file.clone(), offset, problem));
    let length = bounded_len(pack, PACK_FILE_BYTES_MAX)? as u64;
    let header = pack.read_range(0, BLOCK as usize)?;
    if let Err(problem) = check_pack_header(&header, number, chain) {
        damage(0, problem);
        return Ok((0, damages));
    }
    let (mut at, mut end, mut lost) = (BLOCK, BLOCK, false);
    let mut search_left = SEARCH_LENGTHS * length;
    while at < length {
        let head = pack.read_range(at, HEADER)?;
        let record = decode_record_header(&head).and_then(|header| {
            let bytes = pack.read_range(at, HEADER + header.stored).map_err(|error| error.to_string())?;
            decode_record(&bytes).map(|(header, _)| (header, bytes.len()))
        });
        match record {
            Ok((header, bytes)) => {
                assert!(bytes >= HEADER, "a record has bytes, and so the end is reached");
                assert!(bytes <= PACK_RECORD_BYTES_MAX + HEADER, "whoever reads it by this place takes as many");
                let place = PackOffset { pack: number, bytes: bytes as u32, offset: at };
                found(RecordFound { kind: header.kind, place, name: header.name, moment: header.moment });
                let behind = at + bytes as u64;
                at = behind.next_multiple_of(ALIGN as u64);
                if !are_zeros(pack, behind, at)? {
                    damage(behind, "padding is not zero".into());
                }
                (end, lost) = (at, false);
            }
            // The zeros that fill a block after the last record of a group.
            Err(_) if at % BLOCK != 0 && !lost && are_zeros(pack, at, align_up(at))? => at = align_up(at),
            Err(problem) => {
                if !lost {
                    damage(at, problem.into());
                }
                lost = true;
                // A header that looks whole had as much read for it as it says: that is what the search must not repeat.
                let stored = decode_record_header(&head).map_or(0, |header| header.stored);
                search_left = search_left.saturating_sub((HEADER + stored) as u64);
                if search_left == 0 {
                    damage(at, "too much behind it looks like records and is none".into());
                    break;
                }
                at += ALIGN as u64;
                at = next_magic(pack, at, length)?;
            }
        }
    }
    Ok((align_up(end), damages))
}

fn are_zeros(pack: &dyn Handle, from: u64, to: u64) -> io::Result<bool> {
    let bytes = pack.read_range(from, (to - from) as usize)?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}

/// The next place at which a record may begin.
fn next_magic(pack: &dyn Handle, mut at: u64, length: u64) -> io::Result<u64> {
    while at < length {
        let bytes = pack.read_range(at, 1 << 16)?;
        let places = (0..bytes.len()).step_by(ALIGN);
        if let Some(place) = places.into_iter().find(|place| bytes[*place..].starts_with(&MAGIC)) {
            return Ok(at + place as u64);
        }
        at += bytes.len().max(ALIGN) as u64;
    }
    Ok(length)
}

impl Catalog {
    /// Reads the packs of a session: what an index would say, and every damage. The unfinished end of the last pack is
    /// no damage.
    ///
    /// # Errors
    /// If a pack cannot be read.
    pub fn from_packs(backend: &Arc<dyn Backend>, dir: &Path, chain: &Hash) -> Result<(Self, Damages), OpenError> {
        Self::from_packs_up_to(backend, dir, chain, None)
    }

    /// [`Catalog::from_packs`] where it is known how far the packs were finished: nothing before is a torn end.
    pub(super) fn from_packs_up_to(
        backend: &Arc<dyn Backend>,
        dir: &Path,
        chain: &Hash,
        finished: Option<(u32, u64)>,
    ) -> Result<(Self, Damages), OpenError> {
        let folder = dir.join("snapshots");
        let packs = numbered(&**backend, &folder, "pack")?;
        let (mut catalog, mut damages) = (Self::default(), Damages::default());
        for (number, path) in &packs {
            let pack = backend.open(path, Access::Read).map_err(OpenError::io(path))?;
            let add = |found: RecordFound| match found.kind {
                // One that was written twice, where a pack was rewritten and the process ended, lies where it was read last.
                RecordKind::Group => _ = catalog.groups.insert(found.name, found.place),
                RecordKind::Snapshot => {
                    catalog.snapshots.insert(found.moment.height, (found.place, found.moment.time_ms));
                }
            };
            let (end, mut found) = walk_pack(&*pack, *number, chain, add).map_err(OpenError::io(path))?;
            assert!(end.is_multiple_of(BLOCK), "whoever goes on writing begins with a block");
            let length = pack.len().map_err(OpenError::io(path))?;
            match finished {
                Some((last, end)) if *number == last && length < end => {
                    let file = format!("snapshots/{}", name(last, "pack"));
                    let problem = format!("the pack ends where {end} bytes were finished");
                    found.add(Damage::new(file, length, problem));
                }
                Some((last, end)) => found.retain(|damage| (*number, damage.offset) < (last, end)),
                // A pack whose own header is wrong is no torn one, unless it never came to hold anything.
                None if packs.last().is_some_and(|last| last.0 == *number) => {
                    let newer = |damage: &Damage| damage.problem.kind == DamageKind::Version;
                    found.retain(|damage| newer(damage) || damage.offset < end || (end == 0 && length > BLOCK));
                }
                None => {}
            }
            if packs.last().is_some_and(|last| last.0 == *number) {
                catalog.end = (end > 0).then_some((*number, end));
            }
            damages.append(found);
        }
        Ok((catalog, damages))
    }

    /// Whether it knows of nothing.
    pub fn is_empty(&self) -> bool {
        self.snapshots.is_empty()
    }
}

/// Opens a pack to read it.
pub(super) fn open_pack(backend: &Arc<dyn Backend>, folder: &Path, number: u32) -> io::Result<Box<dyn Handle>> {
    backend.open(&pack_path(folder, number), Access::Read)
}

/// Reads a record whole.
pub(super) fn read_record(pack: &dyn Handle, place: PackOffset) -> Result<Vec<u8>, String> {
    // The index may be a stranger's: it must not say how much memory is taken.
    if place.bytes as usize > PACK_RECORD_BYTES_MAX + HEADER {
        return Err("the index says more bytes than a record has".into());
    }
    let length = bounded_len(pack, PACK_FILE_BYTES_MAX).map_err(|error| error.to_string())? as u64;
    if place.offset.checked_add(place.bytes.into()).is_none_or(|end| end > length) {
        return Err("the pack ends before the record".into());
    }
    pack.read_range(place.offset, place.bytes as usize).map_err(|error| error.to_string())
}
