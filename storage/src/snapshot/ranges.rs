//! Ranges: on which pages of history each table and each account was active, so that a reader skips the others.
//!
//! A row holds 512 ids and 64 pages: no row per resolution. Rows go into the index with the snapshot that follows them. They
//! may name more pages than they must, never fewer; where there are none, every page is read. The oldest rows go where there are
//! more than [`RANGES_BYTES_MAX`].

use std::path::Path;

use engine::bytes::{DecodeError, Reader};
use engine::limits::{
    PAGE_HEIGHTS, RANGES_ADDED_BYTES_MAX, RANGES_BYTES_MAX, RANGES_STRETCHES_MAX, SNAPSHOT_INDEX_BYTES_MAX, SPAN_PAGES,
};
use engine::{Hash, Height};
use redb::{
    Builder, ConcurrencyMode, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable, Table,
    TableDefinition, TableError, WriteTransaction,
};

use super::database::{
    IndexError, META, check_file, check_version, damaged, guarded, open_error, read_version, refused,
};

/// Ids of a row.
pub const RANGE_IDS: usize = 512;
/// Bytes of the mask before a row's words.
const MASK: usize = RANGE_IDS / 8;
/// Kinds of ids: tables and accounts.
const KINDS: u8 = 2;
/// Heights of a span.
const SPAN_HEIGHTS: u64 = PAGE_HEIGHTS * SPAN_PAGES;

const _: () = assert!(RANGE_IDS.is_multiple_of(8));
// A word has a bit for each page of a span, no more and no less.
const _: () = assert!(SPAN_PAGES == u64::BITS as u64);

/// What a row is found by: kind, span, block of ids.
type RowKey = (u8, u64, u32);
/// The rows.
pub(super) const RANGES: TableDefinition<'_, RowKey, &[u8]> = TableDefinition::new("ranges");
/// Stretches of heights of which rows tell too, before the newest one, which is in `meta`: the first height and the last.
const EARLIER: TableDefinition<'_, u64, u64> = TableDefinition::new("ranges_earlier");

/// The pages of 512 ids in one span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ActivityRow {
    /// What the ids are: 0 tables, 1 accounts.
    pub kind: u8,
    /// The span: 64 pages of 64 heights.
    pub span: u64,
    /// The block: ids from 512 times this on.
    pub block: u32,
    /// By id, a bit for each page.
    pub words: Box<[u64; RANGE_IDS]>,
}

/// Where rows come from: whoever settles heights.
pub trait RangeSource: Send {
    /// The first height from which everything is there, or was saved.
    fn from(&self) -> Height;

    /// The rows of some heights; `None` if some of them are not there any more.
    fn rows(&self, from: Height, to: Height) -> Option<Vec<ActivityRow>>;

    /// Everything up to this height is on disk.
    fn saved(&self, to: Height);
}

/// A stretch of heights that rows tell of: the first and the last.
pub type Coverage = (Height, Height);

/// Layout: a bit for each id whose word is not zero, 64 bytes, the lowest first; then those words, 8 bytes each.
fn encode(words: &[u64; RANGE_IDS]) -> Vec<u8> {
    let mut bytes = vec![0; MASK];
    for (id, word) in words.iter().enumerate().filter(|(_, word)| **word != 0) {
        bytes[id / 8] |= 1 << (id % 8);
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    let marked: u32 = bytes[..MASK].iter().map(|byte| byte.count_ones()).sum();
    assert_eq!(bytes.len(), MASK + marked as usize * size_of::<u64>(), "each bit has its word");
    bytes
}

/// The words of a row, each with its place among the ids.
fn decode(bytes: &[u8]) -> Result<Box<[u64; RANGE_IDS]>, DecodeError> {
    let mut row = Reader::new("row of ranges", bytes);
    let mask: [u8; MASK] = row.array()?;
    let mut words = Box::new([0; RANGE_IDS]);
    for id in (0..RANGE_IDS).filter(|id| mask[id / 8] >> (id % 8) & 1 == 1) {
        words[id] = row.u64()?;
        // One that is zero has no place in the mask: a row would have two encodings.
        if words[id] == 0 {
            return Err(row.value("word", 0u64));
        }
    }
    row.end()?;
    Ok(words)
}

/// Bytes of a row as it is stored.
fn stored(words: &[u64; RANGE_IDS]) -> u64 {
    (MASK + words.iter().filter(|word| **word != 0).count() * size_of::<u64>()) as u64
}

/// The first height of a span.
fn begins(span: u64) -> Height {
    Height(span * SPAN_HEIGHTS + 1)
}

/// The first height of the span that a height is in.
pub(super) fn first_of_span(height: Height) -> Height {
    assert!(height > Height::GENESIS, "genesis is in no span");
    begins((height.0 - 1) / SPAN_HEIGHTS)
}

/// Bytes of all rows. They are looked through for it, so whoever writes them keeps the sum.
fn bytes_of(table: &Table<'_, RowKey, &[u8]>) -> Result<u64, redb::Error> {
    let mut bytes = 0;
    for row in table.iter()? {
        bytes += row?.1.value().len() as u64;
    }
    Ok(bytes)
}

/// The oldest row.
fn oldest(table: &Table<'_, RowKey, &[u8]>) -> Result<Option<RowKey>, redb::Error> {
    let mut oldest: Option<RowKey> = None;
    for kind in 0..KINDS {
        let first = table.range((kind, 0, 0)..=(kind, u64::MAX, u32::MAX))?.next().transpose()?;
        let first = first.map(|(key, _)| key.value());
        oldest = oldest.into_iter().chain(first).min_by_key(|(kind, span, block)| (*span, *kind, *block));
    }
    Ok(oldest)
}

/// Whether rows are more than one change may add: where so many are active at once, older rows would go for hardly anything.
pub(super) fn are_too_many(rows: &[ActivityRow]) -> bool {
    rows.iter().map(|row| stored(&row.words)).sum::<u64>() > RANGES_ADDED_BYTES_MAX
}

/// Writes rows, which tell of the heights `added`; what is there already is kept, and the oldest spans go where it is too much.
/// `bytes` are those of the rows that are there, where they were counted before. Returns those that are there then.
pub(super) fn insert(
    txn: &WriteTransaction,
    rows: &[ActivityRow],
    added: Coverage,
    bytes: Option<u64>,
) -> Result<u64, redb::Error> {
    assert!(rows.iter().all(|row| row.kind < KINDS), "a row is of tables or of accounts");
    assert!(added.0 > Height::GENESIS, "genesis is on no page");
    assert!(!are_too_many(rows), "the file has room for so many beside those that go for them");
    let mut table = txn.open_table(RANGES)?;
    let mut bytes = bytes.map_or_else(|| bytes_of(&table), Ok)?;
    let mut meta = txn.open_table(META)?;
    let mut floor = meta.get("ranges_floor")?.map_or(Height(1), |floor| Height(floor.value()));
    let mut stretches = stretches_of(&meta, Some(&txn.open_table(EARLIER)?))?;
    // Rows below the floor would be the first to go.
    for ActivityRow { kind, span, block, words } in rows.iter().filter(|row| begins(row.span) >= floor) {
        let key = (*kind, *span, *block);
        let mut words = words.clone();
        if let Some(there) = table.get(key)? {
            bytes -= there.value().len() as u64;
            match decode(there.value()) {
                // Two snapshots may fall into one span: the second one knows nothing of the pages that the first one told of.
                Ok(there) => words.iter_mut().zip(there.iter()).for_each(|(word, there)| *word |= there),
                // A row that cannot be read is written anew, and what it told of before is not known.
                Err(_) => stretches.clear(),
            }
        }
        let row = encode(&words);
        bytes += row.len() as u64;
        table.insert(key, &row[..])?;
    }
    while bytes > RANGES_BYTES_MAX {
        let oldest = oldest(&table)?.expect("what has bytes has a row");
        let gone = table.remove(oldest)?.expect("it was just seen").value().len() as u64;
        bytes -= gone;
        // Of a span that has lost a row nothing is told any more, and what is left of it is the next to go.
        floor = floor.max(begins(oldest.1 + 1));
    }
    meta.insert("ranges_floor", floor.0)?;
    stretches.push(added);
    set_stretches(txn, &mut meta, joined(stretches, floor))?;
    Ok(bytes)
}

/// Stretches in order, without what lies below the floor; those that touch each other are one, and of many the newest stay.
fn joined(mut stretches: Vec<Coverage>, floor: Height) -> Vec<Coverage> {
    stretches.sort_unstable();
    let mut joined: Vec<Coverage> = Vec::new();
    for (from, to) in stretches.into_iter().map(|(from, to)| (from.max(floor), to)).filter(|(from, to)| from <= to) {
        match joined.last_mut() {
            Some(last) if from <= last.1.next() => last.1 = last.1.max(to),
            _ => joined.push((from, to)),
        }
    }
    joined.drain(..joined.len().saturating_sub(RANGES_STRETCHES_MAX));
    assert!(joined.is_sorted_by(|one, next| one.1.next() < next.0), "between two stretches is a gap");
    joined
}

/// The stretches that are written, in order.
fn stretches_of(
    meta: &impl ReadableTable<&'static str, u64>,
    earlier: Option<&impl ReadableTable<u64, u64>>,
) -> Result<Vec<Coverage>, redb::Error> {
    let mut stretches = Vec::new();
    if let Some(earlier) = earlier {
        for stretch in earlier.iter()?.take(RANGES_STRETCHES_MAX) {
            let (from, to) = stretch?;
            stretches.push((Height(from.value()), Height(to.value())));
        }
    }
    let number = |name: &str| meta.get(name).map(|found| found.map(|found| Height(found.value())));
    stretches.extend(number("ranges_from")?.zip(number("ranges_to")?));
    Ok(stretches)
}

/// Writes stretches in place of those that are written: the newest for whoever knows of no others, and those before it.
fn set_stretches(
    txn: &WriteTransaction,
    meta: &mut Table<'_, &'static str, u64>,
    mut stretches: Vec<Coverage>,
) -> Result<(), redb::Error> {
    match stretches.pop() {
        Some((from, to)) => {
            meta.insert("ranges_from", from.0)?;
            meta.insert("ranges_to", to.0)?;
        }
        None => {
            meta.remove("ranges_from")?;
            meta.remove("ranges_to")?;
        }
    }
    let mut earlier = txn.open_table(EARLIER)?;
    earlier.retain(|_, _| false)?;
    for (from, to) in stretches {
        earlier.insert(from.0, to.0)?;
    }
    Ok(())
}

/// The stretches of heights that rows tell of, in order.
pub(super) fn told(db: &impl ReadableDatabase) -> Result<Vec<Coverage>, IndexError> {
    let read = |txn: &ReadTransaction| -> Result<Vec<Coverage>, redb::Error> {
        let earlier = match txn.open_table(EARLIER) {
            Err(TableError::TableDoesNotExist(_)) => None,
            earlier => Some(earlier?),
        };
        stretches_of(&txn.open_table(META)?, earlier.as_ref())
    };
    read(&db.begin_read().map_err(refused)?).map_err(damaged)
}

/// The ranges of a session, for a process that only reads. The node may be writing them meanwhile.
pub struct Ranges {
    db: ReadOnlyDatabase,
    told: Vec<Coverage>,
}

impl Ranges {
    /// The ranges of the session at `dir`; `None` where there are none, or they cannot be read: every page is read then.
    pub fn open(dir: &Path, chain: &Hash) -> Option<Self> {
        let path = dir.join("snapshots/index.redb");
        if !path.exists() {
            return None;
        }
        let opened = guarded(|| {
            let mut builder = Builder::new();
            builder.set_cache_size(4 << 20);
            builder.set_concurrency_mode(ConcurrencyMode::SingleWriter);
            check_file(&path, SNAPSHOT_INDEX_BYTES_MAX)?;
            let db = builder.open_read_only(&path).map_err(open_error)?;
            let version = read_version(&db)?.ok_or_else(|| damaged("it has no version"))?;
            check_version(&db, version, chain)?;
            let told = told(&db)?;
            Ok((!told.is_empty()).then_some(Self { db, told }))
        });
        opened.unwrap_or_else(|error| {
            match error {
                // It does not go away by itself, and every page is executed meanwhile.
                IndexError::TooLong(_) => tracing::warn!(%error, "history is read without its index"),
                _ => tracing::debug!(%error, "history is read without its index"),
            }
            None
        })
    }

    /// The stretches of heights that they tell of, in order; there is one at least.
    pub fn told(&self) -> &[Coverage] {
        &self.told
    }

    /// The pages of a span on which an id was active, a bit each.
    fn word(&self, kind: u8, span: u64, id: u32) -> Result<u64, IndexError> {
        guarded(|| {
            let txn = self.db.begin_read().map_err(refused)?;
            let table = match txn.open_table(RANGES) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(0),
                table => table.map_err(damaged)?,
            };
            // They may have gone since the file was opened: nothing is told of the span then.
            let floor = txn.open_table(META).map_err(damaged)?.get("ranges_floor").map_err(damaged)?;
            if floor.is_some_and(|floor| begins(span).0 < floor.value()) {
                return Ok(u64::MAX);
            }
            let key = (kind, span, id / RANGE_IDS as u32);
            let Some(row) = table.get(key).map_err(damaged)? else { return Ok(0) };
            let words = decode(row.value()).map_err(damaged)?;
            Ok(words[id as usize % RANGE_IDS])
        })
    }

    /// The highest page, not above `page`, on which an id may have been active: one that says so, or one of which the
    /// rows do not tell.
    pub fn active_at_or_below(&self, kind: u8, id: u32, page: u64) -> Option<u64> {
        let mut page = page;
        loop {
            // Whole pages of the stretch in which it lies: of a page that lies in none everything is possible.
            let whole = |(from, to): &Coverage| from.0.saturating_sub(1).div_ceil(PAGE_HEIGHTS)..to.0 / PAGE_HEIGHTS;
            let pages = self.told.iter().rev().map(whole).find(|pages| pages.contains(&page));
            let Some(pages) = pages else { return Some(page) };
            let span = page / SPAN_PAGES;
            // A row that cannot be read hides nothing: the page is read.
            let Ok(word) = self.word(kind, span, id) else { return Some(page) };
            let lowest = pages.start.max(span * SPAN_PAGES);
            let below = word & (u64::MAX >> (SPAN_PAGES - 1 - page % SPAN_PAGES)) & (u64::MAX << (lowest % SPAN_PAGES));
            if below != 0 {
                let found = span * SPAN_PAGES + u64::from(below.ilog2());
                assert!(
                    (lowest..=page).contains(&found),
                    "only pages of the stretch at or below were left in the mask"
                );
                return Some(found);
            }
            page = lowest.checked_sub(1)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn rows_come_back_and_other_bytes_are_refused() {
        let mut words = Box::new([0u64; RANGE_IDS]);
        assert_eq!(decode(&encode(&words)), Ok(words.clone()));
        for (id, word) in [(0, 1), (7, u64::MAX), (8, 3), (511, 1 << 63)] {
            words[id] = word;
        }
        let bytes = encode(&words);
        assert_eq!(bytes.len(), 64 + 4 * 8);
        assert_eq!(decode(&bytes), Ok(words));
        for length in 0..bytes.len() {
            assert!(decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(decode(&[&bytes[..], &[1; 8]].concat()).is_err());
        let mut zero = bytes.clone();
        zero[64] = 0;
        assert!(decode(&zero).is_err());
    }

    /// Rows with some bytes changed, and noise. A mask must agree with the length behind it, which noise never does.
    #[test]
    fn any_bytes_are_a_row_or_an_error() {
        static TAKEN: AtomicUsize = AtomicUsize::new(0);
        static ROWS: AtomicUsize = AtomicUsize::new(0);
        type Fuzz = (Vec<(u16, u64)>, Vec<(u16, u8)>, u8, Vec<u8>);
        bolero::check!().with_iterations(4_000).with_type::<Fuzz>().for_each(|(drawn, edits, count, noise): &Fuzz| {
            ROWS.fetch_add(1, Ordering::Relaxed);
            let mut words = Box::new([0; RANGE_IDS]);
            drawn.iter().for_each(|(id, word)| words[usize::from(*id) % RANGE_IDS] = *word);
            let mut bytes = encode(&words);
            let length = bytes.len();
            for (at, byte) in edits.iter().take(usize::from(*count) % 4) {
                bytes[usize::from(*at) % length] ^= byte;
            }
            if let Ok(words) = decode(&bytes) {
                assert_eq!(encode(&words), bytes);
                TAKEN.fetch_add(1, Ordering::Relaxed);
            }
            if let Ok(words) = decode(noise) {
                assert_eq!(encode(&words), *noise);
            }
        });
        // A quarter of them is as it was written. How many there were is for whoever runs this to say.
        let (taken, rows) = (TAKEN.load(Ordering::Relaxed), ROWS.load(Ordering::Relaxed));
        assert!(taken > rows / 5, "only {taken} of {rows} rows were taken");
    }
}
