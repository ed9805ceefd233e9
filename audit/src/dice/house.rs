//! The test of the house's result: does it win what the exact odds say?

use engine::Dice;

use super::evidence::Evidence;
use super::worth::Gains;

/// What the bettors put up, in parts of their capital for each standard deviation that the house gains; each size is bet on the
/// house and against it.
const SIZES: [f64; 4] = [1.0 / 16.0, 1.0 / 4.0, 1.0, 4.0];
/// The part of the capital that a roll may cost at most.
const RISK_MAX: f64 = 0.75;
/// Chips below which what a roll can change is what a float rounds away.
const RANGE_MIN: f64 = 1e-6;

/// Bettors on and against the house, with equal shares of the capital. Before each roll the gain that each of the 36 rolls would
/// bring is known, and so is its mean; a bettor wins in proportion to what the house gains beyond the mean, and loses in
/// proportion to what it falls short (testing by betting; Shafer 2021, Waudby-Smith and Ramdas 2024). Chips count, not rolls: the
/// part of the capital that is put up for a chip is the same while bets are as usual, and smaller where a roll could cost more than
/// three quarters.
#[derive(Clone, Copy, Debug)]
pub struct HouseBettors {
    /// Sum of the variances of the rolls so far that could change anything, and how many they were.
    variance: f64,
    rolls: u64,
    /// What the house gained beyond the mean.
    beyond: f64,
    capital: [[Evidence; SIZES.len()]; 2],
}

impl Default for HouseBettors {
    fn default() -> Self {
        Self { variance: 0.0, rolls: 0, beyond: 0.0, capital: [[Evidence::NONE; SIZES.len()]; 2] }
    }
}

impl HouseBettors {
    /// Takes a roll, with what each roll would have gained.
    pub fn take(&mut self, gains: &Gains, dice: Dice) {
        self.bet(gains, Some(dice));
    }

    /// Takes a roll that was not opened: it costs every bettor as much as the worst of the 36 would.
    pub fn forfeit(&mut self, gains: &Gains) {
        self.bet(gains, None);
    }

    fn bet(&mut self, gains: &Gains, dice: Option<Dice>) {
        let (least, most) = gains.range();
        if most - least < RANGE_MIN {
            return;
        }
        let mean = gains.mean();
        let beyond = dice.map(|dice| gains.at(dice) - mean);
        self.rolls += 1;
        self.variance += gains.variance();
        self.beyond += beyond.unwrap_or(0.0);
        // This much is known before the roll: the deviation of a usual roll, this one's included.
        let usual = (self.variance / self.rolls as f64).sqrt();
        for (capital, (sign, loss_max)) in self.capital.iter_mut().zip([(1.0, mean - least), (-1.0, most - mean)]) {
            for (capital, size) in capital.iter_mut().zip(SIZES) {
                let part = (size / usual).min(RISK_MAX / loss_max);
                capital.won(part * beyond.map_or(-loss_max, |beyond| sign * beyond));
            }
        }
    }

    /// Chips that the house gained beyond what the exact odds say, bets that still lie counted at what they are worth.
    pub fn beyond(&self) -> f64 {
        self.beyond
    }

    /// The evidence so far that the house gains more, or less, than the odds say.
    pub fn evidence(&self) -> Evidence {
        Evidence::mean(self.capital.iter().flatten().copied(), 0)
    }
}
