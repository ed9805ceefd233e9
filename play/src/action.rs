//! What a person wants, and the words it is typed in.

use engine::message::intent::{IntentKind, Working};
use engine::{BetId, TableId};
use systems::catalogue::{BETS, Family, Flat};
use thiserror::Error;
use words::names::{NameError, bet_words, find};
use words::wish::{Wish, setting};

/// Something that a person wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// An intent, to be signed and sent for the watched table.
    Wish(Wish),
    /// Watch another table.
    Watch(TableId),
    /// Show the help.
    Help,
    /// Leave the program.
    Quit,
}

/// Why a typed command means nothing: one line that says what would be right.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// Nothing was typed.
    #[error("type a command, for example `field 5`, or `help`")]
    Empty,
    /// The words name no bet, or several.
    #[error(transparent)]
    Bet(#[from] NameError),
    /// Neither a command nor a bet.
    #[error("there is no command or bet `{word}`{}", .near.map_or(String::new(), |near| format!("; did you mean `{near}`?")))]
    Unknown {
        /// What was typed.
        word: String,
        /// The nearest command, if any is near.
        near: Option<&'static str>,
    },
    /// A command without its chips.
    #[error("how many chips? For example `{example}`")]
    NeedsAmount {
        /// What would be right.
        example: String,
    },
    /// Odds on a come or put bet without its number.
    #[error("{bet} stand on a number, 4, 5, 6, 8, 9 or 10: for example `{example}`")]
    NeedsNumber {
        /// The bet.
        bet: String,
        /// What would be right.
        example: String,
    },
    /// A bet that takes no box number was given one.
    #[error("{bet} takes no number: for example `{example}`")]
    NoNumber {
        /// The bet.
        bet: String,
        /// What would be right.
        example: String,
    },
    /// Zero chips.
    #[error("at least 1 chip")]
    Nothing,
    /// More chips than a number here holds.
    #[error("`{word}` is more than all chips there are")]
    TooMany {
        /// What was typed.
        word: String,
    },
    /// A separator that does not part thousands: `1,5` is one and a half to some and fifteen to others.
    #[error("how many chips is `{word}`? Write for example 1500, 1,500 or 2k")]
    Separator {
        /// What was typed.
        word: String,
    },
    /// A bet that always works.
    #[error("{bet} always works; it cannot be turned on or off")]
    AlwaysWorks {
        /// The bet.
        bet: String,
    },
    /// More than one of `on`, `off` and `default`.
    #[error("`on`, `off` and `default` are one setting: for example `{example}`")]
    Settings {
        /// What would be right.
        example: String,
    },
    /// `pass` alone means two things.
    #[error("`pass 5` bets 5 on the pass line, `pass dice` hands the dice on")]
    Pass,
    /// No table, or no number of one.
    #[error("which table? For example `table 3`")]
    NeedsTable,
    /// Words after a command that takes none.
    #[error("`{command}` stands alone; `{rest}` means nothing here")]
    Rest {
        /// The command.
        command: String,
        /// What follows it.
        rest: String,
    },
}

/// The commands as they are suggested.
const COMMANDS: [&str; 14] = [
    "bet",
    "take",
    "set",
    "on",
    "off",
    "default",
    "roll",
    "pass dice",
    "sit",
    "leave",
    "table",
    "open",
    "help",
    "quit",
];

/// Words that say nothing between a verb and its object.
const FILLERS: [&str; 8] = ["the", "a", "my", "to", "for", "with", "chips", "chip"];

/// Understands a typed command.
///
/// # Errors
/// One line that says what would be right.
pub fn parse(text: &str) -> Result<Action, CommandError> {
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower.split_whitespace().filter(|word| !FILLERS.contains(word)).collect();
    let Some((verb, rest)) = words.split_first() else { return Err(CommandError::Empty) };
    let alone = |action| match rest {
        [] => Ok(action),
        _ => Err(CommandError::Rest { command: (*verb).into(), rest: rest.join(" ") }),
    };
    let wish = |kind| Action::Wish(Wish::new(kind));
    match *verb {
        "help" | "h" | "?" => Ok(Action::Help),
        "quit" | "q" | "exit" => alone(Action::Quit),
        "roll" | "r" if matches!(rest, [] | ["dice"]) => Ok(wish(IntentKind::Roll)),
        "pass" if rest.is_empty() => Err(CommandError::Pass),
        "pass" if rest == ["dice"] => Ok(wish(IntentKind::PassDice)),
        "leave" | "stand" => alone(wish(IntentKind::Leave)),
        "open" if matches!(rest, [] | ["account"] | ["an", "account"]) => Ok(wish(IntentKind::Open)),
        "sit" => sit(rest),
        "table" | "watch" => table(rest),
        "take" | "down" | "remove" => take(rest),
        "set" => set(rest),
        "on" => working(rest, Working::On),
        "off" => working(rest, Working::Off),
        "default" => working(rest, Working::Default),
        "bet" | "b" | "wager" => bet(rest),
        _ => bare(&words),
    }
}

/// A command that begins with a bet: `field 5`, `5 on field`, `place 6 off`.
fn bare(words: &[&str]) -> Result<Action, CommandError> {
    let result = bet(words);
    if let (Err(_), Some((value, of))) = (&result, words.split_last())
        && let Some(action) = working_of(value).and_then(|value| working(of, value).ok())
    {
        return Ok(action);
    }
    match result {
        Err(CommandError::Bet(NameError::Unknown { word, near: None })) => {
            let first = words.first().copied().unwrap_or_default();
            let far = |known: &&str| strsim::damerau_levenshtein(first, known);
            let near = COMMANDS.into_iter().min_by_key(far).filter(|known| far(known) <= 2.min(first.len() / 2));
            Err(CommandError::Unknown { word, near })
        }
        other => other,
    }
}

fn working_of(word: &str) -> Option<Working> {
    [Working::On, Working::Off, Working::Default].into_iter().find(|value| setting(*value) == word)
}

/// Chips as people write them: `1,000`, `1_000`, `$25`, `2k`. Nothing if the word is no number.
///
/// # Errors
/// If the number is larger than 64 bits hold, or its separators do not part thousands.
fn chips(word: &str) -> Result<Option<u64>, CommandError> {
    let plain = word.strip_prefix('$').unwrap_or(word);
    let (digits, unit) = match plain.strip_suffix(['k', 'm']) {
        Some(digits) => (digits, if plain.ends_with('k') { 1_000 } else { 1_000_000 }),
        None => (plain, 1),
    };
    let is_digit = |c: char| c.is_ascii_digit();
    let is_number = digits.starts_with(is_digit)
        && digits.ends_with(is_digit)
        && digits.chars().all(|c| is_digit(c) || matches!(c, ',' | '_'));
    if !is_number {
        return Ok(None);
    }
    let groups: Vec<&str> = digits.split([',', '_']).collect();
    let are_thousands =
        unit == 1 && (1..=3).contains(&groups[0].len()) && groups[1..].iter().all(|group| group.len() == 3);
    if groups.len() > 1 && (!are_thousands || digits.starts_with('0')) {
        return Err(CommandError::Separator { word: word.into() });
    }
    let digits = groups.concat();
    let amount = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    amount.map(Some).ok_or_else(|| CommandError::TooMany { word: word.into() })
}

/// The chips at either end of some words, and the other words.
fn number_of_chips<'w, 'a>(words: &'w [&'a str]) -> Result<Option<(u64, &'w [&'a str])>, CommandError> {
    for end in [words.split_first(), words.split_last()] {
        if let Some((word, rest)) = end
            && let Some(amount) = chips(word)?
        {
            return Ok(Some((amount, rest)));
        }
    }
    Ok(None)
}

fn at_least_one(amount: u64) -> Result<u64, CommandError> {
    if amount == 0 { Err(CommandError::Nothing) } else { Ok(amount) }
}

/// Whether a bet's odds stand on a box number.
fn needs_number(bet: BetId) -> bool {
    matches!(BETS[bet.index()].family, Family::Odds(Flat::Come | Flat::DontCome | Flat::Put))
}

/// The bet that words name, with its box number where the bet has one, or may have one once it stands.
fn target(words: &[&str], standing: bool, example: &str) -> Result<(BetId, u8), CommandError> {
    let words: Vec<&str> = words.iter().copied().filter(|word| *word != "on").collect();
    // `lay odds` are the don't side's: on the line without a number, on a don't come with one.
    let words = match &words[..] {
        ["lay", "odds", number] if box_number(number).is_some() => vec!["odds_dont_come", number],
        ["lay", "odds"] => vec!["odds_dont_pass"],
        _ => words,
    };
    let split = || {
        let joined = words.join("_");
        let (name, number) = joined.rsplit_once(['_', ' '])?;
        let bet = find(&[name]).ok()?;
        Some((bet, box_number(number)?))
    };
    match (find(&words), split()) {
        (Ok(bet), _) if !needs_number(bet) => Ok((bet, 0)),
        (Ok(bet), _) => Err(CommandError::NeedsNumber {
            bet: bet_words(bet),
            example: example.replace("{}", &format!("{} 6", BETS[bet.index()].name)),
        }),
        (Err(_), Some((bet, number))) if needs_number(bet) => Ok((bet, number)),
        (Err(_), Some((bet, number))) if standing && travels(bet) => Ok((bet, number)),
        (Err(_), Some((bet, _))) => {
            Err(CommandError::NoNumber { bet: bet_words(bet), example: example.replace("{}", BETS[bet.index()].name) })
        }
        (Err(NameError::Several { word, names }), None) if word == "odds" => {
            let names = names.into_iter().filter(|name| name.starts_with("odds")).collect();
            Err(NameError::Several { word, names }.into())
        }
        (Err(error), None) => Err(error.into()),
    }
}

fn travels(bet: BetId) -> bool {
    matches!(BETS[bet.index()].family, Family::Come | Family::DontCome)
}

fn box_number(word: &str) -> Option<u8> {
    word.parse().ok().filter(|number| engine::dice::box_index(*number).is_some())
}

fn bet(words: &[&str]) -> Result<Action, CommandError> {
    let (words, value) = match words.split_last() {
        Some((value, rest)) if rest.len() > 1 && working_of(value).is_some() => (rest, working_of(value)),
        _ => (words, None),
    };
    if let (Some(_), [of @ .., last]) = (value, words)
        && working_of(last).is_some()
    {
        return Err(CommandError::Settings { example: format!("{} off", of.join(" ")) });
    }
    let Some((amount, of)) = number_of_chips(words)? else {
        let (bet, number) = target(words, false, "{} 5")?;
        let name = BETS[bet.index()].name;
        let example = if number == 0 { format!("{name} 5") } else { format!("{name} {number} 5") };
        return Err(CommandError::NeedsAmount { example });
    };
    // `place 6` and `yo 11`: the number belongs to the name.
    if find(words).is_ok() && !BETS.iter().any(|bet| [bet.name] == *of) {
        return Err(CommandError::NeedsAmount { example: format!("{} 12", words.join(" ")) });
    }
    let (bet, number) = target(of, false, "{} 5").map_err(|error| match error {
        CommandError::NeedsNumber { bet, .. } if box_number(&amount.to_string()).is_some() => {
            CommandError::NeedsNumber { bet, example: format!("{} 20", words.join(" ")) }
        }
        other => other,
    })?;
    if value.is_some() && !BETS[bet.index()].family.toggles() {
        return Err(CommandError::AlwaysWorks { bet: bet_words(bet) });
    }
    let wish = Wish::new(IntentKind::Bet).on(bet, number).amount(at_least_one(amount)?);
    Ok(Action::Wish(wish.working(value.unwrap_or_default())))
}

fn take(words: &[&str]) -> Result<Action, CommandError> {
    let words = if words.first() == Some(&"down") { &words[1..] } else { words };
    let (bet, number) = target(words, true, "take {}")?;
    Ok(Action::Wish(Wish::new(IntentKind::TakeDown).on(bet, number)))
}

fn set(words: &[&str]) -> Result<Action, CommandError> {
    let needs_amount = || CommandError::NeedsAmount { example: "set place_6 30".into() };
    let (last, of) = words.split_last().filter(|(_, of)| !of.is_empty()).ok_or_else(needs_amount)?;
    let amount = chips(last)?.ok_or_else(needs_amount)?;
    let (bet, number) = target(of, true, "set {} 30")?;
    Ok(Action::Wish(Wish::new(IntentKind::SetAmount).on(bet, number).amount(at_least_one(amount)?)))
}

fn working(words: &[&str], value: Working) -> Result<Action, CommandError> {
    let (bet, number) = target(words, true, &format!("{} {{}}", setting(value)))?;
    if !BETS[bet.index()].family.toggles() {
        return Err(CommandError::AlwaysWorks { bet: bet_words(bet) });
    }
    Ok(Action::Wish(Wish::new(IntentKind::SetWorking).on(bet, number).working(value)))
}

fn sit(words: &[&str]) -> Result<Action, CommandError> {
    let words = if words.first() == Some(&"down") { &words[1..] } else { words };
    match words {
        [amount] => {
            let amount = chips(amount)?.ok_or_else(|| CommandError::NeedsAmount { example: "sit 1000".into() })?;
            Ok(Action::Wish(Wish::new(IntentKind::Sit).amount(at_least_one(amount)?)))
        }
        _ => Err(CommandError::NeedsAmount { example: "sit 1000".into() }),
    }
}

fn table(words: &[&str]) -> Result<Action, CommandError> {
    match words {
        [number] => number.parse().map(|table| Action::Watch(TableId(table))).map_err(|_| CommandError::NeedsTable),
        _ => Err(CommandError::NeedsTable),
    }
}

#[cfg(test)]
mod tests;
