//! A JSON Schema of the file: editors that know it complete and check as one types.

use net::settings::Bounds;
use serde_json::{Map, Value, json};

use super::near::kinds_of;
use super::{Config, LogFormat, MEANINGS, bounds};

/// The schema. What a value may be follows from the bounds that reading it asks.
pub fn schema() -> Value {
    let defaults = serde_json::to_value(Config::default()).expect("a configuration is plain data");
    let mut sections = Map::new();
    for (section, key, meaning) in MEANINGS {
        let default = &defaults[section][key];
        let mut property =
            json!({ "type": kinds_of(key, default).names(), "default": default, "description": meaning });
        if default.is_array() {
            property["items"] = json!({ "type": "string" });
        }
        if (section, key) == ("log", "format") {
            property["enum"] = json!([LogFormat::Text, LogFormat::Json]);
        }
        if let Some(bounds) = bounds(section, key) {
            bound(&mut property, bounds);
        }
        let entry = sections
            .entry(section)
            .or_insert_with(|| json!({ "type": "object", "additionalProperties": false, "properties": {} }));
        entry["properties"][key] = property;
    }
    sections.insert("version".into(), json!({ "type": "integer", "minimum": 1 }));
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "BitCraps node",
        "type": "object",
        "additionalProperties": false,
        "properties": sections,
    })
}

/// Adds the bounds, under the names that the schema has for what is counted. A text with a unit is not bounded by them: a schema
/// reads no units.
fn bound(property: &mut Value, bounds: Bounds) {
    let Bounds { least, most, or_zero } = bounds;
    let (minimum, maximum) = match property["type"].as_str() {
        Some("array") => ("minItems", "maxItems"),
        Some("string") => ("minLength", "maxLength"),
        _ => ("minimum", "maximum"),
    };
    property[minimum] = if or_zero { 0 } else { least }.into();
    // The greatest number that there is stands for no bound, and would look like one in an editor.
    if most < u64::MAX {
        property[maximum] = most.into();
    }
    if or_zero {
        property["not"] = json!({ "type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": least });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `config check` says of a file with one value.
    fn check(section: &str, key: &str, value: &str) -> Result<Config, String> {
        Config::parse(&format!("[{section}]\n{key} = {value}\n"))
    }

    /// A value of so much, as the file has it.
    fn written(property: &Value, much: i128) -> String {
        let count = usize::try_from(much).unwrap_or(0);
        match property["type"].as_str() {
            Some("array") => format!("{:?}", vec![format!("{}@a:1", "ab".repeat(32)); count]),
            Some("string") => format!("{:?}", "a".repeat(count)),
            _ => much.to_string(),
        }
    }

    #[test]
    fn each_bound_of_the_schema_is_where_the_check_begins_to_refuse() {
        let schema = schema();
        let mut tried = 0;
        for (section, key, _) in MEANINGS {
            let property = &schema["properties"][section]["properties"][key];
            let number = |name: &str| property[name].as_u64().map(i128::from);
            let least = |name| number(name).map(|least| (least, least - 1));
            let most = |name| number(name).map(|most| (most, most + 1));
            let gap = &property["not"];
            let ends = [
                least("minimum"),
                most("maximum"),
                // A list or a text cannot be shorter than none, which is the least of all that there are.
                most("maxItems"),
                most("maxLength"),
                gap["exclusiveMaximum"].as_u64().map(|least| (least.into(), i128::from(least) - 1)),
                gap["exclusiveMinimum"].as_u64().map(|zero| (zero.into(), i128::from(zero) + 1)),
            ];
            for (good, beyond) in ends.into_iter().flatten() {
                let good = check(section, key, &written(property, good));
                assert!(good.is_ok(), "{section}.{key}: {good:?}");
                let refused = check(section, key, &written(property, beyond));
                assert!(refused.is_err(), "{section}.{key} takes {beyond}");
                tried += 1;
            }
        }
        assert!(tried > 40, "{tried} ends were tried");
    }

    #[test]
    fn a_list_says_what_is_in_it_and_a_choice_what_there_is_to_choose() {
        let schema = schema();
        let property = |section: &str, key: &str| &schema["properties"][section]["properties"][key];
        let mut lists = 0;
        for (section, key, _) in MEANINGS.iter().filter(|(section, key, _)| property(section, key)["type"] == "array") {
            let of = property(section, key)["items"]["type"].as_str();
            assert_eq!(of, Some("string"), "{section}.{key}");
            lists += 1;
        }
        assert!(lists >= 5, "{lists} lists");
        let formats = property("log", "format")["enum"].as_array().expect("a choice");
        assert_eq!(formats, &["text", "json"]);
        for format in formats {
            check("log", "format", &format.to_string()).expect("it can be chosen");
        }
    }

    #[test]
    fn every_number_size_and_time_has_its_bounds() {
        let schema = schema();
        for (section, key, _) in MEANINGS {
            let property = &schema["properties"][section]["properties"][key];
            let is_counted = property["type"].to_string().contains("integer");
            assert_eq!(property["minimum"].is_u64(), is_counted, "{section}.{key}");
            assert_eq!(bounds(section, key).is_some_and(|bounds| bounds.most < u64::MAX), {
                ["maximum", "maxItems", "maxLength"].iter().any(|name| property[name].is_u64())
            });
        }
    }

    #[test]
    fn the_defaults_are_within_the_bounds() {
        let schema = schema();
        for (section, key, _) in MEANINGS {
            let default = &schema["properties"][section]["properties"][key]["default"];
            let read = check(section, key, &toml::Value::try_from(default).expect("plain data").to_string());
            assert_eq!(read, Ok(Config::default()), "{section}.{key}");
        }
    }
}
