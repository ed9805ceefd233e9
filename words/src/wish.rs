//! An intent that is not signed yet, and what it is called.

use engine::message::intent::{IntentBody, IntentKind, Working};
use engine::{BetId, TableId};

use crate::names::with_number;
use crate::number::thousands;

/// An intent before it has a key, a number and a table. Fields that its kind does not use are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wish {
    /// What is asked.
    pub kind: IntentKind,
    /// The bet, and its box number or 0.
    pub bet: Option<(BetId, u8)>,
    /// Chips: buy-in, wager, or new total.
    pub amount: u64,
    /// The working setting of a bet.
    pub working: Working,
}

impl Wish {
    /// A wish of `kind`, all else unsaid.
    pub fn new(kind: IntentKind) -> Self {
        Self { kind, bet: None, amount: 0, working: Working::Default }
    }

    /// The same for a bet and its box number, 0 for none.
    pub fn on(self, bet: BetId, number: u8) -> Self {
        Self { bet: Some((bet, number)), ..self }
    }

    /// The same with chips.
    pub fn amount(self, amount: u64) -> Self {
        Self { amount, ..self }
    }

    /// The same with a working setting.
    pub fn working(self, working: Working) -> Self {
        Self { working, ..self }
    }

    /// The unsigned intent. An account is opened at no table.
    pub fn body(&self, key: [u8; 32], number: u64, expiry_s: u32, table: TableId) -> IntentBody {
        let (bet, box_number) = self.bet.unwrap_or_default();
        let body = IntentBody::new(self.kind, key, number, expiry_s).amount(self.amount).working(self.working);
        let body = if self.kind == IntentKind::Open { body } else { body.at(table) };
        body.on(bet, box_number)
    }

    /// What is asked, in words: `5 on field`.
    pub fn words(&self) -> String {
        let chips = thousands(self.amount);
        let bet = self.bet.map_or("no bet".into(), |(bet, number)| with_number(bet, number));
        match self.kind {
            IntentKind::Open | IntentKind::OpenVoucher => "open an account".into(),
            IntentKind::Sit => format!("sit down with {chips}"),
            IntentKind::Leave => "leave the table".into(),
            IntentKind::Bet => format!("{chips} on {bet}"),
            IntentKind::TakeDown => format!("take down {bet}"),
            IntentKind::SetAmount => format!("set {bet} to {chips}"),
            IntentKind::SetWorking => format!("{bet} {}", setting(self.working)),
            IntentKind::Roll => "roll".into(),
            IntentKind::PassDice => "pass the dice".into(),
            IntentKind::Transfer => format!("send {chips}"),
        }
    }

    /// What it has become once it is applied.
    pub fn done(&self) -> &'static str {
        match self.kind {
            IntentKind::Bet => "placed",
            IntentKind::Roll => "called",
            _ => "done",
        }
    }
}

/// A working setting as it is typed.
pub fn setting(working: Working) -> &'static str {
    match working {
        Working::Default => "default",
        Working::On => "on",
        Working::Off => "off",
    }
}
