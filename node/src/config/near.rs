//! What was meant where a file says something that is not known.

use net::settings::Bounds;
use serde_json::{Value, json};

use super::meanings::MEANINGS;

/// The known key that is nearest to one that is not; nothing if none is near. One that begins with the other is near however much
/// longer it is.
///
/// `words::names::nearest` is for single words, of which a short one is another word with two letters changed. Keys are made of
/// several words with underscores, which count, and people leave whole ones away: so the longer a key, the more may differ.
pub(crate) fn nearest_key<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let far = |known: &str| match name.starts_with(known) || known.starts_with(name) {
        true if !known.is_empty() && !name.is_empty() => 1,
        _ => strsim::damerau_levenshtein(name, known),
    };
    let found = known.map(|known| (far(known), known)).min();
    found.filter(|(far, _)| *far <= (name.len() / 4).max(2)).map(|(_, known)| known)
}

/// What a key's value may be: times and sizes are numbers, or texts with a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kinds {
    Text,
    Number,
    NumberOrText,
    Switch,
    List,
}

impl Kinds {
    /// As the schema names them.
    pub(super) fn names(self) -> Value {
        match self {
            Self::Text => "string".into(),
            Self::Number => "integer".into(),
            Self::NumberOrText => json!(["integer", "string"]),
            Self::Switch => "boolean".into(),
            Self::List => "array".into(),
        }
    }
}

/// What the value of a key may be that has this default.
pub(super) fn kinds_of(key: &str, default: &Value) -> Kinds {
    match default {
        Value::Number(_) if key.ends_with("_ms") => Kinds::NumberOrText,
        Value::Number(_) => Kinds::Number,
        Value::Bool(_) => Kinds::Switch,
        Value::Array(_) => Kinds::List,
        _ if key.contains("bytes") || key == "min_free" => Kinds::NumberOrText,
        _ => Kinds::Text,
    }
}

/// What is known of the keys of a file.
pub(super) struct Known<'a> {
    /// The defaults, by section and key.
    pub defaults: &'a Value,
    /// The bounds of a key of a section.
    pub bounds: fn(&str, &str) -> Option<Bounds>,
}

/// What the library says of a file, with a hint at what was meant where that can be told.
pub(super) fn with_hint(problem: &str, text: &str, known: &Known<'_>) -> String {
    with_nearest(problem).or_else(|| with_kind(problem, text, known)).unwrap_or_else(|| problem.to_owned())
}

/// Of a key that is not known: the sections that have one of that name, or the nearest name, in place of all that there are.
fn with_nearest(problem: &str) -> Option<String> {
    let (before, known) = problem.split_once("`, expected ")?;
    let name = before.rsplit_once("unknown field `").map(|(_, name)| name)?;
    let known: Vec<&str> = known.split('`').skip(1).step_by(2).collect();
    // Where sections are expected, the key stands outside of all of them.
    if known.contains(&"node") {
        let of: Vec<String> =
            MEANINGS.iter().filter(|(_, key, _)| *key == name).map(|(section, ..)| format!("[{section}]")).collect();
        if !of.is_empty() {
            return Some(format!("{before}` outside of a section; it is a key of {}", of.join(" and of ")));
        }
    }
    nearest_key(name, known.into_iter()).map(|known| format!("{before}`; did you mean `{known}`?"))
}

/// Of a value that is none: what one of its key looks like. The value may be a secret and is not repeated.
fn with_kind(problem: &str, text: &str, known: &Known<'_>) -> Option<String> {
    let line: usize = problem.strip_prefix("TOML parse error at line ")?.split(',').next()?.parse().ok()?;
    let (key, value) = text.lines().nth(line.checked_sub(1)?)?.split_once('=')?;
    let (key, value) = (key.trim(), value.split('#').next()?.trim());
    let is_bare = !value.is_empty() && !value.starts_with(['"', '\'', '[', '{']);
    let is_none = format!("v = {value}").parse::<toml::Table>().is_err();
    // A value that TOML can read, or that was meant as a text or a list, is wrong in another way: the words of the
    // library stand.
    if !is_bare || !is_none {
        return None;
    }
    let is_number = value.chars().all(|sign| sign.is_ascii_digit() || matches!(sign, '+' | '-' | '_'));
    let section = section_at(text, line);
    let kinds = kinds_of(key, known.defaults.get(section)?.get(key)?);
    let hint = match kinds {
        Kinds::Text => format!("a text stands in quotes: {key} = \"...\""),
        // It was meant as a number and is none, as with a leading zero: the library says that better.
        Kinds::NumberOrText if is_number => return None,
        Kinds::NumberOrText => format!("a number with a unit stands in quotes: {key} = \"...\""),
        Kinds::Number => match (known.bounds)(section, key) {
            Some(Bounds { least, most, .. }) => format!("expected a whole number from {least} to {most}"),
            None => "expected a whole number".into(),
        },
        Kinds::Switch => format!("expected `{key} = true` or `{key} = false`"),
        Kinds::List => format!("a list stands in brackets, and each text of it in quotes: {key} = [\"...\"]"),
    };
    // Whoever wrote no text is told by the library to quote it, which is wrong here: its picture of the line stays, and
    // its words go.
    let kept = if matches!(kinds, Kinds::Text | Kinds::NumberOrText) { usize::MAX } else { PICTURE_LINES };
    let kept: Vec<&str> = problem.trim_end().lines().take(kept).collect();
    Some(format!("{}\n{hint}", kept.join("\n")))
}

/// Lines in which the library says where something is, and shows it.
const PICTURE_LINES: usize = 4;

/// The section in which a line stands.
fn section_at(text: &str, line: usize) -> &str {
    let heads = text.lines().take(line).filter_map(|line| line.trim().strip_prefix('[')?.split(']').next());
    heads.last().map_or("", str::trim)
}
