//! The configuration of a node: one strict TOML file. What is not known is refused, with its line and column.

mod meanings;
mod near;
mod schema;
mod version;
mod watching;

use std::path::{Path, PathBuf};

use engine::limits::{HISTORY_DISK_BYTES, HISTORY_MEMORY_BYTES, JOURNAL_BYTES_MAX_LEAST, WORKERS_MAX};
use engine::message::block::{Decided, Retired};
use net::server::ServerConfig;
use net::settings::{Bounds, any_size, size, within, write_size};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use self::meanings::{HEAD, meaning};
pub(crate) use self::meanings::{MEANINGS, may_change};
pub(crate) use self::near::nearest_key;
use self::near::{Known, with_hint};
pub use self::schema::schema;
use self::version::Version;
pub use self::watching::{AlertsConfig, LogConfig, LogFormat, MemoryConfig, MonitoringConfig, ServedAt};

/// A node's configuration.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Which keys the file may have.
    #[serde(skip_serializing)]
    version: Version,
    /// The process and its session.
    pub node: NodeConfig,
    /// What the node logs, and how.
    pub log: LogConfig,
    /// Where the keys are.
    pub keys: KeysConfig,
    /// The network.
    pub net: ServerConfig,
    /// What stays on disk.
    pub storage: StorageConfig,
    /// The cache of history.
    pub cache: CacheSection,
    /// What the node may have of the machine's memory.
    pub memory: MemoryConfig,
    /// What the node serves over HTTP about itself.
    pub monitoring: MonitoringConfig,
    /// Who is told when something is the matter.
    pub alerts: AlertsConfig,
}

/// What stays on disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// Bytes of the journal's whole segments; 0 for no bound.
    #[serde(deserialize_with = "journal_bytes", serialize_with = "write_size")]
    pub bytes_max: u64,
    /// Bytes of the disk that stay free; 0 for none.
    #[serde(deserialize_with = "free_bytes", serialize_with = "write_size")]
    pub min_free: u64,
}

/// The cache of history: pages that `history` made, so that they need not be made again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSection {
    /// Bytes in memory.
    #[serde(deserialize_with = "cache_memory", serialize_with = "write_size")]
    pub memory_bytes_max: u64,
    /// Bytes on disk, in the user's cache folder; 0 for none.
    #[serde(deserialize_with = "cache_disk", serialize_with = "write_size")]
    pub disk_bytes_max: u64,
}

/// The process and its session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NodeConfig {
    /// The session's directory.
    pub data: PathBuf,
    /// Workers of the tick pool.
    #[serde(deserialize_with = "threads")]
    pub threads: usize,
}

/// Where the keys are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeysConfig {
    /// The secret from which the vote key follows.
    pub validator: PathBuf,
    /// The secret from which the key for dealing shares follows.
    pub dkg: PathBuf,
    /// The secret from which the beacon key follows; of one validator among several, its share of that key.
    pub beacon: PathBuf,
    /// What is public of the shares of the beacon key; for one validator among several.
    pub group: PathBuf,
    /// The secret from which the network key follows.
    pub net: PathBuf,
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

impl Default for StorageConfig {
    fn default() -> Self {
        Self { bytes_max: 0, min_free: 256 << 20 }
    }
}

impl Default for CacheSection {
    fn default() -> Self {
        Self { memory_bytes_max: HISTORY_MEMORY_BYTES, disk_bytes_max: HISTORY_DISK_BYTES }
    }
}

impl Default for KeysConfig {
    fn default() -> Self {
        Self {
            validator: "keys/validator.pem".into(),
            dkg: "keys/dkg.pem".into(),
            beacon: "keys/beacon.pem".into(),
            group: "keys/group.hex".into(),
            net: "keys/net.pem".into(),
        }
    }
}

/// A configuration that cannot be used.
#[derive(Error, Debug)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {error}{}", if .error.kind() == std::io::ErrorKind::NotFound { "; `bitcraps init DIR` makes one" } else { "" })]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The environment or the command line says something that cannot be.
    #[error("{name}: {problem}")]
    Setting {
        /// What says so.
        name: String,
        /// What is wrong with it.
        problem: String,
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

const THREADS: Bounds = Bounds::new(1, WORKERS_MAX as u64);
const CACHE_MEMORY: Bounds = Bounds::new(1 << 20, 64 << 30);
const CACHE_DISK: Bounds = Bounds::new(0, 16 << 40);
// A default outside of its bounds would make `init` write a file that no node can read.
const _: () = assert!(CACHE_MEMORY.contain(HISTORY_MEMORY_BYTES));
const _: () = assert!(CACHE_DISK.contain(HISTORY_DISK_BYTES));
const FREE_BYTES: Bounds = Bounds::new(0, 16 << 40);
/// Two segments: one that is written, and one that a start may need.
const JOURNAL_BYTES: Bounds = Bounds::zero_or_from(JOURNAL_BYTES_MAX_LEAST);

/// What the value of a key may be, if it is a number, a size, a time, or something that is counted. What reads it asks the same.
fn bounds(section: &str, key: &str) -> Option<Bounds> {
    match (section, key) {
        ("node", "threads") => Some(THREADS),
        ("storage", "bytes_max") => Some(JOURNAL_BYTES),
        ("storage", "min_free") => Some(FREE_BYTES),
        ("cache", "memory_bytes_max") => Some(CACHE_MEMORY),
        ("cache", "disk_bytes_max") => Some(CACHE_DISK),
        ("memory", "budget_bytes") => Some(watching::MEMORY_BYTES),
        ("net", key) => ServerConfig::BOUNDS.iter().find(|(name, _)| *name == key).map(|(_, bounds)| *bounds),
        _ => None,
    }
}

fn threads<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    within(deserializer, THREADS)
}

fn cache_memory<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    size(deserializer, CACHE_MEMORY)
}

fn cache_disk<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    size(deserializer, CACHE_DISK)
}

fn free_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    size(deserializer, FREE_BYTES)
}

fn journal_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bytes = any_size(deserializer)?;
    if !JOURNAL_BYTES.contain(bytes) {
        let least = JOURNAL_BYTES.least >> 20;
        return Err(D::Error::custom(format!("{bytes} bytes are fewer than {least} MiB, two segments; 0 is no bound")));
    }
    Ok(bytes)
}

/// What stays of a decided block when its body is given up.
///
/// # Errors
/// If it is no decided block.
pub fn retire(body: &[u8]) -> Result<Vec<u8>, String> {
    let decided = Decided::decode(body).map_err(|error| error.to_string())?;
    Ok(Retired::of(decided).encode())
}

/// Whether a path can be a value of a file.
pub(crate) fn check_text(path: &Path) -> Result<(), String> {
    match path.to_str() {
        Some(_) => Ok(()),
        None => Err(format!("{} is no UTF-8 text, which TOML asks for", path.display())),
    }
}

impl Config {
    /// All paths that it names.
    pub(crate) fn paths(&mut self) -> [&mut PathBuf; 6] {
        // The pattern names every field: a key file that is added there and forgotten here does not compile.
        let KeysConfig { validator, dkg, beacon, group, net } = &mut self.keys;
        [&mut self.node.data, validator, dkg, beacon, group, net]
    }

    /// Reads text. Its paths stay as they are.
    ///
    /// # Errors
    /// Where and why it cannot be, with the nearest name of a key that is not known.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| {
            let defaults = serde_json::to_value(Self::default()).expect("a configuration is plain data");
            with_hint(&error.to_string(), text, &Known { defaults: &defaults, bounds })
        })
    }

    /// Reads a file that may be of a newer program: what this program does not know of it is left out, and named.
    ///
    /// # Errors
    /// As [`Config::parse`].
    pub(crate) fn parse_any(text: &str) -> Result<(Self, Option<String>), String> {
        match version::without_unknown(text) {
            None => Ok((Self::parse(text)?, None)),
            Some((table, warning)) => {
                let config = Self::deserialize(toml::Deserializer::from(table)).map_err(|mut error| {
                    // The table was taken out of the text, without which the error could not say its line and column.
                    error.set_input(Some(text));
                    error.to_string()
                })?;
                Ok((config, Some(warning)))
            }
        }
    }

    /// How the session is written.
    pub fn writing(&self) -> storage::Writing {
        let bytes_max = self.storage.bytes_max;
        let retention = (bytes_max > 0).then_some(storage::Retention { bytes_max, retire });
        storage::Writing { retention, min_free: self.storage.min_free, ..storage::Writing::default() }
    }

    /// This one, with what a node that runs takes of another: the keys that the file's head names.
    pub(crate) fn while_running(&self, new: Self) -> Self {
        // Only what a running node can change is taken: it would otherwise tell of a listener or a key that it does not
        // use.
        let monitoring = MonitoringConfig { hosts: new.monitoring.hosts, ..self.monitoring.clone() };
        Self { log: new.log, memory: new.memory, alerts: new.alerts, monitoring, ..self.clone() }
    }

    /// This configuration with paths that hold wherever the file lies.
    ///
    /// # Errors
    /// If this program's own directory is gone, or a path is no text that a file could hold.
    pub fn absolute(mut self) -> std::io::Result<Self> {
        for path in self.paths() {
            *path = std::path::absolute(&path)?;
            check_text(path).map_err(|problem| std::io::Error::new(std::io::ErrorKind::InvalidData, problem))?;
        }
        Ok(self)
    }

    /// The file as `init` writes it: every key with its value, and with what it means.
    pub fn text(&self) -> String {
        let values = toml::to_string(self).expect("a configuration is plain data");
        let (mut text, mut section) = (format!("{HEAD}version = {}\n\n", version::VERSION), "");
        for line in values.lines() {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name;
            }
            if let Some((key, _)) = line.split_once(" = ") {
                for meaning in meaning(section, key).lines() {
                    text.extend(["# ", meaning, "\n"]);
                }
            }
            text.extend([line, "\n"]);
        }
        text
    }
}

#[cfg(test)]
mod tests;
