//! How long each step of a tick takes.

use std::time::{Duration, Instant};

/// A step of the tick whose time is published.
#[derive(Clone, Copy)]
pub(crate) enum Lap {
    Exchange,
    Answer,
    Settle,
    Record,
    Flush,
    Snapshot,
}

/// The steps of one tick so far: each begins where the one before it ended.
pub(crate) struct Laps {
    began: Instant,
    /// When the last step ended.
    ended: Instant,
    took: [Duration; Lap::Snapshot as usize + 1],
}

impl Laps {
    /// The tick begins its work.
    pub fn begin() -> Self {
        let began = Instant::now();
        Self { began, ended: began, took: [Duration::ZERO; Lap::Snapshot as usize + 1] }
    }

    /// A step ends.
    pub fn end(&mut self, lap: Lap) {
        let now = Instant::now();
        self.took[lap as usize] = now - self.ended;
        self.ended = now;
    }

    /// When the tick began its work.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// How long a step took; nothing before it ended.
    pub fn took(&self, lap: Lap) -> Duration {
        self.took[lap as usize]
    }
}
