//! The layout: every spot of the catalogue in groups of rows and columns, as the cursor walks over them.

use engine::dice::BOX_NUMBERS;

use engine::{BetId, Spot};
use systems::catalogue::{BETS, Family, Flat, bet_named, bet_of, spot_of, standing_spot};

use words::names::spot_words;

/// Bets that are shown together.
pub struct BetGroup {
    /// Its name.
    pub name: &'static str,
    /// A heading for each column; without, every cell carries its own name.
    pub columns: Vec<String>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A row of a group: as many cells as the group has columns, some of them without a bet.
pub struct Row {
    /// Its heading; empty where cells carry names.
    pub name: &'static str,
    /// The cells.
    pub cells: Vec<Option<Spot>>,
}

impl BetGroup {
    /// How many columns it has.
    pub fn width(&self) -> usize {
        self.rows.iter().map(|row| row.cells.len()).max().unwrap_or(0)
    }

    /// What lies at a row and a column.
    pub fn at(&self, row: usize, column: usize) -> Option<Spot> {
        self.rows.get(row)?.cells.get(column).copied().flatten()
    }

    /// Lines that it takes on the screen: its rows, and its headings where it has any.
    pub fn lines(&self) -> u16 {
        self.rows.len() as u16 + u16::from(!self.columns.is_empty())
    }
}

fn named(name: &str) -> Option<Spot> {
    bet_named(name).map(|bet| Spot(bet.0))
}

/// A group whose cells carry their names, so many in a row.
fn list(name: &'static str, rows: &[&[&str]]) -> BetGroup {
    let row = |names: &&[&str]| Row { name: "", cells: names.iter().map(|name| named(name)).collect() };
    BetGroup { name, columns: Vec::new(), rows: rows.iter().map(row).collect() }
}

/// A row with a cell for each number, of the catalogue's bets `prefix_number`.
fn numbers(name: &'static str, prefix: &str, numbers: &[u8]) -> Row {
    Row { name, cells: numbers.iter().map(|number| named(&format!("{prefix}_{number}"))).collect() }
}

fn with_family(family: impl Fn(Family) -> bool) -> BetId {
    let bet = BETS.iter().find(|bet| family(bet.family));
    bet.expect("the catalogue has every family").id
}

fn come() -> BetGroup {
    let flat = |name, bet: BetId| {
        let travelled = BOX_NUMBERS.iter().map(|number| standing_spot(bet, *number));
        Row { name, cells: std::iter::once(spot_of(bet, 0)).chain(travelled).collect() }
    };
    let odds = |name, flat: Flat| {
        let bet = with_family(|family| matches!(family, Family::Odds(of) if of == flat));
        let cells = std::iter::once(None).chain(BOX_NUMBERS.iter().map(|number| spot_of(bet, *number)));
        Row { name, cells: cells.collect() }
    };
    BetGroup {
        name: "Come",
        columns: std::iter::once("new".into()).chain(BOX_NUMBERS.iter().map(u8::to_string)).collect(),
        rows: vec![
            flat("come", with_family(|family| matches!(family, Family::Come))),
            odds("odds", Flat::Come),
            flat("don't come", with_family(|family| matches!(family, Family::DontCome))),
            odds("odds", Flat::DontCome),
        ],
    }
}

fn place() -> BetGroup {
    let put_odds = with_family(|family| matches!(family, Family::Odds(Flat::Put)));
    BetGroup {
        name: "Place",
        columns: BOX_NUMBERS.iter().map(u8::to_string).collect(),
        rows: vec![
            numbers("place", "place", &BOX_NUMBERS),
            numbers("buy", "buy", &BOX_NUMBERS),
            numbers("lay", "lay", &BOX_NUMBERS),
            numbers("to lose", "place_lose", &BOX_NUMBERS),
            numbers("put", "put", &BOX_NUMBERS),
            Row { name: "put odds", cells: BOX_NUMBERS.iter().map(|number| spot_of(put_odds, *number)).collect() },
        ],
    }
}

fn totals() -> BetGroup {
    let all: Vec<u8> = (2..=12).collect();
    BetGroup {
        name: "Totals",
        columns: all.iter().map(u8::to_string).collect(),
        rows: vec![
            numbers("yes", "yes", &all),
            numbers("no", "no", &all),
            numbers("next", "next", &all),
            numbers("repeater", "repeater", &all),
        ],
    }
}

fn hops() -> BetGroup {
    const NAMES: [&str; 6] = ["hop 1", "hop 2", "hop 3", "hop 4", "hop 5", "hop 6"];
    let row = |low: u8| {
        let cell = |high: u8| if high < low { None } else { named(&format!("hop_{low}{high}")) };
        Row { name: NAMES[usize::from(low) - 1], cells: (1..=6).map(cell).collect() }
    };
    BetGroup {
        name: "Hops",
        columns: (1..=6).map(|face: u8| format!("with {face}")).collect(),
        rows: (1..=6).map(row).collect(),
    }
}

/// The groups, in the order in which Tab goes through them. Every spot is in one of them.
pub fn groups() -> Vec<BetGroup> {
    vec![
        list(
            "Line",
            &[
                &["pass", "odds_pass", "dont_pass", "odds_dont_pass"],
                &["field", "big_6", "big_8"],
                &["hard_4", "hard_6", "hard_8", "hard_10"],
            ],
        ),
        come(),
        place(),
        totals(),
        list(
            "Props",
            &[
                &["any_seven", "any_craps", "under_7", "over_7"],
                &["craps_2", "craps_3", "yo_11", "craps_12"],
                &["hi_lo", "hi_lo_yo", "three_way", "c_and_e"],
                &["horn", "world", "low_dice", "high_dice"],
                &["horn_high_2", "horn_high_3", "horn_high_11", "horn_high_12"],
            ],
        ),
        hops(),
        list(
            "Hand",
            &[
                &["fire", "hot_roller", "bonus_small"],
                &["ride_line", "hot_shooter", "bonus_tall"],
                &["replay", "hot_hand", "bonus_all"],
                &["muggsy", "twice_hard", "different_doubles"],
                &["point_seven", "seven_point", "seven_point_seven"],
                &["flaming_four", "sizzling_six"],
            ],
        ),
    ]
}

/// A cell's own name. Odds on the line stand right of their flat bet.
pub fn cell_words(spot: Spot) -> String {
    match BETS[bet_of(spot).index()].family {
        Family::Odds(Flat::Pass | Flat::DontPass) => "odds".into(),
        _ => spot_words(spot),
    }
}

/// Where a spot lies: group, row and column.
pub fn place_of(groups: &[BetGroup], spot: Spot) -> Option<(usize, usize, usize)> {
    groups.iter().enumerate().find_map(|(index, group)| {
        let found = group.rows.iter().enumerate().find_map(|(row, cells)| {
            cells.cells.iter().position(|cell| *cell == Some(spot)).map(|column| (row, column))
        });
        found.map(|(row, column)| (index, row, column))
    })
}

#[cfg(test)]
mod tests {
    use engine::limits::SPOTS;

    use super::*;

    #[test]
    fn every_spot_lies_in_one_cell() {
        let groups = groups();
        let mut seen: Vec<u8> = groups
            .iter()
            .flat_map(|group| group.rows.iter().flat_map(|row| row.cells.iter().flatten().map(|spot| spot.0)))
            .collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..SPOTS as u8).collect::<Vec<_>>());
        for spot in seen.into_iter().map(Spot) {
            let (group, row, column) = place_of(&groups, spot).expect("a cell");
            assert_eq!(groups[group].at(row, column), Some(spot));
        }
    }
}
