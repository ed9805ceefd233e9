//! The test of the faces: does every ordered pair of faces come once in 36, whatever came before?

use engine::Dice;

use super::evidence::Evidence;

/// Ordered pairs of faces.
pub const PAIRS: usize = 36;
/// How many rolls each bettor acts as if it had seen before the first, all pairs equally often. With 18, which is half a roll
/// for each pair, it is the estimator of Krichevsky and Trofimov (1981).
const PRIORS: [f64; 4] = [18.0, 144.0, 1_152.0, 9_216.0];

/// A bettor for each prior, with equal shares of the capital. Each bets on the next pair in proportion to how often it came so
/// far, prior included: a pair that came `n` times in `rolls` multiplies by `(36 n + prior) / (rolls + prior)`. That is the
/// ratio of a Dirichlet mixture to the uniform law (Lindon and Malek 2022). A small prior learns fast and pays for it; a large
/// one finds what is small and lasts.
#[derive(Clone, Debug)]
pub struct Faces {
    counts: [u64; PAIRS],
    rolls: u64,
    capital: [Evidence; PRIORS.len()],
}

impl Default for Faces {
    fn default() -> Self {
        Self { counts: [0; PAIRS], rolls: 0, capital: [Evidence::NONE; PRIORS.len()] }
    }
}

impl Faces {
    /// Takes the next roll.
    pub fn take(&mut self, dice: Dice) {
        let [first, second] = dice.faces().map(usize::from);
        let pair = (first - 1) * 6 + second - 1;
        for (capital, prior) in self.capital.iter_mut().zip(PRIORS) {
            let (count, rolls) = (self.counts[pair] as f64, self.rolls as f64);
            capital.won((PAIRS as f64 * count - rolls) / (rolls + prior));
        }
        // The roll is counted after all have bet on it: a bet that knows the roll proves nothing.
        self.counts[pair] += 1;
        self.rolls += 1;
    }

    /// Takes a roll that was not opened, whose faces nobody has shown: it counts as those that speak least against fair faces, so
    /// that whoever keeps some rolls back, for whatever reason, makes no evidence by it.
    pub fn forfeit(&mut self) {
        // It is counted under no pair, since nobody knows which it was.
        let least = self.counts.iter().copied().min().expect("there are 36 pairs") as f64;
        for (capital, prior) in self.capital.iter_mut().zip(PRIORS) {
            let rolls = self.rolls as f64;
            capital.won((PAIRS as f64 * least - rolls) / (rolls + prior));
        }
    }

    /// The evidence against fair faces so far.
    pub fn evidence(&self) -> Evidence {
        Evidence::mean(self.capital.iter().copied(), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(index: usize) -> Dice {
        Dice::new(index as u8 / 6 + 1, index as u8 % 6 + 1).expect("faces")
    }

    #[test]
    fn the_mean_over_all_36_next_rolls_is_what_it_was_before() {
        let mut faces = Faces::default();
        for roll in 0..300usize {
            let before = faces.evidence().value();
            let after = |index: usize| {
                let mut next = faces.clone();
                next.take(pair(index));
                next.evidence().value()
            };
            let mean = (0..PAIRS).map(after).sum::<f64>() / PAIRS as f64;
            assert!((mean / before - 1.0).abs() < 1e-12, "after {roll} rolls");
            faces.take(pair(roll * roll % 37 % PAIRS));
        }
    }

    #[test]
    fn a_die_that_favours_a_face_is_found() {
        let mut faces = Faces::default();
        // One roll in twelve is a double six instead of what it would be.
        for roll in 0..2_000usize {
            faces.take(pair(if roll.is_multiple_of(12) { 35 } else { roll * 7 % 36 }));
        }
        assert!(faces.evidence().log10() > 3.0, "{:?}", faces.evidence());
    }
}
