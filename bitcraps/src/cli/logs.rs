//! The log: lines on standard error, of what a command is asked to say.

use std::io::IsTerminal;

use ::node::config::{LogConfig, LogFormat};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};
use words::Failure;

use super::bars::BesideBars;

/// The variable that says what is logged, for every command.
const VARIABLE: &str = "BITCRAPS_LOG";
/// That a block is refused, and taken where a quorum has voted for it, is as it should be; the library of the order warns.
const ALWAYS: &str = "arc_malachitebft_core_consensus=error,arc_malachitebft_core_driver=error";

type Filtered = Layered<reload::Layer<EnvFilter, Registry>, Registry>;
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// The log, which may be changed while it is written.
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    lines: reload::Handle<Lines, Filtered>,
}

/// What is logged: what the variable says, or else `usual`.
fn filter(usual: &str) -> Result<EnvFilter, Failure> {
    let (name, text) = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => (VARIABLE, text),
        _ => ("log.filter", usual.to_owned()),
    };
    let wrong = |error| Failure::Config(format!("{name}: `{text}` is no filter such as \"warn,net=debug\": {error}"));
    EnvFilter::try_new(format!("{ALWAYS},{text}")).map_err(wrong)
}

/// How a line is written. A log that nobody reads any more ends nothing; the library would say so where nobody reads either,
/// and panic.
fn lines(format: LogFormat) -> Lines {
    let layer = fmt::layer().with_target(false).log_internal_errors(false).with_writer(BesideBars::default);
    match format {
        LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => layer.with_target(true).with_ansi(false).json().flatten_event(true).boxed(),
    }
}

impl Logs {
    /// Begins the log of a command.
    ///
    /// # Errors
    /// If the variable is no filter.
    pub fn start(usual: &str) -> Result<Self, Failure> {
        let (filter_layer, filter) = reload::Layer::new(filter(usual)?);
        let (lines_layer, lines) = reload::Layer::new(lines(LogFormat::Text));
        tracing_subscriber::registry().with(filter_layer).with(lines_layer).init();
        Ok(Self { filter, lines })
    }

    /// Logs as a node's configuration says from now on.
    ///
    /// # Errors
    /// If that is no filter: then all stays as it was.
    pub fn change(&self, config: &LogConfig) -> Result<(), Failure> {
        let filter = filter(&config.filter)?;
        // Both live as long as the process.
        let _ = self.filter.reload(filter);
        let _ = self.lines.reload(lines(config.format));
        Ok(())
    }
}

/// Whether a configuration's log could be written so.
///
/// # Errors
/// If it could not.
pub fn check(config: &LogConfig) -> Result<(), Failure> {
    filter(&config.filter).map(drop)
}
