//! Those who disturb: connections that do not read, that say nothing, or that do what is forbidden, again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytemuck::Zeroable;
use clap::ValueEnum;
use engine::io::{ChainProgress, Watched};
use engine::limits::MESSAGE_INTENTS_MAX;
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::{Hash, TableId};
use net::client::{Endpoint, Lost, RawConnection, socket};
use net::tls::Identity;
use net::wire::{Hello, PeerRecord, Role, ToNode};
use order::signature::PlayerKey;
use tokio::runtime::Runtime;

use super::scenario::{HostileKind, Load};
use super::users::{expiry_s, now, stray_key};
use keys::identity;

/// Where the hostile come from: on a machine of its own they would have another address too.
const ELSEWHERE: [u8; 4] = [127, 0, 0, 66];
/// Seconds until an intent of theirs expires.
const EXPIRY_S: u64 = 20;
/// A pause before the next try.
const PAUSE: Duration = Duration::from_millis(200);
/// Silence after which a flooder says the next thing.
const GAP: Duration = Duration::from_millis(1);

/// What disturbers did.
#[derive(Default, Debug)]
pub struct Disturbed {
    /// Connections that were had.
    pub connections: AtomicU64,
    /// Connections that the node ended.
    pub ended: AtomicU64,
    /// Connections that the node did not let in.
    pub refused: AtomicU64,
}

impl HostileKind {
    /// What a hostile client says again and again; `None` for a kind that says something once.
    fn repeats(self, key: &Identity, player: &PlayerKey, chain: &Hash, round: u64) -> Option<ToNode> {
        let table = |number: u64| Watched::Table(TableId(number as u32 % 8));
        let account = |number: u64| Watched::Account(*blake3::hash(&number.to_le_bytes()).as_bytes());
        let switch = |what| ToNode::Watch(vec![(what, true), (what, false)]);
        Some(match self {
            Self::Intents => forged(key, chain, 1..=640),
            Self::Watch => ToNode::Watch(vec![(table(0), true)]),
            Self::SwitchTables => switch(table(round)),
            Self::SwitchAccounts => switch(account(round)),
            Self::Genesis => ToNode::AskGenesis,
            Self::Peers => ToNode::Peers((0..8).map(|number| unsigned_record(8 * round + number)).collect()),
            Self::Standings => ToNode::Standing(ChainProgress::default()),
            Self::Opens => ToNode::Intents(vec![opening(player, chain, round)]),
            _ => return None,
        })
    }

    fn role(self) -> Role {
        if matches!(self, Self::Peers | Self::Standings) { Role::Node } else { Role::Client }
    }
}

/// A record of a node that nobody signed.
fn unsigned_record(number: u64) -> PeerRecord {
    PeerRecord {
        key: *blake3::hash(&number.to_le_bytes()).as_bytes(),
        time_s: now().as_secs(),
        port: 1,
        ..PeerRecord::zeroed()
    }
}

/// An account for a key that nobody had before.
fn opening(player: &PlayerKey, chain: &Hash, round: u64) -> Intent {
    let seed = *blake3::keyed_hash(&player.public(), &round.to_le_bytes()).as_bytes();
    let key = PlayerKey::from_seed(&seed);
    let expiry_s = expiry_s(now().as_secs() + EXPIRY_S);
    key.sign(IntentBody::new(IntentKind::Open, key.public(), 1, expiry_s), chain)
}

/// Sends disturbers against a node, as long as the runtime runs.
///
/// # Errors
/// If there is no socket for them.
pub fn disturb(runtime: &Runtime, load: &Load, address: SocketAddr, chain: Hash) -> anyhow::Result<Arc<Disturbed>> {
    let disturbed: Arc<Disturbed> = Arc::default();
    if load.hostile + load.slow_readers + load.idle == 0 {
        return Ok(disturbed);
    }
    let _inside = runtime.enter();
    let local =
        |from: [u8; 4]| if address.ip().is_loopback() { SocketAddr::from((from, 0)) } else { ([0; 4], 0).into() };
    let elsewhere = socket(local(ELSEWHERE), 4 << 20).context("a UDP socket")?;
    let here = socket(local([127, 0, 0, 1]), 4 << 20).context("a UDP socket")?;
    for number in 0..load.hostile {
        let kinds = HostileKind::value_variants();
        let kind = load.hostile_kind.unwrap_or(kinds[number as usize % kinds.len()]);
        let key = identity(&stray_key(load.seed, "hostile", number))?;
        tokio::spawn(be_hostile(kind, elsewhere.clone(), key, address, chain, Arc::clone(&disturbed)));
    }
    for number in 0..load.slow_readers {
        let key = identity(&stray_key(load.seed, "slow", number))?;
        let tables = load.tables();
        tokio::spawn(read_nothing(here.clone(), key, address, number, tables, Arc::clone(&disturbed)));
    }
    for number in 0..load.idle {
        let key = identity(&stray_key(load.seed, "idle", number))?;
        tokio::spawn(idle(here.clone(), key, address, number, Arc::clone(&disturbed)));
    }
    Ok(disturbed)
}

fn hello(role: Role) -> ToNode {
    ToNode::Hello(Hello { chain: None, program: "load".into(), role })
}

async fn connect(endpoint: &Endpoint, key: &Identity, at: SocketAddr, count: &Disturbed) -> Option<RawConnection> {
    match RawConnection::connect(endpoint, key, at).await {
        Ok(connection) => {
            count.connections.fetch_add(1, Ordering::Relaxed);
            Some(connection)
        }
        Err(_) => {
            count.refused.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

async fn be_hostile(
    kind: HostileKind,
    endpoint: Endpoint,
    key: Identity,
    at: SocketAddr,
    chain: Hash,
    count: Arc<Disturbed>,
) {
    let player = PlayerKey::from_seed(&key.key);
    loop {
        if let Some(mut connection) = connect(&endpoint, &key, at, &count).await {
            if begin(kind, &mut connection, &key, &chain).await {
                let mut round = 0;
                while let Some(message) = kind.repeats(&key, &player, &chain, round)
                    && connection.say(&message).await.is_ok()
                {
                    round += 1;
                    // It reads what comes: it is no slow reader.
                    while let Ok(Ok(_)) = tokio::time::timeout(GAP, connection.hear()).await {}
                }
            }
            connection.closed().await;
            count.ended.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Intents that do not verify, which nobody knows before all of the work was done: each has the signature of another one. It is
/// one for all, so that whoever forges does no work that would hold up the players beside it.
fn forged(key: &Identity, chain: &Hash, numbers: std::ops::RangeInclusive<u64>) -> ToNode {
    let expiry_s = expiry_s(now().as_secs() + EXPIRY_S);
    let body = |number| IntentBody::new(IntentKind::Roll, key.key, number, expiry_s).at(TableId(0));
    let signature = key.sign(&body(0).signed_bytes(chain));
    let forge = |number| Intent { body: body(number), signature };
    ToNode::Intents(numbers.map(forge).collect())
}

/// Begins with it. Says whether the connection still stood.
async fn begin(kind: HostileKind, connection: &mut RawConnection, key: &Identity, chain: &Hash) -> bool {
    use HostileKind as Kind;
    let rude = matches!(kind, Kind::Garbage | Kind::Oversized | Kind::SlowLoris | Kind::Version);
    if !rude && connection.say(&hello(kind.role())).await.is_err() {
        return false;
    }
    let done = match kind {
        Kind::BadSignatures => connection.say(&forged(key, chain, 1..=16)).await,
        Kind::Garbage => connection.send(&garbage()).await,
        Kind::Oversized => connection.send(&[0xff, 0xff, 0xff, 0x7f, 2, net::wire::VERSION, 0, 0]).await,
        Kind::SlowLoris => drip(connection).await,
        Kind::Version => connection.send(&[64, 0, 0, 0, 1, 9, 0, 0]).await,
        Kind::FullWindows => fill(connection).await,
        _ => Ok(()),
    };
    done.is_ok()
}

/// No message of this version. Of another version nothing is known, so that it would be no offence.
fn garbage() -> [u8; 512] {
    let mut bytes = [0xa5; 512];
    bytes[5] = net::wire::VERSION;
    bytes
}

/// A hello, a byte a second.
async fn drip(connection: &mut RawConnection) -> Result<(), Lost> {
    let mut bytes = Vec::new();
    hello(Role::Client).encode(&mut bytes);
    for byte in bytes {
        connection.send(&[byte]).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

/// Asks for more than it will ever read, and leaves the largest message without its last byte.
async fn fill(connection: &mut RawConnection) -> Result<(), Lost> {
    let watches = (0..engine::limits::PEER_WATCHES_MAX as u32).map(|table| (Watched::Table(TableId(table)), true));
    connection.say(&ToNode::Watch(watches.collect())).await?;
    for _ in 0..8 {
        connection.say(&ToNode::AskGenesis).await?;
    }
    let mut bytes = Vec::new();
    ToNode::Intents(vec![Intent::zeroed(); MESSAGE_INTENTS_MAX]).encode(&mut bytes);
    bytes.pop();
    connection.send(&bytes).await
}

async fn read_nothing(
    endpoint: Endpoint,
    key: Identity,
    at: SocketAddr,
    number: u32,
    tables: u32,
    count: Arc<Disturbed>,
) {
    loop {
        if let Some(mut connection) = connect(&endpoint, &key, at, &count).await {
            let some = tables.min(engine::limits::PEER_WATCHES_MAX as u32);
            let watch = |table| (Watched::Table(TableId((number + table) % tables)), true);
            let said = connection.say(&hello(Role::Client)).await.is_ok()
                && connection.say(&ToNode::Watch((0..some).map(watch).collect())).await.is_ok();
            if said {
                connection.closed().await;
            }
            count.ended.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn idle(endpoint: Endpoint, key: Identity, at: SocketAddr, number: u32, count: Arc<Disturbed>) {
    // Not all in one moment: they are there, they do not arrive.
    tokio::time::sleep(Duration::from_micros(500) * number).await;
    if let Some(mut connection) = connect(&endpoint, &key, at, &count).await {
        if connection.say(&hello(Role::Client)).await.is_ok() && connection.hear().await.is_ok() {
            connection.closed().await;
        }
        count.ended.fetch_add(1, Ordering::Relaxed);
    }
}
