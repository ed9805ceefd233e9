//! Writing the journal: groups of frames, in segments.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use engine::limits::{FILE_NUMBER_MAX, SEGMENT_FILE_BYTES_MAX};
use engine::{Hash, Height};

use super::frame::{Frame, encode};
use super::index::{FrameMarks, INDEX_BYTES_MAX, Index};
use super::reader::{End, Tail};
use super::segment;
use crate::backend::Backend;
use crate::file::{AHEAD, GroupFile};
use crate::refused::named;
use crate::session::{OpenError, Session, name};
use crate::{BLOCK, align_up};

/// Bytes of zeros ahead and of the index, at most.
const AHEAD_AND_INDEX: u64 = 2 << 20;

// A segment that is as long as it may be has room for both, or its readers would not read it to its end.
const _: () = assert!(AHEAD_AND_INDEX >= AHEAD + INDEX_BYTES_MAX as u64);
const _: () = assert!(AHEAD_AND_INDEX < SEGMENT_FILE_BYTES_MAX);

/// The end of the journal, where groups are appended.
pub struct JournalWriter {
    backend: Arc<dyn Backend>,
    folder: PathBuf,
    chain: Hash,
    number: u32,
    file: Option<GroupFile>,
    /// Whether there may be a segment behind that one which was not begun as a whole.
    begun: bool,
    segment_bytes: u64,
    tip: JournalTip,
    /// Where it stood before the group that is not on disk yet.
    synced: Option<(u64, JournalTip)>,
    buffer: Vec<u8>,
}

/// What the next frame follows.
#[derive(Clone)]
struct JournalTip {
    previous: Hash,
    highest: Height,
    marks: FrameMarks,
}

impl JournalWriter {
    /// Goes on where a journal ends; a torn tail is cut.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open(session: &Session, end: &End, segment_bytes: u64) -> Result<Self, OpenError> {
        // One that were full when it is begun would be followed by others without an end.
        assert!(segment_bytes > BLOCK, "a segment has room for a frame behind its header");
        let from_nothing = end.previous == [0; 32] && end.marks.is_empty();
        assert!(end.segment.is_some() || from_nothing, "the first frame of a journal follows nothing");
        let backend = session.backend().clone();
        let marks = FrameMarks { marks: end.marks.clone() };
        let mut writer = Self {
            backend: backend.clone(),
            folder: session.dir().join("journal"),
            chain: session.chain(),
            number: 0,
            file: None,
            begun: false,
            segment_bytes,
            tip: JournalTip { previous: end.previous, highest: end.highest, marks },
            synced: None,
            buffer: Vec::new(),
        };
        if let Some((number, path, data_end)) = &end.segment {
            if matches!(end.tail, Tail::Torn { .. }) && *data_end == 0 {
                // The segment's own header never reached the disk: it is made again.
                assert!(*number > 0, "a reader takes no segment before the first");
                backend.remove(path).map_err(OpenError::io(path))?;
                writer.number = number - 1;
            } else if end.sealed {
                writer.number = *number;
            } else {
                assert!(*data_end >= BLOCK, "frames are appended behind a whole header");
                let inside = end.marks.last().is_none_or(|mark| mark.offset < *data_end);
                assert!(inside, "a mark is of a frame that is there");
                writer.number = *number;
                writer.file =
                    Some(GroupFile::reopen(&*backend, path, *data_end, segment_bytes).map_err(OpenError::io(path))?);
            }
        }
        Ok(writer)
    }

    /// Appends frames as one group. They are on disk after [`JournalWriter::sync`].
    ///
    /// # Errors
    /// What the system says. If there was no room, the group may be appended again after [`JournalWriter::rewind`];
    /// after any other error nothing may be appended.
    pub fn append(&mut self, frames: &[Frame]) -> io::Result<()> {
        if frames.is_empty() {
            return Ok(());
        }
        assert!(self.synced.is_none(), "a group is synced before the next is appended");
        if self.file.as_ref().is_some_and(|file| file.end() >= self.segment_bytes) {
            self.seal_segment()?;
        }
        if self.file.is_none() {
            self.next_segment()?;
        }
        let file = self.file.as_mut().expect("a segment was begun");
        let group = file.end();
        assert!(group >= BLOCK, "frames come behind the segment's header");
        let first = self.tip.marks.marks.first().map_or(group, |mark| mark.offset);
        assert_eq!(first, BLOCK, "a reader begins at the first mark, which is the segment's first frame");
        let before = self.tip.previous;
        self.synced = Some((group, self.tip.clone()));
        self.buffer.clear();
        let JournalTip { previous, highest, marks } = &mut self.tip;
        for frame in frames {
            self.buffer.resize(self.buffer.len().next_multiple_of(super::frame::ALIGN), 0);
            marks.pass(group + self.buffer.len() as u64, *highest, previous);
            *previous = encode(frame, group, previous, &mut self.buffer);
            *highest = frame.height.max(*highest);
        }
        assert_ne!(*previous, before, "each frame has a hash of its own, which the next one follows");
        let end = group + align_up(self.buffer.len() as u64) + AHEAD_AND_INDEX;
        assert!(end <= SEGMENT_FILE_BYTES_MAX, "a segment is no longer than its readers read");
        file.append(&mut self.buffer)?;
        assert_eq!(file.end() - group, self.buffer.len() as u64, "the next group begins behind this one");
        Ok(())
    }

    /// Ends a full segment with its index.
    fn seal_segment(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        assert!(self.synced.is_none(), "an index is over frames that are on disk");
        let offset = file.end();
        let JournalTip { previous, highest: last, marks } = &self.tip;
        // A start that looks for a height takes up the first one, and must see all of the segment then.
        let first = marks.marks.first().map(|mark| mark.offset);
        assert_eq!(first, Some(BLOCK), "an index marks the segment's first frame");
        let index = Index { marks: marks.marks.clone(), last: *last, previous: *previous, offset };
        self.buffer.clear();
        index.encode(&mut self.buffer);
        if let Err(error) = file.append(&mut self.buffer).and_then(|()| file.seal()) {
            // The frames are on the disk: only the index is written again.
            file.rewind(offset);
            return Err(error);
        }
        self.file = None;
        Ok(())
    }

    fn next_segment(&mut self) -> io::Result<()> {
        assert!(self.file.is_none(), "a segment is sealed before the next one begins");
        let number = self.number + 1;
        assert!(number <= FILE_NUMBER_MAX, "a reader takes no file of a higher number");
        let path = self.folder.join(name(number, "seg"));
        let begin = |file: &mut GroupFile| {
            file.append(&mut segment::header(segment::SegmentKind::Whole, number, &self.chain, &self.tip.previous))?;
            file.sync()?;
            self.backend.sync_dir(&self.folder).map_err(named(&self.folder, "synced"))
        };
        if self.begun {
            // The last attempt found no room; what it left is made again.
            self.backend.remove(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(named(&path, "removed")(error)),
            })?;
        }
        self.begun = true;
        let mut file = GroupFile::create(&*self.backend, &path, self.segment_bytes)?;
        begin(&mut file)?;
        // The end of a longer header would be taken for frames.
        assert_eq!(file.end(), BLOCK, "a header is a group of its own, of one block");
        self.begun = false;
        self.file = Some(file);
        self.number = number;
        self.tip.marks = FrameMarks::default();
        Ok(())
    }

    /// Waits until all groups are on disk.
    ///
    /// # Errors
    /// What the system says; as for [`JournalWriter::append`].
    pub fn sync(&mut self) -> io::Result<()> {
        // It would be said to be on disk without ever having been waited for.
        assert!(self.synced.is_none() || self.file.is_some(), "a group that waits for its sync has a segment");
        if let (Some(file), Some(_)) = (&self.file, &self.synced) {
            file.sync()?;
        }
        self.synced = None;
        Ok(())
    }

    /// Forgets the group that did not reach the disk for want of room.
    pub fn rewind(&mut self) {
        assert!(self.synced.is_none() || self.file.is_some(), "a group that waits for its sync has a segment");
        if let (Some(file), Some((end, tip))) = (&mut self.file, self.synced.take()) {
            file.rewind(end);
            assert!(tip.highest <= self.tip.highest, "what is forgotten came later");
            assert!(tip.marks.marks.len() <= self.tip.marks.marks.len(), "no mark is forgotten of a frame that stays");
            self.tip = tip;
        }
    }

    /// Cuts the zeros ahead of the data: the session ends here for now.
    ///
    /// # Errors
    /// What the system says.
    pub fn seal(&mut self) -> io::Result<()> {
        assert!(self.synced.is_none(), "a session ends behind what is on disk");
        self.file.as_mut().map_or(Ok(()), GroupFile::seal)
    }
}
