//! Those who disturb: connections that do not read, that say nothing, or that do what is forbidden, again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytemuck::Zeroable;
use engine::io::Watched;
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::{Hash, TableId};
use net::client::{Endpoint, Lost, RawConnection, socket};
use net::tls::Identity;
use net::wire::{Hello, INTENTS_MAX, Role, ToNode};
use tokio::runtime::Runtime;

use super::scenario::Load;
use super::users::stray_key;
use keys::identity;

/// Where the hostile come from: on a machine of its own they would have another address too.
const ELSEWHERE: [u8; 4] = [127, 0, 0, 66];
/// A pause before the next try.
const PAUSE: Duration = Duration::from_millis(200);

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

/// Ways to be hostile.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Intents whose signatures do not verify.
    BadSignatures,
    /// Bytes that are no message.
    Garbage,
    /// A length that no message has.
    Oversized,
    /// A message that never comes to its end.
    SlowLoris,
    /// More intents than rate and credit allow.
    Flood,
    /// Another version of the protocol.
    Version,
    /// Everything that may wait in either direction, and then nothing: every window and queue is full.
    FullWindows,
}

const WAYS: [Way; 7] =
    [Way::BadSignatures, Way::Garbage, Way::Oversized, Way::SlowLoris, Way::Flood, Way::Version, Way::FullWindows];

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
        let way = WAYS[number as usize % WAYS.len()];
        let key = identity(&stray_key(load.seed, "hostile", number))?;
        tokio::spawn(be_hostile(way, elsewhere.clone(), key, address, chain, Arc::clone(&disturbed)));
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

fn hello() -> ToNode {
    ToNode::Hello(Hello { chain: None, program: "load".into(), role: Role::Client })
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

async fn be_hostile(way: Way, endpoint: Endpoint, key: Identity, at: SocketAddr, chain: Hash, count: Arc<Disturbed>) {
    loop {
        if let Some(mut connection) = connect(&endpoint, &key, at, &count).await {
            if begin(way, &mut connection, &key, &chain).await {
                while way == Way::Flood && connection.say(&forged(&key, &chain, 1..=640)).await.is_ok() {
                    tokio::time::sleep(PAUSE / 10).await;
                }
            }
            connection.closed().await;
            count.ended.fetch_add(1, Ordering::Relaxed);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Intents that do not verify.
fn forged(key: &Identity, chain: &Hash, numbers: std::ops::RangeInclusive<u64>) -> ToNode {
    let now_s = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs();
    let expiry_s = u32::try_from(now_s + 20).expect("seconds since 1970 fit until 2106");
    let forge = |number| {
        let body = IntentBody::new(IntentKind::Roll, key.key, number, expiry_s).at(TableId(0));
        Intent { body, signature: key.sign(&body.signed_bytes(chain)).map(|byte| byte ^ 0x55) }
    };
    ToNode::Intents(numbers.map(forge).collect())
}

/// Does it. Says whether the connection still stood.
async fn begin(way: Way, connection: &mut RawConnection, key: &Identity, chain: &Hash) -> bool {
    let polite = matches!(way, Way::BadSignatures | Way::Flood | Way::FullWindows);
    if polite && connection.say(&hello()).await.is_err() {
        return false;
    }
    let done = match way {
        Way::BadSignatures => connection.say(&forged(key, chain, 1..=16)).await,
        Way::Garbage => connection.send(&[0xa5; 512]).await,
        Way::Oversized => connection.send(&[0xff, 0xff, 0xff, 0x7f, 2, 1, 0, 0]).await,
        Way::SlowLoris => connection.send(&[64]).await,
        Way::Version => connection.send(&[64, 0, 0, 0, 1, 9, 0, 0]).await,
        Way::Flood => Ok(()),
        Way::FullWindows => fill(connection).await,
    };
    done.is_ok()
}

/// Asks for more than it will ever read, and leaves the largest message without its last byte.
async fn fill(connection: &mut RawConnection) -> Result<(), Lost> {
    let watches = (0..engine::limits::PEER_WATCHES_MAX as u32).map(|table| (Watched::Table(TableId(table)), true));
    connection.say(&ToNode::Watch(watches.collect())).await?;
    for _ in 0..8 {
        connection.say(&ToNode::AskGenesis).await?;
    }
    let mut bytes = Vec::new();
    ToNode::Intents(vec![Intent::zeroed(); INTENTS_MAX]).encode(&mut bytes);
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
            let said = connection.say(&hello()).await.is_ok()
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
        if connection.say(&hello()).await.is_ok() && connection.hear().await.is_ok() {
            connection.closed().await;
        }
        count.ended.fetch_add(1, Ordering::Relaxed);
    }
}
