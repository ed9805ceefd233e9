use bytemuck::Zeroable;

use super::*;
use crate::history::page::{PAGE_HEIGHTS, Rows};
use crate::history::rows::{HeightRow, PageHeader, RollRow};

const CHAIN: Hash = [5; 32];
const ROOT_CHAIN: Hash = [7; 32];

/// A whole page of about 4 KiB whose rolls nobody compresses.
fn page(number: u64) -> Page {
    let (mut rows, mut heights) = (Rows::default(), Vec::new());
    for place in 0..PAGE_HEIGHTS {
        let noise = blake3::hash(&(number * PAGE_HEIGHTS + place).to_le_bytes());
        let [a, b, c, d, ..] = *noise.as_bytes();
        rows.rolls.push(RollRow { table: u32::from_le_bytes([a, b, c, d]), number: 1, ..Zeroable::zeroed() });
        heights.push(HeightRow { time_ms: place, ends: rows.ends(), reserved: 0 });
    }
    Page::new(PageHeader { chain: CHAIN, root_chain: ROOT_CHAIN, ..PageHeader::of(key(number), 1) }, &heights, &rows)
}

fn key(page: u64) -> PageKey {
    PageKey { page, part: 0 }
}

/// Budgets of a few pages, in a folder.
fn small(dir: &Path) -> CacheConfig {
    CacheConfig { memory_bytes: 20_000, disk_bytes: 1 << 20, folder: Some(dir.to_owned()) }
}

fn open(dir: &Path, chain: Hash) -> PageCache {
    PageCache::open(chain, Origin::Stranger, small(dir)).expect("a cache")
}

/// Where the pages of a chain are.
fn folder(dir: &Path) -> PathBuf {
    dir.join(hex(&CHAIN)).join("verified")
}

fn tier(cache: &PageCache, number: u64) -> Option<Tier> {
    let (found, tier) = cache.get(key(number), &ROOT_CHAIN)?;
    assert_eq!(*found, page(number));
    Some(tier)
}

#[test]
fn what_memory_loses_the_disk_has_also_in_the_next_process() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = open(dir.path(), CHAIN);
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
    let cache = open(dir.path(), CHAIN);
    assert_eq!((0..30).filter(|number| tier(&cache, *number) == Some(Tier::Disk)).count(), 30);
}

#[test]
fn the_disk_tier_keeps_its_budget_and_the_newest_pages() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = open(dir.path(), CHAIN);
    for number in 0..600 {
        cache.keep(page(number));
        if number % 20 == 0 {
            cache.settle();
        }
    }
    cache.settle();
    let files = std::fs::read_dir(folder(dir.path())).expect("a folder");
    let bytes: u64 = files.map(|file| file.expect("a file").metadata().expect("a file").len()).sum();
    assert!(bytes <= small(dir.path()).disk_bytes, "{bytes} bytes");
    let had = |from: u64| (from..from + 60).filter(|number| tier(&cache, *number).is_some()).count();
    assert_eq!(had(0), 0, "the oldest went");
    assert!(had(540) > 50, "the newest stayed");
}

#[test]
fn a_second_process_finds_the_folder_taken_and_keeps_to_memory() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = open(dir.path(), CHAIN);
    let second = open(dir.path(), CHAIN);
    assert!(first.has_disk() && !second.has_disk());
    second.keep(page(3));
    assert_eq!((tier(&second, 3), tier(&second, 4), tier(&first, 3)), (Some(Tier::Memory), None, None));
    drop(first);
    assert!(open(dir.path(), CHAIN).has_disk());
}

#[test]
fn damaged_and_foreign_pages_are_none_and_a_flipped_bit_is_never_read() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = open(dir.path(), CHAIN);
    (0..30).for_each(|number| _ = cache.keep(page(number)));
    drop(cache);
    // Another chain has a folder of its own; put into it, these pages are still none of it.
    let foreign = dir.path().join(hex(&[6; 32])).join("verified");
    std::fs::create_dir_all(foreign.parent().expect("above")).expect("a folder");
    std::fs::rename(folder(dir.path()), foreign).expect("moved");
    let foreign = open(dir.path(), [6; 32]);
    assert!((0..30).all(|number| tier(&foreign, number).is_none()));
    assert_eq!(foreign.counts().report().damaged, 30);
    drop(foreign);

    let cache = open(dir.path(), CHAIN);
    (0..30).for_each(|number| _ = cache.keep(page(number)));
    drop(cache);
    for entry in std::fs::read_dir(folder(dir.path())).expect("a folder") {
        let path = entry.expect("a file").path();
        let mut bytes = std::fs::read(&path).expect("a file");
        bytes.iter_mut().skip(1_500).step_by(3_000).for_each(|byte| *byte ^= 4);
        std::fs::write(&path, bytes).expect("written");
    }
    let cache = open(dir.path(), CHAIN);
    // `tier` compares every byte of what is found.
    assert!((0..30).filter(|number| tier(&cache, *number).is_none()).count() > 20);
    assert!(cache.get(key(99), &ROOT_CHAIN).is_none());
}

/// A page of a session that went another way, or was forged: it has the chain and the number that are asked for.
#[test]
fn a_page_under_another_root_chain_is_none_in_either_tier() {
    let dir = tempfile::tempdir().expect("a directory");
    let cache = open(dir.path(), CHAIN);
    (0..4).for_each(|number| _ = cache.keep(page(number)));
    assert!(cache.get(key(0), &ROOT_CHAIN).is_some() && cache.get(key(0), &[8; 32]).is_none());
    cache.forget_memory();
    assert!(cache.get(key(1), &[8; 32]).is_none() && cache.get(key(2), &ROOT_CHAIN).is_some());
}

/// What a walk put there that verified no signature is not shown to one that does.
#[test]
fn pages_of_a_session_of_ones_own_are_kept_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let own = PageCache::open(CHAIN, Origin::Own, small(dir.path())).expect("a cache");
    (0..4).for_each(|number| _ = own.keep(page(number)));
    let verified = open(dir.path(), CHAIN);
    assert!(own.has_disk() && verified.has_disk());
    assert_eq!((tier(&own, 1), tier(&verified, 1)), (Some(Tier::Memory), None));
}
