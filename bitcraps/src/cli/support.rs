//! `support`: what whoever helps an operator needs to see, in one file, and no secret in it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Context;
use aside::Readers;
use audit::db::{check, journal_bytes, refuse_inside, session_files, stats};
use bytesize::ByteSize;
use clap::Args;
use engine::limits::SUPPORT_LOG_BYTES_MAX;
use node::config::Config;
use node::layers::Layered;
use operate::ask::get;
use operate::doctor::look;
use serde_json::{Value, json};

use super::args::OutputArgs;
use super::config::{SetArgs, load};
use super::db::bound_of;
use words::Failure;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps support --config my-node/bitcraps.toml\n  journalctl -u bitcraps -n 20000 > node.log && bitcraps support --config my-node/bitcraps.toml --log node.log\n  tar --zstd -tf bitcraps-support.tar.zst                what is in it\n\nThe node may run meanwhile. No key, passphrase, webhook, command or address of a letter is packed. A log has addresses of\nplayers and other nodes: it is packed only where --log names it."
)]
pub struct SupportArgs {
    /// The node's configuration.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// A log whose end is packed too; may be repeated.
    #[arg(long, value_name = "FILE")]
    log: Vec<PathBuf>,
    /// Read every byte of the session too, as `db check` does, and pack what was found. This can take minutes.
    #[arg(long)]
    check: bool,
    /// The new file.
    #[arg(long, value_name = "FILE", default_value = "bitcraps-support.tar.zst")]
    to: PathBuf,
    #[command(flatten)]
    set: SetArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What is packed, by name.
type Parts = BTreeMap<String, Vec<u8>>;

/// Runs the command.
pub fn run(args: &SupportArgs) -> anyhow::Result<()> {
    let layered = load(&args.config, args.set.all())?;
    refuse_inside(&layered.config.node.data, &args.to)?;
    let mut parts = Parts::new();
    parts.insert("README".into(), README.into());
    parts.insert("versions.json".into(), text(&versions()));
    parts.insert("config.txt".into(), configuration(&layered).into_bytes());
    let running = storage::is_written(&layered.config.node.data);
    parts.insert(
        "doctor.json".into(),
        text(&json!(look(&layered.config, running, journal_bytes(&layered.config.node.data).unwrap_or(0)))),
    );
    ask_node(&layered.config, &mut parts);
    take_stock(&layered.config, args.check, &mut parts);
    for log in &args.log {
        let name = format!("logs/{}", log.file_name().unwrap_or_default().to_string_lossy());
        let end = end_of(log).with_context(|| log.display().to_string())?;
        if parts.insert(name.clone(), end).is_some() {
            return Err(
                Failure::Usage(format!("two logs would be {name} in the archive: name one of them otherwise")).into()
            );
        }
    }
    let bytes = pack(&parts).context("an archive in memory")?;
    let failed = |error| Failure::Data(format!("{}: {error}", args.to.display()));
    aside::write_new(&args.to, &bytes, Readers::Owner).map_err(failed)?;
    let names: Vec<&String> = parts.keys().collect();
    if args.output.is_for_people() {
        say!("{}: {}", args.to.display(), ByteSize(bytes.len() as u64));
        for name in names {
            say!("  {name}");
        }
        say!("Look through it before you give it to anybody.");
    } else {
        say!("{}", json!({ "archive": args.to.display().to_string(), "bytes": bytes.len(), "parts": names }));
    }
    Ok(())
}

const README: &str = "\
What `bitcraps support` packed, for whoever helps an operator.

versions.json   the program, the system, the processors
config.txt      every key of the configuration with its value and where that is from; what may hold a secret is left out
doctor.json     what `bitcraps doctor` finds on this machine
node/           what the running node says of itself: metrics, health, alerts, the last ten minutes
session/        what the session holds: `db stats`, its files; with --check what `db check` found
logs/           the ends of the logs that were named

What could not be had is a file with the reason. There is no key, passphrase, webhook, command or address of a letter in it.
";

fn text(value: &Value) -> Vec<u8> {
    format!("{value:#}\n").into_bytes()
}

/// The program and what it runs on.
fn versions() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).ok();
    json!({
        "bitcraps": env!("CARGO_PKG_VERSION"),
        "built_with_checks": cfg!(debug_assertions),
        "architecture": std::env::consts::ARCH,
        "system": std::env::consts::OS,
        "kernel": read("/proc/version"),
        "release": read("/etc/os-release"),
        "processors": std::thread::available_parallelism().map_or(0, usize::from),
        "groups": read("/proc/self/cgroup"),
    })
}

/// Every key with its value and its origin, a line each.
fn configuration(layered: &Layered) -> String {
    let mut lines = String::new();
    for (key, value, origin) in layered.rows_without_secrets() {
        lines.push_str(&format!("{:<60} # {origin}\n", format!("{key} = {value}")));
    }
    lines
}

/// What the running node says; or why it says nothing.
fn ask_node(config: &Config, parts: &mut Parts) {
    let Some(address) = config.monitoring.listen.address() else {
        parts.insert("node/unknown.txt".into(), b"monitoring.listen is off: nobody can ask the node\n".to_vec());
        return;
    };
    for (path, name) in [
        ("/metrics", "metrics.txt"),
        ("/healthz", "health.json"),
        ("/api/now", "now.json"),
        ("/api/history", "history.json"),
    ] {
        let said = get(address, path).unwrap_or_else(|problem| format!("{path} of {address}: {problem}\n"));
        parts.insert(format!("node/{name}"), said.into_bytes());
    }
}

/// What the session holds.
fn take_stock(config: &Config, checked: bool, parts: &mut Parts) {
    let data = &config.node.data;
    let told = |result: anyhow::Result<Value>| match result {
        Ok(value) => text(&value),
        Err(problem) => format!("{problem:#}\n").into_bytes(),
    };
    let stock = stats(data, bound_of(config), config.storage.min_free);
    parts.insert("session/stats.json".into(), told(stock.map(|stats| json!(stats))));
    let files = session_files(data).map(|files| {
        let rows = files.iter().map(|file| json!({ "name": file.name, "bytes": file.bytes, "on_disk": file.on_disk }));
        rows.collect::<Value>()
    });
    parts.insert("session/files.json".into(), told(files));
    if checked {
        parts.insert("session/check.json".into(), told(check(data, |_| ()).map(|report| json!(report))));
    }
}

/// The end of a log, from the beginning of a line on.
fn end_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let left_out = file.metadata()?.len().saturating_sub(SUPPORT_LOG_BYTES_MAX);
    file.seek(SeekFrom::Start(left_out))?;
    let mut bytes = Vec::new();
    file.take(SUPPORT_LOG_BYTES_MAX).read_to_end(&mut bytes)?;
    if left_out > 0 {
        let line = bytes.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        bytes.drain(..line);
    }
    Ok(bytes)
}

/// All parts in one file: tar, compressed by Zstandard.
fn pack(parts: &Parts) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, bytes) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o600);
        archive.append_data(&mut header, format!("bitcraps-support/{name}"), &bytes[..])?;
    }
    zstd::bulk::compress(&archive.into_inner()?, 3)
}
