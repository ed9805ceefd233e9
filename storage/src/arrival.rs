//! A session that begins at a snapshot of another node, from the moment that it comes until the journal begins at it.
//!
//! ```text
//!  DIR/ARRIVING -> snapshots/ filled -> the journal's base frame -> ARRIVING goes
//! ```
//! A process that ends before the base frame is on disk leaves a snapshot that its journal knows nothing of: it goes, and
//! comes again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use engine::Height;
use engine::limits::ARRIVAL_BYTES_MAX;

use crate::backend::Backend;
use crate::journal::JournalReader;
use crate::refused::named;
use crate::session::{OpenError, Session, numbered};

/// What the mark holds, for whoever looks at it.
const MARK: &[u8] = b"a snapshot of another node comes\n";

// A mark that is longer than what is read of it would count as none, and half a snapshot would be taken for a whole one.
const _: () = assert!(MARK.len() as u64 <= ARRIVAL_BYTES_MAX);

/// What marks a session to which a snapshot is coming.
pub struct Arrival {
    backend: Arc<dyn Backend>,
    dir: PathBuf,
}

impl Arrival {
    /// That of a session.
    pub fn of(session: &Session) -> Self {
        Self { backend: session.backend().clone(), dir: session.dir().to_owned() }
    }

    fn mark(&self) -> PathBuf {
        self.dir.join("ARRIVING")
    }

    /// A snapshot begins to come: until the journal begins at it, it does not count.
    ///
    /// # Errors
    /// What the system says.
    pub fn begin(&self) -> io::Result<()> {
        if self.backend.read(&self.mark(), ARRIVAL_BYTES_MAX).is_err() {
            self.backend.write_new(&self.mark(), MARK).map_err(named(&self.mark(), "made"))?;
        }
        self.backend.sync_dir(&self.dir).map_err(named(&self.dir, "synced"))
    }

    /// Before anything of a session is looked at: a snapshot that was coming when the process ended goes, unless the journal
    /// begins at it. Says whether one went.
    ///
    /// # Errors
    /// If the journal is damaged, or the system refuses.
    pub fn settle(&self) -> Result<bool, OpenError> {
        if self.backend.read(&self.mark(), ARRIVAL_BYTES_MAX).is_err() {
            return Ok(false);
        }
        let mut reader = JournalReader::open_on(self.backend.clone(), &self.dir, Height::GENESIS)?;
        // A journal that has a frame begins at the snapshot: then only the mark was left.
        let goes = reader.next_frame()?.is_none();
        if goes {
            let folder = self.dir.join("snapshots");
            for (_, path) in numbered(&*self.backend, &folder, "pack")? {
                self.backend.remove(&path).map_err(OpenError::io(&path))?;
            }
            let index = folder.join("index.redb");
            match self.backend.remove(&index) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(OpenError::io(&index)(error)),
                _ => {}
            }
            if self.backend.list(&folder).is_ok() {
                self.backend.sync_dir(&folder).map_err(OpenError::io(&folder))?;
            }
        }
        // The mark goes last: a start that is broken off here finds it again, and does the same.
        self.backend.remove(&self.mark()).map_err(OpenError::io(&self.mark()))?;
        self.backend.sync_dir(&self.dir).map_err(OpenError::io(&self.dir))?;
        Ok(goes)
    }
}
