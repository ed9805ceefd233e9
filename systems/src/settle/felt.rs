//! Felt: the bets that lie when the dice fall, for whoever holds a session against the odds. A node asks for none of it.

use bevy_ecs::system::{Res, ResMut};
use engine::columns::Columns;
use engine::limits::CHUNK_TABLES;

use super::block::{FeltBet, Report};
use super::roll::{Rolled, tables_of};

/// System: notes the bets of every table that rolled, before the roll does anything to them.
pub fn note_felt(mut columns: Columns<'_, '_>, rolled: Res<'_, Rolled>, mut report: ResMut<'_, Report>) {
    if !report.watch_felt {
        return;
    }
    let rows = columns.rows();
    let per_table = rows.seats_per_table();
    for (chunk, mask) in rolled.chunks.iter().enumerate() {
        for table in tables_of(*mask).map(|place| chunk * CHUNK_TABLES + place) {
            let (id, puck) = (engine::TableId(table as u32), rows.tables[table].puck());
            assert!(rows.tables[table].occupied != 0, "only a table that somebody sits at has rolled");
            assert!(rows.tables[table].last_dice().is_some(), "a table that rolled has dice");
            // The dice are known here and have done nothing yet: the bets are those that they are about to decide.
            let seats = table * per_table..(table + 1) * per_table;
            let bets = seats.flat_map(|seat| rows.seat_bets(seat).iter());
            report.felt.extend(bets.map(|bet| FeltBet { table: id, puck, bet }));
        }
    }
}
