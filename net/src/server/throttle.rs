//! What may be held back of the network: words that whoever watches a node sets, and the host reads in its turns. What validators
//! say to each other, and answers to intents, are never among it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use engine::trim::TrimRequest;

/// How long a turn waits after the one before, unless it is to be longer: what arrives meanwhile is taken together.
///
/// Every turn costs a few microseconds, whatever it finds, and each connection that it serves may put into one packet what
/// would have been two. A server with nothing to do does not turn at all, so that the first packet after a pause is
/// answered at once.
const TURN: Duration = Duration::from_millis(1);
/// How long a turn waits after the one before where what arrives waits for others anyway.
const SHARED_TURN: Duration = Duration::from_millis(2);

/// How the network works now.
#[derive(Default, Debug)]
pub struct Throttle {
    closed: AtomicBool,
    thins_updates: AtomicBool,
    /// Milliseconds beyond the usual that a turn waits.
    waits_ms: AtomicU64,
    /// That the network's thread gives back what it holds in spare.
    pub trim: TrimRequest,
}

impl Throttle {
    /// Refuses whoever wants in, or lets them in again. Those who are in, and nodes that it knows, are not concerned.
    pub fn close(&self, is_closed: bool) {
        self.closed.store(is_closed, Ordering::Relaxed);
    }

    /// Tells those who watch a table how it is once a second, in place of each change.
    pub fn thin_updates(&self, is_thin: bool) {
        self.thins_updates.store(is_thin, Ordering::Relaxed);
    }

    /// Has a turn wait longer than usual after the one before, so that more is taken together.
    pub fn wait_longer(&self, by: Duration) {
        self.waits_ms.store(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether nobody new is let in.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether changes are left out for those who watch.
    pub fn is_thin(&self) -> bool {
        self.thins_updates.load(Ordering::Relaxed)
    }

    /// How long a turn waits after the one before, where what arrives waits for others anyway or does not.
    pub fn turn(&self, is_shared: bool) -> Duration {
        let turn = if is_shared { SHARED_TURN } else { TURN };
        turn + Duration::from_millis(self.waits_ms.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_longer_where_what_arrives_waits_anyway_and_where_it_is_told_to_be() {
        let throttle = Throttle::default();
        assert!(throttle.turn(true) > throttle.turn(false));
        let usual = [true, false].map(|is_shared| throttle.turn(is_shared));
        throttle.wait_longer(Duration::from_millis(3));
        let longer = [true, false].map(|is_shared| throttle.turn(is_shared));
        assert_eq!(longer, usual.map(|turn| turn + Duration::from_millis(3)));
    }
}
