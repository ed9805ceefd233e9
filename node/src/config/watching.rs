//! The sections about watching a node: its log, what it may have of memory, where its dashboard is, who hears of alerts.

use std::net::SocketAddr;
use std::str::FromStr;

use net::settings::{Bounds, any_size, parse_address_like, write_size};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

/// What a node says of itself on standard error.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// What is logged: a level, or levels by target.
    pub filter: String,
    /// How a line is written.
    pub format: LogFormat,
}

/// How a line of the log is written.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            filter: "warn,node=info,net=info,storage=info,operate=info,bitcraps=info".into(),
            format: LogFormat::Text,
        }
    }
}

/// Who is told when something is the matter; the log always is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertsConfig {
    /// An address of plain HTTP to which each change is posted; empty for none.
    #[serde(deserialize_with = "webhook")]
    pub webhook: String,
    /// A program and its arguments, run for each change; empty for none.
    #[serde(deserialize_with = "exec")]
    pub exec: Vec<String>,
    /// Who gets a letter.
    #[serde(deserialize_with = "mail_to")]
    pub mail_to: Vec<String>,
    /// The program that sends it.
    pub sendmail: String,
}

impl Default for AlertsConfig {
    fn default() -> Self {
        let sendmail = "/usr/sbin/sendmail".into();
        Self { webhook: String::new(), exec: Vec::new(), mail_to: Vec::new(), sendmail }
    }
}

/// What the node may have of the machine's memory.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryConfig {
    /// Bytes of memory; 0 for what its control group, or the machine, has.
    #[serde(deserialize_with = "memory_bytes", serialize_with = "write_size")]
    pub budget_bytes: u64,
}

/// What is served about the node.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitoringConfig {
    /// Where the dashboard, metrics and health are, TCP.
    pub listen: ServedAt,
    /// Names under which they may be asked for, beside addresses.
    #[serde(deserialize_with = "hosts")]
    pub hosts: Vec<String>,
}

/// Where something is served, as the configuration and the command line have it: an address, or `off`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum ServedAt {
    /// Nowhere.
    Off,
    /// At this address.
    Address(SocketAddr),
}

impl ServedAt {
    /// The address, if it is anywhere.
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::Address(address) => Some(address),
        }
    }
}

impl FromStr for ServedAt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "off" {
            return Ok(Self::Off);
        }
        parse_address_like(text, "127.0.0.1:7480")
            .map(Self::Address)
            .map_err(|problem| format!("{problem}, and not `off`"))
    }
}

impl TryFrom<String> for ServedAt {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<ServedAt> for String {
    fn from(at: ServedAt) -> Self {
        at.address().map_or_else(|| "off".into(), |address| address.to_string())
    }
}

impl Default for MonitoringConfig {
    fn default() -> Self {
        Self { listen: ServedAt::Address(SocketAddr::from(([127, 0, 0, 1], 7_480))), hosts: Vec::new() }
    }
}

/// An empty node has half of the least in memory, which no level minds.
pub(super) const MEMORY_BYTES: Bounds = Bounds::zero_or_from(64 << 20);

fn memory_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let bytes = any_size(deserializer)?;
    if !MEMORY_BYTES.contain(bytes) {
        let least = MEMORY_BYTES.least >> 20;
        return Err(D::Error::custom(format!("{bytes} bytes are fewer than {least} MiB; 0 is what the machine has")));
    }
    Ok(bytes)
}

fn webhook<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let url = String::deserialize(deserializer)?;
    // Changes are posted over plain HTTP alone: another protocol is refused here, and not when the first alert cannot
    // be told.
    let Some(rest) = url.strip_prefix("http://") else {
        if url.is_empty() {
            return Ok(url);
        }
        return Err(D::Error::custom("no address of http://; for another protocol, `exec` runs a program"));
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
    if host.is_empty() || rest.contains(char::is_whitespace) {
        return Err(D::Error::custom("an address of http:// has a host, such as http://127.0.0.1:9093/hook"));
    }
    Ok(url)
}

/// A list of texts. What stands there instead may be a secret and is not repeated.
fn list<'de, D: Deserializer<'de>>(deserializer: D, expected: &str) -> Result<Vec<String>, D::Error> {
    Vec::<String>::deserialize(deserializer).map_err(|_| D::Error::custom(format!("expected {expected}")))
}

fn exec<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    list(deserializer, "a program and its arguments as a list, such as [\"/bin/true\"]")
}

fn hosts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = list(deserializer, "a list of names, such as [\"node.example\"]")?;
    // A name with a scheme or a port would match no request, and whoever asks under it would be refused.
    let is_name = |name: &String| {
        !name.is_empty() && name.chars().all(|sign| sign.is_alphanumeric() || matches!(sign, '.' | '-' | '_'))
    };
    match names.iter().find(|name| !is_name(name)) {
        Some(wrong) => {
            Err(D::Error::custom(format!("`{wrong}` is no name such as node.example, without http:// and port")))
        }
        None => Ok(names),
    }
}

fn mail_to<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let addresses = list(deserializer, "a list of addresses, such as [\"ops@example.org\"]")?;
    // A comma or a line break in an address would add recipients or headers to the letter.
    match addresses.iter().find(|one| !one.contains('@') || one.contains(|c: char| c.is_control() || c == ',')) {
        Some(wrong) => Err(D::Error::custom(format!("`{wrong}` is no address such as ops@example.org"))),
        None => Ok(addresses),
    }
}
