//! What a client's program brings to the dice of a pledged table, where it sees the table over a connection only.
//!
//! It does what `play` does but for the disk: a thousand players on one machine would wait for one disk together.

use std::sync::Arc;
use std::time::{Duration, Instant};

use engine::component::{Pledge, Seat};
use engine::io::{Closing, TableUpdate};
use engine::message::pledge::PledgeRow;
use engine::{AccountId, Hash, TableId};
use order::certificate::{certificate_items, check_certificate_form};
use order::signature::PlayerKey;
use order::validators::Validators;

use crate::players::Half;

/// After so long without an effect a pledge or an opening is sent again.
const AGAIN: Duration = Duration::from_secs(1);

/// What a player was shown of the table where it sits.
struct Shown {
    /// The next roll.
    roll: u32,
    /// The seat of the player, who is alone at the table.
    seat: Seat,
    pledge: Pledge,
    closing: Option<Closing>,
}

/// A player's half at one table.
pub(crate) struct Bringing {
    key: PlayerKey,
    chain: Hash,
    validators: Arc<Validators>,
    half: Half,
    table: TableId,
    shown: Option<Shown>,
    sent: Option<(PledgeRow, Instant)>,
    /// The block for which the last roll was opened.
    opened: Option<(u32, Hash)>,
}

impl Bringing {
    pub(crate) fn new(key: PlayerKey, chain: Hash, validators: Arc<Validators>, table: TableId) -> Self {
        let half = Half::default();
        Self { key, chain, validators, half, table, shown: None, sent: None, opened: None }
    }

    /// Goes to another table.
    pub(crate) fn go_to(&mut self, table: TableId) {
        (self.table, self.shown, self.sent, self.opened) = (table, None, None, None);
    }

    /// The table was shown.
    pub(crate) fn show(&mut self, update: &TableUpdate, whole: bool) {
        let Some(pledge) = update.pledge.filter(|_| update.id == self.table) else { return };
        let seat = update.seats.iter().find(|seat| seat.seat == 0).map(|seat| seat.row);
        let before = self.shown.take().filter(|_| !whole).map(|shown| shown.seat);
        let Some(seat) = seat.or(before) else { return };
        let closing = update.closing.as_deref().cloned();
        self.shown = Some(Shown { roll: update.table.roll_number + 1, seat, pledge, closing });
    }

    /// Whether the account sits there and has something of its own pledged, with no roll that waits: it may call.
    pub(crate) fn may_call(&self, account: AccountId) -> bool {
        let is_own = |shown: &&Shown| self.half.end(shown.roll) == Some(&shown.pledge.end);
        let shown = self.shown.as_ref().filter(|shown| shown.seat.account == account && shown.seat.is_seated());
        shown.filter(is_own).is_some_and(|shown| !shown.pledge.is_frozen() && self.half.end(shown.roll + 1).is_some())
    }

    /// What is to be sent: a pledge, or the opening of a roll that waits.
    pub(crate) fn next(&mut self, account: AccountId) -> Option<PledgeRow> {
        let shown = self.shown.as_ref().filter(|shown| shown.seat.account == account && shown.seat.is_seated())?;
        let (roll, opens) = (shown.roll, shown.pledge.is_frozen());
        let is_it = |row: &PledgeRow| (row.roll, row.is_opening()) == (roll, opens);
        if let Some((row, at)) = self.sent.filter(|(row, _)| is_it(row)) {
            return (at.elapsed() >= AGAIN).then(|| self.send(row));
        }
        let is_own = self.half.end(roll) == Some(&shown.pledge.end);
        let value = self.half.end(roll + 1).copied().filter(|_| is_own);
        match (value, opens) {
            (Some(value), true) => self.open(roll, value),
            (None, true) | (Some(_), false) => None,
            (None, false) => {
                let number = shown.pledge.number + 1;
                self.half.begin(&self.chain, self.table, &self.key.public(), roll);
                let end = *self.half.end(roll).expect("the first roll");
                let row = PledgeRow::pledge(self.key.public(), self.table, roll, number, end);
                Some(self.send(self.key.sign_pledge(row, &self.chain)))
            }
        }
    }

    fn open(&mut self, roll: u32, value: Hash) -> Option<PledgeRow> {
        let shown = self.shown.as_ref()?;
        let (block, Closing { header, certificate }) = (shown.pledge.block, shown.closing.as_ref()?);
        let is_decided = header.hash() == block
            && check_certificate_form(certificate, &self.validators, header.height, &block).is_ok()
            && certificate_items(certificate, &self.validators, &self.chain).all(|item| item.verify());
        if !is_decided || self.opened.is_some_and(|(of, for_block)| of == roll && for_block != block) {
            return None;
        }
        self.opened = Some((roll, block));
        let row = PledgeRow::opening(self.key.public(), self.table, roll, value, block);
        Some(self.send(self.key.sign_pledge(row, &self.chain)))
    }

    fn send(&mut self, row: PledgeRow) -> PledgeRow {
        self.sent = Some((row, Instant::now()));
        row
    }
}
