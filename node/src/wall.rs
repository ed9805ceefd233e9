//! The clock on the wall beside one that cannot be set: whoever sets it is found out.

use std::time::Duration;

use engine::limits::CLOCK_SKEW_MS_MAX;

/// The last reading of the wall's clock, and of one that counts only up.
#[derive(Default, Debug)]
pub(crate) struct WallClock {
    last: Option<(u64, Duration)>,
}

impl WallClock {
    /// Takes a reading of the wall's clock, at a moment of a clock that cannot be set. Returns by how many milliseconds it
    /// was set since the last reading, forward or back, if that is more than validators' clocks may differ by. Smaller
    /// steps are what keeps a clock right.
    pub(crate) fn read(&mut self, wall_ms: u64, moment: Duration) -> Option<i64> {
        let (last_ms, last_moment) = self.last.replace((wall_ms, moment))?;
        let expected_ms = last_ms.saturating_add(moment.saturating_sub(last_moment).as_millis() as u64);
        let step_ms = i64::try_from(i128::from(wall_ms) - i128::from(expected_ms)).unwrap_or(i64::MAX);
        (step_ms.unsigned_abs() > CLOCK_SKEW_MS_MAX).then_some(step_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_found_out_and_one_that_drifts_is_not() {
        let mut clock = WallClock::default();
        let at = Duration::from_millis;
        assert_eq!(clock.read(5_000_000, at(10)), None, "there is nothing to compare with");
        assert_eq!(clock.read(5_000_005, at(15)), None);
        assert_eq!(clock.read(5_000_505, at(20)), None, "half a second is no step");
        assert_eq!(clock.read(5_004_010, at(25)), Some(3_500));
        assert_eq!(clock.read(1_404_020, at(35)), Some(-3_600_000));
        assert_eq!(clock.read(1_404_025, at(40)), None, "it is told once");
        // A process that stood still for a minute finds both clocks a minute on.
        assert_eq!(clock.read(1_464_025, at(60_040)), None);
        for tick in 1..1_000u64 {
            assert_eq!(clock.read(1_464_025 + 6 * tick, at(60_040 + 5 * tick)), None, "a clock that runs too fast");
        }
    }
}
