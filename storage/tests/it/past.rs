//! Reading the past of a session beside whoever writes it: a part at a time, and no more than is asked for.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use engine::limits::SEGMENT_WINDOW_BYTES;
use engine::{Genesis, Height};
use storage::backend::{Access, Backend, Handle, MemoryBackend};
use storage::{
    Compressor, Disk, Frame, FrameKind, JournalReader, PastReader, Retention, Retirer, Session, SyncGroup, Synced,
    Tail, Writing,
};

const DIR: &str = "/s";
/// Bytes of a block: noise, which no compression makes smaller.
const BODY: usize = 96 << 10;
const HEIGHTS: u64 = 240;

/// Files in memory, how many bytes of them were read, all together and at once, and how often a file was opened and a folder listed.
#[derive(Clone, Default)]
struct Counted {
    inner: MemoryBackend,
    read: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    opens: Arc<AtomicUsize>,
    lists: Arc<AtomicUsize>,
}

struct CountedHandle {
    inner: Box<dyn Handle>,
    of: Counted,
}

impl Counted {
    fn handle(&self, inner: Box<dyn Handle>) -> Box<dyn Handle> {
        Box::new(CountedHandle { inner, of: self.clone() })
    }

    /// Bytes that were read since this was asked last.
    fn take_read(&self) -> usize {
        self.read.swap(0, Ordering::Relaxed)
    }

    /// How often a file was opened since this was asked last, and a folder listed.
    fn take_looks(&self) -> (usize, usize) {
        (self.opens.swap(0, Ordering::Relaxed), self.lists.swap(0, Ordering::Relaxed))
    }
}

impl Handle for CountedHandle {
    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let count = self.inner.read_at(buf, at)?;
        self.of.read.fetch_add(count, Ordering::Relaxed);
        self.of.most.fetch_max(count, Ordering::Relaxed);
        Ok(count)
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.inner.write_all_at(buf, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.inner.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.inner.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.inner.sync_all()
    }
}

impl Backend for Counted {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        self.inner.create(path).map(|inner| self.handle(inner))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn Handle>> {
        self.opens.fetch_add(1, Ordering::Relaxed);
        self.inner.open(path, access).map(|inner| self.handle(inner))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        self.lists.fetch_add(1, Ordering::Relaxed);
        self.inner.list(dir)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_dir(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.inner.free_bytes(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.inner.lock(path)
    }
}

fn body(height: u64) -> Vec<u8> {
    noise(height, BODY)
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn group(height: u64) -> SyncGroup {
    let frame = |kind, body| Frame { kind, height: Height(height), body };
    let frames = vec![frame(FrameKind::Decided, body(height)), frame(FrameKind::Settled, vec![height as u8; 200])];
    SyncGroup { id: height, frames, ..SyncGroup::default() }
}

/// A session of three windows in one segment that is being written, or in several that are sealed; and who reads its past.
fn written(backend: &Counted, segment_bytes: u64) -> (Disk, PastReader) {
    let session = Session::create_on(Arc::new(backend.clone()), Path::new(DIR), b"{}").expect("a session");
    let past = PastReader::of(&session);
    let writing = Writing { segment_bytes, ..Writing::default() };
    let mut disk = Disk::open(session, writing).expect("it starts").disk;
    write(&mut disk, 1..=HEIGHTS);
    (disk, past)
}

fn write(disk: &mut Disk, heights: std::ops::RangeInclusive<u64>) {
    for height in heights {
        disk.submit(group(height));
        assert_eq!(disk.poll(std::time::Duration::MAX), Some(Synced::UpTo(height)));
    }
}

/// Asks for some heights and looks at what comes.
fn ask(past: &mut PastReader, from: u64, count: usize, last: u64) {
    let found = past.read(Height(from), count, Height(last), usize::MAX).expect("sound");
    let expected = count.min((last + 1).saturating_sub(from) as usize);
    assert_eq!(found.len(), expected, "{count} heights from {from}");
    for (height, found) in (from..).zip(&found) {
        assert_eq!((found.height, &found.decided), (Height(height), &body(height)));
        assert_eq!(found.settled.as_deref(), Some(&[height as u8; 200][..]));
    }
}

#[test]
fn a_reader_holds_a_part_of_a_segment_and_finds_every_frame() {
    for segment_bytes in [1 << 30, 9 << 20] {
        let backend = Counted::default();
        let (disk, _) = written(&backend, segment_bytes);
        let compressor = Compressor::new(Arc::new(backend.clone()), Path::new(DIR));
        for is_compressed in [false, true] {
            if is_compressed {
                compressor.compress_sealed(&|| true).expect("there is room");
            }
            backend.most.store(0, Ordering::Relaxed);
            let mut reader =
                JournalReader::open_on(Arc::new(backend.clone()), Path::new(DIR), Height::GENESIS).expect("a session");
            let mut frames = Vec::new();
            while let Some(frame) = reader.next_frame().expect("sound") {
                frames.push(frame);
            }
            assert!(frames.into_iter().eq((1..=HEIGHTS).flat_map(|height| group(height).frames)));
            assert_eq!(reader.end().expect("read to the end").tail, Tail::Clean);
            let most = backend.most.load(Ordering::Relaxed);
            // A sealed segment that is not compressed is mapped where there is a system to do it.
            assert!(most <= SEGMENT_WINDOW_BYTES || (segment_bytes < 1 << 30 && !is_compressed), "{most}");
        }
        drop(disk);
    }
}

#[test]
fn a_segment_that_is_cut_below_the_place_of_its_reader_ends_there() {
    let backend = Counted::default();
    let (_disk, _) = written(&backend, 1 << 30);
    let mut reader =
        JournalReader::open_on(Arc::new(backend.clone()), Path::new(DIR), Height::GENESIS).expect("a session");
    let heights = (SEGMENT_WINDOW_BYTES / BODY) as u64 + 5;
    for _ in 1..=heights {
        reader.next_frame().expect("sound").expect("a frame for each height");
        reader.next_frame().expect("sound").expect("what each height led to");
    }
    let file = backend.list(Path::new(DIR).join("journal").as_path()).expect("a folder").remove(0);
    backend.open(&file, Access::Write).expect("a file").set_len(64 << 10).expect("cut");
    // What is in memory is read still.
    let mut more = 0;
    while reader.next_frame().is_ok_and(|frame| frame.is_some()) {
        more += 1;
    }
    assert!(more > 0 && heights + more / 2 < HEIGHTS, "{more}");
}

#[test]
fn a_segment_gives_up_its_bodies_with_a_part_of_it_in_memory() {
    for is_compressed in [false, true] {
        let backend = Counted::default();
        let (_disk, mut past) = written(&backend, 9 << 20);
        if is_compressed {
            let compressor = Compressor::new(Arc::new(backend.clone()), Path::new(DIR));
            compressor.compress_sealed(&|| true).expect("there is room");
        }
        let retention = Retention { bytes_max: 0, retire: |body| Ok(body[..8].to_vec()) };
        let retirer = Retirer::new(Arc::new(backend.clone()), Path::new(DIR), Genesis::chain_id(b"{}"), retention);
        backend.most.store(0, Ordering::Relaxed);
        let retired = retirer.retire(Height(HEIGHTS), false).expect("sound");
        assert_eq!(retired, [1, 2], "all but the last, which is being written");
        let most = backend.most.load(Ordering::Relaxed);
        assert!(most <= SEGMENT_WINDOW_BYTES, "{most}");
        let mut reader = JournalReader::open_on(Arc::new(backend), Path::new(DIR), Height::GENESIS).expect("a session");
        let mut heads = 0;
        for height in 1..=HEIGHTS {
            let decided = reader.next_frame().expect("sound").expect("a frame for each height");
            let is_head = decided.kind == FrameKind::Retired;
            heads += u64::from(is_head);
            let expected = if is_head { body(height)[..8].to_vec() } else { body(height) };
            assert_eq!((decided.height, decided.body), (Height(height), expected));
            let settled = reader.next_frame().expect("sound").expect("what each height led to");
            assert_eq!((settled.kind, settled.height), (FrameKind::Settled, Height(height)));
        }
        assert!(heads > 2 * (SEGMENT_WINDOW_BYTES / BODY) as u64, "{heads}: more than a window of each");
        ask(&mut past, HEIGHTS - 3, 4, HEIGHTS);
    }
}

#[test]
fn of_what_was_given_up_only_the_last_index_is_read() {
    let backend = Counted::default();
    let (_disk, _past) = written(&backend, 2 << 20);
    let given_up = HEIGHTS - 60;
    // What stays is not small here, so that it would be seen if it were read.
    let retention = Retention { bytes_max: 0, retire: |body| Ok(body[..BODY / 2].to_vec()) };
    let retirer = Retirer::new(Arc::new(backend.clone()), Path::new(DIR), Genesis::chain_id(b"{}"), retention);
    assert!(retirer.retire(Height(given_up), false).expect("sound").len() > 5);
    backend.take_read();
    let mut reader = JournalReader::open_whole(Arc::new(backend.clone()), Path::new(DIR)).expect("a session");
    let last = reader.decided();
    assert!(last.0 > given_up - 30 && last.0 < given_up, "height {last} was the last to go");
    let first = reader.next_frame().expect("sound").expect("a whole block");
    assert_eq!((first.kind, first.height, first.body), (FrameKind::Decided, last.next(), body(last.0 + 1)));
    // The index lies in the last chunk of its file, which is decompressed for it; and a segment is taken up whole here.
    let read = backend.take_read();
    assert!(read < 6 << 20, "{read} bytes");
    let rest = std::iter::from_fn(|| reader.next_frame().expect("sound")).count() as u64;
    assert_eq!(rest, 2 * (HEIGHTS - last.0) - 1, "and all behind it follows");
    // Where nothing was given up it begins with the first segment.
    let backend = Counted::default();
    let _written = written(&backend, 2 << 20);
    let mut reader = JournalReader::open_whole(Arc::new(backend), Path::new(DIR)).expect("a session");
    assert_eq!(reader.decided(), Height::GENESIS);
    assert_eq!(reader.next_frame().expect("sound").map(|frame| frame.height), Some(Height(1)));
}

/// Where little is played, what proves a block is all there is of it, and a sealed segment is mostly the zeros that fill its
/// blocks: what stays must not take more room than that segment did when it was compressed.
#[test]
fn a_quiet_session_that_gives_up_its_bodies_takes_less_room() {
    const QUIET: u64 = 800;
    let backend = MemoryBackend::default();
    let session = Session::create_on(Arc::new(backend.clone()), Path::new(DIR), b"{}").expect("a session");
    let writing = Writing { segment_bytes: 1 << 20, ..Writing::default() };
    let mut disk = Disk::open(session, writing).expect("it starts").disk;
    // Hashes that are the same at each height, and hashes and signatures that are not; a sync for each height.
    let decided = |height: u64| [noise(0, 200), noise(height, 300)].concat();
    for height in 1..=QUIET {
        let frame = |kind, body| Frame { kind, height: Height(height), body };
        let settled = frame(FrameKind::Settled, noise(QUIET + height, 120));
        let frames = vec![frame(FrameKind::Decided, decided(height)), settled];
        disk.submit(SyncGroup { id: height, frames, ..SyncGroup::default() });
        assert_eq!(disk.poll(std::time::Duration::MAX), Some(Synced::UpTo(height)));
    }
    let bytes = || -> u64 {
        let files = backend.list(&Path::new(DIR).join("journal")).expect("a folder");
        files.iter().map(|path| backend.open(path, Access::Read).and_then(|file| file.len()).expect("a file")).sum()
    };
    Compressor::new(Arc::new(backend.clone()), Path::new(DIR)).compress_sealed(&|| true).expect("there is room");
    let compressed = bytes();
    let retention = Retention { bytes_max: 0, retire: |body| Ok(body.to_vec()) };
    let retirer = Retirer::new(Arc::new(backend.clone()), Path::new(DIR), Genesis::chain_id(b"{}"), retention);
    assert_eq!(retirer.retire(Height(QUIET), false).expect("sound"), [1, 2, 3], "all that were sealed");
    let retired = bytes();
    assert!(retired < compressed, "{retired} bytes where {compressed} were");
    let mut reader =
        JournalReader::open_on(Arc::new(backend.clone()), Path::new(DIR), Height(2)).expect("found by its index");
    for height in 2..=QUIET {
        let found = reader.next_frame().expect("sound").expect("a frame for each height");
        assert_eq!((found.height, found.body), (Height(height), decided(height)));
        let settled = reader.next_frame().expect("sound").expect("what each height led to");
        assert_eq!((settled.kind, settled.height), (FrameKind::Settled, Height(height)));
    }
}

#[test]
fn ranges_of_the_last_segment_are_found_without_reading_what_lies_before() {
    let backend = Counted::default();
    let (mut disk, mut past) = written(&backend, 1 << 30);
    backend.take_read();
    // Nobody knows where anything is: all that lies before is read once.
    ask(&mut past, HEIGHTS - 3, 4, HEIGHTS);
    assert!(backend.take_read() > HEIGHTS as usize * BODY / 2);
    // Several who ask in turn, each for what comes next for it: a window is what is read at most, and where it begins.
    let most = SEGMENT_WINDOW_BYTES + (64 << 10);
    for round in 0..10 {
        for from in [1, 100, 200] {
            ask(&mut past, from + 3 * round, 3, HEIGHTS);
            assert!(backend.take_read() <= most);
        }
    }
    write(&mut disk, HEIGHTS + 1..=HEIGHTS + 5);
    backend.take_read();
    ask(&mut past, HEIGHTS - 1, 10, HEIGHTS + 5);
    ask(&mut past, HEIGHTS + 6, 3, HEIGHTS + 5);
    ask(&mut past, HEIGHTS, 3, HEIGHTS + 5);
    assert!(backend.take_read() <= 2 * most);
}

/// Whoever asks for what has gone, or for what was only just written, makes nobody read the last segment from its beginning again.
#[test]
fn an_empty_answer_forgets_nothing_of_the_last_segment() {
    let most = SEGMENT_WINDOW_BYTES + (64 << 10);
    let backend = Counted::default();
    let (mut disk, mut past) = written(&backend, 1 << 30);
    // What another reader has learnt counts also for one that has a place already.
    let mut beside = past.another();
    ask(&mut past, 1, 3, HEIGHTS);
    ask(&mut beside, HEIGHTS - 3, 4, HEIGHTS);
    past.learn(&beside);
    backend.take_read();
    ask(&mut past, HEIGHTS - 1, 1, HEIGHTS);
    assert!(backend.take_read() <= most);
    // Genesis has no block.
    assert_eq!(past.read(Height::GENESIS, 1, Height(HEIGHTS), usize::MAX).expect("sound"), []);
    assert!(backend.take_read() <= most);
    ask(&mut past, HEIGHTS - 1, 2, HEIGHTS);
    assert!(backend.take_read() <= most);
    // In step with whoever writes: each height is asked for when it is there.
    for height in HEIGHTS + 1..=HEIGHTS + 3 {
        write(&mut disk, height..=height);
        backend.take_read();
        ask(&mut past, height, 1, height);
        assert!(backend.take_read() <= most, "height {height}");
    }
    let backend = Counted::default();
    let (_disk, mut past) = written(&backend, 9 << 20);
    let retention = Retention { bytes_max: 0, retire: |body| Ok(body[..8].to_vec()) };
    let retirer = Retirer::new(Arc::new(backend.clone()), Path::new(DIR), Genesis::chain_id(b"{}"), retention);
    retirer.retire(Height(HEIGHTS), false).expect("sound");
    for _ in 0..3 {
        ask(&mut past, HEIGHTS - 2, 2, HEIGHTS);
        backend.take_looks();
        assert_eq!(past.read(Height(1), 1, Height(HEIGHTS), usize::MAX).expect("sound"), []);
        let (_, lists) = backend.take_looks();
        assert_eq!(lists, 0, "what has gone is not looked for twice");
    }
}

/// Each height is a segment: a session of many days has thousands.
#[test]
fn whoever_leaps_among_many_segments_looks_at_few_of_them() {
    let backend = Counted::default();
    let (mut disk, mut past) = written(&backend, (4 << 10) + 1);
    let segments = || backend.list(&Path::new(DIR).join("journal")).expect("a folder").len();
    assert!(segments() as u64 >= HEIGHTS, "{}", segments());
    let looks = |past: &mut PastReader, from, count, last| {
        backend.take_looks();
        ask(past, from, count, last);
        backend.take_looks()
    };
    // Two opens for each index that is looked at, and for each segment that is read: as many as halving the rest takes, twice.
    let most = 2 * (2 * HEIGHTS.ilog2() as usize + 10);
    for is_listed in [true, false] {
        for from in [30, 150, 90, 180, 60, 120, 1, HEIGHTS - 2] {
            if is_listed {
                past = past.another();
            }
            let (opens, lists) = looks(&mut past, from, 2, HEIGHTS);
            assert!(opens <= most, "{opens} files were opened for height {from}, more than {most}");
            assert_eq!(lists > 0, is_listed, "{lists} lists for height {from}");
        }
        // Whoever is level asks for what is newest.
        let (opens, _) = looks(&mut past.another(), HEIGHTS - 1, 1, HEIGHTS);
        assert!(opens <= 20, "{opens} files were opened for the newest height but one");
    }
    // Segments that were begun since are found as well.
    write(&mut disk, HEIGHTS + 1..=HEIGHTS + 5);
    for from in [HEIGHTS + 3, 40, HEIGHTS + 1] {
        ask(&mut past, from, 2, HEIGHTS + 5);
    }
}

/// A start begins at a height, and nodes that catch up ask for others: what is damaged concerns whoever needs it.
#[test]
fn a_damaged_index_hinders_nobody_who_does_not_need_it() {
    let backend = Counted::default();
    let (_disk, mut past) = written(&backend, (4 << 10) + 1);
    let files = backend.list(&Path::new(DIR).join("journal")).expect("a folder");
    assert_eq!(files.len() as u64, HEIGHTS, "each height is a segment");
    let damaged = HEIGHTS - 3;
    let file = backend.open(&files[damaged as usize - 1], Access::Write).expect("a file");
    let end = file.len().expect("a length");
    file.write_all_at(&[0xff; 4 << 10], end - (4 << 10)).expect("in memory");
    for from in 1..=HEIGHTS {
        let opened = JournalReader::open_on(Arc::new(backend.clone()), Path::new(DIR), Height(from));
        // The marks of its own segment are in it, and whether all before the next one is lower.
        let is_needed = from == damaged || from == damaged + 1;
        assert_eq!(opened.is_err(), is_needed, "height {from}");
        if !is_needed {
            ask(&mut past, from, 1, HEIGHTS);
        }
    }
}
