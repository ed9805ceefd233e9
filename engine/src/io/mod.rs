//! What goes into a node's core and what comes out of it. Network, journal and load generator are only sources of
//! [`Input`]; whoever listens, and the disk, are only sinks of [`Output`].

mod offence;
mod shed;

mod report;
mod watched;

mod progress;
mod alarm;

use crate::component::Account;
use crate::ids::{AccountId, Height, PeerId};
use crate::message::block::Decided;
use crate::message::certificate::Settled;
use crate::message::divergence::Divergence;
use crate::message::evidence::Evidence;
use crate::message::intent::{Intent, IntentId};
use crate::message::node::{NodeMessage, RangeRow};
use crate::message::pledge::PledgeRow;

pub use crate::message::verdict::Verdict;

pub use self::alarm::{Alarm, AlarmLevel};
pub use self::offence::Offence;
pub use self::progress::{ChainProgress, NodeStatus, OrderProgress, SlotList};
pub use self::report::{BetResult, Lapse, Leaving, OpeningEnd, OpeningReport, Receipt, Resolution, RollReport};
pub use self::shed::ShedReason;
pub use self::watched::{Closing, SeatUpdate, TableUpdate, Watched};

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
        /// What it said. Messages of nodes are large, and intents many: those must not cost these their room.
        message: Box<NodeMessage>,
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

// Each intent is an input and two outputs, which go through some queues: they must not take the room of a message of nodes there.
const _: () = assert!(size_of::<Input>() <= 64);
const _: () = assert!(size_of::<Output>() <= 96);

/// What a tick gives out.
#[derive(Clone, PartialEq, Debug)]
pub enum Output {
    /// To the disk: a decided block with this node's certificate.
    Decided(Box<Decided>),
    /// To the disk: a settled height.
    Settled(Box<Settled>),
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
        account: Option<Box<(AccountId, Account)>>,
    },
    /// To other nodes. Released when its tick is on disk, where [`NodeMessage::awaits_disk`] says so.
    ToNode {
        /// One connection, or every node.
        to: Option<PeerId>,
        /// What this node says.
        message: Box<NodeMessage>,
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
        /// Nothing is signed at it or below.
        height: Height,
    },
    /// To the disk: a validator said two things of which only one may be.
    Evidence(Box<Evidence>),
    /// To the disk, beside the journal: a block that names another root than this node computed.
    Diverged(Box<Divergence>),
    /// To the operator: something that only a faulty node does.
    Alarm(Alarm),
    /// To the edge: a peer is put out, and its key stays out.
    Ban {
        /// The connection.
        peer: PeerId,
        /// The network key that it proved.
        key: [u8; 32],
        /// IPv6, or IPv4 mapped into it; its block of addresses is what is banned.
        address: [u8; 16],
        /// The offence that was one too many.
        offence: Offence,
    },
}
