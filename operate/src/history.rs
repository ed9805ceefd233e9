//! The last minutes of readings, and expressions over them: what a tile shows and an alert compares, here and, as PromQL, in
//! Prometheus and Grafana.

use std::collections::VecDeque;
use std::time::Duration;

use node::readings::{BUCKET_ENDS_US, Histogram};

use crate::metrics::metric;
use crate::reading::Reading;

/// Readings that are kept: ten minutes, one a second.
const READINGS_MAX: usize = 600;

/// Seconds over which a rate reaches in Prometheus at least, since it scrapes every few seconds.
const PROMETHEUS_SPAN: u32 = 60;

/// The last readings, the newest last.
#[derive(Default)]
pub struct History(VecDeque<Reading>);

impl History {
    /// Takes the newest.
    pub fn push(&mut self, reading: Reading) {
        if self.0.len() == READINGS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(reading);
    }

    /// The newest, if there is any.
    pub fn newest(&self) -> Option<&Reading> {
        self.0.back()
    }

    /// All readings, the oldest first.
    pub fn all(&self) -> impl Iterator<Item = &Reading> {
        self.0.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none yet.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The reading at a place and the one that was taken `seconds` before it, or the oldest; nothing for the first one.
    fn span(&self, at: usize, seconds: u32) -> Option<(&Reading, &Reading)> {
        let to = self.0.get(at)?;
        let since = to.at.checked_sub(Duration::from_secs(seconds.into()))?;
        let from = self.0.partition_point(|reading| reading.at < since).min(at.checked_sub(1)?);
        Some((&self.0[from], to))
    }
}

/// An expression over metrics.
#[derive(Clone, Copy, Debug)]
pub enum Expr {
    /// A metric as it is.
    Now(&'static str),
    /// How fast a counter grows a second, over the last seconds.
    Rate(&'static str, u32),
    /// By how much a counter grew in the last seconds: for what happens seldom.
    Increase(&'static str, u32),
    /// How fast a gauge grows a second, over the last seconds.
    Growth(&'static str, u32),
    /// A quantile of what was measured in the last seconds, in seconds.
    Quantile(f64, &'static str, u32),
    /// One by another.
    Ratio(&'static Expr, &'static Expr),
    /// One less another.
    Less(&'static Expr, &'static Expr),
    /// Two together.
    Sum(&'static Expr, &'static Expr),
    /// A number.
    Fixed(f64),
}

impl Expr {
    /// Its value at a place of history; nothing where it is not known, or nothing was measured.
    pub fn value_at(&self, history: &History, at: usize) -> Option<f64> {
        let value = match *self {
            Self::Now(name) => metric(name)?.value(history.0.get(at)?)?,
            Self::Rate(name, seconds) | Self::Growth(name, seconds) => {
                let (from, to) = history.span(at, seconds)?;
                let grown = metric(name)?.value(to)? - metric(name)?.value(from)?;
                grown / (to.at - from.at).as_secs_f64()
            }
            Self::Increase(name, seconds) => {
                let (from, to) = history.span(at, seconds)?;
                metric(name)?.value(to)? - metric(name)?.value(from)?
            }
            Self::Quantile(quantile, name, seconds) => {
                let (from, to) = history.span(at, seconds)?;
                let (before, after) = (metric(name)?.times(from)?, metric(name)?.times(to)?);
                quantile_of(quantile, before, after)?
            }
            Self::Ratio(a, b) => a.value_at(history, at)? / b.value_at(history, at)?,
            Self::Less(a, b) => a.value_at(history, at)? - b.value_at(history, at)?,
            Self::Sum(a, b) => a.value_at(history, at)? + b.value_at(history, at)?,
            Self::Fixed(number) => number,
        };
        value.is_finite().then_some(value)
    }

    /// Its value now.
    pub fn value(&self, history: &History) -> Option<f64> {
        self.value_at(history, history.len().checked_sub(1)?)
    }

    /// The same in Prometheus' language, for each node by itself. Rates reach over a minute at least there.
    pub fn promql(&self) -> String {
        let span = |seconds: u32| format!("[{}s]", seconds.max(PROMETHEUS_SPAN));
        match *self {
            Self::Now(name) => name.to_owned(),
            Self::Rate(name, seconds) => format!("sum by (instance) (rate({name}{}))", span(seconds)),
            Self::Increase(name, seconds) => format!("sum by (instance) (increase({name}{}))", span(seconds)),
            Self::Growth(name, seconds) => format!("deriv({name}{})", span(seconds)),
            Self::Quantile(quantile, name, seconds) => {
                format!("histogram_quantile({quantile}, sum by (instance, le) (rate({name}_bucket{})))", span(seconds))
            }
            Self::Ratio(a, b) => joined(a, "/", b),
            Self::Less(a, b) => joined(a, "-", b),
            Self::Sum(a, b) => joined(a, "+", b),
            Self::Fixed(number) => format!("vector({number})"),
        }
    }

    /// By how many seconds longer than here one event is seen in Prometheus, whose rates reach over more.
    pub fn seen_longer(&self) -> u32 {
        match *self {
            Self::Rate(_, seconds)
            | Self::Increase(_, seconds)
            | Self::Growth(_, seconds)
            | Self::Quantile(_, _, seconds) => PROMETHEUS_SPAN.saturating_sub(seconds),
            Self::Ratio(a, b) | Self::Less(a, b) | Self::Sum(a, b) => a.seen_longer().max(b.seen_longer()),
            Self::Now(_) | Self::Fixed(_) => 0,
        }
    }

    /// The metrics that it looks at.
    pub fn names(&self) -> Vec<&'static str> {
        match *self {
            Self::Now(name) | Self::Rate(name, _) | Self::Increase(name, _) | Self::Growth(name, _) => vec![name],
            Self::Quantile(_, name, _) => vec![name],
            Self::Ratio(a, b) | Self::Less(a, b) | Self::Sum(a, b) => [a.names(), b.names()].concat(),
            Self::Fixed(_) => Vec::new(),
        }
    }
}

/// Two expressions by an operator: those of one node, or one of them and a number.
fn joined(a: &Expr, operator: &str, b: &Expr) -> String {
    match b {
        Expr::Fixed(number) => format!("({} {operator} {number})", a.promql()),
        _ => format!("({} {operator} on (instance) {})", a.promql(), b.promql()),
    }
}

/// A quantile of what was counted between two histograms, in seconds, as `histogram_quantile` has it: linear inside a bucket,
/// and the last end for what is above all ends.
fn quantile_of(quantile: f64, before: &Histogram, after: &Histogram) -> Option<f64> {
    let counts: Vec<f64> = after.counts.iter().zip(&before.counts).map(|(a, b)| a.saturating_sub(*b) as f64).collect();
    let total: f64 = counts.iter().sum();
    if total == 0.0 {
        return None;
    }
    let wanted = quantile * total;
    let (mut below, mut low) = (0.0, 0.0);
    for (count, end) in counts.iter().zip(BUCKET_ENDS_US) {
        let high = end as f64 / 1e6;
        if *count > 0.0 && below + count >= wanted {
            return Some(low + (high - low) * (wanted - below) / count);
        }
        (below, low) = (below + count, high);
    }
    Some(low)
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    #[test]
    fn a_quantile_lies_in_its_bucket() {
        let (before, mut after) = (Histogram::zeroed(), Histogram::zeroed());
        assert_eq!(quantile_of(0.95, &before, &after), None, "nothing was measured");
        // 90 of at most 50 us, and 10 between 5 and 10 ms.
        (0..90).for_each(|_| after.add_us(40));
        (0..10).for_each(|_| after.add_us(9_000));
        let close = |found: Option<f64>, wanted: f64| found.is_some_and(|found| (found - wanted).abs() < 1e-9);
        assert!(close(quantile_of(0.5, &before, &after), 50e-6 * 50.0 / 90.0));
        assert!(close(quantile_of(0.95, &before, &after), 0.0075));
        let earlier = after;
        after.add_us(60_000_000);
        assert!(close(quantile_of(0.5, &earlier, &after), 5.0), "above all ends");
    }
}
