//! Mark: which groups of the image a height is going to write, before it does. A snapshot saves them first.
//!
//! More may be marked than is written, never less: [`update_root`](super::root::update_root) compares, and a snapshot
//! that missed a group is given up.

use bevy_ecs::resource::Resource;
use engine::columns::{Column, Rows};
use engine::component::{Seat, SpotMask, Table};
use engine::image::{DirtyMap, TableChunkDirty};
use engine::limits::{CHUNK_TABLES, SEAT_BETS_HOT};
use engine::message::block::Block;
use engine::message::intent::IntentKind;
use engine::{AccountId, Height};
use rayon::prelude::*;

use crate::state::accounts::{AccountIndex, Fate, accounts_looked_over, fate_of};
use crate::state::due::DueTimes;
use crate::state::seats::{is_absent, is_bare};
use crate::state::setup::Setup;

/// The groups that the coming height may write.
#[derive(Resource)]
pub struct WrittenGroups {
    /// The groups.
    pub map: DirtyMap,
    /// The height that they were marked for: while it waits, nothing that marking looks at changes.
    pub of: Option<Height>,
}

/// A block's time, by the chain's clock and by that of activity.
#[derive(Clone, Copy)]
struct Moment {
    time_ms: u64,
    active_ms: u64,
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
    assert_eq!(block.header.height, rows.house.height.next(), "groups are marked for the height that comes next");
    marks.clear();
    marks.mark_rows(Column::House, 0..1);
    // Only a block of a later round says whose turn failed.
    if block.header.round > 0 {
        marks.mark_rows(Column::Validators, 0..rows.validators.len());
    }
    let time_ms = block.header.time_ms;
    let active_ms = rows.house.active_at(time_ms, setup.genesis.idleness.gap_max_ms);
    mark_intents(setup, rows, index, block, active_ms, marks);
    if setup.has_pledged() {
        mark_pledged(setup, rows, index, due, block, marks);
    }
    mark_due_tables(setup, rows, due, Moment { time_ms, active_ms }, marks);
    mark_idle_accounts(setup, rows, block.header.height, active_ms, marks);
}

/// The accounts and tables that intents name, with everything that lies at those tables.
fn mark_intents(
    setup: &Setup,
    rows: &Rows<'_>,
    index: &AccountIndex,
    block: &Block,
    active_ms: u64,
    marks: &mut DirtyMap,
) {
    let per_table = rows.seats_per_table();
    // Whether an intent is refused is known only when it is applied: all of them are taken for applied.
    let mut opens = 0;
    for body in block.intents.iter().map(|intent| &intent.body) {
        if let Some(id) = index.find(&body.key, rows.keys) {
            // One that leaves its last seat may lose its grant, and with it the slot.
            mark_account(marks, id);
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
                let leaving = rows.seats[seats].iter().filter(|seat| may_leave(setup, seat, active_ms));
                leaving.for_each(|seat| mark_account(marks, seat.account));
            }
            _ => {}
        }
    }
    // New accounts take the lowest free slots, and intents free none: the first of them are those that may be taken.
    index.free_slots().take(opens).for_each(|id| mark_account(marks, id));
}

/// The pledged tables that the block names, and those that are due: whatever becomes of them, all of it may change.
fn mark_pledged(
    setup: &Setup,
    rows: &Rows<'_>,
    index: &AccountIndex,
    due: &DueTimes,
    block: &Block,
    marks: &mut DirtyMap,
) {
    assert_eq!(rows.pledges.len(), rows.tables.len(), "where a table takes pledges each has a row for one");
    // Named by anybody: a refused pledge changes nothing, but which are refused is known only afterwards.
    let named = block.pledges.iter().map(|row| row.table as usize);
    let named = named.chain(block.intents.iter().map(|intent| intent.body.target as usize));
    let time_ms = block.header.time_ms;
    let chunks = rows.tables.chunks(CHUNK_TABLES).enumerate().filter(|(chunk, _)| due.is_due(*chunk, time_ms));
    let due = chunks.flat_map(|(chunk, tables)| {
        let is_due = move |(_, table): &(usize, &Table)| table.is_due(time_ms);
        tables.iter().enumerate().filter(is_due).map(move |(place, _)| chunk * CHUNK_TABLES + place)
    });
    for table in named.chain(due).filter(|table| rows.tables.get(*table).is_some_and(|row| setup.is_pledged(row))) {
        assert!(rows.tables[table].occupied <= 1, "a pledged table has one seat that is used");
        let sits = rows.seats[table * rows.seats_per_table()].account != AccountId::NONE;
        assert_eq!(
            rows.tables[table].occupied == 1,
            sits,
            "a pledged table's seat is marked as taken while it is somebody's"
        );
        marks.mark(Column::Tables, table);
        marks.mark(Column::Pledges, table);
        let seat = table * rows.seats_per_table();
        for column in [Column::Seats, Column::Bets, Column::MoreBets] {
            marks.mark(column, seat);
        }
        if rows.seats[seat].account != AccountId::NONE {
            mark_account(marks, rows.seats[seat].account);
        }
    }
    for id in block.pledges.iter().filter_map(|row| index.find(&row.key, rows.keys)) {
        mark_account(marks, id);
    }
}

/// The tables that roll by the clock, with their players, their first bets, and the further ones where there are any.
fn mark_due_tables(setup: &Setup, rows: &Rows<'_>, due: &DueTimes, at: Moment, marks: &mut DirtyMap) {
    if due.earliest().is_none_or(|earliest| earliest > at.time_ms) {
        return;
    }
    let per_table = rows.seats_per_table();
    // What is zipped ends with the shortest: a chunk without its seats would go unmarked.
    assert_eq!(rows.seats.len(), rows.tables.len() * per_table, "every table has its seats");
    let seats = rows.seats.chunks(CHUNK_TABLES * per_table);
    let chunks = rows.tables.chunks(CHUNK_TABLES).zip(seats).zip(marks.table_chunks()).enumerate();
    let due: Vec<_> = chunks.filter(|(chunk, _)| due.is_due(*chunk, at.time_ms)).collect();
    // Accounts lie in no chunk of tables, so that two workers could mark one group: they are marked afterwards.
    let left: Vec<Vec<AccountId>> =
        due.into_par_iter().map(|(_, (chunk, marks))| mark_chunk(setup, chunk, at, marks)).collect();
    left.into_iter().flatten().for_each(|account| mark_account(marks, account));
}

/// Marks what the due tables of one chunk write. Returns whose players may leave.
fn mark_chunk(
    setup: &Setup,
    (tables, seats): (&[Table], &[Seat]),
    at: Moment,
    mut marks: TableChunkDirty<'_>,
) -> Vec<AccountId> {
    let per_table = setup.genesis.seats as usize;
    assert_eq!(seats.len(), tables.len() * per_table, "every table of a chunk has its seats");
    let mut left = Vec::new();
    for (place, table) in tables.iter().enumerate().filter(|(_, table)| table.is_due(at.time_ms)) {
        marks.mark(Column::Tables, place);
        // A seat that nobody has stays as it is. A row of further bets changes only where there are some.
        let own = seats.iter().enumerate().skip(place * per_table).take(per_table);
        for (seat, row) in own.filter(|(_, row)| row.account != AccountId::NONE) {
            // A roll goes by the table's marks, and this by the seats: one without a mark is passed over by one of them.
            assert!(
                table.occupied >> (seat - place * per_table) & 1 == 1,
                "a seat that is somebody's is marked as taken"
            );
            marks.mark(Column::Seats, seat);
            marks.mark(Column::Bets, seat);
            if row.spots.count() as usize > SEAT_BETS_HOT {
                marks.mark(Column::MoreBets, seat);
            }
            if may_leave(setup, row, at.active_ms) {
                left.push(row.account);
            }
        }
    }
    left
}

/// The accounts of this height's part whose grant goes back, or that are about to become free.
fn mark_idle_accounts(setup: &Setup, rows: &Rows<'_>, height: Height, active_ms: u64, marks: &mut DirtyMap) {
    for id in accounts_looked_over(height, rows.accounts.len()) {
        if fate_of(&rows.accounts[id], &setup.genesis, active_ms) != Fate::Stays {
            assert_eq!(rows.accounts[id].seats, 0, "an account with a seat stays as it is");
            mark_account(marks, AccountId(id as u32));
        }
    }
}

/// Whether a seat's player may leave at a roll: absent, about to go already, or without a bet once this height's intents
/// are applied.
fn may_leave(setup: &Setup, seat: &Seat, active_ms: u64) -> bool {
    // An intent of this height may take the last bet down before the table rolls: what counts is that it could.
    let without_bets = Seat { spots: SpotMask::EMPTY, ..*seat };
    seat.is_leaving() || is_absent(seat, &setup.genesis, active_ms) || is_bare(&without_bets, &setup.genesis, active_ms)
}

/// An account that changes, and may become free.
fn mark_account(marks: &mut DirtyMap, account: AccountId) {
    assert!(account != AccountId::NONE, "only somebody's account changes");
    marks.mark(Column::Accounts, account.index());
    marks.mark(Column::AccountKeys, account.index());
}
