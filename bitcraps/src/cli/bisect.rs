use std::path::PathBuf;

use anyhow::Context;
use clap::Args;

use super::args::{OutputArgs, workers_in_range};
use super::bars::spinner;
use super::session::{SessionArgs, identified};
use audit::bisect::{BisectConfig, Bisected, bisect, bisect_replay};
use audit::db::refuse_inside;
use audit::reading::Origin;
use words::{Failure, thousands};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps bisect sessions/0001 sessions/0002     two sessions of one genesis\n  bitcraps bisect sessions/0001                   a session and its own replay\n  bitcraps bisect a b --images images --output json\n\nNames the first height, component, row and field, with both values. Signatures are what `replay` checks.\nExit codes: 0 nothing differs, 4 a session is damaged or none, or both share no height, 5 something differs."
)]
pub struct BisectArgs {
    /// A session's directory.
    a: PathBuf,
    /// Another one; without it, the first is compared with its own replay.
    b: Option<PathBuf>,
    /// Write the images of both states into this new directory.
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// Workers; they change nothing but speed.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, std::num::NonZero::get), value_name = "N", value_parser = workers_in_range)]
    threads: usize,
    #[command(flatten)]
    expected: SessionArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub fn run(args: &BisectArgs) -> anyhow::Result<()> {
    if let Some(images) = &args.images {
        std::iter::once(&args.a).chain(&args.b).try_for_each(|session| refuse_inside(session, images))?;
    }
    let _pool = engine::pool::build(args.threads)?;
    let people = args.output.is_for_people();
    let bar = spinner(args.output.is_watched(), "{spinner} height {human_pos}, {per_sec}");
    let reading = args.expected.reading(args.threads, Origin::Stranger);
    let config = BisectConfig { reading, images: args.images.clone() };
    let identity = args.expected.identify(&args.a, args.output)?;
    args.expected.check_root_chain(&args.a, None)?;
    if let Some(b) = &args.b {
        SessionArgs::describe(b, args.output)?;
    }
    let on_height = |height: engine::Height| bar.set_position(height.0);
    let result = match &args.b {
        Some(b) => bisect(&args.a, b, &config, on_height),
        None => bisect_replay(&args.a, &config, on_height),
    };
    bar.finish_and_clear();
    let result = result?;
    if people {
        print(args, &result)?;
    } else {
        let value = serde_json::to_value(&result).context("a result is plain data")?;
        say!("{}", identified(value, &identity));
    }
    match &result.first_difference {
        None => Ok(()),
        Some(difference) if are_two_chains(&result) => {
            Err(Failure::Mismatch(format!("two chains: their genesis files differ, first in `{}`", difference.field))
                .into())
        }
        Some(difference) => Err(Failure::Mismatch(difference.to_string()).into()),
    }
}

/// Whether what was compared are two chains: then nothing but their genesis files was.
fn are_two_chains(result: &Bisected) -> bool {
    result.first_difference.as_ref().is_some_and(|found| found.component == "Genesis")
}

fn print(args: &BisectArgs, result: &Bisected) -> std::io::Result<()> {
    let (a, agree) = (args.a.display(), thousands(result.agree));
    match &args.b {
        Some(b) if are_two_chains(result) => say!("{a} and {}: two chains, which have nothing in common", b.display()),
        None => say!("{a} and its replay: the same up to height {agree}"),
        Some(b) => say!("{a} and {}: the same up to height {agree}", b.display()),
    }
    if result.ok {
        match result.heights {
            // What one of them does not have cannot differ.
            [one, other] if one != other => {
                say!("one ends at height {}, the other at {}", thousands(one), thousands(other));
                say!("nothing differs up to height {agree}");
            }
            _ => say!("nothing differs"),
        }
        return Ok(());
    }
    if let Some(cause) = &result.cause {
        say!("  in the record  {cause}");
    }
    // Where the states cannot be told apart, the first difference is the one in the record.
    let first = result.first_difference.as_ref().filter(|first| Some(*first) != result.cause.as_ref());
    for difference in first.into_iter().chain(&result.others) {
        say!("  in the {}   {difference}", if are_two_chains(result) { "genesis" } else { "state  " });
    }
    for note in &result.notes {
        say!("  {note}");
    }
    for image in &result.images {
        say!("  image          {}", image.display());
    }
    Ok(())
}
