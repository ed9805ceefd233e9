//! Making the index of history again, by one walk over a stopped session.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use engine::limits::{HISTORY_BEHIND_HEIGHTS, SPAN_PAGES};
use engine::message::intent::IntentKind;
use engine::{Genesis, Height};
use storage::snapshot::{ActivityRow, Coverage, RANGE_IDS, SnapshotsFound};
use storage::{OpenError, Session};
use systems::activity::ActiveKind;

use super::cache::HeldPage;
use super::page::heights_of;
use super::read::History;

type Rows = BTreeMap<(u8, u64, u32), Box<[u64; RANGE_IDS]>>;

/// Rows of the span that is walked. They are written when it ends: no more than one row for each 512 tables and accounts is held,
/// however long the session is.
struct SpanRows<'a> {
    found: &'a SnapshotsFound,
    tables: u32,
    accounts: u32,
    rows: Rows,
    /// The last page that was taken.
    page: Option<u64>,
    /// The first height of the first one, or of the first one behind those whose rows were too many.
    first: Height,
}

impl<'a> SpanRows<'a> {
    fn new(found: &'a SnapshotsFound, (tables, accounts): (u32, u32)) -> Self {
        Self { found, tables, accounts, rows: Rows::new(), page: None, first: Height::GENESIS }
    }

    /// Goes on to a page.
    fn begin(&mut self, page: u64) -> Result<(), OpenError> {
        assert!(self.page.is_none_or(|before| before < page), "pages are walked in order");
        match self.page {
            None => self.first = Height(heights_of(page).start),
            Some(before) if before / SPAN_PAGES < page / SPAN_PAGES => {
                // If the walk goes no further, no height is told of that a power cut could still take back.
                if !self.write(Height(heights_of(before).end - 1).back(HISTORY_BEHIND_HEIGHTS))? {
                    self.first = Height(heights_of(page).start);
                }
            }
            Some(_) => {}
        }
        self.page = Some(page);
        Ok(())
    }

    /// Notes that somebody is on the page. Whom a refused intent names need not exist, and has no history.
    fn add(&mut self, kind: ActiveKind, id: u32) {
        let ids = match kind {
            ActiveKind::Table => self.tables,
            ActiveKind::Account => self.accounts,
        };
        if id >= ids {
            return;
        }
        let page = self.page.expect("a page was begun");
        let key = (kind as u8, page / SPAN_PAGES, id / RANGE_IDS as u32);
        let words = self.rows.entry(key).or_insert_with(|| Box::new([0; RANGE_IDS]));
        words[id as usize % RANGE_IDS] |= 1 << (page % SPAN_PAGES);
    }

    /// Notes everybody who is on a page.
    fn take(&mut self, page: u64, parts: &[HeldPage]) -> Result<(), OpenError> {
        self.begin(page)?;
        for height in parts.iter().flat_map(|part| part.iter()) {
            for intent in height.intents {
                self.add(ActiveKind::Account, intent.account);
                match intent.table() {
                    Some(table) => self.add(ActiveKind::Table, table),
                    None if intent.kind() == IntentKind::Transfer => self.add(ActiveKind::Account, intent.target),
                    None => {}
                }
            }
            height.rolls.iter().for_each(|roll| self.add(ActiveKind::Table, roll.table));
            height.resolutions.iter().for_each(|one| self.add(ActiveKind::Account, one.account));
            height.leavings.iter().for_each(|leaving| self.add(ActiveKind::Account, leaving.account));
        }
        Ok(())
    }

    /// Writes the rows; they and those before tell of every height from the first one to `to`. Where they are too many nothing is
    /// written, and it says so.
    fn write(&mut self, to: Height) -> Result<bool, OpenError> {
        let row = |((kind, span, block), words)| ActivityRow { kind, span, block, words };
        let rows = std::mem::take(&mut self.rows).into_iter().map(row).collect();
        self.found.add_ranges(rows, (self.first, to))
    }
}

/// Executes what a stopped session still has whole once, and writes the rows of its index. Returns the newest stretch of heights
/// that they tell of without a gap.
///
/// # Errors
/// If another process writes the session, it is damaged, or the index cannot be written.
pub fn reindex(dir: &Path, history: &History) -> anyhow::Result<Coverage> {
    let session = Session::open(dir)?;
    let found = SnapshotsFound::open(&session, |_| ())?;
    let Genesis { tables, accounts, .. } = *history.setup().genesis;
    let mut rows = SpanRows::new(&found, (tables, accounts));
    let mut last = 0;
    history.walk_all(|page, parts| {
        last = parts.first().map_or(last, |part| part.heights().end - 1);
        Ok(rows.take(page, parts)?)
    })?;
    rows.page.context("no page of heights begins in what can be executed again")?;
    // What a power cut may still take back is left to the node; what its newest snapshot has is on disk.
    let snapshot = found.newest_first().first().map_or(0, |info| info.height.0);
    rows.write(Height(snapshot.max(last.saturating_sub(HISTORY_BEHIND_HEIGHTS))))?;
    found.newest_told().context("its heights are too few to tell of, or too much happens on them")
}

#[cfg(test)]
mod tests {
    use storage::snapshot::Ranges;

    use super::*;

    #[test]
    fn rows_of_a_span_go_when_it_ends_and_there_are_none_of_ids_that_genesis_has_not() {
        let place = tempfile::tempdir().expect("a directory");
        let path = place.path().join("s");
        let session = Session::create(&path, b"{}").expect("new");
        let found = SnapshotsFound::open(&session, |_| ()).expect("a place");
        let mut rows = SpanRows::new(&found, (3, 40));
        for page in [0, 63, 64, 200] {
            rows.begin(page).expect("an index");
            for id in [2, 3, 1 << 20, u32::MAX] {
                rows.add(ActiveKind::Table, id);
                rows.add(ActiveKind::Account, id);
            }
            assert_eq!(rows.rows.len(), 2, "tables and accounts of one span, at page {page}");
        }
        rows.write(Height(heights_of(200).end - 1)).expect("an index");
        // A walk that ends early takes back nothing of what the rows told of before.
        let mut again = SpanRows::new(&found, (3, 40));
        [0, 64].into_iter().for_each(|page| again.begin(page).expect("an index"));
        drop(found);
        let ranges = Ranges::open(&path, &session.chain()).expect("an index");
        assert_eq!(ranges.told(), [(Height(1), Height(heights_of(200).end - 1))]);
        for kind in [ActiveKind::Table as u8, ActiveKind::Account as u8] {
            let active = [199, 63, 62].map(|page| ranges.active_at_or_below(kind, 2, page));
            assert_eq!(active, [Some(64), Some(63), Some(0)]);
            assert_eq!(ranges.active_at_or_below(kind, 1 << 20, 200), None);
        }
    }
}
