//! `node`: an operator's node, from its configuration.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytesize::ByteSize;
use clap::{Args, Subcommand};
use engine::limits::GENESIS_BYTES_MAX;
use engine::{Height, hex};
use indicatif::{ProgressBar, ProgressStyle};
use net::server::{Counters, StartError};
use serde_json::json;
use storage::Session;
use storage::backend::{Backend, FileBackend};
use systems::Setup;

use super::args::OutputArgs;
use super::{Failure, Opening, disk_full, stop_signals, thousands, with_counts};
use node::clock::Time;
use node::config::Config;
use node::init::{OpenedKeys, open_keys};
use node::network::listen;
use node::open::{self, Keys, Options};
use node::recording::Driving;
use node::run::Node;
use node::snapshots::SnapshotPace;
use node::totals::Totals;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps node --config my-node/bitcraps.toml\n  BITCRAPS_PASSPHRASE_FILE=secret bitcraps node --config my-node/bitcraps.toml --output ndjson\n\n--output json or ndjson: one object once it listens and one at its end, for programs.\nCtrl-C or SIGTERM ends it cleanly: what it acknowledged gets its receipts first."
)]
pub struct NodeArgs {
    /// The configuration; `bitcraps init` makes one.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Sign from this height on although the consensus log is lost or older than the journal. Only where nothing was ever
    /// signed at or above it: a validator that contradicts itself is proven to have done so.
    #[arg(long, value_name = "HEIGHT", requires = "i_accept")]
    sign_from: Option<u64>,
    /// I answer for what this validator signed before.
    #[arg(long, requires = "sign_from")]
    i_accept: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Looks at a configuration.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Say whether a node starts with a configuration: its values, keys, genesis and address. Asks for the passphrase.
    Check {
        /// The file.
        file: PathBuf,
    },
    /// Print a configuration in full, defaults included, as a file that works wherever it is put.
    Show {
        /// The file.
        file: PathBuf,
    },
}

/// Runs `config`.
pub fn config(command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file } => {
            let config = Config::load(file)?;
            prepare(&config)?;
            let running = storage::is_written(&config.node.data);
            if !running {
                drop(Session::open(&config.node.data)?);
                let listen = config.net.listen;
                net::transport::bind(listen, config.net.socket_buffer_bytes as usize)
                    .map_err(|error| StartError::Bind { address: listen, error })?;
            }
            say!("{}: good{}", file.display(), if running { "; a node runs with its session now" } else { "" });
        }
        ConfigCommand::Show { file } => {
            let config = Config::load(file)?.absolute().with_context(|| file.display().to_string())?;
            say!("{}", config.text().trim_end());
        }
    }
    Ok(())
}

/// What a node needs before it touches its session: keys that are the genesis' own, and a genesis that clients take.
fn prepare(config: &Config) -> anyhow::Result<(OpenedKeys, Setup, Vec<u8>)> {
    let (keys, setup) = open_keys(config)?;
    let genesis = storage::genesis_bytes(&config.node.data)?;
    if genesis.len() as u64 > GENESIS_BYTES_MAX {
        let most = GENESIS_BYTES_MAX;
        return Err(Failure::Data(format!("a genesis of {} bytes; clients take {most}", genesis.len())).into());
    }
    Ok((keys, setup, genesis))
}

/// Runs the command.
pub fn run(args: &NodeArgs) -> anyhow::Result<()> {
    let people = args.output.is_for_people();
    let config = Config::load(&args.config)?;
    let (keys, setup, genesis) = prepare(&config)?;
    let stop = stop_signals()?;
    let _pool = engine::pool::build(config.node.threads)?;
    let began = Instant::now();
    let session = Session::open(&config.node.data)?;
    let validator = keys.validator;
    let keys_of_validator = Keys { vote: validator.vote, group: validator.group, beacon: validator.beacon };
    let (threads, peers) = (config.node.threads, config.net.connections_max);
    let options = Options {
        keys: keys_of_validator,
        threads,
        peers,
        writing: config.writing(),
        pace: SnapshotPace::default(),
        driving: Driving::Threads,
        sign_from: args.sign_from.map(Height),
        network: Some(keys.net.public()),
    };
    let mut opened = open::open(session, setup, options, Opening::new().on_step())?;
    let found = opened.found.take();
    let recovered = began.elapsed();
    let setup = opened.machine.setup();
    let network = listen(&setup.genesis, genesis, &keys.net, config.net.clone())?;
    let (address, key, socket) = (network.address, network.key(), network.socket_bytes);
    let counters = network.counters();
    let chain = setup.chain;
    let (tables, keys_from) = (setup.genesis.tables, setup.genesis.keys);
    let mut node = opened.into_node(None, Time::Wall);
    node.listen(network);
    let height = found.as_ref().map_or(0, |found| found.height.0);
    let repaired: Vec<&String> = found.iter().flat_map(|found| &found.repaired).collect();
    if people {
        say!("BitCraps node `{}`: {} craps tables, one validator.\n", config.net.name, thousands(tables.into()));
        say!("  session   {}", config.node.data.display());
        say!("  chain     {}", hex(&chain));
        say!("  height    {} ({} ms to get there)", thousands(height), recovered.as_millis());
        if let Some(found) = &found {
            say!("  found     {}", found.path());
        }
        for repaired in &repaired {
            say!("  repaired  {repaired}");
        }
        say!("  listens   {address}");
        say!("  key       {}", hex(&key));
        if let Some(warning) = keys_from.warning() {
            say!("  keys      {warning}");
        }
        if let Some(advice) = buffer_advice(socket, config.net.socket_buffer_bytes) {
            say!("  sockets   {advice}");
        }
        say!("\nPlay chips only. With one validator, whoever runs it could foresee and choose the dice.");
        say!("Ctrl-C ends it cleanly.\n");
    } else {
        let ready = json!({
            "event": "ready",
            "listen": address.to_string(),
            "key": hex(&key),
            "chain": hex(&chain),
            "keys": keys_from.name(),
            "height": height,
            "recovered_ms": recovered.as_millis() as u64,
            "snapshot": found.as_ref().and_then(|found| found.snapshot).map(|height| height.0),
            "executed": found.as_ref().map(|found| found.executed),
            "repaired": repaired,
            "socket_receive_bytes": socket.0,
            "socket_send_bytes": socket.1,
        });
        say!("{ready}");
    }
    if let Some(warning) = room_warning(&config)? {
        tracing::warn!("{warning}");
    }
    let result = watch(&mut node, &stop, people, &counters);
    let totals = node.close();
    result?;
    let counted = counters.list();
    let settled = totals.height > Height::GENESIS;
    if people {
        say!("Stopped at height {}.", thousands(totals.height.0));
        say!(
            "  receipts  {}, {} of them refused",
            thousands(totals.receipts),
            thousands(totals.refusals.values().sum())
        );
        say!("  rolls     {}", thousands(totals.counts.rolls));
        match totals.height {
            Height::GENESIS => say!("  root      none: nothing was settled"),
            _ => say!("  root      {}", hex(&totals.root)),
        }
        return Ok(());
    }
    let network: serde_json::Map<String, serde_json::Value> =
        counted.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    let summary = json!({
        "height": totals.height.0,
        "root": settled.then(|| hex(&totals.root)),
        "root_chain": settled.then(|| hex(&totals.root_chain)),
        "session": config.node.data.display().to_string(),
        "tables": tables,
        "players": 0,
        "refusals": totals.refusals,
        "network": network,
    });
    say!("{}", with_counts(summary, &totals));
    Ok(())
}

/// What an operator should know about a journal that the disk has no room for.
fn room_warning(config: &Config) -> anyhow::Result<Option<String>> {
    let (data, bytes_max) = (&config.node.data, config.storage.bytes_max);
    let free = FileBackend.free_bytes(data).with_context(|| data.display().to_string())?;
    let journal: u64 = audit::db::journal_bytes(data)?;
    Ok(match bytes_max {
        0 => Some(format!(
            "storage.bytes_max is 0: the journal grows until the disk, where {} is free, is full; `db stats` says when",
            ByteSize(free)
        )),
        bytes if bytes > journal.saturating_add(free) => Some(format!(
            "storage.bytes_max is {}, and only {} is free beside the {} that the journal has: the disk is full before old \
             blocks are given up",
            ByteSize(bytes),
            ByteSize(free),
            ByteSize(journal)
        )),
        _ => None,
    })
}

/// What to do about socket buffers that are smaller than asked for.
fn buffer_advice((receive, send): (usize, usize), asked: u64) -> Option<String> {
    let least = receive.min(send) as u64;
    (least < asked).then(|| {
        format!(
            "the system gives buffers of {} KiB instead of {}; `sysctl -w net.core.rmem_max={asked} net.core.wmem_max={asked}` raises them",
            least / 1024,
            asked / 1024
        )
    })
}

/// Runs with a line of what happens, for people.
fn watch(node: &mut Node, stop: &AtomicBool, people: bool, counters: &Counters) -> anyhow::Result<()> {
    let bar = if people && std::io::stderr().is_terminal() {
        let style = ProgressStyle::with_template("{spinner} {wide_msg}").expect("a fixed template");
        ProgressBar::new_spinner().with_style(style)
    } else {
        ProgressBar::hidden()
    };
    let mut shown = Instant::now();
    let on_tick = |totals: &Totals, machine: &mut systems::Machine, _now_ms: u64| {
        if bar.is_hidden() || shown.elapsed() < Duration::from_millis(200) {
            return;
        }
        shown = Instant::now();
        if let Some(problem) = &totals.disk_full {
            bar.set_message(disk_full(problem));
            bar.tick();
            return;
        }
        let players = machine.read_peers(|peers| peers.iter().filter(|peer| peer.is_connected()).count());
        let banned = counters.banned.load(std::sync::atomic::Ordering::Relaxed);
        bar.set_message(format!(
            "height {}  {} connections  {} rolls  {} receipts  {} refused  {} shed  {} banned",
            thousands(totals.height.0),
            thousands(players as u64),
            thousands(totals.counts.rolls),
            thousands(totals.receipts),
            thousands(totals.refusals.values().sum()),
            thousands(totals.shed),
            thousands(banned),
        ));
        bar.tick();
    };
    let result = node.run(None, stop, on_tick);
    bar.finish_and_clear();
    result
}
