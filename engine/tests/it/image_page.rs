//! `docs/formats/image.md` against the columns that the code has: names, sizes, counts, and the bytes of every field.

use std::collections::BTreeSet;

use engine::columns::{Capacity, Column};

const PAGE: &str = include_str!("../../../docs/formats/image.md");

/// Counts that differ from each other and from every number on the page, so that one cannot pass for another.
const CAPACITY: Capacity = Capacity { tables: 1_009, seats: 13, accounts: 2_003, pledges: 3_001 };

/// The cells of the page's table rows below a heading, in order.
fn table_rows(heading: &str) -> Vec<Vec<&'static str>> {
    let section = PAGE.split("\n#").find(|section| section.trim_start_matches('#').trim_start().starts_with(heading));
    let section = section.unwrap_or_else(|| panic!("the page has no section {heading}"));
    let rows = section.lines().filter(|line| line.starts_with('|'));
    rows.map(|row| row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`')).collect()).collect()
}

/// How many rows a cell such as `tables x seats` says.
fn count(cell: &str) -> usize {
    let factor = |word: &str| match word.trim() {
        "tables" => CAPACITY.tables,
        "seats" => CAPACITY.seats,
        "accounts" => CAPACITY.accounts,
        "pledges" => CAPACITY.pledges,
        number => number.parse().unwrap_or_else(|_| panic!("{number:?} rows")),
    };
    cell.split(" x ").map(factor).product()
}

#[test]
fn the_page_lists_every_column_in_order_with_its_size_and_count() {
    let page: Vec<(String, usize, usize)> = table_rows("Image and root")
        .iter()
        .filter(|row| row[0].parse::<usize>().is_ok())
        .map(|row| (row[1].to_owned(), row[2].parse().expect("bytes a row"), count(row[3])))
        .collect();
    let code: Vec<(String, usize, usize)> = Column::ALL
        .into_iter()
        .map(|column| (column.name().to_owned(), column.row_bytes(), CAPACITY.rows(column)))
        .collect();
    assert_eq!(page, code);
}

#[test]
fn the_page_gives_every_field_its_offset_and_bytes() {
    let mut checked = 0;
    for column in Column::ALL {
        // A section for a row of its own has offset, bytes, field; one for several has the component's name before.
        let heading = match column {
            Column::GroupKey | Column::Validators | Column::NextValidators | Column::Rules => {
                "GroupKey, Validator, NextValidator, RulesHash"
            }
            Column::Bets | Column::MoreBets => "Bets and MoreBets",
            Column::Accounts | Column::AccountKeys => "Account and AccountKey",
            _ => column.name(),
        };
        // The pending set has the rows of the present one.
        let name = if column == Column::NextValidators { "Validator" } else { column.name() };
        let rows = table_rows(heading);
        let named = rows[0][0] == "column";
        let mut current = "";
        let mut page = Vec::new();
        for row in rows.iter().skip(2) {
            if named && !row[0].is_empty() {
                current = row[0];
            }
            let cells = if named { &row[1..] } else { &row[..] };
            let numbers = cells[0].parse::<usize>().ok().zip(cells[1].parse::<usize>().ok());
            page.extend(numbers.filter(|_| !named || current == name));
        }
        let fields = column.fields();
        let code: Vec<(usize, usize)> = fields
            .starts
            .iter()
            .map(|(_, start)| fields.at(*start).1)
            .map(|range| (range.start, range.len()))
            .collect();
        assert_eq!(page, code, "{}", column.name());
        checked += code.len();
    }
    assert!(checked > 50, "only {checked} fields were compared");
}

#[test]
fn every_byte_of_every_row_has_one_field() {
    for column in Column::ALL {
        let mut at = 0;
        let mut names = BTreeSet::new();
        while at < column.row_bytes() {
            let (name, range) = column.fields().at(at);
            assert_eq!(range.start, at, "{} {name}", column.name());
            range.clone().for_each(|byte| assert_eq!(column.fields().at(byte), (name.clone(), range.clone())));
            assert!(names.insert(name));
            at = range.end;
        }
        assert_eq!(at, column.row_bytes());
    }
    assert_eq!(Column::Tables.fields().at(49), ("occupied".into(), 48..50));
    assert_eq!(Column::MoreBets.fields().at(190), ("rows[23].spot".into(), 190..191));
    assert_eq!(Column::Accounts.fields().at(5), ("cage".into(), 0..8));
}
