//! What the program says: standard output, and standard error.
//!
//! Whoever reads them may go at any moment. What is said then is dropped, and that is no fault: the command goes on to its
//! own end and its own exit code. Nothing else of the program writes to them but the screen of `play`; the compiler refuses
//! `println` and its kind, which end a process whose reader has gone.

use std::fmt;
use std::io::{self, IsTerminal, StdoutLock, Write};
use std::os::fd::AsFd;

use comfy_table::{ContentArrangement, Table};
use rustix::io::Errno;
use rustix::termios::tcgetwinsize;
use words::text::wrap;

use super::bars::BesideBars;

/// Standard output.
pub struct Out {
    stdout: StdoutLock<'static>,
    /// A terminal that is closed answers otherwise than a pipe.
    terminal: bool,
}

/// Standard output, for this thread until it is dropped.
pub fn out() -> Out {
    let stdout = io::stdout();
    // Asked before the terminal may go; a terminal that has gone is none any more.
    static TERMINAL: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| io::stdout().is_terminal());
    Out { terminal: *TERMINAL, stdout: stdout.lock() }
}

/// What a write comes to: nobody reads, which is no fault, or a fault with a name.
fn outcome<T>(result: io::Result<T>, terminal: bool, dropped: T) -> io::Result<T> {
    result.or_else(|error| {
        let hung_up = terminal && error.raw_os_error() == Some(Errno::IO.raw_os_error());
        if error.kind() == io::ErrorKind::BrokenPipe || hung_up {
            return Ok(dropped);
        }
        Err(io::Error::new(error.kind(), format!("standard output: {error}")))
    })
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        outcome(self.stdout.write(bytes), self.terminal, bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        outcome(self.stdout.flush(), self.terminal, ())
    }
}

/// What somebody else's write to standard output comes to, as [`Out`] has it.
pub fn heard(said: io::Result<()>) -> io::Result<()> {
    outcome(said, out().terminal, ())
}

/// Prints a line.
pub fn line(line: fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(out(), "{line}")
}

/// Says a line to whoever watches; if nobody does, nothing is lost.
pub fn remark(line: fmt::Arguments<'_>) {
    let _ = BesideBars.write_all(format!("{line}\n").as_bytes());
}

/// Columns of a terminal.
fn columns(terminal: impl AsFd) -> Option<u16> {
    tcgetwinsize(terminal).ok().map(|size| size.ws_col).filter(|columns| *columns > 0)
}

/// A line of status as the terminal has room for beside what takes `taken` columns: one that is wider wraps, and cannot be
/// drawn over.
pub fn fit(line: &str, taken: usize) -> String {
    fit_to(line, columns(io::stderr()), taken)
}

fn fit_to(line: &str, columns: Option<u16>, taken: usize) -> String {
    let room = columns.map_or(usize::MAX, |columns| usize::from(columns).saturating_sub(taken));
    line.chars().take(room).collect()
}

/// Columns of a paragraph where the terminal has more, or there is none.
const PARAGRAPH_COLUMNS: usize = 100;

/// Columns that a line of standard output has.
pub fn line_columns() -> usize {
    columns(io::stdout()).map_or(usize::MAX, usize::from)
}

/// Prints a text as wide as the terminal, but no wider than one reads with ease. Lines after the first are set in as far as
/// the first one is.
pub fn paragraph(text: &str) -> io::Result<()> {
    paragraph_to(text, line_columns()).iter().try_for_each(|text| line(format_args!("{text}")))
}

fn paragraph_to(text: &str, columns: usize) -> Vec<String> {
    let (words, indent) = (text.trim_start(), text.len() - text.trim_start().len());
    let room = columns.min(PARAGRAPH_COLUMNS).saturating_sub(indent);
    let lines = wrap(words, room, 0, |text| text.chars().count());
    lines.iter().map(|line| " ".repeat(indent) + line).collect()
}

/// What stands for a space at which nothing is broken.
const BOUND: char = '\u{a0}';

/// Prints a line which a narrow terminal would break in the middle of a word: broken between words, what comes below it set in by so
/// many columns. Where there is no terminal it stays one line, since programs look for it.
pub fn hanging(text: &str, hang: usize) -> io::Result<()> {
    hanging_to(text, line_columns(), hang).iter().try_for_each(|text| line(format_args!("{text}")))
}

/// The lines of that in so many columns.
pub fn hanging_to(text: &str, columns: usize, hang: usize) -> Vec<String> {
    let (words, indent) = (text.trim_start(), text.len() - text.trim_start().len());
    // What stands between backticks is copied: broken, a command would be two.
    let mut is_marked = false;
    let bound = words.chars().map(|sign| {
        is_marked ^= sign == '`';
        if is_marked && sign == ' ' { BOUND } else { sign }
    });
    let room = columns.saturating_sub(indent);
    let lines = wrap(&bound.collect::<String>(), room, hang.saturating_sub(indent), |text| text.chars().count());
    lines.iter().map(|line| " ".repeat(indent) + &line.replace(BOUND, " ")).collect()
}

/// Says why a command failed, broken between words where a terminal shows it.
pub fn complain(text: &str) {
    // What has lines already is laid out, such as a picture of a place in a file.
    let columns = columns(io::stderr()).filter(|_| !text.contains('\n')).map_or(usize::MAX, usize::from);
    remark(format_args!("{}", hanging_to(text, columns, 2).join("\n")));
}

/// A table as wide as the terminal, if it would be wider; where there is no terminal, as wide as it is.
pub fn fit_table(table: &mut Table) {
    fit_table_to(table, columns(io::stdout()));
}

fn fit_table_to(table: &mut Table, columns: Option<u16>) {
    if let Some(columns) = columns {
        table.set_content_arrangement(ContentArrangement::Dynamic).set_width(columns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_that_has_gone_is_no_fault_and_a_full_disk_has_a_name() {
        let gone = || Err::<usize, _>(io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!(outcome(gone(), false, 7).expect("dropped"), 7);
        let hung_up = || Err(io::Error::from(Errno::IO));
        assert_eq!(outcome(hung_up(), true, 7).expect("dropped"), 7);
        assert!(outcome(hung_up(), false, 7).is_err(), "a disk that fails is no terminal");
        let full = outcome(Err(io::Error::from(Errno::NOSPC)), true, 7).expect_err("full");
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(full.to_string().starts_with("standard output: "), "{full}");
    }

    #[test]
    fn a_line_of_status_is_never_wider_than_the_terminal() {
        let line = "height 20,000  1,000 connections ".repeat(9);
        for columns in [1, 40, 80, 300] {
            assert!(fit_to(&line, Some(columns), 2).chars().count() + 2 <= usize::from(columns).max(2));
        }
        assert_eq!(fit_to(&line, None, 2), line);
    }

    #[test]
    fn a_paragraph_is_broken_between_words_and_set_in_as_it_begins() {
        let text = "  most of them NO_SUCH_BET 15, NOT_SHOOTER 13, WRONG_PHASE 11, UNKNOWN_PLAYER 6";
        assert_eq!(
            paragraph_to(text, 40),
            ["  most of them NO_SUCH_BET 15,", "  NOT_SHOOTER 13, WRONG_PHASE 11,", "  UNKNOWN_PLAYER 6"]
        );
        assert_eq!(paragraph_to(text, usize::MAX), [text]);
        assert!(paragraph_to(&text.repeat(9), usize::MAX).iter().all(|line| line.len() <= PARAGRAPH_COLUMNS));
    }

    #[test]
    fn a_line_is_broken_between_words_and_a_command_nowhere() {
        let text =
            "  disk   slow   -> `sysctl -w net.core.rmem_max=1 net.core.wmem_max=1`, or another one of this kind";
        assert_eq!(
            hanging_to(text, 60, 9),
            [
                "  disk   slow   ->",
                "         `sysctl -w net.core.rmem_max=1 net.core.wmem_max=1`,",
                "         or another one of this kind"
            ]
        );
        assert_eq!(hanging_to(text, usize::MAX, 9), [text], "no terminal, one line");
        let long = format!("  root          {}", "a".repeat(64));
        assert_eq!(hanging_to(&long, 80, 16), [long.as_str()], "as wide as the terminal");
        let node = "127.0.0.1:17400   good: `node-0`, validator 0 of 4, height 6,976 (6,974 certified), round 0, 9 connections";
        let lines = hanging_to(node, 80, 4);
        assert!(lines.len() == 2 && lines.iter().all(|line| line.len() <= 80), "{lines:?}");
        assert_eq!(lines.iter().map(|line| line.trim_start()).collect::<Vec<_>>().join(" "), node);
    }

    #[test]
    fn a_table_fits_the_terminal() {
        let mut wide = Table::new();
        wide.set_header(["bet", "what happened"]);
        wide.add_row(["field".to_owned(), "player 17 gets 1,000 ".repeat(12)]);
        fit_table_to(&mut wide, None);
        assert!(wide.lines().any(|line| line.chars().count() > 200), "as it is where there is no terminal");
        for columns in [40, 80, 132] {
            fit_table_to(&mut wide, Some(columns));
            assert!(wide.lines().all(|line| line.chars().count() <= usize::from(columns)), "{columns}:\n{wide}");
        }
    }
}
