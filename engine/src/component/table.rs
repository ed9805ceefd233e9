use bevy_ecs::component::Component;
use bytemuck::{Pod, Zeroable};

use super::row::{ChainStart, Fields, Row, count_on, fields};
use crate::chips::Chips;
use crate::dice::{Dice, Puck};
use crate::limits::{COUNTER_MAX, RULES_MAX, SEATS_MAX, TIME_MS_MAX};

/// A craps table. Layout: 64 bytes, one cache line, no padding. Units: chips; milliseconds of block time.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Table {
    /// The table's house chips; never below `exposure`.
    pub bank: Chips,
    /// What the bank would pay if every bet on the table won its most (R11).
    pub exposure: Chips,
    /// Chips in bets, with commission held in advance.
    pub felt: Chips,
    /// When the table rolls by itself, or now if the shooter called the roll; [`Table::NEVER`] while it is empty.
    pub next_roll_ms: u64,
    /// When the betting window opened: the last roll, or the first player's arrival.
    pub opened_ms: u64,
    /// Rolls so far: the last roll's number, rolls being numbered from 1. Counting stops at [`COUNTER_MAX`].
    pub roll_number: u32,
    /// Hands so far, the present one included. Counting stops at [`COUNTER_MAX`].
    pub hand_number: u32,
    /// A bit for each seat that is taken.
    pub occupied: u16,
    /// The last roll's faces, zero before the first.
    pub dice: [u8; 2],
    /// The puck: 0 for OFF, or the point.
    pub point: u8,
    /// The shooter's seat, or [`Table::NO_SHOOTER`].
    pub shooter: u8,
    /// The table's rules: row in the rules column.
    pub rules: u8,
    /// 1 once the shooter called the coming roll.
    pub roll_called: u8,
    /// When a player was last refused a seat because all were taken, by the clock of activity; 0 for never.
    pub wanted_ms: u64,
}

const _: () = assert!(size_of::<Table>() == 64);
const _: () = assert!(align_of::<Table>() == 64);

// An empty table is never due, and nobody's seat says that nobody holds the dice.
const _: () = assert!(Table::NEVER > TIME_MS_MAX);
const _: () = assert!(Table::NO_SHOOTER as u32 >= SEATS_MAX);
// Seats have a bit each, and sets of rules a number of a byte.
const _: () = assert!(SEATS_MAX <= u16::BITS);
const _: () = assert!(RULES_MAX <= u8::MAX as usize + 1);

impl Table {
    /// No roll is due: the table is empty.
    pub const NEVER: u64 = u64::MAX;
    /// Nobody holds the dice.
    pub const NO_SHOOTER: u8 = u8::MAX;

    /// The puck.
    ///
    /// # Panics
    /// If the row's own byte is no puck, which only a broken world has.
    #[inline]
    pub fn puck(&self) -> Puck {
        Puck::from_byte(self.point).expect("a table's point is 0 or a box number")
    }

    /// The last roll, or `None` before the first.
    pub fn last_dice(&self) -> Option<Dice> {
        Dice::new(self.dice[0], self.dice[1])
    }

    /// Counts a hand. Whoever sits down and leaves, or passes the dice, begins one: no number of rolls bounds how many.
    #[inline]
    pub fn begin_hand(&mut self) {
        self.hand_number = count_on(self.hand_number);
        assert!(u64::from(self.hand_number) <= COUNTER_MAX, "a table's hands are what a state may hold");
    }

    /// Counts a roll. The dice of one beyond the last number are those of its own height's beacon all the same.
    #[inline]
    pub fn begin_roll(&mut self) {
        self.roll_number = count_on(self.roll_number);
        assert!(u64::from(self.roll_number) <= COUNTER_MAX, "a table's rolls are what a state may hold");
    }

    /// Whether the coming roll has a number of its own, by which a player's half of its dice can be told from all others.
    #[inline]
    pub fn has_next_number(&self) -> bool {
        u64::from(self.roll_number) < COUNTER_MAX
    }

    /// Whether a roll of the table is due at `time_ms`.
    #[inline]
    pub fn is_due(&self, time_ms: u64) -> bool {
        self.next_roll_ms <= time_ms
    }
}

impl Row for Table {
    const FIELDS: Fields = fields!(Table: bank exposure felt next_roll_ms opened_ms roll_number hand_number occupied dice
        point shooter rules roll_called wanted_ms);

    /// An empty table with a full bank.
    fn first(start: &ChainStart<'_>, row: usize) -> Self {
        let rules = start.genesis.rules_of(row as u32);
        Self {
            bank: Chips(start.genesis.bank_target),
            // Nobody sits at it: a table that were due would be rolled at every height.
            next_roll_ms: Self::NEVER,
            shooter: Self::NO_SHOOTER,
            rules: u8::try_from(rules).expect("genesis bounds the sets of rules"),
            ..Self::zeroed()
        }
    }
}
