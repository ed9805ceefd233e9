//! The configuration of a node: one strict TOML file. What is not known is refused, with its line and column.

use std::fmt::Display;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytesize::ByteSize;
use engine::limits::{HISTORY_DISK_BYTES, HISTORY_MEMORY_BYTES};
use engine::message::block::{Decided, Retired};
use net::server::ServerConfig;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use thiserror::Error;

/// The least that `storage.bytes_max` may be, but for no bound: two segments.
pub const BYTES_MAX_LEAST: u64 = 128 << 20;

/// A node's configuration.
#[derive(Clone, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The process and its session.
    pub node: NodeConfig,
    /// Where the keys are.
    pub keys: KeysConfig,
    /// The network.
    pub net: NetConfig,
    /// What stays on disk.
    pub storage: StorageConfig,
    /// The cache of history.
    pub cache: CacheSection,
}

/// What stays on disk.
#[derive(Clone, PartialEq, Eq, Default, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Bytes of the journal's whole segments; 0 for no bound.
    #[serde(deserialize_with = "journal_bytes")]
    pub bytes_max: u64,
}

/// The cache of history: pages that `history` made, so that they need not be made again.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSection {
    /// Bytes in memory.
    #[serde(deserialize_with = "cache_memory")]
    pub memory_bytes_max: u64,
    /// Bytes on disk, in the session's folder `cache`; 0 for none.
    #[serde(deserialize_with = "cache_disk")]
    pub disk_bytes_max: u64,
}

/// The process and its session.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// The session's directory.
    pub data: PathBuf,
    /// Workers of the tick pool.
    #[serde(deserialize_with = "threads")]
    pub threads: usize,
}

/// Where the keys are.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// The secret from which the vote key and the beacon key follow.
    pub validator: PathBuf,
    /// The secret from which the network key follows.
    pub net: PathBuf,
}

/// The network.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The node's name, for people.
    #[serde(deserialize_with = "name")]
    pub name: String,
    /// Connections at once.
    #[serde(deserialize_with = "connections_max")]
    pub connections_max: u32,
    /// Connections of one address at once.
    #[serde(deserialize_with = "connections_max")]
    pub connections_per_address_max: u32,
    /// Connections that one address may begin in a second.
    #[serde(deserialize_with = "per_second")]
    pub connects_per_address_per_s: u32,
    /// Intents a second of one connection; twice as many in a burst.
    #[serde(deserialize_with = "per_second")]
    pub intents_per_connection_per_s: u32,
    /// Bytes that all connections may hold together.
    #[serde(deserialize_with = "buffer_bytes")]
    pub buffer_bytes_max: u64,
    /// Silence after which a connection ends.
    #[serde(deserialize_with = "idle_timeout")]
    pub idle_timeout_ms: u64,
    /// Time for a handshake, for the first message, and for the rest of one that was begun.
    #[serde(deserialize_with = "handshake_timeout")]
    pub handshake_timeout_ms: u64,
    /// How long a banned key or address stays out.
    #[serde(deserialize_with = "ban")]
    pub ban_ms: u64,
    /// What the system is asked for, for the UDP socket.
    #[serde(deserialize_with = "socket_bytes")]
    pub socket_buffer_bytes: u64,
    /// Threads of the sockets' runtime.
    #[serde(deserialize_with = "threads")]
    pub threads: usize,
    /// Announce this node on the local network, and look for others there.
    pub mdns: bool,
    /// Other nodes to stay connected to.
    #[serde(deserialize_with = "peers")]
    pub peers: Vec<String>,
}

/// Workers that leave a core for sockets and disk.
pub fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().saturating_sub(1).max(1))
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self { data: "session".into(), threads: workers() }
    }
}

impl Default for CacheSection {
    fn default() -> Self {
        Self { memory_bytes_max: HISTORY_MEMORY_BYTES, disk_bytes_max: HISTORY_DISK_BYTES }
    }
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self { validator: "keys/validator.pem".into(), net: "keys/net.pem".into() }
    }
}

impl Default for NetConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7_400)),
            name: String::new(),
            connections_max: 2_048,
            connections_per_address_max: 64,
            connects_per_address_per_s: 20,
            intents_per_connection_per_s: 100,
            buffer_bytes_max: 128 << 20,
            idle_timeout_ms: 30_000,
            handshake_timeout_ms: 5_000,
            ban_ms: 600_000,
            socket_buffer_bytes: 8 << 20,
            threads: 1,
            mdns: false,
            peers: Vec::new(),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Error, Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {error}; `bitcraps init DIR` makes one")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file says something that cannot be.
    #[error("{path}: {problem}")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// What and where.
        problem: String,
    },
}

fn within<T: PartialOrd + Display, E: Error>(value: T, range: RangeInclusive<T>) -> Result<T, E> {
    if range.contains(&value) {
        return Ok(value);
    }
    Err(E::custom(format!("{value} is not from {} to {}", range.start(), range.end())))
}

macro_rules! ranges {
    ($($name:ident: $type:ty = $range:expr;)*) => {
        $(fn $name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<$type, D::Error> {
            within(<$type>::deserialize(deserializer)?, $range)
        })*
    };
}

ranges! {
    threads: usize = 1..=engine::limits::WORKERS_MAX;
    connections_max: u32 = 1..=engine::limits::PEERS_MAX;
    per_second: u32 = 1..=1_000_000;
    idle_timeout: u64 = 1_000..=600_000;
    handshake_timeout: u64 = 100..=60_000;
    ban: u64 = 1_000..=86_400_000;
}

fn bytes<'de, D: Deserializer<'de>>(deserializer: D, range: RangeInclusive<u64>) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Bytes {
        Number(u64),
        Text(String),
    }
    let bytes = match Bytes::deserialize(deserializer)? {
        Bytes::Number(bytes) => bytes,
        Bytes::Text(text) => text.parse::<ByteSize>().map_err(D::Error::custom)?.as_u64(),
    };
    let (low, high) = (ByteSize(*range.start()), ByteSize(*range.end()));
    within(bytes, range)
        .map_err(|_: D::Error| D::Error::custom(format!("{} is not from {low} to {high}", ByteSize(bytes))))
}

fn buffer_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    bytes(deserializer, 1 << 20..=64 << 30)
}

fn socket_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    bytes(deserializer, 64 << 10..=1 << 30)
}

fn cache_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    bytes(deserializer, 1 << 20..=64 << 30)
}

fn cache_disk<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    bytes(deserializer, 0..=16 << 40)
}

fn journal_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    // Two segments: one that is written, and one that a start may need.
    let bytes = bytes(deserializer, 0..=u64::MAX)?;
    if bytes > 0 && bytes < BYTES_MAX_LEAST {
        return Err(D::Error::custom(format!("{bytes} bytes are fewer than 128 MiB, two segments; 0 is no bound")));
    }
    Ok(bytes)
}

fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let name = String::deserialize(deserializer)?;
    if name.len() > 32 || name.chars().any(char::is_control) {
        return Err(D::Error::custom("a name has at most 32 bytes, and no control characters"));
    }
    Ok(name)
}

fn peers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let peers = Vec::<String>::deserialize(deserializer)?;
    if peers.len() > 64 {
        return Err(D::Error::custom(format!("{} peers, at most 64 are allowed", peers.len())));
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

/// What stays of a decided block when its body is given up.
///
/// # Errors
/// If it is no decided block.
pub fn retire(body: &[u8]) -> Result<Vec<u8>, String> {
    let decided = Decided::decode(body).map_err(|error| error.to_string())?;
    Ok(Retired::of(decided).encode())
}

impl Config {
    /// Reads a file. Its paths become relative to where the file is.
    ///
    /// # Errors
    /// If it cannot be read, or says something that cannot be: with line and column.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path).map_err(|error| ConfigError::Read { path: path.to_owned(), error })?;
        let mut config = Self::parse(&text)
            .map_err(|problem| ConfigError::Wrong { path: path.to_owned(), problem: problem.trim_end().to_owned() })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for relative in [&mut config.node.data, &mut config.keys.validator, &mut config.keys.net] {
            *relative = folder.join(&relative);
        }
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.to_string())
    }

    /// How the session is written.
    pub fn writing(&self) -> storage::Writing {
        let bytes_max = self.storage.bytes_max;
        let retention = (bytes_max > 0).then_some(storage::Retention { bytes_max, retire });
        storage::Writing { retention, ..storage::Writing::default() }
    }

    /// The network's bounds.
    pub fn server(&self) -> ServerConfig {
        let net = &self.net;
        let per_s = |count| NonZeroU32::new(count).expect("checked when it was read");
        ServerConfig {
            listen: net.listen,
            name: net.name.clone(),
            connections_max: net.connections_max,
            connections_per_address_max: net.connections_per_address_max,
            connects_per_address_per_s: per_s(net.connects_per_address_per_s),
            intents_per_connection_per_s: per_s(net.intents_per_connection_per_s),
            buffer_bytes_max: net.buffer_bytes_max,
            idle_timeout: Duration::from_millis(net.idle_timeout_ms),
            handshake_timeout: Duration::from_millis(net.handshake_timeout_ms),
            ban: Duration::from_millis(net.ban_ms),
            socket_buffer_bytes: net.socket_buffer_bytes as usize,
            threads: net.threads,
            peers: net.peers.clone(),
            mdns: net.mdns,
        }
    }

    /// The file as `init` writes it: every key, with what it means.
    pub fn text(&self) -> String {
        let Self { node, keys, net, storage, cache } = self;
        let size = |bytes: u64| ByteSize(bytes).display().iec().to_string();
        format!(
            r#"# A BitCraps node. Every key is here with its meaning; a key that is left out has its default.
# Relative paths start where this file is. Unknown keys are refused.

[node]
# The session: genesis, journal and consensus log.
data = {data:?}
# Workers of the tick pool, 1 to 64. They change nothing but speed.
threads = {threads}

[keys]
# The secret from which the vote key and the beacon key follow. Whoever has it can vote as this node.
validator = {validator:?}
# The secret from which the network key follows.
net = {net_key:?}

[net]
# Where to listen, UDP.
listen = "{listen}"
# A name for people, at most 32 bytes.
name = {name:?}
# Connections at once, 1 to 20000, and of one address.
connections_max = {connections_max}
connections_per_address_max = {connections_per_address_max}
# Connections that one address may begin in a second.
connects_per_address_per_s = {connects_per_address_per_s}
# Intents that one connection may send in a second; twice as many in a burst.
intents_per_connection_per_s = {intents_per_connection_per_s}
# Bytes that the buffers of all connections may hold together, 1 MiB or more.
# A connection that plays may hold 80 KiB, an idle one 9 KiB.
buffer_bytes_max = "{buffer_bytes_max}"
# Silence after which a connection ends, 1000 to 600000.
idle_timeout_ms = {idle_timeout_ms}
# Time for a handshake, for the first message, and for the rest of one that was begun, 100 to 60000.
handshake_timeout_ms = {handshake_timeout_ms}
# How long a banned key or address stays out.
ban_ms = {ban_ms}
# What the system is asked for, for the UDP socket's buffers. Large ones keep a thousand simultaneous connects fast.
socket_buffer_bytes = "{socket_buffer_bytes}"
# Threads for the sockets.
threads = {net_threads}
# Announce this node on the local network, and look for others there.
mdns = {mdns}
# Other nodes to stay connected to: "host:port", or "KEY@host:port" to insist on a network key.
peers = {peers:?}

[storage]
# Bytes that the whole segments of the journal may have, 128 MiB or more; 0 for no bound. Beyond it the oldest
# segments give up the intents of their blocks; headers, certificates, beacons and roots stay for ever. What a start
# needs never goes: the newest two snapshots and all above them. What has gone can be proved but not replayed.
bytes_max = "{bytes_max}"

[cache]
# What `bitcraps history` and the pages of players may hold: bytes in memory, 1 MiB or more, and on disk, in the
# session's folder `cache`, which may be deleted at any time; 0 for no disk.
memory_bytes_max = "{cache_memory}"
disk_bytes_max = "{cache_disk}"
"#,
            data = node.data,
            threads = node.threads,
            validator = keys.validator,
            net_key = keys.net,
            listen = net.listen,
            name = net.name,
            connections_max = net.connections_max,
            connections_per_address_max = net.connections_per_address_max,
            connects_per_address_per_s = net.connects_per_address_per_s,
            intents_per_connection_per_s = net.intents_per_connection_per_s,
            buffer_bytes_max = size(net.buffer_bytes_max),
            idle_timeout_ms = net.idle_timeout_ms,
            handshake_timeout_ms = net.handshake_timeout_ms,
            ban_ms = net.ban_ms,
            socket_buffer_bytes = size(net.socket_buffer_bytes),
            net_threads = net.threads,
            mdns = net.mdns,
            peers = net.peers,
            bytes_max = size(storage.bytes_max),
            cache_memory = size(cache.memory_bytes_max),
            cache_disk = size(cache.disk_bytes_max),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_written_file_is_the_configuration() {
        let default = Config::default();
        assert_eq!(Config::parse(&default.text()), Ok(default.clone()));
        assert_eq!(Config::parse(""), Ok(default.clone()));
        let mut other = default;
        other.net.buffer_bytes_max = 3 << 30;
        other.net.peers = vec!["example.org:7400".into(), format!("{}@127.0.0.1:1", "ab".repeat(32))];
        other.net.name = "a \"name\"".into();
        other.cache.disk_bytes_max = 0;
        other.storage.bytes_max = 10 << 30;
        assert_eq!(Config::parse(&other.text()), Ok(other));
    }

    #[test]
    fn what_cannot_be_is_refused_with_line_and_column() {
        for (text, line, column, says) in [
            ("[net]\nlisten = \"127.0.0.1:1\"\nconections_max = 3\n", 3, 1, "unknown field `conections_max`"),
            ("[net]\nconnections_max = 0\n", 2, 19, "0 is not from 1 to 20000"),
            ("[node]\nthreads = 65\n", 2, 11, "65 is not from 1 to 64"),
            ("[net]\nbuffer_bytes_max = \"12 KiB\"\n", 2, 20, "is not from 1.0 MiB"),
            ("[net]\nlisten = \"nowhere\"\n", 2, 10, "invalid socket address"),
            ("[net]\npeers = [\"a:1\", \"b\"]\n", 2, 9, "neither HOST:PORT"),
            ("[net]\nidle_timeout_ms = -1\n", 2, 19, "invalid value"),
            ("[cache]\nmemory_bytes_max = 4096\n", 2, 20, "is not from 1.0 MiB"),
            ("[storage]\nbytes_max = \"1 MiB\"\n", 2, 13, "fewer than 128 MiB"),
            ("[nett]\n", 1, 2, "unknown field `nett`"),
        ] {
            let problem = Config::parse(text).expect_err(text);
            assert!(problem.contains(&format!("line {line}, column {column}")), "{text}: {problem}");
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }
}
