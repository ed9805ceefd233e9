//! What a node that must stop leaves in its session: why, for whoever looks into it, and for its next start.
//!
//! ```text
//!  DIR/stopped/poison-12.json         a block that broke an invariant: it is not settled again by whoever finds this
//!  DIR/stopped/diverged-12.json       two root chains of one height, with the block and the quorum of the other one, for `bisect`
//!  DIR/stopped/other_life-12.json     a vote of this validator that its log does not have
//!  DIR/stopped/diverged-12-by-3.json  the same two, where validator 3 proposed the other one: this alone stops nobody
//! ```

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use engine::limits::{DIVERGED_NOTES_MAX, STOPPED_BYTES_MAX};
use engine::message::certificate::Certificate;
use engine::message::divergence::Divergence;
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
    /// `root_chain` of the height as a quorum has it, or one proposer.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub theirs: Option<String>,
    /// The header of the block that names it: 384 bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub header: Option<String>,
    /// The proposal of that block: 128 bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub proposal: Option<String>,
    /// The certificate of that block.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub certificate: Option<String>,
    /// A signed vote: 128 bytes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub vote: Option<String>,
}

// A note with the largest certificate in hex, and the rows beside it, is read again at the next start.
const _: () = assert!(STOPPED_BYTES_MAX > 2 * Certificate::BYTES_MAX as u64 + 8 * 1024);

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

    /// Keeps both rows of a block that names another root: the first ones of a session. What cannot be written is only said.
    pub fn leave_divergence(&self, divergence: &Divergence) {
        let (height, slot) = (divergence.height, divergence.proposer());
        let name = format!("diverged-{height}-by-{slot}.json");
        let problem = format!(
            "validator {slot} proposed a block at height {} that names another root chain after height {height}",
            divergence.header.height
        );
        let written = self.divergences().and_then(|kept| {
            let is_kept = kept.iter().any(|path| path.ends_with(&name));
            match kept.len() {
                // The first ones only: a proposer that lies at every height must not fill the disk with notes.
                ..DIVERGED_NOTES_MAX if !is_kept => self.write(&name, &note_of_divergence(divergence, problem)),
                _ => Ok(()),
            }
        });
        if let Err(error) = written {
            tracing::warn!("stopped/{name} cannot be written: {error}");
        }
    }

    /// The notes of divergences that are kept.
    fn divergences(&self) -> io::Result<Vec<PathBuf>> {
        let is_one =
            |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.contains("-by-"));
        match self.backend.list(&self.dir.join("stopped")) {
            Ok(paths) => Ok(paths.into_iter().filter(is_one).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    fn write(&self, name: &str, note: &StopNote) -> io::Result<()> {
        let folder = self.dir.join("stopped");
        // Each folder is synced: a note that a power cut takes back would let the next start break in the same way.
        self.backend.create_dir(&folder)?;
        self.backend.sync_dir(&self.dir)?;
        let path = folder.join(name);
        // The last note of a height counts: an earlier one may be of another program.
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
        // The note is of one block: another block of this height has done no harm.
        Ok(Some(note).filter(|note| note.block == Some(hex(block))))
    }
}

fn note(height: Height, problem: String) -> StopNote {
    StopNote {
        program: env!("CARGO_PKG_VERSION").into(),
        height: height.0,
        problem,
        block: None,
        own: None,
        theirs: None,
        header: None,
        proposal: None,
        certificate: None,
        vote: None,
    }
}

fn note_of_divergence(divergence: &Divergence, problem: String) -> StopNote {
    let Divergence { height, own, header, proposal, certificate } = divergence;
    let bytes_of = |certificate: &Certificate| {
        let mut bytes = Vec::new();
        certificate.encode(&mut bytes);
        bytes
    };
    StopNote {
        block: Some(hex(&header.hash())),
        own: Some(hex(own)),
        theirs: Some(hex(&divergence.theirs())),
        header: Some(hex(bytemuck::bytes_of(header))),
        proposal: proposal.as_ref().map(|proposal| hex(bytemuck::bytes_of(proposal))),
        certificate: certificate.as_ref().map(|certificate| hex(&bytes_of(certificate))),
        ..note(*height, problem)
    }
}

fn note_of(fault: &ExchangeError) -> Option<(String, StopNote)> {
    let problem = fault.to_string();
    Some(match fault {
        ExchangeError::Order(_) => return None,
        ExchangeError::Poison { height, block, .. } => {
            (format!("poison-{height}.json"), StopNote { block: Some(hex(block)), ..note(*height, problem) })
        }
        ExchangeError::Diverged(divergence) => {
            (format!("diverged-{}.json", divergence.height), note_of_divergence(divergence, problem))
        }
        ExchangeError::OtherLife { vote } => {
            let height = vote.body.height;
            let vote = Some(hex(bytemuck::bytes_of(&**vote)));
            (format!("other_life-{height}.json"), StopNote { vote, ..note(height, problem) })
        }
    })
}
