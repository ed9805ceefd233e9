//! Bets as people name them: the catalogue's names, typed with or without underscores, shortened, or mistyped.

use engine::{BetId, Spot};
use systems::catalogue::{BETS, bet_of, number_of};
use thiserror::Error;

/// Why some words name no bet.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum NameError {
    /// No words at all.
    #[error("name a bet, for example `field 5`")]
    Missing,
    /// Nothing like it is in the catalogue.
    #[error("there is no bet `{word}`{}", hint(.near))]
    Unknown {
        /// What was typed.
        word: String,
        /// The nearest name, if any is near.
        near: Option<&'static str>,
    },
    /// The words begin several names.
    #[error("`{word}` could be {}", list(.names))]
    Several {
        /// What was typed.
        word: String,
        /// Names that it begins.
        names: Vec<&'static str>,
    },
}

/// Names that a message lists before it says how many more there are.
const LISTED: usize = 6;
/// Letters that a mistyped name may differ by.
const FAR_MAX: usize = 3;

/// The known name nearest to a mistyped word, if one is so near that it may have been meant: a short word differs from too many
/// names by a few letters.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = squash(word);
    let far = |name: &str| strsim::damerau_levenshtein(&word, &squash(name));
    let nearest = known.map(|name| (far(name), name)).min();
    nearest.filter(|(far, _)| *far <= FAR_MAX.min(word.len() / 2)).map(|(_, name)| name)
}

fn hint(near: &Option<&'static str>) -> String {
    near.map_or(String::new(), |near| format!("; did you mean `{near}`?"))
}

fn list(names: &[&'static str]) -> String {
    let shown = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(LISTED);
    if more == 0 { shown } else { format!("{shown} or {more} more") }
}

/// What dealers and players call bets that the catalogue calls otherwise; letters and digits only.
const ALIASES: [(&str, &str); 26] = [
    ("passline", "pass"),
    ("dp", "dont_pass"),
    ("dc", "dont_come"),
    ("passodds", "odds_pass"),
    ("takeodds", "odds_pass"),
    ("dontpassodds", "odds_dont_pass"),
    ("comeodds", "odds_come"),
    ("dontcomeodds", "odds_dont_come"),
    ("putodds", "odds_put"),
    ("any7", "any_seven"),
    ("anycrap", "any_craps"),
    ("yo", "yo_11"),
    ("eleven", "yo_11"),
    ("aces", "craps_2"),
    ("snakeeyes", "craps_2"),
    ("acedeuce", "craps_3"),
    ("boxcars", "craps_12"),
    ("ce", "c_and_e"),
    ("whirl", "world"),
    ("under", "under_7"),
    ("over", "over_7"),
    ("small", "bonus_small"),
    ("tall", "bonus_tall"),
    ("all", "bonus_all"),
    ("doubles", "different_doubles"),
    ("hilow", "hi_lo"),
];

/// A name's letters and digits, which is what is compared.
fn squash(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// Families whose spoken name differs from the catalogue's, by how it begins.
const SPOKEN: [(&str, &str); 5] = [
    ("hardway", "hard"),
    ("hardways", "hard"),
    ("lose", "placelose"),
    ("placetolose", "placelose"),
    ("horn", "hornhigh"),
];

fn exact(key: &str) -> Option<BetId> {
    let named = |name: &str| BETS.iter().find(|bet| squash(bet.name) == name).map(|bet| bet.id);
    let alias = || ALIASES.iter().find(|(alias, _)| *alias == key).and_then(|(_, name)| named(&squash(name)));
    let spoken = || {
        let (word, digits) = key.split_at(key.find(|c: char| c.is_ascii_digit())?);
        let (_, family) = SPOKEN.iter().find(|(spoken, _)| *spoken == word)?;
        named(&format!("{family}{digits}"))
    };
    // A hop is one roll in either order.
    let hop = || {
        let faces = key.strip_prefix("hop").filter(|faces| faces.len() == 2)?;
        named(&format!("hop{}", faces.chars().rev().collect::<String>()))
    };
    named(key).or_else(alias).or_else(spoken).or_else(hop)
}

/// The bet that some words name: exactly, by another name, or as the beginning of one name only. A number is never
/// completed: `place 1` is not `place 10`.
///
/// # Errors
/// That there is none, with the nearest name, or that there are several, with them.
pub fn find(words: &[&str]) -> Result<BetId, NameError> {
    let key = squash(&words.concat());
    let word = || words.join(" ");
    if key.is_empty() {
        return Err(if words.is_empty() {
            NameError::Missing
        } else {
            NameError::Unknown { word: word(), near: None }
        });
    }
    if let Some(bet) = exact(&key) {
        return Ok(bet);
    }
    // A number that there is not is one of several; which of their names it is nearest to by its letters says nothing.
    let letters = key.trim_end_matches(|c: char| c.is_ascii_digit());
    let is_number = |rest: &str| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_digit());
    let is_begun = |rest: &str| letters == key || is_number(rest);
    let begun: Vec<_> =
        BETS.iter().filter(|bet| squash(bet.name).strip_prefix(letters).is_some_and(is_begun)).collect();
    match begun[..] {
        [bet] if letters == key => Ok(bet.id),
        [bet] => Err(NameError::Unknown { word: word(), near: Some(bet.name) }),
        [] => {
            let near = nearest(&key, BETS.iter().map(|bet| bet.name));
            Err(NameError::Unknown { word: word(), near })
        }
        _ => Err(NameError::Several { word: word(), names: begun.iter().map(|bet| bet.name).collect() }),
    }
}

/// A bet's name in words.
pub fn bet_words(bet: BetId) -> String {
    let name = BETS.get(bet.index()).map_or("unknown bet", |bet| bet.name);
    if let Some((a, b)) = name.strip_prefix("hop_").and_then(|faces| faces.split_at_checked(1)) {
        return format!("hop {a}-{b}");
    }
    match name {
        "c_and_e" => "C & E".into(),
        "hi_lo" => "hi-lo".into(),
        "hi_lo_yo" => "hi-lo-yo".into(),
        "odds_pass" => "pass odds".into(),
        "odds_dont_pass" => "don't pass odds".into(),
        "odds_come" => "come odds".into(),
        "odds_dont_come" => "don't come odds".into(),
        "odds_put" => "put odds".into(),
        _ => name.replace("dont", "don't").replace("place_lose", "place to lose").replace('_', " "),
    }
}

/// What lies on a spot, in words, with its box number where it has one.
pub fn spot_words(spot: Spot) -> String {
    with_number(bet_of(spot), number_of(spot).unwrap_or(0))
}

/// A bet in words with its box number, 0 for none.
pub fn with_number(bet: BetId, number: u8) -> String {
    if number == 0 { bet_words(bet) } else { format!("{} on {number}", bet_words(bet)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(text: &str) -> Result<&'static str, NameError> {
        find(&text.split_whitespace().collect::<Vec<_>>()).map(|bet| BETS[bet.index()].name)
    }

    #[test]
    fn every_bet_is_found_by_its_name_in_every_dress() {
        for bet in &BETS {
            for text in [bet.name.to_owned(), bet.name.replace('_', " "), bet.name.replace('_', "").to_uppercase()] {
                assert_eq!(named(&text), Ok(bet.name), "{text}");
            }
            assert_eq!(named(&bet_words(bet.id)), Ok(bet.name), "{}", bet_words(bet.id));
        }
    }

    #[test]
    fn beginnings_aliases_and_slips_are_understood_but_numbers_are_not_completed() {
        assert_eq!(named("fie"), Ok("field"));
        assert_eq!(named("yo"), Ok("yo_11"));
        assert_eq!(named("hop 43"), Ok("hop_34"));
        assert_eq!(named("hardway 8"), Ok("hard_8"));
        assert_eq!(named("horn 12"), Ok("horn_high_12"));
        assert_eq!(named("horn"), Ok("horn"));
        assert_eq!(named("C&E"), Ok("c_and_e"));
        assert_eq!(
            named("place 1").expect_err("no such number").to_string(),
            "`place 1` could be place_4, place_5, place_6, place_8, place_9, place_10"
        );
        assert!(matches!(named("yo 12"), Err(NameError::Unknown { near: Some("yo_11"), .. })));
        assert!(matches!(named("12"), Err(NameError::Unknown { .. })));
        assert_eq!(named("feild").expect_err("a slip").to_string(), "there is no bet `feild`; did you mean `field`?");
        assert_eq!(named("fi").expect_err("two bets").to_string(), "`fi` could be field, fire");
        assert_eq!(
            named("repeater").expect_err("ten bets").to_string(),
            "`repeater` could be repeater_2, repeater_3, repeater_4, repeater_5, repeater_6, repeater_8 or 4 more"
        );
    }
}
