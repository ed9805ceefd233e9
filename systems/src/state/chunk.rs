//! Chunks of tables: what one worker takes at a time, with everything that lies at those tables.

use engine::columns::Rows;
use engine::component::{Bets, MoreBets, Seat, Table};
use engine::image::{DirtyMap, TableChunkDirty};
use engine::limits::CHUNK_TABLES;

use crate::settle::ledger::{Ledger, TableTotals};

/// Some neighbouring tables with their seats and bets. No other worker sees any of it.
pub struct TableChunk<'a> {
    /// The chunk's number.
    pub index: usize,
    /// The tables of the chunk, by id.
    pub tables: &'a mut [Table],
    /// The seats of those tables, table by table.
    pub seats: &'a mut [Seat],
    /// The seats' first bets.
    pub bets: &'a mut [Bets],
    /// The seats' further bets.
    pub more_bets: &'a mut [MoreBets],
    /// What the tables hold together.
    pub totals: &'a mut TableTotals,
    /// The chunk's groups of the image.
    pub dirty: TableChunkDirty<'a>,
}

/// All chunks in order.
pub fn table_chunks<'a>(
    rows: &'a mut Rows<'_>,
    ledger: &'a mut Ledger,
    dirty: &'a mut DirtyMap,
) -> impl Iterator<Item = TableChunk<'a>> + Send {
    let seats = rows.seats_per_table() * CHUNK_TABLES;
    // What is zipped ends with the shortest: a chunk without one of its parts would be passed over.
    assert_eq!(ledger.tables.len(), rows.tables.len().div_ceil(CHUNK_TABLES), "every chunk has its totals");
    assert_eq!(rows.seats.len(), rows.tables.len() * rows.seats_per_table(), "every table has its seats");
    assert_eq!([rows.bets.len(), rows.more_bets.len()], [rows.seats.len(); 2], "every seat has its bets");
    rows.tables
        .chunks_mut(CHUNK_TABLES)
        .zip(rows.seats.chunks_mut(seats))
        .zip(rows.bets.chunks_mut(seats))
        .zip(rows.more_bets.chunks_mut(seats))
        .zip(&mut ledger.tables)
        .zip(dirty.table_chunks())
        .enumerate()
        .map(|(index, (((((tables, seats), bets), more_bets), totals), dirty))| TableChunk {
            index,
            tables,
            seats,
            bets,
            more_bets,
            totals,
            dirty,
        })
}
