//! The catalogue: every bet of RULES.md as data, compiled for a table's rules.
//!
//! ```text
//!  bets (rows of data) -> family (automaton) -> automata (one table of transitions, shared by all rules)
//!                      -> pays (by tier and rules) ----------------------> Catalogue (what a table plays by)
//! ```
//! A roll looks up the row of (puck, roll); a bet looks up its transition there by spot and progress; a bet that ends
//! looks up what its tier pays. The odds engine walks the same table.

mod rolls;
mod pay;
mod family;
mod bets;
mod spots;
mod automata;
mod pays;

use engine::component::{BetRow, SpotMask};
use engine::dice::{BOX_NUMBERS, PUCKS, ROLLS};
use engine::limits::{BETS as BET_COUNT, SPOTS};
use engine::message::refusal::Refusal;
use engine::rules::Commission;
use engine::{BetId, Dice, Hash, Puck, Ratio, Spot, TableRules};
use thiserror::Error;

pub use automata::OutcomeRow;
use automata::{AUTOMATA, AUTOMATA_HASH, Packed, row_index};
pub use bets::{BETS, BetSpec, bet_named};
pub use family::{Family, Flat, Placement};
pub use pay::{Pay, win};
pub use spots::{bet_of, flat_of, has_travelled, number_of, odds_on, spot_of, standing_spot, travelled_spot};

/// Rules that no table can have.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
#[error("{0}")]
pub struct RulesError(String);

/// What a roll does to one bet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Transition {
    /// Nothing.
    Stay,
    /// The bet has counted something: its new progress.
    Advance(u16),
    /// The bet moves to this spot.
    Travel(Spot),
    /// The bet is decided, and this is what it pays.
    End(Pay),
    /// The odds were off when their flat bet was decided, and go back to the rail.
    Return,
}

/// Everything a table plays by, compiled from its rules.
pub struct Catalogue {
    rules: TableRules,
    hash: Hash,
    /// The first tier's pay of each spot.
    first_pay: [u16; SPOTS],
    pays: Vec<Pay>,
    max_win: [Ratio; SPOTS],
    commission: [Ratio; SPOTS],
    odds_cap: [[u32; 6]; 2],
    default_working: [SpotMask; 2],
    hand: SpotMask,
}

/// What an automaton does, for those who walk it rather than play it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompiledMove {
    /// Nothing.
    Stay,
    /// New progress.
    Advance(u16),
    /// New spot.
    Travel(Spot),
    /// The end, at a tier of the bet's family.
    End(u16),
}

/// The step of a working bet, from the table of transitions that the game runs on.
pub fn step(spot: Spot, progress: u16, puck: Puck, dice: Dice) -> CompiledMove {
    assert!(progress < states(spot), "a bet's progress is one of its states");
    let base = AUTOMATA.rows[row_index(puck, dice)].base[spot.index()];
    let packed = AUTOMATA.transitions[base as usize + usize::from(progress)];
    match packed.kind() {
        Packed::STAY => CompiledMove::Stay,
        Packed::ADVANCE => CompiledMove::Advance(packed.payload() as u16),
        Packed::TRAVEL => CompiledMove::Travel(Spot(packed.payload() as u8)),
        _ => CompiledMove::End(packed.payload() as u16),
    }
}

/// Whether every roll means the same to a spot whatever the puck says.
pub fn ignores_puck(spot: Spot) -> bool {
    let base = |puck: usize, roll: usize| AUTOMATA.rows[puck * ROLLS + roll].base[spot.index()];
    (1..PUCKS).all(|puck| (0..ROLLS).all(|roll| base(puck, roll) == base(0, roll)))
}

/// States of progress that a bet on a spot can be in; 0 is the start.
pub fn states(spot: Spot) -> u16 {
    BETS[bet_of(spot).index()].family.states()
}

/// How many tiers a spot's bet can end at.
pub fn tiers(spot: Spot) -> usize {
    pays::pays(BETS[bet_of(spot).index()].family, &TableRules::default()).len()
}

/// The larger of two ratios.
fn larger(a: Ratio, b: Ratio) -> Ratio {
    let (left, right) = (u64::from(a.num) * u64::from(b.den), u64::from(b.num) * u64::from(a.den));
    if left >= right { a } else { b }
}

fn most(pays: &[Pay]) -> Ratio {
    let wins = pays.iter().filter_map(|pay| if let Pay::Win(ratio) = pay { Some(*ratio) } else { None });
    wins.fold(Ratio::ZERO, larger)
}

impl Catalogue {
    /// Compiles the catalogue for a table's rules.
    ///
    /// # Errors
    /// If a rule has a value that no table can have.
    pub fn new(rules: &TableRules) -> Result<Self, RulesError> {
        rules.check().map_err(RulesError)?;
        let (mut pays, mut first, mut max_win, mut commission) =
            (Vec::new(), [0u16; BET_COUNT], [Ratio::ZERO; BET_COUNT], [Ratio::ZERO; BET_COUNT]);
        for bet in &BETS {
            let tiers = pays::pays(bet.family, rules);
            // The automata were compiled once, for all rules: they end at tiers by number.
            assert_eq!(
                tiers.len(),
                pays::pays(bet.family, &TableRules::default()).len(),
                "rules change no tier's number"
            );
            assert_eq!(tiers[usize::from(family::LOSE)], Pay::Lose, "the tier of a loss pays nothing");
            first[bet.id.index()] = u16::try_from(pays.len()).expect("a catalogue has fewer than 65,536 tiers");
            max_win[bet.id.index()] = most(&tiers);
            commission[bet.id.index()] = pays::commission(bet.family, rules);
            let charged = commission[bet.id.index()];
            assert!(charged.num < charged.den, "commission is a part of the wager");
            pays.extend(tiers);
        }
        let spots = |of: &dyn Fn(&BetSpec) -> bool| -> SpotMask {
            (0..SPOTS).map(|spot| Spot(spot as u8)).filter(|spot| of(&BETS[bet_of(*spot).index()])).collect()
        };
        let by_spot = |values: [Ratio; BET_COUNT]| std::array::from_fn(|spot| values[bet_of(Spot(spot as u8)).index()]);
        let mut catalogue = Self {
            rules: rules.clone(),
            hash: [0; 32],
            first_pay: std::array::from_fn(|spot| first[bet_of(Spot(spot as u8)).index()]),
            max_win: by_spot(max_win),
            commission: by_spot(commission),
            pays,
            odds_cap: [pays::odds_max(Flat::Pass, rules), pays::odds_max(Flat::DontPass, rules)],
            default_working: [spots(&|bet| bet.family.works_on_come_out()), spots(&|_| true)],
            hand: spots(&|bet| bet.family.is_hand()),
        };
        assert!(catalogue.max_win.iter().all(|win| win.num > 0), "every bet can win");
        assert!(catalogue.max_win.iter().all(|win| win.den > 0), "what a bet wins can be computed");
        // One that did not would miss rolls of the hand that it is a bet on.
        assert!(
            catalogue.hand.0.iter().zip(&catalogue.default_working[0].0).all(|(hand, works)| hand & !works == 0),
            "a bet on a hand works on every roll of it"
        );
        catalogue.hash = catalogue.compute_hash();
        Ok(catalogue)
    }

    /// The table's rules.
    pub fn rules(&self) -> &TableRules {
        &self.rules
    }

    /// The rules hash: BLAKE3 over everything that can change money. The dice depend on it.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    fn compute_hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new_derive_key("bitcraps rules 2");
        for bet in &BETS {
            hasher.update(bet.name.as_bytes()).update(&[0, bet.family.placement() as u8]);
            hasher.update(&[bet.family.toggles().into(), bet.family.works_on_come_out().into()]);
        }
        hasher.update(&*AUTOMATA_HASH);
        for pay in &self.pays {
            let (kind, ratio) = match pay {
                Pay::Win(ratio) => (0u32, *ratio),
                Pay::Push => (1, Ratio::ZERO),
                Pay::Lose => (2, Ratio::ZERO),
            };
            for word in [kind, ratio.num, ratio.den] {
                hasher.update(&word.to_le_bytes());
            }
        }
        let ratios = self.max_win.iter().chain(&self.commission).flat_map(|ratio| [ratio.num, ratio.den]);
        let limits = [self.rules.min_bet, self.rules.max_bet, self.rules.dice as u32, self.rules.open_ms];
        for word in ratios.chain(self.odds_cap.into_iter().flatten()).chain(limits) {
            hasher.update(&word.to_le_bytes());
        }
        *hasher.finalize().as_bytes()
    }

    /// What a roll means to every spot. `puck` is the puck before the roll.
    #[inline]
    pub fn row(&self, puck: Puck, dice: Dice) -> &'static OutcomeRow {
        &AUTOMATA.rows[row_index(puck, dice)]
    }

    /// What a roll does to a bet on `spot` with this progress.
    #[inline]
    pub fn transition(&self, row: &OutcomeRow, spot: Spot, progress: u16, works: bool) -> Transition {
        // A bet that is off sees nothing of the roll; but odds cannot stay on a felt from which their flat bet goes.
        if !works {
            return if row.off_returns.contains(spot) { Transition::Return } else { Transition::Stay };
        }
        let packed = AUTOMATA.transitions[row.base[spot.index()] as usize + usize::from(progress)];
        let payload = packed.payload();
        match packed.kind() {
            Packed::STAY => Transition::Stay,
            Packed::ADVANCE => Transition::Advance(payload as u16),
            Packed::TRAVEL => Transition::Travel(Spot(payload as u8)),
            _ => Transition::End(self.pays[usize::from(self.first_pay[spot.index()]) + payload as usize]),
        }
    }

    /// Which spots work when nothing was said (R3).
    #[inline]
    pub fn default_working(&self, puck: Puck) -> &SpotMask {
        &self.default_working[usize::from(puck != Puck::Off)]
    }

    /// Whether the spot's bet is locked once it has seen a roll.
    #[inline]
    pub fn is_hand(&self, spot: Spot) -> bool {
        self.hand.contains(spot)
    }

    /// The most that a bet on this spot can win (R11): what the bank must cover.
    #[inline]
    pub fn max_win(&self, spot: Spot) -> Ratio {
        self.max_win[spot.index()]
    }

    /// The commission charged in advance, rounded up; zero under `on_win`.
    #[inline]
    pub fn commission(&self, spot: Spot) -> Ratio {
        self.commission[spot.index()]
    }

    /// The largest multiple of the flat bet that odds on this spot may have; 0 where there is no point to take them on.
    pub fn odds_cap(&self, odds: Spot, puck: Puck) -> u32 {
        let Family::Odds(flat) = BETS[bet_of(odds).index()].family else { return 0 };
        let number = match (number_of(odds), puck) {
            (Some(number), _) | (None, Puck::On(number)) => number,
            (None, Puck::Off) => return 0,
        };
        let index = BOX_NUMBERS.iter().position(|own| *own == number).expect("odds have a box number");
        self.odds_cap[usize::from(flat.lays())][index]
    }

    /// Whether a bet may be taken down or lowered (R3).
    ///
    /// # Errors
    /// `CONTRACT_BET` or `LOCKED_BET`.
    pub fn may_take_down(&self, bet: BetRow, puck: Puck) -> Result<(), Refusal> {
        // A pass or come bet has its best roll first: whoever could take it down after that would keep what this roll gains
        // and pay for none of those that follow.
        match BETS[bet_of(bet.spot).index()].family {
            Family::Pass if puck != Puck::Off => Err(Refusal::ContractBet),
            Family::Come if has_travelled(bet.spot) => Err(Refusal::ContractBet),
            Family::Put(_) => Err(Refusal::ContractBet),
            family if family.is_hand() && bet.flags.seen() => Err(Refusal::LockedBet),
            _ => Ok(()),
        }
    }

    /// The pays of a bet by tier.
    pub fn pays(&self, bet: BetId) -> &[Pay] {
        let first = usize::from(self.first_pay[bet.index()]);
        let tiers = pays::pays(BETS[bet.index()].family, &self.rules).len();
        &self.pays[first..first + tiers]
    }

    /// What the bet pays, in words: the catalogue's own under CANON-1 pays, else the distinct payouts.
    pub fn pays_text(&self, bet: BetId) -> String {
        let spec = &BETS[bet.index()];
        if self.pays(bet) == pays::pays(spec.family, &TableRules::default()) {
            return spec.pays.into();
        }
        let mut texts: Vec<String> = Vec::new();
        for pay in self.pays(bet) {
            let text = match pay {
                Pay::Win(ratio) => format!("{}:{}", ratio.num, ratio.den),
                Pay::Push => "push".into(),
                Pay::Lose => continue,
            };
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        let commission = self.commission(Spot(bet.0)).num != 0 && self.rules.commission == Commission::Upfront;
        texts.join(" / ") + if commission { ", 5% in advance" } else { "" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No value of the rules favours the player, so a pay is planted: 12 pays 4:1 and 2 pays 3:1 on the field.
    #[test]
    fn a_planted_payout_that_favours_the_player_is_found() {
        let mut catalogue = Catalogue::new(&TableRules::default()).expect("CANON-1");
        let first = usize::from(catalogue.first_pay[4]);
        assert_eq!(crate::odds::favours_player(&catalogue), None);
        catalogue.pays[first + 2] = win(3, 1);
        catalogue.pays[first + 3] = win(4, 1);
        let (bet, ev) = crate::odds::favours_player(&catalogue).expect("the field pays too much");
        assert_eq!((bet, ev.to_string()), (BetId(4), "1/36".to_owned()));
    }
}
