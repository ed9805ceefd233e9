use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, LineStyle, Table};
use engine::{AccountId, Height, TableId, unhex};
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use systems::Setup;
use systems::catalogue::{BETS, bet_of, number_of};

use super::args::{RowsArgs, RowsFormat, workers_in_range};
use super::bars::spinner;
use super::config::{SetArgs, load};
use super::past::stand_back;
use super::session::{SessionArgs, identified};
use audit::bounds::check_reaches;
use audit::history::{
    Answer, CacheConfig, Entry, Event, FORFEITED, History, NO_TABLE, Question, Subject, TierReport, chips_of,
    event_name, event_words, reindex,
};
use audit::reading::Origin;
use audit::walker::Identity;
use node::config::Config;
use words::{Failure, thousands};

#[derive(Args, Debug)]
#[command(
    group = ArgGroup::new("subject").required(true).args(["player", "table", "roll", "reindex"]),
    group = ArgGroup::new("place").required(true).args(["session", "data", "config"]),
    after_help = "Examples:\n  bitcraps history sessions/0001 --player 17         the last 50 things that happened to account 17\n  bitcraps history sessions/0001 --table 3 --to 1200\n  bitcraps history sessions/0001 --roll 3:421        the bets, the dice and the payouts of one roll\n  bitcraps history --config node/bitcraps.toml --player KEY --output ndjson\n\nNewest last. `--to` with the height that the last line names shows what is older. A node may be running."
)]
pub struct HistoryArgs {
    /// The session's directory.
    session: Option<PathBuf>,
    /// The session's directory, as `dev` and `node` name it.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// A node's configuration: its session, and the budgets of its cache.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What happened to a player: an account's number, or its public key in hex.
    #[arg(long, value_name = "ACCOUNT|KEY")]
    player: Option<String>,
    /// What happened at a table.
    #[arg(long, value_name = "TABLE")]
    table: Option<u32>,
    /// What happened at a table from the roll before to this one.
    #[arg(long, value_name = "TABLE:NUMBER", value_parser = roll)]
    roll: Option<(u32, u32)>,
    /// Make the index of a stopped session again, by executing it once: it says on which pages to look for whom.
    #[arg(long)]
    reindex: bool,
    /// The first height.
    #[arg(long, default_value_t = 1, value_name = "HEIGHT")]
    from: u64,
    /// The last height; without it, the last settled one.
    #[arg(long, value_name = "HEIGHT")]
    to: Option<u64>,
    /// How many lines, about; a height is never cut in two.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,
    /// Workers; they change nothing but speed.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = workers_in_range)]
    threads: usize,
    /// The session is of a node of one's own: use its index, and do not verify the signatures that it verified.
    #[arg(long)]
    own: bool,
    #[command(flatten)]
    set: SetArgs,
    /// A running node asks: leave everything to it, and end with it.
    #[arg(long, hide = true)]
    beside_node: bool,
    /// Bytes of its cache in memory.
    #[arg(long, hide = true, requires = "beside_node", conflicts_with = "config")]
    cache_memory: Option<u64>,
    /// Bytes of its cache on disk.
    #[arg(long, hide = true, requires = "beside_node", conflicts_with = "config")]
    cache_disk: Option<u64>,
    #[command(flatten)]
    expected: SessionArgs,
    /// Say on stderr which tier had how many of the pages.
    #[arg(long)]
    stats: bool,
    #[command(flatten)]
    output: RowsArgs,
}

/// How often a session that another process writes is read again before it counts as damaged.
const LIVE_ATTEMPTS: u32 = 3;

fn roll(text: &str) -> Result<(u32, u32), String> {
    let parts = text.split_once(':').and_then(|(table, number)| Some((table.parse().ok()?, number.parse().ok()?)));
    parts.ok_or_else(|| "write TABLE:NUMBER, for example 3:421".into())
}

/// The budgets of the cache of history.
fn cache_config(config: &Config) -> CacheConfig {
    CacheConfig {
        memory_bytes: config.cache.memory_bytes_max,
        disk_bytes: config.cache.disk_bytes_max,
        ..CacheConfig::default()
    }
}

/// Runs the command.
pub fn run(args: &HistoryArgs) -> anyhow::Result<()> {
    if args.beside_node {
        stand_back();
    }
    if args.config.is_none() && !args.set.all().is_empty() {
        return Err(Failure::Usage("--set is for a node's configuration: name it by --config".into()).into());
    }
    if args.from == 0 || args.to.is_some_and(|to| to < args.from) {
        let to = args.to.map_or(String::new(), |to| format!(" --to {to}"));
        let text = format!("--from {}{to}: heights begin at 1, and --to is not below --from", args.from);
        return Err(Failure::Usage(text).into());
    }
    let (dir, cache) = match &args.config {
        Some(file) => {
            let config = load(file, args.set.all())?.config;
            (config.node.data.clone(), cache_config(&config))
        }
        None => {
            let usual = CacheConfig::default();
            let cache = CacheConfig {
                memory_bytes: args.cache_memory.unwrap_or(usual.memory_bytes),
                disk_bytes: args.cache_disk.unwrap_or(usual.disk_bytes),
                ..usual
            };
            (args.session.clone().or_else(|| args.data.clone()).unwrap_or_default(), cache)
        }
    };
    let identity = args.expected.identify(&dir, args.output)?;
    check_end(args, &dir)?;
    args.expected.check_root_chain(&dir, None)?;
    let _pool = engine::pool::build(args.threads)?;
    let bar = spinner(std::io::stderr().is_terminal(), "{spinner} executes again: height {human_pos}, {per_sec}");
    let shown = bar.clone();
    // Whoever has a node's configuration runs the node.
    let origin = if args.own || args.config.is_some() { Origin::Own } else { Origin::Stranger };
    let reading = args.expected.reading(args.threads, origin);
    let history = History::open(&dir, reading, cache)?.watched(move |height| shown.set_position(height.0));
    if args.reindex {
        let coverage = reindex(&dir, &history);
        bar.finish_and_clear();
        let (from, to) = coverage?;
        say!("the index tells of heights {} to {}", thousands(from.0), thousands(to.0));
        return Ok(());
    }
    let mut answer = ask(&history, args);
    for _ in 0..LIVE_ATTEMPTS {
        // Bytes that were being written while they were read are not damaged the next time.
        let damaged = |error: &anyhow::Error| {
            matches!(error.downcast_ref::<storage::OpenError>(), Some(storage::OpenError::Damaged(_)))
        };
        if !answer.as_ref().is_err_and(damaged) || !storage::is_written(&dir) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
        answer = ask(&history, args);
    }
    bar.finish_and_clear();
    let (reader, answer) = answer?;
    print(args, &history, reader, &answer, &identity)?;
    if args.stats {
        stats(&history.cache().counts().report(), history.cache().has_disk());
    }
    Ok(())
}

/// Refuses heights that the session does not have.
fn check_end(args: &HistoryArgs, dir: &Path) -> anyhow::Result<()> {
    // Without `--from` the first height is meant, which a session that was just begun has not settled yet.
    let asked = [("--from", Some(args.from).filter(|from| *from > 1)), ("--to", args.to)];
    let asked = asked.into_iter().filter_map(|(what, height)| Some((what, Height(height?))));
    asked.into_iter().try_for_each(|(what, height)| check_reaches(dir, what, height))
}

/// Whose history it is, if it is a player's, and what happened.
fn ask(history: &History, args: &HistoryArgs) -> anyhow::Result<(Option<u32>, Answer)> {
    let (from, to, limit) = (Height(args.from), args.to.map(Height), args.limit as usize);
    let question = |subject, opened| Question { subject, from, to, limit, opened };
    if let Some(player) = &args.player {
        let (account, by_key) = account(history, player)?;
        let answer = history.answer(&question(Subject::Account(account), by_key))?;
        return Ok((Some(account.0), answer));
    }
    if let Some(table) = args.table {
        check_table(history.setup(), table)?;
        return Ok((None, history.answer(&question(Subject::Table(TableId(table)), false))?));
    }
    let (table, number) = args.roll.expect("the command line asks for one of three");
    Ok((None, history.roll(TableId(table), number)?))
}

fn check_table(setup: &Setup, table: u32) -> anyhow::Result<()> {
    let tables = setup.genesis.tables;
    if table < tables {
        return Ok(());
    }
    Err(Failure::Data(format!("there is no table {table}; tables are numbered 0 to {}", tables - 1)).into())
}

/// The account that is meant, and whether it was named by its key.
fn account(history: &History, player: &str) -> anyhow::Result<(AccountId, bool)> {
    if let Some(key) = unhex::<32>(player) {
        let found = history.at_end(|machine| machine.account_of(&key))?;
        return found.map(|id| (id, true)).ok_or_else(|| {
            let text = "no account has this key now; if it was freed since, give the account's number";
            Failure::Data(text.into()).into()
        });
    }
    let accounts = history.setup().genesis.accounts;
    match player.parse::<u32>() {
        Ok(id) if id < accounts => Ok((AccountId(id), false)),
        Ok(id) => {
            let text = format!("there is no account {id}; accounts are numbered 0 to {}", accounts - 1);
            Err(Failure::Data(text).into())
        }
        Err(_) => {
            let text = format!("--player {player}: give an account's number, or its public key as 64 hex digits");
            Err(Failure::Usage(text).into())
        }
    }
}

/// What programs get, in this order.
const COLUMNS: [&str; 21] = [
    "height", "time_ms", "event", "table", "roll", "dice", "total", "outcome", "point", "account", "seat", "bet",
    "number", "amount", "chips", "credit", "refusal", "to", "cage", "rail", "felt",
];

fn record(entry: &Entry, reader: Option<u32>, setup: &Setup) -> Map<String, Value> {
    let mut row: Map<String, Value> = COLUMNS.iter().map(|column| ((*column).to_owned(), Value::Null)).collect();
    let mut set = |column: &str, value: Value| row[column] = value;
    set("height", json!(entry.height.0));
    set("time_ms", json!(entry.time_ms));
    set("event", json!(event_name(&entry.event)));
    set("table", json!(entry.event.table()));
    set("account", json!(entry.event.account()));
    set("chips", json!(chips_of(&entry.event, reader, setup).map(|chips| i64::try_from(chips).unwrap_or(i64::MAX))));
    match &entry.event {
        Event::Intent(intent) => {
            use engine::message::intent::IntentKind as K;
            let kind = intent.kind();
            if matches!(kind, K::Bet | K::TakeDown | K::SetAmount | K::SetWorking) {
                set("bet", json!(BETS.get(usize::from(intent.bet)).map(|bet| bet.name)));
                set("number", json!((intent.box_number != 0).then_some(intent.box_number)));
            }
            if matches!(kind, K::Sit | K::Bet | K::SetAmount | K::Transfer) {
                set("amount", json!(intent.amount));
            }
            if kind == K::Transfer {
                set("to", json!(intent.target));
            }
            if let Some(engine::io::Verdict::Refused(refusal)) = intent.verdict() {
                set("refusal", json!(refusal.name()));
            }
        }
        Event::Pledge(pledge) => {
            set("roll", json!(pledge.roll));
            if let Some(engine::io::Verdict::Refused(refusal)) = pledge.verdict() {
                set("refusal", json!(refusal.name()));
            }
        }
        Event::Roll(roll) => {
            set("roll", json!(roll.number));
            if let Some(report) = roll.report() {
                set("dice", json!(report.dice.faces()));
                set("total", json!(report.dice.total()));
                set("outcome", json!(report.event.name()));
                set("point", json!((roll.puck != 0).then_some(roll.puck)));
            }
        }
        Event::Resolution(one) => {
            set("roll", json!(one.roll));
            set("seat", json!(one.seat));
            set("bet", json!(BETS[bet_of(engine::Spot(one.spot)).index()].name));
            set("number", json!(number_of(engine::Spot(one.spot))));
            set("amount", json!(one.wager));
            set("credit", json!(one.credit));
            if let engine::io::BetResult::Travel(to) = one.result() {
                set("to", json!(number_of(to)));
            }
        }
        Event::Leaving(leaving) => {
            let at_table = leaving.table != NO_TABLE;
            set("seat", json!(at_table.then_some(leaving.seat)));
            // What was forfeited went to nobody.
            set("credit", json!((leaving.absent < FORFEITED).then_some(leaving.returned)));
            set("amount", json!((at_table && leaving.freed == 1).then_some(leaving.left_with)));
        }
    }
    if let Some(balance) = entry.balance {
        set("cage", json!(balance.cage));
        if balance.table != NO_TABLE {
            set("rail", json!(balance.rail));
            set("felt", json!(balance.felt));
        }
    }
    row
}

fn print(
    args: &HistoryArgs,
    history: &History,
    reader: Option<u32>,
    answer: &Answer,
    identity: &Identity,
) -> anyhow::Result<()> {
    let setup = history.setup();
    let records = answer.entries.iter().map(|entry| record(entry, reader, setup));
    match args.output.format {
        RowsFormat::Table => people(history, reader, answer)?,
        RowsFormat::Json => {
            let tiers = history.cache().counts().report();
            let rows: Vec<Value> = records.map(Value::Object).collect();
            let older = answer.older.map(|height| height.0);
            let given_up = answer.given_up;
            let value =
                json!({ "account": reader, "rows": rows, "older": older, "given_up": given_up, "tiers": tiers });
            say!("{}", identified(value, identity));
        }
        RowsFormat::Ndjson => {
            let mut out = std::io::BufWriter::new(super::out::out());
            for record in records {
                writeln!(out, "{}", Value::Object(record))?;
            }
            out.flush()?;
        }
        RowsFormat::Csv => {
            let mut csv = csv::Writer::from_writer(super::out::out());
            csv.write_record(COLUMNS)?;
            for record in records {
                csv.write_record(record.values().map(cell))?;
            }
            csv.flush()?;
        }
    }
    Ok(())
}

/// A value in one cell: nothing for none, dice as `3-4`.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Array(faces) => faces.iter().map(Value::to_string).collect::<Vec<_>>().join("-"),
        other => other.to_string(),
    }
}

fn people(history: &History, reader: Option<u32>, answer: &Answer) -> std::io::Result<()> {
    if answer.entries.is_empty() {
        let given_up = if answer.given_up { "; what is older was given up (storage.bytes_max)" } else { "" };
        say!("nothing happened there in these heights{given_up}");
        return Ok(());
    }
    let setup = history.setup();
    let mut table = Table::new();
    table.load_style(NOTHING.header_separator(LineStyle::none().fill('─').junction('─')));
    table.set_header(["height", "time (UTC)", "table", "what happened", "chips", "rail", "cage"]);
    let mut last = None;
    for entry in &answer.entries {
        // What a height has in common stands once.
        let (height, time) = match last.replace(entry.height) {
            Some(height) if height == entry.height => (String::new(), String::new()),
            _ => (thousands(entry.height.0), clock(entry.time_ms)),
        };
        let place = entry.event.table().map_or(String::new(), |table| table.to_string());
        let chips = chips_of(&entry.event, reader, setup).map_or(String::new(), words::sentences::result_words);
        let rail = entry.balance.filter(|row| row.table != NO_TABLE).map_or(String::new(), |row| thousands(row.rail));
        let cage = entry.balance.map_or(String::new(), |row| thousands(row.cage));
        table.add_row([height, time, place, event_words(&entry.event, reader, setup), chips, rail, cage]);
    }
    for column in [0, 2, 4, 5, 6] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    super::out::fit_table(&mut table);
    say!("{table}");
    if answer.given_up {
        say!("What is older was given up by the journal (storage.bytes_max).");
    }
    if let Some(older) = answer.older {
        say!("What is older: the same with --to {}", older.0);
    }
    Ok(())
}

/// A moment of block time in UTC, to the second.
fn clock(time_ms: u64) -> String {
    let moment = i64::try_from(time_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    moment.map_or_else(|| time_ms.to_string(), |moment| moment.strftime("%F %T").to_string())
}

fn stats(tiers: &TierReport, disk: bool) {
    use super::out::remark;
    let (memory, both) = tiers.hits_per_mille();
    remark(format_args!(
        "pages: {} from memory, {} from disk, {} made again from {} heights; {}.{}% and with the disk {}.{}%",
        thousands(tiers.memory),
        thousands(tiers.disk),
        thousands(tiers.cold),
        thousands(tiers.heights),
        memory / 10,
        memory % 10,
        both / 10,
        both % 10
    ));
    if tiers.damaged > 0 {
        remark(format_args!("pages: {} on disk were damaged, and were made again", thousands(tiers.damaged)));
    }
    if !disk {
        remark(format_args!(
            "pages: another process has the chain's folder in the user's cache, or nothing may be written there: memory only"
        ));
    }
}
