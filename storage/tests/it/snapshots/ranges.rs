//! The index of history beside the snapshots: it is bounded, and says of what it knows nothing.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::Height;
use engine::limits::{PAGE_HEIGHTS, SNAPSHOT_INDEX_BYTES_MAX, SPAN_PAGES};
use storage::snapshot::{ActivityRow, RANGE_IDS, RangeSource, Ranges, Snapshots, read_index};

use super::{Stage, found, session};

/// Rows of a span, in which a third of the ids of some blocks was active on every page.
fn rows(span: u64, blocks: u32) -> Vec<ActivityRow> {
    let mut words = Box::new([0; RANGE_IDS]);
    // The worst length for pages of 4 KiB: three such rows are a little too long for one.
    words[..167].fill(u64::MAX);
    (0..blocks)
        .map(|block| ActivityRow { kind: (block % 2) as u8, span, block: block / 2, words: words.clone() })
        .collect()
}

#[test]
fn the_oldest_rows_of_the_index_of_history_go_and_its_file_stays_one_that_readers_take() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = session(&path);
    let found = found(&session);
    let height = |span: u64| Height(span * SPAN_PAGES * PAGE_HEIGHTS);
    let open = || Ranges::open(&path, &session.chain()).expect("an index");
    let mut early = None;
    for span in 0..16 {
        assert!(found.add_ranges(rows(span, 3_500), (Height(1), height(span + 1))).expect("an index"));
        early = early.or_else(|| (span == 1).then(open));
    }
    let index = path.join("snapshots/index.redb");
    let length = fs::metadata(&index).expect("the index").len();
    println!("the file has {length} bytes");
    assert!(length <= SNAPSHOT_INDEX_BYTES_MAX);
    read_index(&index, &session.chain()).expect("whoever does not write it takes it");
    // Of 4.7 MiB each, five spans have room.
    let (ranges, told) = (open(), (Height(height(11).0 + 1), height(16)));
    assert_eq!(ranges.told(), [told]);
    let below = 11 * SPAN_PAGES - 1;
    assert_eq!(ranges.active_at_or_below(0, 166, 16 * SPAN_PAGES - 1), Some(16 * SPAN_PAGES - 1));
    assert_eq!(
        ranges.active_at_or_below(1, 167, 16 * SPAN_PAGES - 1),
        Some(below),
        "nothing is known of what is older"
    );
    // Rows that went since somebody began to read hide no page.
    let early = early.expect("opened before they went");
    assert_eq!(early.told(), [(Height(1), height(2))]);
    assert_eq!(early.active_at_or_below(0, 0, 5), Some(5));
    // Too many at once are a gap, and nothing goes for them. What was too old once does not come back.
    assert!(!found.add_ranges(rows(16, 5_000), (told.0, height(17))).expect("nothing was written"));
    assert!(found.add_ranges(rows(3, 10), (Height(1), height(4))).expect("an index"));
    assert_eq!(open().told(), [told]);
}

/// Somebody is active at the first height of what is asked for, at table 7.
struct Source(Arc<AtomicU64>);

impl RangeSource for Source {
    fn from(&self) -> Height {
        Height(self.0.load(Ordering::Relaxed))
    }

    fn rows(&self, from: Height, _: Height) -> Option<Vec<ActivityRow>> {
        let page = (from.0 - 1) / PAGE_HEIGHTS;
        let mut words = Box::new([0; RANGE_IDS]);
        words[7] = 1 << (page % SPAN_PAGES);
        Some(vec![ActivityRow { kind: 0, span: page / SPAN_PAGES, block: 0, words }])
    }

    fn saved(&self, _: Height) {}
}

#[test]
fn what_was_told_before_a_gap_is_told_behind_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = session(&path);
    let mut stage = Stage::new();
    let known = Arc::new(AtomicU64::new(1));
    let snapshots = found(&session).with_ranges(Source(known.clone())).start(None).expect("a thread");
    let mut take = |snapshots: &Snapshots, height: u64, from: u64| {
        known.store(from, Ordering::Relaxed);
        stage.height = height - 1;
        stage.take(snapshots, height).expect("there is room");
    };
    take(&snapshots, 5_000, 1);
    // No snapshot was finished for two spans, and then one after the other.
    take(&snapshots, 12_000, 9_001);
    take(&snapshots, 12_100, 9_001);
    snapshots.close();
    let snapshots = found(&session).with_ranges(Source(known.clone())).start(Some(Height(12_100))).expect("a thread");
    take(&snapshots, 12_200, 12_101);
    snapshots.close();
    let ranges = Ranges::open(&path, &session.chain()).expect("an index");
    assert_eq!(ranges.told(), [(Height(1), Height(5_000)), (Height(9_001), Height(12_200))]);
    let at_or_below = |table, page| ranges.active_at_or_below(0, table, page);
    assert_eq!((at_or_below(7, 400), at_or_below(7, 189), at_or_below(7, 188)), (Some(400), Some(189), Some(187)));
    // Pages 78 to 140 lie in the gap, or partly in it: of these nothing is known.
    assert_eq!((at_or_below(7, 186), at_or_below(8, 189), at_or_below(8, 78)), (Some(140), Some(140), Some(78)));
    assert_eq!((at_or_below(7, 77), at_or_below(8, 77)), (Some(0), None));
}

/// Many are active on every page: rows of more than half of what a snapshot may add, for each span that heights are in.
struct Busy;

impl RangeSource for Busy {
    fn from(&self) -> Height {
        Height(1)
    }

    fn rows(&self, from: Height, to: Height) -> Option<Vec<ActivityRow>> {
        let span = |height: Height| (height.0 - 1) / (PAGE_HEIGHTS * SPAN_PAGES);
        Some((span(from)..=span(to)).flat_map(|span| rows(span, 3_000)).collect())
    }

    fn saved(&self, _: Height) {}
}

#[test]
fn a_stretch_that_begins_in_an_earlier_span_is_told_from_its_own_on_where_both_are_too_much() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let session = session(&path);
    let mut stage = Stage::new();
    let snapshots = found(&session).with_ranges(Busy).start(None).expect("a thread");
    let first = |span: u64| span * SPAN_PAGES * PAGE_HEIGHTS + 1;
    for height in [first(0) + 99, first(1) + 99, first(1) + 199, first(2) + 99] {
        stage.height = height - 1;
        stage.take(&snapshots, height).expect("there is room");
    }
    snapshots.close();
    let ranges = Ranges::open(&path, &session.chain()).expect("an index");
    let told = |from, to| (Height(from), Height(to));
    let expected = [told(1, 100), told(first(1), first(1) + 199), told(first(2), first(2) + 99)];
    assert_eq!(ranges.told(), expected);
    assert_eq!(ranges.active_at_or_below(0, 166, first(1) / PAGE_HEIGHTS), Some(first(1) / PAGE_HEIGHTS));
}
