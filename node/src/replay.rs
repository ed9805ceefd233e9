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

use anyhow::Context;
use engine::message::block::Decided;
use engine::message::certificate::{Beacon, Settled};
use engine::{Hash, Height, hex};
use order::beacon::{BeaconMessage, BeaconVerifier};
use order::block::{BlockContext, carried_items, check_block_form, intent_items};
use order::certificate::{certificate_items, check_certificate_form};
use order::signature::{PublicKey, SignedItem, verify_batch};
use order::validators::Validators;
use serde::Serialize;
use storage::{Frame, FrameKind, JournalReader, Tail};
use systems::exchange::beacon::EPOCH;
use systems::exchange::verify::issuers;
use systems::{Counts, Machine, Setup};

use crate::cli::Failure;
use crate::open::read_genesis;

/// Signatures that are verified together.
const BATCH_SIGNATURES: usize = 8_192;
/// Heights that are taken together, at most.
const BATCH_HEIGHTS: usize = 512;

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

/// The first thing in which a session differs from its replay.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Difference {
    /// The height.
    pub height: u64,
    /// What differs: a component, a message, or the settled frame.
    pub component: &'static str,
    /// Its row: the intent's place, the validator's slot, else 0.
    pub row: u64,
    /// The field.
    pub field: String,
    /// What it must be.
    pub expected: String,
    /// What the session has.
    pub found: String,
}

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Outcome {
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

/// One recorded height.
struct Recorded {
    decided: Decided,
    settled: Settled,
}

/// Replays a session; `look` hears of the height after each batch.
///
/// # Errors
/// If there is no session, it is damaged, or its genesis cannot be.
pub fn replay(dir: &Path, config: &ReplayConfig, mut look: impl FnMut(Height)) -> anyhow::Result<Outcome> {
    let (genesis, chain) = read_genesis(dir)?;
    let setup = Setup::new(genesis, chain)?;
    let mut reader = Reader { journal: JournalReader::open(dir)?, waiting: std::collections::VecDeque::new() };
    let mut auditor = Auditor::new(setup, config)?;
    let began = Instant::now();
    loop {
        let batch = reader.batch(config.to)?;
        if batch.is_empty() {
            break;
        }
        let difference = auditor.check(&batch);
        look(auditor.outcome.height);
        if difference.is_some() {
            auditor.outcome.difference = difference;
            break;
        }
    }
    let mut outcome = auditor.outcome;
    outcome.seconds = began.elapsed().as_secs_f64();
    outcome.unsettled = reader.waiting.len() as u64;
    if let Some(Tail::Torn { at, bytes }) = reader.journal.end().map(|end| &end.tail) {
        outcome.torn = Some(format!("{bytes} bytes of an unfinished group: {at}"));
    }
    if outcome.heights == 0 && outcome.difference.is_none() {
        return Err(Failure::Data(format!("{}: the session holds no settled height", dir.display())).into());
    }
    Ok(outcome)
}

/// Pairs decided and settled frames.
struct Reader {
    journal: JournalReader,
    waiting: std::collections::VecDeque<Decided>,
}

impl Reader {
    fn batch(&mut self, to: Height) -> anyhow::Result<Vec<Recorded>> {
        let (mut batch, mut signatures): (Vec<Recorded>, usize) = (Vec::new(), 0);
        while signatures < BATCH_SIGNATURES && batch.len() < BATCH_HEIGHTS {
            let Some(Frame { kind, height, body }) = self.journal.next_frame()? else { break };
            let wrong = |error| Failure::Data(format!("the {kind:?} frame of height {height}: {error}"));
            match kind {
                FrameKind::Decided => self.waiting.push_back(Decided::decode(&body).map_err(wrong)?),
                FrameKind::Settled => {
                    let settled = Settled::decode(&body).map_err(wrong)?;
                    let decided = self.waiting.pop_front();
                    let decided = decided.with_context(|| format!("height {height} is settled but not decided"));
                    let decided = decided.map_err(|error| Failure::Data(error.to_string()))?;
                    if settled.height > to {
                        break;
                    }
                    signatures += decided.block.intents.len() + 1;
                    batch.push(Recorded { decided, settled });
                }
            }
        }
        Ok(batch)
    }
}

/// The machine that executes again, and what it verifies with.
struct Auditor {
    machine: Machine,
    validators: Validators,
    verifier: BeaconVerifier,
    issuers: Vec<PublicKey>,
    chain: Hash,
    config: ReplayConfig,
    outcome: Outcome,
}

impl Auditor {
    fn new(setup: Setup, config: &ReplayConfig) -> anyhow::Result<Self> {
        let validators = Validators::of_genesis(&setup.genesis).map_err(|error| Failure::Data(error.to_string()))?;
        let verifier =
            BeaconVerifier::new(&setup.genesis.group_key.0).map_err(|error| Failure::Data(error.to_string()))?;
        let (issuers, chain, config) = (issuers(&setup), setup.chain, *config);
        let outcome = Outcome {
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
        Ok(Self { machine: Machine::new(setup, config.threads), validators, verifier, issuers, chain, config, outcome })
    }

    /// Checks a batch: signatures of all kinds in batches, while the heights are executed.
    fn check(&mut self, batch: &[Recorded]) -> Option<Difference> {
        let Self { machine, validators, verifier, issuers, chain, config, outcome } = self;
        let checked: Vec<&Recorded> =
            batch.iter().filter(|recorded| config.verify && recorded.settled.height >= config.from).collect();
        let verifier = Verifier { validators, verifier, issuers, chain };
        let (signed, executed) =
            rayon::join(|| verifier.verify(&checked), || execute(machine, validators, issuers, chain, batch, outcome));
        let (signatures, beacons, forged) = signed;
        outcome.signatures += signatures;
        outcome.beacons += beacons;
        [forged, executed].into_iter().flatten().min_by_key(|difference| difference.height)
    }
}

/// Executes heights again and compares what comes out.
fn execute(
    machine: &mut Machine,
    validators: &Validators,
    issuers: &[PublicKey],
    chain: &Hash,
    batch: &[Recorded],
    outcome: &mut Outcome,
) -> Option<Difference> {
    for Recorded { decided, settled } in batch {
        let header = &decided.block.header;
        let height = machine.chain().decided.next();
        let differs = |component, row, field: &str, expected: String, found: String| {
            Some(Difference { height: height.0, component, row, field: field.into(), expected, found })
        };
        let context = BlockContext {
            chain,
            height,
            parent: machine.chain().parent,
            parent_time_ms: machine.chain().parent_time_ms,
            root_chain: machine.chain().root_chain_for(height),
            validators,
            parent_validators: validators,
            issuers,
        };
        if let Err(error) = check_block_form(&decided.block, &context) {
            return differs("Block", 0, "header", error.to_string(), format!("block {}", hex(&header.hash())));
        }
        if let Err(error) = check_certificate_form(&decided.certificate, validators, height, &header.hash()) {
            return differs("Certificate", 0, "signatures", error.to_string(), hex(&decided.certificate.hash()));
        }
        let played_from = machine.chain().parent_time_ms;
        let again = machine.restore(decided, Some(settled.beacon)).expect("a height with a beacon is settled");
        if again.height != settled.height {
            return differs("Settled", 0, "height", again.height.to_string(), settled.height.to_string());
        }
        if again.root != settled.root {
            return differs("Settled", 0, "root", hex(&again.root), hex(&settled.root));
        }
        if again.root_chain != settled.root_chain {
            return differs("Settled", 0, "root_chain", hex(&again.root_chain), hex(&settled.root_chain));
        }
        let verdicts = again.verdicts.iter().zip(&settled.verdicts).position(|(again, recorded)| again != recorded);
        if let Some(row) = verdicts {
            let (again, found) = (format!("{:?}", again.verdicts[row]), format!("{:?}", settled.verdicts[row]));
            return differs("Settled", row as u64, "verdict", again, found);
        }
        if again.verdicts.len() != settled.verdicts.len() {
            let (again, found) = (again.verdicts.len().to_string(), settled.verdicts.len().to_string());
            return differs("Settled", 0, "verdicts", again, found);
        }
        outcome.height = again.height;
        outcome.root = again.root;
        outcome.root_chain = again.root_chain;
        outcome.heights += 1;
        outcome.played_ms += header.time_ms - played_from;
        outcome.counts += machine.report().counts;
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
    fn verify(&self, batch: &[&Recorded]) -> (u64, u64, Option<Difference>) {
        let mut items: Vec<SignedItem<'_>> = Vec::new();
        let mut places: Vec<(u64, &'static str, u64)> = Vec::new();
        for recorded in batch {
            let Decided { block, certificate } = &recorded.decided;
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
        let beacons: Vec<(BeaconMessage, Beacon)> = batch.iter().map(|recorded| self.beacon(recorded)).collect();
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

    fn beacon(&self, recorded: &Recorded) -> (BeaconMessage, Beacon) {
        let header = &recorded.decided.block.header;
        let message = BeaconMessage { chain: *self.chain, epoch: EPOCH, height: header.height, block: header.hash() };
        (message, recorded.settled.beacon)
    }
}

fn forged(height: u64, component: &'static str, row: u64) -> Difference {
    let (expected, found) = ("one that verifies".into(), "one that does not".into());
    Difference { height, component, row, field: "signature".into(), expected, found }
}

/// A machine with the state of a session after `height`, or after its last settled height, and the root of that state.
/// Every height is executed and its root compared; signatures are not verified.
///
/// # Errors
/// If the session does not reach the height, is damaged, or differs from its replay.
pub fn state_at(dir: &Path, height: Option<Height>, threads: usize) -> anyhow::Result<(Machine, Hash)> {
    let (genesis, chain) = read_genesis(dir)?;
    let setup = Setup::new(genesis, chain)?;
    let to = height.unwrap_or(Height(u64::MAX));
    let config = ReplayConfig { from: Height(1), to, threads, verify: false };
    let mut reader = Reader { journal: JournalReader::open(dir)?, waiting: std::collections::VecDeque::new() };
    let mut auditor = Auditor::new(setup, &config)?;
    loop {
        let batch = reader.batch(to)?;
        if batch.is_empty() {
            break;
        }
        if let Some(difference) = auditor.check(&batch) {
            let text = format!("height {} differs from its replay; `replay` shows where", difference.height);
            return Err(Failure::Mismatch(text).into());
        }
    }
    let reached = auditor.outcome.height;
    if height.is_some_and(|height| height != reached) {
        return Err(Failure::Data(format!("the session ends at height {reached}")).into());
    }
    let root = auditor.machine.root();
    Ok((auditor.machine, root))
}
