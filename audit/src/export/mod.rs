//! Export: a session for other people's tools, as typed rows in CSV or Parquet files, and as the image.
//!
//! ```text
//!  before the first height -> tables, rules                                     \
//!  walk, height by height  -> rows of rolls, bets, actions, payouts, departures  -> a sink a format -> files
//!  after the last height   -> balances, the session itself                      /  the image
//!  beside the heights      -> what validators signed of which only one may be       lines of JSON
//! ```
//! Rows go out as the walk makes them: memory does not grow with the session.

mod schema;
mod placed;
mod rows;
mod contradictions;
mod sink;
mod csv;
mod parquet;
mod sinks;

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use aside::{NewFile, Readers};
use engine::{Hash, Height};
use systems::Machine;

use self::sinks::Sinks;
use crate::bounds::{check_executable, check_reaches};
use crate::db::refuse_inside;
use crate::reading::{Origin, ReadOptions};
use crate::walker::{Walker, walk_to};
pub use schema::{BALANCES, Column, Kind, SHEETS, Sheet, Value};
use words::Failure;

/// What is written, and where.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct ExportConfig {
    /// The directory for CSV files.
    pub csv: Option<PathBuf>,
    /// The directory for Parquet files.
    pub parquet: Option<PathBuf>,
    /// The file for the image.
    pub image: Option<PathBuf>,
    /// The file for what validators signed of which only one may be.
    pub evidence: Option<PathBuf>,
    /// The last height; without it, the last settled one.
    pub height: Option<Height>,
    /// How the session is read.
    pub reading: ReadOptions,
}

/// What was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exported {
    /// The last height.
    pub height: Height,
    /// The root after it.
    pub root: Hash,
    /// The first height that was executed and verified for it: the state before comes from a snapshot that the headers name.
    pub executed_from: Height,
    /// Bytes of the image, if it was written.
    pub image_bytes: Option<u64>,
    /// How often a validator was recorded to have signed two things of which only one may be, if that was written.
    pub evidence: Option<u64>,
    /// Rows of each sheet, if sheets were written.
    pub rows: Vec<(&'static str, u64)>,
    /// The files, in the order in which they were begun.
    pub files: Vec<PathBuf>,
}

/// Exports a session; `on_height` hears of the heights.
///
/// # Errors
/// If the session does not reach the height, is damaged, differs from its replay, or a file exists or cannot be written.
pub fn export(dir: &Path, config: &ExportConfig, mut on_height: impl FnMut(Height)) -> anyhow::Result<Exported> {
    for place in [&config.csv, &config.parquet, &config.image, &config.evidence].into_iter().flatten() {
        refuse_inside(dir, place)?;
    }
    if let Some(height) = config.height {
        check_reaches(dir, "--height", height)?;
    }
    let begin = |path: &PathBuf| {
        let failed = |error| Failure::Data(format!("{}: {error}", path.display()));
        NewFile::create(path, Readers::Usual).map_err(failed)
    };
    // All files are begun before anything is executed: a path that cannot be written is told at once, and not after an
    // hour.
    let image = config.image.as_ref().map(begin).transpose()?;
    let evidence = config.evidence.as_ref().map(begin).transpose()?;
    let mut files: Vec<PathBuf> = config.image.iter().chain(&config.evidence).cloned().collect();
    let Walked { mut machine, root, executed_from, rows } = if config.csv.is_some() || config.parquet.is_some() {
        let sinks = Sinks::begin(config.csv.as_deref(), config.parquet.as_deref())?;
        files.extend(sinks.files());
        walk(dir, config, sinks, &mut on_height)?
    } else {
        walk_to_state(dir, config, &mut on_height)?
    };
    let image_bytes = match (image, &config.image) {
        (Some(file), Some(path)) => Some(write_image(&mut machine, file, path)?),
        _ => None,
    };
    let evidence = match (evidence, &config.evidence) {
        (Some(file), Some(path)) => {
            let to = config.height.unwrap_or(Height(u64::MAX));
            Some(contradictions::write(dir, to, file, path)?)
        }
        _ => None,
    };
    Ok(Exported { height: machine.chain().settled, root, executed_from, image_bytes, evidence, rows, files })
}

/// Where a walk ended, and what it gave.
struct Walked {
    machine: Machine,
    root: Hash,
    executed_from: Height,
    rows: Vec<(&'static str, u64)>,
}

/// Walks to the state that is asked for: over all that can still be executed, for whoever is given a stranger's state can look at no
/// block behind it.
fn walk_to_state(dir: &Path, config: &ExportConfig, on_height: &mut impl FnMut(Height)) -> anyhow::Result<Walked> {
    let ExportConfig { height, reading, .. } = config;
    let walker = match reading.origin {
        Origin::Own => walk_to(dir, *height, *reading)?,
        Origin::Stranger => {
            let mut walker = Walker::earliest(dir, *reading)?;
            let to = height.unwrap_or(Height(u64::MAX));
            check_executable(dir, &walker, "--height", to)?;
            walker.until(to);
            while walker.height() < to {
                let Some(step) = walker.step()? else { break };
                on_height(step.settled.height);
            }
            if let Some(height) = height {
                walker.walk_to(*height)?;
            }
            walker
        }
    };
    let executed_from = walker.executed_from();
    let mut machine = walker.into_machine();
    Ok(Walked { root: machine.root(), machine, executed_from, rows: Vec::new() })
}

/// Walks the session and gives its rows to the sinks.
fn walk(
    dir: &Path,
    config: &ExportConfig,
    mut sinks: Sinks,
    on_height: &mut impl FnMut(Height),
) -> anyhow::Result<Walked> {
    let mut walker = Walker::earliest(dir, config.reading)?;
    walker.machine().watch(true);
    let executed_from = walker.executed_from();
    let to = config.height.unwrap_or(Height(u64::MAX));
    check_executable(dir, &walker, "--height", to)?;
    let mut maker = rows::RowMaker::begin(walker.machine(), &mut sinks)?;
    while walker.height() < to {
        let Some(step) = walker.step()? else { break };
        maker.height(&step, walker.machine(), &mut sinks)?;
        on_height(step.settled.height);
    }
    let reached = walker.height();
    if config.height.is_some_and(|height| height != reached) || reached == Height::GENESIS {
        return Err(Failure::Data(format!("the session ends at height {reached}")).into());
    }
    let mut machine = walker.into_machine();
    rows::balances(&mut machine, &mut sinks)?;
    let about = rows::session(&machine, executed_from, &mut sinks)?;
    let root = machine.root();
    // The rows are counted before the files are closed, which takes the sinks along.
    let rows = SHEETS.iter().map(|sheet| sheet.name).zip(sinks.rows()).collect();
    sinks.finish(&about)?;
    Ok(Walked { machine, root, executed_from, rows })
}

/// Writes a machine's image to a new file, which is seen once it is whole, and returns its size.
///
/// # Errors
/// What the system says.
pub fn write_image(machine: &mut Machine, file: NewFile, path: &Path) -> anyhow::Result<u64> {
    let mut writer = BufWriter::new(file.file());
    let mut bytes = 0;
    machine
        .export(|part| {
            bytes += part.len() as u64;
            writer.write_all(part)
        })
        .and_then(|()| writer.flush())
        .with_context(|| path.display().to_string())?;
    drop(writer);
    file.publish().with_context(|| path.display().to_string())?;
    Ok(bytes)
}
