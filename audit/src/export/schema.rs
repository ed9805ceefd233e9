//! What the sheets are: their columns, with types that do not depend on the format. Docs: docs/formats/sheets.md.

use std::borrow::Cow;

use engine::Chips;

/// What a column holds. Every integer is signed and has 64 bits: readers subtract amounts, and some sum in the width that a
/// column has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A signed integer of 64 bits: chips, heights, numbers.
    Integer,
    /// Milliseconds since the Unix epoch, read as a moment in UTC.
    Time,
    /// A word, a name, or a key in hex.
    Text,
}

/// A column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name; no word of SQL.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// Whether a row may have nothing there.
    pub optional: bool,
}

/// A sheet: one file in each format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sheet {
    /// Its name, and its file's.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [Column],
}

/// A value of a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// An integer.
    Integer(i64),
    /// Milliseconds since the Unix epoch.
    Time(i64),
    /// A text.
    Text(Cow<'a, str>),
    /// Nothing.
    Nothing,
}

impl Value<'_> {
    /// A number that the chain bounds below 2^63: chips (`SUPPLY_MAX`), heights.
    ///
    /// # Panics
    /// If it is not: the state that it comes from cannot be.
    pub fn bounded(number: u64) -> Self {
        Self::Integer(i64::try_from(number).expect("chips and heights are below 2^63"))
    }

    /// A number that a player chose: nothing from 2^63 on, which no applied intent can have.
    pub fn chosen(number: u64) -> Self {
        i64::try_from(number).map_or(Self::Nothing, Self::Integer)
    }

    /// A block's time.
    ///
    /// # Panics
    /// If it is beyond 2^63 milliseconds: a block's time is bounded.
    pub fn time(time_ms: u64) -> Self {
        Self::Time(i64::try_from(time_ms).expect("a block's time is bounded"))
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<u32> for Value<'_> {
    fn from(number: u32) -> Self {
        Self::Integer(number.into())
    }
}

impl From<u8> for Value<'_> {
    fn from(number: u8) -> Self {
        Self::Integer(number.into())
    }
}

impl From<Chips> for Value<'_> {
    fn from(chips: Chips) -> Self {
        Self::bounded(chips.0)
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl<'a, T: Into<Value<'a>>> From<Option<T>> for Value<'a> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Nothing, Into::into)
    }
}

const fn integer(name: &'static str) -> Column {
    Column { name, kind: Kind::Integer, optional: false }
}

const fn time(name: &'static str) -> Column {
    Column { name, kind: Kind::Time, optional: false }
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text, optional: false }
}

const fn maybe(column: Column) -> Column {
    Column { optional: true, ..column }
}

/// Place of the sheet of the session itself: one row.
pub const SESSION: usize = 0;
/// Place of the sheet of tables, with the set of rules that each plays by.
pub const TABLES: usize = 1;
/// Place of the sheet of rules: a row for each rule of each set.
pub const RULES: usize = 2;
/// Place of the sheet of rolls.
pub const ROLLS: usize = 3;
/// Place of the sheet of bets: what players asked for at their bets, and the answer.
pub const BETS: usize = 4;
/// Place of the sheet of all other requests.
pub const ACTIONS: usize = 5;
/// Place of the sheet of payouts: what each roll did to each bet.
pub const PAYOUTS: usize = 6;
/// Place of the sheet of departures: who left at which roll.
pub const DEPARTURES: usize = 7;
/// Place of the sheet of pledges and openings as players sent them.
pub const PLEDGES: usize = 8;
/// Place of the sheet of what became of rolls of pledged tables.
pub const OPENINGS: usize = 9;
/// Place of the sheet of accounts that nobody used.
pub const LAPSES: usize = 10;
/// Place of the sheet of balances after the last height.
pub const BALANCES: usize = 11;

// The last place is that of the last sheet.
const _: () = assert!(BALANCES + 1 == SHEETS.len());

/// All sheets.
pub const SHEETS: [Sheet; 12] = [
    Sheet {
        name: "session",
        columns: &[
            text("chain"),
            text("chain_name"),
            text("signing_keys"),
            integer("first_height"),
            integer("last_height"),
            text("root"),
            text("root_chain"),
            integer("supply"),
            integer("account_grant"),
        ],
    },
    Sheet { name: "tables", columns: &[integer("table_id"), integer("rules_id"), text("rules_hash")] },
    Sheet { name: "rules", columns: &[integer("rules_id"), text("rule"), text("setting")] },
    Sheet {
        name: "rolls",
        columns: &[
            integer("height"),
            time("block_time"),
            integer("table_id"),
            integer("roll_number"),
            integer("die_1"),
            integer("die_2"),
            text("outcome"),
            maybe(integer("point")),
            maybe(integer("shooter_seat")),
        ],
    },
    Sheet {
        name: "bets",
        columns: &[
            integer("height"),
            time("block_time"),
            integer("index_in_block"),
            maybe(integer("account_id")),
            text("account_key"),
            maybe(integer("intent_number")),
            text("request"),
            integer("table_id"),
            text("bet"),
            maybe(integer("box_number")),
            maybe(text("bet_id")),
            maybe(integer("amount_added")),
            maybe(integer("amount_total")),
            maybe(integer("amount_refused")),
            maybe(text("working")),
            maybe(integer("for_roll")),
            text("verdict"),
        ],
    },
    Sheet {
        name: "actions",
        columns: &[
            integer("height"),
            time("block_time"),
            integer("index_in_block"),
            maybe(integer("account_id")),
            text("account_key"),
            maybe(integer("intent_number")),
            text("request"),
            maybe(integer("table_id")),
            maybe(integer("recipient_id")),
            maybe(integer("amount")),
            maybe(integer("amount_refused")),
            maybe(integer("for_roll")),
            text("verdict"),
        ],
    },
    Sheet {
        name: "payouts",
        columns: &[
            integer("height"),
            time("block_time"),
            integer("table_id"),
            integer("roll_number"),
            integer("seat"),
            integer("account_id"),
            text("account_key"),
            maybe(text("bet_id")),
            text("bet"),
            maybe(integer("box_number")),
            integer("wager"),
            integer("commission"),
            text("outcome"),
            integer("credit"),
            integer("net"),
            maybe(integer("travelled_to")),
        ],
    },
    Sheet {
        name: "departures",
        columns: &[
            integer("height"),
            time("block_time"),
            integer("table_id"),
            integer("seat"),
            integer("account_id"),
            text("account_key"),
            text("reason"),
            integer("returned"),
            maybe(integer("left_with")),
        ],
    },
    Sheet {
        name: "pledges",
        columns: &[
            integer("height"),
            time("block_time"),
            integer("index_in_block"),
            maybe(integer("account_id")),
            text("account_key"),
            text("request"),
            integer("table_id"),
            integer("roll_number"),
            maybe(integer("pledge_number")),
            text("sent_value"),
            text("sent_block"),
            text("verdict"),
        ],
    },
    Sheet {
        name: "openings",
        columns: &[
            integer("height"),
            time("block_time"),
            integer("table_id"),
            maybe(integer("roll_number")),
            integer("account_id"),
            text("account_key"),
            text("outcome"),
            maybe(text("closing_block")),
            maybe(text("beacon")),
            maybe(text("pledged_end")),
            maybe(text("opened_value")),
            integer("forfeited"),
        ],
    },
    Sheet {
        name: "lapses",
        columns: &[
            integer("height"),
            time("block_time"),
            integer("account_id"),
            text("account_key"),
            integer("returned"),
            integer("freed"),
        ],
    },
    Sheet {
        name: "balances",
        columns: &[
            text("holder"),
            maybe(integer("holder_id")),
            maybe(text("account_key")),
            integer("cage"),
            integer("rail"),
            integer("felt"),
            integer("house"),
            integer("chips"),
        ],
    },
];
