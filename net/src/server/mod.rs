//! A node's end of the network.
//!
//! ```text
//!                     +----------------- host: one owner -----------------+
//!  sockets -> packets | -> quic -> conversation: session -> events,       | -> (bounded) -> the tick
//!                     |                                     intents       |
//!  sockets <- packets | <- quic <- outbox (bounded) <- delivering         | <- batches  <- the tick
//!                     +---------------------------------------------------+
//! ```
//! Intents have a queue of their own: whatever else arrives, there is as much room for them as before.
//! It moves bytes and keeps bounds; it knows no rule of the game.

mod config;
mod chain;
mod admission;
mod slots;
mod peer;
mod talk;
mod lanes;
mod nodes;
mod errands;
mod kept;
mod coalescing;
mod outbox;
mod throttle;
mod counters;
mod visitors;
mod common;
mod host;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::{Receiver, Sender};
use engine::io::{ChainProgress, Input, OrderProgress, Output};
use engine::limits::{EDGE_INPUTS_MAX, EDGE_OUTPUTS_MAX, HALF_OPEN_MAX};
use quinn_proto::Endpoint;
use quinn_proto::crypto::rustls::QuicServerConfig;
use thiserror::Error;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use self::admission::Admission;
pub use self::chain::ChainInfo;
use self::coalescing::Takes;
use self::common::{Common, Published};
pub use self::config::ServerConfig;
pub use self::counters::{Counters, Gauges};
use self::errands::Errands;
use self::host::{Host, Shared};
use self::kept::{Batch, Undelivered};
use self::lanes::Said;
use self::nodes::Nodes;
use self::slots::Slots;
pub use self::throttle::Throttle;
use self::visitors::Visitors;
use crate::lan::Lan;
use crate::quic::drive::{Rest, drive};
use crate::quic::{Packets, Quic};
use crate::tls::{Identity, IdentityError};
use crate::transport::{BoundSocket, Carrier, bind, node_transport};

/// Why a network does not start.
#[derive(Error, Debug)]
pub enum StartError {
    /// The address cannot be had.
    #[error("cannot listen on {address}: {error}{}", of_bind(.error))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The connections of the validators need more than all connections may hold.
    #[error(
        "net.buffer_bytes_max is {bytes}, and the connections of {validators} other validators need {needed} with a mebibyte \
         beside them"
    )]
    Buffers {
        /// Bytes that all connections may hold.
        bytes: u64,
        /// Validators that are named.
        validators: usize,
        /// Bytes that would be enough.
        needed: u64,
    },
    /// The system refuses threads.
    #[error("cannot start the network's threads: {0}")]
    Threads(io::Error),
    /// The key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What to do where an address cannot be had, if that can be told.
fn of_bind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "; is another node running there?",
        io::ErrorKind::AddrNotAvailable => {
            "; this machine does not have that address: `ip address` lists those that it has, and 0.0.0.0 is all of them"
        }
        io::ErrorKind::PermissionDenied => "; ports below 1024 are not everybody's",
        _ => "",
    }
}

/// Bytes of buffers that there must be beside those of the validators' connections.
const BESIDE_VALIDATORS: u64 = 1 << 20;

/// Whether what all connections may hold is enough for those of the validators, and for others.
///
/// # Errors
/// If it is not.
pub fn check_buffers(config: &ServerConfig) -> Result<(), StartError> {
    let needed = config.reserved_bytes() + BESIDE_VALIDATORS;
    // A node that is told of validators keeps room for them; one that could not would turn them away when they come.
    if config.buffer_bytes_max >= needed || config.validators.is_empty() {
        return Ok(());
    }
    Err(StartError::Buffers { bytes: config.buffer_bytes_max, validators: config.validators.len(), needed })
}

/// A node's end of the network, while it runs.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    /// Bytes of the socket's receive and send buffers, as the system gave them.
    pub socket_bytes: (usize, usize),
    key: [u8; 32],
    intents: Receiver<Input>,
    takes: Takes,
    events: Receiver<Input>,
    said: Said,
    outputs: Sender<Batch>,
    /// What the host had no room for; it goes first.
    kept: Undelivered,
    published: watch::Sender<Published>,
    wake: Arc<Notify>,
    stop: Arc<AtomicBool>,
    counters: Arc<Counters>,
    gauges: Arc<Gauges>,
    throttle: Arc<Throttle>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Listens from now on, on a thread of its own.
    ///
    /// # Errors
    /// If the address, the thread or the key cannot be had.
    pub fn start(config: ServerConfig, chain: ChainInfo, identity: Identity) -> Result<Self, StartError> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Threads)?;
        let listen = config.listen;
        let failed = |error| StartError::Bind { address: listen, error };
        let BoundSocket { socket, address, receive_bytes, send_bytes } =
            bind(listen, config.socket_buffer_bytes as usize).map_err(failed)?;
        let (mut server, host) = {
            // The socket belongs to the runtime that waits for it, which is the one that the thread takes along.
            let _inside = runtime.enter();
            Self::with_host(Carrier::Udp(socket), address, config, chain, identity)?
        };
        server.socket_bytes = (receive_bytes, send_bytes);
        let wake = Arc::clone(&server.wake);
        let thread = std::thread::Builder::new().name("net".into());
        let turns = move || {
            runtime.block_on(drive(host, wake, Rest::Asleep));
            // Whoever asked for a name that is still looked up is gone, and the lookup must not hold up the end.
            runtime.shutdown_background();
        };
        server.thread = Some(thread.spawn(turns).map_err(StartError::Threads)?);
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
        let (server, host) = Self::with_host(carrier, address, config, chain, identity)?;
        tokio::spawn(drive(host, Arc::clone(&server.wake), Rest::Awaited));
        Ok(server)
    }

    fn with_host(
        carrier: Carrier,
        address: SocketAddr,
        config: ServerConfig,
        chain: ChainInfo,
        identity: Identity,
    ) -> Result<(Self, Host), StartError> {
        let (intents_in, intents) = crossbeam_channel::bounded(EDGE_INPUTS_MAX);
        let (events_in, events) = crossbeam_channel::bounded(EDGE_INPUTS_MAX);
        let (intake, said) = lanes::intake();
        let (outputs, outputs_out) = crossbeam_channel::bounded(EDGE_OUTPUTS_MAX);
        let started = Instant::now();
        let (published, published_out) = watch::channel(Published::nothing_yet(started));
        check_buffers(&config)?;
        let (counters, gauges, wake, stop) = (Arc::default(), Arc::default(), Arc::default(), Arc::default());
        let throttle: Arc<Throttle> = Arc::default();
        let quic = quic(carrier, &config, &identity, address)?;
        let errands = errands(&config, &chain, &identity, address, &wake);
        let key = identity.key;
        let common = Common {
            admission: Admission::new(&config),
            slots: Slots::new(config.connections_max),
            nodes: Nodes::new(&config, identity.key),
            config,
            identity,
            chain,
            own: address,
            intents: intents_in,
            events: events_in,
            intake,
            published: published_out,
            watchers: Default::default(),
            errands,
            counters: Arc::clone(&counters),
            followers: 0,
            replaced: Vec::new(),
            doubted: Vec::new(),
            visitors: Visitors::default(),
            held: 0,
            heard: Vec::new(),
        };
        let shared = Shared {
            outputs: outputs_out,
            gauges: Arc::clone(&gauges),
            throttle: Arc::clone(&throttle),
            stop: Arc::clone(&stop),
        };
        let host = Host::new(common, quic, started, shared);
        let server = Self {
            address,
            socket_bytes: (0, 0),
            key,
            intents,
            takes: Takes::new(started),
            events,
            said,
            outputs,
            kept: Undelivered::default(),
            published,
            wake,
            stop,
            counters,
            gauges,
            throttle,
            thread: None,
        };
        Ok((server, host))
    }

    /// What arrived since the last time: who came, went and watches, then what nodes say, then the intents; each in order.
    ///
    /// While so many intents arrive that they share a block, they are taken every [`engine::limits::COALESCED_TICKS`]. Says
    /// whether they were.
    pub fn take_inputs(&mut self, inputs: &mut Vec<Input>, now: Instant) -> bool {
        // No more is taken than the channels hold, so that a tick has an end. Events are taken last and put first:
        // whoever said something had come before, so the tick knows everybody of whom it reads.
        let mut said: Vec<Input> = self.said.take().collect();
        let takes_intents = self.takes.is_time(self.gauges.coalesces.load(Ordering::Relaxed), now);
        if takes_intents {
            said.extend(self.intents.try_iter().take(EDGE_INPUTS_MAX));
        }
        inputs.extend(self.events.try_iter().take(EDGE_INPUTS_MAX));
        inputs.append(&mut said);
        takes_intents
    }

    /// Takes the intents alone that arrived since the last time: who sent them is told what became of them, and whatever else was
    /// said waits where its bound is.
    pub fn take_intents(&mut self, inputs: &mut Vec<Input>) {
        inputs.extend(self.intents.try_iter().take(EDGE_INPUTS_MAX));
    }

    /// Says, once, that another node said something on which a height may wait. Whoever takes the inputs has heard it.
    pub fn urgent(&self) -> &Receiver<()> {
        self.said.urgent()
    }

    /// Gives outputs to those whom they concern, in order. Never waits: what the host has no room for goes first the
    /// next time. Says whether everything is on its way.
    pub fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        self.kept.append(outputs);
        if self.kept.is_empty() {
            return true;
        }
        // Nobody else fills the queue: where it is not full now, there is room for one more below.
        if self.outputs.is_full() {
            return false;
        }
        // A host that has ended needs no outputs.
        let _ = self.outputs.try_send(self.kept.take());
        self.wake.notify_one();
        true
    }

    /// Says where the chain stands now, to those who connect from now on.
    pub fn publish(&self, standing: ChainProgress, now: Instant) {
        self.published.send_modify(|published| (published.standing, published.at) = (standing, now));
    }

    /// Says what this node's part in the order of blocks is at, to those who ask.
    pub fn publish_order(&self, order: OrderProgress) {
        self.published.send_modify(|published| published.order = order);
    }

    /// Says to everyone who is connected where the chain stands and what time it is here: the clock was set.
    pub fn tell_time(&self, standing: ChainProgress, now: Instant) {
        self.publish(standing, now);
        self.published.send_modify(|published| published.steps += 1);
        self.wake.notify_one();
    }

    /// Numbers since the start.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// How it is now.
    pub fn gauges(&self) -> Arc<Gauges> {
        Arc::clone(&self.gauges)
    }

    /// What may be held back of it.
    pub fn throttle(&self) -> Arc<Throttle> {
        Arc::clone(&self.throttle)
    }

    /// Connections that are open now.
    pub fn connections(&self) -> u32 {
        self.gauges.connections.load(Ordering::Relaxed)
    }

    /// Other nodes that this node knows of.
    pub fn nodes_known(&self) -> usize {
        self.gauges.nodes_known.load(Ordering::Relaxed)
    }

    /// Bytes that wait in this process for connections, beside what QUIC holds in their windows.
    pub fn held_bytes(&self) -> usize {
        self.gauges.held.load(Ordering::Relaxed)
    }

    /// Bytes that the connections may hold together, of those that they may at most.
    pub fn reserved_bytes(&self) -> u64 {
        self.gauges.reserved.load(Ordering::Relaxed)
    }

    /// Our network key.
    pub fn key(&self) -> [u8; 32] {
        self.key
    }

    /// Closes every connection with a reason, and waits a moment until the peers have heard it.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // A host that panicked has told so on its own thread.
            let _ = thread.join();
        }
    }
}

/// Starts the errands. Where the operator allows it, this node tells the local network of itself and looks for others there.
fn errands(
    config: &ServerConfig,
    chain: &ChainInfo,
    identity: &Identity,
    address: SocketAddr,
    wake: &Arc<Notify>,
) -> Errands {
    let errands = Errands::start(identity.rules(), chain.id, Arc::clone(wake));
    if config.mdns
        && let Some(lan) = Lan::start()
    {
        lan.announce(identity.key, chain.id, &config.name, address);
        errands.browse(lan);
    }
    errands
}

fn quic(carrier: Carrier, config: &ServerConfig, identity: &Identity, address: SocketAddr) -> Result<Quic, StartError> {
    let crypto: QuicServerConfig = identity.server_config()?;
    let mut server = quinn_proto::ServerConfig::with_crypto(Arc::new(crypto));
    server
        .transport_config(node_transport(config.idle_timeout))
        .max_incoming(config.connections_max as usize)
        .incoming_buffer_size(16 * 1024)
        .incoming_buffer_size_total(4 * 1024 * 1024);
    let packets = Packets::over(carrier).map_err(|error| StartError::Bind { address, error })?;
    let endpoint =
        Endpoint::new(Arc::new(identity.endpoint_config()), Some(Arc::new(server)), packets.keeps_whole(), None);
    Ok(Quic::new(endpoint, packets, (config.connections_max + HALF_OPEN_MAX) as usize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_cannot_be_had_says_what_is_the_matter_with_it() {
        let said = |address: SocketAddr| {
            let error = bind(address, 1 << 16).map(drop).expect_err("it cannot be had");
            StartError::Bind { address, error }.to_string()
        };
        let taken = bind(([127, 0, 0, 1], 0).into(), 1 << 16).expect("a port");
        let error = said(taken.address);
        assert!(error.ends_with("is another node running there?"), "{error}");
        // Of TEST-NET-1, which no machine has.
        let error = said(([192, 0, 2, 1], 7_400).into());
        assert!(
            error.contains("this machine does not have that address") && !error.contains("another node"),
            "{error}"
        );
    }
}
