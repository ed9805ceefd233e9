//! The past: decided heights with their blocks, read beside whoever writes the journal.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use engine::Height;

use super::frame::{Frame, FrameKind};
use super::reader::{JournalReader, KnownMarks};
use crate::backend::Backend;
use crate::session::{OpenError, Session};

/// What the journal has of a decided height.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Past {
    /// The height that was decided.
    pub height: Height,
    /// The body of its decided frame.
    pub decided: Vec<u8>,
    /// The body of its settled frame, once there is one.
    pub settled: Option<Vec<u8>>,
}

/// Reads decided heights of a session, one range after another. Whoever goes on where the last range ended pays for no search, and
/// whoever does not for one in the segments that are known already.
pub struct PastReader {
    backend: Arc<dyn Backend>,
    dir: PathBuf,
    open: Option<Open>,
    /// Where to begin in the last segment, which has no index yet.
    known: KnownMarks,
}

/// A place in the journal.
struct Open {
    reader: JournalReader,
    /// The height that comes next.
    next: Height,
    /// What was read and not handed out yet.
    read: VecDeque<Past>,
    /// Nothing more can be read from here.
    ended: bool,
    /// The journal has no block of the height that comes next any more, or never had one.
    gone: bool,
}

impl PastReader {
    /// The past of a session that this process writes, or is about to.
    pub fn of(session: &Session) -> Self {
        let known = KnownMarks::default();
        Self { backend: session.backend().clone(), dir: session.dir().to_owned(), open: None, known }
    }

    /// Another reader of the same.
    pub fn another(&self) -> Self {
        Self { backend: self.backend.clone(), dir: self.dir.clone(), open: None, known: self.known.clone() }
    }

    /// Takes over what another reader of the same has learnt of the last segment, which has no index yet.
    pub fn learn(&mut self, other: &Self) {
        self.known.learn(&other.known);
    }

    /// Up to `count` heights from `from` on, one after another, none above `last`, of at most `bytes_max` bytes together; the
    /// first one whatever it has. Nothing where the journal has no block of `from` any more.
    ///
    /// # Errors
    /// If the journal is damaged, or the system refuses.
    pub fn read(&mut self, from: Height, count: usize, last: Height, bytes_max: usize) -> Result<Vec<Past>, OpenError> {
        if from > last {
            return Ok(Vec::new());
        }
        let was_open = self.open.is_some();
        let mut answer = self.read_once(from, count, last, bytes_max);
        // It has come to where the journal ended when it was opened, and more was written since.
        if was_open && !matches!(answer, Ok(Some(_))) {
            self.open = None;
            answer = self.read_once(from, count, last, bytes_max);
        }
        // It has begun in a group for which there was no room in the end, and which was written otherwise.
        if !self.known.is_empty() && !matches!(answer, Ok(Some(_))) {
            self.open = None;
            let known = std::mem::take(&mut self.known);
            answer = self.read_once(from, count, last, bytes_max);
            // What is wrong lies elsewhere, and the next one to ask need not read all of the last segment for it.
            if answer.is_err() {
                self.known = known;
            }
        }
        Ok(answer?.unwrap_or_default())
    }

    /// [`PastReader::read`] from where it is; `None` where the journal ended before `from`, which may have been written since.
    fn read_once(
        &mut self,
        from: Height,
        count: usize,
        last: Height,
        bytes_max: usize,
    ) -> Result<Option<Vec<Past>>, OpenError> {
        let mut open = match self.open.take() {
            Some(open) if open.next == from => open,
            // Several who catch up leap past each other, and each past what it asks of other nodes.
            Some(Open { mut reader, .. }) => {
                reader.go_to(from, &self.known)?;
                Open::at(reader, from)
            }
            None => {
                let known = self.known.clone();
                let reader = JournalReader::open_knowing(self.backend.clone(), &self.dir, from, known)?;
                Open::at(reader, from)
            }
        };
        let mut found = Vec::new();
        let mut bytes = 0;
        while found.len() < count && open.next <= last {
            open.fill()?;
            let Some(past) = open.read.front().filter(|past| past.height == open.next) else { break };
            bytes += past.decided.len();
            if !found.is_empty() && bytes > bytes_max {
                break;
            }
            found.extend(open.read.pop_front());
            open.next = open.next.next();
        }
        assert!(found.len() <= count, "no more heights than were asked for");
        assert_eq!(open.next.0 - from.0, found.len() as u64, "heights follow each other, and none is left out");
        self.known.learn(&open.reader.known_marks());
        let is_gone = open.gone || open.read.front().is_some_and(|past| past.height > open.next);
        // The end of what is written now lies further on the next time.
        self.open = (!open.ended).then_some(open);
        Ok((is_gone || count == 0 || !found.is_empty()).then_some(found))
    }
}

impl Open {
    fn at(reader: JournalReader, next: Height) -> Self {
        Self { reader, next, read: VecDeque::new(), ended: false, gone: false }
    }

    /// Reads on until what stands in front is whole, or nothing more is there.
    fn fill(&mut self) -> Result<(), OpenError> {
        while !self.ended && self.read.front().is_none_or(|past| past.settled.is_none()) {
            match self.reader.next_frame()? {
                Some(Frame { kind: FrameKind::Decided, height, body }) if height >= self.next => {
                    self.read.push_back(Past { height, decided: body, settled: None });
                }
                // Of a height below the range its decided frame was passed over, and this one goes with it.
                Some(Frame { kind: FrameKind::Settled, height, body }) => {
                    if let Some(past) = self.read.iter_mut().find(|past| past.height == height) {
                        past.settled = Some(body);
                    }
                }
                // Its block has gone, or lies below the snapshot that the journal begins at.
                Some(Frame { kind: FrameKind::Retired | FrameKind::Base, height, .. }) if height >= self.next => {
                    (self.ended, self.gone) = (true, true);
                }
                Some(_) => {}
                None => self.ended = true,
            }
        }
        Ok(())
    }
}
