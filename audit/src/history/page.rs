//! A page: what happened at 64 heights, at some tables, as columns of rows. Docs: docs/formats/history.md.
//!
//! In memory a page is one aligned piece, whose rows are read where they lie. Stored, it is that piece as an LZ4 block
//! under one hash. A decoder checks every byte: a page is right or it is none.

use std::ops::Range;

use bytemuck::{Pod, Zeroable};
use engine::bytes::Reader;
use engine::io::BetResult;
use engine::limits::PAGE_BYTES_MAX;
pub use engine::limits::PAGE_HEIGHTS;
use engine::message::intent::IntentKind;
use engine::{Hash, Height, TableId};
use thiserror::Error;

use super::rows::{
    BalanceRow, HeightRow, IntentRow, KINDS, LAPSED, LeavingRow, NO_TABLE, PageHeader, ROW_BYTES, ResolutionRow,
    RollRow,
};

/// Tables of one part of a page: it bounds what a page with many tables needs at a time.
pub const PART_TABLES: u32 = 4_096;

const MAGIC: [u8; 8] = *b"BCPAGE03";
const HEADER: usize = size_of::<PageHeader>();

// A page is read as words where it lies: every row begins at one.
const _: () = {
    assert!(HEADER.is_multiple_of(8));
    let mut kind = 0;
    while kind < KINDS {
        assert!(ROW_BYTES[kind].is_multiple_of(8));
        kind += 1;
    }
};

/// How a stored page begins. Layout: 64 bytes.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct StoredRow {
    magic: [u8; 8],
    length: u32,
    stored: u32,
    page: u64,
    part: u32,
    /// 0 as it is, 1 an LZ4 block.
    codec: u32,
    /// BLAKE3 of the 32 bytes before and of the stored bytes.
    hash: Hash,
}

const _: () = assert!(size_of::<StoredRow>() == 64);

impl StoredRow {
    fn hash(&self, stored: &[u8]) -> Hash {
        *blake3::Hasher::new().update(&bytemuck::bytes_of(self)[..32]).update(stored).finalize().as_bytes()
    }
}

/// What names a part of a page.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PageKey {
    /// The page's number: it begins at height `64 * page + 1`.
    pub page: u64,
    /// The part's number: it holds tables from `4096 * part` on.
    pub part: u32,
}

/// Stored bytes that are no page.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum PageError {
    /// Fewer or more bytes than the page says.
    #[error("the page is cut short or too long")]
    Length,
    /// It begins with something else, or with another version.
    #[error("this is no page of a version that this program reads")]
    Magic,
    /// A byte is not what was written.
    #[error("the page's hash is wrong")]
    Hash,
    /// The bytes are whole, but cannot be a page.
    #[error("the page's {0} cannot be so")]
    Value(&'static str),
}

/// The number of the page that holds a height.
///
/// # Panics
/// At genesis, which has no block.
pub fn page_of(height: Height) -> u64 {
    (height.0.checked_sub(1).expect("heights are numbered from 1")) / PAGE_HEIGHTS
}

/// The heights of a page.
pub fn heights_of(page: u64) -> Range<u64> {
    page * PAGE_HEIGHTS + 1..(page + 1) * PAGE_HEIGHTS + 1
}

/// Parts of every page of a chain with this many tables.
pub fn parts_of(tables: u32) -> u32 {
    tables.div_ceil(PART_TABLES).max(1)
}

/// The part that holds a table; what has none is in the first.
pub fn part_of(table: u32) -> u32 {
    if table == NO_TABLE { 0 } else { table / PART_TABLES }
}

/// A part of a page, to read.
#[derive(Clone, PartialEq, Eq)]
pub struct Page {
    words: Box<[u64]>,
    /// Where the rows of each kind begin, in bytes.
    starts: [usize; KINDS + 1],
}

impl std::fmt::Debug for Page {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Page").field("header", self.header()).finish_non_exhaustive()
    }
}

/// The rows of one height.
#[derive(Clone, Copy, Debug)]
pub struct HeightRows<'a> {
    /// A settled height of the page.
    pub height: Height,
    /// Block time in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Intents in block order.
    pub intents: &'a [IntentRow],
    /// Rolls in table order.
    pub rolls: &'a [RollRow],
    /// What they did to bets, by table, seat and spot.
    pub resolutions: &'a [ResolutionRow],
    /// Players who left at them.
    pub leavings: &'a [LeavingRow],
    /// Balances after the height, by table and account.
    pub balances: &'a [BalanceRow],
}

fn starts(counts: &[u32; KINDS]) -> [usize; KINDS + 1] {
    let mut starts = [HEADER; KINDS + 1];
    for kind in 0..KINDS {
        // Rows are multiples of 8 bytes, and so every row begins at one.
        starts[kind + 1] = starts[kind].saturating_add((counts[kind] as usize).saturating_mul(ROW_BYTES[kind]));
    }
    starts
}

impl Page {
    /// The page of some rows: heights, intents, rolls, resolutions, leavings, balances.
    ///
    /// # Panics
    /// If the rows are more than a u32 counts, or the heights' ends are not theirs.
    pub fn new(mut header: PageHeader, heights: &[HeightRow], rows: &Rows) -> Self {
        let count = |rows: usize| u32::try_from(rows).expect("a page has fewer than 2^32 rows");
        header.counts = [
            count(heights.len()),
            count(rows.intents.len()),
            count(rows.rolls.len()),
            count(rows.resolutions.len()),
            count(rows.leavings.len()),
            count(rows.balances.len()),
        ];
        let starts = starts(&header.counts);
        let mut words = vec![0u64; starts[KINDS] / 8].into_boxed_slice();
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        bytes[..HEADER].copy_from_slice(bytemuck::bytes_of(&header));
        let columns: [&[u8]; KINDS] = [
            bytemuck::cast_slice(heights),
            bytemuck::cast_slice(&rows.intents),
            bytemuck::cast_slice(&rows.rolls),
            bytemuck::cast_slice(&rows.resolutions),
            bytemuck::cast_slice(&rows.leavings),
            bytemuck::cast_slice(&rows.balances),
        ];
        for (column, start) in columns.into_iter().zip(starts) {
            bytes[start..start + column.len()].copy_from_slice(column);
        }
        let page = Self { words, starts };
        page.check().expect("the builder keeps the ends of its rows");
        page
    }

    fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.words)
    }

    fn rows<T: Pod>(&self, kind: usize) -> &[T] {
        bytemuck::cast_slice(&self.bytes()[self.starts[kind]..self.starts[kind + 1]])
    }

    /// How the page begins.
    pub fn header(&self) -> &PageHeader {
        bytemuck::from_bytes(&self.bytes()[..HEADER])
    }

    /// What names it.
    pub fn key(&self) -> PageKey {
        PageKey { page: self.header().page, part: self.header().part }
    }

    /// Bytes in memory.
    pub fn len(&self) -> usize {
        self.words.len() * 8
    }

    /// Whether nothing happened at its tables.
    pub fn is_empty(&self) -> bool {
        self.header().counts[1..] == [0; KINDS - 1]
    }

    /// Whether it has all its heights: only the page at the end of a live chain has fewer.
    pub fn is_whole(&self) -> bool {
        u64::from(self.header().counts[0]) == PAGE_HEIGHTS
    }

    /// The heights that it holds.
    pub fn heights(&self) -> Range<u64> {
        let first = heights_of(self.header().page).start;
        first..first + u64::from(self.header().counts[0])
    }

    /// The rows of its heights, from the first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = HeightRows<'_>> {
        let heights: &[HeightRow] = self.rows(0);
        let first = heights_of(self.header().page).start;
        (0..heights.len()).map(move |place| {
            let begins = place.checked_sub(1).map_or([0; KINDS - 1], |before| heights[before].ends);
            let row = &heights[place];
            let range = |kind: usize| begins[kind - 1] as usize..row.ends[kind - 1] as usize;
            HeightRows {
                height: Height(first + place as u64),
                time_ms: row.time_ms,
                intents: &self.rows(1)[range(1)],
                rolls: &self.rows(2)[range(2)],
                resolutions: &self.rows(3)[range(3)],
                leavings: &self.rows(4)[range(4)],
                balances: &self.rows(5)[range(5)],
            }
        })
    }

    /// The numbers of the first and the last roll of a table on this page.
    pub fn rolls_of(&self, table: TableId) -> Option<(u32, u32)> {
        let rolls: &[RollRow] = self.rows(2);
        let own = |roll: &&RollRow| roll.table == table.0;
        Some((rolls.iter().find(own)?.number, rolls.iter().rfind(own)?.number))
    }

    /// Everything that a reader relies on: counts, ends, zeros, and bytes that stand for something.
    fn check(&self) -> Result<(), PageError> {
        let wrong = |what| Err(PageError::Value(what));
        let header = self.header();
        if header.reserved != [0; 24] || header.parts == 0 || header.part >= header.parts {
            return wrong("header");
        }
        // The number of the last height must not exceed what a height can be.
        if u64::from(header.counts[0]) > PAGE_HEIGHTS || header.page > u64::MAX / PAGE_HEIGHTS - 1 {
            return wrong("heights");
        }
        let mut before = HeightRow::default();
        for row in self.rows::<HeightRow>(0) {
            // Ends that go back would be a range that ends before it begins, at which a reader would stop.
            if row.reserved != 0 || row.ends.iter().zip(before.ends).any(|(end, before)| *end < before) {
                return wrong("heights");
            }
            before = *row;
        }
        // A row behind the last end would be on the page and belong to no height.
        if before.ends[..] != header.counts[1..] {
            return wrong("ends of rows");
        }
        let meant = |row: &IntentRow| {
            let kind = row.is_pledge() || IntentKind::try_from(row.kind).is_ok();
            kind && row.verdict().is_some() && row.reserved == [0; 3]
        };
        if !self.rows::<IntentRow>(1).iter().all(meant) {
            return wrong("intents");
        }
        if self.rows::<RollRow>(2).iter().any(|row| row.event > 5 || row.reserved != [0; 3]) {
            return wrong("rolls");
        }
        let known = |row: &ResolutionRow| {
            let spot = |spot: u8| usize::from(spot) < engine::limits::SPOTS;
            let result = BetResult::of_bytes([row.result, row.to]);
            result.is_ok() && spot(row.spot) && row.reserved == [0; 4]
        };
        if !self.rows::<ResolutionRow>(3).iter().all(known) {
            return wrong("resolutions");
        }
        if self.rows::<LeavingRow>(4).iter().any(|row| row.absent > LAPSED || row.freed > 1 || row.reserved != [0; 5]) {
            return wrong("leavings");
        }
        if self.rows::<BalanceRow>(5).iter().any(|row| row.reserved != [0; 7]) {
            return wrong("balances");
        }
        Ok(())
    }

    /// The page as it is stored.
    ///
    /// Layout: magic 8, bytes u32, stored bytes u32, page u64, part u32, codec u32, BLAKE3 32 of the 32 bytes before and
    /// what follows; then the page, as it is or as an LZ4 block.
    ///
    /// # Panics
    /// If the page is larger than [`PAGE_BYTES_MAX`].
    pub fn encode(&self) -> Vec<u8> {
        let plain = self.bytes();
        assert!(plain.len() <= PAGE_BYTES_MAX, "whoever stores a page has looked at its size");
        let packed = lz4_flex::block::compress(plain);
        // What does not shrink is stored as it is.
        let lz4 = packed.len() < plain.len();
        let stored: &[u8] = if lz4 { &packed } else { plain };
        let length = |bytes: usize| u32::try_from(bytes).expect("pages are bounded");
        let PageKey { page, part } = self.key();
        let mut row = StoredRow {
            magic: MAGIC,
            length: length(plain.len()),
            stored: length(stored.len()),
            page,
            part,
            codec: lz4.into(),
            hash: [0; 32],
        };
        row.hash = row.hash(stored);
        [bytemuck::bytes_of(&row), stored].concat()
    }

    /// Reads a stored page.
    ///
    /// # Errors
    /// If the bytes are no page, or one of them is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let mut reader = Reader::new("stored page", bytes);
        let row: StoredRow = reader.row().map_err(|_| PageError::Length)?;
        if row.magic != MAGIC {
            return Err(PageError::Magic);
        }
        let (length, kept, codec) = (row.length as usize, row.stored as usize, row.codec);
        let stored = reader.take(kept).map_err(|_| PageError::Length)?;
        reader.end().map_err(|_| PageError::Length)?;
        // The hash comes before all else: nothing is unpacked that was not written so.
        if row.hash != row.hash(stored) {
            return Err(PageError::Hash);
        }
        // The length is bounded before room is made for it.
        if length < HEADER || length % 8 != 0 || length > PAGE_BYTES_MAX || codec > 1 {
            return Err(PageError::Value("length or codec"));
        }
        let mut words = vec![0u64; length / 8].into_boxed_slice();
        let plain: &mut [u8] = bytemuck::cast_slice_mut(&mut words);
        if codec == 0 {
            if kept != length {
                return Err(PageError::Length);
            }
            plain.copy_from_slice(stored);
        } else if lz4_flex::block::decompress_into(stored, plain).ok() != Some(length) {
            return Err(PageError::Value("LZ4 block"));
        }
        let header_row: &PageHeader = bytemuck::from_bytes(&plain[..HEADER]);
        let starts = starts(&header_row.counts);
        // Rows that do not fill the page exactly would lie in each other, or outside of it.
        if starts[KINDS] != length {
            return Err(PageError::Value("counts"));
        }
        let page = Self { words, starts };
        page.check()?;
        let key = PageKey { page: row.page, part: row.part };
        // A page that is stored under the name of another must not stand for it.
        if page.key() != key {
            return Err(PageError::Value("number"));
        }
        Ok(page)
    }
}

/// The rows of a page while it is built.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rows {
    /// In block order, height after height; pledges and openings are among them.
    pub intents: Vec<IntentRow>,
    /// In table order, height after height: one for each table that rolled.
    pub rolls: Vec<RollRow>,
    /// In table order, height after height: one for each bet that a roll decided, returned or moved.
    pub resolutions: Vec<ResolutionRow>,
    /// In table order, height after height: one for each player whom a roll saw off.
    pub leavings: Vec<LeavingRow>,
    /// One for each account, and each of its seats, that a height touched: what it had afterwards.
    pub balances: Vec<BalanceRow>,
}

impl Rows {
    /// Where the rows end now.
    ///
    /// # Panics
    /// If there are more than a u32 counts.
    pub fn ends(&self) -> [u32; KINDS - 1] {
        [self.intents.len(), self.rolls.len(), self.resolutions.len(), self.leavings.len(), self.balances.len()]
            .map(|count| u32::try_from(count).expect("a page has fewer than 2^32 rows"))
    }
}

impl PageHeader {
    /// The header of a page whose rows are not counted yet.
    pub fn of(key: PageKey, parts: u32) -> Self {
        Self { page: key.page, part: key.part, parts, ..Self::zeroed() }
    }
}

#[cfg(test)]
mod tests;
