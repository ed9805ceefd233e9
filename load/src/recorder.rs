//! What came back: counted and timed, second by second.

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
    /// Refused by code, shed included.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Second by second.
    pub seconds: Vec<Second>,
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
pub struct Second {
    /// What happened in it.
    pub counts: Counts,
    /// Times of the receipts that arrived in it.
    pub receipts: Histogram<u64>,
}

fn histogram(digits: u8) -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_US, digits).expect("fixed bounds")
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            receipts: histogram(3),
            acknowledgements: histogram(3),
            refusals: BTreeMap::new(),
            seconds: Vec::new(),
            total: Counts::default(),
        }
    }
}

impl Recorder {
    fn second(&mut self, at: Duration) -> &mut Second {
        let index = at.as_secs() as usize;
        while self.seconds.len() <= index {
            self.seconds.push(Second { counts: Counts::default(), receipts: histogram(2) });
        }
        &mut self.seconds[index]
    }

    /// An intent was due at `at`.
    pub fn offered(&mut self, at: Duration) {
        self.total.offered += 1;
        self.second(at).counts.offered += 1;
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
            self.second(now).receipts.record(micros).expect("within the bounds");
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
