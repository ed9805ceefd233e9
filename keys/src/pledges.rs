//! What a player brings to the dice of pledged tables: secrets, beside the key, and on the disk before anything that
//! depends on them is sent.
//!
//! ```text
//!  pledge: a new secret ---> synced ---> its end is pledged for the table's next roll, and opens 4,096 of them
//!  open:   table, roll, block -> synced -> the opening is signed; never a second block for one roll
//! ```
//! A book is a file of lines, each synced before anything is sent that depends on it; the last one about a table counts. A
//! line that was cut off was never synced, and is passed over. One that was damaged later is passed over too, and counted for
//! whoever opens the book: if it was of an opening, the book does not know that one any more, and would sign another for that
//! roll. One program holds a book at a time, and writes it anew, with what counts, each time it has grown long.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
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
    damaged_count: u32,
}

/// Where the book of a key file lies.
pub fn beside(key: &Path) -> PathBuf {
    let mut name = key.file_name().unwrap_or_default().to_owned();
    name.push(".pledges");
    key.with_file_name(name)
}

/// Whether a line that means nothing can be the beginning of one: what was cut off stays, and has its end from the line after it.
fn is_beginning(line: &[u8]) -> bool {
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let (first, rest) = words.split_first().expect("a split gives one at least");
    let is_hex = |word: &&[u8]| word.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    ["pledge", "open"].iter().any(|name| name.as_bytes().starts_with(first)) && rest.iter().all(is_hex)
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
        let (kept, damaged_count) = (BTreeMap::new(), 0);
        let mut book = Self { path: path.to_owned(), file, whole_bytes, anew_bytes, key, kept, damaged_count };
        book.read().map_err(failed)?;
        if book.whole_bytes > BOOK_BYTES_KEPT {
            book.rewrite().map_err(failed)?;
        }
        Ok(book)
    }

    /// Reads all lines, one after another: a book of any length can be opened.
    fn read(&mut self) -> io::Result<()> {
        let mut lines = BufReader::new(self.file.try_clone()?);
        let mut line = Vec::new();
        while lines.by_ref().take(BOOK_LINE_BYTES_MAX).read_until(b'\n', &mut line)? > 0 {
            if line.len() as u64 == BOOK_LINE_BYTES_MAX {
                return Err(io::Error::other("a line is longer than one of a book of pledges can be"));
            }
            // A damaged line is passed over, as any other that means nothing: the secrets in the lines around it are whole.
            let is_read = self.read_line(String::from_utf8_lossy(&line).trim_end_matches('\n')).is_some();
            if let Some(text) = line.strip_suffix(b"\n") {
                self.whole_bytes += line.len() as u64;
                self.damaged_count += u32::from(!is_read && !is_beginning(text));
            }
            line.clear();
        }
        Ok(())
    }

    /// Whole lines that were damaged when the book was opened.
    pub fn damaged_count(&self) -> u32 {
        self.damaged_count
    }

    fn locked(path: &Path) -> Result<File, BookError> {
        let failed = |error| BookError::System { path: path.display().to_string(), error };
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path).map_err(failed)?;
        let held = || BookError::Held(path.display().to_string());
        match file.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(held()),
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        // Another program may have written it anew between the two: then this file has no name any more, and that one holds it.
        let named = std::fs::metadata(path).map_err(failed)?;
        let locked = file.metadata().map_err(failed)?;
        if (named.dev(), named.ino()) == (locked.dev(), locked.ino()) { Ok(file) } else { Err(held()) }
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
            // Before the line, which is not among what is kept yet. A disk that has no room for a second book may have some for
            // the line, and a roll that is not opened loses its bets.
            match self.renamed() {
                Ok(new) => self.take_up(new)?,
                Err(_) => {
                    sync_name(&self.path)?;
                    self.anew_bytes = 2 * self.whole_bytes;
                }
            }
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
        let new = self.renamed()?;
        self.take_up(new)
    }

    /// A new book in the place of the old one, whose name is not synced yet, and its bytes.
    fn renamed(&self) -> io::Result<(File, u64)> {
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
        Ok((file, text.len() as u64))
    }

    fn take_up(&mut self, (file, bytes): (File, u64)) -> io::Result<()> {
        // What is appended to a file that has no name any more is lost, so from here on this is the one. Until its name is
        // synced it passes for too long, and the next line has it written anew first.
        self.file = file;
        sync_name(&self.path)?;
        self.whole_bytes = bytes;
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

    /// Whether the book has the roll before this one, or pledged for this one first. Without that it does not open this one,
    /// except for a new pledge. A book that is ahead of the table knows it too: what is shown is old.
    pub fn knows_before(&self, chain: Hash, table: TableId, roll: u32) -> bool {
        let of = self.kept.get(&(chain, table));
        of.is_some_and(|kept| {
            kept.first >= roll || kept.signed.is_some_and(|signed| signed.roll.saturating_add(1) >= roll)
        })
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
mod tests;
