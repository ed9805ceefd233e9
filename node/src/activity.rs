//! The index of history: from the maps of who was active to the rows that are kept with the snapshots.

use std::sync::Arc;

use engine::Height;
use storage::snapshot::{ActivityRow, RANGE_IDS, RangeSource};
use systems::activity::{ActiveKind, ActivityMaps};

/// The maps of a node's machine, as the snapshot thread reads them.
pub struct ActivityRows(pub Arc<ActivityMaps>);

impl RangeSource for ActivityRows {
    fn from(&self) -> Height {
        Height(self.0.from())
    }

    fn rows(&self, from: Height, to: Height) -> Option<Vec<ActivityRow>> {
        let mut rows = Vec::new();
        for span in self.0.read(from, to)? {
            rows_of(ActiveKind::Table, span.span, &span.tables, &mut rows);
            rows_of(ActiveKind::Account, span.span, &span.accounts, &mut rows);
        }
        Some(rows)
    }

    fn saved(&self, to: Height) {
        self.0.saved(to);
    }
}

/// The blocks of ids of which any was active.
fn rows_of(kind: ActiveKind, span: u64, words: &[u64], rows: &mut Vec<ActivityRow>) {
    for (block, part) in (0u32..).zip(words.chunks(RANGE_IDS)) {
        // Only a block of ids in which something was active gets a row: the index would otherwise grow with all ids
        // that there are, however few play.
        if part.iter().any(|word| *word != 0) {
            let mut words = Box::new([0; RANGE_IDS]);
            words[..part.len()].copy_from_slice(part);
            rows.push(ActivityRow { kind: kind as u8, span, block, words });
        }
    }
}
