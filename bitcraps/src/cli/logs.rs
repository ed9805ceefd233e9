//! The log: lines on standard error, of what a command is asked to say.

use std::io::IsTerminal;

use ::node::config::{LogConfig, LogFormat};
use tracing::level_filters::{LevelFilter, STATIC_MAX_LEVEL};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};
use words::Failure;
use words::names::nearest;

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

/// The levels, as a filter has them.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// The parts of this program that write lines, and the libraries that do; those of one family begin alike.
const PARTS: [&str; 13] = [
    "bitcraps", "node", "net", "storage", "operate", "systems", "order", "engine", "audit", "load", "play", "keys",
    "sim",
];
const LIBRARIES: [&str; 13] = [
    "arc_malachitebft",
    "axum",
    "bevy",
    "commonware",
    "foyer",
    "hyper",
    "libp2p",
    "mdns_sd",
    "mio",
    "quinn",
    "rustls",
    "tokio",
    "tower",
];

/// What is logged: what the variable says, or else `usual`.
fn filter(usual: &str) -> Result<EnvFilter, Failure> {
    let (name, text) = match std::env::var(VARIABLE) {
        Ok(text) if !text.is_empty() => (VARIABLE, text),
        _ => ("log.filter", usual.to_owned()),
    };
    let wrong =
        |error: String| Failure::Config(format!("{name}: `{text}` is no filter such as \"warn,net=debug\": {error}"));
    let directives: Result<Vec<String>, String> =
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(directive).collect();
    let directives = directives.map_err(wrong)?.join(",");
    // Whoever wants nothing gets nothing of the library either: simulated validators contradict themselves on purpose.
    let all = if directives == "off" { directives } else { format!("{ALWAYS},{directives}") };
    EnvFilter::try_new(all).map_err(|error| wrong(error.to_string()))
}

/// One part of a filter, as the library takes it: a level, a target, or both. The library would take any word for a target that
/// nobody has, and log nothing; and it would write, in colour, of levels that this build does not have.
fn directive(part: &str) -> Result<String, String> {
    let (target, level) = match part.rsplit_once('=') {
        // The `=` of a field stands in brackets.
        Some((target, level)) if !level.contains([']', '}']) => (Some(target), Some(level)),
        _ if LEVELS.contains(&&*part.to_lowercase()) => (None, Some(part)),
        _ => (Some(part), None),
    };
    let level = level.map_or(Ok("trace".to_owned()), |level| match level.trim().to_lowercase() {
        level if LEVELS.contains(&&*level) => Ok(level),
        level => Err(format!("`{level}` is no level{}", meant(&level, LEVELS.into_iter()))),
    })?;
    let has_it = level.parse::<LevelFilter>().is_ok_and(|level| level <= STATIC_MAX_LEVEL);
    let level = if has_it { level } else { STATIC_MAX_LEVEL.to_string() };
    let Some(target) = target.map(str::trim) else { return Ok(level) };
    let name = target.split(['[', ':']).next().unwrap_or_default();
    let is_library = LIBRARIES.iter().any(|library| name.starts_with(library));
    if !is_library && !PARTS.contains(&name) && !target.starts_with('[') {
        let known = LEVELS.into_iter().chain(PARTS);
        return Err(format!("`{name}` is no level and no part of this program{}", meant(name, known)));
    }
    Ok(format!("{target}={level}"))
}

/// The known word that is nearest to one that is not, in words; nothing if none is near.
fn meant(word: &str, known: impl Iterator<Item = &'static str>) -> String {
    nearest(word, known).map_or_else(String::new, |known| format!("; did you mean `{known}`?"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_of_levels_and_of_parts_that_there_are() {
        for (part, is) in [
            ("warn", "warn"),
            ("WARN", "warn"),
            ("off", "off"),
            ("net=debug", "net=debug"),
            ("node::run = info", "node::run=info"),
            ("quinn_proto=error", "quinn_proto=error"),
            ("arc_malachitebft_core_driver=error", "arc_malachitebft_core_driver=error"),
        ] {
            assert_eq!(directive(part).as_deref(), Ok(is), "{part}");
        }
        for (part, problem) in [
            ("warm", "`warm` is no level and no part of this program; did you mean `warn`?"),
            ("nett=debug", "`nett` is no level and no part of this program; did you mean `net`?"),
            ("net=debugg", "`debugg` is no level; did you mean `debug`?"),
            ("everything", "`everything` is no level and no part of this program"),
        ] {
            assert_eq!(directive(part), Err(problem.to_owned()), "{part}");
        }
        assert_eq!(filter("off").expect("a filter").max_level_hint(), Some(LevelFilter::OFF), "nobody writes anything");
    }
}
