//! What all connections of a server have in common.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use engine::io::{ChainProgress, Input, NodeStatus, OrderProgress};
use engine::limits::MESSAGE_RECORDS_MAX;
use engine::{PeerId, TableId};
use tokio::sync::watch;
use tokio::time::Instant;

use super::admission::{Admission, Allowance};
use super::chain::ChainInfo;
use super::config::ServerConfig;
use super::counters::Counters;
use super::errands::Errands;
use super::lanes::Intake;
use super::nodes::Nodes;
use super::slots::Slots;
use super::visitors::{Kind, Visit, Visitors};
use crate::session::{Close, CloseCode, Event};
use crate::tls::{Identity, Key};
use crate::transport::address_bytes;
use crate::wire::{PeerRecord, Welcome};

/// What the tick last said of the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Published {
    pub(super) standing: ChainProgress,
    pub(super) order: OrderProgress,
    pub(super) at: Instant,
    /// How often the clock was set, which everyone is told.
    pub(super) steps: u32,
}

impl Published {
    /// Before the tick has said anything.
    pub(super) fn nothing_yet(at: Instant) -> Self {
        Self { standing: ChainProgress::default(), order: OrderProgress::default(), at, steps: 0 }
    }
}

pub(super) struct Common {
    pub(super) config: ServerConfig,
    pub(super) identity: Identity,
    pub(super) chain: ChainInfo,
    /// Where this node listens.
    pub(super) own: SocketAddr,
    pub(super) intents: Sender<Input>,
    pub(super) events: Sender<Input>,
    /// What other nodes say, for the tick.
    pub(super) intake: Intake,
    pub(super) published: watch::Receiver<Published>,
    pub(super) admission: Admission,
    pub(super) slots: Slots,
    pub(super) watchers: BTreeMap<TableId, Vec<PeerId>>,
    pub(super) nodes: Nodes,
    pub(super) errands: Errands,
    /// Nodes that nobody told this one of, and that have what goes between nodes.
    pub(super) followers: u32,
    /// Connections with nodes whose place another one took, and that other one.
    pub(super) replaced: Vec<(PeerId, PeerId)>,
    /// Connections with nodes that others wanted to take the place of: whether they live is to be found out.
    pub(super) doubted: Vec<PeerId>,
    pub(super) visitors: Visitors,
    pub(super) counters: Arc<Counters>,
    /// Bytes that wait in this process for connections.
    pub(super) held: usize,
    /// What one chunk of a stream said; empty in between.
    pub(super) heard: Vec<Event>,
}

impl Common {
    pub(super) fn standing(&self) -> ChainProgress {
        let Published { standing, at, .. } = *self.published.borrow();
        ChainProgress { now_ms: standing.now_ms + at.elapsed().as_millis() as u64, ..standing }
    }

    pub(super) fn status(&self) -> NodeStatus {
        let standing = self.standing();
        let (nodes, behind, furthest) = self.nodes.behind(standing.settled);
        let order = self.published.borrow().order;
        NodeStatus { standing, connections: self.slots.taken(), nodes, behind, furthest, order }
    }

    pub(super) fn welcome(&self) -> Welcome {
        Welcome {
            chain: self.chain.id,
            standing: self.standing(),
            name: self.config.name.clone(),
            tables: self.chain.tables,
            seats: self.chain.seats,
            credit: engine::limits::PEER_CREDIT,
            intents_per_s: self.config.intents_per_connection_per_s.get(),
            keys: self.chain.keys,
        }
    }

    /// What this node tells other nodes: its own record, if it has an address to tell, and the newest it knows.
    pub(super) fn records(&self) -> Vec<PeerRecord> {
        let mut records = Vec::new();
        // An address of all interfaces is one at which nobody could reach this node.
        if !self.own.ip().is_unspecified() {
            let mut own = PeerRecord {
                key: self.identity.key,
                address: address_bytes(self.own.ip()),
                time_s: self.standing().now_ms / 1_000,
                port: self.own.port(),
                reserved: [0; 6],
                signature: [0; 64],
            };
            own.signature = self.identity.sign(&own.signed_bytes(&self.chain.id));
            records.push(own);
        }
        records.extend(self.nodes.newest(MESSAGE_RECORDS_MAX - records.len()));
        assert!(records.len() <= MESSAGE_RECORDS_MAX, "what a node tells of others is one message");
        records
    }

    /// Allows a connection more than it has, unless it has that already.
    ///
    /// # Errors
    /// If all connections together have no room for it: it must not go on with less than it needs.
    pub(super) fn promote(&mut self, allowed: &mut Allowance, to: Allowance) -> Result<(), Close> {
        if allowed.bytes() >= to.bytes() {
            return Ok(());
        }
        let Some(given) = self.admission.promote(*allowed, to) else {
            Counters::add(&self.counters.refused_full, 1);
            return Err(Close::new(CloseCode::Full, "no room in net.buffer_bytes_max"));
        };
        assert_eq!(given.bytes(), to.bytes(), "what was given is what was asked for");
        *allowed = given;
        Ok(())
    }

    /// A peer watches a table from now on.
    pub(super) fn watch(&mut self, table: TableId, peer: PeerId) {
        let watchers = self.watchers.entry(table).or_default();
        if !watchers.contains(&peer) {
            watchers.push(peer);
        }
    }

    /// A peer watches a table no longer.
    pub(super) fn unwatch(&mut self, table: TableId, peer: PeerId) {
        if let Some(peers) = self.watchers.get_mut(&table) {
            peers.retain(|watcher| *watcher != peer);
            // A table that nobody watches keeps no entry: strangers could name every table that there is.
            if peers.is_empty() {
                self.watchers.remove(&table);
            }
        }
    }

    /// A connection was turned away before it could say hello: why in a word and in a sentence.
    pub(super) fn refused(&mut self, now: Duration, why: (&'static str, &str), address: [u8; 16], key: Option<Key>) {
        let (reason, text) = why;
        self.visitors.note(now, &Visit { kind: Kind::Refused, reason, text, address, key });
    }

    /// A handshake that a peer began did not end well.
    pub(super) fn failed(&mut self, now: Duration, how: &str, address: [u8; 16]) {
        Counters::add(&self.counters.handshakes_failed, 1);
        self.refused(now, ("HANDSHAKE", how), address, None);
    }
}
