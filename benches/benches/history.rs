//! Reads of history: warm, from disk, and cold; and the hit rates of the published trace.
//!
//! The limit of a warm read is a lookup in a bare hash map and a copy of the same pages' bytes. A session of 100 tables
//! and 600 players is made first. `cargo test` shrinks it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use audit::history::{
    CacheConfig, HeldPage, History, PAGE_HEIGHTS, Page, PageCache, PageKey, Question, Subject, TierCounts,
};
use audit::reading::{Origin, ReadOptions};
use benches::beside::{Runs, alone, beside, criterion, group, time};
use benches::tiny;
use benches::trace::{Read, Trace};
use criterion::{Criterion, Throughput};
use engine::{AccountId, Height};
use load::dev::{DevConfig, open};
use load::players::Habits;
use node::clock::Pace;

/// What the trace is made of; `docs/history.md` repeats it.
struct Size {
    tables: u32,
    players: u32,
    pages: u64,
    reads: usize,
}

const SEED: u64 = 1;
/// Entries of a read.
const LIMIT: usize = 50;

fn main() {
    let tiny = tiny();
    let size = match tiny {
        true => Size { tables: 10, players: 40, pages: 12, reads: 400 },
        false => Size { tables: 100, players: 600, pages: 250, reads: 100_000 },
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let dir = tempfile::tempdir().expect("a directory");
    let session = dir.path().join("session");
    let _pool = engine::pool::build(threads).expect("a pool");
    record(&session, &size, threads);

    let folder = Some(dir.path().join("cache"));
    let plenty = CacheConfig { memory_bytes: 1 << 30, disk_bytes: 1 << 30, folder };
    // As its operator reads it.
    let reading = ReadOptions { origin: Origin::Own, ..ReadOptions::stranger(threads) };
    let history = History::open(&session, reading, plenty).expect("a history");
    cold(&history, &size);
    let mut criterion = criterion().sample_size(if tiny { 10 } else { 100 });
    warm(&mut criterion, &history, &size);
    from_disk(&mut criterion, &history, &size);
    let pages = all_pages(&history, &size);
    drop(history);
    rates(&dir.path().join("trace"), &size, &pages);
}

fn record(session: &Path, size: &Size, threads: usize) {
    let habits = Habits { think_min_ms: 2_400, think_max_ms: 7_200, ..Habits::default() };
    let config = DevConfig {
        tables: size.tables,
        players: size.players,
        threads,
        pace: Pace::Max,
        habits,
        block_interval_ms: 100,
        ..DevConfig::default()
    };
    let mut opened = open(session, &config).expect("a session");
    let heights = size.pages * PAGE_HEIGHTS;
    opened.node.run(Some(heights), &AtomicBool::new(false), |_, _, _| ()).expect("the session runs");
    opened.node.close();
}

fn question(player: u32, to: u64) -> Question {
    let subject = Subject::Account(AccountId(player));
    Question { subject, from: Height(1), to: Some(Height(to)), limit: LIMIT, opened: false }
}

/// The first read of a session, from the nearest snapshot; then a walk over all of it.
fn cold(history: &History, size: &Size) {
    let heights = size.pages * PAGE_HEIGHTS;
    let first = time(|| _ = black_box(history.answer(&question(0, heights)).expect("an answer"))).as_secs_f64();
    let before = history.cache().counts().report();
    let seconds = time(|| _ = black_box(history.walk_all(|_, _| Ok(())).expect("a walk"))).as_secs_f64();
    let tiers = history.cache().counts().report();
    println!(
        "history/cold: the first read {first:.2} s, {} pages made from {} heights; all {} pages {seconds:.2} s, {:.0} \
         heights/s executed, {:.0} us a page",
        before.cold,
        before.heights,
        tiers.cold - before.cold,
        heights as f64 / seconds,
        seconds * 1e6 / size.pages as f64
    );
}

/// The reads of the trace, one after another and again from the first.
struct Reads<'a> {
    history: &'a History,
    reads: std::iter::Cycle<std::vec::IntoIter<Read>>,
    last: u64,
}

/// One read, and how many pages it needed from each tier.
struct Asked {
    took: Duration,
    read: Read,
    memory: u64,
    disk: u64,
}

impl<'a> Reads<'a> {
    fn new(history: &'a History, size: &Size) -> Self {
        let reads: Vec<_> = Trace::new(SEED, size.players, 8).take((size.reads / 20).max(100)).collect();
        Self { history, reads: reads.into_iter().cycle(), last: size.pages * PAGE_HEIGHTS }
    }

    fn next(&mut self) -> Asked {
        let read = self.reads.next().expect("it goes on for ever");
        let question = question(read.player, self.last - u64::from(read.age) * PAGE_HEIGHTS);
        let before = self.history.cache().counts().report();
        let took = time(|| _ = black_box(self.history.answer(&question).expect("an answer")));
        let after = self.history.cache().counts().report();
        Asked { took, read, memory: after.memory - before.memory, disk: after.disk - before.disk }
    }
}

/// Reads of 50 entries whose pages lie in memory; and the bare lookup and copy of the same pages.
fn warm(criterion: &mut Criterion, history: &History, size: &Size) {
    let lengths = all_pages(history, size).into_iter().map(|page| (page.key(), vec![7; page.len()]));
    let plain: HashMap<PageKey, Vec<u8>> = lengths.collect();
    let mut reads = Reads::new(history, size);
    (0..(size.reads / 20).max(100)).for_each(|_| _ = reads.next());
    let mut copy = Vec::new();
    let (asked, mut pages, mut count) = (RefCell::new(None), 0, 0_u64);
    let ours = || {
        let read = reads.next();
        assert_eq!(read.disk, 0, "warm reads are from memory");
        let took = read.took;
        pages += read.memory;
        count += 1;
        *asked.borrow_mut() = Some(read);
        took
    };
    let limit = || {
        let Asked { read, memory, .. } = asked.borrow_mut().take().expect("it was asked just now");
        let newest = size.pages - 1 - u64::from(read.age);
        time(|| {
            copy.clear();
            for page in (0..memory).map(|back| newest.saturating_sub(back)) {
                copy.extend_from_slice(&plain[&PageKey { page, part: 0 }]);
            }
            black_box(&copy);
        })
    };
    let mut group = criterion.benchmark_group("history/warm");
    group.throughput(Throughput::Elements(LIMIT as u64));
    let name = format!("entries={LIMIT}");
    let read = beside(&mut group, &name, ours, limit);
    group.finish();
    read.print_percentiles(&format!("history/warm/{name}"), "a bare lookup and copy");
    if count > 0 {
        let whole: usize = plain.values().map(Vec::len).sum();
        println!(
            "history/warm/{name}: {count} reads, {:.1} pages each of {} KiB",
            pages as f64 / count as f64,
            whole / plain.len() / 1_024
        );
    }
}

/// Reads whose pages are in memory no more: read, hash, LZ4, rows checked.
fn from_disk(criterion: &mut Criterion, history: &History, size: &Size) {
    let mut reads = Reads::new(history, size);
    let mut group = group(criterion, "history/disk".to_owned(), Throughput::Elements(1));
    let runs: Runs = alone(&mut group, "page", || {
        history.cache().forget_memory();
        let read = reads.next();
        assert!(read.disk > 0, "nothing is in memory");
        read.took / read.disk as u32
    });
    group.finish();
    if !runs.is_empty() {
        println!(
            "history/disk/page: P50 {:.0} us, P95 {:.0} us a page",
            runs.percentile(50) * 1e6,
            runs.percentile(95) * 1e6
        );
    }
}

fn all_pages(history: &History, size: &Size) -> Vec<Page> {
    (0..size.pages).map(|number| (*history.cached(number).expect("it was kept")[0]).clone()).collect()
}

/// Which pages each player's reads touch, newest first.
fn touched(pages: &[Page], player: u32) -> Vec<usize> {
    let account = Subject::Account(AccountId(player));
    let entries = |page: &Page| account.entries(&[HeldPage::Made(page.clone().into())]).len();
    pages.iter().map(entries).collect()
}

/// The published trace against tiers of an eighth and of half of all pages' bytes. The chain grows meanwhile: its second
/// half becomes the newest page after another while the reads go on.
fn rates(dir: &Path, size: &Size, pages: &[Page]) {
    let bytes: u64 = pages.iter().map(|page| page.len() as u64).sum();
    let stored: u64 = pages.iter().map(|page| page.encode().len() as u64).sum();
    let config = CacheConfig { memory_bytes: bytes / 8, disk_bytes: stored / 2, folder: Some(dir.to_owned()) };
    let cache = PageCache::open(pages[0].header().chain, Origin::Own, config).expect("a cache");
    let entries: Vec<Vec<usize>> = (0..size.players).map(|player| touched(pages, player)).collect();
    let trace = Trace::new(SEED, size.players, size.pages as u32).take(size.reads);
    for (place, read) in trace.enumerate() {
        let newest = pages.len() / 2 + place * (pages.len() - pages.len() / 2) / size.reads;
        let mut wanted = LIMIT;
        for page in (0..=newest.saturating_sub(read.age as usize)).rev() {
            let key = PageKey { page: page as u64, part: 0 };
            if cache.get(key, &pages[page].header().root_chain).is_none() {
                TierCounts::count(&cache.counts().cold);
                cache.keep(pages[page].clone());
            }
            wanted = wanted.saturating_sub(entries[read.player as usize][page]);
            if wanted == 0 {
                break;
            }
        }
    }
    let tiers = cache.counts().report();
    let percent = |part: u64| 100.0 * part as f64 / tiers.asked() as f64;
    println!(
        "history/trace/reads={}: memory {:.2}%, with disk {:.2}%, with the cold tier {:.2}% ({} pages asked for; memory holds \
         an eighth of {} MiB, disk half of {} MiB stored; seed {SEED})",
        size.reads,
        percent(tiers.memory),
        percent(tiers.memory + tiers.disk),
        percent(tiers.asked()),
        tiers.asked(),
        bytes >> 20,
        stored >> 20,
    );
}
