use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use engine::{Height, hex};
use serde_json::json;

use super::dev::workers_in_range;
use super::{Failure, Format, thousands};
use crate::walker::state_at;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps export sessions/0001 --image state.img\n  bitcraps export sessions/0001 --image state.img --height 100\n\n`b3sum state.img` prints the root."
)]
pub struct ExportArgs {
    /// The session's directory.
    session: PathBuf,
    /// Write the image of all replicated columns to this file.
    #[arg(long, value_name = "FILE")]
    image: PathBuf,
    /// The state after this height; without it, after the last.
    #[arg(long)]
    height: Option<u64>,
    /// Workers; they change nothing but speed.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = workers_in_range)]
    threads: usize,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Runs the command.
pub fn run(args: &ExportArgs) -> anyhow::Result<()> {
    if args.output == Format::Csv {
        return Err(Failure::Usage("export prints table, json or ndjson".into()).into());
    }
    let _pool = engine::pool::build(args.threads)?;
    let (mut machine, root) = state_at(&args.session, args.height.map(Height), args.threads)?;
    let path = args.image.display();
    let file = File::create_new(&args.image)
        .map_err(|error| Failure::Data(format!("{path}: {error}; nothing is overwritten")))?;
    let mut writer = BufWriter::new(file);
    let mut bytes = 0;
    machine
        .export(|part| {
            bytes += part.len() as u64;
            writer.write_all(part)
        })
        .and_then(|()| writer.flush())
        .with_context(|| format!("{path}"))?;
    let height = machine.chain().settled;
    match args.output {
        Format::Table => {
            say!("{path}: the state after height {}, {} bytes", thousands(height.0), thousands(bytes));
            say!("  root  {}", hex(&root));
            say!("`b3sum {path}` prints the same.");
        }
        _ => say!("{}", json!({"height": height.0, "root": hex(&root), "bytes": bytes})),
    }
    Ok(())
}
