//! Packs that are mostly dead: what lives in them is rewritten, and they go.

use std::collections::BTreeMap;
use std::io;

use engine::{Hash, Height};

use super::Keeper;
use crate::BLOCK;
use crate::refused::named;
use crate::session::numbered;
use crate::snapshot::catalog::{open_pack, read_record};
use crate::snapshot::index::Change;
use crate::snapshot::pack::PackOffset;
use crate::snapshot::record::{ALIGN, decode_record};

/// A pack is rewritten offline if more than this part of what lives in it is dead beside it.
const DEAD_PART: u64 = 20;

const _: () = assert!(DEAD_PART > 0);

impl Keeper {
    /// Removes the packs that nothing lives in, and rewrites one that is mostly dead: what lives in it goes to the end.
    ///
    /// # Errors
    /// What failed first, in words. Nothing is lost then, and a pack that cannot be read keeps no other from being rewritten.
    pub fn compact(&mut self) -> Result<(), String> {
        let mut live: BTreeMap<u32, u64> = BTreeMap::new();
        let places =
            self.groups.values().map(|held| held.place).chain(self.snapshots.values().map(|(place, _)| *place));
        places.for_each(|place| *live.entry(place.pack).or_default() += u64::from(place.bytes));
        let packs = numbered(&*self.backend, &self.folder, "pack").map_err(|error| error.to_string())?;
        let current = self.indexed_end.0;
        let (mut rewritten, mut failed) = (false, Ok(()));
        for (number, path) in packs.into_iter().filter(|(number, _)| *number < current) {
            let living = live.get(&number).copied().unwrap_or(0);
            if living > 0 {
                let length = open_pack(&self.backend, &self.folder, number).and_then(|pack| pack.len());
                let dead = length.map_err(|error| error.to_string())?.saturating_sub(living);
                if rewritten || dead < living {
                    continue;
                }
                if let Err(problem) = self.rewrite(number) {
                    failed = failed.and(Err(problem));
                    // The index takes nothing more: nothing else can be moved either.
                    if self.index_failed {
                        break;
                    }
                    continue;
                }
                rewritten = true;
            }
            self.backend.remove(&path).map_err(|error| named(&path, "removed")(error).to_string())?;
        }
        failed
    }

    /// Rewrites every pack in which more than a little is dead, and has the index give back its free pages. For a session
    /// that no node is writing.
    ///
    /// # Errors
    /// What failed first, in words. Nothing is lost then, and a pack that cannot be read keeps no other from being rewritten.
    pub fn compact_all(mut self) -> Result<(), String> {
        let text = |error: io::Error| error.to_string();
        let packs = numbered(&*self.backend, &self.folder, "pack").map_err(|error| error.to_string())?;
        let mut mostly_dead = Vec::new();
        for (number, path) in packs {
            let length = open_pack(&self.backend, &self.folder, number).and_then(|pack| pack.len()).map_err(text)?;
            let places =
                self.groups.values().map(|held| held.place).chain(self.snapshots.values().map(|(place, _)| *place));
            let record = |place: PackOffset| u64::from(place.bytes).next_multiple_of(ALIGN as u64);
            let living: u64 = places.filter(|place| place.pack == number).map(record).sum();
            // The header is no loss that rewriting would undo.
            if length.saturating_sub(BLOCK + living) > living / DEAD_PART {
                mostly_dead.push((number, path, living));
            }
        }
        if !mostly_dead.is_empty() {
            // What lives goes into a pack of its own: the last one can then go like the others.
            self.packs.cut((self.indexed_end.0, None)).map_err(text)?;
        }
        let mut failed = Ok(());
        for (number, path, living) in mostly_dead {
            if living > 0
                && let Err(problem) = self.rewrite(number)
            {
                failed = failed.and(Err(problem));
                if self.index_failed {
                    return failed;
                }
                // Giving up went back to the last pack, which may be the next one that is rewritten.
                self.packs.cut((self.indexed_end.0, None)).map_err(text)?;
                continue;
            }
            if number < self.indexed_end.0 {
                self.backend.remove(&path).map_err(named(&path, "removed")).map_err(text)?;
            }
        }
        self.backend.sync_dir(&self.folder).map_err(text)?;
        self.index.compact().map_err(|error| error.to_string())?;
        failed
    }

    fn rewrite(&mut self, number: u32) -> Result<(), String> {
        let pack = open_pack(&self.backend, &self.folder, number).map_err(|error| error.to_string())?;
        let groups: Vec<(Hash, PackOffset)> = self
            .groups
            .iter()
            .filter(|(_, held)| held.place.pack == number)
            .map(|(name, held)| (*name, held.place))
            .collect();
        let snapshots: Vec<(Height, PackOffset, u64)> = self
            .snapshots
            .iter()
            .filter(|(_, (place, _))| place.pack == number)
            .map(|(height, (place, time_ms))| (*height, *place, *time_ms))
            .collect();
        let packs = &mut self.packs;
        let mut moved = |place: PackOffset| -> Result<PackOffset, String> {
            let mut record = read_record(&*pack, place)?;
            decode_record(&record)?;
            record.resize(record.len().next_multiple_of(ALIGN), 0);
            let moved = packs.append(&record, place.bytes as usize).map_err(|error| error.to_string())?;
            // The pack is removed when all that lives in it was moved: whatever was moved into it would be lost.
            assert_ne!(moved.pack, number, "what lives goes into another pack");
            assert_eq!(moved.bytes, place.bytes, "a record is moved whole");
            Ok(moved)
        };
        let mut change = Change::default();
        let result = (|| -> Result<(), String> {
            for (name, place) in groups {
                change.groups.push((name, moved(place)?));
            }
            for (height, place, time_ms) in snapshots {
                change.snapshots.push((height, moved(place)?, time_ms));
            }
            Ok(())
        })();
        let result = result.and_then(|()| {
            self.packs.sync().map_err(|error| error.to_string())?;
            change.end = self.packs.end();
            self.write(&change)
        });
        if let Err(problem) = result {
            self.give_up().map_err(|error| error.to_string())?;
            return Err(format!("pack {number}: {problem}"));
        }
        self.indexed_end = self.packs.end().map_or(self.indexed_end, |(number, end)| (number, Some(end)));
        for (name, place) in change.groups {
            self.groups.get_mut(&name).expect("it lives").place = place;
        }
        for (height, place, time_ms) in change.snapshots {
            self.snapshots.insert(height, (place, time_ms));
        }
        // The caller removes the pack now.
        assert!(self.groups.values().all(|held| held.place.pack != number), "no group lives in it any more");
        assert!(self.snapshots.values().all(|(place, _)| place.pack != number), "no snapshot does");
        Ok(())
    }
}
