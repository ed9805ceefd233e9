//! The validators of a height: their keys by slot, the quorum, and whose turn it is.

use engine::{Genesis, Hash, Height};
use thiserror::Error;

use crate::signature::{PublicKey, key_is_acceptable};

/// The validators that vote on a height, by slot. One vote each.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Validators {
    keys: Vec<PublicKey>,
    hash: Hash,
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
        let (found, most) = (keys.len(), engine::limits::VALIDATORS_MAX as usize);
        if found == 0 || found > most {
            return Err(ValidatorsError::Count { found, most });
        }
        for (second, key) in keys.iter().enumerate() {
            if !key_is_acceptable(key) {
                return Err(ValidatorsError::Key { slot: second as u32 });
            }
            if let Some(first) = keys[..second].iter().position(|other| other == key) {
                return Err(ValidatorsError::Duplicate { first: first as u32, second: second as u32 });
            }
        }
        let mut hasher = blake3::Hasher::new_derive_key("bitcraps validators 1");
        for (slot, key) in keys.iter().enumerate() {
            hasher.update(&(slot as u32).to_le_bytes()).update(key);
        }
        let hash = *hasher.finalize().as_bytes();
        Ok(Self { keys, hash })
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
        (self.keys.len() - 1) / 3
    }

    /// How many must agree: n - floor((n-1)/3).
    pub fn quorum(&self) -> usize {
        self.keys.len() - self.faulty_max()
    }

    /// Whose turn it is to propose. The one place where a rule about failed rounds belongs.
    pub fn proposer(&self, height: Height, round: u32) -> u32 {
        ((height.0 % self.keys.len() as u64 + u64::from(round)) % self.keys.len() as u64) as u32
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
    fn proposers_rotate_by_height_and_round() {
        let set = Validators::new(keys(4)).expect("keys");
        let turns: Vec<u32> = (0..6).map(|round| set.proposer(Height(3), round)).collect();
        assert_eq!(turns, [3, 0, 1, 2, 3, 0]);
        assert_eq!(set.proposer(Height(u64::MAX), u32::MAX), 2);
    }
}
