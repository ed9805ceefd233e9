use std::path::PathBuf;

use clap::Args;
use engine::{Height, hex};
use serde_json::json;

use super::args::{OutputArgs, workers_in_range};
use super::bars::spinner;
use super::phrases::program;
use super::session::{SessionArgs, identified};
use audit::bisect::{BisectConfig, Bisected, locate};
use audit::reading::Origin;
use audit::replay::{Outcome, ReplayConfig, replay};
use words::{Failure, thousands};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps replay sessions/0001              check everything\n  bitcraps replay sessions/0001 --from 500 --to 600\n  bitcraps replay sessions/0001 --output json\n  bitcraps replay theirs --chain HEX --root-chain HEX     only if it is the session that was meant\n\nExit codes: 4 if the session is damaged or none, 5 if it differs from its replay."
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
    expected: SessionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub fn run(args: &ReplayArgs) -> anyhow::Result<()> {
    if args.from == 0 || args.to.is_some_and(|to| to < args.from) {
        let to = args.to.map_or(String::new(), |to| format!(" --to {to}"));
        let text = format!("--from {}{to}: heights begin at 1, and --to is not below --from", args.from);
        return Err(Failure::Usage(text).into());
    }
    let reading = args.expected.reading(args.threads, Origin::Stranger);
    let config = ReplayConfig { from: Height(args.from), to: args.to.map(Height), reading, verify: !args.execute_only };
    let _pool = engine::pool::build(args.threads)?;
    let people = args.output.is_for_people();
    let identity = args.expected.identify(&args.session, args.output)?;
    let bar = spinner(args.output.is_watched(), "{spinner} height {human_pos}, {per_sec}");
    let outcome = replay(&args.session, &config, |height| bar.set_position(height.0));
    bar.finish_and_clear();
    let mut outcome = outcome?;
    let located = locate_row(args, &mut outcome)?;
    if people {
        print(args, &outcome)?;
        located.notes.iter().try_for_each(|note| super::out::line(format_args!("  {note}")))?;
        located.images.iter().try_for_each(|path| super::out::line(format_args!("  image  {}", path.display())))?;
    } else {
        say!("{}", identified(as_json(&outcome, &located), &identity))
    }
    match outcome.difference {
        None => args.expected.check_root_chain(&args.session, args.to.map(Height)),
        Some(difference) => Err(Failure::Mismatch(difference.to_string()).into()),
    }
}

/// Where a root differs, the row behind it, if it can be known, takes its place.
fn locate_row(args: &ReplayArgs, outcome: &mut Outcome) -> anyhow::Result<Bisected> {
    let mut located = Bisected::default();
    if let Some(difference) = &mut outcome.difference {
        let reading = args.expected.reading(args.threads, Origin::Stranger);
        let config = BisectConfig { reading, images: args.images.clone() };
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
        "heights": outcome.heights,
        "height": outcome.height.0,
        "base": outcome.base.0,
        "headers_only_to": outcome.base.0,
        "verified_from": outcome.verified_from.map(|height| height.0),
        "session_height": outcome.end.0,
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

/// What is known of the heights before the first that was verified.
fn before(outcome: &Outcome) -> String {
    match (outcome.base, outcome.verified_from) {
        (base, Some(from)) if base > Height::GENESIS && from > base.next() => {
            format!("before it only headers up to {}, and execution", thousands(base.0))
        }
        (base, _) if base > Height::GENESIS => "before it only headers".into(),
        _ => "before it only execution".into(),
    }
}

fn print(args: &ReplayArgs, outcome: &Outcome) -> std::io::Result<()> {
    let counts = &outcome.counts;
    let times = (outcome.played_ms as f64 / 1_000.0) / outcome.seconds.max(1e-9);
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
    if let Some(from) = outcome.verified_from.filter(|from| *from > Height(1)) {
        say!("  verified from height {}; {}", thousands(from.0), before(outcome));
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
    if outcome.height < outcome.end {
        say!("  not read      heights {} to {}", thousands(outcome.height.0 + 1), thousands(outcome.end.0));
    }
    if outcome.difference.is_none() {
        say!("same root at height {}", thousands(outcome.height.0));
        say!("\nTry next:\n  {} export {} --image state.img", program(), args.session.display());
    }
    Ok(())
}
