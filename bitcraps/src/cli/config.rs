//! `config`: a node's configuration, and what follows from it before the node runs.

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, Subcommand};
use engine::limits::GENESIS_BYTES_MAX;
use net::server::{StartError, check_buffers};
use node::config::Config;
use node::init::{OpenedKeys, open_keys};
use node::layers::Layered;
use operate::monitor::Listening;
use operate::watching::MonitorConfig;
use storage::Session;
use systems::Setup;

use super::logs;
use words::Failure;

/// Values over those of the file and the environment.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Set a key over what the file and the environment say, such as net.listen=127.0.0.1:7400; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl SetArgs {
    /// All of them, in order.
    pub fn all(&self) -> &[String] {
        &self.set
    }
}

/// Looks at a configuration.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Say whether a node starts with a configuration: its values, keys, genesis and address. Asks for the passphrase.
    Check {
        /// The file.
        file: PathBuf,
        /// Of a node that is to follow: it needs its network key alone.
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Print a configuration in full, defaults included, as a file that works wherever it is put.
    Show {
        /// The file.
        file: PathBuf,
        /// Print each key with its value and where that is from: default, line of the file, variable, or --set.
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        set: SetArgs,
    },
    /// Print a JSON Schema of the file, for editors.
    Schema,
}

/// Runs the command.
pub fn run(command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file, follow, set } => {
            let follow = *follow;
            let config = Layered::load(file, &set.set)?.config;
            prepare(&config, follow)?;
            let running = storage::is_written(&config.node.data);
            if !running {
                drop(Session::open(&config.node.data)?);
                let listen = config.net.listen;
                net::transport::bind(listen, config.net.socket_buffer_bytes as usize)
                    .map_err(|error| StartError::Bind { address: listen, error })?;
                config.monitoring.listen.address().map(Listening::at).transpose()?;
            }
            say!("{}: good{}", file.display(), if running { "; a node runs with its session now" } else { "" });
        }
        ConfigCommand::Show { file, origin: true, set } => {
            for (key, value, origin) in Layered::load(file, &set.set)?.rows() {
                say!("{:<60} # {origin}", format!("{key} = {value}"));
            }
        }
        ConfigCommand::Show { file, origin: false, set } => {
            let config = Layered::load(file, &set.set)?.config.absolute();
            say!("{}", config.with_context(|| file.display().to_string())?.text().trim_end());
        }
        ConfigCommand::Schema => say!("{:#}", node::layers::schema()),
    }
    Ok(())
}

/// What a node needs before it touches its session: keys that are the genesis' own, and a genesis that clients take.
pub fn prepare(config: &Config, follows: bool) -> anyhow::Result<(OpenedKeys, Setup, Vec<u8>)> {
    check(config)?;
    let (keys, setup) = open_keys(config, follows)?;
    let genesis = storage::genesis_bytes(&config.node.data)?;
    if genesis.len() as u64 > GENESIS_BYTES_MAX {
        let most = GENESIS_BYTES_MAX;
        return Err(Failure::Data(format!("a genesis of {} bytes; clients take {most}", genesis.len())).into());
    }
    Ok((keys, setup, genesis))
}

/// Whether a node could run with a configuration, as far as that can be said without its keys.
///
/// # Errors
/// What is wrong with it.
pub fn check(config: &Config) -> anyhow::Result<()> {
    check_buffers(&config.net)?;
    Ok(logs::check(&config.log)?)
}

/// What the monitor is told of the configuration.
pub fn monitor_config(config: &Config) -> MonitorConfig {
    let name = &config.net.name;
    let title = if name.is_empty() { "BitCraps node".into() } else { name.clone() };
    MonitorConfig {
        hosts: config.monitoring.hosts.clone(),
        title,
        alerts: config.alerts.clone(),
        memory_budget: config.memory.budget_bytes,
    }
}
