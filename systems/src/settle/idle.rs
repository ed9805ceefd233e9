//! Idle: what nobody uses goes back: grants of accounts that never bet, and the slots of empty accounts.

use bevy_ecs::system::{Res, ResMut};
use engine::columns::{Column, Columns};
use engine::component::AccountStatus;
use engine::image::DirtyMap;
use engine::io::Lapse;
use engine::{AccountId, Chips};

use super::block::{Current, Report};
use super::ledger::{Ledger, Postings};
use crate::state::accounts::{AccountIndex, Fate, accounts_looked_over, fate_of};
use crate::state::activity::Activity;
use crate::state::setup::Setup;

/// System: one part in 64 of the accounts is looked over. The grants of those that never bet go back to the treasury, and
/// empty ones without a seat become free.
pub fn free_idle_accounts(
    setup: Res<'_, Setup>,
    current: Res<'_, Current>,
    mut columns: Columns<'_, '_>,
    mut index: ResMut<'_, AccountIndex>,
    mut ledger: ResMut<'_, Ledger>,
    mut dirty: ResMut<'_, DirtyMap>,
    mut report: ResMut<'_, Report>,
    activity: Res<'_, Activity>,
) {
    let mut rows = columns.rows();
    for id in accounts_looked_over(current.height, rows.accounts.len()) {
        let fate = fate_of(&rows.accounts[id], &setup.genesis, current.active_ms);
        // Nothing is marked for those that stay: each mark is a group of 16 KiB to be hashed again.
        if fate == Fate::Stays {
            continue;
        }
        assert_eq!(rows.accounts[id].seats, 0, "an account with a seat stays as it is");
        let (account, key) = (AccountId(id as u32), rows.keys[id].key);
        let mut returned = Chips::ZERO;
        if fate.returns_grant() {
            // What the account gave to others stays theirs: only what is left of the grant goes back.
            returned = rows.accounts[id].granted.min(rows.accounts[id].cage);
            Postings { rows: &mut rows, ledger: &mut ledger, dirty: &mut dirty }.cage_to_treasury(id, returned);
            // A grant that went back is forgotten, or the account's next look would take other chips for it.
            rows.accounts[id].granted = Chips::ZERO;
        }
        if fate.frees() {
            assert_eq!(rows.accounts[id].cage, Chips::ZERO, "a slot that becomes free holds nothing");
            assert!(rows.house.accounts_open > 0, "an account that is open is counted");
            assert!(rows.accounts[id].is_open(), "only an open account becomes free");
            rows.accounts[id].status = AccountStatus::Free as u8;
            index.remove(account, rows.keys);
            rows.keys[id].key = [0; 32];
            rows.house.accounts_open -= 1;
            assert!(index.find(&key, rows.keys).is_none(), "a key whose slot became free finds no account");
            dirty.mark(Column::AccountKeys, id);
        }
        dirty.mark(Column::Accounts, id);
        dirty.mark(Column::House, 0);
        // Whoever reads the account's history finds on this page where its chips went.
        activity.account(account);
        if report.watch {
            report.lapses.push(Lapse { account, key, returned, freed: fate.frees() });
        }
    }
    // Every opening of this height is behind, and so is all that frees a slot.
    assert_eq!(index.open(), rows.house.accounts_open as usize, "as many accounts are open as are found by a key");
}
