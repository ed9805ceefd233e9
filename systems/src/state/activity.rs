//! Activity: which tables and accounts did something on which page of 64 heights. Node-local: an index of history is made
//! of it, so that a reader skips pages; it may name more pages than it must, never fewer.
//!
//! ```text
//!  intake, resolve: a bit -> map of this span -> whoever keeps snapshots reads it at his own time
//! ```
//! One u64 for each table and each account holds the 64 pages of a span. Two spans are in memory: the present one and the
//! one before it, which is still being saved. Nothing is copied, and nothing waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bevy_ecs::resource::Resource;
use engine::limits::{HEIGHT_MAX, PAGE_HEIGHTS, SPAN_PAGES};
use engine::message::intent::{IntentBody, IntentKind};
use engine::{AccountId, Genesis, Height, TableId};

/// Heights of a span.
pub const SPAN_HEIGHTS: u64 = PAGE_HEIGHTS * SPAN_PAGES;
/// A map that is being cleared.
const CLEARING: u64 = u64::MAX;

// No span has that number.
const _: () = assert!(HEIGHT_MAX / SPAN_HEIGHTS < CLEARING);

/// The maps, or none where nobody keeps an index.
#[derive(Resource, Clone, Default)]
pub struct Activity(Option<Arc<ActivityMaps>>);

/// What is kept of two spans. One thread writes, any may read.
pub struct ActivityMaps {
    maps: [SpanMap; 2],
    /// The first height from which everything is in the maps, or was read out of them in time.
    from: AtomicU64,
    /// The last height that was read out and saved.
    saved: AtomicU64,
    /// The bit of the present page, and which of the two maps it is in.
    bit: AtomicU64,
    present: AtomicU64,
}

/// The pages of one span.
struct SpanMap {
    /// The number of the span.
    span: AtomicU64,
    tables: Box<[AtomicU64]>,
    accounts: Box<[AtomicU64]>,
}

/// Whose pages they are.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum ActiveKind {
    /// A table's.
    Table = 0,
    /// An account's.
    Account = 1,
}

/// What was read of one span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SpanActivity {
    /// The span's number.
    pub span: u64,
    /// By table, a bit for each of its pages.
    pub tables: Vec<u64>,
    /// By account, a bit for each of its pages.
    pub accounts: Vec<u64>,
}

fn zeros(count: u32) -> Box<[AtomicU64]> {
    (0..count).map(|_| AtomicU64::new(0)).collect()
}

/// The page and the span of a height.
fn place(height: Height) -> (u64, u64) {
    assert!(height > Height::GENESIS, "genesis is on no page");
    let page = (height.0 - 1) / PAGE_HEIGHTS;
    (page, page / SPAN_PAGES)
}

/// Sets a bit that is mostly set already: a plain load is cheaper than an exchange.
#[inline]
fn set(word: &AtomicU64, bit: u64) {
    assert!(bit.is_power_of_two(), "a page has one bit, and has it before anything happens on it");
    if word.load(Ordering::Relaxed) & bit == 0 {
        word.fetch_or(bit, Ordering::Relaxed);
    }
}

impl ActivityMaps {
    fn map(&self) -> &SpanMap {
        &self.maps[(self.present.load(Ordering::Relaxed) & 1) as usize]
    }

    /// Turns to a height. At the first one of a span the older of the two maps is cleared.
    fn begin(&self, height: Height) {
        let (page, span) = place(height);
        self.bit.store(1 << (page % SPAN_PAGES), Ordering::Relaxed);
        self.present.store(span & 1, Ordering::Relaxed);
        let map = &self.maps[(span & 1) as usize];
        let old = map.span.load(Ordering::Relaxed);
        if old == span {
            return;
        }
        // Nobody read the old span to its end: from here on the index begins after it.
        let ends = old.saturating_add(1).saturating_mul(SPAN_HEIGHTS);
        if old != CLEARING && self.saved.load(Ordering::Acquire) < ends {
            self.from.fetch_max(ends + 1, Ordering::AcqRel);
        }
        // A reader looks at the span before and after: whatever it read of a map that is half cleared it throws away.
        map.span.store(CLEARING, Ordering::SeqCst);
        std::sync::atomic::fence(Ordering::SeqCst);
        map.tables.iter().chain(&map.accounts).for_each(|word| word.store(0, Ordering::Relaxed));
        map.span.store(span, Ordering::SeqCst);
    }

    /// What happened from one height to another, by span; `None` if some of it is not here any more.
    ///
    /// The heights must have been settled before: by a message, for example.
    pub fn read(&self, from: Height, to: Height) -> Option<Vec<SpanActivity>> {
        // Half of an answer would be an index that misses pages: rather none.
        if from > to || from.0 < self.from() {
            return None;
        }
        let (first, last) = (place(from).1, place(to).1);
        (first..=last).map(|span| self.read_span(span)).collect()
    }

    fn read_span(&self, span: u64) -> Option<SpanActivity> {
        let map = &self.maps[(span & 1) as usize];
        let read = |words: &[AtomicU64]| words.iter().map(|word| word.load(Ordering::Relaxed)).collect();
        if map.span.load(Ordering::SeqCst) != span {
            return None;
        }
        let activity = SpanActivity { span, tables: read(&map.tables), accounts: read(&map.accounts) };
        std::sync::atomic::fence(Ordering::SeqCst);
        // Whoever clears the map says so before.
        (map.span.load(Ordering::SeqCst) == span).then_some(activity)
    }

    /// The first height from which everything is here, or was saved.
    pub fn from(&self) -> u64 {
        self.from.load(Ordering::Acquire)
    }

    /// Everything up to this height was read and is on disk.
    pub fn saved(&self, to: Height) {
        self.saved.fetch_max(to.0, Ordering::AcqRel);
    }
}

impl Activity {
    /// Maps for a chain's tables and accounts.
    pub fn of(genesis: &Genesis) -> Self {
        let map = || SpanMap {
            span: AtomicU64::new(CLEARING),
            tables: zeros(genesis.tables),
            accounts: zeros(genesis.accounts),
        };
        Self(Some(Arc::new(ActivityMaps {
            maps: [map(), map()],
            from: AtomicU64::new(1),
            saved: AtomicU64::new(0),
            bit: AtomicU64::new(0),
            present: AtomicU64::new(0),
        })))
    }

    /// The maps, if there are any.
    pub fn maps(&self) -> Option<&Arc<ActivityMaps>> {
        self.0.as_ref()
    }

    /// The world was loaded at a height: what was before it is not here.
    pub fn loaded(&self, height: Height) {
        if let Some(maps) = &self.0 {
            maps.from.fetch_max(height.0 + 1, Ordering::AcqRel);
        }
    }

    /// Turns to the height that is being settled.
    #[inline]
    pub fn begin(&self, height: Height) {
        if let Some(maps) = &self.0 {
            maps.begin(height);
        }
    }

    /// A table rolled, or somebody did something there.
    #[inline]
    pub fn table(&self, table: TableId) {
        let Some(maps) = &self.0 else { return };
        if let Some(word) = maps.map().tables.get(table.index()) {
            set(word, maps.bit.load(Ordering::Relaxed));
        }
    }

    /// An account did something, or a roll did something to its bets.
    #[inline]
    pub fn account(&self, account: AccountId) {
        let Some(maps) = &self.0 else { return };
        // Intents name whatever accounts they like, those beyond the column too.
        if let Some(word) = maps.map().accounts.get(account.index()) {
            set(word, maps.bit.load(Ordering::Relaxed));
        }
    }

    /// An intent of an account, whatever became of it.
    #[inline]
    pub fn intent(&self, body: &IntentBody, account: Option<AccountId>) {
        let (Some(_), Some(account)) = (&self.0, account) else { return };
        self.account(account);
        match IntentKind::try_from(body.kind) {
            Ok(IntentKind::Open | IntentKind::OpenVoucher) | Err(_) => {}
            Ok(IntentKind::Transfer) => self.account(AccountId(body.target)),
            Ok(_) => self.table(TableId(body.target)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn maps() -> Activity {
        let map = || SpanMap { span: AtomicU64::new(CLEARING), tables: zeros(3), accounts: zeros(5) };
        Activity(Some(Arc::new(ActivityMaps {
            maps: [map(), map()],
            from: AtomicU64::new(1),
            saved: AtomicU64::new(0),
            bit: AtomicU64::new(0),
            present: AtomicU64::new(0),
        })))
    }

    #[test]
    fn pages_have_a_bit_each_and_two_spans_are_kept() {
        let activity = maps();
        let maps = activity.maps().expect("maps").clone();
        for height in [1, 64, 65, SPAN_HEIGHTS, SPAN_HEIGHTS + 1] {
            activity.begin(Height(height));
            activity.account(AccountId(2));
        }
        activity.table(TableId(1));
        // Beyond the rows there is nothing to mark.
        activity.account(AccountId(5));
        let spans = maps.read(Height(1), Height(SPAN_HEIGHTS + 1)).expect("both are here");
        assert_eq!(spans[0].accounts, [0, 0, 1 << 63 | 0b11, 0, 0]);
        assert_eq!(spans[0].tables, [0, 0, 0]);
        assert_eq!((&spans[1].accounts[..], &spans[1].tables[..]), (&[0, 0, 1, 0, 0][..], &[0, 1, 0][..]));
    }

    #[test]
    fn what_was_not_saved_in_time_is_said_to_be_missing() {
        let activity = maps();
        let maps = activity.maps().expect("maps").clone();
        activity.begin(Height(1));
        activity.begin(Height(SPAN_HEIGHTS + 1));
        maps.saved(Height(SPAN_HEIGHTS));
        activity.begin(Height(2 * SPAN_HEIGHTS + 1));
        assert_eq!(maps.from(), 1, "the first span was saved before its map was taken");
        assert!(maps.read(Height(1), Height(5)).is_none(), "and it is not here any more");
        assert!(maps.read(Height(SPAN_HEIGHTS + 1), Height(2 * SPAN_HEIGHTS + 1)).is_some());
        activity.begin(Height(3 * SPAN_HEIGHTS + 1));
        assert_eq!(maps.from(), 2 * SPAN_HEIGHTS + 1, "the second one was not");
        assert!(maps.read(Height(SPAN_HEIGHTS + 1), Height(3 * SPAN_HEIGHTS + 1)).is_none());
        activity.loaded(Height(9 * SPAN_HEIGHTS));
        assert_eq!(maps.from(), 9 * SPAN_HEIGHTS + 1);
    }
}
