//! Versions of the file: which keys it may have.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::meanings::MEANINGS;

/// What this program writes and knows all keys of.
pub(super) const VERSION: u32 = 1;

/// A version that this program knows; a file that says none is of the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version(u32);

impl Default for Version {
    fn default() -> Self {
        Self(VERSION)
    }
}

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match u32::deserialize(deserializer) {
            Ok(version) if version > 0 => Ok(Self(version)),
            _ => Err(D::Error::custom(format!("expected the version of this file, such as {VERSION}"))),
        }
    }
}

/// Of a file of a newer version what this program knows, and a sentence that names the rest; nothing of any other file, in which
/// whatever is not known is refused.
pub(super) fn without_unknown(text: &str) -> Option<(Spanned<DeTable<'_>>, String)> {
    let version = text.parse::<Table>().ok()?.get("version").and_then(Value::as_integer);
    // A file of this version or an older one is read strictly: there an unknown key is a slip, and must not be passed
    // over.
    let version = version.filter(|version| *version > VERSION.into())?;
    // This form keeps where in the text each value stands, so that errors can say it.
    let mut table = DeTable::parse(text).ok()?;
    let mut left_out: Vec<String> = Vec::new();
    for section in names(table.get_ref()).into_iter().filter(|section| section != "version") {
        if !MEANINGS.iter().any(|(of, ..)| *of == section) {
            table.get_mut().remove(&*section);
            left_out.push(section);
        } else if let Some(DeValue::Table(keys)) = table.get_mut().get_mut(&*section).map(Spanned::get_mut) {
            for key in names(keys) {
                if !MEANINGS.iter().any(|(of, name, _)| *of == section && *name == key) {
                    keys.remove(&*key);
                    left_out.push(format!("{section}.{key}"));
                }
            }
        }
    }
    let left_out = match left_out.is_empty() {
        true => "all of its keys are known".into(),
        false => format!(
            "it does not know {}, which {} left out",
            left_out.join(", "),
            if left_out.len() == 1 { "is" } else { "are" }
        ),
    };
    Some((table, format!("the file is of version {version}, and this program of version {VERSION}: {left_out}")))
}

fn names(table: &DeTable<'_>) -> Vec<String> {
    table.keys().map(|name| name.get_ref().clone().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::Config;

    #[test]
    fn of_a_newer_file_what_is_not_known_is_left_out_and_named() {
        let text = "version = 2\n[net]\nname = \"a\"\nshiny = 1\n[fancy]\nx = 1\n";
        let (config, warning) = Config::parse_any(text).expect("good");
        assert_eq!(config.net.name, "a");
        let says = "the file is of version 2, and this program of version 1: it does not know fancy, net.shiny, which are left out";
        assert_eq!(warning.as_deref(), Some(says));
        let wrong = Config::parse_any("version = 2\n[net]\nshiny = 1\nconnections_max = 0\n");
        let wrong = wrong.expect_err("what is known is checked");
        assert!(wrong.contains("0 is not from 1 to 20000"), "{wrong}");
        assert!(wrong.starts_with("TOML parse error at line 4, column 19\n"), "with its place in the file: {wrong}");
        assert!(wrong.contains("\n4 | connections_max = 0\n"), "{wrong}");
        assert_eq!(Config::parse_any("version = 1\n[net]\nname = \"a\"\n").expect("good").1, None);
        assert!(Config::parse_any("version = 1\n[net]\nshiny = 1\n").is_err(), "a file of this version has a slip");
        assert!(Config::parse_any("version = \"new\"\n").expect_err("no version").contains("such as 1"));
    }
}
