//! `init`: makes a node: keys, genesis, configuration.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use engine::hex;
use serde_json::json;

use super::{Failure, Format, program};
use crate::config::Config;
use crate::init::{NewChain, create};
use crate::keyfile;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps init my-node                          asks for a passphrase\n  BITCRAPS_PASSPHRASE_FILE=secret bitcraps init my-node --tables 100\n  bitcraps init test-node --plain-keys --window 5000\n  bitcraps node --config my-node/bitcraps.toml"
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
    /// Milliseconds after which a table rolls by itself, if its shooter has not.
    #[arg(long, default_value_t = 20_000, value_name = "MS", value_parser = clap::value_parser!(u64).range(100..=3_600_000))]
    window: u64,
    /// Where the node will listen, UDP.
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "ADDR")]
    listen: SocketAddr,
    /// Write the secret keys without a passphrase: whoever reads the files is this node.
    #[arg(long)]
    plain_keys: bool,
    /// How to print the result.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// Runs the command.
pub fn run(args: &InitArgs) -> anyhow::Result<()> {
    if args.output == Format::Csv {
        return Err(Failure::Usage("init prints table, json or ndjson".into()).into());
    }
    if args.name.len() > 32 || args.name.chars().any(char::is_control) {
        return Err(Failure::Usage("--name: at most 32 bytes, and no control characters".into()).into());
    }
    let mut config = Config::default();
    config.net.listen = args.listen;
    let new = NewChain {
        name: args.name.clone(),
        tables: args.tables,
        seats: args.seats,
        accounts: args.accounts,
        grant: args.grant,
        per_height: args.per_height,
        window_ms: args.window,
    };
    let passphrase = if args.plain_keys { None } else { Some(keyfile::passphrase("the node's new keys", true)?) };
    let created = create(&args.dir, &new, config, passphrase)?;
    let path = created.config.display();
    if args.output != Format::Table {
        say!(
            "{}",
            json!({
                "config": path.to_string(),
                "chain": hex(&created.chain),
                "net_key": hex(&created.net_key),
                "genesis": args.dir.join("session/genesis.json").display().to_string(),
            })
        );
        return Ok(());
    }
    say!("A new chain with {} tables and one validator: this node.\n", args.tables);
    say!("  configuration  {path}");
    say!("  chain          {}", hex(&created.chain));
    say!("  network key    {}", hex(&created.net_key));
    if args.plain_keys {
        say!("\nThe secret keys are NOT encrypted: whoever reads {}/keys is this node.", args.dir.display());
    }
    say!(
        "\nPlay chips only. With one validator, whoever runs it could foresee and choose the dice; every roll can be checked.\n"
    );
    say!("Try next:");
    say!("  {} node --config {path}", program());
    say!("  {} play {}", program(), args.listen);
    Ok(())
}
