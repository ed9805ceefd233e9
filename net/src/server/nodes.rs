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
use engine::limits::{DIALS_MAX, MESSAGE_RECORDS_MAX, NODES_KNOWN_MAX, RECORD_LISTS_UNVERIFIED_MAX};
use engine::{Height, PeerId};
use quinn::{Endpoint, VarInt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::admission::Allowance;
use super::connection::{BEHIND, Connection, Entered, close};
use super::visitors::{Departure, Kind, Visit, ending};
use super::{Counters, ServerConfig, Shared, lock};
use crate::lan::Lan;
use crate::session::{Close, CloseCode, Inflow};
use crate::tls::{Key, peer_key};
use crate::transport::{NODE_WINDOW, RECEIVE_WINDOW, address_bytes, client_transport};
use crate::wire::{ALPN, Decoder, Hello, PeerRecord, Role, ToClient, ToNode};

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

/// Records of a peer that this node has not seen.
type News = (PeerId, Vec<PeerRecord>);

/// What is known of other nodes.
pub(super) struct Nodes {
    own: SocketAddr,
    name: String,
    configured: Vec<Candidate>,
    book: Mutex<Book>,
    /// How many connections there are with each, whichever side opened them.
    connected: Mutex<BTreeMap<Key, u32>>,
    /// The settled heights that connected nodes told.
    settled: Mutex<BTreeMap<Key, Height>>,
    /// Keys that were proven at an address that this node was told of.
    proven: Mutex<BTreeSet<Key>>,
    /// Seen on the local network: unsigned, so only tried, never told on.
    nearby: Mutex<BTreeMap<Key, SocketAddr>>,
    news: mpsc::Sender<News>,
    unverified: Mutex<Option<mpsc::Receiver<News>>>,
}

/// Signed records, one a key, the newest of each.
#[derive(Default)]
struct Book(BTreeMap<Key, PeerRecord>);

impl Book {
    /// Those of some records that say something new: only their signatures are worth verifying.
    fn news(&self, records: &[PeerRecord], now_s: u64) -> Vec<PeerRecord> {
        let is_timely =
            |record: &PeerRecord| record.time_s <= now_s + RECORD_AHEAD_S && record.time_s + RECORD_AGE_S >= now_s;
        let is_new = |record: &PeerRecord| self.0.get(&record.key).is_none_or(|known| known.time_s < record.time_s);
        records.iter().filter(|record| is_timely(record) && is_new(record)).copied().collect()
    }

    /// Takes a record whose signature holds. The oldest is forgotten when there are too many.
    fn remember(&mut self, record: PeerRecord) {
        if self.0.get(&record.key).is_some_and(|known| known.time_s >= record.time_s) {
            return;
        }
        self.0.insert(record.key, record);
        if self.0.len() > NODES_KNOWN_MAX {
            let oldest = self.0.values().min_by_key(|record| record.time_s).expect("there are many").key;
            self.0.remove(&oldest);
        }
    }
}

impl Nodes {
    pub(super) fn new(own: SocketAddr, config: &ServerConfig) -> Self {
        let (news, unverified) = mpsc::channel(RECORD_LISTS_UNVERIFIED_MAX);
        Self {
            own,
            name: config.name.clone(),
            configured: config.peers.iter().map(|text| Candidate::configured(text)).collect(),
            book: Mutex::default(),
            connected: Mutex::default(),
            settled: Mutex::default(),
            proven: Mutex::default(),
            nearby: Mutex::default(),
            news,
            unverified: Mutex::new(Some(unverified)),
        }
    }

    /// A connected node told where it stands.
    pub(super) fn told(&self, key: Key, settled: Height) {
        lock(&self.settled).insert(key, settled);
    }

    /// Nodes that are connected, those of them that told of a lower height than this, and the lowest.
    pub(super) fn behind(&self, height: Height) -> (u32, u32, Option<(Key, Height)>) {
        let nodes = lock(&self.connected).len() as u32;
        let settled = lock(&self.settled);
        let behind = || settled.iter().filter(|(_, settled)| **settled < height);
        let furthest = behind().min_by_key(|(_, settled)| **settled).map(|(key, settled)| (*key, *settled));
        (nodes, behind().count() as u32, furthest)
    }

    pub(super) fn known(&self) -> usize {
        lock(&self.book).0.len()
    }

    /// Whether this node was told of that key, or found it where it was told to look.
    pub(super) fn is_known(&self, key: &Key) -> bool {
        self.configured.iter().any(|candidate| candidate.key == Some(*key)) || lock(&self.proven).contains(key)
    }

    /// One more connection with a node.
    pub(super) fn joined(&self, key: Key) {
        *lock(&self.connected).entry(key).or_default() += 1;
    }

    /// One connection less; the node is connected still while there is another.
    pub(super) fn left(&self, key: &Key) {
        let mut connected = lock(&self.connected);
        let count = connected.get_mut(key).expect("a node that leaves has joined");
        *count -= 1;
        if *count == 0 {
            connected.remove(key);
            lock(&self.settled).remove(key);
        }
    }

    fn is_connected(&self, key: &Key) -> bool {
        lock(&self.connected).contains_key(key)
    }

    /// Takes records that a peer told. What is known is not looked at again; the rest is verified elsewhere, since a
    /// signature takes longer than a packet. While too much waits for that, records are left out: they come again.
    pub(super) fn hear(&self, peer: PeerId, records: &[PeerRecord], shared: &Shared) {
        let mut news = lock(&self.book).news(records, shared.standing().now_ms / 1_000);
        news.retain(|record| record.key != shared.identity.key);
        if !news.is_empty() {
            let _ = self.news.try_send((peer, news));
        }
    }

    /// What this node tells other nodes: its own record, if it has an address to tell, and the newest it knows.
    pub(super) fn records(&self, shared: &Shared) -> Vec<PeerRecord> {
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
        let mut known: Vec<PeerRecord> = lock(&self.book).0.values().copied().collect();
        known.sort_by_key(|record| std::cmp::Reverse(record.time_s));
        records.extend(known.into_iter().take(MESSAGE_RECORDS_MAX - records.len()));
        records
    }
}

/// Verifies what peers told of other nodes, one list after another, on a thread that carries no packets.
async fn verify_news(mut unverified: mpsc::Receiver<News>, shared: Arc<Shared>) {
    while let Some((peer, news)) = unverified.recv().await {
        let (rules, chain) = (shared.identity.rules(), shared.chain.id);
        let verify = move || {
            let holds = |record: &PeerRecord| {
                (rules.accept)(&record.key)
                    && (rules.verify)(&record.key, &record.signed_bytes(&chain), &record.signature)
            };
            news.into_iter().partition::<Vec<PeerRecord>, _>(holds)
        };
        let Ok((held, false_ones)) = tokio::task::spawn_blocking(verify).await else { return };
        {
            let mut book = lock(&shared.nodes.book);
            held.into_iter().for_each(|record| book.remember(record));
        }
        if !false_ones.is_empty() {
            shared.tell(Input::Offended { peer, offence: Offence::FalsePeer }).await;
        }
    }
}

/// A node that can be tried.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Candidate {
    address: String,
    key: Option<Key>,
    /// This node was told to stay connected to it.
    is_configured: bool,
}

impl Candidate {
    /// `host:port`, or `key@host:port`.
    fn configured(text: &str) -> Self {
        let is_configured = true;
        match text.split_once('@') {
            Some((key, address)) => Self { address: address.to_owned(), key: engine::unhex(key), is_configured },
            None => Self { address: text.to_owned(), key: None, is_configured },
        }
    }

    /// Seen on the local network, or in a record that somebody signed.
    fn learnt(key: Key, address: SocketAddr) -> Self {
        Self { address: address.to_string(), key: Some(key), is_configured: false }
    }
}

fn socket_address(record: &PeerRecord) -> SocketAddr {
    let ip = Ipv6Addr::from(record.address);
    SocketAddr::new(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4), record.port)
}

/// Stays connected to other nodes from now on, inside the caller's runtime.
///
/// # Panics
/// If it is called twice.
pub(super) fn start(endpoint: &Endpoint, shared: &Arc<Shared>) {
    if shared.config.mdns
        && let Some(lan) = Lan::start()
    {
        lan.announce(shared.identity.key, shared.chain.id, &shared.nodes.name, shared.nodes.own);
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let mut found = lan.browse();
            while let Some(node) = found.recv().await {
                if node.chain == shared.chain.id && node.key != shared.identity.key {
                    let mut nearby = lock(&shared.nodes.nearby);
                    if nearby.len() < NODES_KNOWN_MAX {
                        nearby.insert(node.key, node.address);
                    }
                }
            }
        });
    }
    let unverified = lock(&shared.nodes.unverified).take().expect("started once");
    tokio::spawn(verify_news(unverified, Arc::clone(shared)));
    tokio::spawn(keep_connected(endpoint.clone(), Arc::clone(shared)));
}

async fn keep_connected(endpoint: Endpoint, shared: Arc<Shared>) {
    let mut pauses: BTreeMap<Candidate, (Instant, Duration)> = BTreeMap::new();
    let dialled: Arc<Mutex<BTreeSet<Candidate>>> = Arc::default();
    loop {
        let nodes = &shared.nodes;
        let mut candidates = nodes.configured.clone();
        let record = |record: &PeerRecord| (record.key, socket_address(record));
        let learnt: Vec<(Key, SocketAddr)> = lock(&nodes.book).0.values().map(record).collect();
        let nearby: Vec<(Key, SocketAddr)> = lock(&nodes.nearby).iter().map(|(key, at)| (*key, *at)).collect();
        candidates.extend(learnt.into_iter().chain(nearby).map(|(key, at)| Candidate::learnt(key, at)));
        candidates.retain(|candidate| candidate.key.is_none_or(|key| !nodes.is_connected(&key)));
        pauses.retain(|candidate, _| candidates.contains(candidate));
        for candidate in candidates {
            let now = Instant::now();
            let busy = lock(&dialled).len() >= DIALS_MAX || lock(&dialled).contains(&candidate);
            let pause = pauses.entry(candidate.clone()).or_insert((now, TRY_EVERY));
            if busy || pause.0 > now {
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

/// One connection to another node, from its handshake to its end. It is counted, bounded and banned as one that a peer
/// opened.
async fn dial(endpoint: &Endpoint, shared: &Arc<Shared>, candidate: &Candidate) -> Result<(), String> {
    let at = tokio::net::lookup_host(&candidate.address).await.map_err(|error| error.to_string())?.next();
    let at = at.ok_or("the name has no address")?;
    let (address, now) = (address_bytes(at.ip()), shared.now());
    if candidate.key.is_some_and(|key| lock(&shared.admission).is_banned(&key, now)) {
        return Err("its key is banned".into());
    }
    lock(&shared.admission).admit_dialled(address, now).map_err(|code| code.sentence().to_owned())?;
    let mut entered = Entered::new(Arc::clone(shared), address);
    // A node that this one only heard of gets the windows of a player, of which there are two: one for each stream.
    let (allowed, window) = match candidate.is_configured {
        true => (Allowance::Node, NODE_WINDOW),
        false => (Allowance::Playing, RECEIVE_WINDOW / 2),
    };
    entered.promote(allowed).map_err(|close| close.to_string())?;
    let crypto = shared.identity.client_config(ALPN).map_err(|error| error.to_string())?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(client_transport(window, Duration::from_secs(30)));
    let connecting = endpoint.connect_with(config, at, "bitcraps").map_err(|error| error.to_string())?;
    let quic = timeout(shared.config.handshake_timeout, connecting).await.map_err(|_| "no answer")?;
    let quic = quic.map_err(|error| error.to_string())?;
    let key = peer_key(&quic).ok_or("no key")?;
    let done = |text: &str| quic.close(VarInt::from_u32(CloseCode::Done as u32), text.as_bytes());
    if candidate.key.is_some_and(|expected| expected != key) {
        done("another key was expected");
        return Err(format!("it has another key than expected: {}", engine::hex(&key)));
    }
    if lock(&shared.admission).is_banned(&key, shared.now()) {
        close(&quic, &Close::new(CloseCode::Banned, CloseCode::Banned.sentence()));
        return Err("its key is banned".into());
    }
    if candidate.is_configured {
        lock(&shared.nodes.proven).insert(key);
    }
    if key == shared.identity.key || shared.nodes.is_connected(&key) {
        done("connected already");
        return Ok(());
    }
    let peer = shared.take_row().ok_or("this node has as many connections as it takes")?;
    shared.nodes.joined(key);
    let connection = Connection::new(peer, quic.clone(), None, shared);
    shared.install(peer, Arc::clone(&connection));
    shared.tell(Input::Joined { peer, key, address, node: true }).await;
    let came = Visit { kind: Kind::Came, reason: "node that was dialled", text: "", address, key: Some(key) };
    shared.visitors.note(shared.now(), &came);
    let result = talk(&quic, shared, key, peer).await;
    let Departure { reason, text } = ending(connection.put_out.get(), result.clone(), quic.close_reason());
    shared.visitors.note(shared.now(), &Visit { kind: Kind::Went, reason, text: &text, address, key: Some(key) });
    if let Err(reason) = &result {
        Counters::add(&shared.counters.closed, 1);
        if reason.code == CloseCode::Malformed {
            shared.tell(Input::Offended { peer, offence: Offence::Malformed }).await;
        }
        close(&quic, reason);
    } else {
        done("");
    }
    shared.nodes.left(&key);
    shared.tell(Input::Left(peer)).await;
    shared.leave_row(peer);
    result.map_err(|reason| reason.to_string())
}

/// Says hello, tells what nodes tell each other, and hears it, until the other side ends or must be closed.
async fn talk(quic: &quinn::Connection, shared: &Arc<Shared>, key: Key, peer: PeerId) -> Result<(), Close> {
    let Ok((mut send, mut recv)) = quic.open_bi().await else { return Ok(()) };
    let program = concat!("bitcraps ", env!("CARGO_PKG_VERSION")).to_owned();
    let hello = ToNode::Hello(Hello { chain: Some(shared.chain.id), program, role: Role::Node });
    let mut bytes = Vec::new();
    hello.encode(&mut bytes);
    let config = &shared.config;
    let (per_s, patience) = (config.intents_per_connection_per_s, config.handshake_timeout);
    let mut inflow = Inflow::new(Decoder::for_opener(Role::Node), per_s, patience, shared.now());
    let mut tell = tokio::time::interval(TELL_EVERY);
    loop {
        if !bytes.is_empty() {
            let written = timeout(BEHIND, send.write_all(&bytes)).await;
            match written.map_err(|_| Close::new(CloseCode::SlowReader, "what a node tells another was not read"))? {
                Ok(()) => bytes.clear(),
                Err(_) => return Ok(()),
            }
        }
        let deadline = inflow.deadline();
        tokio::select! {
            chunk = recv.read_chunk(16 * 1024, true) => {
                let Ok(Some(chunk)) = chunk else { return Ok(()) };
                let mut messages = Vec::new();
                let taken = inflow.take(&chunk.bytes, shared.now(), |_, message: ToClient| {
                    messages.push(message);
                    Ok(())
                });
                shared.counters.add_handled(inflow.take_handled());
                if inflow.take_offence() {
                    shared.tell(Input::Offended { peer, offence: Offence::Flood }).await;
                }
                for message in messages {
                    hear(message, shared, key, peer).await?;
                }
                taken?;
            }
            () = tokio::time::sleep_until(shared.started + deadline.unwrap_or_default()), if deadline.is_some() => {
                return Err(Close::new(CloseCode::Timeout, "no whole message in time"));
            }
            _ = tell.tick() => {
                ToNode::Standing(shared.standing()).encode(&mut bytes);
                let known = shared.nodes.records(shared);
                if !known.is_empty() {
                    ToNode::Peers(known).encode(&mut bytes);
                }
            }
        }
    }
}

/// Takes what a dialled node says.
async fn hear(message: ToClient, shared: &Arc<Shared>, key: Key, peer: PeerId) -> Result<(), Close> {
    match message {
        ToClient::Welcome(welcome) if welcome.chain != shared.chain.id => {
            return Err(Close::new(CloseCode::Chain, "it keeps another chain"));
        }
        ToClient::Standing(standing) => {
            let (decided, settled) = (standing.decided, standing.settled);
            shared.nodes.told(key, settled);
            shared.tell(Input::Told { peer, decided, settled }).await;
        }
        ToClient::Peers(records) => shared.nodes.hear(peer, &records, shared),
        // The decoder lets nothing through that is said to players.
        _ => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: u8, time_s: u64) -> PeerRecord {
        PeerRecord { key: [key; 32], address: [0; 16], time_s, port: 1, reserved: [0; 6], signature: [0; 64] }
    }

    #[test]
    fn what_is_known_or_untimely_is_not_worth_a_signature() {
        let mut book = Book::default();
        let now_s = 100 * RECORD_AGE_S;
        book.remember(record(1, now_s - 10));
        let told = [
            record(1, now_s - 10),
            record(1, now_s - 20),
            record(1, now_s - 5),
            record(2, now_s),
            record(3, now_s - RECORD_AGE_S - 1),
            record(4, now_s + RECORD_AHEAD_S + 1),
        ];
        assert_eq!(book.news(&told, now_s), [record(1, now_s - 5), record(2, now_s)]);
    }

    #[test]
    fn the_book_keeps_the_newest() {
        let mut book = Book::default();
        for number in 0..NODES_KNOWN_MAX as u64 + 10 {
            let mut new = record(0, 1_000 + number);
            new.key[..8].copy_from_slice(&number.to_le_bytes());
            book.remember(new);
        }
        assert_eq!(book.0.len(), NODES_KNOWN_MAX);
        assert_eq!(book.0.values().map(|record| record.time_s).min(), Some(1_010));
    }
}
