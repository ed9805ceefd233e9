//! What each family of bets does: where it may be placed, when it works, and its automaton (R3 to R8).
//!
//! An automaton reads a symbol for each roll, which depends on the puck before the roll, and steps from one state of
//! progress to the next, or ends at one of the family's tiers. What a tier pays is not its business: [`super::pays`].

use engine::dice::{BOX_NUMBERS, box_index};
use engine::{Dice, Puck, RollEvent};

use super::pay::Pay;
use super::rolls::{Rolls, SEVEN, hard, roll, totals};

/// A kind of bet with its parameters.
#[derive(Clone, Copy, Debug)]
pub enum Family {
    /// R4.
    Pass,
    /// R4.
    DontPass,
    /// R4.
    Come,
    /// R4.
    DontCome,
    /// R5: odds on a flat bet.
    Odds(Flat),
    /// R7, with the payouts of the table's rules.
    Field,
    /// R6: the number before a 7, at 98% of true odds.
    Yes(u8),
    /// R6: a 7 before the number, at 98% of true odds.
    No(u8),
    /// R6: the number as a pair, before a 7 or the number any other way.
    Hard(u8),
    /// R6.
    Place(u8),
    /// R6.
    PlaceLose(u8),
    /// R6.
    Buy(u8),
    /// R6.
    Lay(u8),
    /// R6.
    Put(u8),
    /// R6: big 6 and big 8.
    Big(u8),
    /// R7: the total on the next roll, at 98% of true odds.
    Next(u8),
    /// R7: one roll in either order.
    Hop(u8, u8),
    /// R7: what each set of rolls pays; any other roll loses.
    OneRoll(&'static [(Rolls, Pay)]),
    /// R8.
    Fire,
    /// R8.
    RideLine,
    /// R8.
    Replay,
    /// R8.
    HotShooter,
    /// R8: totals or rolls collected before a 7.
    Collect(Collect),
    /// R8.
    HotRoller,
    /// R8: the number so many times before a 7.
    Repeater(u8),
    /// R8.
    TwiceHard,
    /// R8.
    Muggsy,
    /// R8.
    PointSeven,
    /// R8.
    SevenPoint,
    /// R8.
    SevenPointSeven,
}

/// The flat bet that odds stand on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flat {
    /// Odds are taken.
    Pass,
    /// Odds are laid.
    DontPass,
    /// Odds are taken.
    Come,
    /// Odds are laid.
    DontCome,
    /// Odds are taken.
    Put,
}

impl Flat {
    /// Whether odds on it are laid, not taken.
    pub const fn lays(self) -> bool {
        matches!(self, Self::DontPass | Self::DontCome)
    }
}

/// What a collecting bet collects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Collect {
    /// Totals 2 to 6.
    Small,
    /// Totals 8 to 12.
    Tall,
    /// Both.
    All,
    /// Totals 2, 3, 11, 12.
    FlamingFour,
    /// The box numbers.
    SizzlingSix,
    /// All ten totals, with a consolation.
    HotHand,
    /// The six pairs.
    Doubles,
}

/// When a bet may be placed or raised.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Placement {
    /// Any time.
    Any,
    /// Only on a come-out.
    PuckOff,
    /// Only with a point on.
    PuckOn,
}

/// One step of an automaton.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FamilyMove {
    /// Nothing changes.
    Stay,
    /// The bet has counted something.
    Advance(u16),
    /// A pending come or don't come moves to this box number.
    Travel(u8),
    /// The bet ends at a tier of its family.
    End(u16),
}

use FamilyMove::{Advance, End, Stay, Travel};

/// The tier of a loss in every family that can lose outright.
pub const LOSE: u16 = 0;
/// The tier of the plain win in families with one.
pub const WIN: u16 = 1;
/// The tiers of the don't bets where the come-out is craps: the table's bar decides which of them wins and which is a push.
pub const CRAPS_TWO: u16 = 2;
pub const CRAPS_THREE: u16 = 3;
pub const CRAPS_TWELVE: u16 = 4;
/// The tiers of the field's two numbers that may pay more than even money.
pub const FIELD_TWO: u16 = 2;
pub const FIELD_TWELVE: u16 = 3;
/// The tier of Muggsy's corner where the 7 comes right behind a point, not on the come-out.
pub const POINT_THEN_SEVEN: u16 = 2;

/// The symbol of a roll that a bet does not wait for.
const NOTHING: u8 = 0;
/// Box numbers. A point that is made has a symbol from 1 to this, in their order, and odds end at the tier of that number.
const POINTS: u8 = BOX_NUMBERS.len() as u8;
/// Symbols of bets on a whole hand: the seven-out that ends it, and a natural.
const HAND_OVER: u8 = POINTS + 1;
const NATURAL: u8 = POINTS + 2;
/// Symbols of flat bets behind their come-out, where the symbol is the total: no total is as high.
const POINT_MADE: u8 = 13;
const POINT_LOST: u8 = 14;

/// Counts that hot shooter and ride the line tell apart, at most.
const SHOOTER_ROLLS: u16 = 51;
const LINE_WINS: u16 = 11;

/// The rolls that complete each box number for the hot roller: all its unordered ways.
const WAYS: [(u8, &[Rolls]); 6] = [
    (4, &[roll(1, 3), roll(2, 2)]),
    (5, &[roll(1, 4), roll(2, 3)]),
    (6, &[roll(1, 5), roll(2, 4), roll(3, 3)]),
    (8, &[roll(2, 6), roll(3, 5), roll(4, 4)]),
    (9, &[roll(3, 6), roll(4, 5)]),
    (10, &[roll(4, 6), roll(5, 5)]),
];

// What the hot roller has counted is a bit for each of these ways, in the order of the box numbers.
const _: () = {
    let (mut index, mut ways) = (0, 0);
    while index < WAYS.len() {
        assert!(WAYS[index].0 == BOX_NUMBERS[index]);
        ways += WAYS[index].1.len();
        index += 1;
    }
    assert!(Family::HotRoller.states() as usize == 1 << ways);
    assert!(WAYS.len() == BOX_NUMBERS.len());
};

// Replay counts the points made on each box number from none to four, as digits of one number.
const _: () = assert!(Family::Replay.states() == 5u16.pow(BOX_NUMBERS.len() as u32));
const _: () = assert!(Family::Fire.states() == 1 << BOX_NUMBERS.len());
const _: () = assert!(Family::Collect(Collect::Doubles).states() == 1 << Collect::Doubles.items().len());

/// The tiers of replay, worst first: which count of which pair of numbers they stand for.
const REPLAY_TIERS: [(usize, u16); 6] = [(2, 3), (1, 3), (2, 4), (0, 3), (1, 4), (0, 4)];

impl Collect {
    /// What it collects, in the order of its progress bits.
    pub const fn items(self) -> &'static [Rolls] {
        const fn all<const N: usize>(numbers: [u8; N]) -> [Rolls; N] {
            let (mut items, mut index) = ([Rolls(0); N], 0);
            while index < N {
                items[index] = totals(&[numbers[index]]);
                index += 1;
            }
            items
        }
        const SMALL: [Rolls; 5] = all([2, 3, 4, 5, 6]);
        const TALL: [Rolls; 5] = all([8, 9, 10, 11, 12]);
        const ALL: [Rolls; 10] = all([2, 3, 4, 5, 6, 8, 9, 10, 11, 12]);
        const FOUR: [Rolls; 4] = all([2, 3, 11, 12]);
        const SIX: [Rolls; 6] = all([4, 5, 6, 8, 9, 10]);
        const DOUBLES: [Rolls; 6] = [hard(2), hard(4), hard(6), hard(8), hard(10), hard(12)];
        match self {
            Self::Small => &SMALL,
            Self::Tall => &TALL,
            Self::All | Self::HotHand => &ALL,
            Self::FlamingFour => &FOUR,
            Self::SizzlingSix => &SIX,
            Self::Doubles => &DOUBLES,
        }
    }
}

/// Times a repeater's number must roll.
pub const fn repeats(number: u8) -> u16 {
    match number {
        2 | 12 => 2,
        3 | 11 => 3,
        4 | 10 => 4,
        5 | 9 => 5,
        _ => 6,
    }
}

impl Family {
    /// When the bet may be placed or raised (R3, R11).
    pub const fn placement(self) -> Placement {
        match self {
            Self::Pass | Self::DontPass => Placement::PuckOff,
            Self::Come | Self::DontCome | Self::Put(_) | Self::Odds(Flat::Pass | Flat::DontPass) => Placement::PuckOn,
            _ if self.is_hand() => Placement::PuckOff,
            _ => Placement::Any,
        }
    }

    /// A bet of R8: locked once it has seen a roll.
    pub const fn is_hand(self) -> bool {
        matches!(
            self,
            Self::Fire
                | Self::RideLine
                | Self::Replay
                | Self::HotShooter
                | Self::Collect(_)
                | Self::HotRoller
                | Self::Repeater(_)
                | Self::TwiceHard
                | Self::Muggsy
                | Self::PointSeven
                | Self::SevenPoint
                | Self::SevenPointSeven
        )
    }

    /// Decided by the next roll.
    pub const fn is_one_roll(self) -> bool {
        matches!(self, Self::Field | Self::Next(_) | Self::Hop(..) | Self::OneRoll(_))
    }

    /// Whether the player may call it on and off.
    pub const fn toggles(self) -> bool {
        let flat = matches!(self, Self::Pass | Self::DontPass | Self::Come | Self::DontCome | Self::Put(_));
        !flat && !self.is_one_roll() && !self.is_hand()
    }

    /// Whether it works on a come-out roll unless the player says otherwise.
    pub const fn works_on_come_out(self) -> bool {
        !matches!(self, Self::Place(_) | Self::Buy(_) | Self::Odds(Flat::Come | Flat::Put))
    }

    /// States of progress; 0 is the start.
    pub const fn states(self) -> u16 {
        match self {
            Self::Fire => 1 << 6,
            Self::RideLine => LINE_WINS + 1,
            Self::Replay => 5 * 5 * 5 * 5 * 5 * 5,
            Self::HotShooter => SHOOTER_ROLLS + 1,
            Self::Collect(what) => 1 << what.items().len(),
            Self::HotRoller => 1 << 14,
            Self::Repeater(number) => repeats(number),
            Self::TwiceHard => 1 << 4,
            Self::Muggsy | Self::PointSeven | Self::SevenPoint => 2,
            Self::SevenPointSeven => 3,
            _ => 1,
        }
    }

    /// What the automaton reads: rolls that mean the same to it are one symbol. `number` is the bet's box number, where
    /// it has one: that of odds, or that to which come or don't come travelled.
    pub fn symbol(self, number: Option<u8>, puck: Puck, dice: Dice) -> u8 {
        let total = dice.total();
        let point_made = |point: u8| 1 + box_index(point).expect("the puck stands on a box number") as u8;
        match self {
            // Which point was made, or that the hand ended, or a natural.
            Self::Fire | Self::RideLine | Self::Replay | Self::HotShooter => match (puck, puck.roll(dice).0) {
                (Puck::On(point), RollEvent::PointMade) => point_made(point),
                (_, RollEvent::SevenOut) => HAND_OVER,
                (_, RollEvent::Natural) => NATURAL,
                _ => NOTHING,
            },
            // Odds on the line follow the puck.
            Self::Odds(Flat::Pass | Flat::DontPass) => match (puck, puck.roll(dice).0) {
                (Puck::On(point), RollEvent::PointMade) => point_made(point),
                (Puck::On(point), RollEvent::SevenOut) => POINTS + point_made(point),
                _ => NOTHING,
            },
            Self::Pass | Self::DontPass => match puck {
                Puck::Off => total,
                Puck::On(_) => match puck.roll(dice).0 {
                    RollEvent::PointMade => POINT_MADE,
                    RollEvent::SevenOut => POINT_LOST,
                    _ => NOTHING,
                },
            },
            Self::Come | Self::DontCome => match number {
                None => total,
                Some(number) if total == number => POINT_MADE,
                Some(_) if total == 7 => POINT_LOST,
                Some(_) => NOTHING,
            },
            Self::Odds(_) => match number {
                Some(number) if total == number => point_made(number),
                Some(number) if total == 7 => POINTS + point_made(number),
                _ => NOTHING,
            },
            _ => dice.roll_index() as u8,
        }
    }

    /// The step of the automaton from `progress` on a roll. `puck` is the puck before it.
    pub fn step(self, number: Option<u8>, progress: u16, puck: Puck, dice: Dice) -> FamilyMove {
        assert!(progress < self.states(), "a bet's progress is one of its states");
        let symbol = self.symbol(number, puck, dice);
        let total = dice.total();
        let first_of = |wins: Rolls, loses: Rolls| {
            if wins.contains(dice) {
                End(WIN)
            } else if loses.contains(dice) {
                End(LOSE)
            } else {
                Stay
            }
        };
        match self {
            Self::Pass => match symbol {
                7 | 11 | POINT_MADE => End(WIN),
                2 | 3 | 12 | POINT_LOST => End(LOSE),
                _ => Stay,
            },
            Self::Come => match symbol {
                7 | 11 | POINT_MADE => End(WIN),
                2 | 3 | 12 | POINT_LOST => End(LOSE),
                4 | 5 | 6 | 8 | 9 | 10 => Travel(symbol),
                _ => Stay,
            },
            Self::DontPass | Self::DontCome => match symbol {
                7 | 11 | POINT_MADE => End(LOSE),
                POINT_LOST => End(WIN),
                2 => End(CRAPS_TWO),
                3 => End(CRAPS_THREE),
                12 => End(CRAPS_TWELVE),
                4 | 5 | 6 | 8 | 9 | 10 if matches!(self, Self::DontCome) => Travel(symbol),
                _ => Stay,
            },
            Self::Odds(flat) => match symbol {
                NOTHING => Stay,
                made @ 1..=POINTS => End(if flat.lays() { LOSE } else { made.into() }),
                lost => End(if flat.lays() { u16::from(lost - POINTS) } else { LOSE }),
            },
            Self::Yes(n) | Self::Place(n) | Self::Buy(n) | Self::Put(n) | Self::Big(n) => first_of(totals(&[n]), SEVEN),
            Self::No(n) | Self::Lay(n) | Self::PlaceLose(n) => first_of(SEVEN, totals(&[n])),
            Self::Hard(n) => first_of(hard(n), totals(&[n, 7])),
            Self::Next(n) => End(if total == n { WIN } else { LOSE }),
            Self::Hop(a, b) => End(if roll(a, b).contains(dice) { WIN } else { LOSE }),
            Self::Field => End(match total {
                2 => FIELD_TWO,
                12 => FIELD_TWELVE,
                3 | 4 | 9 | 10 | 11 => WIN,
                _ => LOSE,
            }),
            Self::OneRoll(pays) => {
                let tier = pays.iter().position(|(rolls, _)| rolls.contains(dice));
                End(tier.map_or(LOSE, |tier| tier as u16 + 1))
            }
            Self::Fire | Self::RideLine | Self::Replay | Self::HotShooter => self.step_hand(progress, symbol),
            Self::Collect(_) | Self::HotRoller | Self::Repeater(_) | Self::TwiceHard => {
                self.step_collection(progress, dice)
            }
            Self::Muggsy | Self::PointSeven | Self::SevenPoint | Self::SevenPointSeven => {
                self.step_sequence(progress, total)
            }
        }
    }

    /// Bets on totals that are rolled before a seven: `progress` has those that were.
    fn step_collection(self, progress: u16, dice: Dice) -> FamilyMove {
        let total = dice.total();
        match self {
            Self::Collect(what) => {
                let items = what.items();
                let collected = match items.iter().position(|item| item.contains(dice)) {
                    Some(item) => progress | 1 << item,
                    None if total == 7 => return End(progress.count_ones() as u16),
                    None => return Stay,
                };
                // It ends with the last item and not at the 7, or the player would wait for nothing.
                let all = collected.count_ones() as usize == items.len();
                if all { End(items.len() as u16) } else { advance(progress, collected) }
            }
            Self::HotRoller => {
                let mut ways = WAYS.iter().flat_map(|(_, ways)| ways.iter());
                let rolled = match ways.position(|way| way.contains(dice)) {
                    Some(way) => progress | 1 << way,
                    None if total == 7 => return End(complete(progress)),
                    None => return Stay,
                };
                if complete(rolled) == u16::from(POINTS) { End(POINTS.into()) } else { advance(progress, rolled) }
            }
            Self::Repeater(n) if total == n => {
                if progress + 1 == repeats(n) {
                    End(WIN)
                } else {
                    Advance(progress + 1)
                }
            }
            Self::TwiceHard if hard(total & !1).contains(dice) && box_index(total).is_some() => {
                let bit = 1 << ((total / 2 - 2) % 4);
                if progress & bit != 0 { End(WIN) } else { Advance(progress | bit) }
            }
            // The number any other way takes its first hard roll back.
            Self::TwiceHard if matches!(total, 4 | 6 | 8 | 10) => {
                advance(progress, progress & !(1 << ((total / 2 - 2) % 4)))
            }
            Self::Repeater(_) | Self::TwiceHard if total == 7 => End(LOSE),
            Self::Repeater(_) | Self::TwiceHard => Stay,
            _ => unreachable!("no other bet collects"),
        }
    }

    /// Bets on a few rolls in a row: `progress` counts those that were right.
    fn step_sequence(self, progress: u16, total: u8) -> FamilyMove {
        match self {
            Self::Muggsy => match (progress, total) {
                (0, 7) => End(WIN),
                (0, _) if box_index(total).is_some() => Advance(1),
                (1, 7) => End(POINT_THEN_SEVEN),
                _ => End(LOSE),
            },
            Self::PointSeven => match (progress, total) {
                (0, _) if box_index(total).is_some() => Advance(1),
                (1, 7) => End(WIN),
                _ => End(LOSE),
            },
            Self::SevenPoint => match (progress, total) {
                (0, 7) => Advance(1),
                (1, _) if box_index(total).is_some() => End(WIN),
                _ => End(LOSE),
            },
            Self::SevenPointSeven => match (progress, total) {
                (0, 7) => Advance(1),
                (1, _) if box_index(total).is_some() => Advance(2),
                (2, 7) => End(WIN),
                _ => End(LOSE),
            },
            _ => unreachable!("no other bet is on rolls in a row"),
        }
    }

    /// Bets on a whole hand: `symbol` is a point that was made, the end of the hand, a natural, or nothing.
    fn step_hand(self, progress: u16, symbol: u8) -> FamilyMove {
        assert!(symbol <= NATURAL, "a hand's roll makes a point, ends the hand, is a natural, or means nothing");
        let made = (1..=POINTS).contains(&symbol).then(|| usize::from(symbol) - 1);
        match (self, symbol, made) {
            (Self::Fire, HAND_OVER, _) => End(progress.count_ones() as u16),
            (Self::Fire, _, Some(point)) => {
                let points = progress | 1 << point;
                if points.count_ones() == u32::from(POINTS) { End(POINTS.into()) } else { advance(progress, points) }
            }
            (Self::RideLine, HAND_OVER, _) => End(progress),
            (Self::RideLine, NATURAL, _) | (Self::RideLine, _, Some(_)) => {
                advance(progress, (progress + 1).min(LINE_WINS))
            }
            // Counts stop at the last one that pays more: beyond it a hand may go on for as long as it likes.
            (Self::HotShooter, HAND_OVER, _) => End((progress + 1).min(SHOOTER_ROLLS)),
            (Self::HotShooter, ..) => advance(progress, (progress + 1).min(SHOOTER_ROLLS)),
            (Self::Replay, HAND_OVER, _) => End(replay_tier(progress)),
            (Self::Replay, _, Some(point)) => {
                let unit = 5u16.pow(point as u32);
                let count = progress / unit % 5;
                // A fifth time would carry over into the next number's count.
                if count == 4 { Stay } else { Advance(progress + unit) }
            }
            _ => Stay,
        }
    }
}

const fn advance(from: u16, to: u16) -> FamilyMove {
    if from == to { Stay } else { Advance(to) }
}

/// Box numbers of the hot roller whose every way has rolled.
fn complete(rolled: u16) -> u16 {
    let mut first = 0;
    let mut count = 0;
    for (_, ways) in WAYS {
        let mask = ((1 << ways.len()) - 1) << first;
        count += u16::from(rolled & mask == mask);
        first += ways.len();
    }
    count
}

/// The best tier that replay's counts have reached, 0 for none.
fn replay_tier(progress: u16) -> u16 {
    let count = |point: usize| progress / 5u16.pow(point as u32) % 5;
    let reached = |pair: usize, times: u16| count(pair) >= times || count(BOX_NUMBERS.len() - 1 - pair) >= times;
    let best = REPLAY_TIERS.iter().rposition(|(pair, times)| reached(*pair, *times));
    best.map_or(0, |tier| tier as u16 + 1)
}
