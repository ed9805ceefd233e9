//! The bounds of a node's network: one struct, which is the section `[net]` of the configuration and what the server takes.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use engine::limits::{FOLLOWERS_MAX, NODE_NAME_BYTES_MAX, PEERS_MAX, PEERS_NAMED_MAX};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use crate::settings::{Bounds, address, milliseconds, size, within, write_milliseconds, write_size};
use crate::transport::{IDLE_BYTES, NODE_BYTES, PLAYING_BYTES};

/// The bounds of a node's network.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerConfig {
    /// Where to listen.
    #[serde(deserialize_with = "address")]
    pub listen: SocketAddr,
    /// The node's name, for people.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Connections at once.
    #[serde(deserialize_with = "connections")]
    pub connections_max: u32,
    /// Connections of one address at once.
    #[serde(deserialize_with = "connections")]
    pub connections_per_address_max: u32,
    /// Connections that one address may begin in a second.
    #[serde(deserialize_with = "rate")]
    pub connects_per_address_per_s: NonZeroU32,
    /// Intents a second of one connection, twice as many in a burst: its budget, in units of what messages cost.
    #[serde(deserialize_with = "rate")]
    pub intents_per_connection_per_s: NonZeroU32,
    /// Accounts that one connection may ask for in a minute.
    #[serde(deserialize_with = "rate")]
    pub opens_per_connection_per_min: NonZeroU32,
    /// Accounts that one address may ask for in a minute, over all of its connections.
    #[serde(deserialize_with = "rate")]
    pub opens_per_address_per_min: NonZeroU32,
    /// Bytes that all connections may hold together.
    #[serde(deserialize_with = "buffer_bytes", serialize_with = "write_size")]
    pub buffer_bytes_max: u64,
    /// Silence after which a connection ends.
    #[serde(rename = "idle_timeout_ms", deserialize_with = "idle_timeout", serialize_with = "write_milliseconds")]
    pub idle_timeout: Duration,
    /// Time for a handshake, for the first message, and for each message that was begun, from its first byte to its last.
    #[serde(
        rename = "handshake_timeout_ms",
        deserialize_with = "handshake_timeout",
        serialize_with = "write_milliseconds"
    )]
    pub handshake_timeout: Duration,
    /// How long a banned key or address stays out.
    #[serde(rename = "ban_ms", deserialize_with = "ban", serialize_with = "write_milliseconds")]
    pub ban: Duration,
    /// What the system is asked for, for the UDP socket.
    #[serde(deserialize_with = "socket_bytes", serialize_with = "write_size")]
    pub socket_buffer_bytes: u64,
    /// Announce this node on the local network, and look for others there.
    pub mdns: bool,
    /// The other validators, each with its network key: there is room for their connections whatever else comes.
    #[serde(deserialize_with = "validators")]
    pub validators: Vec<String>,
    /// Other nodes to stay connected to.
    #[serde(deserialize_with = "peers")]
    pub peers: Vec<String>,
    /// Nodes that nobody told this one of, and that may have what goes between nodes all the same: they follow.
    #[serde(deserialize_with = "followers")]
    pub followers_max: u32,
}

const CONNECTIONS: Bounds = Bounds::new(1, PEERS_MAX as u64);
const RATE: Bounds = Bounds::new(1, 1_000_000);
const BUFFER_BYTES: Bounds = Bounds::new(1 << 20, 64 << 30);
const IDLE_TIMEOUT_MS: Bounds = Bounds::new(1_000, 600_000);
const HANDSHAKE_TIMEOUT_MS: Bounds = Bounds::new(100, 60_000);
const BAN_MS: Bounds = Bounds::new(1_000, 86_400_000);
const SOCKET_BYTES: Bounds = Bounds::new(64 << 10, 1 << 30);
const NAME_BYTES: Bounds = Bounds::new(0, NODE_NAME_BYTES_MAX as u64);
const FOLLOWERS: Bounds = Bounds::new(0, FOLLOWERS_MAX as u64);
/// Connections where nothing else is said, and those of them that there is room for to play.
const CONNECTIONS_USUAL: u32 = 2_048;
const PLAYERS_USUAL: u32 = 1_000;
/// Bytes that those may hold together, rounded up to 8 MiB.
const ROOM_BYTES: u64 = (PLAYERS_USUAL as u64 * PLAYING_BYTES
    + (CONNECTIONS_USUAL - PLAYERS_USUAL) as u64 * IDLE_BYTES)
    .next_multiple_of(8 << 20);
const NAMED: Bounds = Bounds::new(0, PEERS_NAMED_MAX as u64);

impl ServerConfig {
    /// What the values may be, by key; the rest are words, addresses and switches.
    pub const BOUNDS: [(&str, Bounds); 15] = [
        ("name", NAME_BYTES),
        ("connections_max", CONNECTIONS),
        ("connections_per_address_max", CONNECTIONS),
        ("connects_per_address_per_s", RATE),
        ("intents_per_connection_per_s", RATE),
        ("opens_per_connection_per_min", RATE),
        ("opens_per_address_per_min", RATE),
        ("buffer_bytes_max", BUFFER_BYTES),
        ("idle_timeout_ms", IDLE_TIMEOUT_MS),
        ("handshake_timeout_ms", HANDSHAKE_TIMEOUT_MS),
        ("ban_ms", BAN_MS),
        ("socket_buffer_bytes", SOCKET_BYTES),
        ("validators", NAMED),
        ("peers", NAMED),
        ("followers_max", FOLLOWERS),
    ];

    /// Bytes of the buffers that the connections of the validators take from what all may hold.
    pub fn reserved_bytes(&self) -> u64 {
        self.validators.len() as u64 * NODE_BYTES
    }
}

impl Default for ServerConfig {
    fn default() -> Self {
        let count = |count| NonZeroU32::new(count).expect("not zero");
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7_400)),
            name: String::new(),
            connections_max: CONNECTIONS_USUAL,
            connections_per_address_max: 64,
            connects_per_address_per_s: count(20),
            intents_per_connection_per_s: count(100),
            opens_per_connection_per_min: count(6),
            opens_per_address_per_min: count(24),
            buffer_bytes_max: ROOM_BYTES,
            idle_timeout: Duration::from_secs(30),
            handshake_timeout: Duration::from_secs(5),
            ban: Duration::from_secs(600),
            socket_buffer_bytes: 8 << 20,
            mdns: false,
            validators: Vec::new(),
            peers: Vec::new(),
            followers_max: 0,
        }
    }
}

fn connections<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, CONNECTIONS)
}

fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NonZeroU32, D::Error> {
    within(deserializer, RATE).map(|count| NonZeroU32::new(count).expect("not zero"))
}

fn buffer_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    size(deserializer, BUFFER_BYTES)
}

fn idle_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    milliseconds(deserializer, IDLE_TIMEOUT_MS)
}

fn handshake_timeout<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    milliseconds(deserializer, HANDSHAKE_TIMEOUT_MS)
}

fn ban<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    milliseconds(deserializer, BAN_MS)
}

fn socket_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    size(deserializer, SOCKET_BYTES)
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if !NAME_BYTES.contain(name.len() as u64) || name.chars().any(char::is_control) {
        return Err(D::Error::custom(format!(
            "a name has at most {NODE_NAME_BYTES_MAX} bytes, and no control characters"
        )));
    }
    Ok(name)
}

fn followers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    within(deserializer, FOLLOWERS)
}

fn validators<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let named = peers(deserializer)?;
    // Only the key tells a validator from whoever has taken its address, and what is kept for validators is a lot.
    match named.iter().find(|named| !named.contains('@')) {
        Some(named) => Err(D::Error::custom(format!("`{named}` has no network key: a validator is KEY@HOST:PORT"))),
        None => Ok(named),
    }
}

fn peers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let peers = Vec::<String>::deserialize(deserializer)
        .map_err(|_| D::Error::custom("expected a list of nodes, such as [\"node.example:7400\"]"))?;
    if !NAMED.contain(peers.len() as u64) {
        return Err(D::Error::custom(format!("{} peers, at most {PEERS_NAMED_MAX} are allowed", peers.len())));
    }
    for peer in &peers {
        let (key, address) = peer.split_once('@').map_or((None, peer.as_str()), |(key, address)| (Some(key), address));
        let port = address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        if port.is_none() || key.is_some_and(|key| engine::unhex::<32>(key).is_none()) {
            return Err(D::Error::custom(format!("`{peer}` is neither HOST:PORT nor KEY@HOST:PORT")));
        }
    }
    Ok(peers)
}
