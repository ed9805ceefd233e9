//! Keeping snapshots: new groups into packs, an index over all, old snapshots dropped, packs that are mostly dead rewritten.

mod compaction;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use engine::image::GroupBlock;
use engine::limits::{GROUP_BYTES, SNAPSHOT_INDEX_CACHE_BYTES};
use engine::{Hash, Height};

use super::catalog::{Catalog, open_pack};
use super::index::{Change, Index};
use super::pack::{PackOffset, PackWriter};
use super::ranges::{ActivityRow, Coverage, RangeSource, are_too_many, first_of_span};
use super::record::{GroupRow, RecordKind, SnapshotInfo, SnapshotMap, encode_record};
use super::stored::read_map;
use crate::BLOCK;
use crate::backend::Backend;
use crate::refused::named;
use crate::session::numbered;

/// Newest snapshots that are kept whatever their age.
const NEWEST: usize = 3;
/// Older ones are kept as far apart as a part of their age: one in this many.
const AGE_PART: u64 = 4;
/// Bytes that the journal is to have for itself: no snapshot begins below.
const ROOM: u64 = 64 << 20;

// The one that the next snapshot changes is never dropped, and neither is the one that a start falls back on.
const _: () = assert!(NEWEST >= 2);
const _: () = assert!(AGE_PART > 0);

/// A snapshot that is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SnapshotDone {
    /// The settled height whose image it holds.
    pub height: Height,
    /// Groups that changed since the one before.
    pub groups: u64,
    /// Those of them that were new to the packs.
    pub groups_written: u64,
    /// Bytes that went into packs.
    pub bytes: u64,
    /// Snapshots that there are now.
    pub snapshots: u64,
    /// Whether packs are written past the page cache.
    pub direct: bool,
}

struct PackedGroup {
    place: PackOffset,
    /// How often the maps of all snapshots name it.
    references: u32,
}

struct SnapshotInProgress {
    moment: SnapshotInfo,
    note: Vec<u8>,
    map: Vec<Option<GroupRow>>,
    fresh: BTreeMap<Hash, PackOffset>,
    groups: u64,
    written_before: u64,
    /// It comes from another node: the heights below it were not executed here.
    foreign: bool,
}

/// Everything that the snapshot thread holds.
pub struct Keeper {
    backend: Arc<dyn Backend>,
    folder: PathBuf,
    index: Index,
    packs: PackWriter,
    /// Where the packs end as the index has it.
    indexed_end: (u32, Option<u64>),
    /// The index failed: whether its last change is on the disk is not known, and redb takes no other.
    index_failed: bool,
    groups: BTreeMap<Hash, PackedGroup>,
    snapshots: BTreeMap<Height, (PackOffset, u64)>,
    /// The map that the next snapshot changes.
    latest: Vec<GroupRow>,
    taking: Option<SnapshotInProgress>,
    record: Vec<u8>,
    /// Where the index of history comes from, and the last height that it tells of so far.
    ranges: Option<Box<dyn RangeSource>>,
    told: Option<Height>,
}

/// Which of some snapshots to drop: heights with times, ascending. The newest few stay, and older ones as far apart as a
/// quarter of their age, so that their number grows with the logarithm of time.
pub fn thin(snapshots: &[(Height, u64)]) -> Vec<Height> {
    let Some((_, newest)) = snapshots.last() else { return Vec::new() };
    assert!(
        snapshots.is_sorted_by(|one, next| one.0 < next.0),
        "each snapshot is of a later height than the one before it"
    );
    let mut gone = Vec::new();
    let mut kept = u64::MAX;
    for (place, (height, time_ms)) in snapshots.iter().enumerate().rev() {
        let age = newest.saturating_sub(*time_ms);
        if snapshots.len() - place <= NEWEST || kept.saturating_sub(*time_ms) >= age / AGE_PART {
            kept = *time_ms;
        } else {
            gone.push(*height);
        }
    }
    assert!(gone.len() + NEWEST.min(snapshots.len()) <= snapshots.len(), "the newest stay");
    assert!(gone.is_sorted_by(|one, next| one > next), "each is dropped once");
    gone
}

impl Keeper {
    /// Takes up what is there. Snapshots above `loaded`, which could not be loaded, are dropped with the next one.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(
        backend: Arc<dyn Backend>,
        folder: PathBuf,
        chain: Hash,
        index: Index,
        catalog: Catalog,
        loaded: Option<Height>,
        pack_bytes: u64,
        ranges: Option<Box<dyn RangeSource>>,
    ) -> io::Result<Self> {
        let packs = numbered(&*backend, &folder, "pack").map_err(|error| io::Error::other(error.to_string()))?;
        let highest = packs.last().map_or(0, |(number, _)| *number);
        // Whatever lies behind the end is cut off, and the next record begins there: it ends a block, and nothing that is named
        // lies behind it.
        let places = || catalog.groups.values().chain(catalog.snapshots.values().map(|(place, _)| place));
        let is_end = |(number, end): &(u32, u64)| {
            let lies_before = |place: &PackOffset| place.end() <= (*number, *end);
            *end >= BLOCK && end.is_multiple_of(BLOCK) && places().all(lies_before)
        };
        let whole = |(number, end): &(u32, u64)| {
            open_pack(&backend, &folder, *number).and_then(|pack| pack.len()).is_ok_and(|length| length >= *end)
        };
        let indexed_end = match catalog.end.filter(is_end).filter(whole) {
            Some((number, end)) => {
                // Behind what the index knows nothing was finished: it is of a snapshot during which the process ended.
                // Those that are there, since a process that ended while it removed them has left a gap.
                for (_, path) in packs.iter().filter(|(later, _)| *later > number) {
                    backend.remove(path).map_err(named(path, "removed"))?;
                }
                (number, Some(end))
            }
            None => (highest, None),
        };
        assert!(indexed_end.0 <= highest, "packs end in one that is there, or behind the last");
        let packs = PackWriter::open(backend.clone(), folder.clone(), chain, indexed_end, pack_bytes)?;
        let groups =
            catalog.groups.into_iter().map(|(name, place)| (name, PackedGroup { place, references: 0 })).collect();
        let snapshots = catalog.snapshots;
        let (latest, taking, record) = (Vec::new(), None, Vec::new());
        let told = index.newest_told().map(|(_, to)| to);
        let mut keeper = Self {
            backend,
            folder,
            index,
            packs,
            indexed_end,
            index_failed: false,
            groups,
            snapshots,
            latest,
            taking,
            record,
            ranges,
            told,
        };
        keeper.count_references(loaded);
        Ok(keeper)
    }

    /// Counts how often each group is named. A snapshot whose map cannot be read is none.
    fn count_references(&mut self, loaded: Option<Height>) {
        let (mut change, mut maps) = (Change::default(), BTreeMap::new());
        for (height, (place, _)) in &self.snapshots {
            let usable = loaded.is_some_and(|loaded| *height <= loaded);
            let map = if usable { self.map_at(*height, *place).ok() } else { None };
            match map.filter(|map| map.groups.iter().all(|group| self.groups.contains_key(&group.name))) {
                Some(map) => _ = maps.insert(*height, map.groups),
                None => change.snapshots_gone.push(*height),
            }
            if let Some((_, map)) = maps.last_key_value() {
                for GroupRow { name, .. } in map.iter().filter(|_| maps.contains_key(height)) {
                    self.groups.get_mut(name).expect("looked at above").references += 1;
                }
            }
            // Only the newest is needed again.
            while maps.len() > 1 {
                maps.pop_first();
            }
        }
        self.latest = maps.pop_last().map(|(_, map)| map).unwrap_or_default();
        change.snapshots_gone.iter().for_each(|height| _ = self.snapshots.remove(height));
        let unused = self.groups.iter().filter(|(_, held)| held.references == 0);
        change.groups_gone = unused.map(|(name, _)| *name).collect();
        let nothing = change.snapshots_gone.is_empty() && change.groups_gone.is_empty();
        // The next snapshot names these groups again without writing them: one that is not there would be lost for ever.
        assert!(self.latest.iter().all(|row| self.groups.contains_key(&row.name)), "a map names what the packs hold");
        assert!(self.latest.is_empty() || !self.snapshots.is_empty(), "the latest map is that of a snapshot");
        // What cannot be written now is found again at the next start.
        if nothing || self.write(&change).is_ok() {
            change.groups_gone.iter().for_each(|name| _ = self.groups.remove(name));
            assert!(self.groups.values().all(|held| held.references > 0), "what is kept is named by a snapshot");
        }
    }

    fn write(&mut self, change: &Change) -> Result<(), String> {
        self.index.write(change).map_err(|error| {
            self.index_failed = true;
            error.to_string()
        })
    }

    fn map_at(&self, height: Height, place: PackOffset) -> Result<SnapshotMap, String> {
        let pack = open_pack(&self.backend, &self.folder, place.pack).map_err(|error| error.to_string())?;
        read_map(&*pack, place, height)
    }

    /// Begins a snapshot of an image with `groups` groups, of which some changed since the last one; all of them come where
    /// it is another node's, and the index of history hears nothing of it.
    ///
    /// # Errors
    /// If there is no room, or the index failed, in words.
    pub fn begin(
        &mut self,
        moment: SnapshotInfo,
        note: Vec<u8>,
        groups: usize,
        changed: usize,
        foreign: bool,
    ) -> Result<(), String> {
        assert!(self.taking.is_none(), "one snapshot at a time");
        assert!(changed <= groups, "what changes is of the image");
        if self.index_failed {
            return Err("the index of snapshots cannot be written".into());
        }
        let free = self.backend.free_bytes(&self.folder).map_err(|error| error.to_string())?;
        let needed = ROOM + (changed * GROUP_BYTES) as u64;
        if free < needed {
            let (dir, free, needed) = (self.folder.display(), free >> 20, needed.div_ceil(1 << 20));
            return Err(format!(
                "{dir} has {free} MiB free, and the next snapshot needs {needed} MiB: make room on its disk"
            ));
        }
        let map = if self.latest.len() == groups && !foreign {
            self.latest.iter().copied().map(Some).collect()
        } else {
            vec![None; groups]
        };
        let written_before = self.packs.written;
        self.taking =
            Some(SnapshotInProgress { moment, note, map, fresh: BTreeMap::new(), groups: 0, written_before, foreign });
        Ok(())
    }

    /// Takes a block of groups: those that are new are written.
    ///
    /// # Errors
    /// If a pack cannot be written; the snapshot must be given up.
    pub fn take(&mut self, block: &GroupBlock) -> io::Result<()> {
        let Some(taking) = &mut self.taking else { return Ok(()) };
        for (index, bytes) in block.groups() {
            assert!((index as usize) < taking.map.len(), "a group is of the image that was begun with");
            let row = GroupRow::of(index as usize, bytes);
            let name = row.name;
            taking.groups += 1;
            taking.map[index as usize] = Some(row);
            if self.groups.contains_key(&name) || taking.fresh.contains_key(&name) {
                continue;
            }
            // One that the image has at several places, or had before, is in the packs once, under its name.
            let place =
                append(&mut self.packs, &mut self.record, RecordKind::Group, SnapshotInfo::default(), bytes, &name)?;
            taking.fresh.insert(name, place);
        }
        Ok(())
    }

    /// Finishes the snapshot: its map is written, everything is synced, the index changes in one transaction.
    ///
    /// # Errors
    /// What failed, in words; the snapshot must be given up.
    pub fn finish(&mut self) -> Result<SnapshotDone, String> {
        let taking = self.taking.as_ref().ok_or("no snapshot was begun")?;
        let (moment, written_before, groups) = (taking.moment, taking.written_before, taking.groups);
        let ranges = if taking.foreign { None } else { self.read_ranges(moment.height) };
        let rows: Option<Vec<GroupRow>> = taking.map.iter().copied().collect();
        let map = SnapshotMap { note: taking.note.clone(), groups: rows.ok_or("groups are missing")? };
        let fresh: Vec<(Hash, PackOffset)> = taking.fresh.iter().map(|(name, place)| (*name, *place)).collect();
        let bytes = map.encode();
        let name = *blake3::hash(&bytes).as_bytes();
        let place = append(&mut self.packs, &mut self.record, RecordKind::Snapshot, moment, &bytes, &name);
        let place = place.map_err(|error| error.to_string())?;
        // Before the index names them: it may say of nothing that it is on the disk before it is.
        self.packs.sync().map_err(|error| error.to_string())?;

        let mut times: Vec<_> = self.snapshots.iter().map(|(height, (_, time_ms))| (*height, *time_ms)).collect();
        times.push((moment.height, moment.time_ms));
        let gone = thin(&times);
        assert!(!gone.contains(&moment.height), "the newest stays");
        let mut change = Change {
            groups: fresh.clone(),
            groups_gone: Vec::new(),
            snapshots: vec![(moment.height, place, moment.time_ms)],
            snapshots_gone: gone.clone(),
            end: self.packs.end(),
            ranges,
        };
        let counts = self.reference_changes(&map, &gone);
        let after =
            |name: &Hash, count: i64| i64::from(self.groups.get(name).map_or(0, |held| held.references)) + count;
        change.groups_gone =
            counts.iter().filter(|(name, count)| after(name, **count) == 0).map(|(name, _)| *name).collect();
        // From here on the disk has it: what follows only repeats that in memory, and cannot fail.
        self.write(&change)?;
        if let (Some(_), Some(source)) = (&change.ranges, &self.ranges)
            && let Some((_, to)) = self.index.newest_told()
        {
            source.saved(to);
            self.told = Some(to);
        }

        self.taking = None;
        self.indexed_end = self.packs.end().map_or(self.indexed_end, |(number, end)| (number, Some(end)));
        let count = fresh.len() as u64;
        assert!(count <= groups, "a group that was written was handed over");
        let held_before = self.groups.len();
        fresh.into_iter().for_each(|(name, place)| _ = self.groups.insert(name, PackedGroup { place, references: 0 }));
        // The references of one that had been there would be forgotten, and it would go while a snapshot names it.
        assert_eq!(self.groups.len() as u64, held_before as u64 + count, "only groups that are new were written");
        for (name, count) in counts {
            let held = self.groups.get_mut(&name).expect("every name of a map has a place");
            held.references =
                u32::try_from(i64::from(held.references) + count).expect("references are counted both ways");
        }
        change.groups_gone.iter().for_each(|name| _ = self.groups.remove(name));
        gone.iter().for_each(|height| _ = self.snapshots.remove(height));
        let replaced = self.snapshots.insert(moment.height, (place, moment.time_ms));
        assert!(replaced.is_none(), "a height has one snapshot");
        assert!(map.groups.iter().all(|row| self.groups.contains_key(&row.name)), "a map names what the packs hold");
        self.latest = map.groups;
        assert!(self.packs.written >= written_before, "bytes that were written only grow");
        let direct = self.packs.is_direct().unwrap_or(false);
        let bytes = self.packs.written - written_before;
        let snapshots = self.snapshots.len() as u64;
        Ok(SnapshotDone { height: moment.height, groups, groups_written: count, bytes, snapshots, direct })
    }

    /// By how much the references of each group change with a new map, where old snapshots go. One whose map cannot be read
    /// goes too: it would else keep every later snapshot from coming.
    fn reference_changes(&self, map: &SnapshotMap, gone: &[Height]) -> BTreeMap<Hash, i64> {
        let (mut counts, mut unread) = (BTreeMap::<Hash, i64>::new(), false);
        map.groups.iter().for_each(|group| *counts.entry(group.name).or_default() += 1);
        for height in gone {
            match self.map_at(*height, self.snapshots[height].0) {
                Ok(old) => old.groups.iter().for_each(|group| *counts.entry(group.name).or_default() -= 1),
                Err(problem) => {
                    tracing::warn!("the map of snapshot {height}, which is dropped, cannot be read: {problem}");
                    unread = true;
                }
            }
        }
        // Which groups that one named is not known. Where it cannot be told from the others either, they stay for now: the
        // next count takes them, at the latest that of a start.
        let again = if unread { self.counted_again(map, gone).ok() } else { None };
        again.unwrap_or(counts)
    }

    /// The same from the maps of all snapshots that stay.
    fn counted_again(&self, map: &SnapshotMap, gone: &[Height]) -> Result<BTreeMap<Hash, i64>, String> {
        let counted = self.groups.iter().map(|(name, held)| (*name, -i64::from(held.references)));
        let mut counts: BTreeMap<Hash, i64> = counted.collect();
        map.groups.iter().for_each(|group| *counts.entry(group.name).or_default() += 1);
        for (height, (place, _)) in self.snapshots.iter().filter(|(height, _)| !gone.contains(height)) {
            let stays = self.map_at(*height, *place)?;
            stays.groups.iter().for_each(|group| *counts.entry(group.name).or_default() += 1);
        }
        Ok(counts)
    }

    /// The rows of the index of history up to a height, behind those that are there; or what is left of them, where some
    /// are gone: then a gap is before them.
    fn read_ranges(&self, to: Height) -> Option<(Vec<ActivityRow>, Coverage)> {
        let source = self.ranges.as_ref()?;
        // What is lost between two looks makes the second one begin later.
        (0..2).find_map(|_| {
            let known = source.from();
            let begins = match self.told {
                Some(told) if known <= told.next() => told.next(),
                _ => known.max(Height(1)),
            };
            if begins > to {
                return None;
            }
            let rows = source.rows(begins, to)?;
            if !are_too_many(&rows) {
                return Some((rows, (begins, to)));
            }
            // Rows are those of whole spans: where the stretch begins in an earlier one, the span that is under way alone may do, and
            // only what lies before it becomes a gap.
            let begins = begins.max(first_of_span(to));
            let rows = source.rows(begins, to)?;
            (!are_too_many(&rows)).then_some((rows, (begins, to)))
        })
    }

    /// Gives the snapshot up that is under way: what it wrote is cut off again.
    ///
    /// # Errors
    /// What the system says: the packs cannot be written any more.
    pub fn give_up(&mut self) -> io::Result<()> {
        // Up to what the index has: what lies behind belongs to nothing that counts.
        self.taking = None;
        self.packs.cut(self.indexed_end)
    }

    /// Whether a snapshot is under way.
    pub fn is_taking(&self) -> bool {
        self.taking.is_some()
    }

    /// Whether it takes nothing more before [`Keeper::restored`].
    pub fn is_lost(&self) -> bool {
        self.index_failed
    }

    /// Gives up what is under way. Where the index failed, it is opened again, and what the disk has is taken up: a snapshot
    /// that is in it after all, and was said to have come to nothing, goes.
    ///
    /// # Errors
    /// What failed, in words: nothing can be kept any more.
    pub fn restored(mut self) -> Result<Self, String> {
        if !self.index_failed {
            return self.give_up().map(|()| self).map_err(|error| error.to_string());
        }
        let known = self.snapshots.last_key_value().map(|(height, _)| *height);
        let (chain, pack_bytes) = (self.packs.chain(), self.packs.pack_bytes());
        let Self { backend, folder, index, packs, ranges, .. } = self;
        // redb lets nobody open what is open.
        drop((index, packs));
        let index = Index::open(&backend, &folder.join("index.redb"), &chain, SNAPSHOT_INDEX_CACHE_BYTES, |_| ());
        let index = index.map_err(|error| error.to_string())?;
        let catalog = index.catalog().map_err(|error| error.to_string())?;
        Self::new(backend, folder, chain, index, catalog, known, pack_bytes, ranges).map_err(|error| error.to_string())
    }
}

fn append(
    packs: &mut PackWriter,
    record: &mut Vec<u8>,
    kind: RecordKind,
    moment: SnapshotInfo,
    bytes: &[u8],
    name: &Hash,
) -> io::Result<PackOffset> {
    record.clear();
    encode_record(kind, moment, bytes, name, record);
    let stored = super::record::decode_record_header(record).expect("a record that was just made").stored;
    packs.append(record, super::record::HEADER + stored)
}
