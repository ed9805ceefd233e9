//! Settle: what crosses rows, one by one in table order: players' chips to their cages, banks and treasury.

use bevy_ecs::system::{Res, ResMut};
use engine::Chips;
use engine::columns::{Column, Columns};
use engine::image::DirtyMap;
use engine::limits::CHUNK_ACCOUNTS;

use super::block::Current;
use super::ledger::{Ledger, Postings};
use super::resolve::Crossing;
use crate::state::setup::Setup;

/// System: settles the accounts of players who left, and the banks between hands.
pub fn settle_accounts(
    setup: Res<'_, Setup>,
    current: Res<'_, Current>,
    mut columns: Columns<'_, '_>,
    mut ledger: ResMut<'_, Ledger>,
    mut crossing: ResMut<'_, Crossing>,
    mut dirty: ResMut<'_, DirtyMap>,
) {
    let mut rows = columns.rows();
    for departure in crossing.departures.drain(..) {
        let id = departure.account.index();
        let account = &mut rows.accounts[id];
        assert!(account.is_open(), "whoever leaves a seat has an account");
        assert!(account.seats > 0, "whoever leaves a seat has an account that holds it");
        assert!(departure.chips <= rows.house.rails, "a rail that goes to a cage is among all rails");
        // The chunk took the rail out of its own rows and totals; the house and the cage follow here, where no two workers
        // can meet in one account.
        account.cage += departure.chips;
        account.count_wagered(departure.wagered);
        account.seats -= 1;
        rows.house.rails -= departure.chips;
        rows.house.cages += departure.chips;
        let part = &mut ledger.cages[id / CHUNK_ACCOUNTS];
        *part += departure.chips;
        assert!(account.cage <= *part, "a cage is among those of its part");
        dirty.mark(Column::Accounts, id);
    }

    // Banks give before others are filled: at a height with both, an empty treasury can fill with what it just got.
    let skimmed = std::mem::take(&mut crossing.skimmed);
    assert!(skimmed <= rows.house.banks, "what banks give back was theirs");
    rows.house.banks -= skimmed;
    rows.house.treasury += skimmed;
    let target = Chips(setup.genesis.bank_target);
    let mut filled = None;
    for table in crossing.to_fill.drain(..) {
        // A treasury that is short fills the first of them: which that is may follow from no worker.
        assert!(filled < Some(table), "banks are filled once, and in the order of tables");
        filled = Some(table);
        assert!(rows.tables[table.index()].bank < target, "only a bank below its target asks for more");
        let mut book = Postings { rows: &mut rows, ledger: &mut ledger, dirty: &mut dirty };
        book.balance_bank(table.index(), target);
    }

    let house = rows.house;
    assert!(crossing.departures.is_empty(), "every rail that left a table is posted");
    assert!(crossing.to_fill.is_empty(), "every bank that asked is looked at");
    assert!(house.is_conserved(), "height {}: what left a row reached another", current.height);
    assert_eq!(current.height, house.height.next(), "heights are settled one after another");
    assert!(current.time_ms > house.time_ms, "block time moves forward");
    // A clock that went back would make seats idle that are not, or give openings more time than their deadline.
    assert!(current.active_ms >= house.active_ms, "the clock of activity does not go back");
    assert!(current.opening_ms >= house.opening_ms, "the clock of openings does not go back");
    house.height = current.height;
    house.time_ms = current.time_ms;
    house.active_ms = current.active_ms;
    house.opening_ms = current.opening_ms;
    dirty.mark(Column::House, 0);
}
