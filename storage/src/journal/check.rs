//! Checking a journal to its last byte, past what is damaged.

use std::path::Path;
use std::sync::Arc;

use engine::limits::CHECK_PROBLEMS_MAX;
use engine::{Hash, Height};

use super::compressed;
use super::frame::Frame;
use super::index::Index;
use super::retired::{journal_files, path_now};
use super::scan::{Scan, ScanItem};
use super::segment;
use crate::backend::{Backend, is_no_file};
use crate::session::OpenError;
use crate::{BLOCK, Damage, DamageKind, Problem};

/// What a journal came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct JournalCheck {
    /// Segments.
    pub segments: u64,
    /// Frames that can be read.
    pub frames: u64,
    /// The highest height of a frame.
    pub highest: Height,
    /// What is damaged, as far as it is told.
    pub damages: Vec<Damage>,
    /// Damaged places beside those.
    pub more: u64,
    /// What follows the last frame, if it is a group that was never completed: it is cut when the session goes on.
    pub torn: Option<(Damage, u64)>,
}

impl JournalCheck {
    fn damaged(&mut self, damage: Damage) {
        // A place of some bytes must not cost more than those: somebody may have made a journal of nothing else.
        if self.damages.len() < CHECK_PROBLEMS_MAX {
            self.damages.push(damage);
        } else {
            self.more += 1;
        }
    }
}

/// Reads every byte of every segment; `found` hears of each frame that can be read, in order.
///
/// # Errors
/// If the system refuses. Damage is no error, it is what is looked for.
pub fn check_journal(
    backend: &Arc<dyn Backend>,
    dir: &Path,
    chain: &Hash,
    mut found: impl FnMut(Frame),
) -> Result<JournalCheck, OpenError> {
    let segments = journal_files(&**backend, &dir.join("journal"))?;
    let mut check = JournalCheck { segments: segments.len() as u64, ..JournalCheck::default() };
    let mut scan = Scan::default();
    // The hash of the last frame before a segment; unknown behind damage.
    let (mut before, mut next) = (Some([0; 32]), 1u64);
    for (place, (number, path)) in segments.iter().enumerate() {
        let path = &path_now(&**backend, path);
        let file = format!("journal/{}", path.file_name().unwrap_or_default().display());
        let kind = segment::SegmentKind::of(path);
        let last = place + 1 == segments.len();
        let damage = |offset: u64, problem: Problem| Damage::new(file.clone(), offset, problem);
        let bytes = match compressed::read(&**backend, path, 0).map_err(compressed::failed(path)) {
            // Nothing of it can be read; what comes after it can.
            Err(OpenError::Damaged(damaged)) => {
                check.damaged(damaged);
                (before, next) = (None, u64::from(*number) + 1);
                continue;
            }
            Err(OpenError::Io { source, .. }) if is_no_file(&source) => {
                check.damaged(damage(0, source.to_string().into()));
                (before, next) = (None, u64::from(*number) + 1);
                continue;
            }
            bytes => bytes?,
        };
        assert!(place == 0 || u64::from(*number) >= next, "files come by their numbers, each once");
        if u64::from(*number) != next {
            check.damaged(damage(0, format!("segment {number} stands where segment {next} belongs").into()));
            before = None;
        }
        next = u64::from(*number) + 1;
        let rest_is_zero = bytes.get(BLOCK as usize..).is_none_or(|rest| rest.iter().all(|byte| *byte == 0));
        let written = bytes.len() as u64;
        match segment::check(&bytes, kind, *number, chain) {
            Ok(previous) => {
                if before.is_some_and(|before| before != previous) {
                    check.damaged(damage(0, "the segment does not follow the one before it".into()));
                }
                scan.load(bytes, 0, 0);
                scan.previous = previous;
            }
            // It was being begun when the machine stopped: a segment's first block is synced before any frame is behind
            // it.
            Err(bad) if last && bad.unfinished && rest_is_zero => {
                check.torn = Some((damage(0, bad.problem), written));
                continue;
            }
            Err(bad) => {
                check.damaged(damage(0, bad.problem));
                scan.load(bytes, 0, 0);
                if !scan.resume(0) {
                    before = None;
                    continue;
                }
            }
        }
        scan.at = scan.at.max(BLOCK as usize);
        scan.head = kind == segment::SegmentKind::Head;
        before = segment_frames(&mut scan, last, &damage, &mut check, &mut found).then_some(scan.previous);
    }
    Ok(check)
}

/// Goes through a segment; false if it is not known what its last frame is.
fn segment_frames(
    scan: &mut Scan,
    last: bool,
    damage: &impl Fn(u64, Problem) -> Damage,
    check: &mut JournalCheck,
    found: &mut impl FnMut(Frame),
) -> bool {
    let mut lost = false;
    loop {
        match scan.step() {
            ScanItem::Frame(frame) => {
                check.frames += 1;
                check.highest = check.highest.max(frame.height);
                found(frame);
            }
            // What its index says was compared with the frames: the next segment follows from it whatever was lost before.
            ScanItem::Sealed => return true,
            ScanItem::End => {
                if !last {
                    check.damaged(damage(scan.offset(scan.at), "a sealed segment has no index".into()));
                }
                return !lost;
            }
            ScanItem::Bad { at, problem } => {
                // Behind frames that are lost, the index says more than was seen; it is whole all the same.
                let rest = &scan.bytes[at..];
                if lost && Index::begins(rest) && Index::decode(rest, scan.offset(at)).is_ok() {
                    return false;
                }
                if last && problem.kind == DamageKind::Bytes && !scan.was_synced(at) {
                    check.torn = Some((damage(scan.offset(at), problem), scan.dirty_bytes(at)));
                    return false;
                }
                check.damaged(damage(scan.offset(at), problem));
                lost = true;
                if !scan.resume(at) {
                    return false;
                }
                assert!(scan.at > at, "a check goes on behind the bad place, and so it ends");
            }
        }
    }
}
