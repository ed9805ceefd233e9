//! Entries as sentences, for people.

use engine::io::{BetResult, Resolution, RollReport, Verdict};
use engine::message::intent::{IntentKind, Working};
use engine::{AccountId, BetId, Chips, Dice, Puck, RollEvent, Spot, TableId};
use systems::Setup;

use super::entry::Event;
use super::rows::{FORFEITED, IntentRow, LAPSED, OPENING, ResolutionRow, RollRow};
use words::sentences::{profit, resolution_words, roll_words};
use words::thousands;
use words::wish::Wish;

/// The event's name, for programs.
pub fn event_name(event: &Event) -> &'static str {
    match event {
        Event::Intent(row) => match row.kind() {
            IntentKind::Open | IntentKind::OpenVoucher => "open",
            IntentKind::Sit => "sit",
            IntentKind::Leave => "leave",
            IntentKind::Bet => "bet",
            IntentKind::TakeDown => "take_down",
            IntentKind::SetAmount => "set_amount",
            IntentKind::SetWorking => "set_working",
            IntentKind::Roll => "call_roll",
            IntentKind::PassDice => "pass_dice",
            IntentKind::Transfer => "transfer",
        },
        Event::Pledge(row) if row.kind == OPENING => "open_roll",
        Event::Pledge(_) => "pledge",
        Event::Roll(_) => "roll",
        Event::Resolution(row) => row.result().name(),
        Event::Leaving(row) if row.absent == LAPSED => "lapse",
        Event::Leaving(row) if row.absent == FORFEITED => "forfeit",
        Event::Leaving(row) if row.freed == 1 => "left",
        Event::Leaving(_) => "absent",
    }
}

impl RollRow {
    /// The roll as the engine reports it; `None` where a byte cannot be so.
    pub fn report(&self) -> Option<RollReport> {
        Some(RollReport {
            table: TableId(self.table),
            roll_number: self.number,
            dice: Dice::new(self.dice[0], self.dice[1])?,
            event: RollEvent::try_from(self.event).ok()?,
            puck: Puck::from_byte(self.puck)?,
            shooter: self.shooter,
        })
    }
}

impl ResolutionRow {
    /// The resolution as the engine reports it.
    pub fn report(&self) -> Resolution {
        Resolution {
            table: TableId(self.table),
            seat: self.seat,
            account: AccountId(self.account),
            spot: Spot(self.spot),
            wager: self.wager,
            credit: Chips(self.credit),
            result: self.result(),
        }
    }

    /// Chips won or lost, with the commission that was held.
    pub fn profit(&self, setup: &Setup) -> i64 {
        let rules = setup.genesis.rules_of(self.table);
        profit(&self.report(), setup.catalogues[rules].commission(Spot(self.spot)))
    }
}

/// What an event brought to or took from the account `reader`, in chips; `None` where it moved none across its edge.
pub fn chips_of(event: &Event, reader: Option<u32>, setup: &Setup) -> Option<i128> {
    match event {
        Event::Intent(row) if !row.is_applied() => None,
        Event::Intent(row) => match row.kind() {
            IntentKind::Open | IntentKind::OpenVoucher => Some(setup.genesis.grant.into()),
            IntentKind::Transfer if reader == Some(row.target) => Some(row.amount.into()),
            IntentKind::Transfer => Some(-i128::from(row.amount)),
            _ => None,
        },
        Event::Leaving(row) if row.absent == FORFEITED || row.absent == LAPSED => Some(-i128::from(row.returned)),
        Event::Resolution(row) if matches!(row.result(), BetResult::Win | BetResult::Lose) => {
            Some(row.profit(setup).into())
        }
        _ => None,
    }
}

fn intent_words(row: &IntentRow, reader: Option<u32>) -> String {
    let working = Working::try_from(row.working).unwrap_or_default();
    let wish = Wish::new(row.kind()).on(BetId(row.bet), row.box_number).amount(row.amount).working(working);
    let words = match row.kind() {
        IntentKind::Transfer if reader == Some(row.target) => {
            format!("receive {} from account {}", thousands(row.amount), row.account)
        }
        IntentKind::Transfer => format!("{} to account {}", wish.words(), row.target),
        _ => wish.words(),
    };
    match row.verdict() {
        Some(Verdict::Refused(refusal)) => format!("{words}: refused, {} ({})", refusal.sentence(), refusal.name()),
        Some(Verdict::OddsReturned) => format!("{words}, its odds came back too"),
        _ => words,
    }
}

fn pledge_words(row: &IntentRow) -> String {
    let words = match row.kind {
        OPENING => format!("open roll {}:{}", row.target, row.roll),
        _ => format!("pledge for the rolls of table {} from {} on", row.target, row.roll),
    };
    match row.verdict() {
        Some(Verdict::Refused(refusal)) => format!("{words}: refused, {} ({})", refusal.sentence(), refusal.name()),
        _ => words,
    }
}

/// An event in words, as the account `reader` sees it, or as the table's history tells it.
pub fn event_words(event: &Event, reader: Option<u32>, setup: &Setup) -> String {
    let words = match event {
        Event::Intent(row) => intent_words(row, reader),
        Event::Pledge(row) => pledge_words(row),
        Event::Roll(row) => row.report().map_or_else(|| "a roll".into(), |roll| roll_words(&roll)),
        Event::Resolution(row) => resolution_words(&row.report(), row.profit(setup)).1,
        Event::Leaving(row) if row.absent == LAPSED => {
            let grant = match row.returned {
                0 => "nobody used the account".to_owned(),
                chips => format!("the grant was never bet: {} go back to the house", thousands(chips)),
            };
            if row.freed == 1 { format!("{grant}; its number is free for another player") } else { grant }
        }
        Event::Leaving(row) if row.absent == FORFEITED => {
            let (lost, left) = (thousands(row.returned), thousands(row.left_with));
            format!("what was pledged was not opened in time: bets of {lost} are forfeited; leave with {left}")
        }
        Event::Leaving(row) => {
            let returned = match row.returned {
                0 => String::new(),
                chips => format!(", bets of {} come back", thousands(chips)),
            };
            let why = if row.absent == 1 { "absent for too long" } else { "the last bet is decided" };
            match row.freed {
                1 => format!("{why}{returned}; leave with {}", thousands(row.left_with)),
                _ => format!("{why}{returned}; the last bets stay until they are decided"),
            }
        }
    };
    match (event.account(), reader) {
        (Some(account), None) => format!("account {account}: {words}"),
        _ => words,
    }
}
