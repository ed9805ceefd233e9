//! Signatures of a record, verified in batches: intents, pledges, certificates, beacons.

use anyhow::Context;
use engine::Hash;
use engine::message::block::{Decided, Retired};
use engine::message::certificate::{Beacon, Settled};
use order::batch::BatchSecret;
use order::beacon::{BeaconMessage, BeaconVerifier};
use order::block::{carried_items, intent_items, pledge_items};
use order::certificate::{certificate_items, check_certificate_form};
use order::signature::{PublicKey, SignedItem, verify_batch};
use order::validators::Validators;
use systems::Setup;
use systems::exchange::beacon::EPOCH;
use systems::exchange::verify::issuers;
use words::Failure;

use crate::difference::Difference;
use crate::recording::Step;
use crate::refused::refused_certificate;

/// What signatures of a chain are verified with.
pub struct Verifier {
    validators: Validators,
    beacons: BeaconVerifier,
    issuers: Vec<PublicKey>,
    chain: Hash,
    /// Drawn anew for each reader: whoever made the session cannot know it.
    secret: BatchSecret,
}

/// What a batch came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Verified {
    /// Signatures that were verified.
    pub signatures: u64,
    /// Beacons that were verified.
    pub beacons: u64,
    /// The first of them that is forged.
    pub forged: Option<Difference>,
}

/// Signatures to verify together, and where each stands in the record.
#[derive(Default)]
struct Batch<'a> {
    items: Vec<SignedItem<'a>>,
    places: Vec<(u64, &'static str, u64)>,
    beacons: Vec<(BeaconMessage, Beacon)>,
}

impl Batch<'_> {
    /// Takes note of where the items that were added belong.
    fn note(&mut self, height: u64, component: &'static str) {
        // Everything that was added since the last note belongs here: what is forged is found by its place.
        let first = self.places.len();
        self.places.extend((0..self.items.len() - first).map(|row| (height, component, row as u64)));
    }
}

fn forged(height: u64, component: &'static str, row: u64) -> Difference {
    let (expected, found) = ("one that verifies".into(), "one that does not".into());
    Difference { height, component, row, field: "signature".into(), expected, found }
}

impl Verifier {
    /// For a chain.
    ///
    /// # Errors
    /// If its genesis has keys that are none, or the system gives no randomness.
    pub fn new(setup: &Setup) -> anyhow::Result<Self> {
        let data = |error: &dyn std::fmt::Display| Failure::Data(error.to_string());
        Ok(Self {
            validators: Validators::of_genesis(&setup.genesis).map_err(|error| data(&error))?,
            beacons: BeaconVerifier::new(&setup.genesis.group_key.0).map_err(|error| data(&error))?,
            issuers: issuers(setup),
            chain: setup.chain,
            secret: BatchSecret::draw(getrandom::fill).context("the system gives no randomness")?,
        })
    }

    /// The validators.
    pub fn validators(&self) -> &Validators {
        &self.validators
    }

    /// Verifies every intent, pledge, certificate and beacon of some heights.
    pub fn steps(&self, steps: &[&Step]) -> Verified {
        let (mut batch, mut nobodys) = (Batch::default(), None);
        for Step { decided: Decided { block, certificate }, settled } in steps.iter().copied() {
            let height = block.header.height.0;
            batch.items.extend(certificate_items(certificate, &self.validators, &self.chain));
            batch.note(height, "Certificate");
            carried_items(block, &self.validators, &self.chain, &mut batch.items);
            batch.note(height, "Certificate");
            pledge_items(block, &self.chain, &mut batch.items);
            batch.note(height, "Pledge");
            // A voucher of an issuer whom genesis does not name has no key that could have signed it.
            let before = batch.items.len();
            if intent_items(block, &self.issuers, &self.chain, &mut batch.items).is_err() {
                // What lies before it is verified all the same: it would count as good, whoever wrote the voucher.
                batch.items.truncate(before);
                nobodys = Some(forged(height, "Intent", 0));
                break;
            }
            batch.note(height, "Intent");
            batch.beacons.push(self.beacon(block.header.height, block.header.hash(), settled));
        }
        let verified = self.run(&batch);
        let first = [verified.forged, nobodys].into_iter().flatten().min_by_key(|difference| difference.height);
        Verified { forged: first, ..verified }
    }

    /// Verifies the certificates and beacons of heights of which only heads are left.
    pub fn heads(&self, heads: &[(Retired, Settled)]) -> Verified {
        let mut batch = Batch::default();
        for (Retired { header, carried, certificate }, settled) in heads {
            for certificate in carried.iter().chain([certificate]) {
                batch.items.extend(certificate_items(certificate, &self.validators, &self.chain));
                batch.note(header.height.0, "Certificate");
            }
            batch.beacons.push(self.beacon(header.height, header.hash(), settled));
        }
        self.run(&batch)
    }

    /// Verifies that a quorum decided a block: its certificate, and nothing else of it.
    ///
    /// # Errors
    /// If it is none of the block, not of a quorum, or a signature in it is forged.
    pub fn decided(&self, decided: &Decided) -> Result<(), Difference> {
        let Decided { block, certificate } = decided;
        let height = block.header.height;
        check_certificate_form(certificate, &self.validators, height, &block.header.hash())
            .map_err(|error| refused_certificate(height.0, certificate, &error))?;
        let mut batch = Batch::default();
        batch.items.extend(certificate_items(certificate, &self.validators, &self.chain));
        batch.note(height.0, "Certificate");
        assert!(!batch.items.is_empty(), "a quorum is somebody");
        self.run(&batch).forged.map_or(Ok(()), Err)
    }

    fn beacon(&self, height: engine::Height, block: Hash, settled: &Settled) -> (BeaconMessage, Beacon) {
        (BeaconMessage { chain: self.chain, epoch: EPOCH, height, block }, settled.beacon)
    }

    fn run(&self, batch: &Batch<'_>) -> Verified {
        assert_eq!(batch.items.len(), batch.places.len(), "each signature has its place");
        let mut verdicts = vec![false; batch.items.len()];
        verify_batch(&batch.items, &self.secret, &mut verdicts);
        let signature = verdicts.iter().position(|verdict| !verdict).map(|place| {
            let (height, component, row) = batch.places[place];
            forged(height, component, row)
        });
        let bad = self.beacons.verify_batch(&batch.beacons, &self.secret);
        let beacon = bad.first().map(|place| {
            let height = batch.beacons[*place].0.height.0;
            Difference { field: "beacon".into(), ..forged(height, "Settled", 0) }
        });
        Verified {
            signatures: batch.items.len() as u64,
            beacons: batch.beacons.len() as u64,
            forged: [signature, beacon].into_iter().flatten().min_by_key(|difference| difference.height),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use engine::message::intent::IntentKind;

    use super::*;
    use crate::recording::Recording;

    /// Heights with intents of the session that the tests carry, and what verifies them.
    fn recorded() -> (Vec<Step>, Verifier) {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/session-2");
        let (genesis, chain) = storage::read_genesis(&dir).expect("a session");
        let mut recording = Recording::open(&dir).expect("a session");
        let mut steps = Vec::new();
        while let Some(step) = recording.read().expect("sound") {
            steps.push(step);
        }
        steps.retain(|step| !step.decided.block.intents.is_empty());
        assert!(steps.len() >= 3, "three heights have intents");
        (steps, Verifier::new(&Setup::new(genesis, chain).expect("sound")).expect("sound"))
    }

    #[test]
    fn what_lies_before_a_voucher_of_nobody_is_verified() {
        let (mut steps, verifier) = recorded();
        let height = |step: &Step| step.decided.block.header.height.0;
        let found = |steps: &[Step]| {
            let verified = verifier.steps(&steps.iter().collect::<Vec<_>>());
            (verified.signatures > 0, verified.forged.map(|forged| (forged.height, forged.component)))
        };
        assert_eq!(found(&steps), (true, None));
        // This chain has no issuers at all.
        steps[1].decided.block.intents[0].body.kind = IntentKind::OpenVoucher as u8;
        assert_eq!(found(&steps), (true, Some((height(&steps[1]), "Intent"))));
        steps[2].decided.block.intents[0].signature[0] ^= 1;
        assert_eq!(found(&steps), (true, Some((height(&steps[1]), "Intent"))), "nothing behind it is looked at");
        steps[0].decided.block.intents[0].signature[0] ^= 1;
        assert_eq!(found(&steps), (true, Some((height(&steps[0]), "Intent"))));
    }
}
