use engine::columns::Column;
use engine::component::BetRow;
use engine::io::Verdict;
use engine::limits::{BETS, SEAT_BETS_HOT, SEAT_BETS_MAX};
use engine::message::intent::{IntentBody, Working};
use engine::message::refusal::Refusal;
use engine::{BetId, Chips, Spot};

use super::{Applied, Intake};
use crate::catalogue::{self, Placement};
use crate::settle::ledger::held;

/// A bet that is to grow: on an empty spot from nothing, on an occupied one from what lies there.
struct Raise {
    bet: BetId,
    /// `None` where odds name no box number.
    spot: Option<Spot>,
    present: Option<BetRow>,
    total: u64,
    working: Working,
}

impl Raise {
    fn added(&self) -> u64 {
        self.total - u64::from(self.present.map_or(0, |bet| bet.amount))
    }
}

impl Intake<'_, '_> {
    /// Bets, or adds to a bet. The checks stand in the order of R3.
    pub(super) fn bet(&mut self, table: usize, seat: Option<usize>, body: &IntentBody) -> Applied {
        let bet = known_bet(body).ok_or(Refusal::UnknownBet)?;
        let seat = seat.ok_or(Refusal::UnknownPlayer)?;
        let spot = catalogue::spot_of(bet, body.box_number);
        let present = spot.and_then(|spot| self.rows.seat_bets(seat).get(spot));
        // An amount near 2^64 must not wrap around to one that is allowed.
        let total = body.amount.saturating_add(present.map_or(0, |bet| bet.amount.into()));
        let rules = self.catalogue(table).rules();
        assert!(present.is_none_or(|bet| bet.amount <= rules.max_bet), "no bet lies that is above the most");
        if body.amount == 0 || total < rules.min_bet.into() {
            return Err(Refusal::BetTooSmall);
        }
        if total > rules.max_bet.into() {
            return Err(Refusal::BetTooLarge);
        }
        let working = Working::try_from(body.working).expect("a block's intents have known settings");
        self.raise(table, seat, &Raise { bet, spot, present, total, working })
    }

    /// Sets a bet's total: a raise goes on as a bet, a lowering gives chips back.
    pub(super) fn set_amount(&mut self, table: usize, seat: Option<usize>, body: &IntentBody) -> Applied {
        let (bet, seat, present) = self.placed_bet(seat, body)?;
        let rules = self.catalogue(table).rules();
        if body.amount < rules.min_bet.into() {
            return Err(Refusal::BetTooSmall);
        }
        if body.amount > rules.max_bet.into() {
            return Err(Refusal::BetTooLarge);
        }
        let total = body.amount;
        // Whoever sets what is there already has what they asked for: it is applied, and no chip moves.
        match total.cmp(&u64::from(present.amount)) {
            std::cmp::Ordering::Equal => Ok(Verdict::Applied),
            std::cmp::Ordering::Greater => {
                let working = Working::Default;
                self.raise(
                    table,
                    seat,
                    &Raise { bet, spot: Some(present.spot), present: Some(present), total, working },
                )
            }
            std::cmp::Ordering::Less => self.lower(table, seat, present, total as u32),
        }
    }

    /// The checks from `WRONG_PHASE` on, then the chips move.
    fn raise(&mut self, table: usize, seat: usize, raise: &Raise) -> Applied {
        let rules = self.catalogue(table).rules();
        let allowed = u64::from(rules.min_bet)..=u64::from(rules.max_bet);
        assert!(allowed.contains(&raise.total), "a total below the least or above the most was refused");
        assert!(raise.total > raise.present.map_or(0, |bet| u64::from(bet.amount)), "a raise adds chips");
        assert!(raise.present.is_none_or(|bet| Some(bet.spot) == raise.spot), "what is raised lies on the named spot");
        let puck = self.rows.tables[table].puck();
        let point_on = self.rows.tables[table].point != 0;
        let spec = &catalogue::BETS[raise.bet.index()];
        let allowed = match spec.family.placement() {
            Placement::Any => true,
            Placement::PuckOff => !point_on,
            Placement::PuckOn => point_on,
        };
        if !allowed {
            return Err(Refusal::WrongPhase);
        }
        // Its number is known: a raise now would be another bet than the one that was offered.
        if raise.spot.is_some_and(catalogue::has_travelled) {
            return Err(Refusal::ContractBet);
        }
        // A bet on a whole hand that has seen a roll would be raised by somebody who has seen it too.
        if spec.family.is_hand() && raise.present.is_some_and(|bet| bet.flags.seen()) {
            return Err(Refusal::LockedBet);
        }
        let spot = raise.spot.ok_or(Refusal::BadTarget)?;
        if let Some(flat) = catalogue::flat_of(spot) {
            let flat = self.rows.seat_bets(seat).get(flat).ok_or(Refusal::NoParentBet)?;
            let cap = u64::from(self.catalogue(table).odds_cap(spot, puck)) * u64::from(flat.amount);
            if raise.total > cap {
                return Err(Refusal::OddsLimitExceeded);
            }
        }
        if raise.present.is_none() && self.rows.seats[seat].spots.count() as usize >= SEAT_BETS_MAX {
            return Err(Refusal::TooManyBets);
        }
        let total = u32::try_from(raise.total).expect("max_bet is a u32");
        let was = raise.present.map_or(0, |bet| bet.amount);
        let catalogue = self.catalogue(table);
        let (commission, most) = (catalogue.commission(spot), catalogue.max_win(spot));
        // Both are differences of rounded sums: what is added alone would be rounded another way than the whole bet is when
        // it ends, and a chip would be left over.
        let cost = held(total, commission) - held(was, commission);
        let exposure = Chips(most.floor_of(total) - most.floor_of(was));
        assert!(cost.0 >= raise.added(), "a raise costs what it adds, and commission");
        if cost > self.rail(seat) {
            return Err(Refusal::InsufficientFunds);
        }
        let row = &self.rows.tables[table];
        if row.exposure + exposure > row.bank {
            return Err(Refusal::BankLimit);
        }
        if raise.working != Working::Default && !spec.family.toggles() {
            return Err(Refusal::NotToggleable);
        }

        self.lay(table, seat, (spot, total), raise);
        // Before the posting, which checks that the bank can pay the new exposure.
        self.table(table).exposure += exposure;
        self.post(|book| book.rail_to_felt(seat, cost));
        assert_eq!(self.rows.seat_bets(seat).get(spot).map(|bet| bet.amount), Some(total), "the raised bet stands");
        self.counts.bets_placed += 1;
        Ok(Verdict::Applied)
    }

    /// Writes the row of a bet that was raised.
    fn lay(&mut self, table: usize, seat: usize, (spot, total): (Spot, u32), raise: &Raise) {
        let lies = self.rows.seats[seat].spots.contains(spot);
        assert_eq!(lies, raise.present.is_some(), "what a raise costs was told by what lies on its spot");
        match self.rows.seat_bets_mut(seat).get_mut(spot) {
            Some(bet) => {
                bet.amount = total;
                // A raise that says nothing of it leaves on or off what the player set before.
                if raise.working != Working::Default {
                    bet.flags = bet.flags.with_working(raise.working);
                }
            }
            None => {
                let flags = engine::component::BetFlags::default().with_working(raise.working);
                self.rows.seat_bets_mut(seat).insert(BetRow { amount: total, progress: 0, spot, flags });
                assert!(self.rows.seats[seat].spots.count() as usize <= SEAT_BETS_MAX, "a seat's bets are bounded");
            }
        }
        self.mark_bets(table, seat);
    }

    fn lower(&mut self, table: usize, seat: usize, present: BetRow, total: u32) -> Applied {
        let puck = self.rows.tables[table].puck();
        let catalogue = self.catalogue(table);
        assert!(total >= catalogue.rules().min_bet, "a total below the least was refused");
        catalogue.may_take_down(present, puck)?;
        // Odds that were within the cap of the whole bet may be above that of what is left of it.
        if let Some(odds) = catalogue::odds_on(present.spot).and_then(|odds| self.rows.seat_bets(seat).get(odds))
            && u64::from(odds.amount) > u64::from(catalogue.odds_cap(odds.spot, puck)) * u64::from(total)
        {
            return Err(Refusal::OddsLimitExceeded);
        }
        let (commission, most) = (catalogue.commission(present.spot), catalogue.max_win(present.spot));
        let back = held(present.amount, commission) - held(total, commission);
        let exposure = Chips(most.floor_of(present.amount) - most.floor_of(total));
        assert!(total < present.amount, "a lowering takes away a part");
        assert!(back.0 >= u64::from(present.amount - total), "it gives back what it takes away, and commission");
        let bet = BetRow { amount: total, ..present };
        *self.rows.seat_bets_mut(seat).get_mut(present.spot).expect("the bet stands") = bet;
        self.mark_bets(table, seat);
        self.table(table).exposure -= exposure;
        self.post(|book| book.felt_to_rail(seat, back));
        assert_eq!(
            self.rows.seat_bets(seat).get(present.spot),
            Some(bet),
            "the lowered bet stands, and nothing else of it changed"
        );
        Ok(Verdict::Applied)
    }

    /// Takes a bet down, and its odds with it.
    pub(super) fn take_down(&mut self, table: usize, seat: Option<usize>, body: &IntentBody) -> Applied {
        let (_, seat, present) = self.placed_bet(seat, body)?;
        let puck = self.rows.tables[table].puck();
        self.catalogue(table).may_take_down(present, puck)?;
        self.return_bet(table, seat, present);
        // Odds pay without an edge because they stand on a bet that has one: they do not stay alone.
        let odds = catalogue::odds_on(present.spot);
        let verdict = match odds.and_then(|odds| self.rows.seat_bets(seat).get(odds)) {
            Some(odds) => {
                self.return_bet(table, seat, odds);
                Verdict::OddsReturned
            }
            None => Verdict::Applied,
        };
        let spots = &self.rows.seats[seat].spots;
        assert!(odds.is_none_or(|odds| !spots.contains(odds)), "no odds stay without the bet that they stood on");
        Ok(verdict)
    }

    fn return_bet(&mut self, table: usize, seat: usize, bet: BetRow) {
        let catalogue = self.catalogue(table);
        let back = held(bet.amount, catalogue.commission(bet.spot));
        let exposure = Chips(catalogue.max_win(bet.spot).floor_of(bet.amount));
        let removed = self.rows.seat_bets_mut(seat).remove(bet.spot);
        assert_eq!(removed, bet, "the bet that goes back is the one that was looked at");
        assert!(!self.rows.seats[seat].spots.contains(bet.spot), "a bet that went back has left its spot");
        self.mark_bets(table, seat);
        self.table(table).exposure -= exposure;
        self.post(|book| book.felt_to_rail(seat, back));
    }

    /// Sets a bet working, off, or back to its default.
    pub(super) fn set_working(&mut self, table: usize, seat: Option<usize>, body: &IntentBody) -> Applied {
        let (bet, seat, present) = self.placed_bet(seat, body)?;
        if !catalogue::BETS[bet.index()].family.toggles() {
            return Err(Refusal::NotToggleable);
        }
        let working = Working::try_from(body.working).expect("a block's intents have known settings");
        let flags = present.flags.with_working(working);
        self.rows.seat_bets_mut(seat).get_mut(present.spot).expect("the bet stands").flags = flags;
        self.mark_bets(table, seat);
        let after = self.rows.seat_bets(seat).get(present.spot);
        assert_eq!(
            after,
            Some(BetRow { flags, ..present }),
            "a bet is turned on or off, and nothing else of it changes"
        );
        assert_eq!(flags.seen(), present.flags.seen(), "what a bet has seen stays seen");
        Ok(Verdict::Applied)
    }

    /// A bet that stands on the player's seat. Unknown bets, unseated players and bad box numbers are no such bet too.
    fn placed_bet(&self, seat: Option<usize>, body: &IntentBody) -> Result<(BetId, usize, BetRow), Refusal> {
        let bet = known_bet(body).ok_or(Refusal::NoSuchBet)?;
        let seat = seat.ok_or(Refusal::NoSuchBet)?;
        let spot = catalogue::standing_spot(bet, body.box_number).ok_or(Refusal::NoSuchBet)?;
        let present = self.rows.seat_bets(seat).get(spot).ok_or(Refusal::NoSuchBet)?;
        assert_eq!(present.spot, spot, "a bet that stands is on its spot");
        assert!(present.amount > 0, "a bet that stands is of some chips");
        Ok((bet, seat, present))
    }

    /// Every intent that changes a bet comes by here.
    fn mark_bets(&mut self, table: usize, seat: usize) {
        assert!(!self.is_frozen(table), "bets stay as they are once their dice may be known to somebody");
        self.dirty.mark(Column::Seats, seat);
        self.dirty.mark(Column::Bets, seat);
        // Rows lie in the order of spots: one more or less moves rows between the hot line and the cold ones.
        if self.rows.seats[seat].spots.count() as usize >= SEAT_BETS_HOT {
            self.dirty.mark(Column::MoreBets, seat);
        }
    }
}

fn known_bet(body: &IntentBody) -> Option<BetId> {
    (usize::from(body.bet) < BETS).then_some(BetId(body.bet))
}
