//! A node's end of the network.
//!
//! ```text
//!  sockets -> accept -> connection: session -> events, intents (bounded) -> the tick
//!  sockets <- connection: writers <- queues (bounded) <- router <- batches of outputs <- the tick
//! ```
//! Intents have a queue of their own: whatever else arrives, there is as much room for them as before.
//! It moves bytes and keeps bounds; it knows no rule of the game.

mod admission;
mod config;
mod connection;
mod kept;
mod nodes;
mod router;
mod ack_batching;
mod visitors;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use engine::genesis::KeySource;
use engine::io::{ChainProgress, Input, NodeStatus, Output};
use engine::limits::{EDGE_INPUTS_MAX, EDGE_OUTPUTS_MAX};
use engine::{Hash, PeerId, TableId};
use quinn::VarInt;
use quinn::crypto::rustls::QuicServerConfig;
use thiserror::Error;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

pub use self::config::ServerConfig;
use crate::session::{CloseCode, Handled};
use crate::tls::{Identity, IdentityError};
use crate::transport::{BoundSocket, Carrier, bind, endpoint, node_transport};
use crate::wire::{ToClient, Welcome};
use admission::Admission;
use connection::Connection;
use kept::{Batch, Undelivered};
use nodes::Nodes;
use visitors::Visitors;

/// What a node tells those who connect.
#[derive(Clone, Debug)]
pub struct ChainInfo {
    /// The chain id.
    pub id: Hash,
    /// The bytes of the genesis.
    pub genesis: Vec<u8>,
    /// Craps tables.
    pub tables: u32,
    /// Seats of each.
    pub seats: u8,
    /// Where its keys come from.
    pub keys: KeySource,
}

/// Why a network does not start.
#[derive(Error, Debug)]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {error}; is another node running there?")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The system refuses threads.
    #[error("cannot start the network's threads: {0}")]
    Threads(io::Error),
    /// The key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// Numbers of the network since the start.
#[derive(Default, Debug)]
pub struct Counters {
    /// Connections that were let in.
    pub accepted: AtomicU64,
    /// Connections that were turned away because there were enough.
    pub refused_full: AtomicU64,
    /// Connections that were turned away for their address: too many, too fast.
    pub refused_address: AtomicU64,
    /// Connections that were turned away because their key or address is banned.
    pub refused_banned: AtomicU64,
    /// Connections that had to prove their address first.
    pub retried: AtomicU64,
    /// Handshakes that failed or took too long.
    pub handshakes_failed: AtomicU64,
    /// Connections that this node closed for what they did or did not do.
    pub closed: AtomicU64,
    /// Of them, those that did not read.
    pub slow_readers: AtomicU64,
    /// Keys that were banned.
    pub banned: AtomicU64,
    /// Intents that arrived.
    pub intents: AtomicU64,
    /// Intents that were shed before the tick.
    pub shed: AtomicU64,
    /// Messages that were handled; of intents, each one.
    pub handled: AtomicU64,
    /// Messages that were beyond the budget of their connection, and were not handled.
    pub beyond_budget: AtomicU64,
    /// Updates of watched tables that were left out for those that were behind; they got the whole later.
    pub updates_skipped: AtomicU64,
}

impl Counters {
    fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    fn add_handled(&self, Handled { handled, dropped }: Handled) {
        Self::add(&self.handled, handled.into());
        Self::add(&self.beyond_budget, dropped.into());
    }

    /// All numbers with their names.
    pub fn list(&self) -> [(&'static str, u64); 14] {
        [
            ("accepted", &self.accepted),
            ("refused_full", &self.refused_full),
            ("refused_address", &self.refused_address),
            ("refused_banned", &self.refused_banned),
            ("retried", &self.retried),
            ("handshakes_failed", &self.handshakes_failed),
            ("closed", &self.closed),
            ("slow_readers", &self.slow_readers),
            ("banned", &self.banned),
            ("intents", &self.intents),
            ("shed", &self.shed),
            ("handled", &self.handled),
            ("beyond_budget", &self.beyond_budget),
            ("updates_skipped", &self.updates_skipped),
        ]
        .map(|(name, counter)| (name, counter.load(Ordering::Relaxed)))
    }
}

/// Everything that connections share.
///
/// No lock is held while another is taken.
struct Shared {
    config: ServerConfig,
    identity: Identity,
    chain: ChainInfo,
    /// Since when all moments are counted.
    started: Instant,
    intents: Sender<Input>,
    events: Sender<Input>,
    standing: watch::Receiver<(ChainProgress, Instant)>,
    admission: Mutex<Admission>,
    slots: RwLock<Slots>,
    watchers: Mutex<BTreeMap<TableId, Vec<PeerId>>>,
    nodes: Nodes,
    visitors: Visitors,
    counters: Arc<Counters>,
}

/// Connections by row. A row that was left is taken again last.
struct Slots {
    rows: Vec<(u32, Option<Arc<Connection>>)>,
    free: VecDeque<u32>,
}

/// A lock that a panicking holder left is still good: every change under one is a single step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// The time since the start: the one clock of every policy.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn connection(&self, peer: PeerId) -> Option<Arc<Connection>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let (generation, connection) = slots.rows.get(peer.slot as usize)?;
        if *generation == peer.generation { connection.clone() } else { None }
    }

    fn connections(&self) -> Vec<Arc<Connection>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        slots.rows.iter().filter_map(|(_, row)| row.clone()).collect()
    }

    /// The row for a new connection. There are as many as connections are let in.
    fn take_row(&self) -> Option<PeerId> {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.free.pop_front()?;
        let generation = &mut slots.rows[slot as usize].0;
        *generation += 1;
        Some(PeerId { slot, generation: *generation })
    }

    fn install(&self, peer: PeerId, connection: Arc<Connection>) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.rows[peer.slot as usize].1 = Some(connection);
    }

    fn leave_row(&self, peer: PeerId) {
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        slots.rows[peer.slot as usize].1 = None;
        slots.free.push_back(peer.slot);
    }

    fn standing(&self) -> ChainProgress {
        let (standing, at) = *self.standing.borrow();
        ChainProgress { now_ms: standing.now_ms + at.elapsed().as_millis() as u64, ..standing }
    }

    fn status(&self) -> NodeStatus {
        let standing = self.standing();
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let connections = slots.rows.iter().filter(|(_, connection)| connection.is_some()).count() as u32;
        drop(slots);
        let (nodes, behind, furthest) = self.nodes.behind(standing.settled);
        NodeStatus { standing, connections, nodes, behind, furthest }
    }

    fn welcome(&self) -> Welcome {
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

    /// Gives the tick an input that must not be lost: waits while the tick is behind.
    async fn tell(&self, mut input: Input) {
        while let Err(error) = self.events.try_send(input) {
            if error.is_disconnected() {
                return;
            }
            input = error.into_inner();
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A node's end of the network, while it runs.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Bytes of the socket's receive and send buffers, as the system gave them.
    pub socket_bytes: (usize, usize),
    shared: Arc<Shared>,
    intents: Receiver<Input>,
    events: Receiver<Input>,
    outputs: mpsc::Sender<Batch>,
    /// What the router had no room for; it goes first.
    kept: Undelivered,
    standing: watch::Sender<(ChainProgress, Instant)>,
    endpoint: quinn::Endpoint,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    /// Listens from now on.
    ///
    /// # Errors
    /// If the address, the threads or the key cannot be had.
    pub fn start(config: ServerConfig, chain: ChainInfo, identity: Identity) -> Result<Self, StartError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(config.threads.max(1))
            .thread_name("net")
            .enable_all()
            .build()
            .map_err(StartError::Threads)?;
        let _inside = runtime.enter();
        let listen = config.listen;
        let failed = |error| StartError::Bind { address: listen, error };
        let BoundSocket { socket, address, receive_bytes, send_bytes } =
            bind(listen, config.socket_buffer_bytes as usize).map_err(failed)?;
        let mut server = Self::on(Carrier::Udp(socket), address, config, chain, identity)?;
        server.socket_bytes = (receive_bytes, send_bytes);
        drop(_inside);
        server.runtime = Some(runtime);
        Ok(server)
    }

    /// Listens on what carries packets, inside the caller's runtime.
    ///
    /// # Errors
    /// If the key cannot be used.
    pub fn on(
        carrier: Carrier,
        address: SocketAddr,
        config: ServerConfig,
        chain: ChainInfo,
        identity: Identity,
    ) -> Result<Self, StartError> {
        let (intents_in, intents) = crossbeam_channel::bounded(EDGE_INPUTS_MAX);
        let (events_in, events) = crossbeam_channel::bounded(EDGE_INPUTS_MAX);
        let (outputs, outputs_out) = mpsc::channel(EDGE_OUTPUTS_MAX);
        let (standing, standing_out) = watch::channel((ChainProgress::default(), Instant::now()));
        let crypto: QuicServerConfig = identity.server_config()?;
        let mut quic = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        quic.transport_config(node_transport(config.idle_timeout))
            .max_incoming(config.connections_max as usize)
            .incoming_buffer_size(16 * 1024)
            .incoming_buffer_size_total(4 * 1024 * 1024);
        let failed = |error| StartError::Bind { address, error };
        let endpoint = endpoint(carrier, identity.endpoint_config(), Some(quic)).map_err(failed)?;
        let rows = config.connections_max;
        let slots = Slots { rows: vec![(0, None); rows as usize], free: (0..rows).collect() };
        let shared = Arc::new(Shared {
            admission: Mutex::new(Admission::new(&config)),
            slots: RwLock::new(slots),
            nodes: Nodes::new(address, &config),
            config,
            identity,
            chain,
            started: Instant::now(),
            intents: intents_in,
            events: events_in,
            standing: standing_out,
            watchers: Mutex::default(),
            visitors: Visitors::default(),
            counters: Arc::default(),
        });
        tokio::spawn(connection::accept(endpoint.clone(), Arc::clone(&shared)));
        tokio::spawn(router::route(outputs_out, Arc::clone(&shared)));
        nodes::start(&endpoint, &shared);
        let (kept, socket_bytes) = (Undelivered::default(), (0, 0));
        Ok(Self { address, socket_bytes, shared, intents, events, outputs, kept, standing, endpoint, runtime: None })
    }

    /// What arrived since the last time: who came, went and watches, then the intents; each in order.
    pub fn take_inputs(&self, inputs: &mut Vec<Input>) {
        // As much as the channels hold, so that a tick has an end. Whoever sent intents is known before they are taken.
        inputs.extend(self.events.try_iter().take(EDGE_INPUTS_MAX));
        inputs.extend(self.intents.try_iter().take(EDGE_INPUTS_MAX));
    }

    /// Gives outputs to those whom they concern, in order. Never waits: what the router has no room for goes first the
    /// next time. Says whether everything is on its way.
    pub fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        self.kept.append(outputs);
        if self.kept.is_empty() {
            return true;
        }
        match self.outputs.try_reserve() {
            Ok(permit) => permit.send(self.kept.take()),
            Err(_) => return false,
        }
        true
    }

    /// Says where the chain stands, to those who connect from now on.
    pub fn publish(&self, standing: ChainProgress) {
        self.standing.send_replace((standing, Instant::now()));
    }

    /// Says to everyone who is connected where the chain stands and what time it is here: the clock was set.
    pub fn tell_time(&self, standing: ChainProgress) {
        self.publish(standing);
        let message = ToClient::Standing(standing);
        self.shared.connections().iter().for_each(|connection| connection.control(&message));
    }

    /// Numbers since the start.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.shared.counters)
    }

    /// Connections that are open now.
    pub fn connections(&self) -> u32 {
        lock(&self.shared.admission).connections()
    }

    /// Other nodes that this node knows of.
    pub fn nodes_known(&self) -> usize {
        self.shared.nodes.known()
    }

    /// Bytes that wait in this process for connections, beside what QUIC holds in their windows.
    pub fn held_bytes(&self) -> usize {
        self.shared.connections().iter().map(|connection| connection.held_bytes()).sum()
    }

    /// Bytes that the connections may hold together, of those that they may at most.
    pub fn reserved_bytes(&self) -> u64 {
        lock(&self.shared.admission).reserved()
    }

    /// Our network key.
    pub fn key(&self) -> [u8; 32] {
        self.shared.identity.key
    }

    /// Closes every connection with a reason, and waits a moment until the peers have heard it.
    pub fn close(mut self) {
        self.endpoint.close(VarInt::from_u32(CloseCode::Shutdown as u32), b"the node ends");
        let Some(runtime) = self.runtime.take() else { return };
        let endpoint = self.endpoint.clone();
        let _ =
            runtime.block_on(async { tokio::time::timeout(Duration::from_millis(500), endpoint.wait_idle()).await });
        runtime.shutdown_timeout(Duration::from_millis(500));
    }
}
