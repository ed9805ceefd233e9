//! Where the rows of an export go.

use super::schema::Value;

/// What a session is and where the export ends, by name: the sheet of the session, and what Parquet files say of themselves.
pub type About = Vec<(&'static str, String)>;

/// Where rows go: one for each format.
pub trait Sink {
    /// Takes a row of a sheet.
    fn row(&mut self, sheet: usize, values: &[Value<'_>]) -> anyhow::Result<()>;
    /// Completes the files. `about` says whose rows they are, where a format has a place for it.
    fn finish(self: Box<Self>, about: &About) -> anyhow::Result<()>;
}
