//! AckBatching: whether an acknowledgement leaves at once, or waits for its receipt to go with it.
//!
//! A packet costs both ends together about 13 us of processor time, whatever is in it, and a receipt says all that an
//! acknowledgement does. Below [`SEPARATE_ACKS_PER_S_MAX`] of them a second, a client is told at once that its intent waits; above,
//! that packet would take the time that the receipts need, so the acknowledgement travels in the receipt's packet.

use std::collections::VecDeque;
use std::time::Duration;

use engine::PeerId;
use engine::limits::SEPARATE_ACKS_PER_S_MAX;

/// How long they are counted.
const WINDOW: Duration = Duration::from_millis(100);
/// How long one waits for its receipt.
const WAIT: Duration = Duration::from_millis(100);

/// The rate of acknowledgements, and the connections for which one waits.
pub(super) struct AckBatching {
    window_began: Duration,
    counted: u32,
    /// Whether the last window had more than leave alone.
    busy: bool,
    /// Since when, oldest first.
    waiting: VecDeque<(Duration, PeerId)>,
}

impl AckBatching {
    pub(super) fn new(now: Duration) -> Self {
        Self { window_began: now, counted: 0, busy: false, waiting: VecDeque::new() }
    }

    /// Counts an acknowledgement for a peer. Says whether it waits for its receipt.
    pub(super) fn count_and_defer(&mut self, peer: PeerId, now: Duration) -> bool {
        let elapsed = now - self.window_began;
        // A window ends with the first acknowledgement behind it, however long that took: the rate is over the time
        // that passed.
        if elapsed >= WINDOW {
            let most = f64::from(SEPARATE_ACKS_PER_S_MAX) * elapsed.as_secs_f64();
            self.busy = f64::from(self.counted) > most;
            (self.window_began, self.counted) = (now, 0);
        }
        self.counted += 1;
        if self.busy {
            self.waiting.push_back((now, peer));
        }
        self.busy
    }

    /// When the next one has waited long enough.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.waiting.front().map(|(since, _)| *since + WAIT)
    }

    /// A connection for which one has waited long enough, if there is any.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<PeerId> {
        self.waiting.pop_front_if(|(since, _)| now >= *since + WAIT).map(|(_, peer)| peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId { slot: 7, generation: 1 };

    /// So many acknowledgements a second for half a second; how many of them waited.
    fn run(batching: &mut AckBatching, from: Duration, per_s: u32) -> usize {
        let count = per_s / 2;
        (0..count)
            .filter(|n| {
                batching.count_and_defer(PEER, from + Duration::from_secs_f64(f64::from(*n) / f64::from(per_s)))
            })
            .count()
    }

    #[test]
    fn acknowledgements_wait_only_while_there_are_many() {
        let start = Duration::from_secs(1_000);
        let mut batching = AckBatching::new(start);
        assert_eq!(run(&mut batching, start, 10_000), 0);
        assert_eq!(batching.next_due(), None);
        let many = run(&mut batching, start + Duration::from_secs(1), 20_000);
        // The window before counts a pause, and the one it is found in passes too.
        assert!((7_000..9_000).contains(&many), "{many}");
        let few = run(&mut batching, start + Duration::from_secs(2), 5_000);
        assert!(few <= 500, "{few}: the rate fell, which a window later is known");
        assert_eq!(run(&mut batching, start + Duration::from_secs(3), 5_000), 0);
    }

    #[test]
    fn one_that_waited_long_enough_is_due() {
        let start = Duration::from_secs(1_000);
        let mut batching = AckBatching::new(start);
        batching.busy = true;
        assert!(batching.count_and_defer(PEER, start));
        assert_eq!(batching.next_due(), Some(start + WAIT));
        assert_eq!(batching.take_due(start + WAIT - Duration::from_millis(1)), None);
        assert_eq!(batching.take_due(start + WAIT), Some(PEER));
        assert_eq!(batching.take_due(start + WAIT), None);
    }
}
