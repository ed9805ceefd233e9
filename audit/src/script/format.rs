//! The scenario file: read strictly, each fault named with its scenario and field.

use std::fmt;

use engine::rules::DiceSource;
use engine::{Dice, TableRules};
use serde::de::{Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use thiserror::Error;

/// The format that this code reads.
const FORMAT: u64 = 2;

/// A player's chips at most: the house that is built for a scenario can grant as many to all of a full table.
pub const CHIPS_MAX: u64 = 1 << 57;

/// A scenario file that cannot be read.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum FormatError {
    /// Not JSON, or not a list of scenarios.
    #[error("{0}")]
    File(String),
    /// A field of a scenario.
    #[error("scenario {index} ({name}): {field}: {problem}")]
    Field {
        /// Its place in the file, from 0.
        index: usize,
        /// Its name, as far as it has one.
        name: String,
        /// The path of the field.
        field: String,
        /// What is wrong with it.
        problem: String,
    },
}

/// One table, from empty felt.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it belongs to.
    pub category: String,
    /// Names and starting chips, in seat order; the first is the first shooter.
    pub players: Vec<(String, u64)>,
    /// The table's rules.
    pub rules: TableRules,
    /// The dice.
    pub rolls: Vec<Dice>,
    /// What the players do.
    pub actions: Vec<Action>,
    /// What must come out, if the file says so.
    pub expected: Option<Value>,
}

/// What a player does before a roll.
#[derive(Clone, Debug)]
pub struct Action {
    /// Before which roll, from 0; after the last is their number.
    pub at_roll: usize,
    /// Who.
    pub player: String,
    /// What.
    pub op: Op,
    /// On which bet.
    pub bet: String,
    /// The box number of that bet, if it has one.
    pub number: Option<u8>,
}

/// The kinds of action.
#[derive(Clone, Copy, Debug)]
pub enum Op {
    /// Bets, or adds to a bet.
    Bet {
        /// Chips added.
        amount: u64,
        /// Working setting, if one is given.
        working: Option<bool>,
    },
    /// Takes a bet down.
    TakeDown,
    /// Sets a bet's total.
    SetAmount {
        /// The total.
        amount: u64,
    },
    /// Calls a bet on, off, or to its default.
    Working {
        /// On, off, or default.
        value: Option<bool>,
    },
}

/// A problem at a field's path.
type Wrong = (String, String);

fn wrong<T>(field: impl Into<String>, problem: impl Into<String>) -> Result<T, Wrong> {
    Err((field.into(), problem.into()))
}

/// Reads a scenario file.
///
/// # Errors
/// The first fault, with the scenario and the field.
pub fn read_scenarios(text: &str) -> Result<Vec<Scenario>, FormatError> {
    let unreadable = |error| FormatError::File(format!("not JSON of a scenario file: {error}"));
    let Strict(file) = serde_json::from_str(text).map_err(unreadable)?;
    // The format is looked at before anything else: another one may have other fields.
    if file["format"].as_u64() != Some(FORMAT) {
        return Err(FormatError::File(format!("format is {}, this version reads {FORMAT}", file["format"])));
    }
    let in_file = |(field, problem): Wrong| FormatError::File(format!("{field}: {problem}"));
    known(as_object("the file", &file).map_err(in_file)?, "", &["format", "scenarios"]).map_err(in_file)?;
    let list = file["scenarios"].as_array().ok_or_else(|| FormatError::File("scenarios is not a list".into()))?;
    if list.is_empty() {
        return Err(FormatError::File("scenarios is empty: there is nothing to play".into()));
    }
    list.iter()
        .enumerate()
        .map(|(index, value)| {
            read(value).map_err(|(field, problem)| {
                let name = value["name"].as_str().unwrap_or("no name").to_owned();
                FormatError::Field { index, name, field, problem }
            })
        })
        .collect()
}

fn read(value: &Value) -> Result<Scenario, Wrong> {
    let object = as_object("scenario", value)?;
    // A field that is not known is a slip: the scenario would be played without what it was to show.
    known(object, "", &["name", "category", "players", "rules", "rolls", "actions", "expected"])?;
    let players = as_object("players", field(object, "", "players")?)?;
    let chips = |(name, chips): (&String, &Value)| match chips.as_u64() {
        Some(chips) if chips > CHIPS_MAX => {
            wrong(format!("players.{name}"), format!("{chips}; it is at most {CHIPS_MAX}"))
        }
        Some(chips) => Ok((name.clone(), chips)),
        None => wrong(format!("players.{name}"), format!("{chips} is not a number of chips")),
    };
    let players: Vec<(String, u64)> = players.iter().map(chips).collect::<Result<_, _>>()?;
    if players.is_empty() || players.len() > engine::limits::SEATS_MAX as usize {
        return wrong("players", format!("{} players; a table has 1 to {}", players.len(), engine::limits::SEATS_MAX));
    }
    let rolls = as_array("rolls", field(object, "", "rolls")?)?;
    let rolls: Vec<Dice> = rolls.iter().enumerate().map(|(i, roll)| dice(i, roll)).collect::<Result<_, _>>()?;
    let actions = as_array("actions", field(object, "", "actions")?)?;
    let actions = actions.iter().enumerate().map(|(i, action)| read_action(i, action, rolls.len()));
    Ok(Scenario {
        name: text(object, "", "name")?,
        category: object.get("category").map_or(Ok(String::new()), |_| text(object, "", "category"))?,
        rules: rules(object.get("rules"))?,
        actions: actions.collect::<Result<_, _>>()?,
        expected: object.get("expected").cloned(),
        players,
        rolls,
    })
}

fn dice(index: usize, value: &Value) -> Result<Dice, Wrong> {
    let faces: Vec<u8> =
        value.as_array().into_iter().flatten().filter_map(Value::as_u64).filter_map(|f| f.try_into().ok()).collect();
    // What is no face falls out of the list, so the length that it had is compared as well.
    match (&faces[..], value.as_array().map(Vec::len)) {
        ([first, second], Some(2)) => Dice::new(*first, *second),
        _ => None,
    }
    .map_or_else(|| wrong(format!("rolls.{index}"), format!("{value} is not two faces from 1 to 6")), Ok)
}

fn read_action(index: usize, value: &Value, rolls: usize) -> Result<Action, Wrong> {
    let path = format!("actions.{index}");
    let object = as_object(&path, value)?;
    let op = text(object, &path, "op")?;
    // Each kind of action has fields of its own: one that it does not have would be passed over without a word.
    let own: &[&str] = match op.as_str() {
        "bet" => &["amount", "working"],
        "take_down" => &[],
        "set_amount" => &["amount"],
        "working" => &["value"],
        _ => return wrong(format!("{path}.op"), format!("`{op}` is not bet, take_down, set_amount or working")),
    };
    known(object, &path, &[&["at_roll", "player", "op", "bet", "number"], own].concat())?;
    let amount = || match field(object, &path, "amount")?.as_u64() {
        Some(amount) => Ok(amount),
        None => wrong(format!("{path}.amount"), "is not a number of chips"),
    };
    let flag = |key: &str| match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(on)) => Ok(Some(*on)),
        Some(other) => wrong(format!("{path}.{key}"), format!("{other} is not true, false or null")),
    };
    let op = match op.as_str() {
        "bet" => Op::Bet { amount: amount()?, working: flag("working")? },
        "take_down" => Op::TakeDown,
        "set_amount" => Op::SetAmount { amount: amount()? },
        _ => {
            // The field must be there: null stands for the default, and a field that is missing is a slip.
            field(object, &path, "value")?;
            Op::Working { value: flag("value")? }
        }
    };
    let at_roll = match field(object, &path, "at_roll")?.as_u64() {
        // As many as there are rolls stands for the time behind the last one.
        Some(at) if at <= rolls as u64 => at as usize,
        _ => return wrong(format!("{path}.at_roll"), format!("is not a roll from 0 to {rolls}")),
    };
    let number = match object.get("number") {
        None | Some(Value::Null) => None,
        Some(number) => match number.as_u64().and_then(|number| u8::try_from(number).ok()) {
            Some(number) => Some(number),
            None => return wrong(format!("{path}.number"), format!("{number} is not a box number")),
        },
    };
    Ok(Action { at_roll, player: text(object, &path, "player")?, op, bet: text(object, &path, "bet")?, number })
}

fn rules(value: Option<&Value>) -> Result<TableRules, Wrong> {
    let mut rules = TableRules::default();
    let Some(value) = value else { return Ok(rules) };
    for (key, value) in as_object("rules", value)? {
        let path = format!("rules.{key}");
        let text = match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Object(map) => by_number(&path, map, &rules, key)?,
            _ => return wrong(path, format!("{value} is no rule's value")),
        };
        rules.set(key, &text).or_else(|problem| wrong(path, problem))?;
    }
    // A pledged table rolls when its player calls and opens, by dice that follow from what was opened: the file says neither.
    if rules.dice != DiceSource::Beacon {
        return wrong("rules.dice", "is beacon here: a scenario gives the dice, and nobody pledges any");
    }
    // A problem of values together begins with the key that it is about.
    let key = |problem: &str| problem.split(' ').next().unwrap_or_default().to_owned();
    rules.check().or_else(|problem| wrong(format!("rules.{}", key(&problem)), problem))?;
    Ok(rules)
}

/// Odds maxima by box number; numbers that are not named keep theirs.
fn by_number(path: &str, map: &Map<String, Value>, rules: &TableRules, key: &str) -> Result<String, Wrong> {
    let mut multiples = if key == "lay_odds_max" { rules.lay_odds_max } else { rules.take_odds_max };
    for (number, multiple) in map {
        let index = number.parse().ok().and_then(engine::dice::box_index);
        match (index, multiple.as_u64().and_then(|multiple| u32::try_from(multiple).ok())) {
            (Some(index), Some(multiple)) => multiples[index] = multiple,
            (None, _) => return wrong(format!("{path}.{number}"), "is not a box number"),
            (_, None) => return wrong(format!("{path}.{number}"), format!("{multiple} is not a multiple")),
        }
    }
    Ok(multiples.map(|multiple| multiple.to_string()).join("-"))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

fn field<'a>(object: &'a Map<String, Value>, path: &str, key: &str) -> Result<&'a Value, Wrong> {
    object.get(key).map_or_else(|| wrong(join(path, key), "is missing"), Ok)
}

fn text(object: &Map<String, Value>, path: &str, key: &str) -> Result<String, Wrong> {
    field(object, path, key)?.as_str().map_or_else(|| wrong(join(path, key), "is not a text"), |text| Ok(text.into()))
}

fn as_object<'a>(path: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Wrong> {
    value.as_object().map_or_else(|| wrong(path, "is not an object"), Ok)
}

fn as_array<'a>(path: &str, value: &'a Value) -> Result<&'a Vec<Value>, Wrong> {
    value.as_array().map_or_else(|| wrong(path, "is not a list"), Ok)
}

fn known(object: &Map<String, Value>, path: &str, keys: &[&str]) -> Result<(), Wrong> {
    match object.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => wrong(join(path, key), format!("is unknown here; the fields are {}", keys.join(", "))),
        None => Ok(()),
    }
}

/// JSON in which no object has a key twice: of two, one would be silently dropped.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
                let mut list = Vec::new();
                while let Some(Strict(item)) = items.next_element()? {
                    list.push(item);
                }
                Ok(Value::Array(list))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<Value, A::Error> {
                let mut map = Map::new();
                while let Some(key) = fields.next_key::<String>()? {
                    let Strict(value) = fields.next_value()?;
                    if map.contains_key(&key) {
                        return Err(A::Error::custom(format!("the key `{key}` stands twice in one object")));
                    }
                    map.insert(key, value);
                }
                Ok(Value::Object(map))
            }
        }

        deserializer.deserialize_any(Visit).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of one scenario with one action, and `more` in one of its objects.
    fn file(in_file: &str, in_scenario: &str, in_action: &str) -> String {
        format!(
            r#"{{"format": 2, {in_file} "scenarios": [{{"name": "mine", {in_scenario} "players": {{"A": 100}}, "rolls": [],
               "actions": [{{"at_roll": 0, "player": "A", {in_action} "bet": "pass"}}]}}]}}"#
        )
    }

    fn problem(text: &str) -> String {
        read_scenarios(text).expect_err(text).to_string()
    }

    #[test]
    fn what_the_page_names_is_read() {
        for action in [
            r#""op": "bet", "amount": 5, "working": true, "number": null,"#,
            r#""op": "take_down", "number": 6,"#,
            r#""op": "set_amount", "amount": 5,"#,
            r#""op": "working", "value": null,"#,
        ] {
            assert_eq!(read_scenarios(&file("", r#""category": "line","#, action)).expect(action).len(), 1);
        }
    }

    #[test]
    fn a_key_that_is_unknown_foreign_or_there_twice_is_refused_with_its_place() {
        let down = r#""op": "take_down","#;
        for (text, says) in [
            (file(r#""formats": 3,"#, "", down), "formats: is unknown"),
            (file(r#""format": 2,"#, "", down), "`format` stands twice"),
            (file("", r#""nme": 1,"#, down), "(mine): nme: is unknown"),
            (file("", r#""name": "other","#, down), "`name` stands twice"),
            (file("", r#""category": 7,"#, down), "(mine): category: is not a text"),
            (file("", r#""rules": {"bar": 2, "bar": 3},"#, down), "`bar` stands twice"),
            (file("", r#""rules": {"take_odds_max": {"4": 1, "4": 2}},"#, down), "`4` stands twice"),
            (file("", r#""expected": {"rolls": [], "rolls": []},"#, down), "`rolls` stands twice"),
            (file("", "", r#""op": "take_down", "amount": 5,"#), "actions.0.amount: is unknown here"),
            (file("", "", r#""op": "take_down", "working": true,"#), "actions.0.working"),
            (file("", "", r#""op": "bet", "amount": 5, "value": true,"#), "actions.0.value"),
            (file("", "", r#""op": "set_amount", "amount": 5, "working": true,"#), "actions.0.working"),
            (file("", "", r#""op": "working", "value": true, "amount": 5,"#), "actions.0.amount"),
            (file("", "", r#""op": "working","#), "actions.0.value: is missing"),
            (file("", "", r#""op": "bet", "amount": 5, "amount": 6,"#), "`amount` stands twice"),
            (r#"{"format": 2, "scenarios": []}"#.into(), "scenarios is empty"),
            ("[]".into(), "format is null"),
        ] {
            let problem = problem(&text);
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }

    #[test]
    fn a_pledged_table_is_refused_by_its_field_since_the_dice_are_given() {
        let down = r#""op": "take_down","#;
        let rules = |rules: &str| file("", &format!(r#""rules": {{{rules}}},"#), down);
        assert!(read_scenarios(&rules(r#""dice": "beacon", "open_ms": 0"#)).is_ok());
        for pledged in [r#""dice": "both", "open_ms": 5000"#, r#""open_ms": 5000, "dice": "both""#, r#""dice": "both""#]
        {
            let problem = problem(&rules(pledged));
            assert!(problem.contains("(mine): rules.dice: is beacon here"), "{pledged}: {problem}");
        }
    }
}
