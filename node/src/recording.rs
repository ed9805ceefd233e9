//! Where a node's groups go: to threads beside the tick, or to a disk that is stepped with the node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError, select_biased};
use engine::Height;
use storage::{ArchiveThrottle, Disk, Storage, SyncGroup, Synced};

use crate::threads::{BACKGROUND_PERIOD, STORAGE_PERIOD, WatchedThread};

/// What keeps a node's groups, and says when they are kept.
pub trait Recording: Send {
    /// Takes what a tick produced.
    fn submit(&mut self, group: SyncGroup);

    /// What has become of what was submitted, by `now` where this is stepped: counted from wherever the caller counts. To
    /// be asked until it says nothing.
    ///
    /// # Errors
    /// If nothing will ever be said again.
    fn poll(&mut self, now: Duration) -> anyhow::Result<Option<Synced>>;

    /// As [`Recording::poll`], but waits up to a moment, or for as long as it takes. What is stepped takes no time.
    ///
    /// # Errors
    /// As [`Recording::poll`].
    fn wait(&mut self, until: Option<Instant>) -> anyhow::Result<Option<Synced>>;

    /// As [`Recording::wait`], but no longer than until `urgent` has something.
    ///
    /// # Errors
    /// As [`Recording::poll`].
    fn wait_unless(&mut self, until: Instant, _urgent: &Receiver<()>) -> anyhow::Result<Option<Synced>> {
        self.wait(Some(until))
    }

    /// Says that a start will need nothing below a height: bodies below it may be given up.
    fn keep_from(&mut self, height: Height);

    /// Threads that it has beside the tick; none where it is stepped.
    fn threads(&self) -> Vec<WatchedThread> {
        Vec::new()
    }

    /// What may be held back of the work on sealed segments; nothing where it is stepped.
    fn throttle(&self) -> Option<Arc<ArchiveThrottle>> {
        None
    }

    /// Ends cleanly: what was submitted is on disk, and the files are sealed.
    fn close(self: Box<Self>);
}

/// Who drives a node's disk.
pub enum Driving {
    /// Threads of their own, beside the tick.
    Threads,
    /// Whoever steps the node. What is recorded passes through what this makes of the disk.
    Stepped(Box<dyn FnOnce(Disk) -> Box<dyn Recording> + Send>),
}

impl Recording for Storage {
    fn submit(&mut self, group: SyncGroup) {
        Storage::submit(self, group);
    }

    fn poll(&mut self, _: Duration) -> anyhow::Result<Option<Synced>> {
        match self.synced().try_recv() {
            Ok(synced) => Ok(Some(synced)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(TryRecvError::Disconnected) => bail!("the storage thread has stopped"),
        }
    }

    fn wait(&mut self, until: Option<Instant>) -> anyhow::Result<Option<Synced>> {
        let synced = match until {
            Some(until) => self.synced().recv_deadline(until),
            None => self.synced().recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match synced {
            Ok(synced) => Ok(Some(synced)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => bail!("the storage thread has stopped"),
        }
    }

    fn wait_unless(&mut self, until: Instant, urgent: &Receiver<()>) -> anyhow::Result<Option<Synced>> {
        select_biased! {
            // The disk is asked first: receipts go out even where messages never stop coming.
            recv(self.synced()) -> synced => synced.map(Some).context("the storage thread has stopped"),
            recv(urgent) -> _ => Ok(None),
            default(until.saturating_duration_since(Instant::now())) => Ok(None),
        }
    }

    fn keep_from(&mut self, height: Height) {
        Storage::keep_from(self, height);
    }

    fn threads(&self) -> Vec<WatchedThread> {
        let archive = WatchedThread::new("archive", BACKGROUND_PERIOD, self.archive_turns());
        vec![WatchedThread::new("storage", STORAGE_PERIOD, self.turns()), archive]
    }

    fn throttle(&self) -> Option<Arc<ArchiveThrottle>> {
        Some(Storage::throttle(self))
    }

    fn close(self: Box<Self>) {
        Storage::close(*self);
    }
}

impl Recording for Disk {
    fn submit(&mut self, group: SyncGroup) {
        Disk::submit(self, group);
    }

    fn poll(&mut self, now: Duration) -> anyhow::Result<Option<Synced>> {
        Ok(Disk::poll(self, now))
    }

    fn wait(&mut self, _: Option<Instant>) -> anyhow::Result<Option<Synced>> {
        Ok(Disk::poll(self, Duration::MAX))
    }

    fn keep_from(&mut self, height: Height) {
        Disk::keep_from(self, height);
    }

    fn close(self: Box<Self>) {
        Disk::close(*self);
    }
}
