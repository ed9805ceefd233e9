//! What a process says, read by a thread of its own. Whoever waits for a line does so for a bounded time: one that never comes
//! fails its test, and holds up nobody else's. The process, in turn, never waits for a reader.

use std::io::{BufRead, BufReader, Read};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// What may pass until something is said that must be.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// The lines of a pipe.
pub(super) struct Lines(Receiver<String>);

impl Lines {
    pub(super) fn of(pipe: impl Read + Send + 'static) -> Self {
        let (said, lines) = channel();
        std::thread::spawn(move || {
            // Nobody listens any more once the test is over; the pipe is read to its end all the same.
            BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| _ = said.send(line));
        });
        Self(lines)
    }

    /// Lines that somebody else reads.
    pub(super) fn heard(lines: Receiver<String>) -> Self {
        Self(lines)
    }

    /// The next line, if one comes within a time.
    pub(super) fn within(&self, time: Duration) -> Option<String> {
        self.0.recv_timeout(time).ok()
    }

    /// The next line.
    ///
    /// # Panics
    /// If none comes in time, or the pipe ends.
    pub(super) fn next(&self) -> String {
        self.within(PATIENCE).expect("a line comes in time")
    }

    /// The next line with this text; those before it are passed over.
    ///
    /// # Panics
    /// If none comes in time, or the pipe ends.
    pub(super) fn until(&self, what: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.0.recv_timeout(left) {
                Ok(line) if line.contains(what) => return line,
                Ok(_) => {}
                Err(error) => panic!("`{what}` is never said: {error}"),
            }
        }
    }

    /// All lines that are left, once the process has ended.
    ///
    /// # Panics
    /// If it does not end in time.
    pub(super) fn rest(&self) -> String {
        let until = Instant::now() + PATIENCE;
        let mut rest = String::new();
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            let Ok(line) = self.0.recv_timeout(left) else { return rest };
            rest.push_str(&line);
            rest.push('\n');
        }
        panic!("it does not end: {rest}");
    }
}
