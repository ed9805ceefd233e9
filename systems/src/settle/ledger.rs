//! The ledger: cage, rails, felt, banks and treasury, by double entry.
//!
//! Every chip lies in exactly one place. A posting takes it from one and puts it in another, in the row and in the
//! control account of the house; the same totals are kept per part of the columns, so that a rotating recount can
//! find a row that was changed without a posting.

use bevy_ecs::resource::Resource;
use engine::columns::{Column, Rows};
use engine::component::Table;
use engine::image::DirtyMap;
use engine::limits::{CHUNK_ACCOUNTS, CHUNK_TABLES};
use engine::{AccountId, Chips, Ratio};

/// What the tables of one chunk hold together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct TableTotals {
    /// Chips on rails.
    pub rails: Chips,
    /// Chips in bets.
    pub felts: Chips,
    /// Chips in banks.
    pub banks: Chips,
}

/// Totals of each part of the columns. Node-local: counted anew from the rows whenever a world is loaded.
#[derive(Resource, Default, Debug)]
pub struct Ledger {
    /// By chunk of tables.
    pub tables: Vec<TableTotals>,
    /// Cages by chunk of accounts.
    pub cages: Vec<Chips>,
}

impl TableTotals {
    /// Counts the rows of chunk `chunk`.
    ///
    /// # Panics
    /// If a table's felt or exposure is not the sum over its bets; `worth` gives a bet's chips and exposure.
    pub fn count(
        rows: &Rows<'_>,
        chunk: usize,
        worth: impl Fn(u8, engine::component::BetRow) -> (Chips, Chips),
    ) -> Self {
        assert!(chunk * CHUNK_TABLES < rows.tables.len(), "chunk {chunk} of tables exists");
        let per_table = rows.seats_per_table();
        let mut totals = Self::default();
        let last = rows.tables.len().min((chunk + 1) * CHUNK_TABLES);
        for id in chunk * CHUNK_TABLES..last {
            let table = &rows.tables[id];
            // What the table's row says is counted again from its bets: a bet that changed without a posting shows here.
            let (mut felt, mut exposure) = (Chips::ZERO, Chips::ZERO);
            for seat in id * per_table..(id + 1) * per_table {
                let row = &rows.seats[seat];
                // Nobody could take them off it, and whoever sits down next begins with an empty row.
                assert!(
                    row.rail == Chips::ZERO || row.account != AccountId::NONE,
                    "seat {seat}: chips are some player's"
                );
                totals.rails += row.rail;
                for bet in rows.seat_bets(seat).iter() {
                    let (chips, most) = worth(table.rules, bet);
                    felt += chips;
                    exposure += most;
                }
            }
            assert_eq!(table.felt, felt, "table {id}: felt is the sum of its bets");
            assert_eq!(table.exposure, exposure, "table {id}: exposure is the sum over its bets");
            assert!(table.exposure <= table.bank, "table {id}: the bank can pay every win");
            totals.felts += table.felt;
            totals.banks += table.bank;
        }
        totals
    }
}

/// Counts the cages of chunk `chunk` of the accounts.
pub fn count_cages(rows: &Rows<'_>, chunk: usize) -> Chips {
    assert!(chunk * CHUNK_ACCOUNTS < rows.accounts.len(), "chunk {chunk} of accounts exists");
    let last = rows.accounts.len().min((chunk + 1) * CHUNK_ACCOUNTS);
    let mut cages = Chips::ZERO;
    for id in chunk * CHUNK_ACCOUNTS..last {
        let account = &rows.accounts[id];
        // A chip that was left in a free slot would be its next owner's.
        assert!(account.cage == Chips::ZERO || account.is_open(), "account {id}: chips are in open accounts alone");
        cages += account.cage;
    }
    cages
}

/// Chips in a bet: the wager, and the commission that is held with it in advance.
pub fn held(wager: u32, commission: Ratio) -> Chips {
    // The commission is rounded up and the win down, so that rounding never costs the house a chip.
    Chips(u64::from(wager) + commission.ceil_of(wager))
}

/// What the bank of a table is to be between hands (R11). What it lacks to `target` comes from the treasury, as far as that goes. What
/// it has above goes there, as far as it covers no bet, and only where no bet stays that odds may still be laid on: after a
/// seven-out, and when the felt is empty. A bank that was skimmed while come bets stand could refuse the odds that their players
/// count on, because another passed the dice.
///
/// # Panics
/// If the bank could not pay what the bets that lie may win.
pub fn balanced(table: &Table, target: Chips, treasury: Chips, is_seven_out: bool) -> Chips {
    assert!(table.exposure <= table.bank, "the bank can pay every win that is left");
    let bank = if table.bank < target {
        // A treasury that is empty fills no bank, and no chip is made for it: the table refuses bets that it cannot pay.
        table.bank + (target - table.bank).min(treasury)
    } else if is_seven_out || table.felt == Chips::ZERO {
        target.max(table.exposure)
    } else {
        table.bank
    };
    assert!(table.exposure <= bank, "what goes to the treasury covers no bet");
    assert!(bank <= table.bank + treasury, "a bank is filled with what the treasury has");
    bank
}

/// Posts single moves of chips, as intents make them. Each takes from one side what it gives to the other; afterwards
/// the control accounts still add up to the supply.
pub struct Postings<'a, 'r> {
    /// The columns.
    pub rows: &'a mut Rows<'r>,
    /// The totals.
    pub ledger: &'a mut Ledger,
    /// The map of touched groups.
    pub dirty: &'a mut DirtyMap,
}

impl Postings<'_, '_> {
    fn table_of(&self, seat: usize) -> usize {
        seat / self.rows.seats_per_table()
    }

    /// Both sides were posted.
    fn close(&self, what: &str) {
        assert!(self.rows.house.is_conserved(), "{what}: what one side gave, the other took");
    }

    /// What an account holds is among the cages of its part, and those among all cages.
    fn check_cage(&self, account: usize) {
        let part = self.ledger.cages[account / CHUNK_ACCOUNTS];
        assert!(self.rows.accounts[account].cage <= part, "a cage is among those of its part");
        assert!(part <= self.rows.house.cages, "the cages of a part are among all of them");
    }

    /// The same for a seat's rail and for its table's felt.
    fn check_table(&self, seat: usize) {
        let table = self.table_of(seat);
        let part = &self.ledger.tables[table / CHUNK_TABLES];
        assert!(self.rows.seats[seat].rail <= part.rails, "a rail is among those of its part");
        assert!(self.rows.tables[table].felt <= part.felts, "a felt is among those of its part");
        assert!(part.rails <= self.rows.house.rails, "the rails of a part are among all of them");
        assert!(part.felts <= self.rows.house.felts, "the felts of a part are among all of them");
        self.check_cover(table);
    }

    /// A bank answers for the bets that lie, and for no others.
    fn check_cover(&self, table: usize) {
        let table = &self.rows.tables[table];
        assert!(table.exposure <= table.bank, "the bank can pay every win that is left");
        assert!(table.exposure == Chips::ZERO || table.felt > Chips::ZERO, "a table without a bet can lose nothing");
    }

    /// The treasury pays into a cage.
    ///
    /// # Panics
    /// If the account is not open or the treasury has less: both are refused before.
    pub fn treasury_to_cage(&mut self, account: usize, chips: Chips) {
        assert!(self.rows.accounts[account].is_open(), "a grant goes to an open account");
        assert!(chips <= self.rows.house.treasury, "a grant that the treasury does not have is refused");
        let house = &mut self.rows.house;
        house.treasury -= chips;
        house.cages += chips;
        self.rows.accounts[account].cage += chips;
        self.ledger.cages[account / CHUNK_ACCOUNTS] += chips;
        self.dirty.mark(Column::House, 0);
        self.dirty.mark(Column::Accounts, account);
        self.check_cage(account);
        self.close("treasury to cage");
    }

    /// A cage gives back to the treasury.
    ///
    /// # Panics
    /// If the cage has less.
    pub fn cage_to_treasury(&mut self, account: usize, chips: Chips) {
        assert!(chips <= self.rows.accounts[account].cage, "a cage gives back what it has");
        let house = &mut self.rows.house;
        house.cages -= chips;
        house.treasury += chips;
        self.rows.accounts[account].cage -= chips;
        self.ledger.cages[account / CHUNK_ACCOUNTS] -= chips;
        self.dirty.mark(Column::House, 0);
        self.dirty.mark(Column::Accounts, account);
        self.check_cage(account);
        self.close("cage to treasury");
    }

    /// One cage pays into another.
    ///
    /// # Panics
    /// If they are the same, the second is not open, or the first has less: all are refused before.
    pub fn cage_to_cage(&mut self, from: usize, to: usize, chips: Chips) {
        assert!(from != to, "a transfer goes to another account");
        assert!(self.rows.accounts[from].is_open(), "a transfer comes from an open account");
        assert!(self.rows.accounts[to].is_open(), "a transfer goes to an open account");
        assert!(chips <= self.rows.accounts[from].cage, "a transfer that the cage does not have is refused");
        let both = self.rows.accounts[from].cage + self.rows.accounts[to].cage;
        // All cages together hold what they held: the control account stays as it is.
        self.rows.accounts[from].cage -= chips;
        self.rows.accounts[to].cage += chips;
        self.ledger.cages[from / CHUNK_ACCOUNTS] -= chips;
        self.ledger.cages[to / CHUNK_ACCOUNTS] += chips;
        self.dirty.mark(Column::Accounts, from);
        self.dirty.mark(Column::Accounts, to);
        let after = self.rows.accounts[from].cage + self.rows.accounts[to].cage;
        assert_eq!(after, both, "what one cage gave, the other took");
        self.check_cage(from);
        self.check_cage(to);
    }

    /// A buy-in.
    ///
    /// # Panics
    /// If the seat is not the account's, or its cage has less: both are refused before.
    pub fn cage_to_rail(&mut self, account: usize, seat: usize, chips: Chips) {
        assert_eq!(self.rows.seats[seat].account.index(), account, "a buy-in goes to the account's own seat");
        assert!(self.rows.accounts[account].is_open(), "a buy-in comes from an open account");
        assert!(chips <= self.rows.accounts[account].cage, "a buy-in that the cage does not have is refused");
        let both = self.rows.accounts[account].cage + self.rows.seats[seat].rail;
        let table = self.table_of(seat);
        let house = &mut self.rows.house;
        house.cages -= chips;
        house.rails += chips;
        self.rows.accounts[account].cage -= chips;
        self.rows.seats[seat].rail += chips;
        self.ledger.cages[account / CHUNK_ACCOUNTS] -= chips;
        self.ledger.tables[table / CHUNK_TABLES].rails += chips;
        self.dirty.mark(Column::House, 0);
        self.dirty.mark(Column::Accounts, account);
        self.dirty.mark(Column::Seats, seat);
        let after = self.rows.accounts[account].cage + self.rows.seats[seat].rail;
        assert_eq!(after, both, "what the cage gave, the rail took");
        self.check_cage(account);
        self.check_table(seat);
        self.close("cage to rail");
    }

    /// A player leaves with the rail.
    ///
    /// # Panics
    /// If the seat is not the account's, or still holds a bet.
    pub fn rail_to_cage(&mut self, seat: usize, account: usize) {
        assert_eq!(self.rows.seats[seat].account.index(), account, "a rail goes to its own player's cage");
        assert!(self.rows.seats[seat].spots.is_empty(), "a seat is left when no bet is on it");
        // A slot with a seat does not become free, so that these chips cannot land in somebody else's account.
        assert!(self.rows.accounts[account].is_open(), "a rail goes to an open account");
        let both = self.rows.seats[seat].rail + self.rows.accounts[account].cage;
        let table = self.table_of(seat);
        let chips = std::mem::take(&mut self.rows.seats[seat].rail);
        let house = &mut self.rows.house;
        house.rails -= chips;
        house.cages += chips;
        self.rows.accounts[account].cage += chips;
        self.ledger.cages[account / CHUNK_ACCOUNTS] += chips;
        self.ledger.tables[table / CHUNK_TABLES].rails -= chips;
        self.dirty.mark(Column::House, 0);
        self.dirty.mark(Column::Accounts, account);
        self.dirty.mark(Column::Seats, seat);
        assert_eq!(self.rows.accounts[account].cage, both, "the cage has all that was in it and on the rail");
        self.check_cage(account);
        self.check_table(seat);
        self.close("rail to cage");
    }

    /// Chips go from a rail into bets.
    ///
    /// # Panics
    /// If the rail has less, which is refused before, or the table's bank could not pay what its bets may win.
    pub fn rail_to_felt(&mut self, seat: usize, chips: Chips) {
        assert!(chips <= self.rows.seats[seat].rail, "a bet that the rail does not have is refused");
        assert!(self.rows.seats[seat].is_seated(), "only a player who may act bets");
        let table = self.table_of(seat);
        let both = self.rows.seats[seat].rail + self.rows.tables[table].felt;
        let house = &mut self.rows.house;
        house.rails -= chips;
        house.felts += chips;
        self.rows.seats[seat].rail -= chips;
        self.rows.tables[table].felt += chips;
        let totals = &mut self.ledger.tables[table / CHUNK_TABLES];
        totals.rails -= chips;
        totals.felts += chips;
        self.dirty.mark(Column::House, 0);
        self.dirty.mark(Column::Seats, seat);
        self.dirty.mark(Column::Tables, table);
        let after = self.rows.seats[seat].rail + self.rows.tables[table].felt;
        assert_eq!(after, both, "what the rail gave, the felt took");
        // The caller raised the exposure before it posts: what is compared here counts the new bet already.
        self.check_table(seat);
        self.close("rail to felt");
    }

    /// Bets are forfeited: their chips go where nobody can spend them.
    ///
    /// # Panics
    /// If the table's felt has less: what is forfeited was put there.
    pub fn felt_to_forfeited(&mut self, table: usize, chips: Chips) {
        assert!(chips <= self.rows.tables[table].felt, "what is forfeited was on the felt");
        // A bank that earned forfeits would gain from each opening that a validator keeps out of the chain.
        let house = &mut self.rows.house;
        house.felts -= chips;
        house.forfeited += chips;
        self.rows.tables[table].felt -= chips;
        self.ledger.tables[table / CHUNK_TABLES].felts -= chips;
        self.dirty.mark(Column::House, 0);
        self.dirty.mark(Column::Tables, table);
        let part = &self.ledger.tables[table / CHUNK_TABLES];
        assert!(self.rows.tables[table].felt <= part.felts, "a felt is among those of its part");
        assert!(part.felts <= self.rows.house.felts, "the felts of a part are among all of them");
        self.check_cover(table);
        self.close("felt to forfeited");
    }

    /// Between hands, and not by a seven-out: the bank of a table becomes what it is to be, by the treasury.
    ///
    /// # Panics
    /// If the bank could not pay what the bets that lie may win.
    pub fn balance_bank(&mut self, table: usize, target: Chips) {
        let row = &mut self.rows.tables[table];
        let house = &mut self.rows.house;
        let bank = row.bank;
        let balanced = balanced(row, target, house.treasury, false);
        row.bank = balanced;
        house.banks = house.banks + balanced - bank;
        house.treasury = house.treasury + bank - balanced;
        let part = &mut self.ledger.tables[table / CHUNK_TABLES];
        part.banks = part.banks + balanced - bank;
        self.dirty.mark(Column::House, 0);
        self.dirty.mark(Column::Tables, table);
        assert!(row.bank <= part.banks, "a bank is among those of its part");
        assert!(part.banks <= house.banks, "the banks of a part are among all of them");
        let is_filled = row.bank >= target || house.treasury == Chips::ZERO;
        assert!(is_filled, "a bank lacks something only where the treasury has nothing left");
        self.check_cover(table);
        self.close("bank and treasury");
    }

    /// Chips come back from bets to a rail.
    ///
    /// # Panics
    /// If the table's felt has less: what comes back was put there.
    pub fn felt_to_rail(&mut self, seat: usize, chips: Chips) {
        let table = self.table_of(seat);
        assert!(chips <= self.rows.tables[table].felt, "what comes back from a felt was put there");
        assert!(self.rows.seats[seat].account != AccountId::NONE, "what comes back is some player's");
        let both = self.rows.tables[table].felt + self.rows.seats[seat].rail;
        let house = &mut self.rows.house;
        house.felts -= chips;
        house.rails += chips;
        self.rows.tables[table].felt -= chips;
        self.rows.seats[seat].rail += chips;
        let totals = &mut self.ledger.tables[table / CHUNK_TABLES];
        totals.felts -= chips;
        totals.rails += chips;
        self.dirty.mark(Column::House, 0);
        self.dirty.mark(Column::Seats, seat);
        self.dirty.mark(Column::Tables, table);
        let after = self.rows.tables[table].felt + self.rows.seats[seat].rail;
        assert_eq!(after, both, "what the felt gave, the rail took");
        self.check_table(seat);
        self.close("felt to rail");
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    #[test]
    fn a_bank_is_filled_between_hands_and_skimmed_only_where_no_bet_loses_cover() {
        let becomes = |bank: u64, felt: u64, exposure: u64, treasury: u64, is_seven_out: bool| {
            let (bank, felt, exposure) = (Chips(bank), Chips(felt), Chips(exposure));
            let table = Table { bank, felt, exposure, ..Table::zeroed() };
            balanced(&table, Chips(4_000), Chips(treasury), is_seven_out).0
        };
        for is_seven_out in [false, true] {
            // Whatever stays, a bank is filled, as far as the treasury goes.
            for (felt, exposure) in [(0, 0), (10, 3_000)] {
                assert_eq!(becomes(3_000, felt, exposure, 5_000, is_seven_out), 4_000);
                assert_eq!(becomes(3_000, felt, exposure, 400, is_seven_out), 3_400);
                assert_eq!(becomes(3_000, felt, exposure, 0, is_seven_out), 3_000);
                assert_eq!(becomes(4_000, felt, exposure, 5_000, is_seven_out), 4_000);
            }
            assert_eq!(becomes(9_000, 0, 0, 0, is_seven_out), 4_000, "nothing is covered");
        }
        assert_eq!(becomes(9_000, 10, 3_000, 0, true), 4_000);
        assert_eq!(becomes(9_000, 10, 5_000, 0, true), 5_000, "what covers a bet stays");
        assert_eq!(becomes(9_000, 10, 3_000, 0, false), 9_000, "odds may still be laid");
        assert_eq!(becomes(9_000, 10, 9_000, 0, false), 9_000);
    }
}
