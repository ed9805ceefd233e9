//! Text that somebody hands over as a file, read within a bound, so that no file and no device takes all memory; and text that
//! is laid out in lines.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// All of a file of at most `bytes_max` bytes.
///
/// # Errors
/// If it cannot be read, is longer, or is not UTF-8. Errors do not name the path; the caller does.
pub fn read(path: &Path, bytes_max: u64) -> io::Result<String> {
    read_from(File::open(path)?, bytes_max)
}

/// All of what can be read, if it has at most `bytes_max` bytes.
///
/// # Errors
/// As [`read`].
pub fn read_from(from: impl Read, bytes_max: u64) -> io::Result<String> {
    let mut bytes = Vec::new();
    // One more than may be, to tell a text that is just as long from one that goes on. Its length is never believed: what
    // says that it has a terabyte may have a line.
    from.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {bytes_max} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// The lines of a text in so many columns, those after the first set in. `columns_of` measures a part of a line.
pub fn wrap(text: &str, columns: usize, indent: usize, columns_of: impl Fn(&str) -> usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        if !line.trim().is_empty() && columns_of(&line) + 1 + columns_of(word) > columns {
            lines.push(std::mem::take(&mut line));
            line = " ".repeat(indent);
        } else if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_up_to_its_bound_and_what_has_no_end_is_refused() {
        assert_eq!(read_from(&b"four"[..], 4).expect("within its bound"), "four");
        for endless in [Path::new("/dev/zero"), Path::new("/dev/urandom")] {
            let error = read(endless, 1 << 16).expect_err("it has no end");
            assert_eq!(
                (error.kind(), error.to_string().as_str()),
                (io::ErrorKind::FileTooLarge, "more than 65536 bytes")
            );
        }
        assert_eq!(read_from(&b"\xff"[..], 4).expect_err("no text").kind(), io::ErrorKind::InvalidData);
        assert_eq!(read(Path::new("/no such file"), 4).expect_err("none").kind(), io::ErrorKind::NotFound);
    }
}
