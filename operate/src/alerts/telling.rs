//! What all channels have in common: how long one may take, what it shares with those who wait, what programs read of a change.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use thiserror::Error;

use super::state::Change;

/// How long one channel may take for one change.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// How often the thread of a channel turns, and how often it does so at least.
pub(super) const TURN: Duration = Duration::from_millis(500);

/// Why a change was not told somewhere.
#[derive(Error, Debug)]
pub enum ChannelError {
    /// A program cannot be run.
    #[error("{program}: {error}")]
    Run {
        /// The program.
        program: String,
        /// What the system says.
        error: std::io::Error,
    },
    /// A program ended with a fault, or was ended because it took too long.
    #[error("{program}: {status}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
    },
    /// A webhook did not take it.
    #[error("the webhook: {problem}")]
    Webhook {
        /// What became of the request.
        problem: String,
    },
}

/// What a channel's thread shares with those who have changes told.
#[derive(Default)]
pub(super) struct Telling {
    /// Changes that are not told yet.
    pub(super) waiting: AtomicU64,
    /// Times that a channel did not take one, since the node started.
    pub(super) untold: Arc<AtomicU64>,
    /// Nobody waits any more: what has not been told stays so.
    pub(super) is_over: AtomicBool,
    /// Shows that the thread moves, also while a channel takes its time.
    pub(super) turns: Arc<AtomicU64>,
}

impl Telling {
    /// Says that the thread moves.
    pub(super) fn turn(&self) {
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether nobody waits any more. Whoever asks moves.
    pub(super) fn is_over(&self) -> bool {
        self.turn();
        self.is_over.load(Ordering::Relaxed)
    }
}

/// What programs read of a change.
pub(super) fn as_json(node: &str, change: &Change) -> String {
    let mut value = serde_json::to_value(change).expect("a change is plain data");
    value["node"] = node.into();
    value.to_string()
}
