//! News as sentences.

use engine::io::{BetResult, Resolution, RollReport, Verdict};
use engine::limits::SPOTS;
use engine::{Puck, RollEvent};
use systems::catalogue::number_of;
use systems::ledger::held;

use crate::names::spot_words;
use crate::number::thousands;
use crate::wish::Wish;

/// What a line of the log is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Something happened.
    Info,
    /// Something went well.
    Good,
    /// Chips were lost.
    Bad,
    /// Something was refused or failed, and may want an answer.
    Warning,
}

/// Chips that a decided bet brought or cost, against what was held for it.
pub fn profit(one: &Resolution, commission: engine::Ratio) -> i64 {
    match one.result {
        BetResult::Travel(_) => 0,
        // Credits stay below the supply, which is far below the bound.
        _ => i64::try_from(one.credit.0).unwrap_or(i64::MAX) - held(one.wager, commission).0 as i64,
    }
}

/// What a roll did, in words.
pub fn event_words(event: RollEvent, puck: Puck) -> String {
    match (event, puck) {
        (RollEvent::PointEstablished, Puck::On(point)) => format!("the point is {point}"),
        (RollEvent::Natural, _) => "natural".into(),
        (RollEvent::Craps, _) => "craps".into(),
        (RollEvent::PointMade, _) => "point made".into(),
        (RollEvent::SevenOut, _) => "seven out".into(),
        _ => "no decision".into(),
    }
}

/// A roll in words: `roll no. 421: 5-3, total 8, no decision`.
pub fn roll_words(roll: &RollReport) -> String {
    let [a, b] = roll.dice.faces();
    format!(
        "roll no. {}: {a}-{b}, total {}, {}",
        roll.roll_number,
        roll.dice.total(),
        event_words(roll.event, roll.puck)
    )
}

/// What a roll did to a bet, in words: `field wins: 5 pays 10`.
pub fn resolution_words(one: &Resolution, profit: i64) -> (Severity, String) {
    let (name, wager) = (spot_words(one.spot), thousands(one.wager.into()));
    match one.result {
        BetResult::Win => (Severity::Good, format!("{name} wins: {wager} pays {}", signed(profit.into()))),
        BetResult::Lose => (Severity::Bad, format!("{name} loses {}", thousands(profit.unsigned_abs()))),
        BetResult::Push => (Severity::Info, format!("{name} pushes: {wager} come back")),
        BetResult::Return => (Severity::Info, format!("{name} was off: {wager} come back")),
        BetResult::Travel(to) => {
            let number = Some(to).filter(|to| to.index() < SPOTS).and_then(number_of).unwrap_or(0);
            (Severity::Info, format!("{name} travels: {wager} now on {number}"))
        }
    }
}

/// What became of an intent, in words: `5 on field: placed`.
pub fn receipt_words(wish: &Wish, verdict: Verdict) -> (Severity, String) {
    let words = wish.words();
    match verdict {
        Verdict::Applied => (Severity::Info, format!("{words}: {}", wish.done())),
        Verdict::OddsReturned => (Severity::Info, format!("{words}: done, its odds came back too")),
        Verdict::Refused(refusal) => {
            (Severity::Warning, format!("{words} refused: {} ({})", refusal.sentence(), refusal.name()))
        }
    }
}

/// A gain without its sign, a loss with it.
fn signed(chips: i128) -> String {
    let text = thousands(chips.unsigned_abs() as u64);
    if chips < 0 { format!("-{text}") } else { text }
}

/// A result with its sign, zero without.
pub fn result_words(chips: i128) -> String {
    if chips > 0 { format!("+{}", signed(chips)) } else { signed(chips) }
}
