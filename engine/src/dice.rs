//! A roll of two dice, and the puck that it moves.

use crate::bytes::DecodeError;

/// Two dice in the order they were drawn; only the unordered pair matters to any bet (RULES.md R2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dice(u8, u8);

/// Distinct unordered rolls of two dice.
pub const ROLLS: usize = 21;

// Whatever is looked up by a roll's number is that roll's: the numbers have no gap, and none is another's.
const _: () = {
    let (mut index, mut ways) = (0, 0);
    while index < ROLLS {
        let dice = Dice::from_roll_index(index);
        assert!(dice.roll_index() == index);
        assert!(dice.total() >= 2);
        assert!(dice.total() <= 12);
        ways += dice.ways();
        index += 1;
    }
    assert!(ways == 36, "two dice fall in 36 ways");
};

impl Dice {
    /// Two faces, or `None` where one is not 1 to 6.
    pub const fn new(first: u8, second: u8) -> Option<Self> {
        if first >= 1 && first <= 6 && second >= 1 && second <= 6 { Some(Self(first, second)) } else { None }
    }

    /// The faces, in the order they were drawn.
    #[inline]
    pub const fn faces(self) -> [u8; 2] {
        [self.0, self.1]
    }

    /// The sum, 2 to 12.
    #[inline]
    pub const fn total(self) -> u8 {
        self.0 + self.1
    }

    /// Both faces alike.
    #[inline]
    pub const fn is_pair(self) -> bool {
        self.0 == self.1
    }

    /// The lower face, then the higher.
    #[inline]
    pub const fn sorted(self) -> (u8, u8) {
        if self.0 <= self.1 { (self.0, self.1) } else { (self.1, self.0) }
    }

    /// The number of this unordered roll, 0 (1-1) to 20 (6-6): 11 12 13 14 15 16 22 23 ... 66.
    #[inline]
    pub const fn roll_index(self) -> usize {
        let (low, high) = self.sorted();
        let (low, high) = (low as usize - 1, high as usize - 1);
        // Below a low face stand six rolls of face 1, five of face 2, and so on.
        low * 6 - (low * low - low) / 2 + (high - low)
    }

    /// The unordered roll with this number, lower face first.
    ///
    /// # Panics
    /// If `index` is not below [`ROLLS`].
    pub const fn from_roll_index(index: usize) -> Self {
        let mut low = 1;
        while low <= 6 {
            let mut high = low;
            while high <= 6 {
                let dice = Self(low, high);
                if dice.roll_index() == index {
                    return dice;
                }
                high += 1;
            }
            low += 1;
        }
        panic!("there are 21 distinct rolls");
    }

    /// How many of the 36 ordered rolls this unordered one stands for: 1 or 2.
    #[inline]
    pub const fn ways(self) -> u32 {
        if self.is_pair() { 1 } else { 2 }
    }
}

/// The table's puck: OFF on a come-out roll, or ON a box number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Puck {
    /// Come-out.
    Off,
    /// ON 4, 5, 6, 8, 9 or 10.
    On(u8),
}

/// Box numbers, in order.
pub const BOX_NUMBERS: [u8; 6] = [4, 5, 6, 8, 9, 10];
/// States of the puck: OFF and the six box numbers.
pub const PUCKS: usize = 7;

const _: () = assert!(PUCKS == BOX_NUMBERS.len() + 1);

// The puck stands on a box number or is off, whatever was rolled: a row with another one would be none of a state.
const _: () = {
    let mut puck = 0;
    while puck < PUCKS {
        assert!(Puck::from_index(puck).index() == puck);
        let mut roll = 0;
        while roll < ROLLS {
            let (_, after) = Puck::from_index(puck).roll(Dice::from_roll_index(roll));
            assert!(Puck::from_byte(after.to_byte()).is_some());
            roll += 1;
        }
        puck += 1;
    }
};

/// The place of a box number in [`BOX_NUMBERS`].
#[inline]
pub const fn box_index(number: u8) -> Option<usize> {
    match number {
        4 => Some(0),
        5 => Some(1),
        6 => Some(2),
        8 => Some(3),
        9 => Some(4),
        10 => Some(5),
        _ => None,
    }
}

/// What a roll did to the puck (R2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum RollEvent {
    /// Come-out 7 or 11.
    Natural = 0,
    /// Come-out 2, 3 or 12.
    Craps = 1,
    /// Come-out box number.
    PointEstablished = 2,
    /// The point again.
    PointMade = 3,
    /// A 7 with the puck ON: the hand ends.
    SevenOut = 4,
    /// Anything else with the puck ON.
    NoDecision = 5,
}

impl RollEvent {
    /// All events, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Natural, Self::Craps, Self::PointEstablished, Self::PointMade, Self::SevenOut, Self::NoDecision];

    /// The name that scenario files and output use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Natural => "natural",
            Self::Craps => "craps",
            Self::PointEstablished => "point_established",
            Self::PointMade => "point_made",
            Self::SevenOut => "seven_out",
            Self::NoDecision => "no_decision",
        }
    }
}

// A list of all events that lacks one would refuse its byte.
const _: () = {
    let mut index = 0;
    while index < RollEvent::ALL.len() {
        assert!(RollEvent::ALL[index] as usize == index);
        index += 1;
    }
};

impl TryFrom<u8> for RollEvent {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        let known = Self::ALL.into_iter().find(|event| *event as u8 == byte);
        known.ok_or(DecodeError::Value { field: "roll event", found: byte.into() })
    }
}

impl Puck {
    /// The puck's byte in a table row: 0 for OFF, else the number.
    #[inline]
    pub const fn to_byte(self) -> u8 {
        match self {
            Self::Off => 0,
            Self::On(number) => number,
        }
    }

    /// The puck of a table row's byte, or `None` where it is neither 0 nor a box number.
    #[inline]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        if byte == 0 {
            return Some(Self::Off);
        }
        if box_index(byte).is_some() { Some(Self::On(byte)) } else { None }
    }

    /// The number of this state, 0 (OFF) to 6 (ON 10).
    #[inline]
    pub const fn index(self) -> usize {
        match self {
            Self::Off => 0,
            Self::On(number) => match box_index(number) {
                Some(index) => index + 1,
                None => panic!("the puck stands on a box number"),
            },
        }
    }

    /// The state with this number.
    pub const fn from_index(index: usize) -> Self {
        if index == 0 { Self::Off } else { Self::On(BOX_NUMBERS[index - 1]) }
    }

    /// What `dice` does to the puck: the event, and the puck after it (R2 step 4).
    pub const fn roll(self, dice: Dice) -> (RollEvent, Self) {
        let total = dice.total();
        match self {
            Self::Off => match total {
                7 | 11 => (RollEvent::Natural, Self::Off),
                2 | 3 | 12 => (RollEvent::Craps, Self::Off),
                _ => (RollEvent::PointEstablished, Self::On(total)),
            },
            Self::On(point) => {
                if total == point {
                    (RollEvent::PointMade, Self::Off)
                } else if total == 7 {
                    (RollEvent::SevenOut, Self::Off)
                } else {
                    (RollEvent::NoDecision, self)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roll_indices_number_the_unordered_pairs_in_order() {
        let mut next = 0;
        for low in 1..=6 {
            for high in low..=6 {
                let dice = Dice::new(low, high).expect("faces");
                assert_eq!(dice.roll_index(), next);
                assert_eq!(Dice::new(high, low).expect("faces").roll_index(), next);
                assert_eq!(Dice::from_roll_index(next), dice);
                next += 1;
            }
        }
        assert_eq!(next, ROLLS);
        let ways: u32 = (0..ROLLS).map(|roll| Dice::from_roll_index(roll).ways()).sum();
        assert_eq!(ways, 36);
    }

    #[test]
    fn faces_outside_one_to_six_are_refused() {
        assert!(Dice::new(0, 3).is_none());
        assert!(Dice::new(3, 7).is_none());
    }

    #[test]
    fn puck_bytes_round_trip() {
        for index in 0..PUCKS {
            let puck = Puck::from_index(index);
            assert_eq!(puck.index(), index);
            assert_eq!(Puck::from_byte(puck.to_byte()), Some(puck));
        }
        assert_eq!(Puck::from_byte(7), None);
    }
}
