//! What a settled height did: receipts, rolls, and what a roll did to bets and seats.

use crate::Hash;
use crate::chips::Chips;
use crate::dice::{Dice, Puck, RollEvent};
use crate::ids::{AccountId, Height, Spot, TableId};
use crate::limits::SPOTS;
use crate::message::DecodeError;
use crate::message::certificate::Beacon;
use crate::message::intent::IntentId;
use crate::message::verdict::Verdict;

/// What became of an intent: durable once its height is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// Which intent it is about.
    pub id: IntentId,
    /// The height that applied it; of one that expired in no block, the settled height whose time passed its expiry;
    /// [`Height::GENESIS`] where it was refused before any block.
    pub height: Height,
    /// Its place in the block.
    pub index: u32,
    /// What became of it.
    pub verdict: Verdict,
}

/// A roll of a table at one height.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RollReport {
    /// The table.
    pub table: TableId,
    /// The roll's number there.
    pub roll_number: u32,
    /// The dice.
    pub dice: Dice,
    /// What they did to the puck.
    pub event: RollEvent,
    /// The puck after the roll.
    pub puck: Puck,
    /// The shooter after the roll.
    pub shooter: u8,
}

/// What a roll did to one bet that it decided, returned or moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resolution {
    /// The table.
    pub table: TableId,
    /// The seat there.
    pub seat: u8,
    /// Whose bet it was.
    pub account: AccountId,
    /// Where it lay before the roll.
    pub spot: Spot,
    /// Chips that lay in it, without commission.
    pub wager: u32,
    /// Chips credited to the rail.
    pub credit: Chips,
    /// What happened.
    pub result: BetResult,
}

/// What a roll can do to a bet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BetResult {
    /// Won: wager and profit are credited.
    Win,
    /// Lost.
    Lose,
    /// Pushed: the wager is credited.
    Push,
    /// Odds that were off when their flat bet was decided: the wager is credited.
    Return,
    /// Moved to a box number.
    Travel(Spot),
}

impl BetResult {
    /// The two bytes that stand for it wherever it is sent or stored: which result it is, and the spot that the bet travelled
    /// to, 0 if it did not.
    pub const fn to_bytes(self) -> [u8; 2] {
        match self {
            Self::Win => [1, 0],
            Self::Lose => [2, 0],
            Self::Push => [3, 0],
            Self::Return => [4, 0],
            Self::Travel(spot) => [5, spot.0],
        }
    }

    /// The result that two bytes stand for.
    ///
    /// # Errors
    /// If there is no such result or spot, or a spot beside a bet that did not travel.
    pub fn of_bytes([result, to]: [u8; 2]) -> Result<Self, DecodeError> {
        let found = match result {
            1 => Self::Win,
            2 => Self::Lose,
            3 => Self::Push,
            4 => Self::Return,
            5 if usize::from(to) < SPOTS => return Ok(Self::Travel(Spot(to))),
            5 => return Err(DecodeError::Value { field: "spot", found: to.into() }),
            found => return Err(DecodeError::Value { field: "result", found: found.into() }),
        };
        // One result has one form: what is stored is compared byte by byte.
        if to == 0 { Ok(found) } else { Err(DecodeError::NotZero { field: "spot of a bet that did not travel" }) }
    }

    /// The name that scenario files and output use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Win => "win",
            Self::Lose => "lose",
            Self::Push => "push",
            Self::Return => "return",
            Self::Travel(_) => "travel",
        }
    }
}

/// A player who leaves at a roll: absent for too long, or asked to leave before and now without a bet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaving {
    /// The table.
    pub table: TableId,
    /// The seat there.
    pub seat: u8,
    /// Whose seat it was.
    pub account: AccountId,
    /// Whether the player was absent: no intent for as long as genesis allows.
    pub absent: bool,
    /// Chips of bets that were returned to the rail, because the player was absent.
    pub returned: Chips,
    /// The rail that went to the cage, if the seat is free now; else the last bets are awaited.
    pub left_with: Option<Chips>,
}

/// An account that nobody used: the grant went back to the treasury, or the slot is free, or both (R12).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Lapse {
    /// The account.
    pub account: AccountId,
    /// Whose it was.
    pub key: [u8; 32],
    /// Chips of the grant that went back.
    pub returned: Chips,
    /// Whether the slot is free for another player.
    pub freed: bool,
}

/// What became of the bets that a pledged table's player held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpeningReport {
    /// The table.
    pub table: TableId,
    /// The player's account.
    pub account: AccountId,
    /// The roll, or 0 where the bets were those of a player who left and no roll waited.
    pub roll: u32,
    /// The block that closed the roll's bets, and its beacon; zero where no roll waited.
    pub closed: (Hash, Beacon),
    /// How it ended.
    pub end: OpeningEnd,
}

/// How a pledged roll, or a wait without one, ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OpeningEnd {
    /// The player opened it, with this value.
    Opened(Hash),
    /// Nobody opened it in time: so many chips of bets and commission went to nobody. `end` is what was pledged.
    Forfeited {
        /// The chips.
        chips: Chips,
        /// The end that was pledged.
        end: Hash,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_two_bytes_are_one_result_or_none() {
        let mut results = 0;
        for bytes in (0..=u16::MAX).map(u16::to_le_bytes) {
            if let Ok(result) = BetResult::of_bytes(bytes) {
                assert_eq!(result.to_bytes(), bytes);
                results += 1;
            }
        }
        assert_eq!(results, 4 + SPOTS);
    }
}
