use bytemuck::Zeroable;
use engine::TableId;
use engine::columns::Column;
use engine::component::Pledge;
use engine::io::Verdict;
use engine::limits::{CHUNK_TABLES, OPENING_GAP_MS_MAX};
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;

use super::{Applied, Intake};
use crate::state::activity::Activity;
use crate::state::pledges::check_pledge;

impl Intake<'_, '_> {
    /// Whether a table's player brings half of its dice.
    pub(super) fn is_pledged(&self, table: usize) -> bool {
        self.setup.is_pledged(&self.rows.tables[table])
    }

    /// Whether a roll of the table waits for its opening, or was opened by this block.
    pub(super) fn is_frozen(&self, table: usize) -> bool {
        self.is_pledged(table) && self.rows.pledges[table].is_frozen()
    }

    /// The seats that may be taken: a pledged table has one, whose player alone brings the other half of its dice.
    pub(super) fn open_seats(&self, table: usize) -> std::ops::Range<usize> {
        let seats = self.seats(table);
        if self.is_pledged(table) { seats.start..seats.start + 1 } else { seats }
    }

    /// The table rolls, or is looked at, from this time on.
    pub(super) fn visit(&mut self, table: usize, at_ms: u64) {
        assert!(at_ms >= self.time_ms, "a table is looked at from now on, and not before");
        let before_ms = std::mem::replace(&mut self.table(table).next_roll_ms, at_ms);
        if at_ms <= before_ms {
            self.due.lower(table, at_ms);
        } else {
            self.due.refresh(self.rows.tables, table);
        }
        assert!(self.due.is_due(table / CHUNK_TABLES, at_ms), "a table is looked at when it is due");
    }

    /// Whoever sits down pledges anew: an end of the player before would be one that nobody here can open.
    pub(super) fn forget_pledge(&mut self, table: usize) {
        assert!(!self.is_frozen(table), "a roll that waits is not forgotten");
        if self.is_pledged(table) {
            *self.pledge(table) = Pledge::zeroed();
        }
    }

    fn pledge(&mut self, table: usize) -> &mut Pledge {
        assert!(self.is_pledged(table), "where no player brings dice, the row of a pledge stays zero");
        self.dirty.mark(Column::Pledges, table);
        &mut self.rows.pledges[table]
    }

    /// The player called the roll: the bets are closed, and the roll waits for its opening.
    pub(super) fn close_bets(&mut self, table: usize) -> Applied {
        let seat = self.seats(table).start;
        // A table whose numbers have ended rolls no more: nothing can be pledged for a roll that has none of its own.
        if self.rows.pledges[table].end == [0; 32] || !self.rows.tables[table].has_next_number() {
            return Err(Refusal::NotPledged);
        }
        if self.rows.seats[seat].spots.is_empty() {
            return Err(Refusal::NoBet);
        }
        let open_ms = u64::from(self.catalogue(table).rules().open_ms);
        // The beacon of this very block is not known while its intents are made: nobody closes bets on dice they can foresee.
        let (block, beacon) = self.closing;
        let open_until_ms = self.opening_ms + open_ms;
        // The intents that follow an opening still find its table frozen: its dice are drawn after all of them.
        assert!(!self.opened.has(table), "a block does not close the roll after the one that it opens");
        assert_eq!(self.rows.tables[table].occupied, 1, "bets are closed by the one player, who can open them");
        assert!(open_until_ms > self.opening_ms, "a roll that waits can be opened still");
        self.pledge(table).freeze(block, beacon, open_until_ms);
        self.closed.push(TableId(table as u32));
        self.table(table).roll_called = 1;
        // A height each second, so that the clock of openings runs while a roll waits.
        self.visit(table, self.time_ms + OPENING_GAP_MS_MAX);
        assert!(self.is_frozen(table), "nothing more is accepted at the table");
        assert_eq!(self.rows.tables[table].roll_called, 1, "a roll that waits was called");
        Ok(Verdict::Applied)
    }

    /// Applies a pledge or an opening.
    pub(super) fn take_pledge(&mut self, row: &PledgeRow, activity: &Activity) -> Verdict {
        let house = *self.rows.house;
        let before = self.rows.pledges.get(row.table as usize).copied();
        let verdict = match self.admit_pledge(row, activity) {
            Ok(()) => Verdict::Applied,
            Err(refusal) => {
                // It is in the record now, whatever the reason: the next block that holds it would prove nothing new.
                if row.is_opening() {
                    self.forfeits.recorded(row, &self.setup.chain);
                }
                let after = self.rows.pledges.get(row.table as usize).copied();
                assert_eq!(after, before, "a pledge or an opening that is refused changes no row");
                Verdict::Refused(refusal)
            }
        };
        assert_eq!(*self.rows.house, house, "a pledge or an opening moves no chip");
        verdict
    }

    /// The checks stand in the order of R13.
    fn admit_pledge(&mut self, row: &PledgeRow, activity: &Activity) -> Result<(), Refusal> {
        let id = self.index.find(&row.key, self.rows.keys).ok_or(Refusal::UnknownAccount)?;
        assert!(self.rows.accounts[id.index()].is_open(), "only an open account is found by its key");
        activity.account(id);
        let table = row.table as usize;
        if table < self.rows.tables.len() {
            activity.table(TableId(row.table));
        }
        let seat = check_pledge(row, id, self.rows, self.setup, self.opened.has(table))?;
        assert!(self.sits(seat, id), "a player pledges and opens for a roll of their own");
        assert_eq!(self.open_seats(table), seat..seat + 1, "a pledged table has one seat that is used");
        if row.is_opening() {
            self.open_roll(row, table)?;
        } else {
            assert!(!self.is_frozen(table), "a pledge is changed only while its bets are open");
            let pledge = self.pledge(table);
            assert!(pledge.number < row.number, "a copy of an older pledge replaces no newer one");
            (pledge.end, pledge.number) = (row.value, row.number);
        }
        // Whoever pledges or opens is there, though they send no intent: neither the seat nor the account is idle.
        self.rows.accounts[id.index()].last_intent_ms = self.active_ms;
        self.rows.seats[seat].last_intent_ms = self.active_ms;
        self.dirty.mark(Column::Accounts, id.index());
        self.dirty.mark(Column::Seats, seat);
        Ok(())
    }

    fn open_roll(&mut self, row: &PledgeRow, table: usize) -> Result<(), Refusal> {
        assert!(self.is_frozen(table), "only a roll that waits is opened");
        if self.opening_ms > self.rows.pledges[table].open_until_ms {
            return Err(Refusal::OpenedLate);
        }
        // The dice are drawn when the table is attended: the intents that follow find it frozen still.
        self.opened.put(table, row.value);
        self.visit(table, self.time_ms);
        Ok(())
    }
}
