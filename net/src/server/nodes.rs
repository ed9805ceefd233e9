//! Other nodes: those this one was told to stay connected to, and those it learns of.
//!
//! ```text
//!  configured, signed records of peers, the local network -> candidates, each at its time -> dialled
//! ```
//! Knows no socket and no clock: the time is an argument, counted from the server's start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use engine::Height;
use engine::limits::{DIALS_MAX, NODES_KNOWN_MAX};

use super::config::ServerConfig;
use crate::tls::Key;
use crate::wire::PeerRecord;

/// How often nodes that are not connected are tried.
pub(super) const TRY_EVERY: Duration = Duration::from_secs(2);
/// The longest pause before a node that does not answer is tried again.
const PAUSE_MAX: Duration = Duration::from_secs(120);
/// How old a record may be.
const RECORD_AGE_S: u64 = 7 * 24 * 3_600;
/// How far in the future a record may have been signed.
const RECORD_AHEAD_S: u64 = 600;

/// What is known of other nodes.
pub(super) struct Nodes {
    configured: Vec<Candidate>,
    book: Book,
    /// How many connections there are with each, whichever side opened them.
    connected: BTreeMap<Key, u32>,
    /// The settled heights that connected nodes told.
    settled: BTreeMap<Key, Height>,
    /// Keys that were proven at an address that this node was told of.
    proven: BTreeSet<Key>,
    /// Seen on the local network: unsigned, so only tried, never told on.
    nearby: BTreeMap<Key, SocketAddr>,
    /// When each candidate is tried again, and how long the pause after that is.
    pauses: BTreeMap<Candidate, (Duration, Duration)>,
    /// Those that are tried or connected now, by this node.
    dialled: BTreeSet<Candidate>,
}

/// A node that can be tried.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Candidate {
    pub(super) address: String,
    pub(super) key: Option<Key>,
    /// This node was told to stay connected to it.
    pub(super) is_configured: bool,
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
    pub(super) fn new(config: &ServerConfig) -> Self {
        Self {
            configured: config.peers.iter().map(|text| Candidate::configured(text)).collect(),
            book: Book::default(),
            connected: BTreeMap::new(),
            settled: BTreeMap::new(),
            proven: BTreeSet::new(),
            nearby: BTreeMap::new(),
            pauses: BTreeMap::new(),
            dialled: BTreeSet::new(),
        }
    }

    /// A connected node told where it stands.
    pub(super) fn told(&mut self, key: Key, settled: Height) {
        self.settled.insert(key, settled);
    }

    /// Nodes that are connected, those of them that told of a lower height than this, and the lowest.
    pub(super) fn behind(&self, height: Height) -> (u32, u32, Option<(Key, Height)>) {
        let behind = || self.settled.iter().filter(|(_, settled)| **settled < height);
        let furthest = behind().min_by_key(|(_, settled)| **settled).map(|(key, settled)| (*key, *settled));
        (self.connected.len() as u32, behind().count() as u32, furthest)
    }

    /// Nodes with a signed record.
    pub(super) fn known(&self) -> usize {
        self.book.0.len()
    }

    /// Whether this node was told of that key, or found it where it was told to look.
    pub(super) fn is_known(&self, key: &Key) -> bool {
        self.configured.iter().any(|candidate| candidate.key == Some(*key)) || self.proven.contains(key)
    }

    /// A key was proven at an address that this node was told of.
    pub(super) fn prove(&mut self, key: Key) {
        self.proven.insert(key);
    }

    /// One more connection with a node.
    pub(super) fn joined(&mut self, key: Key) {
        *self.connected.entry(key).or_default() += 1;
    }

    /// One connection less; the node is connected still while there is another.
    pub(super) fn left(&mut self, key: &Key) {
        let count = self.connected.get_mut(key).expect("a node that leaves has joined");
        *count -= 1;
        if *count == 0 {
            self.connected.remove(key);
            self.settled.remove(key);
        }
    }

    pub(super) fn is_connected(&self, key: &Key) -> bool {
        self.connected.contains_key(key)
    }

    /// Of records that a peer told, those that are worth a signature.
    pub(super) fn news(&self, records: &[PeerRecord], own: &Key, now_s: u64) -> Vec<PeerRecord> {
        let mut news = self.book.news(records, now_s);
        news.retain(|record| record.key != *own);
        news
    }

    /// Takes a record whose signature holds.
    pub(super) fn remember(&mut self, record: PeerRecord) {
        self.book.remember(record);
    }

    /// The newest records, so many at most.
    pub(super) fn newest(&self, count: usize) -> Vec<PeerRecord> {
        let mut known: Vec<PeerRecord> = self.book.0.values().copied().collect();
        known.sort_by_key(|record| std::cmp::Reverse(record.time_s));
        known.truncate(count);
        known
    }

    /// A node says on the local network that it is there.
    pub(super) fn see(&mut self, key: Key, address: SocketAddr) {
        if self.nearby.len() < NODES_KNOWN_MAX {
            self.nearby.insert(key, address);
        }
    }

    /// Nodes to be tried now. They count as dialled until [`Nodes::hung_up`].
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<Candidate> {
        let mut candidates = self.configured.clone();
        let learnt = self.book.0.values().map(|record| (record.key, socket_address(record)));
        let nearby = self.nearby.iter().map(|(key, at)| (*key, *at));
        candidates.extend(learnt.chain(nearby).map(|(key, at)| Candidate::learnt(key, at)));
        candidates.retain(|candidate| candidate.key.is_none_or(|key| !self.is_connected(&key)));
        self.pauses.retain(|candidate, _| candidates.contains(candidate));
        candidates.retain(|candidate| {
            let is_busy = self.dialled.len() >= DIALS_MAX || self.dialled.contains(candidate);
            let (next, pause) = self.pauses.entry(candidate.clone()).or_insert((now, TRY_EVERY));
            if is_busy || *next > now {
                return false;
            }
            // Twice as long each time, until it stays.
            (*next, *pause) = (now + *pause, (*pause * 2).min(PAUSE_MAX));
            self.dialled.insert(candidate.clone())
        });
        candidates
    }

    /// A candidate is neither tried nor connected by this node any more.
    pub(super) fn hung_up(&mut self, candidate: &Candidate) {
        self.dialled.remove(candidate);
    }
}

fn socket_address(record: &PeerRecord) -> SocketAddr {
    let ip = Ipv6Addr::from(record.address);
    SocketAddr::new(ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4), record.port)
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
