//! The storage thread: appends what ticks produced, syncs it in groups, and says when it is on disk.

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use engine::Height;

use crate::backend::is_full;
use crate::journal::{End, Frame, JournalReader, JournalWriter, Retention, Retirer, SEGMENT_BYTES};
use crate::log::{FILE_BYTES, LogFound, LogGroup, LogWriter};
use crate::session::{OpenError, Session};

/// Ticks that may wait for the disk.
const QUEUE: usize = 64;

/// What one tick wants on disk.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Group {
    /// The tick.
    pub id: u64,
    /// Frames for the journal.
    pub frames: Vec<Frame>,
    /// Entries for the consensus log, with their heights.
    pub entries: Vec<(Height, Vec<u8>)>,
    /// Where the consensus log's fence moves to: nothing more will be signed at or below it. For heights that were decided
    /// without this validator, whose frames are in the same group.
    pub fence: Option<Height>,
}

/// What the storage thread says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Synced {
    /// Every group up to this one is on disk.
    UpTo(u64),
    /// There is no room. What waits is kept and tried again each second; the next `UpTo` says that there is room again.
    Full(String),
    /// A write or sync failed; nothing after it was or will be written.
    Failed(String),
}

/// The storage thread's handle.
pub struct Storage {
    groups: Option<Sender<Group>>,
    synced: Receiver<Synced>,
    thread: Option<JoinHandle<Session>>,
    /// To the thread that gives up bodies: the lowest height that a start may need.
    keep: Option<Sender<Height>>,
    retiring: Option<JoinHandle<()>>,
}

/// A session's journal and log, opened for writing.
pub struct Opened {
    /// The thread.
    pub storage: Storage,
    /// Every frame that was there, if [`Storage::open`] read them.
    pub frames: Vec<Frame>,
    /// How the journal ended; a torn tail has been cut.
    pub end: End,
    /// What the consensus log held.
    pub log: LogFound,
}

/// How a session is written.
#[derive(Clone, Debug)]
pub struct Writing {
    /// Bytes after which a new segment of the journal begins.
    pub segment_bytes: u64,
    /// Bytes after which a new file of the consensus log begins.
    pub log_bytes: u64,
    /// How long a disk that is full is left alone before it is tried again.
    pub again: Duration,
    /// How much of the journal's bodies stays; nothing goes where this is not set.
    pub retention: Option<Retention>,
}

impl Default for Writing {
    fn default() -> Self {
        Self { segment_bytes: SEGMENT_BYTES, log_bytes: FILE_BYTES, again: Duration::from_secs(1), retention: None }
    }
}

impl Storage {
    /// Reads a session to its end, keeps all its frames in memory, and starts the thread behind it. For short sessions;
    /// [`Storage::start`] is for others.
    ///
    /// # Errors
    /// If the journal is damaged, or the system refuses.
    pub fn open(session: Session) -> Result<Opened, OpenError> {
        Self::open_with(session, Writing::default())
    }

    /// As [`Storage::open`], written in another way.
    ///
    /// # Errors
    /// As [`Storage::open`].
    pub fn open_with(session: Session, writing: Writing) -> Result<Opened, OpenError> {
        let mut reader = JournalReader::of(&session, Height::GENESIS)?;
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
        let opened = Self::start(session, reader, writing)?;
        Ok(Opened { frames, ..opened })
    }

    /// Starts the thread behind a session whose journal was read; what was not read yet is read, and dropped.
    ///
    /// # Errors
    /// If the journal is damaged, or the system refuses.
    pub fn start(session: Session, mut reader: JournalReader, writing: Writing) -> Result<Opened, OpenError> {
        while reader.next_frame()?.is_some() {}
        let end = reader.end().expect("the journal was read to its end").clone();
        let decided = reader.decided();
        let (log, log_writer) = LogWriter::open(&session, writing.log_bytes)?;
        if let LogFound::Entries { synced, .. } = &log
            && *synced > decided
        {
            let file = end.segment.as_ref().map_or("journal".into(), |(number, ..)| format!("journal/{number:08}.seg"));
            let offset = end.segment.as_ref().map_or(0, |(_, _, offset)| *offset);
            let problem = format!("it ends at height {decided}, but height {synced} had been synced");
            return Err(crate::Damage { file, offset, problem }.into());
        }
        let journal = JournalWriter::open(&session, &end, writing.segment_bytes)?;
        let retirer = writing
            .retention
            .map(|retention| Retirer::new(session.backend().clone(), session.dir(), session.chain(), retention));
        let (to_thread, groups) = bounded(QUEUE);
        let (from_thread, synced) = bounded(2 * QUEUE);
        let fence = if let LogFound::Entries { fence, .. } = &log { *fence } else { Height::GENESIS };
        let writer = Writer { journal, log: log_writer, synced: decided, decided, fence, again: writing.again };
        let thread = std::thread::Builder::new()
            .name("storage".into())
            .spawn(move || {
                writer.run(&groups, &from_thread);
                session
            })
            .map_err(OpenError::io(std::path::Path::new("storage thread")))?;
        let (keep, retiring) = retirer.map(retiring).transpose()?.unzip();
        let storage = Self { groups: Some(to_thread), synced, thread: Some(thread), keep, retiring };
        Ok(Opened { storage, frames: Vec::new(), end, log })
    }

    /// Hands over what a tick produced. Waits only while 64 groups are waiting already.
    pub fn submit(&self, group: Group) {
        // A thread that stopped has said why; there is nobody left to write for.
        let _ = self.groups.as_ref().expect("the handle was not closed").send(group);
    }

    /// Says that a start will need nothing below a height: the newest two snapshots are at or above it. Bodies below it
    /// may be given up, if there are more than the session may have.
    pub fn keep_from(&self, height: Height) {
        if let Some(keep) = &self.keep {
            // One that is still at it hears of a later height the next time.
            let _ = keep.try_send(height);
        }
    }

    /// What the thread says; a closed channel means that it is gone.
    pub fn synced(&self) -> &Receiver<Synced> {
        &self.synced
    }

    /// Writes what waits, seals the files, and gives the session back.
    pub fn close(mut self) -> Session {
        self.groups = None;
        self.end_retiring();
        self.thread.take().expect("closed once").join().expect("the storage thread reports errors, it does not panic")
    }
}

/// The thread that gives up bodies.
fn retiring(retirer: Retirer) -> Result<(Sender<Height>, JoinHandle<()>), OpenError> {
    let (keep, heights) = bounded(1);
    let run = move || {
        while let Ok(height) = heights.recv() {
            match retirer.retire(height) {
                Ok(retired) => retired.iter().for_each(|number| tracing::info!("segment {number} gave up its bodies")),
                Err(error) => tracing::warn!("no bodies are given up: {error}"),
            }
        }
    };
    let thread = std::thread::Builder::new().name("retention".into()).spawn(run);
    Ok((keep, thread.map_err(OpenError::io(std::path::Path::new("retention thread")))?))
}

impl Storage {
    fn end_retiring(&mut self) {
        self.keep = None;
        if let Some(thread) = self.retiring.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.groups = None;
        self.end_retiring();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What is to be on disk next, less what is.
#[derive(Default)]
struct Batch {
    last: u64,
    fence: Option<Height>,
    entries: LogGroup,
    frames: Vec<Frame>,
}

impl Batch {
    fn add(&mut self, group: Group) {
        self.last = group.id;
        self.fence = self.fence.max(group.fence);
        self.entries.entries.extend(group.entries);
        self.frames.extend(group.frames);
    }
}

struct Writer {
    journal: JournalWriter,
    log: LogWriter,
    /// The last decided height that was synced in an earlier group.
    synced: Height,
    /// The last decided height that was appended.
    decided: Height,
    /// The fence of the last group of the log.
    fence: Height,
    again: Duration,
}

impl Writer {
    fn run(mut self, groups: &Receiver<Group>, synced: &Sender<Synced>) {
        while let Ok(first) = groups.recv() {
            let mut batch = Batch::default();
            std::iter::once(first).chain(groups.try_iter()).for_each(|group| batch.add(group));
            match self.write_when_there_is_room(&mut batch, groups, synced) {
                // Whoever listens may have gone; what was asked for is on disk all the same.
                Ok(()) => _ = synced.send(Synced::UpTo(batch.last)),
                Err(error) => {
                    let _ = synced.send(Synced::Failed(error.to_string()));
                    return;
                }
            }
        }
        if let Err(error) = self.journal.seal().and_then(|()| self.log.seal()) {
            let _ = synced.try_send(Synced::Failed(error.to_string()));
        }
    }

    /// A disk that is full keeps the batch waiting, until there is room or nobody waits any more.
    fn write_when_there_is_room(
        &mut self,
        batch: &mut Batch,
        groups: &Receiver<Group>,
        synced: &Sender<Synced>,
    ) -> io::Result<()> {
        let mut told = false;
        loop {
            match self.write(batch) {
                Err(error) if is_full(&error) => {
                    if !std::mem::replace(&mut told, true) {
                        let _ = synced.try_send(Synced::Full(error.to_string()));
                    }
                    self.journal.rewind();
                    self.log.rewind();
                    match groups.recv_timeout(self.again) {
                        // The batch only grows by what the node made before it heard.
                        Ok(group) => batch.add(group),
                        Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return Err(error),
                    }
                }
                done => return done,
            }
        }
    }

    /// One group on disk for all that waits: the log before the journal, so that it never lags behind it.
    fn write(&mut self, batch: &mut Batch) -> io::Result<()> {
        let fence = batch.fence.unwrap_or_default().max(self.fence);
        if !batch.entries.entries.is_empty() || fence > self.fence {
            (batch.entries.synced, batch.entries.fence) = (self.synced, fence);
            self.log.append(&batch.entries)?;
            self.log.sync()?;
            self.fence = fence;
            batch.entries.entries.clear();
        }
        self.journal.append(&batch.frames)?;
        self.journal.sync()?;
        let decided = batch.frames.iter().filter(|frame| frame.kind.is_decided()).map(|frame| frame.height);
        self.decided = decided.fold(self.decided, Height::max);
        self.synced = self.decided;
        batch.frames.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::FrameKind;

    #[test]
    fn a_full_segment_is_sealed_and_the_next_goes_on() {
        // A segment with one mark, and one with several.
        sealed_segments(16 << 10, 3_000);
        sealed_segments(300 << 10, 20_000);
    }

    fn sealed_segments(segment_bytes: u64, body_bytes: u64) {
        let small = || Writing { segment_bytes, ..Writing::default() };
        let body =
            |id: u64| (0..body_bytes).map(|at| ((at ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let mut opened = Storage::open_with(Session::create(&path, b"{}").expect("new"), small()).expect("empty");
        let mut model = Vec::new();
        for id in 1..=60 {
            let frame = Frame { kind: FrameKind::Decided, height: Height(id), body: body(id) };
            model.push(frame.clone());
            opened.storage.submit(Group { id, frames: vec![frame], ..Group::default() });
            assert_eq!(opened.storage.synced().recv(), Ok(Synced::UpTo(id)));
            if id == 20 {
                let session = opened.storage.close();
                opened = Storage::open_with(session, small()).expect("a whole session");
                assert_eq!(opened.frames, model);
            }
        }
        let session = opened.storage.close();
        let segments = std::fs::read_dir(path.join("journal")).expect("a folder").count();
        assert!(segments >= 3, "{segments} segments");
        assert_eq!(Storage::open_with(session, small()).expect("a whole session").frames, model);

        // A reader that wants a height begins near it, and says the same.
        for from in 0..=61 {
            let mut reader = JournalReader::open_at(&path, Height(from)).expect("a session");
            let frames: Vec<_> = std::iter::from_fn(|| reader.next_frame().expect("whole")).collect();
            assert_eq!(frames, model[from.saturating_sub(1) as usize..], "from {from}");
            assert_eq!(reader.decided(), Height(60));
        }
        // It does not even look at what lies before.
        let first = path.join("journal/00000001.seg");
        let kept = std::fs::read(&first).expect("a segment");
        std::fs::write(&first, b"rubbish").expect("written");
        let mut reader = JournalReader::open_at(&path, Height(59)).expect("a session");
        assert_eq!(reader.next_frame().expect("whole").map(|frame| frame.height), Some(Height(59)));
        assert!(JournalReader::open(&path).expect("a session").next_frame().is_err());
        std::fs::write(&first, kept).expect("written");

        // A sealed segment may not be cut: what follows it is valid.
        let second = path.join("journal/00000002.seg");
        let bytes = std::fs::read(&second).expect("a segment");
        std::fs::write(&second, &bytes[..bytes.len() - 4_096]).expect("cut");
        let session = Session::open(&path).expect("a session");
        let error = Storage::open_with(session, small()).err().expect("damage").to_string();
        assert!(error.contains("journal/00000002.seg"), "{error}");
    }
}
