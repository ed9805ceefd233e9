//! Sheets as CSV: a line of names, then a line a row; nothing where a row has nothing.

use std::fs::File;
use std::io::BufWriter;

use anyhow::Context;

use super::schema::{SHEETS, Value};
use super::sink::{About, Sink};

/// A CSV file for each sheet.
pub struct CsvSink {
    files: Vec<csv::Writer<BufWriter<File>>>,
}

impl CsvSink {
    /// Begins the files.
    pub fn new(files: Vec<File>) -> anyhow::Result<Self> {
        let mut files: Vec<_> = files.into_iter().map(|file| csv::Writer::from_writer(BufWriter::new(file))).collect();
        assert_eq!(files.len(), SHEETS.len(), "each sheet has its file");
        for (file, sheet) in files.iter_mut().zip(&SHEETS) {
            file.write_record(sheet.columns.iter().map(|column| column.name))?;
        }
        Ok(Self { files })
    }
}

/// A moment as RFC 3339 has it, in UTC, with milliseconds: what readers of CSV take for a timestamp by themselves.
fn moment(time_ms: i64) -> anyhow::Result<String> {
    let moment = jiff::Timestamp::from_millisecond(time_ms).context("a block's time is bounded")?;
    Ok(moment.strftime("%Y-%m-%dT%H:%M:%S.%3fZ").to_string())
}

impl Sink for CsvSink {
    fn row(&mut self, sheet: usize, values: &[Value<'_>]) -> anyhow::Result<()> {
        let file = &mut self.files[sheet];
        for value in values {
            match value {
                Value::Integer(number) => file.write_field(number.to_string())?,
                Value::Time(time_ms) => file.write_field(moment(*time_ms)?)?,
                Value::Text(text) => file.write_field(text.as_bytes())?,
                Value::Nothing => file.write_field("")?,
            }
        }
        // An empty record ends the line of the fields that were written one by one.
        Ok(file.write_record(None::<&[u8]>)?)
    }

    /// The sheet of the session says what `about` does: CSV has no other place.
    fn finish(self: Box<Self>, _about: &About) -> anyhow::Result<()> {
        for (mut file, sheet) in self.files.into_iter().zip(&SHEETS) {
            file.flush().context(sheet.name)?;
        }
        Ok(())
    }
}
