//! What values are counted in, and how they are written for people.

use bytesize::ByteSize;

/// What a value is counted in. The name of a metric ends with it, as Prometheus has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Things.
    Count,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// A share, from 0 to 1.
    Ratio,
    /// Chips.
    Chips,
    /// How scarce something is: 0 for low, 1 for medium, 2 for high.
    Level,
}

impl Unit {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::Bytes => "bytes",
            Self::Seconds => "seconds",
            Self::Ratio => "ratio",
            Self::Chips => "chips",
            Self::Level => "level",
        }
    }

    /// A value of it, for people.
    pub fn written(self, value: f64) -> String {
        match self {
            Self::Count | Self::Chips if value.abs() < 1.0 => format!("{}", (value * 100.0).round() / 100.0),
            Self::Count | Self::Chips => format!("{}", (value * 10.0).round() / 10.0),
            Self::Level => (if value < 0.5 {
                "low"
            } else if value < 1.5 {
                "medium"
            } else {
                "high"
            })
            .into(),
            Self::Bytes => ByteSize(value.max(0.0) as u64).to_string(),
            Self::Ratio => format!("{:.1} %", 100.0 * value),
            Self::Seconds if value >= 86_400.0 => format!("{:.1} days", value / 86_400.0),
            Self::Seconds if value >= 1.0 => format!("{value:.1} s"),
            Self::Seconds => format!("{:.1} ms", 1_000.0 * value),
        }
    }
}
