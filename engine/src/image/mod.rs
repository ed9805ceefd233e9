//! The image: the canonical bytes of all replicated columns, and their BLAKE3, the root.
//!
//! ```text
//!  House | GroupKey | Validator | NextValidator | RulesHash | Table | Seat | Bets | MoreBets | Account | AccountKey | Pledge
//!  each column zero-padded to whole 16 KiB groups; unused capacity included
//! ```
//! The root equals `b3sum` of the exported image. [`RootTree`] keeps it up to date by hashing touched groups again.

mod dirty;
mod root;
mod save;

use rayon::prelude::*;
use thiserror::Error;

pub use dirty::{DirtyMap, TableChunkDirty};
pub use root::{RootTree, group_value, root_of};
pub use save::{GroupBlock, GroupSaver, Saved};

use crate::columns::{COLUMNS, Capacity, Column, Rows};
use crate::limits::GROUP_BYTES;

/// Where each column lies in the image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ImageLayout {
    /// The rows of each column.
    pub capacity: Capacity,
    first_group: [usize; COLUMNS + 1],
}

/// An image that does not fit the genesis it is loaded under.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum ImageError {
    /// Another size than the capacities say.
    #[error("the image has {found} bytes, but the capacities of this genesis need {expected}")]
    Length {
        /// Bytes that the genesis needs.
        expected: u64,
        /// Bytes found.
        found: u64,
    },
    /// A byte between two columns that is not zero.
    #[error("the padding at byte {at} is not zero")]
    Padding {
        /// Where in the image.
        at: u64,
    },
}

impl ImageLayout {
    /// The layout of columns with these capacities.
    pub fn new(capacity: Capacity) -> Self {
        let Capacity { tables, seats, accounts, pledges } = capacity;
        assert!(tables > 0 && seats > 0 && accounts > 0 && pledges > 0, "every column has a row");
        let mut first_group = [0; COLUMNS + 1];
        for column in Column::ALL {
            let bytes = capacity.rows(column) * column.row_bytes();
            assert!(bytes > 0, "a column without a group would share the place of the next one");
            first_group[column as usize + 1] = first_group[column as usize] + bytes.div_ceil(GROUP_BYTES);
        }
        Self { capacity, first_group }
    }

    /// Groups of the whole image.
    pub fn groups(&self) -> usize {
        self.first_group[COLUMNS]
    }

    /// Bytes of the whole image.
    pub fn bytes(&self) -> u64 {
        self.groups() as u64 * GROUP_BYTES as u64
    }

    /// The groups of a column.
    pub fn column_groups(&self, column: Column) -> std::ops::Range<usize> {
        self.first_group[column as usize]..self.first_group[column as usize + 1]
    }

    /// The column that a group belongs to.
    pub fn column_of(&self, group: usize) -> Column {
        assert!(group < self.groups(), "the image has the group");
        let index = self.first_group.partition_point(|first| *first <= group) - 1;
        assert!(self.column_groups(Column::ALL[index]).contains(&group), "a group lies in its column");
        Column::ALL[index]
    }
}

/// A group's bytes: a slice of its column, or a padded copy for a column's last group.
pub(crate) fn group<'a>(
    layout: &ImageLayout,
    columns: &[&'a [u8]; COLUMNS],
    group: usize,
    padded: &'a mut [u8; GROUP_BYTES],
) -> &'a [u8] {
    let column = layout.column_of(group);
    let bytes = columns[column as usize];
    let start = (group - layout.column_groups(column).start) * GROUP_BYTES;
    assert!(start < bytes.len(), "a group has something of its column");
    match bytes.get(start..start + GROUP_BYTES) {
        Some(whole) => whole,
        // The last group of a column: what lies behind the rows is zero in every image, whatever the buffer held before.
        None => {
            let tail = &bytes[start..];
            padded[..tail.len()].copy_from_slice(tail);
            padded[tail.len()..].fill(0);
            padded
        }
    }
}

/// Hands out the image's bytes in order, in parts of at most a column.
pub fn export<E>(
    layout: &ImageLayout,
    rows: &Rows<'_>,
    mut write: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    const ZEROS: [u8; GROUP_BYTES] = [0; GROUP_BYTES];
    let mut written = 0;
    for (column, bytes) in Column::ALL.into_iter().zip(rows.column_bytes()) {
        write(bytes)?;
        let padding = layout.column_groups(column).len() * GROUP_BYTES - bytes.len();
        assert!(padding < GROUP_BYTES, "a column ends in its last group");
        write(&ZEROS[..padding])?;
        written += bytes.len() + padding;
    }
    assert_eq!(written as u64, layout.bytes(), "a reader takes an image of the length that was written");
    Ok(())
}

/// Loads an image into the columns.
///
/// # Errors
/// If its size is not what the capacities need, or padding is not zero; the columns are then unchanged.
pub fn import(layout: &ImageLayout, rows: &mut Rows<'_>, image: &[u8]) -> Result<(), ImageError> {
    if image.len() as u64 != layout.bytes() {
        return Err(ImageError::Length { expected: layout.bytes(), found: image.len() as u64 });
    }
    let parts = Column::ALL.map(|column| {
        let groups = layout.column_groups(column);
        let used = layout.capacity.rows(column) * column.row_bytes();
        let (data, padding) = image[groups.start * GROUP_BYTES..groups.end * GROUP_BYTES].split_at(used);
        (groups.start * GROUP_BYTES + used, data, padding)
    });
    // All of it before the first byte is written: whoever is refused keeps the columns that were there.
    for (start, _, padding) in parts {
        if let Some(at) = padding.iter().position(|byte| *byte != 0) {
            return Err(ImageError::Padding { at: (start + at) as u64 });
        }
    }
    for (column, (_, data, _)) in rows.column_bytes_mut().into_iter().zip(parts) {
        column.copy_from_slice(data);
    }
    Ok(())
}

/// Fills every group of the columns in parallel: `read` puts a group's bytes where it is told to.
///
/// # Errors
/// The first error of `read`, or bytes in a column's padding that are not zero. The columns then hold neither what they
/// held nor the image: they must be filled again.
pub fn fill<E: Send + From<ImageError>>(
    layout: &ImageLayout,
    rows: &mut Rows<'_>,
    read: impl Fn(usize, &mut [u8; GROUP_BYTES]) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let columns = Column::ALL.into_iter().zip(rows.column_bytes_mut());
    let groups: Vec<(usize, &mut [u8])> =
        columns.flat_map(|(column, bytes)| layout.column_groups(column).zip(bytes.chunks_mut(GROUP_BYTES))).collect();
    assert_eq!(groups.len(), layout.groups(), "every group of the image is read");
    groups.into_par_iter().try_for_each(|(index, bytes)| {
        if let Ok(whole) = <&mut [u8; GROUP_BYTES]>::try_from(&mut *bytes) {
            return read(index, whole);
        }
        let mut group = [0; GROUP_BYTES];
        read(index, &mut group)?;
        let (data, padding) = group.split_at(bytes.len());
        // Padding is hashed: two images of one state would have two roots.
        if let Some(at) = padding.iter().position(|byte| *byte != 0) {
            let at = (index * GROUP_BYTES + data.len() + at) as u64;
            return Err(ImageError::Padding { at }.into());
        }
        bytes.copy_from_slice(data);
        Ok(())
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use bevy_ecs::system::SystemState;
    use bevy_ecs::world::World;
    use proptest::prelude::*;

    use super::*;
    use crate::columns::Columns;
    use crate::genesis::{Genesis, HexBytes, Opening};

    pub(crate) fn genesis(tables: u32, seats: u32, accounts: u32) -> Genesis {
        Genesis {
            version: crate::genesis::GENESIS_VERSION,
            name: "test".into(),
            keys: crate::genesis::KeySource::Seed,
            start_ms: 1,
            supply: 1_000_000,
            tables,
            seats,
            accounts,
            grant: 10,
            opening: Opening::Free { per_height: 1 },
            rules: vec![Default::default()],
            bank_target: 1,
            window_min_ms: 100,
            window_max_ms: 1_000,
            clock_phases: 1,
            idle_ms: 10_000,
            account_idle_ms: 10_000,
            idleness: Default::default(),
            block_interval_ms: 10,
            validators: vec![crate::genesis::GenesisValidator {
                name: "a".into(),
                vote_key: HexBytes([3; 32]),
                dkg_key: HexBytes([8; 32]),
            }],
            group_key: HexBytes([4; 96]),
        }
    }

    pub(crate) fn world(genesis: &Genesis) -> World {
        let mut world = World::new();
        crate::world::spawn(&mut world, genesis, &[[7; 32]], 0, 1);
        world
    }

    pub(crate) fn bytes(layout: &ImageLayout, rows: &Rows<'_>) -> Vec<u8> {
        let mut image = Vec::new();
        let all: Result<(), ()> = export(layout, rows, |part| {
            image.extend_from_slice(part);
            Ok(())
        });
        all.expect("writing to a vector cannot fail");
        image
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn root_is_the_hash_of_the_exported_image(
            tables in 1u32..700, seats in 1u32..=16, accounts in 1u32..2_000,
            rounds in prop::collection::vec(prop::collection::vec((0usize..COLUMNS, any::<u32>(), any::<u8>()), 0..40), 1..4),
        ) {
            let genesis = genesis(tables, seats, accounts);
            let layout = ImageLayout::new(Capacity::of(&genesis));
            let mut world = world(&genesis);
            let mut tree = world.remove_resource::<RootTree>().expect("spawn inserts it");
            let mut dirty = world.remove_resource::<DirtyMap>().expect("spawn inserts it");
            let mut state = SystemState::<Columns<'_, '_>>::new(&mut world);
            let mut columns = state.get_mut(&mut world).expect("columns");
            for writes in rounds {
                let mut rows = columns.rows();
                for (column, row, byte) in writes {
                    let column = Column::ALL[column];
                    let row = row as usize % layout.capacity.rows(column);
                    rows.column_bytes_mut()[column as usize][row * column.row_bytes() + 17] = byte;
                    dirty.mark(column, row);
                }
                let image = bytes(&layout, &rows);
                prop_assert_eq!(image.len() as u64, layout.bytes());
                prop_assert_eq!(tree.update(&rows, &mut dirty), *blake3::hash(&image).as_bytes());
            }
        }
    }

    #[test]
    fn chunks_mark_the_groups_that_single_rows_mark() {
        let layout = ImageLayout::new(Capacity { tables: 600, seats: 5, accounts: 1, pledges: 1 });
        let (mut by_row, mut by_chunk) = (DirtyMap::new(layout.clone()), DirtyMap::new(layout));
        let (mut left, mut right) = (Vec::new(), Vec::new());
        by_row.take(&mut left);
        by_chunk.take(&mut right);
        for table in [0, 255, 256, 511, 599] {
            let (chunk, within) = (table / 256, table % 256);
            by_row.mark(Column::Tables, table);
            by_row.mark(Column::Seats, table * 5 + 4);
            by_row.mark(Column::Bets, table * 5 + 3);
            by_row.mark(Column::MoreBets, table * 5);
            let mut part = by_chunk.table_chunks().nth(chunk).expect("a chunk");
            part.mark(Column::Tables, within);
            part.mark(Column::Seats, within * 5 + 4);
            part.mark(Column::Bets, within * 5 + 3);
            part.mark(Column::MoreBets, within * 5);
        }
        by_row.take(&mut left);
        by_chunk.take(&mut right);
        assert_eq!(left, right);
        assert!(!left.is_empty());
    }

    #[test]
    fn an_image_loads_into_the_columns_it_came_from() {
        let genesis = genesis(300, 3, 50);
        let layout = ImageLayout::new(Capacity::of(&genesis));
        let mut first = world(&genesis);
        let mut state = SystemState::<Columns<'_, '_>>::new(&mut first);
        let mut columns = state.get_mut(&mut first).expect("columns");
        let rows = columns.rows();
        rows.tables[299].roll_number = 77;
        rows.accounts[49].number_highest = 5;
        let mut image = bytes(&layout, &rows);

        let mut second = world(&genesis);
        let mut state = SystemState::<Columns<'_, '_>>::new(&mut second);
        let mut columns = state.get_mut(&mut second).expect("columns");
        let mut rows = columns.rows();
        assert_eq!(import(&layout, &mut rows, &image), Ok(()));
        assert_eq!(rows.tables[299].roll_number, 77);
        assert_eq!(bytes(&layout, &rows), image);

        let last = image.len() - 1;
        image[last] = 1;
        assert_eq!(import(&layout, &mut rows, &image), Err(ImageError::Padding { at: last as u64 }));
        image.pop();
        assert!(matches!(import(&layout, &mut rows, &image), Err(ImageError::Length { .. })));
    }
}
