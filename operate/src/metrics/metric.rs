//! One line of the table: a name, a unit, a sentence, and where in a reading the value is.

use node::readings::Histogram;

use super::unit::Unit;
use crate::reading::Reading;

/// Where a metric's value is in a reading, which also says what kind it is.
#[derive(Clone, Copy)]
pub enum Source {
    /// A number that only grows.
    Counter(fn(&Reading) -> Option<u64>),
    /// A number that only grows, and is no whole one.
    FractionCounter(fn(&Reading) -> Option<f64>),
    /// How it is now.
    Gauge(fn(&Reading) -> Option<f64>),
    /// A number that only grows, for each value of a label.
    Labelled(&'static str, fn(&Reading) -> Vec<(String, f64)>),
    /// How long something took, each time, by buckets.
    Times(fn(&Reading) -> &Histogram),
    /// How long something took, each time, by buckets, for each value of a label.
    LabelledTimes(&'static str, fn(&Reading) -> &[(&'static str, Histogram)]),
}

/// One metric.
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// What it is counted in.
    pub unit: Unit,
    /// Where its value is.
    pub source: Source,
    /// What it means, in a sentence.
    pub help: &'static str,
}

impl Metric {
    /// Its kind, as Prometheus names it.
    pub fn kind(&self) -> &'static str {
        match self.source {
            Source::Counter(_) | Source::FractionCounter(_) | Source::Labelled(..) => "counter",
            Source::Gauge(_) => "gauge",
            Source::Times(_) | Source::LabelledTimes(..) => "histogram",
        }
    }

    /// Its value as one number, if it is one; of labelled ones, all together.
    pub fn value(&self, reading: &Reading) -> Option<f64> {
        match self.source {
            Source::Counter(read) => read(reading).map(|count| count as f64),
            Source::FractionCounter(read) | Source::Gauge(read) => read(reading),
            Source::Labelled(_, read) => Some(read(reading).iter().map(|(_, value)| value).sum()),
            Source::Times(_) | Source::LabelledTimes(..) => None,
        }
    }

    /// The label that its values are parted by, if they are.
    pub fn label(&self) -> Option<&'static str> {
        match self.source {
            Source::Labelled(label, _) | Source::LabelledTimes(label, _) => Some(label),
            _ => None,
        }
    }

    /// Its buckets, if it has any.
    pub fn times<'a>(&self, reading: &'a Reading) -> Option<&'a Histogram> {
        match self.source {
            Source::Times(read) => Some(read(reading)),
            _ => None,
        }
    }
}

pub(super) const fn counter(name: &'static str, read: fn(&Reading) -> Option<u64>, help: &'static str) -> Metric {
    Metric { name, unit: Unit::Count, source: Source::Counter(read), help }
}

pub(super) const fn gauge(
    name: &'static str,
    unit: Unit,
    read: fn(&Reading) -> Option<f64>,
    help: &'static str,
) -> Metric {
    Metric { name, unit, source: Source::Gauge(read), help }
}

pub(super) const fn times(name: &'static str, read: fn(&Reading) -> &Histogram, help: &'static str) -> Metric {
    Metric { name, unit: Unit::Seconds, source: Source::Times(read), help }
}
