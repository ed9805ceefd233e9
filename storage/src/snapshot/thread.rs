//! What a start finds of snapshots, and what keeps them: a thread, or whoever hands over, in steps.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use engine::image::GroupBlock;
use engine::limits::{HEARTBEAT, PACK_BYTES, SNAPSHOT_BLOCKS_MAX, SNAPSHOT_INDEX_CACHE_BYTES};
use engine::{Hash, Height};

use super::catalog::Catalog;
use super::database::IndexError;
use super::index::{Change, Index, read_index};
use super::keeper::{Keeper, SnapshotDone};
use super::ranges::{ActivityRow, Coverage, RangeSource, are_too_many};
use super::record::SnapshotInfo;
use super::stored::StoredSnapshot;
use crate::Damage;
use crate::backend::Backend;
use crate::session::{OpenError, Session, numbered};

/// The snapshots of a session that this process may write.
pub struct SnapshotsFound {
    backend: Arc<dyn Backend>,
    dir: PathBuf,
    chain: Hash,
    index: Index,
    catalog: Catalog,
    ranges: Option<Box<dyn RangeSource>>,
    /// What was wrong and was put right, in words.
    pub repaired: Option<String>,
}

enum Task {
    Begin { moment: SnapshotInfo, note: Vec<u8>, groups: usize, changed: usize, foreign: bool },
    Block(GroupBlock),
    Finish,
    GiveUp,
}

/// What has become of what was handed over.
pub enum KeeperEvent {
    /// The groups of a block are copied: it can be filled again.
    Block(GroupBlock),
    /// The snapshot is on disk.
    Done(SnapshotDone),
    /// It came to nothing, and nothing of it is left. The next one may succeed.
    Failed(String),
}

/// What keeps a session's snapshots.
pub struct Snapshots {
    keeping: Keeping,
    kept: Receiver<KeeperEvent>,
    turns: Arc<AtomicU64>,
}

enum Keeping {
    /// Beside the tick.
    Thread { tasks: Option<Sender<Task>>, thread: Option<JoinHandle<()>> },
    /// Whatever is handed over is done before the call returns.
    Stepped { steps: RefCell<Steps>, say: Sender<KeeperEvent> },
}

/// What the packs of a session hold, for a process that only reads: from the index, or where that cannot be read from the
/// packs themselves.
///
/// # Errors
/// If a later program wrote it, or the packs cannot be read.
pub fn read_catalog(backend: &Arc<dyn Backend>, dir: &Path, chain: &Hash) -> Result<Catalog, OpenError> {
    let path = dir.join("snapshots/index.redb");
    if backend.is_file_system() && path.exists() {
        match read_index(&path, chain) {
            Ok(catalog) => return Ok(catalog),
            Err(IndexError::Newer { found }) => return Err(OpenError::Index(IndexError::Newer { found })),
            Err(_) => {}
        }
    }
    Ok(Catalog::from_packs(backend, dir, chain)?.0)
}

impl SnapshotsFound {
    /// Opens the snapshots of a session. An index that is missing or damaged is made again from the packs; `repairing`
    /// hears how far redb's own repair is, from 0 to 1.
    ///
    /// # Errors
    /// If a later program wrote the index, or the system refuses.
    pub fn open(session: &Session, repairing: impl Fn(f64) + Clone + 'static) -> Result<Self, OpenError> {
        let (backend, dir, chain) = (session.backend().clone(), session.dir().to_owned(), session.chain());
        let folder = dir.join("snapshots");
        if backend.list(&folder).is_err() {
            backend.create_dir(&folder).map_err(OpenError::io(&folder))?;
            backend.sync_dir(&dir).map_err(OpenError::io(&dir))?;
        }
        let path = folder.join("index.redb");
        let open = |repairing| Index::open(&backend, &path, &chain, SNAPSHOT_INDEX_CACHE_BYTES, repairing);
        let first = open(repairing.clone()).and_then(|index| index.catalog().map(|catalog| (index, catalog)));
        let mut repaired = None;
        let (index, mut catalog) = match first {
            Ok(opened) => opened,
            Err(error @ (IndexError::Newer { .. } | IndexError::TooLong(_) | IndexError::Refused(_))) => {
                return Err(OpenError::Index(error));
            }
            Err(IndexError::Damaged(problem)) => {
                repaired =
                    Some(format!("snapshots/index.redb is damaged ({problem}) and was made again from the packs"));
                backend.remove(&path).map_err(OpenError::io(&path))?;
                (open(repairing).map_err(OpenError::Index)?, Catalog::default())
            }
        };
        let packs = !numbered(&*backend, &folder, "pack")?.is_empty();
        if catalog.is_empty() && packs {
            let (found, damages) = Catalog::from_packs(&backend, &dir, &chain)?;
            let change = Change {
                groups: found.groups.iter().map(|(name, place)| (*name, *place)).collect(),
                snapshots: found.snapshots.iter().map(|(height, (place, time))| (*height, *place, *time)).collect(),
                end: found.end,
                ..Change::default()
            };
            index.write(&change).map_err(OpenError::Index)?;
            if !found.is_empty() && repaired.is_none() {
                repaired = Some("snapshots/index.redb was missing and was made again from the packs".into());
            }
            if let (Some(damage), Some(repaired)) = (damages.told.first(), &mut repaired) {
                repaired.push_str(&format!("; {damage}"));
            }
            catalog = found;
        }
        Ok(Self { backend, dir, chain, index, catalog, ranges: None, repaired })
    }

    /// Keeps the index of history too, with every snapshot.
    pub fn with_ranges(self, source: impl RangeSource + 'static) -> Self {
        Self { ranges: Some(Box::new(source)), ..self }
    }

    /// Writes rows of the index of history that were made again, which tell of the heights `added`, beside those that are there.
    /// Where they are too many nothing is written, and it says so.
    ///
    /// # Errors
    /// If the index cannot be written.
    pub fn add_ranges(&self, rows: Vec<ActivityRow>, added: Coverage) -> Result<bool, OpenError> {
        if are_too_many(&rows) {
            return Ok(false);
        }
        let change = Change { ranges: Some((rows, added)), ..Change::default() };
        self.index.write(&change).map(|()| true).map_err(OpenError::Index)
    }

    /// The newest stretch of heights that the index of history tells of.
    pub fn newest_told(&self) -> Option<Coverage> {
        self.index.newest_told()
    }

    /// The snapshots, the newest first.
    pub fn newest_first(&self) -> Vec<SnapshotInfo> {
        newest_first(&self.catalog)
    }

    /// Opens one of them.
    ///
    /// # Errors
    /// Where it is damaged.
    pub fn snapshot(&self, height: Height) -> Result<StoredSnapshot, Damage> {
        StoredSnapshot::open(&self.backend, &self.dir, &self.catalog, height)
    }

    /// Starts the thread that keeps them. The next snapshot changes the one that was loaded; those above it could not be
    /// loaded and go.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn start(self, loaded: Option<Height>) -> Result<Snapshots, OpenError> {
        self.start_with(loaded, PACK_BYTES)
    }

    /// Rewrites packs without what is dead in them, and gives the index's free pages back. Every snapshot stays.
    ///
    /// # Errors
    /// What failed, in words. Nothing is lost then.
    pub fn compact(self) -> Result<(), String> {
        let Self { backend, dir, chain, index, catalog, .. } = self;
        let newest = catalog.snapshots.keys().next_back().copied();
        let keeper = Keeper::new(backend, dir.join("snapshots"), chain, index, catalog, newest, PACK_BYTES, None);
        keeper.map_err(|error| error.to_string())?.compact_all()
    }

    /// [`SnapshotsFound::start`] with packs of another size.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn start_with(self, loaded: Option<Height>, pack_bytes: u64) -> Result<Snapshots, OpenError> {
        // As many as there are blocks, and what stands between two snapshots: the tick never waits here.
        let (to_thread, tasks) = bounded(2 * SNAPSHOT_BLOCKS_MAX);
        let (from_thread, kept) = bounded(2 * SNAPSHOT_BLOCKS_MAX);
        let turns: Arc<AtomicU64> = Arc::default();
        let own_turns = Arc::clone(&turns);
        let thread = std::thread::Builder::new()
            .name("snapshots".into())
            .spawn(move || {
                lower_priority();
                run(&mut self.steps(loaded, pack_bytes), &tasks, &from_thread, &own_turns);
            })
            .map_err(OpenError::io(Path::new("snapshot thread")))?;
        Ok(Snapshots { keeping: Keeping::Thread { tasks: Some(to_thread), thread: Some(thread) }, kept, turns })
    }

    /// [`SnapshotsFound::start`] without a thread: each task is done where it is handed over, so that what happens to the
    /// disk follows from what was handed over and when.
    pub fn start_stepped(self, loaded: Option<Height>) -> Snapshots {
        // Whoever hands over hears afterwards.
        let (say, kept) = unbounded();
        let keeping = Keeping::Stepped { steps: RefCell::new(self.steps(loaded, PACK_BYTES)), say };
        Snapshots { keeping, kept, turns: Arc::default() }
    }

    fn steps(self, loaded: Option<Height>, pack_bytes: u64) -> Steps {
        let Self { backend, dir, chain, index, catalog, ranges, .. } = self;
        let folder = dir.join("snapshots");
        let keeper = Keeper::new(backend, folder, chain, index, catalog, loaded, pack_bytes, ranges);
        Steps { keeper: keeper.map_err(|error| error.to_string()), said: Vec::new() }
    }
}

/// The snapshots of a catalog, the newest first.
pub fn newest_first(catalog: &Catalog) -> Vec<SnapshotInfo> {
    let info = |(height, (_, time_ms)): (&Height, &(super::pack::PackOffset, u64))| SnapshotInfo {
        height: *height,
        time_ms: *time_ms,
    };
    catalog.snapshots.iter().rev().map(info).collect()
}

/// The tick comes first: this thread takes what processor time is left.
#[cfg(target_os = "linux")]
fn lower_priority() {
    // Where the system does not allow it, it is as it was.
    let _ = rustix::process::setpriority_process(Some(rustix::thread::gettid()), 10);
}

#[cfg(not(target_os = "linux"))]
fn lower_priority() {}

/// A keeper and what it has to say.
struct Steps {
    /// The keeper, or why nothing can be kept any more.
    keeper: Result<Keeper, String>,
    said: Vec<KeeperEvent>,
}

impl Steps {
    fn step(&mut self, task: Task) {
        // Told late, a block would be missing to the tick that has it filled next.
        assert!(self.said.is_empty(), "what became of one task is told before the next one is done");
        // The index failed while the keeper was made, and nothing was under way then: unless it is opened again first, what
        // begins now would go with it, and nobody would hear.
        if matches!(task, Task::Begin { .. }) && self.keeper.as_ref().is_ok_and(Keeper::is_lost) {
            self.restore(None);
        }
        let keeper = match &mut self.keeper {
            Ok(keeper) => keeper,
            Err(problem) => return self.said.extend(refuse(problem, task)),
        };
        let result = match task {
            Task::Begin { moment, note, groups, changed, foreign } => {
                keeper.begin(moment, note, groups, changed, foreign)
            }
            Task::Block(block) => {
                let result = keeper.take(&block).map_err(|error| error.to_string());
                // It goes back whatever became of it: the tick has no other blocks to fill.
                self.said.push(KeeperEvent::Block(block));
                result
            }
            // That it came to nothing was said when it did.
            Task::Finish if !keeper.is_taking() => Ok(()),
            Task::Finish => keeper.finish().map(|taken| {
                self.said.push(KeeperEvent::Done(taken));
                // The snapshot is on disk and was said to be: that packs stay larger than they could be takes nothing of it.
                if let Err(problem) = keeper.compact() {
                    tracing::warn!("packs of snapshots stay as they are: {problem}");
                }
            }),
            Task::GiveUp => keeper.give_up().map_err(|error| error.to_string()),
        };
        let problem = result.err();
        if problem.is_some() || keeper.is_lost() {
            self.restore(problem);
        }
    }

    /// Something came to nothing: what was under way, if a snapshot was, or else a rewritten pack. The next one may succeed.
    fn restore(&mut self, problem: Option<String>) {
        let lost = Err("nothing is kept any more".to_owned());
        self.keeper = std::mem::replace(&mut self.keeper, lost).and_then(Keeper::restored);
        if let Some(problem) = problem {
            self.said.push(KeeperEvent::Failed(self.keeper.as_ref().err().unwrap_or(&problem).clone()));
        }
    }
}

/// Nothing can be kept any more: blocks go back, and every snapshot fails.
fn refuse(problem: &str, task: Task) -> Option<KeeperEvent> {
    match task {
        Task::Block(block) => Some(KeeperEvent::Block(block)),
        Task::Begin { .. } => Some(KeeperEvent::Failed(problem.to_owned())),
        Task::Finish | Task::GiveUp => None,
    }
}

fn run(steps: &mut Steps, tasks: &Receiver<Task>, kept: &Sender<KeeperEvent>, turns: &AtomicU64) {
    if let Err(problem) = &steps.keeper {
        steps.said.push(KeeperEvent::Failed(problem.clone()));
    }
    loop {
        // Whoever listens may have gone; the snapshot is kept all the same.
        steps.said.drain(..).for_each(|what| _ = kept.send(what));
        turns.fetch_add(1, Ordering::Relaxed);
        match tasks.recv_timeout(HEARTBEAT) {
            Ok(task) => steps.step(task),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

impl Snapshots {
    fn send(&self, task: Task) {
        match &self.keeping {
            // A thread that is gone says so by its closed channel.
            Keeping::Thread { tasks, .. } => _ = tasks.as_ref().expect("the handle was not closed").send(task),
            Keeping::Stepped { steps, say } => {
                let mut steps = steps.borrow_mut();
                steps.step(task);
                steps.said.drain(..).for_each(|what| _ = say.send(what));
            }
        }
    }

    /// How often the thread has turned, at least every [`HEARTBEAT`] unless it is at something; nothing where there is none.
    pub fn turns(&self) -> Option<Arc<AtomicU64>> {
        matches!(self.keeping, Keeping::Thread { .. }).then(|| Arc::clone(&self.turns))
    }

    /// Begins a snapshot of an image with `groups` groups, of which `changed` are going to come.
    pub fn begin(&self, info: SnapshotInfo, note: Vec<u8>, groups: usize, changed: usize) {
        self.send(Task::Begin { moment: info, note, groups, changed, foreign: false });
    }

    /// Begins a snapshot that another node gives: all of its groups are going to come.
    pub fn begin_foreign(&self, info: SnapshotInfo, note: Vec<u8>, groups: usize) {
        self.send(Task::Begin { moment: info, note, groups, changed: groups, foreign: true });
    }

    /// Hands over a block; it comes back.
    pub fn put(&self, block: GroupBlock) {
        self.send(Task::Block(block));
    }

    /// All blocks were handed over, and the journal has the snapshot's height on disk.
    pub fn finish(&self) {
        self.send(Task::Finish);
    }

    /// Gives up the snapshot that is under way.
    pub fn give_up(&self) {
        self.send(Task::GiveUp);
    }

    /// What has become of what was handed over.
    pub fn kept(&self) -> &Receiver<KeeperEvent> {
        &self.kept
    }

    /// Waits until everything handed over is done.
    pub fn close(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // The thread may be waiting for somebody to hear it.
        let (_, nobody) = bounded(0);
        self.kept = nobody;
        let Keeping::Thread { tasks, thread } = &mut self.keeping else { return };
        *tasks = None;
        if let Some(thread) = thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Snapshots {
    fn drop(&mut self) {
        self.end();
    }
}
