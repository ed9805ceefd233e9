//! What goes into a node's core and what comes out of it. Network, journal and load generator are only sources of
//! [`Input`]; whoever listens, and the disk, are only sinks of [`Output`].

use crate::chips::Chips;
use crate::dice::{Dice, Puck, RollEvent};
use crate::ids::{AccountId, Height, Spot, TableId};
use crate::message::block::Decided;
use crate::message::certificate::Settled;
use crate::message::intent::Intent;
use crate::message::refusal::Refusal;

/// What a tick takes in.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Intents as they arrived: nothing about them was checked.
    Intents(Vec<Intent>),
    /// Everything recorded up to this group is on disk.
    Synced {
        /// The group: the tick that recorded it.
        group: u64,
    },
}

/// What a tick gives out.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// To the disk: a decided block with this node's certificate.
    Decided(Box<Decided>),
    /// To the disk: a settled height.
    Settled(Settled),
    /// To the disk: an entry of the consensus log for a height.
    Log {
        /// The height it belongs to.
        height: Height,
        /// The entry, as the order of blocks wrote it.
        entry: Vec<u8>,
    },
    /// To the players: what became of an intent. Released when its height is on disk.
    Receipt(Receipt),
}

/// What became of an intent: durable once its height is on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Receipt {
    /// The key that the intent named.
    pub key: [u8; 32],
    /// Its number.
    pub number: u64,
    /// The height that applied it; [`Height::GENESIS`] where it was refused before any block.
    pub height: Height,
    /// Its place in the block.
    pub index: u32,
    /// What became of it.
    pub verdict: Verdict,
}

/// The answer to an intent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Applied.
    Applied,
    /// A take-down was applied, and the bet's odds went back with it.
    OddsReturned,
    /// Nothing changed but, where the code says so, the number.
    Refused(Refusal),
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
    /// The wager.
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
