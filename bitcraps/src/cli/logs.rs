//! The log: lines on standard error, of what a command is asked to say.

use std::io::IsTerminal;

use ::node::config::{LogConfig, LogFormat};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};
use words::Failure;
use words::names::nearest;

use super::bars::BesideBars;

/// The variable that says what is logged, for every command.
const VARIABLE: &str = "BITCRAPS_LOG";
/// That a block is refused, and taken where a quorum has voted for it, is as it should be; the library of the order warns.
const ALWAYS: [&str; 2] = ["arc_malachitebft_core_consensus", "arc_malachitebft_core_driver"];

type Filtered = Layered<reload::Layer<Targets, Registry>, Registry>;
type Lines = Box<dyn Layer<Filtered> + Send + Sync>;

/// The log, which may be changed while it is written.
pub struct Logs {
    filter: reload::Handle<Targets, Registry>,
    lines: reload::Handle<Lines, Filtered>,
}

/// The levels, as a filter has them.
const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];
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

/// What the variable says, if anything.
fn variable() -> Option<String> {
    std::env::var(VARIABLE).ok().filter(|text| !text.is_empty())
}

/// What is logged: what the variable says, or else `usual`, which must be a filter all the same: whoever wrote it hears of a wrong
/// one now, and not when the variable is gone.
fn filter(variable: Option<&str>, usual: &str) -> Result<Targets, Failure> {
    let usual = parsed("log.filter", usual)?;
    variable.map_or(Ok(usual), |text| parsed(VARIABLE, text))
}

/// The filter that a text is, under its name.
fn parsed(name: &str, text: &str) -> Result<Targets, Failure> {
    let wrong =
        |error: String| Failure::Config(format!("{name}: `{text}` is no filter such as \"warn,net=debug\": {error}"));
    let parts: Result<Vec<_>, String> =
        text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(directive).collect();
    let parts = parts.map_err(wrong)?;
    // Whoever wants nothing gets nothing of the library either: simulated validators contradict themselves on purpose.
    let always = if parts == [(None, LevelFilter::OFF)] { &[] } else { ALWAYS.as_slice() };
    let mut filter = Targets::new().with_targets(always.iter().map(|target| (*target, LevelFilter::ERROR)));
    for (target, level) in parts {
        filter = match target {
            Some(target) => filter.with_target(target, level),
            None => filter.with_default(level),
        };
    }
    Ok(filter)
}

/// One part of a filter: a level, a target, or both. Any word could be a target, and of one that nobody has nothing would be
/// logged.
fn directive(part: &str) -> Result<(Option<&str>, LevelFilter), String> {
    let level =
        |word: &str| LEVELS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(word)).map(|(_, level)| level);
    let (target, level) = match part.rsplit_once('=') {
        Some((target, word)) => {
            let word = word.trim();
            let names = LEVELS.into_iter().map(|(name, _)| name);
            (target.trim(), level(word).ok_or_else(|| format!("`{word}` is no level{}", meant(word, names)))?)
        }
        None => match level(part) {
            Some(level) => return Ok((None, level)),
            None => (part, LevelFilter::TRACE),
        },
    };
    // What a target is not made of would be taken for one that nobody has: a filter of spans and fields, which there are none of.
    let odd = |letter: char| !(letter.is_ascii_alphanumeric() || "_-:".contains(letter));
    if let Some(letter) = target.chars().find(|letter| odd(*letter)) {
        return Err(format!("`{target}` is no part of a program: it has `{letter}`"));
    }
    let name = target.split(':').next().unwrap_or_default();
    let is_library = LIBRARIES.iter().any(|library| name.starts_with(library));
    if !is_library && !PARTS.contains(&name) {
        let known = LEVELS.into_iter().map(|(name, _)| name).chain(PARTS);
        return Err(format!("`{name}` is no level and no part of this program{}", meant(name, known)));
    }
    Ok((Some(target), level))
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
        let (filter_layer, filter) = reload::Layer::new(filter(variable().as_deref(), usual)?);
        let (lines_layer, lines) = reload::Layer::new(lines(LogFormat::Text));
        tracing_subscriber::registry().with(filter_layer).with(lines_layer).init();
        Ok(Self { filter, lines })
    }

    /// Logs as a node's configuration says from now on.
    ///
    /// # Errors
    /// If that is no filter: then all stays as it was.
    pub fn change(&self, config: &LogConfig) -> Result<(), Failure> {
        let filter = filter(variable().as_deref(), &config.filter)?;
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
    filter(variable().as_deref(), &config.filter).map(drop)
}

/// What goes over a key of the configuration in this process, if anything does.
pub fn goes_over(key: &str) -> Option<&'static str> {
    (key == "log.filter" && variable().is_some()).then_some(VARIABLE)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_filter_is_of_levels_and_of_parts_that_there_are() {
        for (part, is) in [
            ("warn", (None, LevelFilter::WARN)),
            ("WARN", (None, LevelFilter::WARN)),
            ("off", (None, LevelFilter::OFF)),
            ("net", (Some("net"), LevelFilter::TRACE)),
            ("net=Debug", (Some("net"), LevelFilter::DEBUG)),
            ("node::run = info", (Some("node::run"), LevelFilter::INFO)),
            ("quinn_proto=error", (Some("quinn_proto"), LevelFilter::ERROR)),
        ] {
            assert_eq!(directive(part), Ok(is), "{part}");
        }
        for (part, problem) in [
            ("warm", "`warm` is no level and no part of this program; did you mean `warn`?"),
            ("nett=debug", "`nett` is no level and no part of this program; did you mean `net`?"),
            ("net=debugg", "`debugg` is no level; did you mean `debug`?"),
            ("everything", "`everything` is no level and no part of this program"),
            ("node::run[a]=warn", "`node::run[a]` is no part of a program: it has `[`"),
            ("quinn=debug=warn", "`quinn=debug` is no part of a program: it has `=`"),
        ] {
            assert_eq!(directive(part), Err(problem.to_owned()), "{part}");
        }
        let off = filter(None, "off").expect("a filter");
        assert_eq!((off.default_level(), off.iter().count()), (Some(LevelFilter::OFF), 0), "nobody writes anything");
    }

    #[test]
    fn what_the_configuration_says_is_looked_at_under_the_variable_too() {
        let problem =
            |variable, usual| filter(variable, usual).map_or_else(|problem| problem.to_string(), |_| String::new());
        assert!(problem(Some("info"), "warm").starts_with("log.filter: `warm` is no filter"));
        assert!(problem(Some("warm"), "info").starts_with("BITCRAPS_LOG: `warm` is no filter"));
        let over = filter(Some("net=debug"), "off").expect("a filter");
        assert!(over.would_enable("net", &Level::DEBUG), "the variable goes over it");
    }

    #[test]
    fn a_filter_takes_what_it_names_and_of_the_order_what_went_wrong() {
        let filter = filter(None, "warn,net=debug,storage=off").expect("a filter");
        for (target, level, is) in [
            ("node::run", Level::WARN, true),
            ("node::run", Level::INFO, false),
            ("net::server", Level::DEBUG, true),
            ("net::server", Level::TRACE, false),
            ("storage", Level::ERROR, false),
            (ALWAYS[0], Level::ERROR, true),
            (ALWAYS[0], Level::WARN, false),
        ] {
            assert_eq!(filter.would_enable(target, &level), is, "{target} {level}");
        }
    }
}
