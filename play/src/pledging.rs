//! The player's half of the dice at a pledged table: pledges when nothing of its own is pledged, and opens each roll once, for
//! a block that a quorum of validators certified.

use std::path::Path;
use std::time::{Duration, Instant};

use engine::component::Pledge;
use engine::io::Closing;
use engine::message::intent::IntentId;
use engine::message::pledge::PledgeRow;
use engine::{Hash, TableId, hex};
use keys::pledges::{PledgeBook, Unopened, beside};
use order::certificate::{certificate_items, check_certificate_form};
use order::signature::{PlayerKey, SignedItem};
use order::validators::Validators;
use words::sentences::Severity;

use super::model::Game;

/// After this long without an effect a pledge or an opening is sent again.
const AGAIN: Duration = Duration::from_millis(500);

/// What was shown of the watched table.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Shown {
    pub pledge: Pledge,
    pub closing: Option<Closing>,
}

/// What is to be done next.
pub(super) enum Step {
    /// Send it.
    Send(PledgeRow),
    /// Tell the player.
    Say(Severity, String),
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

/// The player's half of the dice.
pub(super) struct Pledging {
    book: Result<PledgeBook, String>,
    /// Where the book lies, for people.
    path: String,
    chain: Hash,
    validators: Validators,
    shown: Option<Shown>,
    /// The roll that waited when the table was last shown.
    waited: Option<(u32, Pledge)>,
    sent: Option<(PledgeRow, Instant)>,
    /// What was said last, so that it is said once.
    said: String,
    has_begun: bool,
}

impl Pledging {
    pub(super) fn new(key_path: &Path, key: [u8; 32], chain: Hash, validators: Validators) -> Self {
        let path = beside(key_path);
        let book = PledgeBook::open(&path, key).map_err(|error| error.to_string());
        Self {
            book,
            path: path.display().to_string(),
            chain,
            validators,
            shown: None,
            waited: None,
            sent: None,
            said: String::new(),
            has_begun: false,
        }
    }

    /// Another table is watched.
    pub(super) fn forget(&mut self) {
        (self.shown, self.waited, self.sent) = (None, None, None);
    }

    /// Whether an answer is to a pledge or an opening: what came of those the table shows.
    pub(super) fn is_own(&self, id: &IntentId) -> bool {
        self.sent.is_some_and(|(row, _)| row.id() == *id)
    }

    /// Whether a roll of the player's own waits for its opening.
    pub(super) fn waits(&self, game: &Game) -> bool {
        game.own_seat().is_some() && self.shown.as_ref().is_some_and(|shown| shown.pledge.is_frozen())
    }

    /// The table was shown. Says what the roll that was opened was made of.
    pub(super) fn show(&mut self, shown: Option<Shown>, game: &Game) -> Option<Halves> {
        self.shown = shown;
        let (shown, table) = (self.shown.as_ref()?, game.table.as_ref()?.row);
        let next = table.roll_number + 1;
        if shown.pledge.is_frozen() {
            self.waited = game.own_seat().map(|_| (next, shown.pledge));
            return None;
        }
        let (roll, waited) = self.waited.take()?;
        let left = self.book.as_mut().ok()?.openings_left(self.chain, game.watched, next, &shown.pledge.end);
        let is_opened = roll + 1 == next && table.dice != [0, 0];
        is_opened.then_some(Halves { roll, own: shown.pledge.end, theirs: waited.beacon, left: left.unwrap_or(0) })
    }

    /// What is to be done at the table as it was shown last.
    pub(super) fn steps(&mut self, game: &Game, key: &PlayerKey, now_ms: u64) -> Vec<Step> {
        let Some(shown) = self.shown.clone() else { return Vec::new() };
        let sits = game.own_seat().is_some_and(|(_, view)| view.seat.is_seated());
        let Some(table) = game.table.as_ref().filter(|_| sits) else { return Vec::new() };
        let (id, roll) = (game.watched, table.row.roll_number + 1);
        let opens = shown.pledge.is_frozen();
        if let Some((row, at)) = self.sent
            && (row.roll, row.is_opening()) == (roll, opens)
            && at.elapsed() < AGAIN
        {
            return Vec::new();
        }
        let done = if opens { self.open(id, roll, &shown) } else { self.pledge(id, roll, &shown.pledge, now_ms) };
        match done {
            Ok(Some(row)) => {
                let row = key.sign_pledge(row, &self.chain);
                self.sent = Some((row, Instant::now()));
                let begins = !opens && !std::mem::replace(&mut self.has_begun, true);
                let warning = begins.then(|| Step::Say(Severity::Info, self.first_words()));
                warning.into_iter().chain([Step::Send(row)]).collect()
            }
            Ok(None) => Vec::new(),
            Err(problem) if problem == self.said => Vec::new(),
            Err(problem) => {
                self.said.clone_from(&problem);
                vec![Step::Say(Severity::Warning, problem)]
            }
        }
    }

    fn first_words(&self) -> String {
        format!(
            "half of this table's dice is yours: a secret in {}. If it is lost while a roll waits, the bets on the table are \
             lost, and nothing else; this program opens each roll at once, so leave it running until the dice fall",
            self.path
        )
    }

    /// A pledge, if nothing of the player's own is pledged, or no opening is left of it.
    fn pledge(&mut self, table: TableId, roll: u32, stands: &Pledge, now_ms: u64) -> Result<Option<PledgeRow>, String> {
        let book = self.book.as_mut().map_err(|problem| format!("nothing is pledged here: {problem}"))?;
        if book.openings_left(self.chain, table, roll, &stands.end).is_some() {
            return Ok(None);
        }
        // The same pledge again, while nobody shows it: a new secret for each try would fill the book.
        let is_it = |row: &PledgeRow| (row.roll, row.is_opening()) == (roll, false) && row.number > stands.number;
        if let Some((row, _)) = self.sent.filter(|(row, _)| is_it(row)) {
            return Ok(Some(row));
        }
        let number = now_ms.max(stands.number + 1);
        let row = book.pledge(self.chain, table, roll, number);
        row.map(Some).map_err(|error| format!("nothing is pledged: {}: {error}", self.path))
    }

    /// The opening of the roll that waits, for a block that is shown to be decided.
    fn open(&mut self, table: TableId, roll: u32, shown: &Shown) -> Result<Option<PledgeRow>, String> {
        let unsure = |why: &str| format!("roll {table}:{roll} is not opened, and its bets will be lost: {why}");
        let book = self.book.as_mut().map_err(|problem| unsure(problem))?;
        let closing =
            shown.closing.as_ref().ok_or_else(|| unsure("the node does not show the block that closed the bets"))?;
        let Closing { header, certificate } = closing;
        let is_block = header.hash() == shown.pledge.block && header.chain == self.chain;
        let is_decided = is_block
            && check_certificate_form(certificate, &self.validators, header.height, &shown.pledge.block).is_ok()
            && certificate_items(certificate, &self.validators, &self.chain).all(|item: SignedItem<'_>| item.verify());
        if !is_decided {
            return Err(unsure("no quorum of validators answers for the block that closed the bets"));
        }
        let opening = book.open_roll(self.chain, table, roll, &shown.pledge.end, header.height, certificate);
        match opening.map_err(|error| unsure(&error.to_string()))? {
            Ok(row) => Ok(Some(row)),
            Err(Unopened::OtherBlock) => {
                Err(unsure(&format!("{}. The certificate of the first is in {}", Unopened::OtherBlock, self.path)))
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
