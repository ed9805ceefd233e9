//! What a session holds, without reading it all.

use std::path::Path;
use std::sync::Arc;

use engine::Height;
use engine::message::block::{Decided, Retired};
use serde::Serialize;
use storage::backend::{Backend, FileBackend};
use storage::snapshot::{newest_first, read_catalog};
use storage::{FrameKind, JournalReader, is_written};

use super::{FileKind, is_begun, session_files};
use storage::read_genesis;

/// Milliseconds of a day.
const DAY_MS: f64 = 86_400_000.0;

/// What a session holds.
#[derive(Clone, PartialEq, Default, Debug, Serialize)]
pub struct Stats {
    /// Whether a node is writing it.
    pub live: bool,
    /// The first height whose block is there whole; 0 in an empty session.
    pub first: u64,
    /// The last decided height.
    pub decided: u64,
    /// The last settled height.
    pub settled: u64,
    /// The first height's block time, in milliseconds since the Unix epoch.
    pub first_time_ms: u64,
    /// The last height's block time.
    pub last_time_ms: u64,
    /// Segments of the journal.
    pub segments: u64,
    /// Those of them that are compressed.
    pub compressed: u64,
    /// Segments of which only headers, certificates and beacons stay.
    pub heads: u64,
    /// Frames of whole segments.
    pub frames: u64,
    /// Bytes of the journal on the disk.
    pub journal_bytes: u64,
    /// Bytes of the consensus log on the disk.
    pub log_bytes: u64,
    /// Packs of snapshots.
    pub packs: u64,
    /// Bytes of packs and their index on the disk.
    pub snapshot_bytes: u64,
    /// Snapshots that the packs hold whole.
    pub snapshots: u64,
    /// Distinct groups in the packs.
    pub groups: u64,
    /// The newest snapshot's height.
    pub newest_snapshot: Option<u64>,
    /// Block time that passed since the newest snapshot, in milliseconds.
    pub newest_snapshot_age_ms: Option<u64>,
    /// Bytes of the cache on the disk.
    pub cache_bytes: u64,
    /// Bytes of everything on the disk.
    pub bytes: u64,
    /// Bytes that the disk has left.
    pub free_bytes: u64,
    /// Bytes of journal a day of block time so far.
    pub journal_bytes_per_day: Option<f64>,
    /// Up to how many bytes the record may grow, if that was said.
    pub bytes_max: Option<u64>,
    /// Days until the oldest bodies go, at this rate.
    pub days_to_bytes_max: Option<f64>,
    /// Bytes that a node leaves free: with less it takes the disk for full.
    pub min_free: u64,
    /// Days until a node takes the disk for full, at this rate and without a limit.
    pub days_to_full: Option<f64>,
    /// Bytes of what stays of the heights that were given up, a day.
    pub head_bytes_per_day: Option<f64>,
    /// Days until a node takes the disk for full where the limit holds: what stays of the heights that were given up grows on.
    pub days_to_full_of_heads: Option<f64>,
}

impl Stats {
    /// Whether the disk is full before the oldest bodies go: a limit beyond the room bounds nothing.
    pub fn is_full_first(&self) -> bool {
        self.days_to_full.zip(self.days_to_bytes_max).is_some_and(|(full, limit)| full < limit)
    }

    /// What follows from growth: when the disk is full, and when whole segments reach the limit. `head_bytes` are those of what
    /// stays of a height that was given up, if some were.
    fn project(&mut self, whole_bytes: u64, days: f64, head_bytes: Option<f64>) {
        assert!(days > 0.0, "a session of one moment has no rate");
        let rate = whole_bytes as f64 / days;
        let room = self.free_bytes.saturating_sub(self.min_free) as f64;
        self.journal_bytes_per_day = Some(rate);
        self.days_to_full = Some(room / rate);
        self.days_to_bytes_max = self.bytes_max.map(|most| most.saturating_sub(whole_bytes) as f64 / rate);
        let heights = (self.decided + 1).saturating_sub(self.first) as f64;
        self.head_bytes_per_day = head_bytes.map(|bytes| bytes * heights / days);
        // From the limit on as much of whole segments goes as comes.
        self.days_to_full_of_heads = self.days_to_bytes_max.zip(self.head_bytes_per_day).map(|(limit, heads)| {
            let left = room - limit * rate;
            if left > 0.0 { limit + left / heads } else { room / rate }
        });
    }
}

/// Takes stock of a session whose record may have so many bytes, on a disk of which a node keeps so many free.
///
/// # Errors
/// If there is no session, or it is damaged at one of its ends.
pub fn stats(dir: &Path, bytes_max: Option<u64>, min_free: u64) -> anyhow::Result<Stats> {
    let (_, chain) = read_genesis(dir)?;
    let backend: Arc<dyn Backend> = Arc::new(FileBackend);
    let mut stats = Stats { live: is_written(dir), bytes_max, min_free, ..Stats::default() };
    let files = session_files(dir)?;
    let (mut whole_bytes, mut head_bytes) = (0, 0);
    for file in &files {
        let sum = match file.kind {
            FileKind::Segment | FileKind::Head => &mut stats.journal_bytes,
            FileKind::Log => &mut stats.log_bytes,
            FileKind::Pack | FileKind::Index => &mut stats.snapshot_bytes,
            _ => &mut stats.cache_bytes,
        };
        // The last sum is that of the cache: whatever has none of its own must not be counted there.
        let counts_nowhere = matches!(file.kind, FileKind::Genesis | FileKind::Lock | FileKind::Unknown)
            || matches!(file.kind, FileKind::Stopped | FileKind::Arriving | FileKind::Aside);
        if !counts_nowhere {
            *sum += file.on_disk;
        }
        stats.bytes += file.on_disk;
        // The same heights twice are not more of them.
        if is_begun(&file.name, &files) {
            continue;
        }
        match file.kind {
            FileKind::Segment => {
                whole_bytes += file.on_disk;
                stats.segments += 1;
                stats.compressed += u64::from(file.name.ends_with(".zst"));
            }
            FileKind::Head => {
                head_bytes += file.on_disk;
                stats.heads += 1;
            }
            FileKind::Pack => stats.packs += 1,
            _ => {}
        }
    }
    stats.free_bytes = backend.free_bytes(dir)?;
    ends(&backend, dir, &mut stats)?;
    if dir.join("snapshots").is_dir() {
        let catalog = read_catalog(&backend, dir, &chain)?;
        stats.groups = catalog.groups.len() as u64;
        let snapshots = newest_first(&catalog);
        stats.snapshots = snapshots.len() as u64;
        stats.newest_snapshot = snapshots.first().map(|newest| newest.height.0);
        let age = |time_ms| stats.last_time_ms.saturating_sub(time_ms);
        stats.newest_snapshot_age_ms = snapshots.first().map(|newest| age(newest.time_ms));
    }
    let days = stats.last_time_ms.saturating_sub(stats.first_time_ms) as f64 / DAY_MS;
    // A session of one moment has no rate, and nothing can be said of how long the disk lasts. What stays of older heights is not
    // what was played since, nor does a limit count it.
    if days > 0.0 && whole_bytes > 0 && stats.first > 0 {
        // What the next ones leave is not known before some were given up.
        let heads = if stats.heads > 0 { given_up(&backend, dir, stats.first)? } else { 0 };
        stats.project(whole_bytes, days, (heads > 0).then(|| head_bytes as f64 / heads as f64));
    }
    Ok(stats)
}

/// Of how many heights below the first whole one something stays.
fn given_up(backend: &Arc<dyn Backend>, dir: &Path, whole: u64) -> anyhow::Result<u64> {
    let mut reader = JournalReader::open_on(backend.clone(), dir, Height::GENESIS)?;
    // A journal that begins at a snapshot has nothing of those up to there.
    let first = reader.next_frame()?.map_or(whole, |frame| frame.height.0 + u64::from(frame.kind == FrameKind::Base));
    Ok(whole.saturating_sub(first))
}

/// The first and the last heights: the journal is read at its two ends only.
fn ends(backend: &Arc<dyn Backend>, dir: &Path, stats: &mut Stats) -> anyhow::Result<()> {
    let time = |body: &[u8]| {
        let whole = Decided::decode(body).map(|decided| decided.block.header);
        whole.or_else(|_| Retired::decode(body).map(|retired| retired.header)).map_or(0, |header| header.time_ms)
    };
    let mut reader = JournalReader::open_whole(backend.clone(), dir)?;
    while let Some(frame) = reader.next_frame()? {
        // Before it may stand what stays of heights that were given up while this was read.
        if frame.kind == FrameKind::Decided {
            (stats.first, stats.first_time_ms) = (frame.height.0, time(&frame.body));
            break;
        }
    }
    // The height is above everything: only the end of the last segment is read, and no frame is handed out.
    let mut reader = JournalReader::open_at(dir, Height(u64::MAX))?;
    while reader.next_frame()?.is_some() {}
    stats.decided = reader.decided().0;
    // What a block led to stands behind it, some heights further on: a few more are read for the last settled one.
    let mut reader = JournalReader::open_at(dir, Height(stats.decided.saturating_sub(8).max(1)))?;
    while let Some(frame) = reader.next_frame()? {
        match frame.kind {
            FrameKind::Decided | FrameKind::Retired => {
                stats.decided = frame.height.0;
                stats.last_time_ms = time(&frame.body);
            }
            FrameKind::Settled => stats.settled = frame.height.0,
            FrameKind::Evidence | FrameKind::Base => {}
        }
    }
    if stats.first > 0 {
        let heights = |last: u64| (last + 1).saturating_sub(stats.first);
        stats.frames = heights(stats.decided) + heights(stats.settled);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a session is projected to that has 100 bytes and grows by 10 a day.
    fn projected(free_bytes: u64, bytes_max: Option<u64>, min_free: u64) -> Stats {
        let mut stats = Stats { free_bytes, bytes_max, min_free, ..Stats::default() };
        stats.project(100, 10.0, None);
        stats
    }

    #[test]
    fn the_disk_is_full_where_a_node_takes_nothing_more() {
        let stats = projected(319, Some(400), 256);
        assert_eq!((stats.days_to_full, stats.days_to_bytes_max), (Some(6.3), Some(30.0)));
        assert!(stats.is_full_first(), "a limit beyond the room bounds nothing");
        assert_eq!(projected(200, None, 256).days_to_full, Some(0.0), "it is full already");
        assert!(!projected(200, None, 256).is_full_first(), "there is no limit to be first of");
        assert!(!projected(1_000, Some(400), 256).is_full_first());
    }

    #[test]
    fn what_stays_of_heights_that_were_given_up_fills_the_disk_behind_the_limit() {
        let stats = |free_bytes, bytes_max, head_bytes| {
            // Five heights a day.
            let mut stats = Stats { first: 51, decided: 100, free_bytes, bytes_max, min_free: 200, ..Stats::default() };
            stats.project(100, 10.0, head_bytes);
            (stats.head_bytes_per_day, stats.days_to_full_of_heads)
        };
        // The limit is reached after 10 days, with 700 bytes left; 2 a day go then.
        assert_eq!(stats(1_000, Some(200), Some(0.4)), (Some(2.0), Some(360.0)));
        assert_eq!(stats(1_000, Some(50), Some(0.4)), (Some(2.0), Some(400.0)), "it is reached already");
        assert_eq!(stats(250, Some(200), Some(0.4)), (Some(2.0), Some(5.0)), "the disk is full before");
        assert_eq!(stats(1_000, None, Some(0.4)), (Some(2.0), None), "there is no limit");
        assert_eq!(
            stats(1_000, Some(200), None),
            (None, None),
            "nothing was given up yet, and nobody knows what it leaves"
        );
    }
}
