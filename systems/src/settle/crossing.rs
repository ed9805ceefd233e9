//! Settle: what crosses rows, one by one in table order: players' chips to their cages, banks and treasury.

use bevy_ecs::system::{Res, ResMut};
use engine::Chips;
use engine::columns::{Column, Columns};
use engine::image::DirtyMap;
use engine::limits::CHUNK_TABLES;

use super::block::Current;
use super::ledger::Ledger;
use super::resolve::Crossing;
use crate::state::setup::Setup;
use engine::limits::CHUNK_ACCOUNTS;

/// System: settles the accounts of players who left, and the banks between hands.
pub fn settle_accounts(
    setup: Res<'_, Setup>,
    current: Res<'_, Current>,
    mut columns: Columns<'_, '_>,
    mut ledger: ResMut<'_, Ledger>,
    mut crossing: ResMut<'_, Crossing>,
    mut dirty: ResMut<'_, DirtyMap>,
) {
    let rows = columns.rows();
    let house = rows.house;
    for departure in crossing.departures.drain(..) {
        let id = departure.account.index();
        let account = &mut rows.accounts[id];
        assert!(account.is_open(), "whoever leaves a seat has an account");
        assert!(account.seats > 0, "whoever leaves a seat has an account that holds it");
        assert!(departure.chips <= house.rails, "a rail that goes to a cage is among all rails");
        // The chunk took the rail out of its own rows and totals; the house and the cage follow here, where no two workers
        // can meet in one account.
        account.cage += departure.chips;
        account.count_wagered(departure.wagered);
        account.seats -= 1;
        house.rails -= departure.chips;
        house.cages += departure.chips;
        ledger.cages[id / CHUNK_ACCOUNTS] += departure.chips;
        dirty.mark(Column::Accounts, id);
    }

    // Banks give before others are filled: at a height with both, an empty treasury can fill with what it just got.
    let skimmed = std::mem::take(&mut crossing.skimmed);
    assert!(skimmed <= house.banks, "what banks give back was theirs");
    house.banks -= skimmed;
    house.treasury += skimmed;
    for table in crossing.to_fill.drain(..) {
        let row = &mut rows.tables[table.index()];
        assert!(row.bank < Chips(setup.genesis.bank_target), "only a bank below its target asks for more");
        let lacks = Chips(setup.genesis.bank_target) - row.bank;
        // A treasury that is empty fills no bank, and no chip is made for it: the table refuses bets that it cannot pay.
        let fill = lacks.min(house.treasury);
        house.treasury -= fill;
        house.banks += fill;
        row.bank += fill;
        assert!(row.exposure <= row.bank, "the bank can pay every win that is left");
        ledger.tables[table.index() / CHUNK_TABLES].banks += fill;
        dirty.mark(Column::Tables, table.index());
    }

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
