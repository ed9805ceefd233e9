//! Sets of the 21 distinct rolls.

use engine::Dice;
use engine::dice::ROLLS;

/// A set of rolls: bit `i` for roll index `i`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rolls(pub u32);

// The set has a bit for each roll.
const _: () = assert!(ROLLS <= u32::BITS as usize);

impl Rolls {
    /// Whether the roll is in the set.
    pub const fn contains(self, dice: Dice) -> bool {
        self.0 >> dice.roll_index() & 1 == 1
    }

    /// Both sets' rolls.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// The rolls with one of these totals.
pub const fn totals(totals: &[u8]) -> Rolls {
    let (mut set, mut roll) = (0, 0);
    while roll < ROLLS {
        let mut index = 0;
        while index < totals.len() {
            if Dice::from_roll_index(roll).total() == totals[index] {
                set |= 1 << roll;
            }
            index += 1;
        }
        roll += 1;
    }
    assert!(set != 0, "some roll has one of the totals");
    Rolls(set)
}

/// One roll, in either order of its faces.
pub const fn roll(first: u8, second: u8) -> Rolls {
    match Dice::new(first, second) {
        Some(dice) => Rolls(1 << dice.roll_index()),
        None => panic!("a die has faces 1 to 6"),
    }
}

/// The pair that makes this even total.
pub const fn hard(total: u8) -> Rolls {
    assert!(total.is_multiple_of(2), "a pair makes an even total");
    roll(total / 2, total / 2)
}

/// Any 7.
pub const SEVEN: Rolls = totals(&[7]);
