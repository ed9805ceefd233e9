use bytemuck::Zeroable;

use super::*;
use crate::history::page::{PAGE_HEIGHTS, Rows};
use crate::history::rows::{HeightRow, PageHeader, RollRow};

const CHAIN: Hash = [5; 32];

/// A whole page of about 4 KiB whose rolls nobody compresses.
fn page(number: u64) -> Page {
    let (mut rows, mut heights) = (Rows::default(), Vec::new());
    for place in 0..PAGE_HEIGHTS {
        let noise = blake3::hash(&(number * PAGE_HEIGHTS + place).to_le_bytes());
        let [a, b, c, d, ..] = *noise.as_bytes();
        rows.rolls.push(RollRow { table: u32::from_le_bytes([a, b, c, d]), number: 1, ..Zeroable::zeroed() });
        heights.push(HeightRow { time_ms: place, ends: rows.ends(), reserved: 0 });
    }
    Page::new(PageHeader { chain: CHAIN, ..PageHeader::of(key(number), 1) }, &heights, &rows)
}

fn key(page: u64) -> PageKey {
    PageKey { page, part: 0 }
}

const SMALL: CacheConfig = CacheConfig { memory_bytes: 20_000, disk_bytes: 1 << 20 };

fn tier(cache: &PageCache, number: u64) -> Option<Tier> {
    let (found, tier) = cache.get(key(number))?;
    assert_eq!(*found, page(number));
    Some(tier)
}

#[test]
fn what_memory_loses_the_disk_has_also_in_the_next_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = PageCache::open(dir.path(), CHAIN, SMALL).expect("a cache");
    assert_eq!(tier(&cache, 0), None);
    for number in 0..30 {
        cache.keep(page(number));
    }
    cache.settle();
    assert!(cache.memory_bytes() <= 20_000, "{} bytes", cache.memory_bytes());
    assert_eq!(tier(&cache, 29), Some(Tier::Memory));
    assert_eq!(tier(&cache, 0), Some(Tier::Disk));
    assert_eq!(tier(&cache, 0), Some(Tier::Memory), "what is read stays in memory");
    assert_eq!(cache.counts().report(), TierReport { memory: 2, disk: 1, ..TierReport::default() });
    drop(cache);
    let cache = PageCache::open(dir.path(), CHAIN, SMALL).expect("a cache");
    assert_eq!((0..30).filter(|number| tier(&cache, *number) == Some(Tier::Disk)).count(), 30);
}

#[test]
fn the_disk_tier_keeps_its_budget_and_the_newest_pages() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = PageCache::open(dir.path(), CHAIN, SMALL).expect("a cache");
    for number in 0..600 {
        cache.keep(page(number));
        if number % 20 == 0 {
            cache.settle();
        }
    }
    cache.settle();
    let files = std::fs::read_dir(dir.path().join("cache")).expect("a folder");
    let bytes: u64 = files.map(|file| file.expect("a file").metadata().expect("a file").len()).sum();
    assert!(bytes <= SMALL.disk_bytes, "{bytes} bytes");
    let had = |from: u64| (from..from + 60).filter(|number| tier(&cache, *number).is_some()).count();
    assert_eq!(had(0), 0, "the oldest went");
    assert!(had(540) > 50, "the newest stayed");
}

#[test]
fn a_second_process_finds_the_folder_taken_and_keeps_to_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = PageCache::open(dir.path(), CHAIN, SMALL).expect("a cache");
    let second = PageCache::open(dir.path(), CHAIN, SMALL).expect("a cache");
    assert!(first.has_disk() && !second.has_disk());
    second.keep(page(3));
    assert_eq!((tier(&second, 3), tier(&second, 4), tier(&first, 3)), (Some(Tier::Memory), None, None));
    drop(first);
    assert!(PageCache::open(dir.path(), CHAIN, SMALL).expect("a cache").has_disk());
}

#[test]
fn damaged_and_foreign_pages_are_none_and_a_flipped_bit_is_never_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = PageCache::open(dir.path(), CHAIN, SMALL).expect("a cache");
    (0..30).for_each(|number| _ = cache.keep(page(number)));
    drop(cache);
    let foreign = PageCache::open(dir.path(), [6; 32], SMALL).expect("a cache");
    assert!((0..30).all(|number| tier(&foreign, number).is_none()));
    assert_eq!(foreign.counts().report().damaged, 30);
    drop(foreign);

    let cache = PageCache::open(dir.path(), CHAIN, SMALL).expect("a cache");
    (0..30).for_each(|number| _ = cache.keep(page(number)));
    drop(cache);
    for entry in std::fs::read_dir(dir.path().join("cache")).expect("a folder") {
        let path = entry.expect("a file").path();
        let mut bytes = std::fs::read(&path).expect("a file");
        bytes.iter_mut().skip(1_500).step_by(3_000).for_each(|byte| *byte ^= 4);
        std::fs::write(&path, bytes).expect("written");
    }
    let cache = PageCache::open(dir.path(), CHAIN, SMALL).expect("a cache opens over a damaged folder");
    // `tier` compares every byte of what is found.
    assert!((0..30).filter(|number| tier(&cache, *number).is_none()).count() > 20);
    assert!(cache.get(key(99)).is_none());
}
