//! The layers of a configuration: defaults, the file, the environment, and what the command line sets. Each value says which it
//! is from, and what is not known is refused with the nearest name that is.

use std::ffi::OsString;
use std::fmt::{Display, Formatter};
use std::path::{Path, PathBuf};

use aside::{Wanted, with_owner};
use engine::limits::CONFIG_BYTES_MAX;
use serde::Deserialize;
use toml::de::DeTable;
use toml::{Table, Value};

use crate::config::{Config, ConfigError, MEANINGS, check_text, may_change, nearest_key};

/// What a variable of the environment begins with: `BITCRAPS_NET_LISTEN` is `net.listen`.
const PREFIX: &str = "BITCRAPS_";

/// Where a value is from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// Nobody said anything else.
    Default,
    /// The file, at this line.
    File(usize),
    /// A variable of the environment.
    Variable(String),
    /// The command line.
    Flag,
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File(line) => write!(f, "line {line}"),
            Self::Variable(name) => write!(f, "{name}"),
            Self::Flag => write!(f, "--set"),
        }
    }
}

/// A configuration, and where each of its values is from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layered {
    /// The whole.
    pub config: Config,
    /// Of each key, in the order of the file that `init` writes.
    pub origins: Vec<(&'static str, &'static str, Origin)>,
    /// What the operator should know of the file: that it is of a newer program.
    pub warning: Option<String>,
    /// The file.
    path: PathBuf,
}

/// A value that is set over the file.
struct Setting {
    section: &'static str,
    key: &'static str,
    text: String,
    origin: Origin,
}

impl Layered {
    /// Reads the file and sets over it what this process's environment and the command line say, `section.key=value` each.
    ///
    /// # Errors
    /// If the file cannot be read, or any of them says something that cannot be.
    pub fn load(path: &Path, set: &[String]) -> Result<Self, ConfigError> {
        Self::load_in(path, std::env::vars_os(), set)
    }

    fn load_in(
        path: &Path,
        environment: impl Iterator<Item = (OsString, OsString)>,
        set: &[String],
    ) -> Result<Self, ConfigError> {
        let text = words::text::read(path, CONFIG_BYTES_MAX).map_err(|error| ConfigError::Read {
            path: path.to_owned(),
            error: with_owner(path, Wanted::Read, error),
        })?;
        let wrong =
            |problem: String| ConfigError::Wrong { path: path.to_owned(), problem: problem.trim_end().to_owned() };
        let (mut config, warning) = Config::parse_any(&text).map_err(wrong)?;
        let mut origins: Vec<_> = MEANINGS.iter().map(|(section, key, _)| (*section, *key, Origin::Default)).collect();
        for (section, key, origin) in &mut origins {
            if let Some(line) = line_of(&text, section, key) {
                *origin = Origin::File(line);
            }
        }
        // Paths of the file start where it lies. What is set over the file below starts where the process does, so this
        // comes first.
        let folder = path.parent().unwrap_or(Path::new(""));
        for relative in config.paths() {
            *relative = folder.join(&relative);
            // Where the file lies is its operator's choice, and a name of a folder may be any bytes.
            check_text(relative).map_err(wrong)?;
        }
        let mut table = Table::try_from(&config).expect("a configuration is plain data, its paths are text");
        for setting in variables(environment)?.into_iter().chain(flags(set)?) {
            let Setting { section, key, text, origin } = setting;
            let value = value_of(section, key, &text).map_err(|problem| {
                let name = origin.to_string();
                ConfigError::Setting { name: format!("{name} {section}.{key}"), problem }
            })?;
            table[section].as_table_mut().expect("each section is a table").insert(key.to_owned(), value);
            let place = origins.iter_mut().find(|(of, name, _)| (*of, *name) == (section, key));
            place.expect("each key has a meaning").2 = origin;
        }
        let config = Config::deserialize(table).map_err(|error| wrong(error.to_string()))?;
        Ok(Self { config, origins, warning, path: path.to_owned() })
    }

    /// Where a value can be changed: a line of the file, a variable, or the command line; nothing for one that is a default, or
    /// of a key that there is not.
    pub fn place(&self, key: &str) -> Option<String> {
        let (section, name) = key.split_once('.')?;
        let (.., origin) = self.origins.iter().find(|(of, known, _)| (*of, *known) == (section, name))?;
        match origin {
            Origin::Default => None,
            Origin::File(line) => Some(format!("{}, line {line}", self.path.display())),
            Origin::Variable(_) | Origin::Flag => Some(origin.to_string()),
        }
    }

    /// Each key with its value, as TOML has it, and where that is from.
    pub fn rows(&self) -> Vec<(String, String, &Origin)> {
        let table = Table::try_from(&self.config).expect("a configuration is plain data");
        let rows = self.origins.iter();
        rows.map(|(section, key, origin)| (format!("{section}.{key}"), table[*section][*key].to_string(), origin))
            .collect()
    }
}

impl Layered {
    /// The rows for whoever is not the operator: what may hold a secret, or names a person, is left out unless it is empty.
    pub fn rows_without_secrets(&self) -> Vec<(String, String, &Origin)> {
        let mut rows = self.rows();
        for (key, value, _) in &mut rows {
            // An empty value hides nothing, and says that nothing is set.
            if may_hold_a_secret(key) && !matches!(&**value, "\"\"" | "[]") {
                *value = "(left out)".into();
            }
        }
        rows
    }
}

/// A key whose value differs between two configurations.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changed {
    /// The key's section and name, as `net.listen`.
    pub key: String,
    /// The value before and the value now, as TOML has them.
    pub values: (String, String),
    /// Whether a node that runs takes the new value.
    pub at_once: bool,
}

/// Whether the value of a key is kept out of logs: whoever has the address of a webhook may post to it.
fn may_hold_a_secret(key: &str) -> bool {
    matches!(key, "alerts.webhook" | "alerts.exec" | "alerts.mail_to")
}

impl Display for Changed {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Self { key, values: (was, is), at_once } = self;
        if may_hold_a_secret(key) {
            write!(f, "{key}: changed")?;
        } else {
            write!(f, "{key}: {was} -> {is}")?;
        }
        f.write_str(if *at_once { "" } else { ", from the next start on" })
    }
}

impl Layered {
    /// The keys that another configuration has with other values.
    pub fn changed(&self, other: &Self) -> Vec<Changed> {
        assert_eq!(self.origins.len(), other.origins.len(), "both have all keys, in one order");
        let rows = self.rows().into_iter().zip(other.rows()).zip(&self.origins);
        rows.filter(|(((_, was, _), (_, is, _)), _)| was != is)
            .map(|(((key, was, _), (_, is, _)), (section, name, _))| Changed {
                key,
                values: (was, is),
                at_once: may_change(section, name),
            })
            .collect()
    }

    /// This one, with what a node that runs takes of another.
    pub fn while_running(&self, new: Self) -> Self {
        Self { config: self.config.while_running(new.config), ..new }
    }
}

/// The line of a key in a file that was read already.
fn line_of(text: &str, section: &str, key: &str) -> Option<usize> {
    let table = DeTable::parse(text).ok()?;
    let section = table.get_ref().get(section)?.get_ref().as_table()?;
    let (found, _) = section.get_key_value(key)?;
    // `lines` does not count the empty line behind a line break, in which a key without indentation begins.
    Some(text[..found.span().start].lines().count().max(1) + usize::from(text[..found.span().start].ends_with('\n')))
}

/// Variables of this program and of its tests that are no keys.
const OTHERS: [&str; 15] = [
    "BITCRAPS_ALERT",
    "BITCRAPS_ALERT_LEVEL",
    "BITCRAPS_ALERT_NODE",
    "BITCRAPS_ALERT_WHY",
    "BITCRAPS_BENCH_DIR",
    "BITCRAPS_KILLS",
    "BITCRAPS_LOG",
    "BITCRAPS_MAKE_FIXTURE",
    "BITCRAPS_PASSPHRASE",
    "BITCRAPS_PASSPHRASE_FILE",
    "BITCRAPS_SCREENSHOTS",
    "BITCRAPS_SEEDS",
    "BITCRAPS_TABLES",
    "BITCRAPS_TIMES",
    "BITCRAPS_WRITE_PAGES",
];

/// What the environment sets. A name that has a section's beginning and is no key of it, or is nearly a key's, is a slip, and
/// refused.
fn variables(environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Vec<Setting>, ConfigError> {
    let mut settings = Vec::new();
    for (name, text) in environment {
        let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else { continue };
        let known = MEANINGS.iter().find(|(section, key, _)| variable(section, key) == name);
        let Some((section, key, _)) = known else {
            let is_section = |section: &str| name.starts_with(&variable(section, ""));
            let near = nearest(name, MEANINGS.iter().map(|(section, key, _)| variable(section, key)));
            let is_slip = MEANINGS.iter().any(|(section, ..)| is_section(section)) || !near.is_empty();
            if is_slip && !OTHERS.contains(&name) {
                return Err(ConfigError::Setting { name: name.to_owned(), problem: format!("no such key{near}") });
            }
            continue;
        };
        let Some(text) = text.to_str() else {
            return Err(ConfigError::Setting { name: name.to_owned(), problem: "no UTF-8 text".into() });
        };
        let origin = Origin::Variable(name.to_owned());
        settings.push(Setting { section, key, text: text.to_owned(), origin });
    }
    Ok(settings)
}

/// The variable of a key.
pub fn variable(section: &str, key: &str) -> String {
    format!("{PREFIX}{}_{}", section.to_uppercase(), key.to_uppercase())
}

/// What the command line sets.
fn flags(set: &[String]) -> Result<Vec<Setting>, ConfigError> {
    let full = |(section, key, _): &(&str, &str, &str)| format!("{section}.{key}");
    set.iter()
        .map(|flag| {
            let failed = |problem: String| ConfigError::Setting { name: format!("--set {flag}"), problem };
            let (name, text) = flag.split_once('=').ok_or_else(|| failed("expected SECTION.KEY=VALUE".into()))?;
            let known = MEANINGS.iter().find(|meaning| full(meaning) == name.trim());
            let Some((section, key, _)) = known else {
                return Err(failed(format!("no such key{}", nearest(name, MEANINGS.iter().map(full)))));
            };
            Ok(Setting { section, key, text: text.trim().to_owned(), origin: Origin::Flag })
        })
        .collect()
}

/// A value from text: as TOML has it, and where that is none or does not fit, as plain text. Paths start where the process does.
fn value_of(section: &str, key: &str, text: &str) -> Result<Value, String> {
    let fits = |value: &Value| {
        let table =
            Table::from_iter([(section.to_owned(), Value::Table(Table::from_iter([(key.to_owned(), value.clone())])))]);
        Config::deserialize(table).map_err(|error| error.to_string().trim_end().to_owned())
    };
    // An address or a bare word is no TOML and is meant as a text. Where it does not fit as one either, the first
    // problem says more.
    let plain = Value::String(text.to_owned());
    let parsed =
        format!("v = {text}").parse::<Table>().ok().and_then(|mut table| table.remove("v")).unwrap_or(plain.clone());
    let value = match fits(&parsed) {
        Ok(_) => parsed,
        Err(problem) => fits(&plain).map(|_| plain).map_err(|_| problem)?,
    };
    match value {
        Value::String(path) if section == "keys" || (section, key) == ("node", "data") => {
            let path = std::path::absolute(path).map_err(|error| error.to_string())?;
            path.to_str().map(|path| Value::String(path.to_owned())).ok_or_else(|| "no UTF-8 text".into())
        }
        value => Ok(value),
    }
}

/// The known name nearest to one that is not known, in words; nothing if none is near.
fn nearest(name: &str, known: impl Iterator<Item = String>) -> String {
    let known: Vec<String> = known.collect();
    let own = |name: &str| name.strip_prefix(PREFIX).unwrap_or(name).to_owned();
    // All names begin alike: with their beginnings, each would be near to each.
    let short: Vec<String> = known.iter().map(|known| own(known)).collect();
    let near = nearest_key(&own(name), short.iter().map(String::as_str));
    let near = near.and_then(|near| known.iter().find(|known| own(known) == near));
    near.map_or_else(String::new, |known| format!("; did you mean `{known}`?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str, environment: &[(&str, &str)], set: &[&str]) -> Result<Layered, String> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("bitcraps.toml");
        std::fs::write(&path, text).expect("written");
        let environment = environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let set: Vec<String> = set.iter().map(|&set| set.to_owned()).collect();
        Layered::load_in(&path, environment, &set).map_err(|error| error.to_string())
    }

    #[test]
    fn a_later_layer_goes_over_an_earlier_one_and_each_value_says_its_own() {
        let text = "# a node\n[net]\nname = \"file\"\nban_ms = 7000\nconnections_max = 5\n";
        let environment = [("BITCRAPS_NET_NAME", "variable"), ("BITCRAPS_NET_BAN_MS", "30s"), ("BITCRAPS_LOG", "info")];
        let layered = load(text, &environment, &["net.name=flag", "net.mdns=true"]).expect("good");
        assert_eq!(layered.config.net.name, "flag");
        assert_eq!(layered.config.net.ban.as_secs(), 30);
        assert_eq!((layered.config.net.connections_max, layered.config.net.mdns), (5, true));
        let of = |key: &str| {
            layered.origins.iter().find(|(section, name, _)| (*section, *name) == ("net", key)).map(|found| &found.2)
        };
        assert_eq!(of("name"), Some(&Origin::Flag));
        assert_eq!(of("ban_ms"), Some(&Origin::Variable("BITCRAPS_NET_BAN_MS".into())));
        assert_eq!(of("connections_max"), Some(&Origin::File(5)));
        assert_eq!(of("listen"), Some(&Origin::Default));
        let place = |key: &str| layered.place(key);
        assert!(place("net.connections_max").is_some_and(|place| place.ends_with("bitcraps.toml, line 5")));
        assert_eq!((place("net.name"), place("net.listen"), place("net.x")), (Some("--set".into()), None, None));
        assert_eq!(place("net.ban_ms"), Some("BITCRAPS_NET_BAN_MS".into()));
    }

    #[test]
    fn what_changed_between_two_files_is_said_with_when_it_counts() {
        let before = load("[net]\nname = \"a\"\n[log]\nfilter = \"info\"\n", &[], &[]).expect("good");
        let after = load("[net]\nname = \"b\"\n[log]\nfilter = \"debug\"\n", &[], &[]).expect("good");
        // The two files lie in two folders, from which their paths start.
        let is_no_path = |changed: &&Changed| !changed.key.starts_with("keys") && changed.key != "node.data";
        let said: Vec<_> = before.changed(&after).iter().filter(is_no_path).map(Changed::to_string).collect();
        assert_eq!(said, ["log.filter: \"info\" -> \"debug\"", "net.name: \"a\" -> \"b\", from the next start on"]);
        let hooked =
            load("[net]\nname = \"a\"\n[log]\nfilter = \"info\"\n", &[], &["alerts.webhook=http://x.example/token"]);
        let said: Vec<_> = before.changed(&hooked.expect("good")).iter().map(Changed::to_string).collect();
        assert!(said.contains(&"alerts.webhook: changed".to_owned()) && !said.concat().contains("token"), "{said:?}");
        let running = before.while_running(after.clone());
        assert!(before.changed(&running).iter().all(|changed| changed.at_once), "nothing else was taken");
        assert!(running.changed(&after).iter().all(|changed| !changed.at_once), "and nothing was left out");
    }

    #[test]
    fn what_is_set_wrongly_is_named_with_what_was_meant() {
        for (environment, set, says) in [
            (
                &[("BITCRAPS_NET_LISTN", "x")][..],
                &[][..],
                "BITCRAPS_NET_LISTN: no such key; did you mean `BITCRAPS_NET_LISTEN`?",
            ),
            (
                &[("BITCRAPS_NET_LISTEN", "x")],
                &[],
                "BITCRAPS_NET_LISTEN net.listen: `x` is no address such as 127.0.0.1:7400",
            ),
            (
                &[("BITCRAPS_STORGE_MIN_FREE", "1GB")],
                &[],
                "BITCRAPS_STORGE_MIN_FREE: no such key; did you mean `BITCRAPS_STORAGE_MIN_FREE`?",
            ),
            (&[("BITCRAPS_LOGFILTER", "info")], &[], "did you mean `BITCRAPS_LOG_FILTER`?"),
            (&[], &["net.connections_max=0"], "--set net.connections_max: 0 is not from 1 to 20000"),
            (&[], &["net.conections_max=3"], "no such key; did you mean `net.connections_max`?"),
            (&[], &["net"], "expected SECTION.KEY=VALUE"),
        ] {
            let problem = load("", environment, set).expect_err(says);
            assert!(problem.contains(says), "{problem}");
        }
    }

    #[test]
    fn a_path_of_the_environment_starts_where_the_process_does() {
        let others = OTHERS.map(|name| (name, "x"));
        load("", &others, &[]).expect("variables that are no keys are left alone");
        load("", &[("BITCRAPS_COLOUR_OF_THE_FELT", "green")], &[]).expect("what is near nothing is somebody else's");
        let layered = load("", &[("BITCRAPS_NODE_DATA", "there")], &[]).expect("good");
        assert_eq!(layered.config.node.data, std::path::absolute("there").expect("a path"));
        assert!(layered.config.keys.net.ends_with("keys/net.pem"));
    }

    #[test]
    #[cfg(unix)]
    fn a_folder_whose_name_is_no_text_is_refused_in_words() {
        use std::os::unix::ffi::OsStrExt;

        let dir = tempfile::tempdir().expect("a directory");
        let folder = dir.path().join(std::ffi::OsStr::from_bytes(b"n\xffde"));
        std::fs::create_dir(&folder).expect("a folder");
        let path = folder.join("bitcraps.toml");
        std::fs::write(&path, "[net]\nname = \"a\"\n").expect("written");
        let problem = Layered::load_in(&path, std::iter::empty(), &[]).expect_err("its paths are no text");
        let said = problem.to_string();
        assert!(matches!(problem, ConfigError::Wrong { .. }) && said.contains("is no UTF-8 text"), "{said}");
    }

    #[test]
    fn a_size_and_a_time_are_read_as_people_write_them() {
        let text = "[net]\nbuffer_bytes_max = \"512MB\"\nidle_timeout_ms = \"30s\"\nban_ms = \"2h\"\nhandshake_timeout_ms = \"1500ms\"\n";
        let net = load(text, &[], &[]).expect("good").config.net;
        assert_eq!(net.buffer_bytes_max, 512_000_000);
        assert_eq!(
            (net.idle_timeout.as_secs(), net.ban.as_secs(), net.handshake_timeout.as_millis()),
            (30, 7_200, 1_500)
        );
    }
}
