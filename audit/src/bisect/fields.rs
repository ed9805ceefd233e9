//! The image in words: which field of which row a byte belongs to, and how its value reads.

use std::mem::offset_of;
use std::ops::Range;

use engine::columns::{Column, Rows};
use engine::component::{Account, AccountKey, BetRow, GroupKey, House, RulesHash, Seat, Table, Validator};
use engine::hex;

/// A field's name, and where it begins in its row.
type Start = (&'static str, usize);

macro_rules! fields {
    ($row:ty: $($field:ident)*) => {
        &[$((stringify!($field), offset_of!($row, $field))),*]
    };
}

const HOUSE: &[Start] = fields!(House: supply treasury cages rails felts banks height time_ms active_ms accounts_open
    reserved);
const GROUP_KEY: &[Start] = fields!(GroupKey: key epoch reserved);
const VALIDATOR: &[Start] = fields!(Validator: vote_key voting_power reserved);
const RULES: &[Start] = fields!(RulesHash: hash reserved);
const TABLE: &[Start] = fields!(Table: bank exposure felt next_roll_ms opened_ms roll_number hand_number occupied dice point
    shooter rules roll_called wanted_ms);
const SEAT: &[Start] = fields!(Seat: rail wagered last_intent_ms spots account status reserved last_bet_ms);
const ACCOUNT: &[Start] = fields!(Account: cage number_highest numbers_used granted wagered last_intent_ms generation seats
    status reserved opened_s);
const ACCOUNT_KEY: &[Start] = fields!(AccountKey: key reserved);
const BET: &[Start] = fields!(BetRow: amount progress spot flags);

/// The field that byte `byte` of a column's row belongs to: its name, and its bytes in the row.
pub fn field_at(column: Column, byte: usize) -> (String, Range<usize>) {
    let starts = match column {
        Column::House => HOUSE,
        Column::GroupKey => GROUP_KEY,
        Column::Validators => VALIDATOR,
        Column::Rules => RULES,
        Column::Tables => TABLE,
        Column::Seats => SEAT,
        Column::Bets | Column::MoreBets => {
            let bet = byte / size_of::<BetRow>();
            let base = bet * size_of::<BetRow>();
            let (name, range) = find(BET, size_of::<BetRow>(), byte - base);
            return (format!("rows[{bet}].{name}"), base + range.start..base + range.end);
        }
        Column::Accounts => ACCOUNT,
        Column::AccountKeys => ACCOUNT_KEY,
    };
    let (name, range) = find(starts, column.row_bytes(), byte);
    (name.to_owned(), range)
}

/// The last field that begins at or before a byte. Rows have no padding, so that it ends where the next one begins.
fn find(starts: &[Start], row_bytes: usize, byte: usize) -> (&'static str, Range<usize>) {
    let (name, start) = *starts
        .iter()
        .filter(|(_, start)| *start <= byte)
        .max_by_key(|(_, start)| *start)
        .expect("every row has a field at its first byte");
    let end = starts.iter().map(|(_, start)| *start).filter(|start| *start > byte).min().unwrap_or(row_bytes);
    (name, start..end)
}

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
            let at = a.iter().zip(b).position(|(a, b)| a != b)?;
            let width = column.row_bytes();
            let (row, byte) = (at / width, at % width);
            let (field, range) = field_at(column, byte);
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
    fn every_byte_of_every_row_has_one_field() {
        for column in Column::ALL {
            let mut at = 0;
            let mut names = std::collections::BTreeSet::new();
            while at < column.row_bytes() {
                let (name, range) = field_at(column, at);
                assert_eq!(range.start, at, "{} {name}", column.name());
                range.clone().for_each(|byte| assert_eq!(field_at(column, byte), (name.clone(), range.clone())));
                assert!(names.insert(name));
                at = range.end;
            }
            assert_eq!(at, column.row_bytes());
        }
        assert_eq!(field_at(Column::Tables, 49), ("occupied".into(), 48..50));
        assert_eq!(field_at(Column::MoreBets, 190), ("rows[23].spot".into(), 190..191));
        assert_eq!(field_at(Column::Accounts, 5), ("cage".into(), 0..8));
    }

    #[test]
    fn values_read_as_numbers_where_they_are() {
        assert_eq!(value(&[1, 1, 0, 0, 0, 0, 0, 0]), "257");
        assert_eq!(value(&[7]), "7");
        assert_eq!(value(&[0xab; 3]), "ababab");
    }
}
