//! What a player brings to the dice of pledged tables: secrets, beside the key, and on the disk before anything that
//! depends on them is sent.
//!
//! ```text
//!  pledge: a new secret ---> synced ---> its end is pledged for the table's next roll, and opens 4,096 of them
//!  open:   table, roll, block -> synced -> the opening is signed; never a second block for one roll
//! ```
//! A book is a file of lines, each synced before anything is sent that depends on it. Of a table the last opening counts, and the
//! last few secrets: a node that is behind, or lies, has a new one pledged while the end of one before stands on the chain. A
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
/// Secrets that are kept of a table: any of them may be the one whose end stands on the chain.
const SECRETS_KEPT: usize = 4;

/// Why a book cannot be used.
#[derive(Error, Debug)]
pub enum BookError {
    /// Another program pledges with this key.
    #[error("{0} is held by another program: two that pledge with one key could open one roll for two blocks")]
    Held(String),
    /// Others may read the file.
    #[error("{0}: others may read these secrets; run `chmod 600 {0}`")]
    Mode(String),
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

/// A secret of one table of one chain.
struct Secret {
    value: Hash,
    /// The first roll that it opens.
    first: u32,
    /// The number of its last pledge.
    number: u64,
    /// The ends from the first roll on, the secret last; made when they are asked for.
    ends: Vec<Hash>,
}

/// What is kept of one table of one chain.
#[derive(Default)]
struct Kept {
    /// The secrets that were pledged last, oldest first, at most [`SECRETS_KEPT`].
    secrets: Vec<Secret>,
    signed: Option<Signed>,
    /// The certificate of the block for which that was signed, in hex.
    proof: String,
}

impl Kept {
    /// The number of the last pledge.
    fn number(&self) -> u64 {
        self.secrets.last().map_or(0, |secret| secret.number)
    }

    /// Takes up what was pledged: a new secret, or the last one once more.
    fn pledged(&mut self, secret: Secret) {
        self.secrets.pop_if(|last| last.value == secret.value);
        if self.secrets.len() == SECRETS_KEPT {
            self.secrets.remove(0);
        }
        self.secrets.push(secret);
        assert!(self.secrets.len() <= SECRETS_KEPT, "what is kept of a table is bounded");
    }
}

impl Secret {
    /// The end for a roll, if this secret opens that one or the one before. The end of one roll is the value of the roll before.
    fn end(&mut self, (chain, table): &(Hash, TableId), key: &[u8; 32], roll: u32) -> Option<Hash> {
        let place = roll.checked_sub(self.first).filter(|place| *place <= OPENINGS)?;
        if self.ends.is_empty() {
            let mut ends = vec![self.value];
            for roll in (self.first..self.first + OPENINGS).rev() {
                let value = *ends.last().expect("the secret");
                ends.push(pledge_end(chain, *table, key, roll, &value));
            }
            ends.reverse();
            self.ends = ends;
        }
        assert_eq!(self.ends.len(), OPENINGS as usize + 1, "an end for each roll, and the secret");
        Some(self.ends[place as usize])
    }

    /// How many rolls it opens from this one on.
    fn left(&self, roll: u32) -> u32 {
        (self.first + OPENINGS).saturating_sub(roll)
    }
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

/// A new secret, from the system's entropy.
fn drawn() -> io::Result<Hash> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(secret)
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
        if (named.dev(), named.ino()) != (locked.dev(), locked.ino()) {
            return Err(held());
        }
        // As of the key beside it: one that was restored from a copy may have come back with another mode.
        if locked.mode() & 0o077 != 0 { Err(BookError::Mode(path.display().to_string())) } else { Ok(file) }
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
                let secret = Secret { value: secret, first, number, ends: Vec::new() };
                self.kept.entry(place).or_default().pledged(secret);
            }
            ["open", chain, table, roll, height, block, certificate] => {
                let kept = self.kept.get_mut(&place(chain, table)?)?;
                let (roll, height) = (roll.parse::<u32>().ok()?, Height(height.parse().ok()?));
                if u64::from(roll) > COUNTER_MAX {
                    return None;
                }
                kept.signed = Some(Signed { roll, height, block: unhex(block)? });
                certificate.clone_into(&mut kept.proof);
            }
            _ => return None,
        }
        Some(())
    }

    fn pledge_line((chain, table): &(Hash, TableId), secret: &Secret) -> String {
        format!("pledge {} {table} {} {} {}", hex(chain), secret.first, secret.number, hex(&secret.value))
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
            for secret in &kept.secrets {
                text.push_str(&format!("{}\n", Self::pledge_line(place, secret)));
            }
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

    /// The tables of a chain at which something was pledged, the last one first.
    pub fn tables(&self, chain: Hash) -> Vec<TableId> {
        let of_chain = self.kept.iter().filter(|((of, _), _)| *of == chain);
        let mut tables: Vec<(u64, TableId)> = of_chain.map(|((_, table), kept)| (kept.number(), *table)).collect();
        tables.sort_unstable_by(|one, other| other.cmp(one));
        tables.into_iter().map(|(_, table)| table).collect()
    }

    /// A pledge for a table's next roll, once its secret is on disk; not signed yet. The secret is a new one, unless the last one
    /// is for this roll too and has opened nothing: a node that shows again and again that nothing is pledged would have the book
    /// forget the one that is. `now_ms` makes its number higher than that of a pledge of another copy of this key.
    ///
    /// # Errors
    /// If the system gives no randomness, the book cannot be written or its numbers have run out: then nothing may be pledged.
    pub fn pledge(&mut self, chain: Hash, table: TableId, roll: u32, now_ms: u64) -> io::Result<PledgeRow> {
        let place = (chain, table);
        let number = self.number(chain, table).checked_add(1);
        let number = number.ok_or_else(|| io::Error::other("no number is above that of the last pledge"))?;
        let is_unused = |kept: &&Kept| kept.signed.is_none_or(|signed| signed.roll < roll);
        let last = self.kept.get(&place).filter(is_unused).and_then(|kept| kept.secrets.last());
        let value = match last.filter(|secret| secret.first == roll) {
            Some(secret) => secret.value,
            None => drawn()?,
        };
        let mut secret = Secret { value, first: roll, number: number.max(now_ms), ends: Vec::new() };
        self.write(&Self::pledge_line(&place, &secret))?;
        let end = secret.end(&place, &self.key, roll).expect("the first roll of a secret");
        let row = PledgeRow::pledge(self.key, table, roll, secret.number, end);
        self.kept.entry(place).or_default().pledged(secret);
        Ok(row)
    }

    /// The number of the last pledge at a table.
    pub fn number(&self, chain: Hash, table: TableId) -> u64 {
        self.kept.get(&(chain, table)).map_or(0, Kept::number)
    }

    /// The secret whose end for a roll this is, the newest first, if it opens that roll; and what was signed at its table.
    fn secret_of(&mut self, place: (Hash, TableId), roll: u32, end: &Hash) -> Option<(&mut Secret, Option<Signed>)> {
        let (key, kept) = (self.key, self.kept.get_mut(&place)?);
        let signed = kept.signed;
        let own = kept.secrets.iter_mut().rev().find_map(|secret| {
            let is_own = secret.left(roll) > 0 && secret.end(&place, &key, roll) == Some(*end);
            is_own.then_some(secret)
        })?;
        Some((own, signed))
    }

    /// How many rolls can still be opened from this one on, if `end` is what this book has for it; none once they have run out.
    pub fn openings_left(&mut self, chain: Hash, table: TableId, roll: u32, end: &Hash) -> Option<u32> {
        self.secret_of((chain, table), roll, end).map(|(secret, _)| secret.left(roll))
    }

    /// Whether the book has this end for a roll, and the roll before or pledged it for this one first. Without that it does not
    /// open this one, except for a new pledge. A book that is ahead of the table knows the roll before too: what is shown is old.
    pub fn would_open(&mut self, chain: Hash, table: TableId, roll: u32, end: &Hash) -> bool {
        let is_known = |(secret, signed): (&mut Secret, Option<Signed>)| {
            secret.first >= roll || signed.is_some_and(|signed| signed.roll.saturating_add(1) >= roll)
        };
        self.secret_of((chain, table), roll, end).is_some_and(is_known)
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
        let key = self.key;
        let Some((secret, before)) = self.secret_of(place, roll, end) else { return Ok(Err(Unopened::NotOwn)) };
        let value = secret.end(&place, &key, roll + 1).expect("an opening is left");
        let opening = PledgeRow::opening(key, table, roll, value, block);
        if let Err(why) = check_opening(secret.first, before.as_ref(), roll, height, &block) {
            return Ok(Err(why));
        }
        if before.is_some_and(|signed| signed.roll == roll) {
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
