//! Trust: how many intents of other nodes are looked at.
//!
//! To look at an intent is to verify a signature, and whoever may pass intents on could have others do nothing else. Each origin
//! therefore has so many that may come to nothing, and some more with time; one that is applied makes up for two. What is not
//! looked at is not lost: it waits at its origin, which proposes too.

use std::collections::BTreeMap;

use engine::Tick;
use engine::limits::{UNPROVEN_MAX, UNPROVEN_PER_TICK};

use super::sender::Origin;

/// Intents that one that is applied makes up for: itself, and one that its table or its account refused meanwhile.
const APPLIED_COUNTS: u64 = 2;

/// How many were looked at for each origin, and led to nothing yet.
#[derive(Default, Debug)]
pub struct Trust(BTreeMap<Origin, Unproven>);

/// Intents of one origin.
#[derive(Clone, Copy, Default, Debug)]
struct Unproven {
    count: u64,
    /// At this tick.
    at: u64,
}

impl Unproven {
    fn now(self, tick: Tick) -> u64 {
        self.count.saturating_sub(UNPROVEN_PER_TICK * tick.0.saturating_sub(self.at))
    }
}

impl Trust {
    /// How many intents of an origin may be looked at now. Those that enter here have bounds of their own.
    pub(super) fn left(&self, origin: Origin, tick: Tick) -> usize {
        if origin == Origin::Here {
            return usize::MAX;
        }
        let unproven = self.0.get(&origin).map_or(0, |unproven| unproven.now(tick));
        assert!(unproven <= UNPROVEN_MAX, "no more are looked at than may be");
        (UNPROVEN_MAX - unproven) as usize
    }

    /// So many are looked at.
    ///
    /// # Panics
    /// If they are more than may be.
    pub(super) fn look(&mut self, origin: Origin, count: usize, tick: Tick) {
        assert!(count <= self.left(origin, tick), "it was asked how many");
        if origin != Origin::Here && count > 0 {
            let unproven = self.0.entry(origin).or_default();
            *unproven = Unproven { count: unproven.now(tick) + count as u64, at: tick.0 };
        }
    }

    /// One of them was applied.
    pub(crate) fn prove(&mut self, origin: Origin) {
        if let Some(unproven) = self.0.get_mut(&origin) {
            unproven.count = unproven.count.saturating_sub(APPLIED_COUNTS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROGUE: Origin = Origin::Validator(3);

    /// Looks at as many of a thousand as may be, each of so many ticks.
    fn looked(trust: &mut Trust, origin: Origin, ticks: std::ops::Range<u64>, applied: usize) -> usize {
        let mut all = 0;
        for tick in ticks.map(Tick) {
            let count = trust.left(origin, tick).min(1_000);
            trust.look(origin, count, tick);
            (0..count.min(applied)).for_each(|_| trust.prove(origin));
            all += count;
        }
        all
    }

    #[test]
    fn what_leads_to_nothing_is_looked_at_slowly() {
        let mut trust = Trust::default();
        let (most, per_tick) = (UNPROVEN_MAX as usize, UNPROVEN_PER_TICK as usize);
        assert_eq!(looked(&mut trust, ROGUE, 0..1_000, 0), most + 999 * per_tick);
        // Others have their own, and it has its whole share again after a while.
        assert_eq!(trust.left(Origin::Follower, Tick(999)), most);
        assert_eq!(trust.left(ROGUE, Tick(1_000 + UNPROVEN_MAX / UNPROVEN_PER_TICK)), most);
        assert_eq!(looked(&mut trust, Origin::Here, 0..10, 0), 10_000);
    }

    #[test]
    fn who_passes_on_what_is_applied_is_not_held_up() {
        let mut trust = Trust::default();
        assert_eq!(looked(&mut trust, ROGUE, 0..1_000, 500), 1_000_000, "half of them applied");
        let few = looked(&mut trust, ROGUE, 1_000..2_000, 100);
        assert!((150_000..250_000).contains(&few), "a tenth of them applied: {few}");
    }
}
