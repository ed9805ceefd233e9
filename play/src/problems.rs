//! Why the nodes that a player named cannot be had, for a person.

use std::collections::BTreeMap;

use net::client::Lost;
use words::Failure;

/// Why nodes cannot be had, by their addresses.
#[derive(Default)]
pub(crate) struct Problems(pub(crate) BTreeMap<String, Lost>);

impl Problems {
    /// All problems in words, each with its address.
    pub(crate) fn words(&self) -> String {
        self.0.iter().map(|(address, lost)| words_at(address, lost)).collect::<Vec<_>>().join("; ")
    }

    /// Why no node of any address can be had.
    pub(crate) fn unreachable(&self, at: &str) -> Failure {
        Failure::Unreachable(match self.0.len() {
            0 => format!("{at}: the node does not send its genesis"),
            1 => format!("{}; is the node running, and is this its address?", self.words()),
            _ => format!("{}; are the nodes running, and are these their addresses?", self.words()),
        })
    }
}

/// Why a node cannot be had, with its address.
pub(crate) fn words_at(address: &str, lost: &Lost) -> String {
    let text = lost.to_string();
    if text.contains(address) { text } else { format!("{address}: {text}") }
}
