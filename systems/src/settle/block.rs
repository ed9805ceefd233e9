//! The height that is being settled.

use bevy_ecs::resource::Resource;
use engine::component::BetRow;
use engine::io::{Lapse, Leaving, OpeningReport, Receipt, Resolution, RollReport};
use engine::message::certificate::Beacon;
use engine::message::intent::Intent;
use engine::message::pledge::PledgeRow;
use engine::{Dice, Hash, Height, Puck, TableId};

/// Where the dice of a height come from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Draw {
    /// The height's beacon: the only source a chain has.
    Beacon(Beacon),
    /// One given roll for every table: scripts only, which have no chain.
    Given(Dice),
}

/// The decided block that the settle schedule works on.
#[derive(Resource)]
pub struct Current {
    /// The height above the last settled one.
    pub height: Height,
    /// Block time in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The same moment by the clock of activity: what seats and accounts are idle by.
    pub active_ms: u64,
    /// The clock of openings at its block.
    pub opening_ms: u64,
    /// What else its block holds.
    pub part: BlockPart,
    /// In the order in which they are applied.
    pub intents: Vec<Intent>,
    /// Its dice.
    pub draw: Draw,
}

/// What a decided block holds beside height, time and intents. Heights that are settled without a block have none of it.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct BlockPart {
    /// The round in which the block was first proposed: those below failed.
    pub round: u32,
    /// The block's hash.
    pub hash: Hash,
    /// Its pledges and openings.
    pub pledges: Vec<PledgeRow>,
}

/// A bet as it lay when the dice of its table fell.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FeltBet {
    /// The table.
    pub table: TableId,
    /// Its puck before the roll.
    pub puck: Puck,
    /// The bet.
    pub bet: BetRow,
}

/// What a settled height gives to those who look: receipts always, the rest where somebody watches.
#[derive(Resource, Default)]
pub struct Report {
    /// Whether rolls, resolutions, leavings and lapses are wanted.
    pub watch: bool,
    /// Whether the bets that lie when the dice fall are wanted.
    pub watch_felt: bool,
    /// The bets that lay at the tables that rolled, by table, seat and spot.
    pub felt: Vec<FeltBet>,
    /// The bets that were forfeited because their roll was not opened in time, by table and spot.
    pub forfeited: Vec<FeltBet>,
    /// What became of each intent, in block order.
    pub receipts: Vec<Receipt>,
    /// What became of each pledge and opening, in block order.
    pub pledge_receipts: Vec<Receipt>,
    /// Pledged tables whose bets were closed, or forfeited.
    pub closed: Vec<TableId>,
    /// Rolls of pledged tables that were opened, and bets that were forfeited, in table order.
    pub openings: Vec<OpeningReport>,
    /// The rolls, in table order.
    pub rolls: Vec<RollReport>,
    /// What they did to bets, by table, seat and spot.
    pub resolutions: Vec<Resolution>,
    /// Players who left at rolls, in table order.
    pub leavings: Vec<Leaving>,
    /// Accounts whose grant or slot went back, by number.
    pub lapses: Vec<Lapse>,
    /// Numbers of this height.
    pub counts: Counts,
    /// The image's root after the height.
    pub root: Hash,
}

/// What one height did, in numbers.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Tables that rolled.
    pub rolls: u64,
    /// Bets placed or raised.
    pub bets_placed: u64,
    /// Bets decided, pushed or returned by rolls.
    pub bets_resolved: u64,
    /// Intents applied.
    pub applied: u64,
    /// Intents refused.
    pub refused: u64,
    /// Seats whose bets were forfeited.
    pub forfeits: u64,
    /// Chips won beyond the wagers.
    pub paid: u64,
    /// Wagers lost or forfeited, and commissions of bets that were won, lost or forfeited: `lost - paid` is what players have
    /// less.
    pub lost: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.rolls += other.rolls;
        self.bets_placed += other.bets_placed;
        self.bets_resolved += other.bets_resolved;
        self.applied += other.applied;
        self.refused += other.refused;
        self.forfeits += other.forfeits;
        self.paid += other.paid;
        self.lost += other.lost;
    }
}
