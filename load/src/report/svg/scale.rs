//! Where values lie along an axis, and where its gridlines are.

use super::super::text::fixed;

/// How values lie along an axis.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Scale {
    /// Even steps from zero.
    Linear {
        /// The end of the axis.
        high: f64,
    },
    /// Even ratios.
    Log {
        /// The beginning of the axis, above zero.
        low: f64,
        /// The end.
        high: f64,
    },
    /// Quantiles, with even steps from 0 to 90 % and for each further nine. The largest value of all, whose quantile is
    /// one, lies half a step beyond the last nine.
    Nines {
        /// Nines that have a gridline.
        nines: u32,
    },
}

/// Gridlines of the axis up, from bottom to top.
pub const ROWS: usize = 7;
/// The ends of an axis of ratios: a microsecond and about a day, in milliseconds.
const RATIOS: (f64, f64) = (1e-3, 1e8);
/// The largest value of an even axis; below it, steps are exact.
const LARGEST: f64 = 1e15;
/// Nines between which samples of a run can still be told apart.
const NINES: (u32, u32) = (3, 6);

impl Scale {
    /// From zero to the largest value.
    pub fn exact(values: impl Iterator<Item = f64>) -> Self {
        let most = values.filter(|value| value.is_finite()).fold(0.0, f64::max).min(LARGEST);
        Self::Linear { high: if most > 0.0 { most } else { 1.0 } }
    }

    /// From zero to a round number that no value exceeds.
    pub fn rounded(values: impl Iterator<Item = f64>) -> Self {
        let Self::Linear { high } = Self::exact(values) else { return Self::Linear { high: 1.0 } };
        let step = round_step(high, ROWS);
        Self::Linear { high: (high / step).ceil() * step }
    }

    /// Round numbers around every value above zero, a decade at least.
    pub fn ratios(values: impl Iterator<Item = f64>) -> Self {
        let (least, most) = values
            .filter(|value| value.is_finite() && *value > 0.0)
            .fold((f64::INFINITY, 0.0), |(least, most): (f64, f64), value| (least.min(value), most.max(value)));
        if least > most {
            return Self::Log { low: 1.0, high: 100.0 };
        }
        let low = round_down(least.clamp(RATIOS.0, RATIOS.1 / 10.0));
        Self::Log { low, high: round_up(most.clamp(low * 10.0, RATIOS.1)) }
    }

    /// As many nines as the quantiles tell apart.
    pub fn nines(quantiles: impl Iterator<Item = f64>) -> Self {
        let nines = quantiles.filter(|quantile| *quantile < 1.0).map(nines_of).fold(0.0, f64::max);
        Self::Nines { nines: (nines.floor() as u32).clamp(NINES.0, NINES.1) }
    }

    /// Where a value lies, from 0 to 1. What lies outside is put on the edge.
    pub fn place(&self, value: f64) -> f64 {
        let place = match *self {
            Self::Linear { high } => value / high,
            Self::Log { low, high } => (value / low).log10() / (high / low).log10(),
            Self::Nines { nines } => nines_of(value) / (f64::from(nines) + 0.5),
        };
        // The logarithm of zero is a place too far to the left.
        if place.is_nan() { 0.0 } else { place.clamp(0.0, 1.0) }
    }

    /// Values with a gridline and what is written there, at most about `lines_max` of them.
    pub fn grid(&self, lines_max: usize) -> Vec<(f64, String)> {
        match *self {
            Self::Linear { high } => {
                let step = round_step(high, lines_max);
                let places = (-step.log10().floor()).clamp(0.0, 9.0) as usize;
                // A step is no less than the whole by `lines_max`, so the count is bounded too.
                let count = (high / step + 1e-9).floor() as usize;
                (0..=count).map(|index| index as f64 * step).map(|value| (value, fixed(value, places))).collect()
            }
            Self::Log { low, high } => ratio_grid(low, high, lines_max),
            Self::Nines { nines } => {
                let label = |nine: u32| match nine {
                    0 => "0 %".into(),
                    1 => "90 %".into(),
                    2 => "99 %".into(),
                    _ => format!("99.{} %", "9".repeat(nine as usize - 2)),
                };
                let mut lines: Vec<(f64, String)> =
                    (0..=nines).map(|nine| (1.0 - 0.1_f64.powi(nine as i32), label(nine))).collect();
                lines.insert(1, (0.5, "50 %".into()));
                lines.push((1.0, "max".into()));
                lines
            }
        }
    }
}

/// How many nines a quantile has: 0.9 has one, 0.99 two.
fn nines_of(quantile: f64) -> f64 {
    -(1.0 - quantile).log10()
}

/// The round numbers of an axis of ratios: 1, 2 and 5 of each power of ten. Where there is no room, only powers are named.
fn ratio_grid(low: f64, high: f64, lines_max: usize) -> Vec<(f64, String)> {
    let powers = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let all = powers.clone().flat_map(|power| [(1.0, power), (2.0, power), (5.0, power)]);
    let value = |(digit, power): (f64, i32)| digit * 10_f64.powi(power);
    // Powers of negative exponents are a little off.
    let within: Vec<_> = all.filter(|line| (low * 0.999..=high * 1.001).contains(&value(*line))).collect();
    let crowded = within.len() > lines_max + 1;
    let every = if crowded { powers.count().div_ceil(lines_max.max(1)) } else { 1 };
    let name = |line: (f64, i32)| {
        let named = !crowded || (line.0 == 1.0 && (line.1.unsigned_abs() as usize).is_multiple_of(every));
        if named { fixed(value(line), line.1.min(0).unsigned_abs() as usize) } else { String::new() }
    };
    within.into_iter().map(|line| (value(line), name(line))).collect()
}

/// The least of 1, 2, 5, 10, ... of which at most `lines_max` make `high`, which is above zero.
fn round_step(high: f64, lines_max: usize) -> f64 {
    round_up((high / lines_max.max(1) as f64).max(f64::MIN_POSITIVE))
}

/// The least of 1, 2, 5, 10, ... that is not below a value above zero.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powi(value.log10().floor() as i32);
    [1.0, 2.0, 5.0]
        .into_iter()
        .map(|digit| digit * power)
        .find(|round| *round >= value * 0.999_999)
        .unwrap_or(10.0 * power)
}

/// The largest of 1, 2, 5, 10, ... that is not above a value above zero.
fn round_down(value: f64) -> f64 {
    let power = 10_f64.powi(value.log10().floor() as i32);
    [5.0, 2.0, 1.0].into_iter().map(|digit| digit * power).find(|round| *round <= value * 1.000_001).unwrap_or(power)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, lines_max: usize) -> Vec<String> {
        scale.grid(lines_max).into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn gridlines_are_round_numbers() {
        assert_eq!(labels(Scale::rounded([417.0].into_iter()), 6), ["0", "100", "200", "300", "400", "500"]);
        assert_eq!(labels(Scale::rounded([0.55].into_iter()), 6), ["0.0", "0.1", "0.2", "0.3", "0.4", "0.5", "0.6"]);
        assert_eq!(labels(Scale::ratios([3.0, 170.0].into_iter()), 6), ["2", "5", "10", "20", "50", "100", "200"]);
        assert_eq!(
            labels(Scale::ratios([0.03, 170.0].into_iter()), 6),
            ["", "", "0.1", "", "", "1", "", "", "10", "", "", "100", ""]
        );
    }

    #[test]
    fn every_scale_bears_every_value() {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, f64::MIN_POSITIVE, 0.5, 1.0, f64::MAX];
        for values in [&odd[..], &odd[..3], &odd[3..5], &odd[5..6], &[]] {
            let values = || values.iter().copied();
            for scale in
                [Scale::exact(values()), Scale::rounded(values()), Scale::ratios(values()), Scale::nines(values())]
            {
                for value in odd {
                    assert!((0.0..=1.0).contains(&scale.place(value)), "{scale:?} {value}");
                }
                for (value, label) in scale.grid(6) {
                    assert!(value.is_finite() && !label.contains("NaN"), "{scale:?} {value} {label}");
                }
                assert!(scale.grid(6).len() <= 40, "{scale:?}");
            }
        }
    }
}
