//! The text protocol of `play --script`: a command a line in, a JSON object a line out. `docs/play.md` lists them.

use engine::component::{Account, Table};
use engine::io::{BetResult, Resolution, RollReport, Verdict};
use engine::{AccountId, Chips, Height, Puck, Spot, TableId, hex};
use serde_json::{Value, json};
use systems::catalogue::{BETS, bet_of, number_of};
use thiserror::Error;

use super::action::{Action, CommandError, parse};
use super::model::{InFlight, Link, SeatLost, SeatView};
use super::pledging::Halves;
use words::sentences::receipt_words;
use words::wish::{Wish, setting};

/// The longest that a script may sleep.
pub const SLEEP_MS_MAX: u64 = 24 * 3_600_000;

/// One line of a script.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ScriptStep {
    /// Do this.
    Act(Action),
    /// Go on after the watched table's next roll.
    WaitRoll,
    /// Go on when no intent is without its receipt.
    WaitReceipt,
    /// Go on after so long.
    Sleep {
        /// Milliseconds.
        ms: u64,
    },
}

/// Why a line is no step.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum LineError {
    /// No command.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// A wait for something else.
    #[error("wait for what? `wait roll` or `wait receipt`")]
    Wait,
    /// No text.
    #[error("the line is no text in UTF-8")]
    Text,
    /// A sleep without a length.
    #[error("sleep how long? `sleep 500` waits 500 ms, at most {SLEEP_MS_MAX}")]
    Sleep,
}

/// Understands a line; `None` for one that is empty or a comment. A `#` begins a comment anywhere.
///
/// # Errors
/// One line that says what would be right.
pub fn parse_line(line: &[u8]) -> Result<Option<ScriptStep>, LineError> {
    let text = str::from_utf8(line).map_err(|_| LineError::Text)?;
    let text = text.split('#').next().unwrap_or_default().trim();
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split_whitespace().collect();
    match words[..] {
        [] => Ok(None),
        ["wait", "roll"] => Ok(Some(ScriptStep::WaitRoll)),
        ["wait", "receipt"] => Ok(Some(ScriptStep::WaitReceipt)),
        ["wait", ..] => Err(LineError::Wait),
        ["sleep", ms] => {
            let ms = ms.parse().ok().filter(|ms| *ms <= SLEEP_MS_MAX).ok_or(LineError::Sleep)?;
            Ok(Some(ScriptStep::Sleep { ms }))
        }
        ["sleep", ..] => Err(LineError::Sleep),
        _ => Ok(Some(ScriptStep::Act(parse(text)?))),
    }
}

/// Something that a program is told.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The connection changed.
    Link(&'a Link),
    /// The player's account.
    Account(AccountId, &'a Account),
    /// A table, when its shooter may roll, and the player's seat there.
    Table(TableId, &'a Table, Option<u64>, Option<(usize, &'a SeatView)>),
    /// The player may not act any more from a seat: its number, and why.
    Seat(TableId, usize, SeatLost),
    /// A roll.
    Roll(&'a RollReport),
    /// A roll, and the height at which it fell: the node says that a quorum of validators answers for it.
    Certified(TableId, u32, Height),
    /// What a roll of a pledged table was made of.
    Halves(TableId, &'a Halves),
    /// What a roll did to one of the player's bets.
    Resolution(&'a Resolution),
    /// An intent went out.
    Sent(u64, &'a Wish),
    /// What became of an intent.
    Receipt(&'a InFlight, Verdict, Height),
    /// The program ends, and an intent has no receipt yet.
    Unanswered(u64, &'a Wish),
    /// The node had no room for an intent.
    Shed(u64, &'a str),
    /// The node's clock was set, by so many milliseconds.
    ClockSet(i64),
    /// Something is wrong with the player's half of the dice.
    Warning(&'a str),
    /// A line of the script is wrong, by its number.
    Error(u64, &'a str),
}

/// The event as one JSON object without line breaks.
pub fn event_line(event: Event<'_>) -> String {
    object(event).to_string()
}

fn point(puck: Puck) -> Value {
    match puck {
        Puck::Off => Value::Null,
        Puck::On(point) => point.into(),
    }
}

fn bet_name(spot: Spot) -> &'static str {
    BETS[bet_of(spot).index()].name
}

fn object(event: Event<'_>) -> Value {
    match event {
        Event::Link(link) => match link {
            Link::Connecting { attempt } => json!({ "event": "link", "state": "connecting", "attempt": attempt }),
            Link::Up { rtt_ms } => json!({ "event": "link", "state": "up", "rtt_ms": rtt_ms }),
            Link::Down { why, retry_s } => {
                json!({ "event": "link", "state": "down", "why": why, "retry_s": retry_s })
            }
        },
        Event::Account(id, account) => json!({
            "event": "account", "account": id.0, "cage": account.cage.0, "granted": account.granted.0,
            "transferable": account.transferable().0, "seats": account.seats,
        }),
        Event::Table(id, row, may_roll_ms, own) => table(id, row, may_roll_ms, own),
        Event::Seat(table, seat, lost) => {
            let forfeited = lost.forfeited().map(|chips| chips.0);
            json!({ "event": "seat", "table": table.0, "seat": seat, "reason": lost.name(), "forfeited": forfeited })
        }
        Event::Roll(roll) => json!({
            "event": "roll", "table": roll.table.0, "number": roll.roll_number, "dice": roll.dice.faces(),
            "total": roll.dice.total(), "result": roll.event.name(), "point": point(roll.puck), "shooter": roll.shooter,
        }),
        Event::Certified(table, roll, height) => {
            json!({ "event": "certified", "table": table.0, "number": roll, "height": height.0 })
        }
        Event::Halves(table, Halves { roll, own, theirs, left }) => json!({
            "event": "halves", "table": table.0, "number": roll, "yours": hex(own), "theirs": hex(theirs),
            "openings_left": left,
        }),
        Event::Resolution(one) => {
            let to = match one.result {
                BetResult::Travel(to) => number_of(to),
                _ => None,
            };
            json!({
                "event": "resolution", "table": one.table.0, "seat": one.seat, "bet": bet_name(one.spot),
                "number": number_of(one.spot), "wager": one.wager, "credit": one.credit.0,
                "result": one.result.name(), "to": to,
            })
        }
        Event::Sent(number, wish) => json!({
            "event": "sent", "number": number, "words": wish.words(),
            "bet": wish.bet.map(|(bet, _)| BETS[bet.index()].name),
            "box_number": wish.bet.map(|(_, number)| number).filter(|number| *number != 0),
            "amount": wish.amount, "working": setting(wish.working),
        }),
        Event::Receipt(sent, verdict, height) => {
            let (result, refusal) = match verdict {
                Verdict::Applied => ("applied", None),
                Verdict::OddsReturned => ("odds_returned", None),
                Verdict::Refused(refusal) => ("refused", Some(refusal.name())),
            };
            json!({
                "event": "receipt", "number": sent.id.number, "height": height.0, "result": result, "refusal": refusal,
                "words": receipt_words(&sent.wish, verdict).1,
            })
        }
        Event::Unanswered(number, wish) => {
            json!({ "event": "unanswered", "number": number, "words": wish.words() })
        }
        Event::Shed(number, reason) => json!({ "event": "shed", "number": number, "reason": reason }),
        Event::ClockSet(by_ms) => json!({ "event": "clock_set", "by_ms": by_ms }),
        Event::Warning(message) => json!({ "event": "warning", "message": message }),
        Event::Error(line, message) => json!({ "event": "error", "line": line, "message": message }),
    }
}

fn table(id: TableId, row: &Table, may_roll_ms: Option<u64>, own: Option<(usize, &SeatView)>) -> Value {
    let bet = |bet: &engine::component::BetRow| {
        json!({
            "bet": bet_name(bet.spot), "number": number_of(bet.spot), "amount": bet.amount,
            "working": setting(bet.flags.working()),
        })
    };
    let seat = own.map(|(number, view)| {
        let in_bets: Chips = view.bets.iter().map(|bet| Chips(bet.amount.into())).sum();
        json!({
            "seat": number, "rail": view.seat.rail.0, "wagers": in_bets.0,
            "bets": view.bets.iter().map(bet).collect::<Vec<_>>(),
        })
    });
    let next = if row.next_roll_ms == Table::NEVER { None } else { Some(row.next_roll_ms) };
    let shooter = if row.shooter == Table::NO_SHOOTER { None } else { Some(row.shooter) };
    json!({
        "event": "table", "table": id.0, "roll_number": row.roll_number, "hand_number": row.hand_number,
        "point": Puck::from_byte(row.point).map_or(Value::Null, point), "shooter": shooter,
        "next_roll_ms": next, "may_roll_ms": may_roll_ms, "called": row.roll_called == 1, "players": row.occupied.count_ones(), "felt": row.felt.0, "own": seat,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{OWN, id, playing, resolution, roll, spot, standing};
    use engine::message::intent::IntentKind;
    use engine::message::refusal::Refusal;

    #[test]
    fn lines_are_steps_waits_and_comments() {
        let wish = Wish::new(IntentKind::Bet).on(bet_of(spot("field", 0)), 0).amount(5);
        for (line, step) in [
            ("", None),
            ("  # five on the field", None),
            ("field 5 # five on the field", Some(ScriptStep::Act(Action::Wish(wish)))),
            ("wait roll", Some(ScriptStep::WaitRoll)),
            ("WAIT receipt\r\n", Some(ScriptStep::WaitReceipt)),
            ("sleep 500", Some(ScriptStep::Sleep { ms: 500 })),
            ("table 2", Some(ScriptStep::Act(Action::Watch(TableId(2))))),
            ("quit", Some(ScriptStep::Act(Action::Quit))),
        ] {
            assert_eq!(parse_line(line.as_bytes()), Ok(step), "{line}");
        }
        assert_eq!(parse_line(b"wait"), Err(LineError::Wait));
        assert_eq!(parse_line(b"sleep long"), Err(LineError::Sleep));
        assert_eq!(parse_line(b"sleep 99999999999"), Err(LineError::Sleep));
        assert_eq!(parse_line(b"\xff\xfe 5"), Err(LineError::Text));
        assert!(matches!(parse_line(b"feild 5"), Err(LineError::Command(_))));
    }

    #[test]
    fn every_event_is_on_the_page_with_its_fields() {
        let page = include_str!("../../docs/play.md");
        let mut game = playing();
        let wish = Wish::new(IntentKind::Bet).on(bet_of(spot("field", 0)), 0).amount(5);
        game.sent(id(7), wish);
        let (id, account) = game.account.expect("an account");
        let view = game.table.as_ref().expect("a table");
        let halves = Halves { roll: 1, own: [1; 32], theirs: [2; 48], left: 3 };
        for event in [
            Event::Link(&Link::Connecting { attempt: 1 }),
            Event::Link(&Link::Up { rtt_ms: 1 }),
            Event::Link(&Link::Down { why: "silence".into(), retry_s: 3 }),
            Event::Account(id, &account),
            Event::Table(TableId(0), &view.row, None, None),
            Event::Seat(TableId(0), 2, SeatLost::Absent { idle_ms: 60_000 }),
            Event::Roll(&roll(8, [3, 4], Puck::On(6))),
            Event::Certified(TableId(0), 8, Height(9)),
            Event::Halves(TableId(0), &halves),
            Event::Resolution(&resolution("come", 0, 10, 0, BetResult::Lose)),
            Event::Sent(7, &wish),
            Event::Receipt(&game.in_flight[0], Verdict::Applied, Height(9)),
            Event::Unanswered(7, &wish),
            Event::Shed(7, "busy"),
            Event::ClockSet(1),
            Event::Warning("no"),
            Event::Error(2, "no"),
        ] {
            let object = object(event);
            let name = object["event"].as_str().expect("a name");
            let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` |")));
            let row = row.unwrap_or_else(|| panic!("`{name}` is not on the page"));
            for field in object.as_object().expect("an object").keys().filter(|field| *field != "event") {
                assert!(row.contains(&format!("`{field}`")), "`{name}` has `{field}`, which is not on the page");
            }
        }
    }

    #[test]
    fn events_are_one_line_of_json_each() {
        let mut game = playing();
        let wish = Wish::new(IntentKind::Bet).on(bet_of(spot("odds_come", 9)), 9).amount(5);
        game.sent(id(7), wish);
        let view = game.table.as_ref().expect("a table");
        let (id, account) = game.account.expect("an account");
        let travel = resolution("come", 0, 10, 0, BetResult::Travel(spot("come", 9)));
        let refused = Verdict::Refused(Refusal::NoParentBet);
        let down = Link::Down { why: "a \"quoted\"\nreason".into(), retry_s: 3 };
        for (event, expected) in [
            (
                Event::Roll(&roll(8, [3, 4], Puck::On(6))),
                r#"{"event":"roll","table":0,"number":8,"dice":[3,4],"total":7,"result":"seven_out","point":null,"shooter":2}"#,
            ),
            (
                Event::Resolution(&travel),
                r#"{"event":"resolution","table":0,"seat":2,"bet":"come","number":null,"wager":10,"credit":0,"result":"travel","to":9}"#,
            ),
            (
                Event::Receipt(&game.in_flight[0], refused, Height(9)),
                r#"{"event":"receipt","number":7,"height":9,"result":"refused","refusal":"NO_PARENT_BET","words":"5 on come odds on 9 refused: there is no flat bet for these odds to stand on (NO_PARENT_BET)"}"#,
            ),
            (
                Event::Sent(7, &wish),
                r#"{"event":"sent","number":7,"words":"5 on come odds on 9","bet":"odds_come","box_number":9,"amount":5,"working":"default"}"#,
            ),
            (
                Event::Account(id, &account),
                r#"{"event":"account","account":17,"cage":10000,"granted":10000,"transferable":0,"seats":1}"#,
            ),
            (Event::Link(&down), r#"{"event":"link","state":"down","why":"a \"quoted\"\nreason","retry_s":3}"#),
            (
                Event::Seat(TableId(0), 2, SeatLost::Absent { idle_ms: 60_000 }),
                r#"{"event":"seat","table":0,"seat":2,"reason":"absent","forfeited":null}"#,
            ),
            (
                Event::Seat(TableId(0), 0, SeatLost::Forfeited { chips: Chips(110), called: true }),
                r#"{"event":"seat","table":0,"seat":0,"reason":"forfeited","forfeited":110}"#,
            ),
            (Event::Shed(7, "busy"), r#"{"event":"shed","number":7,"reason":"busy"}"#),
            (Event::Error(2, "no"), r#"{"event":"error","line":2,"message":"no"}"#),
        ] {
            let line = event_line(event);
            assert_eq!(line, expected);
            assert!(!line.contains('\n'));
        }
        assert_eq!(id, OWN);
        let table = object(Event::Table(TableId(0), &view.row, game.may_roll_ms(&view.row), game.own_seat()));
        assert_eq!((&table["point"], &table["shooter"], &table["own"]["wagers"]), (&json!(6), &json!(2), &json!(125)));
        assert_eq!(table["own"]["bets"].as_array().map(Vec::len), Some(9));
        let standing = standing();
        let view = standing.table.as_ref().expect("a table");
        assert_eq!(object(Event::Table(TableId(0), &view.row, None, None))["own"], Value::Null);
    }
}
