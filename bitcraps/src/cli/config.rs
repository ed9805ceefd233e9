//! `config`: a node's configuration, and what follows from it before the node runs.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, Subcommand};
use engine::limits::GENESIS_BYTES_MAX;
use engine::message::vote::quorum;
use net::server::{StartError, check_buffers};
use node::config::{Config, ServedAt};
use node::init::{OpenedKeys, check_keys, look_at_keys, open_keys};
use node::layers::{Layered, Origin};
use operate::alerts::channels;
use operate::doctor::warnings;
use operate::monitor::{Listening, MonitorError};
use operate::named::{Own, named_warnings};
use operate::watching::MonitorConfig;
use serde_json::json;
use storage::backend::{Backend, FileBackend};
use storage::{DamageKind, Session, check_log};
use systems::Setup;

use super::args::{Format, OutputArgs};
use super::logs;
use super::out::hanging;
use words::Failure;

/// Values over those of the file and the environment.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// Set a key over what the file and the environment say, such as net.listen=127.0.0.1:7400; may be repeated.
    #[arg(long, value_name = "SECTION.KEY=VALUE")]
    set: Vec<String>,
}

impl SetArgs {
    /// The values that were set on the command line, in order.
    pub fn all(&self) -> &[String] {
        &self.set
    }
}

/// Reads the configuration that a command needs. What is wrong with it is told with the line of the file at a terminal alone: of what
/// a manager of services or of timed jobs starts, standard error is kept where more people read it than the file, and a line may
/// hold a secret.
pub fn load(path: &Path, set: &[String]) -> anyhow::Result<Layered> {
    Layered::load(path, set).map_err(|error| match io::stderr().is_terminal() {
        true => error.into(),
        false => Failure::Config(without_lines_of_file(&error.to_string())).into(),
    })
}

/// A problem without the lines of the file that are shown with it: what stands there may be a secret, and a log is no place
/// for pictures.
pub fn without_lines_of_file(problem: &str) -> String {
    let is_shown =
        |line: &&str| line.trim_start_matches(|sign: char| sign == ' ' || sign.is_ascii_digit()).starts_with('|');
    problem.lines().filter(|line| !is_shown(line)).collect::<Vec<&str>>().join(": ")
}

/// Looks at a configuration.
#[derive(Subcommand, Debug)]
pub enum ConfigCommand {
    /// Say whether a node starts with a configuration: its values, keys, genesis and address. Asks for the passphrase.
    #[command(
        after_help = "Examples:\n  bitcraps config check my-node/bitcraps.toml\n  bitcraps config check my-node/bitcraps.toml --output json\n  bitcraps config check eyes/bitcraps.toml --follow"
    )]
    Check {
        /// The file.
        file: PathBuf,
        /// Of a node that is to follow: it needs its network key alone.
        #[arg(long)]
        follow: bool,
        #[command(flatten)]
        set: SetArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print a configuration in full, defaults included, as a file that works wherever it is put.
    #[command(
        after_help = "Examples:\n  bitcraps config show my-node/bitcraps.toml\n  bitcraps config show my-node/bitcraps.toml --origin      where each value is from\n  bitcraps config show my-node/bitcraps.toml --origin --output ndjson"
    )]
    Show {
        /// The file.
        file: PathBuf,
        /// Print each key with its value and where that is from: default, line of the file, variable, or --set.
        #[arg(long)]
        origin: bool,
        #[command(flatten)]
        set: SetArgs,
        #[command(flatten)]
        output: OutputArgs,
    },
    /// Print a JSON Schema of the file, for editors.
    #[command(after_help = "Example:\n  bitcraps config schema > bitcraps.schema.json")]
    Schema {
        #[command(flatten)]
        output: OutputArgs,
    },
}

/// Runs the command.
pub fn run(command: &ConfigCommand) -> anyhow::Result<()> {
    match command {
        ConfigCommand::Check { file, follow, set, output } => {
            let layered = Layered::load(file, &set.set)?;
            check(&layered)?;
            let Layered { config, warning, .. } = layered;
            let (keys, setup, _) = prepare(&config, *follow)?;
            let running = storage::is_written(&config.node.data);
            if !running {
                goes_on(&config, *follow)?;
            }
            listens(&config, running)?;
            serves(&config, running)?;
            let mut warnings = warnings(&config, audit::db::journal_bytes(&config.node.data)?);
            warnings.splice(..0, warning);
            warnings.extend(named_warnings(&config.net, own(&keys, &setup)));
            warnings.extend(storage::left_by_root(&config.node.data)?);
            if !output.is_for_people() {
                let file = file.display().to_string();
                say!("{}", json!({ "file": file, "good": true, "runs": running, "warnings": warnings }));
                return Ok(());
            }
            for warning in &warnings {
                hanging(&format!("{}: {warning}", file.display()), 2)?;
            }
            say!("{}: good{}", file.display(), if running { "; a node runs with its session now" } else { "" });
        }
        ConfigCommand::Show { file, origin: true, set, output } => {
            let layered = Layered::load(file, &set.set)?;
            let rows = layered.rows();
            let row = |(key, value, origin): &(String, String, &Origin)| json!({ "key": key, "value": value, "origin": origin.to_string() });
            match output.format {
                Format::Table => {
                    for (key, value, origin) in &rows {
                        say!("{:<60} # {origin}", format!("{key} = {value}"));
                    }
                }
                Format::Json => say!("{}", json!({ "keys": rows.iter().map(row).collect::<Vec<_>>() })),
                Format::Ndjson => {
                    for of in &rows {
                        say!("{}", row(of));
                    }
                }
            }
        }
        ConfigCommand::Show { file, origin: false, set, output } => {
            let config = Layered::load(file, &set.set)?.config.absolute();
            let config = config.with_context(|| file.display().to_string())?;
            match output.is_for_people() {
                true => say!("{}", config.text().trim_end()),
                false => say!("{}", json!(config)),
            }
        }
        ConfigCommand::Schema { output } => match output.format {
            Format::Ndjson => say!("{}", node::config::schema()),
            Format::Table | Format::Json => say!("{:#}", node::config::schema()),
        },
    }
    Ok(())
}

/// What a node needs before it touches its session: keys that are the genesis' own, and a genesis that clients take.
pub fn prepare(config: &Config, follows: bool) -> anyhow::Result<(OpenedKeys, Setup, Vec<u8>)> {
    let (keys, setup) = open_keys(config, follows)?;
    Ok((keys, setup, genesis_of(config)?))
}

/// Who the node of these keys is, on the chain of its session.
pub fn own(keys: &OpenedKeys, setup: &Setup) -> Own {
    let validators = setup.genesis.validators.len();
    Own { key: keys.net.public(), validators, is_validator: keys.validator.is_some() }
}

/// The bytes of a session's genesis.
fn genesis_of(config: &Config) -> anyhow::Result<Vec<u8>> {
    let genesis = storage::genesis_bytes(&config.node.data)?;
    if genesis.len() as u64 > GENESIS_BYTES_MAX {
        let most = GENESIS_BYTES_MAX;
        return Err(Failure::Data(format!("a genesis of {} bytes; clients take {most}", genesis.len())).into());
    }
    Ok(genesis)
}

/// Whether a node may go on with its session, as far as that can be said without a look at the journal.
fn goes_on(config: &Config, follows: bool) -> anyhow::Result<()> {
    let data = &config.node.data;
    storage::check_writable(data)?;
    drop(Session::open(data)?);
    let (genesis, _) = storage::read_genesis(data)?;
    let count = genesis.validators.len();
    let backend: Arc<dyn Backend> = Arc::new(FileBackend);
    let log = check_log(&backend, data)?;
    // Whoever follows opens it too, and no rule helps a program that cannot read it.
    if let Some(newer) = log.damages.iter().find(|damage| damage.problem.kind == DamageKind::Version) {
        return Err(Failure::Data(format!("{}: {newer}", data.display())).into());
    }
    // Where others may be faulty, one that lost its log follows them until it may vote again.
    if follows || quorum(count) < count {
        return Ok(());
    }
    let problem = match log.damages.first() {
        Some(damage) => damage.to_string(),
        None if log.files == 0 => "the consensus log is missing".into(),
        None => return Ok(()),
    };
    let text = format!(
        "{}: {problem}: this validator cannot know what it signed, and `node` starts with --sign-from alone",
        data.display()
    );
    Err(Failure::Data(text).into())
}

/// Whether the address of players and nodes can be had. That of a node that runs is taken, by itself.
fn listens(config: &Config, runs: bool) -> Result<(), StartError> {
    let address = config.net.listen;
    match net::transport::bind(address, config.net.socket_buffer_bytes as usize) {
        Err(error) if !(runs && is_taken(&error)) => Err(StartError::Bind { address, error }),
        _ => Ok(()),
    }
}

/// Whether the address of the dashboard can be had. That of a node that runs is taken, by itself.
fn serves(config: &Config, runs: bool) -> Result<(), MonitorError> {
    match config.monitoring.listen.address().map(Listening::at) {
        Some(Err(MonitorError::Bind { error, .. })) if runs && is_taken(&error) => Ok(()),
        at => at.transpose().map(drop),
    }
}

fn is_taken(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::AddrInUse
}

/// Whether a node could run with a configuration, as far as that can be said without its keys.
///
/// # Errors
/// What is wrong with it, and where.
pub fn check(layered: &Layered) -> anyhow::Result<()> {
    let config = &layered.config;
    check_buffers(&config.net)?;
    let checked = logs::check(&config.log).and_then(|()| channels::check(&config.alerts).map_err(Failure::Config));
    Ok(checked.map_err(|failure| placed(failure, layered))?)
}

/// A failure that begins with a key, with the place of its value.
fn placed(failure: Failure, layered: &Layered) -> Failure {
    let Failure::Config(problem) = failure else { return failure };
    let place = problem.split(':').next().and_then(|key| layered.place(key));
    Failure::Config(place.map_or_else(|| problem.clone(), |place| format!("{place}: {problem}")))
}

/// Whether a node would start with a configuration, while one runs with another: what `config check` looks at, but that nobody
/// is asked for a passphrase, and that nothing is taken that the running node has.
///
/// # Errors
/// Why it would not.
pub fn check_beside(new: &Layered, running: &Config, follows: bool) -> anyhow::Result<()> {
    check(new)?;
    let config = &new.config;
    genesis_of(config)?;
    let has_session = config.node.data == running.node.data;
    match has_session && config.keys == running.keys {
        true => look_at_keys(config, follows)?,
        false => check_keys(config, follows)?,
    }
    if !has_session && !storage::is_written(&config.node.data) {
        goes_on(config, follows)?;
    }
    // Who listens on all addresses has this one too: where the port is the same, it may be the running node that has it.
    let (listen, dashboard) = (config.net.listen, config.monitoring.listen);
    if listen != running.net.listen {
        listens(config, listen.port() == running.net.listen.port())?;
    }
    if dashboard != running.monitoring.listen {
        let port = |at: ServedAt| at.address().map(|address| address.port());
        serves(config, port(dashboard) == port(running.monitoring.listen))?;
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str, set: &[&str]) -> String {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("bitcraps.toml");
        std::fs::write(&path, text).expect("written");
        let set: Vec<String> = set.iter().map(|&set| set.to_owned()).collect();
        let layered = Layered::load(&path, &set).expect("its values can be");
        let problem = check(&layered).map_or_else(|error| error.to_string(), |()| String::new());
        problem.strip_prefix(&format!("{}", dir.path().display())).unwrap_or(&problem).to_owned()
    }

    #[test]
    fn what_only_a_look_at_the_value_finds_is_said_with_its_place() {
        for (text, set, says) in [
            ("\n[log]\nfilter = \"warm\"\n", &[][..], "/bitcraps.toml, line 3: log.filter: `warm` is no filter"),
            ("", &["log.filter=warm"], "--set: log.filter: `warm` is no filter"),
            ("[alerts]\nexec = [\"\"]\n", &[], "/bitcraps.toml, line 2: alerts.exec: the program has no name"),
            (
                "[alerts]\nwebhook = \"http://me:word@127.0.0.1/\"\n",
                &[],
                "/bitcraps.toml, line 2: alerts.webhook: a user and a password",
            ),
        ] {
            let found = problem(text, set);
            assert!(found.starts_with(says) && !found.contains("me:word"), "{found}");
        }
        assert_eq!(problem("", &[]), "");
    }

    #[test]
    fn an_address_that_is_taken_is_a_fault_but_beside_the_node_that_has_it_and_one_that_is_nowhere_always() {
        let players = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        let page = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut config = Config::default();
        config.net.listen = players.local_addr().expect("an address");
        config.monitoring.listen = ServedAt::Address(page.local_addr().expect("an address"));
        assert!(listens(&config, false).is_err() && serves(&config, false).is_err());
        assert!(listens(&config, true).is_ok() && serves(&config, true).is_ok());
        // An address for documentation, which no machine has.
        config.net.listen = "192.0.2.1:7400".parse().expect("an address");
        config.monitoring.listen = "192.0.2.1:7480".parse().expect("an address");
        assert!(listens(&config, true).is_err() && serves(&config, true).is_err());
    }
}
