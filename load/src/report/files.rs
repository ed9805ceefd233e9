//! The files of a report.

use std::path::{Path, PathBuf};
use std::{fs, io};

use aside::{NewFile, Readers, write_new};

use super::html::html;
use super::{JSON_NAME, Report};

const HTML_NAME: &str = "report.html";

impl Report {
    /// Writes `report.json` and `report.html` into a directory, which is made if it is not there. No report is overwritten.
    ///
    /// # Errors
    /// Names the file that is there, or cannot be written.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write_new_in(dir, &[(JSON_NAME, self.json()?), (HTML_NAME, html(self))])
    }

    /// Looks whether a report can be written into a directory, which may have to be made: before a run of hours, and not after it.
    /// Nothing stays behind.
    ///
    /// # Errors
    /// Names the report that is there, or what cannot be made or written.
    pub fn check_place(dir: &Path) -> io::Result<()> {
        let files = [JSON_NAME, HTML_NAME].map(|name| dir.join(name));
        if let Some(path) = files.iter().find(|path| path.exists()) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{} is there already; give another directory, no report is overwritten", path.display()),
            ));
        }
        let made: Vec<&Path> = dir.ancestors().take_while(|path| !path.exists()).collect();
        let begin = |path: &PathBuf| NewFile::create(path, Readers::Usual).map(drop).map_err(named(path));
        let tried = fs::create_dir_all(dir).map_err(named(dir)).and_then(|()| files.iter().try_for_each(begin));
        // The run may fail, or keep its node in a new directory that holds this one. The deepest come first.
        made.iter().for_each(|path| _ = fs::remove_dir(path));
        tried
    }
}

/// Writes files into a directory, which is made if it is not there; none is overwritten.
///
/// # Errors
/// Names the file that is there, or cannot be written.
pub fn write_new_in(dir: &Path, files: &[(&str, String)]) -> io::Result<()> {
    fs::create_dir_all(dir).map_err(named(dir))?;
    for (name, text) in files {
        let path = dir.join(name);
        write_new(&path, text.as_bytes(), Readers::Usual).map_err(named(&path))?;
    }
    Ok(())
}

/// An error with the path that it is about.
fn named(path: &Path) -> impl FnOnce(io::Error) -> io::Error {
    let path = path.display().to_string();
    move |error| io::Error::new(error.kind(), format!("{path}: {error}"))
}
