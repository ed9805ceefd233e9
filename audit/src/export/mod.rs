//! Export: a session for other people's tools, as typed rows in CSV or Parquet files, and as the image.
//!
//! ```text
//!  walk, height by height -> rows of rolls, bets, actions, payouts, departures -> a sink a format -> files
//!  after the last height  -> balances, the image
//! ```
//! Rows go out as the walk makes them: memory does not grow with the session.

mod csv;
mod parquet;
mod rows;
mod schema;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use engine::{Hash, Height};
use systems::Machine;

use crate::walker::{Walker, state_at};
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
    /// The last height; without it, the last settled one.
    pub height: Option<Height>,
    /// Workers.
    pub threads: usize,
}

/// What was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exported {
    /// The last height.
    pub height: Height,
    /// The root after it.
    pub root: Hash,
    /// Bytes of the image, if it was written.
    pub image_bytes: Option<u64>,
    /// Rows of each sheet, if sheets were written.
    pub rows: Vec<(&'static str, u64)>,
    /// The files, in the order in which they were begun.
    pub files: Vec<PathBuf>,
}

/// Where rows go: one for each format.
trait Sink {
    /// Takes a row of a sheet.
    fn row(&mut self, sheet: usize, values: &[Value<'_>]) -> anyhow::Result<()>;
    /// Completes the files.
    fn finish(self: Box<Self>) -> anyhow::Result<()>;
}

/// Sinks, and how many rows each sheet has.
struct Sinks {
    sinks: Vec<Box<dyn Sink>>,
    rows: [u64; SHEETS.len()],
}

impl Sinks {
    fn row(&mut self, sheet: usize, values: &[Value<'_>]) -> anyhow::Result<()> {
        assert_eq!(values.len(), SHEETS[sheet].columns.len(), "a row has its sheet's columns");
        self.rows[sheet] += 1;
        self.sinks.iter_mut().try_for_each(|sink| sink.row(sheet, values))
    }
}

/// A new file for each sheet, in a directory that is new or empty.
fn files(dir: &Path, ending: &str, written: &mut Vec<PathBuf>) -> anyhow::Result<Vec<File>> {
    let text = dir.display();
    fs::create_dir_all(dir).map_err(|error| Failure::Data(format!("{text}: {error}")))?;
    if fs::read_dir(dir).map_err(|error| Failure::Data(format!("{text}: {error}")))?.next().is_some() {
        let problem = format!("{text} is not empty; give a new directory, nothing is overwritten");
        return Err(Failure::Data(problem).into());
    }
    let create = |sheet: &Sheet| {
        let path = dir.join(format!("{}.{ending}", sheet.name));
        let file = File::create_new(&path).with_context(|| path.display().to_string());
        written.push(path);
        file
    };
    SHEETS.iter().map(create).collect()
}

/// Exports a session; `look` hears of the heights.
///
/// # Errors
/// If the session does not reach the height, is damaged, differs from its replay, or a file exists or cannot be written.
pub fn export(dir: &Path, config: &ExportConfig, mut look: impl FnMut(Height)) -> anyhow::Result<Exported> {
    let mut files_written = Vec::new();
    let image = config.image.as_ref().map(|path| {
        files_written.push(path.clone());
        let text = path.display();
        File::create_new(path).map_err(|error| Failure::Data(format!("{text}: {error}; nothing is overwritten")))
    });
    let image = image.transpose()?;
    let sheets = config.csv.is_some() || config.parquet.is_some();
    let result = (|| {
        let (mut machine, root, rows) = if sheets {
            let mut sinks = Sinks { sinks: Vec::new(), rows: [0; SHEETS.len()] };
            if let Some(dir) = &config.csv {
                sinks.sinks.push(Box::new(csv::CsvSink::new(files(dir, "csv", &mut files_written)?)?));
            }
            if let Some(dir) = &config.parquet {
                let files = files(dir, "parquet", &mut files_written)?;
                sinks.sinks.push(Box::new(parquet::ParquetSink::new(files)?));
            }
            walk(dir, config, sinks, &mut look)?
        } else {
            let (machine, root) = state_at(dir, config.height, config.threads)?;
            (machine, root, Vec::new())
        };
        let image_bytes = match (&image, &config.image) {
            (Some(file), Some(path)) => Some(write_image(&mut machine, file, path)?),
            _ => None,
        };
        Ok((machine.chain().settled, root, image_bytes, rows))
    })();
    match result {
        Ok((height, root, image_bytes, rows)) => Ok(Exported { height, root, image_bytes, rows, files: files_written }),
        Err(error) => {
            // Half a file would only be taken for a whole one; none of these was there before.
            for path in &files_written {
                let _ = fs::remove_file(path);
            }
            Err(error)
        }
    }
}

type Walked = (Machine, Hash, Vec<(&'static str, u64)>);

/// Walks the session and gives its rows to the sinks.
fn walk(dir: &Path, config: &ExportConfig, mut sinks: Sinks, look: &mut impl FnMut(Height)) -> anyhow::Result<Walked> {
    let mut walker = Walker::earliest(dir, config.threads)?;
    walker.machine().watch(true);
    let to = config.height.unwrap_or(Height(u64::MAX));
    while walker.height() < to {
        let Some(step) = walker.step()? else { break };
        rows::height(&step, walker.machine(), &mut sinks)?;
        look(step.settled.height);
    }
    let reached = walker.height();
    if config.height.is_some_and(|height| height != reached) || reached == Height::GENESIS {
        return Err(Failure::Data(format!("the session ends at height {reached}")).into());
    }
    let mut machine = walker.into_machine();
    rows::balances(&mut machine, &mut sinks)?;
    let root = machine.root();
    let rows = SHEETS.iter().map(|sheet| sheet.name).zip(sinks.rows).collect();
    sinks.sinks.into_iter().try_for_each(Sink::finish)?;
    Ok((machine, root, rows))
}

/// Writes a machine's image to a new file and returns its size.
///
/// # Errors
/// What the system says.
pub fn write_image(machine: &mut Machine, file: &File, path: &Path) -> anyhow::Result<u64> {
    let mut writer = BufWriter::new(file);
    let mut bytes = 0;
    machine
        .export(|part| {
            bytes += part.len() as u64;
            writer.write_all(part)
        })
        .and_then(|()| writer.flush())
        .with_context(|| path.display().to_string())?;
    Ok(bytes)
}
