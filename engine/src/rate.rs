//! Rates: how much of something may happen in a time, for policies that take the time as an argument.

use std::time::Duration;

/// Units that come back with time, up to a burst of them. Time is counted from any moment that stays the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// The time that brings one unit back.
    unit: Duration,
    /// The time that brings a whole burst back.
    burst: Duration,
}

impl Rate {
    /// `count` units in every `period`, and at most `burst` of them at once.
    ///
    /// # Panics
    /// If `count` or `burst` is zero: nothing would ever be allowed.
    pub fn new(count: u32, period: Duration, burst: u32) -> Self {
        assert!(count > 0, "a rate of zero allows nothing");
        assert!(burst > 0, "a burst of zero allows nothing");
        let unit = period / count;
        Self { unit, burst: unit * burst }
    }
}

/// What was spent of one [`Rate`]. The rate stands beside it, so that many meters share one.
///
/// A meter is the moment at which everything spent so far has come back (the generic cell rate algorithm): nothing is
/// rounded, however often it is asked.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Meter {
    repaid_at: Duration,
}

impl Meter {
    /// Spends `units` at once if the burst has room for all of them, else none. Says whether it did.
    pub fn spend(&mut self, units: u32, rate: &Rate, now: Duration) -> bool {
        // Time that passed while nothing was owed is not saved up: the burst bounds what comes at once.
        let repaid_at = self.repaid_at.max(now) + rate.unit * units;
        let within = repaid_at - now <= rate.burst;
        if within {
            self.repaid_at = repaid_at;
        }
        within
    }

    /// Whether all that was spent has come back: such a meter is as good as a new one.
    pub fn is_full(&self, now: Duration) -> bool {
        self.repaid_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_goes_at_once_and_comes_back_with_time() {
        let rate = Rate::new(6, Duration::from_secs(60), 6);
        let mut meter = Meter::default();
        let spent = |meter: &mut Meter, now| (0..100).filter(|_| meter.spend(1, &rate, now)).count();
        assert_eq!(spent(&mut meter, SECOND), 6);
        assert_eq!(spent(&mut meter, SECOND * 10), 0);
        assert_eq!(spent(&mut meter, SECOND * 11), 1);
        assert_eq!(spent(&mut meter, SECOND * 3_600), 6, "no more than a burst is saved up");
        assert!(!meter.is_full(SECOND * 3_659) && meter.is_full(SECOND * 3_660));
    }

    /// However time is cut up and whatever is asked for, no window of time sees more than its rate and one burst.
    #[test]
    fn no_window_sees_more_than_its_rate_and_one_burst() {
        let (per_s, burst) = (1_500, 3_000);
        let rate = Rate::new(per_s, SECOND, burst);
        let (mut meter, mut now, mut state) = (Meter::default(), Duration::ZERO, 1u64);
        let mut spent: Vec<(Duration, u64)> = Vec::new();
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            now += Duration::from_nanos((state >> 40) % 900_000);
            let units = (state >> 20) as u32 % 64;
            if meter.spend(units, &rate, now) {
                spent.push((now, units.into()));
            }
        }
        for (first, (from, _)) in spent.iter().enumerate().step_by(97) {
            let mut sum = 0;
            for (at, units) in &spent[first..] {
                sum += units;
                let most = u64::from(burst) + (*at - *from).as_micros() as u64 * u64::from(per_s) / 1_000_000 + 1;
                assert!(sum <= most, "{sum} of {most} between {from:?} and {at:?}");
            }
        }
        let total: u64 = spent.iter().map(|(_, units)| units).sum();
        assert!(total > now.as_secs() * u64::from(per_s), "what is allowed can be had: {total} in {now:?}");
    }
}
