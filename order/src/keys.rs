//! Key generation: for `dev` from a seed that anyone may know, for a real node from entropy that its operator drew.

use std::num::NonZeroU32;

use engine::Genesis;
use engine::genesis::{GenesisValidator, HexBytes, KeySource};

use crate::beacon::{BeaconGroup, BeaconSigner, deal};
use crate::signature::{DkgKey, PlayerKey, VoteKey};

/// All keys of a development chain. Whoever knows the seed knows them all.
#[derive(Debug)]
pub struct DevKeys {
    /// The validators' vote keys, by slot.
    pub votes: Vec<VoteKey>,
    /// Their keys for dealing shares, by slot.
    pub dealers: Vec<DkgKey>,
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
    /// For dealing shares of the group key.
    pub dealer: DkgKey,
    /// The beacon's group of one.
    pub group: BeaconGroup,
    /// The whole group key.
    pub beacon: BeaconSigner,
}

/// The secrets of a node that is a validator of its own: 32 bytes each that its operator drew. No role's key says anything
/// about another's, and each can be kept, renewed or lost alone.
#[derive(Clone, Copy)]
pub struct NodeSeeds<'a> {
    /// The secret of the key for votes and proposals.
    pub vote: &'a [u8; 32],
    /// The secret of the key for dealing shares.
    pub dealer: &'a [u8; 32],
    /// The secret of its part in the beacon's group key.
    pub beacon: &'a [u8; 32],
}

/// The keys of a development chain of `validators`: the same for the same seed.
pub fn dev_keys(seed: &[u8; 32], validators: NonZeroU32) -> DevKeys {
    let seed = blake3::derive_key("bitcraps development keys 1", seed);
    let slots = 0..validators.get();
    let votes = slots.clone().map(|slot| VoteKey::from_seed(&numbered(&seed, "vote", slot))).collect();
    let dealers = slots.map(|slot| DkgKey::from_seed(&numbered(&seed, "dkg", slot))).collect();
    let (group, beacons) = deal(validators, numbered(&seed, "beacon", 0));
    let keys = DevKeys { votes, dealers, group, beacons, seed };
    // One that votes without a share, or has a share and no vote, would only show when the first beacon is due.
    assert_eq!(keys.beacons.len(), keys.votes.len(), "every validator has a share");
    assert_eq!(keys.beacons.len(), keys.dealers.len(), "every validator can deal");
    keys
}

/// A secret of a development chain: of a validator's slot, or of the group. It is the one that [`dev_keys`] takes.
pub fn dev_secret(seed: &[u8; 32], role: &str, slot: u32) -> [u8; 32] {
    numbered(&blake3::derive_key("bitcraps development keys 1", seed), role, slot)
}

/// The keys of a real node.
pub fn node_keys(seeds: NodeSeeds<'_>) -> NodeKeys {
    let (group, beacons) = deal(NonZeroU32::MIN, blake3::derive_key("bitcraps beacon key 1", seeds.beacon));
    let beacon = beacons.into_iter().next().expect("one share was dealt");
    // With any other threshold a group of one would never have a beacon, and the chain would stand at height 1.
    assert_eq!(group.threshold(), 1, "its own share alone makes a beacon");
    assert_eq!(beacon.slot(), 0, "the only validator has the only slot");
    let keys =
        NodeKeys { vote: VoteKey::from_seed(seeds.vote), dealer: DkgKey::from_seed(seeds.dealer), group, beacon };
    // Also where an operator gave one secret for both: what one role signs must say nothing in the other.
    assert_ne!(keys.vote.public(), keys.dealer.public(), "no two roles share a key");
    keys
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

    /// Writes the validators and the group key into a genesis, and says that they follow from a seed.
    pub fn install(&self, genesis: &mut Genesis) {
        // Rows are made of pairs: a validator without one of its keys would be left out of the chain without a word.
        assert_eq!(self.votes.len(), self.dealers.len(), "every validator has both keys");
        genesis.keys = KeySource::Seed;
        genesis.group_key = HexBytes(self.group.key());
        let row = |(slot, (vote, dealer)): (usize, (&VoteKey, &DkgKey))| GenesisValidator {
            name: format!("dev-{slot}"),
            vote_key: HexBytes(vote.public()),
            dkg_key: HexBytes(dealer.public()),
        };
        genesis.validators = self.votes.iter().zip(&self.dealers).enumerate().map(row).collect();
        assert_eq!(genesis.validators.len(), self.group.validators(), "the group was dealt to those who vote");
    }
}

impl NodeKeys {
    /// The row of genesis for this validator.
    pub fn genesis_row(&self, name: &str) -> GenesisValidator {
        let (vote_key, dkg_key) = (HexBytes(self.vote.public()), HexBytes(self.dealer.public()));
        GenesisValidator { name: name.to_owned(), vote_key, dkg_key }
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
        for (vote, dealer) in keys.votes.iter().zip(&keys.dealers) {
            hasher.update(&vote.public()).update(&dealer.public());
        }
        hasher.update(&keys.group.key()).update(&keys.player(3).public());
        assert_eq!(
            hasher.finalize().to_hex().as_str(),
            "7e3b8241b9b2ace3b8eb9664e3bed2ebd69c74c7c71dd3d073ed885b887d05e0"
        );
    }

    #[test]
    fn development_secrets_are_those_of_the_development_keys() {
        let keys = dev_keys(&[5; 32], NonZeroU32::new(4).expect("not zero"));
        for (slot, vote) in (0..).zip(&keys.votes) {
            assert_eq!(VoteKey::from_seed(&dev_secret(&[5; 32], "vote", slot)).public(), vote.public());
        }
        let (group, _) = deal(NonZeroU32::new(4).expect("not zero"), dev_secret(&[5; 32], "beacon", 0));
        assert_eq!(group, keys.group);
    }

    #[test]
    fn no_two_roles_share_a_key() {
        let dev = dev_keys(&[5; 32], NonZeroU32::MIN);
        let node = node_keys(NodeSeeds { vote: &[5; 32], dealer: &[5; 32], beacon: &[5; 32] });
        let keys = [
            dev.votes[0].public(),
            dev.dealers[0].public(),
            dev.player(0).public(),
            dev.player(1).public(),
            node.vote.public(),
            node.dealer.public(),
        ];
        let different: std::collections::BTreeSet<_> = keys.into_iter().collect();
        assert_eq!(different.len(), keys.len());
        assert_ne!(dev.group.key(), node.group.key());
        let other = node_keys(NodeSeeds { vote: &[6; 32], dealer: &[6; 32], beacon: &[5; 32] });
        assert_eq!(other.group.key(), node.group.key(), "the beacon key follows from its own secret alone");
        assert_ne!(VoteKey::from_seed(&[5; 32]).public(), PlayerKey::from_seed(&[5; 32]).public());
    }
}
