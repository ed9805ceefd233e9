//! Intake: the intents of a block, applied one by one in block order.
//!
//! ```text
//!  account and number -> kind -> (table, seat, roll) -> the operation's own rules -> postings
//! ```
//! The reasons for a refusal are looked for in one order, [`Refusal`]'s own. Once the number passes it is used up,
//! whatever follows; apart from that a refused intent changes nothing, but that a table remembers when a seat was asked for
//! in vain. Pledges and openings come before the block's intents, and have an order of their own (RULES.md R13).

mod account;
mod seat;
mod bet;
mod pledge;

use bevy_ecs::system::{Res, ResMut};
use engine::columns::{Column, Columns, Rows};
use engine::component::{House, Table};
use engine::image::DirtyMap;
use engine::io::{Receipt, Verdict};
use engine::message::certificate::Beacon;
use engine::message::intent::{Expiry, Intent, IntentBody, IntentKind};
use engine::message::refusal::Refusal;
use engine::{AccountId, Chips, Hash, TableId};

use crate::catalogue::Catalogue;
use crate::settle::block::{Counts, Current, Draw, Report};
use crate::settle::ledger::{Ledger, Postings};
use crate::settle::openings::Opened;
use crate::state::accounts::AccountIndex;
use crate::state::activity::Activity;
use crate::state::due::DueTimes;
use crate::state::pledges::Forfeits;
use crate::state::setup::Setup;

/// What became of one intent.
type Applied = Result<Verdict, Refusal>;

/// Everything that intents act on, for the time of one block.
pub struct Intake<'a, 'r> {
    setup: &'a Setup,
    rows: &'a mut Rows<'r>,
    index: &'a mut AccountIndex,
    ledger: &'a mut Ledger,
    due: &'a mut DueTimes,
    dirty: &'a mut DirtyMap,
    counts: &'a mut Counts,
    time_ms: u64,
    /// The same moment by the clock of activity.
    active_ms: u64,
    /// The same by the clock of openings.
    opening_ms: u64,
    /// The block, and its beacon: what a roll of a pledged table waits with.
    closing: (Hash, Beacon),
    opened: &'a mut Opened,
    forfeits: &'a mut Forfeits,
    closed: &'a mut Vec<TableId>,
    accounts_opened: u32,
}

/// System: applies the block's intents and writes a receipt for each.
pub fn apply_intents(
    setup: Res<'_, Setup>,
    current: Res<'_, Current>,
    mut columns: Columns<'_, '_>,
    mut index: ResMut<'_, AccountIndex>,
    mut ledger: ResMut<'_, Ledger>,
    mut due: ResMut<'_, DueTimes>,
    mut dirty: ResMut<'_, DirtyMap>,
    mut report: ResMut<'_, Report>,
    activity: Res<'_, Activity>,
    mut opened: ResMut<'_, Opened>,
    mut forfeits: ResMut<'_, Forfeits>,
) {
    activity.begin(current.height);
    let mut rows = columns.rows();
    let Report { receipts, pledge_receipts, counts, closed, .. } = &mut *report;
    let beacon = if let Draw::Beacon(beacon) = current.draw { beacon } else { [0; 48] };
    let mut intake = Intake {
        setup: &setup,
        rows: &mut rows,
        index: &mut index,
        ledger: &mut ledger,
        due: &mut due,
        dirty: &mut dirty,
        counts,
        time_ms: current.time_ms,
        active_ms: current.active_ms,
        opening_ms: current.opening_ms,
        closing: (current.part.hash, beacon),
        opened: &mut opened,
        forfeits: &mut forfeits,
        closed,
        accounts_opened: 0,
    };
    let before = *intake.rows.house;
    // Pledges come first (R13), so that a player may pledge and call the roll in one block. Their receipts are numbered
    // behind those of the intents, as the record has its verdicts.
    let first = current.intents.len() as u32;
    for (index, row) in (first..).zip(&current.part.pledges) {
        let verdict = intake.take_pledge(row, &activity);
        pledge_receipts.push(Receipt { id: row.id(), height: current.height, index, verdict });
    }
    let mut index = 0;
    for window in current.intents.chunks(WINDOW) {
        let hints = intake.look_up(window);
        for (intent, hint) in window.iter().zip(hints) {
            let verdict = intake.apply(intent, hint);
            // An account that this intent opened was not there when its window was looked up.
            if activity.maps().is_some() {
                let account = hint.account.or_else(|| intake.index.find(&intent.body.key, intake.rows.keys));
                activity.intent(&intent.body, account);
            }
            receipts.push(Receipt { id: intent.id(), height: current.height, index, verdict });
            index += 1;
        }
    }
    assert_eq!(receipts.len(), current.intents.len(), "every intent has its receipt");
    assert_eq!(pledge_receipts.len(), current.part.pledges.len(), "every pledge and opening has its receipt");
    let Counts { applied, refused, .. } = *intake.counts;
    assert_eq!(applied + refused, receipts.len() as u64, "every intent was applied or refused");
    intake.check_block(&before);
}

/// Intents that are looked up together, ahead of being applied one by one. In a large world nearly every row is far
/// away in memory; together, the loads of many intents overlap.
const WINDOW: usize = 32;

/// Where an intent's account and seat lay when its window was looked up. An intent in between may have changed that, so
/// both are checked when they are used.
#[derive(Clone, Copy, Default)]
struct Hint {
    account: Option<AccountId>,
    seat: Option<usize>,
}

impl Intake<'_, '_> {
    /// Looks a window of intents up, step by step for all of them.
    fn look_up(&self, window: &[Intent]) -> [Hint; WINDOW] {
        assert!(window.len() <= WINDOW, "every intent of a window has its hint");
        let mut hints = [Hint::default(); WINDOW];
        for (hint, intent) in hints.iter_mut().zip(window) {
            hint.account = self.index.find(&intent.body.key, self.rows.keys);
        }
        for (hint, intent) in hints.iter_mut().zip(window) {
            if let Some(id) = hint.account {
                std::hint::black_box(self.rows.accounts[id.index()].number_highest);
                let table = intent.body.target as usize;
                if let Some(row) = self.rows.tables.get(table) {
                    std::hint::black_box(row.roll_number);
                    hint.seat = self.seat_of(table, id);
                }
            }
        }
        for seat in hints.iter().filter_map(|hint| hint.seat) {
            std::hint::black_box(self.rows.bets[seat].rows[0].amount);
        }
        hints
    }

    /// What a block did to all chips and accounts together, held against what it was counted to do.
    fn check_block(&self, before: &House) {
        let players = |house: &House| house.cages + house.rails + house.felts;
        let (house, opened, grant) = (&*self.rows.house, self.accounts_opened, Chips(self.setup.genesis.grant));
        // Bets go from a rail to the felt and back: what players win, they win by dice that fall later.
        let granted = Chips(grant.0 * u64::from(opened));
        assert_eq!(players(house), players(before) + granted, "intents give players their grants and nothing else");
        assert_eq!(house.forfeited, before.forfeited, "bets are forfeited by a deadline, and by no intent");
        assert_eq!(house.accounts_open, before.accounts_open + opened, "intents open accounts and free none");
        assert!(u64::from(opened) <= self.counts.applied, "every account was opened by an intent");
        assert!(self.counts.bets_placed <= self.counts.applied, "every bet was placed by an intent");
    }

    /// Applies one intent.
    fn apply(&mut self, intent: &Intent, hint: Hint) -> Verdict {
        let House { supply, cages, rails, felts, banks, .. } = *self.rows.house;
        let verdict = self.admit(&intent.body, hint).unwrap_or_else(Verdict::Refused);
        let house = &self.rows.house;
        assert!(house.is_conserved(), "an intent makes and loses no chip");
        assert_eq!(house.supply, supply, "the supply is that of genesis for ever");
        match verdict {
            Verdict::Refused(_) => {
                let chips = [house.cages, house.rails, house.felts, house.banks];
                assert_eq!(chips, [cages, rails, felts, banks], "a refused intent leaves every chip where it lay");
                self.counts.refused += 1;
            }
            Verdict::Applied | Verdict::OddsReturned => self.counts.applied += 1,
        }
        verdict
    }

    /// Account, expiry and number; then the operation.
    fn admit(&mut self, body: &IntentBody, hint: Hint) -> Applied {
        let kind = IntentKind::try_from(body.kind).expect("a block's intents have known kinds");
        if matches!(kind, IntentKind::Open | IntentKind::OpenVoucher) {
            // Who has no account has no numbers either: an open intent that comes again finds the account open.
            self.check_expiry(body)?;
            return self.open(kind, body);
        }
        // An intent of the same window may have opened the account: then only the index knows of it.
        let known = hint.account.filter(|id| self.rows.keys[id.index()].key == body.key);
        let id = known.or_else(|| self.index.find(&body.key, self.rows.keys)).ok_or(Refusal::UnknownAccount)?;
        assert!(self.rows.accounts[id.index()].is_open(), "only an open account is found by its key");
        self.check_expiry(body)?;
        // The number is used up before anything else is looked at: an intent that is refused now could otherwise be applied
        // later, by whoever kept a copy of it.
        self.rows.accounts[id.index()].check_number(body.number)?;
        self.rows.accounts[id.index()].use_number(body.number);
        assert!(self.rows.accounts[id.index()].check_number(body.number).is_err(), "a number is used once");
        self.dirty.mark(Column::Accounts, id.index());

        let verdict = match kind {
            IntentKind::Transfer => self.transfer(id, body),
            _ => self.at_table(kind, id, body, hint.seat),
        }?;
        let account = &mut self.rows.accounts[id.index()];
        assert!(account.last_intent_ms <= self.active_ms, "an account is used by a clock that does not go back");
        account.last_intent_ms = self.active_ms;
        Ok(verdict)
    }

    fn check_expiry(&self, body: &IntentBody) -> Result<(), Refusal> {
        match body.expiry(self.time_ms) {
            Expiry::Within => Ok(()),
            Expiry::Passed => Err(Refusal::Expired),
            Expiry::TooFar => Err(Refusal::ExpiresTooLate),
        }
    }

    /// The table, the roll that the intent is for, then the operation there.
    fn at_table(&mut self, kind: IntentKind, id: AccountId, body: &IntentBody, hint: Option<usize>) -> Applied {
        let table = body.target as usize;
        let row = self.rows.tables.get(table).ok_or(Refusal::UnknownTable)?;
        // A bet that was meant for a roll that has been must not lie on the table for the next one.
        if body.roll != 0 && body.roll != row.roll_number + 1 {
            return Err(Refusal::StaleRoll);
        }
        // The dice of a closed roll may be known to whoever holds the beacon or the value: nothing may be done any more.
        if kind != IntentKind::Sit && self.is_frozen(table) {
            return Err(Refusal::Frozen);
        }
        let known = hint.filter(|seat| self.sits(*seat, id));
        let seat = known.or_else(|| self.seat_of(table, id));
        assert!(seat.is_none_or(|seat| self.seats(table).contains(&seat)), "a player acts at the table that is named");
        let (first, occupied) = (self.seats(table).start, self.rows.tables[table].occupied);
        assert!(seat.is_none_or(|seat| occupied >> (seat - first) & 1 == 1), "a player's seat is marked as taken");
        match kind {
            IntentKind::Sit => self.sit(table, id, body),
            IntentKind::Leave => self.leave(seat.ok_or(Refusal::UnknownPlayer)?),
            IntentKind::Roll => self.call_roll(table, seat),
            IntentKind::PassDice => self.pass_dice(table, seat),
            IntentKind::Bet => self.bet(table, seat, body),
            IntentKind::TakeDown => self.take_down(table, seat, body),
            IntentKind::SetAmount => self.set_amount(table, seat, body),
            IntentKind::SetWorking => self.set_working(table, seat, body),
            IntentKind::Open | IntentKind::OpenVoucher | IntentKind::Transfer => {
                unreachable!("intents without a table were applied before")
            }
        }
        .inspect(|_| {
            if let Some(seat) = seat {
                assert!(
                    self.rows.seats[seat].last_intent_ms <= self.active_ms,
                    "a seat is used by a clock that does not go back"
                );
                self.rows.seats[seat].last_intent_ms = self.active_ms;
                self.dirty.mark(Column::Seats, seat);
            }
        })
    }

    /// The seat at which an account may act.
    fn seat_of(&self, table: usize, id: AccountId) -> Option<usize> {
        self.seats(table).find(|seat| self.sits(*seat, id))
    }

    fn sits(&self, seat: usize, id: AccountId) -> bool {
        self.rows.seats[seat].account == id && self.rows.seats[seat].is_seated()
    }

    fn seats(&self, table: usize) -> std::ops::Range<usize> {
        let seats = self.rows.seats_per_table();
        table * seats..(table + 1) * seats
    }

    fn catalogue(&self, table: usize) -> &Catalogue {
        &self.setup.catalogues[self.rows.tables[table].rules as usize]
    }

    /// A table that is about to change.
    fn table(&mut self, table: usize) -> &mut Table {
        self.dirty.mark(Column::Tables, table);
        &mut self.rows.tables[table]
    }

    fn post(&mut self, posting: impl FnOnce(&mut Postings<'_, '_>)) {
        posting(&mut Postings { rows: self.rows, ledger: self.ledger, dirty: self.dirty });
    }

    fn rail(&self, seat: usize) -> Chips {
        self.rows.seats[seat].rail
    }
}
