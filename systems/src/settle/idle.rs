//! Idle: account slots that nobody uses any more, freed for others.

use bevy_ecs::system::{Res, ResMut};
use engine::columns::{Column, Columns};
use engine::component::AccountStatus;
use engine::image::DirtyMap;
use engine::limits::RECOUNT_PARTS;
use engine::{AccountId, Chips};

use super::block::Current;
use crate::state::accounts::AccountIndex;
use crate::state::setup::Setup;
use engine::limits::CHUNK_ACCOUNTS;

/// System: one part in 64 of the accounts is looked over; empty ones without a seat that were long idle become free.
pub fn free_idle_accounts(
    setup: Res<'_, Setup>,
    current: Res<'_, Current>,
    mut columns: Columns<'_, '_>,
    mut index: ResMut<'_, AccountIndex>,
    mut dirty: ResMut<'_, DirtyMap>,
) {
    let rows = columns.rows();
    let chunks = rows.accounts.len().div_ceil(CHUNK_ACCOUNTS);
    let part = (current.height.0 % RECOUNT_PARTS) as usize;
    for chunk in (part..chunks).step_by(RECOUNT_PARTS as usize) {
        let last = rows.accounts.len().min((chunk + 1) * CHUNK_ACCOUNTS);
        for id in chunk * CHUNK_ACCOUNTS..last {
            let account = &mut rows.accounts[id];
            let idle = account.last_intent_ms.saturating_add(setup.genesis.account_idle_ms) <= current.time_ms;
            if account.is_open() && idle && account.seats == 0 && account.cage == Chips::ZERO {
                assert!(rows.house.accounts_open > 0, "an account that is open is counted");
                account.status = AccountStatus::Free as u8;
                index.remove(AccountId(id as u32), rows.keys);
                rows.keys[id].key = [0; 32];
                rows.house.accounts_open -= 1;
                dirty.mark(Column::Accounts, id);
                dirty.mark(Column::AccountKeys, id);
                dirty.mark(Column::House, 0);
            }
        }
    }
}
