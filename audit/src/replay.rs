//! Replay: a recorded session once more, trusting nothing in it.
//!
//! ```text
//!  frames -> batch -> | signatures, certificates, beacons  (verified in batches)     |
//!                     | block form, chain, dice, bets, payouts, root (executed again) | at the same time
//! ```
//! The engine is the node's own. What the record says (certificates, beacons, roots) is compared, never used, with one
//! exception: a beacon, once verified, decides the dice.

use std::path::Path;
use std::time::Instant;

use engine::genesis::KeySource;
use engine::limits::{REPLAY_HEIGHTS, REPLAY_SIGNATURES};
use engine::message::block::Decided;
use engine::message::certificate::Beacon;
use engine::{Hash, Height};
use order::beacon::{BeaconMessage, BeaconVerifier};
use order::block::{BlockContext, carried_items, intent_items};
use order::certificate::certificate_items;
use order::signature::{PublicKey, SignedItem, verify_batch};
use order::validators::Validators;
use systems::Counts;
use systems::exchange::beacon::EPOCH;
use systems::exchange::verify::issuers;

pub use crate::walker::Difference;
use crate::walker::{Step, Walker};
use words::Failure;

/// Which part of a session is checked, and how.
#[derive(Clone, Copy, Debug)]
pub struct ReplayConfig {
    /// The first height whose signatures, certificates and beacon are verified; those before are only executed.
    pub from: Height,
    /// The last height.
    pub to: Height,
    /// Workers.
    pub threads: usize,
    /// Whether signatures, certificates and beacons are verified at all: without it only execution is measured.
    pub verify: bool,
}

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where the chain's keys come from.
    pub keys: KeySource,
    /// Where it began: genesis, or the snapshot behind bodies that the journal gave up.
    pub base: Height,
    /// The last height that agreed.
    pub height: Height,
    /// Its root.
    pub root: Hash,
    /// Its root chain.
    pub root_chain: Hash,
    /// Heights executed.
    pub heights: u64,
    /// Decided heights at the end that no settled frame follows.
    pub unsettled: u64,
    /// Signatures verified.
    pub signatures: u64,
    /// Beacons verified.
    pub beacons: u64,
    /// What the heights did.
    pub counts: Counts,
    /// Milliseconds of block time that passed.
    pub played_ms: u64,
    /// Seconds it took.
    pub seconds: f64,
    /// The first difference.
    pub difference: Option<Difference>,
    /// What follows the last frame.
    pub torn: Option<String>,
}

/// Replays a session; `on_height` hears of the height after each batch.
///
/// # Errors
/// If there is no session, it is damaged, or its genesis cannot be.
pub fn replay(dir: &Path, config: &ReplayConfig, mut on_height: impl FnMut(Height)) -> anyhow::Result<Outcome> {
    let mut auditor = Auditor::new(Walker::earliest(dir, config.threads)?, config)?;
    let began = Instant::now();
    loop {
        let batch = auditor.batch()?;
        if batch.is_empty() {
            break;
        }
        let difference = auditor.check(&batch);
        on_height(auditor.outcome.height);
        if difference.is_some() {
            auditor.outcome.difference = difference;
            break;
        }
    }
    let mut outcome = auditor.outcome;
    outcome.seconds = began.elapsed().as_secs_f64();
    outcome.unsettled = auditor.walker.recording().unsettled();
    outcome.torn = auditor.walker.recording().torn();
    if outcome.heights == 0 && outcome.difference.is_none() {
        return Err(Failure::Data(format!("{}: the session holds no settled height", dir.display())).into());
    }
    Ok(outcome)
}

/// The walk that executes again, and what it verifies with.
struct Auditor {
    walker: Walker,
    validators: Validators,
    verifier: BeaconVerifier,
    issuers: Vec<PublicKey>,
    chain: Hash,
    config: ReplayConfig,
    outcome: Outcome,
}

impl Auditor {
    fn new(walker: Walker, config: &ReplayConfig) -> anyhow::Result<Self> {
        let setup = walker.setup();
        let validators = Validators::of_genesis(&setup.genesis).map_err(|error| Failure::Data(error.to_string()))?;
        let verifier =
            BeaconVerifier::new(&setup.genesis.group_key.0).map_err(|error| Failure::Data(error.to_string()))?;
        let (issuers, chain, config) = (issuers(setup), setup.chain, *config);
        let outcome = Outcome {
            keys: setup.genesis.keys,
            base: walker.height(),
            height: Height::GENESIS,
            root: [0; 32],
            root_chain: [0; 32],
            heights: 0,
            unsettled: 0,
            signatures: 0,
            beacons: 0,
            counts: Counts::default(),
            played_ms: 0,
            seconds: 0.0,
            difference: None,
            torn: None,
        };
        Ok(Self { walker, validators, verifier, issuers, chain, config, outcome })
    }

    /// The next heights to take together.
    fn batch(&mut self) -> anyhow::Result<Vec<Step>> {
        let (mut batch, mut signatures): (Vec<Step>, usize) = (Vec::new(), 0);
        while signatures < REPLAY_SIGNATURES && batch.len() < REPLAY_HEIGHTS {
            let Some(step) = self.walker.read()?.filter(|step| step.settled.height <= self.config.to) else { break };
            signatures += step.decided.block.intents.len() + 1;
            batch.push(step);
        }
        Ok(batch)
    }

    /// Checks a batch: signatures of all kinds in batches, while the heights are executed.
    fn check(&mut self, batch: &[Step]) -> Option<Difference> {
        let Self { walker, validators, verifier, issuers, chain, config, outcome } = self;
        let checked: Vec<&Step> =
            batch.iter().filter(|step| config.verify && step.settled.height >= config.from).collect();
        let verifier = Verifier { validators, verifier, issuers, chain };
        let (signed, executed) = rayon::join(|| verifier.verify(&checked), || execute(walker, batch, outcome));
        let (signatures, beacons, forged) = signed;
        outcome.signatures += signatures;
        outcome.beacons += beacons;
        [forged, executed].into_iter().flatten().min_by_key(|difference| difference.height)
    }
}

/// Executes heights again, up to the first that differs.
fn execute(walker: &mut Walker, batch: &[Step], outcome: &mut Outcome) -> Option<Difference> {
    for step in batch {
        let played_from = walker.machine().chain().parent_time_ms;
        if let Err(difference) = walker.execute(step) {
            return Some(difference);
        }
        outcome.height = step.settled.height;
        outcome.root = step.settled.root;
        outcome.root_chain = step.settled.root_chain;
        outcome.heights += 1;
        outcome.played_ms += step.decided.block.header.time_ms - played_from;
        outcome.counts += walker.machine().report().counts;
    }
    None
}

/// What signatures are verified with.
struct Verifier<'a> {
    validators: &'a Validators,
    verifier: &'a BeaconVerifier,
    issuers: &'a [PublicKey],
    chain: &'a Hash,
}

impl Verifier<'_> {
    /// Verifies every intent, certificate and beacon of some heights: how many of each, and the first that is forged.
    fn verify(&self, batch: &[&Step]) -> (u64, u64, Option<Difference>) {
        let mut items: Vec<SignedItem<'_>> = Vec::new();
        let mut places: Vec<(u64, &'static str, u64)> = Vec::new();
        for step in batch {
            let Decided { block, certificate } = &step.decided;
            let height = block.header.height.0;
            let note = |items: &Vec<SignedItem<'_>>, places: &mut Vec<_>, component| {
                let first = places.len();
                places.extend((0..items.len() - first).map(|row| (height, component, row as u64)));
            };
            items.extend(certificate_items(certificate, self.validators, self.chain));
            note(&items, &mut places, "Certificate");
            let context = BlockContext {
                chain: self.chain,
                height: block.header.height,
                parent: block.header.parent,
                parent_time_ms: 0,
                root_chain: block.header.root_chain,
                validators: self.validators,
                next_validators: self.validators,
                parent_validators: self.validators,
                issuers: self.issuers,
            };
            carried_items(block, &context, &mut items);
            note(&items, &mut places, "Certificate");
            if intent_items(block, &context, &mut items).is_err() {
                return (0, 0, Some(forged(height, "Intent", 0)));
            }
            note(&items, &mut places, "Intent");
        }
        let seed = *blake3::hash(bytemuck::bytes_of(&std::process::id())).as_bytes();
        let mut verdicts = vec![false; items.len()];
        verify_batch(&items, seed, &mut verdicts);
        let beacons: Vec<(BeaconMessage, Beacon)> = batch.iter().map(|step| self.beacon(step)).collect();
        let bad = self.verifier.verify_batch(&beacons, seed);
        let signature = verdicts.iter().position(|verdict| !verdict).map(|place| {
            let (height, component, row) = places[place];
            forged(height, component, row)
        });
        let beacon = bad
            .first()
            .map(|place| Difference { field: "beacon".into(), ..forged(batch[*place].settled.height.0, "Settled", 0) });
        let first = [signature, beacon].into_iter().flatten().min_by_key(|difference| difference.height);
        (items.len() as u64, beacons.len() as u64, first)
    }

    fn beacon(&self, step: &Step) -> (BeaconMessage, Beacon) {
        let header = &step.decided.block.header;
        let message = BeaconMessage { chain: *self.chain, epoch: EPOCH, height: header.height, block: header.hash() };
        (message, step.settled.beacon)
    }
}

fn forged(height: u64, component: &'static str, row: u64) -> Difference {
    let (expected, found) = ("one that verifies".into(), "one that does not".into());
    Difference { height, component, row, field: "signature".into(), expected, found }
}
