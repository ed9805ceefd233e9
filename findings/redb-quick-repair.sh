#!/usr/bin/env bash
# redb with `set_quick_repair(true)`, which lets a file be opened at once after a crash: a commit replaces one row of 3,000 bytes.
# How many bytes does it write, and how often does it sync, as the file grows?
#
# Guess before the run: twice the syncs, and a few pages of 4 KiB more than without, whatever the size; a commit that touches one row
# changes a few bits of what is allocated.
# Seen with redb 4.6.0: the syncs are as guessed, and without quick repair a commit writes some 30 KB at any size. With it each commit
# also writes the allocator's whole state, some 10 KB and an 8,000th of the file: in all 42 KB at 16 MiB, 74 KB at 256 MiB, 173 KB at
# 1 GiB, and so on. Its documentation says "slower". As its source has it, and this does not run it, `ConcurrencyMode::MultiWriter` saves
# the same in each commit, asked or not.
#
# Needs cargo and crates.io, and 2 GiB of memory.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat > "$work/Cargo.toml" <<'TOML'
[package]
name = "repair"
version = "0.0.0"
edition = "2024"
[dependencies]
redb = "=4.6.0"
[profile.dev]
opt-level = 2
TOML
cat > "$work/src/main.rs" <<'RUST'
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use redb::backends::InMemoryBackend;
use redb::{Builder, Database, StorageBackend, TableDefinition};

const ROWS: TableDefinition<u64, &[u8]> = TableDefinition::new("rows");
const COMMITS: u64 = 100;

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    syncs: AtomicU64,
}

/// Memory that counts what is written to it.
#[derive(Debug)]
struct Counting(InMemoryBackend, Arc<Counts>);

impl StorageBackend for Counting {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(at, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.1.syncs.fetch_add(1, Relaxed);
        self.0.sync_data()
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.1.bytes.fetch_add(bytes.len() as u64, Relaxed);
        self.0.write(at, bytes)
    }
}

fn replace(db: &Database, row: u64, quick: bool) {
    let mut txn = db.begin_write().unwrap();
    txn.set_quick_repair(quick);
    txn.open_table(ROWS).unwrap().insert(row, &[8; 3_000][..]).unwrap();
    txn.commit().unwrap();
}

fn main() {
    let mut kilobytes = Vec::new();
    for mebibytes in [16, 256, 1_024] {
        let counts = Arc::new(Counts::default());
        let backend = Counting(InMemoryBackend::new(), Arc::clone(&counts));
        let db = Builder::new().set_cache_size(64 << 20).create_with_backend(backend).unwrap();
        // A page of 4 KiB has one such row.
        let rows = mebibytes * 256;
        for part in (0..rows).step_by(4_096) {
            let txn = db.begin_write().unwrap();
            let mut table = txn.open_table(ROWS).unwrap();
            for row in part..part + 4_096 {
                table.insert(row, &[7; 3_000][..]).unwrap();
            }
            drop(table);
            txn.commit().unwrap();
        }
        for quick in [false, true] {
            (0..20).for_each(|commit| replace(&db, commit * 7, quick));
            let (bytes, syncs) = (counts.bytes.load(Relaxed), counts.syncs.load(Relaxed));
            (20..20 + COMMITS).for_each(|commit| replace(&db, commit * 7, quick));
            let bytes = (counts.bytes.load(Relaxed) - bytes) / COMMITS;
            let syncs = (counts.syncs.load(Relaxed) - syncs) as f64 / COMMITS as f64;
            println!("{mebibytes} MiB, quick repair {quick}: a commit writes {bytes} bytes and syncs {syncs} times");
            assert_eq!(syncs, if quick { 2.0 } else { 1.0 }, "it is otherwise now");
            kilobytes.push(bytes / 1_000);
        }
    }
    let [small, small_quick, middle, middle_quick, large, large_quick] = kilobytes[..] else { unreachable!() };
    assert!([small, middle, large].iter().all(|plain| (20..45).contains(plain)), "it is otherwise now");
    assert!((30..60).contains(&small_quick) && (60..95).contains(&middle_quick), "it is otherwise now");
    assert!((140..220).contains(&large_quick), "it is otherwise now");
}
RUST
CARGO_TARGET_DIR="$work/target" cargo run --quiet --manifest-path "$work/Cargo.toml"
echo "as it was seen"
