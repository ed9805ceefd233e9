use bevy_ecs::resource::Resource;
use rayon::prelude::*;

use super::{DirtyMap, ImageLayout, group};
use crate::columns::Rows;
use crate::limits::{GROUP_BYTES, SNAPSHOT_BLOCK_GROUPS, SNAPSHOT_BLOCKS_MAX, SNAPSHOT_TICK_GROUPS};

/// Groups that are copied on the calling thread: waking another takes as long.
const COPIES_INLINE: usize = 32;

/// Groups that were copied out of the columns, on their way to the disk.
pub struct GroupBlock {
    groups: Vec<u32>,
    /// How many of them have their bytes; the others have a place.
    copied: usize,
    bytes: Box<[u8]>,
}

impl GroupBlock {
    fn new() -> Self {
        let bytes = vec![0; SNAPSHOT_BLOCK_GROUPS * GROUP_BYTES].into_boxed_slice();
        Self { groups: Vec::with_capacity(SNAPSHOT_BLOCK_GROUPS), copied: 0, bytes }
    }

    /// Groups that came from elsewhere, with their bytes.
    ///
    /// # Panics
    /// If there are more than a block has, or one is not as long as a group is.
    pub fn of<'a>(groups: impl Iterator<Item = (u32, &'a [u8])>) -> Self {
        let mut block = Self::new();
        for (index, bytes) in groups {
            assert!(!block.is_full(), "no more groups than a block has");
            let from = block.groups.len() * GROUP_BYTES;
            block.bytes[from..from + GROUP_BYTES].copy_from_slice(bytes);
            block.groups.push(index);
        }
        block.copied = block.groups.len();
        block
    }

    /// The groups with their bytes.
    pub fn groups(&self) -> impl Iterator<Item = (u32, &[u8])> {
        self.groups.iter().copied().zip(self.bytes.chunks_exact(GROUP_BYTES))
    }

    fn is_full(&self) -> bool {
        self.groups.len() == SNAPSHOT_BLOCK_GROUPS
    }

    /// The groups without bytes, and where those go.
    fn places(&mut self) -> impl Iterator<Item = (u32, &mut [u8])> {
        let from = std::mem::replace(&mut self.copied, self.groups.len());
        assert!(from <= self.groups.len(), "only a group that has a place has bytes");
        let bytes = self.bytes.chunks_exact_mut(GROUP_BYTES).skip(from);
        self.groups[from..].iter().copied().zip(bytes)
    }
}

/// What became of groups that a height is about to write.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Saved {
    /// All are saved: they may be written.
    All,
    /// Some are: the height must wait for the rest, which the next ticks save.
    Some,
    /// There is no room for the rest: the height must wait until blocks come back.
    NoRoom,
}

/// Saves the image as it is at one moment while heights go on writing it.
///
/// A snapshot is made of the groups that changed since the last one. Before a height writes, those of its groups that
/// were not saved yet are copied; a sweep copies others in between. What is copied fills blocks, which come back when
/// they are on disk. There are [`SNAPSHOT_BLOCKS_MAX`] of them, so that a slow disk delays a snapshot and takes no memory.
#[derive(Resource)]
pub struct GroupSaver {
    layout: ImageLayout,
    /// The groups of this snapshot that are still to be copied, a byte each.
    unsaved: Vec<u8>,
    /// All groups of this snapshot.
    chosen: Vec<u8>,
    left: usize,
    swept: usize,
    running: bool,
    spoiled: Option<usize>,
    free: Vec<GroupBlock>,
    /// Blocks that were made and are there.
    made: usize,
    filling: Option<GroupBlock>,
    full: Vec<GroupBlock>,
}

impl GroupSaver {
    /// A saver with no snapshot under way.
    pub fn new(layout: ImageLayout) -> Self {
        Self {
            layout,
            unsaved: Vec::new(),
            chosen: Vec::new(),
            left: 0,
            swept: 0,
            running: false,
            spoiled: None,
            free: Vec::new(),
            made: 0,
            filling: None,
            full: Vec::new(),
        }
    }

    /// Begins a snapshot of the image as it is now: of every group that changed since the last one began. Returns how
    /// many there are.
    ///
    /// # Panics
    /// If one is under way.
    pub fn begin(&mut self, dirty: &mut DirtyMap) -> usize {
        assert!(!self.running, "one snapshot at a time");
        assert!(self.filling.is_none(), "the last snapshot was handed out, or given up");
        assert!(self.full.is_empty(), "the last snapshot was handed out, or given up");
        dirty.take_changed(&mut self.chosen);
        assert_eq!(self.chosen.len(), self.layout.groups(), "a snapshot chooses among the groups of its own image");
        self.unsaved.clone_from(&self.chosen);
        self.left = self.chosen.iter().filter(|group| **group != 0).count();
        self.swept = 0;
        self.spoiled = None;
        self.running = true;
        self.left
    }

    /// Whether a snapshot is under way.
    pub fn is_running(&self) -> bool {
        self.running
    }

    /// Groups that are still to be copied.
    pub fn left(&self) -> usize {
        self.left
    }

    /// Every group was copied and handed out: the snapshot is over for the columns.
    ///
    /// # Panics
    /// If groups are left.
    pub fn end(&mut self) {
        assert!(self.running, "only a snapshot that was begun ends");
        assert_eq!(self.left, 0, "a snapshot ends when all of it was copied");
        assert!(self.full.is_empty(), "a snapshot ends when all of it was handed out");
        assert!(self.filling.is_none(), "a snapshot ends when its last block was handed out");
        self.running = false;
    }

    /// Gives the snapshot up, under way or handed out: its groups belong to the next one.
    pub fn give_up(&mut self, dirty: &mut DirtyMap) {
        dirty.put_back_changed(&self.chosen);
        self.chosen.clear();
        self.running = false;
        self.left = 0;
        let blocks = self.filling.take().into_iter().chain(self.full.drain(..)).collect::<Vec<_>>();
        blocks.into_iter().for_each(|block| self.give_back(block));
    }

    /// A block whose groups are on disk can be filled again.
    pub fn give_back(&mut self, mut block: GroupBlock) {
        // Its bytes stay: whatever takes a place in it writes a whole group.
        block.groups.clear();
        block.copied = 0;
        self.free.push(block);
    }

    /// Bytes of all blocks that are there.
    pub fn held_bytes(&self) -> usize {
        self.made * SNAPSHOT_BLOCK_GROUPS * GROUP_BYTES
    }

    /// Blocks that are free are forgotten; they are made again when they are needed.
    pub fn trim(&mut self) {
        // Blocks that were filled by other nodes' snapshots were not made here.
        self.made = self.made.saturating_sub(self.free.len());
        self.free = Vec::new();
    }

    /// Blocks that are full; the last one too once every group was copied.
    pub fn take_full(&mut self, into: &mut Vec<GroupBlock>) {
        assert!(self.running || (self.filling.is_none() && self.full.is_empty()), "only a snapshot has blocks to give");
        // The last block is rarely full: what is in it would wait for groups that do not come.
        if self.left == 0 || self.filling.as_ref().is_some_and(GroupBlock::is_full) {
            self.full.extend(self.filling.take());
        }
        into.append(&mut self.full);
    }

    /// Copies those of the marked groups that were not saved yet, before they are written: at most
    /// [`SNAPSHOT_TICK_GROUPS`] of them.
    pub fn save(&mut self, rows: &Rows<'_>, marked: &DirtyMap) -> Saved {
        if self.left == 0 {
            return Saved::All;
        }
        assert!(self.running, "only a snapshot that is under way has groups to be saved");
        let (mut saved, mut count) = (Saved::All, 0);
        for group in marked.marked() {
            if self.unsaved[group] == 0 {
                continue;
            }
            if count == SNAPSHOT_TICK_GROUPS {
                saved = Saved::Some;
                break;
            }
            if !self.plan(group) {
                saved = Saved::NoRoom;
                break;
            }
            count += 1;
        }
        self.copy(rows);
        saved
    }

    /// Copies some groups that no height asked for yet. Returns how many; fewer than `most` if there are no more, or no
    /// room.
    pub fn sweep(&mut self, rows: &Rows<'_>, most: usize) -> usize {
        let mut count = 0;
        while self.left > 0 && count < most {
            assert!(self.swept < self.unsaved.len(), "some group is not saved");
            // Groups below are all saved, and some group is not: it lies further up.
            let group = self.swept;
            if self.unsaved[group] != 0 {
                if !self.plan(group) {
                    break;
                }
                count += 1;
            }
            self.swept += 1;
        }
        self.copy(rows);
        count
    }

    /// Looks at what a height wrote: a group that was not saved before makes the snapshot worth nothing, and it must be
    /// given up.
    pub fn check_written(&mut self, written: &DirtyMap) {
        // The first one is enough to give the snapshot up, and says best who did not mark.
        if self.left > 0 && self.spoiled.is_none() {
            self.spoiled = written.marked().find(|group| self.unsaved[*group] != 0);
        }
    }

    /// A group that was written before it was saved: a fault of whoever marks, which costs this snapshot.
    pub fn spoiled(&self) -> Option<usize> {
        self.spoiled
    }

    /// Gives a group a place in a block. False if there is none.
    fn plan(&mut self, group: usize) -> bool {
        if self.filling.as_ref().is_none_or(GroupBlock::is_full) {
            let block = self.free.pop().or_else(|| {
                let more = self.made < SNAPSHOT_BLOCKS_MAX;
                more.then(|| {
                    self.made += 1;
                    GroupBlock::new()
                })
            });
            let Some(block) = block else { return false };
            self.full.extend(self.filling.replace(block));
        }
        assert!(self.unsaved[group] != 0, "a group is saved once");
        assert!(self.left > 0, "the groups that are left were counted");
        assert!(self.made <= SNAPSHOT_BLOCKS_MAX, "the blocks of a snapshot are bounded");
        let block = self.filling.as_mut().expect("made above");
        assert!(!block.is_full(), "a block that came back is empty");
        block.groups.push(group as u32);
        self.unsaved[group] = 0;
        self.left -= 1;
        true
    }

    /// Copies the bytes of all groups that have a place.
    fn copy(&mut self, rows: &Rows<'_>) {
        let (layout, columns) = (&self.layout, rows.column_bytes());
        let blocks = self.full.iter_mut().chain(&mut self.filling).filter(|block| block.copied < block.groups.len());
        let places: Vec<(u32, &mut [u8])> = blocks.flat_map(GroupBlock::places).collect();
        let copy = |(index, place): (u32, &mut [u8])| {
            let mut padded = [0; GROUP_BYTES];
            place.copy_from_slice(group(layout, &columns, index as usize, &mut padded));
        };
        if places.len() <= COPIES_INLINE {
            places.into_iter().for_each(copy);
        } else {
            places.into_par_iter().with_min_len(COPIES_INLINE / 2).for_each(copy);
        }
        let mut blocks = self.full.iter().chain(&self.filling);
        assert!(blocks.all(|block| block.copied == block.groups.len()), "every group that has a place has its bytes");
    }
}

#[cfg(test)]
mod tests {
    use bevy_ecs::system::SystemState;
    use proptest::prelude::*;

    use super::*;
    use crate::columns::{COLUMNS, Capacity, Column, Columns};
    use crate::image::tests::{bytes, genesis, world};
    use crate::image::{ImageError, RootTree, fill};

    /// What a snapshot is: the groups that were copied, over the image of the one before.
    fn put(blocks: &mut Vec<GroupBlock>, image: &mut [u8], saver: &mut GroupSaver) {
        for block in blocks.drain(..) {
            for (index, bytes) in block.groups() {
                image[index as usize * GROUP_BYTES..][..GROUP_BYTES].copy_from_slice(bytes);
            }
            saver.give_back(block);
        }
    }

    fn write(rows: &mut Rows<'_>, dirty: &mut DirtyMap, marks: &mut DirtyMap, writes: &[(usize, usize, u8)]) {
        for (column, row, byte) in writes {
            let column = Column::ALL[*column];
            rows.column_bytes_mut()[column as usize][row * column.row_bytes() + 17] = *byte;
            dirty.mark(column, *row);
        }
        marks.clear();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn a_snapshot_is_the_image_of_the_moment_it_began(
            tables in 1u32..700, accounts in 1u32..2_000,
            heights in prop::collection::vec(prop::collection::vec((0usize..COLUMNS, any::<u32>(), any::<u8>()), 0..20), 1..30),
            sweep in 1usize..40, every in 2usize..9,
        ) {
            let genesis = genesis(tables, 8, accounts);
            let layout = ImageLayout::new(Capacity::of(&genesis));
            let mut world = world(&genesis);
            let mut tree = world.remove_resource::<RootTree>().expect("spawn inserts it");
            let mut dirty = world.remove_resource::<DirtyMap>().expect("spawn inserts it");
            let mut state = SystemState::<Columns<'_, '_>>::new(&mut world);
            let mut columns = state.get_mut(&mut world).expect("columns");
            let mut rows = columns.rows();
            let (mut saver, mut marks) = (GroupSaver::new(layout.clone()), DirtyMap::clean(layout.clone()));
            let mut saved = vec![0; layout.bytes() as usize];
            let (mut expected, mut blocks, mut snapshots) = (Vec::new(), Vec::new(), 0);
            for (height, writes) in heights.into_iter().enumerate() {
                let writes: Vec<_> = writes
                    .into_iter()
                    .map(|(column, row, byte)| (column, row as usize % layout.capacity.rows(Column::ALL[column]), byte))
                    .collect();
                for (column, row, _) in &writes {
                    marks.mark(Column::ALL[*column], *row);
                }
                prop_assert_eq!(saver.save(&rows, &marks), Saved::All);
                write(&mut rows, &mut dirty, &mut marks, &writes);
                tree.update(&rows, &mut dirty);
                if saver.is_running() {
                    saver.sweep(&rows, sweep);
                    saver.take_full(&mut blocks);
                    put(&mut blocks, &mut saved, &mut saver);
                    if saver.left() == 0 {
                        saver.end();
                        snapshots += 1;
                        prop_assert_eq!(&saved, &expected, "snapshot {}", snapshots);
                    }
                } else if height % every == 0 {
                    expected = bytes(&layout, &rows);
                    saver.begin(&mut dirty);
                }
            }
        }
    }

    #[test]
    fn a_full_pool_makes_the_height_wait_and_nothing_is_lost() {
        let genesis = genesis(30_000, 8, 8);
        let layout = ImageLayout::new(Capacity::of(&genesis));
        let mut world = world(&genesis);
        let mut dirty = world.remove_resource::<DirtyMap>().expect("spawn inserts it");
        let mut state = SystemState::<Columns<'_, '_>>::new(&mut world);
        let mut columns = state.get_mut(&mut world).expect("columns");
        let rows = columns.rows();
        let mut saver = GroupSaver::new(layout.clone());
        let all = saver.begin(&mut dirty);
        assert_eq!(all, layout.groups());
        let pool = SNAPSHOT_BLOCKS_MAX * SNAPSHOT_BLOCK_GROUPS;
        assert!(all > pool, "{all} groups are more than the pool holds");
        assert_eq!(saver.sweep(&rows, usize::MAX), pool);
        assert_eq!(saver.sweep(&rows, usize::MAX), 0);
        let mut marks = DirtyMap::clean(layout.clone());
        marks.mark(Column::Tables, 0);
        assert_eq!(saver.save(&rows, &marks), Saved::All, "saved by the sweep");
        marks.mark(Column::AccountKeys, 0);
        assert_eq!(saver.save(&rows, &marks), Saved::NoRoom);
        saver.check_written(&marks);
        assert_eq!(saver.spoiled(), Some(layout.column_groups(Column::AccountKeys).start));
        let (mut blocks, mut image) = (Vec::new(), vec![0; layout.bytes() as usize]);
        saver.take_full(&mut blocks);
        assert_eq!(blocks.len(), SNAPSHOT_BLOCKS_MAX);
        put(&mut blocks, &mut image, &mut saver);
        assert_eq!(saver.save(&rows, &marks), Saved::All, "blocks came back");
        marks.mark_rows(Column::MoreBets, 0..layout.capacity.rows(Column::MoreBets));
        let mut swept = saver.left();
        while saver.save(&rows, &marks) == Saved::Some {
            assert_eq!(swept - saver.left(), SNAPSHOT_TICK_GROUPS, "so many a tick");
            swept = saver.left();
        }

        saver.give_up(&mut dirty);
        saver.trim();
        assert_eq!((saver.made, saver.free.len()), (0, 0), "blocks that are free take no memory");
        assert_eq!(saver.begin(&mut dirty), all, "what was given up is saved by the next");
        while saver.left() > 0 {
            saver.sweep(&rows, 1_000);
            saver.take_full(&mut blocks);
            put(&mut blocks, &mut image, &mut saver);
        }
        saver.end();
        assert_eq!(image, bytes(&layout, &rows));
    }

    #[test]
    fn columns_are_filled_group_by_group() {
        let genesis = genesis(300, 3, 50);
        let layout = ImageLayout::new(Capacity::of(&genesis));
        let (mut first, mut second) = (world(&genesis), world(&genesis));
        let mut state = SystemState::<Columns<'_, '_>>::new(&mut first);
        let mut columns = state.get_mut(&mut first).expect("columns");
        let rows = columns.rows();
        rows.tables[299].roll_number = 77;
        let mut image = bytes(&layout, &rows);
        let mut state = SystemState::<Columns<'_, '_>>::new(&mut second);
        let mut columns = state.get_mut(&mut second).expect("columns");
        let mut rows = columns.rows();
        let read = |image: &[u8], index: usize, group: &mut [u8; GROUP_BYTES]| {
            group.copy_from_slice(&image[index * GROUP_BYTES..][..GROUP_BYTES]);
            Ok::<(), ImageError>(())
        };
        assert_eq!(fill(&layout, &mut rows, |index, group| read(&image, index, group)), Ok(()));
        assert_eq!(bytes(&layout, &rows), image);
        let last = image.len() - 1;
        image[last] = 1;
        let result = fill(&layout, &mut rows, |index, group| read(&image, index, group));
        assert_eq!(result, Err(ImageError::Padding { at: last as u64 }));
    }
}
