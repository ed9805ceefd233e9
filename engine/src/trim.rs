//! A word to threads that they give back what they hold in spare: an allocator keeps freed memory for the thread that freed
//! it, so that only that thread can let go of it.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Asks threads to trim. Each looks at it when it has a moment, and does so once for each time that it was asked.
#[derive(Default, Debug)]
pub struct TrimRequest {
    asked: AtomicU64,
    how: OnceLock<fn()>,
}

impl TrimRequest {
    /// Asks once more. `how` lets go of what the allocator keeps for the thread that calls it; the first one said stays.
    pub fn ask(&self, how: fn()) {
        // First, so that whoever sees that it was asked finds how.
        self.how.get_or_init(|| how);
        self.asked.fetch_add(1, Ordering::Release);
    }

    /// How to trim, if this was asked since a thread last saw it: `seen` is that thread's own, 0 at its start.
    pub fn take(&self, seen: &mut u64) -> Option<fn()> {
        let asked = self.asked.load(Ordering::Acquire);
        if asked == *seen {
            return None;
        }
        assert!(asked > *seen, "a thread has seen no more than was asked");
        *seen = asked;
        assert!(self.how.get().is_some(), "whoever asks says how");
        self.how.get().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_thread_trims_once_for_what_was_asked_since_it_last_looked() {
        let request = TrimRequest::default();
        let (mut tick, mut net) = (0, 0);
        assert!(request.take(&mut tick).is_none(), "nobody asked");
        request.ask(|| ());
        request.ask(|| ());
        assert!(request.take(&mut tick).is_some() && request.take(&mut tick).is_none());
        assert!(request.take(&mut net).is_some(), "another thread has its own turn");
        request.ask(|| ());
        assert!(request.take(&mut tick).is_some());
    }
}
