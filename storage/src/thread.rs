//! The storage thread: appends what ticks produced, syncs it in groups, and says when it is on disk.

use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use engine::Height;

use crate::frame::{Frame, FrameKind};
use crate::log::{LogFound, LogGroup, LogWriter};
use crate::reader::{End, JournalReader};
use crate::session::{OpenError, Session};
use crate::writer::{JournalWriter, SEGMENT_BYTES};

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
}

/// What the storage thread says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Synced {
    /// Every group up to this one is on disk.
    UpTo(u64),
    /// A write or sync failed; nothing after it was or will be written.
    Failed(String),
}

/// The storage thread's handle.
pub struct Storage {
    groups: Option<Sender<Group>>,
    synced: Receiver<Synced>,
    thread: Option<JoinHandle<Session>>,
}

/// A session's journal and log, opened for writing.
pub struct Opened {
    /// The thread.
    pub storage: Storage,
    /// Every frame that was there, if there were any.
    pub frames: Vec<Frame>,
    /// How the journal ended; a torn tail has been cut.
    pub end: End,
    /// What the consensus log held.
    pub log: LogFound,
}

impl Storage {
    /// Reads a session to its end and starts the thread behind it.
    ///
    /// # Errors
    /// If the journal is damaged, or the system refuses.
    pub fn open(session: Session) -> Result<Opened, OpenError> {
        Self::open_with(session, SEGMENT_BYTES)
    }

    pub(crate) fn open_with(session: Session, segment_bytes: u64) -> Result<Opened, OpenError> {
        let mut reader = JournalReader::open_on(session.backend().clone(), session.dir())?;
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
        let end = reader.end().expect("the journal was read to its end").clone();
        let decided = frames.iter().filter(|frame| frame.kind == FrameKind::Decided).map(|frame| frame.height).max();
        let decided = decided.unwrap_or_default();
        let (log, log_writer) = LogWriter::open(&session)?;
        if let LogFound::Entries { synced, .. } = &log
            && *synced > decided
        {
            let file = end.segment.as_ref().map_or("journal".into(), |(number, ..)| format!("journal/{number:08}.seg"));
            let offset = end.segment.as_ref().map_or(0, |(_, _, offset)| *offset);
            let problem = format!("it ends at height {decided}, but height {synced} had been synced");
            return Err(crate::Damage { file, offset, problem }.into());
        }
        let journal = JournalWriter::open(&session, &end, segment_bytes)?;
        let (to_thread, groups) = bounded(QUEUE);
        let (from_thread, synced) = bounded(2 * QUEUE);
        let writer = Writer { journal, log: log_writer, synced: decided, decided };
        let thread = std::thread::Builder::new()
            .name("storage".into())
            .spawn(move || {
                writer.run(&groups, &from_thread);
                session
            })
            .map_err(OpenError::io(std::path::Path::new("storage thread")))?;
        Ok(Opened { storage: Self { groups: Some(to_thread), synced, thread: Some(thread) }, frames, end, log })
    }

    /// Hands over what a tick produced. Waits only while 64 groups are waiting already.
    pub fn submit(&self, group: Group) {
        // A thread that stopped has said why; there is nobody left to write for.
        let _ = self.groups.as_ref().expect("the handle was not closed").send(group);
    }

    /// What the thread says; a closed channel means that it is gone.
    pub fn synced(&self) -> &Receiver<Synced> {
        &self.synced
    }

    /// Writes what waits, seals the files, and gives the session back.
    pub fn close(mut self) -> Session {
        self.groups = None;
        self.thread.take().expect("closed once").join().expect("the storage thread reports errors, it does not panic")
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.groups = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    journal: JournalWriter,
    log: LogWriter,
    /// The last decided height that was synced in an earlier group.
    synced: Height,
    /// The last decided height that was appended.
    decided: Height,
}

impl Writer {
    fn run(mut self, groups: &Receiver<Group>, synced: &Sender<Synced>) {
        while let Ok(first) = groups.recv() {
            let waiting: Vec<Group> = std::iter::once(first).chain(groups.try_iter()).collect();
            let last = waiting.last().map_or(0, |group| group.id);
            match self.write(waiting) {
                Ok(()) => {
                    // Whoever listens may have gone; what was asked for is on disk all the same.
                    let _ = synced.send(Synced::UpTo(last));
                }
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

    /// One group on disk for all that waits: the log before the journal, so that it never lags behind it.
    fn write(&mut self, waiting: Vec<Group>) -> std::io::Result<()> {
        let mut entries = LogGroup { synced: self.synced, entries: Vec::new() };
        let mut frames = Vec::new();
        for group in waiting {
            entries.entries.extend(group.entries);
            frames.extend(group.frames);
        }
        let decided = frames.iter().filter(|frame: &&Frame| frame.kind == FrameKind::Decided).map(|frame| frame.height);
        self.decided = decided.fold(self.decided, Height::max);
        if !entries.entries.is_empty() {
            self.log.append(&entries)?;
            self.log.sync()?;
        }
        self.journal.append(&frames)?;
        self.journal.sync()?;
        self.synced = self.decided;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_segment_is_sealed_and_the_next_goes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let mut opened = Storage::open_with(Session::create(&path, b"{}").expect("new"), 16 * 1024).expect("empty");
        let mut model = Vec::new();
        for id in 1..=40 {
            let frame = Frame { kind: FrameKind::Decided, height: Height(id), body: vec![id as u8; 3_000] };
            model.push(frame.clone());
            opened.storage.submit(Group { id, frames: vec![frame], entries: Vec::new() });
            assert_eq!(opened.storage.synced().recv(), Ok(Synced::UpTo(id)));
            if id == 20 {
                let session = opened.storage.close();
                opened = Storage::open_with(session, 16 * 1024).expect("a whole session");
                assert_eq!(opened.frames, model);
            }
        }
        let session = opened.storage.close();
        let segments = std::fs::read_dir(path.join("journal")).expect("a folder").count();
        assert!(segments > 5, "{segments} segments");
        assert_eq!(Storage::open_with(session, 16 * 1024).expect("a whole session").frames, model);

        // A sealed segment may not be cut: what follows it is valid.
        let second = path.join("journal/00000002.seg");
        let bytes = std::fs::read(&second).expect("a segment");
        std::fs::write(&second, &bytes[..bytes.len() - 4_096]).expect("cut");
        let session = Session::open(&path).expect("a session");
        let error = Storage::open_with(session, 16 * 1024).err().expect("damage").to_string();
        assert!(error.contains("journal/00000003.seg"), "{error}");
    }
}
