//! Building pages: a walk's heights, turned into rows.

use bytemuck::Zeroable;
use engine::columns::Rows as Columns;
use engine::io::{OpeningEnd, Receipt, Verdict};
use engine::message::intent::{Intent, IntentKind};
use engine::message::pledge::PledgeRow;
use engine::{AccountId, Chips};
use systems::ledger::held;
use systems::{Machine, Setup};

use super::page::{PAGE_HEIGHTS, Page, PageKey, Rows, page_of, part_of, parts_of};
use super::rows::{
    BalanceRow, FORFEITED, HeightRow, IntentRow, LeavingRow, NO_TABLE, PageHeader, ResolutionRow, RollRow,
};
use crate::walker::Step;

/// What is known of one part so far.
#[derive(Default)]
struct Part {
    heights: Vec<HeightRow>,
    rows: Rows,
}

/// Collects the rows of a page, all its parts together.
pub struct PageBuilder {
    setup: Setup,
    page: u64,
    parts: Vec<Part>,
    /// The height that comes next on this page; any other is not taken.
    next: u64,
    root_chain: engine::Hash,
    /// Tables and accounts that the present height touched, by part.
    touched: Vec<Vec<(u32, u32)>>,
}

impl PageBuilder {
    /// A builder of one page.
    pub fn new(setup: &Setup, page: u64) -> Self {
        let parts = parts_of(setup.genesis.tables) as usize;
        Self {
            setup: setup.clone(),
            page,
            parts: (0..parts).map(|_| Part::default()).collect(),
            next: page * PAGE_HEIGHTS + 1,
            root_chain: [0; 32],
            touched: vec![Vec::new(); parts],
        }
    }

    /// The page that is built.
    pub fn page(&self) -> u64 {
        self.page
    }

    /// Heights that it has so far.
    pub fn heights(&self) -> u64 {
        self.next - (self.page * PAGE_HEIGHTS + 1)
    }

    /// Takes the height that a walk with a watched machine has just executed.
    ///
    /// # Panics
    /// If it is not the next one of this page.
    pub fn take(&mut self, step: &Step, machine: &mut Machine) {
        let height = step.settled.height;
        assert!(height.0 == self.next && page_of(height) == self.page, "a page takes its heights in order");
        self.next += 1;
        self.root_chain = step.settled.root_chain;
        self.intents(&step.decided.block.intents, machine);
        self.pledges(&step.decided.block.pledges, machine);
        self.rolls(machine);
        self.balances(machine);
        let time_ms = step.decided.block.header.time_ms;
        for part in &mut self.parts {
            part.heights.push(HeightRow { time_ms, ends: part.rows.ends(), reserved: 0 });
        }
    }

    fn touch(&mut self, table: u32, account: u32) {
        self.touched[part_of(table) as usize].push((table, account));
    }

    /// Intents of accounts that exist after the height; a key without an account has no history.
    fn intents(&mut self, intents: &[Intent], machine: &mut Machine) {
        let receipts: Vec<Receipt> = machine.report().receipts.clone();
        for receipt in &receipts {
            let intent = &intents[receipt.index as usize];
            let Some(account) = machine.account_of(&intent.body.key) else { continue };
            let kind = IntentKind::try_from(intent.body.kind).expect("a block's intents have known kinds");
            // A refused intent may name a table that there is not: it belongs to its account alone.
            let at_table = !matches!(kind, IntentKind::Open | IntentKind::OpenVoucher | IntentKind::Transfer)
                && intent.body.target < self.setup.genesis.tables;
            let table = if at_table { intent.body.target } else { NO_TABLE };
            let row = IntentRow::new(intent, account, receipt);
            self.parts[part_of(table) as usize].rows.intents.push(row);
            // Only what was applied changes what an account has.
            if !matches!(receipt.verdict, Verdict::Refused(_)) {
                self.touch(table, account.0);
                // Whoever receives has more than before, too.
                if kind == IntentKind::Transfer {
                    self.touch(NO_TABLE, intent.body.target);
                }
            }
        }
    }

    /// Pledges and openings, behind the intents.
    fn pledges(&mut self, pledges: &[PledgeRow], machine: &mut Machine) {
        let receipts: Vec<Receipt> = machine.report().pledge_receipts.clone();
        for (pledge, receipt) in pledges.iter().zip(&receipts) {
            let Some(account) = machine.account_of(&pledge.key) else { continue };
            let table = if pledge.table < self.setup.genesis.tables { pledge.table } else { NO_TABLE };
            let row = IntentRow::of_pledge(pledge, account, receipt);
            self.parts[part_of(table) as usize].rows.intents.push(row);
        }
    }

    /// Rolls, what they did to bets, and who left at them: all in table order, so that a roll is found beside its bets.
    fn rolls(&mut self, machine: &Machine) {
        let report = machine.report();
        for roll in &report.rolls {
            self.parts[part_of(roll.table.0) as usize].rows.rolls.push(RollRow::from(roll));
        }
        let mut rolls = report.rolls.iter().peekable();
        for one in &report.resolutions {
            while rolls.next_if(|roll| roll.table < one.table).is_some() {}
            let roll = rolls.peek().expect("a bet is resolved by a roll of its table");
            let row = ResolutionRow::new(one, roll.roll_number);
            self.parts[part_of(one.table.0) as usize].rows.resolutions.push(row);
            self.touched[part_of(one.table.0) as usize].push((one.table.0, one.account.0));
        }
        for leaving in &report.leavings {
            let forfeited = report.openings.iter().filter(|opening| opening.table == leaving.table);
            let chips = forfeited.filter_map(|opening| match opening.end {
                OpeningEnd::Forfeited { chips, .. } => Some(chips),
                OpeningEnd::Opened(_) => None,
            });
            // Bets that were forfeited came back to nobody: the row names them in place of what was returned.
            let mut row = LeavingRow::from(leaving);
            chips.for_each(|chips| (row.absent, row.returned) = (FORFEITED, chips.0));
            self.parts[part_of(leaving.table.0) as usize].rows.leavings.push(row);
            self.touched[part_of(leaving.table.0) as usize].push((leaving.table.0, leaving.account.0));
        }
        for lapse in &report.lapses {
            self.parts[part_of(NO_TABLE) as usize].rows.leavings.push(LeavingRow::from(lapse));
            self.touched[part_of(NO_TABLE) as usize].push((NO_TABLE, lapse.account.0));
        }
    }

    fn balances(&mut self, machine: &mut Machine) {
        let Self { setup, parts, touched, .. } = self;
        machine.read(|columns| {
            for (part, touched) in parts.iter_mut().zip(touched) {
                // An account that several things touched has one row for each table, with what it had at the end.
                touched.sort_unstable();
                touched.dedup();
                let rows = touched.drain(..).map(|(table, account)| balance(setup, columns, table, account));
                part.rows.balances.extend(rows);
            }
        });
    }

    /// The page with the heights that were taken, part by part.
    pub fn finish(self) -> Vec<Page> {
        let parts = u32::try_from(self.parts.len()).expect("tables are bounded");
        let header = |part| PageHeader {
            chain: self.setup.chain,
            root_chain: self.root_chain,
            ..PageHeader::of(PageKey { page: self.page, part }, parts)
        };
        let pages = self.parts.into_iter().zip(0..parts);
        pages.map(|(part, number)| Page::new(header(number), &part.heights, &part.rows)).collect()
    }
}

/// An account's cage, and what it has at a table.
fn balance(setup: &Setup, columns: &Columns<'_>, table: u32, account: u32) -> BalanceRow {
    let cage = columns.accounts.get(account as usize).map_or(0, |row| row.cage.0);
    let none = BalanceRow { cage, account, table, seat: u8::MAX, ..BalanceRow::zeroed() };
    if table == NO_TABLE {
        return none;
    }
    let per_table = columns.seats_per_table();
    let first = table as usize * per_table;
    let seats = &columns.seats[first..first + per_table];
    let Some(seat) = seats.iter().position(|seat| seat.account == AccountId(account)) else { return none };
    let catalogue = &setup.catalogues[usize::from(columns.tables[table as usize].rules)];
    let bets = columns.seat_bets(first + seat).iter();
    let felt: Chips = bets.map(|bet| held(bet.amount, catalogue.commission(bet.spot))).sum();
    let seat_number = u8::try_from(seat).expect("a table has at most 16 seats");
    BalanceRow { rail: seats[seat].rail.0, felt: felt.0, seat: seat_number, ..none }
}
