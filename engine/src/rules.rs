//! The rules a table can be given: the keys and values of RULES.md R9.

use serde::{Deserialize, Serialize};

use crate::dice::BOX_NUMBERS;
use crate::limits::{OPEN_MS_MAX, OPEN_MS_MIN};

/// When the commission of buy and lay bets is charged (R1).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Commission {
    /// Folded into the payout: charged only on a win.
    #[default]
    OnWin,
    /// Charged at placement, rounded up, held with the bet.
    Upfront,
}

/// What the field pays on 2 and on 12.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum FieldPaytable {
    /// 2:1 on 2, 3:1 on 12.
    #[default]
    #[serde(rename = "2x3x")]
    TwoThree,
    /// 2:1 on both.
    #[serde(rename = "2x2x")]
    TwoTwo,
    /// 3:1 on 2, 2:1 on 12.
    #[serde(rename = "3x2x")]
    ThreeTwo,
}

/// What bonus small, tall and all pay.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum BonusPaytable {
    /// 30:1 and 150:1.
    #[default]
    #[serde(rename = "30_150")]
    Thirty,
    /// 34:1 and 175:1.
    #[serde(rename = "34_175")]
    ThirtyFour,
}

/// What the fire bet pays on 4, 5 and 6 points.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum FirePaytable {
    /// 24, 249, 999.
    #[default]
    A,
    /// 10, 200, 2000.
    B,
}

/// Who brings what the dice follow from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiceSource {
    /// The validators together: the beacon of the height.
    #[default]
    Beacon,
    /// The validators and the player: the beacon, and a value that the player pledged before. Such a table has one seat, and
    /// rolls only when its player calls (RULES.md R13).
    Both,
}

/// The rules of a table that may differ from CANON-1. `Default` is CANON-1.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableRules {
    /// When commission is charged.
    pub commission: Commission,
    /// Field payouts.
    pub field_paytable: FieldPaytable,
    /// Bonus payouts.
    pub bonus_paytable: BonusPaytable,
    /// Fire payouts.
    pub fire_paytable: FirePaytable,
    /// Ride-the-line paytable, 1 to 7.
    pub ride_line_paytable: u8,
    /// The total on which don't pass and don't come push: 12, 2 or 3.
    pub bar: u8,
    /// Largest multiple of the flat bet that odds may be taken with, by box number 4 5 6 8 9 10.
    pub take_odds_max: [u32; 6],
    /// Largest multiple of the flat bet that odds may be laid with, by box number.
    pub lay_odds_max: [u32; 6],
    /// Smallest wager, in chips; at least 1.
    pub min_bet: u32,
    /// Largest wager of one bet, in chips.
    pub max_bet: u32,
    /// Who brings what the dice follow from.
    pub dice: DiceSource,
    /// Milliseconds that the player has to open what was pledged; 0 where the dice follow from the beacon alone.
    pub open_ms: u32,
}

impl Default for TableRules {
    fn default() -> Self {
        Self {
            commission: Commission::OnWin,
            field_paytable: FieldPaytable::TwoThree,
            bonus_paytable: BonusPaytable::Thirty,
            fire_paytable: FirePaytable::A,
            ride_line_paytable: 3,
            bar: 12,
            take_odds_max: [3, 4, 5, 5, 4, 3],
            lay_odds_max: [6; 6],
            min_bet: 1,
            max_bet: 10_000_000,
            dice: DiceSource::Beacon,
            open_ms: 0,
        }
    }
}

impl TableRules {
    /// The first value that no table can have, in words.
    ///
    /// # Errors
    /// A sentence naming the key, its value and what it may be.
    pub fn check(&self) -> Result<(), String> {
        if ![12, 2, 3].contains(&self.bar) {
            return Err(format!("bar is {}; it may be 12, 2 or 3", self.bar));
        }
        if !(1..=7).contains(&self.ride_line_paytable) {
            return Err(format!("ride_line_paytable is {}; it may be 1 to 7", self.ride_line_paytable));
        }
        // A bet of nothing would hold a spot, and a seat that is wanted, for nothing.
        if self.min_bet == 0 {
            return Err("min_bet is 0; a bet is at least 1 chip".into());
        }
        // Every bet would be refused, and nobody told why.
        if self.max_bet < self.min_bet {
            return Err(format!("max_bet {} is below min_bet {}", self.max_bet, self.min_bet));
        }
        match self.dice {
            // A deadline that one gap between two blocks can use up would forfeit bets while the nodes stood still.
            DiceSource::Both if !(OPEN_MS_MIN..=OPEN_MS_MAX).contains(&self.open_ms) => {
                let found = self.open_ms;
                return Err(format!("open_ms is {found}; where dice is both it may be {OPEN_MS_MIN} to {OPEN_MS_MAX}"));
            }
            // Rules that play alike have one form, and one hash.
            DiceSource::Beacon if self.open_ms != 0 => {
                return Err(format!("open_ms is {}; where dice is beacon it is 0", self.open_ms));
            }
            DiceSource::Both | DiceSource::Beacon => {}
        }
        let limits = self.take_odds_max.iter().chain(&self.lay_odds_max);
        for (limit, number) in limits.zip(BOX_NUMBERS.iter().cycle()) {
            if *limit > 100_000 {
                return Err(format!("odds of {limit}x on {number}; at most 100000x can be offered"));
            }
        }
        Ok(())
    }

    /// The keys that [`TableRules::set`] knows.
    pub const KEYS: [&'static str; 12] = [
        "commission",
        "field_paytable",
        "bonus_paytable",
        "fire_paytable",
        "ride_line_paytable",
        "bar",
        "take_odds_max",
        "lay_odds_max",
        "min_bet",
        "max_bet",
        "dice",
        "open_ms",
    ];

    /// Sets the rule `key` to `value`, both as text from the command line or a scenario. Rules are not checked against each
    /// other: [`TableRules::check`] does that, after the last one was set. The value of an odds maximum is one multiple for
    /// all numbers (`6`), three for 4/10, 5/9 and 6/8 (`3-4-5`), or one for each box number from 4 to 10 (`3-4-5-5-4-3`).
    ///
    /// # Errors
    /// A sentence that names the key, the value and what may stand there.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        let number = || value.parse().map_err(|_| format!("{key} is `{value}`; it is a whole number"));
        let small = || value.parse().map_err(|_| format!("{key} is `{value}`; it is a small whole number"));
        match key {
            "commission" => {
                self.commission =
                    choose(key, value, &[("on_win", Commission::OnWin), ("upfront", Commission::Upfront)])?
            }
            "field_paytable" => {
                let tables = [
                    ("2x3x", FieldPaytable::TwoThree),
                    ("2x2x", FieldPaytable::TwoTwo),
                    ("3x2x", FieldPaytable::ThreeTwo),
                ];
                self.field_paytable = choose(key, value, &tables)?;
            }
            "bonus_paytable" => {
                self.bonus_paytable =
                    choose(key, value, &[("30_150", BonusPaytable::Thirty), ("34_175", BonusPaytable::ThirtyFour)])?;
            }
            "fire_paytable" => {
                self.fire_paytable = choose(key, value, &[("A", FirePaytable::A), ("B", FirePaytable::B)])?
            }
            "ride_line_paytable" => self.ride_line_paytable = small()?,
            "bar" => self.bar = small()?,
            "take_odds_max" => self.take_odds_max = odds_max(key, value)?,
            "lay_odds_max" => self.lay_odds_max = odds_max(key, value)?,
            "min_bet" => self.min_bet = number()?,
            "max_bet" => self.max_bet = number()?,
            "dice" => self.dice = choose(key, value, &[("beacon", DiceSource::Beacon), ("both", DiceSource::Both)])?,
            "open_ms" => self.open_ms = number()?,
            _ => return Err(format!("there is no rule `{key}`; the rules are {}", Self::KEYS.join(", "))),
        }
        Ok(())
    }
}

fn choose<T: Copy>(key: &str, value: &str, choices: &[(&str, T)]) -> Result<T, String> {
    choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice).ok_or_else(|| {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        format!("{key} is `{value}`; it may be {}", names.join(" or "))
    })
}

fn odds_max(key: &str, value: &str) -> Result<[u32; 6], String> {
    let multiples: Vec<u32> = value
        .split('-')
        .map(|multiple| multiple.trim_end_matches('x').parse())
        .collect::<Result<_, _>>()
        .unwrap_or_default();
    match multiples[..] {
        [all] => Ok([all; 6]),
        [four, five, six] => Ok([four, five, six, six, five, four]),
        [a, b, c, d, e, f] => Ok([a, b, c, d, e, f]),
        _ => Err(format!("{key} is `{value}`; it is one multiple (6), three (3-4-5) or six, joined by -")),
    }
}
