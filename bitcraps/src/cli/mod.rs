//! The command line: what a person types, and the codes that programs see.

/// Prints a line; whoever reads it may have gone, which is no fault.
macro_rules! say {
    ($($arg:tt)*) => {
        $crate::cli::out::line(format_args!($($arg)*))?
    };
}

mod args;
mod session;
mod signals;
mod logs;
mod out;
mod bars;
mod phrases;
mod dev;
mod cluster;
mod init;
mod node;
mod reload;
mod past;
mod top;
mod config;
mod doctor;
mod support;
mod health;
mod play;
mod replay;
mod audit_dice;
mod bisect;
mod load;
mod sim;
mod script;
mod odds;
mod history;
mod export;
mod db;
mod shell;

use std::process::ExitCode;

use ::node::config::LogConfig;
use clap::{CommandFactory, Parser, Subcommand};
use operate::top::TopError;
use words::Failure;

use self::logs::Logs;

/// BitCraps: provably fair craps with play chips.
#[derive(Parser, Debug)]
#[command(
    name = "bitcraps",
    version,
    about = "Provably fair craps with play chips: a node, its replay, and the exact odds.",
    arg_required_else_help = true,
    after_help = "Start here:\n  bitcraps dev                       tables and players on this machine, a recorded session\n  bitcraps replay DIR                re-run a session and check every roll, payout and signature\n  bitcraps audit-dice DIR            who could have foreseen its rolls, and whether they look like it\n  bitcraps odds --bet fire           what a bet is worth, exactly\n\nExit codes: 0 ok, 1 internal fault, 2 usage, 3 config, 4 data, 5 mismatch,\n6 target missed or dice unusual, 7 unreachable, 8 in use by another process."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run tables and simulated players on this machine, and record the session.
    Dev(dev::args::DevArgs),
    /// Make a node: keys, genesis, configuration.
    Init(init::InitArgs),
    /// Run a node that people and programs connect to.
    Node(node::NodeArgs),
    /// Watch a running node in this terminal.
    Top(top::TopArgs),
    /// Check or show a node's configuration.
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Say whether this machine is one on which a node does well, and what mends what is not.
    Doctor(doctor::DoctorArgs),
    /// Pack what whoever helps you needs to see of a node into one file, without any secret.
    Support(support::SupportArgs),
    /// Ask nodes how they are; exit code 7 if something is wrong.
    Health(health::HealthArgs),
    /// Play, in this terminal or by a script.
    Play(play::PlayArgs),
    /// Re-run a recorded session and check everything in it.
    Replay(replay::ReplayArgs),
    /// Say who could have foreseen each roll of a session, and test whether its dice and results are unusual.
    AuditDice(audit_dice::AuditDiceArgs),
    /// Find the first thing in which two sessions differ, or a session and its own replay.
    Bisect(bisect::BisectArgs),
    /// Send many players against a node, and judge what came of it.
    Load(load::LoadArgs),
    /// Run a whole cluster in one thread from one seed, with faults, and check what must hold. For development.
    Sim(sim::SimArgs),
    /// Play craps scenarios through the real engine.
    Script(script::ScriptArgs),
    /// Print the exact odds of every bet.
    Odds(odds::OddsArgs),
    /// Show what happened to a player, at a table, or at a roll.
    History(history::HistoryArgs),
    /// Write a session's rolls, bets, payouts and state for other people's tools.
    Export(export::ExportArgs),
    /// Take stock of a session's files, check, compact or copy them.
    #[command(subcommand)]
    Db(db::DbCommand),
    /// Print completions for a shell.
    Completions(shell::CompletionsArgs),
    /// Write the manual's pages.
    Man(shell::ManArgs),
}

/// The code that a command ends with for an error.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return match failure {
            Failure::Usage(_) => 2,
            Failure::Config(_) => 3,
            Failure::Data(_) => 4,
            Failure::Mismatch(_) => 5,
            Failure::Target(_) => 6,
            Failure::Unreachable(_) => 7,
            Failure::InUse(_) => 8,
        };
    }
    let io = |cause: &(dyn std::error::Error + 'static)| {
        cause.downcast_ref::<std::io::Error>().is_some_and(storage::backend::is_full)
    };
    // A disk without room is nobody's configuration.
    if error.chain().any(io) {
        return 4;
    }
    let config = error.is::<::node::config::ConfigError>()
        || error.is::<keys::keyfile::KeyFileError>()
        || error.is::<net::server::StartError>()
        || error.is::<operate::monitor::MonitorError>();
    if config {
        return 3;
    }
    match error.downcast_ref() {
        Some(TopError::NoTerminal(_)) => return 2,
        Some(TopError::Unreachable { .. }) => return 7,
        Some(TopError::Terminal(_)) | None => {}
    }
    if matches!(error.downcast_ref(), Some(storage::OpenError::Locked(_))) {
        return 8;
    }
    if error.chain().any(|cause| cause.is::<net::client::Lost>()) {
        return 7;
    }
    let data = error.is::<storage::OpenError>()
        || error.is::<engine::genesis::GenesisError>()
        || error.is::<systems::machine::JoinError>()
        || error.chain().any(|cause| cause.is::<std::io::Error>() || is_csv_io(cause))
        || error.is::<storage::Damage>()
        || error.is::<audit::walker::GivenUp>();
    if data { 4 } else { 1 }
}

/// The library of CSV wraps what the system says, and names no cause.
fn is_csv_io(cause: &(dyn std::error::Error + 'static)) -> bool {
    cause.downcast_ref::<csv::Error>().is_some_and(|error| matches!(error.kind(), csv::ErrorKind::Io(_)))
}

/// Says what `parsed` has to say instead of a command: help and the version, which were asked for, or what was typed wrong.
fn said_at_once(parsed: &clap::Error) -> anyhow::Result<ExitCode> {
    let said = parsed.print();
    if !parsed.use_stderr() {
        out::heard(said)?;
    }
    Ok(ExitCode::from(u8::try_from(parsed.exit_code()).expect("clap ends with 0 or 2")))
}

/// Reads the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(parsed) => return ended(said_at_once(&parsed)),
    };
    let logs = match logs(&cli.command) {
        Ok(logs) => logs,
        Err(failure) => return ended(Err(failure.into())),
    };
    let result = match cli.command {
        Command::Dev(args) => dev::run(&args),
        Command::Init(args) => init::run(&args),
        Command::Node(args) => node::run(&args, logs.expect("a node has a log")),
        Command::Top(args) => top::run(&args),
        Command::Config(command) => config::run(&command),
        Command::Doctor(args) => doctor::run(&args),
        Command::Support(args) => support::run(&args),
        Command::Health(args) => health::run(&args),
        Command::Play(args) => play::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::AuditDice(args) => audit_dice::run(&args),
        Command::Bisect(args) => bisect::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Sim(args) => sim::run(&args),
        Command::Script(args) => script::run(&args),
        Command::Odds(args) => odds::run(&args),
        Command::History(args) => history::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Db(command) => db::run(&command),
        Command::Completions(args) => shell::completions(&args, Cli::command()),
        Command::Man(args) => shell::man(&args, Cli::command()),
    };
    ended(result.map(|()| ExitCode::SUCCESS))
}

/// Says why a command failed, if it did, and which code it ends with.
fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        out::complain(&format!("bitcraps: {}", causes(&error)));
        ExitCode::from(exit_code(&error))
    })
}

/// An error and its causes, each said once: some errors have their cause's words in their own.
fn causes(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Begins the log of a command; `play` and `top` have the screen for themselves.
fn logs(command: &Command) -> Result<Option<Logs>, Failure> {
    // An operator reads back what a node did; elsewhere somebody looks on, and has a status line.
    // Of simulated nodes, what happened is counted and told in the end.
    let usual = match command {
        Command::Play(_) | Command::Top(_) => return Ok(None),
        Command::Node(_) => LogConfig::default().filter,
        Command::Sim(_) => "off".into(),
        _ => "warn".into(),
    };
    Logs::start(&usual).map(Some)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use anyhow::Context;
    use clap::Parser;
    use clap::error::ErrorKind;
    use operate::top::TopError;

    use super::Cli;

    #[test]
    fn a_cause_is_said_once() {
        let inner = || anyhow::Error::msg("no such file");
        assert_eq!(super::causes(&inner()), "no such file");
        assert_eq!(super::causes(&inner().context("journal")), "journal: no such file");
        let twice = Err::<(), _>(inner()).context("journal: no such file").context("opening");
        assert_eq!(super::causes(&twice.expect_err("an error")), "opening: journal: no such file");
    }

    #[test]
    fn a_command_that_wants_a_terminal_ends_without_one_as_if_typed_wrong() {
        let here = std::net::SocketAddr::from(([127, 0, 0, 1], 7_480));
        assert_eq!(super::exit_code(&TopError::NoTerminal(here).into()), 2, "as `play` does");
        let nobody = TopError::Unreachable { address: here, problem: "nobody".into() };
        assert_eq!(super::exit_code(&nobody.into()), 7);
    }

    #[test]
    fn keys_that_a_genesis_cannot_have_are_its_fault_and_no_internal_one() {
        assert_eq!(super::exit_code(&systems::machine::JoinError::GroupKey.into()), 4, "each start would end the same");
    }

    /// What people read: the README, the guides and what is packaged.
    fn pages() -> Vec<PathBuf> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace");
        let mut folders = vec![root.join("docs"), root.join("packaging")];
        let mut pages = vec![root.join("README.md"), root.join("CHANGELOG.md")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("a folder") {
                let path = entry.expect("an entry").path();
                if path.is_dir() { folders.push(path) } else { pages.push(path) }
            }
        }
        pages
    }

    /// The commands of a page: between backticks, and lines that begin with one.
    fn commands(page: &str) -> Vec<Vec<String>> {
        let marked = page.split('`').skip(1).step_by(2);
        let begun = page.lines().map(|line| line.trim_start_matches(['$', ' ']));
        let named = marked.filter(|text| !text.contains('\n')).chain(begun);
        named
            .filter_map(|text| {
                let starts =
                    ["bitcraps ", "cargo run --release -- ", "target/debug/bitcraps ", "target/dist/bitcraps "];
                let words = starts.iter().find_map(|start| text.strip_prefix(start))?;
                // Beside a command, behind a gap, stands what it does.
                let words = words.split("  ").next()?;
                // A body that is signed begins with the name of what it is, and a number.
                let is_domain =
                    words.ends_with(" 1") && words.chars().all(|one| one.is_ascii_lowercase() || " 1".contains(one));
                let ends = ["|", ">", "&&", "#", "2>", "<", "&", ";", "\\", "..."];
                let of = words.split_whitespace().take_while(|word| !ends.contains(word));
                let is_command = words.starts_with(|first: char| first.is_ascii_lowercase()) && !is_domain;
                is_command
                    .then(|| of.map(|word| word.trim_matches(['\'', '"', ',', ';', '.', ')']).to_owned()).collect())
            })
            .collect()
    }

    #[test]
    fn the_program_takes_every_command_that_a_page_names() {
        let mut taken = 0;
        for page in pages() {
            // Pictures are no text.
            let Ok(text) = std::fs::read_to_string(&page) else { continue };
            for words in commands(&text) {
                let parsed = Cli::try_parse_from(["bitcraps".to_owned()].iter().chain(&words));
                // What a reader is to put in is not there yet, or is a word in capitals.
                let is_open = |kind| {
                    matches!(
                        kind,
                        ErrorKind::MissingRequiredArgument
                            | ErrorKind::MissingSubcommand
                            | ErrorKind::DisplayHelp
                            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
                            | ErrorKind::InvalidValue
                            | ErrorKind::ValueValidation
                    )
                };
                match parsed {
                    Ok(_) => taken += 1,
                    Err(error) if is_open(error.kind()) => {}
                    Err(error) => panic!("{}: `bitcraps {}`: {error}", page.display(), words.join(" ")),
                }
            }
        }
        assert!(taken >= 60, "{taken} commands were found");
    }
}
