//! Openings: what becomes of pledged tables that are looked at: dice from what was opened, forfeits where nothing was, and
//! players who are absent, for whom no roll comes by itself (RULES.md R13).
//!
//! ```text
//!  due -> opened by this block ------------> dice, resolved with those of the other tables
//!      -> waits, past its deadline --------> forfeited, the player is seen off
//!      -> waits ---------------------------> looked at again within a second
//!      -> nobody acts, long enough --------> what can be taken down returns; what stays is forfeited in the end
//! ```
//! Tables are taken one after another: each is looked at about as often as its player rolls.

use std::collections::BTreeMap;

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use bytemuck::Zeroable;
use engine::columns::{Column, Columns, Rows};
use engine::component::{Pledge, Seat, SeatStatus, Table};
use engine::image::DirtyMap;
use engine::io::{Leaving, OpeningEnd, OpeningReport};
use engine::limits::{CHUNK_TABLES, OPENING_GAP_MS_MAX};
use engine::{AccountId, Chips, Hash, TableId};
use order::dice::dice_of_both;

use super::block::{Current, Draw, FeltBet, Report};
use super::ledger::{Ledger, Postings};
use super::roll::Rolled;
use crate::state::activity::Activity;
use crate::state::due::DueTimes;
use crate::state::pledges::{Forfeit, Forfeits};
use crate::state::seats::{self, is_absent, is_bare, is_wanted};
use crate::state::setup::Setup;

/// What the block of this height opened: values by table. Empty between heights.
#[derive(Resource, Default, Debug)]
pub struct Opened {
    values: BTreeMap<usize, Hash>,
}

impl Opened {
    /// Whether the roll of a table was opened.
    pub fn has(&self, table: usize) -> bool {
        self.values.contains_key(&table)
    }

    /// Takes note of an opening.
    pub fn put(&mut self, table: usize, value: Hash) {
        assert!(self.values.insert(table, value).is_none(), "a roll is opened once");
    }

    fn take(&mut self, table: usize) -> Option<Hash> {
        self.values.remove(&table)
    }
}

/// System: looks at the pledged tables that are due.
pub fn attend_pledged_tables(
    setup: Res<'_, Setup>,
    current: Res<'_, Current>,
    mut columns: Columns<'_, '_>,
    mut ledger: ResMut<'_, Ledger>,
    mut due: ResMut<'_, DueTimes>,
    mut dirty: ResMut<'_, DirtyMap>,
    mut rolled: ResMut<'_, Rolled>,
    mut opened: ResMut<'_, Opened>,
    mut forfeits: ResMut<'_, Forfeits>,
    mut report: ResMut<'_, Report>,
    activity: Res<'_, Activity>,
) {
    // A chain without pledged tables pays one look for them.
    if !setup.has_pledged() || due.earliest().is_none_or(|earliest| earliest > current.time_ms) {
        return;
    }
    let mut rows = columns.rows();
    for chunk in 0..rolled.chunks.len() {
        if !due.is_due(chunk, current.time_ms) {
            continue;
        }
        let tables = chunk * CHUNK_TABLES..rows.tables.len().min((chunk + 1) * CHUNK_TABLES);
        for table in tables {
            let row = &rows.tables[table];
            if !row.is_due(current.time_ms) || !setup.is_pledged(row) {
                continue;
            }
            activity.table(TableId(table as u32));
            let book = Postings { rows: &mut rows, ledger: &mut ledger, dirty: &mut dirty };
            let (report, forfeits) = (&mut report, &mut forfeits);
            let mut attended =
                Attended { setup: &setup, current: &current, book, report, forfeits, activity: &activity, table };
            if attended.attend(opened.take(table)) {
                let place = table % CHUNK_TABLES;
                let word = &mut rolled.chunks[chunk][place / 64];
                assert!(*word >> (place % 64) & 1 == 0, "a pledged table rolls once, and not by itself");
                *word |= 1 << (place % 64);
            } else {
                // One that stayed due would have every height look at it again.
                assert!(
                    !rows.tables[table].is_due(current.time_ms),
                    "a table that was looked at waits for its next time"
                );
            }
        }
        due.refresh(rows.tables, chunk * CHUNK_TABLES);
    }
    assert!(opened.values.is_empty(), "every table that was opened was due");
}

/// One pledged table that is looked at.
struct Attended<'a, 'r> {
    setup: &'a Setup,
    current: &'a Current,
    book: Postings<'a, 'r>,
    report: &'a mut Report,
    forfeits: &'a mut Forfeits,
    activity: &'a Activity,
    table: usize,
}

impl<'r> Attended<'_, 'r> {
    fn rows(&self) -> &Rows<'r> {
        self.book.rows
    }

    fn seat(&self) -> usize {
        self.table * self.rows().seats_per_table()
    }

    fn change(&mut self) -> &mut Table {
        self.book.dirty.mark(Column::Tables, self.table);
        &mut self.book.rows.tables[self.table]
    }

    /// Says whether the table rolls at this height.
    fn attend(&mut self, opened: Option<Hash>) -> bool {
        let pledge = self.rows().pledges[self.table];
        let Current { time_ms, active_ms, opening_ms, .. } = *self.current;
        assert_eq!(self.rows().tables[self.table].occupied, 1, "a pledged table that is due has its one player");
        // Before the deadline is looked at: intake took the opening in time, by the same clock.
        if let Some(value) = opened {
            self.draw(&pledge, value);
            return true;
        }
        // A player whose roll waits is never absent: until the deadline there is nothing else to be done at the table.
        if pledge.is_frozen() {
            if opening_ms > pledge.open_until_ms {
                self.forfeit(Some(pledge));
            } else {
                // A longer wait may be one gap between two blocks, of which the clock of openings counts a second: the deadline
                // would hardly come nearer.
                let left_ms = pledge.open_until_ms + 1 - opening_ms;
                self.change().next_roll_ms = time_ms + left_ms.min(OPENING_GAP_MS_MAX);
            }
            return false;
        }
        let seat = self.rows().seats[self.seat()];
        assert!(seat.last_intent_ms <= active_ms, "no intent was accepted after this height");
        let setup = self.setup;
        let genesis = &setup.genesis;
        let waits_ms = if seat.is_leaving() { genesis.account_idle_ms } else { genesis.idle_ms };
        let is_given_up =
            is_bare(&seat, genesis, active_ms) && is_wanted(&self.rows().tables[self.table], 1, genesis, active_ms);
        if seat.is_leaving() && seat.last_intent_ms.saturating_add(waits_ms) <= active_ms {
            self.forfeit(None);
        } else if is_absent(&seat, genesis, active_ms) || is_given_up {
            self.see_off();
        } else {
            let idle_ms = active_ms - seat.last_intent_ms;
            self.change().next_roll_ms = time_ms + (waits_ms - idle_ms.min(waits_ms - 1));
        }
        false
    }

    /// The dice of an opened roll, and the next roll's end.
    fn draw(&mut self, pledge: &Pledge, value: Hash) {
        let (table, time_ms) = (self.table, self.current.time_ms);
        let row = &self.rows().tables[table];
        // Intake took the opening by the same clock and number: dice of any other roll could be foreseen.
        assert!(
            self.current.opening_ms <= pledge.open_until_ms,
            "a roll is drawn up to its deadline, and not after it"
        );
        assert!(pledge.end != [0; 32], "only a roll that something was pledged for is opened");
        assert!(row.has_next_number(), "a roll that waits has a number of its own");
        let (id, roll) = (TableId(table as u32), row.roll_number + 1);
        let rules = self.setup.catalogues[usize::from(row.rules)].hash();
        // The beacon is that of the block which closed the bets: one of this height could be chosen, by holding the opening
        // back until a height whose dice please.
        let dice = match self.current.draw {
            Draw::Given(dice) => dice,
            Draw::Beacon(_) => dice_of_both(&pledge.beacon, &value, id, roll, &rules),
        };
        assert_eq!(row.occupied, 1, "a roll that waits has its player");
        assert_eq!(row.roll_called, 1, "a roll that waits was called");
        let account = self.rows().seats[self.seat()].account;
        let row = self.change();
        (row.roll_number, row.opened_ms, row.dice) = (roll, time_ms, dice.faces());
        self.book.rows.pledges[table].thaw(value);
        assert!(!self.rows().pledges[table].is_frozen(), "a roll that was opened waits no more");
        self.book.dirty.mark(Column::Pledges, table);
        let closed = (pledge.block, pledge.beacon);
        self.tell(OpeningReport { table: id, account, roll, closed, end: OpeningEnd::Opened(value) });
    }

    /// All bets of the seat go to nobody, and the player is seen off with the rail. The roll that waited, if one did, is used
    /// up without dice.
    fn forfeit(&mut self, waited: Option<Pledge>) {
        let (table, seat) = (self.table, self.seat());
        let row = self.rows().seats[seat];
        let catalogue = &self.setup.catalogues[usize::from(self.rows().tables[table].rules)];
        let bets = seats::worth(self.rows().seat_bets(seat), &row.spots, catalogue);
        assert!(bets.chips > Chips::ZERO, "only a seat with bets waits for anything");
        assert_eq!(
            waited.is_some(),
            self.rows().pledges[table].is_frozen(),
            "bets are forfeited for the roll that waits"
        );
        let is_late = |pledge: &Pledge| pledge.open_until_ms < self.current.opening_ms;
        assert!(waited.as_ref().is_none_or(is_late), "nothing is forfeited before its deadline");
        if self.report.watch_felt && waited.is_some() {
            let (id, puck) = (TableId(table as u32), self.rows().tables[table].puck());
            let laid = self.book.rows.seat_bets(seat).iter().map(|bet| FeltBet { table: id, puck, bet });
            self.report.forfeited.extend(laid);
        }
        self.book.rows.seat_bets_mut(seat).remove_all(&row.spots);
        self.mark_bets();
        self.change().exposure -= bets.exposure;
        self.book.felt_to_forfeited(table, bets.chips);
        let row_of_table = &self.rows().tables[table];
        assert_eq!(row_of_table.felt, Chips::ZERO, "a pledged table has the bets of its one player alone");
        assert_eq!(row_of_table.exposure, Chips::ZERO, "without a bet there is nothing to be won");
        self.report.closed.push(TableId(table as u32));
        self.report.counts.forfeits += 1;
        self.report.counts.lost += bets.chips.0;

        // Without a roll that waits nothing is used up: the player had left, and these bets were never closed.
        let mut roll = 0;
        if waited.is_some() {
            assert!(self.rows().tables[table].has_next_number(), "a roll that waits has a number of its own");
            roll = self.rows().tables[table].roll_number + 1;
            let row = self.change();
            // The number is used up: a later opening of this roll can never be taken for one of the next.
            (row.roll_number, row.dice, row.roll_called) = (roll, [0, 0], 0);
        }
        let Pledge { end, block, beacon, .. } = waited.unwrap_or_else(Pledge::zeroed);
        if waited.is_some() {
            let key = self.rows().keys[row.account.index()].key;
            // An opening that comes too late is recorded still: it proves what the dice would have been.
            self.forfeits.keep(Forfeit { key, table: TableId(table as u32), roll, end, block });
        }
        self.book.rows.pledges[table] = Pledge::zeroed();
        self.book.dirty.mark(Column::Pledges, table);
        let end = OpeningEnd::Forfeited { chips: bets.chips, end };
        let id = TableId(table as u32);
        self.tell(OpeningReport { table: id, account: row.account, roll, closed: (block, beacon), end });
        self.free(Chips::ZERO, false);
    }

    /// The player is absent, or keeps from others a seat without a bet: what can be taken down returns, and what stays waits
    /// until it is forfeited.
    fn see_off(&mut self) {
        let (table, seat) = (self.table, self.seat());
        let catalogue = &self.setup.catalogues[usize::from(self.rows().tables[table].rules)];
        let puck = self.rows().tables[table].puck();
        assert!(self.rows().seats[seat].is_seated(), "only a player who sits is seen off");
        assert!(!self.rows().pledges[table].is_frozen(), "a player whose roll waits is not seen off");
        let returned = seats::returnable(self.rows().seat_bets(seat), catalogue, puck);
        let freed = seats::worth(self.rows().seat_bets(seat), &returned, catalogue);
        self.book.rows.seat_bets_mut(seat).remove_all(&returned);
        self.mark_bets();
        self.change().exposure -= freed.exposure;
        self.book.felt_to_rail(seat, freed.chips);
        self.book.rows.seats[seat].status = SeatStatus::Leaving as u8;
        if self.rows().seats[seat].spots.is_empty() {
            self.free(freed.chips, true);
            return;
        }
        let row = self.rows().seats[seat];
        assert!(self.rows().tables[table].felt > Chips::ZERO, "bets that stay are on the felt");
        self.leaves(&row, freed.chips, true, None);
        // The bets that stay wait for as long as an account may, and the dice are with nobody: no call can close them.
        let waits_ms = self.setup.genesis.account_idle_ms;
        let idle_ms = self.current.active_ms - row.last_intent_ms;
        let time_ms = self.current.time_ms;
        let row = self.change();
        row.next_roll_ms = time_ms + waits_ms.saturating_sub(idle_ms).max(1);
        row.shooter = Table::NO_SHOOTER;
    }

    /// Empties the seat, which holds no bet, and leaves the table at rest.
    fn free(&mut self, returned: Chips, absent: bool) {
        let (table, seat) = (self.table, self.seat());
        let row = self.rows().seats[seat];
        assert!(row.spots.is_empty(), "a seat that becomes free holds no bet");
        assert!(row.account != AccountId::NONE, "a seat that becomes free was somebody's");
        self.leaves(&row, returned, absent, Some(row.rail));
        self.book.rail_to_cage(seat, row.account.index());
        assert_eq!(self.rows().seats[seat].rail, Chips::ZERO, "a seat that becomes free holds no chip");
        let account = &mut self.book.rows.accounts[row.account.index()];
        assert!(account.is_open(), "whoever leaves a seat has an account");
        assert!(account.seats > 0, "whoever leaves a seat has an account that holds it");
        account.count_wagered(row.wagered);
        account.seats -= 1;
        self.book.rows.seats[seat] = Seat::EMPTY;
        self.activity.account(row.account);
        // The table has one seat that is used, so that what it hands the dice over among is that empty one.
        let seats = [Seat::EMPTY];
        let row = self.change();
        row.occupied = 0;
        row.shooter = 0;
        let between_hands = seats::hand_over((row, &seats), 0);
        assert!(between_hands, "a hand is over when its only player has left");
        self.book.balance_bank(table, Chips(self.setup.genesis.bank_target));
        assert_eq!(self.rows().tables[table].next_roll_ms, Table::NEVER, "an empty table is at rest");
        assert_eq!(self.rows().tables[table].roll_called, 0, "an empty table waits for no roll");
        assert!(
            !self.rows().pledges[table].is_frozen(),
            "a table at rest waits for no opening, which nobody could bring"
        );
    }

    fn mark_bets(&mut self) {
        let seat = self.seat();
        for column in [Column::Seats, Column::Bets, Column::MoreBets] {
            self.book.dirty.mark(column, seat);
        }
    }

    fn leaves(&mut self, seat: &Seat, returned: Chips, absent: bool, left_with: Option<Chips>) {
        self.activity.account(seat.account);
        if self.report.watch {
            let (table, account) = (TableId(self.table as u32), seat.account);
            self.report.leavings.push(Leaving { table, seat: 0, account, absent, returned, left_with });
        }
    }

    fn tell(&mut self, opening: OpeningReport) {
        assert!(opening.account != AccountId::NONE, "what became of a roll is told of its player");
        self.activity.account(opening.account);
        if self.report.watch {
            self.report.openings.push(opening);
        }
    }
}
