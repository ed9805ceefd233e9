//! What every replicated row says of itself: its fields by name, and what it is when a chain begins.

use std::ops::Range;

use bevy_ecs::component::{Component, Mutable};
use bytemuck::Pod;

use crate::genesis::Genesis;
use crate::limits::COUNTER_MAX;
use crate::message::Hash;

/// A row of a replicated column.
pub trait Row: Component<Mutability = Mutable> + Pod {
    /// The row's fields.
    const FIELDS: Fields;

    /// The row when a chain begins: zero unless the component says otherwise.
    fn first(_start: &ChainStart<'_>, _row: usize) -> Self {
        Self::zeroed()
    }
}

/// One more than a row has counted, up to [`COUNTER_MAX`]: a counter beyond it would make a state that no node loads, and one
/// that ran over would stop every node at the same block.
#[inline]
pub fn count_on(counted: u32) -> u32 {
    counted.saturating_add(1).min(COUNTER_MAX as u32)
}

/// What the first rows of a chain follow from.
pub struct ChainStart<'a> {
    /// The genesis, checked.
    pub genesis: &'a Genesis,
    /// A hash for each of its sets of rules.
    pub rules_hashes: &'a [Hash],
}

/// The fields of a row, or of each element where the row is an array. Rows have no padding, so that a field ends where
/// the next one begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fields {
    /// The array's name, in a row that is one.
    pub array: Option<&'static str>,
    /// Bytes of the row, or of one element.
    pub bytes: usize,
    /// Name and first byte of each field.
    pub starts: &'static [(&'static str, usize)],
}

impl Fields {
    /// The name of the field that a byte of the row belongs to, and the field's bytes in the row.
    pub fn at(&self, byte: usize) -> (String, Range<usize>) {
        let (element, byte) = (byte / self.bytes, byte % self.bytes);
        let base = element * self.bytes;
        let starts = || self.starts.iter().copied();
        let (name, start) = starts()
            .filter(|(_, start)| *start <= byte)
            .max_by_key(|(_, start)| *start)
            .expect("every row has a field at its first byte");
        let end = starts().map(|(_, start)| start).filter(|start| *start > byte).min().unwrap_or(self.bytes);
        let name = self.array.map_or_else(|| name.to_owned(), |array| format!("{array}[{element}].{name}"));
        (name, base + start..base + end)
    }
}

/// The [`Fields`] of a row. A field that is left out does not compile.
macro_rules! fields {
    ($row:ident: $($field:ident)*) => { $crate::component::row::fields!(@of None, $row: $($field)*) };
    ($array:ident[$row:ident]: $($field:ident)*) => {
        $crate::component::row::fields!(@of Some(stringify!($array)), $row: $($field)*)
    };
    (@of $array:expr, $row:ident: $($field:ident)*) => {{
        const _: fn($row) = |$row { $($field: _),* }| {};
        $crate::component::row::Fields {
            array: $array,
            bytes: size_of::<$row>(),
            starts: &[$((stringify!($field), std::mem::offset_of!($row, $field))),*],
        }
    }};
}
pub(crate) use fields;
