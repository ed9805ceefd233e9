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

/// The part of the map that one chunk of tables owns.
pub struct TableChunkDirty<'a> {
    tables: &'a mut [u8],
    seats: &'a mut [u8],
    bets: &'a mut [u8],
    more: &'a mut [u8],
}

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
        let bytes = column.row_bytes();
        let first = self.layout.column_groups(column).start;
        let (start, end) = (rows.start * bytes / GROUP_BYTES, (rows.end * bytes - 1) / GROUP_BYTES);
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
        into.clear();
        into.extend_from_slice(&self.changed);
        self.changed.fill(0);
    }

    /// A snapshot came to nothing: what it was to save is still to be saved.
    pub(crate) fn put_back_changed(&mut self, groups: &[u8]) {
        self.changed.iter_mut().zip(groups).for_each(|(changed, group)| *changed |= group);
    }

    /// Every group is as the last snapshot has it.
    pub fn forget_changed(&mut self) {
        self.changed.fill(0);
    }

    /// The touched groups in order; the map is clean afterwards.
    pub fn take(&mut self, into: &mut Vec<u32>) {
        into.clear();
        into.extend(self.marked().map(|group| group as u32));
        for group in into.iter() {
            self.touched[*group as usize] = 0;
            self.changed[*group as usize] = 1;
        }
    }

    /// The parts of the map that chunks of tables own, in chunk order.
    pub fn table_chunks(&mut self) -> impl Iterator<Item = TableChunkDirty<'_>> {
        let seats = self.layout.capacity.seats;
        let start = self.layout.column_groups(Column::Tables).start;
        let end = self.layout.column_groups(Column::MoreBets).end;
        let lens = [Column::Tables, Column::Seats, Column::Bets].map(|c| self.layout.column_groups(c).len());
        let (tables, rest) = self.touched[start..end].split_at_mut(lens[0]);
        let (seat, rest) = rest.split_at_mut(lens[1]);
        let (bets, more) = rest.split_at_mut(lens[2]);
        let per_chunk = |row_bytes: usize| CHUNK_TABLES * row_bytes / GROUP_BYTES;
        tables
            .chunks_mut(per_chunk(64))
            .zip(seat.chunks_mut(per_chunk(64 * seats)))
            .zip(bets.chunks_mut(per_chunk(64 * seats)))
            .zip(more.chunks_mut(per_chunk(192 * seats)))
            .map(|(((tables, seats), bets), more)| TableChunkDirty { tables, seats, bets, more })
    }
}

impl TableChunkDirty<'_> {
    /// Marks a table, numbered within its chunk.
    #[inline]
    pub fn table(&mut self, table: usize) {
        mark(self.tables, 64, table);
    }

    /// Marks a seat, numbered within its chunk.
    #[inline]
    pub fn seat(&mut self, seat: usize) {
        mark(self.seats, 64, seat);
    }

    /// Marks a seat's first bets.
    #[inline]
    pub fn bets(&mut self, seat: usize) {
        mark(self.bets, 64, seat);
    }

    /// Marks a seat's further bets.
    #[inline]
    pub fn more(&mut self, seat: usize) {
        mark(self.more, 192, seat);
    }
}
