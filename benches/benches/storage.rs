//! The disk: how long a group takes until it is durable, and how fast the journal grows.
//!
//! The limit of a durable commit is one write of the same bytes into a file that was filled with zeros, and its fdatasync;
//! a group with entries of the consensus log is two files, so its limit is two. The limit of throughput is the same groups
//! written one after another into a bare file, with the same syncs. Both take turns, so that a disk that slows down slows
//! both. `cargo test` shrinks it; `BITCRAPS_BENCH_DIR` says where the disk is.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use benches::tiny;
use engine::Height;
use storage::{Frame, FrameKind, Group, Session, Storage, Synced};

const BLOCK: usize = 4096;
/// Bytes of a frame's header, and of a log group's header with one entry's.
const FRAME_HEADER: usize = 128;
const LOG_HEADERS: usize = 64 + 16;

fn main() {
    let tiny = tiny();
    let place = std::env::var_os("BITCRAPS_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(place).expect("a directory");
    let commits = if tiny { 20 } else { 2_000 };
    for (name, body, entry) in [("frames", 3_000, 0), ("frames", 48_000, 0), ("frames+log", 3_000, 2_000)] {
        durable(dir.path(), name, body, entry, commits);
    }
    // A group of a mebibyte is what a busy validator settles in a tenth of a second; small ones wait for each other.
    for (count, rounds) in if tiny { [(2, 2), (2, 2)] } else { [(256, 5), (1, 5)] } {
        let group = if count == 1 { 64 << 20 } else { 1 << 20 };
        throughput(dir.path(), group, if tiny { 2 } else { (256 << 20) / group }, rounds);
    }
}

/// Bytes that do not compress.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| ((at ^ seed << 20).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

fn quantile(times: &mut [f64], part: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * part) as usize]
}

/// A bare file, written with zeros ahead, as the journal is.
struct Bare {
    file: File,
    at: u64,
}

impl Bare {
    fn new(path: &Path, bytes: u64) -> Self {
        let file = OpenOptions::new().write(true).create_new(true).open(path).expect("a file");
        let zeros = vec![0; 1 << 20];
        (0..bytes.div_ceil(1 << 20)).for_each(|at| file.write_all_at(&zeros, at << 20).expect("written"));
        file.sync_all().expect("synced");
        Self { file, at: 0 }
    }

    fn commit(&mut self, bytes: &[u8]) {
        self.file.write_all_at(bytes, self.at).expect("written");
        self.at += bytes.len() as u64;
        self.file.sync_data().expect("synced");
    }
}

fn commit(storage: &Storage, id: u64, frames: Vec<Frame>, entries: Vec<(Height, Vec<u8>)>) {
    storage.submit(Group { id, frames, entries, fence: None });
    assert_eq!(storage.synced().recv(), Ok(Synced::UpTo(id)));
}

fn durable(dir: &Path, name: &str, body: usize, entry: usize, commits: u64) {
    let session = Session::create(&dir.join(format!("durable-{name}-{body}")), b"{}").expect("a session");
    let storage = Storage::open(session).expect("it opens").storage;
    let blocks = |bytes: usize| bytes.next_multiple_of(BLOCK);
    let journal_bytes = blocks(FRAME_HEADER + body);
    let log_bytes = if entry > 0 { blocks(LOG_HEADERS + entry) } else { 0 };
    let mut bare = Bare::new(&dir.join(format!("bare-{name}-{body}")), commits * journal_bytes as u64);
    let mut bare_log = Bare::new(&dir.join(format!("bare-log-{name}-{body}")), commits * log_bytes as u64);
    let (journal_noise, log_noise) = (noise(1, journal_bytes), noise(2, log_bytes));
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for id in 1..=commits {
        let frame = Frame { kind: FrameKind::Decided, height: Height(id), body: noise(id, body) };
        let entries = if entry > 0 { vec![(Height(id), noise(id, entry))] } else { Vec::new() };
        let began = Instant::now();
        commit(&storage, id, vec![frame], entries);
        ours.push(began.elapsed().as_secs_f64() * 1e3);
        let began = Instant::now();
        if entry > 0 {
            bare_log.commit(&log_noise);
        }
        bare.commit(&journal_noise);
        limit.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|part| (quantile(&mut ours, part), quantile(&mut limit, part)));
    println!(
        "storage::durable/{name} bytes={:<6} P50 {:.3} ms ({:.2} of the limit)  P95 {:.3} ms ({:.2})  P99 {:.3} ms ({:.2})  limit P95 {:.3} ms",
        journal_bytes + log_bytes,
        p50.0,
        p50.0 / p50.1,
        p95.0,
        p95.0 / p95.1,
        p99.0,
        p99.0 / p99.1,
        p95.1
    );
}

fn throughput(dir: &Path, group: usize, count: usize, rounds: usize) {
    let body = (1 << 20) - FRAME_HEADER;
    let bodies: Vec<Vec<u8>> = (0..8).map(|seed| noise(seed, body)).collect();
    let raw = noise(9, group);
    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let session = Session::create(&dir.join(format!("grow-{group}-{round}")), b"{}").expect("a session");
        let storage = Storage::open(session).expect("it opens").storage;
        let frames = |id: u64| {
            let frame = |part: u64| {
                let body = bodies[((id + part) % 8) as usize].clone();
                Frame { kind: FrameKind::Decided, height: Height(id), body }
            };
            (0..(group >> 20) as u64).map(frame).collect::<Vec<_>>()
        };
        let began = Instant::now();
        (1..=count as u64).for_each(|id| commit(&storage, id, frames(id), Vec::new()));
        ours.push(began.elapsed().as_secs_f64());
        drop(storage);
        let path = dir.join(format!("raw-{group}-{round}"));
        let file = OpenOptions::new().write(true).create_new(true).open(&path).expect("a file");
        let began = Instant::now();
        for at in 0..count {
            file.write_all_at(&raw, (at * group) as u64).expect("written");
            file.sync_data().expect("synced");
        }
        limit.push(began.elapsed().as_secs_f64());
        std::fs::remove_file(path).expect("removed");
        std::fs::remove_dir_all(dir.join(format!("grow-{group}-{round}"))).expect("removed");
    }
    let megabytes = (count * group) as f64 / 1e6;
    let (ours, limit) = (megabytes / quantile(&mut ours, 0.5), megabytes / quantile(&mut limit, 0.5));
    println!(
        "storage::journal/group={group:<8} {ours:.0} MB/s, {:.2} of the limit ({limit:.0} MB/s), synced each group",
        ours / limit
    );
}
