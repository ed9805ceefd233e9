//! Retention: the oldest segments give up their bodies; what proves the chain stays.
//!
//! ```text
//!  00000001.seg -> 00000001.head   header and certificate of each block, and what it led to, compressed; synced and read again
//!                                  before the segment goes
//! ```
//! The segment is removed, not emptied: whoever has it mapped goes on reading it whole.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::limits::{COMPRESSED_SEGMENT_BYTES_MAX, SEGMENT_FILE_BYTES_MAX};
use engine::{Hash, Height};

use super::compressed;
use super::frame::{ALIGN, Frame, FrameKind, encode};
use super::index::{FrameMarks, Index, TAIL};
use super::scan::{Ahead, Scan, ScanItem};
use super::segment::{self, SegmentKind};
use crate::backend::{Access, Backend, bounded_len};
use crate::session::{OpenError, numbered};
use crate::{BLOCK, Damage, Problem};

/// How much of the journal's bodies stays.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// Bytes of whole segments as they lie on the disk; the oldest go where there are more. What stays of those does not count.
    pub bytes_max: u64,
    /// What stays of a decided frame's body.
    pub retire: fn(&[u8]) -> Result<Vec<u8>, String>,
}

/// What a segment becomes, one after the other: each is made while the one before it is there, and does not count until that
/// is gone.
const ENDINGS: [&str; 3] = ["seg", compressed::ENDING, "head"];

/// The files with these endings, in the order of their numbers; of each number the one whose ending comes first. They are
/// listed in that order too: what changes meanwhile is found in one list or the other.
fn files(backend: &dyn Backend, folder: &Path, endings: &[&str]) -> Result<Vec<(u32, PathBuf)>, OpenError> {
    let mut files: Vec<(u32, PathBuf)> = Vec::new();
    for ending in endings {
        let mut more = numbered(backend, folder, ending)?;
        more.retain(|(number, _)| files.binary_search_by_key(number, |(number, _)| *number).is_err());
        files.extend(more);
        files.sort_unstable();
        assert!(files.is_sorted_by(|one, next| one.0 < next.0), "a segment is read from one file");
    }
    Ok(files)
}

/// The files of a journal in order: the segment with a number, or what stayed of it.
pub fn journal_files(backend: &dyn Backend, folder: &Path) -> Result<Vec<(u32, PathBuf)>, OpenError> {
    files(backend, folder, &ENDINGS)
}

/// Where a segment is now: it may have become less since the files were listed.
pub fn path_now(backend: &dyn Backend, path: &Path) -> PathBuf {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
    let left = ENDINGS.iter().skip_while(|one| **one != ending).map(|one| path.with_extension(one));
    let is_there = |path: &PathBuf| backend.open(path, Access::Read).is_ok_and(|_| true);
    left.into_iter().find(is_there).unwrap_or_else(|| path.to_owned())
}

/// Why a segment has no head.
enum NoHead {
    /// It is wrong at an offset.
    Bad(u64, Problem),
    /// It could not be read.
    Io(io::Error),
}

/// Gives up bodies for a session.
pub struct Retirer {
    backend: Arc<dyn Backend>,
    folder: PathBuf,
    chain: Hash,
    retention: Retention,
}

impl Retirer {
    /// For a session's journal.
    pub fn new(backend: Arc<dyn Backend>, dir: &Path, chain: Hash, retention: Retention) -> Self {
        Self { backend, folder: dir.join("journal"), chain, retention }
    }

    /// Retires the oldest sealed segments until the whole ones have at most as many bytes as they may (half of that if it is
    /// `early`), or a segment has frames of `keep` or above. Returns the numbers of those that went.
    ///
    /// # Errors
    /// If the system refuses, or a segment is damaged: then it stays, and so do those after it.
    pub fn retire(&self, keep: Height, early: bool) -> Result<Vec<u32>, OpenError> {
        let mut segments = Vec::new();
        for (number, path) in files(&*self.backend, &self.folder, &ENDINGS[..2])? {
            let length = self.backend.open(&path, Access::Read).and_then(|file| file.len());
            segments.push((number, path.clone(), length.map_err(OpenError::io(&path))?));
        }
        let mut bytes: u64 = segments.iter().map(|(.., length)| length).sum();
        let mut retired = Vec::new();
        let bytes_max = if early { self.retention.bytes_max / 2 } else { self.retention.bytes_max };
        // The last segment is being written.
        segments.pop();
        for (number, path, length) in segments {
            // The oldest first, and none behind one that stays: the journal is whole from some height on.
            if bytes <= bytes_max || !self.retire_segment(number, &path, keep)? {
                break;
            }
            assert!(bytes >= length, "a segment was counted before it goes");
            bytes -= length;
            retired.push(number);
        }
        Ok(retired)
    }

    /// [`Retirer::retire`], and what came of it is logged: a session that stays too large is still whole.
    pub fn retire_and_say(&self, keep: Height, early: bool) {
        match self.retire(keep, early) {
            Ok(retired) => retired.iter().for_each(|number| tracing::info!("segment {number} gave up its bodies")),
            Err(error) => tracing::warn!("no bodies are given up: {error}"),
        }
    }

    fn retire_segment(&self, number: u32, path: &Path, keep: Height) -> Result<bool, OpenError> {
        let io = |error| OpenError::io(path)(error);
        let file = compressed::open(&*self.backend, path).map_err(compressed::failed(path))?;
        let length = bounded_len(&*file, SEGMENT_FILE_BYTES_MAX).map_err(io)? as u64;
        let tail = file.read_range(length.saturating_sub(TAIL as u64), TAIL).map_err(io)?;
        let damaged = |offset, problem: Problem| {
            Damage::new(format!("journal/{}", path.file_name().unwrap_or_default().display()), offset, problem)
        };
        let Some(offset) = Index::find(&tail, length) else {
            return Err(damaged(length, "a sealed segment has no index".into()).into());
        };
        let index = Index::decode(&file.read_range(offset, (length - offset) as usize).map_err(io)?, offset);
        let index = index.map_err(|problem| damaged(offset, problem))?;
        // A start executes these heights again, and needs their bodies.
        if index.last >= keep {
            return Ok(false);
        }
        let (bytes, ahead) = Ahead::begin(file, 0, length).map_err(compressed::failed(path))?;
        let head = self.head(number, bytes, ahead, &index).map_err(|bad| match bad {
            NoHead::Bad(offset, problem) => damaged(offset, problem).into(),
            NoHead::Io(error) => compressed::failed(path)(error),
        })?;
        // No reader takes a longer one. A segment that long has bodies that made it so, and what stays of it is far shorter.
        if head.len() > COMPRESSED_SEGMENT_BYTES_MAX {
            tracing::warn!("{}: what would stay of it is too long, so that it keeps its bodies", path.display());
            return Ok(false);
        }
        let file = compressed::file_of(&head).map_err(io)?;
        let to = path.with_extension("head");
        assert_eq!(SegmentKind::of(path), SegmentKind::Whole, "only a whole segment has bodies to give up");
        // What was begun when the machine stopped.
        for begun in ENDINGS.iter().map(|ending| path.with_extension(ending)).filter(|begun| begun != path) {
            match self.backend.remove(&begun) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(OpenError::io(&begun)(error)),
                _ => {}
            }
        }
        self.backend.write_new(&to, &file).map_err(OpenError::io(&to))?;
        self.backend.sync_dir(&self.folder).map_err(io)?;
        compressed::check_file(&*self.backend, &to, &head).map_err(OpenError::io(&to))?;
        // What stays is on the disk: whichever of the two a crash leaves, the heights are there.
        self.backend.remove(path).map_err(io)?;
        self.backend.sync_dir(&self.folder).map_err(io)?;
        Ok(true)
    }

    /// What stays of a segment, of which the beginning is in memory.
    fn head(&self, number: u32, bytes: Vec<u8>, mut ahead: Option<Ahead>, sealed: &Index) -> Result<Vec<u8>, NoHead> {
        let first = segment::check(&bytes, SegmentKind::Whole, number, &self.chain)
            .map_err(|bad| NoHead::Bad(0, bad.problem))?;
        let mut scan = Scan::default();
        scan.load(bytes, 0, 0);
        scan.at = BLOCK as usize;
        scan.previous = first;
        scan.highest = sealed.marks.first().map_or(Height::GENESIS, |mark| mark.before);
        let mut head = segment::header(SegmentKind::Head, number, &self.chain, &first);
        let (begins, mut count) = ((first, scan.highest), 0);
        let (mut previous, mut highest, mut marks) = (first, scan.highest, FrameMarks::default());
        loop {
            let at = scan.offset(scan.at);
            let frame = match scan.step() {
                ScanItem::Frame(frame) => frame,
                ScanItem::Sealed => break,
                // What is cut off at the end of what is in memory looks as if it were wrong.
                ScanItem::End | ScanItem::Bad { .. } if scan.read_on(&mut ahead).map_err(NoHead::Io)? => continue,
                ScanItem::End => return Err(NoHead::Bad(at, "a sealed segment has no index".into())),
                ScanItem::Bad { at, problem } => return Err(NoHead::Bad(scan.offset(at), problem)),
            };
            let frame = match frame.kind {
                FrameKind::Decided => {
                    let body =
                        (self.retention.retire)(&frame.body).map_err(|problem| NoHead::Bad(at, problem.into()))?;
                    Frame { kind: FrameKind::Retired, body, ..frame }
                }
                FrameKind::Settled | FrameKind::Retired | FrameKind::Evidence | FrameKind::Base => frame,
            };
            head.resize(head.len().next_multiple_of(ALIGN), 0);
            marks.pass(head.len() as u64, highest, &previous);
            previous = encode(&frame, BLOCK, &previous, &mut head);
            highest = highest.max(frame.height);
            count += 1;
        }
        // Whoever looks for a height finds it by these numbers, in what stays as in the segment.
        assert_eq!(highest, scan.highest, "what stays of a segment has its heights");
        let offset = crate::align_up(head.len() as u64);
        head.resize(offset as usize, 0);
        Index { marks: marks.marks, last: highest, previous: sealed.previous, offset }.encode(&mut head);
        assert!(head.len().is_multiple_of(BLOCK as usize), "its index ends it, and is found from its end");
        // The segment goes once this is on the disk: nothing else has these heights then.
        assert_eq!(frames_of(&head, begins), Some(count), "a reader finds every frame that stays of a segment");
        Ok(head)
    }
}

/// How many frames a reader finds in what stays of a segment; nothing if anything there is wrong.
fn frames_of(head: &[u8], (previous, highest): (Hash, Height)) -> Option<usize> {
    let mut scan = Scan::default();
    scan.load(head.to_vec(), 0, 0);
    (scan.at, scan.previous, scan.highest, scan.head) = (BLOCK as usize, previous, highest, true);
    let mut count = 0;
    loop {
        match scan.step() {
            ScanItem::Frame(_) => count += 1,
            ScanItem::Sealed => return Some(count),
            ScanItem::End | ScanItem::Bad { .. } => return None,
        }
    }
}
