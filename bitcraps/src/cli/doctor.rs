//! `doctor`: whether this machine is one on which a node does well.

use std::path::PathBuf;

use audit::db::journal_bytes;
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use node::config::Config;
use operate::doctor::{Finding, Grade, look};
use serde_json::json;

use super::args::{Format, OutputArgs};
use super::config::{SetArgs, check, load};
use super::out::fit_table;
use words::Failure;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps doctor                                       for a node as `init` makes it\n  bitcraps doctor --config my-node/bitcraps.toml        for this one, which may run meanwhile\n\nIt changes nothing but a file beside the session, which it writes, syncs and removes again. Exit code 3 if something is wrong."
)]
pub struct DoctorArgs {
    /// The configuration; without one, a node that has its defaults, in this folder.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let config = match &args.config {
        Some(file) => {
            let layered = load(file, args.set.all())?;
            check(&layered)?;
            layered.config
        }
        None => Config::default(),
    };
    let data = &config.node.data;
    let findings = look(&config, storage::is_written(data), journal_bytes(data).unwrap_or(0));
    let wrong: Vec<&str> =
        findings.iter().filter(|finding| finding.grade == Grade::Wrong).map(|finding| finding.what).collect();
    match args.output.format {
        Format::Table => print(&findings)?,
        Format::Json => say!("{:#}", json!({ "wrong": wrong.len(), "findings": findings })),
        Format::Ndjson => {
            for finding in &findings {
                say!("{}", json!(finding));
            }
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(Failure::Config(format!("wrong: {}", wrong.join(", "))).into()),
    }
}

fn print(findings: &[Finding]) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(NOTHING);
    for Finding { what, grade, found, advice } in findings {
        let grade = match grade {
            Grade::Ok => "ok",
            Grade::Note => "note",
            Grade::Wrong => "WRONG",
        };
        let advice = advice.as_ref().map_or_else(String::new, |advice| format!("-> {advice}"));
        table.add_row([grade, what, found, &advice]);
    }
    fit_table(&mut table);
    say!("{}", table.to_string().trim_end());
    Ok(())
}
