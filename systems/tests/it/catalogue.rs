//! Every bet on every puck and every roll, against the rules written down a second time, straight from R3 to R8: by
//! name and by hand, sharing nothing with the catalogue but the bets' names.

use crate::common::Lot;
use engine::dice::{BOX_NUMBERS, PUCKS, ROLLS};
use engine::limits::SPOTS;
use engine::{Dice, Puck, Ratio, Spot, TableRules};
use systems::Catalogue;
use systems::catalogue::{BETS, Pay, Transition, bet_of, number_of};

/// What the rules say of one bet on one roll.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Says {
    Nothing,
    Wins(u32, u32),
    Loses,
    Pushes,
    Travels(u8),
    Returns,
}

use Says::{Loses, Nothing, Pushes, Returns, Travels, Wins};

fn number_in(name: &str) -> u8 {
    name.rsplit('_').next().and_then(|number| number.parse().ok()).expect("the name ends in a number")
}

fn by_pair(number: u8, four: (u32, u32), five: (u32, u32), six: (u32, u32)) -> Says {
    let (num, den) = match number {
        4 | 10 => four,
        5 | 9 => five,
        6 | 8 => six,
        _ => panic!("{number} is no box number"),
    };
    Wins(num, den)
}

/// R6: 98% of true odds, as the table of R6 prints them.
fn yes(number: u8) -> Says {
    match number {
        2 | 12 => Wins(147, 25),
        3 | 11 => Wins(147, 50),
        _ => by_pair(number, (49, 25), (147, 100), (147, 125)),
    }
}

fn no(number: u8) -> Says {
    match number {
        2 | 12 => Wins(49, 300),
        3 | 11 => Wins(49, 150),
        _ => by_pair(number, (49, 100), (49, 75), (49, 60)),
    }
}

fn taken(number: u8) -> Says {
    by_pair(number, (2, 1), (3, 2), (6, 5))
}

fn laid(number: u8) -> Says {
    by_pair(number, (1, 2), (2, 3), (5, 6))
}

/// The rule of a bet that counts nothing, when it works. `at` is the box number of a travelled bet or its odds.
fn rule(name: &str, at: Option<u8>, puck: Puck, dice: Dice) -> Option<Says> {
    let total = dice.total();
    let [a, b] = dice.faces();
    let point = if let Puck::On(point) = puck { point } else { 0 };
    // A bet against a number: seven before it.
    let against = |pays: Says| {
        if total == 7 {
            pays
        } else if total == number_in(name) {
            Loses
        } else {
            Nothing
        }
    };
    let seven_or = |wins: bool, pays: Says| {
        if wins {
            pays
        } else if total == 7 {
            Loses
        } else {
            Nothing
        }
    };
    let one = |hit: bool, pays: Says| Some(if hit { pays } else { Loses });
    let line = |goal: u8| {
        if total == goal {
            Wins(1, 1)
        } else if total == 7 {
            Loses
        } else {
            Nothing
        }
    };
    let dark = |goal: u8| {
        if total == 7 {
            Wins(1, 1)
        } else if total == goal {
            Loses
        } else {
            Nothing
        }
    };
    let bright_start = match total {
        7 | 11 => Wins(1, 1),
        2 | 3 | 12 => Loses,
        number => Travels(number),
    };
    let dark_start = match total {
        7 | 11 => Loses,
        2 | 3 => Wins(1, 1),
        12 => Pushes,
        number => Travels(number),
    };
    let stays = |says| if let Travels(_) = says { Nothing } else { says };
    let (family, number) = name.rsplit_once('_').unwrap_or((name, ""));
    match name {
        "pass" => Some(if point == 0 { stays(bright_start) } else { line(point) }),
        "dont_pass" => Some(if point == 0 { stays(dark_start) } else { dark(point) }),
        "come" => Some(at.map_or(bright_start, line)),
        "dont_come" => Some(at.map_or(dark_start, dark)),
        "field" => one(
            ![5, 6, 7, 8].contains(&total),
            match total {
                2 => Wins(2, 1),
                12 => Wins(3, 1),
                _ => Wins(1, 1),
            },
        ),
        "odds_pass" if point == 0 => Some(Nothing),
        "odds_pass" => Some(seven_or(total == point, taken(point))),
        "odds_dont_pass" if point == 0 => Some(Nothing),
        "odds_dont_pass" => Some(if total == 7 {
            laid(point)
        } else if total == point {
            Loses
        } else {
            Nothing
        }),
        "odds_come" | "odds_put" => at.map(|at| seven_or(total == at, taken(at))),
        "odds_dont_come" => at.map(|at| {
            if total == 7 {
                laid(at)
            } else if total == at {
                Loses
            } else {
                Nothing
            }
        }),
        "any_seven" => one(total == 7, Wins(4, 1)),
        "any_craps" => one([2, 3, 12].contains(&total), Wins(7, 1)),
        "craps_2" => one(total == 2, Wins(30, 1)),
        "craps_3" => one(total == 3, Wins(15, 1)),
        "yo_11" => one(total == 11, Wins(15, 1)),
        "craps_12" => one(total == 12, Wins(30, 1)),
        "hi_lo" => one(total == 2 || total == 12, Wins(29, 2)),
        "hi_lo_yo" => one([2, 11, 12].contains(&total), if total == 11 { Wins(13, 3) } else { Wins(28, 3) }),
        "three_way" => one([2, 3, 12].contains(&total), if total == 3 { Wins(13, 3) } else { Wins(28, 3) }),
        "c_and_e" => one([2, 3, 11, 12].contains(&total), if total == 11 { Wins(7, 1) } else { Wins(3, 1) }),
        "horn" => {
            one([2, 3, 11, 12].contains(&total), if total == 2 || total == 12 { Wins(27, 4) } else { Wins(3, 1) })
        }
        "world" if total == 7 => Some(Pushes),
        "world" => {
            one([2, 3, 11, 12].contains(&total), if total == 2 || total == 12 { Wins(26, 5) } else { Wins(11, 5) })
        }
        "under_7" => one(total < 7, Wins(1, 1)),
        "over_7" => one(total > 7, Wins(1, 1)),
        "low_dice" => one(total < 7, if total == 2 { Wins(5, 1) } else { Wins(1, 1) }),
        "high_dice" => one(total > 7, if total == 12 { Wins(5, 1) } else { Wins(1, 1) }),
        _ => match family {
            "horn_high" => {
                let high = number_in(name);
                // Five units, two on the high number: 27:4 or 3:1 a unit, less the units that lose.
                let pays = if total == 2 || total == 12 { 31 } else { 16 };
                let units = if total == high { 2 } else { 1 };
                one([2, 3, 11, 12].contains(&total), Wins(pays * units - 5, 5))
            }
            "yes" => Some(seven_or(total == number_in(name), yes(number_in(name)))),
            "no" => Some(against(no(number_in(name)))),
            "hard" => {
                let goal = number_in(name);
                let wins = if goal == 4 || goal == 10 { Wins(7, 1) } else { Wins(9, 1) };
                Some(if total == 7 || (total == goal && a != b) {
                    Loses
                } else if total == goal {
                    wins
                } else {
                    Nothing
                })
            }
            "place" => Some(seven_or(total == number_in(name), by_pair(number_in(name), (9, 5), (7, 5), (7, 6)))),
            "buy" => Some(seven_or(total == number_in(name), by_pair(number_in(name), (39, 20), (29, 20), (23, 20)))),
            "put" | "big" => Some(seven_or(total == number_in(name), Wins(1, 1))),
            "lay" => Some(against(by_pair(number_in(name), (19, 40), (19, 30), (19, 24)))),
            "place_lose" => Some(against(by_pair(number_in(name), (5, 11), (5, 8), (4, 5)))),
            "next" => {
                let pays = match number_in(name) {
                    2 | 12 => Wins(343, 10),
                    3 | 11 => Wins(833, 50),
                    4 | 10 => Wins(539, 50),
                    5 | 9 => Wins(196, 25),
                    6 | 8 => Wins(1519, 250),
                    _ => Wins(49, 10),
                };
                one(total == number_in(name), pays)
            }
            "hop" => {
                let faces: Vec<u8> = number.bytes().map(|digit| digit - b'0').collect();
                let hit = [a, b] == [faces[0], faces[1]] || [b, a] == [faces[0], faces[1]];
                one(hit, if faces[0] == faces[1] { Wins(30, 1) } else { Wins(15, 1) })
            }
            _ => None,
        },
    }
}

fn says(transition: Transition) -> Says {
    match transition {
        Transition::Stay => Nothing,
        Transition::Advance(progress) => panic!("progress {progress} of a bet that counts nothing"),
        Transition::Travel(to) => Travels(number_of(to).expect("a box number")),
        Transition::End(Pay::Win(Ratio { num, den })) => Wins(num, den),
        Transition::End(Pay::Push) => Pushes,
        Transition::End(Pay::Lose) => Loses,
        Transition::Return => Returns,
    }
}

fn canon() -> Catalogue {
    Catalogue::new(&TableRules::default()).expect("CANON-1")
}

#[test]
fn bets_that_count_nothing_follow_the_rules_on_every_puck_and_roll() {
    let catalogue = canon();
    let (mut checked, mut hands) = (0, 0);
    for spot in (0..SPOTS).map(|spot| Spot(spot as u8)) {
        let name = BETS[bet_of(spot).index()].name;
        for (puck, dice) in every_roll() {
            let Some(expected) = rule(name, number_of(spot), puck, dice) else {
                hands += 1;
                continue;
            };
            let row = catalogue.row(puck, dice);
            let found = says(catalogue.transition(row, spot, 0, true));
            assert_eq!(found, expected, "{name} at {:?} on {puck:?} with {:?}", number_of(spot), dice.faces());
            assert_eq!(row.affected.contains(spot), expected != Nothing, "{name} on {puck:?} with {:?}", dice.faces());
            // R3: off bets ignore rolls, but odds go back when their flat bet is decided.
            let off = if name.starts_with("odds") && expected != Nothing { Returns } else { Nothing };
            assert_eq!(says(catalogue.transition(row, spot, 0, false)), off, "{name}, off");
            checked += 1;
        }
    }
    assert_eq!(hands, 27 * PUCKS * ROLLS, "the bets of R8, which count, have their own test");
    assert_eq!(checked, (SPOTS - 27) * PUCKS * ROLLS);
}

fn every_roll() -> impl Iterator<Item = (Puck, Dice)> {
    (0..PUCKS * ROLLS).map(|index| (Puck::from_index(index / ROLLS), Dice::from_roll_index(index % ROLLS)))
}

/// R8, bet by bet, on a whole sequence of rolls from a come-out: the profit per chip where it ends, none where it does
/// not. A push is 0, a loss -1.
fn hand(name: &str, rolls: &[Dice]) -> Option<(usize, i64)> {
    let mut puck = Puck::Off;
    let mut totals = std::collections::BTreeMap::<u8, u32>::new();
    let mut ways = std::collections::BTreeSet::new();
    let mut made = std::collections::BTreeMap::<u8, u32>::new();
    let (mut wins, mut last_hard) = (0u32, std::collections::BTreeMap::<u8, bool>::new());
    for (index, dice) in rolls.iter().enumerate() {
        let (total, before) = (dice.total(), puck);
        let pair = dice.is_pair();
        puck = before.roll(*dice).1;
        let point_made = before == Puck::On(total);
        let seven_out = before != Puck::Off && total == 7;
        *totals.entry(total).or_default() += 1;
        ways.insert(dice.sorted());
        if point_made {
            *made.entry(total).or_default() += 1;
        }
        wins += u32::from(point_made || (before == Puck::Off && (total == 7 || total == 11)));
        let end = |profit: i64| Some((index, profit));
        let all = |of: &[u8]| of.iter().all(|total| totals.contains_key(total));
        let collect = |of: &[u8], pays: i64| if all(of) { Some(pays) } else { (total == 7).then_some(-1) };
        let steps = |count: u32, table: &[(u32, i64)]| {
            table.iter().rev().find(|(from, _)| count >= *from).map_or(-1, |(_, profit)| *profit)
        };
        let (family, _) = name.rsplit_once('_').unwrap_or((name, ""));
        let found = match name {
            "fire" if made.len() == 6 => Some(999),
            "fire" if seven_out => Some(steps(made.len() as u32, &[(4, 24), (5, 249), (6, 999)])),
            "ride_line" if seven_out => {
                let table = [(3, 1), (4, 2), (5, 3), (6, 6), (7, 10), (8, 20), (9, 30), (10, 40), (11, 100)];
                Some(steps(wins, &table))
            }
            "replay" if seven_out => {
                let best = |number: u8, three: i64, four: i64| {
                    let times = made.get(&number).copied().unwrap_or(0);
                    if times >= 4 {
                        four
                    } else if times == 3 {
                        three
                    } else {
                        -1
                    }
                };
                BOX_NUMBERS
                    .iter()
                    .map(|number| match number {
                        4 | 10 => best(*number, 120, 1000),
                        5 | 9 => best(*number, 95, 500),
                        _ => best(*number, 70, 100),
                    })
                    .max()
            }
            "hot_shooter" if seven_out => {
                let table = [(8, 0), (16, 2), (24, 4), (32, 6), (40, 11), (45, 29), (51, 99)];
                Some(steps(index as u32 + 1, &table))
            }
            "bonus_small" => collect(&[2, 3, 4, 5, 6], 30),
            "bonus_tall" => collect(&[8, 9, 10, 11, 12], 30),
            "bonus_all" => collect(&[2, 3, 4, 5, 6, 8, 9, 10, 11, 12], 150),
            "flaming_four" => collect(&[2, 3, 11, 12], 70),
            "sizzling_six" => collect(&[4, 5, 6, 8, 9, 10], 12),
            "hot_hand" => {
                let count = totals.keys().filter(|total| **total != 7).count();
                if count == 10 {
                    Some(80)
                } else if total == 7 {
                    Some(if count == 9 { 20 } else { -1 })
                } else {
                    None
                }
            }
            "hot_roller" => {
                let complete = |number: &&u8| {
                    let number = **number;
                    (1..=6).all(|low| {
                        let high = number.wrapping_sub(low);
                        !(low..=6).contains(&high) || ways.contains(&(low, high))
                    })
                };
                let count = BOX_NUMBERS.iter().filter(complete).count() as u32;
                let table = [(2, 5), (3, 10), (4, 20), (5, 50), (6, 200)];
                if count == 6 || total == 7 { Some(steps(count, &table)) } else { None }
            }
            "different_doubles" => {
                let count = ways.iter().filter(|(low, high)| low == high).count() as u32;
                let table = [(3, 4), (4, 8), (5, 15), (6, 100)];
                if count == 6 || total == 7 { Some(steps(count, &table)) } else { None }
            }
            "twice_hard" => match total {
                7 => Some(-1),
                4 | 6 | 8 | 10 => {
                    let again = pair && last_hard.insert(total, pair) == Some(true);
                    last_hard.insert(total, pair);
                    again.then_some(15)
                }
                _ => None,
            },
            "muggsy" => match (index, total) {
                (0, 7) => Some(2),
                (0, 4 | 5 | 6 | 8 | 9 | 10) => None,
                (1, 7) => Some(3),
                _ => Some(-1),
            },
            "point_seven" => match (index, total) {
                (0, 4 | 5 | 6 | 8 | 9 | 10) => None,
                (1, 7) => Some(7),
                _ => Some(-1),
            },
            "seven_point" => match (index, total) {
                (0, 7) => None,
                (1, 4 | 5 | 6 | 8 | 9 | 10) => Some(7),
                _ => Some(-1),
            },
            "seven_point_seven" => match (index, total) {
                (0, 7) | (1, 4 | 5 | 6 | 8 | 9 | 10) => None,
                (2, 7) => Some(50),
                _ => Some(-1),
            },
            _ if family == "repeater" => {
                let number = number_in(name);
                let (times, pays) = match number {
                    2 | 12 => (2, 40),
                    3 | 11 => (3, 50),
                    4 | 10 => (4, 65),
                    5 | 9 => (5, 80),
                    _ => (6, 90),
                };
                if totals.get(&number) == Some(&times) {
                    Some(pays)
                } else if total == 7 {
                    Some(-1)
                } else {
                    None
                }
            }
            _ => None,
        };
        if let Some(profit) = found {
            return end(profit);
        }
    }
    None
}

/// The same sequence through the catalogue's automaton.
fn automaton(catalogue: &Catalogue, spot: Spot, rolls: &[Dice]) -> Option<(usize, i64)> {
    let (mut puck, mut progress) = (Puck::Off, 0);
    for (index, dice) in rolls.iter().enumerate() {
        let row = catalogue.row(puck, *dice);
        assert!(row.affected.contains(spot), "a hand bet takes note of every roll");
        puck = puck.roll(*dice).1;
        match catalogue.transition(row, spot, progress, true) {
            Transition::Stay => {}
            Transition::Advance(next) => progress = next,
            Transition::End(Pay::Win(Ratio { num, den: 1 })) => return Some((index, num.into())),
            Transition::End(Pay::Push) => return Some((index, 0)),
            Transition::End(Pay::Lose) => return Some((index, -1)),
            other => panic!("{other:?}"),
        }
    }
    None
}

#[test]
fn bets_on_the_hand_follow_the_rules_on_many_hands() {
    let catalogue = canon();
    let hands: Vec<Spot> = BETS.iter().filter(|bet| bet.family.is_hand()).map(|bet| Spot(bet.id.0)).collect();
    assert_eq!(hands.len(), 27);
    let mut profits = std::collections::BTreeMap::<Spot, std::collections::BTreeSet<i64>>::new();
    let mut lot = Lot(11);
    for run in 0..30_000 {
        // Some hands with few sevens, so that the long ones are seen too.
        let sevens = [1, 4, 30, 200][run % 4];
        let roll = |lot: &mut Lot| loop {
            let dice = Dice::from_roll_index(lot.below(ROLLS as u64) as usize);
            if dice.total() != 7 || lot.below(sevens) == 0 {
                return dice;
            }
        };
        let rolls: Vec<Dice> = (0..90).map(|_| roll(&mut lot)).collect();
        for spot in &hands {
            let name = BETS[spot.index()].name;
            let expected = hand(name, &rolls);
            assert_eq!(automaton(&catalogue, *spot, &rolls), expected, "{name}: {rolls:?}");
            profits.entry(*spot).or_default().extend(expected.map(|(_, profit)| profit));
        }
    }
    for (spot, seen) in profits {
        let distinct: std::collections::BTreeSet<_> = catalogue
            .pays(bet_of(spot))
            .iter()
            .filter_map(|pay| if let Pay::Win(ratio) = pay { Some(i64::from(ratio.num)) } else { None })
            .collect();
        assert!(!distinct.is_empty() && distinct.is_subset(&seen), "{}: saw {seen:?}", BETS[spot.index()].name);
    }
}
