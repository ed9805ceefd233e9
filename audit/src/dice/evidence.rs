//! Evidence: e-values, kept as logarithms.

/// The capital of someone who began with 1 and bet against a hypothesis at its own odds: an e-value. Where the hypothesis
/// holds, it exceeds `c` at any moment with a probability of at most `1/c` (Ville 1939). Kept as a natural logarithm: what
/// wins for long outgrows every float.
#[derive(Clone, Copy, PartialEq, PartialOrd, Debug)]
pub struct Evidence(f64);

impl Evidence {
    /// Nothing was bet: 1.
    pub const NONE: Self = Self(0.0);

    /// An e-value.
    ///
    /// # Panics
    /// If it is not above zero.
    pub fn of(value: f64) -> Self {
        assert!(value > 0.0, "an e-value of nothing can win nothing back");
        Self(value.ln())
    }

    /// After a bet that multiplied it by `1 + gain`.
    ///
    /// # Panics
    /// If nothing is left of it: no bet here may risk everything.
    pub fn won(&mut self, gain: f64) {
        self.0 += gain.ln_1p();
        assert!(self.0.is_finite(), "a bet risks less than everything and wins a finite part");
    }

    /// The logarithm to base 10.
    pub fn log10(self) -> f64 {
        self.0 / std::f64::consts::LN_10
    }

    /// The value, as far as a float reaches.
    pub fn value(self) -> f64 {
        self.0.exp()
    }

    /// The mean of some, which is evidence again whatever they have to do with each other (Vovk and Wang 2021); `others` more
    /// are 1, because nothing was bet on them.
    pub fn mean(of: impl Iterator<Item = Self> + Clone, others: u64) -> Self {
        let rest = if others == 0 { f64::NEG_INFINITY } else { (others as f64).ln() };
        let most = of.clone().map(|one| one.0).fold(rest, f64::max);
        if most == f64::NEG_INFINITY {
            return Self::NONE;
        }
        let count = of.clone().count() as f64 + others as f64;
        // The largest is taken out first: the powers of evidence that has grown for long would exceed every float.
        let sum: f64 = of.map(|one| (one.0 - most).exp()).sum::<f64>() + (rest - most).exp();
        Self(most + (sum / count).ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_is_that_of_the_values_and_does_not_overflow() {
        let three = [Evidence::of(4.0), Evidence::of(1.0), Evidence::of(0.25)];
        assert!((Evidence::mean(three.into_iter(), 0).value() - 1.75).abs() < 1e-12);
        assert!((Evidence::mean(three.into_iter(), 7).value() - 1.225).abs() < 1e-12);
        assert_eq!(Evidence::mean([].into_iter(), 0), Evidence::NONE);
        assert!((Evidence::mean([].into_iter(), 5).value() - 1.0).abs() < 1e-12);
        let mut large = Evidence::NONE;
        (0..10_000).for_each(|_| large.won(9.0));
        assert!((large.log10() - 10_000.0).abs() < 1e-6);
        let mean = Evidence::mean([large, Evidence::NONE].into_iter(), 8);
        assert!((mean.log10() - 9_999.0).abs() < 1e-6);
    }
}
