use std::io::Write;

use clap::Args;
use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, Table};
use engine::{BetId, TableRules};
use num_bigint::BigInt;
use num_rational::BigRational;
use serde_json::{Map, Value, json};
use systems::Catalogue;
use systems::catalogue::{BETS, bet_named};
use systems::odds::{Odds, all_odds, decimal, odds_of};

use super::args::{RowsArgs, RowsFormat};
use words::Failure;
use words::names::{self, nearest};
use words::text::wrap;

#[derive(Args, Debug)]
#[command(after_help = after_help())]
pub struct OddsArgs {
    /// Only this bet, by name or number; may be given again.
    #[arg(long = "bet", value_name = "BET")]
    bets: Vec<String>,
    /// A rule that differs from CANON-1; may be given again.
    #[arg(long = "rules", value_name = "KEY=VALUE")]
    rules: Vec<String>,
    #[command(flatten)]
    output: RowsArgs,
}

/// Examples, and the rules there are.
fn after_help() -> String {
    let rules = wrap(&format!("Rules: {}.", TableRules::KEYS.join(", ")), HELP_COLUMNS, 0, str::len);
    format!(
        "Examples:\n  bitcraps odds                               every bet\n  bitcraps odds --bet fire --bet hard_8\n  \
         bitcraps odds --bet field --rules field_paytable=2x2x\n  bitcraps odds --output csv > odds.csv\n\n{}",
        rules.join("\n")
    )
}

/// Columns of a line of the help.
const HELP_COLUMNS: usize = 90;
/// The columns that programs get.
const COLUMNS: [&str; 14] = [
    "id",
    "bet",
    "pays",
    "p_win",
    "p_push",
    "ev",
    "variance",
    "rolls",
    "house_edge_percent",
    "p_win_decimal",
    "p_push_decimal",
    "ev_decimal",
    "variance_decimal",
    "rolls_decimal",
];
/// Characters up to which a fraction is printed beside its decimals.
const FRACTION_CHARS: usize = 90;

/// Runs the command.
pub fn run(args: &OddsArgs) -> anyhow::Result<()> {
    let mut rules = TableRules::default();
    for rule in &args.rules {
        set_rule(&mut rules, rule)?;
    }
    let bets: Vec<BetId> = args.bets.iter().map(|name| find_bet(name)).collect::<Result<_, _>>()?;
    let catalogue = Catalogue::new(&rules).map_err(|error| Failure::Usage(error.to_string()))?;
    let odds =
        if bets.is_empty() { all_odds(&catalogue) } else { bets.iter().map(|bet| odds_of(&catalogue, *bet)).collect() };
    let mut out = super::out::out();
    match args.output.format {
        RowsFormat::Table => {
            let mut table = table(&catalogue, &odds);
            super::out::fit_table(&mut table);
            writeln!(out, "{table}")?;
        }
        RowsFormat::Csv => {
            let mut csv = csv::WriterBuilder::new().from_writer(out);
            csv.write_record(COLUMNS)?;
            for odds in &odds {
                csv.write_record(record(&catalogue, odds))?;
            }
            csv.flush()?;
        }
        RowsFormat::Json => {
            let rows: Vec<Value> = odds.iter().map(|odds| object(&catalogue, odds)).collect();
            writeln!(out, "{}", json!({ "rows": rows }))?;
        }
        RowsFormat::Ndjson => {
            for odds in &odds {
                writeln!(out, "{}", object(&catalogue, odds))?;
            }
        }
    }
    Ok(())
}

fn set_rule(rules: &mut TableRules, rule: &str) -> Result<(), Failure> {
    let (key, value) = rule
        .split_once('=')
        .ok_or_else(|| Failure::Usage(format!("--rules {rule}: write KEY=VALUE, for example bar=2")))?;
    if !TableRules::KEYS.contains(&key) {
        let near = nearest(key, TableRules::KEYS.into_iter());
        let hint = near.map_or("; the".into(), |near| format!("; did you mean `{near}`? The"));
        let all = TableRules::KEYS.join(", ");
        return Err(Failure::Usage(format!("there is no rule `{key}`{hint} rules are {all}")));
    }
    rules.set(key, value).map_err(Failure::Usage)
}

/// A bet by the catalogue's name, its number, or as people call it.
fn find_bet(name: &str) -> Result<BetId, Failure> {
    let by_number = name.parse().ok().filter(|id: &u8| usize::from(*id) < BETS.len()).map(BetId);
    let by_name = || names::find(&name.split_whitespace().collect::<Vec<_>>());
    bet_named(name).or(by_number).map_or_else(by_name, Ok).map_err(|error| Failure::Usage(error.to_string()))
}

fn percent(value: &BigRational) -> BigRational {
    value * BigRational::from_integer(BigInt::from(100))
}

/// A fraction where it is short enough to read.
fn fraction(value: &BigRational) -> String {
    let text = value.to_string();
    if text.len() <= FRACTION_CHARS { text } else { String::new() }
}

fn record(catalogue: &Catalogue, odds: &Odds) -> [String; 14] {
    let values = [&odds.p_win, &odds.p_push, &odds.ev, &odds.variance, &odds.rolls];
    let [p_win, p_push, ev, variance, rolls] = values.map(fraction);
    let [p_win_d, p_push_d, ev_d, variance_d, rolls_d] = values.map(|value| decimal(value, 12));
    let edge = decimal(&-percent(&odds.ev), 8);
    let (id, name, pays) =
        (odds.bet.to_string(), BETS[odds.bet.index()].name.to_owned(), catalogue.pays_text(odds.bet));
    [id, name, pays, p_win, p_push, ev, variance, rolls, edge, p_win_d, p_push_d, ev_d, variance_d, rolls_d]
}

fn object(catalogue: &Catalogue, odds: &Odds) -> Value {
    let record = COLUMNS.into_iter().zip(record(catalogue, odds));
    let value = |column: &str, text: String| if column == "id" { json!(odds.bet.0) } else { json!(text) };
    Value::Object(record.map(|(column, text)| (column.to_owned(), value(column, text))).collect::<Map<_, _>>())
}

fn table(catalogue: &Catalogue, odds: &[Odds]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY);
    table.set_header(["id", "bet", "pays (to 1)", "P(win)", "P(push)", "house edge", "SD", "rolls", "most"]);
    for odds in odds {
        let most = if odds.max_win.den == 1 {
            odds.max_win.num.to_string()
        } else {
            format!("{}:{}", odds.max_win.num, odds.max_win.den)
        };
        table.add_row([
            odds.bet.to_string(),
            BETS[odds.bet.index()].name.into(),
            catalogue.pays_text(odds.bet),
            decimal(&percent(&odds.p_win), 4) + "%",
            decimal(&percent(&odds.p_push), 4) + "%",
            decimal(&-percent(&odds.ev), 4) + "%",
            root(&odds.variance, 4),
            decimal(&odds.rolls, 4),
            most,
        ]);
    }
    for column in [0, 3, 4, 5, 6, 7, 8] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The square root in decimal digits, the last place rounded half up, without a float.
fn root(value: &BigRational, places: u32) -> String {
    // Twice the root in units of the last place; half of it, rounded up, is the root rounded half up.
    let scale = BigInt::from(4) * BigInt::from(10).pow(2 * places);
    let twice = (value * BigRational::from_integer(scale)).floor().to_integer().sqrt();
    decimal(&BigRational::new((twice + 1) / 2, BigInt::from(10).pow(places)), places)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_and_what_is_said_of_a_wrong_rule_name_every_rule() {
        let help = after_help();
        let wrong = set_rule(&mut TableRules::default(), "maxbet=9").expect_err("no rule").to_string();
        assert!(wrong.starts_with("there is no rule `maxbet`; did you mean `max_bet`? The rules are "), "{wrong}");
        let far = set_rule(&mut TableRules::default(), "xyzzy=9").expect_err("no rule").to_string();
        assert!(far.starts_with("there is no rule `xyzzy`; the rules are "), "{far}");
        for key in TableRules::KEYS {
            let is_named = |text: &str| text.split([' ', ',', '.', '\n']).any(|word| word == key);
            assert!(is_named(&help) && is_named(&wrong) && is_named(&far), "{key}: {help}\n{wrong}\n{far}");
        }
        assert!(help.lines().all(|line| line.len() <= HELP_COLUMNS), "{help}");
    }

    #[test]
    fn deviations_are_rounded_as_the_rules_print_them() {
        let catalogue = Catalogue::new(&TableRules::default()).expect("CANON-1");
        let sd = |name| root(&odds_of(&catalogue, bet_named(name).expect("a bet")).variance, 4);
        assert_eq!(
            ["hard_4", "pass", "dont_pass", "field", "odds_pass"].map(sd),
            ["2.5142", "0.9999", "0.9859", "1.1423", "1.2247"]
        );
    }
}
