//! A client's end of a connection: sends intents until each has its receipt, through as many connections as it takes.
//!
//! ```text
//!  commands -> [ intents without a receipt ] -> credit -> connection -> answers, updates -> events
//!                        ^ sent again, the same bytes, after every reconnect
//! ```

mod sending;
pub mod status;

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::io::{ChainProgress, NodeStatus, ShedReason, TableUpdate, Watched};
use engine::limits::RECEIVE_WINDOW;
use engine::message::intent::Intent;
use engine::message::pledge::PledgeRow;
use engine::{Hash, Height};
pub use quinn::Endpoint;
use quinn::{ConnectionError, RecvStream, VarInt};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use self::sending::Sending;
use crate::session::CloseCode;
use crate::tls::{Identity, IdentityError, Key, proven_key};
use crate::transport::{Carrier, bind, client_transport, endpoint};
use crate::wire::{
    ALPN, AccountRow, Answer, AnswerVerdict, Decoder, Hello, Role, TableMessage, ToClient, ToNode, Welcome, WireError,
};

/// The first pause before another try, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The longest pause where there are several nodes: one of them is likely to be there.
const SEVERAL_PAUSE: Duration = Duration::from_secs(1);
/// How long a node may take to answer a handshake, and to say welcome.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a client waits until it asks a node that is behind again for what it shows.
const WATCH_AGAIN: Duration = Duration::from_millis(250);
/// Heights by which a node may be behind what another one has shown: it has them before anybody waits long.
const BEHIND_HEIGHTS: u64 = 200;
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

/// Why there is no connection.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum Lost {
    /// The name has no address.
    #[error("{address}: {problem}")]
    Address {
        /// What was looked up.
        address: String,
        /// What the system says.
        problem: String,
    },
    /// Nothing answers there.
    #[error("no node answers at {0}")]
    Silent(String),
    /// The node refused the connection before it looked at it.
    #[error(
        "the node refuses the connection: it ends, or is full, or this address has too many connections or is banned"
    )]
    Refused,
    /// No version of the protocol is common to both.
    #[error("the node speaks another version of the protocol; this program speaks version {}", crate::wire::VERSION)]
    Version,
    /// The node has another key than was expected.
    #[error("the node has key {}, but {} was expected", engine::hex(.found), engine::hex(.expected))]
    Key {
        /// What was expected.
        expected: Key,
        /// What the node proved.
        found: Key,
    },
    /// The node closed the connection and said why.
    #[error("{}{}", .code.sentence(), if .text.is_empty() { String::new() } else { format!(" ({text})") })]
    Closed {
        /// The code.
        code: CloseCode,
        /// Details.
        text: String,
    },
    /// The node said something that is no message.
    #[error("the node sent what is no message: {0}")]
    Wire(#[from] WireError),
    /// The node is behind what this client has seen of the chain.
    #[error("the node is {0} heights behind what another one has shown")]
    Behind(u64),
    /// Anything else that befell the connection.
    #[error("{0}")]
    Other(String),
}

impl Lost {
    /// Whether trying again cannot help.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Version | Self::Key { .. } => true,
            Self::Closed { code, .. } => {
                matches!(code, CloseCode::Version | CloseCode::Chain | CloseCode::Banned | CloseCode::Malformed)
            }
            _ => false,
        }
    }

    fn of(error: &ConnectionError, address: &str) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                let text = String::from_utf8_lossy(&close.reason).chars().filter(|c| !c.is_control()).collect();
                match CloseCode::of(close.error_code.into_inner()) {
                    Some(code) => Self::Closed { code, text },
                    None => Self::Other(text),
                }
            }
            ConnectionError::ConnectionClosed(close)
                if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::Refused
            }
            ConnectionError::ConnectionClosed(close) if close.error_code == no_common_version() => Self::Version,
            ConnectionError::TransportError(error) if error.code == no_common_version() => Self::Version,
            ConnectionError::VersionMismatch => Self::Version,
            ConnectionError::TimedOut => Self::Silent(address.to_owned()),
            other => Self::Other(other.to_string()),
        }
    }
}

/// The TLS alert `no_application_protocol`.
fn no_common_version() -> quinn::TransportErrorCode {
    quinn::TransportErrorCode::crypto(120)
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

/// The same as [`socket`] over what carries packets.
///
/// # Errors
/// If the endpoint cannot be made.
pub fn endpoint_on(carrier: Carrier) -> io::Result<Endpoint> {
    endpoint(carrier)
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
            hear(Event::Connecting { attempt });
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
            if up {
                (attempt, pause, refused) = (0, PAUSES.0, 0);
            }
            refused += usize::from(lost.is_final());
            // Of several nodes, one that refuses this client for good is passed over while another may take it.
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
                    if !self.sending.give(intent) {
                        let verdict = AnswerVerdict::Shed(ShedReason::NoCredit);
                        hear(Event::Answer(Answer { id: intent.id(), verdict }));
                    }
                }
            }
            Command::Watch(what, on) => {
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

    async fn connected(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        hear: &mut (impl FnMut(Event) + Send),
    ) -> Ended {
        match self.connect().await {
            Ok((quic, node)) => {
                let ended = self.talk(&quic, node, commands, hear).await;
                quic.close(VarInt::from_u32(CloseCode::Done as u32), b"");
                ended
            }
            Err(lost) => Ended::Lost(lost),
        }
    }

    async fn connect(&self) -> Result<(quinn::Connection, Key), Lost> {
        let address = &self.config.address;
        let unknown = |problem: String| Lost::Address { address: address.clone(), problem };
        let mut addresses = tokio::net::lookup_host(address).await.map_err(|error| unknown(error.to_string()))?;
        let only_v4 = self.endpoint.local_addr().is_ok_and(|local| local.is_ipv4());
        let at = addresses.find(|at| at.is_ipv4() || !only_v4);
        let at = at.ok_or_else(|| unknown("the name has no address that this machine can reach".into()))?;
        let connecting = self
            .endpoint
            .connect_with(self.quic.clone(), at, "bitcraps")
            .map_err(|error| Lost::Other(error.to_string()))?;
        let silent = || Lost::Silent(address.clone());
        let quic = timeout(PATIENCE, connecting).await.map_err(|_| silent())?;
        let quic = quic.map_err(|error| Lost::of(&error, address))?;
        let found = proven_key(quic.peer_identity()).ok_or_else(|| Lost::Other("the node proved no key".into()))?;
        if let Some(expected) = self.config.node
            && expected != found
        {
            quic.close(VarInt::from_u32(CloseCode::Done as u32), b"another key was expected");
            return Err(Lost::Key { expected, found });
        }
        Ok((quic, found))
    }

    async fn talk(
        &mut self,
        quic: &quinn::Connection,
        node: Key,
        commands: &mut mpsc::Receiver<Command>,
        hear: &mut (impl FnMut(Event) + Send),
    ) -> Ended {
        let address = self.config.address.clone();
        let lost = || {
            let reason = quic.close_reason();
            Ended::Lost(reason.map_or(Lost::Other("the connection ended".into()), |error| Lost::of(&error, &address)))
        };
        let Ok((mut send, mut recv)) = quic.open_bi().await else { return lost() };
        let mut out = Vec::new();
        let program = self.config.program.clone();
        ToNode::Hello(Hello { chain: self.config.chain, program, role: Role::Client }).encode(&mut out);
        let mut welcomed = false;
        let mut updates: Option<RecvStream> = None;
        let mut answers_decoder = Decoder::for_opener(Role::Client);
        let mut updates_decoder = Decoder::for_updates(Role::Client);
        let deadline = tokio::time::sleep(PATIENCE);
        tokio::pin!(deadline);
        loop {
            if welcomed {
                self.send_intents(&mut out);
                self.watch_again(&mut out);
            }
            if !out.is_empty() {
                // A node that does not read is found silent by QUIC's own timer.
                if send.write_all(&out).await.is_err() {
                    return lost();
                }
                out.clear();
            }
            let resumes =
                self.sending.resumes_at(self.started.elapsed()).into_iter().chain(self.watched_again_at).min();
            let resumes = resumes.map(|at| self.started + at);
            // Whoever watches nothing has no second stream to look at.
            let watches = !self.watching.is_empty();
            let (decoder, chunk) = tokio::select! {
                biased;
                chunk = recv.read_chunk(RECEIVE_WINDOW as usize, true) => (&mut answers_decoder, chunk),
                chunk = read_updates(quic, &mut updates), if watches => (&mut updates_decoder, chunk),
                command = commands.recv(), if welcomed => {
                    match command {
                        None | Some(Command::Close) => {
                            // What was sent before is on its way; the node has it, or the next connection sends it.
                            let _ = send.finish();
                            return Ended::Asked;
                        }
                        Some(Command::Reconnect) => return Ended::Again,
                        Some(command) => self.take(command, &mut out, hear),
                    }
                    // What else waits goes with it.
                    while let Some(command) = (out.len() < 4_096).then(|| commands.try_recv().ok()).flatten() {
                        if matches!(command, Command::Close | Command::Reconnect) {
                            self.send_intents(&mut out);
                            let _ = send.write_all(&out).await;
                            let _ = send.finish();
                            return if matches!(command, Command::Close) { Ended::Asked } else { Ended::Again };
                        }
                        self.take(command, &mut out, hear);
                    }
                    continue;
                }
                () = tokio::time::sleep_until(resumes.unwrap_or(self.started)), if resumes.is_some() => continue,
                () = &mut deadline, if !welcomed => return Ended::Lost(Lost::Silent(self.config.address.clone())),
            };
            let Ok(Some(chunk)) = chunk else { return lost() };
            decoder.push(&chunk.bytes);
            while let Some(message) = decoder.next_message().transpose() {
                match message {
                    Ok(ToClient::Welcome(welcome)) => {
                        if let Some(chain) = self.config.chain
                            && chain != welcome.chain
                        {
                            let text = format!("it keeps {}", engine::hex(&welcome.chain));
                            return Ended::Lost(Lost::Closed { code: CloseCode::Chain, text });
                        }
                        // A later connection must be to the same chain.
                        self.config.chain = Some(welcome.chain);
                        let behind = self.seen.0.saturating_sub(welcome.standing.settled.0);
                        if behind > BEHIND_HEIGHTS && !self.config.others.is_empty() {
                            return Ended::Lost(Lost::Behind(behind));
                        }
                        welcomed = true;
                        self.sending.connected(welcome.credit);
                        self.node_clock = (welcome.standing.now_ms, self.started.elapsed());
                        hear(Event::Up { welcome, node, address: address.clone(), rtt: quic.rtt() });
                        self.resume(&mut out);
                    }
                    Ok(message) => self.hear(message, hear),
                    Err(error) => {
                        quic.close(VarInt::from_u32(CloseCode::Malformed as u32), error.to_string().as_bytes());
                        return Ended::Lost(Lost::Wire(error));
                    }
                }
            }
        }
    }

    /// Something that the node showed is older than what was seen before: it is watched again after a while.
    fn doubt(&mut self, what: Watched) {
        self.doubted.insert(what);
        self.watched_again_at = self.watched_again_at.or(Some(self.started.elapsed() + WATCH_AGAIN));
    }

    /// Asks again for the whole of what was doubted, once it is time.
    fn watch_again(&mut self, out: &mut Vec<u8>) {
        if self.watched_again_at.is_some_and(|at| at <= self.started.elapsed()) {
            self.watched_again_at = None;
            let doubted = std::mem::take(&mut self.doubted);
            let again: Vec<(Watched, bool)> =
                doubted.into_iter().filter(|what| self.watching.contains(what)).map(|what| (what, true)).collect();
            if !again.is_empty() {
                ToNode::Watch(again).encode(out);
            }
        }
    }

    /// After a connect: everything watched is watched again. The intents follow, as credit allows.
    fn resume(&mut self, out: &mut Vec<u8>) {
        self.doubted.clear();
        self.watched_again_at = None;
        if self.genesis_wanted {
            ToNode::AskGenesis.encode(out);
        }
        let watching: Vec<(Watched, bool)> = self.watching.iter().map(|what| (*what, true)).collect();
        if !watching.is_empty() {
            ToNode::Watch(watching).encode(out);
        }
    }

    fn hear(&mut self, message: ToClient, hear: &mut (impl FnMut(Event) + Send)) {
        match message {
            ToClient::Answers(answers) => {
                for answer in answers {
                    if let AnswerVerdict::Receipt { height, .. } = answer.verdict {
                        self.seen = self.seen.max(height);
                    }
                    if self.sending.answered(&answer, self.started.elapsed()) {
                        hear(Event::Answer(answer));
                    }
                }
            }
            ToClient::Genesis(bytes) => {
                self.genesis_wanted = false;
                hear(Event::Genesis(bytes));
            }
            // What a node that is behind shows was so before what this client has seen already: it is asked again for the
            // whole, until it has caught up.
            ToClient::Account(account) if account.height < self.seen => self.doubt(Watched::Account(account.key)),
            ToClient::Table(TableMessage { update, .. }) if update.height < self.seen => {
                self.doubt(Watched::Table(update.id));
            }
            ToClient::Account(account) => {
                self.seen = account.height;
                hear(Event::Account(account));
            }
            // A part of what changed, without the whole that it changes.
            ToClient::Table(TableMessage { update, whole: false })
                if self.doubted.contains(&Watched::Table(update.id)) => {}
            ToClient::Table(TableMessage { update, whole }) => {
                self.seen = update.height;
                hear(Event::Table { update, whole });
            }
            ToClient::Standing(ChainProgress { now_ms, .. }) => {
                let (then_ms, then) = self.node_clock;
                let moment = self.started.elapsed();
                let expected_ms = then_ms.saturating_add((moment - then).as_millis() as u64);
                self.node_clock = (now_ms, moment);
                hear(Event::ClockSet { by_ms: now_ms.wrapping_sub(expected_ms) as i64, now_ms });
            }
            ToClient::Status(status) => hear(Event::Status(status)),
            // The decoder lets none of these through: they are said to nodes, or first.
            ToClient::Welcome(_) | ToClient::Peers(_) => {}
        }
    }
}

/// The next bytes of the node's own stream, which it opens once something is watched.
async fn read_updates(
    quic: &quinn::Connection,
    updates: &mut Option<RecvStream>,
) -> Result<Option<quinn::Chunk>, quinn::ReadError> {
    if updates.is_none() {
        *updates = Some(quic.accept_uni().await?);
    }
    updates.as_mut().expect("accepted above").read_chunk(RECEIVE_WINDOW as usize, true).await
}

/// A connection without a session, for tests and load runs of what a client must not do: sends any bytes, reads or does
/// not read.
pub struct RawConnection {
    quic: quinn::Connection,
    send: quinn::SendStream,
    /// Where what it says goes instead, once it has opened one.
    lane: Option<quinn::SendStream>,
    recv: RecvStream,
    decoder: Decoder<ToClient>,
    address: String,
}

impl RawConnection {
    /// Connects and opens the stream, and says nothing.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(endpoint: &Endpoint, identity: &Identity, at: SocketAddr) -> Result<Self, Lost> {
        let other = |error: &dyn std::fmt::Display| Lost::Other(error.to_string());
        let crypto = identity.client_config(ALPN).map_err(|error| other(&error))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(client_transport(RECEIVE_WINDOW, IDLE));
        let connecting = endpoint.connect_with(config, at, "bitcraps").map_err(|error| other(&error))?;
        let address = at.to_string();
        let quic = timeout(PATIENCE, connecting).await.map_err(|_| Lost::Silent(address.clone()))?;
        let quic = quic.map_err(|error| Lost::of(&error, &address))?;
        let (send, recv) = quic.open_bi().await.map_err(|error| Lost::of(&error, &address))?;
        Ok(Self { quic, send, lane: None, recv, decoder: Decoder::for_opener(Role::Client), address })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        match self.lane.as_mut().unwrap_or(&mut self.send).write_all(bytes).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.lost()),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn say(&mut self, message: &ToNode) -> Result<(), Lost> {
        if let ToNode::Hello(hello) = message {
            self.decoder.open_as(hello.role);
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.send(&bytes).await
    }

    /// The next message.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn hear(&mut self) -> Result<ToClient, Lost> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            match self.recv.read_chunk(RECEIVE_WINDOW as usize, true).await {
                Ok(Some(chunk)) => self.decoder.push(&chunk.bytes),
                _ => return Err(self.lost()),
            }
        }
    }

    /// Opens a lane, as a node does that the other one knows; what is sent from now on goes there.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn open_lane(&mut self) -> Result<(), Lost> {
        match self.quic.open_uni().await {
            Ok(lane) => {
                self.lane = Some(lane);
                Ok(())
            }
            Err(_) => Err(self.lost()),
        }
    }

    /// The key that the node proved.
    pub fn key(&self) -> Option<Key> {
        proven_key(self.quic.peer_identity())
    }

    /// Waits until the node ends the connection.
    pub async fn closed(&self) -> Lost {
        Lost::of(&self.quic.closed().await, &self.address)
    }

    /// Ends the connection, as a client does.
    pub fn close(&self) {
        self.quic.close(VarInt::from_u32(CloseCode::Done as u32), b"");
    }

    fn lost(&self) -> Lost {
        let reason = self.quic.close_reason();
        reason.map_or(Lost::Other("the stream ended".into()), |error| Lost::of(&error, &self.address))
    }
}
