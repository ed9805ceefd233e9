//! What came back: counted and timed, second by second.
//!
//! The times of the running second are a histogram, of which three figures are left once the next begins: a run of days keeps one
//! histogram, and not one for each of its seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use engine::io::Verdict;
use hdrhistogram::Histogram;
use net::wire::AnswerVerdict;

/// The longest time that is told apart: an intent has long expired by then.
const LONGEST_US: u64 = 600_000_000;

/// Counts and times of a run.
pub struct Recorder {
    /// From when an intent was due until its receipt, in microseconds.
    pub receipts: Histogram<u64>,
    /// From when an intent was due until the first word that the node has it: an acknowledgement, or a receipt that came
    /// without one. In microseconds.
    pub acknowledgements: Histogram<u64>,
    /// From when an intent was due until the generator handed it to its connection, in microseconds: part of each of the others.
    pub lateness: Histogram<u64>,
    /// Refused by code, shed included.
    pub refusals: BTreeMap<&'static str, u64>,
    seconds: Vec<Second>,
    /// Times of the receipts that arrive in the running second.
    running: Histogram<u64>,
    /// Which one that is.
    running_at: usize,
    /// Sums.
    pub total: Counts,
}

/// Counts of a second, or of all.
#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    /// Intents that were due.
    pub offered: u64,
    /// Acknowledged, be it by their receipt.
    pub acknowledged: u64,
    /// Applied, with a receipt.
    pub settled: u64,
    /// Refused with a receipt, or shed.
    pub refused: u64,
}

/// One second of a run.
#[derive(Clone, Copy, Default, Debug)]
pub struct Second {
    /// What happened in it.
    pub counts: Counts,
    /// Half of the receipts that arrived in it came within this time, in milliseconds.
    pub p50_ms: f64,
    /// 95 of 100 receipts that arrived in it came within this time, in milliseconds.
    pub p95_ms: f64,
    /// All receipts that arrived in it came within this time, in milliseconds.
    pub max_ms: f64,
}

fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, digits).expect("fixed bounds")
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            receipts: histogram(3),
            acknowledgements: histogram(3),
            lateness: histogram(3),
            refusals: BTreeMap::new(),
            seconds: Vec::new(),
            running: histogram(2),
            running_at: 0,
            total: Counts::default(),
        }
    }
}

impl Recorder {
    fn second(&mut self, at: Duration) -> &mut Second {
        let index = at.as_secs() as usize;
        if self.seconds.len() <= index {
            self.seconds.resize(index + 1, Second::default());
        }
        &mut self.seconds[index]
    }

    /// A second with the times of its receipts, of which the running one's are still in the histogram.
    fn timed(&self, at: usize, second: Second) -> Second {
        if at != self.running_at {
            return second;
        }
        let [p50_ms, p95_ms, max_ms] = [0.5, 0.95, 1.0].map(|quantile| quantile_ms(&self.running, quantile));
        Second { p50_ms, p95_ms, max_ms, ..second }
    }

    /// The run second by second.
    pub fn seconds(&self) -> impl Iterator<Item = Second> {
        self.seconds.iter().enumerate().map(|(at, second)| self.timed(at, *second))
    }

    /// The time of a receipt that arrived at `now`. One that another thread had before the second began counts in it.
    fn time(&mut self, now: Duration, micros: u64) {
        let ended = self.running_at;
        if now.as_secs() as usize > ended {
            if let Some(second) = self.seconds.get(ended).copied() {
                self.seconds[ended] = self.timed(ended, second);
            }
            self.running.reset();
            self.running_at = now.as_secs() as usize;
        }
        self.running.record(micros).expect("within the bounds");
    }

    /// An intent was due at `at`.
    pub fn offered(&mut self, at: Duration) {
        self.total.offered += 1;
        self.second(at).counts.offered += 1;
    }

    /// An intent that was due at `due` had left the generator at `left`, both since the start.
    pub fn left(&mut self, due: Duration, left: Duration) {
        let micros = (left.saturating_sub(due).as_micros() as u64).clamp(1, LONGEST_US);
        self.lateness.record(micros).expect("within the bounds");
    }

    /// An answer arrived at `now` for an intent that was due at `due`, both since the start. `first` if it is the first
    /// word about it.
    pub fn answered(&mut self, verdict: AnswerVerdict, first: bool, due: Duration, now: Duration) {
        let micros = (now.saturating_sub(due).as_micros() as u64).clamp(1, LONGEST_US);
        if first && !matches!(verdict, AnswerVerdict::Shed(_)) {
            self.total.acknowledged += 1;
            self.second(now).counts.acknowledged += 1;
            self.acknowledgements.record(micros).expect("within the bounds");
        }
        let code = match verdict {
            AnswerVerdict::Acknowledged => return,
            AnswerVerdict::Receipt { verdict: Verdict::Applied | Verdict::OddsReturned, .. } => None,
            AnswerVerdict::Receipt { verdict: Verdict::Refused(refusal), .. } => Some(refusal.name()),
            AnswerVerdict::Shed(reason) => Some(reason.name()),
        };
        // A refusal is an answer too, and its time counts; what was shed has no receipt.
        if !matches!(verdict, AnswerVerdict::Shed(_)) {
            self.receipts.record(micros).expect("within the bounds");
            self.time(now, micros);
        }
        match code {
            None => {
                self.total.settled += 1;
                self.second(now).counts.settled += 1;
            }
            Some(code) => {
                self.total.refused += 1;
                self.second(now).counts.refused += 1;
                *self.refusals.entry(code).or_default() += 1;
            }
        }
    }

    /// Offered and not answered for good: lost, unless it is still on its way.
    pub fn unanswered(&self) -> u64 {
        // What was sent a moment ago may be answered before it is counted.
        self.total.offered.saturating_sub(self.total.settled + self.total.refused)
    }
}

/// Milliseconds of a quantile; zero if there is nothing.
pub fn quantile_ms(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    if histogram.is_empty() { 0.0 } else { histogram.value_at_quantile(quantile) as f64 / 1_000.0 }
}

/// The distribution as pairs of quantile and milliseconds.
pub fn cdf(histogram: &Histogram<u64>) -> Vec<(f64, f64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    let steps = (0..100).map(|percent| f64::from(percent) / 100.0);
    let tail = [0.991, 0.992, 0.993, 0.994, 0.995, 0.996, 0.997, 0.998, 0.999, 0.9995, 0.9999, 0.99999, 1.0];
    steps.chain(tail).map(|quantile| (quantile, quantile_ms(histogram, quantile))).collect()
}

#[cfg(test)]
mod tests {
    use engine::Height;

    use super::*;

    #[test]
    fn a_second_that_is_over_keeps_three_figures_and_no_histogram() {
        const { assert!(size_of::<Second>() <= 64, "a week of them is some megabytes") };
        let applied = AnswerVerdict::Receipt { height: Height(1), index: 0, verdict: Verdict::Applied };
        let mut recorder = Recorder::default();
        let ms = Duration::from_millis;
        for at in (0..900).map(|second| ms(1_000 * second + 500)) {
            recorder.offered(at);
            recorder.answered(applied, true, at, at + ms(10));
        }
        // The last second is still running, and the one before is heard of late.
        recorder.answered(applied, true, ms(899_450), ms(899_750));
        recorder.answered(applied, true, ms(898_900), ms(898_999));
        let seconds: Vec<Second> = recorder.seconds().collect();
        assert_eq!(seconds.len(), 900);
        let near = |found: f64, wanted: f64| (found - wanted).abs() < wanted / 50.0;
        for second in &seconds[..899] {
            let Second { counts, p50_ms, p95_ms, max_ms } = second;
            assert!([p50_ms, p95_ms, max_ms].into_iter().all(|ms| near(*ms, 10.0)), "{second:?}");
            assert_eq!(counts.offered, 1);
        }
        assert_eq!((seconds[897].counts.settled, seconds[898].counts.settled), (1, 2));
        let last = seconds[899];
        assert!(near(last.p50_ms, 99.0) && near(last.max_ms, 300.0) && last.counts.settled == 2, "{last:?}");
    }
}
