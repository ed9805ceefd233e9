use engine::AccountId;
use engine::Chips;
use engine::columns::Column;
use engine::component::{Seat, SeatStatus, Table};
use engine::io::Verdict;
use engine::limits::CHUNK_TABLES;
use engine::message::intent::IntentBody;
use engine::message::refusal::Refusal;

use super::{Applied, Intake};
use crate::state::seats;

impl Intake<'_, '_> {
    /// Takes the lowest free seat with a buy-in. A player who is leaving, with bets that must stay, comes back to the
    /// same seat.
    pub(super) fn sit(&mut self, table: usize, id: AccountId, body: &IntentBody) -> Applied {
        let own = self.seats(table).find(|seat| self.rows.seats[*seat].account == id);
        if own.is_some_and(|seat| self.rows.seats[seat].is_seated()) {
            return Err(Refusal::AlreadySeated);
        }
        let free = |seat: &usize| self.rows.seats[*seat].account == AccountId::NONE;
        let Some(seat) = own.or_else(|| self.open_seats(table).find(free)) else {
            // Somebody waits: at the next roll a player who does not bet makes room.
            self.table(table).wanted_ms = self.active_ms;
            if self.is_pledged(table) && !self.is_frozen(table) {
                // It has no roll of its own at which to look.
                self.visit(table, self.time_ms);
            }
            return Err(Refusal::TableFull);
        };
        let chips = Chips(body.amount);
        if chips < Chips(self.catalogue(table).rules().min_bet.into()) {
            return Err(Refusal::BuyInTooSmall);
        }
        if chips > self.rows.accounts[id.index()].cage {
            return Err(Refusal::InsufficientFunds);
        }
        // Frozen tables take this kind of intent, since whoever asks in vain is to be remembered; so it is checked here.
        assert!(!self.is_frozen(table), "while a roll waits its player sits, and the only seat is taken");
        assert!(self.open_seats(table).contains(&seat), "the dice of a pledged table are its one player's");
        if own.is_none() {
            let row = &self.rows.seats[seat];
            assert_eq!(row.rail, Chips::ZERO, "a free seat holds no chip");
            assert!(row.spots.is_empty(), "a free seat holds no bet");
            self.rows.seats[seat] = Seat { account: id, ..Seat::EMPTY };
            self.rows.accounts[id.index()].seats += 1;
        } else {
            assert!(
                !self.rows.seats[seat].spots.is_empty(),
                "a seat is kept for a player who left while bets stay on it"
            );
        }
        let seats = self.rows.accounts[id.index()].seats as usize;
        assert!((1..=self.rows.tables.len()).contains(&seats), "an account has one seat at a table");
        self.rows.seats[seat].status = SeatStatus::Seated as u8;
        self.rows.seats[seat].last_intent_ms = self.active_ms;
        // A player who just came is given as long to bet as one whose bet was just decided.
        self.rows.seats[seat].last_bet_ms = self.active_ms;
        self.dirty.mark(Column::Seats, seat);
        self.post(|book| book.cage_to_rail(id.index(), seat, chips));
        self.arrive(table, seat);
        assert!(self.sits(seat, id), "whoever sat down may act");
        Ok(Verdict::Applied)
    }

    /// The table takes note of a player: the first one gets the dice, and the clock starts.
    fn arrive(&mut self, table: usize, seat: usize) {
        let place = (seat - self.seats(table).start) as u8;
        let time_ms = self.time_ms;
        let was_empty = self.rows.tables[table].occupied == 0;
        let next_roll_ms = self.setup.next_roll_ms(table, time_ms);
        if was_empty {
            self.forget_pledge(table);
        }
        let row = self.table(table);
        row.occupied |= 1 << place;
        if row.shooter == Table::NO_SHOOTER {
            row.shooter = place;
        }
        if was_empty {
            assert_eq!(row.felt, Chips::ZERO, "no bet lies at a table where nobody sat");
            assert_eq!(row.point, 0, "a hand begins with the puck OFF");
            assert_eq!(row.shooter, place, "the first player gets the dice");
            row.begin_hand();
            row.opened_ms = time_ms;
            // Once more: the treasury may have had too little when the last player left.
            self.balance_bank(table);
        }
        // A pledged table has no roll of its own at which a player who came back would be looked at.
        if was_empty || self.is_pledged(table) {
            self.visit(table, next_roll_ms);
        }
        let row = &self.rows.tables[table];
        assert!(row.next_roll_ms != Table::NEVER, "a table at which somebody sits is looked at again");
        assert!(row.occupied == 1 || !self.is_pledged(table), "nobody else sits at a pledged table");
        let shooter = self.seats(table).start + usize::from(row.shooter);
        assert!(self.rows.seats[shooter].is_seated(), "the dice are with a player who may act");
    }

    /// Leaves: what can be taken down returns; if nothing stays, the seat is free and the rail goes to the cage.
    pub(super) fn leave(&mut self, seat: usize) -> Applied {
        let table = seat / self.rows.seats_per_table();
        let place = seat - self.seats(table).start;
        assert!(self.rows.seats[seat].is_seated(), "only a player who may act leaves");
        assert!(!self.is_frozen(table), "nobody leaves between the last bet and its dice");
        let puck = self.rows.tables[table].puck();
        let catalogue = &self.setup.catalogues[self.rows.tables[table].rules as usize];

        // Contract bets and hands that have begun stay: leaving must not be a way to take back what is about to lose (R3).
        let returned = seats::returnable(self.rows.seat_bets(seat), catalogue, puck);
        let freed = seats::worth(self.rows.seat_bets(seat), &returned, catalogue);
        self.rows.seat_bets_mut(seat).remove_all(&returned);
        self.dirty.mark(Column::Bets, seat);
        self.dirty.mark(Column::MoreBets, seat);
        self.table(table).exposure -= freed.exposure;
        self.post(|book| book.felt_to_rail(seat, freed.chips));

        self.rows.seats[seat].status = SeatStatus::Leaving as u8;
        self.dirty.mark(Column::Seats, seat);
        let stays = !self.rows.seats[seat].spots.is_empty();
        if !stays {
            self.free(table, seat);
        }
        let is_marked = self.rows.tables[table].occupied >> place & 1 == 1;
        assert_eq!(is_marked, stays, "a seat is marked as taken for as long as bets stay on it");
        let seats = self.seats(table);
        if seats::hand_over(self.table_and_seats(table, seats), place as u8) {
            self.balance_bank(table);
        }
        if self.is_pledged(table) && stays {
            // Nobody rolls for the bets that stay: they wait as long as an account may.
            self.rows.tables[table].next_roll_ms = self.time_ms + self.setup.genesis.account_idle_ms;
        }
        self.due.refresh(self.rows.tables, table);
        let row = &self.rows.tables[table];
        assert!(usize::from(row.shooter) != place, "whoever left holds no dice");
        assert!(!self.rows.seats[seat].is_seated(), "whoever left may not act");
        // A table that nobody looks at again keeps its players' bets for ever.
        assert_eq!(
            row.next_roll_ms == Table::NEVER,
            row.occupied == 0,
            "a table is at rest when its last seat is free"
        );
        Ok(Verdict::Applied)
    }

    /// Empties a seat that holds no bet.
    fn free(&mut self, table: usize, seat: usize) {
        let place = seat - self.seats(table).start;
        assert!(self.rows.tables[table].occupied & (1 << place) != 0, "a seat that is taken is marked so");
        let account = self.rows.seats[seat].account.index();
        assert!(self.rows.accounts[account].seats > 0, "whoever leaves a seat holds one");
        self.post(|book| book.rail_to_cage(seat, account));
        assert_eq!(self.rows.seats[seat].rail, Chips::ZERO, "a seat that becomes free holds no chip");
        let wagered = self.rows.seats[seat].wagered;
        let row = &mut self.rows.accounts[account];
        row.count_wagered(wagered);
        row.seats -= 1;
        self.rows.seats[seat] = Seat::EMPTY;
        self.table(table).occupied &= !(1 << place);
    }

    fn balance_bank(&mut self, table: usize) {
        let target = Chips(self.setup.genesis.bank_target);
        self.post(|book| book.balance_bank(table, target));
    }

    fn table_and_seats(&mut self, table: usize, seats: std::ops::Range<usize>) -> (&mut Table, &[Seat]) {
        self.dirty.mark(Column::Tables, table);
        (&mut self.rows.tables[table], &self.rows.seats[seats])
    }

    /// The shooter calls the roll: the table rolls at this height, once the window's minimum has passed.
    pub(super) fn call_roll(&mut self, table: usize, seat: Option<usize>) -> Applied {
        self.check_shooter(table, seat)?;
        let row = &self.rows.tables[table];
        if row.roll_called != 0 {
            return Err(Refusal::RollCalled);
        }
        if self.time_ms < row.opened_ms + self.setup.genesis.window_min_ms {
            return Err(Refusal::WindowOpen);
        }
        if self.is_pledged(table) {
            return self.close_bets(table);
        }
        let time_ms = self.time_ms;
        let row = self.table(table);
        assert!(row.occupied != 0, "whoever calls a roll sits at the table");
        row.roll_called = 1;
        row.next_roll_ms = time_ms;
        self.due.lower(table, time_ms);
        assert!(self.due.is_due(table / CHUNK_TABLES, time_ms), "a roll that was called falls at this height");
        Ok(Verdict::Applied)
    }

    /// The shooter passes the dice to the next player, between hands.
    pub(super) fn pass_dice(&mut self, table: usize, seat: Option<usize>) -> Applied {
        self.check_shooter(table, seat)?;
        if self.rows.tables[table].point != 0 {
            return Err(Refusal::WrongPhase);
        }
        let seats = self.seats(table);
        let shooter = self.rows.tables[table].shooter;
        assert!(shooter != Table::NO_SHOOTER, "the player who passes the dice holds them");
        match seats::next_shooter(&self.rows.seats[seats], shooter) {
            Some(next) if next != shooter => self.table(table).shooter = next,
            _ => return Err(Refusal::NoOtherPlayer),
        }
        let row = &self.rows.tables[table];
        assert!(row.occupied >> row.shooter & 1 == 1, "the dice go to a seat that is marked as taken");
        let shooter = self.seats(table).start + usize::from(row.shooter);
        assert!(self.rows.seats[shooter].is_seated(), "the dice go to a player who may act");
        self.table(table).begin_hand();
        self.balance_bank(table);
        Ok(Verdict::Applied)
    }

    fn check_shooter(&self, table: usize, seat: Option<usize>) -> Result<(), Refusal> {
        let seat = seat.ok_or(Refusal::UnknownPlayer)?;
        let place = seat - self.seats(table).start;
        let shooter = self.rows.tables[table].shooter;
        if usize::from(shooter) == place { Ok(()) } else { Err(Refusal::NotShooter) }
    }
}
