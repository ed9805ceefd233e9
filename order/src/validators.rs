//! The validators of a height: their keys by slot, the quorum, and whose turn it is.

use std::cmp::Reverse;
use std::sync::Arc;

use engine::limits::{SKIP_HEIGHTS, VALIDATORS_MAX};
use engine::message::vote::quorum;
use engine::{Genesis, Hash, Height};
use thiserror::Error;

use crate::signature::{PublicKey, key_is_acceptable};

/// The validators that vote on a height, by slot. One vote each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Validators {
    keys: Arc<[PublicKey]>,
    hash: Hash,
    /// The validators who lose their first turn at this height.
    skipped: Slots,
}

/// A set of slots, a bit for each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Slots(u128);

const _: () = assert!(VALIDATORS_MAX <= u128::BITS);

impl Slots {
    /// Adds a slot. Says whether it was not there.
    ///
    /// # Panics
    /// If no validator can have it.
    pub fn insert(&mut self, slot: u32) -> bool {
        assert!(slot < VALIDATORS_MAX, "slot {slot} is above all");
        let before = self.0;
        self.0 |= 1 << slot;
        assert!(self.contains(slot), "a slot that was added is there");
        assert!(self.count() <= VALIDATORS_MAX as usize, "there are no more slots than validators");
        self.0 != before
    }

    /// Whether a slot is in it.
    pub fn contains(self, slot: u32) -> bool {
        slot < VALIDATORS_MAX && self.0 >> slot & 1 == 1
    }

    /// How many there are.
    pub fn count(self) -> usize {
        self.0.count_ones() as usize
    }

    /// The slots, ascending.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..VALIDATORS_MAX).filter(move |slot| self.contains(*slot))
    }
}

/// A set of validators that cannot be.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum ValidatorsError {
    /// There must be at least one, and at most as many as the limit says.
    #[error("{found} validators, 1 to {most} may vote")]
    Count {
        /// How many there were.
        found: usize,
        /// The bound.
        most: usize,
    },
    /// A key that is not canonical or of small order.
    #[error("the vote key of validator {slot} is no acceptable Ed25519 key")]
    Key {
        /// The validator.
        slot: u32,
    },
    /// Two validators with one key.
    #[error("validators {first} and {second} have the same vote key")]
    Duplicate {
        /// One of them.
        first: u32,
        /// The other.
        second: u32,
    },
}

impl Validators {
    /// A set of validators, by slot.
    ///
    /// # Errors
    /// None or too many, a key that is not acceptable, two with one key.
    pub fn new(keys: Vec<PublicKey>) -> Result<Self, ValidatorsError> {
        let (found, most) = (keys.len(), VALIDATORS_MAX as usize);
        if found == 0 || found > most {
            return Err(ValidatorsError::Count { found, most });
        }
        for (second, key) in keys.iter().enumerate() {
            // A key of small order verifies signatures that nobody made: its slot would be everybody's.
            if !key_is_acceptable(key) {
                return Err(ValidatorsError::Key { slot: second as u32 });
            }
            // Two slots of one key would give its holder two votes.
            if let Some(first) = keys[..second].iter().position(|other| other == key) {
                return Err(ValidatorsError::Duplicate { first: first as u32, second: second as u32 });
            }
        }
        // With the slots: the same keys in another order have other turns, and are another set.
        let mut hasher = blake3::Hasher::new_derive_key("bitcraps validators 1");
        for (slot, key) in keys.iter().enumerate() {
            hasher.update(&(slot as u32).to_le_bytes()).update(key);
        }
        let hash = *hasher.finalize().as_bytes();
        let set = Self { keys: keys.into(), hash, skipped: Slots::default() };
        // What safety rests on: two quorums share a validator that is not faulty. What liveness rests on: those who are not
        // faulty are a quorum.
        assert!(2 * set.quorum() > set.count() + set.faulty_max(), "two quorums share one that is not faulty");
        assert!(set.quorum() <= set.count() - set.faulty_max(), "those who are not faulty are a quorum");
        // The core counts by more than two thirds: with another number it would decide without a quorum of ours.
        assert_eq!(set.quorum(), 2 * set.count() / 3 + 1, "both rules give one number");
        Ok(set)
    }

    /// The validators of genesis.
    ///
    /// # Errors
    /// As [`Validators::new`].
    pub fn of_genesis(genesis: &Genesis) -> Result<Self, ValidatorsError> {
        Self::new(genesis.validators.iter().map(|validator| validator.vote_key.0).collect())
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.keys.len()
    }

    /// A validator's vote key.
    pub fn key(&self, slot: u32) -> Option<&PublicKey> {
        self.keys.get(slot as usize)
    }

    /// The slot of a vote key.
    pub fn slot_of(&self, key: &PublicKey) -> Option<u32> {
        self.keys.iter().position(|other| other == key).map(|slot| slot as u32)
    }

    /// BLAKE3 of the rows (slot, key): what headers say of the set.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// How many may be faulty: floor((n-1)/3).
    pub fn faulty_max(&self) -> usize {
        self.keys.len() - self.quorum()
    }

    /// How many must agree: n - floor((n-1)/3).
    pub fn quorum(&self) -> usize {
        quorum(self.keys.len())
    }

    /// The same validators, of whom some lose their first turn.
    ///
    /// # Panics
    /// If more do than may be faulty, or one that is none of them.
    pub fn skipping(&self, skipped: Slots) -> Self {
        assert!(skipped.count() <= self.faulty_max(), "a turn is lost by those who may be faulty, and no more");
        assert!(skipped.iter().all(|slot| self.key(slot).is_some()), "only a validator has a turn to lose");
        Self { skipped, ..self.clone() }
    }

    /// Whose turn it is to propose: by slot from the height on, first those who lose no turn, then the others.
    pub fn proposer(&self, height: Height, round: u32) -> u32 {
        let count = self.keys.len() as u64;
        let rotation = (0..count).map(|turn| ((height.0 % count + turn) % count) as u32);
        if self.skipped == Slots::default() {
            return ((height.0 % count + u64::from(round) % count) % count) as u32;
        }
        let (skipped, others): (Vec<u32>, Vec<u32>) = rotation.partition(|slot| self.skipped.contains(*slot));
        assert!(!others.is_empty(), "somebody always has a first turn");
        assert_eq!(others.len() + skipped.len(), self.count(), "who loses the first turn has a later one");
        let turn = (u64::from(round) % count) as usize;
        others.iter().chain(&skipped).nth(turn).copied().expect("a turn for each validator")
    }

    /// Who loses the first turn at `height`, from what the validators' rows say after `height - 2` or `height - 1`: the
    /// [`SKIP_HEIGHTS`] heights before the one from which a row's validator proposes again, at most as many validators as
    /// may be faulty, those first who failed last: one that is down loses its turn also where another failed once before it.
    pub fn skipped_at(&self, height: Height, skipped_until: &[Height]) -> Slots {
        let is_skipped = |until: Height| (until.0.saturating_sub(SKIP_HEIGHTS)..until.0).contains(&height.0);
        let rows = skipped_until.iter().enumerate().take(self.count());
        let mut rows: Vec<(Reverse<Height>, u32)> =
            rows.filter(|(_, until)| is_skipped(**until)).map(|(slot, until)| (Reverse(*until), slot as u32)).collect();
        rows.sort_unstable();
        let mut skipped = Slots::default();
        rows.iter().take(self.faulty_max()).for_each(|(_, slot)| _ = skipped.insert(*slot));
        assert!(skipped.count() <= self.faulty_max(), "no more lose their turn than may be faulty");
        skipped
    }

    /// Notes in the validators' rows that the rounds of `height` below `round` failed: their proposers lose their first
    /// turn from `height + 2` on. `self` must be the set of that height with whom it skipped. Who loses the turn of the next
    /// height is left alone: whose turn that is must follow from the rows before and after this height alike. A row that
    /// counts and is not among them, since no more may be skipped, is renewed: it fails now, and the others failed before.
    ///
    /// # Panics
    /// If a validator has no row.
    pub fn note_failed(&self, height: Height, round: u32, skipped_until: &mut [Height]) {
        assert!(skipped_until.len() >= self.count(), "every validator has a row");
        if self.faulty_max() == 0 {
            return;
        }
        let skipped_next = self.skipped_at(height.next(), skipped_until);
        for failed in 0..round.min(self.count() as u32) {
            let slot = self.proposer(height, failed);
            if !skipped_next.contains(slot) {
                skipped_until[slot as usize] = Height(height.0 + 2 + SKIP_HEIGHTS);
            }
        }
        let after = self.skipped_at(height.next(), skipped_until);
        assert_eq!(after, skipped_next, "the height after the next one is the first whose turns change");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signature::VoteKey;

    fn keys(count: u32) -> Vec<PublicKey> {
        (0..count).map(|slot| VoteKey::from_seed(&[slot as u8; 32]).public()).collect()
    }

    #[test]
    fn two_quorums_share_more_validators_than_may_be_faulty() {
        for count in 1..=128 {
            let set = Validators::new(keys(count)).expect("keys");
            let (n, f, q) = (set.count(), set.faulty_max(), set.quorum());
            assert!(2 * q > n + f, "n = {n}");
            assert!(q <= n - f, "n = {n}");
            // The core asks for more than two thirds; both rules must give one number.
            assert_eq!(q, 2 * n / 3 + 1, "n = {n}");
        }
    }

    #[test]
    fn sets_that_cannot_be_are_refused() {
        assert_eq!(Validators::new(vec![]), Err(ValidatorsError::Count { found: 0, most: 128 }));
        let mut twice = keys(3);
        twice.push(twice[1]);
        assert_eq!(Validators::new(twice), Err(ValidatorsError::Duplicate { first: 1, second: 3 }));
        let mut weak = keys(2);
        weak[1] = [0; 32];
        assert_eq!(Validators::new(weak), Err(ValidatorsError::Key { slot: 1 }));
    }

    #[test]
    fn the_quorums_of_small_sets() {
        let of = |count| Validators::new(keys(count)).expect("keys");
        let sets: Vec<(u32, usize, usize)> =
            (1..=13).map(|count| (count, of(count).quorum(), of(count).faulty_max())).collect();
        assert_eq!(
            sets,
            [
                (1, 1, 0),
                (2, 2, 0),
                (3, 3, 0),
                (4, 3, 1),
                (5, 4, 1),
                (6, 5, 1),
                (7, 5, 2),
                (8, 6, 2),
                (9, 7, 2),
                (10, 7, 3),
                (11, 8, 3),
                (12, 9, 3),
                (13, 9, 4)
            ]
        );
    }

    #[test]
    fn a_failed_proposer_loses_its_first_turn_and_no_other() {
        let set = Validators::new(keys(4)).expect("keys");
        let mut until = vec![Height::GENESIS; 4];
        set.note_failed(Height(9), 1, &mut until);
        assert_eq!(until, [0, 11 + SKIP_HEIGHTS, 0, 0].map(Height), "slot 1 had the first turn of height 9");
        let at = |height| set.skipped_at(Height(height), &until);
        assert_eq!([at(10), at(11 + SKIP_HEIGHTS)], [Slots::default(); 2]);
        let mut one = Slots::default();
        one.insert(1);
        assert_eq!([at(11), at(10 + SKIP_HEIGHTS)], [one; 2]);
        let skipping = set.skipping(one);
        let turns: Vec<u32> = (0..5).map(|round| skipping.proposer(Height(13), round)).collect();
        assert_eq!(turns, [2, 3, 0, 1, 2]);
    }

    #[test]
    fn no_more_lose_their_turn_than_may_be_faulty_and_who_failed_last_first() {
        let set = Validators::new(keys(7)).expect("keys");
        let mut until = vec![Height::GENESIS; 7];
        set.note_failed(Height(7), 3, &mut until);
        set.note_failed(Height(8), 3, &mut until);
        let (seventh, eighth) = (9 + SKIP_HEIGHTS, 10 + SKIP_HEIGHTS);
        // Slot 2 failed at both: of three who had failed before, two are skipped at height 9, and it is not among them.
        assert_eq!(until, [seventh, seventh, eighth, eighth, 0, 0, 0].map(Height));
        let skipped: Vec<u32> = set.skipped_at(Height(20), &until).iter().collect();
        assert_eq!(skipped, [2, 3]);
        let three = Validators::new(keys(3)).expect("keys");
        three.note_failed(Height(7), 2, &mut until);
        assert_eq!(three.skipped_at(Height(20), &[Height(80); 3]), Slots::default(), "none may be faulty");
    }

    /// One is down; another failed once, later. The one that is down fails again, and is the one that is skipped from then on.
    #[test]
    fn one_that_is_down_is_skipped_though_another_failed_after_it() {
        let set = Validators::new(keys(4)).expect("keys");
        let mut until = vec![Height::GENESIS; 4];
        let skipped = |height, until: &[Height]| set.skipped_at(Height(height), until).iter().collect::<Vec<u32>>();
        set.note_failed(Height(3), 1, &mut until);
        set.note_failed(Height(6), 1, &mut until);
        assert_eq!((skipped(7, &until), skipped(8, &until)), (vec![3], vec![2]));
        let skipping = set.skipping(set.skipped_at(Height(11), &until));
        assert_eq!(skipping.proposer(Height(11), 0), 3);
        skipping.note_failed(Height(11), 1, &mut until);
        assert_eq!((skipped(12, &until), skipped(13, &until)), (vec![2], vec![3]));
        assert_eq!(skipped(12 + SKIP_HEIGHTS, &until), [3]);
    }

    /// Rows change at every height; whose turn it is follows from those after the height but one before, and from those
    /// after the one before it, alike: a node may have settled either.
    #[test]
    fn the_turns_of_a_height_are_the_same_from_either_of_the_two_heights_before() {
        let set = Validators::new(keys(7)).expect("keys");
        let (mut until, mut lot) = (vec![Height::GENESIS; 7], 7u64);
        let mut before = set.skipped_at(Height(2), &until);
        let mut skips = 0;
        for height in 1..2_000 {
            let skipped = set.skipped_at(Height(height), &until);
            assert_eq!(skipped, if height == 1 { skipped } else { before }, "height {height}");
            skips += skipped.count();
            // The next height's turns, as a node sees them that has not settled this one.
            before = set.skipped_at(Height(height + 1), &until);
            lot = lot.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let round = if (lot >> 33).is_multiple_of(9) { (lot >> 40) as u32 % 9 } else { 0 };
            set.skipping(skipped).note_failed(Height(height), round, &mut until);
        }
        assert!(skips > 1_000);
    }

    #[test]
    fn proposers_rotate_by_height_and_round() {
        let set = Validators::new(keys(4)).expect("keys");
        let turns: Vec<u32> = (0..6).map(|round| set.proposer(Height(3), round)).collect();
        assert_eq!(turns, [3, 0, 1, 2, 3, 0]);
        assert_eq!(set.proposer(Height(u64::MAX), u32::MAX), 2);
    }
}
