//! What a node that must stop leaves in its session: why, for whoever looks into it, and for its next start.
//!
//! ```text
//!  DIR/stopped/poison-12.json       a block that broke an invariant: it is not settled again by whoever finds this
//!  DIR/stopped/diverged-12.json     two root chains of one height, for `bisect`
//!  DIR/stopped/other_life-12.json   a vote of this validator that its log does not have
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use engine::limits::STOPPED_BYTES_MAX;
use engine::{Hash, Height, hex};
use serde::{Deserialize, Serialize};
use storage::Session;
use storage::backend::Backend;
use systems::exchange::ExchangeError;

/// The folder of a session in which it is said why a node stopped.
pub struct StopNotes {
    backend: Arc<dyn Backend>,
    dir: PathBuf,
}

/// Why a node stopped. Hashes and rows are in hex.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StopNote {
    /// The version of the program that stopped.
    pub program: String,
    /// The height that it is about.
    pub height: u64,
    /// Why, in words.
    pub problem: String,
    /// The block that broke an invariant.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub block: Option<String>,
    /// `root_chain` of the height as this node computed it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub own: Option<String>,
    /// `root_chain` of the height as a quorum has it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub theirs: Option<String>,
    /// A signed vote: 128 bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vote: Option<String>,
}

impl StopNotes {
    /// The notes of a session.
    pub fn of(session: &Session) -> Self {
        Self { backend: session.backend().clone(), dir: session.dir().to_owned() }
    }

    /// Leaves a note of why this node stops. What cannot be written is only said.
    pub fn leave(&self, fault: &ExchangeError) {
        let Some((name, note)) = note_of(fault) else { return };
        if let Err(error) = self.write(&name, &note) {
            tracing::warn!("stopped/{name} cannot be written: {error}");
        }
    }

    fn write(&self, name: &str, note: &StopNote) -> io::Result<()> {
        let folder = self.dir.join("stopped");
        self.backend.create_dir(&folder)?;
        self.backend.sync_dir(&self.dir)?;
        let path = folder.join(name);
        match self.backend.remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut bytes = serde_json::to_vec_pretty(note).map_err(io::Error::other)?;
        bytes.push(b'\n');
        self.backend.write_new(&path, &bytes)?;
        self.backend.sync_dir(&folder)
    }

    /// What is said of a block that broke an invariant when it was settled; nothing if it did not.
    ///
    /// # Errors
    /// If there is a note that cannot be read.
    pub fn poison(&self, height: Height, block: &Hash) -> Result<Option<StopNote>, String> {
        let name = format!("stopped/poison-{height}.json");
        let bytes = match self.backend.read(&self.dir.join(&name), STOPPED_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{name}: {error}")),
        };
        let note: StopNote = serde_json::from_slice(&bytes).map_err(|error| format!("{name}: {error}"))?;
        Ok(Some(note).filter(|note| note.block == Some(hex(block))))
    }
}

fn note_of(fault: &ExchangeError) -> Option<(String, StopNote)> {
    let of = |height: Height| StopNote {
        program: env!("CARGO_PKG_VERSION").into(),
        height: height.0,
        problem: fault.to_string(),
        block: None,
        own: None,
        theirs: None,
        vote: None,
    };
    Some(match fault {
        ExchangeError::Order(_) => return None,
        ExchangeError::Poison { height, block, .. } => {
            (format!("poison-{height}.json"), StopNote { block: Some(hex(block)), ..of(*height) })
        }
        ExchangeError::Diverged { height, own, theirs } => {
            let (own, theirs) = (Some(hex(own)), Some(hex(theirs)));
            (format!("diverged-{height}.json"), StopNote { own, theirs, ..of(*height) })
        }
        ExchangeError::OtherLife { vote } => {
            let height = vote.body.height;
            let row: String = vote_bytes(vote).iter().map(|byte| format!("{byte:02x}")).collect();
            (format!("other_life-{height}.json"), StopNote { vote: Some(row), ..of(height) })
        }
    })
}

fn vote_bytes(vote: &engine::message::vote::Vote) -> Vec<u8> {
    let mut bytes = Vec::new();
    engine::message::node::NodeMessage::Votes(vec![*vote]).encode(&mut bytes);
    bytes
}
