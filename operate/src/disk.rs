//! The disk of a session: what its files take, what is free beside them, and how fast they grow.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the sizes of a session's files are added up.
const SIZES_EVERY: Duration = Duration::from_secs(10);
/// Over which time it is said how fast those files grow.
const GROWS_OVER: Duration = Duration::from_secs(5 * 60);
/// That time once they have come to the bound of the journal: what is filled from then on is given up again a while later, and only
/// what is left after hours of it is growth.
const GROWS_OVER_AT_BOUND: Duration = Duration::from_secs(6 * 3_600);
/// Sizes that are kept.
const SIZES_MAX: usize = (GROWS_OVER_AT_BOUND.as_secs() / SIZES_EVERY.as_secs()) as usize + 2;

const _: () = assert!(GROWS_OVER.as_secs() < GROWS_OVER_AT_BOUND.as_secs());

/// What is known of the disk at a moment.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct DiskReading {
    /// Bytes of the session's files.
    pub session_bytes: Option<u64>,
    /// Bytes a second by which they grow; less than 0 where they shrink.
    pub session_growth: Option<f64>,
    /// Bytes that are free where they lie.
    pub free_bytes: Option<u64>,
}

/// Looks at the disk of a session.
pub(crate) struct DiskWatch {
    data: PathBuf,
    /// Bytes that its journal may have; 0 for no bound.
    journal_bytes_max: u64,
    /// Since when the session has at least as many.
    at_bound: Option<Instant>,
    /// What the files took, the newest last.
    sizes: VecDeque<(Instant, u64)>,
    free: fn(&Path) -> Option<u64>,
    now: DiskReading,
}

impl DiskWatch {
    /// Looks at a session's disk for the first time.
    pub(crate) fn new(data: PathBuf, journal_bytes_max: u64) -> Self {
        let (sizes, now) = (VecDeque::new(), DiskReading::default());
        let mut watch = Self { data, journal_bytes_max, at_bound: None, sizes, free: free_bytes, now };
        watch.look(Instant::now());
        watch
    }

    /// Asks the system, which may take as long as the disk does: where that hangs, for ever.
    pub(crate) fn look(&mut self, at: Instant) {
        if self.sizes.back().is_none_or(|(taken, _)| at - *taken >= SIZES_EVERY) {
            self.note(at, bytes_below(&self.data));
        }
        self.now.free_bytes = (self.free)(&self.data);
    }

    /// What was found last; nobody is asked.
    pub(crate) fn now(&self) -> DiskReading {
        self.now
    }

    fn note(&mut self, at: Instant, bytes: u64) {
        if self.sizes.len() == SIZES_MAX {
            self.sizes.pop_front();
        }
        self.sizes.push_back((at, bytes));
        if self.journal_bytes_max > 0 && bytes >= self.journal_bytes_max {
            self.at_bound.get_or_insert(at);
        }
        (self.now.session_bytes, self.now.session_growth) = (Some(bytes), self.growth());
    }

    /// Bytes a second by which the files grow; nothing where they were not watched for long enough to say.
    fn growth(&self) -> Option<f64> {
        let (to, bytes) = *self.sizes.back()?;
        let over = if self.at_bound.is_some() { GROWS_OVER_AT_BOUND } else { GROWS_OVER };
        let since = to.checked_sub(over)?;
        let later = self.sizes.partition_point(|(at, _)| *at <= since);
        let (from, before) = self.sizes[later.saturating_sub(1)];
        // At its bound, a part of the time says what files grow by, but not whether they come back; and what filled them up to there
        // says nothing of what comes after.
        if self.at_bound.is_some_and(|at_bound| later == 0 || from < at_bound) {
            return None;
        }
        let seconds = (to - from).as_secs_f64();
        (seconds > 0.0).then(|| (bytes as f64 - before as f64) / seconds)
    }
}

#[cfg(test)]
impl DiskWatch {
    /// From now on, whoever asks the disk waits.
    pub(crate) fn hang(&mut self) {
        self.free = |_| {
            loop {
                std::thread::park();
            }
        };
    }
}

/// Bytes that files below a folder take on the disk. What cannot be read, or has just gone, counts nothing.
fn bytes_below(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path()),
        Ok(metadata) => metadata.blocks() * 512,
        Err(_) => 0,
    });
    sizes.sum()
}

/// The nearest folder that is there.
pub(crate) fn existing(path: &Path) -> PathBuf {
    let near = path.ancestors().find(|folder| !folder.as_os_str().is_empty() && folder.is_dir());
    near.map_or_else(|| ".".into(), Path::to_owned)
}

/// What is free on the disk of a folder.
pub(crate) fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How fast a session grows whose size is known every ten seconds for so many seconds.
    fn growth(bound: u64, seconds: u64, bytes: impl Fn(u64) -> u64) -> Option<f64> {
        let dir = tempfile::tempdir().expect("a directory");
        let mut watch = DiskWatch::new(dir.path().to_owned(), bound);
        watch.sizes.clear();
        let began = Instant::now();
        (0..=seconds).step_by(10).for_each(|second| watch.note(began + Duration::from_secs(second), bytes(second)));
        assert!(watch.sizes.len() <= SIZES_MAX);
        watch.now().session_growth
    }

    #[test]
    fn a_session_below_its_bound_grows_as_in_the_last_minutes() {
        assert_eq!(growth(0, 0, |_| 7), None, "one size says nothing");
        assert_eq!(growth(0, 60, |second| 5 * second), Some(5.0));
        assert_eq!(growth(1 << 20, 900, |second| 10_000 + second.saturating_sub(600)), Some(1.0), "of five minutes");
        assert_eq!(growth(0, 900, |second| 10_000 - second), Some(-1.0));
    }

    /// A ring that is full fills a segment and gives one up again: over minutes it grows, and over hours it does not.
    #[test]
    fn a_session_at_its_bound_grows_by_what_is_left_after_hours() {
        let hours = |hours: u64| 3_600 * hours;
        let ring = |second: u64| 1_000_000 + second % 1_200 * 50;
        assert_eq!(growth(0, hours(7) + 900, ring), Some(50.0), "of a session without a bound that would be growth");
        assert_eq!(growth(1_000_000, hours(7) + 900, ring), Some(0.0), "18 times round is no growth");
        let leak = |second: u64| ring(second) + 3 * second;
        assert_eq!(growth(1_000_000, hours(7) + 900, leak), Some(3.0), "what no bound gives up");
        assert_eq!(growth(1_000_000, hours(5), leak), None, "that is not known before it was watched for long enough");
        // What fills up to the bound goes round from there on.
        let fills = |second: u64| ring(second).min(50 * second);
        assert_eq!(growth(1_000_000, hours(5), |second| 50 * second), Some(50.0), "below its bound, for 5.5 hours");
        assert_eq!(growth(1_000_000, hours(6), fills), None, "just come to it");
        assert_eq!(growth(1_000_000, hours(13), fills), Some(0.0), "and for more than six hours at it");
    }
}
