//! Other nodes: those this one was told to stay connected to, and those it learns of.
//!
//! ```text
//!  configured, signed records of peers, the local network -> candidates, each at its time -> dialled
//! ```
//! Knows no socket and no clock: the time is an argument, counted from the server's start.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use engine::limits::{DIALS_MAX, NODES_KNOWN_MAX};
use engine::{Height, PeerId};

use super::config::ServerConfig;
use crate::tls::Key;
use crate::wire::PeerRecord;

/// How often nodes that are not connected are looked over.
pub(super) const TRY_EVERY: Duration = Duration::from_millis(250);
/// The shortest and the longest pause before a node that this one only heard of is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(120));
/// How long such a node must stay for its next pause to be the shortest again.
const STAYED: Duration = Duration::from_secs(10);
/// Of two validators the one with the lower key opens their connection; the other one does once that has not come for so long.
const GRACE: Duration = Duration::from_secs(1);
/// The pause before a configured node is tried again, and how much longer it may be.
const SOON: (Duration, Duration) = (Duration::from_millis(250), Duration::from_millis(500));
/// How old a connection is that gives way to no other. Two that are younger were opened by both sides in the same moment.
const SETTLED: Duration = Duration::from_secs(2);
/// How often in a row a node must say that this node's key is in use: a connection of an earlier life is gone by then.
const SHUT_OUT_TIMES: u32 = 8;
/// How old a record may be.
const RECORD_AGE_S: u64 = 7 * 24 * 3_600;
/// How far in the future a record may have been signed.
const RECORD_AHEAD_S: u64 = 600;

/// How often it is told that a node which this one was told of proves another key.
const STRANGERS_EVERY: Duration = Duration::from_secs(60);

/// What is known of other nodes.
pub(super) struct Nodes {
    own: Key,
    configured: Vec<Candidate>,
    book: Book,
    /// The connection with each.
    connected: BTreeMap<Key, Link>,
    /// The settled heights that connected nodes told.
    settled: BTreeMap<Key, Height>,
    /// Keys that were proven at an address that this node was told of.
    proven: BTreeMap<String, Key>,
    /// Seen on the local network, and when last: unsigned, so only tried, never told on.
    nearby: BTreeMap<Key, (SocketAddr, Duration)>,
    /// When each candidate is tried again, and how long the pause after that is.
    pauses: BTreeMap<Candidate, (Duration, Duration)>,
    /// Those that are tried or connected now, by this node.
    dialled: BTreeSet<Candidate>,
    /// How often in a row the node at a configured address, of that key, said that this node's key is connected there already.
    shut_out: BTreeMap<String, (Key, u32)>,
    /// When it was told last that a node which this one was told of proves another key.
    strangers: BTreeMap<String, Duration>,
    /// Spreads the tries of nodes that lost each other in the same moment.
    tries: u64,
}

/// The connection with a node.
#[derive(Clone, Copy, Debug)]
struct Link {
    id: PeerId,
    /// This node opened it.
    is_dialled: bool,
    since: Duration,
}

/// What becomes of a second connection with a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Second {
    /// There is no first one.
    None,
    /// It stays, and the first one ends.
    Stays {
        /// The first one.
        ends: PeerId,
    },
    /// It ends; whether the first one still lives is to be found out.
    Ends {
        /// The first one.
        stays: PeerId,
    },
}

/// A node that can be tried.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Candidate {
    pub(super) address: String,
    pub(super) key: Option<Key>,
    /// This node was told to stay connected to it.
    pub(super) is_configured: bool,
    /// It was told that this is a validator.
    pub(super) is_validator: bool,
}

impl Candidate {
    /// `host:port`, or `key@host:port`.
    fn configured(text: &str, is_validator: bool) -> Self {
        let (key, address) = text.split_once('@').map_or((None, text), |(key, address)| (engine::unhex(key), address));
        Self { address: address.to_owned(), key, is_configured: true, is_validator }
    }

    /// Seen on the local network, or in a record that somebody signed.
    fn learnt(key: Key, address: SocketAddr) -> Self {
        Self { address: address.to_string(), key: Some(key), is_configured: false, is_validator: false }
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
        assert!(self.0.len() <= NODES_KNOWN_MAX, "the records that are remembered are bounded");
    }
}

impl Nodes {
    pub(super) fn new(config: &ServerConfig, own: Key) -> Self {
        let validators = config.validators.iter().map(|text| Candidate::configured(text, true));
        let peers = config.peers.iter().map(|text| Candidate::configured(text, false));
        Self {
            own,
            configured: validators.chain(peers).collect(),
            book: Book::default(),
            connected: BTreeMap::new(),
            settled: BTreeMap::new(),
            proven: BTreeMap::new(),
            nearby: BTreeMap::new(),
            pauses: BTreeMap::new(),
            dialled: BTreeSet::new(),
            shut_out: BTreeMap::new(),
            strangers: BTreeMap::new(),
            tries: 0,
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
        self.configured.iter().any(|candidate| candidate.key == Some(*key))
            || self.proven.values().any(|proven| proven == key)
    }

    /// Whether this node was told that a validator speaks with that key.
    pub(super) fn is_validator(&self, key: &Key) -> bool {
        self.configured.iter().any(|candidate| candidate.is_validator && candidate.key == Some(*key))
    }

    /// A key was proven at an address that this node was told of.
    pub(super) fn prove(&mut self, address: &str, key: Key) {
        self.proven.insert(address.to_owned(), key);
    }

    /// A node proved another key than the candidate's. Says whether an operator is to be told: of one that the configuration
    /// names, once in a while.
    pub(super) fn is_stranger_told(&mut self, candidate: &Candidate, now: Duration) -> bool {
        let told = self.strangers.get(&candidate.address);
        let is_told = candidate.is_configured && told.is_none_or(|told| *told + STRANGERS_EVERY <= now);
        if is_told {
            self.strangers.insert(candidate.address.clone(), now);
        }
        is_told
    }

    /// What becomes of another connection with a node. Both ends come to the same answer: one that has stood for a while
    /// stays, and of two that were opened in the same moment the one of the lower key.
    pub(super) fn second(&self, key: &Key, is_dialled: bool, now: Duration) -> Second {
        let Some(link) = self.connected.get(key) else { return Second::None };
        let is_of_lower = is_dialled == (self.own < *key);
        match link.since + SETTLED > now && link.is_dialled != is_dialled && is_of_lower {
            true => Second::Stays { ends: link.id },
            false => Second::Ends { stays: link.id },
        }
    }

    /// A node is connected.
    pub(super) fn joined(&mut self, key: Key, id: PeerId, is_dialled: bool, now: Duration) {
        let before = self.connected.insert(key, Link { id, is_dialled, since: now });
        assert!(before.is_none(), "a node has one connection");
    }

    /// A connection with a node has ended; the node is connected still if another one took its place.
    pub(super) fn left(&mut self, key: &Key, id: PeerId, now: Duration) {
        let Some(link) = self.connected.get(key).filter(|link| link.id == id) else { return };
        // A connection that stood for a while shows that the other side knows of no other process with this node's key.
        if link.since + SETTLED < now {
            self.shut_out.retain(|_, (by, _)| by != key);
        }
        self.connected.remove(key);
        self.settled.remove(key);
    }

    /// A node that this one dialled says that this node's key is connected there already. Says whether that has gone on for
    /// so long that it is another process with this node's keys, and no connection of an earlier life.
    pub(super) fn shut_out(&mut self, candidate: &Candidate, key: Key) -> bool {
        // One that strangers told of may say so for no reason at all, and there may be any number of those.
        if !candidate.is_configured {
            return false;
        }
        let (by, times) = self.shut_out.entry(candidate.address.clone()).or_insert((key, 0));
        *times = if *by == key { *times + 1 } else { 1 };
        *by = key;
        // The operator is told once: this is reached with each further try.
        let is_told = *times == SHUT_OUT_TIMES;
        assert!(self.shut_out.len() <= self.configured.len(), "each address that was named has one entry");
        is_told
    }

    /// The key of a candidate, as far as it is known.
    pub(super) fn key_of(&self, candidate: &Candidate) -> Option<Key> {
        candidate.key.or_else(|| self.proven.get(&candidate.address).copied())
    }

    /// Whether no other node is connected.
    pub(super) fn is_alone(&self) -> bool {
        self.connected.is_empty()
    }

    /// The connections with nodes.
    pub(super) fn ids(&self) -> impl Iterator<Item = PeerId> {
        self.connected.values().map(|link| link.id)
    }

    /// Of records that a peer told, those that are worth a signature.
    pub(super) fn news(&self, records: &[PeerRecord], now_s: u64) -> Vec<PeerRecord> {
        let mut news = self.book.news(records, now_s);
        news.retain(|record| record.key != self.own);
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

    /// A node says on the local network that it is there: at another address than before, where that was given to it anew.
    pub(super) fn see(&mut self, key: Key, address: SocketAddr, now: Duration) {
        self.nearby.insert(key, (address, now));
        // Anybody on the local network can say so, in any number of names. Who is there says so again, and comes back.
        if self.nearby.len() > NODES_KNOWN_MAX {
            let seen = |(key, (_, seen)): (&Key, &(SocketAddr, Duration))| (*seen, *key);
            let (_, oldest) = self.nearby.iter().map(seen).min().expect("there are many");
            self.nearby.remove(&oldest);
        }
        assert!(self.nearby.len() <= NODES_KNOWN_MAX, "the nodes that were seen are bounded");
    }

    /// Nodes to be tried now. They count as dialled until [`Nodes::hung_up`].
    pub(super) fn take_due(&mut self, now: Duration) -> Vec<Candidate> {
        let mut candidates = self.configured.clone();
        let learnt = self.book.0.values().map(|record| (record.key, socket_address(record)));
        let nearby = self.nearby.iter().map(|(key, (at, _))| (*key, *at));
        // A node that the configuration names is tried under that name alone: it would otherwise be dialled twice.
        let unconfigured = learnt.chain(nearby).filter(|(key, _)| !self.is_known(key));
        candidates.extend(unconfigured.map(|(key, at)| Candidate::learnt(key, at)));
        let is_up = |candidate: &Candidate| {
            let key = candidate.key.as_ref().or_else(|| self.proven.get(&candidate.address));
            key.is_some_and(|key| self.connected.contains_key(key))
        };
        // Strangers may tell of thousands: looked for one by one in a list, they would cost millions of comparisons each time.
        let known: BTreeSet<&Candidate> = candidates.iter().collect();
        // The pause of a configured node goes while it is connected: once it is lost, it is tried at once.
        self.pauses.retain(|candidate, _| known.contains(candidate) && !(candidate.is_configured && is_up(candidate)));
        candidates.retain(|candidate| !is_up(candidate));
        candidates.retain(|candidate| {
            let learnt = self.dialled.iter().filter(|dialled| !dialled.is_configured).count();
            // Strangers may tell of any number of nodes: only so many of those are dialled at once.
            let is_busy = self.dialled.contains(candidate) || (!candidate.is_configured && learnt >= DIALS_MAX);
            let first = now + self.grace(candidate);
            let (next, pause) = self.pauses.entry(candidate.clone()).or_insert((first, PAUSES.0));
            if is_busy || *next > now {
                return false;
            }
            // It was connected meanwhile, or not looked for: the pauses before say nothing about it any more.
            if now > *next + STAYED {
                *pause = PAUSES.0;
            }
            // Twice as long each time, until it stays.
            (*next, *pause) = (now + *pause, (*pause * 2).min(PAUSES.1));
            self.dialled.insert(candidate.clone())
        });
        let learnt = self.dialled.iter().filter(|dialled| !dialled.is_configured).count();
        assert!(learnt <= DIALS_MAX, "the nodes that are dialled because others told of them are bounded");
        candidates
    }

    /// How long it is left to the other side to open a connection.
    fn grace(&self, candidate: &Candidate) -> Duration {
        // The one with the lower key opens it: where both do so in one moment, one of the two connections ends.
        let is_others = candidate.is_validator && candidate.key.is_some_and(|key| key < self.own);
        if is_others { GRACE } else { Duration::ZERO }
    }

    /// A candidate is neither tried nor connected by this node any more. A configured one is tried again within a second.
    pub(super) fn hung_up(&mut self, candidate: &Candidate, now: Duration) {
        self.dialled.remove(candidate);
        if candidate.is_configured {
            self.tries += 1;
            // Two that lost each other in one moment must not dial each other in one moment, again and again.
            let own = u64::from_le_bytes(self.own[..8].try_into().expect("32 bytes"));
            let spread = own.wrapping_add(self.tries).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
            let jitter = SOON.1.mul_f64(spread as f64 / f64::from(u32::MAX));
            self.pauses.insert(candidate.clone(), (now + SOON.0 + jitter, PAUSES.0));
        }
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

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_configured_node_with_another_key_is_told_of_once_a_minute() {
        let mut nodes = nodes(1, &[2, 3]);
        let [two, three] = [2, 3].map(|key| Candidate::configured(&validator(key), true));
        assert!(nodes.is_stranger_told(&two, SECOND));
        assert!(!nodes.is_stranger_told(&two, 60 * SECOND), "59 s later");
        assert!(nodes.is_stranger_told(&three, 2 * SECOND), "another one");
        assert!(nodes.is_stranger_told(&two, 61 * SECOND) && !nodes.is_stranger_told(&two, 62 * SECOND));
        // Whatever strangers put into their records fills no log.
        let learnt = Candidate::learnt([4; 32], "127.0.0.1:7004".parse().expect("an address"));
        assert!(!nodes.is_stranger_told(&learnt, SECOND) && nodes.strangers.len() == 2);
    }

    #[test]
    fn only_a_node_that_the_configuration_names_tells_that_its_keys_are_in_two_places() {
        let mut nodes = nodes(1, &[2]);
        let named = Candidate::configured(&validator(2), true);
        let times = |nodes: &mut Nodes, candidate: &Candidate, key: Key| {
            (0..4 * SHUT_OUT_TIMES).filter(|_| nodes.shut_out(candidate, key)).count()
        };
        for key in 3..99 {
            let learnt = Candidate::learnt([key; 32], "127.0.0.1:7004".parse().expect("an address"));
            assert_eq!(times(&mut nodes, &learnt, [key; 32]), 0, "a stranger says so");
        }
        assert!(nodes.shut_out.is_empty());
        assert_eq!(times(&mut nodes, &named, [2; 32]), 1, "it is told once");
        // A connection that stood for a while shows that it was no other process.
        nodes.joined([2; 32], id(1), true, SECOND);
        nodes.left(&[2; 32], id(1), 9 * SECOND);
        assert_eq!(times(&mut nodes, &named, [2; 32]), 1, "and again");
        for key in 3..99 {
            assert!(!nodes.shut_out(&named, [key; 32]) && nodes.shut_out.len() == 1, "another node each time");
        }
    }

    fn validator(key: u8) -> String {
        format!("{}@127.0.0.1:{}", engine::hex(&[key; 32]), 7_000 + u16::from(key))
    }

    /// What a node with a key knows that was told of validators with other keys.
    fn nodes(own: u8, others: &[u8]) -> Nodes {
        let validators = others.iter().map(|key| validator(*key)).collect();
        Nodes::new(&ServerConfig { validators, ..ServerConfig::default() }, [own; 32])
    }

    fn id(slot: u32) -> PeerId {
        PeerId { slot, generation: 1 }
    }

    #[test]
    fn the_lower_key_dials_and_the_other_one_after_a_second() {
        let mut nodes = nodes(5, &[3, 7]);
        let dialled = |due: Vec<Candidate>| due.iter().filter_map(|one| Some(one.key?[0])).collect::<Vec<_>>();
        assert_eq!(dialled(nodes.take_due(SECOND)), [7]);
        assert!(nodes.take_due(2 * SECOND - Duration::from_millis(1)).is_empty());
        assert_eq!(dialled(nodes.take_due(2 * SECOND)), [3]);
        assert!(nodes.take_due(9 * SECOND).is_empty(), "both are dialled");
    }

    #[test]
    fn a_configured_node_is_tried_again_within_a_second_however_long_it_was_away() {
        let mut nodes = nodes(5, &[7]);
        let mut now = SECOND;
        for _ in 0..100 {
            let due = nodes.take_due(now);
            assert_eq!(due.len(), 1, "at {now:?}");
            nodes.hung_up(&due[0], now);
            assert!(nodes.take_due(now).is_empty(), "not at once");
            now += SOON.0 + SOON.1;
        }
        let due = nodes.take_due(now);
        nodes.joined([7; 32], id(1), true, now);
        assert!(nodes.take_due(now + 9 * SECOND).is_empty(), "it is connected");
        nodes.left(&[7; 32], id(1), now + 9 * SECOND);
        nodes.hung_up(&due[0], now + 9 * SECOND);
        assert_eq!(nodes.take_due(now + 10 * SECOND), due);
    }

    #[test]
    fn of_two_connections_both_ends_keep_the_same_one() {
        for (low, high) in [(3, 7), (1, 2)] {
            // Both dialled in the same moment: each end sees its own first.
            let (mut one, mut other) = (nodes(low, &[high]), nodes(high, &[low]));
            one.joined([high; 32], id(1), true, SECOND);
            other.joined([low; 32], id(2), true, SECOND);
            assert_eq!(one.second(&[high; 32], false, SECOND), Second::Ends { stays: id(1) });
            assert_eq!(other.second(&[low; 32], false, SECOND), Second::Stays { ends: id(2) });
            // One that has stood for a while stays, whoever comes: it may be another life of the same key.
            assert_eq!(other.second(&[low; 32], false, 9 * SECOND), Second::Ends { stays: id(2) });
        }
        let mut nodes = nodes(5, &[7]);
        nodes.joined([7; 32], id(1), false, SECOND);
        assert_eq!(nodes.second(&[7; 32], false, SECOND), Second::Ends { stays: id(1) }, "of one direction the first");
        nodes.left(&[7; 32], id(2), 9 * SECOND);
        assert!(nodes.second(&[7; 32], false, SECOND) != Second::None, "another connection of it ended");
        nodes.left(&[7; 32], id(1), 9 * SECOND);
        assert_eq!(nodes.second(&[7; 32], false, SECOND), Second::None);
    }

    #[test]
    fn a_node_that_was_seen_is_tried_where_it_was_seen_last_however_many_were() {
        let mut nodes = nodes(255, &[]);
        let at = |port: u16| SocketAddr::from(([10, 0, 0, 1], port));
        let key = |number: u16| -> Key {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&number.to_le_bytes());
            key
        };
        let second = |number: u16| SECOND * u32::from(number);
        let most = NODES_KNOWN_MAX as u16;
        (0..most).for_each(|number| nodes.see(key(number), at(1), second(number)));
        // The first one has another address now, and one more comes: the second one was seen longest ago.
        nodes.see(key(0), at(2), second(most));
        nodes.see(key(most), at(1), second(most));
        assert_eq!(nodes.nearby.len(), NODES_KNOWN_MAX);
        assert_eq!(nodes.nearby.get(&key(0)).map(|(at, _)| *at), Some(at(2)));
        assert!(!nodes.nearby.contains_key(&key(1)) && nodes.nearby.contains_key(&key(2)));
        assert!(nodes.nearby.contains_key(&key(most)));
        let first = nodes.take_due(SECOND).into_iter().find(|candidate| candidate.key == Some(key(0)));
        assert_eq!(first.map(|candidate| candidate.address), Some(at(2).to_string()));
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
