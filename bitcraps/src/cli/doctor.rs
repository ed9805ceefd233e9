//! `doctor`: whether this machine is one on which a node does well.

use std::path::PathBuf;

use audit::db::journal_bytes;
use clap::Args;
use node::config::Config;
use operate::doctor::{Finding, Grade, look};
use serde_json::json;

use super::args::{Format, OutputArgs};
use super::config::{SetArgs, check, load};
use super::out::hanging;
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
    rows(findings).iter().try_for_each(|(row, hang)| hanging(row, *hang))?;
    Ok(())
}

/// Each finding, and below it what to do: lines, and how far what does not fit is set in.
fn rows(findings: &[Finding]) -> Vec<(String, usize)> {
    let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or(0);
    let mut rows = Vec::new();
    for Finding { what, grade, found, advice } in findings {
        let grade = match grade {
            Grade::Ok => "ok",
            Grade::Note => "note",
            Grade::Wrong => "WRONG",
        };
        let begin = format!("{grade:<5}  {what:<width$}  ");
        rows.push((format!("{begin}{found}"), begin.len()));
        rows.extend(advice.iter().map(|advice| (format!("       -> {advice}"), "       -> ".len())));
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::super::out::hanging_to;
    use super::*;

    #[test]
    fn a_command_that_mends_something_is_in_one_piece_at_80_columns() {
        let command = "`sysctl -w net.core.rmem_max=1073741824 net.core.wmem_max=1073741824`";
        let finding = |what, found: &str, advice: Option<&str>| {
            let (found, advice) = (found.to_owned(), advice.map(str::to_owned));
            Finding { what, grade: Grade::Note, found, advice }
        };
        let findings = [
            finding("socket buffers", "8.0 MiB of 1.0 GiB", Some(command)),
            finding("memory of connections", &"as many words as do not fit ".repeat(9), None),
        ];
        let lines: Vec<String> = rows(&findings).iter().flat_map(|(row, hang)| hanging_to(row, 80, *hang)).collect();
        assert!(lines.iter().any(|line| line.contains(command)), "{lines:#?}");
        assert!(lines.iter().all(|line| line.len() <= 80), "{lines:#?}");
    }
}
