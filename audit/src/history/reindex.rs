//! Making the index of history again, by one walk over a stopped session.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use engine::Height;
use engine::limits::{HISTORY_BEHIND_HEIGHTS, SPAN_PAGES};
use engine::message::intent::IntentKind;
use storage::Session;
use storage::snapshot::{RANGE_IDS, RangeRow, SnapshotsFound};
use systems::activity::ActiveKind;

use super::cache::HeldPage;
use super::page::heights_of;
use super::read::History;

type Rows = BTreeMap<(u8, u64, u32), Box<[u64; RANGE_IDS]>>;

/// Notes everybody who is on a page.
fn note(rows: &mut Rows, page: u64, parts: &[HeldPage]) {
    let mut add = |kind: ActiveKind, id: u32| {
        let key = (kind as u8, page / SPAN_PAGES, id / RANGE_IDS as u32);
        let words = rows.entry(key).or_insert_with(|| Box::new([0; RANGE_IDS]));
        words[id as usize % RANGE_IDS] |= 1 << (page % SPAN_PAGES);
    };
    for height in parts.iter().flat_map(|part| part.iter()) {
        for intent in height.intents {
            add(ActiveKind::Account, intent.account);
            match intent.table() {
                Some(table) => add(ActiveKind::Table, table),
                None if intent.kind() == IntentKind::Transfer => add(ActiveKind::Account, intent.target),
                None => {}
            }
        }
        height.rolls.iter().for_each(|roll| add(ActiveKind::Table, roll.table));
        height.resolutions.iter().for_each(|one| add(ActiveKind::Account, one.account));
        height.leavings.iter().for_each(|leaving| add(ActiveKind::Account, leaving.account));
    }
}

/// Executes a stopped session once and writes the rows of its index. Returns the first and the last height that they tell
/// of.
///
/// # Errors
/// If another process writes the session, it is damaged, or the index cannot be written.
pub fn reindex(dir: &Path, history: &History) -> anyhow::Result<(Height, Height)> {
    let session = Session::open(dir)?;
    let found = SnapshotsFound::open(&session, |_| ())?;
    let mut rows = Rows::new();
    let (mut first, mut last) = (None, 0);
    history.walk_all(|page, parts| {
        first.get_or_insert(heights_of(page).start);
        last = parts.first().map_or(last, |part| part.heights().end - 1);
        note(&mut rows, page, parts);
        Ok(())
    })?;
    let first = Height(first.context("the session holds no settled height")?);
    // What a power cut may still take back is left to the node; what its newest snapshot has is on disk.
    let snapshot = found.newest_first().first().map_or(0, |info| info.height.0);
    let coverage = (first, Height(snapshot.max(last.saturating_sub(HISTORY_BEHIND_HEIGHTS))));
    let row = |((kind, span, block), words)| RangeRow { kind, span, block, words };
    found.set_ranges(rows.into_iter().map(row).collect(), coverage)?;
    Ok(coverage)
}
