use bevy_ecs::resource::Resource;

use super::ImageLayout;
use crate::columns::Column;
use crate::limits::{CHUNK_TABLES, GROUP_BYTES};

/// Which groups of the image were touched since the last root, and which since the last snapshot began: a byte each, so
/// that chunks of tables, whose rows fill whole groups, mark theirs without sharing a word.
#[derive(Resource, Clone, Debug)]
pub struct DirtyMap {
    layout: ImageLayout,
    touched: Vec<u8>,
    changed: Vec<u8>,
}

/// The part of the map that one chunk of tables owns: its groups of every column whose rows lie at tables.
pub struct TableChunkDirty<'a> {
    groups: [&'a mut [u8]; TABLE_COLUMNS],
}

/// The columns whose rows lie at tables stand together, so that their groups are one part of the map.
const TABLE_COLUMN_FIRST: usize = Column::Tables as usize;
const TABLE_COLUMNS: usize = Column::Accounts as usize - TABLE_COLUMN_FIRST;

// A chunk of tables fills whole groups in each of these columns, however many seats a table has.
const _: () = {
    let mut column = TABLE_COLUMN_FIRST;
    while column < TABLE_COLUMN_FIRST + TABLE_COLUMNS {
        assert!((CHUNK_TABLES * Column::ALL[column].row_bytes()).is_multiple_of(GROUP_BYTES));
        column += 1;
    }
};

// A row lies in two groups at most: its first byte's and its last byte's are all that it touches.
const _: () = {
    let mut column = 0;
    while column < Column::ALL.len() {
        assert!(Column::ALL[column].row_bytes() <= GROUP_BYTES);
        column += 1;
    }
};

#[inline]
fn mark(groups: &mut [u8], row_bytes: usize, row: usize) {
    let start = row * row_bytes;
    groups[start / GROUP_BYTES] = 1;
    groups[(start + row_bytes - 1) / GROUP_BYTES] = 1;
}

impl DirtyMap {
    /// A map with every group touched: the first root hashes all, and the first snapshot saves all.
    pub fn new(layout: ImageLayout) -> Self {
        let touched = vec![1; layout.groups()];
        let changed = touched.clone();
        Self { layout, touched, changed }
    }

    /// A map with no group touched: for those who mark what is going to be.
    pub fn clean(layout: ImageLayout) -> Self {
        let touched = vec![0; layout.groups()];
        Self { layout, touched, changed: Vec::new() }
    }

    /// Marks the groups of a row.
    #[inline]
    pub fn mark(&mut self, column: Column, row: usize) {
        let groups = self.layout.column_groups(column);
        mark(&mut self.touched[groups], column.row_bytes(), row);
    }

    /// Marks the groups of some neighbouring rows.
    pub fn mark_rows(&mut self, column: Column, rows: std::ops::Range<usize>) {
        if rows.is_empty() {
            return;
        }
        assert!(rows.end <= self.layout.capacity.rows(column), "only rows that there are are marked");
        let bytes = column.row_bytes();
        let first = self.layout.column_groups(column).start;
        let (start, end) = (rows.start * bytes / GROUP_BYTES, (rows.end * bytes - 1) / GROUP_BYTES);
        assert!(first + end < self.layout.column_groups(column).end, "rows lie in groups of their own column");
        self.touched[first + start..=first + end].fill(1);
    }

    /// Marks everything.
    pub fn mark_all(&mut self) {
        self.touched.fill(1);
        self.changed.fill(1);
    }

    /// The groups that are marked now, in order.
    pub fn marked(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.touched.len()).step_by(8).flat_map(|start| {
            let eight = &self.touched[start..self.touched.len().min(start + 8)];
            // Most of the map is clean, and eight bytes compare as one word.
            let any = eight.iter().fold(0, |any, byte| any | byte) != 0;
            let marked = eight.iter().enumerate().filter(move |(_, byte)| any && **byte != 0);
            marked.map(move |(bit, _)| start + bit)
        })
    }

    /// Takes every mark away.
    pub fn clear(&mut self) {
        self.touched.fill(0);
    }

    /// The groups that changed since the last snapshot began, a byte each. The map begins anew for the next one.
    pub(crate) fn take_changed(&mut self, into: &mut Vec<u8>) {
        assert_eq!(self.changed.len(), self.touched.len(), "a map of what is to come knows nothing of snapshots");
        into.clear();
        into.extend_from_slice(&self.changed);
        self.changed.fill(0);
    }

    /// A snapshot came to nothing: what it was to save is still to be saved.
    pub(crate) fn put_back_changed(&mut self, groups: &[u8]) {
        assert!(groups.is_empty() || groups.len() == self.changed.len(), "a snapshot chooses among all groups");
        // What changed meanwhile is marked already: it joins what is put back, and neither overwrites the other.
        self.changed.iter_mut().zip(groups).for_each(|(changed, group)| *changed |= group);
    }

    /// Every group is as the last snapshot has it.
    pub fn forget_changed(&mut self) {
        self.changed.fill(0);
    }

    /// The touched groups in order; the map is clean afterwards.
    pub fn take(&mut self, into: &mut Vec<u32>) {
        assert_eq!(self.changed.len(), self.touched.len(), "a map of what is to come has no root");
        into.clear();
        into.extend(self.marked().map(|group| group as u32));
        for group in into.iter() {
            self.touched[*group as usize] = 0;
            // What a root has seen for the first time is new to the next snapshot too.
            self.changed[*group as usize] = 1;
        }
    }

    /// The parts of the map that chunks of tables own, in chunk order.
    pub fn table_chunks(&mut self) -> impl Iterator<Item = TableChunkDirty<'_>> {
        let capacity = self.layout.capacity;
        let columns = |index| Column::ALL[TABLE_COLUMN_FIRST + index];
        let per_chunk: [usize; TABLE_COLUMNS] = std::array::from_fn(|index| {
            let rows_per_table = capacity.rows(columns(index)) / capacity.tables;
            assert_eq!(rows_per_table * capacity.tables, capacity.rows(columns(index)), "tables are alike");
            CHUNK_TABLES * rows_per_table * columns(index).row_bytes() / GROUP_BYTES
        });
        let mut rest = &mut self.touched[self.layout.column_groups(Column::Tables).start..];
        let mut left: [&mut [u8]; TABLE_COLUMNS] = std::array::from_fn(|index| {
            let groups = self.layout.column_groups(columns(index)).len();
            rest.split_off_mut(..groups).expect("the map has a byte for each group")
        });
        (0..capacity.tables.div_ceil(CHUNK_TABLES)).map(move |_| TableChunkDirty {
            groups: std::array::from_fn(|index| {
                let whole = per_chunk[index].min(left[index].len());
                left[index].split_off_mut(..whole).expect("no more than is left")
            }),
        })
    }
}

impl TableChunkDirty<'_> {
    /// Marks a row of a column whose rows lie at tables, numbered within its chunk.
    ///
    /// # Panics
    /// If the column is another.
    #[inline]
    pub fn mark(&mut self, column: Column, row: usize) {
        mark(self.groups[column as usize - TABLE_COLUMN_FIRST], column.row_bytes(), row);
    }
}
