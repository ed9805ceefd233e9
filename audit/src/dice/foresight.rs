//! Who could have foreseen a roll.

use engine::genesis::KeySource;
use engine::rules::DiceSource;

/// Who could have known a roll while bets on it could still be made, or have chosen it among others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Foresight {
    /// Neither the player nor the operators.
    Neither,
    /// Whoever holds all keys of the beacon, or enough of them.
    Operator,
    /// Whoever knows the seed from which all keys follow.
    Seed,
}

impl Foresight {
    /// Every kind of foresight, from none to that of anybody who has the seed.
    pub const ALL: [Self; 3] = [Self::Neither, Self::Operator, Self::Seed];

    /// Who can foresee a roll, by where the chain's keys come from and what its table's dice follow from.
    pub const fn of(keys: KeySource, dice: DiceSource) -> Self {
        match (keys, dice) {
            // The seed gives the beacon's key; what a simulated player brings follows from it as well.
            (KeySource::Seed, _) => Self::Seed,
            (KeySource::Dealer | KeySource::Own, DiceSource::Beacon) => Self::Operator,
            (KeySource::Dealer | KeySource::Own, DiceSource::Both) => Self::Neither,
        }
    }

    /// The words that output uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Neither => "neither alone",
            Self::Operator => "operator",
            Self::Seed => "whoever knows the seed",
        }
    }

    /// The name that programs see.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Neither => "neither_alone",
            Self::Operator => "operator",
            Self::Seed => "whoever_knows_the_seed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_players_half_is_worth_nothing_where_the_keys_follow_from_a_seed() {
        let all = [
            (KeySource::Seed, DiceSource::Beacon, "whoever knows the seed"),
            (KeySource::Seed, DiceSource::Both, "whoever knows the seed"),
            (KeySource::Dealer, DiceSource::Beacon, "operator"),
            (KeySource::Dealer, DiceSource::Both, "neither alone"),
            (KeySource::Own, DiceSource::Beacon, "operator"),
            (KeySource::Own, DiceSource::Both, "neither alone"),
        ];
        for (keys, dice, expected) in all {
            assert_eq!(Foresight::of(keys, dice).name(), expected);
        }
    }
}
