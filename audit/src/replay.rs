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

use engine::limits::{REPLAY_HEIGHTS, REPLAY_SIGNATURES};
use engine::{Hash, Height};
use systems::Counts;
use words::Failure;

use crate::heads::check_heads;
use crate::reading::ReadOptions;
use crate::verify::{Verified, Verifier};
pub use crate::walker::Difference;
use crate::walker::{Step, Walker, last_settled};
use crate::weight::Weight;

/// Which part of a session is checked, and how.
#[derive(Clone, Copy, Debug)]
pub struct ReplayConfig {
    /// The first height whose signatures, certificates and beacon are verified; those before are only executed.
    pub from: Height,
    /// The last height; without it, the last settled one.
    pub to: Option<Height>,
    /// How the session is read.
    pub reading: ReadOptions,
    /// Whether signatures, certificates and beacons are verified at all: without it only execution is measured.
    pub verify: bool,
}

impl ReplayConfig {
    /// The whole session, with everything verified.
    pub fn all(reading: ReadOptions) -> Self {
        Self { from: Height(1), to: None, reading, verify: true }
    }
}

/// What a replay came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Where it began: genesis, or the snapshot behind bodies that the journal gave up. Of the heights up to there only
    /// headers, certificates, beacons and the root chain were checked.
    pub base: Height,
    /// The first height whose signatures, certificate and beacon were verified and whose block was executed; none where
    /// nothing was to be verified.
    pub verified_from: Option<Height>,
    /// The last settled height of the session.
    pub end: Height,
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
    // Genesis first: a session of another format is refused by its name, not as a damaged journal.
    storage::read_genesis(dir)?;
    let end = last_settled(dir)?.map_or(Height::GENESIS, |(height, _)| height);
    check_range(dir, config, end)?;
    let began = Instant::now();
    let mut auditor = Auditor::new(dir, config, end)?;
    while auditor.outcome.difference.is_none() {
        let batch = auditor.batch()?;
        if batch.is_empty() {
            break;
        }
        auditor.outcome.difference = auditor.check(&batch);
        on_height(auditor.outcome.height);
    }
    let mut outcome = auditor.outcome;
    outcome.seconds = began.elapsed().as_secs_f64();
    outcome.unsettled = auditor.walker.recording().unsettled();
    outcome.torn = auditor.walker.recording().torn();
    // A replay that executed nothing has shown nothing: it must not look like one that agreed.
    if outcome.heights == 0 && outcome.difference.is_none() {
        let text = match outcome.base {
            Height::GENESIS => "the session holds no settled height".to_owned(),
            base => format!("nothing behind the snapshot of height {base} is settled: nothing can be executed again"),
        };
        return Err(Failure::Data(format!("{}: {text}", dir.display())).into());
    }
    Ok(outcome)
}

/// Heights that a session does not have are asked for by mistake, or the session is not the one that was meant.
fn check_range(dir: &Path, config: &ReplayConfig, end: Height) -> Result<(), Failure> {
    let beyond = [("--from", config.from), ("--to", config.to.unwrap_or(end))];
    match beyond.into_iter().find(|(_, height)| *height > end && *height > Height(1)) {
        Some((what, height)) => Err(Failure::Data(format!(
            "{}: the session ends at height {end}; {what} {height} is beyond",
            dir.display()
        ))),
        None => Ok(()),
    }
}

/// The walk that executes again, and what it verifies with.
struct Auditor {
    walker: Walker,
    verifier: Verifier,
    config: ReplayConfig,
    outcome: Outcome,
}

impl Auditor {
    /// Begins a walk; behind given-up bodies their heads are checked first.
    fn new(dir: &Path, config: &ReplayConfig, end: Height) -> anyhow::Result<Self> {
        let mut walker = Walker::earliest_unchecked(dir, config.reading)?;
        let verifier = match walker.take_verifier() {
            Some(verifier) => verifier,
            None => Verifier::new(walker.setup())?,
        };
        let base = walker.height();
        if let Some(to) = config.to.filter(|to| *to <= base && base > Height::GENESIS) {
            return Err(Failure::Data(format!(
                "{}: it can be executed from height {} on; --to {to} lies before",
                dir.display(),
                base.next()
            ))
            .into());
        }
        let mut outcome = Outcome {
            base,
            verified_from: config.verify.then_some(config.from.max(base.next())),
            end,
            height: base,
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
        if let Some(note) = walker.base() {
            let checked = check_heads(dir, walker.setup(), &verifier, note)?;
            (outcome.signatures, outcome.beacons) = (checked.signatures, checked.beacons);
            (outcome.root, outcome.root_chain) = (note.root, note.root_chains[0]);
            outcome.difference = checked.difference;
        }
        Ok(Self { walker, verifier, config: *config, outcome })
    }

    /// The next heights to take together.
    fn batch(&mut self) -> anyhow::Result<Vec<Step>> {
        let (mut batch, mut weight) = (Vec::new(), Weight::default());
        let to = self.config.to.unwrap_or(Height(u64::MAX));
        while !weight.is_full(REPLAY_HEIGHTS, REPLAY_SIGNATURES) {
            // The height behind the last one is read to be recognised, and dropped.
            let Some(step) = self.walker.read()?.filter(|step| step.settled.height <= to) else { break };
            weight.add(&step);
            batch.push(step);
        }
        Ok(batch)
    }

    /// Checks a batch: signatures of all kinds in batches, while the heights are executed.
    fn check(&mut self, batch: &[Step]) -> Option<Difference> {
        let Self { walker, verifier, config, outcome } = self;
        let checked: Vec<&Step> =
            batch.iter().filter(|step| config.verify && step.settled.height >= config.from).collect();
        let (verified, executed) = rayon::join(|| verifier.steps(&checked), || execute(walker, batch, outcome));
        let Verified { signatures, beacons, forged } = verified;
        outcome.signatures += signatures;
        outcome.beacons += beacons;
        // Both looked at the same heights: whichever found something lower down is the first difference.
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
