//! What the sheets are: their columns, with types that do not depend on the format. Docs: docs/formats/sheets.md.

use std::borrow::Cow;

/// What a column holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// An integer of 64 bits without sign: chips, heights, milliseconds.
    U64,
    /// An integer of 32 bits without sign.
    U32,
    /// A word, a name, or a key in hex.
    Text,
}

/// A column.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Column {
    /// Its name.
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
    Number(u64),
    /// A text.
    Text(Cow<'a, str>),
    /// Nothing.
    Nothing,
}

macro_rules! number {
    ($($int:ty),*) => {$(
        impl From<$int> for Value<'_> {
            fn from(number: $int) -> Self {
                Self::Number(number.into())
            }
        }
    )*};
}

number!(u64, u32, u8);

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

const fn chips(name: &'static str) -> Column {
    Column { name, kind: Kind::U64, optional: false }
}

const fn number(name: &'static str) -> Column {
    Column { name, kind: Kind::U32, optional: false }
}

const fn text(name: &'static str) -> Column {
    Column { name, kind: Kind::Text, optional: false }
}

const fn maybe(column: Column) -> Column {
    Column { optional: true, ..column }
}

/// Place of the sheet of rolls.
pub const ROLLS: usize = 0;
/// Place of the sheet of bets: what players asked for at their bets, and the answer.
pub const BETS: usize = 1;
/// Place of the sheet of all other requests.
pub const ACTIONS: usize = 2;
/// Place of the sheet of payouts: what each roll did to each bet.
pub const PAYOUTS: usize = 3;
/// Place of the sheet of departures: whom a roll saw off.
pub const DEPARTURES: usize = 4;
/// Place of the sheet of balances after the last height.
pub const BALANCES: usize = 5;

/// All sheets.
pub const SHEETS: [Sheet; 6] = [
    Sheet {
        name: "rolls",
        columns: &[
            chips("height"),
            chips("time_ms"),
            number("table"),
            number("roll"),
            number("die_1"),
            number("die_2"),
            text("event"),
            maybe(number("point")),
            maybe(number("shooter_seat")),
        ],
    },
    Sheet {
        name: "bets",
        columns: &[
            chips("height"),
            chips("time_ms"),
            number("index"),
            maybe(number("account")),
            text("key"),
            chips("number"),
            text("kind"),
            number("table"),
            text("bet"),
            maybe(number("box_number")),
            chips("amount"),
            maybe(text("working")),
            maybe(number("for_roll")),
            text("verdict"),
        ],
    },
    Sheet {
        name: "actions",
        columns: &[
            chips("height"),
            chips("time_ms"),
            number("index"),
            maybe(number("account")),
            text("key"),
            chips("number"),
            text("kind"),
            maybe(number("table")),
            maybe(number("recipient")),
            chips("amount"),
            maybe(number("for_roll")),
            text("verdict"),
        ],
    },
    Sheet {
        name: "payouts",
        columns: &[
            chips("height"),
            chips("time_ms"),
            number("table"),
            number("roll"),
            number("seat"),
            number("account"),
            text("bet"),
            maybe(number("box_number")),
            chips("wager"),
            text("result"),
            chips("credit"),
            maybe(number("travelled_to")),
        ],
    },
    Sheet {
        name: "departures",
        columns: &[
            chips("height"),
            chips("time_ms"),
            number("table"),
            number("seat"),
            number("account"),
            text("reason"),
            chips("returned"),
            maybe(chips("left_with")),
        ],
    },
    Sheet {
        name: "balances",
        columns: &[
            text("holder"),
            maybe(number("id")),
            maybe(text("key")),
            chips("cage"),
            chips("rail"),
            chips("felt"),
            chips("house"),
            chips("chips"),
        ],
    },
];
