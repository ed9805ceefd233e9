//! Settle: what crosses rows, one by one in table order: players' chips to their cages, banks and treasury.

use bevy_ecs::system::{Res, ResMut};
use engine::columns::{Column, Columns};
use engine::image::DirtyMap;
use engine::limits::CHUNK_TABLES;
use engine::{Chips, Height};

use super::block::Current;
use super::ledger::{CHUNK_ACCOUNTS, Ledger};
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
    let rows = columns.rows();
    let house = rows.house;
    for departure in crossing.departures.drain(..) {
        let id = departure.account.index();
        let account = &mut rows.accounts[id];
        account.cage += departure.chips;
        account.wagered += departure.wagered;
        account.seats -= 1;
        house.rails -= departure.chips;
        house.cages += departure.chips;
        ledger.cages[id / CHUNK_ACCOUNTS] += departure.chips;
        dirty.mark(Column::Accounts, id);
    }

    let skimmed = std::mem::take(&mut crossing.skimmed);
    house.banks -= skimmed;
    house.treasury += skimmed;
    for table in crossing.to_fill.drain(..) {
        let row = &mut rows.tables[table.index()];
        let lacks = Chips(setup.genesis.bank_target) - row.bank;
        let fill = lacks.min(house.treasury);
        house.treasury -= fill;
        house.banks += fill;
        row.bank += fill;
        ledger.tables[table.index() / CHUNK_TABLES].banks += fill;
        dirty.mark(Column::Tables, table.index());
    }

    assert!(current.height > Height::GENESIS, "heights are settled from 1 on");
    house.height = current.height;
    house.time_ms = current.time_ms;
    house.active_ms = current.active_ms;
    dirty.mark(Column::House, 0);
}
