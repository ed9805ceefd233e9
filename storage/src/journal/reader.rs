//! Reading the journal: frames in order, and what the end looks like.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::limits::{SEGMENT_FILE_BYTES_MAX, SEGMENT_MARKS_MAX};
use engine::{Genesis, Hash, Height};

use super::compressed;
use super::frame::Frame;
use super::index::{Index, SegmentMark, TAIL, mark_below};
use super::retired::{journal_files, path_now};
use super::scan::{Ahead, Scan, ScanItem};
use super::segment;
use crate::backend::{Backend, FileBackend, FileBytes, bounded_len};
use crate::session::{OpenError, Session, genesis_bytes_on};
use crate::{BLOCK, Damage, DamageKind, Problem};

/// What follows the last frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tail {
    /// Nothing: zeros, or the end of the file.
    Clean,
    /// Bytes of a group that was never completed. They were never synced, and nothing valid follows them.
    Torn {
        /// Where they begin, and why they are no frame.
        at: Damage,
        /// How many there are up to the last that is not zero.
        bytes: u64,
    },
}

/// Where the journal ends.
#[derive(Clone, Debug)]
pub struct End {
    /// The last segment, and where its data ends; none in an empty journal.
    pub segment: Option<(u32, PathBuf, u64)>,
    /// Hash of the last frame's header; zero before the first.
    pub previous: Hash,
    /// The highest height of all frames.
    pub highest: Height,
    /// What follows.
    pub tail: Tail,
    /// Whether the last segment has its index: the next frame begins another.
    pub(crate) sealed: bool,
    /// The marks of the last segment.
    pub(crate) marks: Vec<SegmentMark>,
}

/// The frames of a session's journal, in order. A segment is looked at at a time: mapped, or, where it is compressed or may
/// still be written, [`engine::limits::SEGMENT_WINDOW_BYTES`] of it in memory.
pub struct JournalReader {
    backend: Arc<dyn Backend>,
    dir: PathBuf,
    chain: Hash,
    segments: Vec<(u32, PathBuf)>,
    /// The segment after the one that is read.
    next: usize,
    scan: Scan,
    /// What is not in memory of the segment that is read.
    ahead: Option<Ahead>,
    /// Frames of the last segment that may be begun with, where somebody has read it before: it has no index yet.
    known: KnownMarks,
    /// Frames of lower heights are passed over.
    from: Height,
    sealed: bool,
    decided: Height,
    end: Option<End>,
}

/// Marks of the last segment, which nothing but reading it tells.
#[derive(Clone, Default)]
pub(super) struct KnownMarks {
    /// Its number.
    segment: u32,
    marks: Vec<SegmentMark>,
}

impl KnownMarks {
    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Adds what another reader knows.
    pub(super) fn learn(&mut self, other: &Self) {
        self.add(other.segment, &other.marks);
    }

    /// Adds marks of a segment, in order; those of an earlier one, which has its index by now, are forgotten.
    fn add(&mut self, segment: u32, marks: &[SegmentMark]) {
        if segment < self.segment {
            return;
        }
        if self.segment != segment {
            *self = Self { segment, marks: Vec::new() };
        }
        let last = self.marks.last().map_or(0, |mark| mark.offset);
        self.marks.extend(marks.iter().filter(|mark| mark.offset > last).copied());
        self.marks.truncate(SEGMENT_MARKS_MAX);
    }
}

impl JournalReader {
    /// The journal of a session.
    ///
    /// # Errors
    /// If the directory is no session.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(FileBackend), dir, Height::GENESIS)
    }

    /// The journal of a session, from a height on: it begins where an index says, and reads nothing before.
    ///
    /// # Errors
    /// If the directory is no session, or the index that it needs is damaged.
    pub fn open_at(dir: &Path, from: Height) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(FileBackend), dir, from)
    }

    /// The journal of a session that this process writes, from a height on.
    ///
    /// # Errors
    /// If the system refuses, or the index that it needs is damaged.
    pub fn of(session: &Session, from: Height) -> Result<Self, OpenError> {
        Self::open_on(session.backend().clone(), session.dir(), from)
    }

    /// The journal of a session on a backend, from a height on.
    ///
    /// # Errors
    /// If the directory is no session, or the index that it needs is damaged.
    pub fn open_on(backend: Arc<dyn Backend>, dir: &Path, from: Height) -> Result<Self, OpenError> {
        Self::open_knowing(backend, dir, from, KnownMarks::default())
    }

    /// The journal of a session on a backend, from the first segment on that still has its bodies. Of those before nothing but the
    /// index of the last one is read, however many they are; [`JournalReader::decided`] is what that says of them.
    ///
    /// # Errors
    /// If the directory is no session, or the index that it needs is damaged.
    pub fn open_whole(backend: Arc<dyn Backend>, dir: &Path) -> Result<Self, OpenError> {
        let mut reader = Self::open_on(backend, dir, Height::GENESIS)?;
        // Bodies are given up from the oldest on: the first segment that has them ends those that have not.
        let is_head = |(_, path): &&(u32, PathBuf)| segment::SegmentKind::of(path) == segment::SegmentKind::Head;
        let heads = reader.segments.iter().take_while(is_head).count();
        if let Some(before) = heads.checked_sub(1)
            && let Some(index) = reader.index_of(before)?
        {
            (reader.decided, reader.scan.highest, reader.scan.previous) = (index.last, index.last, index.previous);
            (reader.next, reader.sealed) = (heads, true);
        }
        Ok(reader)
    }

    /// [`JournalReader::open_on`] by somebody who has read the last segment before.
    ///
    /// # Errors
    /// As [`JournalReader::open_on`].
    pub(super) fn open_knowing(
        backend: Arc<dyn Backend>,
        dir: &Path,
        from: Height,
        known: KnownMarks,
    ) -> Result<Self, OpenError> {
        let chain = Genesis::chain_id(&genesis_bytes_on(&*backend, dir)?);
        let segments = journal_files(&*backend, &dir.join("journal"))?;
        let mut reader = Self {
            backend,
            dir: dir.to_owned(),
            chain,
            segments,
            next: 0,
            scan: Scan::default(),
            ahead: None,
            known,
            from,
            sealed: false,
            decided: Height::GENESIS,
            end: None,
        };
        if from > Height::GENESIS {
            reader.jump()?;
        }
        Ok(reader)
    }

    /// The next frame, or `None` after the last; [`JournalReader::end`] then tells how the journal ends.
    ///
    /// # Errors
    /// Damage: bytes that are wrong before the end of what was written.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, OpenError> {
        while self.end.is_none() {
            if self.scan.at >= self.scan.bytes.len() && !self.read_on()? && !self.next_segment()? {
                break;
            }
            match self.scan.step() {
                ScanItem::Frame(frame) => {
                    if frame.kind.is_decided() {
                        self.decided = self.decided.max(frame.height);
                    }
                    if frame.height >= self.from {
                        return Ok(Some(frame));
                    }
                }
                ScanItem::Sealed => self.sealed = true,
                // What is cut off at the end of what is in memory looks as if it were wrong.
                ScanItem::End | ScanItem::Bad { .. } if self.read_on()? => {}
                ScanItem::End if self.next < self.segments.len() => {
                    return Err(self.damage(self.scan.at, "a sealed segment has no index".into()).into());
                }
                ScanItem::End => self.finish(self.scan.at, Tail::Clean),
                ScanItem::Bad { at, problem } => self.bad(at, problem)?,
            }
        }
        Ok(None)
    }

    /// How the journal ends; known after the last frame.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// The highest decided height so far, counting what lies before the place where the reader began.
    pub fn decided(&self) -> Height {
        self.decided
    }

    fn damage_in(&self, index: usize, offset: u64, problem: Problem) -> Damage {
        let path = &self.segments[index].1;
        let file = path.strip_prefix(&self.dir).unwrap_or(path).display().to_string();
        Damage::new(file, offset, problem)
    }

    fn damage(&self, at: usize, problem: Problem) -> Damage {
        assert!(self.next > 0, "what is damaged lies in a segment that was taken up");
        self.damage_in(self.next - 1, self.scan.offset(at), problem)
    }

    fn finish(&mut self, at: usize, tail: Tail) {
        assert!(self.end.is_none(), "a journal ends once");
        assert!(self.next > 0, "it ends in the segment that was read");
        assert!(self.decided <= self.scan.highest, "a decided height is that of a frame");
        let (number, path) = &self.segments[self.next - 1];
        self.end = Some(End {
            segment: Some((*number, path.clone(), self.scan.offset(at))),
            previous: self.scan.previous,
            highest: self.scan.highest,
            tail,
            sealed: self.sealed,
            marks: std::mem::take(&mut self.scan.marks.marks),
        });
    }

    /// Bytes that are wrong: the torn end of the journal if nothing that was synced later follows, else damage.
    fn bad(&mut self, at: usize, problem: Problem) -> Result<(), OpenError> {
        let damage = self.damage(at, problem);
        let newer = damage.problem.kind == DamageKind::Version;
        if newer || self.next < self.segments.len() || self.scan.was_synced(at) {
            return Err(damage.into());
        }
        let bytes = self.scan.dirty_bytes(at);
        // The frames of the last block stay; what is torn begins behind them.
        self.finish(self.scan.at, Tail::Torn { at: damage, bytes });
        Ok(())
    }

    /// Loads the next segment; false after the last.
    fn next_segment(&mut self) -> Result<bool, OpenError> {
        assert!(self.ahead.is_none(), "a segment is left when all of it was read");
        let Some(number) = self.segments.get(self.next).map(|(number, _)| *number) else {
            if self.next == 0 {
                let (previous, highest) = ([0; 32], Height::GENESIS);
                let (tail, sealed, marks) = (Tail::Clean, false, Vec::new());
                self.end = Some(End { segment: None, previous, highest, tail, sealed, marks });
            } else {
                self.finish(self.scan.bytes.len(), Tail::Clean);
            }
            return Ok(false);
        };
        if self.next > 0 && !self.sealed {
            let end = self.scan.bytes.len();
            return Err(self.damage(end, "a sealed segment has no index".into()).into());
        }
        // Meanwhile it may have been compressed or have given up its bodies: its chain is the same.
        let path = path_now(&*self.backend, &self.segments[self.next].1);
        self.segments[self.next].1.clone_from(&path);
        let bytes = self.load(self.next, 0)?;
        self.next += 1;
        self.sealed = false;
        let kind = segment::SegmentKind::of(&path);
        let header = self.header(kind, number, &bytes);
        self.scan.load(bytes, 0, 0);
        self.scan.head = kind == segment::SegmentKind::Head;
        match header {
            Ok(()) => self.scan.at = BLOCK as usize,
            Err(segment::BadHeader { problem, unfinished }) => {
                // All of it, since what follows the header decides.
                self.read_on()?;
                let written =
                    self.scan.bytes.get(BLOCK as usize..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
                let damage = self.damage(0, problem);
                // A segment that was being made when the machine stopped holds nothing yet.
                if !unfinished || written || self.next < self.segments.len() {
                    return Err(damage.into());
                }
                let bytes = self.scan.bytes.len() as u64;
                self.finish(0, Tail::Torn { at: damage, bytes });
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A segment's bytes. All but the last are sealed for ever and are mapped where they lie, if they are not compressed; the
    /// last may still be written or cut. Of those that are copied the first part comes, and [`JournalReader::read_on`] has the
    /// others.
    fn load(&mut self, at: usize, from: u64) -> Result<FileBytes, OpenError> {
        assert!(from.is_multiple_of(BLOCK), "bytes are taken up from a block on");
        let path = &self.segments[at].1;
        self.ahead = None;
        if at + 1 < self.segments.len() && !compressed::is_compressed(path) {
            let view = self.backend.view(path, from, SEGMENT_FILE_BYTES_MAX);
            return view.map_err(compressed::failed(path));
        }
        let file = compressed::open(&*self.backend, path).map_err(compressed::failed(path))?;
        let end = bounded_len(&*file, SEGMENT_FILE_BYTES_MAX).map_err(compressed::failed(path))? as u64;
        let (bytes, ahead) = Ahead::begin(file, from, end).map_err(compressed::failed(path))?;
        self.ahead = ahead;
        Ok(FileBytes::Read(bytes))
    }

    /// [`Scan::read_on`] in the segment that is read.
    fn read_on(&mut self) -> Result<bool, OpenError> {
        self.scan.read_on(&mut self.ahead).map_err(|error| compressed::failed(&self.segments[self.next - 1].1)(error))
    }

    /// What is known of the last segment, for who reads it again.
    pub(super) fn known_marks(&self) -> KnownMarks {
        let mut known = self.known.clone();
        if self.next == self.segments.len()
            && let Some((number, _)) = self.next.checked_sub(1).map(|at| &self.segments[at])
        {
            // Whoever came to the end has handed over what it knows.
            known.add(*number, self.end.as_ref().map_or(&self.scan.marks.marks, |end| &end.marks));
        }
        known
    }

    /// Checks a segment's first block.
    fn header(&self, kind: segment::SegmentKind, number: u32, bytes: &[u8]) -> Result<(), segment::BadHeader> {
        let wrong = |problem: Problem| Err(segment::BadHeader { problem, unfinished: false });
        if number as usize != self.next {
            return wrong(format!("segment {number} stands where segment {} belongs", self.next).into());
        }
        if segment::check(bytes, kind, number, &self.chain)? != self.scan.previous {
            return wrong("the segment does not follow the one before it".into());
        }
        Ok(())
    }

    /// Goes to another height, in the segments that were there when it was opened; `known` is what others know of the last one.
    ///
    /// # Errors
    /// As [`JournalReader::open_on`].
    pub(super) fn go_to(&mut self, from: Height, known: &KnownMarks) -> Result<(), OpenError> {
        self.known = self.known_marks();
        self.known.learn(known);
        self.from = from;
        (self.scan, self.ahead, self.next, self.sealed) = (Scan::default(), None, 0, false);
        (self.decided, self.end) = (Height::GENESIS, None);
        self.jump()
    }

    /// Begins at the last mark that has only lower heights before it.
    fn jump(&mut self) -> Result<(), OpenError> {
        assert_eq!(self.next, 0, "where no segment can be begun with, the first one is");
        // A segment may be begun with if all before it is lower, as the index before it says, and what those say never falls from
        // one to the next. Most who ask want what is newest: steps back that double come before what lies between is halved.
        let (mut begun, mut above, mut step) = (0, self.segments.len(), 1);
        let mut before = None;
        while begun + 1 < above {
            let at = (begun + (above - begun) / 2).max(above.saturating_sub(step));
            step *= 2;
            assert!(begun < at && at < above, "each look leaves fewer segments");
            // An index that cannot be read is passed over: the next one says enough, unless this one is needed, and then the segment
            // that has it is the one that is begun with.
            let readable = (at..above).find_map(|at| self.index_of(at - 1).ok().map(|index| (at, index)));
            match readable {
                Some((at, Some(index))) if index.last < self.from => (begun, before) = (at, Some(index)),
                _ => above = at,
            }
        }
        if let Some(index) = before {
            self.decided = index.last;
            self.scan.highest = index.last;
            self.scan.previous = index.previous;
            self.next = begun;
            self.sealed = true;
        }
        if self.segments.is_empty() { Ok(()) } else { self.jump_within(begun) }
    }

    fn jump_within(&mut self, at: usize) -> Result<(), OpenError> {
        let index = self.index_of(at)?;
        let (number, path) = self.segments[at].clone();
        let mark = match &index {
            Some(index) => index.mark(self.from),
            None if self.known.segment == number => mark_below(&self.known.marks, self.from),
            None => None,
        };
        let Some(mark) = mark.copied() else { return Ok(()) };
        let kind = segment::SegmentKind::of(&path);
        assert!(mark.offset >= BLOCK, "a mark is of a frame, behind the header");
        let base = mark.offset / BLOCK * BLOCK;
        let header = compressed::open(&*self.backend, &path).and_then(|file| file.read_range(0, BLOCK as usize));
        let header = header.map_err(compressed::failed(&path))?;
        let bytes = self.load(at, base)?;
        self.next = at + 1;
        self.sealed = false;
        // Also of a segment that is begun in its middle: one of another chain has marks and frames that fit each other.
        self.header(kind, number, &header).map_err(|bad| self.damage_in(at, 0, bad.problem))?;
        self.scan.load(bytes, base, mark.offset);
        self.scan.head = kind == segment::SegmentKind::Head;
        self.scan.previous = mark.previous;
        self.scan.highest = mark.before;
        self.decided = mark.before;
        Ok(())
    }

    /// A segment's index, if it has one.
    fn index_of(&mut self, at: usize) -> Result<Option<Index>, OpenError> {
        let path = path_now(&*self.backend, &self.segments[at].1);
        self.segments[at].1.clone_from(&path);
        let path = &path;
        let failed = || compressed::failed(path);
        let file = compressed::open(&*self.backend, path).map_err(failed())?;
        let length = bounded_len(&*file, SEGMENT_FILE_BYTES_MAX).map_err(failed())? as u64;
        let tail = file.read_range(length.saturating_sub(TAIL as u64), TAIL).map_err(failed())?;
        let Some(offset) = Index::find(&tail, length) else {
            let sealed = at + 1 < self.segments.len();
            let missing = || self.damage_in(at, length, "a sealed segment has no index".into());
            return if sealed { Err(missing().into()) } else { Ok(None) };
        };
        let bytes = file.read_range(offset, (length - offset) as usize).map_err(failed())?;
        match Index::decode(&bytes, offset) {
            Ok(index) => Ok(Some(index)),
            Err(problem) => Err(self.damage_in(at, offset, problem).into()),
        }
    }
}
