//! Invariants: checked at every height, in release builds. A node that finds one broken stops before it records.

use bevy_ecs::system::Res;
use engine::Chips;
use engine::columns::{Columns, Rows};
use engine::component::{BetRow, House};
use engine::limits::{CHUNK_TABLES, RECOUNT_PARTS};

use super::block::Current;
use super::ledger::{Ledger, TableTotals, count_cages, held};
use crate::catalogue::Catalogue;
use crate::state::setup::Setup;
use engine::limits::CHUNK_ACCOUNTS;

/// System: every chip is in exactly one place. The control accounts add up to the supply, and one part in 64 of the
/// rows is counted against the totals that postings kept.
///
/// # Panics
/// If not: the height must not be recorded.
pub fn check_invariants(
    setup: Res<'_, Setup>,
    current: Res<'_, Current>,
    ledger: Res<'_, Ledger>,
    mut columns: Columns<'_, '_>,
) {
    let rows = columns.rows();
    assert_eq!(rows.house.height, current.height, "the height that is checked was settled");
    assert_eq!(rows.house.supply, Chips(setup.genesis.supply), "the supply is that of genesis for ever");
    assert!(rows.house.is_conserved(), "height {}: chips are neither made nor lost", current.height);
    assert!(rows.house.accounts_open as usize <= rows.accounts.len(), "no more accounts are open than there are");
    check_parts(&ledger, rows.house);
    // All rows at every height would cost more than settling does; a row that changed without a posting is found within
    // 64 heights.
    let part = current.height.0 % RECOUNT_PARTS;
    for chunk in (part as usize..ledger.tables.len()).step_by(RECOUNT_PARTS as usize) {
        check_tables(&setup, &rows, &ledger, chunk);
    }
    for chunk in (part as usize..ledger.cages.len()).step_by(RECOUNT_PARTS as usize) {
        assert_eq!(count_cages(&rows, chunk), ledger.cages[chunk], "cages of part {chunk}");
    }
}

/// The parts are what a recount finds rows by, and the control accounts are what everybody sees: a posting that reached only one
/// of them shows here, at its own height.
fn check_parts(ledger: &Ledger, house: &House) {
    assert_eq!(ledger.cages.iter().copied().sum::<Chips>(), house.cages, "the sum of all cages");
    assert_eq!(ledger.tables.iter().map(|totals| totals.rails).sum::<Chips>(), house.rails, "the sum of all rails");
    assert_eq!(ledger.tables.iter().map(|totals| totals.felts).sum::<Chips>(), house.felts, "the sum of all felts");
    assert_eq!(ledger.tables.iter().map(|totals| totals.banks).sum::<Chips>(), house.banks, "the sum of all banks");
}

fn check_tables(setup: &Setup, rows: &Rows<'_>, ledger: &Ledger, chunk: usize) {
    let counted = count_tables(setup, rows, chunk);
    assert_eq!(counted, ledger.tables[chunk], "tables from {} on", chunk * CHUNK_TABLES);
}

fn count_tables(setup: &Setup, rows: &Rows<'_>, chunk: usize) -> TableTotals {
    TableTotals::count(rows, chunk, |rules, bet| worth(&setup.catalogues[rules as usize], bet))
}

fn worth(catalogue: &Catalogue, bet: BetRow) -> (Chips, Chips) {
    let chips = held(bet.amount, catalogue.commission(bet.spot));
    (chips, Chips(catalogue.max_win(bet.spot).floor_of(bet.amount)))
}

/// Counts every row: the totals of a world that was just built or loaded.
///
/// # Panics
/// If a table's own sums are wrong, or the control accounts are not the sums of their rows.
pub fn recount(setup: &Setup, rows: &Rows<'_>) -> Ledger {
    let tables = (0..rows.tables.len().div_ceil(CHUNK_TABLES)).map(|chunk| count_tables(setup, rows, chunk)).collect();
    let cages = (0..rows.accounts.len().div_ceil(CHUNK_ACCOUNTS)).map(|chunk| count_cages(rows, chunk)).collect();
    let ledger = Ledger { tables, cages };
    check_parts(&ledger, rows.house);
    assert!(rows.house.is_conserved(), "all chips together are the supply");
    ledger
}
