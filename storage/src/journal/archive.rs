//! What becomes of sealed segments: they are compressed, and the oldest give up their bodies.

use std::path::Path;
use std::sync::Arc;

use engine::{Hash, Height};

use super::compressed::Compressor;
use super::retired::{Retention, Retirer};
use crate::backend::Backend;

/// Looks after a session's sealed segments. A session that stays larger than it could be is still whole: what goes wrong is
/// logged, and tried again the next time.
pub struct Archive {
    compressor: Compressor,
    /// Nothing goes where this is not set.
    retirer: Option<Retirer>,
}

impl Archive {
    /// For a session's journal.
    pub fn new(backend: Arc<dyn Backend>, dir: &Path, chain: Hash, retention: Option<Retention>) -> Self {
        let retirer = retention.map(|retention| Retirer::new(backend.clone(), dir, chain, retention));
        Self { compressor: Compressor::new(backend, dir), retirer }
    }

    /// Compresses what was sealed, as long as `goes_on` says so, and gives up bodies of heights below `keep`; early ones too
    /// where the disk is short of room.
    pub fn turn(&self, keep: Height, early: bool, goes_on: &dyn Fn() -> bool) {
        match self.compressor.compress_sealed(goes_on) {
            Ok(compressed) => compressed.iter().for_each(|number| tracing::info!("segment {number} is compressed")),
            Err(error) => tracing::warn!("a sealed segment stays as long as it is: {error}"),
        }
        // Behind the compressing: a compressed segment counts with fewer bytes, and fewer bodies go.
        if let Some(retirer) = &self.retirer {
            retirer.retire_and_say(keep, early);
        }
    }
}
