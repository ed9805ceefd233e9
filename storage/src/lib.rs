//! Frames to and from the disk: the journal, the consensus log, and what syncs them.
//!
//! ```text
//!  tick -> SyncGroup (frames, log entries) -> Disk: append, one sync for all that waits -> Synced    (a thread drives it)
//!  session directory -> JournalReader -> frames in order, or the place where they are damaged
//!  all of it on a backend: files, memory, or a disk that fails as a test says
//! ```
//! This crate knows no rule of craps or of order: bodies and entries are bytes. Formats: docs/formats/journal.md.
// `bitcraps::cli::out` alone writes to standard output and standard error: a reader that has gone must end nothing.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod session;
mod throttle;
mod thread;
mod disk;
mod journal;
mod log;
mod log_group;
pub mod snapshot;
mod arrival;
mod refused;
mod file;
pub mod backend;

use engine::limits::CHECK_PROBLEMS_MAX;

pub use arrival::Arrival;
pub use disk::{Disk, DiskOpened, SyncGroup, Synced, Writing};
pub use journal::{
    Compressor, End, Frame, FrameKind, JournalCheck, JournalReader, Past, PastReader, Retention, Retirer, Tail,
    check_journal,
};
pub use log::{LogCheck, LogFound, LogGroup, check_log};
pub use refused::{check_writable, left_by_root};
pub use session::{OpenError, Session, genesis_bytes, genesis_bytes_on, is_written, read_genesis, read_genesis_on};
pub use thread::Storage;
pub use throttle::ArchiveThrottle;

/// Bytes of a block: groups start at its multiples, and a block that was synced is never written again.
pub const BLOCK: u64 = 4096;

// A disk writes a block as one piece or as several sectors, never across two: what was synced is not touched again.
const _: () = assert!(BLOCK.is_power_of_two());
const _: () = assert!(BLOCK.is_multiple_of(512));

/// The smallest multiple of the block that is not below `offset`.
pub(crate) const fn align_up(offset: u64) -> u64 {
    offset.div_ceil(BLOCK) * BLOCK
}

/// What kind of fault stored bytes have. It decides what may be done about them; the words are for people.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DamageKind {
    /// The bytes are not those that were written. At the end of what was written they may be an unfinished group, which is
    /// cut when the session goes on.
    Bytes,
    /// The bytes are of a version that this program does not read. They are never cut: another program reads them.
    Version,
}

/// What is wrong with some bytes; [`Damage`] says where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// Its kind.
    pub kind: DamageKind,
    /// What is wrong, in words.
    pub text: String,
}

impl Problem {
    /// `what` has `found` for its version, which this program does not read.
    pub(crate) fn version(what: &str, found: impl std::fmt::Display, read: u32) -> Self {
        Self {
            kind: DamageKind::Version,
            text: format!("{what} has version {found}, this program reads version {read}"),
        }
    }
}

impl From<String> for Problem {
    fn from(text: String) -> Self {
        Self { kind: DamageKind::Bytes, text }
    }
}

impl From<&str> for Problem {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

/// What is wrong with stored bytes, and where.
#[derive(thiserror::Error, Clone, PartialEq, Eq, Debug)]
#[error("{file} is damaged at byte {offset}: {problem}")]
pub struct Damage {
    /// The file, relative to the session.
    pub file: String,
    /// The offset in it.
    pub offset: u64,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is damaged, as far as it is told.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Damages {
    /// The first places, in order.
    pub told: Vec<Damage>,
    /// Damaged places beside those.
    pub more: u64,
}

impl Damages {
    /// Takes note of a place. One of some bytes must not cost more than those: somebody may have made a file of nothing else.
    pub(crate) fn add(&mut self, damage: Damage) {
        if self.told.len() < CHECK_PROBLEMS_MAX {
            self.told.push(damage);
        } else {
            self.more += 1;
        }
    }

    /// Forgets what does not count, from some place of a file on.
    pub(crate) fn retain(&mut self, counts: impl Fn(&Damage) -> bool) {
        let before = self.told.len();
        self.told.retain(counts);
        // They come in the order of their places: behind one that does not count, none does.
        if self.told.len() < before {
            self.more = 0;
        }
    }

    /// Takes those of another file.
    pub(crate) fn append(&mut self, other: Self) {
        other.told.into_iter().for_each(|damage| self.add(damage));
        self.more += other.more;
    }

    /// Whether nothing is damaged.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }
}

impl Damage {
    /// A problem at a place.
    pub(crate) fn new(file: impl Into<String>, offset: u64, problem: impl Into<Problem>) -> Self {
        Self { file: file.into(), offset, problem: problem.into() }
    }
}
