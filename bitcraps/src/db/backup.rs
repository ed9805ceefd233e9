//! A copy of a session, taken while a node writes it.
//!
//! Packs come before the journal: a snapshot in the copy then never lies above the copied frames. What was copied of the
//! journal is synced in the session itself before it counts, so that the copy has no height that the session could lose.
//! The consensus log is not copied: a validator that came back from a copy could contradict what it signed since.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use aside::NewDir;
use engine::message::certificate::Settled;
use engine::{Hash, Height};
use storage::backend::{Backend, FileBackend};
use storage::snapshot::{check_packs, read_catalog};
use storage::{FrameKind, JournalReader, Tail};

use audit::db::{FileKind, is_begun, refuse_inside, session_files};
use storage::read_genesis;
use words::Failure;

/// A copy that was made and verified.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackedUp {
    /// The last settled height in it.
    pub height: Height,
    /// Its root.
    pub root: Hash,
    /// Its root chain.
    pub root_chain: Hash,
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
    /// Frames of the journal.
    pub frames: u64,
    /// Records of the packs.
    pub pack_records: u64,
}

/// How often copying begins again because the node removed a file meanwhile.
const ATTEMPTS: usize = 5;

/// Copies a session into a new directory and verifies the copy; `on_file` hears which file is copied.
///
/// # Errors
/// If there is no session, the directory is not empty, the copy is not whole, or the system refuses.
pub fn backup(dir: &Path, to: &Path, mut on_file: impl FnMut(&str)) -> anyhow::Result<BackedUp> {
    let (_, chain) = read_genesis(dir)?;
    let text = to.display();
    refuse_inside(dir, to)?;
    let new = NewDir::create(to).map_err(|error| Failure::Data(format!("{text}: {error}")))?;
    let to = new.place();
    for folder in ["journal", "consensus", "snapshots"] {
        fs::create_dir(to.join(folder)).with_context(|| text.to_string())?;
    }
    let backend: Arc<dyn Backend> = Arc::new(FileBackend);
    copy_kinds(dir, to, &[FileKind::Pack], &mut on_file)?;
    let (pack_records, damages) = check_packs(&backend, to, &chain)?;
    if let Some(damage) = damages.told.first() {
        bail!(Failure::Data(format!("the packs cannot be copied whole: {damage}; `db check` says more")));
    }
    copy_kinds(dir, to, &[FileKind::Segment, FileKind::Head], &mut on_file)?;
    on_file("genesis.json");
    copy(dir, to, "genesis.json")?;
    let (frames, settled, retired) = verify_journal(to)?;
    let newest = read_catalog(&backend, to, &chain)?.snapshots.last_key_value().map(|(height, _)| *height);
    if retired > Height::GENESIS && newest.is_none_or(|newest| newest < retired) {
        let problem = "the node gave up bodies that the copied snapshots need, while it was copied; try again";
        bail!(Failure::Data(problem.into()));
    }
    let files = session_files(to)?;
    new.publish().with_context(|| text.to_string())?;
    Ok(BackedUp {
        height: settled.height,
        root: settled.root,
        root_chain: settled.root_chain,
        files: files.len() as u64,
        bytes: files.iter().map(|file| file.bytes).sum(),
        frames,
        pack_records,
    })
}

/// Copies the files of some kinds. Where the node removes one meanwhile, what it became has to be copied too: the copy
/// begins again.
fn copy_kinds(dir: &Path, to: &Path, kinds: &[FileKind], on_file: &mut impl FnMut(&str)) -> anyhow::Result<()> {
    for _ in 0..ATTEMPTS {
        let files = session_files(dir)?;
        let names: Vec<&str> = files
            .iter()
            .filter(|file| kinds.contains(&file.kind) && !is_begun(&file.name, &files))
            .map(|file| file.name.as_str())
            .collect();
        let mut copied = Vec::new();
        let all = names.iter().try_for_each(|name| {
            on_file(name);
            copied.push(to.join(name));
            copy(dir, to, name)
        });
        let gone = |error: &anyhow::Error| {
            error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        match all {
            Err(error) if gone(&error) => {
                for path in copied {
                    let _ = fs::remove_file(path);
                }
            }
            result => return result,
        }
    }
    bail!("the node removed files faster than they could be copied, {ATTEMPTS} times; try again")
}

/// Copies a file; its source is synced first, so that nothing is copied that it could still lose.
fn copy(dir: &Path, to: &Path, name: &str) -> anyhow::Result<()> {
    let (from, to): (PathBuf, PathBuf) = (dir.join(name), to.join(name));
    let read = || from.display().to_string();
    let mut source = File::open(&from).with_context(read)?;
    let length = source.metadata().with_context(read)?.len();
    let mut target = File::create_new(&to).with_context(|| to.display().to_string())?;
    // What is appended from now on is left out.
    io::copy(&mut io::Read::take(&mut source, length), &mut target).with_context(|| to.display().to_string())?;
    source.sync_data().with_context(read)?;
    Ok(())
}

/// Reads the copied journal to its end, and cuts a group that was being written. Returns how many frames there are, the
/// last settled height, and the last one whose body was given up.
fn verify_journal(to: &Path) -> anyhow::Result<(u64, Settled, Height)> {
    let mut reader = JournalReader::open(to)?;
    let (mut frames, mut last, mut retired) = (0, None, Height::GENESIS);
    while let Some(frame) = reader.next_frame()? {
        frames += 1;
        if frame.kind == FrameKind::Retired {
            retired = frame.height;
        }
        if frame.kind == FrameKind::Settled {
            let wrong = |error| Failure::Data(format!("the settled frame of height {}: {error}", frame.height));
            last = Some(Settled::decode(&frame.body).map_err(wrong)?);
        }
    }
    let end = reader.end().context("the journal was read to its end")?;
    if let (Tail::Torn { .. }, Some((_, path, data_end))) = (&end.tail, &end.segment) {
        let file = File::options().write(true).open(path).with_context(|| path.display().to_string())?;
        file.set_len(*data_end).and_then(|()| file.sync_all()).with_context(|| path.display().to_string())?;
        if *data_end == 0 {
            fs::remove_file(path).with_context(|| path.display().to_string())?;
        }
    }
    let last =
        last.ok_or_else(|| Failure::Data("the session holds no settled height: there is nothing to copy".into()))?;
    Ok((frames, last, retired))
}
