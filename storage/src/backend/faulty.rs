//! A disk that fails as a seed says, for tests.
//!
//! ```text
//!  write  -> now, and one more pending change      power off -> every pending change survives or not, piece by piece,
//!  sync   -> the file's pending changes are safe                in any order; names that no directory sync made safe too
//! ```
//! It tears writes at 512 and 4096 bytes, reorders and drops what was not synced, forgets names, lets syncs take time, fails
//! any operation with any error, has as much room as it is given, and says of writes that they are done which are lost, or
//! went elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::memory::{lock, read, write};
use super::{Access, Backend, Handle};
use crate::BLOCK;

/// What befalls an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The power goes in its middle; nothing works afterwards.
    PowerOff,
    /// It fails with this error: of a write only a part is done, and a sync may have lost what it was to save.
    Fail(io::ErrorKind),
    /// The next write is said to be done, and is not.
    Lose,
    /// The next write is said to be done, and went to another block of its file.
    Misdirect,
}

impl Fault {
    /// Whether it befalls writes alone: where another operation comes first, it waits.
    fn is_of_writes(self) -> bool {
        matches!(self, Self::Lose | Self::Misdirect)
    }
}

/// In which pieces a write survives the loss of power.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sector {
    /// 512 bytes.
    Small,
    /// 4096 bytes.
    Block,
    /// The whole write.
    Whole,
}

/// A disk that fails as a seed says. Clones are the same disk.
#[derive(Clone)]
pub struct FaultyBackend {
    disk: Arc<Mutex<Disk>>,
}

#[derive(Default)]
struct Disk {
    random: u64,
    operations: u64,
    faults: BTreeMap<u64, Fault>,
    /// Operations that failed, or found no room.
    failed: u64,
    /// Whether some write is not where it was said to be.
    harmed: bool,
    off: bool,
    room: Option<u64>,
    delay: Duration,
    dirs: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, usize>,
    /// The names that a directory sync made safe.
    safe: BTreeMap<PathBuf, usize>,
    files: Vec<File>,
    locks: BTreeSet<PathBuf>,
}

#[derive(Clone, Default)]
struct File {
    now: Vec<u8>,
    safe: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    match change {
        Change::Write(at, written) => write(bytes, written, *at),
        Change::Length(length) => bytes.resize(usize::try_from(*length).expect("test files are small"), 0),
    }
}

fn broken() -> io::Error {
    io::Error::other("the power is off")
}

impl Disk {
    /// SplitMix64: the same seed is the same disk.
    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (bits ^ (bits >> 31)) % below.max(1)
    }

    /// Counts an operation that changes something, and says what befalls it.
    fn next(&mut self, is_write: bool) -> io::Result<Option<Fault>> {
        if self.off {
            return Err(broken());
        }
        // Counted also where it fails: a test that repeats a run finds each operation under its number again.
        self.operations += 1;
        let mut fault = self.faults.get(&self.operations).copied();
        if let Some(waits) = fault.filter(|fault| !is_write && fault.is_of_writes()) {
            self.faults.entry(self.operations + 1).or_insert(waits);
            fault = None;
        }
        assert!(is_write || !fault.is_some_and(Fault::is_of_writes), "only a write is lost or goes elsewhere");
        self.off |= fault == Some(Fault::PowerOff);
        self.failed += u64::from(matches!(fault, Some(Fault::Fail(_))));
        Ok(fault)
    }

    /// An operation that is done or not: with the power going, a coin decides.
    fn all_or_nothing(&mut self, act: impl FnOnce(&mut Self)) -> io::Result<()> {
        match self.next(false)? {
            Some(Fault::Fail(kind)) => Err(kind.into()),
            Some(Fault::PowerOff) => {
                if self.random(2) == 0 {
                    act(self);
                }
                Err(broken())
            }
            Some(Fault::Lose | Fault::Misdirect) | None => {
                act(self);
                Ok(())
            }
        }
    }

    fn used(&self) -> u64 {
        let files = self.names.values().map(|index| &self.files[*index]);
        files.map(|file| file.now.len() as u64).sum()
    }

    fn change(&mut self, index: usize, change: Change) {
        // A file's bytes stay when its name goes: whoever has it open still writes it.
        assert!(index < self.files.len(), "a handle is of a file of this disk");
        apply(&mut self.files[index].now, &change);
        self.files[index].pending.push(change);
    }

    fn write(&mut self, index: usize, bytes: &[u8], at: u64) -> io::Result<()> {
        let fault = self.next(true)?;
        let part = |disk: &mut Self| disk.random(bytes.len() as u64 + 1) as usize;
        match fault {
            Some(Fault::Lose) => {
                self.harmed = true;
                Ok(())
            }
            Some(Fault::Misdirect) => {
                self.harmed = true;
                // One of the file's blocks or the one behind it.
                let blocks = self.files[index].now.len() as u64 / BLOCK + 1;
                let block = (at / BLOCK + 1 + self.random(blocks)) % (blocks + 1);
                assert!(block <= blocks, "it lands in the file, or right behind it");
                self.change(index, Change::Write(block * BLOCK + at % BLOCK, bytes.to_vec()));
                Ok(())
            }
            Some(fault) => {
                let done = part(self);
                self.change(index, Change::Write(at, bytes[..done].to_vec()));
                Err(if let Fault::Fail(kind) = fault { kind.into() } else { broken() })
            }
            None => {
                let grows = (at + bytes.len() as u64).saturating_sub(self.files[index].now.len() as u64);
                if self.room.is_some_and(|room| self.used() + grows > room) {
                    self.failed += 1;
                    let done = part(self).saturating_sub(grows as usize);
                    self.change(index, Change::Write(at, bytes[..done].to_vec()));
                    return Err(io::ErrorKind::StorageFull.into());
                }
                self.change(index, Change::Write(at, bytes.to_vec()));
                let fits = grows == 0 || self.room.is_none_or(|room| self.used() <= room);
                assert!(fits, "a file grows only where there is room");
                Ok(())
            }
        }
    }

    fn sync(&mut self, index: usize) -> io::Result<()> {
        let fault = self.next(false)?;
        match fault {
            Some(Fault::PowerOff) => Err(broken()),
            Some(Fault::Fail(kind)) => {
                // The system forgets that these pages were not written: a later sync does not save them.
                let pending = std::mem::take(&mut self.files[index].pending);
                self.files[index].pending = pending.into_iter().filter(|_| self.random(2) == 0).collect();
                Err(kind.into())
            }
            Some(Fault::Lose | Fault::Misdirect) | None => {
                let File { safe, pending, .. } = &mut self.files[index];
                pending.drain(..).for_each(|change| apply(safe, &change));
                Ok(())
            }
        }
    }

    /// What is left of a file's content when the power has gone.
    fn survives(&mut self, file: &File) -> Vec<u8> {
        let sector = [Sector::Small, Sector::Block, Sector::Whole][self.random(3) as usize];
        let sixteenths = [0, 2, 8, 14, 16][self.random(5) as usize];
        // Some disks keep the order; then a prefix survives.
        let prefix = (self.random(3) == 0).then(|| self.random(file.pending.len() as u64 + 1) as usize);
        let mut bytes = file.safe.clone();
        for (index, change) in file.pending.iter().enumerate() {
            if prefix.is_some_and(|prefix| index > prefix) {
                break;
            }
            let kept = prefix.is_some_and(|prefix| index < prefix);
            match change {
                Change::Write(at, written) => {
                    let piece = match sector {
                        Sector::Small => 512,
                        Sector::Block => 4_096,
                        Sector::Whole => u64::MAX,
                    };
                    let mut from = 0;
                    while from < written.len() {
                        let next = (at + from as u64)
                            .checked_div(piece)
                            .map_or(u64::MAX, |index| index.saturating_add(1).saturating_mul(piece));
                        let to = usize::try_from(next - at).unwrap_or(usize::MAX).min(written.len());
                        assert!(to > from, "a piece has bytes, and so the last one is reached");
                        if kept || self.random(16) < sixteenths {
                            write(&mut bytes, &written[from..to], at + from as u64);
                        }
                        from = to;
                    }
                }
                Change::Length(_) if kept || self.random(16) < sixteenths => apply(&mut bytes, change),
                Change::Length(_) => {}
            }
        }
        bytes
    }
}

impl FaultyBackend {
    /// An empty disk without faults, yet.
    pub fn new(seed: u64) -> Self {
        Self { disk: Arc::new(Mutex::new(Disk { random: seed, ..Disk::default() })) }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }

    /// Operations so far that change something: creations, writes, new lengths, removals, syncs.
    pub fn operations(&self) -> u64 {
        self.disk().operations
    }

    /// Operations so far that failed as planned, or found no room.
    pub fn failures(&self) -> u64 {
        self.disk().failed
    }

    /// What befalls the operation with this number.
    pub fn plan(&self, operation: u64, fault: Fault) {
        self.disk().faults.insert(operation, fault);
    }

    /// What was planned and has not come does not come any more. Says whether there was something.
    pub fn forget_faults(&self) -> bool {
        let mut disk = self.disk();
        let next = disk.operations + 1;
        let ahead = disk.faults.range(next..).next().is_some();
        disk.faults.clear();
        ahead
    }

    /// Bytes that all files together may have; `None` is no bound.
    pub fn set_room(&self, room: Option<u64>) {
        self.disk().room = room;
    }

    /// Bytes that all files have.
    pub fn used(&self) -> u64 {
        self.disk().used()
    }

    /// How long a sync takes, at most, in the time of whoever has it synced: nothing here waits.
    pub fn set_delay(&self, delay: Duration) {
        self.disk().delay = delay;
    }

    /// Whether some write is not where it was said to be.
    pub fn is_harmed(&self) -> bool {
        self.disk().harmed
    }

    /// Whether the power is off.
    pub fn is_off(&self) -> bool {
        self.disk().off
    }

    /// The power goes, if it has not gone, and comes again: a disk with what survived. Handles of before are dead.
    pub fn restart(&self) -> Self {
        let mut old = self.disk();
        old.off = true;
        let mut new = Disk { dirs: old.dirs.clone(), delay: old.delay, harmed: old.harmed, ..Disk::default() };
        let names: BTreeSet<PathBuf> = old.safe.keys().chain(old.names.keys()).cloned().collect();
        for path in names {
            let (safe, now) = (old.safe.get(&path).copied(), old.names.get(&path).copied());
            let index = if safe == now || old.random(2) == 0 { safe } else { now };
            let Some(index) = index else { continue };
            let file = old.files[index].clone();
            let bytes = old.survives(&file);
            new.names.insert(path.clone(), new.files.len());
            new.safe.insert(path, new.files.len());
            new.files.push(File { now: bytes.clone(), safe: bytes, ..File::default() });
        }
        assert_eq!(new.names, new.safe, "what came through a loss of power stays");
        assert_eq!(new.files.len(), new.names.len(), "no two names are one file");
        new.random = old.random(u64::MAX);
        Self { disk: Arc::new(Mutex::new(new)) }
    }

    /// A copy of the disk as it is now, with nothing left to lose.
    pub fn copy(&self) -> Self {
        let old = self.disk();
        let mut new = Disk { random: old.random, dirs: old.dirs.clone(), harmed: old.harmed, ..Disk::default() };
        // What was removed is gone.
        for (path, index) in &old.names {
            let now = &old.files[*index].now;
            new.names.insert(path.clone(), new.files.len());
            new.safe.insert(path.clone(), new.files.len());
            new.files.push(File { now: now.clone(), safe: now.clone(), pending: Vec::new() });
        }
        assert_eq!(new.files.len(), new.names.len(), "no two names are one file");
        Self { disk: Arc::new(Mutex::new(new)) }
    }
}

impl Backend for FaultyBackend {
    fn create(&self, path: &Path) -> io::Result<Box<dyn Handle>> {
        let mut disk = self.disk();
        if disk.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if path.parent().is_none_or(|dir| !disk.dirs.contains(dir)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let index = disk.files.len();
        disk.files.push(File::default());
        disk.all_or_nothing(|disk| _ = disk.names.insert(path.to_owned(), index))?;
        Ok(Box::new(Open { disk: self.clone(), index, access: Access::Write }))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn Handle>> {
        let disk = self.disk();
        if disk.off {
            return Err(broken());
        }
        let index = *disk.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(Open { disk: self.clone(), index, access }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let disk = self.disk();
        if !disk.dirs.contains(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = |path: &&PathBuf| path.parent() == Some(dir);
        let mut paths: Vec<_> = disk.names.keys().chain(&disk.dirs).filter(inside).cloned().collect();
        paths.sort_unstable();
        Ok(paths)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.disk().all_or_nothing(|disk| disk.dirs.extend(path.ancestors().map(Path::to_owned)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        if !disk.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.all_or_nothing(|disk| _ = disk.names.remove(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let path = path.to_owned();
        self.disk().all_or_nothing(|disk| {
            let inside = |name: &PathBuf| name.parent() == Some(&path);
            disk.safe.retain(|name, _| !inside(name));
            disk.safe.extend(disk.names.iter().filter(|(name, _)| inside(name)).map(|(name, at)| (name.clone(), *at)));
        })
    }

    fn sync_takes(&self) -> Duration {
        let mut disk = self.disk();
        let micros = u64::try_from(disk.delay.as_micros()).unwrap_or(u64::MAX);
        // Without a delay nothing is drawn: such a disk is the same as one that never had any.
        Duration::from_micros(if micros > 0 { disk.random(micros) } else { 0 })
    }

    fn free_bytes(&self, _path: &Path) -> io::Result<u64> {
        let disk = self.disk();
        Ok(disk.room.map_or(u64::MAX, |room| room.saturating_sub(disk.used())))
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        if !self.disk().locks.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(Guard { disk: self.clone(), path: path.to_owned() }))
    }
}

struct Guard {
    disk: FaultyBackend,
    path: PathBuf,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.disk.disk().locks.remove(&self.path);
    }
}

struct Open {
    disk: FaultyBackend,
    index: usize,
    access: Access,
}

impl Open {
    fn writable(&self) -> io::Result<MutexGuard<'_, Disk>> {
        if self.access == Access::Read {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(self.disk.disk())
    }
}

impl Handle for Open {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.disk().files[self.index].now.len() as u64)
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> io::Result<usize> {
        let disk = self.disk.disk();
        if disk.off {
            return Err(broken());
        }
        Ok(read(&disk.files[self.index].now, buf, at))
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.writable()?.write(self.index, buf, at)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let index = self.index;
        self.writable()?.all_or_nothing(|disk| disk.change(index, Change::Length(len)))
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.disk().sync(self.index)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}
