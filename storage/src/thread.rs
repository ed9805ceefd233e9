//! The storage thread: drives a session's disk beside the tick, and says when what it was given is on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use engine::Height;
use engine::limits::{HEARTBEAT, UNSYNCED_TICKS_MAX};

use crate::disk::{Disk, SyncGroup, Synced};
use crate::journal::Archive;
use crate::session::{OpenError, Session};
use crate::throttle::ArchiveThrottle;

// A wait of no time would be a loop that never rests.
const _: () = assert!(!HEARTBEAT.is_zero());

/// The storage thread's handle.
pub struct Storage {
    groups: Option<Sender<SyncGroup>>,
    synced: Receiver<Synced>,
    thread: Option<JoinHandle<Session>>,
    /// The lowest height that a start may need, for the thread that looks after sealed segments.
    keep: Arc<AtomicU64>,
    /// Wakes that thread. Closed, it ends the thread after one last turn for what it has not heard yet.
    kept: Option<Sender<()>>,
    archiving: Option<JoinHandle<()>>,
    /// Whoever closes waits for no more than one chunk.
    closing: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    archive_turns: Arc<AtomicU64>,
    throttle: Arc<ArchiveThrottle>,
}

impl Storage {
    /// Starts the thread that drives a disk.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn of(mut disk: Disk) -> Result<Self, OpenError> {
        // What was submitted before anybody could hear of it would be said to nobody.
        assert!(disk.is_idle(), "a thread takes up a disk that has nothing to write yet");
        // Compressing takes seconds and a sync milliseconds: what a tick waits for must not stand behind a segment.
        let archive = disk.take_archive();
        let (to_thread, groups) = bounded(UNSYNCED_TICKS_MAX);
        let (from_thread, synced) = bounded(2 * UNSYNCED_TICKS_MAX);
        let dir = disk.dir().to_owned();
        let (turns, archive_turns): (Arc<AtomicU64>, Arc<AtomicU64>) = (Arc::default(), Arc::default());
        let own_turns = Arc::clone(&turns);
        let thread = std::thread::Builder::new()
            .name("storage".into())
            .spawn(move || drive(disk, &groups, &from_thread, &own_turns))
            .map_err(OpenError::io(&dir))?;
        let (closing, keep): (Arc<AtomicBool>, Arc<AtomicU64>) = Default::default();
        let throttle: Arc<ArchiveThrottle> = Arc::default();
        let (kept, archiving) = Archiving {
            archive,
            keep: Arc::clone(&keep),
            closing: Arc::clone(&closing),
            turns: Arc::clone(&archive_turns),
            throttle: Arc::clone(&throttle),
        }
        .start()?;
        Ok(Self {
            groups: Some(to_thread),
            synced,
            thread: Some(thread),
            keep,
            kept: Some(kept),
            archiving: Some(archiving),
            closing,
            turns,
            archive_turns,
            throttle,
        })
    }

    /// Hands over what a tick produced. Waits only while 64 groups are waiting already.
    pub fn submit(&self, group: SyncGroup) {
        // A thread that stopped has said why; there is nobody left to write for.
        let _ = self.groups.as_ref().expect("the handle was not closed").send(group);
    }

    /// Says that a start will need nothing below a height: the newest two snapshots are at or above it. Sealed segments are
    /// compressed, and bodies below it may be given up, if there are more than the session may have.
    pub fn keep_from(&self, height: Height) {
        self.keep.fetch_max(height.0, Ordering::Relaxed);
        // A full channel wakes it as well, and it reads the latest height then.
        let _ = self.kept.as_ref().expect("the handle was not closed").try_send(());
    }

    /// What the thread says; a closed channel means that it is gone.
    pub fn synced(&self) -> &Receiver<Synced> {
        &self.synced
    }

    /// How often the thread has turned: at least every [`HEARTBEAT`], unless a write or sync takes longer.
    pub fn turns(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.turns)
    }

    /// How often the thread has turned that looks after sealed segments.
    pub fn archive_turns(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.archive_turns)
    }

    /// What may be held back of that thread's work.
    pub fn throttle(&self) -> Arc<ArchiveThrottle> {
        Arc::clone(&self.throttle)
    }

    /// Writes what waits, seals the files, and gives the session back.
    pub fn close(mut self) -> Session {
        // Before anything is waited for: a closed channel is what ends the thread.
        self.groups = None;
        self.end_archiving();
        self.thread.take().expect("closed once").join().expect("the storage thread reports errors, it does not panic")
    }
}

/// The thread that looks after sealed segments.
struct Archiving {
    archive: Archive,
    keep: Arc<AtomicU64>,
    closing: Arc<AtomicBool>,
    turns: Arc<AtomicU64>,
    throttle: Arc<ArchiveThrottle>,
}

impl Archiving {
    fn start(self) -> Result<(Sender<()>, JoinHandle<()>), OpenError> {
        let (kept, woken) = bounded(1);
        let thread = std::thread::Builder::new().name("archive".into()).spawn(move || self.run(&woken));
        Ok((kept, thread.map_err(OpenError::io(std::path::Path::new("archive thread")))?))
    }

    /// Looks at segments whenever it is woken, and when bodies are to go early from now on, until nobody can wake it any more.
    fn run(&self, woken: &Receiver<()>) {
        let (mut was_early, mut kept) = (false, Height::GENESIS);
        loop {
            self.turn();
            let heard = woken.recv_timeout(HEARTBEAT);
            let early = self.throttle.retires_early();
            match heard {
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) if was_early || !early => {}
                Ok(()) | Err(RecvTimeoutError::Timeout) => {
                    let keep = Height(self.keep.load(Ordering::Relaxed));
                    // Bodies below the height before are gone by now: a start that needs them again would not get them.
                    assert!(keep >= kept, "what a start needs only moves up");
                    kept = keep;
                    self.archive.turn(keep, early, &|| self.rest());
                }
            }
            was_early = early;
        }
    }

    fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Rests behind a chunk, for as long as it is to now. Says whether to go on: whoever closes waits no longer than a heartbeat.
    fn rest(&self) -> bool {
        let began = Instant::now();
        loop {
            self.turn();
            let left = self.throttle.rest().saturating_sub(began.elapsed());
            if self.closing.load(Ordering::Relaxed) {
                return false;
            }
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(HEARTBEAT));
        }
    }
}

impl Storage {
    fn end_archiving(&mut self) {
        // It is waited for with nothing else: were the other thread not told to end before, both would be waited for in turn.
        assert!(self.groups.is_none(), "the thread that writes was told to end before one is waited for");
        self.closing.store(true, Ordering::Relaxed);
        self.kept = None;
        if let Some(thread) = self.archiving.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Storage {
    fn drop(&mut self) {
        self.groups = None;
        self.end_archiving();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Drives a disk in the time of the wall, until nobody hands anything over any more.
fn drive(mut disk: Disk, groups: &Receiver<SyncGroup>, synced: &Sender<Synced>, turns: &AtomicU64) -> Session {
    let began = Instant::now();
    let mut written = None;
    loop {
        turns.fetch_add(1, Ordering::Relaxed);
        let heard = match disk.due() {
            None => groups.recv_timeout(HEARTBEAT),
            Some(due) if disk.has_room() => groups.recv_timeout(due.saturating_sub(began.elapsed())),
            // What is in the channel stays there: whoever hands over more waits then, and so nothing grows.
            Some(due) => {
                std::thread::sleep(due.saturating_sub(began.elapsed()));
                Err(RecvTimeoutError::Timeout)
            }
        };
        match heard {
            Ok(group) => disk.submit(group),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        while disk.has_room()
            && let Ok(group) = groups.try_recv()
        {
            disk.submit(group);
        }
        while let Some(said) = disk.poll(began.elapsed()) {
            if let Synced::UpTo(group) = &said {
                assert!(Some(*group) > written, "ticks are said to be on disk in the order in which they came");
                written = Some(*group);
            }
            let failed = matches!(said, Synced::Failed(_));
            // Whoever listens may have gone; what was asked for is on disk all the same.
            let _ = synced.send(said);
            if failed {
                return disk.close();
            }
        }
    }
    // Whoever handed it over waits for it no longer, but took it for recorded.
    assert!(groups.is_empty(), "what was handed over is written before the session is given back");
    // Nobody may be listening any more, and the channel full: to wait for room would be to wait for ever.
    disk.finish().into_iter().for_each(|said| _ = synced.try_send(said));
    disk.close()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::Writing;
    use crate::journal::{Frame, FrameKind, JournalReader, Retention};

    fn open(session: Session, writing: Writing) -> Result<Storage, OpenError> {
        Storage::of(Disk::open(session, writing)?.disk)
    }

    fn frames(session: &Session) -> Vec<Frame> {
        let mut reader = JournalReader::of(session, Height::GENESIS).expect("a session");
        std::iter::from_fn(|| reader.next_frame().expect("whole")).collect()
    }

    #[test]
    fn a_full_segment_is_sealed_and_the_next_goes_on() {
        // A segment with one mark, and one with several.
        sealed_segments(16 << 10, 3_000);
        sealed_segments(300 << 10, 20_000);
    }

    #[test]
    fn bodies_below_the_last_height_that_was_told_go_before_a_session_is_closed() {
        let retention = Some(Retention { bytes_max: 1, retire: |body| Ok(body[..4].to_vec()) });
        let writing = Writing { segment_bytes: 16 << 10, retention, ..Writing::default() };
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let storage = open(Session::create(&path, b"{}").expect("new"), writing).expect("empty");
        for id in 1..=60 {
            let frame = Frame { kind: FrameKind::Decided, height: Height(id), body: vec![7; 3_000] };
            storage.submit(SyncGroup { id, frames: vec![frame], ..SyncGroup::default() });
            assert_eq!(storage.synced().recv(), Ok(Synced::UpTo(id)));
            storage.keep_from(Height(id));
        }
        drop(storage.close());
        let mut files: Vec<_> = std::fs::read_dir(path.join("journal")).expect("a folder").collect();
        files.retain(|file| file.as_ref().expect("a file").path().extension() != Some("head".as_ref()));
        assert_eq!(files.len(), 1, "all but the segment that is being written: {files:?}");
    }

    /// The files of a session's journal with an ending.
    fn count(dir: &Path, ending: &str) -> usize {
        let files = std::fs::read_dir(dir.join("journal")).expect("a folder").map(|file| file.expect("a file").path());
        files.filter(|path| path.extension() == Some(ending.as_ref())).count()
    }

    #[test]
    fn where_the_disk_is_short_bodies_go_beyond_half_of_what_the_journal_may_have_and_no_more() {
        let retention = Some(Retention { bytes_max: 4 << 20, retire: |body| Ok(body[..4].to_vec()) });
        let writing = Writing { segment_bytes: 64 << 10, retention, ..Writing::default() };
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let storage = open(Session::create(&path, b"{}").expect("new"), writing).expect("empty");
        // Bytes that no compression makes fewer.
        let mut word = 1_u64;
        let mut noise = || {
            word = word.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (word >> 56) as u8
        };
        for id in 1..=60 {
            let frame =
                Frame { kind: FrameKind::Decided, height: Height(id), body: (0..60_000).map(|_| noise()).collect() };
            storage.submit(SyncGroup { id, frames: vec![frame], ..SyncGroup::default() });
            assert_eq!(storage.synced().recv(), Ok(Synced::UpTo(id)));
        }
        storage.keep_from(Height(60));
        let until = Instant::now() + std::time::Duration::from_secs(60);
        let await_heads = |enough: &dyn Fn(usize) -> bool| {
            while !enough(count(&path, "head")) {
                assert!(Instant::now() < until, "{} segments gave up their bodies", count(&path, "head"));
                std::thread::sleep(HEARTBEAT / 10);
            }
        };
        let turns = storage.archive_turns();
        let turned = turns.load(Ordering::Relaxed);
        while turns.load(Ordering::Relaxed) < turned + 3 {
            std::thread::sleep(HEARTBEAT / 10);
        }
        assert_eq!(count(&path, "head"), 0, "all of it is less than it may have");
        storage.throttle().retire_early(true);
        await_heads(&|heads| heads > 0);
        storage.throttle().retire_early(false);
        drop(storage.close());
        let whole: u64 = std::fs::read_dir(path.join("journal"))
            .expect("a folder")
            .map(|file| file.expect("a file"))
            .filter(|file| file.path().extension() != Some("head".as_ref()))
            .map(|file| file.metadata().expect("a file").len())
            .sum();
        assert!((1 << 20..=2 << 20).contains(&whole), "half of what it may have is left: {whole}");
    }

    #[test]
    fn a_slowed_compression_ends_with_its_session() {
        let writing = Writing { segment_bytes: 16 << 10, ..Writing::default() };
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let storage = open(Session::create(&path, b"{}").expect("new"), writing).expect("empty");
        storage.throttle().slow(u64::MAX);
        for id in 1..=20 {
            let frame = Frame { kind: FrameKind::Decided, height: Height(id), body: vec![7; 3_000] };
            storage.submit(SyncGroup { id, frames: vec![frame], ..SyncGroup::default() });
            assert_eq!(storage.synced().recv(), Ok(Synced::UpTo(id)));
        }
        let segments = count(&path, "seg");
        storage.keep_from(Height(20));
        let turns = storage.archive_turns();
        let turned = turns.load(Ordering::Relaxed);
        while turns.load(Ordering::Relaxed) < turned + 3 {
            std::thread::sleep(HEARTBEAT / 10);
        }
        assert_eq!(count(&path, "seg"), segments, "it rests behind its first chunk, and moves all the same");
        storage.throttle().slow(1);
        let until = Instant::now() + std::time::Duration::from_secs(60);
        while count(&path, "seg") == segments {
            assert!(Instant::now() < until, "it goes on once it may");
            std::thread::sleep(HEARTBEAT / 10);
        }
        storage.throttle().slow(u64::MAX);
        drop(storage.close());
    }

    fn sealed_segments(segment_bytes: u64, body_bytes: u64) {
        let small = || Writing { segment_bytes, ..Writing::default() };
        let body =
            |id: u64| (0..body_bytes).map(|at| ((at ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("s");
        let mut storage = open(Session::create(&path, b"{}").expect("new"), small()).expect("empty");
        let mut model = Vec::new();
        for id in 1..=60 {
            let frame = Frame { kind: FrameKind::Decided, height: Height(id), body: body(id) };
            model.push(frame.clone());
            storage.submit(SyncGroup { id, frames: vec![frame], ..SyncGroup::default() });
            assert_eq!(storage.synced().recv(), Ok(Synced::UpTo(id)));
            if id == 20 {
                let session = storage.close();
                assert_eq!(frames(&session), model);
                storage = open(session, small()).expect("a whole session");
            }
        }
        let session = storage.close();
        let segments = std::fs::read_dir(path.join("journal")).expect("a folder").count();
        assert!(segments >= 3, "{segments} segments");
        assert_eq!(frames(&session), model);
        drop(open(session, small()).expect("a whole session"));

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
        let error = open(session, small()).err().expect("damage").to_string();
        assert!(error.contains("journal/00000002.seg"), "{error}");
    }
}
