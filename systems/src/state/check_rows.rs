//! Checks of every row of an image that somebody handed over, before anything acts on it.
//!
//! The root of an image says that its bytes are those that were meant; it does not say that they are a state. Systems index
//! by what rows hold and assert what settling keeps, so a row that no settling leads to must be found here, as an error
//! that names it.

use engine::columns::{Column, Rows};
use engine::component::{
    Account, AccountStatus, BetFlags, ChainStart, GroupKey, House, NextValidator, Pledge, Row, RulesHash, Seat,
    SeatStatus, Table, Validator,
};
use engine::image::ImageError;
use engine::limits::{
    COUNTER_MAX, HEIGHT_MAX, IDLE_MS_MAX, OPENING_GAP_MS_MAX, SEAT_BETS_COLD, SEAT_BETS_HOT, SEAT_BETS_MAX,
    SKIP_HEIGHTS, SPOTS, TIME_MS_MAX,
};
use engine::message::DecodeError;
use engine::message::intent::Working;
use engine::{AccountId, Dice, Height, Puck, Spot};
use rayon::prelude::*;
use thiserror::Error;

use super::accounts::AccountIndex;
use super::setup::Setup;
use crate::catalogue::{self, Catalogue};
use crate::settle::ledger::held;

/// A row that no settled height can have.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
#[error("{} row {row}, {field}: {problem}", .column.name())]
pub struct RowError {
    /// The column that has the row.
    pub column: Column,
    /// The row's index in the column, from 0.
    pub row: usize,
    /// The row's field, by its name in the page of the image.
    pub field: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

/// Why a snapshot cannot be loaded. The machine then holds neither what it held nor the snapshot.
#[derive(Error, Debug)]
pub enum LoadError<E> {
    /// A group could not be read.
    #[error(transparent)]
    Read(E),
    /// A group that does not fit the columns.
    #[error(transparent)]
    Image(ImageError),
    /// The note cannot be read.
    #[error(transparent)]
    Note(DecodeError),
    /// The note is of another height.
    #[error("its note is of height {0}")]
    Height(Height),
    /// The image of this chain has another size.
    #[error("it has {found} groups where the image has {expected}")]
    Groups {
        /// Groups of the snapshot.
        found: usize,
        /// Groups of the image.
        expected: usize,
    },
    /// Chaining values of other groups.
    #[error("the chaining values of its groups lead to another root than its note has")]
    Values,
    /// The image is not the one that the chain had.
    #[error("the image has another root than the height it is said to be of")]
    Root,
    /// A row that no settled height can have.
    #[error(transparent)]
    Row(#[from] RowError),
}

impl<E> From<ImageError> for LoadError<E> {
    fn from(error: ImageError) -> Self {
        Self::Image(error)
    }
}

type Checked = Result<(), RowError>;

const _: () = assert!(IDLE_MS_MAX <= u64::MAX - TIME_MS_MAX);
// A seat's mask has a bit for each of its rows, and they lie in two columns.
const _: () = assert!(SEAT_BETS_HOT + SEAT_BETS_COLD == SEAT_BETS_MAX && SEAT_BETS_MAX <= SPOTS);

/// One row under check: says which field is wrong.
#[derive(Clone, Copy)]
struct At {
    column: Column,
    row: usize,
}

impl At {
    /// An error, unless the field is as it must be.
    fn holds(self, holds: bool, field: &'static str, problem: impl FnOnce() -> String) -> Checked {
        if holds { Ok(()) } else { Err(RowError { column: self.column, row: self.row, field, problem: problem() }) }
    }

    fn is<T: PartialEq + std::fmt::Debug>(self, field: &'static str, found: T, expected: T) -> Checked {
        self.holds(found == expected, field, || format!("{found:?}; it must be {expected:?}"))
    }

    fn most(self, field: &'static str, found: u64, most: u64) -> Checked {
        self.holds(found <= most, field, || format!("{found}; it is at most {most}"))
    }
}

/// Rows that one worker takes at a time.
const CHUNK_ROWS: usize = 256;

/// What some rows hold together. In 128 bits no sum of 64-bit amounts over all rows can overflow.
#[derive(Clone, Copy, Default)]
struct Sums {
    rails: u128,
    felts: u128,
    banks: u128,
    exposure: u128,
    cages: u128,
    accounts_open: u64,
}

impl std::ops::Add for Sums {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            rails: self.rails + other.rails,
            felts: self.felts + other.felts,
            banks: self.banks + other.banks,
            exposure: self.exposure + other.exposure,
            cages: self.cages + other.cages,
            accounts_open: self.accounts_open + other.accounts_open,
        }
    }
}

impl std::iter::Sum for Sums {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |sum, row| sum + row)
    }
}

/// Checks every row of every replicated column: the state after the height that the house's row names.
///
/// # Errors
/// The first row that no settled height can have.
pub fn check_rows(setup: &Setup, rows: &Rows<'_>) -> Checked {
    // How many rows there are is ours: whoever handed the image over chose only what is in them.
    assert_eq!(rows.seats.len(), rows.tables.len() * setup.genesis.seats as usize, "every table has its seats");
    assert_eq!(rows.keys.len(), rows.accounts.len(), "every account has the row of its key");
    assert_eq!(setup.catalogues.len(), setup.genesis.rules.len(), "every set of rules has its catalogue");
    // The house first: what other rows may hold is measured by its supply, its height and its clocks.
    check_house(setup, rows.house)?;
    check_constants(setup, rows)?;
    let tables = in_chunks(rows.tables.len(), |id| check_table(setup, rows, id))?;
    // Only now: what counts seats by account takes for granted that each has an account which there is.
    let seats = seats_of_accounts(rows);
    let accounts = in_chunks(rows.accounts.len(), |id| check_account(rows, id, seats[id]))?;
    check_sums(rows, tables, accounts)
}

/// Checks rows in parallel and adds up what they hold. Of several wrong rows the first is named, whatever the threads.
fn in_chunks(count: usize, check: impl Fn(usize) -> Result<Sums, RowError> + Sync) -> Result<Sums, RowError> {
    let chunk = |number: usize| (number * CHUNK_ROWS..count.min((number + 1) * CHUNK_ROWS)).map(&check).sum();
    let chunks: Vec<Result<Sums, RowError>> = (0..count.div_ceil(CHUNK_ROWS)).into_par_iter().map(chunk).collect();
    chunks.into_iter().sum()
}

fn check_house(setup: &Setup, house: &House) -> Checked {
    let at = At { column: Column::House, row: 0 };
    let supply = setup.genesis.supply;
    at.is("supply", house.supply.0, supply)?;
    for (field, chips) in [
        ("treasury", house.treasury),
        ("cages", house.cages),
        ("rails", house.rails),
        ("felts", house.felts),
        ("banks", house.banks),
        ("forfeited", house.forfeited),
    ] {
        at.most(field, chips.0, supply)?;
    }
    // In 128 bits, since six amounts of which each is at most the supply may be more than 64 bits hold.
    at.is("supply", u128::from(supply), {
        let parts = [house.treasury, house.cages, house.rails, house.felts, house.banks, house.forfeited];
        parts.into_iter().map(|chips| u128::from(chips.0)).sum()
    })?;
    at.most("height", house.height.0, HEIGHT_MAX)?;
    at.most("time_ms", house.time_ms, TIME_MS_MAX)?;
    at.holds(house.time_ms >= setup.genesis.start_ms, "time_ms", || "before genesis".into())?;
    // Both clocks count each gap between two blocks, or less of it: neither is ever ahead of block time.
    at.most("active_ms", house.active_ms, house.time_ms - setup.genesis.start_ms)?;
    let opening_most = if setup.has_pledged() { house.time_ms - setup.genesis.start_ms } else { 0 };
    at.most("opening_ms", house.opening_ms, opening_most)?;
    at.is("reserved_after_accounts", house.reserved_after_accounts, [0; 4])?;
    // No block can change the validators yet.
    at.is("validators_from", house.validators_from, Height::GENESIS)?;
    at.is("reserved", house.reserved, [0; 24])
}

/// The columns that genesis fixes.
fn check_constants(setup: &Setup, rows: &Rows<'_>) -> Checked {
    let hashes = setup.rules_hashes();
    // What genesis has beyond the rows would be compared with nothing.
    assert!(setup.genesis.validators.len() <= rows.validators.len(), "every validator has its row");
    assert!(hashes.len() <= rows.rules.len(), "every set of rules has its row");
    let start = ChainStart { genesis: &setup.genesis, rules_hashes: &hashes };
    let other = || "not what genesis says".to_owned();
    let group_key = *rows.group_key == GroupKey::first(&start, 0);
    At { column: Column::GroupKey, row: 0 }.holds(group_key, "key", other)?;
    for (row, found) in rows.validators.iter().enumerate() {
        // Whose turns are skipped is state; all else of a validator is not.
        let first = Validator::first(&start, row);
        let holds = *found == Validator { skipped_until: found.skipped_until, ..first };
        At { column: Column::Validators, row }.holds(holds, "vote_key", other)?;
        let votes = row < setup.genesis.validators.len();
        let most = if votes { rows.house.height.0 + 2 + SKIP_HEIGHTS } else { 0 };
        At { column: Column::Validators, row }.most("skipped_until", found.skipped_until.0, most)?;
    }
    for (row, found) in rows.next_validators.iter().enumerate() {
        let holds = *found == NextValidator::first(&start, row);
        At { column: Column::NextValidators, row }.holds(holds, "vote_key", other)?;
    }
    // Where no table is pledged, the one row there is is zero. Which are is asked of genesis: the tables' rows are not checked
    // yet, and a set of rules that is none has no bit.
    let takes = |row: usize| row < rows.tables.len() && setup.genesis.is_pledged(row as u32);
    for (row, found) in rows.pledges.iter().enumerate().filter(|(row, _)| !takes(*row)) {
        let holds = *found == Pledge::first(&start, row);
        At { column: Column::Pledges, row }.holds(holds, "end", other)?;
    }
    for (row, found) in rows.rules.iter().enumerate() {
        let holds = *found == RulesHash::first(&start, row);
        At { column: Column::Rules, row }.holds(holds, "hash", other)?;
    }
    Ok(())
}

fn check_table(setup: &Setup, rows: &Rows<'_>, id: usize) -> Result<Sums, RowError> {
    let (at, table) = (At { column: Column::Tables, row: id }, &rows.tables[id]);
    let per_table = rows.seats_per_table();
    let seats = &rows.seats[id * per_table..(id + 1) * per_table];
    at.is("rules", usize::from(table.rules), setup.genesis.rules_of(id as u32))?;
    at.holds(Puck::from_byte(table.point).is_some(), "point", || format!("{} is no puck", table.point))?;
    let is_pledged = setup.is_pledged(table);
    // The last roll of a pledged table may have been used up without dice.
    let no_dice = table.dice == [0, 0] && (table.roll_number == 0 || is_pledged);
    let dice = Dice::new(table.dice[0], table.dice[1]).is_some() || no_dice;
    at.holds(dice, "dice", || format!("{:?} after {} rolls", table.dice, table.roll_number))?;
    at.most("roll_number", table.roll_number.into(), rows.house.height.0)?;
    at.most("roll_number", table.roll_number.into(), COUNTER_MAX)?;
    at.most("hand_number", table.hand_number.into(), COUNTER_MAX)?;
    at.most("opened_ms", table.opened_ms, rows.house.time_ms)?;
    at.most("roll_called", table.roll_called.into(), 1)?;
    at.most("wanted_ms", table.wanted_ms, rows.house.active_ms)?;
    let taken = |seat: &Seat| seat.status != SeatStatus::Empty as u8;
    let occupied = seats.iter().enumerate().fold(0u16, |mask, (seat, row)| mask | u16::from(taken(row)) << seat);
    // A seat that is taken and not marked would be passed over by every roll, with its bets.
    at.is("occupied", table.occupied, occupied)?;
    let shoots = |seat: u8| seats.get(usize::from(seat)).is_some_and(Seat::is_seated);
    let shooter = table.shooter == Table::NO_SHOOTER || shoots(table.shooter);
    at.holds(shooter, "shooter", || format!("{} is no seated player", table.shooter))?;
    let due = if occupied == 0 {
        table.next_roll_ms == Table::NEVER && table.point == 0 && table.roll_called == 0
    } else {
        let longest_ms = setup.genesis.account_idle_ms.max(2 * setup.genesis.window_max_ms);
        // Each was set by a height up to this one. One that lies further ahead would keep its players' bets for as long.
        table.next_roll_ms <= rows.house.time_ms + longest_ms
    };
    at.holds(due, "next_roll_ms", || format!("{} with the seats {occupied:#b} taken", table.next_roll_ms))?;

    if is_pledged {
        check_pledge(setup, rows, id)?;
    }

    let mut sums = Sums { banks: table.bank.0.into(), ..Sums::default() };
    for seat in id * per_table..(id + 1) * per_table {
        check_seat(setup, rows, seat, &setup.catalogues[usize::from(table.rules)], &mut sums)?;
    }
    // Intents are for an account and a table: the second of its seats could never be left.
    let twice = |(place, seat): (usize, &Seat)| {
        taken(seat) && seats[..place].iter().any(|other| taken(other) && other.account == seat.account)
    };
    at.holds(!seats.iter().enumerate().any(twice), "occupied", || "one account sits twice".into())?;
    at.is("felt", u128::from(table.felt.0), sums.felts)?;
    at.is("exposure", u128::from(table.exposure.0), sums.exposure)?;
    at.holds(table.exposure <= table.bank, "bank", || format!("{} cannot pay {}", table.bank, table.exposure))?;
    Ok(sums)
}

/// A pledged table's own row, and what follows from it for the table.
fn check_pledge(setup: &Setup, rows: &Rows<'_>, id: usize) -> Checked {
    let (at, pledge) = (At { column: Column::Pledges, row: id }, &rows.pledges[id]);
    let (at_table, table) = (At { column: Column::Tables, row: id }, &rows.tables[id]);
    at_table.most("occupied", table.occupied.into(), 1)?;
    at_table.is("roll_called", table.roll_called, pledge.is_frozen().into())?;
    if !pledge.is_frozen() {
        at.is("block", pledge.block, [0; 32])?;
        return at.is("beacon", pledge.beacon, [0; 48]);
    }
    let seat = &rows.seats[id * rows.seats_per_table()];
    let holds = seat.is_seated() && !seat.spots.is_empty();
    at.holds(holds, "open_until_ms", || "a roll waits without a player who has a bet".into())?;
    at.holds(pledge.end != [0; 32], "end", || "a roll waits without a pledge".into())?;
    at_table.holds(table.has_next_number(), "roll_number", || "a roll waits that has no number".into())?;
    // The deadline passes by the clock of openings, which such a table itself keeps running: a height at least each second.
    let latest_ms = rows.house.time_ms + OPENING_GAP_MS_MAX;
    at_table.most("next_roll_ms", table.next_roll_ms, latest_ms)?;
    let open_ms = u64::from(setup.catalogues[usize::from(table.rules)].rules().open_ms);
    // One whose deadline has passed was forfeited by the height that passed it.
    let (from, to) = (rows.house.opening_ms, rows.house.opening_ms + open_ms);
    let holds = (from..=to).contains(&pledge.open_until_ms);
    at.holds(holds, "open_until_ms", || format!("{}; it must be {from} to {to}", pledge.open_until_ms))
}

fn check_seat(setup: &Setup, rows: &Rows<'_>, index: usize, catalogue: &Catalogue, sums: &mut Sums) -> Checked {
    let (at, seat) = (At { column: Column::Seats, row: index }, &rows.seats[index]);
    at.holds(seat.status <= SeatStatus::Leaving as u8, "status", || format!("{}", seat.status))?;
    at.is("reserved", seat.reserved, [0; 3])?;
    // The catalogue's tables are indexed by spot, and end with the last one.
    let beyond = seat.spots.0.iter().enumerate().any(|(word, bits)| {
        let spots = SPOTS.saturating_sub(word * 64).min(64);
        spots < 64 && bits >> spots != 0
    });
    at.holds(!beyond, "spots", || format!("{:x?} holds spots that there are not", seat.spots.0))?;
    at.most("spots", seat.spots.count().into(), SEAT_BETS_MAX as u64)?;
    if seat.status == SeatStatus::Empty as u8 {
        // The intent that emptied it was accepted after it was empty.
        let Seat { last_intent_ms, last_bet_ms, .. } = *seat;
        at.is("account", *seat, Seat { last_intent_ms, last_bet_ms, ..Seat::EMPTY })?;
    } else {
        let open = rows.accounts.get(seat.account.index()).is_some_and(Account::is_open);
        at.holds(open, "account", || format!("{:?} is no open account", seat.account))?;
        // It became free with its last bet. Nothing would free it at a pledged table: what waits there is forfeited.
        let waits = !seat.is_leaving() || !seat.spots.is_empty();
        at.holds(waits, "status", || "its player left, and no bet stays".into())?;
    }
    at.most("rail", seat.rail.0, setup.genesis.supply)?;
    // How long a seat is idle is a difference, which one in the future would carry below zero.
    at.most("last_intent_ms", seat.last_intent_ms, rows.house.active_ms)?;
    at.most("last_bet_ms", seat.last_bet_ms, rows.house.active_ms)?;
    sums.rails += u128::from(seat.rail.0);
    check_bets(rows, index, catalogue, sums)
}

/// The packed rows of a seat's bets: one for each spot of its mask in order, and zeros behind them.
fn check_bets(rows: &Rows<'_>, seat: usize, catalogue: &Catalogue, sums: &mut Sums) -> Checked {
    let bets = rows.seat_bets(seat);
    let mut spots = bets.spots.iter();
    for index in 0..SEAT_BETS_MAX {
        let column = if index < bets.hot.rows.len() { Column::Bets } else { Column::MoreBets };
        let (at, bet) = (At { column, row: seat }, bets.row(index));
        let Some(spot) = spots.next() else {
            at.is("rows", bet, Default::default())?;
            continue;
        };
        at.is("spot", bet.spot, spot)?;
        let most = u64::from(catalogue.rules().max_bet);
        at.holds(bet.amount > 0 && u64::from(bet.amount) <= most, "amount", || format!("{}", bet.amount))?;
        let states = catalogue::states(spot);
        // A bet beyond its states would be read from another bet's transitions.
        at.holds(bet.progress < states, "progress", || format!("{} of {states} states", bet.progress))?;
        check_flags(at, spot, bet.flags)?;
        sums.felts += u128::from(held(bet.amount, catalogue.commission(spot)).0);
        sums.exposure += u128::from(catalogue.max_win(spot).floor_of(bet.amount));
    }
    Ok(())
}

/// Only bets that can be turned off may be off: another one would stay on a spot that a bet travels to.
fn check_flags(at: At, spot: Spot, flags: BetFlags) -> Checked {
    let plain = BetFlags::default().with_working(flags.working());
    let known = flags == plain || flags == plain.with_seen();
    at.holds(known, "flags", || format!("{:#b}", flags.0))?;
    let toggles = catalogue::BETS[catalogue::bet_of(spot).index()].family.toggles();
    at.holds(toggles || flags.working() == Working::Default, "flags", || "a bet that cannot be turned off is".into())
}

/// How many seats each account has.
fn seats_of_accounts(rows: &Rows<'_>) -> Vec<u32> {
    let mut seats = vec![0; rows.accounts.len()];
    for seat in rows.seats.iter().filter(|seat| seat.status != SeatStatus::Empty as u8) {
        assert!(seat.account.index() < seats.len(), "seats were checked before they are counted");
        seats[seat.account.index()] += 1;
    }
    seats
}

/// Checks an account with its key. What it wagered may be anything: counting stops where the field ends.
fn check_account(rows: &Rows<'_>, id: usize, seats: u32) -> Result<Sums, RowError> {
    let (at, account) = (At { column: Column::Accounts, row: id }, &rows.accounts[id]);
    let (supply, active_ms) = (rows.house.supply.0, rows.house.active_ms);
    at.holds(account.status <= AccountStatus::Open as u8, "status", || format!("{}", account.status))?;
    at.most("cage", account.cage.0, supply)?;
    at.most("granted", account.granted.0, supply)?;
    at.most("last_intent_ms", account.last_intent_ms, active_ms)?;
    at.most("opened_s", account.opened_s.into(), active_ms / 1_000)?;
    at.most("generation", account.generation.into(), COUNTER_MAX)?;
    at.is("seats", account.seats, seats)?;
    at.is("reserved", account.reserved, [0; 3])?;
    let (key, at_key) = (&rows.keys[id], At { column: Column::AccountKeys, row: id });
    at_key.is("reserved", key.reserved, [0; 32])?;
    if account.is_open() {
        at_key.holds(key.key != [0; 32], "key", || "an open account has none".into())?;
    } else {
        // The next owner of the slot would find these chips in a new account.
        at_key.is("key", key.key, [0; 32])?;
        at.is("cage", account.cage.0, 0)?;
    }
    Ok(Sums { cages: account.cage.0.into(), accounts_open: account.is_open().into(), ..Sums::default() })
}

/// The control accounts of the house are the sums of their rows.
fn check_sums(rows: &Rows<'_>, tables: Sums, accounts: Sums) -> Checked {
    let (at, house) = (At { column: Column::House, row: 0 }, &rows.house);
    at.is("rails", u128::from(house.rails.0), tables.rails)?;
    at.is("felts", u128::from(house.felts.0), tables.felts)?;
    at.is("banks", u128::from(house.banks.0), tables.banks)?;
    at.is("cages", u128::from(house.cages.0), accounts.cages)?;
    at.is("accounts_open", u64::from(house.accounts_open), accounts.accounts_open)
}

/// Checks that no two open accounts have one key, by the index that was derived from the rows: an intent would be
/// either's.
///
/// # Errors
/// The first account that cannot be found by its key.
pub fn check_keys(rows: &Rows<'_>, index: &AccountIndex) -> Checked {
    for (id, key) in rows.keys.iter().enumerate().filter(|(id, _)| rows.accounts[*id].is_open()) {
        let at = At { column: Column::AccountKeys, row: id };
        let found = index.find(&key.key, rows.keys).map(AccountId::index);
        at.holds(found == Some(id), "key", || format!("account {found:?} has the same"))?;
    }
    Ok(())
}
