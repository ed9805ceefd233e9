//! `init`: makes a node: keys, genesis, configuration.

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::Context;
use bytesize::ByteSize;
use clap::Args;
use engine::genesis::KeySource;
use engine::hex;
use engine::limits::JOURNAL_BYTES_MAX_LEAST;
use engine::message::vote::quorum;
use serde_json::json;

use super::args::{DiceOf, OutputArgs};
use super::out::hanging;
use super::phrases::program;
use keys::keyfile::{self, Passphrase};
use net::settings::{parse_address, parse_size};
use node::config::{Config, ServedAt};
use node::deal::{VALIDATORS, deal, follower, read_addresses};
use node::init::{Created, NewChain, create, now_ms};
use words::{Failure, counted};

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps init my-node                          asks for a passphrase\n  BITCRAPS_PASSPHRASE_FILE=secret bitcraps init my-node --tables 100\n  bitcraps init test-node --plain-keys --window 5000\n  bitcraps init chain --validators 4 --addresses addresses.txt\n  bitcraps init eyes --follow chain/node-0/session/genesis.json --addresses chain/validators.txt\n  bitcraps node --config my-node/bitcraps.toml"
)]
pub struct InitArgs {
    /// The node's folder: empty, or not there yet.
    dir: PathBuf,
    /// A name for people.
    #[arg(long, default_value = "craps")]
    name: String,
    /// Craps tables.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=i64::from(engine::limits::TABLES_MAX)))]
    tables: u32,
    /// Seats of each table.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=i64::from(engine::limits::SEATS_MAX)))]
    seats: u32,
    /// Account slots.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=i64::from(engine::limits::ACCOUNTS_MAX)))]
    accounts: u32,
    /// Chips granted to an account that opens.
    #[arg(long, default_value_t = 10_000)]
    grant: u64,
    /// Accounts that may open in one block.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    per_height: u32,
    /// What the dice follow from. With `both`, each table has one seat.
    #[arg(long, value_enum, default_value_t)]
    dice: DiceOf,
    /// Milliseconds after which a table rolls by itself, if its shooter has not.
    #[arg(long, default_value_t = 20_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    window: u64,
    /// Where the node will listen, UDP.
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "ADDR", value_parser = parse_address)]
    listen: SocketAddr,
    /// Where the node will serve its dashboard, metrics and health, TCP; `off` for nowhere.
    #[arg(long, default_value = "127.0.0.1:7480", value_name = "ADDR|off")]
    dashboard: ServedAt,
    /// Bytes that the journal may have, such as 20GiB, or 0 for no bound. Asked for in a terminal; otherwise half of what is
    /// free.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    bytes_max: Option<ByteSize>,
    /// Make so many validators of one chain, each in a folder `node-0`, `node-1` ... of DIR, to be given to its operator.
    /// Whoever does that deals the shares of the beacon key, and could foresee every roll.
    #[arg(long, value_name = "N", requires = "addresses", value_parser = clap::value_parser!(u32).range(1..=i64::from(engine::limits::VALIDATORS_MAX)), conflicts_with = "listen")]
    validators: Option<u32>,
    /// Make a node that follows the chain of this genesis file, and votes on nothing.
    #[arg(long, value_name = "GENESIS", requires = "addresses", conflicts_with_all = ["validators", "tables", "seats", "accounts", "grant", "per_height", "window", "dice"])]
    follow: Option<PathBuf>,
    /// A line for each validator: HOST:PORT, and behind it where it listens if that is elsewhere. With --follow, the file
    /// `validators.txt` that --validators made.
    #[arg(long, value_name = "FILE")]
    addresses: Option<PathBuf>,
    /// Write the secret keys without a passphrase: whoever reads the files is this node.
    #[arg(long)]
    plain_keys: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// Bytes that are free where a directory is or will be.
fn free_bytes(dir: &Path) -> anyhow::Result<u64> {
    let dir = std::path::absolute(dir).context("this program's own directory")?;
    let there = dir.ancestors().find(|path| path.exists()).context("a root of the file system")?;
    let free = rustix::fs::statvfs(there).with_context(|| there.display().to_string())?;
    Ok(free.f_bavail.saturating_mul(free.f_frsize))
}

/// Half of what is free, in whole gibibytes where that is many, or what can be had beside what the node keeps free, if that is
/// as much as a bound must be.
fn half_of(free: u64, min_free: u64) -> Option<u64> {
    let half = free / 2;
    let whole = if half >= 4 << 30 { half & !((1 << 30) - 1) } else { half & !((1 << 20) - 1) };
    let most = free.checked_sub(min_free).filter(|most| *most >= JOURNAL_BYTES_MAX_LEAST)?;
    Some(whole.min(most & !((1 << 20) - 1)).max(JOURNAL_BYTES_MAX_LEAST))
}

/// Bytes that the journal may have: as typed, as answered, or half of what is free, of which so many are to stay free.
fn bytes_max(args: &InitArgs, min_free: u64) -> anyhow::Result<u64> {
    let free = free_bytes(&args.dir)?;
    let suggested = half_of(free, min_free);
    if args.bytes_max.is_none() && suggested.is_none() {
        let text = format!(
            "{} is free where {} is to be, and a node needs {} for its journal and keeps {} free beside it; make room, or say \
             --bytes-max",
            ByteSize(free),
            args.dir.display(),
            ByteSize(JOURNAL_BYTES_MAX_LEAST),
            ByteSize(min_free)
        );
        return Err(Failure::Data(text).into());
    }
    let suggested = suggested.unwrap_or(JOURNAL_BYTES_MAX_LEAST);
    let bytes = match args.bytes_max {
        Some(bytes) => bytes.as_u64(),
        None if args.output.is_for_people() && std::io::stdin().is_terminal() => {
            let mut terminal = std::io::stderr();
            // Whoever sees no question may still answer.
            let _ = write!(terminal, "{}", question(args.validators, suggested));
            let mut answer = String::new();
            std::io::stdin().read_line(&mut answer)?;
            match answer.trim() {
                "" => suggested,
                answer => parse_size(answer).map_err(Failure::Usage)?.as_u64(),
            }
        }
        None => suggested,
    };
    if bytes > 0 && bytes < JOURNAL_BYTES_MAX_LEAST {
        let text =
            format!("--bytes-max {}: fewer than {}; 0 is no bound", ByteSize(bytes), ByteSize(JOURNAL_BYTES_MAX_LEAST));
        return Err(Failure::Usage(text).into());
    }
    Ok(bytes)
}

/// Runs the command.
pub fn run(args: &InitArgs) -> anyhow::Result<()> {
    if args.name.len() > 32 || args.name.chars().any(char::is_control) {
        return Err(Failure::Usage("--name: at most 32 bytes, and no control characters".into()).into());
    }
    let mut config = Config::default();
    config.net.listen = args.listen;
    config.monitoring.listen = args.dashboard;
    config.net.name.clone_from(&args.name);
    config.storage.bytes_max = bytes_max(args, config.storage.min_free)?;
    let journal = config.storage.bytes_max;
    let opens = config.net.opens_per_address_per_min;
    let new = NewChain {
        name: args.name.clone(),
        tables: args.tables,
        seats: args.seats,
        accounts: args.accounts,
        grant: args.grant,
        per_height: args.per_height,
        window_ms: args.window,
        dice: args.dice.into(),
    };
    let passphrase = if args.plain_keys { None } else { Some(keyfile::passphrase("the node's new keys", true)?) };
    match (&args.addresses, args.validators, &args.follow) {
        (Some(addresses), Some(count), _) => return deal_validators(args, addresses, count, &new, &config, passphrase),
        (Some(addresses), _, Some(genesis)) => return make_follower(args, addresses, genesis, config, passphrase),
        (Some(_), None, None) => {
            return Err(Failure::Usage("--addresses is for --validators or --follow: say which".into()).into());
        }
        (None, ..) => {}
    }
    tell(args, &create(&args.dir, &new, config, passphrase)?, journal, opens)
}

/// Says what was made of a chain with one validator, how many bytes its journal may have, and how many accounts a minute are
/// opened from one address.
fn tell(args: &InitArgs, created: &Created, journal: u64, opens: NonZeroU32) -> anyhow::Result<()> {
    let path = created.config.display();
    if !args.output.is_for_people() {
        say!(
            "{}",
            json!({
                "config": path.to_string(),
                "chain": hex(&created.chain),
                "keys": KeySource::Own.name(),
                "net_key": hex(&created.net_key),
                "bytes_max": journal,
                "genesis": args.dir.join("session/genesis.json").display().to_string(),
            })
        );
        return Ok(());
    }
    say!("A new chain with {} and one validator: this node.\n", counted(args.tables.into(), "table"));
    say!("  config       {path}");
    say!("  chain        {}", hex(&created.chain));
    say!("  network key  {}", hex(&created.net_key));
    row(&format!(
        "  accounts     anyone opens one, at most {opens} a minute from one address (`net.opens_per_address_per_min`); a house \
         for people whom somebody knows takes vouchers: `opening` in docs/formats/genesis.md"
    ))?;
    say_journal(journal)?;
    if args.plain_keys {
        say!("");
        let keys = args.dir.join("keys");
        hanging(&format!("The secret keys are NOT encrypted: whoever reads {} is this node.", keys.display()), 0)?;
    }
    say!("");
    hanging(
        "Play chips only. With one validator, whoever runs it could foresee and choose the dice; every roll can be checked.",
        0,
    )?;
    say!("\nTry next:");
    say!("  {} node --config {path}", program());
    say!("  {} play {}", program(), args.listen);
    Ok(())
}

/// The validators of one chain, dealt by whoever runs this.
fn deal_validators(
    args: &InitArgs,
    addresses: &Path,
    count: u32,
    new: &NewChain,
    config: &Config,
    passphrase: Option<Passphrase>,
) -> anyhow::Result<()> {
    let places = read_addresses(addresses)?;
    if places.len() != count as usize {
        let (found, file) = (places.len(), addresses.display());
        let text = format!("{file} has {}, and --validators is {count}: one line for each", validators(found));
        return Err(Failure::Usage(text).into());
    }
    if let Some(known) = places.iter().find(|place| place.key.is_some()) {
        let text = format!(
            "{}: {} has a key already; --validators makes new ones: HOST:PORT alone",
            addresses.display(),
            known.reach
        );
        return Err(Failure::Usage(text).into());
    }
    let genesis = |rows, group| new.genesis(KeySource::Dealer, rows, group, now_ms()?);
    let dealt = deal(&args.dir, &places, config, passphrase.as_ref(), |_, _| keyfile::draw(), genesis)?;
    let named = args.dir.join(VALIDATORS);
    if !args.output.is_for_people() {
        let nodes: Vec<_> = dealt
            .nodes
            .iter()
            .map(|node| json!({"config": node.config.display().to_string(), "net_key": hex(&node.net_key), "address": node.place.reach}))
            .collect();
        let (chain, keys) = (hex(&dealt.chain), KeySource::Dealer.name());
        say!("{}", json!({"chain": chain, "keys": keys, "validators": named.display().to_string(), "nodes": nodes}));
        return Ok(());
    }
    say!("A new chain with {} and {}.\n", counted(args.tables.into(), "table"), validators(places.len()));
    say!("  chain        {}", hex(&dealt.chain));
    say_keys(KeySource::Dealer)?;
    for node in &dealt.nodes {
        say!("  {}  {}", node.place.reach, node.config.display());
    }
    row(&format!("  validators   {}: their network keys and addresses, for those who follow", named.display()))?;
    say_journal(config.storage.bytes_max)?;
    // The bound was chosen for this disk, and most of the folders go elsewhere.
    row("               the same in each folder: its operator sets `storage.bytes_max` for the disk there")?;
    if args.plain_keys {
        say!("\nThe secret keys are NOT encrypted: whoever reads a folder's keys is that node.");
    }
    say!("");
    let runs = match count {
        1 => "Heights are decided while it runs.".to_owned(),
        _ => format!("{} of {count} must run for heights to be decided.", quorum(count as usize)),
    };
    hanging(
        &format!(
            "Give each folder to its operator, keep no copy, and run each node from one place only: a validator in two places \
             contradicts itself. {runs}"
        ),
        0,
    )?;
    say!("\nTry next:");
    say!("  {} node --config {}", program(), dealt.nodes[0].config.display());
    Ok(())
}

/// A node that follows a chain.
fn make_follower(
    args: &InitArgs,
    addresses: &Path,
    genesis: &Path,
    config: Config,
    passphrase: Option<Passphrase>,
) -> anyhow::Result<()> {
    let made = follower(&args.dir, genesis, &read_addresses(addresses)?, config, passphrase.as_ref())?;
    let (chain, net_key, path) = (hex(&made.chain), hex(&made.node.net_key), made.node.config.display());
    if !args.output.is_for_people() {
        let config = path.to_string();
        say!("{}", json!({"config": config, "chain": chain, "keys": made.keys.name(), "net_key": net_key}));
        return Ok(());
    }
    say!("A node that follows chain {chain}.\n");
    say!("  config       {path}");
    say_keys(made.keys)?;
    say!("  network key  {net_key}\n");
    say!("Try next:\n  {} node --config {path} --follow", program());
    Ok(())
}

/// Where a chain's keys are from, where a quorum of its validators does not answer for that.
fn say_keys(keys: KeySource) -> std::io::Result<()> {
    if let Some(warning) = keys.warning() {
        row(&format!("  keys         {}: {warning}", keys.name()))?;
    }
    Ok(())
}

/// How much a journal may have.
fn say_journal(bytes: u64) -> std::io::Result<()> {
    match bytes {
        0 => row("  journal      no bound: `storage.bytes_max` sets one"),
        _ => row(&format!(
            "  journal      at most {}; then the intents of the oldest blocks are given up",
            ByteSize(bytes)
        )),
    }
}

/// Says a row; its value stands as far left as a hash of 64 digits must begin to fit into 80 columns.
fn row(text: &str) -> std::io::Result<()> {
    hanging(text, VALUES)
}

/// The column of the values.
const VALUES: usize = 15;

/// What is asked of how many bytes a journal may have: of several validators each has one, on a disk of its own.
fn question(validators: Option<u32>, suggested: u64) -> String {
    let whose = if validators.is_some_and(|count| count > 1) { "each validator's journal" } else { "the journal" };
    format!("Bytes for {whose}, 0 for no bound [{}]: ", ByteSize(suggested))
}

/// So many validators.
fn validators(count: usize) -> String {
    if count == 1 { "one validator".into() } else { format!("{count} validators") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_size_are_refused_in_the_words_of_the_file() {
        #[derive(clap::Parser, Debug)]
        struct Init {
            #[command(flatten)]
            args: InitArgs,
        }
        for (flag, value, says) in [
            ("--listen", "localhost:1", "`localhost:1` is no address such as 127.0.0.1:7400; localhost is 127.0.0.1:1"),
            ("--dashboard", "localhost", "`localhost` is no address such as 127.0.0.1:7480, and not `off`"),
            ("--bytes-max", "lots", "`lots` is no size such as 512MB or 2 GiB"),
        ] {
            let parsed = <Init as clap::Parser>::try_parse_from(["init", "a-folder", flag, value]);
            let problem = parsed.expect_err(value).to_string();
            assert!(problem.contains(says), "{problem}");
        }
    }

    #[test]
    fn of_several_validators_each_is_asked_for() {
        for (validators, says) in [
            (None, "Bytes for the journal, 0 for no bound [20.0 GiB]: "),
            (Some(1), "Bytes for the journal, 0 for no bound [20.0 GiB]: "),
            (Some(4), "Bytes for each validator's journal, 0 for no bound [20.0 GiB]: "),
        ] {
            assert_eq!(question(validators, 20 << 30), says);
        }
    }

    #[test]
    fn the_suggested_bound_fits_the_disk_or_there_is_none() {
        let min_free = Config::default().storage.min_free;
        assert_eq!(min_free, 256 << 20);
        for (free, bound) in [
            (0, None),
            (300 << 20, None),
            (384 << 20, Some(128 << 20)),
            (400 << 20, Some(144 << 20)),
            (600 << 20, Some(300 << 20)),
            (7 << 30, Some((7 << 30) / 2)),
            (41 << 30, Some(20 << 30)),
        ] {
            assert_eq!(half_of(free, min_free), bound, "{free}");
            assert!(bound.is_none_or(|bound| bound + min_free <= free), "`config check` would warn of it");
        }
    }
}
