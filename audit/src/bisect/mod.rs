//! Bisect: the first thing in which two sessions differ, or a session and its own replay, down to the field of a row.
//!
//! ```text
//!  two sessions: records side by side -> first height that differs -> both executed up to it -> rows compared
//!  one session:  executed again -> first root that differs -> a snapshot of the recorded state -> rows compared
//! ```
//! A root says that states differ, not where. Where the other state can be had (executed from the other record, or kept
//! in a snapshot), its rows are compared; else the root is the last word.

mod fields;
mod record;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use aside::{NewDir, NewFile, Readers};
use engine::limits::{BISECT_HEIGHTS, BISECT_SIGNATURES, SNAPSHOTS_TRIED_MAX};
use engine::{Height, hex};
use serde::Serialize;
use storage::backend::{Backend, FileBackend};
use storage::snapshot::StoredSnapshot;
use systems::{Machine, Setup};

use storage::read_genesis;
use words::Failure;

use crate::export::write_image;
use crate::reading::ReadOptions;
use crate::verify::Verifier;
use crate::walker::{Difference, Recording, Step, Walker, check_groups, snapshots_of};
use crate::weight::Weight;

pub use fields::{RowDifference, compare};
use record::record_difference;

/// What a comparison came to.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize)]
pub struct Bisected {
    /// Whether nothing differs.
    pub ok: bool,
    /// The last height up to which both agree.
    pub agree: u64,
    /// The last settled heights of both.
    pub heights: [u64; 2],
    /// What in the record led there: a block, a beacon, a root.
    pub cause: Option<Difference>,
    /// The first difference of the states, or of the record where the states cannot be told apart.
    pub first_difference: Option<Difference>,
    /// The first difference of each further component.
    pub others: Vec<Difference>,
    /// What else there is to say.
    pub notes: Vec<String>,
    /// The files of both images, if they were written.
    pub images: Vec<PathBuf>,
}

/// How a comparison is done.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct BisectConfig {
    /// How the sessions are read. Two states may be held at a time.
    pub reading: ReadOptions,
    /// Where both images are written, if there are two: a new or empty directory.
    pub images: Option<PathBuf>,
}

fn difference(height: Height, row: &RowDifference) -> Difference {
    Difference {
        height: height.0,
        component: row.column.name(),
        row: row.row as u64,
        field: row.field.clone(),
        expected: row.first.clone(),
        found: row.second.clone(),
    }
}

impl BisectConfig {
    /// How one of two states is read: each may take half of the memory.
    fn half(&self) -> ReadOptions {
        ReadOptions { memory_max: self.reading.memory_max / 2, ..self.reading }
    }
}

/// Verifies the signatures of heights that are compared, some at a time, up to the first that is forged.
struct Signatures {
    verifier: Verifier,
    steps: Vec<Step>,
    weight: Weight,
    forged: Option<Difference>,
}

impl Signatures {
    fn of(dir: &Path) -> anyhow::Result<Self> {
        let (genesis, chain) = read_genesis(dir)?;
        let verifier = Verifier::new(&Setup::new(genesis, chain)?)?;
        Ok(Self { verifier, steps: Vec::new(), weight: Weight::default(), forged: None })
    }

    fn take(&mut self, step: &Step) {
        // The first forged signature is all that is told: what lies behind it would be verified for nothing.
        if self.forged.is_some() {
            return;
        }
        self.weight.add(step);
        self.steps.push(step.clone());
        if self.weight.is_full(BISECT_HEIGHTS, BISECT_SIGNATURES) {
            self.verify();
        }
    }

    fn verify(&mut self) {
        if self.forged.is_none() {
            self.forged = self.verifier.steps(&self.steps.iter().collect::<Vec<_>>()).forged;
        }
        self.steps.clear();
        self.weight = Weight::default();
    }
}

impl Bisected {
    /// Takes note of a forged signature: it is in the record, whatever else differs.
    fn forged(&mut self, dir: &Path, forged: &Difference) {
        self.ok = false;
        // What was found first stays the cause; each forged signature is named in a note.
        self.cause.get_or_insert_with(|| forged.clone());
        self.first_difference.get_or_insert_with(|| forged.clone());
        self.notes.push(format!("{}: {forged}", dir.display()));
    }

    /// Takes a difference whose block one of the sessions, or both, cannot have: there are no states to compare.
    fn not_executable(&mut self, dirs: [&Path; 2], differing: Differing, executed: [bool; 2]) {
        let height = differing.left.settled.height;
        for (dir, _) in dirs.into_iter().zip(executed).filter(|(_, executed)| !executed) {
            self.notes.push(format!("{}: the block of height {height} is none that a chain can have", dir.display()));
        }
        self.first_difference = Some(differing.cause.clone());
        self.cause = Some(differing.cause);
    }

    /// Takes the differences of two states after a height.
    fn rows(&mut self, height: Height, rows: &[RowDifference]) {
        let mut all = rows.iter().map(|row| difference(height, row));
        self.first_difference = all.next();
        self.others = all.collect();
        let counts: Vec<String> = rows.iter().map(|row| format!("{} {}", row.rows, row.column.name())).collect();
        self.notes.push(format!("rows that differ: {}", counts.join(", ")));
    }

    fn write_images(&mut self, config: &BisectConfig, height: Height, states: [&mut Machine; 2]) -> anyhow::Result<()> {
        let Some(dir) = &config.images else { return Ok(()) };
        let failed = |error| Failure::Data(format!("{}: {error}", dir.display()));
        let new = NewDir::create(dir).map_err(failed)?;
        for (name, machine) in ["expected", "found"].into_iter().zip(states) {
            let name = format!("{name}-{height}.img");
            let file = NewFile::create(&new.place().join(&name), Readers::Usual).map_err(failed)?;
            let path = dir.join(name);
            write_image(machine, file, &path)?;
            self.images.push(path);
        }
        Ok(new.publish().map_err(failed)?)
    }
}

/// Compares the states of two machines.
fn compare_machines(first: &mut Machine, second: &mut Machine) -> Vec<RowDifference> {
    first.read(|first| second.read(|second| compare(first, second)))
}

/// Finds the first thing in which two sessions differ; `on_height` hears of the heights.
///
/// # Errors
/// If one is no session, is damaged, or differs from its own replay before; or if they have no height in common.
pub fn bisect(a: &Path, b: &Path, config: &BisectConfig, on_height: impl FnMut(Height)) -> anyhow::Result<Bisected> {
    let mut result = Bisected::default();
    // Sessions of two chains have no heights to compare: all that differs between them follows from their genesis.
    if let Some(found) = genesis_difference(a, b)? {
        let chain = |dir: &Path| {
            let (genesis, id) = read_genesis(dir)?;
            anyhow::Ok(format!("{} is chain {} (`{}`)", dir.display(), hex(&id), genesis.name))
        };
        result.notes = vec![chain(a)?, chain(b)?];
        result.first_difference = Some(found);
        return Ok(result);
    }
    let mut signatures = [Signatures::of(a)?, Signatures::of(b)?];
    let differing = first_difference(a, b, &mut signatures, &mut result, on_height)?;
    signatures.iter_mut().for_each(Signatures::verify);
    let forged: Vec<(&Path, Difference)> =
        [a, b].into_iter().zip(signatures).filter_map(|(dir, found)| Some((dir, found.forged?))).collect();
    let Some(differing) = differing else {
        result.ok = true;
        forged.iter().for_each(|(dir, forged)| result.forged(dir, forged));
        return Ok(result);
    };
    let height = differing.left.settled.height;
    if let Some((dir, earlier)) = forged.iter().find(|(_, forged)| forged.height < height.0) {
        // A state behind a forged intent is none that a chain can have.
        result.forged(dir, earlier);
        result.notes.push(format!("from height {height} on they differ: {}", differing.cause));
        return Ok(result);
    }
    let states = [state_with(a, &differing.left, config.half())?, state_with(b, &differing.right, config.half())?];
    for (dir, forged) in &forged {
        result.notes.push(format!("{}: {forged}", dir.display()));
    }
    match states {
        [Some(left), Some(right)] => compare_states([a, b], differing, [left, right], config, &mut result)?,
        states => result.not_executable([a, b], differing, states.each_ref().map(Option::is_some)),
    }
    Ok(result)
}

/// The first height at which two records differ.
struct Differing {
    cause: Difference,
    left: Step,
    right: Step,
}

/// Reads both records to their ends, side by side up to the first height at which they differ.
fn first_difference(
    a: &Path,
    b: &Path,
    signatures: &mut [Signatures; 2],
    result: &mut Bisected,
    mut on_height: impl FnMut(Height),
) -> anyhow::Result<Option<Differing>> {
    let (mut first, mut second) = (Recording::whole(a)?, Recording::whole(b)?);
    let (mut one, mut other) = (first.read()?, second.read()?);
    let are_empty = one.is_none() && other.is_none();
    // One of the records may begin later: the other is read up to there.
    while let (Some(left), Some(right)) = (&one, &other) {
        match left.settled.height.cmp(&right.settled.height) {
            std::cmp::Ordering::Less => one = first.read()?,
            std::cmp::Ordering::Greater => other = second.read()?,
            std::cmp::Ordering::Equal => break,
        }
    }
    let mut differing = None;
    while let (Some(left), Some(right)) = (&one, &other) {
        let height = left.settled.height;
        result.heights = [height.0; 2];
        // Where both records are the same, one of them is verified.
        signatures[0].take(left);
        if let Some(cause) = record_difference(left, right) {
            // From here on the records are two: either may be the one that is forged.
            signatures[1].take(right);
            differing = Some(Differing { cause, left: left.clone(), right: right.clone() });
            break;
        }
        result.agree = height.0;
        on_height(height);
        (one, other) = (first.read()?, second.read()?);
    }
    // Equal is only what was compared: one record may end below the height at which the other begins.
    if differing.is_none() && result.agree == 0 && !are_empty {
        let text = format!("{} and {} have no height in common that both still hold whole", a.display(), b.display());
        return Err(Failure::Data(text).into());
    }
    // Behind it they are only read for their last heights, which the result names.
    for (place, (recording, mut next)) in [(&mut first, one), (&mut second, other)].into_iter().enumerate() {
        while let Some(step) = next {
            result.heights[place] = step.settled.height.0;
            next = recording.read()?;
        }
    }
    Ok(differing)
}

/// Says in which rows two sessions differ after a height; where they do not, which of them records another root than its state has.
fn compare_states(
    [a, b]: [&Path; 2],
    Differing { cause, left, right }: Differing,
    [mut left_state, mut right_state]: [Machine; 2],
    config: &BisectConfig,
    result: &mut Bisected,
) -> anyhow::Result<()> {
    let height = left.settled.height;
    let rows = compare_machines(&mut left_state, &mut right_state);
    result.cause = Some(cause.clone());
    if rows.is_empty() {
        result.first_difference = Some(cause);
        // One of them may name a root that its blocks do not lead to.
        let wrong = [(a, &left), (b, &right)].into_iter().find(|(_, step)| step.settled.root != left_state.root());
        if let Some((dir, step)) = wrong {
            result
                .notes
                .push(format!("both lead to the same state; {} says another root than it leads to", dir.display()));
            evidence(dir, step.settled.height, config, result)?;
        } else {
            result.notes.push("both lead to the same state".into());
        }
    } else {
        result.rows(height, &rows);
        result.write_images(config, height, [&mut left_state, &mut right_state])?;
    }
    Ok(())
}

/// Finds the first thing in which a session differs from its own replay.
///
/// # Errors
/// If it is no session, or damaged.
pub fn bisect_replay(dir: &Path, config: &BisectConfig, mut on_height: impl FnMut(Height)) -> anyhow::Result<Bisected> {
    let mut walker = Walker::earliest(dir, config.half())?;
    let mut result = Bisected::default();
    let cause = loop {
        let Some(next) = walker.read_verified()? else { break None };
        let step = match next.and_then(|step| walker.execute(&step).map(|()| step)) {
            Ok(step) => step,
            Err(found) => {
                let height = Height(found.height);
                break Some((found, height));
            }
        };
        result.agree = step.settled.height.0;
        on_height(step.settled.height);
    };
    result.heights = [result.agree; 2];
    let Some((cause, height)) = cause else {
        result.ok = true;
        return Ok(result);
    };
    result.heights = [height.0, result.agree];
    // Its state goes before two others are made: each of them may take half of the memory.
    drop(walker);
    locate(dir, &cause, config, &mut result)?;
    Ok(result)
}

/// Looks for the row behind a root that a replay found to differ.
///
/// # Errors
/// If the session is damaged, or an image cannot be written.
pub fn locate(dir: &Path, cause: &Difference, config: &BisectConfig, result: &mut Bisected) -> anyhow::Result<()> {
    result.cause = Some(cause.clone());
    result.first_difference = Some(cause.clone());
    // Only a root stands for rows that nobody has named yet; whatever else differs says by itself what it is.
    if cause.component == "Settled" && cause.field == "root" {
        evidence(dir, Height(cause.height), config, result)?;
    }
    Ok(())
}

/// Compares the state that a session's heights lead to with a snapshot of the one that its node had: the first snapshot at
/// or above a height whose root differs.
fn evidence(dir: &Path, height: Height, config: &BisectConfig, result: &mut Bisected) -> anyhow::Result<()> {
    let (genesis, chain) = read_genesis(dir)?;
    let setup = Setup::new(genesis, chain)?;
    let backend: Arc<dyn Backend> = Arc::new(FileBackend);
    let catalog = snapshots_of(dir, config.reading.origin)?;
    for at in catalog.snapshots.range(height..).map(|(at, _)| *at).take(SNAPSHOTS_TRIED_MAX) {
        let loaded =
            StoredSnapshot::open(&backend, dir, &catalog, at).map_err(anyhow::Error::from).and_then(|stored| {
                check_groups(&stored, &setup)?;
                let mut found = config.half().machine(setup.clone())?;
                found.load_stored(at, &stored.note, stored.values(), |index, group| stored.read_group(index, group))?;
                Ok(found)
            });
        let mut found = match loaded {
            Ok(found) => found,
            // Too little memory is no fault of this one.
            Err(problem) if problem.is::<Failure>() => return Err(problem),
            // A later snapshot shows the same difference, with all that came of it.
            Err(problem) => {
                result.notes.push(format!("the snapshot of height {at} cannot be loaded: {problem:#}"));
                continue;
            }
        };
        let Some(mut expected) = replay_ignoring_roots_from(dir, height, at, config.half())? else {
            result.notes.push(format!("the blocks up to the snapshot of height {at} cannot be executed"));
            return Ok(());
        };
        let rows = compare_machines(&mut expected, &mut found);
        if rows.is_empty() {
            result.notes.push(format!(
                "the snapshot of height {at} has the state that replay leads to: the record's root is wrong, not the state"
            ));
        } else {
            result.rows(at, &rows);
            result.notes.push(format!("the recorded state is that of the snapshot of height {at}"));
            result.write_images(config, at, [&mut expected, &mut found])?;
        }
        return Ok(());
    }
    result
        .notes
        .push(format!("no snapshot at or above height {height} holds the recorded state: its rows cannot be compared"));
    Ok(())
}

/// The state at a height above one at which the record is wrong: from there on its roots are not compared.
fn replay_ignoring_roots_from(
    dir: &Path,
    wrong: Height,
    at: Height,
    reading: ReadOptions,
) -> anyhow::Result<Option<Machine>> {
    let mut walker = Walker::near(dir, reading, wrong.back(1))?;
    walker.walk_to(wrong.back(1))?;
    while walker.height() < at {
        let Some(step) = walker.read()? else { return Ok(None) };
        // The recorded roots are wrong from here on, which is why somebody looks: only the blocks are used.
        if !walker.execute_only(&step) {
            return Ok(None);
        }
    }
    Ok(Some(walker.into_machine()))
}

/// The state that a height of a session leads to, whatever root its record says; none if its block cannot follow.
fn state_with(dir: &Path, step: &Step, reading: ReadOptions) -> anyhow::Result<Option<Machine>> {
    let height = step.settled.height;
    let mut walker = Walker::near(dir, reading, height.back(1))?;
    walker.walk_to(height.back(1)).with_context(|| {
        format!("{}: it differs from its own replay before; `bisect {}` shows where", dir.display(), dir.display())
    })?;
    let step = walker.read()?.context("the height was read before")?;
    Ok(walker.execute_only(&step).then(|| walker.into_machine()))
}

/// The first field of two genesis files that differs.
fn genesis_difference(a: &Path, b: &Path) -> anyhow::Result<Option<Difference>> {
    let (left, right) = (storage::genesis_bytes(a)?, storage::genesis_bytes(b)?);
    // The bytes are compared, since the chain id is their hash: the same values written otherwise are another chain.
    if left == right {
        return Ok(None);
    }
    let read = |bytes: &[u8], dir: &Path| -> anyhow::Result<serde_json::Map<String, serde_json::Value>> {
        let wrong = |error| Failure::Data(format!("{}: {error}", dir.join("genesis.json").display()));
        Ok(serde_json::from_slice(bytes).map_err(wrong)?)
    };
    let (first, second) = (read(&left, a)?, read(&right, b)?);
    let keys = first.keys().chain(second.keys());
    let field = keys.into_iter().find(|key| first.get(*key) != second.get(*key));
    let text = |map: &serde_json::Map<String, serde_json::Value>, field: &String| {
        map.get(field).map_or("nothing".to_owned(), ToString::to_string)
    };
    let (field, expected, found) = match field {
        Some(field) => (field.clone(), text(&first, field), text(&second, field)),
        None => ("layout".into(), format!("{} bytes", left.len()), format!("{} bytes", right.len())),
    };
    Ok(Some(Difference { height: 0, component: "Genesis", row: 0, field, expected, found }))
}
