//! The search for one roll of a table, and what happened at it.

use std::cmp::Ordering;

use engine::limits::ROLL_ENTRIES_MAX;
use engine::message::intent::IntentKind;
use engine::{Height, TableId};
use words::Failure;

use super::{Answer, History, Question};
use crate::history::cache::HeldPage;
use crate::history::entry::{Entry, Event, Subject};
use crate::history::rows::FORFEITED;
use crate::walker::GivenUp;

/// The heights at which a table's entries use up the number of a roll: by its dice, or without any, where it was called and
/// forfeited. A player's bets that nobody rolled for are forfeited without a call, and use up none.
fn numbers_used(entries: &[Entry]) -> Vec<Height> {
    let (mut used, mut is_called) = (Vec::new(), false);
    for entry in entries {
        match &entry.event {
            Event::Intent(row) if row.kind() == IntentKind::Roll => is_called = true,
            Event::Roll(_) => {
                used.push(entry.height);
                is_called = false;
            }
            Event::Leaving(row) if row.absent == FORFEITED => {
                used.extend(is_called.then_some(entry.height));
                is_called = false;
            }
            _ => {}
        }
    }
    used
}

impl History {
    /// What happened at a table after the roll before `number` and up to that roll: bets, dice, payouts, or the forfeit of a
    /// roll that was not opened in time.
    ///
    /// # Errors
    /// As [`History::height_of_roll`].
    pub fn roll(&self, table: TableId, number: u32) -> anyhow::Result<Answer> {
        let to = self.height_of_roll(table, number)?;
        let mut limit = ROLL_ENTRIES_MAX;
        loop {
            let question =
                Question { subject: Subject::Table(table), from: Height(1), to: Some(to), limit, opened: false };
            let Answer { mut entries, older, given_up } = self.answer(&question)?;
            let before = numbers_used(&entries).into_iter().rfind(|height| *height < to);
            if let Some(before) = before {
                entries.retain(|entry| entry.height > before);
            } else if older.is_some() {
                // Nobody knows how much lies between two rolls: more is asked for until the one before is in it.
                limit *= 4;
                continue;
            }
            // Where the roll before was given up, so may be bets on this one.
            return Ok(Answer { entries, older: None, given_up: given_up && before.is_none() });
        }
    }

    /// The height of a table's roll, or at which it was forfeited.
    ///
    /// # Errors
    /// If there was no such roll yet, or the session is damaged.
    pub fn height_of_roll(&self, table: TableId, number: u32) -> anyhow::Result<Height> {
        let mut search = Search::new(table, number);
        let mut first = None;
        let mut walker = self.walk(None, |page, parts| {
            first = first.or(Some(page));
            search.on_page(parts);
            Ok(())
        })?;
        let rolled = walker.machine().read(|rows| rows.tables.get(table.index()).map(|row| row.roll_number));
        match rolled {
            None => {
                let last = self.setup.genesis.tables - 1;
                return Err(Failure::Data(format!("there is no table {table}; tables are numbered 0 to {last}")).into());
            }
            Some(rolled) if number == 0 || number > rolled => {
                let text = format!("table {table} has rolled {rolled} times; its rolls are numbered from 1");
                return Err(Failure::Data(text).into());
            }
            Some(_) => {}
        }
        // The walk has shown all pages from `high` on: one below may hold the roll.
        search.high = first.unwrap_or(0);
        while search.found.is_none() && search.low < search.high {
            let middle = search.low + (search.high - search.low) / 2;
            self.probe(&mut search, middle)?;
        }
        let found = match search.found {
            Some(height) => Some(height),
            None => self.without_dice(&search)?,
        };
        found.ok_or_else(|| {
            let text = format!("roll {table}:{number} is not in what is left of the session");
            Failure::Data(text).into()
        })
    }

    /// The height at which a roll's number was used up without dice: those between the two rolls beside it were, one after another.
    fn without_dice(&self, search: &Search) -> anyhow::Result<Option<Height>> {
        let Some((roll, height)) = search.before() else { return Ok(None) };
        assert!(roll < search.number, "a roll that was not found lies behind those below it");
        let to = search.above.map(|(_, height)| height.back(1));
        let subject = Subject::Table(search.table);
        let between = Question { subject, from: height.next(), to, limit: usize::MAX, opened: false };
        let used = numbers_used(&self.answer(&between)?.entries);
        Ok(used.get((search.number - roll - 1) as usize).copied())
    }

    /// Looks from a page downwards until one has rolls of the table, and narrows the search by what it has.
    fn probe(&self, search: &mut Search, middle: u64) -> anyhow::Result<()> {
        let subject = Subject::Table(search.table);
        let mut next = self.active(&subject, middle);
        while let Some(page) = next.filter(|page| *page >= search.low) {
            let seen = match self.cached(page) {
                Some(parts) => search.on_page(&parts),
                None => {
                    let mut seen = None;
                    let walked = self.walk(Some(page), |_, parts| {
                        seen = search.on_page(parts);
                        Ok(())
                    });
                    match walked {
                        // The journal gave this page up: what is left of it begins above.
                        Err(error) if error.is::<GivenUp>() => {
                            search.low = page + 1;
                            search.given_up = true;
                            return Ok(());
                        }
                        walked => walked?,
                    };
                    seen
                }
            };
            if let Some((lowest, highest)) = seen {
                // A table's rolls are numbered one after another, so one page with some of them says on which side this
                // one lies.
                if search.number < lowest {
                    search.high = page;
                } else if search.number > highest {
                    search.low = middle + 1;
                } else if search.found.is_none() {
                    // It lies among them and is not there: it has no dice, and no other page can have it.
                    search.high = search.low;
                }
                return Ok(());
            }
            next = page.checked_sub(1).and_then(|below| self.active(&subject, below));
        }
        // No page up to the middle has a roll of the table that was not looked at: it lies above.
        search.low = middle + 1;
        Ok(())
    }
}

/// The search for a roll among pages.
struct Search {
    table: TableId,
    number: u32,
    low: u64,
    high: u64,
    found: Option<Height>,
    /// The nearest rolls of the table on both sides that were seen, with their heights.
    below: Option<(u32, Height)>,
    above: Option<(u32, Height)>,
    /// Whether the journal gave up a page that was looked for: rolls may have been there.
    given_up: bool,
}

impl Search {
    fn new(table: TableId, number: u32) -> Self {
        Self { table, number, low: 0, high: 0, found: None, below: None, above: None, given_up: false }
    }

    /// The roll before the one that is searched, which follows the beginning of the session where it is the first; none where
    /// nobody knows.
    fn before(&self) -> Option<(u32, Height)> {
        self.below.or((!self.given_up).then_some((0, Height::GENESIS)))
    }

    /// The table's rolls on a page; the height, if the roll is among them.
    fn on_page(&mut self, parts: &[HeldPage]) -> Option<(u32, u32)> {
        let part = parts.iter().find_map(|part| part.rolls_of(self.table).map(|rolls| (part, rolls)));
        let (part, rolls) = part?;
        for rows in part.iter() {
            for roll in rows.rolls.iter().filter(|roll| roll.table == self.table.0) {
                let place = Some((roll.number, rows.height));
                match roll.number.cmp(&self.number) {
                    Ordering::Less => self.below = self.below.max(place),
                    Ordering::Equal => self.found = Some(rows.height),
                    Ordering::Greater if self.above.is_none_or(|(above, _)| above > roll.number) => self.above = place,
                    Ordering::Greater => {}
                }
            }
        }
        Some(rolls)
    }
}
