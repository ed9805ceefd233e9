//! A session's disk in steps: what ticks produced goes in, and what is on disk comes out.
//!
//! ```text
//!  submit -> waiting -> poll: a batch of what waits -> its time is over: log, then journal, one sync each -> poll says so
//! ```
//! Which ticks share a sync follows from what was submitted and when it was polled, and from nothing else: a thread drives
//! it for a node, and a simulation drives it in its own time.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::time::Duration;

use engine::Height;
use engine::limits::{LOG_FILE_BYTES, LOG_GROUP_BYTES_MAX, SEGMENT_BYTES, SYNC_BYTES, UNSYNCED_TICKS_MAX};

use crate::backend::is_full;
use crate::journal::{Archive, End, Frame, JournalReader, JournalWriter, Retention};
use crate::log::{LogFound, LogGroup, LogWriter};
use crate::session::{OpenError, Session};

const _: () = assert!(SYNC_BYTES < LOG_GROUP_BYTES_MAX);
// A file takes at least one batch before the next one begins: else a full one would be followed by a full one.
const _: () = assert!(SEGMENT_BYTES > SYNC_BYTES as u64);
const _: () = assert!(UNSYNCED_TICKS_MAX > 0);

/// What one tick wants on disk.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SyncGroup {
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

impl SyncGroup {
    /// Bytes of its bodies and entries.
    fn bytes(&self) -> usize {
        let frames: usize = self.frames.iter().map(|frame| frame.body.len()).sum();
        frames + self.entries.iter().map(|(_, entry)| entry.len()).sum::<usize>()
    }
}

/// What has become of what was submitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Synced {
    /// Every group up to this one is on disk.
    UpTo(u64),
    /// There is no room. What waits is kept and tried again each second; the next `UpTo` says that there is room again.
    Full(String),
    /// A write or sync failed; nothing after it was or will be written.
    Failed(String),
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
    /// Bytes of the disk that stay free: with fewer it is taken for full, until the session is closed.
    pub min_free: u64,
}

impl Default for Writing {
    fn default() -> Self {
        let again = Duration::from_secs(1);
        Self { segment_bytes: SEGMENT_BYTES, log_bytes: LOG_FILE_BYTES, again, retention: None, min_free: 0 }
    }
}

/// A session's journal and log, opened for writing.
pub struct DiskOpened {
    /// What writes them.
    pub disk: Disk,
    /// How the journal ended; a torn tail has been cut.
    pub end: End,
    /// What the consensus log held.
    pub log: LogFound,
}

/// What is to be on disk next, less what is.
#[derive(Default)]
struct Batch {
    ticks: u32,
    last: u64,
    bytes: usize,
    fence: Option<Height>,
    entries: LogGroup,
    frames: Vec<Frame>,
}

/// A batch that is being written.
struct UnderWay {
    batch: Batch,
    /// When it is done, or is tried again.
    due: Duration,
    /// Whether it was said that there is no room for it.
    told: bool,
}

/// The end of a session's journal and log.
pub struct Disk {
    session: Session,
    writer: Writer,
    again: Duration,
    min_free: u64,
    waiting: VecDeque<SyncGroup>,
    /// The last tick that was submitted, and the last that was said to be on disk.
    submitted: Option<u64>,
    said: Option<u64>,
    under_way: Option<UnderWay>,
    failed: bool,
    archive: Option<Archive>,
    /// The lowest height that a start may need, until sealed segments were looked at.
    keep: Option<Height>,
}

/// Whether a session's disk has as much free as it is to keep. A system that does not tell has enough.
///
/// # Errors
/// As a disk that is full.
fn keeps_free(session: &Session, min_free: u64) -> io::Result<()> {
    if min_free == 0 {
        return Ok(());
    }
    match session.backend().free_bytes(session.dir()) {
        Ok(free) if free < min_free => {
            let (dir, free, least) = (session.dir().display(), free >> 20, min_free >> 20);
            let problem = format!("{dir} has {free} MiB free, and {least} MiB are to stay free");
            Err(io::Error::new(io::ErrorKind::StorageFull, problem))
        }
        _ => Ok(()),
    }
}

impl Disk {
    /// Reads a session to its end, and takes it up there. For those whom its frames do not concern.
    ///
    /// # Errors
    /// If the journal is damaged, or the system refuses.
    pub fn open(session: Session, writing: Writing) -> Result<DiskOpened, OpenError> {
        let reader = JournalReader::of(&session, Height::GENESIS)?;
        Self::start(session, reader, writing)
    }

    /// Takes up a session whose journal was read, behind its end; what was not read yet is read, and dropped.
    ///
    /// # Errors
    /// If the journal is damaged, or the system refuses.
    pub fn start(session: Session, mut reader: JournalReader, writing: Writing) -> Result<DiskOpened, OpenError> {
        while reader.next_frame()?.is_some() {}
        let end = reader.end().expect("the journal was read to its end").clone();
        let decided = reader.decided();
        assert!(decided <= end.highest, "a decided height is that of a frame");
        let (log, log_writer) = LogWriter::open(&session, writing.log_bytes)?;
        // The log knows what the journal had on the disk: one that has lost frames since would decide their heights
        // anew.
        if let LogFound::Entries { synced, .. } = &log
            && *synced > decided
        {
            let file = end.segment.as_ref().map_or("journal".into(), |(number, ..)| format!("journal/{number:08}.seg"));
            let offset = end.segment.as_ref().map_or(0, |(_, _, offset)| *offset);
            let problem = format!("it ends at height {decided}, but height {synced} had been synced");
            return Err(crate::Damage::new(file, offset, problem).into());
        }
        // A log that is missing or damaged has no fence: whoever opens the session decides whether its validator signs.
        let fence = if let LogFound::Entries { fence, .. } = &log { *fence } else { Height::GENESIS };
        let journal = JournalWriter::open(&session, &end, writing.segment_bytes)?;
        let archive = Archive::new(session.backend().clone(), session.dir(), session.chain(), writing.retention);
        let disk = Self {
            session,
            writer: Writer { journal, log: log_writer, synced: decided, decided, fence },
            again: writing.again,
            min_free: writing.min_free,
            waiting: VecDeque::new(),
            submitted: None,
            said: None,
            under_way: None,
            failed: false,
            archive: Some(archive),
            keep: None,
        };
        Ok(DiskOpened { disk, end, log })
    }

    /// Takes what a tick produced.
    ///
    /// # Panics
    /// If as many ticks wait as may: whoever submits looks at [`Disk::has_room`] or at how much it submitted.
    pub fn submit(&mut self, group: SyncGroup) {
        assert!(self.has_room(), "no more than {UNSYNCED_TICKS_MAX} ticks wait for the disk");
        // Also behind those that are being written: what is said of one number would be believed of both.
        assert!(self.submitted < Some(group.id), "ticks come one after another");
        self.submitted = Some(group.id);
        self.waiting.push_back(group);
    }

    /// Whether another tick may wait.
    pub fn has_room(&self) -> bool {
        self.waiting.len() < UNSYNCED_TICKS_MAX
    }

    /// When [`Disk::poll`] will do something, if something is under way.
    pub fn due(&self) -> Option<Duration> {
        self.under_way.as_ref().map(|under_way| under_way.due)
    }

    /// Whether nothing waits and nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_none()
    }

    /// Says that a start will need nothing below a height. The next time that nothing is to be written, sealed segments are
    /// compressed, and bodies below it may be given up, if there are more than the session may have.
    pub fn keep_from(&mut self, height: Height) {
        self.keep = Some(height);
    }

    /// Goes on to `now`, counted from wherever the caller counts: finishes what is under way if its time is over, begins
    /// with what waits if nothing is. Says what has become of what was submitted; to be asked until it says nothing.
    pub fn poll(&mut self, now: Duration) -> Option<Synced> {
        if self.failed {
            return None;
        }
        if self.under_way.is_none() {
            self.begin(now);
        }
        let Some(under_way) = &mut self.under_way else {
            self.tidy();
            return None;
        };
        if now < under_way.due {
            return None;
        }
        let written = keeps_free(&self.session, self.min_free).and_then(|()| self.writer.write(&mut under_way.batch));
        match written {
            Ok(()) => {
                // It leaves this process now: what is said to be on disk is answered for to players and to validators.
                assert!(under_way.batch.frames.is_empty(), "no frame of it is left");
                assert!(under_way.batch.entries.entries.is_empty(), "no entry of it is left");
                let last = under_way.batch.last;
                assert!(self.said < Some(last), "a tick is said to be on disk once");
                assert!(Some(last) <= self.submitted, "nothing is said to be on disk that was not submitted");
                assert!(self.waiting.front().is_none_or(|next| last < next.id), "what still waits is not on disk");
                self.said = Some(last);
                self.under_way = None;
                Some(Synced::UpTo(last))
            }
            Err(error) if is_full(&error) => {
                // Nothing of it counts: the whole batch is written again once there is room.
                self.writer.rewind();
                under_way.due = now.saturating_add(self.again);
                let told = std::mem::replace(&mut under_way.told, true);
                (!told).then(|| Synced::Full(error.to_string()))
            }
            Err(error) => {
                self.failed = true;
                Some(Synced::Failed(error.to_string()))
            }
        }
    }

    /// Makes a batch of what waits, as much as belongs together.
    fn begin(&mut self, now: Duration) {
        assert!(self.under_way.is_none(), "a batch is on disk before the next one is made");
        let mut batch = Batch::default();
        while let Some(group) = self.waiting.front() {
            let bytes = group.bytes();
            // A tick that is larger than a batch goes alone: it would wait for ever otherwise.
            if batch.ticks > 0 && batch.bytes + bytes > SYNC_BYTES {
                break;
            }
            assert!(batch.ticks == 0 || batch.last < group.id, "what is said to be on disk goes up to the last tick");
            batch.ticks += 1;
            batch.last = group.id;
            batch.bytes += bytes;
            let Some(SyncGroup { frames, entries, fence, .. }) = self.waiting.pop_front() else { break };
            batch.fence = batch.fence.max(fence);
            batch.frames.extend(frames);
            batch.entries.entries.extend(entries);
        }
        assert!(
            batch.ticks <= 1 || batch.bytes <= SYNC_BYTES,
            "only a tick that is larger than a batch is more than one"
        );
        assert!(batch.ticks as usize <= UNSYNCED_TICKS_MAX, "no more ticks share a sync than may wait for one");
        assert!(batch.ticks > 0 || self.waiting.is_empty(), "what waits first is taken, whatever it has");
        if batch.ticks > 0 {
            let due = now.saturating_add(self.session.backend().sync_takes());
            self.under_way = Some(UnderWay { batch, due, told: false });
        }
    }

    /// Looks after sealed segments, where this is nobody else's to do.
    fn tidy(&mut self) {
        // To compress takes long: whoever submitted something would wait for it.
        assert!(self.is_idle(), "sealed segments come after all that is to be written");
        if let (Some(archive), Some(height)) = (&self.archive, self.keep.take()) {
            archive.turn(height, false, &|| true);
        }
    }

    /// What looks after sealed segments, for a thread of its own.
    pub(crate) fn take_archive(&mut self) -> Archive {
        self.archive.take().expect("it is taken by the one thread that drives the disk")
    }

    /// Writes what waits, whatever time it takes, and seals the files; what failed, if something did.
    pub fn finish(&mut self) -> Vec<Synced> {
        let mut said = Vec::new();
        // What was taken is written: that is what the room was kept for.
        self.min_free = 0;
        while let Some(synced) = self.poll(Duration::MAX) {
            said.push(synced);
        }
        if self.failed {
            return said;
        }
        let sealed = match &self.under_way {
            // There is no room for it: a file is not sealed before what belongs into it.
            Some(_) => Err(io::Error::from(io::ErrorKind::StorageFull)),
            None => {
                assert!(self.waiting.is_empty(), "nothing that was submitted is left behind");
                assert_eq!(self.said, self.submitted, "whoever submitted the last tick was told that it is on disk");
                self.writer.seal()
            }
        };
        if let Err(error) = sealed {
            self.failed = true;
            said.push(Synced::Failed(error.to_string()));
        }
        said
    }

    /// Ends cleanly, and gives the session back.
    pub fn close(mut self) -> Session {
        self.finish();
        self.session
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.session.dir()
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
}

impl Writer {
    /// One group on disk for a batch: the log before the journal, so that it never lags behind it.
    fn write(&mut self, batch: &mut Batch) -> io::Result<()> {
        // What the log says was synced must be: a start that finds less in the journal refuses the session.
        assert!(self.synced <= self.decided, "the log says of no height that it is on disk before it is");
        let fence = batch.fence.unwrap_or_default().max(self.fence);
        if !batch.entries.entries.is_empty() || fence > self.fence {
            (batch.entries.synced, batch.entries.fence) = (self.synced, fence);
            self.log.append(&batch.entries)?;
            self.log.sync()?;
            self.fence = fence;
            // If the journal finds no room, the batch comes again, and the log has its entries already.
            batch.entries.entries.clear();
        }
        // A crash between the two leaves a log that is ahead, from which a start decides again; never one that is behind.
        assert!(batch.entries.entries.is_empty(), "what was signed is on disk before what it decided");
        assert!(fence <= self.fence, "a fence is on disk before the frames that it was moved for");
        self.journal.append(&batch.frames)?;
        self.journal.sync()?;
        let decided = batch.frames.iter().filter(|frame| frame.kind.is_decided()).map(|frame| frame.height);
        self.decided = decided.fold(self.decided, Height::max);
        assert!(self.decided >= self.synced, "what is decided never goes back");
        self.synced = self.decided;
        batch.frames.clear();
        Ok(())
    }

    /// Forgets the group for which there was no room.
    fn rewind(&mut self) {
        self.journal.rewind();
        self.log.rewind();
    }

    fn seal(&mut self) -> io::Result<()> {
        self.journal.seal().and_then(|()| self.log.seal())
    }
}
