//! The disk: how long a group takes until it is durable, how fast the journal grows, and how fast it is read again.
//!
//! The limit of a durable write is one write of the same bytes into a file that was filled with zeros, and its fdatasync;
//! a group with entries of the consensus log is two files, so its limit is two. The limit of throughput is the same groups
//! written one after another into a bare file, with the same syncs. The limit of reading is reading the same files whole.
//! `cargo test` shrinks it; `BITCRAPS_BENCH_DIR` says where the disk is.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use benches::beside::{beside, criterion, group, time};
use benches::tiny;
use criterion::{Criterion, Throughput};
use engine::Height;
use storage::{Disk, Frame, FrameKind, JournalReader, Session, Storage, SyncGroup, Synced, Writing};

const BLOCK: usize = 4096;
/// Bytes of a frame's header, and of a log group's header with one entry's.
const FRAME_HEADER: usize = 128;
const LOG_HEADERS: usize = 64 + 16;
const MEBIBYTE: usize = 1 << 20;
/// Groups after which a bare file begins again, so that what was written with zeros ahead lasts.
const BARE_GROUPS: usize = 4_096;

fn main() {
    let place = std::env::var_os("BITCRAPS_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = tempfile::tempdir_in(place).expect("a directory");
    let mut criterion = criterion().sample_size(if tiny() { 10 } else { 100 });
    for (name, body, entry) in [("frames", 3_000, 0), ("frames", 48_000, 0), ("frames+log", 3_000, 2_000)] {
        durable_write(&mut criterion, dir.path(), name, body, entry);
    }
    let mut criterion = benches::beside::criterion();
    // A group of a mebibyte is what a busy validator settles in a tenth of a second; small ones wait for each other.
    for (group, count) in if tiny() { [(1, 2), (2, 1)] } else { [(1, 256), (64, 4)] } {
        growth(&mut criterion, dir.path(), group, count);
    }
    for body in [3_000, 48_000] {
        durable_read(&mut criterion, dir.path(), body, if tiny() { 20 } else { 4_000 });
    }
}

/// Bytes that do not compress: the journal packs what it writes, and a bare file does not.
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// A bare file, written with zeros ahead, as the journal is. It begins again at its end.
struct Bare {
    file: File,
    at: u64,
    bytes: u64,
}

impl Bare {
    fn new(path: &Path, bytes: usize) -> Self {
        let bytes = bytes as u64;
        let file = OpenOptions::new().write(true).create_new(true).open(path).expect("a file");
        let zeros = vec![0; MEBIBYTE];
        (0..bytes.div_ceil(1 << 20)).for_each(|at| file.write_all_at(&zeros, at << 20).expect("written"));
        file.sync_all().expect("synced");
        Self { file, at: 0, bytes }
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.at + bytes.len() as u64 > self.bytes {
            self.at = 0;
        }
        self.file.write_all_at(bytes, self.at).expect("written");
        self.at += bytes.len() as u64;
        self.file.sync_data().expect("synced");
    }
}

/// A session of this run's own: Criterion warms up, and a run must not find what another wrote.
fn session(dir: &Path, name: &str) -> Session {
    let path = tempfile::Builder::new().prefix(name).tempdir_in(dir).expect("a directory").keep();
    Session::create(&path.join("session"), b"{}").expect("a session")
}

fn write(storage: &Storage, id: u64, frames: Vec<Frame>, entries: Vec<(Height, Vec<u8>)>) {
    storage.submit(SyncGroup { id, frames, entries, fence: None });
    assert_eq!(storage.synced().recv(), Ok(Synced::UpTo(id)));
}

fn frame(id: u64, body: Vec<u8>) -> Frame {
    Frame { kind: FrameKind::Decided, height: Height(id), body }
}

fn open(session: Session) -> Storage {
    Storage::of(Disk::open(session, Writing::default()).expect("it opens").disk).expect("a thread")
}

/// A group of one frame, and in some an entry of the log, from its submission until it is durable.
fn durable_write(criterion: &mut Criterion, dir: &Path, name: &str, body: usize, entry: usize) {
    let blocks = |bytes: usize| bytes.next_multiple_of(BLOCK);
    let journal_bytes = blocks(FRAME_HEADER + body);
    let log_bytes = if entry > 0 { blocks(LOG_HEADERS + entry) } else { 0 };
    let groups = if tiny() { 16 } else { BARE_GROUPS };
    let storage = open(session(dir, name));
    let mut bare = Bare::new(&dir.join(format!("bare-{name}-{body}")), groups * journal_bytes);
    let mut bare_log = Bare::new(&dir.join(format!("bare-log-{name}-{body}")), groups * log_bytes);
    let (journal_noise, log_noise) = (noise(1, journal_bytes), noise(2, log_bytes));
    let mut id = 0;
    let bytes = journal_bytes + log_bytes;
    let mut group = criterion.benchmark_group("storage/durable write");
    group.throughput(Throughput::Bytes(bytes as u64));
    let name = format!("{name}/bytes={bytes}");
    let ours = || {
        id += 1;
        let frame = frame(id, noise(id, body));
        let entries = if entry > 0 { vec![(Height(id), noise(id, entry))] } else { Vec::new() };
        time(|| write(&storage, id, vec![frame], entries))
    };
    let limit = || {
        time(|| {
            if entry > 0 {
                bare_log.write(&log_noise);
            }
            bare.write(&journal_noise);
        })
    };
    let written = beside(&mut group, &name, ours, limit);
    written.print_percentiles(&format!("storage/durable write/{name}"), "a bare write and fdatasync");
    group.finish();
}

/// A session that grows by groups of some mebibytes, one after another.
fn growth(criterion: &mut Criterion, dir: &Path, mebibytes: usize, count: usize) {
    let bodies: Vec<Vec<u8>> = (0..8).map(|seed| noise(seed, MEBIBYTE - FRAME_HEADER)).collect();
    let raw = noise(9, mebibytes * MEBIBYTE);
    let frames = |id: u64| -> Vec<Frame> {
        (0..mebibytes as u64).map(|part| frame(id, bodies[((id + part) % 8) as usize].clone())).collect()
    };
    let ours = || -> Duration {
        let session = session(dir, "growth");
        let path = session.dir().to_owned();
        let storage = open(session);
        let took = time(|| (1..=count as u64).for_each(|id| write(&storage, id, frames(id), Vec::new())));
        drop(storage);
        std::fs::remove_dir_all(path).expect("removed");
        took
    };
    let limit = || -> Duration {
        let path = dir.join("raw");
        let file = OpenOptions::new().write(true).create_new(true).open(&path).expect("a file");
        let took = time(|| {
            for at in 0..count {
                file.write_all_at(&raw, (at * raw.len()) as u64).expect("written");
                file.sync_data().expect("synced");
            }
        });
        std::fs::remove_file(path).expect("removed");
        took
    };
    let bytes = (count * raw.len()) as u64;
    let mut group = group(criterion, "storage/growth".to_owned(), Throughput::Bytes(bytes));
    let name = format!("group={mebibytes} MiB");
    beside(&mut group, &name, ours, limit).print(&format!("storage/growth/{name}"), "sequential writes, each synced,");
    group.finish();
}

/// Every frame of a journal that was written before, in order, checked and unpacked.
fn durable_read(criterion: &mut Criterion, dir: &Path, body: usize, count: u64) {
    let session = session(dir, "read");
    let path = session.dir().to_owned();
    let storage = open(session);
    (1..=count).for_each(|id| write(&storage, id, vec![frame(id, noise(id, body))], Vec::new()));
    drop(storage.close());
    let journal = std::fs::read_dir(path.join("journal")).expect("a journal");
    let mut segments: Vec<PathBuf> = journal.map(|file| file.expect("a file").path()).collect();
    segments.sort();
    let (first, written) = (std::fs::read(&segments[0]).expect("it reads"), noise(1, body));
    // Else a limit that has the same bytes would be that of other work.
    assert!(first.windows(body).any(|stored| stored == written), "what does not compress is stored as it is");
    let ours = || {
        time(|| {
            let mut reader = JournalReader::open(&path).expect("it opens");
            let mut read = 0;
            while let Some(frame) = reader.next_frame().expect("whole") {
                assert_eq!(frame.body.len(), body);
                read += 1;
            }
            assert_eq!(read, count);
        })
    };
    let limit = || time(|| segments.iter().for_each(|path| _ = black_box(std::fs::read(path).expect("it reads"))));
    let mut group = group(criterion, "storage/durable read".to_owned(), Throughput::Elements(count));
    let name = format!("frames of {body} bytes");
    beside(&mut group, &name, ours, limit)
        .print(&format!("storage/durable read/{name}"), "reading the same files whole");
    group.finish();
}
