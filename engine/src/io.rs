//! What goes into a node's core and what comes out of it. Network, journal and load generator are only sources of
//! [`Input`]; whoever listens, and the disk, are only sinks of [`Output`].

use thiserror::Error;

use crate::chips::Chips;
use crate::component::{Account, BetRow, Pledge, Seat, Table};
use crate::dice::{Dice, Puck, RollEvent};
use crate::genesis::hex;
use crate::ids::{AccountId, Height, PeerId, Spot, TableId};
use crate::limits::SPOTS;
use crate::message::block::{Decided, Header};
use crate::message::certificate::{Beacon, Certificate, Settled};
use crate::message::divergence::Divergence;
use crate::message::evidence::Evidence;
use crate::message::intent::{Intent, IntentId};
use crate::message::node::{NodeMessage, RangeRow};
use crate::message::pledge::PledgeRow;
use crate::message::{DecodeError, Hash};

pub use crate::message::verdict::Verdict;

/// What a tick takes in.
#[derive(Clone, PartialEq, Debug)]
pub enum Input {
    /// Intents as they arrived: nothing about them was checked but their length.
    Intents {
        /// Who sent them, and hears what becomes of them.
        from: PeerId,
        /// In the order in which they were sent.
        intents: Vec<Intent>,
    },
    /// Pledges and openings as they arrived: nothing about them was checked but their form.
    Pledges {
        /// Who sent them, and hears what becomes of them.
        from: PeerId,
        /// In the order in which they were sent.
        pledges: Vec<PledgeRow>,
    },
    /// A connection opened: its row is taken.
    Joined {
        /// The connection.
        peer: PeerId,
        /// The Ed25519 key that it proved.
        key: [u8; 32],
        /// Its IP address, IPv4 as IPv4-mapped IPv6.
        address: [u8; 16],
        /// Another node, or a player.
        node: bool,
    },
    /// A connection ended: its row is free.
    Left(PeerId),
    /// A connection did what it may not do.
    Offended {
        /// The connection.
        peer: PeerId,
        /// What it did.
        offence: Offence,
    },
    /// Another node said something: nothing about it was checked but its form.
    Node {
        /// The connection.
        from: PeerId,
        /// What it said.
        message: NodeMessage,
    },
    /// Another node told where its chain stands.
    Told {
        /// The connection.
        peer: PeerId,
        /// Its last decided height.
        decided: Height,
        /// Its last settled height.
        settled: Height,
    },
    /// The round trip to a peer was measured.
    RoundTrip {
        /// The connection.
        peer: PeerId,
        /// Microseconds.
        micros: u32,
    },
    /// A peer wants to see what happens at a table or to an account, or no longer; asked again, it sees the whole again.
    Watch {
        /// The connection.
        peer: PeerId,
        /// What it wants to see.
        what: Watched,
        /// Whether it wants to.
        on: bool,
    },
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
    /// To whoever sent the intent: what became of it. Released when its height is on disk.
    Receipt {
        /// Who waits for it.
        to: PeerId,
        /// What became of it.
        receipt: Receipt,
    },
    /// To whoever sent the intent: its signature verifies and it waits for a block. It may still die with this node.
    Acknowledged {
        /// Who sent it.
        to: PeerId,
        /// Which one it is.
        id: IntentId,
    },
    /// To whoever sent the intent: this node did not take it. Nothing is known about it; it may be sent again.
    Shed {
        /// Who sent it.
        to: PeerId,
        /// Which one it is.
        id: IntentId,
        /// Why.
        reason: ShedReason,
    },
    /// To those who watch: what changed at a table. Released when its height is on disk.
    Table(Box<TableUpdate>),
    /// To one who watches: an account. Released when its height is on disk.
    Account {
        /// Who watches.
        to: PeerId,
        /// The account's key.
        key: [u8; 32],
        /// The last settled height.
        height: Height,
        /// The account, if one is open.
        account: Option<(AccountId, Account)>,
    },
    /// To other nodes. Released when its tick is on disk, where [`NodeMessage::awaits_disk`] says so.
    ToNode {
        /// One connection, or every node.
        to: Option<PeerId>,
        /// What this node says.
        message: NodeMessage,
    },
    /// To the disk, which holds what was decided: a node that is behind asks for heights that this one no longer has in
    /// memory. Whatever of them is on disk goes to it as a [`NodeMessage::Range`].
    Serve {
        /// Who asks.
        to: PeerId,
        /// The heights.
        range: RangeRow,
    },
    /// To the disk: this validator signs nothing at or below a height any more, whatever its log holds of it. For heights
    /// that others told of, which leave nothing in the log.
    Fence {
        /// The height.
        height: Height,
    },
    /// To the disk: a validator said two things of which only one may be.
    Evidence(Evidence),
    /// To the disk, beside the journal: a block that names another root than this node computed.
    Diverged(Box<Divergence>),
    /// To the operator: something that only a faulty node does.
    Alarm(Alarm),
    /// To the edge: a peer is put out, and its key stays out.
    Ban {
        /// The connection.
        peer: PeerId,
        /// Its key.
        key: [u8; 32],
        /// Its address.
        address: [u8; 16],
        /// The offence that was one too many.
        offence: Offence,
    },
}

/// Slots of validators: a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct SlotList(pub u128);

impl SlotList {
    /// The slots, rising.
    pub fn slots(self) -> impl Iterator<Item = u32> {
        (0..u128::BITS).filter(move |slot| self.0 >> slot & 1 == 1)
    }
}

impl std::fmt::Display for SlotList {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut slots = self.slots();
        if let Some(first) = slots.next() {
            write!(f, "{first}")?;
        }
        slots.try_for_each(|slot| write!(f, ", {slot}"))
    }
}

/// What an operator must hear of.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Alarm {
    /// A proposed block names another root than the one this node computed. If a quorum votes for it, this node is the
    /// one that is wrong, and stops.
    #[error(
        "validator {proposer} proposes a block that names root chain {} after height {height}; this node has {}",
        hex(.proposed),
        hex(.own)
    )]
    Diverged {
        /// The settled height whose root differs.
        height: Height,
        /// `root_chain` as this node computed it.
        own: Hash,
        /// `root_chain` as the block names it.
        proposed: Hash,
        /// The proposer's slot.
        proposer: u32,
    },
    /// A validator said two things of which only one may be.
    #[error("validator {slot} said two things at height {height} of which only one may be; both are kept")]
    Equivocated {
        /// Its slot.
        slot: u32,
        /// The height that it spoke of.
        height: Height,
    },
    /// A certificate has a vote of this validator that is not in its log: its key was, or is, in use elsewhere.
    #[error(
        "the certificate of height {height} has a vote of this validator that is not in its log: its key was in use \
         elsewhere, so it votes on nothing until it is three heights behind the highest of a quorum"
    )]
    OwnVoteElsewhere {
        /// The certificate's height.
        height: Height,
    },
    /// A decided block waits for its beacon: too few validators have released their shares.
    #[error("height {height} waits for its beacon; no share came from validators {missing}")]
    BeaconStalls {
        /// The decided height.
        height: Height,
        /// Those whose shares are missing.
        missing: SlotList,
    },
    /// All nodes that are ahead have given up the blocks that come next here.
    #[error(
        "no node has the block after height {height} any more: this session cannot go on. With the same genesis and keys, a new \
         one gets a snapshot from the others"
    )]
    PastGone {
        /// The last height that is decided here.
        height: Height,
    },
    /// A validator that cannot know what it signed signs again, because its operator said so.
    #[error("validator {slot} lost its log and signs again, because its operator answers for it")]
    SignsByOperator {
        /// Its slot.
        slot: u32,
    },
    /// Two connections with different network keys prove that they speak for one validator: its keys are in two places.
    #[error("two network keys prove that they speak for validator {slot}: its vote key is in two places")]
    TwoLives {
        /// Its slot.
        slot: u32,
    },
}

/// What can be watched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Watched {
    /// A table with its seats, bets and rolls.
    Table(TableId),
    /// The account with this key.
    Account([u8; 32]),
}

/// Why a node did not take an intent. The discriminants are part of the protocol and never change meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum ShedReason {
    /// More intents wait than this node holds.
    Busy = 1,
    /// The connection sent more intents than its rate allows.
    RateLimit = 2,
    /// The connection has as many intents without an answer as its credit allows.
    NoCredit = 3,
    /// A field of the intent cannot be so.
    Malformed = 4,
    /// This node takes no intents now: it ends.
    Closed = 5,
    /// Another intent with the same number waits for a block.
    NumberWaits = 6,
    /// The same intent came over another connection later; its receipt goes there.
    Moved = 7,
    /// This node's disk is full.
    DiskFull = 8,
    /// The connection or its address asked for more accounts than it may in a minute.
    OpenRate = 9,
    /// This node's clock was set back: no block that it makes now can be before the intent's expiry.
    ClockBehind = 10,
    /// A pledge, and no table of this chain takes any.
    NoPledges = 11,
}

impl ShedReason {
    /// All reasons, with the name and the sentence that a person reads.
    pub const ALL: [(Self, &'static str, &'static str); 11] = [
        (Self::Busy, "BUSY", "more intents wait than the node holds; send it again a little later"),
        (Self::RateLimit, "RATE_LIMIT", "more intents in a second than one connection may send; send it again later"),
        (Self::NoCredit, "NO_CREDIT", "too many intents without an answer; wait for receipts first"),
        (Self::Malformed, "MALFORMED", "a field of the intent cannot be so"),
        (Self::Closed, "CLOSED", "the node takes no intents now; send it to another node, or later"),
        (Self::NumberWaits, "NUMBER_WAITS", "another intent with this number waits; take a new number"),
        (Self::Moved, "MOVED", "the same intent came over another connection; its receipt goes there"),
        (
            Self::DiskFull,
            "DISK_FULL",
            "the node's disk is full, so it takes no intents; send it again when there is room",
        ),
        (
            Self::OpenRate,
            "OPEN_RATE",
            "more new accounts in a minute than the node allows one connection, or one address; try again later",
        ),
        (
            Self::ClockBehind,
            "CLOCK_BEHIND",
            "the node's clock was set back, and its chain waits until the clock has caught up; send it again then",
        ),
        (Self::NoPledges, "NO_PLEDGES", "no table of this chain takes pledges: its dice follow from the beacon alone"),
    ];

    /// The name that output uses.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize - 1].1
    }

    /// The sentence that a person reads.
    pub fn sentence(self) -> &'static str {
        Self::ALL[self as usize - 1].2
    }
}

impl TryFrom<u8> for ShedReason {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, Self::Error> {
        let known = Self::ALL.into_iter().find(|(reason, ..)| *reason as u8 == byte);
        known.map(|(reason, ..)| reason).ok_or(DecodeError::Value { field: "reason of shedding", found: byte.into() })
    }
}

/// What a peer may not do. Each is an event that its authenticated connection proves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Offence {
    /// It sent an intent whose signature does not verify.
    BadSignature = 1,
    /// It sent bytes that are no message, or a message out of place.
    Malformed = 2,
    /// It went on sending a whole burst above its rate or credit.
    Flood = 3,
    /// It told of a peer under a signature that does not verify.
    FalsePeer = 4,
    /// It told of a decided block, or of evidence, that its signatures do not prove.
    FalseChain = 5,
}

impl Offence {
    /// All offences.
    pub const ALL: [Self; 5] = [Self::BadSignature, Self::Malformed, Self::Flood, Self::FalsePeer, Self::FalseChain];

    /// The name that output uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadSignature => "bad_signature",
            Self::Malformed => "malformed",
            Self::Flood => "flood",
            Self::FalsePeer => "false_peer",
            Self::FalseChain => "false_chain",
        }
    }
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

/// What changed at a watched table since the last update, or all of it.
#[derive(Clone, PartialEq, Debug)]
pub struct TableUpdate {
    /// One peer that asked for the whole, or everyone who watches.
    pub to: Option<PeerId>,
    /// The table.
    pub id: TableId,
    /// The last settled height.
    pub height: Height,
    /// Its time.
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

/// Where a node's chain stands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct ChainProgress {
    /// The node's time, in milliseconds since the Unix epoch.
    pub now_ms: u64,
    /// The last decided height that is on disk.
    pub decided: Height,
    /// The last settled height that is on disk.
    pub settled: Height,
    /// The last height whose `root_chain` a decided header has: what a quorum of validators answers for.
    pub certified: Height,
    /// `root_chain` of the settled height.
    pub root_chain: Hash,
    /// It follows, and votes on nothing.
    pub follows: bool,
    /// Its disk is full: it takes no intents, and settles nothing.
    pub disk_full: bool,
}

impl ChainProgress {
    /// Takes note of a height that was decided: its header has the root chain of the height two before.
    pub fn decide(&mut self, height: Height) {
        (self.decided, self.certified) = (height, height.back(2));
    }

    /// Takes note of a height that was settled.
    pub fn settle(&mut self, height: Height, root_chain: Hash) {
        (self.settled, self.root_chain) = (height, root_chain);
    }
}

/// What a node's part in the order of blocks is at.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct OrderProgress {
    /// The round of the height above the last decided one.
    pub round: u32,
    /// Whose turn it is there.
    pub proposer: u32,
    /// This node's slot, if it is a validator.
    pub slot: Option<u32>,
    /// How many validators there are.
    pub validators: u32,
    /// How many of them are connected, this one included.
    pub heard: u32,
    /// Receipts that it gave since its start.
    pub receipts: u64,
    /// Validators whose shares of the beacon have not come, where it has been awaited for too long.
    pub missing_shares: SlotList,
}

/// How a node is, for whoever looks after it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NodeStatus {
    /// Where its chain stands.
    pub standing: ChainProgress,
    /// Connections that it has.
    pub connections: u32,
    /// Other nodes among them.
    pub nodes: u32,
    /// Of those, the ones that are behind this node's settled height.
    pub behind: u32,
    /// The one that is furthest behind: its network key, and its settled height.
    pub furthest: Option<([u8; 32], Height)>,
    /// What its part in the order of blocks is at.
    pub order: OrderProgress,
}

impl NodeStatus {
    /// Why the node is of no use to a player now, in a word; nothing if it is.
    pub fn unready(&self) -> Option<&'static str> {
        match self.standing {
            ChainProgress { disk_full: true, .. } => Some("disk full"),
            ChainProgress { follows: true, .. } => Some("follows"),
            _ if self.order.missing_shares != SlotList::default() => Some("waits for shares of the beacon"),
            _ => None,
        }
    }
}

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
    /// The wager.
    pub wager: u32,
    /// Chips credited to the rail.
    pub credit: Chips,
    /// What happened.
    pub result: BetResult,
}

/// A player whom a roll saw off: absent for too long, or left before and now without a bet.
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
