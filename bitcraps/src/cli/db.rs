use std::path::{Path, PathBuf};

use anyhow::Context;
use bytesize::ByteSize;
use clap::{Args, Subcommand};
use engine::hex;
use indicatif::ProgressBar;
use serde_json::json;

use super::args::{Format, OutputArgs, RowsArgs, RowsFormat};
use super::bars::spinner;
use super::config::load;
use super::out::hanging;
use crate::db::{backup, compact};
use audit::db::{CheckReport, Severity, Stats, check, stats};
use net::settings::parse_size;
use node::config::Config;
use words::{Failure, counted, thousands};

#[derive(Subcommand, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps db stats sessions/0001 --bytes-max 20GB\n  bitcraps db check sessions/0001\n  bitcraps db backup sessions/0001 copies/monday\n  bitcraps db compact sessions/0001\n\nAll but compact work while a node writes the session."
)]
pub enum DbCommand {
    /// What a session holds: heights, files, bytes, and how long the disk lasts.
    Stats(StatsArgs),
    /// Read every byte of every file and name what is damaged or unknown.
    Check(CheckArgs),
    /// Give back what is free or dead; the node must be stopped.
    Compact(CompactArgs),
    /// Copy a session, also while a node writes it, and verify the copy.
    Backup(BackupArgs),
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps db stats sessions/0001\n  bitcraps db stats --config my-node/bitcraps.toml         with the bounds of that node\n  bitcraps db stats node/data --bytes-max 20GB --output json"
)]
pub struct StatsArgs {
    /// The session's directory. Without it, that of --config.
    #[arg(required_unless_present = "config", conflicts_with = "config")]
    session: Option<PathBuf>,
    /// A node's configuration: its session, what its journal may have, and what of the disk is to stay free. Without one, as much
    /// stays free as a node keeps where nobody says otherwise.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Project the days until the record reaches this size.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    bytes_max: Option<ByteSize>,
    #[command(flatten)]
    output: RowsArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps db check sessions/0001\n  bitcraps db check node/data --output ndjson\n\nExit codes: 0 whole, 4 damaged or with files that are no part of a session.\nDice, payouts and signatures are what `replay` checks."
)]
pub struct CheckArgs {
    /// The session's directory.
    session: PathBuf,
    #[command(flatten)]
    output: RowsArgs,
}

#[derive(Args, Debug)]
#[command(after_help = "Examples:\n  bitcraps db compact sessions/0001")]
pub struct CompactArgs {
    /// The session's directory.
    session: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps db backup sessions/0001 copies/monday\n  bitcraps replay copies/monday              the copy leads to the same root\n\nThe copy has no consensus log: it can be replayed, checked and exported. A validator that goes on with it among others votes on\nnothing at first; one of one to three may not sign with it."
)]
pub struct BackupArgs {
    /// The session's directory.
    session: PathBuf,
    /// The new directory for the copy.
    to: PathBuf,
    #[command(flatten)]
    output: OutputArgs,
}

/// Runs the command.
pub fn run(command: &DbCommand) -> anyhow::Result<()> {
    match command {
        DbCommand::Stats(args) => run_stats(args),
        DbCommand::Check(args) => run_check(args),
        DbCommand::Compact(args) => run_compact(args),
        DbCommand::Backup(args) => run_backup(args),
    }
}

fn clock(watched: bool) -> ProgressBar {
    let bar = spinner(watched, "{spinner} {elapsed} {wide_msg}");
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    bar
}

fn run_stats(args: &StatsArgs) -> anyhow::Result<()> {
    let config = match &args.config {
        Some(file) => load(file, &[])?.config,
        None => Config::default(),
    };
    let session = args.session.as_ref().unwrap_or(&config.node.data);
    let told = args.config.as_ref().and_then(|_| bound_of(&config));
    let stats = stats(session, args.bytes_max.map(|size| size.as_u64()).or(told), config.storage.min_free)?;
    match args.output.format {
        RowsFormat::Table => print_stats(session, &stats)?,
        RowsFormat::Csv => {
            let value = serde_json::to_value(&stats).context("stats are plain data")?;
            let fields = value.as_object().context("stats are fields")?;
            let mut csv = csv::Writer::from_writer(super::out::out());
            csv.write_record(fields.keys())?;
            csv.write_record(
                fields.values().map(|value| if value.is_null() { String::new() } else { value.to_string() }),
            )?;
            csv.flush()?;
        }
        _ => say!("{}", serde_json::to_string(&stats).context("stats are plain data")?),
    }
    Ok(())
}

/// The column in which values stand behind their names.
const VALUES: usize = 16;

/// What a copy is good for.
const NO_LOG: &str = "The copy has no consensus log: replay it, check it, export it. A validator that goes on with it among others \
                      votes on nothing at first; one of one to three may not sign with it.";

/// Up to how many bytes a node's journal may grow, if it has a bound.
pub fn bound_of(config: &Config) -> Option<u64> {
    Some(config.storage.bytes_max).filter(|bytes| *bytes > 0)
}

fn print_stats(session: &Path, stats: &Stats) -> std::io::Result<()> {
    let size = |bytes: u64| ByteSize(bytes).to_string();
    say!("{}{}", session.display(), if stats.live { " (a node is writing it)" } else { "" });
    let row = |row: String| hanging(&row, VALUES);
    row(format!(
        "  heights       {} to {}, settled up to {}",
        thousands(stats.first),
        thousands(stats.decided),
        thousands(stats.settled)
    ))?;
    let heads = if stats.heads > 0 { format!(", {}", counted(stats.heads, "head")) } else { String::new() };
    row(format!(
        "  journal       {} in {}{heads}, {}",
        size(stats.journal_bytes),
        counted(stats.segments, "segment"),
        counted(stats.frames, "frame")
    ))?;
    row(format!("  log           {}", size(stats.log_bytes)))?;
    match (stats.newest_snapshot, stats.newest_snapshot_age_ms) {
        (Some(height), Some(age)) => row(format!(
            "  snapshots     {} in {}: {}, {}; the newest at height {}, {:.1} s of play old",
            size(stats.snapshot_bytes),
            counted(stats.packs, "pack"),
            stats.snapshots,
            counted(stats.groups, "group"),
            thousands(height),
            age as f64 / 1_000.0
        ))?,
        _ => row("  snapshots     none".into())?,
    }
    row(format!("  cache         {}", size(stats.cache_bytes)))?;
    row(format!("  all           {} on the disk, {} free", size(stats.bytes), size(stats.free_bytes)))?;
    if let Some(rate) = stats.journal_bytes_per_day {
        // A young session would frighten: what is full is compressed a while later.
        let uncompressed = match stats.compressed {
            0 => "; none of it is compressed yet, which leaves about a tenth",
            _ => "",
        };
        row(format!("  growth        {} of journal a day of play{uncompressed}", size(rate as u64)))?;
    }
    projections(stats).into_iter().try_for_each(row)
}

/// When the limit is reached, and when the disk is full.
fn projections(stats: &Stats) -> Vec<String> {
    let size = |bytes: u64| ByteSize(bytes).to_string();
    let days = |days: f64| if days < 1.0 { format!("{:.1} hours", days * 24.0) } else { format!("{days:.1} days") };
    let limit = stats.bytes_max.zip(stats.days_to_bytes_max).map(|(most, left)| match stats.is_full_first() {
        true => format!("  limit         {}: the disk is full before that", size(most)),
        false => format!("  limit         {}: {} until the oldest bodies go", size(most), days(left)),
    });
    let kept = size(stats.min_free);
    let full = stats.days_to_full.map(|left| match stats.free_bytes < stats.min_free {
        true => format!("  disk full     now: a node leaves {kept} free"),
        // Where the limit is reached first, what the journal gives up makes room for what comes.
        false if stats.days_to_bytes_max.is_some() && !stats.is_full_first() => match stats.days_to_full_of_heads {
            Some(left) => format!("  disk full     in {} of heads; a node leaves {kept} free", days(left)),
            None => format!("  disk full     in {} if there were no limit; a node leaves {kept} free", days(left)),
        },
        false => format!("  disk full     in {}; a node leaves {kept} free", days(left)),
    });
    limit.into_iter().chain(full).collect()
}

fn run_check(args: &CheckArgs) -> anyhow::Result<()> {
    let bar = clock(args.output.is_watched());
    let report = check(&args.session, |what| bar.set_message(format!("reading {what}")));
    bar.finish_and_clear();
    let report = report?;
    match args.output.format {
        RowsFormat::Table => print_check(args, &report)?,
        RowsFormat::Json => say!("{}", serde_json::to_string(&report).context("a report is plain data")?),
        RowsFormat::Ndjson => {
            for finding in &report.findings {
                say!("{}", serde_json::to_string(finding).context("a finding is plain data")?);
            }
        }
        RowsFormat::Csv => {
            let mut csv = csv::Writer::from_writer(super::out::out());
            csv.write_record(["mark", "file", "offset", "problem"])?;
            for finding in &report.findings {
                let offset = finding.offset.map_or(String::new(), |offset| offset.to_string());
                csv.write_record([severity(finding.severity), &finding.file, &offset, &finding.problem])?;
            }
            csv.flush()?;
        }
    }
    let bad = report.findings.iter().filter(|finding| finding.severity != Severity::Note);
    match bad.clone().next() {
        None => Ok(()),
        Some(first) => {
            let at = first.offset.map_or(String::new(), |offset| format!(" at byte {offset}"));
            let text = format!("{} damaged or unknown; the first: {}{at}: {}", bad.count(), first.file, first.problem);
            Err(Failure::Data(text).into())
        }
    }
}

fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Note => "note",
        Severity::Unknown => "unknown",
        Severity::Damaged => "damaged",
    }
}

fn print_check(args: &CheckArgs, report: &CheckReport) -> std::io::Result<()> {
    say!("{}{}", args.session.display(), if report.live { " (a node is writing it)" } else { "" });
    say!("  read          {}, {}", counted(report.files, "file"), ByteSize(report.bytes));
    say!(
        "  journal       {}, decided up to height {}, settled up to {}",
        counted(report.frames, "frame"),
        thousands(report.decided),
        thousands(report.settled)
    );
    say!(
        "  log           {}",
        if report.log_entries == 1 { "1 entry".into() } else { format!("{} entries", thousands(report.log_entries)) }
    );
    say!("  snapshots     {}, {}", report.snapshots, counted(report.pack_records, "record"));
    for finding in &report.findings {
        let at = finding.offset.map_or(String::new(), |offset| format!(" at byte {offset}"));
        hanging(&format!("  {:<13} {}{at}: {}", severity(finding.severity), finding.file, finding.problem), VALUES)?;
    }
    if report.ok {
        say!("whole: every byte is what was written");
    }
    Ok(())
}

fn run_compact(args: &CompactArgs) -> anyhow::Result<()> {
    let bar = clock(args.output.is_watched());
    bar.set_message("compacting");
    let compacted = compact(&args.session);
    bar.finish_and_clear();
    let compacted = compacted?;
    match args.output.format {
        Format::Table => say!(
            "{}: {} before, {} after; {} kept",
            args.session.display(),
            ByteSize(compacted.before),
            ByteSize(compacted.after),
            counted(compacted.snapshots, "snapshot")
        ),
        _ => {
            say!("{}", json!({"before": compacted.before, "after": compacted.after, "snapshots": compacted.snapshots}))
        }
    }
    Ok(())
}

fn run_backup(args: &BackupArgs) -> anyhow::Result<()> {
    let bar = clock(args.output.is_watched());
    let copied = backup(&args.session, &args.to, |name| bar.set_message(format!("copying {name}")));
    bar.finish_and_clear();
    let copied = copied?;
    match args.output.format {
        Format::Table => {
            let to = args.to.display();
            say!(
                "{to}: up to height {}, {}, {}",
                thousands(copied.height.0),
                counted(copied.files, "file"),
                ByteSize(copied.bytes)
            );
            say!(
                "  verified      {}, {} of packs",
                counted(copied.frames, "frame"),
                counted(copied.pack_records, "record")
            );
            say!("  root          {}", hex(&copied.root));
            say!("  root chain    {}", hex(&copied.root_chain));
            hanging(NO_LOG, 0)?;
            say!("\nTry next:\n  {} replay {to}", super::phrases::program());
        }
        _ => say!(
            "{}",
            json!({
                "height": copied.height.0,
                "root": hex(&copied.root),
                "root_chain": hex(&copied.root_chain),
                "files": copied.files,
                "bytes": copied.bytes,
                "frames": copied.frames,
                "pack_records": copied.pack_records,
            })
        ),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is projected with so many mebibytes free, and so many days to the limit and to a full disk.
    fn stats(free: u64, limit: Option<f64>, full: f64) -> Stats {
        let bytes_max = limit.map(|_| 20 << 30);
        let (days_to_bytes_max, days_to_full) = (limit, Some(full));
        let (free_bytes, min_free) = (free << 20, 256 << 20);
        Stats { bytes_max, days_to_bytes_max, days_to_full, free_bytes, min_free, ..Stats::default() }
    }

    fn projected(free: u64, limit: Option<f64>, full: f64) -> String {
        projections(&stats(free, limit, full)).join("\n")
    }

    #[test]
    fn a_limit_beyond_the_room_is_not_said_to_save_the_disk() {
        assert_eq!(
            projected(319, Some(7.0), 0.025),
            "  limit         20.0 GiB: the disk is full before that\n  disk full     in 0.6 hours; a node leaves 256.0 MiB free"
        );
        let reached = projected(90_000, Some(7.0), 21.0);
        assert!(reached.contains("7.0 days until the oldest bodies go") && reached.contains("if there were no limit"));
        let heads = Stats { days_to_full_of_heads: Some(90.0), ..stats(90_000, Some(7.0), 21.0) };
        assert!(projections(&heads).join("\n").contains("disk full     in 90.0 days of heads; a node"));
        assert_eq!(projected(319, None, 1.5), "  disk full     in 1.5 days; a node leaves 256.0 MiB free");
        assert!(projected(100, None, 0.0).contains("now: a node leaves 256.0 MiB free"));
    }
}
