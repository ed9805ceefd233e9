//! Heights that somebody asks for and a session does not have, or does not have whole any more.

use std::path::Path;

use engine::Height;
use storage::OpenError;
use words::Failure;

use crate::recording::last_settled;
use crate::walker::Walker;

/// Refuses a height behind the end of a session: it is asked for by mistake, or the session is not the one that was meant. `what` is
/// what the height was asked for with.
///
/// # Errors
/// If it is, or the directory is no session. A damaged end is no error: what lies below it can be read, and a walk that comes to
/// the damaged place says so.
pub fn check_reaches(dir: &Path, what: &str, height: Height) -> anyhow::Result<()> {
    let end = match last_settled(dir) {
        Err(error) if matches!(error.downcast_ref(), Some(OpenError::Damaged(_))) => return Ok(()),
        end => end?.map_or(Height::GENESIS, |(height, _)| height),
    };
    if height <= end {
        return Ok(());
    }
    let text = format!("{}: the session ends at height {end}; {what} {height} is beyond", dir.display());
    Err(Failure::Data(text).into())
}

/// Refuses a height before the state with which a walk begins: what led there was given up.
///
/// # Errors
/// If it is.
pub(crate) fn check_executable(dir: &Path, walker: &Walker, what: &str, height: Height) -> Result<(), Failure> {
    if height >= walker.height() {
        return Ok(());
    }
    let (dir, from) = (dir.display(), walker.executed_from());
    Err(Failure::Data(format!("{dir}: it can be executed from height {from} on; {what} {height} lies before")))
}
