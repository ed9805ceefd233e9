//! Checking a session: every byte of every file, and what the files say of one another.

mod heights;

use std::path::Path;
use std::sync::Arc;

use engine::limits::{CHECK_PROBLEMS_MAX, GROUP_BYTES};
use engine::message::note::ChainNote;
use engine::{Hash, Height};
use serde::Serialize;
use storage::backend::{Backend, FileBackend, is_no_file};
use storage::snapshot::{Catalog, StoredSnapshot, check_index, check_packs, read_catalog};
use storage::{Damage, OpenError, check_journal, check_log, is_written};
use systems::Setup;

use self::heights::{Heights, Roots};
use super::{FileKind, SessionFile, session_files};
use storage::read_genesis;

/// How much a finding matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing, and as it should be.
    Note,
    /// Not a part of a session.
    Unknown,
    /// Not what was written.
    Damaged,
}

/// Something that a check found.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// How much it matters.
    pub severity: Severity,
    /// The file, relative to the session.
    pub file: String,
    /// The offset in it, where there is one.
    pub offset: Option<u64>,
    /// What is wrong, or as it is.
    pub problem: String,
}

/// What a check came to.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct CheckReport {
    /// Whether nothing is damaged or unknown.
    pub ok: bool,
    /// Whether a node was writing the session.
    pub live: bool,
    /// Files.
    pub files: u64,
    /// Bytes of them all.
    pub bytes: u64,
    /// Frames of the journal that can be read.
    pub frames: u64,
    /// The last decided height.
    pub decided: u64,
    /// The last settled height.
    pub settled: u64,
    /// Entries of the consensus log that can be read.
    pub log_entries: u64,
    /// Records of the packs that can be read.
    pub pack_records: u64,
    /// Snapshots whose root is the chain's.
    pub snapshots: u64,
    /// What was found, file by file.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    fn note(&mut self, severity: Severity, file: &str, offset: Option<u64>, problem: impl Into<String>) {
        self.findings.push(Finding { severity, file: file.into(), offset, problem: problem.into() });
    }

    fn damage(&mut self, damage: Damage) {
        let Damage { file, offset, problem } = damage;
        self.note(Severity::Damaged, &file, Some(offset), problem.text);
    }
}

/// Takes a file that is none of a session's as damage, with nothing in it: no other file is passed over for it.
fn or_damage<T: Default>(read: Result<T, OpenError>, dir: &Path, report: &mut CheckReport) -> Result<T, OpenError> {
    match read {
        Err(OpenError::Io { path, source }) if is_no_file(&source) => {
            let file = path.strip_prefix(dir).unwrap_or(&path).display().to_string();
            let known = |finding: &Finding| finding.severity == Severity::Damaged && finding.file == file;
            // Packs are read twice where their index is no help.
            if !report.findings.iter().any(known) {
                report.note(Severity::Damaged, &file, Some(0), source.to_string());
            }
            Ok(T::default())
        }
        read => read,
    }
}

/// How often a file that is being written is read again before it counts as damaged.
const ATTEMPTS: usize = 4;

/// Checks a session; `on_file` hears which files are read.
///
/// # Errors
/// If there is no session, or the system refuses. What is damaged is in the report.
pub fn check(dir: &Path, mut on_file: impl FnMut(&str)) -> anyhow::Result<CheckReport> {
    let (genesis, chain) = read_genesis(dir)?;
    let backend: Arc<dyn Backend> = Arc::new(FileBackend);
    // This is asked before anything is read: what a node has not finished writing must not count as damage.
    let live = is_written(dir);
    let files = session_files(dir)?;
    let mut report = CheckReport { live, ..CheckReport::default() };
    report.files = files.len() as u64;
    report.bytes = files.iter().map(|file| file.bytes).sum();
    on_file("genesis.json");
    if let Err(error) = Setup::new(genesis, chain) {
        report.note(Severity::Damaged, "genesis.json", None, error.to_string());
    }
    on_file("journal");
    let chain_of_blocks = journal(&backend, dir, &chain, live, &mut report)?;
    on_file("consensus");
    log(&backend, dir, live, &mut report)?;
    on_file("snapshots");
    snapshots(&backend, dir, &chain, &chain_of_blocks, &mut report)?;
    strangers(dir, &files, &mut report);
    report.findings.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
    report.ok = report.findings.iter().all(|finding| finding.severity == Severity::Note);
    Ok(report)
}

fn journal(
    backend: &Arc<dyn Backend>,
    dir: &Path,
    chain: &Hash,
    live: bool,
    report: &mut CheckReport,
) -> anyhow::Result<Roots> {
    let roots = Roots::wanted(&or_damage(read_catalog(backend, dir, chain), dir, report)?);
    let (mut checked, mut heights) = (storage::JournalCheck::default(), Heights::default());
    // A group that is being written may look like damage for a moment: it is read again before anybody is told.
    for attempt in 1..=if live { ATTEMPTS } else { 1 } {
        heights = Heights::wanting(roots.clone());
        checked = check_journal(backend, dir, chain, |frame| heights.take(&frame))?;
        if checked.damages.is_empty() {
            break;
        }
        if attempt < ATTEMPTS && live {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
    report.frames = checked.frames;
    report.decided = heights.decided.0;
    report.settled = heights.settled.0;
    let whole = checked.damages.is_empty();
    checked.damages.into_iter().for_each(|damage| report.damage(damage));
    if checked.more > 0 {
        report.note(Severity::Damaged, "journal", None, format!("and {} more damaged places", checked.more));
    }
    // Behind damage, frames are missing: that they do not follow one another says nothing more.
    if whole {
        for problem in heights.problems {
            report.note(Severity::Damaged, "journal", None, problem);
        }
        if heights.more > 0 {
            let problem = format!("and {} more frames that are wrong", heights.more);
            report.note(Severity::Damaged, "journal", None, problem);
        }
    }
    if let Some((torn, bytes)) = checked.torn {
        let when = if live { "a group that is being written" } else { "a group that was never completed" };
        let problem = format!("{when}: {bytes} bytes, {}; it is cut when the node starts", torn.problem);
        report.note(Severity::Note, &torn.file, Some(torn.offset), problem);
    }
    Ok(heights.roots)
}

fn log(backend: &Arc<dyn Backend>, dir: &Path, live: bool, report: &mut CheckReport) -> anyhow::Result<()> {
    let mut checked = check_log(backend, dir)?;
    for _ in 1..if live { ATTEMPTS } else { 1 } {
        if checked.damages.is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        checked = check_log(backend, dir)?;
    }
    report.log_entries = checked.entries;
    checked.damages.into_iter().for_each(|damage| report.damage(damage));
    if let Some(torn) = checked.torn {
        report.note(Severity::Note, &torn.file, Some(torn.offset), format!("an unfinished group: {}", torn.problem));
    }
    if checked.files == 0 && report.decided > 0 {
        let problem = "there is no consensus log: replay and backup work; with this session a validator among others votes on nothing \
                       at first, and one of one to three may not sign";
        report.note(Severity::Note, "consensus", None, problem);
    }
    // The log is read behind the journal: where a node writes, it may know of heights that were not there yet.
    if checked.synced.0 > report.decided && !live {
        let problem = format!(
            "the journal ends at height {}, but the consensus log knows that height {} had been synced",
            report.decided, checked.synced
        );
        report.note(Severity::Damaged, "journal", None, problem);
    }
    Ok(())
}

/// Whether the index has a snapshot now.
fn is_known(backend: &Arc<dyn Backend>, dir: &Path, chain: &Hash, height: Height) -> anyhow::Result<bool> {
    Ok(check_index(backend, dir, chain, false)?.catalog.snapshots.contains_key(&height))
}

/// Tells what is damaged in the index, or in what it names.
fn index_damages(damages: Vec<Damage>, report: &mut CheckReport) {
    let mut known: Vec<Damage> = Vec::new();
    for damage in damages {
        // The packs were read by themselves before: what is damaged in them is named once.
        let seen = report.findings.iter().any(|finding| {
            finding.severity == Severity::Damaged
                && finding.file == damage.file
                && finding.offset == Some(damage.offset)
        });
        if !seen && !known.contains(&damage) {
            known.push(damage.clone());
            report.damage(damage);
        }
    }
}

fn snapshots(
    backend: &Arc<dyn Backend>,
    dir: &Path,
    chain: &Hash,
    roots: &Roots,
    report: &mut CheckReport,
) -> anyhow::Result<()> {
    if !dir.join("snapshots").is_dir() {
        return Ok(());
    }
    let (records, damages) = or_damage(check_packs(backend, dir, chain), dir, report)?;
    report.pack_records = records;
    damages.told.into_iter().for_each(|damage| report.damage(damage));
    if damages.more > 0 {
        report.note(Severity::Damaged, "snapshots", None, format!("and {} more damaged places", damages.more));
    }
    let live = report.live;
    let index = or_damage(check_index(backend, dir, chain, !live), dir, report)?;
    if !index.exists && records > 0 {
        let problem = "the index is missing; it is made again from the packs when the node starts";
        report.note(Severity::Note, "snapshots/index.redb", None, problem);
    }
    if let Some(too_long) = index.too_long {
        let problem = format!("{too_long}; the packs were read in its place, and `db compact` makes it shorter");
        report.note(Severity::Note, "snapshots/index.redb", None, problem);
    }
    index_damages(index.damages.told, report);
    let (mut above, mut wrong, mut more) = (None, 0, 0);
    for height in index.catalog.snapshots.keys() {
        let problem = match snapshot_root(backend, dir, &index.catalog, *height) {
            // A node that runs drops old snapshots while they are read: the index is asked again.
            Err(problem) if live && !is_known(backend, dir, chain, *height)? => {
                report.note(Severity::Note, "snapshots", None, problem);
                continue;
            }
            Err(problem) => format!("the snapshot of height {height}: {problem}"),
            Ok(root) if roots.recorded(*height).is_some_and(|recorded| recorded != root) => {
                format!("the snapshot of height {height} has another root than the journal says")
            }
            // A node that runs may have settled it since the journal was read.
            Ok(_) if !live && height.0 > report.settled => {
                above = Some(*height);
                continue;
            }
            Ok(_) => {
                report.snapshots += 1;
                continue;
            }
        };
        // A stranger's packs may name any number of them.
        if wrong < CHECK_PROBLEMS_MAX {
            wrong += 1;
            report.note(Severity::Damaged, "snapshots", None, problem);
        } else {
            more += 1;
        }
    }
    if more > 0 {
        report.note(Severity::Damaged, "snapshots", None, format!("and {more} more snapshots that are damaged"));
    }
    // One that was coming from other nodes goes when the node starts. Any other was kept once the journal had its height.
    if let Some(height) = above.filter(|_| !dir.join("ARRIVING").exists()) {
        let settled = report.settled;
        let problem = format!("the journal ends at height {settled}, but there is a snapshot of height {height}");
        report.note(Severity::Damaged, "journal", None, problem);
    }
    Ok(())
}

/// The root of a snapshot's image, which is the one that it notes.
fn snapshot_root(backend: &Arc<dyn Backend>, dir: &Path, catalog: &Catalog, height: Height) -> Result<Hash, String> {
    let snapshot = StoredSnapshot::open(backend, dir, catalog, height).map_err(|damage| damage.to_string())?;
    let note = ChainNote::decode(&snapshot.note).map_err(|error| error.to_string())?;
    let mut hasher = blake3::Hasher::new();
    let mut group = Box::new([0; GROUP_BYTES]);
    for index in 0..snapshot.groups() {
        snapshot.read_group(index, &mut group).map_err(|damage| damage.to_string())?;
        hasher.update(&group[..]);
    }
    // The bytes are hashed in one stream: the chaining values that the map has are not believed.
    if *hasher.finalize().as_bytes() == note.root && note.height == height {
        Ok(note.root)
    } else {
        Err("its image has another root than it says".into())
    }
}

/// Files that no part of a session is in.
fn strangers(dir: &Path, files: &[SessionFile], report: &mut CheckReport) {
    for file in files.iter().filter(|file| file.kind == FileKind::Unknown) {
        // A node may have removed what it only needed for a moment.
        if !report.live || dir.join(&file.name).exists() {
            report.note(Severity::Unknown, &file.name, None, format!("not a part of a session ({} bytes)", file.bytes));
        }
    }
    for file in files.iter().filter(|file| file.kind == FileKind::Aside) {
        let problem = format!(
            "begun and not finished ({} bytes): it does not count, and whoever writes it again takes it over",
            file.bytes
        );
        report.note(Severity::Note, &file.name, None, problem);
    }
    for file in files.iter().filter(|file| file.kind == FileKind::Lock && file.bytes > 0) {
        report.note(Severity::Unknown, &file.name, None, "the lock holds nothing, but this file does");
    }
    let cache: u64 = files.iter().filter(|file| file.kind == FileKind::Cache).map(|file| file.bytes).sum();
    if cache > 0 {
        let problem = format!("{cache} bytes that an earlier program left: nothing reads them, they may be deleted");
        report.note(Severity::Note, "cache", None, problem);
    }
}
