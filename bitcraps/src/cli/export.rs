use std::path::PathBuf;

use clap::Args;
use engine::{Height, hex};
use serde_json::json;

use super::args::{OutputArgs, workers_in_range};
use super::bars::spinner;
use super::session::{SessionArgs, identified};
use audit::export::{ExportConfig, Exported, export};
use audit::reading::Origin;
use words::{Failure, counted, thousands};

#[derive(Args, Debug)]
#[command(
    group = clap::ArgGroup::new("what").required(true).multiple(true),
    after_help = "Examples:\n  bitcraps export sessions/0001 --csv rows                rolls, bets, actions, payouts, departures, balances\n  bitcraps export sessions/0001 --parquet rows --height 5000\n  bitcraps export sessions/0001 --image state.img         `b3sum state.img` prints the root\n  bitcraps export my-node/session --evidence found.jsonl  validators that signed two things of which only one may be\n\nAmounts are in chips, times moments in UTC: RFC 3339 in CSV, timestamps in Parquet. A session that a node is writing can be exported."
)]
pub struct ExportArgs {
    /// The session's directory.
    session: PathBuf,
    /// Write rows as CSV files into this new directory.
    #[arg(long, value_name = "DIR", group = "what")]
    csv: Option<PathBuf>,
    /// Write rows as Parquet files into this new directory.
    #[arg(long, value_name = "DIR", group = "what")]
    parquet: Option<PathBuf>,
    /// Write the image of all replicated columns to this new file.
    #[arg(long, value_name = "FILE", group = "what")]
    image: Option<PathBuf>,
    /// Write what validators signed of which only one may be into this new file, a line of JSON each, both signatures verified.
    #[arg(long, value_name = "FILE", group = "what")]
    evidence: Option<PathBuf>,
    /// Up to and after this height; without it, the last.
    #[arg(long)]
    height: Option<u64>,
    /// Workers; they change nothing but speed.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = workers_in_range)]
    threads: usize,
    #[command(flatten)]
    expected: SessionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    if args.height == Some(0) {
        return Err(Failure::Usage("--height 0: heights begin at 1".into()).into());
    }
    check_places(args)?;
    let _pool = engine::pool::build(args.threads)?;
    let config = ExportConfig {
        csv: args.csv.clone(),
        parquet: args.parquet.clone(),
        image: args.image.clone(),
        evidence: args.evidence.clone(),
        height: args.height.map(Height),
        reading: args.expected.reading(args.threads, Origin::Stranger),
    };
    let people = args.output.is_for_people();
    let identity = args.expected.identify(&args.session, args.output)?;
    args.expected.check_root_chain(&args.session, args.height.map(Height))?;
    let bar = spinner(args.output.is_watched(), "{spinner} height {human_pos}, {per_sec}");
    let exported = export(&args.session, &config, |height| bar.set_position(height.0));
    bar.finish_and_clear();
    let exported = exported?;
    if people {
        print(args, &exported)?
    } else {
        say!("{}", identified(as_json(&exported), &identity))
    }
    Ok(())
}

/// Refuses one place for two things: whichever comes second would find that somebody writes there.
fn check_places(args: &ExportArgs) -> Result<(), Failure> {
    let named =
        [("--csv", &args.csv), ("--parquet", &args.parquet), ("--image", &args.image), ("--evidence", &args.evidence)];
    let mut taken: Vec<(&str, PathBuf)> = Vec::new();
    for (what, path) in named.into_iter().filter_map(|(what, path)| Some((what, path.as_ref()?))) {
        // A path that cannot be made absolute is told when it is written to.
        let place = std::path::absolute(path).unwrap_or_else(|_| path.clone());
        if let Some((other, _)) = taken.iter().find(|(_, there)| *there == place) {
            let text = format!("{other} and {what} both name {}: give each a place of its own", path.display());
            return Err(Failure::Usage(text));
        }
        taken.push((what, place));
    }
    Ok(())
}

fn as_json(exported: &Exported) -> serde_json::Value {
    let mut value = json!({
        "height": exported.height.0,
        "root": hex(&exported.root),
        "verified_from": exported.executed_from.0,
    });
    if let Some(bytes) = exported.image_bytes {
        value["bytes"] = bytes.into();
    }
    if let Some(count) = exported.evidence {
        value["evidence"] = count.into();
    }
    if !exported.rows.is_empty() {
        value["rows"] = exported.rows.iter().map(|(name, count)| (name.to_string(), json!(count))).collect();
    }
    value["files"] = exported.files.iter().map(|path| path.display().to_string()).collect();
    value
}

fn print(args: &ExportArgs, exported: &Exported) -> std::io::Result<()> {
    let height = thousands(exported.height.0);
    if !exported.rows.is_empty() {
        let places = [&args.csv, &args.parquet].into_iter().flatten();
        let places: Vec<String> = places.map(|path| path.display().to_string()).collect();
        say!("{}: up to height {height}", places.join(", "));
        for (name, count) in &exported.rows {
            say!("  {name:<12}  {}", counted(*count, "row"));
        }
    }
    if let (Some(bytes), Some(path)) = (exported.image_bytes, &args.image) {
        let path = path.display();
        say!("{path}: the state after height {height}, {} bytes", thousands(bytes));
        say!("`b3sum {path}` prints the root:");
    }
    if let (Some(count), Some(path)) = (exported.evidence, &args.evidence) {
        let times = if count == 1 { "time" } else { "times" };
        say!("{}: {} {times} a validator signed two things of which only one may be", path.display(), thousands(count));
    }
    say!("  root  {}", hex(&exported.root));
    if exported.executed_from > Height(1) {
        let from = thousands(exported.executed_from.0);
        say!("  verified from height {from}; before it only headers, and the snapshot that they name");
    }
    Ok(())
}
