//! The player's half of the dice at pledged tables: pledges when nothing of its own is pledged, and opens each roll once, for
//! a block that a quorum of validators certified. It opens at every table where the player sits, whatever else is looked at.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use engine::component::{Pledge, Seat, Table};
use engine::io::{Closing, TableUpdate};
use engine::limits::TIME_MS_MAX;
use engine::message::pledge::PledgeRow;
use engine::{AccountId, Hash, TableId, hex};
use keys::pledges::{PledgeBook, Unopened, beside};
use order::certificate::{certificate_items, check_certificate_form};
use order::signature::{PlayerKey, SignedItem};
use order::validators::Validators;
use words::sentences::Severity;

/// After this long without an effect a pledge or an opening is sent again.
const AGAIN: Duration = Duration::from_millis(500);

/// The highest number of another program's pledge from which this one counts on. Numbers are milliseconds since the Unix epoch or a few
/// above; a node that shows one that is far beyond those would have the book count to where no later pledge is above it.
const COUNTED_FROM_MAX: u64 = 1 << 60;
const _: () = assert!(COUNTED_FROM_MAX > TIME_MS_MAX);

/// What is to be done next.
#[derive(Debug)]
pub(super) enum PledgeStep {
    /// Send it.
    Send(PledgeRow),
    /// Tell the player.
    Say(Severity, String),
    /// Go on at another node: what this one shows is not enough to open a roll.
    Leave,
}

/// Both halves of a roll.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Halves {
    /// The roll.
    pub roll: u32,
    /// What the player opened.
    pub own: Hash,
    /// The beacon of the block that closed the bets.
    pub theirs: [u8; 48],
    /// Openings that are left of the pledge.
    pub left: u32,
}

/// A pledged table as it was shown last.
struct Shown {
    table: Table,
    /// Its only seat.
    seat: Seat,
    pledge: Pledge,
    closing: Option<Closing>,
    /// The roll that waited when the table was shown before.
    waited: Option<(u32, Pledge)>,
    sent: Option<(PledgeRow, Instant)>,
    /// What was said of it last, so that it is said once.
    said: String,
    /// When something failed as it is shown now.
    failed: Option<Instant>,
    /// How many nodes were left for a roll, and which one.
    left: (u32, usize),
}

impl Shown {
    fn is_of(&self, account: AccountId) -> bool {
        self.seat.account == account
    }

    fn next_roll(&self) -> u32 {
        self.table.roll_number + 1
    }

    /// Whether the node is left for the next one because of the roll that waits: each roll has every other node tried once, or a client
    /// would go round for as long as none of them has its block.
    fn leaves(&mut self, others: usize) -> bool {
        let roll = self.next_roll();
        let count = if self.left.0 == roll { self.left.1 } else { 0 };
        self.left = (roll, count + usize::from(count < others));
        count < others
    }

    /// Whether a pledge of somebody else's stands, made after the last one of this program's. To pledge over it once more would have
    /// two programs pledge over each other for ever, and whichever is closed then loses the bets of a roll that was called at the other.
    fn is_pledged_over(&self) -> bool {
        let is_behind = |(row, _): (PledgeRow, Instant)| !row.is_opening() && row.number <= self.pledge.number;
        self.pledge.end != [0; 32] && self.sent.is_some_and(is_behind)
    }
}

/// The player's half of the dice.
pub(super) struct Pledging {
    book: Result<PledgeBook, String>,
    /// When the book was tried to be opened last.
    tried: Instant,
    /// Where the book lies.
    path: PathBuf,
    /// The public key whose book it is.
    key: [u8; 32],
    chain: Hash,
    validators: Validators,
    tables: BTreeMap<TableId, Shown>,
    /// How many nodes there are beside the one that is connected.
    others: usize,
    has_begun: bool,
    /// It was said that the book is damaged.
    has_said: bool,
}

impl Pledging {
    pub(super) fn new(key_path: &Path, key: [u8; 32], chain: Hash, validators: Validators, others: usize) -> Self {
        let path = beside(key_path);
        let book = PledgeBook::open(&path, key).map_err(|error| error.to_string());
        let (tried, tables) = (Instant::now(), BTreeMap::new());
        Self { book, tried, path, key, chain, validators, tables, others, has_begun: false, has_said: false }
    }

    /// Opens the book again that could not be had before: the program that held it may have ended, and a roll that waits is lost
    /// if nobody opens it. Says whether it is had now.
    pub(super) fn try_book(&mut self) -> bool {
        if self.book.is_ok() || self.tried.elapsed() < AGAIN {
            return false;
        }
        self.tried = Instant::now();
        self.book = PledgeBook::open(&self.path, self.key).map_err(|error| error.to_string());
        self.book.is_ok()
    }

    /// The tables at which this key pledged before: a roll may wait there. The last one first.
    pub(super) fn tables(&self) -> Vec<TableId> {
        self.book.as_ref().map_or_else(|_| Vec::new(), |book| book.tables(self.chain))
    }

    /// A table is not shown any more.
    pub(super) fn forget(&mut self, table: TableId) {
        self.tables.remove(&table);
    }

    /// Whether an account has the seat of a table, as it was shown last; nothing while it was not.
    pub(super) fn sits(&self, table: TableId, account: AccountId) -> Option<bool> {
        self.tables.get(&table).map(|shown| shown.is_of(account))
    }

    /// A table was shown. Says what the roll that was opened was made of, if it is the account's.
    pub(super) fn show(&mut self, update: &TableUpdate, whole: bool, account: Option<AccountId>) -> Option<Halves> {
        let pledge = update.pledge?;
        let before = self.tables.remove(&update.id);
        // What changed at a table of which nothing is known yet: the whole comes.
        let seat = update.seats.iter().find(|seat| seat.seat == 0).map(|seat| seat.row);
        let seat = seat.or(before.as_ref().filter(|_| !whole).map(|before| before.seat))?;
        let (waited, sent, said, left) =
            before.map_or_else(Default::default, |before| (before.waited, before.sent, before.said, before.left));
        let closing = update.closing.as_deref().cloned();
        let mut shown = Shown { table: update.table, seat, pledge, closing, waited, sent, said, failed: None, left };
        let halves = self.rolled(&mut shown, update.id).filter(|_| account == Some(seat.account));
        self.tables.insert(update.id, shown);
        halves
    }

    /// What the roll that waited was made of, if it was opened.
    fn rolled(&mut self, shown: &mut Shown, table: TableId) -> Option<Halves> {
        let next = shown.next_roll();
        if shown.pledge.is_frozen() {
            shown.waited = Some((next, shown.pledge));
            return None;
        }
        let (roll, waited) = shown.waited.take()?;
        let left = self.book.as_mut().ok()?.openings_left(self.chain, table, next, &shown.pledge.end);
        let is_opened = roll + 1 == next && shown.table.dice != [0, 0];
        is_opened.then_some(Halves { roll, own: shown.pledge.end, theirs: waited.beacon, left: left.unwrap_or(0) })
    }

    /// What is to be done: rolls of the account's are opened wherever it sits, and `here` something of its own is pledged.
    pub(super) fn steps(
        &mut self,
        account: Option<AccountId>,
        here: TableId,
        key: &PlayerKey,
        now_ms: u64,
    ) -> Vec<PledgeStep> {
        let Some(account) = account else { return Vec::new() };
        let own = |(_, shown): &(&TableId, &mut Shown)| shown.is_of(account) && shown.seat.is_seated();
        let mut own: Vec<(TableId, &mut Shown)> =
            self.tables.iter_mut().filter(own).map(|(table, shown)| (*table, shown)).collect();
        own.retain(|(table, shown)| shown.pledge.is_frozen() || *table == here);
        let mut half = Half { book: &mut self.book, path: &self.path, chain: self.chain, validators: &self.validators };
        let mut steps = Vec::new();
        let damaged_count = half.book.as_ref().map_or(0, PledgeBook::damaged_count);
        if damaged_count > 0 && !std::mem::replace(&mut self.has_said, true) {
            steps.push(PledgeStep::Say(Severity::Warning, damaged_words(&self.path, damaged_count)));
        }
        for (table, shown) in own {
            match half.bring(table, shown, now_ms) {
                Ok(Some(row)) => {
                    let row = key.sign_pledge(row, &self.chain);
                    shown.sent = Some((row, Instant::now()));
                    if !row.is_opening() && !std::mem::replace(&mut self.has_begun, true) {
                        steps.push(PledgeStep::Say(Severity::Info, first_words(&self.path)));
                    }
                    steps.push(PledgeStep::Send(row));
                }
                Ok(None) => {}
                Err(problem) => {
                    shown.failed = Some(Instant::now());
                    if half.lacks_decision(shown) && shown.leaves(self.others) {
                        steps.push(PledgeStep::Leave);
                    }
                    if shown.said != problem {
                        shown.said.clone_from(&problem);
                        steps.push(PledgeStep::Say(Severity::Warning, problem));
                    }
                }
            }
        }
        steps
    }
}

fn first_words(path: &Path) -> String {
    let path = path.display();
    format!(
        "half of this table's dice is yours: a secret in {path}. If it is lost while a roll waits, the bets on the table are \
         lost, and nothing else; this program opens each roll at once, so leave it running until the dice fall"
    )
}

fn damaged_words(path: &Path, count: u32) -> String {
    let path = path.display();
    format!(
        "{path} is damaged: {count} of its lines are not what was written. If the last opening of a table was among them, this program \
         does not know any more for which block it opened that roll"
    )
}

/// The book, and what its openings are held against.
struct Half<'a> {
    book: &'a mut Result<PledgeBook, String>,
    path: &'a Path,
    chain: Hash,
    validators: &'a Validators,
}

impl Half<'_> {
    /// The next row for a table, not signed yet.
    fn bring(&mut self, table: TableId, shown: &Shown, now_ms: u64) -> Result<Option<PledgeRow>, String> {
        let (roll, opens) = (shown.next_roll(), shown.pledge.is_frozen());
        if let Some((row, at)) = shown.sent
            && (row.roll, row.is_opening()) == (roll, opens)
            && at.elapsed() < AGAIN
        {
            return Ok(None);
        }
        // A table whose numbers have ended rolls no more, and a book knows of no roll beyond them.
        if !shown.table.has_next_number() || shown.failed.is_some_and(|at| at.elapsed() < AGAIN) {
            return Ok(None);
        }
        if opens { self.open(table, roll, shown).map(Some) } else { self.pledge(table, roll, shown, now_ms) }
    }

    /// A pledge, if nothing of the player's own is pledged, or what is pledged would not be opened.
    fn pledge(&mut self, table: TableId, roll: u32, shown: &Shown, now_ms: u64) -> Result<Option<PledgeRow>, String> {
        let stands = &shown.pledge;
        let book = self.book.as_mut().map_err(|problem| format!("nothing is pledged here: {problem}"))?;
        // A book that was restored could not open the coming roll with what is pledged already, and loses its bets.
        if book.would_open(self.chain, table, roll, &stands.end) {
            return Ok(None);
        }
        // What the book counted to itself, it counts on from.
        if stands.number > COUNTED_FROM_MAX.max(book.number(self.chain, table)) {
            return Err(format!(
                "table {table}: nothing is pledged here: the node shows a pledge with the number {}, to which no honest program counts. \
                 If another node shows it too, leave this table and sit down again",
                stands.number
            ));
        }
        if book.openings_left(self.chain, table, roll, &stands.end).is_none() && shown.is_pledged_over() {
            let path = self.path.display();
            return Err(format!(
                "table {table}: another program pledged with this key after this one, from a copy of {path}: only that one can open \
                 the rolls there. End it, and start this one again, to play on here"
            ));
        }
        // The same pledge again, while nobody shows it: a new secret for each try would fill the book.
        let is_it = |row: &PledgeRow| (row.roll, row.is_opening()) == (roll, false) && row.number > stands.number;
        if let Some((row, _)) = shown.sent.filter(|(row, _)| is_it(row)) {
            return Ok(Some(row));
        }
        let number = now_ms.max(stands.number.saturating_add(1));
        let row = book.pledge(self.chain, table, roll, number);
        row.map(Some).map_err(|error| format!("nothing is pledged: {}: {error}", self.path.display()))
    }

    /// The block that closed the bets of the roll that waits, which is shown to be decided; or what is missing.
    fn decided<'s>(&self, shown: &'s Shown) -> Result<&'s Closing, &'static str> {
        let closing = shown.closing.as_ref().ok_or("the node does not show the block that closed the bets")?;
        let Closing { header, certificate } = closing;
        let is_block = header.hash() == shown.pledge.block && header.chain == self.chain;
        let is_decided = is_block
            && check_certificate_form(certificate, self.validators, header.height, &shown.pledge.block).is_ok()
            && certificate_items(certificate, self.validators, &self.chain).all(|item: SignedItem<'_>| item.verify());
        if is_decided { Ok(closing) } else { Err("no quorum of validators answers for the block that closed the bets") }
    }

    /// Whether a roll waits for want of its block. Another node may have that; whatever else is missing, is missing here.
    fn lacks_decision(&self, shown: &Shown) -> bool {
        shown.pledge.is_frozen() && self.book.is_ok() && self.decided(shown).is_err()
    }

    /// The opening of the roll that waits, for a block that is shown to be decided.
    fn open(&mut self, table: TableId, roll: u32, shown: &Shown) -> Result<PledgeRow, String> {
        let unsure = |why: &str| format!("roll {table}:{roll} is not opened, and its bets will be lost: {why}");
        if let Err(problem) = &self.book {
            return Err(unsure(problem));
        }
        let Closing { header, certificate } = self.decided(shown).map_err(unsure)?;
        let book = self.book.as_mut().map_err(|problem| unsure(problem))?;
        let opening = book.open_roll(self.chain, table, roll, &shown.pledge.end, header.height, certificate);
        match opening.map_err(|error| unsure(&error.to_string()))? {
            Ok(row) => Ok(row),
            Err(Unopened::OtherBlock) => {
                let path = self.path.display();
                Err(unsure(&format!("{}. The certificate of the first is in {path}", Unopened::OtherBlock)))
            }
            Err(why) => Err(unsure(&why.to_string())),
        }
    }
}

impl Halves {
    /// For people.
    pub fn words(&self, table: TableId) -> String {
        let (own, theirs) = (hex(&self.own[..4]), hex(&self.theirs[..4]));
        let left = self.left;
        format!("roll {table}:{}: your half {own}.., their half {theirs}..; {left} openings left", self.roll)
    }
}

#[cfg(test)]
mod tests;
