//! Resolve: what a roll does to every bet at its table, by table lookup.
//!
//! ```text
//!  (puck, roll) -> row: affected spots, a transition for each
//!  seat: occupied & affected -> for each: transition -> credit, loss, travel, progress
//!  table: felt and exposure go down, the bank keeps what is not credited
//! ```
//! A chunk of tables is one worker's; what leaves the chunk (players who left, banks to fill) is handed on in order.

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;
use engine::bits::ones;
use engine::columns::{Column, Columns};
use engine::component::{BetRow, Seat, SeatBetsMut, SeatStatus, SpotMask};
use engine::image::DirtyMap;
use engine::io::{BetResult, Leaving, Resolution, RollReport};
use engine::limits::{CHUNK_TABLES, SEAT_BETS_HOT};
use engine::pool::Arenas;
use engine::{AccountId, Chips, RollEvent, TableId};

use super::block::{Counts, Current, Report};
use super::ledger::{Ledger, TableTotals, balanced, held};
use super::roll::{Rolled, tables_of};
use crate::catalogue::{Catalogue, OutcomeRow, Pay, Transition};
use crate::state::activity::Activity;
use crate::state::chunk::{TableChunk, table_chunks};
use crate::state::due::{self, DueTimes};
use crate::state::seats::{self, is_absent, is_bare, is_wanted};
use crate::state::setup::Setup;

/// A seat that became free: its chips go to the account's cage.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Departure {
    /// Whose seat it was.
    pub account: AccountId,
    /// The rail.
    pub chips: Chips,
    /// Wagers decided since the player sat down.
    pub wagered: Chips,
}

/// What crosses rows at this height, in table order: the settle system's work.
#[derive(Resource, Default)]
pub struct Crossing {
    /// Seats that became free.
    pub departures: Vec<Departure>,
    /// Tables that are between hands with too little in the bank.
    pub to_fill: Vec<TableId>,
    /// Chips that banks gave back to the treasury between hands.
    pub skimmed: Chips,
}

/// What one chunk hands on.
#[derive(Clone, Copy)]
struct ChunkDone<'a> {
    index: usize,
    next_roll_ms: u64,
    before: TableTotals,
    after: TableTotals,
    departed: Chips,
    skimmed: Chips,
    counts: Counts,
    departures: &'a [Departure],
    to_fill: &'a [TableId],
    rolls: &'a [RollReport],
    resolutions: &'a [Resolution],
    leavings: &'a [Leaving],
}

/// System: resolves every bet at the tables that rolled, in chunks of tables.
pub fn resolve_bets(
    setup: Res<'_, Setup>,
    current: Res<'_, Current>,
    mut columns: Columns<'_, '_>,
    mut rolled: ResMut<'_, Rolled>,
    mut ledger: ResMut<'_, Ledger>,
    mut due: ResMut<'_, DueTimes>,
    mut dirty: ResMut<'_, DirtyMap>,
    mut crossing: ResMut<'_, Crossing>,
    mut arenas: ResMut<'_, Arenas>,
    mut report: ResMut<'_, Report>,
    activity: Res<'_, Activity>,
) {
    let mut rows = columns.rows();
    let watch = report.watch;
    // What is zipped ends with the shortest: tables without a mask would keep bets that a roll has decided.
    assert_eq!(rolled.chunks.len(), rows.tables.len().div_ceil(CHUNK_TABLES), "every chunk of tables has its mask");
    let chunks = table_chunks(&mut rows, &mut ledger, &mut dirty).zip(&mut rolled.chunks);
    let busy = chunks.filter(|(_, mask)| **mask != [0; 4]);
    let done = arenas.map(busy, |arena, (chunk, mask)| {
        let Current { time_ms, active_ms, .. } = *current;
        Resolver { setup: &setup, time_ms, active_ms, watch, activity: &activity, arena }
            .chunk(chunk, std::mem::take(mask))
    });

    let house = &mut *rows.house;
    assert!(crossing.departures.is_empty(), "the last height posted every rail that left");
    assert!(crossing.to_fill.is_empty(), "the last height looked at every bank that asked");
    assert_eq!(crossing.skimmed, Chips::ZERO, "the last height posted what banks gave back");
    // Chunks are joined in their order, whichever worker was first: reports and cages are the same on every node.
    let mut kept = size_of_val(done);
    let mut joined = None;
    for chunk in done {
        assert!(joined < Some(chunk.index), "chunks are joined once, and in their order");
        joined = Some(chunk.index);
        kept += chunk.kept_bytes();
        chunk.check_conserved();
        // One that were due still would roll again at the next height, before anybody could bet.
        assert!(chunk.next_roll_ms > current.time_ms, "no table of a chunk that rolled is still due");
        due.set(chunk.index, chunk.next_roll_ms);
        // What is added comes before what is taken away: the difference of one chunk may be below zero.
        house.rails = house.rails + chunk.after.rails + chunk.departed - chunk.before.rails;
        house.felts = house.felts + chunk.after.felts - chunk.before.felts;
        house.banks = house.banks + chunk.after.banks + chunk.skimmed - chunk.before.banks;
        crossing.departures.extend_from_slice(chunk.departures);
        crossing.to_fill.extend_from_slice(chunk.to_fill);
        crossing.skimmed += chunk.skimmed;
        report.counts += chunk.counts;
        report.rolls.extend_from_slice(chunk.rolls);
        report.resolutions.extend_from_slice(chunk.resolutions);
        report.leavings.extend_from_slice(chunk.leavings);
    }
    if watch {
        assert_eq!(report.rolls.len() as u64, report.counts.rolls, "every roll is told of where somebody watches");
    }
    arenas.note_kept(kept);
}

/// What one worker needs to resolve a chunk.
struct Resolver<'a, 's> {
    setup: &'s Setup,
    time_ms: u64,
    active_ms: u64,
    watch: bool,
    activity: &'s Activity,
    arena: &'a Bump,
}

/// What a roll does to one seat.
#[derive(Clone, Copy, Default, Debug)]
pub struct SeatOutcome {
    /// Chips that leave the felt.
    pub off_felt: Chips,
    /// Chips of them, and of the bank, that go to the rail.
    pub credit: Chips,
    /// What the bank no longer has to cover.
    pub exposure: Chips,
    /// Wagers won or lost.
    pub wagered: Chips,
    /// Wagers lost, and commissions of bets that were won or lost.
    pub lost: Chips,
    /// Wins beyond the wagers.
    pub profit: Chips,
    /// Bets that were decided, pushed or returned.
    pub resolved: u64,
    /// Whether a row of the bets changed.
    pub changed: bool,
}

/// Applies one roll to one seat's bets. Pure: it knows the seat, the row of outcomes, and nothing else.
///
/// `resolved` hears of each bet that was decided, returned or moved, in the order of spots.
#[inline]
pub fn resolve_seat(
    bets: &mut SeatBetsMut<'_>,
    catalogue: &Catalogue,
    row: &OutcomeRow,
    default_working: &SpotMask,
    mut resolved: impl FnMut(BetRow, Chips, BetResult),
) -> SeatOutcome {
    let mut outcome = SeatOutcome::default();
    let hit = bets.seat.spots.and(&row.affected);
    // Most seats end here: their mask lies in the seat's own line, and no bet is loaded for a roll that concerns none.
    if hit.is_empty() {
        return outcome;
    }
    // Rows are taken off after the walk: one that went at once would move those behind it under the walk.
    let mut gone = SpotMask::EMPTY;
    let mut travelled: [Option<BetRow>; 2] = [None; 2];
    for spot in hit.iter() {
        let index = bets.seat.spots.rank(spot);
        let bet = bets.view().row(index);
        assert!(bet.spot == spot, "mask and rows agree on where a bet lies");
        let works = bet.flags.works(default_working.contains(spot));
        let end = match catalogue.transition(row, spot, bet.progress, works) {
            Transition::Stay => {
                // From the first roll that it sees on, a bet on a whole hand cannot be raised any more.
                if catalogue.is_hand(spot) && !bet.flags.seen() {
                    bets.row_mut(index).flags = bet.flags.with_seen();
                    outcome.changed = true;
                }
                continue;
            }
            Transition::Advance(progress) => {
                *bets.row_mut(index) = BetRow { progress, flags: bet.flags.with_seen(), ..bet };
                outcome.changed = true;
                continue;
            }
            Transition::Travel(to) => {
                // Two at most: a pending come and a pending don't come, which both go to the number that rolled.
                let free = travelled.iter_mut().find(|slot| slot.is_none());
                *free.expect("only come and don't come travel") = Some(BetRow { spot: to, ..bet });
                gone.insert(spot);
                resolved(bet, Chips::ZERO, BetResult::Travel(to));
                continue;
            }
            Transition::Return => None,
            Transition::End(pay) => Some(pay),
        };
        let wager = Chips(bet.amount.into());
        let held = held(bet.amount, catalogue.commission(spot));
        let (credit, result) = match end {
            Some(Pay::Win(ratio)) => {
                let profit = Chips(ratio.floor_of(bet.amount));
                outcome.wagered += wager;
                outcome.profit += profit;
                // The house keeps the commission, which was held beside the wager.
                outcome.lost += held - wager;
                (wager + profit, BetResult::Win)
            }
            Some(Pay::Lose) => {
                outcome.wagered += wager;
                outcome.lost += held;
                (Chips::ZERO, BetResult::Lose)
            }
            // Commission is for a decision: a bet that ends without one gives it back, and counts for no grant.
            Some(Pay::Push) => (held, BetResult::Push),
            None => (held, BetResult::Return),
        };
        outcome.off_felt += held;
        outcome.credit += credit;
        outcome.exposure += Chips(catalogue.max_win(spot).floor_of(bet.amount));
        outcome.resolved += 1;
        gone.insert(spot);
        resolved(bet, credit, result);
    }
    let given = outcome.credit + outcome.lost;
    assert!(given == outcome.off_felt + outcome.profit, "wagers and profits go to the player or stay with the bank");
    assert!(outcome.profit <= outcome.exposure, "no bet wins more than the bank held ready for it");
    assert!(outcome.wagered <= outcome.off_felt, "what was decided leaves the felt");
    if !gone.is_empty() {
        let count = bets.seat.spots.count();
        bets.remove_all(&gone);
        assert_eq!(bets.seat.spots.count() + gone.count(), count, "what was decided leaves the seat, and nothing else");
        // Only now, when those that were decided are gone: a seat may be full, and a spot may change hands in one roll.
        travelled.into_iter().flatten().for_each(|bet| bets.insert(bet));
        outcome.changed = true;
    }
    outcome
}

impl ChunkDone<'_> {
    /// Bytes of its lists.
    fn kept_bytes(&self) -> usize {
        let Self { departures, to_fill, rolls, resolutions, leavings, .. } = *self;
        let tables = size_of_val(departures) + size_of_val(to_fill) + size_of_val(rolls);
        tables + size_of_val(resolutions) + size_of_val(leavings)
    }

    /// What a chunk of tables has less, left it: for cages and for the treasury, and nowhere else.
    fn check_conserved(&self) {
        let all = |totals: &TableTotals| totals.rails + totals.felts + totals.banks;
        let left = self.departed + self.skimmed;
        assert_eq!(all(&self.before), all(&self.after) + left, "chunk {}: a roll makes and loses no chip", self.index);
        // What receipts and audits say of wins and losses is counted bet by bet, and the banks table by table.
        let (lost, paid) = (Chips(self.counts.lost), Chips(self.counts.paid));
        let kept = self.after.banks + self.skimmed + paid;
        assert_eq!(
            self.before.banks + lost,
            kept,
            "chunk {}: banks gain what players lost, less what they won",
            self.index
        );
        let departed: Chips = self.departures.iter().map(|departure| departure.chips).sum();
        assert_eq!(departed, self.departed, "chunk {}: every rail that left is handed on", self.index);
    }
}

impl<'a> Resolver<'a, '_> {
    fn chunk(&self, mut chunk: TableChunk<'_>, rolled: [u64; 4]) -> ChunkDone<'a> {
        let before = *chunk.totals;
        let mut lists = Lists::new(self.arena);
        let tables: u32 = rolled.iter().map(|word| word.count_ones()).sum();
        for place in tables_of(rolled) {
            self.table(&mut chunk, place, &mut lists);
        }
        assert_eq!(lists.counts.rolls, u64::from(tables), "every table that rolled is resolved, and once");
        ChunkDone {
            index: chunk.index,
            next_roll_ms: due::earliest(chunk.tables),
            before,
            after: *chunk.totals,
            departed: lists.departures.iter().map(|departure| departure.chips).sum(),
            skimmed: lists.skimmed,
            counts: lists.counts,
            departures: lists.departures.into_bump_slice(),
            to_fill: lists.to_fill.into_bump_slice(),
            rolls: lists.rolls.into_bump_slice(),
            resolutions: lists.resolutions.into_bump_slice(),
            leavings: lists.leavings.into_bump_slice(),
        }
    }

    /// One table that rolled: its bets, its puck, its players, its bank, its next roll.
    fn table(&self, chunk: &mut TableChunk<'_>, place: usize, lists: &mut Lists<'a>) {
        let id = TableId((chunk.index * CHUNK_TABLES + place) as u32);
        let table = &chunk.tables[place];
        let dice = table.last_dice().expect("a table that rolled has dice");
        let puck = table.puck();
        let (event, after) = puck.roll(dice);
        let catalogue = &self.setup.catalogues[table.rules as usize];

        // The bets see the puck as it was before the roll: it moves only when all of them are resolved (R2).
        self.seats(chunk, place, catalogue, id, lists);

        let table = &mut chunk.tables[place];
        assert!(table.next_roll_ms <= self.time_ms, "a table rolls when it is due");
        assert_eq!(table.opened_ms, self.time_ms, "the dice that are resolved fell at this height");
        table.point = after.to_byte();
        table.roll_called = 0;
        table.next_roll_ms = self.setup.next_roll_ms(id.index(), self.time_ms);
        assert!(table.next_roll_ms > self.time_ms, "a table rolls once at a height");
        let per_table = self.setup.genesis.seats as usize;
        let first = place * per_table;
        if event == RollEvent::SevenOut {
            let table = &mut chunk.tables[place];
            table.begin_hand();
            let next = seats::next_shooter(&chunk.seats[first..first + per_table], table.shooter);
            table.shooter = next.unwrap_or(engine::component::Table::NO_SHOOTER);
        }
        // Whoever got the dice by the seven-out may be absent too: seen off after it, they hand them on once more.
        let is_seven_out = event == RollEvent::SevenOut;
        let mut between_hands = is_seven_out;
        for seat in first..first + per_table {
            between_hands |= self.see_off(chunk, place, seat, catalogue, lists);
        }
        // The bank is looked at last, when the bets of those who left are gone.
        if between_hands {
            self.balance_bank(chunk, place, is_seven_out, lists);
        }
        chunk.dirty.mark(Column::Tables, place);
        self.activity.table(id);
        lists.counts.rolls += 1;
        if self.watch {
            let table = &chunk.tables[place];
            let (roll_number, shooter) = (table.roll_number, table.shooter);
            lists.rolls.push(RollReport { table: id, roll_number, dice, event, puck: after, shooter });
        }
    }

    fn seats(
        &self,
        chunk: &mut TableChunk<'_>,
        place: usize,
        catalogue: &Catalogue,
        id: TableId,
        lists: &mut Lists<'a>,
    ) {
        let table = &mut chunk.tables[place];
        let puck = table.puck();
        let row = catalogue.row(puck, table.last_dice().expect("a table that rolled has dice"));
        let default_working = catalogue.default_working(puck);
        let per_table = self.setup.genesis.seats as usize;
        for number in ones(table.occupied.into()) {
            let seat = place * per_table + number;
            let account = chunk.seats[seat].account;
            assert!(account != AccountId::NONE, "a seat that is marked as taken is somebody's");
            let mut bets = SeatBetsMut {
                seat: &mut chunk.seats[seat],
                hot: &mut chunk.bets[seat],
                cold: &mut chunk.more_bets[seat],
            };
            let rows_before = bets.seat.spots.count() as usize;
            let outcome = resolve_seat(&mut bets, catalogue, row, default_working, |bet, credit, result| {
                if self.watch {
                    let (seat, spot, wager) = (number as u8, bet.spot, bet.amount);
                    lists.resolutions.push(Resolution { table: id, seat, account, spot, wager, credit, result });
                }
            });
            // A seat that stays as it was is not marked: each mark is a group of 16 KiB to be hashed again.
            if !outcome.changed {
                continue;
            }
            let (resolved, off_felt) = (outcome.resolved > 0, outcome.off_felt > Chips::ZERO);
            assert!(resolved == off_felt, "a bet that ends takes its chips off the felt, and no other does");
            self.activity.account(account);
            bets.seat.rail += outcome.credit;
            // The same chips are wagered again and again: no supply bounds their sum.
            bets.seat.wagered = bets.seat.wagered.saturating_add(outcome.wagered);
            // A bet that only counted something keeps no seat from those who wait for one.
            if outcome.resolved > 0 {
                bets.seat.last_bet_ms = self.active_ms;
            }
            chunk.totals.rails += outcome.credit;
            chunk.totals.felts -= outcome.off_felt;
            chunk.totals.banks = chunk.totals.banks + outcome.off_felt - outcome.credit;
            table.felt -= outcome.off_felt;
            table.exposure -= outcome.exposure;
            table.bank = table.bank + outcome.off_felt - outcome.credit;
            lists.counts.bets_resolved += outcome.resolved;
            lists.counts.paid += outcome.profit.0;
            lists.counts.lost += outcome.lost.0;
            chunk.dirty.mark(Column::Seats, seat);
            chunk.dirty.mark(Column::Bets, seat);
            // By the count before: a row that moved out of the cold lines changed them too.
            if rows_before > SEAT_BETS_HOT {
                chunk.dirty.mark(Column::MoreBets, seat);
            }
        }
        assert!(table.exposure <= table.bank, "table {id}: the bank can pay every win that is left");
    }

    /// A player who is absent leaves, and one who keeps a seat without a bet while others wait for one; a seat that is
    /// leaving and holds no bet becomes free. Says whether the table is between hands by it.
    fn see_off(
        &self,
        chunk: &mut TableChunk<'_>,
        place: usize,
        seat: usize,
        catalogue: &Catalogue,
        lists: &mut Lists<'a>,
    ) -> bool {
        let table = &mut chunk.tables[place];
        let row = &mut chunk.seats[seat];
        let absent = is_absent(row, &self.setup.genesis, self.active_ms)
            || (is_wanted(table, self.setup.genesis.seats, &self.setup.genesis, self.active_ms)
                && is_bare(row, &self.setup.genesis, self.active_ms));
        let mut returned_chips = Chips::ZERO;
        // Nobody acts for the player any more, so that what may go back does; the rest stays until it is decided (R3).
        if absent {
            let mut bets = SeatBetsMut { seat: row, hot: &mut chunk.bets[seat], cold: &mut chunk.more_bets[seat] };
            let returned = seats::returnable(bets.view(), catalogue, table.puck());
            let freed = seats::worth(bets.view(), &returned, catalogue);
            chunk.dirty.mark(Column::Bets, seat);
            if bets.seat.spots.count() as usize > SEAT_BETS_HOT {
                chunk.dirty.mark(Column::MoreBets, seat);
            }
            bets.remove_all(&returned);
            returned_chips = freed.chips;
            row.rail += freed.chips;
            row.status = SeatStatus::Leaving as u8;
            table.felt -= freed.chips;
            table.exposure -= freed.exposure;
            chunk.totals.felts -= freed.chips;
            chunk.totals.rails += freed.chips;
            chunk.dirty.mark(Column::Seats, seat);
        }
        // Whoever leaves with bets that stay was told of when they left: only the seat's end is new.
        if !row.is_leaving() || (!absent && !row.spots.is_empty()) {
            return false;
        }
        let per_table = self.setup.genesis.seats as usize;
        let number = (seat - place * per_table) as u8;
        self.activity.account(row.account);
        if self.watch {
            let table = TableId((chunk.index * CHUNK_TABLES + place) as u32);
            let left_with = row.spots.is_empty().then_some(row.rail);
            let (account, returned) = (row.account, returned_chips);
            lists.leavings.push(Leaving { table, seat: number, account, absent, returned, left_with });
        }
        if row.spots.is_empty() {
            assert!(row.account != AccountId::NONE, "a seat that becomes free was somebody's");
            assert!(table.occupied >> number & 1 == 1, "a seat that is taken is marked so");
            lists.departures.push(Departure { account: row.account, chips: row.rail, wagered: row.wagered });
            chunk.totals.rails -= row.rail;
            *row = Seat::EMPTY;
            table.occupied &= !(1 << number);
            chunk.dirty.mark(Column::Seats, seat);
        }
        let seats = &chunk.seats[place * per_table..(place + 1) * per_table];
        seats::hand_over((table, seats), number)
    }

    /// Between hands: what a bank gives to the treasury is posted at once; what it lacks is asked for.
    fn balance_bank(&self, chunk: &mut TableChunk<'_>, place: usize, is_seven_out: bool, lists: &mut Lists<'a>) {
        let table = &mut chunk.tables[place];
        let target = Chips(self.setup.genesis.bank_target);
        // The treasury is one row that all chunks share: it pays afterwards, in table order.
        let balanced = balanced(table, target, Chips::ZERO, is_seven_out);
        assert!(balanced <= table.bank, "a chunk fills no bank");
        if balanced < target {
            lists.to_fill.push(TableId((chunk.index * CHUNK_TABLES + place) as u32));
        }
        let surplus = table.bank - balanced;
        assert!(surplus == Chips::ZERO || balanced >= target, "a bank gives what it has above its target");
        table.bank = balanced;
        chunk.totals.banks -= surplus;
        lists.skimmed += surplus;
    }
}

/// What a chunk collects in its worker's arena.
struct Lists<'a> {
    departures: BumpVec<'a, Departure>,
    to_fill: BumpVec<'a, TableId>,
    rolls: BumpVec<'a, RollReport>,
    resolutions: BumpVec<'a, Resolution>,
    leavings: BumpVec<'a, Leaving>,
    skimmed: Chips,
    counts: Counts,
}

impl<'a> Lists<'a> {
    fn new(arena: &'a Bump) -> Self {
        Self {
            departures: BumpVec::new_in(arena),
            to_fill: BumpVec::new_in(arena),
            rolls: BumpVec::new_in(arena),
            resolutions: BumpVec::new_in(arena),
            leavings: BumpVec::new_in(arena),
            skimmed: Chips::ZERO,
            counts: Counts::default(),
        }
    }
}

#[cfg(test)]
mod tests;
