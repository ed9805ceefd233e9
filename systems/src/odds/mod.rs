//! Exact odds of every bet, from the automata that the game runs.
//!
//! A bet is an absorbing Markov chain over (puck, spot, progress); `chain` solves it for the probability of each tier
//! and the expected number of rolls. What a tier pays is the table's rules', so that one chain serves all variants.

mod chain;

use engine::dice::BOX_NUMBERS;
use engine::{BetId, Puck, Ratio, Spot};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};

use crate::catalogue::{self, BETS, Catalogue, Family, Flat, Pay, Placement};
use chain::Absorbed;
pub use chain::State;

/// The exact odds of one bet, per bet made, always working.
#[derive(Clone, PartialEq, Debug)]
pub struct Odds {
    /// The bet that the odds are of.
    pub bet: BetId,
    /// Probability of any profit.
    pub p_win: BigRational,
    /// Probability of getting exactly the wager back.
    pub p_push: BigRational,
    /// Expected profit per chip put down; commission that is charged in advance is put down too.
    pub ev: BigRational,
    /// Variance of the profit per chip wagered.
    pub variance: BigRational,
    /// Expected rolls until the bet is decided, counting those on which it works.
    pub rolls: BigRational,
    /// The most it can win per chip.
    pub max_win: Ratio,
}

fn rational(num: u64, den: u64) -> BigRational {
    BigRational::new(BigInt::from(num), BigInt::from(den))
}

fn of_ratio(ratio: Ratio) -> BigRational {
    rational(ratio.num.into(), ratio.den.into())
}

/// A value in decimal digits with `places` behind the point, the last one rounded half away from zero.
pub fn decimal(value: &BigRational, places: u32) -> String {
    let scale = BigInt::from(10).pow(places);
    let half = BigRational::new(BigInt::from(1), BigInt::from(2));
    let scaled = (value.abs() * BigRational::from_integer(scale.clone()) + half).floor().to_integer();
    // A value that rounds to nothing has no sign, or output would say -0.
    let sign = if value.is_negative() && !scaled.is_zero() { "-" } else { "" };
    let (whole, rest) = (&scaled / &scale, &scaled % &scale);
    format!("{sign}{whole}.{rest:0>width$}", width = places as usize)
}

/// Ways of a total among the 36 ordered rolls.
fn ways(total: u8) -> u64 {
    u64::from(if total <= 7 { total - 1 } else { 13 - total })
}

/// Where a bet starts: without progress, on the puck that its placement asks for. Odds start on each number, weighted
/// as the line bet reaches it.
fn starts(bet: BetId) -> Vec<(Puck, Spot, BigRational)> {
    let spec = &BETS[bet.index()];
    let each = |place: &dyn Fn(u8) -> (Puck, Spot)| {
        let weight = |number: u8| rational(ways(number), BOX_NUMBERS.iter().map(|n| ways(*n)).sum());
        BOX_NUMBERS.iter().map(|number| (place(*number).0, place(*number).1, weight(*number))).collect()
    };
    match (spec.family, spec.family.placement()) {
        (Family::Odds(Flat::Pass | Flat::DontPass), _) => each(&|number| (Puck::On(number), Spot(bet.0))),
        (Family::Odds(_), _) => {
            each(&|number| (Puck::Off, catalogue::spot_of(bet, number).expect("odds stand on box numbers")))
        }
        (_, Placement::PuckOn) => vec![(Puck::On(BOX_NUMBERS[0]), Spot(bet.0), BigRational::one())],
        _ => vec![(Puck::Off, Spot(bet.0), BigRational::one())],
    }
}

/// The probability of each tier of a bet's family, and its expected rolls. Depends on no rules.
fn absorbed(bet: BetId) -> Absorbed {
    let mut total = Absorbed::default();
    let starts = starts(bet);
    assert!(
        starts.iter().map(|(_, _, weight)| weight).sum::<BigRational>().is_one(),
        "a bet begins in one of its ways"
    );
    for (puck, spot, weight) in starts {
        total.add(&chain::solve(puck, spot), &weight);
    }
    total
}

/// The odds of one bet under a table's rules.
pub fn odds_of(catalogue: &Catalogue, bet: BetId) -> Odds {
    weigh(catalogue, bet, &absorbed(bet))
}

/// The odds of every bet, in catalogue order.
pub fn all_odds(catalogue: &Catalogue) -> Vec<Odds> {
    use rayon::prelude::*;
    BETS.par_iter().map(|bet| odds_of(catalogue, bet.id)).collect()
}

fn weigh(catalogue: &Catalogue, bet: BetId, absorbed: &Absorbed) -> Odds {
    let commission = of_ratio(catalogue.commission(Spot(bet.0)));
    let zero = BigRational::zero;
    let (mut p_win, mut p_push, mut mean, mut square) = (zero(), zero(), zero(), zero());
    // What is zipped ends with the shortest: a tier without its pay would count for nothing.
    assert_eq!(catalogue.pays(bet).len(), absorbed.tiers.len(), "every tier has its pay");
    for (pay, p) in catalogue.pays(bet).iter().zip(&absorbed.tiers) {
        let profit = match pay {
            Pay::Win(ratio) => {
                p_win += p;
                of_ratio(*ratio) - &commission
            }
            Pay::Push => {
                p_push += p;
                zero()
            }
            Pay::Lose => -BigRational::one() - &commission,
        };
        mean += p * &profit;
        square += p * &profit * &profit;
    }
    assert!(&p_win + &p_push <= BigRational::one(), "a bet ends in one way");
    let variance = square - &mean * &mean;
    assert!(!variance.is_negative(), "a square is not below the square of its mean");
    // Commission that is charged in advance is put down with the wager, and so divides what is expected too.
    let ev = mean / (BigRational::one() + commission);
    let (rolls, max_win) = (absorbed.rolls.clone(), catalogue.max_win(Spot(bet.0)));
    Odds { bet, p_win, p_push, ev, variance, rolls, max_win }
}

/// The chips that a bet is expected to bring back for each chip wagered, in a state and in every one that it can come to
/// from there, if it works on every roll: the wager with its profit where it wins, what was held where it is returned.
pub fn worth_from(catalogue: &Catalogue, first: State) -> Vec<(State, BigRational)> {
    let spot = first.spot;
    let held = BigRational::one() + of_ratio(catalogue.commission(spot));
    let back = |pay: &Pay| match pay {
        Pay::Win(ratio) => BigRational::one() + of_ratio(*ratio),
        Pay::Push => held.clone(),
        Pay::Lose => BigRational::zero(),
    };
    let backs: Vec<BigRational> = catalogue.pays(catalogue::bet_of(spot)).iter().map(back).collect();
    assert_eq!(backs.len(), catalogue::tiers(spot), "every tier has what it brings back");
    let worth = |absorbed: Absorbed| backs.iter().zip(&absorbed.tiers).map(|(back, p)| back * p).sum();
    chain::solve_from(first).into_iter().map(|(state, absorbed)| (state, worth(absorbed))).collect()
}

/// The first bet under which the player has a positive expectation, with it: rules that genesis must refuse.
///
/// Only bets that pay otherwise than under CANON-1 are solved; that no bet of CANON-1 favours the player is a fact of
/// the catalogue, which a test holds.
pub fn favours_player(catalogue: &Catalogue) -> Option<(BetId, BigRational)> {
    let canon = Catalogue::new(&engine::TableRules::default()).expect("CANON-1 is a table's rules");
    let differs = |bet: &BetId| {
        catalogue.pays(*bet) != canon.pays(*bet) || catalogue.commission(Spot(bet.0)) != canon.commission(Spot(bet.0))
    };
    BETS.iter().map(|bet| bet.id).filter(differs).find_map(|bet| {
        let ev = odds_of(catalogue, bet).ev;
        ev.is_positive().then_some((bet, ev))
    })
}
