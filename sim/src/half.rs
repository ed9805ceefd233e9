//! A simulated player's half of the dice, and all that can be done wrong with it: openings that are withheld, late, repeated,
//! early, foreign or copied; secrets that are lost; programs that were restored from a copy.

use engine::component::Pledge;
use engine::io::Verdict;
use engine::message::pledge::{PledgeRow, pledge_end};
use engine::{Hash, Height, TableId};
use keys::pledges::{Signed, Unopened, check_opening};
use net::wire::{Answer, AnswerVerdict};
use order::signature::PlayerKey;

use crate::draw::Draw;
use crate::queue::Time;

/// Openings of one pledge: few, so that pledging anew is seen often.
const OPENINGS: u32 = 8;
/// After so long without an effect a pledge or an opening is sent again.
const AGAIN: Time = 500_000;
/// Rows of which the answers are awaited.
const AWAITED: usize = 16;

/// What a node shows of a table.
#[derive(Clone, Copy, Debug)]
pub struct Look {
    /// The next roll.
    pub roll: u32,
    /// What its player pledged, and what closed the bets.
    pub pledge: Pledge,
    /// The key of whoever sits there.
    pub seated: Option<[u8; 32]>,
    /// The height of the block that closed the bets, if that is known to be decided.
    pub closed_at: Option<Height>,
    /// The last opening that is in a block, of whoever it was.
    pub last: Option<PledgeRow>,
}

/// A chain of hashes, and what was signed of it: what a copy of the program's disk has.
#[derive(Clone, Default)]
struct Kept {
    first: u32,
    /// The ends from the first roll on, the secret last. Empty once the secret is lost.
    ends: Vec<Hash>,
    signed: Option<Signed>,
}

impl Kept {
    fn end(&self, roll: u32) -> Option<&Hash> {
        self.ends.get(roll.checked_sub(self.first)? as usize)
    }
}

/// A row that is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// The row.
    pub row: PledgeRow,
    /// What is wrong with it, if something is.
    pub wrong: Option<Wrong>,
}

/// What may be wrong with a row on purpose.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wrong {
    /// Nobody closed the bets yet.
    Early,
    /// The roll was forfeited.
    Late,
    /// Somebody else sits there, or it was somebody else's.
    Foreign,
}

/// A player's half at one table.
pub struct Half {
    chain: Hash,
    table: TableId,
    kept: Kept,
    /// A copy from before.
    copy: Option<Kept>,
    /// The last roll that is not opened on purpose, and what would have opened it.
    withheld: Option<(u32, Option<PledgeRow>)>,
    sent: Option<(u32, bool, Time)>,
    awaited: Vec<Row>,
    /// Rolls that were not opened, since what became of the one before is not known.
    pub unsure: u64,
}

impl Half {
    /// At a table.
    pub fn new(chain: Hash, table: TableId) -> Self {
        let (kept, copy, withheld, sent, awaited) = (Kept::default(), None, None, None, Vec::new());
        Self { chain, table, kept, copy, withheld, sent, awaited, unsure: 0 }
    }

    /// What is sent at a time, after a look at the table.
    pub fn act(&mut self, look: &Look, key: &PlayerKey, now: Time, draw: &mut Draw) -> Vec<Row> {
        self.suffer(draw);
        let mut rows = Vec::new();
        let sits = look.seated == Some(key.public());
        match () {
            () if !sits => rows.extend(self.meddle(look, key, draw)),
            () if look.pledge.is_frozen() => rows.extend(self.open(look, key, now, draw)),
            () => rows.extend(self.pledge(look, key, now, draw)),
        }
        rows.extend(self.late(look, draw));
        for row in &rows {
            if self.awaited.len() == AWAITED {
                self.awaited.remove(0);
            }
            self.awaited.push(*row);
        }
        rows
    }

    /// The disk is lost, copied, or replaced by its copy.
    fn suffer(&mut self, draw: &mut Draw) {
        match draw.below(200) {
            0 => self.kept.ends.clear(),
            1..6 => self.copy = Some(self.kept.clone()),
            6..9 => self.kept = self.copy.clone().unwrap_or_default(),
            _ => {}
        }
    }

    fn is_sent(&self, roll: u32, opens: bool, now: Time) -> bool {
        self.sent.is_some_and(|(of, opened, at)| (of, opened) == (roll, opens) && now < at + AGAIN)
    }

    fn pledge(&mut self, look: &Look, key: &PlayerKey, now: Time, draw: &mut Draw) -> Option<Row> {
        let roll = look.roll;
        let is_own = self.kept.end(roll) == Some(&look.pledge.end) && self.kept.end(roll + 1).is_some();
        if is_own {
            // The block that will close the bets is one that nobody knows yet.
            let value = *self.kept.end(roll + 1).filter(|_| draw.in_thousand(40))?;
            let row = PledgeRow::opening(key.public(), self.table, roll, value, [draw.bits() as u8; 32]);
            return Some(Row { row: key.sign_pledge(row, &self.chain), wrong: Some(Wrong::Early) });
        }
        if self.is_sent(roll, false, now) {
            return None;
        }
        let mut secret = [0; 32];
        secret[..8].copy_from_slice(&draw.bits().to_le_bytes());
        let mut ends = vec![secret];
        for roll in (roll..roll + OPENINGS).rev() {
            ends.push(pledge_end(&self.chain, self.table, &key.public(), roll, ends.last().expect("the secret")));
        }
        ends.reverse();
        let row = PledgeRow::pledge(key.public(), self.table, roll, look.pledge.number + 1 + now, ends[0]);
        self.kept = Kept { first: roll, ends, signed: self.kept.signed };
        self.sent = Some((roll, false, now));
        Some(Row { row: key.sign_pledge(row, &self.chain), wrong: None })
    }

    fn open(&mut self, look: &Look, key: &PlayerKey, now: Time, draw: &mut Draw) -> Option<Row> {
        let (roll, height) = (look.roll, look.closed_at?);
        if self.kept.end(roll) != Some(&look.pledge.end) || self.is_sent(roll, true, now) {
            return None;
        }
        let value = *self.kept.end(roll + 1)?;
        if self.withheld.is_some_and(|(of, _)| of == roll) {
            return None;
        }
        let (first, signed) = (self.kept.first, self.kept.signed);
        match check_opening(first, signed.as_ref(), roll, height, &look.pledge.block) {
            Ok(()) => {}
            Err(why) => {
                self.unsure += u64::from(why == Unopened::Unsure);
                return None;
            }
        }
        self.kept.signed = Some(Signed { roll, height, block: look.pledge.block });
        let row = PledgeRow::opening(key.public(), self.table, roll, value, look.pledge.block);
        let row = key.sign_pledge(row, &self.chain);
        if draw.in_thousand(80) {
            self.withheld = Some((roll, Some(row)));
            return None;
        }
        self.sent = Some((roll, true, now));
        Some(Row { row, wrong: None })
    }

    /// What was withheld is opened after all, once it is too late.
    fn late(&mut self, look: &Look, draw: &mut Draw) -> Option<Row> {
        let (_, row) = self.withheld.as_mut().filter(|(roll, _)| *roll < look.roll)?;
        let row = row.take().filter(|_| draw.below(2) == 0)?;
        Some(Row { row, wrong: Some(Wrong::Late) })
    }

    /// Somebody else sits there: what they opened is sent again, or signed by another key, or another value is opened.
    fn meddle(&mut self, look: &Look, key: &PlayerKey, draw: &mut Draw) -> Option<Row> {
        if look.seated.is_none() || !draw.in_thousand(300) {
            return None;
        }
        let (roll, block) = (look.roll, look.pledge.block);
        let row = match (draw.below(4), look.last) {
            (0, Some(last)) => last,
            (1, Some(last)) => {
                let row = PledgeRow { key: key.public(), roll, block, ..last };
                key.sign_pledge(row, &self.chain)
            }
            (2, _) => {
                let row = PledgeRow::pledge(key.public(), self.table, roll, look.pledge.number + 1, look.pledge.end);
                key.sign_pledge(row, &self.chain)
            }
            _ => {
                // In the name of whoever sits there, under a signature that is none.
                let seated = look.seated.unwrap_or_default();
                PledgeRow { signature: [7; 64], ..PledgeRow::opening(seated, self.table, roll, [1; 32], block) }
            }
        };
        row.check_form().is_ok().then_some(Row { row, wrong: Some(Wrong::Foreign) })
    }

    /// Hears an answer. Returns what it is about, if it was sent here.
    pub fn hear(&mut self, answer: &Answer) -> Option<Row> {
        let place = self.awaited.iter().position(|row| row.row.id() == answer.id)?;
        let row = self.awaited[place];
        if matches!(answer.verdict, AnswerVerdict::Receipt { verdict: Verdict::Applied, .. }) {
            self.awaited.remove(place);
        }
        Some(row)
    }
}
