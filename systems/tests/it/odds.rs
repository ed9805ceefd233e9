//! The odds engine against tables that were made without it: every bet of CANON-1, and the variants of R9.

use std::str::FromStr;

use engine::dice::ROLLS;
use engine::rules::{BonusPaytable, Commission, FieldPaytable, FirePaytable};
use engine::{Dice, Puck, Ratio, Spot, TableRules};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{One, Signed, Zero};
use systems::Catalogue;
use systems::catalogue::{BETS, Pay, Transition, bet_named, ignores_puck};
use systems::odds::{Odds, State, all_odds, favours_player, odds_of, worth_from};

/// A CSV line's fields; a quoted one may hold commas.
fn fields(line: &str) -> Vec<String> {
    let (mut fields, mut quoted) = (vec![String::new()], false);
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(String::new()),
            _ => fields.last_mut().expect("there is a field").push(c),
        }
    }
    fields
}

/// Decimal digits with the last place rounded half away from zero.
fn decimal(value: &BigRational, places: u32) -> String {
    let scale = BigInt::from(10).pow(places);
    let scaled =
        (value.abs() * BigRational::from_integer(scale.clone()) + BigRational::new(1.into(), 2.into())).floor();
    let (whole, rest) = (scaled.to_integer() / &scale, scaled.to_integer() % &scale);
    let sign = if value.is_negative() && !scaled.is_zero() { "-" } else { "" };
    format!("{sign}{whole}.{rest:0>width$}", width = places as usize)
}

#[test]
fn canon_equals_the_table() {
    let catalogue = Catalogue::new(&TableRules::default()).expect("CANON-1");
    let odds = all_odds(&catalogue);
    let mut fractions = 0;
    let lines: Vec<&str> = include_str!("../data/odds.csv").lines().skip(1).collect();
    assert_eq!(lines.len(), BETS.len());
    for (line, odds) in lines.into_iter().zip(&odds) {
        let row = fields(line);
        let Odds { p_win, p_push, ev, variance, rolls, .. } = odds;
        assert_eq!(row[0], odds.bet.0.to_string());
        assert_eq!(row[1], BETS[odds.bet.index()].name);
        assert_eq!(row[2], catalogue.pays_text(odds.bet));
        for ((exact, text), value) in row[3..8].iter().zip(&row[9..14]).zip([p_win, p_push, ev, variance, rolls]) {
            if !exact.is_empty() {
                let expected = BigRational::from_str(exact).expect("a fraction");
                assert_eq!(*value, expected, "{}", row[1]);
                fractions += 1;
            }
            assert_eq!(decimal(value, 12), *text, "{}", row[1]);
        }
        assert_eq!(decimal(&(-ev * BigRational::from_integer(100.into())), 8), row[8], "{}", row[1]);
    }
    assert!(fractions > 650, "nearly all values are compared as fractions: {fractions}");
    assert!(odds.iter().all(|odds| !odds.ev.is_positive()), "no bet of CANON-1 favours the player");
}

#[test]
fn variants_equal_the_rules() {
    let table = include_str!("../data/variants.csv");
    let mut checked = 0;
    for row in table.lines().skip(1).map(fields) {
        let mut rules = TableRules::default();
        match row[1].as_str() {
            "field 2x2x" => rules.field_paytable = FieldPaytable::TwoTwo,
            "field 3x2x" => rules.field_paytable = FieldPaytable::ThreeTwo,
            "bar 2" => rules.bar = 2,
            "bar 3" => rules.bar = 3,
            "upfront" => rules.commission = Commission::Upfront,
            "bonus 34_175" => rules.bonus_paytable = BonusPaytable::ThirtyFour,
            "fire B" => rules.fire_paytable = FirePaytable::B,
            line => {
                rules.ride_line_paytable = line.strip_prefix("line ").and_then(|n| n.parse().ok()).expect("a variant")
            }
        }
        let catalogue = Catalogue::new(&rules).expect("a table's rules");
        let odds = odds_of(&catalogue, bet_named(&row[0]).expect("a bet"));
        let edge = -&odds.ev * BigRational::from_integer(100.into());
        assert_eq!(decimal(&edge, 4) + "%", row[2], "{} {}", row[0], row[1]);
        // The deviation is printed to four places: its square lies between those of the neighbouring values.
        let printed = BigRational::from_str(&row[3].replace('.', "")).expect("digits") / BigInt::from(10_000);
        let half = BigRational::new(1.into(), 20_000.into());
        let (low, high) = (&printed - &half, &printed + &half);
        assert!(&low * &low <= odds.variance && odds.variance <= &high * &high, "{} {}", row[0], row[1]);
        checked += 1;
    }
    assert_eq!(checked, 27);
}

/// Every value that a rule of money may have, one at a time: no bet depends on two of them. That a payout which favours the player is
/// found is shown where one can be planted, in the catalogue.
#[test]
fn no_value_that_a_rule_may_have_favours_the_player() {
    let canon = TableRules::default();
    let mut all = vec![
        canon.clone(),
        TableRules { commission: Commission::Upfront, ..canon.clone() },
        TableRules { bonus_paytable: BonusPaytable::ThirtyFour, ..canon.clone() },
        TableRules { fire_paytable: FirePaytable::B, ..canon.clone() },
    ];
    all.extend(
        [FieldPaytable::TwoTwo, FieldPaytable::ThreeTwo]
            .map(|pays| TableRules { field_paytable: pays, ..canon.clone() }),
    );
    all.extend([2, 3].map(|bar| TableRules { bar, ..canon.clone() }));
    all.extend((1..=7).map(|pays| TableRules { ride_line_paytable: pays, ..canon.clone() }));
    for rules in all {
        assert_eq!(favours_player(&Catalogue::new(&rules).expect("a table's rules")), None, "{rules:?}");
    }
}

#[test]
fn outcomes_of_every_bet_are_certain() {
    let catalogue = Catalogue::new(&TableRules::default()).expect("CANON-1");
    for odds in all_odds(&catalogue) {
        assert!(odds.p_win.is_positive() && &odds.p_win + &odds.p_push < BigRational::one());
    }
}

fn of(ratio: Ratio) -> BigRational {
    BigRational::new(ratio.num.into(), ratio.den.into())
}

/// What a bet is worth is what it is worth after each roll, weighed by how often the roll comes; and when it is made, what its
/// odds say.
#[test]
fn a_bet_is_worth_what_it_is_worth_after_the_next_roll() {
    let rules = TableRules { commission: Commission::Upfront, ..TableRules::default() };
    let catalogue = Catalogue::new(&rules).expect("rules");
    let mut states = 0;
    for name in
        ["pass", "dont_pass", "come", "dont_come", "field", "buy_4", "lay_10", "hard_8", "place_6", "fire", "muggsy"]
    {
        let bet = bet_named(name).expect("a bet");
        let first = State { puck: Puck::Off, spot: Spot(bet.0), progress: 0 };
        let worth = worth_from(&catalogue, first);
        let held = BigRational::one() + of(catalogue.commission(first.spot));
        assert_eq!(worth[0], (first, (BigRational::one() + odds_of(&catalogue, bet).ev) * &held), "{name}");
        let at = |wanted: State| &worth.iter().find(|(state, _)| *state == wanted).expect("a state that is reached").1;
        for (state, now) in &worth {
            let after = |roll: usize| {
                let dice = Dice::from_roll_index(roll);
                let puck = if ignores_puck(state.spot) { state.puck } else { state.puck.roll(dice).1 };
                let row = catalogue.row(state.puck, dice);
                let back = match catalogue.transition(row, state.spot, state.progress, true) {
                    Transition::Stay => at(State { puck, ..*state }).clone(),
                    Transition::Advance(progress) => at(State { puck, progress, ..*state }).clone(),
                    Transition::Travel(spot) => at(State { puck, spot, progress: 0 }).clone(),
                    Transition::End(Pay::Win(ratio)) => BigRational::one() + of(ratio),
                    Transition::End(Pay::Push) | Transition::Return => held.clone(),
                    Transition::End(Pay::Lose) => BigRational::zero(),
                };
                back * BigRational::from_integer(dice.ways().into())
            };
            let sum: BigRational = (0..ROLLS).map(after).sum();
            assert_eq!(sum / BigRational::from_integer(36.into()), *now, "{name} in {state:?}");
            states += 1;
        }
    }
    assert!(states > 100, "{states} states");
}
