//! A level, and how it follows a value: up once that has been beyond a bound for a while, down once it has been well back.

use std::time::{Duration, Instant};

use serde::Serialize;

/// For how long a value must be beyond a bound before the level rises: one odd reading is none.
const RISES_AFTER: Duration = Duration::from_secs(2);
/// For how long it must be well back before the level falls.
const FALLS_AFTER: Duration = Duration::from_secs(10);
/// By how much of a bound a value must be back of it: one that swings about a bound changes nothing.
const HYSTERESIS: f64 = 0.1;

/// What a node may run short of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    /// Memory.
    Memory,
    /// Processors.
    Cpu,
    /// Buffers of connections.
    Network,
    /// Room on the disk, and its speed.
    Disk,
}

impl Resource {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Cpu, Self::Network, Self::Disk];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
            Self::Network => "network",
            Self::Disk => "disk",
        }
    }
}

/// How scarce something is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// There is enough.
    #[default]
    Low,
    /// What can be given back is, and what can wait does.
    Medium,
    /// Nobody new is let in.
    High,
}

impl Level {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
        }
    }
}

/// From where on a value is medium, and from where on high.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Bounds {
    /// Medium from here on.
    pub medium: f64,
    /// High from here on, above it.
    pub high: f64,
}

impl Bounds {
    fn of(self, level: Level) -> f64 {
        match level {
            Level::High => self.high,
            Level::Medium | Level::Low => self.medium,
        }
    }
}

/// How one value stands.
#[derive(Clone, Default, Debug)]
pub struct LevelState {
    level: Level,
    /// Since when the value is beyond the bound of medium, and of high.
    beyond: [Option<Instant>; 2],
    /// Since when it has been well back of the present level's.
    back: Option<Instant>,
}

impl LevelState {
    /// The level now.
    pub fn level(&self) -> Level {
        self.level
    }

    /// Takes a value; one that is not known is as good as none. Gives the level that there is from now on.
    pub fn step(&mut self, bounds: Bounds, value: Option<f64>, now: Instant) -> Level {
        let mut reached = Level::Low;
        for (since, level) in self.beyond.iter_mut().zip([Level::Medium, Level::High]) {
            *since = value.filter(|value| *value >= bounds.of(level)).map(|_| since.unwrap_or(now));
            if since.is_some_and(|since| now - since >= RISES_AFTER) {
                reached = level;
            }
        }
        if reached >= self.level {
            (self.level, self.back) = (reached, None);
            return reached;
        }
        let inner = bounds.of(self.level) * (1.0 - HYSTERESIS);
        if value.is_some_and(|value| value >= inner) {
            self.back = None;
        } else if now - *self.back.get_or_insert(now) >= FALLS_AFTER {
            (self.level, self.back) = (reached, None);
        }
        self.level
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { medium: 0.5, high: 0.8 };

    /// Values, each for some seconds, and the level at the end of each.
    fn levels(steps: &[(Option<f64>, u64)]) -> Vec<Level> {
        let (mut state, mut now) = (LevelState::default(), Instant::now());
        let mut levels = Vec::new();
        for (value, seconds) in steps {
            for _ in 0..*seconds {
                state.step(BOUNDS, *value, now);
                now += Duration::from_secs(1);
            }
            levels.push(state.level());
        }
        levels
    }

    #[test]
    fn a_level_rises_soon_falls_late_and_does_not_swing() {
        use Level::{High, Low, Medium};
        let known = |value: f64, seconds: u64| (Some(value), seconds);
        for (what, steps, wanted) in [
            ("one odd reading is none", vec![known(0.9, 2), known(0.1, 1)], vec![Low, Low]),
            ("the third reading beyond counts", vec![known(0.5, 3)], vec![Medium]),
            ("high at once where the value is", vec![known(0.9, 3)], vec![High]),
            ("medium first, then high", vec![known(0.6, 3), known(0.8, 3)], vec![Medium, High]),
            ("just below a bound nothing falls", vec![known(0.6, 3), known(0.46, 60)], vec![Medium, Medium]),
            (
                "well below it falls after 10 s",
                vec![known(0.6, 3), known(0.4, 10), known(0.4, 1)],
                vec![Medium, Medium, Low],
            ),
            (
                "a return begins the wait anew",
                vec![known(0.6, 3), known(0.4, 9), known(0.48, 1), known(0.4, 9)],
                vec![Medium; 4],
            ),
            ("high falls to what there is", vec![known(0.9, 3), known(0.6, 11)], vec![High, Medium]),
            ("and to low", vec![known(0.9, 3), known(0.1, 11)], vec![High, Low]),
            ("between the bounds' margins high stays", vec![known(0.9, 3), known(0.75, 60)], vec![High, High]),
            ("what is not known any more is over", vec![known(0.9, 3), (None, 11)], vec![High, Low]),
            ("what was never known is low", vec![(None, 20)], vec![Low]),
        ] {
            assert_eq!(levels(&steps), wanted, "{what}");
        }
    }

    #[test]
    fn a_value_that_swings_about_a_bound_changes_the_level_once() {
        let (mut state, began) = (LevelState::default(), Instant::now());
        let mut changes = Vec::new();
        for second in 0..300 {
            let value = if second % 7 < 4 { 0.52 } else { 0.47 };
            let before = state.level();
            let level = state.step(BOUNDS, Some(value), began + Duration::from_secs(second));
            changes.extend((level != before).then_some(level));
        }
        assert_eq!(changes, [Level::Medium]);
    }
}
