//! Sheets as Parquet: typed columns, row groups of a fixed number of rows.

use std::fs::File;
use std::sync::Arc;

use anyhow::Context;
use parquet::basic::Compression;
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use super::schema::{Column, Kind, SHEETS, Sheet, Value};
use super::sink::{About, Sink};

/// Rows of a group: what is in memory at a time.
const GROUP_ROWS: usize = 32_768;

/// The values of a column that wait for their group.
enum Waiting {
    Numbers(Vec<i64>),
    Text(Vec<ByteArray>),
}

struct WaitingColumn {
    values: Waiting,
    /// Of optional columns: 1 where a row has a value, 0 where it has nothing.
    present: Option<Vec<i16>>,
}

struct SheetWriter {
    file: SerializedFileWriter<File>,
    columns: Vec<WaitingColumn>,
    rows: usize,
}

/// A Parquet file for each sheet.
pub struct ParquetSink {
    sheets: Vec<SheetWriter>,
}

/// A sheet's schema in Parquet's own language.
fn schema(sheet: &Sheet) -> String {
    let column = |column: &Column| {
        let repetition = if column.optional { "OPTIONAL" } else { "REQUIRED" };
        match column.kind {
            Kind::Integer => format!("{repetition} INT64 {};", column.name),
            Kind::Time => format!("{repetition} INT64 {} (TIMESTAMP(MILLIS,true));", column.name),
            Kind::Text => format!("{repetition} BYTE_ARRAY {} (STRING);", column.name),
        }
    };
    let columns: Vec<String> = sheet.columns.iter().map(column).collect();
    format!("message {} {{ {} }}", sheet.name, columns.join(" "))
}

impl ParquetSink {
    /// Begins the files.
    pub fn new(files: Vec<File>) -> anyhow::Result<Self> {
        let properties = Arc::new(WriterProperties::builder().set_compression(Compression::SNAPPY).build());
        assert_eq!(files.len(), SHEETS.len(), "each sheet has its file");
        let sheets = files.into_iter().zip(&SHEETS).map(|(file, sheet)| {
            let schema = Arc::new(parse_message_type(&schema(sheet)).context("the schema is fixed")?);
            let file = SerializedFileWriter::new(file, schema, Arc::clone(&properties))?;
            let columns = sheet.columns.iter().map(|column| WaitingColumn {
                values: match column.kind {
                    Kind::Integer | Kind::Time => Waiting::Numbers(Vec::new()),
                    Kind::Text => Waiting::Text(Vec::new()),
                },
                present: column.optional.then(Vec::new),
            });
            Ok(SheetWriter { file, columns: columns.collect(), rows: 0 })
        });
        Ok(Self { sheets: sheets.collect::<anyhow::Result<_>>()? })
    }
}

impl WaitingColumn {
    fn push(&mut self, value: &Value<'_>) {
        if let Some(present) = &mut self.present {
            present.push((*value != Value::Nothing).into());
        }
        match (&mut self.values, value) {
            (Waiting::Numbers(values), Value::Integer(number) | Value::Time(number)) => values.push(*number),
            (Waiting::Text(values), Value::Text(text)) => values.push(text.as_ref().into()),
            (_, Value::Nothing) => assert!(self.present.is_some(), "only an optional column may hold nothing"),
            _ => unreachable!("a row's values have their columns' kinds"),
        }
    }

    fn rows(&self) -> usize {
        match (&self.present, &self.values) {
            (Some(present), _) => present.len(),
            (None, Waiting::Numbers(values)) => values.len(),
            (None, Waiting::Text(values)) => values.len(),
        }
    }

    fn clear(&mut self) {
        match &mut self.values {
            Waiting::Numbers(values) => values.clear(),
            Waiting::Text(values) => values.clear(),
        }
        self.present.iter_mut().for_each(Vec::clear);
    }
}

impl SheetWriter {
    /// Writes what waits as a group.
    fn flush(&mut self) -> anyhow::Result<()> {
        if self.rows == 0 {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        let mut group = self.file.next_row_group()?;
        for waiting in &mut self.columns {
            let mut column = group.next_column()?.context("the schema has as many columns")?;
            // A column that is shorter than the others would move the values of all rows behind the gap.
            assert_eq!(waiting.rows(), rows, "each row has put something into each column");
            let present = waiting.present.as_deref();
            match (column.untyped(), &waiting.values) {
                (ColumnWriter::Int64ColumnWriter(out), Waiting::Numbers(values)) => {
                    out.write_batch(values, present, None)?
                }
                (ColumnWriter::ByteArrayColumnWriter(out), Waiting::Text(values)) => {
                    out.write_batch(values, present, None)?
                }
                _ => unreachable!("the schema has these kinds"),
            };
            column.close()?;
            waiting.clear();
        }
        group.close()?;
        Ok(())
    }
}

impl Sink for ParquetSink {
    fn row(&mut self, sheet: usize, values: &[Value<'_>]) -> anyhow::Result<()> {
        let sheet = &mut self.sheets[sheet];
        sheet.columns.iter_mut().zip(values).for_each(|(column, value)| column.push(value));
        sheet.rows += 1;
        if sheet.rows == GROUP_ROWS { sheet.flush() } else { Ok(()) }
    }

    fn finish(self: Box<Self>, about: &About) -> anyhow::Result<()> {
        for (mut writer, sheet) in self.sheets.into_iter().zip(&SHEETS) {
            writer.flush().context(sheet.name)?;
            for (name, value) in about {
                writer.file.append_key_value_metadata(KeyValue::new(format!("bitcraps.{name}"), value.clone()));
            }
            writer.file.close().context(sheet.name)?;
        }
        Ok(())
    }
}
