//! The folders that an export is written to, one for each format.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::Context;
use aside::NewDir;
use words::Failure;

use super::csv::CsvSink;
use super::parquet::ParquetSink;
use super::schema::{SHEETS, Sheet, Value};
use super::sink::{About, Sink};

/// A directory of sheets in one format, which is seen once all of it is whole.
struct Folder {
    path: PathBuf,
    dir: NewDir,
    ending: &'static str,
}

/// The file's name, as errors say it.
fn file_name(sheet: &Sheet, ending: &str) -> String {
    format!("{}.{ending}", sheet.name)
}

impl Folder {
    /// A new file for each sheet, in a directory that is new or empty.
    fn begin(path: &Path, ending: &'static str) -> anyhow::Result<(Self, Vec<File>)> {
        let failed = |error| Failure::Data(format!("{}: {error}", path.display()));
        let dir = NewDir::create(path).map_err(failed)?;
        let files = SHEETS.iter().map(|sheet| File::create_new(dir.place().join(file_name(sheet, ending))));
        let files = files.collect::<io::Result<_>>().map_err(failed)?;
        Ok((Self { path: path.to_owned(), dir, ending }, files))
    }

    fn files(&self) -> impl Iterator<Item = PathBuf> {
        SHEETS.iter().map(|sheet| self.path.join(file_name(sheet, self.ending)))
    }
}

/// Where the rows go, and how many rows each sheet has.
#[derive(Default)]
pub struct Sinks {
    sinks: Vec<(Folder, Box<dyn Sink>)>,
    rows: [u64; SHEETS.len()],
}

impl Sinks {
    pub fn begin(csv: Option<&Path>, parquet: Option<&Path>) -> anyhow::Result<Self> {
        let mut sinks = Self::default();
        if let Some(path) = csv {
            let (folder, files) = Folder::begin(path, "csv")?;
            sinks.sinks.push((folder, Box::new(CsvSink::new(files)?)));
        }
        if let Some(path) = parquet {
            let (folder, files) = Folder::begin(path, "parquet")?;
            sinks.sinks.push((folder, Box::new(ParquetSink::new(files)?)));
        }
        Ok(sinks)
    }

    pub fn row(&mut self, sheet: usize, values: &[Value<'_>]) -> anyhow::Result<()> {
        assert_eq!(values.len(), SHEETS[sheet].columns.len(), "a row has its sheet's columns");
        self.rows[sheet] += 1;
        for (folder, sink) in &mut self.sinks {
            let file = || folder.path.join(file_name(&SHEETS[sheet], folder.ending)).display().to_string();
            sink.row(sheet, values).with_context(file)?;
        }
        Ok(())
    }

    /// The files, in the order in which they were begun.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.sinks.iter().flat_map(|(folder, _)| folder.files())
    }

    /// Rows of each sheet so far.
    pub fn rows(&self) -> [u64; SHEETS.len()] {
        self.rows
    }

    /// Completes the files; they are seen now.
    pub fn finish(self, about: &About) -> anyhow::Result<()> {
        for (folder, sink) in self.sinks {
            let path = || folder.path.display().to_string();
            sink.finish(about).with_context(path)?;
            folder.dir.publish().with_context(path)?;
        }
        Ok(())
    }
}
