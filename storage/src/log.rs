//! The consensus log: what the order of blocks must hear again after a restart.
//!
//! Groups are all or nothing under one checksum, padded to whole blocks. A file holds the entries of some heights; a new
//! one begins when it is large, and the old one goes once every height in it was decided and synced in an earlier group.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::Height;
use engine::bytes::Reader;
use engine::limits::{LOG_FILE_BYTES_MAX, SEARCH_LENGTHS};

use crate::backend::{Backend, is_full, is_no_file};
use crate::file::GroupFile;
use crate::log_group::{HEADER, LogGroupRow, MAGIC, decode, encode};
use crate::refused::named;
use crate::session::{OpenError, Session, name, numbered};

pub use crate::log_group::LogGroup;
use crate::{BLOCK, Damage, DamageKind, Problem, align_up};

/// What an existing log turned out to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogFound {
    /// There is none.
    Missing,
    /// It cannot be read.
    Damaged(Damage),
    /// All its entries, in logged order.
    Entries {
        /// The entries.
        entries: Vec<(Height, Vec<u8>)>,
        /// The highest height that it says was synced in the journal.
        synced: Height,
        /// The fence of its last group.
        fence: Height,
    },
}

/// The end of the log, where groups are appended.
pub struct LogWriter {
    backend: Arc<dyn Backend>,
    folder: PathBuf,
    number: u32,
    file: Option<GroupFile>,
    /// Older files, with the highest height in each.
    old: Vec<(PathBuf, Height)>,
    highest: Height,
    file_bytes: u64,
    /// Whether there may be a file behind the last one which was not begun as a whole.
    begun: bool,
    buffer: Vec<u8>,
    /// Where the file ended before the group that is not on disk yet, and the height that it says was synced.
    synced: Option<(u64, Height)>,
}

/// Reads a file's groups; where they end, and what is wrong there if anything is.
fn read(bytes: &[u8]) -> (Vec<LogGroup>, u64, Option<Problem>) {
    let (mut groups, mut at) = (Vec::new(), 0);
    loop {
        let rest = &bytes[at..];
        if rest.iter().take(BLOCK as usize).all(|byte| *byte == 0) {
            let dirt = rest.iter().any(|byte| *byte != 0);
            return (groups, at as u64, dirt.then(|| "zeros ahead are not zero".into()));
        }
        match decode(rest) {
            Err(problem) => return (groups, at as u64, Some(problem)),
            Ok((group, length)) => {
                assert!(length <= rest.len(), "a group that was read lies in the file");
                let end = (align_up(length as u64) as usize).min(rest.len());
                if rest[length..end].iter().any(|byte| *byte != 0) {
                    return (groups, at as u64, Some("padding is not zero".into()));
                }
                groups.push(group);
                at += end;
            }
        }
    }
}

/// What a consensus log came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct LogCheck {
    /// Files.
    pub files: u64,
    /// Entries that can be read.
    pub entries: u64,
    /// The highest height of an entry.
    pub highest: Height,
    /// The highest height that it says was synced in the journal.
    pub synced: Height,
    /// Everything that is damaged.
    pub damages: Vec<Damage>,
    /// What follows the last group, if it is one that was never completed.
    pub torn: Option<Damage>,
}

/// Reads every byte of a session's consensus log.
///
/// # Errors
/// If the system refuses. Damage is no error, it is what is looked for.
pub fn check_log(backend: &Arc<dyn Backend>, dir: &Path) -> Result<LogCheck, OpenError> {
    let files = numbered(&**backend, &dir.join("consensus"), "log")?;
    let mut check = LogCheck { files: files.len() as u64, ..LogCheck::default() };
    for (place, (number, path)) in files.iter().enumerate() {
        let bytes = match backend.read(path, LOG_FILE_BYTES_MAX) {
            // Nothing of it can be read; what comes after it can.
            Err(error) if is_no_file(&error) => {
                let file = format!("consensus/{}", name(*number, "log"));
                check.damages.push(Damage::new(file, 0, error.to_string()));
                continue;
            }
            bytes => bytes.map_err(OpenError::io(path))?,
        };
        let mut from = 0;
        loop {
            let (groups, end, problem) = read(&bytes[from..]);
            for group in &groups {
                check.synced = check.synced.max(group.synced);
                check.entries += group.entries.len() as u64;
                check.highest = group.entries.iter().map(|(height, _)| *height).fold(check.highest, Height::max);
            }
            let Some(problem) = problem else { break };
            let at = from + end as usize;
            let newer = problem.kind == DamageKind::Version;
            let damage = Damage::new(format!("consensus/{}", name(*number, "log")), at as u64, problem);
            match search(&bytes, at as u64) {
                Search::Group(place) => {
                    assert!(place > at, "a search goes on behind the bad place, and so it ends");
                    check.damages.push(damage);
                    from = place;
                }
                // Only the last file can have a group that was never completed, and a newer program's group was
                // completed by it.
                Search::Nothing if place + 1 == files.len() && !newer => {
                    check.torn = Some(damage);
                    break;
                }
                Search::Nothing | Search::TooLong => {
                    check.damages.push(damage);
                    break;
                }
            }
        }
    }
    Ok(check)
}

/// What follows a bad place.
#[derive(PartialEq, Eq)]
enum Search {
    /// A whole group, and where it begins.
    Group(usize),
    /// Nothing whole.
    Nothing,
    /// So much that looks like groups that it was not all looked at.
    TooLong,
}

/// Looks for a whole group behind a bad place.
fn search(bytes: &[u8], at: u64) -> Search {
    let mut left = SEARCH_LENGTHS as usize * bytes.len();
    for place in (align_up(at + 1) as usize..bytes.len()).step_by(BLOCK as usize) {
        let rest = &bytes[place..];
        let Ok(row) = Reader::new("group", rest).row::<LogGroupRow>() else { continue };
        if row.magic != MAGIC {
            continue;
        }
        left = left.saturating_sub(HEADER + (row.payload as usize).min(rest.len()));
        if left == 0 {
            return Search::TooLong;
        }
        if decode(rest).is_ok() {
            return Search::Group(place);
        }
    }
    Search::Nothing
}

impl LogWriter {
    /// Opens the log of a session: what it holds, and the place to go on. A torn last group is cut. A folder that is absent is made
    /// again: it is a log that is missing, with all that follows from that, and whoever signs again needs a place to write it.
    ///
    /// # Errors
    /// If the system refuses, or a group is of another version, before anything is written. A damaged log is not an error: it is a
    /// finding, and a new one begins beside it.
    pub fn open(session: &Session, file_bytes: u64) -> Result<(LogFound, Self), OpenError> {
        let folder = session.dir().join("consensus");
        let backend = session.backend().clone();
        if backend.list(&folder).is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let made = backend.create_dir(&folder).and_then(|()| backend.sync_dir(session.dir()));
            made.map_err(OpenError::io(&folder))?;
        }
        let files = numbered(&*backend, &folder, "log")?;
        let mut writer = Self {
            backend: backend.clone(),
            folder,
            number: 0,
            file: None,
            old: Vec::new(),
            highest: Height::GENESIS,
            file_bytes,
            begun: false,
            buffer: Vec::new(),
            synced: None,
        };
        let (mut all, mut synced, mut fence, mut damage) = (Vec::new(), Height::GENESIS, Height::GENESIS, None);
        for (index, (number, path)) in files.iter().enumerate() {
            let bytes = backend.read(path, LOG_FILE_BYTES_MAX).map_err(OpenError::io(path))?;
            let (groups, end, problem) = read(&bytes);
            let last = index + 1 == files.len();
            // Nothing of it is lost: the program that wrote it knows what was signed. One begun beside it would have it removed.
            if let Some(problem) = problem.clone().filter(|problem| problem.kind == DamageKind::Version) {
                return Err(Damage::new(format!("consensus/{}", name(*number, "log")), end, problem).into());
            }
            // After a file was damaged, a fence moves only where its validator signs again: what came before counts no more.
            if damage.is_some() && groups.iter().any(|group| group.fence > fence) {
                (damage, all) = (None, Vec::new());
            }
            if let Some(problem) = problem.filter(|_| !last || search(&bytes, end) != Search::Nothing) {
                let file = format!("consensus/{}", name(*number, "log"));
                damage.get_or_insert(Damage::new(file, end, problem));
            }
            synced = groups.iter().map(|group| group.synced).fold(synced, Height::max);
            fence = groups.iter().map(|group| group.fence).fold(fence, Height::max);
            all.extend(groups.into_iter().flat_map(|group| group.entries));
            let highest = all.iter().map(|(height, _)| *height).max().unwrap_or_default();
            writer.number = *number;
            writer.highest = highest;
            // Nothing is appended to what is damaged: another file begins behind it.
            if last && damage.is_none() {
                writer.file = Some(GroupFile::reopen(&*backend, path, end, file_bytes).map_err(OpenError::io(path))?);
            } else {
                writer.old.push((path.clone(), highest));
            }
        }
        let found = match damage {
            Some(damage) => LogFound::Damaged(damage),
            None if files.is_empty() => LogFound::Missing,
            None => LogFound::Entries { entries: all, synced, fence },
        };
        // A group behind one that is damaged would be found by nobody.
        assert_eq!(writer.file.is_some(), matches!(found, LogFound::Entries { .. }), "only what is whole goes on");
        Ok((found, writer))
    }

    /// Appends a group. It is on disk after [`LogWriter::sync`].
    ///
    /// # Errors
    /// What the system says. If there was no room, the group may be appended again after [`LogWriter::rewind`]; after
    /// any other error nothing may be appended.
    pub fn append(&mut self, group: &LogGroup) -> io::Result<()> {
        assert!(self.synced.is_none(), "a group is synced before the next is appended");
        if self.file.as_ref().is_none_or(|file| file.end() >= self.file_bytes) {
            if let Some(full) = &mut self.file {
                full.seal()?;
                self.file = None;
                self.old.push((self.folder.join(name(self.number, "log")), self.highest));
            }
            self.next_file()?;
        }
        self.highest = group.entries.iter().map(|(height, _)| *height).fold(self.highest, Height::max);
        self.buffer.clear();
        encode(group, &mut self.buffer);
        let file = self.file.as_mut().expect("a file was begun");
        assert!(self.buffer.len() >= HEADER, "a group without entries has a header too");
        let end = file.end() + align_up(self.buffer.len() as u64);
        assert!(end <= LOG_FILE_BYTES_MAX, "a file is no longer than its readers read");
        self.synced = Some((file.end(), group.synced));
        file.append(&mut self.buffer)?;
        assert_eq!(file.end(), end, "the next group begins behind this one");
        Ok(())
    }

    fn next_file(&mut self) -> io::Result<()> {
        assert!(self.file.is_none(), "a file is sealed before the next one begins");
        let path = self.folder.join(name(self.number + 1, "log"));
        // It would be removed with the first group that shows its heights to be decided, while entries go into it.
        assert!(self.old.iter().all(|(old, _)| *old != path), "a file that is to go is not written");
        if self.begun {
            // The last attempt found no room; what it left is made again.
            self.backend.remove(&path).or_else(|error| match error.kind() {
                io::ErrorKind::NotFound => Ok(()),
                _ => Err(named(&path, "removed")(error)),
            })?;
        }
        self.begun = true;
        let file = GroupFile::create(&*self.backend, &path, self.file_bytes)?;
        self.backend.sync_dir(&self.folder).map_err(named(&self.folder, "synced"))?;
        self.begun = false;
        self.file = Some(file);
        self.number += 1;
        Ok(())
    }

    /// Forgets the group that did not reach the disk for want of room.
    pub fn rewind(&mut self) {
        assert!(self.synced.is_none() || self.file.is_some(), "a group that waits for its sync has a file");
        if let (Some(file), Some((end, _))) = (&mut self.file, self.synced.take()) {
            file.rewind(end);
        }
    }

    /// Waits until all groups are on disk.
    ///
    /// # Errors
    /// What the system says; as for [`LogWriter::append`].
    pub fn sync(&mut self) -> io::Result<()> {
        let (Some(file), Some((_, decided))) = (&self.file, self.synced) else { return Ok(()) };
        // Where it fails the group stays marked: whoever finds room again rewinds to where it began.
        file.sync()?;
        self.synced = None;
        // What this group shows to be superfluous goes, and not before it is on disk.
        while let Some((path, _)) = self.old.first().filter(|(_, highest)| *highest <= decided).cloned() {
            match self.backend.remove(&path) {
                // Some file systems need room even for that: it goes another time, for the group is on disk.
                Err(error) if is_full(&error) => break,
                removed => removed.map_err(named(&path, "removed"))?,
            }
            self.old.remove(0);
        }
        Ok(())
    }

    /// Cuts the zeros ahead of the data.
    ///
    /// # Errors
    /// What the system says.
    pub fn seal(&mut self) -> io::Result<()> {
        assert!(self.synced.is_none(), "a file is sealed behind what is on disk");
        self.file.as_mut().map_or(Ok(()), GroupFile::seal)
    }
}
