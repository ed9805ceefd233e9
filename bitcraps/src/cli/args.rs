//! Arguments that several commands share.

use std::io::IsTerminal;
use std::time::Duration;

use clap::{Args, ValueEnum};
use engine::rules::DiceSource;

/// How a command prints what it found, where that is one thing.
#[derive(Args, Clone, Copy, PartialEq, Eq, Debug)]
pub struct OutputArgs {
    /// How to print the result.
    #[arg(long = "output", value_enum, value_name = "OUTPUT", default_value_t)]
    pub format: Format,
}

impl OutputArgs {
    /// Whether people read it.
    pub fn is_for_people(self) -> bool {
        self.format == Format::Table
    }

    /// Whether somebody watches a status line meanwhile.
    pub fn is_watched(self) -> bool {
        self.is_for_people() && std::io::stderr().is_terminal()
    }
}

/// A time as people write it, such as 30s, 20m or 1h; a bare number is seconds.
///
/// # Errors
/// In words, if it is none.
pub fn time(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    time.ok_or_else(|| "a time such as 30s, 20m or 1h, or a number of seconds".into())
}

/// What the dice of all tables follow from.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub enum DiceOf {
    /// The beacon of the validators.
    #[default]
    Beacon,
    /// The beacon, and a value that each table's player brings: one seat a table, and neither side alone foresees a roll.
    Both,
}

impl From<DiceOf> for DiceSource {
    fn from(dice: DiceOf) -> Self {
        match dice {
            DiceOf::Beacon => Self::Beacon,
            DiceOf::Both => Self::Both,
        }
    }
}

/// A number of workers.
pub fn workers_in_range(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(workers) if (1..=engine::limits::WORKERS_MAX).contains(&workers) => Ok(workers),
        _ => Err(format!("a number from 1 to {}", engine::limits::WORKERS_MAX)),
    }
}

/// How one thing is printed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON object.
    Json,
    /// One JSON object a line.
    Ndjson,
}

/// How a command prints what it found, where that is rows.
#[derive(Args, Clone, Copy, PartialEq, Eq, Debug)]
pub struct RowsArgs {
    /// How to print the result.
    #[arg(long = "output", value_enum, value_name = "OUTPUT", default_value_t)]
    pub format: RowsFormat,
}

impl RowsArgs {
    /// Whether somebody watches a status line meanwhile.
    pub fn is_watched(self) -> bool {
        self.format == RowsFormat::Table && std::io::stderr().is_terminal()
    }
}

/// How rows are printed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, ValueEnum)]
pub enum RowsFormat {
    /// For people.
    #[default]
    Table,
    /// One JSON object.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma separated values.
    Csv,
}

impl From<OutputArgs> for RowsFormat {
    fn from(output: OutputArgs) -> Self {
        match output.format {
            Format::Table => Self::Table,
            Format::Json => Self::Json,
            Format::Ndjson => Self::Ndjson,
        }
    }
}

impl From<RowsArgs> for RowsFormat {
    fn from(output: RowsArgs) -> Self {
        output.format
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_people_write_it() {
        for (text, seconds) in [("20", 20), ("20s", 20), ("90m", 5_400), ("1h30m", 5_400), ("168h", 604_800), ("0", 0)]
        {
            assert_eq!(time(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "soon", "-5s", "20 potatoes", "1.5"] {
            assert!(time(text).expect_err(text).contains("such as 30s"), "{text}");
        }
    }
}
