//! Coalescing: while many intents arrive, they share what each would cost alone.
//!
//! ```text
//!                 up to COALESCED_ABOVE_PER_S      above
//!  to the tick    with each tick                   with every fourth: one batch of signatures, and one block
//!  the answer     acknowledgement, receipt         the receipt, which says all that an acknowledgement does
//! ```
//! Alone, an intent is answered as soon as can be. Where they are many, what a turn, a batch, a block and a packet cost is most of
//! their price, and some milliseconds more save a fifth of it (docs/measurements.md).

use std::collections::VecDeque;
use std::time::Duration;

use engine::PeerId;
use engine::limits::{COALESCED_ABOVE_PER_S, COALESCED_TICKS, TICK_MS};
use tokio::time::Instant;

/// How long they are counted.
const WINDOW: Duration = Duration::from_millis(100);
/// The time of the ticks that leave intents to the next, and of that one.
const COALESCED_FOR: Duration = Duration::from_millis(COALESCED_TICKS as u64 * TICK_MS);
/// The part of the rate below which they stop to share: what a window counts then comes in a few large pieces, one more or less.
const STOPS_BELOW: f64 = 0.75;
/// How long an acknowledgement waits for its receipt.
const WAIT: Duration = Duration::from_millis(100);

/// When a tick takes intents.
pub(super) struct Takes {
    last: Instant,
    /// Ticks since then.
    ticks: u32,
}

impl Takes {
    pub(super) fn new(now: Instant) -> Self {
        Self { last: now, ticks: 0 }
    }

    /// Whether the tick that begins takes them: each does, unless intents share what they cost.
    pub(super) fn is_time(&mut self, coalesces: bool, now: Instant) -> bool {
        self.ticks += 1;
        // Ticks are counted, since none begins to the millisecond; where some were missed, their time counts.
        let is_time = !coalesces || self.ticks >= COALESCED_TICKS || now >= self.last + COALESCED_FOR;
        if is_time {
            (self.last, self.ticks) = (now, 0);
        }
        is_time
    }
}

/// The rate of intents that are taken, and the connections for which an acknowledgement waits.
pub(super) struct Coalescing {
    window_began: Duration,
    counted: u32,
    is_on: bool,
    /// Since when, oldest first.
    waiting: VecDeque<(Duration, PeerId)>,
}

impl Coalescing {
    pub(super) fn new(now: Duration) -> Self {
        Self { window_began: now, counted: 0, is_on: false, waiting: VecDeque::new() }
    }

    /// Whether intents share: the last window had more than are answered alone.
    pub(super) fn is_on(&self) -> bool {
        self.is_on
    }

    /// Ends the window if it is time.
    pub(super) fn turn(&mut self, now: Duration) {
        let elapsed = now - self.window_began;
        // A window ends with the first turn behind it, however long that took: the rate is over the time that passed.
        if elapsed >= WINDOW {
            let part = if self.is_on { STOPS_BELOW } else { 1.0 };
            self.is_on = f64::from(self.counted) > part * f64::from(COALESCED_ABOVE_PER_S) * elapsed.as_secs_f64();
            (self.window_began, self.counted) = (now, 0);
        }
    }

    /// Counts an acknowledgement for a peer. Says whether it waits for its receipt.
    pub(super) fn count_and_defer(&mut self, peer: PeerId, now: Duration) -> bool {
        self.counted += 1;
        if self.is_on {
            self.waiting.push_back((now, peer));
        }
        self.is_on
    }

    /// When the next one has waited long enough.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.waiting.front().map(|(since, _)| *since + WAIT)
    }

    /// A connection for which one has waited long enough, unless its receipt came meanwhile, and since when.
    pub(super) fn take_due(&mut self, now: Duration) -> Option<(Duration, PeerId)> {
        self.waiting.pop_front_if(|(since, _)| now >= *since + WAIT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: PeerId = PeerId { slot: 7, generation: 1 };

    /// So many acknowledgements a second for half a second; how many of them waited.
    fn run(coalescing: &mut Coalescing, from: Duration, per_s: u32) -> usize {
        let count = per_s / 2;
        (0..count)
            .filter(|n| {
                let now = from + Duration::from_secs_f64(f64::from(*n) / f64::from(per_s));
                coalescing.turn(now);
                coalescing.count_and_defer(PEER, now)
            })
            .count()
    }

    #[test]
    fn intents_share_only_while_there_are_many() {
        let start = Duration::from_secs(1_000);
        let mut coalescing = Coalescing::new(start);
        assert_eq!(run(&mut coalescing, start, COALESCED_ABOVE_PER_S), 0);
        assert!(!coalescing.is_on());
        assert_eq!(coalescing.next_due(), None);
        let many = run(&mut coalescing, start + Duration::from_secs(1), 20_000);
        // The window before counts a pause, and the one it is found in passes too.
        assert!((7_000..9_000).contains(&many), "{many}");
        assert!(coalescing.is_on());
        let few = run(&mut coalescing, start + Duration::from_secs(2), COALESCED_ABOVE_PER_S / 2);
        assert!(few <= 500, "{few}: the rate fell, which a window later is known");
        assert_eq!(run(&mut coalescing, start + Duration::from_secs(3), COALESCED_ABOVE_PER_S / 2), 0);
    }

    #[test]
    fn it_goes_on_a_little_below_the_rate_at_which_it_began() {
        let start = Duration::from_secs(1_000);
        let mut coalescing = Coalescing::new(start);
        let (above, below) = (COALESCED_ABOVE_PER_S * 11 / 10, COALESCED_ABOVE_PER_S * 9 / 10);
        assert_eq!(run(&mut coalescing, start, below), 0);
        let _ = run(&mut coalescing, start + Duration::from_secs(1), above);
        let many = run(&mut coalescing, start + Duration::from_millis(1_500), below);
        assert_eq!(many, below as usize / 2, "all of them");
        assert!(coalescing.is_on());
    }

    #[test]
    fn a_tick_takes_what_came_unless_intents_share_and_it_is_too_soon() {
        let start = Instant::now();
        let mut takes = Takes::new(start);
        // Ticks begin up to 3.5 ms early.
        let tick = |n: u32| start + Duration::from_millis(TICK_MS) * n - Duration::from_micros(u64::from(n % 5) * 875);
        assert!((1..4).all(|n| takes.is_time(false, tick(n))), "alone, each tick takes them");
        let taking: Vec<u32> = (4..20).filter(|n| takes.is_time(true, tick(*n))).collect();
        assert_eq!(taking, [7, 11, 15, 19], "every fourth tick while they share");
        assert!(takes.is_time(false, tick(20)), "the first tick that need not wait does not");
        let taking: Vec<u32> = [23, 26, 29, 32].into_iter().filter(|n| takes.is_time(true, tick(*n))).collect();
        assert_eq!(taking, [26, 32], "where ticks are missed, their time counts");
    }

    #[test]
    fn one_that_waited_long_enough_is_due() {
        let start = Duration::from_secs(1_000);
        let mut coalescing = Coalescing::new(start);
        coalescing.is_on = true;
        assert!(coalescing.count_and_defer(PEER, start));
        assert_eq!(coalescing.next_due(), Some(start + WAIT));
        assert_eq!(coalescing.take_due(start + WAIT - Duration::from_millis(1)), None);
        assert_eq!(coalescing.take_due(start + WAIT), Some((start, PEER)));
        assert_eq!(coalescing.take_due(start + WAIT), None);
    }
}
