//! A session's files: what there is, and whether it is whole.
//!
//! ```text
//!  stats    lengths of files, first and last frames        reads little
//!  check    every byte of every file                       names what is damaged or unknown
//! ```
//! Both work beside a node that is writing.

mod check;
mod stats;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

pub use check::{CheckReport, Finding, Severity, check};
pub use stats::{Stats, stats};
use words::Failure;

/// What a file of a session is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum FileKind {
    /// `genesis.json`.
    Genesis,
    /// `LOCK`.
    Lock,
    /// A segment of the journal.
    Segment,
    /// What is left of a segment whose bodies were given up.
    Head,
    /// The consensus log.
    Log,
    /// A pack of snapshot groups.
    Pack,
    /// The index of snapshots.
    Index,
    /// A file of the cache of history.
    Cache,
    /// Why a node stopped.
    Stopped,
    /// What marks a session to which a snapshot of other nodes is coming.
    Arriving,
    /// What was being written when its process ended, or is now.
    Aside,
    /// Not a part of a session.
    Unknown,
}

/// The folders that a session has. Each may be a link: a node follows it.
const FOLDERS: [&str; 5] = ["cache", "consensus", "journal", "snapshots", "stopped"];

/// A file of a session.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionFile {
    /// Its path, relative to the session.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Its length.
    pub bytes: u64,
    /// What it takes on the disk: less than its length where parts were given back.
    pub on_disk: u64,
}

fn kind_of(name: &str) -> FileKind {
    let numbered = |rest: &str, ending: &str| {
        // Numbers have eight digits, and more of them once eight are not enough.
        let stem = rest.strip_suffix(ending);
        stem.is_some_and(|stem| stem.len() >= 8 && stem.bytes().all(|byte| byte.is_ascii_digit()))
    };
    match name.split_once('/') {
        None if name == "genesis.json" => FileKind::Genesis,
        None if name == "LOCK" => FileKind::Lock,
        None if name == "ARRIVING" => FileKind::Arriving,
        Some(("stopped", rest)) if rest.ends_with(".json") => FileKind::Stopped,
        Some(("journal", rest)) if numbered(rest, ".seg") || numbered(rest, ".zst") => FileKind::Segment,
        Some(("journal", rest)) if numbered(rest, ".head") => FileKind::Head,
        Some(("consensus", rest)) if numbered(rest, ".log") => FileKind::Log,
        Some(("snapshots", "index.redb")) => FileKind::Index,
        Some(("snapshots", rest)) if numbered(rest, ".pack") => FileKind::Pack,
        Some(("cache", _)) => FileKind::Cache,
        _ if aside::is_aside(Path::new(name)) => FileKind::Aside,
        _ => FileKind::Unknown,
    }
}

#[cfg(unix)]
fn on_disk(meta: &fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(meta) * 512
}

#[cfg(not(unix))]
fn on_disk(meta: &fs::Metadata) -> u64 {
    meta.len()
}

/// All files of a session, by name. Files that a running node removes meanwhile are left out.
///
/// # Errors
/// If a folder cannot be read.
pub fn session_files(dir: &Path) -> anyhow::Result<Vec<SessionFile>> {
    let mut files = Vec::new();
    let mut folders = vec![(PathBuf::new(), false)];
    while let Some((folder, is_linked)) = folders.pop() {
        let path = dir.join(&folder);
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| path.display().to_string())?,
        };
        for entry in entries {
            let entry = entry.with_context(|| path.display().to_string())?;
            let relative = folder.join(entry.file_name());
            // What a link leads to counts, as it does for the node: a file anywhere, and a folder of the session itself. Any
            // other, and whatever folders are in one that a link led to, might be anything that this machine has.
            let there = fs::metadata(entry.path());
            let is_own = folder.as_os_str().is_empty() && FOLDERS.iter().any(|own| entry.file_name() == *own);
            let followed = there.as_ref().is_ok_and(|meta| meta.is_file() || is_own);
            let meta = match if followed { there } else { entry.metadata() } {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                meta => meta.with_context(|| entry.path().display().to_string())?,
            };
            if meta.is_dir() && !is_linked {
                folders.push((relative, entry.file_type().is_ok_and(|kind| kind.is_symlink())));
                continue;
            }
            let name = relative.display().to_string().replace('\\', "/");
            let kind = if meta.is_dir() { FileKind::Unknown } else { kind_of(&name) };
            files.push(SessionFile { name, kind, bytes: meta.len(), on_disk: on_disk(&meta) });
        }
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Whether a file of [`session_files`] is what a segment is becoming, beside it: it does not count before the segment is gone.
pub fn is_begun(name: &str, files: &[SessionFile]) -> bool {
    let is_there = |stem: &str, ending: &str| {
        let segment = format!("{stem}.{ending}");
        files.binary_search_by(|file| file.name.cmp(&segment)).is_ok()
    };
    match name.rsplit_once('.') {
        Some((stem, "zst")) => is_there(stem, "seg"),
        Some((stem, "head")) => is_there(stem, "seg") || is_there(stem, "zst"),
        _ => false,
    }
}

/// Refuses a place for something new that lies inside of a session, which would not pass its own check with it, and of which the
/// next copy would have this one in it.
///
/// # Errors
/// If it does.
pub fn refuse_inside(session: &Path, to: &Path) -> Result<(), Failure> {
    let absolute = std::path::absolute(to).ok();
    let there = absolute.iter().flat_map(|to| to.ancestors()).find_map(|path| path.canonicalize().ok());
    match (there, session.canonicalize()) {
        (Some(there), Ok(within)) if there.starts_with(&within) => Err(Failure::Data(format!(
            "{} lies inside of the session {}: name a place beside it",
            to.display(),
            session.display()
        ))),
        _ => Ok(()),
    }
}

/// Bytes that a session's journal has.
///
/// # Errors
/// What the system says.
pub fn journal_bytes(dir: &Path) -> anyhow::Result<u64> {
    let files = session_files(dir)?;
    Ok(files.iter().filter(|file| matches!(file.kind, FileKind::Segment | FileKind::Head)).map(|file| file.bytes).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_a_session_is_known_and_no_other() {
        for (name, kind) in [
            ("genesis.json", FileKind::Genesis),
            ("LOCK", FileKind::Lock),
            ("journal/00000001.seg", FileKind::Segment),
            ("journal/00000012.head", FileKind::Head),
            ("journal/00000002.zst", FileKind::Segment),
            ("journal/00000002.zst.part", FileKind::Unknown),
            ("journal/.00000001.head.bitcraps-part", FileKind::Aside),
            (".ARRIVING.bitcraps-part", FileKind::Aside),
            ("consensus/00000001.log", FileKind::Log),
            ("snapshots/00000003.pack", FileKind::Pack),
            ("snapshots/index.redb", FileKind::Index),
            ("cache/foyer/0001", FileKind::Cache),
            ("journal/1.seg", FileKind::Unknown),
            ("journal/0000000x.seg", FileKind::Unknown),
            ("journal/00000001.log", FileKind::Unknown),
            ("snapshots/index.redb.tmp", FileKind::Unknown),
            ("00000001.seg", FileKind::Unknown),
        ] {
            assert_eq!(kind_of(name), kind, "{name}");
        }
    }
}
