//! Reading a snapshot: its map, then its groups, each verified by its name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::limits::GROUP_BYTES;
use engine::{Hash, Height};

use super::catalog::{Catalog, open_pack, read_record};
use super::pack::PackOffset;
use super::record::{GroupRow, HEADER, RecordKind, SnapshotMap, decode_group, decode_record};
use crate::Damage;
use crate::backend::{Backend, Handle};
use crate::session::name;

/// A snapshot that is there to be read.
pub struct StoredSnapshot {
    /// The settled height whose image it holds.
    pub height: Height,
    /// The node's own bytes: where the chain stood.
    pub note: Vec<u8>,
    groups: Vec<(Hash, PackOffset)>,
    values: Vec<Hash>,
    packs: BTreeMap<u32, Box<dyn Handle>>,
}

/// The packs that were opened so far.
struct Packs<'a> {
    backend: &'a Arc<dyn Backend>,
    folder: PathBuf,
    open: BTreeMap<u32, Box<dyn Handle>>,
}

impl Packs<'_> {
    fn get(&mut self, number: u32) -> Result<&dyn Handle, Damage> {
        if !self.open.contains_key(&number) {
            let pack = open_pack(self.backend, &self.folder, number);
            let pack = pack.map_err(|error| damage(number, 0, error.to_string()))?;
            self.open.insert(number, pack);
        }
        Ok(&*self.open[&number])
    }
}

fn damage(pack: u32, offset: u64, problem: String) -> Damage {
    Damage::new(format!("snapshots/{}", name(pack, "pack")), offset, problem)
}

/// Reads the map of a snapshot.
pub(super) fn read_map(pack: &dyn Handle, place: PackOffset, height: Height) -> Result<SnapshotMap, String> {
    let record = read_record(pack, place)?;
    let (header, content) = decode_record(&record)?;
    if header.kind != RecordKind::Snapshot || header.moment.height != height {
        return Err(format!("this is not the record of snapshot {height}"));
    }
    SnapshotMap::decode(&content)
}

impl StoredSnapshot {
    /// Opens a snapshot: its map is read and checked, its packs are open from then on.
    ///
    /// # Errors
    /// Where it is damaged.
    pub fn open(backend: &Arc<dyn Backend>, dir: &Path, catalog: &Catalog, height: Height) -> Result<Self, Damage> {
        let folder = dir.join("snapshots");
        let missing = |problem: &str| Damage::new("snapshots/index.redb", 0, problem);
        let (place, _) = *catalog.snapshots.get(&height).ok_or_else(|| missing("it knows of no such snapshot"))?;
        let mut packs = Packs { backend, folder, open: BTreeMap::new() };
        let map = read_map(packs.get(place.pack)?, place, height);
        let map = map.map_err(|problem| damage(place.pack, place.offset, problem))?;
        let mut groups = Vec::with_capacity(map.groups.len());
        for (index, GroupRow { name, .. }) in map.groups.iter().enumerate() {
            let place = catalog.groups.get(name);
            let place = *place.ok_or_else(|| missing(&format!("it does not know where group {index} lies")))?;
            // Open from the start: packs that are removed meanwhile stay readable until the last reader has gone.
            packs.get(place.pack)?;
            groups.push((*name, place));
        }
        let values: Vec<Hash> = map.groups.iter().map(|group| group.value).collect();
        assert_eq!(values.len(), groups.len(), "every group has its chaining value and its place");
        Ok(Self { height, note: map.note, groups, values, packs: packs.open })
    }

    /// How many groups it has.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The chaining values of its groups, as its map has them.
    pub fn values(&self) -> &[Hash] {
        &self.values
    }

    /// Reads a group. Any number of threads may do so at the same time.
    ///
    /// # Errors
    /// Where it is damaged.
    pub fn read_group(&self, index: usize, out: &mut [u8; GROUP_BYTES]) -> Result<(), Damage> {
        let Some((name, place)) = self.groups.get(index) else {
            let problem = format!("snapshot {} has no group {index}", self.height);
            return Err(Damage::new("snapshots/index.redb", 0, problem));
        };
        let wrong = |problem| damage(place.pack, place.offset, problem);
        assert!(self.packs.contains_key(&place.pack), "the pack of each group was opened");
        if place.bytes as usize > HEADER + GROUP_BYTES {
            return Err(wrong("the index says more bytes than a group's record has".into()));
        }
        let record = read_record(&*self.packs[&place.pack], *place).map_err(wrong)?;
        decode_group(&record, name, out).map_err(wrong)
    }
}
