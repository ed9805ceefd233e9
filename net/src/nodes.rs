//! Other nodes: those this one was told to stay connected to, and those it learns of.
//!
//! ```text
//!  configured, signed records of peers, the local network -> book -> dial -> Standing and records, both ways
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use engine::io::{Input, Offence};
use quinn::{Endpoint, VarInt};
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use crate::lan::Lan;
use crate::server::{Shared, lock};
use crate::session::CloseCode;
use crate::tls::{Key, peer_key};
use crate::transport::{NODE_WINDOW, address_bytes, client_transport};
use crate::wire::{ALPN, Decoder, Hello, PEERS_MAX, PeerRecord, Role, ToClient, ToNode};

/// Nodes that are remembered.
const BOOK_MAX: usize = 1_024;
/// Connections to other nodes that this node opens.
const DIALS_MAX: usize = 16;
/// How often nodes that are not connected are tried.
const TRY_EVERY: Duration = Duration::from_secs(2);
/// The longest pause before a node that does not answer is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(120);
/// How often a node tells where it stands, and whom it knows.
const TELL_EVERY: Duration = Duration::from_secs(5);
/// How old a record may be.
const RECORD_AGE_S: u64 = 7 * 24 * 3_600;
/// How far in the future a record may have been signed.
const RECORD_AHEAD_S: u64 = 600;

/// What is known of other nodes.
pub(crate) struct Nodes {
    own: SocketAddr,
    name: String,
    book: Mutex<BTreeMap<Key, PeerRecord>>,
    connected: Mutex<BTreeSet<Key>>,
    /// Seen on the local network: unsigned, so only tried, never told on.
    nearby: Mutex<BTreeMap<Key, SocketAddr>>,
}

impl Nodes {
    pub(crate) fn new(own: SocketAddr, name: String) -> Self {
        Self { own, name, book: Mutex::default(), connected: Mutex::default(), nearby: Mutex::default() }
    }

    pub(crate) fn known(&self) -> usize {
        lock(&self.book).len()
    }

    pub(crate) fn joined(&self, key: Key) {
        lock(&self.connected).insert(key);
    }

    pub(crate) fn left(&self, key: &Key) {
        lock(&self.connected).remove(key);
    }

    /// Takes records that a peer told. Says whether all of them hold.
    pub(crate) fn hear(&self, records: &[PeerRecord], shared: &Shared) -> bool {
        let now_s = shared.standing().now_ms / 1_000;
        let rules = shared.identity.rules();
        let mut true_ones = true;
        for record in records.iter().filter(|record| record.key != shared.identity.key) {
            let holds = (rules.accept)(&record.key)
                && (rules.verify)(&record.key, &record.signed_bytes(&shared.chain.id), &record.signature);
            true_ones &= holds;
            let timely = record.time_s <= now_s + RECORD_AHEAD_S && record.time_s + RECORD_AGE_S >= now_s;
            if holds && timely {
                self.remember(*record);
            }
        }
        true_ones
    }

    fn remember(&self, record: PeerRecord) {
        let mut book = lock(&self.book);
        if book.get(&record.key).is_some_and(|known| known.time_s >= record.time_s) {
            return;
        }
        book.insert(record.key, record);
        if book.len() > BOOK_MAX {
            let oldest = book.values().min_by_key(|record| record.time_s).expect("there are many").key;
            book.remove(&oldest);
        }
    }

    /// What this node tells other nodes: its own record, if it has an address to tell, and the newest it knows.
    pub(crate) fn records(&self, shared: &Shared) -> Vec<PeerRecord> {
        let mut records = Vec::new();
        if !self.own.ip().is_unspecified() {
            let mut own = PeerRecord {
                key: shared.identity.key,
                address: address_bytes(self.own.ip()),
                time_s: shared.standing().now_ms / 1_000,
                port: self.own.port(),
                reserved: [0; 6],
                signature: [0; 64],
            };
            own.signature = shared.identity.sign(&own.signed_bytes(&shared.chain.id));
            records.push(own);
        }
        let mut known: Vec<PeerRecord> = lock(&self.book).values().copied().collect();
        known.sort_by_key(|record| std::cmp::Reverse(record.time_s));
        records.extend(known.into_iter().take(PEERS_MAX - records.len()));
        records
    }
}

/// A node that can be tried.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Candidate {
    address: String,
    key: Option<Key>,
}

impl Candidate {
    /// `host:port`, or `key@host:port`.
    fn of(text: &str) -> Self {
        match text.split_once('@') {
            Some((key, address)) => Self { address: address.to_owned(), key: engine::unhex(key) },
            None => Self { address: text.to_owned(), key: None },
        }
    }
}

fn socket_address(record: &PeerRecord) -> SocketAddr {
    let ip = Ipv6Addr::from(record.address);
    SocketAddr::new(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4), record.port)
}

/// Stays connected to other nodes from now on, inside the caller's runtime.
pub(crate) fn start(endpoint: &Endpoint, shared: &Arc<Shared>, configured: &[String], mdns: bool) {
    if mdns && let Some(lan) = Lan::start() {
        lan.announce(shared.identity.key, shared.chain.id, &shared.nodes.name, shared.nodes.own);
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let mut found = lan.browse();
            while let Some(node) = found.recv().await {
                if node.chain == shared.chain.id && node.key != shared.identity.key {
                    let mut nearby = lock(&shared.nodes.nearby);
                    if nearby.len() < BOOK_MAX {
                        nearby.insert(node.key, node.address);
                    }
                }
            }
        });
    }
    let configured: Vec<Candidate> = configured.iter().map(|text| Candidate::of(text)).collect();
    tokio::spawn(keep_connected(endpoint.clone(), Arc::clone(shared), configured));
}

async fn keep_connected(endpoint: Endpoint, shared: Arc<Shared>, configured: Vec<Candidate>) {
    let mut pauses: BTreeMap<Candidate, (Instant, Duration)> = BTreeMap::new();
    let dialled: Arc<Mutex<BTreeSet<Candidate>>> = Arc::default();
    loop {
        let mut candidates = configured.clone();
        let record = |record: &PeerRecord| (record.key, socket_address(record));
        let learnt: Vec<(Key, SocketAddr)> = lock(&shared.nodes.book).values().map(record).collect();
        let nearby: Vec<(Key, SocketAddr)> = lock(&shared.nodes.nearby).iter().map(|(key, at)| (*key, *at)).collect();
        let connected = lock(&shared.nodes.connected).clone();
        let known = learnt.into_iter().chain(nearby).filter(|(key, _)| !connected.contains(key));
        candidates.extend(known.map(|(key, at)| Candidate { address: at.to_string(), key: Some(key) }));
        pauses.retain(|candidate, _| candidates.contains(candidate));
        for candidate in candidates {
            let now = Instant::now();
            let busy = lock(&dialled).len() >= DIALS_MAX || lock(&dialled).contains(&candidate);
            let pause = pauses.entry(candidate.clone()).or_insert((now, TRY_EVERY));
            let known = candidate.key.is_some_and(|key| connected.contains(&key));
            if busy || known || pause.0 > now {
                continue;
            }
            // Twice as long each time, until it stays.
            *pause = (now + pause.1, (pause.1 * 2).min(PAUSE_MAX));
            lock(&dialled).insert(candidate.clone());
            let (endpoint, shared, dialled) = (endpoint.clone(), Arc::clone(&shared), Arc::clone(&dialled));
            tokio::spawn(async move {
                if let Err(problem) = dial(&endpoint, &shared, &candidate).await {
                    debug!(node = candidate.address, problem, "no connection to another node");
                }
                lock(&dialled).remove(&candidate);
            });
        }
        tokio::time::sleep(TRY_EVERY).await;
    }
}

/// One connection to another node, from its handshake to its end.
async fn dial(endpoint: &Endpoint, shared: &Arc<Shared>, candidate: &Candidate) -> Result<(), String> {
    let address = tokio::net::lookup_host(&candidate.address).await.map_err(|error| error.to_string())?.next();
    let address = address.ok_or("the name has no address")?;
    let crypto = shared.identity.client_config(ALPN).map_err(|error| error.to_string())?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(client_transport(NODE_WINDOW, Duration::from_secs(30)));
    let connecting = endpoint.connect_with(config, address, "bitcraps").map_err(|error| error.to_string())?;
    let quic = timeout(Duration::from_secs(5), connecting).await.map_err(|_| "no answer")?;
    let quic = quic.map_err(|error| error.to_string())?;
    let key = peer_key(&quic).ok_or("no key")?;
    let done = |text: &str| quic.close(VarInt::from_u32(CloseCode::Done as u32), text.as_bytes());
    if candidate.key.is_some_and(|expected| expected != key) {
        done("another key was expected");
        return Err(format!("it has another key than expected: {}", engine::hex(&key)));
    }
    if key == shared.identity.key || !lock(&shared.nodes.connected).insert(key) {
        done("connected already");
        return Ok(());
    }
    let Some(peer) = shared.take_row() else {
        shared.nodes.left(&key);
        return Err("this node has as many connections as it takes".into());
    };
    let ip = address_bytes(address.ip());
    shared.tell(Input::Joined { peer, key, address: ip, node: true }).await;
    info!(node = %address, key = engine::hex(&key), "connected to another node");
    let result = talk(&quic, shared, peer).await;
    done("");
    shared.nodes.left(&key);
    shared.tell(Input::Left(peer)).await;
    shared.leave_row(peer);
    result
}

async fn talk(quic: &quinn::Connection, shared: &Arc<Shared>, peer: engine::PeerId) -> Result<(), String> {
    let lost = |error: quinn::ConnectionError| error.to_string();
    let (mut send, mut recv) = quic.open_bi().await.map_err(lost)?;
    let program = concat!("bitcraps ", env!("CARGO_PKG_VERSION")).to_owned();
    let hello = ToNode::Hello(Hello { chain: Some(shared.chain.id), program, role: Role::Node });
    let mut bytes = Vec::new();
    hello.encode(&mut bytes);
    let mut decoder = Decoder::for_opener(Role::Node);
    let mut tell = tokio::time::interval(TELL_EVERY);
    loop {
        if !bytes.is_empty() {
            send.write_all(&bytes).await.map_err(|error| error.to_string())?;
            bytes.clear();
        }
        tokio::select! {
            chunk = recv.read_chunk(16 * 1024, true) => {
                let Some(chunk) = chunk.map_err(|error| error.to_string())? else { return Ok(()) };
                decoder.push(&chunk.bytes);
                while let Some(message) = decoder.next_message().transpose() {
                    match message {
                        Ok(message) => hear(message, shared, peer).await?,
                        Err(error) => {
                            shared.tell(Input::Offended { peer, offence: Offence::Malformed }).await;
                            return Err(error.to_string());
                        }
                    }
                }
            }
            _ = tell.tick() => {
                ToNode::Standing(shared.standing()).encode(&mut bytes);
                let known = shared.nodes.records(shared);
                if !known.is_empty() {
                    ToNode::Peers(known).encode(&mut bytes);
                }
                let micros = u32::try_from(quic.rtt().as_micros()).unwrap_or(u32::MAX);
                shared.tell(Input::RoundTrip { peer, micros }).await;
            }
        }
    }
}

async fn hear(message: ToClient, shared: &Arc<Shared>, peer: engine::PeerId) -> Result<(), String> {
    match message {
        ToClient::Welcome(welcome) if welcome.chain != shared.chain.id => return Err("it keeps another chain".into()),
        ToClient::Standing(standing) => {
            let (decided, settled) = (standing.decided, standing.settled);
            shared.tell(Input::Told { peer, decided, settled }).await;
        }
        ToClient::Peers(records) if !shared.nodes.hear(&records, shared) => {
            shared.tell(Input::Offended { peer, offence: Offence::FalsePeer }).await;
        }
        // The decoder lets nothing through that is said to players.
        _ => {}
    }
    Ok(())
}
