//! The search for one roll of a table, and what happened at it.

use engine::limits::ROLL_ENTRIES_MAX;
use engine::{Height, TableId};
use words::Failure;

use super::{Answer, History, Question};
use crate::history::RollRow;
use crate::history::cache::HeldPage;
use crate::history::entry::{Event, Subject};
use crate::walker::GivenUp;

impl History {
    /// What happened at a table after the roll before `number` and up to that roll: bets, dice, payouts.
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
            let before =
                entries.iter().rposition(|entry| matches!(&entry.event, Event::Roll(roll) if roll.number < number));
            if let Some(before) = before {
                let height = entries[before].height;
                entries.retain(|entry| entry.height > height);
            } else if older.is_some() {
                // Nobody knows how much lies between two rolls: more is asked for until the one before is in it.
                limit *= 4;
                continue;
            }
            // Where the roll before was given up, so may be bets on this one.
            return Ok(Answer { entries, older: None, given_up: given_up && before.is_none() });
        }
    }

    /// The height of a table's roll.
    ///
    /// # Errors
    /// If there was no such roll yet, or the session is damaged.
    pub fn height_of_roll(&self, table: TableId, number: u32) -> anyhow::Result<Height> {
        let mut search = Search { table, number, low: 0, high: 0, found: None };
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
        search.found.ok_or_else(|| {
            let text = format!("roll {table}:{number} is not in what is left of the session");
            Failure::Data(text).into()
        })
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
                    // It lies among them and is not there: the page is no true one, and no other can have it.
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
}

impl Search {
    /// The table's rolls on a page; the height, if the roll is among them.
    fn on_page(&mut self, parts: &[HeldPage]) -> Option<(u32, u32)> {
        let part = parts.iter().find_map(|part| part.rolls_of(self.table).map(|rolls| (part, rolls)));
        let (part, rolls) = part?;
        if rolls.0 <= self.number && self.number <= rolls.1 {
            let own = |roll: &RollRow| roll.table == self.table.0 && roll.number == self.number;
            self.found = part.iter().find(|rows| rows.rolls.iter().any(own)).map(|rows| rows.height);
        }
        Some(rolls)
    }
}
