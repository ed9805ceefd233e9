//! What a player brings to the dice of pledged tables: secrets, beside the key, and on the disk before anything that
//! depends on them is sent.
//!
//! ```text
//!  pledge: a new secret ---> synced ---> its end is pledged for the table's next roll, and opens 4,096 of them
//!  open:   table, roll, block -> synced -> the opening is signed; never a second block for one roll
//! ```
//! A book is a file of lines, each synced before anything is sent that depends on it; the last one about a table counts. A
//! line that was cut off was never synced, and is passed over. One program holds a book at a time, and writes it anew, with
//! what counts, each time it has grown long.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aside::sync_name;
use engine::limits::{BOOK_BYTES_KEPT, BOOK_LINE_BYTES_MAX, COUNTER_MAX};
use engine::message::certificate::Certificate;
use engine::message::pledge::{PledgeRow, pledge_end};
use engine::{Hash, Height, TableId, hex, unhex};
use thiserror::Error;

/// Openings that one pledge is good for.
pub const OPENINGS: u32 = 4_096;

/// Why a book cannot be used.
#[derive(Error, Debug)]
pub enum BookError {
    /// Another program pledges with this key.
    #[error("{0} is held by another program: two that pledge with one key could open one roll for two blocks")]
    Held(String),
    /// The system refuses.
    #[error("{path}: {error}")]
    System {
        /// The file.
        path: String,
        /// Why.
        error: io::Error,
    },
}

/// Why a roll is not opened.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unopened {
    /// The end that waits is none of this book's.
    #[error("what was pledged for this roll is not known here")]
    NotOwn,
    /// An opening of this roll was signed for another block.
    #[error("this roll was opened for another block already: the node shows a second block at one height")]
    OtherBlock,
    /// The book does not have the roll before: it was restored, or is a copy.
    #[error("the roll before is not in the book of pledges: it was restored, or is a copy of another one")]
    Unsure,
    /// The block does not come after the one that was opened before.
    #[error("the block that closed the bets does not come after the one of the roll before")]
    Behind,
}

/// The last opening that was signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signed {
    /// The roll.
    pub roll: u32,
    /// The height of the block that closed its bets.
    pub height: Height,
    /// That block.
    pub block: Hash,
}

/// Whether `roll` may be opened for a block, by one who knows of `signed`, and whose secret opens rolls from `first` on. The
/// same opening again is one that may be.
///
/// # Errors
/// Why it may not: a second block for one roll, or a past that is not known.
pub fn check_opening(
    first: u32,
    signed: Option<&Signed>,
    roll: u32,
    height: Height,
    block: &Hash,
) -> Result<(), Unopened> {
    match signed {
        Some(signed) if signed.roll == roll && signed.block == *block => Ok(()),
        Some(signed) if signed.roll == roll => Err(Unopened::OtherBlock),
        Some(signed) if signed.height >= height => Err(Unopened::Behind),
        // Whoever does not know the roll before does not know whether this one was opened.
        _ if first < roll && signed.is_none_or(|signed| signed.roll + 1 != roll) => Err(Unopened::Unsure),
        _ => Ok(()),
    }
}

/// What is kept of one table of one chain.
struct Kept {
    secret: Hash,
    /// The first roll that it opens.
    first: u32,
    number: u64,
    signed: Option<Signed>,
    /// The certificate of the block for which that was signed, in hex.
    proof: String,
    /// The ends from the first roll on, the secret last; made when they are asked for.
    ends: Vec<Hash>,
}

/// The secrets of one key.
pub struct PledgeBook {
    path: PathBuf,
    file: File,
    /// How long the file is up to the end of its last whole line.
    whole_bytes: u64,
    /// The length from which on it is written anew.
    anew_bytes: u64,
    key: [u8; 32],
    kept: BTreeMap<(Hash, TableId), Kept>,
}

/// Where the book of a key file lies.
pub fn beside(key: &Path) -> PathBuf {
    let mut name = key.file_name().unwrap_or_default().to_owned();
    name.push(".pledges");
    key.with_file_name(name)
}

impl PledgeBook {
    /// Opens the book of a public key, or begins it.
    ///
    /// # Errors
    /// If another program holds it, or the system refuses.
    pub fn open(path: &Path, key: [u8; 32]) -> Result<Self, BookError> {
        let failed = |error| BookError::System { path: path.display().to_string(), error };
        let file = Self::locked(path)?;
        // Lines that are synced are lost all the same where their file has no name yet.
        sync_name(path).map_err(failed)?;
        let (whole_bytes, anew_bytes) = (0, 2 * BOOK_BYTES_KEPT);
        let mut book = Self { path: path.to_owned(), file, whole_bytes, anew_bytes, key, kept: BTreeMap::new() };
        book.read().map_err(failed)?;
        if book.whole_bytes > BOOK_BYTES_KEPT {
            book.rewrite().map_err(failed)?;
        }
        Ok(book)
    }

    /// Reads all lines, one after another: a book of any length can be opened.
    fn read(&mut self) -> io::Result<()> {
        let mut lines = BufReader::new(self.file.try_clone()?);
        let mut line = String::new();
        while lines.by_ref().take(BOOK_LINE_BYTES_MAX).read_line(&mut line)? > 0 {
            if line.len() as u64 == BOOK_LINE_BYTES_MAX {
                return Err(io::Error::other("a line is longer than one of a book of pledges can be"));
            }
            self.read_line(line.trim_end_matches('\n'));
            if line.ends_with('\n') {
                self.whole_bytes += line.len() as u64;
            }
            line.clear();
        }
        Ok(())
    }

    fn locked(path: &Path) -> Result<File, BookError> {
        let failed = |error| BookError::System { path: path.display().to_string(), error };
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(std::fs::TryLockError::WouldBlock) => Err(BookError::Held(path.display().to_string())),
            Err(std::fs::TryLockError::Error(error)) => Err(failed(error)),
        }
    }

    /// Takes a line up, if it is whole.
    fn read_line(&mut self, line: &str) -> Option<()> {
        let words: Vec<&str> = line.split(' ').collect();
        let place = |chain: &str, table: &str| Some((unhex(chain)?, TableId(table.parse().ok()?)));
        match words[..] {
            ["pledge", chain, table, first, number, secret] => {
                let (place, secret) = (place(chain, table)?, unhex(secret)?);
                let (first, number) = (first.parse::<u32>().ok()?, number.parse::<u64>().ok()?);
                if u64::from(first) > COUNTER_MAX {
                    return None;
                }
                let (signed, proof) = self.signed_at(&place);
                self.kept.insert(place, Kept { secret, first, number, signed, proof, ends: Vec::new() });
            }
            ["open", chain, table, roll, height, block, certificate] => {
                let kept = self.kept.get_mut(&place(chain, table)?)?;
                let (roll, height) = (roll.parse().ok()?, Height(height.parse().ok()?));
                kept.signed = Some(Signed { roll, height, block: unhex(block)? });
                certificate.clone_into(&mut kept.proof);
            }
            _ => return None,
        }
        Some(())
    }

    fn pledge_line((chain, table): &(Hash, TableId), kept: &Kept) -> String {
        format!("pledge {} {table} {} {} {}", hex(chain), kept.first, kept.number, hex(&kept.secret))
    }

    fn open_line((chain, table): &(Hash, TableId), signed: &Signed, certificate: &str) -> String {
        let Signed { roll, height, block } = signed;
        format!("open {} {table} {roll} {} {} {certificate}", hex(chain), height.0, hex(block))
    }

    /// Appends a line; it is on the disk when this returns.
    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.whole_bytes > self.anew_bytes {
            // Before the line, which is not among what is kept yet.
            self.rewrite()?;
        }
        // A line that was cut off, by the end of a program or by a disk that was full, must not take this one with it.
        let bytes = self.file.metadata()?.len();
        let is_cut = bytes > self.whole_bytes;
        let text = format!("{}{line}\n", if is_cut { "\n" } else { "" });
        // In one write: a line that is cut off is one that was never synced.
        self.file.write_all(text.as_bytes())?;
        self.file.sync_all()?;
        self.whole_bytes = bytes + text.len() as u64;
        Ok(())
    }

    /// Writes the book anew, with what counts.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let aside = self.path.with_file_name(name);
        let _ = std::fs::remove_file(&aside);
        let mut file = Self::locked(&aside).map_err(io::Error::other)?;
        let mut text = String::new();
        for (place, kept) in &self.kept {
            text.push_str(&format!("{}\n", Self::pledge_line(place, kept)));
            if let Some(signed) = &kept.signed {
                text.push_str(&format!("{}\n", Self::open_line(place, signed, &kept.proof)));
            }
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&aside, &self.path)?;
        // What is appended to a file that has no name any more is lost, so from here on this is the one. Until its name is
        // synced it passes for too long, and the next line has it written anew first.
        self.file = file;
        sync_name(&self.path)?;
        self.whole_bytes = text.len() as u64;
        self.anew_bytes = 2 * self.whole_bytes.max(BOOK_BYTES_KEPT);
        Ok(())
    }

    /// The last opening that was signed at a table, and the certificate of its block.
    fn signed_at(&self, place: &(Hash, TableId)) -> (Option<Signed>, String) {
        self.kept.get(place).map_or_else(Default::default, |kept| (kept.signed, kept.proof.clone()))
    }

    /// The tables of a chain at which something was pledged, the last one first.
    pub fn tables(&self, chain: Hash) -> Vec<TableId> {
        let of_chain = self.kept.iter().filter(|((of, _), _)| *of == chain);
        let mut tables: Vec<(u64, TableId)> = of_chain.map(|((_, table), kept)| (kept.number, *table)).collect();
        tables.sort_unstable_by(|one, other| other.cmp(one));
        tables.into_iter().map(|(_, table)| table).collect()
    }

    /// A pledge of a new secret for a table's next roll, once the secret is on disk; not signed yet. `now_ms` makes its number
    /// higher than that of a pledge of another copy of this key.
    ///
    /// # Errors
    /// If the system gives no randomness, or the book cannot be written: then nothing may be pledged.
    pub fn pledge(&mut self, chain: Hash, table: TableId, roll: u32, now_ms: u64) -> io::Result<PledgeRow> {
        let place = (chain, table);
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
        let number = now_ms.max(self.kept.get(&place).map_or(0, |kept| kept.number).saturating_add(1));
        let (signed, proof) = self.signed_at(&place);
        let kept = Kept { secret, first: roll, number, signed, proof, ends: Vec::new() };
        self.write(&Self::pledge_line(&place, &kept))?;
        self.kept.insert(place, kept);
        let end = self.end(place, roll).expect("the first roll of a new secret");
        Ok(PledgeRow::pledge(self.key, table, roll, number, end))
    }

    /// The end that is pledged for a roll, if the book has it. The end of one roll is the value of the roll before.
    fn end(&mut self, place: (Hash, TableId), roll: u32) -> Option<Hash> {
        let (key, (chain, table)) = (self.key, place);
        let kept = self.kept.get_mut(&place)?;
        if kept.ends.is_empty() {
            let mut ends = vec![kept.secret];
            for roll in (kept.first..kept.first + OPENINGS).rev() {
                let value = *ends.last().expect("the secret");
                ends.push(pledge_end(&chain, table, &key, roll, &value));
            }
            ends.reverse();
            kept.ends = ends;
        }
        kept.ends.get(roll.checked_sub(kept.first)? as usize).copied()
    }

    /// How many rolls can still be opened from this one on, if `end` is what this book has for it; none once they have run out.
    pub fn openings_left(&mut self, chain: Hash, table: TableId, roll: u32, end: &Hash) -> Option<u32> {
        let own = self.end((chain, table), roll)? == *end;
        let first = self.kept.get(&(chain, table))?.first;
        Some((first + OPENINGS).saturating_sub(roll)).filter(|left| own && *left > 0)
    }

    /// The opening of a roll whose bets a certified block closed, once that is on disk; not signed yet. The same block may be
    /// opened again: the row is the same.
    ///
    /// # Errors
    /// Inside, why this book does not open it. Outside, if the book cannot be written: then nothing may be sent.
    pub fn open_roll(
        &mut self,
        chain: Hash,
        table: TableId,
        roll: u32,
        end: &Hash,
        height: Height,
        certificate: &Certificate,
    ) -> io::Result<Result<PledgeRow, Unopened>> {
        let (place, block) = ((chain, table), certificate.block);
        if self.openings_left(chain, table, roll, end).is_none() {
            return Ok(Err(Unopened::NotOwn));
        }
        let value = self.end(place, roll + 1).expect("an opening is left");
        let opening = PledgeRow::opening(self.key, table, roll, value, block);
        let kept = &self.kept[&place];
        if let Err(why) = check_opening(kept.first, kept.signed.as_ref(), roll, height, &block) {
            return Ok(Err(why));
        }
        if kept.signed.is_some_and(|signed| signed.roll == roll) {
            return Ok(Ok(opening));
        }
        let signed = Signed { roll, height, block };
        let mut bytes = Vec::new();
        certificate.encode(&mut bytes);
        let proof = hex(&bytes);
        self.write(&Self::open_line(&place, &signed, &proof))?;
        let kept = self.kept.get_mut(&place).expect("looked at above");
        (kept.signed, kept.proof) = (Some(signed), proof);
        Ok(Ok(opening))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHAIN: Hash = [7; 32];
    const TABLE: TableId = TableId(3);

    fn certificate(block: u8) -> Certificate {
        Certificate { height: Height(1), round: 0, block: [block; 32], signatures: Vec::new() }
    }

    fn open(path: &Path) -> PledgeBook {
        PledgeBook::open(path, [1; 32]).expect("a book")
    }

    /// Opens a roll at a height of ten times its number.
    fn roll(book: &mut PledgeBook, number: u32, end: &Hash, block: u8) -> Result<PledgeRow, Unopened> {
        let height = Height(u64::from(number) * 10);
        book.open_roll(CHAIN, TABLE, number, end, height, &certificate(block)).expect("written")
    }

    #[test]
    fn each_opening_shows_what_its_end_is_the_hash_of() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut book = open(&dir.path().join("player.pem.pledges"));
        let mut end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
        for number in 5..50 {
            assert_eq!(book.openings_left(CHAIN, TABLE, number, &end), Some(OPENINGS - (number - 5)));
            let opening = roll(&mut book, number, &end, number as u8).expect("opened");
            assert_eq!(pledge_end(&CHAIN, TABLE, &[1; 32], number, &opening.value), end);
            assert_eq!(opening.block, [number as u8; 32]);
            end = opening.value;
        }
        book.pledge(CHAIN, TableId(1), 1, 99).expect("pledged");
        book.pledge(CHAIN, TableId(9), 1, 101).expect("pledged");
        assert_eq!(book.tables(CHAIN), [TableId(9), TABLE, TableId(1)], "the last one first");
        assert_eq!(book.tables([8; 32]), []);
        let last = book.end((CHAIN, TABLE), 5 + OPENINGS - 1).expect("the last one");
        assert_eq!(book.openings_left(CHAIN, TABLE, 5 + OPENINGS - 1, &last), Some(1));
        let secret = book.end((CHAIN, TABLE), 5 + OPENINGS).expect("the secret");
        assert_eq!(book.openings_left(CHAIN, TABLE, 5 + OPENINGS, &secret), None, "they have run out");
    }

    #[test]
    fn a_book_that_is_opened_again_signs_the_same_and_no_second_block() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("player.pem.pledges");
        let mut book = open(&path);
        let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
        let opening = roll(&mut book, 5, &end, 9).expect("opened");
        drop(book);
        let mut again = open(&path);
        assert_eq!(roll(&mut again, 5, &end, 9), Ok(opening), "the same bytes");
        assert_eq!(roll(&mut again, 5, &end, 8), Err(Unopened::OtherBlock));
        // Nor with another secret for the same roll.
        let other = again.pledge(CHAIN, TABLE, 5, 100).expect("pledged");
        assert!(other.number > 100 && other.value != end);
        assert_eq!(roll(&mut again, 5, &other.value, 8), Err(Unopened::OtherBlock));
        assert_eq!(roll(&mut again, 5, &end, 9), Err(Unopened::NotOwn));
        // The next roll's block comes after it.
        let next = again.pledge(CHAIN, TABLE, 6, 0).expect("pledged");
        let early = again.open_roll(CHAIN, TABLE, 6, &next.value, Height(50), &certificate(3)).expect("written");
        assert_eq!(early, Err(Unopened::Behind));
        assert!(roll(&mut again, 6, &next.value, 3).is_ok());
    }

    #[test]
    fn a_book_that_was_restored_opens_nothing_that_it_does_not_know_the_past_of() {
        let dir = tempfile::tempdir().expect("a directory");
        let (path, copy) = (dir.path().join("a"), dir.path().join("b"));
        let mut book = open(&path);
        let mut end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
        end = roll(&mut book, 5, &end, 5).expect("opened").value;
        std::fs::copy(&path, &copy).expect("a copy");
        end = roll(&mut book, 6, &end, 6).expect("opened").value;
        end = roll(&mut book, 7, &end, 7).expect("opened").value;
        let mut restored = open(&copy);
        assert_eq!(roll(&mut restored, 8, &end, 8), Err(Unopened::Unsure));
        let anew = restored.pledge(CHAIN, TABLE, 9, 200).expect("pledged");
        assert!(roll(&mut restored, 9, &anew.value, 9).is_ok(), "what it pledged itself it opens");
    }

    #[test]
    fn a_line_that_was_cut_off_is_passed_over_and_takes_no_other_with_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        let mut book = open(&path);
        let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
        drop(book);
        let whole = std::fs::read(&path).expect("a book");
        for cut in 1..40 {
            let mut text = whole.clone();
            text.extend_from_slice(&whole[..cut]);
            std::fs::write(&path, &text).expect("written");
            let mut book = open(&path);
            assert!(roll(&mut book, 5, &end, 9).is_ok());
            drop(book);
            assert_eq!(roll(&mut open(&path), 5, &end, 8), Err(Unopened::OtherBlock), "cut {cut}");
        }
    }

    #[test]
    fn a_line_that_a_full_disk_cut_off_takes_no_other_with_it() {
        let dir = tempfile::tempdir().expect("a directory");
        for cut in [1, 40, 140] {
            let path = dir.path().join(format!("cut-{cut}"));
            let mut book = open(&path);
            let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
            let whole = std::fs::read(&path).expect("a book");
            // What a write leaves that found no room for all of its line; the book goes on to be used.
            book.file.write_all(&whole[..cut]).expect("written");
            let next = roll(&mut book, 5, &end, 9).expect("opened").value;
            book.file.write_all(&whole[..cut]).expect("written");
            let pledged = book.pledge(CHAIN, TABLE, 6, 100).expect("pledged").value;
            drop(book);
            let mut book = open(&path);
            assert_eq!(roll(&mut book, 6, &next, 9), Err(Unopened::NotOwn), "cut {cut}: the pledge is known");
            assert!(roll(&mut book, 6, &pledged, 9).is_ok(), "cut {cut}");
            let text = std::fs::read_to_string(&path).expect("a book");
            let opened = text.lines().filter(|line| line.starts_with("open ")).count();
            assert_eq!(opened, 2, "cut {cut}: both openings are lines of their own");
            assert!(text.lines().all(|line| !line.is_empty()), "cut {cut}: no line break without need");
        }
    }

    #[test]
    fn one_program_holds_a_book_and_a_long_one_is_written_anew() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        let mut book = open(&path);
        assert!(matches!(PledgeBook::open(&path, [1; 32]), Err(BookError::Held(_))));
        let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
        roll(&mut book, 5, &end, 9).expect("opened");
        let filler = format!("{}\n", "x".repeat(999)).repeat(1_100);
        book.file.write_all(filler.as_bytes()).expect("written");
        drop(book);
        let mut book = open(&path);
        assert!(std::fs::metadata(&path).expect("a book").len() < 1_000);
        assert!(matches!(PledgeBook::open(&path, [1; 32]), Err(BookError::Held(_))), "the new file is held too");
        assert_eq!(roll(&mut book, 5, &end, 8), Err(Unopened::OtherBlock));
    }

    #[test]
    fn a_book_that_grows_long_while_it_is_held_is_written_anew_with_what_counts() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        let length = || std::fs::metadata(&path).expect("a book").len();
        let mut book = open(&path);
        let mut end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
        let filler = format!("{}\n", "x".repeat(999)).repeat(2_200);
        for number in [5, 7] {
            // Lines of rolls long past, which count no more.
            book.file.write_all(filler.as_bytes()).expect("written");
            end = roll(&mut book, number, &end, 9).expect("opened").value;
            assert!(length() > 2 * BOOK_BYTES_KEPT);
            end = roll(&mut book, number + 1, &end, 9).expect("opened").value;
            assert!(length() < 2_000, "{} bytes", length());
            assert!(matches!(PledgeBook::open(&path, [1; 32]), Err(BookError::Held(_))), "the new file is held too");
        }
        drop(book);
        let mut book = open(&path);
        assert_eq!(book.openings_left(CHAIN, TABLE, 9, &end), Some(OPENINGS - 4), "the secret is kept");
        let last = book.end((CHAIN, TABLE), 8).expect("its own");
        assert_eq!(roll(&mut book, 8, &last, 8), Err(Unopened::OtherBlock), "the line behind what was written anew");
        assert!(roll(&mut book, 9, &end, 9).is_ok());
    }

    #[test]
    fn a_book_of_any_length_is_opened_again_and_no_endless_line_is_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a");
        let mut book = open(&path);
        let end = book.pledge(CHAIN, TABLE, 5, 100).expect("pledged").value;
        let filler = format!("{}\n", "x".repeat(9_999)).repeat(110);
        for _ in 0..64 {
            book.file.write_all(filler.as_bytes()).expect("written");
        }
        roll(&mut book, 5, &end, 9).expect("opened");
        drop(book);
        assert!(std::fs::metadata(&path).expect("a book").len() > 64 << 20);
        let mut book = open(&path);
        assert_eq!(roll(&mut book, 5, &end, 8), Err(Unopened::OtherBlock));
        book.file.write_all(&[b'x'; BOOK_LINE_BYTES_MAX as usize]).expect("written");
        drop(book);
        assert!(matches!(PledgeBook::open(&path, [1; 32]), Err(BookError::System { .. })), "that is no book");
    }
}
