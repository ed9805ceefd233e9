//! What a bet is worth, as `bitcraps odds` says it, computed once for each bet and set of rules when it is first asked.

use std::sync::OnceLock;

use engine::{BetId, Dice, Puck, Ratio, Spot};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;
use systems::catalogue::{BETS, Family, Pay, Placement, Transition, bet_of, number_of};
use systems::odds::{decimal, odds_of};
use systems::{Catalogue, Setup};

/// Characters up to which a fraction is shown beside its decimals.
const FRACTION_CHARS: usize = 13;

/// The exact worth of a bet in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Worth {
    /// What it pays to 1.
    pub pays: String,
    /// Probability of a profit, in percent.
    pub p_win: String,
    /// Probability of a profit as a fraction, where that is short.
    pub p_win_fraction: Option<String>,
    /// Probability of a push in percent, where there is one.
    pub p_push: Option<String>,
    /// Expected profit per chip.
    pub ev: String,
    /// Expected profit per chip as a fraction, where that is short.
    pub ev_fraction: Option<String>,
    /// The house edge in percent.
    pub edge: String,
    /// Expected rolls.
    pub rolls: String,
}

/// The worth of every bet under every set of a chain's rules.
pub struct OddsBook {
    setup: Setup,
    cells: Box<[OnceLock<Worth>]>,
}

impl OddsBook {
    /// An empty book.
    pub fn new(setup: Setup) -> Self {
        let cells = (0..setup.catalogues.len() * BETS.len()).map(|_| OnceLock::new()).collect();
        Self { setup, cells }
    }

    /// The worth of a bet under the rules with this number; the bets with most progress take tenths of a second once.
    ///
    /// # Panics
    /// If the chain has no rules of this number: tables name rules by `t % rules`.
    pub fn worth(&self, rules: usize, bet: BetId) -> &Worth {
        let cell = &self.cells[rules * BETS.len() + bet.index()];
        cell.get_or_init(|| worth(&self.setup.catalogues[rules], bet))
    }

    /// Computes every bet of some rules. A thread of its own may do this, so that no cursor ever waits.
    pub fn fill(&self, rules: usize) {
        BETS.iter().for_each(|bet| {
            self.worth(rules, bet.id);
        });
    }
}

fn worth(catalogue: &Catalogue, bet: BetId) -> Worth {
    let odds = odds_of(catalogue, bet);
    let percent = |value: &BigRational| decimal(&(value * BigRational::from_integer(BigInt::from(100))), 4) + "%";
    Worth {
        pays: catalogue.pays_text(bet),
        p_win: percent(&odds.p_win),
        p_win_fraction: fraction(&odds.p_win),
        p_push: (!odds.p_push.is_zero()).then(|| percent(&odds.p_push)),
        ev: decimal(&odds.ev, 6),
        ev_fraction: fraction(&odds.ev),
        edge: percent(&-odds.ev),
        rolls: decimal(&odds.rolls, 2),
    }
}

fn fraction(value: &BigRational) -> Option<String> {
    let text = value.to_string();
    (text.len() <= FRACTION_CHARS && text.contains('/')).then_some(text)
}

/// What the next roll can do to a bet, in the 36 ways that two dice fall.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Ways {
    /// Ways that win.
    pub win: u32,
    /// Ways that lose.
    pub lose: u32,
    /// Ways that give the wager back.
    pub push: u32,
}

/// The next roll's ways for a working bet on `spot` with this progress, with the puck where the bet can lie: where the
/// puck stands, or the nearest to it that the bet's placement allows.
pub fn ways(catalogue: &Catalogue, spot: Spot, progress: u16, puck: Puck) -> Ways {
    let family = BETS[bet_of(spot).index()].family;
    let puck = match (family.placement(), puck) {
        (Placement::PuckOn, Puck::Off) if matches!(family, Family::Odds(_)) => Puck::On(6),
        _ => puck,
    };
    // A row that the node told with a progress that no such bet has is read as one at its start.
    let progress = if progress < family.states() { progress } else { 0 };
    let mut ways = Ways::default();
    for dice in (0..engine::dice::ROLLS).map(Dice::from_roll_index) {
        match catalogue.transition(catalogue.row(puck, dice), spot, progress, true) {
            Transition::End(Pay::Win(_)) => ways.win += dice.ways(),
            Transition::End(Pay::Lose) => ways.lose += dice.ways(),
            Transition::End(Pay::Push) | Transition::Return => ways.push += dice.ways(),
            Transition::Stay | Transition::Advance(_) | Transition::Travel(_) => {}
        }
    }
    ways
}

/// The wager of which every multiple is paid without rounding (R1). Odds with a number pay as that number does.
pub fn exact_multiple(catalogue: &Catalogue, spot: Spot) -> u32 {
    let bet = bet_of(spot);
    let win = |pay: &Pay| if let Pay::Win(Ratio { den, .. }) = pay { Some(*den) } else { None };
    let pays = catalogue.pays(bet);
    let own = match (BETS[bet.index()].family, number_of(spot).and_then(engine::dice::box_index)) {
        (Family::Odds(_), Some(index)) => pays.get(index + 1).and_then(win),
        _ => None,
    };
    own.unwrap_or_else(|| pays.iter().filter_map(win).fold(1, lcm))
}

fn lcm(a: u32, b: u32) -> u32 {
    let (mut x, mut y) = (a, b);
    while y != 0 {
        (x, y) = (y, x % y);
    }
    a / x * b
}

#[cfg(test)]
mod tests {
    use super::*;
    use systems::catalogue::bet_named;

    fn bet(name: &str) -> BetId {
        bet_named(name).expect("a bet of the catalogue")
    }

    #[test]
    fn a_bet_is_worth_what_the_rules_page_says() {
        let catalogue = Catalogue::new(&engine::TableRules::default()).expect("CANON-1");
        let place = worth(&catalogue, bet("place_6"));
        assert_eq!((&*place.pays, &*place.p_win, &*place.edge), ("7:6", "45.4545%", "1.5152%"));
        assert_eq!((place.p_win_fraction.as_deref(), place.ev_fraction.as_deref()), (Some("5/11"), Some("-1/66")));
        assert_eq!(worth(&catalogue, bet("dont_pass")).p_push.as_deref(), Some("2.7778%"));
        assert_eq!(worth(&catalogue, bet("odds_pass")).edge, "0.0000%");
    }

    #[test]
    fn the_next_rolls_ways_are_those_of_two_dice() {
        let catalogue = Catalogue::new(&engine::TableRules::default()).expect("CANON-1");
        let of = |name, puck| {
            let ways = ways(&catalogue, Spot(bet(name).0), 0, puck);
            (ways.win, ways.lose, ways.push)
        };
        assert_eq!(of("place_6", Puck::Off), (5, 6, 0));
        assert_eq!(of("pass", Puck::Off), (8, 4, 0));
        assert_eq!(of("pass", Puck::On(4)), (3, 6, 0));
        assert_eq!(of("dont_pass", Puck::Off), (3, 8, 1));
        assert_eq!(of("field", Puck::On(6)), (16, 20, 0));
        assert_eq!(of("odds_pass", Puck::Off), (5, 6, 0));
        assert_eq!(of("world", Puck::Off), (6, 24, 6));
    }

    #[test]
    fn exact_multiples_are_those_of_the_rules_page() {
        let catalogue = Catalogue::new(&engine::TableRules::default()).expect("CANON-1");
        for (name, multiple) in [("place_6", 6), ("buy_4", 20), ("lay_10", 40), ("horn", 4), ("next_6", 250)] {
            assert_eq!(exact_multiple(&catalogue, Spot(bet(name).0)), multiple, "{name}");
        }
    }
}
