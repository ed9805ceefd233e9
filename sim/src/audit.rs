//! A node's session, read again by an auditor.

use std::path::Path;

use audit::replay::{ReplayConfig, replay as run};

/// Replays a session in full: signatures, certificates, beacons, roots.
///
/// # Errors
/// What is wrong with it, in words.
pub fn replay(session: &Path) -> Result<(), String> {
    let config = ReplayConfig::all(1);
    let outcome = run(session, &config, |_| ()).map_err(|error| format!("{error:#}"))?;
    outcome.difference.map_or(Ok(()), |difference| Err(format!("{difference:?}")))
}
