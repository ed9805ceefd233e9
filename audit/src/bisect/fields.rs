//! The image in words: which field of which row a byte belongs to, and how its value reads.

use engine::columns::{Column, Rows};
use engine::hex;

/// A value as a person reads it: a number where the field is as wide as one, else hex.
pub fn value(bytes: &[u8]) -> String {
    match bytes.len() {
        1 | 2 | 4 | 8 => {
            let mut wide = [0; 8];
            wide[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(wide).to_string()
        }
        _ => hex(bytes),
    }
}

/// Where two states of one genesis differ in a column: the first place, and how many rows differ.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RowDifference {
    /// The column.
    pub column: Column,
    /// The first row that differs.
    pub row: usize,
    /// Its first field that differs.
    pub field: String,
    /// The field's value in the first state.
    pub first: String,
    /// The field's value in the second state.
    pub second: String,
    /// Rows of the column that differ.
    pub rows: usize,
}

/// Compares two states: each column that differs, in the order of the image, but the house last, whose sums follow from
/// the other rows.
pub fn compare(first: &Rows<'_>, second: &Rows<'_>) -> Vec<RowDifference> {
    let (first, second) = (first.column_bytes(), second.column_bytes());
    let order = Column::ALL.into_iter().skip(1).chain([Column::House]);
    order
        .filter_map(|column| {
            let (a, b) = (first[column as usize], second[column as usize]);
            // States of one genesis have columns of one length, so nothing lies behind the shorter one.
            let at = a.iter().zip(b).position(|(a, b)| a != b)?;
            let width = column.row_bytes();
            let (row, byte) = (at / width, at % width);
            let (field, range) = column.fields().at(byte);
            let range = row * width + range.start..row * width + range.end;
            let rows = a.chunks(width).zip(b.chunks(width)).filter(|(a, b)| a != b).count();
            let (first, second) = (value(&a[range.clone()]), value(&b[range]));
            Some(RowDifference { column, row, field, first, second, rows })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_read_as_numbers_where_they_are() {
        assert_eq!(value(&[1, 1, 0, 0, 0, 0, 0, 0]), "257");
        assert_eq!(value(&[7]), "7");
        assert_eq!(value(&[0xab; 3]), "ababab");
    }
}
