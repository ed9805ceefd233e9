//! When tables are due, without a walk over all of them.

use bevy_ecs::resource::Resource;
use engine::component::Table;
use engine::limits::CHUNK_TABLES;

/// The earliest roll of each chunk of tables. Node-local: derived from the table column, exact after every height.
#[derive(Resource, Default, Debug)]
pub struct DueTimes {
    chunks: Vec<u64>,
}

impl DueTimes {
    /// Derives the times of all chunks.
    pub fn of(tables: &[Table]) -> Self {
        Self { chunks: tables.chunks(CHUNK_TABLES).map(earliest).collect() }
    }

    /// Derives one chunk's time again, after a table in it changed its own.
    pub fn refresh(&mut self, tables: &[Table], table: usize) {
        assert!(self.chunks.len() == tables.len().div_ceil(CHUNK_TABLES), "each chunk of tables has its time");
        assert!(table < tables.len(), "the table is one of them");
        let chunk = table / CHUNK_TABLES;
        let last = tables.len().min((chunk + 1) * CHUNK_TABLES);
        self.chunks[chunk] = earliest(&tables[chunk * CHUNK_TABLES..last]);
    }

    /// A table's roll came nearer.
    #[inline]
    pub fn lower(&mut self, table: usize, next_roll_ms: u64) {
        // The earliest of a chunk can be told without a look at the others only when it comes nearer.
        let chunk = &mut self.chunks[table / CHUNK_TABLES];
        *chunk = next_roll_ms.min(*chunk);
    }

    /// Sets a chunk's time, by the system that has just walked it.
    #[inline]
    pub fn set(&mut self, chunk: usize, next_roll_ms: u64) {
        self.chunks[chunk] = next_roll_ms;
    }

    /// Whether a table of the chunk is due.
    #[inline]
    pub fn is_due(&self, chunk: usize, time_ms: u64) -> bool {
        self.chunks[chunk] <= time_ms
    }

    /// When the next table of all is due, or `None` while every table is empty.
    pub fn earliest(&self) -> Option<u64> {
        self.chunks.iter().copied().min().filter(|time| *time != Table::NEVER)
    }
}

/// The earliest roll among some tables.
pub fn earliest(tables: &[Table]) -> u64 {
    tables.iter().map(|table| table.next_roll_ms).min().unwrap_or(Table::NEVER)
}
