//! The automata of all spots, compiled into one table: built once, the same for every set of rules.

use std::sync::LazyLock;

use bytemuck::{Pod, Zeroable};
use engine::component::SpotMask;
use engine::dice::{PUCKS, ROLLS};
use engine::limits::SPOTS;
use engine::{Dice, Hash, Puck, Spot, TableRules};

use super::bets::BETS;
use super::family::{Family, FamilyMove};
use super::pays::pays;
use super::spots::{bet_of, number_of, travelled_spot};

/// What one roll means to every spot: a row of outcomes.
pub struct OutcomeRow {
    /// Spots on which the roll can change something.
    pub affected: SpotMask,
    /// Spots of odds that are returned if they are off, because their flat bet is decided.
    pub off_returns: SpotMask,
    /// Where each spot's transitions of this roll begin; the state of progress is added.
    pub base: [u32; SPOTS],
}

/// The compiled automata.
pub struct Automata {
    /// A row of outcomes for each puck and roll: `puck * 21 + roll`.
    pub rows: Vec<OutcomeRow>,
    /// The transitions, packed.
    pub transitions: Vec<Packed>,
}

/// A transition in 32 bits: three of kind, the rest payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct Packed(u32);

const PAYLOAD_BITS: u32 = 29;

// Progress, a spot and a tier fit what a move carries, and a roll's number fits the byte of a symbol.
const _: () = assert!(u16::BITS <= PAYLOAD_BITS && SPOTS <= 1 << u8::BITS);
const _: () = assert!(ROLLS <= 1 << u8::BITS);

impl Packed {
    /// Nothing.
    pub const STAY: u32 = 0;
    /// New progress.
    pub const ADVANCE: u32 = 1;
    /// New spot.
    pub const TRAVEL: u32 = 2;
    /// Tier of the family.
    pub const END: u32 = 3;

    const fn new(kind: u32, payload: u32) -> Self {
        assert!(payload >> PAYLOAD_BITS == 0, "what a move carries fits beside its kind");
        assert!(kind <= Self::END, "a move is of one of the four kinds");
        Self(kind << PAYLOAD_BITS | payload)
    }

    /// Which of the kinds.
    #[inline]
    pub const fn kind(self) -> u32 {
        self.0 >> PAYLOAD_BITS
    }

    /// What it carries.
    #[inline]
    pub const fn payload(self) -> u32 {
        self.0 & ((1 << PAYLOAD_BITS) - 1)
    }
}

/// The automata of the catalogue.
pub static AUTOMATA: LazyLock<Automata> = LazyLock::new(compile);

/// The hash of the automata: a part of every rules hash. It covers what every roll does to a bet, by spot, puck, roll and
/// progress, and not where the table keeps it: a table that is put together in another way has the same hash.
pub static AUTOMATA_HASH: LazyLock<Hash> = LazyLock::new(|| hash(&AUTOMATA));

fn hash(automata: &Automata) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("bitcraps automata 2");
    for spot in (0..SPOTS).map(|spot| Spot(spot as u8)) {
        let states = BETS[bet_of(spot).index()].family.states() as usize;
        for row in &automata.rows {
            let base = row.base[spot.index()] as usize;
            hasher.update(&[row.affected.contains(spot).into(), row.off_returns.contains(spot).into()]);
            hasher.update(bytemuck::cast_slice(&automata.transitions[base..base + states]));
        }
    }
    *hasher.finalize().as_bytes()
}

/// The row of a puck and a roll.
#[inline]
pub const fn row_index(puck: Puck, dice: Dice) -> usize {
    puck.index() * ROLLS + dice.roll_index()
}

fn row_of(index: usize) -> (Puck, Dice) {
    (Puck::from_index(index / ROLLS), Dice::from_roll_index(index % ROLLS))
}

fn compile() -> Automata {
    let empty = |_| OutcomeRow { affected: SpotMask::EMPTY, off_returns: SpotMask::EMPTY, base: [0; SPOTS] };
    let mut automata = Automata { rows: (0..PUCKS * ROLLS).map(empty).collect(), transitions: Vec::new() };
    for spot in (0..SPOTS).map(|spot| Spot(spot as u8)) {
        compile_spot(&mut automata, spot);
    }
    assert!(u32::try_from(automata.transitions.len()).is_ok(), "a row counts transitions in 32 bits");
    automata
}

fn compile_spot(automata: &mut Automata, spot: Spot) {
    let bet = bet_of(spot);
    let (family, number, tiers) =
        (BETS[bet.index()].family, number_of(spot), pays(BETS[bet.index()].family, &TableRules::default()).len());
    // Rolls that mean the same to the automaton share their transitions.
    let mut columns: [Option<(u32, bool)>; 256] = [None; 256];
    for index in 0..PUCKS * ROLLS {
        let (puck, dice) = row_of(index);
        assert_eq!(row_index(puck, dice), index, "a roll finds the row that was compiled for it");
        let symbol = usize::from(family.symbol(number, puck, dice));
        let (base, changes) = *columns[symbol].get_or_insert_with(|| {
            let base = automata.transitions.len() as u32;
            let steps = (0..family.states()).map(|progress| family.step(number, progress, puck, dice));
            let packed = steps.map(|step| pack(bet, step)).collect::<Vec<_>>();
            let leads = |packed: &Packed| match packed.kind() {
                Packed::ADVANCE => packed.payload() < family.states().into(),
                Packed::END => (packed.payload() as usize) < tiers,
                _ => true,
            };
            assert!(packed.iter().all(leads), "a roll leads a bet to one of its states, or to one of its tiers");
            let changes = packed.iter().any(|packed| packed.kind() != Packed::STAY);
            automata.transitions.extend(packed);
            (base, changes)
        });
        let last = base as usize + usize::from(family.states());
        assert!(last <= automata.transitions.len(), "each state of a bet has its transition");
        let row = &mut automata.rows[index];
        row.base[spot.index()] = base;
        // A hand bet takes note of every roll, since it is locked once it has seen one.
        if changes || family.is_hand() {
            row.affected.insert(spot);
        }
        // A roll that decides odds decides their flat bet: where they are off, they go back (R5).
        if changes && matches!(family, Family::Odds(_)) {
            row.off_returns.insert(spot);
        }
    }
}

fn pack(bet: engine::BetId, step: FamilyMove) -> Packed {
    match step {
        FamilyMove::Stay => Packed::new(Packed::STAY, 0),
        FamilyMove::Advance(progress) => Packed::new(Packed::ADVANCE, progress.into()),
        FamilyMove::Travel(number) => {
            // One that is off would lie where another arrives, and a spot holds one bet.
            assert!(!BETS[bet.index()].family.toggles(), "a bet that travels always works");
            let to = travelled_spot(bet, number).expect("a bet travels to a box number");
            Packed::new(Packed::TRAVEL, to.0.into())
        }
        FamilyMove::End(tier) => Packed::new(Packed::END, tier.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same automata with transitions of its own for each spot and roll, in the opposite order.
    fn regrouped(automata: &Automata) -> Automata {
        let mut other = compile();
        other.transitions.clear();
        for spot in (0..SPOTS).rev() {
            let states = BETS[bet_of(Spot(spot as u8)).index()].family.states() as usize;
            for (row, from) in other.rows.iter_mut().zip(&automata.rows) {
                let base = from.base[spot] as usize;
                row.base[spot] = other.transitions.len() as u32;
                other.transitions.extend_from_slice(&automata.transitions[base..base + states]);
            }
        }
        other
    }

    #[test]
    fn the_hash_says_what_happens_and_not_where_the_table_keeps_it() {
        let mut other = regrouped(&AUTOMATA);
        assert_ne!(other.transitions.len(), AUTOMATA.transitions.len());
        assert_eq!(hash(&other), *AUTOMATA_HASH);
        let last = other.transitions.len() - 1;
        for at in [0, last / 2, last] {
            other.transitions[at].0 ^= 1;
            assert_ne!(hash(&other), *AUTOMATA_HASH, "transition {at}");
            other.transitions[at].0 ^= 1;
        }
        other.rows[7].off_returns.insert(Spot(31));
        assert_eq!(hash(&other) == *AUTOMATA_HASH, AUTOMATA.rows[7].off_returns.contains(Spot(31)));
    }
}
