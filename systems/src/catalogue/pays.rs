//! What each tier of each family pays under a table's rules (R4 to R9).

use engine::dice::{BOX_NUMBERS, box_index};
use engine::rules::{BonusPaytable, Commission, FieldPaytable, FirePaytable};
use engine::{Ratio, TableRules};

use super::family::{
    CRAPS_THREE, CRAPS_TWELVE, CRAPS_TWO, Collect, FIELD_TWELVE, FIELD_TWO, Family, Flat, LOSE, POINT_THEN_SEVEN, WIN,
};
use super::pay::{Pay, win};

const fn to((num, den): (u32, u32)) -> Pay {
    win(num, den)
}

/// True odds of a total against the 7: `num : den` for the one who takes them.
pub const fn true_odds(total: u8) -> (u32, u32) {
    assert!(total != 7, "odds are those of another total against the 7");
    assert!(total >= 2 && total <= 12, "two dice make 2 to 12");
    let ways = if total < 7 { total as u32 - 1 } else { 13 - total as u32 };
    (6, ways)
}

const fn scaled((num, den): (u32, u32), by: u32, of: u32) -> (u32, u32) {
    reduced(num * by, den * of)
}

const fn reduced(num: u32, den: u32) -> (u32, u32) {
    // Terms as small as they can be, so that one ratio is written, and hashed, in one way.
    let (mut a, mut b) = (num, den);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    (num / a, den / a)
}

const fn laid((num, den): (u32, u32)) -> (u32, u32) {
    (den, num)
}

/// R9, the Wizard of Odds' numbering: profit by wins of the line, fewer wins than the first lose, 11 is 11 or more.
const RIDE_LINE: [&[(u16, u32)]; 7] = [
    &[(2, 0), (3, 1), (4, 2), (5, 4), (6, 6), (7, 8), (8, 15), (9, 20), (10, 25), (11, 50)],
    &[(3, 1), (4, 2), (5, 4), (6, 6), (7, 12), (8, 20), (9, 30), (10, 40), (11, 75)],
    &[(3, 1), (4, 2), (5, 3), (6, 6), (7, 10), (8, 20), (9, 30), (10, 40), (11, 100)],
    &[(3, 1), (4, 2), (5, 3), (6, 4), (7, 10), (8, 15), (9, 20), (10, 30), (11, 150)],
    &[(3, 1), (4, 2), (5, 5), (6, 8), (7, 10), (8, 20), (9, 30), (10, 40), (11, 50)],
    &[(3, 0), (4, 3), (5, 5), (6, 7), (7, 12), (8, 20), (9, 25), (10, 30), (11, 100)],
    &[(3, 0), (4, 2), (5, 4), (6, 7), (7, 10), (8, 15), (9, 25), (10, 40), (11, 150)],
];

/// R8: profit by rolls of the hand, the seven-out included; 0 is a push.
const HOT_SHOOTER: &[(u16, u32)] = &[(8, 0), (16, 2), (24, 4), (32, 6), (40, 11), (45, 29), (51, 99)];

// What an automaton counts ends with the last step that pays more.
const _: () = {
    let mut table = 0;
    while table < RIDE_LINE.len() {
        let steps = RIDE_LINE[table];
        assert!(steps[steps.len() - 1].0 + 1 == Family::RideLine.states());
        table += 1;
    }
    assert!(HOT_SHOOTER[HOT_SHOOTER.len() - 1].0 + 1 == Family::HotShooter.states());
};

/// Pays for counts 0 to `most`: each step holds from its count on; before the first the bet loses; 0 is a push.
fn by_count(most: u16, steps: &[(u16, u32)]) -> Vec<Pay> {
    assert!(steps.is_sorted_by(|step, next| step.0 < next.0), "each step begins above the one before it");
    assert!(steps.first().is_some_and(|(from, _)| *from > 0), "who counted nothing has lost");
    assert!(steps.last().is_some_and(|(from, _)| *from <= most), "every step can be reached");
    // From the last step down: the first one that the count has reached is the best.
    let pay = |count: u16| match steps.iter().rev().find(|(from, _)| count >= *from) {
        None => Pay::Lose,
        Some((_, 0)) => Pay::Push,
        Some((_, profit)) => to((*profit, 1)),
    };
    (0..=most).map(pay).collect()
}

/// Pays by the number of their tier, at which the family's automaton ends.
fn by_tier<const TIERS: usize>(pays: [(u16, Pay); TIERS]) -> Vec<Pay> {
    assert!(pays.iter().enumerate().all(|(place, (tier, _))| place == usize::from(*tier)), "tiers are in their order");
    assert_eq!(pays.first().map(|(_, pay)| *pay), Some(Pay::Lose), "the first tier is the loss");
    pays.map(|(_, pay)| pay).into()
}

/// The pays of a family that wins or loses, and nothing else.
fn one(ratio: (u32, u32)) -> Vec<Pay> {
    by_tier([(LOSE, Pay::Lose), (WIN, to(ratio))])
}

/// What each tier of a family pays, by tier.
pub fn pays(family: Family, rules: &TableRules) -> Vec<Pay> {
    let upfront = rules.commission == Commission::Upfront;
    match family {
        Family::Pass | Family::Come | Family::Put(_) | Family::Big(_) => one((1, 1)),
        Family::DontPass | Family::DontCome => {
            // One of the three craps is barred, or these bets would favour the player.
            let craps = |total| if rules.bar == total { Pay::Push } else { to((1, 1)) };
            by_tier([
                (LOSE, Pay::Lose),
                (WIN, to((1, 1))),
                (CRAPS_TWO, craps(2)),
                (CRAPS_THREE, craps(3)),
                (CRAPS_TWELVE, craps(12)),
            ])
        }
        Family::Odds(flat) => {
            let odds = |number: &u8| {
                let taken = reduced(true_odds(*number).0, true_odds(*number).1);
                to(if flat.lays() { laid(taken) } else { taken })
            };
            // A point's symbol, 1 for the first box number, is the tier of its odds.
            std::iter::once(Pay::Lose).chain(BOX_NUMBERS.iter().map(odds)).collect()
        }
        Family::Field => {
            let (two, twelve) = match rules.field_paytable {
                FieldPaytable::TwoThree => (2, 3),
                FieldPaytable::TwoTwo => (2, 2),
                FieldPaytable::ThreeTwo => (3, 2),
            };
            by_tier([(LOSE, Pay::Lose), (WIN, to((1, 1))), (FIELD_TWO, to((two, 1))), (FIELD_TWELVE, to((twelve, 1)))])
        }
        Family::Yes(n) => one(scaled(true_odds(n), 49, 50)),
        Family::No(n) => one(scaled(laid(true_odds(n)), 49, 50)),
        Family::Hard(n) => one(if matches!(n, 4 | 10) { (7, 1) } else { (9, 1) }),
        Family::Place(n) => one([(9, 5), (7, 5), (7, 6)][pair(n)]),
        Family::PlaceLose(n) => one([(5, 11), (5, 8), (4, 5)][pair(n)]),
        Family::Buy(n) if upfront => one(scaled(true_odds(n), 1, 1)),
        Family::Buy(n) => {
            // 5% of the wager off the win: num/den - 1/20.
            let (num, den) = true_odds(n);
            one(reduced(num * 20 - den, den * 20))
        }
        Family::Lay(n) if upfront => one(scaled(laid(true_odds(n)), 1, 1)),
        Family::Lay(n) => one(scaled(laid(true_odds(n)), 19, 20)),
        Family::Next(n) => {
            let ways = if n <= 7 { u32::from(n) - 1 } else { 13 - u32::from(n) };
            one(scaled((36 - ways, ways), 49, 50))
        }
        Family::Hop(a, b) => one(if a == b { (30, 1) } else { (15, 1) }),
        Family::OneRoll(rolls) => std::iter::once(Pay::Lose).chain(rolls.iter().map(|(_, pay)| *pay)).collect(),
        Family::Fire
        | Family::RideLine
        | Family::Replay
        | Family::HotShooter
        | Family::Collect(_)
        | Family::HotRoller
        | Family::Repeater(_)
        | Family::TwiceHard
        | Family::Muggsy
        | Family::PointSeven
        | Family::SevenPoint
        | Family::SevenPointSeven => hand_pays(family, rules),
    }
}

/// What each tier of a bet on a hand pays (R8).
fn hand_pays(family: Family, rules: &TableRules) -> Vec<Pay> {
    assert!(family.is_hand(), "other bets have their pays apart");
    match family {
        Family::Fire => match rules.fire_paytable {
            FirePaytable::A => by_count(6, &[(4, 24), (5, 249), (6, 999)]),
            FirePaytable::B => by_count(6, &[(4, 10), (5, 200), (6, 2000)]),
        },
        Family::RideLine => by_count(11, RIDE_LINE[usize::from(rules.ride_line_paytable) - 1]),
        Family::Replay => {
            let profits = [70, 95, 100, 120, 500, 1000];
            std::iter::once(Pay::Lose).chain(profits.map(|profit| to((profit, 1)))).collect()
        }
        Family::HotShooter => by_count(51, HOT_SHOOTER),
        Family::Collect(what) => {
            let (small, all) = match rules.bonus_paytable {
                BonusPaytable::Thirty => (30, 150),
                BonusPaytable::ThirtyFour => (34, 175),
            };
            match what {
                Collect::Small | Collect::Tall => by_count(5, &[(5, small)]),
                Collect::All => by_count(10, &[(10, all)]),
                Collect::FlamingFour => by_count(4, &[(4, 70)]),
                Collect::SizzlingSix => by_count(6, &[(6, 12)]),
                Collect::HotHand => by_count(10, &[(9, 20), (10, 80)]),
                Collect::Doubles => by_count(6, &[(3, 4), (4, 8), (5, 15), (6, 100)]),
            }
        }
        Family::HotRoller => by_count(6, &[(2, 5), (3, 10), (4, 20), (5, 50), (6, 200)]),
        Family::Repeater(n) => {
            one([(40, 1), (50, 1), (65, 1), (80, 1), (90, 1)][super::family::repeats(n) as usize - 2])
        }
        Family::TwiceHard => one((15, 1)),
        Family::Muggsy => by_tier([(LOSE, Pay::Lose), (WIN, to((2, 1))), (POINT_THEN_SEVEN, to((3, 1)))]),
        Family::PointSeven | Family::SevenPoint => one((7, 1)),
        Family::SevenPointSeven => one((50, 1)),
        _ => unreachable!("no other bet is on a hand"),
    }
}

/// 4 and 10, 5 and 9, 6 and 8 pay alike: which pair a box number belongs to.
fn pair(number: u8) -> usize {
    let index = box_index(number).expect("the family has a box number");
    const { assert!(BOX_NUMBERS.len().is_multiple_of(2)) };
    index.min(BOX_NUMBERS.len() - 1 - index)
}

/// The commission that is charged in advance, as a part of the wager (R1).
pub fn commission(family: Family, rules: &TableRules) -> Ratio {
    if rules.commission == Commission::OnWin {
        return Ratio::ZERO;
    }
    match family {
        Family::Buy(_) => Ratio::new(1, 20),
        Family::Lay(n) => {
            // Of the win, not of the wager: whoever lays puts more down than they can win.
            let (num, den) = scaled(laid(true_odds(n)), 1, 20);
            Ratio::new(num, den)
        }
        _ => Ratio::ZERO,
    }
}

/// The odds that a table offers on a flat bet, as a multiple, by box number.
pub fn odds_max(flat: Flat, rules: &TableRules) -> [u32; 6] {
    if flat.lays() { rules.lay_odds_max } else { rules.take_odds_max }
}
