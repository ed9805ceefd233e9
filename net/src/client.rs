//! A client's end of a connection: sends intents until each has its receipt, through as many connections as it takes.
//!
//! ```text
//!  commands -> [ intents without a receipt ] -> credit -> connection -> answers, updates -> events
//!                        ^ sent again, the same bytes, after every reconnect
//! ```

mod lost;
mod sending;
mod talk;
mod raw;
pub mod status;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::io::{NodeStatus, ShedReason, TableUpdate, Watched};
use engine::limits::RECEIVE_WINDOW;
use engine::message::intent::Intent;
use engine::message::pledge::PledgeRow;
use engine::{Hash, Height};
pub use quinn::Endpoint;
use tokio::sync::mpsc;
use tokio::time::Instant;

pub use self::lost::Lost;
pub use self::raw::RawConnection;
use self::sending::Sending;
use crate::tls::{Identity, IdentityError, Key};
use crate::transport::{Carrier, bind, client_transport, endpoint};
use crate::wire::{ALPN, AccountRow, Answer, AnswerVerdict, ToNode, Welcome};

/// The first pause before another try, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The longest pause where there are several nodes: one of them is likely to be there.
const SEVERAL_PAUSE: Duration = Duration::from_secs(1);
/// How long a node may take to answer a handshake, and to say welcome.
const PATIENCE: Duration = Duration::from_secs(5);
/// Silence after which a connection is lost.
const IDLE: Duration = Duration::from_secs(30);

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
    /// Send pledges and openings, once: whoever looks at the table sees whether they came.
    Pledge(Vec<PledgeRow>),
    /// Watch something from now on, or no longer.
    Watch(Watched, bool),
    /// Ask for the genesis.
    AskGenesis,
    /// Ask how the node is.
    AskStatus,
    /// Drop the connection and make another: this machine has a new address, or wants to know that it can.
    Reconnect,
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
        /// Where it is, as it was given.
        address: String,
        /// Round trip.
        rtt: Duration,
    },
    /// Not connected, and tried again after a pause.
    Down {
        /// Why.
        reason: Lost,
        /// The pause.
        pause: Duration,
    },
    /// What became of an intent.
    Answer(Answer),
    /// The genesis.
    Genesis(Vec<u8>),
    /// How the node is.
    Status(NodeStatus),
    /// The node's clock was set.
    ClockSet {
        /// By so many milliseconds forward, or back if it is less than zero.
        by_ms: i64,
        /// What it shows now, in milliseconds since the Unix epoch.
        now_ms: u64,
    },
    /// A watched account.
    Account(AccountRow),
    /// A watched table.
    Table {
        /// What changed.
        update: Box<TableUpdate>,
        /// Whether it is the whole table.
        whole: bool,
    },
}

/// A socket that clients share.
///
/// # Errors
/// If it cannot be had. Must be called inside a runtime.
pub fn socket(local: SocketAddr, buffer_bytes: usize) -> io::Result<Endpoint> {
    endpoint(Carrier::Udp(bind(local, buffer_bytes)?.socket))
}

/// A socket for nodes at any address: of both IPv6 and IPv4, or of IPv4 alone where there is no IPv6.
///
/// # Errors
/// If it cannot be had. Must be called inside a runtime.
pub fn any_socket(buffer_bytes: usize) -> io::Result<Endpoint> {
    let both = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0));
    socket(both, buffer_bytes).or_else(|_| socket(SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, 0)), buffer_bytes))
}

/// A client: one identity, one node.
pub struct Client {
    config: ClientConfig,
    endpoint: Endpoint,
    quic: quinn::ClientConfig,
    /// Spreads the tries of clients that lost a node in the same moment.
    spread: u64,
    /// Since when moments are counted.
    started: Instant,
    sending: Sending,
    /// The node's time when it last said it, and the moment of that.
    node_clock: (u64, Duration),
    watching: BTreeSet<Watched>,
    genesis_wanted: bool,
    /// The highest height of which this client has seen anything: nothing older is shown after it.
    seen: Height,
    /// What the present node showed older than that, and when it is asked for again.
    doubted: BTreeSet<Watched>,
    watched_again_at: Option<Duration>,
}

enum Ended {
    Asked,
    Again,
    Lost(Lost),
}

impl Client {
    /// A client that is not connected yet.
    ///
    /// # Errors
    /// If the key cannot be used.
    pub fn new(config: ClientConfig, endpoint: Endpoint, identity: &Identity) -> Result<Self, IdentityError> {
        Self::speaking(ALPN, config, endpoint, identity)
    }

    /// The same for another version of the protocol: for tests of its refusal.
    ///
    /// # Errors
    /// If the key cannot be used.
    pub fn speaking(
        alpn: &[u8],
        config: ClientConfig,
        endpoint: Endpoint,
        identity: &Identity,
    ) -> Result<Self, IdentityError> {
        let mut quic = quinn::ClientConfig::new(Arc::new(identity.client_config(alpn)?));
        quic.transport_config(client_transport(RECEIVE_WINDOW, IDLE));
        let (spread, started) = (u64::from_le_bytes(identity.key[..8].try_into().expect("32 bytes")), Instant::now());
        let (sending, watching) = (Sending::new(!config.others.is_empty()), BTreeSet::new());
        let (node_clock, genesis_wanted) = ((0, Duration::ZERO), false);
        Ok(Self {
            config,
            endpoint,
            quic,
            spread,
            started,
            sending,
            node_clock,
            watching,
            genesis_wanted,
            seen: Height::GENESIS,
            doubted: BTreeSet::new(),
            watched_again_at: None,
        })
    }

    /// The same, with a connection that counts as lost after so long a silence: for a person who looks at it.
    #[must_use]
    pub fn lost_after(mut self, silence: Duration) -> Self {
        self.quic.transport_config(client_transport(RECEIVE_WINDOW, silence));
        self
    }

    /// Runs until it is told to close, or nothing more can be had. `hear` is called for every event, in order.
    ///
    /// # Errors
    /// Why there is no connection, where trying again cannot help or was not wanted.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut hear: impl FnMut(Event) + Send,
    ) -> Result<(), Lost> {
        let mut attempt: u32 = 0;
        let mut refused = 0;
        let mut pause = PAUSES.0;
        loop {
            attempt += 1;
            hear(Event::Connecting { attempt, address: self.config.address.clone() });
            let mut up = false;
            let mut hear_up = |event: Event| {
                up |= matches!(event, Event::Up { .. });
                hear(event);
            };
            let lost = match self.connected(&mut commands, &mut hear_up).await {
                Ended::Asked => return Ok(()),
                Ended::Again => {
                    attempt = 0;
                    continue;
                }
                Ended::Lost(lost) => lost,
            };
            // A connection that was up ends the series: the next try comes soon, and what was refused before it is
            // forgotten.
            if up {
                (attempt, pause, refused) = (0, PAUSES.0, 0);
            }
            // Of several nodes, one that refuses this client for good is passed over while another may take it: only
            // where all of them did so, one after the other, is there nothing to wait for.
            refused = if lost.is_final() { refused + 1 } else { 0 };
            let nodes = 1 + self.config.others.len();
            if refused >= nodes || !self.config.reconnect {
                return Err(lost);
            }
            // A thousand clients that lost one node must not come back in the same moment: each has a key of its own.
            let jitter = (self.spread >> (attempt % 32)) % (pause.as_millis() as u64 / 2 + 1);
            let wait = pause + Duration::from_millis(jitter);
            hear(Event::Down { reason: lost, pause: wait });
            // The pause grows once all nodes were tried.
            if nodes == 1 || (attempt as usize).is_multiple_of(nodes) {
                pause = (pause * 2).min(if nodes == 1 { PAUSES.1 } else { SEVERAL_PAUSE });
            }
            self.go_on();
            if self.wait(wait, &mut commands, &mut hear).await {
                return Ok(());
            }
        }
    }

    /// The next node is tried, if there are several.
    fn go_on(&mut self) {
        let ClientConfig { address, node, others, .. } = &mut self.config;
        if !others.is_empty() {
            let (next, key) = others.remove(0);
            others.push((std::mem::replace(address, next), std::mem::replace(node, key)));
        }
    }

    /// Takes commands while there is no connection. Says whether to end.
    async fn wait(
        &mut self,
        pause: Duration,
        commands: &mut mpsc::Receiver<Command>,
        hear: &mut (impl FnMut(Event) + Send),
    ) -> bool {
        let until = Instant::now() + pause;
        loop {
            match tokio::time::timeout_at(until, commands.recv()).await {
                Err(_) => return false,
                Ok(None | Some(Command::Close)) => return true,
                Ok(Some(command)) => {
                    // What would be sent now is dropped: the next connection asks for what is watched and wanted, and
                    // sends what has no receipt; a pledge is the player's to send again.
                    let mut later = Vec::new();
                    self.take(command, &mut later, hear);
                }
            }
        }
    }

    /// Takes a command; what must be sent for it is appended, but for intents: those are sent as credit allows.
    fn take(&mut self, command: Command, out: &mut Vec<u8>, hear: &mut (impl FnMut(Event) + Send)) {
        match command {
            Command::Send(intents) => {
                for intent in intents {
                    // A client without room says so at once: whoever gave the intent would wait for an answer for ever.
                    if !self.sending.give(intent) {
                        let verdict = AnswerVerdict::Shed(ShedReason::NoCredit);
                        hear(Event::Answer(Answer { id: intent.id(), verdict }));
                    }
                }
            }
            Command::Watch(what, on) => {
                // What is watched is remembered whether there is a connection or not: the next one asks for all of it.
                if on {
                    self.watching.insert(what);
                } else {
                    self.watching.remove(&what);
                }
                ToNode::Watch(vec![(what, on)]).encode(out);
            }
            Command::Pledge(rows) => ToNode::Pledges(rows).encode(out),
            Command::AskGenesis => {
                self.genesis_wanted = true;
                ToNode::AskGenesis.encode(out);
            }
            Command::AskStatus => ToNode::AskStatus.encode(out),
            // A connection has ended by these two before they come here; where there is none, the next one is tried
            // anyway.
            Command::Reconnect | Command::Close => {}
        }
    }

    /// Appends the intents that may be sent now.
    fn send_intents(&mut self, out: &mut Vec<u8>) {
        let intents = self.sending.take_sendable(self.started.elapsed());
        if !intents.is_empty() {
            ToNode::Intents(intents).encode(out);
        }
    }
}
