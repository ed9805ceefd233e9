//! Ranges: on which pages of history each table and each account was active, so that a reader skips the others.
//!
//! A row holds 512 ids and 64 pages: no row per resolution. Rows go into the index with the snapshot that follows them. They
//! may name more pages than they must, never fewer; where there are none, every page is read.

use std::path::Path;

use engine::bytes::{DecodeError, Reader};
use engine::limits::{PAGE_HEIGHTS, SNAPSHOT_INDEX_BYTES_MAX, SPAN_PAGES};
use engine::{Hash, Height};
use redb::{Builder, ConcurrencyMode, ReadOnlyDatabase, ReadableDatabase, ReadableTable, TableDefinition, TableError};

use super::database::{
    IndexError, META, check_file, check_version, damaged, guarded, open_error, read_version, refused,
};

/// Ids of a row.
pub const RANGE_IDS: usize = 512;
/// Bytes of the mask before a row's words.
const MASK: usize = RANGE_IDS / 8;

const _: () = assert!(RANGE_IDS.is_multiple_of(8));
// A word has a bit for each page of a span, no more and no less.
const _: () = assert!(SPAN_PAGES == u64::BITS as u64);

/// The rows: kind, span, block of ids.
pub(super) const RANGES: TableDefinition<'_, (u8, u64, u32), &[u8]> = TableDefinition::new("ranges");

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

/// The first and the last height that rows tell of.
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

/// Writes rows; what is there already is kept.
pub(super) fn insert(
    txn: &redb::WriteTransaction,
    rows: &[ActivityRow],
    coverage: Coverage,
) -> Result<(), redb::Error> {
    let mut table = txn.open_table(RANGES)?;
    for ActivityRow { kind, span, block, words } in rows {
        let key = (*kind, *span, *block);
        let mut words = words.clone();
        // Two snapshots may fall into one span: the second one knows nothing of the pages that the first one told of.
        // A row that cannot be read is written anew: the coverage begins after its heights then.
        if let Some(there) = table.get(key)?.and_then(|there| decode(there.value()).ok()) {
            words.iter_mut().zip(there.iter()).for_each(|(word, there)| *word |= there);
        }
        table.insert(key, &encode(&words)[..])?;
    }
    let mut meta = txn.open_table(META)?;
    meta.insert("ranges_from", coverage.0.0)?;
    meta.insert("ranges_to", coverage.1.0)?;
    Ok(())
}

/// What rows tell of.
pub(super) fn coverage(db: &impl ReadableDatabase) -> Result<Option<Coverage>, IndexError> {
    let txn = db.begin_read().map_err(refused)?;
    let meta = txn.open_table(META).map_err(damaged)?;
    let number = |name: &str| meta.get(name).map(|found| found.map(|found| Height(found.value()))).map_err(damaged);
    Ok(number("ranges_from")?.zip(number("ranges_to")?))
}

/// The ranges of a session, for a process that only reads. The node may be writing them meanwhile.
pub struct Ranges {
    db: ReadOnlyDatabase,
    coverage: Coverage,
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
            Ok(coverage(&db)?.map(|coverage| Self { db, coverage }))
        });
        opened.unwrap_or_else(|error| {
            tracing::debug!(%error, "history is read without its index");
            None
        })
    }

    /// The first and the last height that they tell of.
    pub fn coverage(&self) -> Coverage {
        self.coverage
    }

    /// The pages of a span on which an id was active, a bit each.
    fn word(&self, kind: u8, span: u64, id: u32) -> Result<u64, IndexError> {
        guarded(|| {
            let txn = self.db.begin_read().map_err(refused)?;
            let table = match txn.open_table(RANGES) {
                Err(TableError::TableDoesNotExist(_)) => return Ok(0),
                table => table.map_err(damaged)?,
            };
            let key = (kind, span, id / RANGE_IDS as u32);
            let Some(row) = table.get(key).map_err(damaged)? else { return Ok(0) };
            let words = decode(row.value()).map_err(damaged)?;
            Ok(words[id as usize % RANGE_IDS])
        })
    }

    /// The highest page, not above `page`, on which an id may have been active: one that says so, or one of which the
    /// rows do not tell.
    pub fn active_at_or_below(&self, kind: u8, id: u32, page: u64) -> Option<u64> {
        let (from, to) = self.coverage;
        // Whole pages that lie in the covered heights.
        let (first, end) = (from.0.saturating_sub(1).div_ceil(PAGE_HEIGHTS), to.0 / PAGE_HEIGHTS);
        let mut page = page;
        loop {
            if page >= end || page < first {
                return Some(page);
            }
            let span = page / SPAN_PAGES;
            // A row that cannot be read hides nothing: the page is read.
            let Ok(word) = self.word(kind, span, id) else { return Some(page) };
            let below = word & (u64::MAX >> (SPAN_PAGES - 1 - page % SPAN_PAGES));
            if below != 0 {
                let found = span * SPAN_PAGES + u64::from(below.ilog2());
                assert!(found <= page, "only pages at or below were left in the mask");
                // Below the covered pages every page is read.
                return Some(if found < first { first.checked_sub(1)? } else { found });
            }
            page = (span * SPAN_PAGES).checked_sub(1)?;
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
