//! What bets are worth, and what each roll that may come does to that.

use engine::dice::{PUCKS, ROLLS};
use engine::limits::SPOTS;
use engine::{Chips, Dice, Puck, Spot};
use num_traits::ToPrimitive;
use systems::catalogue::{Pay, Transition, states};
use systems::ledger::held;
use systems::odds::{State, worth_from};
use systems::{Catalogue, FeltBet};

/// What a table's bets gain the house, by unordered roll: chips that they are worth less after it.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Gains([f64; ROLLS]);

/// A part of 36: how often an unordered roll comes.
fn weight(roll: usize) -> f64 {
    f64::from(Dice::from_roll_index(roll).ways()) / 36.0
}

impl Gains {
    /// No bet.
    pub const NONE: Self = Self([0.0; ROLLS]);

    /// Gains by unordered roll.
    pub fn of(by_roll: [f64; ROLLS]) -> Self {
        assert!(by_roll.iter().all(|gain| gain.is_finite()), "a gain is a number of chips");
        Self(by_roll)
    }

    /// The gain at a roll.
    pub fn at(&self, dice: Dice) -> f64 {
        self.0[dice.roll_index()]
    }

    /// The exact expectation.
    pub fn mean(&self) -> f64 {
        self.0.iter().enumerate().map(|(roll, gain)| weight(roll) * gain).sum()
    }

    /// The exact variance.
    pub fn variance(&self) -> f64 {
        let mean = self.mean();
        self.0.iter().enumerate().map(|(roll, gain)| weight(roll) * (gain - mean).powi(2)).sum()
    }

    /// The least and the most.
    pub fn range(&self) -> (f64, f64) {
        let least = self.0.iter().copied().fold(f64::INFINITY, f64::min);
        (least, self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max))
    }
}

/// What a chip on a bet is worth, by state: solved where it is first asked for.
pub struct Worths {
    /// By puck and spot, then by progress; not a number where it was not asked for.
    known: Vec<Vec<f64>>,
}

impl Default for Worths {
    fn default() -> Self {
        Self { known: vec![Vec::new(); PUCKS * SPOTS] }
    }
}

impl Worths {
    fn place(&mut self, state: State) -> &mut f64 {
        let of_spot = &mut self.known[state.puck.index() * SPOTS + state.spot.index()];
        if of_spot.is_empty() {
            of_spot.resize(usize::from(states(state.spot)), f64::NAN);
        }
        &mut of_spot[usize::from(state.progress)]
    }

    /// Chips that a chip is expected to bring back.
    fn worth(&mut self, catalogue: &Catalogue, state: State) -> f64 {
        if self.place(state).is_nan() {
            // Solving a state solves those that it leads to: each is asked for once.
            for (state, worth) in worth_from(catalogue, state) {
                *self.place(state) = worth.to_f64().expect("a ratio of chips is near some float");
            }
        }
        *self.place(state)
    }

    /// What each roll would gain the house by one bet: an exact account of what the rules do with it, and what is left of
    /// it at its worth. Whether the worth is right changes no expectation, since the same worth is on both sides.
    fn add_bet(&mut self, gains: &mut [f64; ROLLS], catalogue: &Catalogue, laid: &FeltBet) {
        let FeltBet { puck, bet, .. } = *laid;
        let (spot, amount) = (bet.spot, f64::from(bet.amount));
        let works = bet.flags.works(catalogue.default_working(puck).contains(spot));
        let held = held(bet.amount, catalogue.commission(spot)).0 as f64;
        let now = amount * self.worth(catalogue, State { puck, spot, progress: bet.progress });
        for (roll, gain) in gains.iter_mut().enumerate() {
            let dice = Dice::from_roll_index(roll);
            let puck_after = puck.roll(dice).1;
            let mut left = |spot: Spot, progress| {
                amount * self.worth(catalogue, State { puck: settled_puck(spot, puck, puck_after), spot, progress })
            };
            let after = match catalogue.transition(catalogue.row(puck, dice), spot, bet.progress, works) {
                Transition::Stay => left(spot, bet.progress),
                Transition::Advance(progress) => left(spot, progress),
                Transition::Travel(to) => left(to, 0),
                Transition::End(Pay::Win(ratio)) => amount + ratio.floor_of(bet.amount) as f64,
                Transition::End(Pay::Lose) => 0.0,
                Transition::End(Pay::Push) | Transition::Return => held,
            };
            *gain += now - after;
        }
    }

    /// What each roll would gain the house by all bets of a table.
    pub fn gains<'a>(&mut self, catalogue: &Catalogue, laid: impl Iterator<Item = &'a FeltBet>) -> Gains {
        let mut gains = [0.0; ROLLS];
        laid.for_each(|bet| self.add_bet(&mut gains, catalogue, bet));
        Gains::of(gains)
    }
}

/// Chips that a roll would pay to the rail at once for a bet that lay.
pub fn paid(catalogue: &Catalogue, laid: &FeltBet, dice: Dice) -> Chips {
    let FeltBet { puck, bet, .. } = *laid;
    let works = bet.flags.works(catalogue.default_working(puck).contains(bet.spot));
    match catalogue.transition(catalogue.row(puck, dice), bet.spot, bet.progress, works) {
        Transition::End(Pay::Win(ratio)) => Chips(u64::from(bet.amount) + ratio.floor_of(bet.amount)),
        Transition::End(Pay::Push) | Transition::Return => held(bet.amount, catalogue.commission(bet.spot)),
        _ => Chips::ZERO,
    }
}

/// The puck of a state: one for all where the spot does not look at it.
fn settled_puck(spot: Spot, before: Puck, after: Puck) -> Puck {
    if systems::catalogue::ignores_puck(spot) { before } else { after }
}
