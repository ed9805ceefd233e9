//! Where a client connects, what it can be told, and what it tells.

use std::time::Duration;

use engine::Hash;
use engine::io::{NodeStatus, TableUpdate, Watched};
use engine::message::intent::Intent;
use engine::message::pledge::PledgeRow;

use super::lost::Lost;
use crate::tls::Key;
use crate::wire::{AccountRow, Answer, Welcome};

/// Where to connect, and as whom.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// `host:port`.
    pub address: String,
    /// The node's key, if it is known: another one is refused.
    pub node: Option<Key>,
    /// Other nodes of the same chain, with their keys if those are known: when a node is lost, the next one is tried.
    pub others: Vec<(String, Option<Key>)>,
    /// The chain, if it is known: another one is refused.
    pub chain: Option<Hash>,
    /// Name and version of this program.
    pub program: String,
    /// Whether to try again after a connection was lost or not had.
    pub reconnect: bool,
}

/// What a client can be told.
#[derive(Clone, Debug)]
pub enum Command {
    /// Send intents, and send them again until each has its receipt.
    Send(Vec<Intent>),
    /// Send pledges and openings, once: whoever looks at the table sees whether they came. Where there are other nodes, one that does
    /// not answer an opening is left for the next.
    Pledge(Vec<PledgeRow>),
    /// Watch something from now on, or no longer.
    Watch(Watched, bool),
    /// Ask for the genesis.
    AskGenesis,
    /// Ask how the node is.
    AskStatus,
    /// Drop the connection and make another: this machine has a new address, or wants to know that it can.
    Reconnect,
    /// Leave the node for the next one, for this reason: it does not show what is needed. Nothing happens where there is no other.
    Leave(&'static str),
    /// End.
    Close,
}

/// What a client hears.
#[derive(Clone, Debug)]
pub enum Event {
    /// Trying to connect. The number counts the attempts since the last connection, from 1.
    Connecting {
        /// From 1.
        attempt: u32,
        /// Where, as it was given: what follows, up to the next attempt, is about the node there.
        address: String,
    },
    /// Connected.
    Up {
        /// What the node said.
        welcome: Welcome,
        /// The key that it proved.
        node: Key,
        /// Where the node is, as it was given.
        address: String,
        /// Round trip.
        rtt: Duration,
    },
    /// Not connected, and tried again after a pause.
    Down {
        /// Why.
        reason: Lost,
        /// How long the client waits before it tries again.
        pause: Duration,
    },
    /// What became of an intent.
    Answer(Answer),
    /// The bytes of the chain's genesis file, as the node has them.
    Genesis(Vec<u8>),
    /// How the node is.
    Status(NodeStatus),
    /// The node's clock was set.
    ClockSet {
        /// By so many milliseconds forward, or back if it is less than zero.
        by_ms: i64,
        /// What the node's clock shows now, in milliseconds since the Unix epoch.
        now_ms: u64,
    },
    /// A watched account.
    Account(AccountRow),
    /// A watched table.
    Table {
        /// What changed.
        update: Box<TableUpdate>,
        /// Whether the update is the whole table, and not only what changed.
        whole: bool,
    },
}
