//! The ledger: cage, rails, felt, banks and treasury, by double entry.
//!
//! Every chip lies in exactly one place. A posting takes it from one and puts it in another, in the row and in the
//! control account of the house; the same totals are kept per part of the columns, so that a rotating recount can
//! find a row that was changed without a posting.

use bevy_ecs::resource::Resource;
use engine::columns::{Column, Rows};
use engine::image::DirtyMap;
use engine::limits::CHUNK_TABLES;
use engine::{Chips, Ratio};

/// Accounts whose cages are counted together.
pub const CHUNK_ACCOUNTS: usize = 256;

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
        let per_table = rows.seats_per_table();
        let mut totals = Self::default();
        let last = rows.tables.len().min((chunk + 1) * CHUNK_TABLES);
        for id in chunk * CHUNK_TABLES..last {
            let table = &rows.tables[id];
            let (mut felt, mut exposure) = (Chips::ZERO, Chips::ZERO);
            for seat in id * per_table..(id + 1) * per_table {
                totals.rails += rows.seats[seat].rail;
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
    let last = rows.accounts.len().min((chunk + 1) * CHUNK_ACCOUNTS);
    rows.accounts[chunk * CHUNK_ACCOUNTS..last].iter().map(|account| account.cage).sum()
}

/// Chips in a bet: the wager, and the commission that is held with it in advance.
pub fn held(wager: u32, commission: Ratio) -> Chips {
    Chips(u64::from(wager) + commission.ceil_of(wager))
}

/// Posts single moves of chips, as intents make them.
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

    /// The treasury pays into a cage.
    pub fn treasury_to_cage(&mut self, account: usize, chips: Chips) {
        let house = &mut self.rows.house;
        house.treasury -= chips;
        house.cages += chips;
        self.rows.accounts[account].cage += chips;
        self.ledger.cages[account / CHUNK_ACCOUNTS] += chips;
        self.dirty.mark(Column::House, 0);
        self.dirty.mark(Column::Accounts, account);
    }

    /// A cage gives back to the treasury.
    pub fn cage_to_treasury(&mut self, account: usize, chips: Chips) {
        let house = &mut self.rows.house;
        house.cages -= chips;
        house.treasury += chips;
        self.rows.accounts[account].cage -= chips;
        self.ledger.cages[account / CHUNK_ACCOUNTS] -= chips;
        self.dirty.mark(Column::House, 0);
        self.dirty.mark(Column::Accounts, account);
    }

    /// One cage pays into another.
    pub fn cage_to_cage(&mut self, from: usize, to: usize, chips: Chips) {
        self.rows.accounts[from].cage -= chips;
        self.rows.accounts[to].cage += chips;
        self.ledger.cages[from / CHUNK_ACCOUNTS] -= chips;
        self.ledger.cages[to / CHUNK_ACCOUNTS] += chips;
        self.dirty.mark(Column::Accounts, from);
        self.dirty.mark(Column::Accounts, to);
    }

    /// A buy-in.
    pub fn cage_to_rail(&mut self, account: usize, seat: usize, chips: Chips) {
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
    }

    /// A player leaves with the rail.
    pub fn rail_to_cage(&mut self, seat: usize, account: usize) {
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
    }

    /// Chips go from a rail into bets.
    pub fn rail_to_felt(&mut self, seat: usize, chips: Chips) {
        let table = self.table_of(seat);
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
    }

    /// Chips come back from bets to a rail.
    pub fn felt_to_rail(&mut self, seat: usize, chips: Chips) {
        let table = self.table_of(seat);
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
    }
}
