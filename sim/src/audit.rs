//! A node's session, read again by an auditor.

use std::path::Path;

use audit::reading::ReadOptions;
use audit::replay::{ReplayConfig, replay as run};

/// What is wrong with a session, in words.
pub enum Wrong {
    /// Its bytes are not those that were written.
    Unreadable(String),
    /// It is not what its blocks lead to.
    Differs(String),
}

/// Replays a session in full: signatures, certificates, beacons, roots.
///
/// # Errors
/// What is wrong with it.
pub fn replay(session: &Path) -> Result<(), Wrong> {
    let config = ReplayConfig::all(ReadOptions::default());
    let outcome = run(session, &config, |_| ()).map_err(|error| Wrong::Unreadable(format!("{error:#}")))?;
    outcome.difference.map_or(Ok(()), |difference| Err(Wrong::Differs(format!("{difference:?}"))))
}
