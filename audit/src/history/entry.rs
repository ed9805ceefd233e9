//! Entries: what a page's rows say about one account or one table, in the order in which it happened.

use engine::message::intent::IntentKind;
use engine::{AccountId, Height, TableId};

use super::cache::HeldPage;
use super::page::HeightRows;
use super::rows::{BalanceRow, IntentRow, LeavingRow, NO_TABLE, ResolutionRow, RollRow};

/// Whose history is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Subject {
    /// An account's.
    Account(AccountId),
    /// A table's.
    Table(TableId),
}

/// One thing that happened.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Event {
    /// An intent got its answer.
    Intent(IntentRow),
    /// A pledge or an opening got its answer.
    Pledge(IntentRow),
    /// A table rolled.
    Roll(RollRow),
    /// A roll did something to a bet.
    Resolution(ResolutionRow),
    /// A roll saw a player off.
    Leaving(LeavingRow),
}

/// One thing that happened, when, and what its account had after that height.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Entry {
    /// The settled height at which it happened.
    pub height: Height,
    /// Block time in milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// What happened.
    pub event: Event,
    /// What the account had after the height, in its cage and at the table, if the height touched it.
    pub balance: Option<BalanceRow>,
}

impl IntentRow {
    /// What happened, as an event.
    fn event(&self) -> Event {
        if self.is_pledge() { Event::Pledge(*self) } else { Event::Intent(*self) }
    }

    /// What was asked for.
    ///
    /// # Panics
    /// If it is a pledge or an opening; a page with an unknown kind is none.
    pub fn kind(&self) -> IntentKind {
        IntentKind::try_from(self.kind).expect("pages are checked when they are made and when they are read")
    }

    /// The table that it was for.
    pub fn table(&self) -> Option<u32> {
        if self.is_pledge() {
            return Some(self.target);
        }
        let none = matches!(self.kind(), IntentKind::Open | IntentKind::OpenVoucher | IntentKind::Transfer);
        (!none).then_some(self.target)
    }
}

impl Event {
    /// The table where it happened.
    pub fn table(&self) -> Option<u32> {
        match self {
            Self::Intent(row) | Self::Pledge(row) => row.table(),
            Self::Roll(row) => Some(row.table),
            Self::Resolution(row) => Some(row.table),
            Self::Leaving(row) => (row.table != NO_TABLE).then_some(row.table),
        }
    }

    /// The account to which it happened.
    pub fn account(&self) -> Option<u32> {
        match self {
            Self::Intent(row) | Self::Pledge(row) => Some(row.account),
            Self::Roll(_) => None,
            Self::Resolution(row) => Some(row.account),
            Self::Leaving(row) => Some(row.account),
        }
    }

    /// Intents come first in a height, in block order; then table by table the roll, its bets, and who left.
    fn place(&self) -> (u8, u32, u8) {
        match self {
            Self::Intent(row) | Self::Pledge(row) => (0, row.index, 0),
            Self::Roll(row) => (1, row.table, 0),
            Self::Resolution(row) => (1, row.table, 1),
            Self::Leaving(row) => (1, row.table, 2),
        }
    }
}

impl Subject {
    /// What some parts of one page say about it, oldest first.
    pub fn entries(&self, parts: &[HeldPage]) -> Vec<Entry> {
        let mut entries = Vec::new();
        for part in parts {
            for rows in part.iter() {
                match self {
                    Self::Account(account) => of_account(account.0, &rows, &mut entries),
                    Self::Table(table) => of_table(table.0, &rows, &mut entries),
                }
            }
        }
        // The rows of one part are in order by themselves; those of several tables are brought together here.
        if parts.len() > 1 || !entries.is_sorted_by_key(|entry| (entry.height, entry.event.place())) {
            entries.sort_by_key(|entry| (entry.height, entry.event.place()));
        }
        entries
    }
}

fn of_account(account: u32, rows: &HeightRows<'_>, entries: &mut Vec<Entry>) {
    let first = entries.len();
    let mut add = |event, table| {
        let balance = rows.balances.iter().find(|row| row.account == account && row.table == table).copied();
        entries.push(Entry { height: rows.height, time_ms: rows.time_ms, event, balance });
    };
    for row in rows.intents {
        // A transfer belongs to two histories: that of the sender, and that of whoever got it.
        let received = row.kind == IntentKind::Transfer as u8 && row.is_applied() && row.target == account;
        if row.account == account || received {
            add(row.event(), row.table().unwrap_or(NO_TABLE));
        }
    }
    let mut shown = None;
    for row in rows.resolutions.iter().filter(|row| row.account == account) {
        // The roll that decided a player's bets is part of the player's history, once.
        if shown.replace(row.table) != Some(row.table) {
            let roll = rows.rolls.iter().find(|roll| roll.table == row.table);
            roll.into_iter().for_each(|roll| add(Event::Roll(*roll), row.table));
        }
        add(Event::Resolution(*row), row.table);
    }
    for row in rows.leavings.iter().filter(|row| row.account == account) {
        add(Event::Leaving(*row), row.table);
    }
    entries[first..].sort_by_key(|entry| entry.event.place());
}

fn of_table(table: u32, rows: &HeightRows<'_>, entries: &mut Vec<Entry>) {
    let mut add = |event: Event| {
        let account = event.account();
        let own = |row: &&BalanceRow| row.table == table && Some(row.account) == account;
        let balance = rows.balances.iter().find(own).copied();
        entries.push(Entry { height: rows.height, time_ms: rows.time_ms, event, balance });
    };
    // What was refused changed nothing at the table.
    for row in rows.intents.iter().filter(|row| row.table() == Some(table) && row.is_applied()) {
        add(row.event());
    }
    let rolls = rows.rolls.iter().filter(|row| row.table == table);
    rolls.for_each(|row| add(Event::Roll(*row)));
    let resolutions = rows.resolutions.iter().filter(|row| row.table == table);
    resolutions.for_each(|row| add(Event::Resolution(*row)));
    let leavings = rows.leavings.iter().filter(|row| row.table == table);
    leavings.for_each(|row| add(Event::Leaving(*row)));
}
