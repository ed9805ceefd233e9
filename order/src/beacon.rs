//! The beacon: a threshold BLS signature over a decided block, from which the dice of its height follow.
//!
//! BLS12-381, signatures in G1 and keys in G2. One validator is the same scheme with a group of one.

use std::num::NonZeroU32;

use commonware_codec::{Decode, DecodeExt, Encode};
use commonware_cryptography::bls12381::dkg::feldman_desmedt::deal_anonymous;
use commonware_cryptography::bls12381::primitives::group::{G1, G2, Private, Share};
use commonware_cryptography::bls12381::primitives::ops::{batch, threshold, verify_message};
use commonware_cryptography::bls12381::primitives::sharing::{Mode, ModeVersion, Sharing};
use commonware_cryptography::bls12381::primitives::variant::{MinSig, PartialSignature};
use commonware_parallel::Sequential;
use commonware_utils::iter::NonEmpty;
use commonware_utils::{N3f1, Participant};
use engine::limits::BEACONS_PER_TASK;
use engine::message::certificate::Beacon;
use engine::message::vote::quorum;
use engine::{Hash, Height};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;
use rayon::prelude::*;
use thiserror::Error;

use crate::batch::BatchSecret;
use crate::memory;

/// The namespace of beacon messages: no other BLS signature of this project is valid as a beacon.
pub const BEACON_NAMESPACE: &[u8] = b"bitcraps beacon 1";

/// What a beacon is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BeaconMessage {
    /// The chain id.
    pub chain: Hash,
    /// How often the group's shares were dealt anew.
    pub epoch: u64,
    /// The decided height.
    pub height: Height,
    /// The decided block.
    pub block: Hash,
}

impl BeaconMessage {
    /// Chain id, epoch u64, height u64, block: 80 bytes.
    pub fn bytes(&self) -> [u8; 80] {
        let mut bytes = [0; 80];
        bytes[..32].copy_from_slice(&self.chain);
        bytes[32..40].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.height.0.to_le_bytes());
        bytes[48..].copy_from_slice(&self.block);
        const { assert!(2 * size_of::<Hash>() + size_of::<Height>() + size_of::<u64>() == 80, "nothing stays zero") };
        bytes
    }
}

/// One validator's part of a beacon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BeaconShare {
    /// The validator's slot.
    pub slot: u32,
    /// A BLS signature under the slot's share of the group key.
    pub signature: Beacon,
}

/// A key, share or beacon that cannot be used.
#[derive(Error, Clone, Copy, PartialEq, Eq, Debug)]
pub enum BeaconError {
    /// No point of G2.
    #[error("the group key is no point of G2")]
    GroupKey,
    /// Bytes that are no group of so many validators.
    #[error("this is not the public side of a beacon key that was dealt to {validators} validators")]
    Group {
        /// How many there are.
        validators: u32,
    },
    /// No point of G1.
    #[error("the share of slot {slot} is no point of G1")]
    Point {
        /// Whose.
        slot: u32,
    },
    /// Nobody has the slot.
    #[error("slot {slot} has no share of the group key; {count} have")]
    UnknownSlot {
        /// The slot.
        slot: u32,
        /// How many have one.
        count: u32,
    },
    /// Shares that do not verify; they were dropped.
    #[error("the share of slot {slot} does not verify")]
    Share {
        /// The first of those whose share does not.
        slot: u32,
    },
}

/// The public side of a group: its key, and the keys of its shares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BeaconGroup(Sharing<MinSig>);

/// One validator's secret share of the group key.
#[derive(Clone)]
pub struct BeaconSigner {
    share: Share,
}

impl std::fmt::Debug for BeaconSigner {
    /// Shows the slot only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BeaconSigner({})", self.share.index)
    }
}

/// Deals a group key to `count` validators, threshold `n - floor((n-1)/3)`. Whoever knows `seed` knows every share:
/// for one validator's own group, or under the development flag of genesis.
pub fn deal(count: NonZeroU32, seed: [u8; 32]) -> (BeaconGroup, Vec<BeaconSigner>) {
    let rng = ChaCha20Rng::from_seed(seed);
    let (sharing, shares) = deal_anonymous::<MinSig, N3f1>(rng, Mode::NonZeroCounter, count);
    let group = BeaconGroup(sharing);
    let signers: Vec<BeaconSigner> = shares.into_iter().map(|share| BeaconSigner { share }).collect();
    // The library's own idea of a quorum is another crate's to change: fewer than ours could foresee every roll, and with
    // more the honest ones alone would have no dice.
    assert_eq!(
        group.threshold(),
        quorum(count.get() as usize) as u32,
        "as many shares make a beacon as votes make a decision"
    );
    assert_eq!(group.validators(), count.get() as usize, "the group knows of everybody whom a share was dealt");
    assert_eq!(signers.len(), group.validators(), "each validator has one share");
    let in_order = (0..).zip(&signers).all(|(slot, signer)| signer.slot() == slot);
    assert!(in_order, "shares are handed out by their place, which is the slot");
    (group, signers)
}

impl BeaconGroup {
    /// The group's public key, in G2, compressed: what genesis holds.
    pub fn key(&self) -> [u8; 96] {
        let bytes = self.0.public().encode();
        bytes.as_ref().try_into().expect("a compressed point of G2 has 96 bytes")
    }

    /// How many validators have a share.
    pub(crate) fn validators(&self) -> usize {
        self.0.total().get() as usize
    }

    /// How many shares make a beacon.
    pub fn threshold(&self) -> u32 {
        self.0.required()
    }

    /// Its bytes, for a file: nothing of it is secret.
    pub fn to_bytes(&self) -> Vec<u8> {
        let bytes = self.0.encode().to_vec();
        // Shares were handed out by then: of a group that cannot be read again there would never be a beacon.
        assert_eq!(
            Self::of_bytes(&bytes, self.0.total()).as_ref(),
            Ok(self),
            "a reader takes the group that is written"
        );
        bytes
    }

    /// The group of so many validators that these bytes are.
    ///
    /// # Errors
    /// If they are none.
    pub fn of_bytes(bytes: &[u8], validators: NonZeroU32) -> Result<Self, BeaconError> {
        let count = validators.get();
        let group = Sharing::<MinSig>::decode_cfg(bytes.to_vec(), &(validators, ModeVersion::v0())).ok();
        // With a lower threshold, fewer validators than a quorum could foresee every roll.
        let group =
            group.filter(|group| group.total() == validators && group.required() == quorum(count as usize) as u32);
        group.map(Self).ok_or(BeaconError::Group { validators: count })
    }
}

impl BeaconSigner {
    /// The validator's slot.
    pub fn slot(&self) -> u32 {
        self.share.index.get()
    }

    /// The secret, for a file: whoever has a quorum of them foresees every roll.
    pub fn secret(&self) -> [u8; 32] {
        let bytes = self.share.private.expose(|private| private.encode());
        bytes.as_ref().try_into().expect("a scalar has 32 bytes")
    }

    /// The share of a validator of a group whose secret this is.
    ///
    /// # Errors
    /// If it is another's.
    pub fn of_secret(group: &BeaconGroup, slot: u32, secret: &[u8; 32]) -> Result<Self, BeaconError> {
        let private = Private::decode(secret.to_vec()).map_err(|_| BeaconError::Share { slot })?;
        let share = Share::new(Participant::new(slot), private);
        let expected = group.0.partial_public(share.index).map_err(|_| BeaconError::Share { slot })?;
        // The share of another slot would verify for nobody: better to say so at the start than to lack dice for ever.
        if share.public::<MinSig>() != expected {
            return Err(BeaconError::Share { slot });
        }
        let signer = Self { share };
        assert_eq!(signer.slot(), slot, "the share is that of the slot that was asked about");
        assert!((slot as usize) < group.validators(), "only those whom the group was dealt to have a share");
        Ok(signer)
    }

    /// This validator's part of a beacon. It may leave the node only when the decided frame is on disk.
    pub fn share(&self, message: &BeaconMessage) -> BeaconShare {
        let (slot, bytes) = (self.slot(), message.bytes());
        let signature = memory::beacon(Some(slot), &bytes).unwrap_or_else(|| {
            let partial = memory::timed(|| threshold::sign_message::<MinSig>(&self.share, BEACON_NAMESPACE, &bytes));
            to_beacon(&partial.value)
        });
        BeaconShare { slot, signature }
    }
}

/// Collects the shares of one height until they make a beacon.
#[derive(Clone, Debug)]
pub struct BeaconCollector {
    group: BeaconGroup,
    message: BeaconMessage,
    shares: Vec<PartialSignature<MinSig>>,
    /// A share of another was added, so the sum must be verified.
    foreign: bool,
    /// Whose shares came where signatures are simulated.
    simulated: Vec<u32>,
}

impl BeaconCollector {
    /// A collector without shares.
    pub fn new(group: BeaconGroup, message: BeaconMessage) -> Self {
        // With fewer those who may be faulty could foresee every roll, and with more they could keep it from everybody.
        let needed = quorum(group.validators()) as u32;
        assert_eq!(group.threshold(), needed, "as many shares make a beacon as votes make a decision");
        assert!(needed >= 1, "nobody's shares make no beacon");
        Self { group, message, shares: Vec::new(), foreign: false, simulated: Vec::new() }
    }

    /// Adds this node's own share, which needs no check. The beacon, if there are enough shares now.
    ///
    /// # Errors
    /// As [`BeaconCollector::add`].
    pub fn add_own(&mut self, signer: &BeaconSigner) -> Result<Option<Beacon>, BeaconError> {
        assert!((signer.slot() as usize) < self.group.validators(), "the own share is one of the group's");
        if memory::is_simulated() {
            return self.add(&signer.share(&self.message));
        }
        let bytes = self.message.bytes();
        self.insert(memory::timed(|| threshold::sign_message::<MinSig>(&signer.share, BEACON_NAMESPACE, &bytes)))?;
        self.combine()
    }

    /// Adds a share of another; a second one of the same slot is ignored. The beacon, if there are enough shares now.
    ///
    /// # Errors
    /// The share is no point, or of no slot, or shares do not verify: those are dropped, and the collector waits for
    /// more.
    pub fn add(&mut self, share: &BeaconShare) -> Result<Option<Beacon>, BeaconError> {
        let slot = share.slot;
        if let Some(expected) = memory::beacon(Some(slot), &self.message.bytes()) {
            return if expected == share.signature { self.simulate(slot) } else { Err(BeaconError::Share { slot }) };
        }
        let value = G1::decode(share.signature.to_vec()).map_err(|_| BeaconError::Point { slot })?;
        // Even if it is dropped below: from here on the sum is verified.
        self.foreign = true;
        self.insert(PartialSignature { index: Participant::new(slot), value })?;
        self.combine()
    }

    /// Takes the share of a slot where signatures are simulated.
    fn simulate(&mut self, slot: u32) -> Result<Option<Beacon>, BeaconError> {
        let count = self.group.0.total().get();
        if slot >= count {
            return Err(BeaconError::UnknownSlot { slot, count });
        }
        if !self.simulated.contains(&slot) {
            self.simulated.push(slot);
        }
        assert!(self.simulated.len() <= count as usize, "a slot has one simulated share");
        assert!(self.shares.is_empty(), "simulated shares and real ones are never counted together");
        let is_enough = self.simulated.len() >= self.group.threshold() as usize;
        Ok(memory::beacon(None, &self.message.bytes()).filter(|_| is_enough))
    }

    fn insert(&mut self, share: PartialSignature<MinSig>) -> Result<(), BeaconError> {
        let (slot, count) = (share.index.get(), self.group.0.total().get());
        if slot >= count {
            return Err(BeaconError::UnknownSlot { slot, count });
        }
        // The first one stays: a liar who sends again cannot replace what another's sum may already rest on.
        if self.shares.iter().all(|other| other.index != share.index) {
            self.shares.push(share);
        }
        assert!(self.shares.len() <= count as usize, "a slot has one share");
        assert!(self.simulated.is_empty(), "real shares and simulated ones are never counted together");
        Ok(())
    }

    /// Sums the shares and verifies the sum; only if it does not verify, each share alone.
    fn combine(&mut self) -> Result<Option<Beacon>, BeaconError> {
        if self.shares.len() < self.group.threshold() as usize {
            return Ok(None);
        }
        assert!(
            self.foreign || self.shares.len() == 1,
            "a node has one share of its own, and verifies a sum of several"
        );
        let bytes = self.message.bytes();
        let sum = memory::timed(|| threshold::recover::<MinSig, _>(&self.group.0, &self.shares, &Sequential))
            .expect("as many shares of different slots as the threshold asks for");
        let (key, beacon) = (self.group.0.public(), to_beacon(&sum));
        let holds = || verify_message::<MinSig>(key, BEACON_NAMESPACE, &bytes, &sum).is_ok();
        // Own shares cannot be wrong; a lone validator saves the pairing of every height.
        if !self.foreign || memory::verdict(&[&self.group.key(), &bytes, &beacon], holds) {
            return Ok(Some(beacon));
        }
        // Only now, one pairing for each: a single liar costs this once, since its share is named and dropped.
        let holds = |share: &PartialSignature<MinSig>| {
            threshold::verify_message::<MinSig>(&self.group.0, BEACON_NAMESPACE, &bytes, share).is_ok()
        };
        let before = self.shares.len();
        let (good, bad): (Vec<_>, Vec<_>) = self.shares.drain(..).partition(holds);
        self.shares = good;
        assert!(self.shares.len() < before, "a sum that does not verify costs a share, or the collector asks for ever");
        assert_eq!(self.shares.len() + bad.len(), before, "no good share is lost with a bad one");
        let slot = bad.first().expect("the sum of good shares verifies").index.get();
        assert!((slot as usize) < self.group.validators(), "whoever is named has a share");
        Err(BeaconError::Share { slot })
    }
}

/// Verifies beacons under one group key; all that an auditor needs.
#[derive(Clone, Copy, Debug)]
pub struct BeaconVerifier {
    key: G2,
}

impl BeaconVerifier {
    /// For a group's key, as genesis holds it.
    ///
    /// # Errors
    /// If it is no point of G2.
    pub fn new(key: &[u8; 96]) -> Result<Self, BeaconError> {
        Ok(Self { key: G2::decode(key.to_vec()).map_err(|_| BeaconError::GroupKey)? })
    }

    /// Whether `beacon` is the group's over `message`.
    pub fn verify(&self, message: &BeaconMessage, beacon: &Beacon) -> bool {
        let bytes = message.bytes();
        if let Some(expected) = memory::beacon(None, &bytes) {
            return expected == *beacon;
        }
        memory::verdict(&[&self.key.encode(), &bytes, beacon], || {
            let signature = G1::decode(beacon.to_vec());
            signature.is_ok_and(|signature| {
                verify_message::<MinSig>(&self.key, BEACON_NAMESPACE, &bytes, &signature).is_ok()
            })
        })
    }

    /// The places of those that do not verify, ascending. One pairing check for each chunk of many, chunks in
    /// parallel, each with coefficients of its own; a chunk that fails is bisected.
    pub fn verify_batch(&self, items: &[(BeaconMessage, Beacon)], secret: &BatchSecret) -> Vec<usize> {
        // What is remembered is remembered for each signature alone, not for the equation of a batch.
        if memory::is_on() {
            let all = items.iter().enumerate();
            return all
                .filter(|(_, (message, beacon))| !self.verify(message, beacon))
                .map(|(place, _)| place)
                .collect();
        }
        let bad_of_chunk = |(chunk, items): (usize, &[(BeaconMessage, Beacon)])| {
            let mut rng = self.coefficients(items, secret);
            let mut bad = Vec::new();
            let mut points: Vec<(usize, [u8; 80], G1)> = Vec::with_capacity(items.len());
            for (place, (message, beacon)) in items.iter().enumerate() {
                let place = chunk * BEACONS_PER_TASK + place;
                // Bytes that are no point have no place in the equation; they are wrong by themselves.
                match G1::decode(beacon.to_vec()) {
                    Ok(point) => points.push((place, message.bytes(), point)),
                    Err(_) => bad.push(place),
                }
            }
            self.bisect(&points, &mut rng, &mut bad);
            // Those that were no points were found before the others.
            bad.sort_unstable();
            assert!(bad.is_sorted_by(|place, next| place < next), "a place is no point or in the equation, never both");
            bad
        };
        let bad: Vec<usize> =
            memory::timed(|| items.par_chunks(BEACONS_PER_TASK).enumerate().flat_map_iter(bad_of_chunk).collect());
        assert!(bad.is_sorted_by(|place, next| place < next), "chunks are joined in their order");
        assert!(bad.last().is_none_or(|place| *place < items.len()), "each place is that of an item");
        bad
    }

    /// The coefficients of the equation over a chunk: key, messages and beacons all change them.
    fn coefficients(&self, items: &[(BeaconMessage, Beacon)], secret: &BatchSecret) -> ChaCha20Rng {
        secret.coefficients(b"bls12-381 minsig", |hasher| {
            hasher.update(self.key.encode().as_ref());
            for (message, beacon) in items {
                hasher.update(&message.bytes()).update(beacon);
            }
        })
    }

    fn bisect(&self, points: &[(usize, [u8; 80], G1)], rng: &mut ChaCha20Rng, bad: &mut Vec<usize>) {
        let entries = points.iter().map(|(_, bytes, point)| (BEACON_NAMESPACE, &bytes[..], *point));
        let Some(entries) = NonEmpty::try_new(entries) else { return };
        assert!(points.len() <= BEACONS_PER_TASK, "an equation is over one chunk at most");
        if batch::verify_same_signer::<_, MinSig, _>(rng, &self.key, entries, &Sequential).is_ok() {
            return;
        }
        match points {
            [(place, ..)] => bad.push(*place),
            _ => {
                // Each half is smaller than the whole: it ends at single beacons, which name themselves.
                let (low, high) = points.split_at(points.len() / 2);
                assert!(!low.is_empty(), "the upper half is smaller than the whole");
                assert!(low.len() <= high.len(), "the lower half is no larger than the upper one");
                let before = bad.len();
                self.bisect(low, rng, bad);
                self.bisect(high, rng, bad);
                // Beacons that all hold alone hold together, whatever their coefficients.
                assert!(bad.len() > before, "what does not hold together has a beacon that does not hold alone");
            }
        }
    }
}

fn to_beacon(signature: &G1) -> Beacon {
    signature.encode().as_ref().try_into().expect("a compressed point of G1 has 48 bytes")
}

#[cfg(test)]
mod tests;
