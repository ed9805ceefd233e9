//! Why there is no connection.

use quinn::ConnectionError;
use thiserror::Error;

use crate::session::CloseCode;
use crate::tls::Key;
use crate::wire::{VERSION, WireError};

/// Why there is no connection.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum Lost {
    /// The name has no address.
    #[error("{address}: {problem}")]
    Address {
        /// What was looked up.
        address: String,
        /// What the system says.
        problem: String,
    },
    /// Nothing answers there.
    #[error("no node answers at {0}")]
    Silent(String),
    /// The node refused the connection before it looked at it.
    #[error(
        "the node refuses the connection: it ends, or is full, or this address has too many connections or is banned"
    )]
    Refused,
    /// No version of the protocol is common to both.
    #[error("the node speaks another version of the protocol; this program speaks version {}", VERSION)]
    Version,
    /// The node has another key than was expected.
    #[error("the node has key {}, but {} was expected", engine::hex(.found), engine::hex(.expected))]
    Key {
        /// What was expected.
        expected: Key,
        /// What the node proved.
        found: Key,
    },
    /// The node closed the connection and said why.
    #[error("{}{}", .code.sentence(), details(*.code, text))]
    Closed {
        /// Why, as a program reads it.
        code: CloseCode,
        /// Why, in words of the node for a person; they may be empty.
        text: String,
    },
    /// The node said something that is no message.
    #[error("the node sent what is no message: {0}")]
    Wire(#[from] WireError),
    /// The node is behind what this client has seen of the chain.
    #[error("the node is {0} heights behind what another one has shown")]
    Behind(u64),
    /// Anything else that befell the connection.
    #[error("{0}")]
    Other(String),
}

/// What the node said beside its code, unless that is the same.
fn details(code: CloseCode, text: &str) -> String {
    if text.is_empty() || text == code.sentence() { String::new() } else { format!(" ({text})") }
}

impl Lost {
    /// Whether trying again cannot help.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Version | Self::Key { .. } => true,
            Self::Closed { code, .. } => {
                matches!(code, CloseCode::Version | CloseCode::Chain | CloseCode::Banned | CloseCode::Malformed)
            }
            _ => false,
        }
    }

    pub(super) fn of(error: &ConnectionError, address: &str) -> Self {
        match error {
            ConnectionError::ApplicationClosed(close) => {
                // The words are those of the node, which may be anybody: nothing in them may move the cursor of a
                // terminal.
                let text = String::from_utf8_lossy(&close.reason).chars().filter(|c| !c.is_control()).collect();
                match CloseCode::of(close.error_code.into_inner()) {
                    Some(code) => Self::Closed { code, text },
                    None => Self::Other(text),
                }
            }
            ConnectionError::ConnectionClosed(close)
                if close.error_code == quinn::TransportErrorCode::CONNECTION_REFUSED =>
            {
                Self::Refused
            }
            ConnectionError::ConnectionClosed(close) if close.error_code == no_common_version() => Self::Version,
            ConnectionError::TransportError(error) if error.code == no_common_version() => Self::Version,
            ConnectionError::VersionMismatch => Self::Version,
            ConnectionError::TimedOut => Self::Silent(address.to_owned()),
            other => Self::Other(other.to_string()),
        }
    }
}

/// The TLS alert `no_application_protocol`.
fn no_common_version() -> quinn::TransportErrorCode {
    quinn::TransportErrorCode::crypto(120)
}
