//! Invariants: checked at every height, in release builds. A node that finds one broken stops before it records.

use bevy_ecs::system::{Res, ResMut};
use engine::columns::{Column, Columns, Rows};
use engine::component::{AccountStatus, BetRow, House};
use engine::image::DirtyMap;
use engine::limits::{CHUNK_TABLES, RECOUNT_PARTS};
use engine::{AccountId, Chips};

use crate::accounts::{AccountIndex, Fate, accounts_looked_over, fate_of};
use crate::block::Current;
use crate::catalogue::Catalogue;
use crate::ledger::{CHUNK_ACCOUNTS, Ledger, Postings, TableTotals, count_cages, held};
use crate::setup::Setup;

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
    assert!(rows.house.is_conserved(), "height {}: chips are neither made nor lost", current.height);
    let part = current.height.0 % RECOUNT_PARTS;
    for chunk in (part as usize..ledger.tables.len()).step_by(RECOUNT_PARTS as usize) {
        check_tables(&setup, &rows, &ledger, chunk);
    }
    for chunk in (part as usize..ledger.cages.len()).step_by(RECOUNT_PARTS as usize) {
        assert_eq!(count_cages(&rows, chunk), ledger.cages[chunk], "cages of part {chunk}");
    }
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
    let House { cages, rails, felts, banks, .. } = *rows.house;
    assert_eq!(ledger.cages.iter().copied().sum::<Chips>(), cages, "the sum of all cages");
    assert_eq!(ledger.tables.iter().map(|totals| totals.rails).sum::<Chips>(), rails, "the sum of all rails");
    assert_eq!(ledger.tables.iter().map(|totals| totals.felts).sum::<Chips>(), felts, "the sum of all felts");
    assert_eq!(ledger.tables.iter().map(|totals| totals.banks).sum::<Chips>(), banks, "the sum of all banks");
    assert!(rows.house.is_conserved(), "all chips together are the supply");
    ledger
}

/// System: one part in 64 of the accounts is looked over. The grants of those that never bet go back to the treasury, and
/// empty ones without a seat become free.
pub fn free_idle_accounts(
    setup: Res<'_, Setup>,
    current: Res<'_, Current>,
    mut columns: Columns<'_, '_>,
    mut index: ResMut<'_, AccountIndex>,
    mut ledger: ResMut<'_, Ledger>,
    mut dirty: ResMut<'_, DirtyMap>,
) {
    let mut rows = columns.rows();
    for id in accounts_looked_over(current.height, rows.accounts.len()) {
        let fate = fate_of(&rows.accounts[id], &setup.genesis, current.active_ms);
        if fate == Fate::Stays {
            continue;
        }
        if fate.returns_grant() {
            let chips = rows.accounts[id].granted.min(rows.accounts[id].cage);
            Postings { rows: &mut rows, ledger: &mut ledger, dirty: &mut dirty }.cage_to_treasury(id, chips);
            rows.accounts[id].granted = Chips::ZERO;
        }
        if fate.frees() {
            assert_eq!(rows.accounts[id].cage, Chips::ZERO, "a slot that becomes free holds nothing");
            rows.accounts[id].status = AccountStatus::Free as u8;
            index.remove(AccountId(id as u32), rows.keys);
            rows.keys[id].key = [0; 32];
            rows.house.accounts_open -= 1;
            dirty.mark(Column::AccountKeys, id);
        }
        dirty.mark(Column::Accounts, id);
        dirty.mark(Column::House, 0);
    }
}
