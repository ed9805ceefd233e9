use std::io::IsTerminal;
use std::path::PathBuf;

use clap::Args;
use engine::{Height, hex};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::args::OutputArgs;
use super::dev::workers_in_range;
use super::{Failure, program, thousands};
use audit::bisect::{BisectConfig, Bisected, locate};
use audit::replay::{Outcome, ReplayConfig, replay};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps replay sessions/0001              check everything\n  bitcraps replay sessions/0001 --from 500 --to 600\n  bitcraps replay sessions/0001 --output json\n\nExit codes: 4 if the session is damaged or none, 5 if it differs from its replay."
)]
pub struct ReplayArgs {
    /// The session's directory.
    session: PathBuf,
    /// Verify signatures, certificates and beacons from this height on; all heights are executed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Stop after this height.
    #[arg(long)]
    to: Option<u64>,
    /// Workers; they change nothing but speed.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, std::num::NonZero::get), value_name = "N", value_parser = workers_in_range)]
    threads: usize,
    /// Execute only: do not verify signatures, certificates and beacons.
    #[arg(long)]
    execute_only: bool,
    /// Where a root differs, write the images of both states into this new directory, if a snapshot has the other one.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    let to = args.to.unwrap_or(u64::MAX);
    if args.from == 0 || to < args.from {
        return Err(Failure::Usage(format!(
            "--from {} --to {to}: heights begin at 1, and --to is not below --from",
            args.from
        ))
        .into());
    }
    let config =
        ReplayConfig { from: Height(args.from), to: Height(to), threads: args.threads, verify: !args.execute_only };
    let _pool = engine::pool::build(args.threads)?;
    let people = args.output.is_for_people();
    let bar =
        if people && std::io::stderr().is_terminal() { ProgressBar::new_spinner() } else { ProgressBar::hidden() };
    bar.set_style(ProgressStyle::with_template("{spinner} height {human_pos}, {per_sec}").expect("a fixed template"));
    let outcome = replay(&args.session, &config, |height| bar.set_position(height.0));
    bar.finish_and_clear();
    let mut outcome = outcome?;
    let located = locate_row(args, &mut outcome)?;
    if people {
        print(args, &outcome)?;
        located.notes.iter().try_for_each(|note| super::out::line(format_args!("  {note}")))?;
        located.images.iter().try_for_each(|path| super::out::line(format_args!("  image  {}", path.display())))?;
    } else {
        say!("{}", as_json(&outcome, &located))
    }
    match outcome.difference {
        None => Ok(()),
        Some(difference) => Err(Failure::Mismatch(difference.to_string()).into()),
    }
}

/// Where a root differs, the row behind it, if it can be known, takes its place.
fn locate_row(args: &ReplayArgs, outcome: &mut Outcome) -> anyhow::Result<Bisected> {
    let mut located = Bisected::default();
    if let Some(difference) = &mut outcome.difference {
        let config = BisectConfig { threads: args.threads, images: args.images.clone() };
        locate(&args.session, difference, &config, &mut located)?;
        if let Some(first) = &located.first_difference {
            *difference = first.clone();
        }
    }
    Ok(located)
}

fn as_json(outcome: &Outcome, located: &Bisected) -> serde_json::Value {
    let mut value = json!({
        "ok": outcome.difference.is_none(),
        "keys": outcome.keys.name(),
        "heights": outcome.heights,
        "height": outcome.height.0,
        "base": outcome.base.0,
        "root": hex(&outcome.root),
        "root_chain": hex(&outcome.root_chain),
        "seconds": outcome.seconds,
        "signatures": outcome.signatures,
        "beacons": outcome.beacons,
        "rolls": outcome.counts.rolls,
        "bets_resolved": outcome.counts.bets_resolved,
        "unsettled": outcome.unsettled,
    });
    if let Some(difference) = &outcome.difference {
        value["first_difference"] = json!(difference);
        value["cause"] = json!(located.cause);
        value["notes"] = json!(located.notes);
        value["images"] = json!(located.images);
    }
    value
}

fn print(args: &ReplayArgs, outcome: &Outcome) -> std::io::Result<()> {
    let counts = &outcome.counts;
    let times = (outcome.played_ms as f64 / 1_000.0) / outcome.seconds.max(1e-9);
    say!("{}", args.session.display());
    say!("  heights       {} in {:.2} s, {times:.0} times real time", thousands(outcome.heights), outcome.seconds);
    if outcome.base > Height::GENESIS {
        let base = thousands(outcome.base.0);
        say!("  begins at     the snapshot of height {base}: what came before was given up (storage.bytes_max)");
    }
    if args.execute_only {
        say!("  verified      nothing: --execute-only");
    } else {
        say!("  verified      {} signatures, {} beacons", thousands(outcome.signatures), thousands(outcome.beacons));
    }
    say!(
        "  executed      {} rolls, {} bets decided, {} intents",
        thousands(counts.rolls),
        thousands(counts.bets_resolved),
        thousands(counts.applied + counts.refused)
    );
    if outcome.unsettled > 0 {
        say!("  at the end    {} decided, not yet settled", thousands(outcome.unsettled));
    }
    if let Some(torn) = &outcome.torn {
        say!("  torn tail     {torn}");
    }
    say!("  root          {}", hex(&outcome.root));
    say!("  root chain    {}", hex(&outcome.root_chain));
    if let Some(warning) = outcome.keys.warning() {
        say!("  keys          {warning}");
    }
    if outcome.difference.is_none() {
        say!("same root at height {}", thousands(outcome.height.0));
        say!("\nTry next:\n  {} export {} --image state.img", program(), args.session.display());
    }
    Ok(())
}
