//! The command line: what a person types, and the codes that programs see.

/// Prints a line; whoever reads it may have gone, which ends the command and is no fault.
macro_rules! say {
    ($($arg:tt)*) => {
        $crate::cli::write_line(format_args!($($arg)*))?
    };
}

mod dev;
mod export;
mod odds;
mod replay;
mod script;

use std::fmt;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

/// BitCraps: provably fair craps with play chips.
#[derive(Parser, Debug)]
#[command(
    name = "bitcraps",
    version,
    about = "Provably fair craps with play chips: a node, its replay, and the exact odds.",
    arg_required_else_help = true,
    after_help = "Start here:\n  bitcraps dev                       tables and players on this machine, a recorded session\n  bitcraps replay DIR                re-run a session and check every roll, payout and signature\n  bitcraps odds --bet fire           what a bet is worth, exactly\n\nExit codes: 0 ok, 1 internal fault, 2 usage, 3 config, 4 data, 5 mismatch, 6 target missed, 7 unreachable."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Run tables and simulated players on this machine, and record the session.
    Dev(dev::DevArgs),
    /// Re-run a recorded session and check everything in it.
    Replay(replay::ReplayArgs),
    /// Play craps scenarios through the real engine.
    Script(script::ScriptArgs),
    /// Print the exact odds of every bet.
    Odds(odds::OddsArgs),
    /// Write a session's state for other people's tools.
    Export(export::ExportArgs),
}

/// How data is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One JSON object.
    Json,
    /// One JSON object a line.
    Ndjson,
    /// Comma separated values.
    Csv,
}

/// Why a command did not succeed: each kind has its exit code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Failure {
    /// The command was typed wrong: 2.
    Usage(String),
    /// A file or directory is not what it should be: 4.
    Data(String),
    /// Something that must be equal differs: 5.
    Mismatch(String),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(text) | Self::Data(text) | Self::Mismatch(text)) = self;
        f.write_str(text)
    }
}

impl std::error::Error for Failure {}

fn exit_code(error: &anyhow::Error) -> u8 {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return match failure {
            Failure::Usage(_) => 2,
            Failure::Data(_) => 4,
            Failure::Mismatch(_) => 5,
        };
    }
    let data =
        error.is::<storage::OpenError>() || error.is::<engine::genesis::GenesisError>() || error.is::<std::io::Error>();
    if data { 4 } else { 1 }
}

/// Reads the command line and runs the command.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Dev(args) => dev::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Script(args) => script::run(&args),
        Command::Odds(args) => odds::run(&args),
        Command::Export(args) => export::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has gone: nothing is wrong with us.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bitcraps: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

fn write_line(line: fmt::Arguments<'_>) -> std::io::Result<()> {
    use std::io::Write;
    writeln!(std::io::stdout().lock(), "{line}")
}

/// How this program was called, for the commands it suggests.
fn program() -> &'static str {
    if std::env::var_os("CARGO").is_some() { "cargo run --release --" } else { "bitcraps" }
}

/// A whole number with its thousands apart.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The known word nearest to a mistyped one, if any is near.
fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .min()
        .filter(|(far, _)| *far <= 3)
        .map(|(_, known)| known)
}
