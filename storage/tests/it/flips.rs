//! Bits that flip, and any bytes at all, in every region of every file that the storage threads write: sealed segments and
//! their indexes, compressed ones, heads, the last segment, the consensus log. Detected and named, or cut as a group that was never synced;
//! never a panic, never taken for whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::Height;
use storage::backend::{Access, Backend, MemoryBackend};
use storage::{
    Compressor, Frame, FrameKind, JournalReader, LogFound, OpenError, Retention, Session, SyncGroup, Synced,
};
use storage::{Tail, Writing};

use crate::opened::Opened;

const DIR: &str = "/m/s";

fn bytes(seed: u64, length: u64) -> Vec<u8> {
    (0..length).map(|at| ((at ^ seed << 9).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// A session with sealed segments and an open one, and two files of the log; and with sealed segments that have become heads
/// and compressed ones.
fn session(archived: bool) -> (MemoryBackend, Vec<Frame>) {
    let disk = MemoryBackend::default();
    let retention = Some(Retention { bytes_max: 30 << 10, retire: |body| Ok(body[..4].to_vec()) });
    let writing = Writing { segment_bytes: 10 << 10, log_bytes: 30 << 10, retention, ..Writing::default() };
    let new = Session::create_on(Arc::new(disk.clone()), Path::new(DIR), b"{}").expect("a session");
    let opened = Opened::written(new, writing).expect("it opens");
    for id in 1..=12 {
        let frames = vec![Frame { kind: FrameKind::Decided, height: Height(id), body: bytes(id, 300 + id * 41) }];
        opened.storage.submit(SyncGroup { id, frames, entries: vec![(Height(id), bytes(id, 70))], fence: None });
        assert_eq!(opened.storage.synced().recv(), Ok(Synced::UpTo(id)));
    }
    if archived {
        opened.storage.keep_from(Height(6));
    }
    let session = opened.storage.close();
    if archived {
        Compressor::new(session.backend().clone(), session.dir()).compress_sealed(&|| true).expect("compressed");
    }
    drop(session);
    let frames = open(&disk).expect("whole").frames;
    (disk, frames)
}

fn open(disk: &MemoryBackend) -> Result<Opened, OpenError> {
    Opened::of(Session::open_on(Arc::new(disk.clone()), Path::new(DIR))?)
}

fn read(disk: &MemoryBackend) -> Result<(Vec<Frame>, Tail), OpenError> {
    let mut reader = JournalReader::open_on(Arc::new(disk.clone()), Path::new(DIR), Height(0))?;
    let mut frames = Vec::new();
    while let Some(frame) = reader.next_frame()? {
        frames.push(frame);
    }
    Ok((frames, reader.end().expect("read to the end").tail.clone()))
}

fn put(disk: &MemoryBackend, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, Access::Write).expect("there");
    file.set_len(0).expect("cut");
    file.write_all_at(bytes, 0).expect("written");
}

fn files(disk: &MemoryBackend, folder: &str) -> Vec<PathBuf> {
    disk.list(&Path::new(DIR).join(folder)).expect("a folder")
}

#[test]
fn a_bit_that_flips_anywhere_is_found_and_named() {
    [false, true].into_iter().for_each(flip_everywhere);
}

fn flip_everywhere(archived: bool) {
    let (disk, frames) = session(archived);
    let journal = files(&disk, "journal");
    let ends = |path: &Path, with: &str| path.extension().is_some_and(|ending| ending == with);
    let last = journal.iter().rfind(|path| ends(path, "seg")).expect("one");
    let count = |ending| journal.iter().filter(|path| ends(path, ending)).count();
    match archived {
        true => assert!(count("head") > 0 && count("zst") > 1 && count("seg") == 1, "{journal:?}"),
        false => assert!(count("seg") == journal.len() && journal.len() > 4, "{journal:?}"),
    }
    let mut flipped = 0;
    for path in &journal {
        let whole = disk.read(path, 1 << 20).expect("read");
        for at in 0..whole.len() {
            let mut altered = whole.clone();
            altered[at] ^= 1 << (at % 8);
            put(&disk, path, &altered);
            flipped += 1;
            match read(&disk) {
                Err(OpenError::Damaged(damage)) => {
                    let named = Path::new(DIR).join(&damage.file);
                    assert!(named == *path, "byte {at} of {}: {damage}", path.display());
                }
                Err(error) => panic!("byte {at} of {}: {error}", path.display()),
                // A few bits of Zstandard's frames mean nothing.
                Ok(found) if ends(path, "zst") || ends(path, "head") => {
                    assert!(found == (frames.clone(), Tail::Clean), "byte {at}")
                }
                Ok((found, tail)) => {
                    assert!(
                        path == last && matches!(tail, Tail::Torn { .. }),
                        "byte {at} of {}: {tail:?}, {last:?}, {journal:?}",
                        path.display()
                    );
                    assert_eq!(found, frames[..found.len()]);
                }
            }
        }
        put(&disk, path, &whole);
    }
    assert_eq!(read(&disk).expect("whole again"), (frames, Tail::Clean));
    println!("{flipped} bits flipped in {} files of the journal", journal.len());
}

#[test]
fn a_bit_that_flips_in_the_log_is_never_heard() {
    let (disk, _) = session(true);
    let entries = |opened: Opened| match opened.log {
        LogFound::Entries { entries, .. } => Some(entries),
        LogFound::Damaged(damage) => {
            assert!(damage.file.starts_with("consensus/"), "{damage}");
            None
        }
        LogFound::Missing => panic!("it is there"),
    };
    let all = entries(open(&disk).expect("whole")).expect("whole");
    let logs = files(&disk, "consensus");
    assert!(!logs.is_empty(), "{logs:?}");
    for path in &logs {
        let whole = disk.read(path, 1 << 20).expect("read");
        for at in (0..whole.len()).step_by(13) {
            let mut altered = whole.clone();
            altered[at] ^= 1 << (at % 8);
            put(&disk, path, &altered);
            // What is heard is what was logged, less a last group that may have been torn.
            if let Some(found) = entries(open(&disk).expect("a finding, no error")) {
                assert!(found.len() < all.len() && found == all[..found.len()], "byte {at} of {}", path.display());
            }
            put(&disk, path, &whole);
        }
    }
}

#[test]
fn any_bytes_in_any_file_are_read_as_what_was_written_or_named() {
    let (disk, _) = session(true);
    let (whole, _) = read(&disk).expect("whole");
    let paths = [files(&disk, "journal"), files(&disk, "consensus")].concat();
    let kept: Vec<Vec<u8>> = paths.iter().map(|path| disk.read(path, 1 << 20).expect("read")).collect();
    bolero::check!().with_iterations(400).with_type::<(u8, u32, bool, Vec<u8>)>().for_each(
        |(which, at, cut, noise): &(u8, u32, bool, Vec<u8>)| {
            let which = usize::from(*which) % paths.len();
            let mut bytes = kept[which].clone();
            let at = *at as usize % bytes.len();
            let end = (at + noise.len()).min(bytes.len());
            bytes[at..end].copy_from_slice(&noise[..end - at]);
            if *cut {
                bytes.truncate(end);
            }
            put(&disk, &paths[which], &bytes);
            match read(&disk) {
                Ok((found, _)) => assert!(whole.starts_with(&found), "what is read is what was written"),
                Err(error) => assert!(error.to_string().contains("journal"), "it names the file: {error}"),
            }
            let _ = open(&disk);
            paths.iter().zip(&kept).for_each(|(path, bytes)| {
                if disk.open(path, Access::Read).is_err() {
                    drop(disk.create(path).expect("made anew"));
                }
                put(&disk, path, bytes);
            });
        },
    );
}
