//! What can be watched, and what whoever watches is shown.

use crate::component::{BetRow, Pledge, Seat, Table};
use crate::ids::{Height, PeerId, TableId};
use crate::message::block::Header;
use crate::message::certificate::Certificate;

use super::report::{Resolution, RollReport};

/// What can be watched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Watched {
    /// A table with its seats, bets and rolls.
    Table(TableId),
    /// The account with this key.
    Account([u8; 32]),
}

/// What changed at a watched table since the last update, or all of it.
#[derive(Clone, PartialEq, Debug)]
pub struct TableUpdate {
    /// One peer that asked for the whole, or everyone who watches.
    pub to: Option<PeerId>,
    /// The table.
    pub id: TableId,
    /// The last settled height.
    pub height: Height,
    /// Block time of that height, in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// The table's row.
    pub table: Table,
    /// The seats that changed, or all of them.
    pub seats: Vec<SeatUpdate>,
    /// A roll of this height.
    pub roll: Option<RollReport>,
    /// What the roll did to bets.
    pub resolutions: Vec<Resolution>,
    /// What its player pledged, if it is a pledged table.
    pub pledge: Option<Pledge>,
    /// The block that closed the bets of the roll that waits, if one does: whoever opens it sees that it was decided.
    pub closing: Option<Box<Closing>>,
}

/// A decided block without its contents.
#[derive(Clone, PartialEq, Debug)]
pub struct Closing {
    /// What its hash covers.
    pub header: Header,
    /// The precommits that decided it.
    pub certificate: Certificate,
}

/// A seat and its bets.
#[derive(Clone, PartialEq, Debug)]
pub struct SeatUpdate {
    /// The seat's number at its table.
    pub seat: u8,
    /// Its row.
    pub row: Seat,
    /// Its bets, in the order of their spots.
    pub bets: Vec<BetRow>,
}
