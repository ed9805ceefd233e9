//! Reads of history: warm, from disk, and cold; and the hit rates of the published trace.
//!
//! The limit of a warm read is a lookup in a bare hash map and a copy of the same pages' bytes. A session of 100 tables
//! and 600 players is made first. `cargo test` shrinks it.

use std::collections::HashMap;
use std::hint::black_box;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use audit::history::{
    CacheConfig, HeldPage, History, PAGE_HEIGHTS, Page, PageCache, PageKey, Question, Subject, TierCounts,
};
use audit::reading::{Origin, Reading};
use benches::trace::Trace;
use benches::{time, tiny};
use engine::{AccountId, Height};
use load::dev::{DevConfig, open};
use load::players::Temper;
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
    let reading = Reading { origin: Origin::Own, ..Reading::from(threads) };
    let history = History::open(&session, reading, plenty).expect("a history");
    cold(&history, &size);
    warm(&history, &size);
    let pages = all_pages(&history, &size);
    drop(history);
    rates(&dir.path().join("trace"), &size, &pages);
}

fn record(session: &Path, size: &Size, threads: usize) {
    let temper = Temper { think_min_ms: 2_400, think_max_ms: 7_200, ..Temper::default() };
    let config = DevConfig {
        tables: size.tables,
        players: size.players,
        threads,
        pace: Pace::Max,
        temper,
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

fn percentiles(mut micros: Vec<f64>) -> [f64; 3] {
    micros.sort_by(f64::total_cmp);
    [50, 95, 99].map(|percent| micros[(micros.len() * percent / 100).min(micros.len() - 1)])
}

/// The first read of a session, from the nearest snapshot; then a walk over all of it.
fn cold(history: &History, size: &Size) {
    let heights = size.pages * PAGE_HEIGHTS;
    let first = time(|| {
        black_box(history.answer(&question(0, heights)).expect("an answer"));
    });
    let before = history.cache().counts().report();
    let seconds = time(|| {
        black_box(history.walk_all(|_, _| Ok(())).expect("a walk"));
    });
    let tiers = history.cache().counts().report();
    println!(
        "history::cold: the first read {first:.2} s, {} pages made from {} heights; all {} pages {seconds:.2} s, {:.0} \
         heights/s executed, {:.0} us a page",
        before.cold,
        before.heights,
        tiers.cold - before.cold,
        heights as f64 / seconds,
        seconds * 1e6 / size.pages as f64
    );
}

/// Reads of 50 entries whose pages lie in memory, then from disk; and the bare lookup and copy of the same pages.
fn warm(history: &History, size: &Size) {
    let reads: Vec<_> = Trace::new(SEED, size.players, 8).take((size.reads / 20).max(100)).collect();
    let last = size.pages * PAGE_HEIGHTS;
    let ask = |read: &benches::trace::Read| {
        let before = history.cache().counts().report();
        let began = Instant::now();
        let answer =
            history.answer(&question(read.player, last - u64::from(read.age) * PAGE_HEIGHTS)).expect("an answer");
        let micros = began.elapsed().as_secs_f64() * 1e6;
        black_box(&answer);
        let after = history.cache().counts().report();
        (micros, after.memory - before.memory, after.disk - before.disk)
    };
    reads.iter().for_each(|read| _ = ask(read));
    let asked: Vec<_> = reads.iter().map(ask).collect();
    let pages: u64 = asked.iter().map(|(_, memory, _)| memory).sum();
    assert_eq!(pages, asked.iter().map(|(_, memory, disk)| memory + disk).sum::<u64>(), "warm reads are from memory");
    let [p50, p95, p99] = percentiles(asked.iter().map(|(micros, ..)| *micros).collect());

    let bare: HashMap<PageKey, Vec<u8>> =
        all_pages(history, size).into_iter().map(|page| (page.key(), page.encode())).collect();
    let bytes: HashMap<PageKey, usize> =
        all_pages(history, size).into_iter().map(|page| (page.key(), page.len())).collect();
    let plain: HashMap<PageKey, Vec<u8>> = bytes.iter().map(|(key, length)| (*key, vec![7; *length])).collect();
    let mut copy = Vec::new();
    let limit: Vec<f64> = reads
        .iter()
        .zip(&asked)
        .map(|(read, (_, memory, _))| {
            let newest = size.pages - 1 - u64::from(read.age);
            let began = Instant::now();
            copy.clear();
            for page in (0..*memory).map(|back| newest.saturating_sub(back)) {
                copy.extend_from_slice(&plain[&PageKey { page, part: 0 }]);
            }
            black_box(&copy);
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    let [l50, l95, _] = percentiles(limit);
    let stored: usize = bare.values().map(Vec::len).sum();
    let whole: usize = bytes.values().sum();
    println!(
        "history::warm/entries={LIMIT}: P50 {p50:.0} us, P95 {p95:.0} us, P99 {p99:.0} us ({} reads, {:.1} pages each of {} \
         KiB, {} KiB stored; bare lookup and copy P50 {l50:.0} us, P95 {l95:.0} us: ratio {:.2} at P95)",
        reads.len(),
        pages as f64 / reads.len() as f64,
        whole / bytes.len() / 1_024,
        stored / bytes.len() / 1_024,
        p95 / l95
    );

    let mut from_disk = Vec::new();
    for read in reads.iter().take(300) {
        history.cache().forget_memory();
        let (micros, _, disk) = ask(read);
        assert!(disk > 0, "nothing is in memory");
        from_disk.push(micros / disk as f64);
    }
    let [p50, p95, _] = percentiles(from_disk);
    println!("history::disk: P50 {p50:.0} us, P95 {p95:.0} us a page (read, hash, LZ4, rows checked)");
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
        "history::trace/reads={}: memory {:.2}%, with disk {:.2}%, with the cold tier {:.2}% ({} pages asked for; memory holds \
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
