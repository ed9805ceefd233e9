use std::cmp::Reverse;
use std::path::PathBuf;

use audit::dice::{DiceAudit, DiceConfig, Evidence, Foresight, LateOpening, Rolls, UNUSUAL, audit_dice};
use audit::reading::Origin;
use audit::walker::Identity;
use clap::Args;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use engine::Height;
use serde_json::{Value, json};

use super::args::{OutputArgs, workers_in_range};
use super::bars::spinner;
use super::session::{SessionArgs, identified};
use words::{Failure, thousands};

/// Tables that people are shown: those with the most evidence.
const SHOWN: usize = 20;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps audit-dice sessions/0001\n  bitcraps audit-dice sessions/0001 --to 5000\n  bitcraps audit-dice sessions/0001 --output json\n\nIt may be run as often as you like, at any height: the tests hold at every moment.\n\nExit codes: 4 if the session is damaged or none, 5 if it differs from its replay, 6 if its dice or results are\nunusual: an honest house comes to 1,000 to 1 in at most one session of 1,000."
)]
pub struct AuditDiceArgs {
    /// The session's directory.
    session: PathBuf,
    /// Stop after this height; without it, after the last.
    #[arg(long)]
    to: Option<u64>,
    /// Workers; they change nothing but speed.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = workers_in_range)]
    threads: usize,
    #[command(flatten)]
    expected: SessionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub fn run(args: &AuditDiceArgs) -> anyhow::Result<()> {
    if args.to == Some(0) {
        return Err(Failure::Usage("--to 0: heights begin at 1".into()).into());
    }
    let _pool = engine::pool::build(args.threads)?;
    let reading = args.expected.reading(args.threads, Origin::Stranger);
    let config = DiceConfig { to: args.to.map(Height), reading };
    let people = args.output.is_for_people();
    let identity = args.expected.identify(&args.session, args.output)?;
    args.expected.check_root_chain(&args.session, config.to)?;
    let bar = spinner(args.output.is_watched(), "{spinner} height {human_pos}, {per_sec}");
    let audited = audit_dice(&args.session, &config, |so_far| bar.set_position(so_far.height.0));
    bar.finish_and_clear();
    let audit = audited?;
    if people {
        print(&audit, &identity)?;
    } else {
        say!("{}", identified(as_json(&audit), &identity))
    }
    if audit.is_unusual() {
        let text = format!("the dice or the results are unusual: {}", once_in(audit.highest.evidence));
        return Err(Failure::Target(text).into());
    }
    Ok(())
}

/// A number that may be of any size, in few digits.
fn short(value: f64, log10: f64) -> String {
    match log10 {
        log if log >= 9.0 => format!("10^{log:.0}"),
        log if log >= 1.0 => thousands(value.round() as u64),
        log if log >= -1.0 => format!("{value:.1}"),
        log if log >= -2.0 => format!("{value:.2}"),
        _ => "less than 0.01".into(),
    }
}

/// Evidence as odds.
fn odds(evidence: Evidence) -> String {
    format!("{} to 1", short(evidence.value(), evidence.log10()))
}

/// What evidence says at most of an honest house.
fn once_in(evidence: Evidence) -> String {
    let value = short(evidence.value().floor(), evidence.log10());
    format!("an honest house comes so far at most once in {value} sessions")
}

/// Evidence as a judgement, where it is one of `count` that are looked at alike.
fn judgement(evidence: Evidence, count: usize) -> String {
    let word = if DiceAudit::stands_out(evidence, count) { "unusual" } else { "nothing unusual" };
    format!("{word}: {}", odds(evidence))
}

/// Chips with a sign.
fn signed(chips: i64) -> String {
    let sign = if chips < 0 { "-" } else { "" };
    format!("{sign}{}", thousands(chips.unsigned_abs()))
}

/// A result against the odds, in words.
fn against_odds(rolls: &[&Rolls]) -> String {
    let won: i64 = rolls.iter().map(|rolls| rolls.won).sum();
    let beyond: f64 = rolls.iter().map(|rolls| rolls.house.beyond()).sum();
    let result = if won < 0 { "lost" } else { "won" };
    let side = if beyond < 0.0 { "below" } else { "above" };
    let (won, beyond) = (thousands(won.unsigned_abs()), thousands(beyond.abs().round() as u64));
    format!("it {result} {won} chips, and its luck was {beyond} {side} the exact odds")
}

/// Who "operator" is here.
fn holder(identity: &Identity) -> &'static str {
    match identity.keys {
        "dealer" => " (whoever dealt the shares of the beacon's key)",
        "own" => " (whoever holds the only key)",
        _ => "",
    }
}

fn print(audit: &DiceAudit, identity: &Identity) -> anyhow::Result<()> {
    let (from, to) = (thousands(audit.from.0), thousands(audit.height.0));
    say!("  rolls         {} in heights {from} to {to}", thousands(audit.rolls()));
    if audit.from > Height(1) {
        say!("                what came before was given up (storage.bytes_max)");
    }
    if let Some(torn) = &audit.torn {
        say!("  torn tail     {torn}");
    }
    say!("  who could have foreseen them");
    for (foresight, count) in Foresight::ALL.into_iter().zip(audit.foreseen) {
        let who = if foresight == Foresight::Operator { holder(identity) } else { "" };
        say!("    {:>11}  {}{who}", thousands(count), foresight.name());
    }
    if audit.forfeited > 0 {
        say!("  forfeited     {}: not opened in time, their bets went to nobody", thousands(audit.forfeited));
    }
    for late in audit.late.iter().take(SHOWN) {
        let LateOpening { height, table, roll, dice, forfeited, paid } = late;
        let [first, second] = dice.faces();
        say!(
            "    {table}:{roll}  opened too late at height {}: {first}-{second} would have paid {} of {} forfeited",
            thousands(height.0),
            thousands(paid.0),
            thousands(forfeited.0)
        );
    }
    say!("  the faces     {}", judgement(audit.faces.evidence(), 1));
    say!("  the house     {}", judgement(audit.house(), 1));
    let tables: Vec<&Rolls> = audit.tables.iter().map(|(_, rolls)| rolls).collect();
    say!("                {}", against_odds(&tables));
    let highest = format!("{} at height {}", odds(audit.highest.evidence), thousands(audit.highest.height.0));
    say!("  both          {}, highest {highest}", odds(audit.evidence));
    show_rows(audit)?;
    if audit.is_unusual() {
        say!("unusual: {}", once_in(audit.highest.evidence));
    } else {
        let bound = thousands(UNUSUAL as u64);
        say!("nothing unusual: an honest house comes to {bound} to 1 at most once in {bound} sessions");
    }
    Ok(())
}

/// The tables and proposers, those with the most evidence first.
fn show_rows(audit: &DiceAudit) -> anyhow::Result<()> {
    let tables = audit.tables.iter().enumerate().filter(|(_, (_, rolls))| rolls.rolls > 0);
    let tables =
        tables.map(|(id, (foresight, rolls))| (format!("table {id}"), foresight.name(), rolls, audit.tables.len()));
    let proposers = audit.proposers.iter().enumerate().filter(|(_, rolls)| rolls.rolls > 0);
    let proposers = proposers.map(|(id, rolls)| (format!("proposer {id}"), "", rolls, audit.proposers.len()));
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["", "rolls", "who could foresee", "house won", "luck", "its result against the odds"]);
    let mut left_out = 0;
    for mut rows in [tables.collect::<Vec<_>>(), proposers.collect()] {
        rows.sort_by_key(|(_, _, rolls, _)| Reverse(ordered(rolls.house.evidence())));
        left_out += rows.len().saturating_sub(SHOWN);
        for (name, foresight, rolls, count) in rows.into_iter().take(SHOWN) {
            table.add_row([
                name,
                thousands(rolls.rolls),
                foresight.into(),
                signed(rolls.won),
                signed(rolls.house.beyond().round() as i64),
                judgement(rolls.house.evidence(), count),
            ]);
        }
    }
    for column in [1, 3, 4] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    super::out::fit_table(&mut table);
    say!("{table}");
    if left_out > 0 {
        say!("  and {} more with less evidence; --output json has all", thousands(left_out as u64));
    }
    Ok(())
}

/// Evidence as a number that can be ordered: millionths of its logarithm.
fn ordered(evidence: Evidence) -> i64 {
    (evidence.log10() * 1e6) as i64
}

fn rows_as_json(rolls: &Rolls, count: usize) -> Value {
    let evidence = rolls.house.evidence();
    json!({
        "rolls": rolls.rolls,
        "house_won": rolls.won,
        "beyond_odds": rolls.house.beyond(),
        "log10_e": evidence.log10(),
        "stands_out": DiceAudit::stands_out(evidence, count),
    })
}

fn as_json(audit: &DiceAudit) -> Value {
    let counts = Foresight::ALL.into_iter().zip(audit.foreseen);
    let foreseen: Value = counts.map(|(foresight, count)| (foresight.field().to_owned(), json!(count))).collect();
    let tables = audit.tables.iter().enumerate().map(|(id, (foresight, rolls))| {
        let mut row = rows_as_json(rolls, audit.tables.len());
        row["table"] = id.into();
        row["foreseeable_by"] = foresight.field().into();
        row
    });
    let proposers = audit.proposers.iter().enumerate().map(|(id, rolls)| {
        let mut row = rows_as_json(rolls, audit.proposers.len());
        row["proposer"] = id.into();
        row
    });
    let late = audit.late.iter().map(|late| {
        let LateOpening { height, table, roll, dice, forfeited, paid } = late;
        let dice = dice.faces();
        json!({ "height": height.0, "table": table.0, "roll": roll, "dice": dice, "forfeited": forfeited.0, "paid": paid.0 })
    });
    json!({
        "ok": !audit.is_unusual(),
        "verified_from": audit.from.0,
        "height": audit.height.0,
        "heights": audit.heights,
        "rolls": audit.rolls(),
        "foreseeable_by": foreseen,
        "forfeited": audit.forfeited,
        "late_openings": late.collect::<Vec<_>>(),
        "threshold": UNUSUAL,
        "log10_e": audit.evidence.log10(),
        "highest": { "height": audit.highest.height.0, "log10_e": audit.highest.evidence.log10() },
        "faces_log10_e": audit.faces.evidence().log10(),
        "house_log10_e": audit.house().log10(),
        "tables_log10_e": audit.by_table().log10(),
        "proposers_log10_e": audit.by_proposer().log10(),
        "tables": tables.collect::<Vec<_>>(),
        "proposers": proposers.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_said_in_few_digits() {
        let said = [1e-30, 0.05, 0.25, 1.0, 1.34, 45.4, 2_000.4, 3e12].map(|value| odds(Evidence::of(value)));
        let expected = [
            "less than 0.01 to 1",
            "0.05 to 1",
            "0.2 to 1",
            "1.0 to 1",
            "1.3 to 1",
            "45 to 1",
            "2,000 to 1",
            "10^12 to 1",
        ];
        assert_eq!(said, expected);
        let far = Evidence::of(2_000.9);
        assert_eq!(once_in(far), "an honest house comes so far at most once in 2,000 sessions");
        assert_eq!(
            (judgement(far, 2), judgement(far, 3)),
            ("unusual: 2,001 to 1".into(), "nothing unusual: 2,001 to 1".into())
        );
    }
}
