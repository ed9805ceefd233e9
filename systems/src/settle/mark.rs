//! Mark: which groups of the image a height is going to write, before it does. A snapshot saves them first.
//!
//! More may be marked than is written, never less: [`update_root`](super::root::update_root) compares, and a snapshot
//! that missed a group is given up.

use bevy_ecs::resource::Resource;
use engine::columns::{Column, Rows};
use engine::component::{Seat, Table};
use engine::image::{DirtyMap, TableChunkDirty};
use engine::limits::{CHUNK_TABLES, RECOUNT_PARTS, SEAT_BETS_HOT};
use engine::message::block::Block;
use engine::message::intent::IntentKind;
use engine::{AccountId, Chips, Height};
use rayon::prelude::*;

use crate::state::accounts::AccountIndex;
use crate::state::due::DueTimes;
use crate::state::setup::Setup;
use engine::limits::CHUNK_ACCOUNTS;

/// The groups that the coming height may write.
#[derive(Resource)]
pub struct Marks {
    /// The groups.
    pub map: DirtyMap,
    /// The height that they were marked for: while it waits, nothing that marking looks at changes.
    pub of: Option<Height>,
}

/// Marks every group that settling `block` may write.
pub fn mark_block(
    setup: &Setup,
    rows: &Rows<'_>,
    index: &AccountIndex,
    due: &DueTimes,
    block: &Block,
    marks: &mut DirtyMap,
) {
    marks.clear();
    marks.mark_rows(Column::House, 0..1);
    let time_ms = block.header.time_ms;
    mark_intents(setup, rows, index, block, marks);
    mark_due_tables(setup, rows, due, time_ms, marks);
    mark_idle_accounts(setup, rows, block, marks);
}

/// The accounts and tables that intents name, with everything that lies at those tables.
fn mark_intents(setup: &Setup, rows: &Rows<'_>, index: &AccountIndex, block: &Block, marks: &mut DirtyMap) {
    let per_table = rows.seats_per_table();
    let mut opens = 0;
    for body in block.intents.iter().map(|intent| &intent.body) {
        if let Some(id) = index.find(&body.key, rows.keys) {
            marks.mark(Column::Accounts, id.index());
        }
        let target = body.target as usize;
        match IntentKind::try_from(body.kind) {
            Ok(IntentKind::Open | IntentKind::OpenVoucher) => opens += 1,
            Ok(IntentKind::Transfer) if target < rows.accounts.len() => marks.mark(Column::Accounts, target),
            _ if target < rows.tables.len() => {
                marks.mark(Column::Tables, target);
                let seats = target * per_table..(target + 1) * per_table;
                for column in [Column::Seats, Column::Bets, Column::MoreBets] {
                    marks.mark_rows(column, seats.clone());
                }
                // The intent may make the table roll, and players who are absent leave then.
                let leaving = rows.seats[seats].iter().filter(|seat| may_leave(setup, seat, block.header.time_ms));
                leaving.for_each(|seat| mark_account(marks, seat.account));
            }
            _ => {}
        }
    }
    // New accounts take the lowest free slots.
    index.free_slots().take(opens).for_each(|id| mark_account(marks, id));
}

/// The tables that roll by the clock, with their players, their first bets, and the further ones where there are any.
fn mark_due_tables(setup: &Setup, rows: &Rows<'_>, due: &DueTimes, time_ms: u64, marks: &mut DirtyMap) {
    if due.earliest().is_none_or(|earliest| earliest > time_ms) {
        return;
    }
    let per_table = rows.seats_per_table();
    let seats = rows.seats.chunks(CHUNK_TABLES * per_table);
    let chunks = rows.tables.chunks(CHUNK_TABLES).zip(seats).zip(marks.table_chunks()).enumerate();
    let due: Vec<_> = chunks.filter(|(chunk, _)| due.is_due(*chunk, time_ms)).collect();
    let left: Vec<Vec<AccountId>> =
        due.into_par_iter().map(|(_, (chunk, marks))| mark_chunk(setup, chunk, time_ms, marks)).collect();
    left.into_iter().flatten().for_each(|account| mark_account(marks, account));
}

/// Marks what the due tables of one chunk write. Returns whose players may leave.
fn mark_chunk(
    setup: &Setup,
    (tables, seats): (&[Table], &[Seat]),
    time_ms: u64,
    mut marks: TableChunkDirty<'_>,
) -> Vec<AccountId> {
    let per_table = setup.genesis.seats as usize;
    let mut left = Vec::new();
    for (place, _) in tables.iter().enumerate().filter(|(_, table)| table.is_due(time_ms)) {
        marks.mark(Column::Tables, place);
        let own = seats.iter().enumerate().skip(place * per_table).take(per_table);
        for (seat, row) in own.filter(|(_, row)| row.account != AccountId::NONE) {
            marks.mark(Column::Seats, seat);
            marks.mark(Column::Bets, seat);
            if row.spots.count() as usize > SEAT_BETS_HOT {
                marks.mark(Column::MoreBets, seat);
            }
            if may_leave(setup, row, time_ms) {
                left.push(row.account);
            }
        }
    }
    left
}

/// The accounts of this height's part that are about to become free.
fn mark_idle_accounts(setup: &Setup, rows: &Rows<'_>, block: &Block, marks: &mut DirtyMap) {
    let part = (block.header.height.0 % RECOUNT_PARTS) as usize;
    for chunk in (part..rows.accounts.len().div_ceil(CHUNK_ACCOUNTS)).step_by(RECOUNT_PARTS as usize) {
        let last = rows.accounts.len().min((chunk + 1) * CHUNK_ACCOUNTS);
        for id in chunk * CHUNK_ACCOUNTS..last {
            let account = &rows.accounts[id];
            let idle = account.last_intent_ms.saturating_add(setup.genesis.account_idle_ms) <= block.header.time_ms;
            if account.is_open() && idle && account.seats == 0 && account.cage == Chips::ZERO {
                mark_account(marks, AccountId(id as u32));
            }
        }
    }
}

/// Whether a seat's player may leave at a roll: absent, or about to go already.
fn may_leave(setup: &Setup, seat: &Seat, time_ms: u64) -> bool {
    seat.is_leaving() || (seat.is_seated() && seat.last_intent_ms + setup.genesis.idle_ms <= time_ms)
}

/// An account that changes, and may become free.
fn mark_account(marks: &mut DirtyMap, account: AccountId) {
    marks.mark(Column::Accounts, account.index());
    marks.mark(Column::AccountKeys, account.index());
}
