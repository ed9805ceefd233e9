//! Key generation: for `dev` from a seed that anyone may know, for a real node from entropy that its operator drew.

use std::num::NonZeroU32;

use engine::Genesis;
use engine::genesis::{GenesisValidator, HexBytes};

use crate::beacon::{BeaconGroup, BeaconSigner, deal};
use crate::signature::{PlayerKey, VoteKey};

/// All keys of a development chain. Whoever knows the seed knows them all.
#[derive(Debug)]
pub struct DevKeys {
    /// The validators' vote keys, by slot.
    pub votes: Vec<VoteKey>,
    /// The beacon's group.
    pub group: BeaconGroup,
    /// The validators' shares of the group key, by slot.
    pub beacons: Vec<BeaconSigner>,
    seed: [u8; 32],
}

/// The keys of a node that is a validator of its own: what `init` writes, encrypted.
#[derive(Debug)]
pub struct NodeKeys {
    /// For votes and proposals.
    pub vote: VoteKey,
    /// The beacon's group of one.
    pub group: BeaconGroup,
    /// The whole group key.
    pub beacon: BeaconSigner,
}

/// The keys of a development chain of `validators`: the same for the same seed.
pub fn dev_keys(seed: &[u8; 32], validators: NonZeroU32) -> DevKeys {
    let seed = blake3::derive_key("bitcraps development keys 1", seed);
    let votes = (0..validators.get()).map(|slot| VoteKey::from_seed(&numbered(&seed, "vote", slot))).collect();
    let (group, beacons) = deal(validators, numbered(&seed, "beacon", 0));
    DevKeys { votes, group, beacons, seed }
}

/// The keys of a real node, from 32 bytes of entropy that the caller drew and keeps secret.
pub fn node_keys(entropy: &[u8; 32]) -> NodeKeys {
    let (group, beacons) = deal(NonZeroU32::MIN, blake3::derive_key("bitcraps beacon key 1", entropy));
    let beacon = beacons.into_iter().next().expect("one share was dealt");
    NodeKeys { vote: VoteKey::from_seed(entropy), group, beacon }
}

fn numbered(seed: &[u8; 32], role: &str, number: u32) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(seed);
    hasher.update(role.as_bytes()).update(&number.to_le_bytes());
    *hasher.finalize().as_bytes()
}

impl DevKeys {
    /// The key of a simulated player.
    pub fn player(&self, number: u32) -> PlayerKey {
        PlayerKey::from_seed(&numbered(&self.seed, "player", number))
    }

    /// Writes the validators and the group key into a genesis, and marks it insecure.
    pub fn install(&self, genesis: &mut Genesis) {
        genesis.insecure_keys = true;
        genesis.group_key = HexBytes(self.group.key());
        genesis.validators = self
            .votes
            .iter()
            .enumerate()
            .map(|(slot, key)| GenesisValidator { name: format!("dev-{slot}"), vote_key: HexBytes(key.public()) })
            .collect();
    }
}

impl NodeKeys {
    /// The row of genesis for this validator.
    pub fn genesis_row(&self, name: &str) -> GenesisValidator {
        GenesisValidator { name: name.to_owned(), vote_key: HexBytes(self.vote.public()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes only on purpose: `dev --seed` must give the same chain in every version, and after every update of the
    /// beacon's library.
    #[test]
    fn development_keys_are_pinned() {
        let keys = dev_keys(&[5; 32], NonZeroU32::new(4).expect("not zero"));
        let again = dev_keys(&[5; 32], NonZeroU32::new(4).expect("not zero"));
        assert_eq!(keys.group, again.group);
        let mut hasher = blake3::Hasher::new();
        for key in &keys.votes {
            hasher.update(&key.public());
        }
        hasher.update(&keys.group.key()).update(&keys.player(3).public());
        assert_eq!(
            hasher.finalize().to_hex().as_str(),
            "2247b90a477aa46ae38b3137effd74e295013dd5456cf64a0d28df91bf0695fd"
        );
    }

    #[test]
    fn no_two_roles_share_a_key() {
        let (dev, node) = (dev_keys(&[5; 32], NonZeroU32::MIN), node_keys(&[5; 32]));
        let keys = [dev.votes[0].public(), dev.player(0).public(), dev.player(1).public(), node.vote.public()];
        let different: std::collections::BTreeSet<_> = keys.into_iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_ne!(dev.group.key(), node.group.key());
        assert_ne!(VoteKey::from_seed(&[5; 32]).public(), PlayerKey::from_seed(&[5; 32]).public());
    }
}
