//! Walking a session: its heights one by one as they were recorded, each executed again and compared.
//!
//! ```text
//!  journal -> Recording: decided and settled frames paired -> Walker: form, chain, dice, bets, payouts, root -> Step
//! ```
//! The engine is the node's own. Of what the record says only the beacon is used, for the dice; everything else is
//! compared. Signatures are verified in batches ahead of the walk, unless the session is the reader's own; `replay` does it
//! beside the walk. Whoever walks has built the pool of its thread (`engine::pool::build`).

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use engine::columns::Capacity;
use engine::image::ImageLayout;
use engine::limits::{SNAPSHOTS_TRIED_MAX, WALK_HEIGHTS, WALK_SIGNATURES};
use engine::message::block::Decided;
use engine::message::note::ChainNote;
use engine::{Hash, Height, hex};
use order::block::{BlockContext, BlockValidators, check_block_form, check_turn};
use order::certificate::check_certificate_form;
use order::signature::PublicKey;
use order::validators::Validators;
use storage::backend::{Backend, FileBackend};
use storage::snapshot::{Catalog, StoredSnapshot, read_catalog};
use systems::exchange::verify::issuers;
use systems::{Machine, Setup};

use storage::read_genesis;
use words::Failure;

use crate::heads::{check_heads, check_snapshot};
use crate::reading::{Origin, ReadOptions};
use crate::recording::{Proof, Unnamed, last_retired};
use crate::refused::{refused_block, refused_certificate};
use crate::verify::Verifier;
use crate::weight::Weight;

pub use crate::difference::Difference;
pub use crate::identity::{Identity, identity};
pub use crate::recording::{GivenUp, Recording, Step, find_root_chain, last_settled, root_chains};

/// A machine that executes a session's heights again.
pub struct Walker {
    recording: Recording,
    machine: Machine,
    validators: Validators,
    issuers: Vec<PublicKey>,
    /// Where it began.
    base: Option<ChainNote>,
    /// Verifies signatures ahead of the walk; none where the session is the reader's own.
    verifier: Option<Verifier>,
    /// Heights whose signatures were verified.
    verified: VecDeque<Step>,
    /// The first forged signature among them, or behind them.
    forged: Option<Difference>,
    /// The last height that is wanted: none behind it is verified ahead.
    last: Height,
    /// Why no height behind the verified ones can be read.
    failed: Option<anyhow::Error>,
}

impl Walker {
    /// A walk from genesis.
    ///
    /// # Errors
    /// If there is no session, its genesis cannot be, or nothing was settled.
    pub fn open(dir: &Path, reading: ReadOptions) -> anyhow::Result<Self> {
        let (genesis, chain) = read_genesis(dir)?;
        let setup = Setup::new(genesis, chain)?;
        let mut recording = Recording::open(dir)?;
        // This is asked before a machine is made: a genesis without a chain must not cost memory.
        if recording.peek()?.is_none() {
            return Err(Failure::Data(format!(
                "{}: the session holds no settled height, so there is nothing to execute: ask again when its node has settled one",
                dir.display()
            ))
            .into());
        }
        let machine = reading.machine(setup)?;
        Self::begin(recording, machine, None, reading)
    }

    /// A walk from the newest good snapshot at or below `height`, or from genesis if there is none. As a restart does, it
    /// trusts the snapshot whose root it has computed, and that the journal has the same root there. A stranger's is good only
    /// where a quorum signed the header two heights above, which names that root.
    ///
    /// # Errors
    /// If there is no session, or its genesis or snapshots cannot be read.
    pub fn near(dir: &Path, reading: ReadOptions, height: Height) -> anyhow::Result<Self> {
        let catalog = snapshots_of(dir, reading.origin)?;
        Self::near_among(dir, reading, height, &catalog)
    }

    /// [`Walker::near`] for those who know the session's snapshots: they are all read for it, where it is a stranger's.
    ///
    /// # Errors
    /// As [`Walker::near`].
    pub fn near_among(dir: &Path, reading: ReadOptions, height: Height, catalog: &Catalog) -> anyhow::Result<Self> {
        let base = Base::open(dir, reading, catalog)?;
        for at in base.catalog.snapshots.range(..=height).rev().map(|(at, _)| *at).take(SNAPSHOTS_TRIED_MAX) {
            match base.walker(at) {
                Ok(walker) => return Ok(walker),
                // A failure concerns every snapshot, such as too little memory; anything else concerns this one.
                Err(problem) if problem.is::<Failure>() => return Err(problem),
                Err(problem) => passed_over(at, &problem),
            }
        }
        Self::open(dir, reading)
    }

    /// A walk over everything that can still be executed: from genesis, or, where the journal gave up its oldest bodies,
    /// from the first good snapshot behind them, whose chain of heads is checked.
    ///
    /// # Errors
    /// If there is no session, its genesis cannot be, no snapshot serves, or the heads contradict each other.
    pub fn earliest(dir: &Path, reading: ReadOptions) -> anyhow::Result<Self> {
        let walker = Self::earliest_unchecked(dir, reading)?;
        if let (Some(note), Some(verifier)) = (&walker.base, &walker.verifier)
            && let Some(difference) = check_heads(dir, walker.setup(), verifier, note)?.difference
        {
            return Err(Failure::Mismatch(difference.to_string()).into());
        }
        Ok(walker)
    }

    /// [`Walker::earliest`] for those who check the heads themselves.
    pub(crate) fn earliest_unchecked(dir: &Path, reading: ReadOptions) -> anyhow::Result<Self> {
        // Genesis first: a session of another format is refused by its name, not as a damaged journal.
        read_genesis(dir)?;
        let retired = last_retired(dir)?;
        if retired == Height::GENESIS {
            return Self::open(dir, reading);
        }
        let catalog = snapshots_of(dir, reading.origin)?;
        let base = Base::open(dir, reading, &catalog)?;
        // The first one that serves leaves the most to be executed.
        for at in base.catalog.snapshots.range(retired..).map(|(at, _)| *at).take(SNAPSHOTS_TRIED_MAX) {
            match base.walker(at) {
                Ok(walker) => return Ok(walker),
                Err(problem) if problem.is::<Failure>() => return Err(problem),
                Err(problem) => passed_over(at, &problem),
            }
        }
        Err(nothing_executable(retired).into())
    }

    fn begin(
        recording: Recording,
        machine: Machine,
        base: Option<ChainNote>,
        reading: ReadOptions,
    ) -> anyhow::Result<Self> {
        let setup = machine.setup();
        let validators = Validators::of_genesis(&setup.genesis).map_err(|error| Failure::Data(error.to_string()))?;
        let issuers = issuers(setup);
        let verifier = if reading.origin == Origin::Stranger { Some(Verifier::new(setup)?) } else { None };
        Ok(Self {
            recording,
            machine,
            validators,
            issuers,
            base,
            verifier,
            verified: VecDeque::new(),
            forged: None,
            last: Height(u64::MAX),
            failed: None,
        })
    }

    /// The snapshot that the walk began with.
    pub fn base(&self) -> Option<&ChainNote> {
        self.base.as_ref()
    }

    /// The first height that it executes: of those before, only headers were there to check.
    pub fn executed_from(&self) -> Height {
        self.base.as_ref().map_or(Height::GENESIS, |note| note.height).next()
    }

    /// Takes over the verification of signatures, for those who do it beside the walk. None where there is none to do.
    pub fn take_verifier(&mut self) -> Option<Verifier> {
        assert!(self.verified.is_empty(), "a walk that has begun verifies by itself");
        self.verifier.take()
    }

    /// Says that nothing behind a height is wanted: it is not verified ahead.
    pub fn until(&mut self, last: Height) {
        self.last = last;
    }

    /// Reads some heights ahead and verifies their signatures together.
    fn read_ahead(&mut self) -> anyhow::Result<()> {
        let Some(verifier) = &self.verifier else { return Ok(()) };
        if let Some(failed) = self.failed.take() {
            return Err(failed);
        }
        let mut weight = Weight::default();
        while !weight.is_full(WALK_HEIGHTS, WALK_SIGNATURES) {
            let step = match self.recording.peek() {
                Ok(Some(step)) => step,
                Ok(None) => break,
                // The heights before the damage are walked first, and it is told behind them.
                Err(error) if !self.verified.is_empty() => {
                    self.failed = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            };
            // One height is read in any case: whoever asks for the next one gets it, or hears why there is none.
            if step.settled.height > self.last && !self.verified.is_empty() {
                break;
            }
            weight.add(step);
            self.verified.extend(self.recording.read()?);
        }
        let steps: Vec<&Step> = self.verified.iter().collect();
        self.forged = verifier.steps(&steps).forged;
        Ok(())
    }

    /// The next height, read and verified, or the first thing in it that is forged.
    ///
    /// # Errors
    /// As [`Recording::read`].
    pub fn read_verified(&mut self) -> anyhow::Result<Option<Result<Step, Difference>>> {
        if self.verified.is_empty() {
            self.read_ahead()?;
        }
        let next = if self.verifier.is_some() { self.verified.pop_front() } else { self.recording.read()? };
        let Some(step) = next else { return Ok(None) };
        match &self.forged {
            // Only the height with the forged signature is refused: those before it are walked first.
            Some(forged) if forged.height == step.settled.height.0 => Ok(Some(Err(forged.clone()))),
            _ => Ok(Some(Ok(step))),
        }
    }

    /// Whether the session ends where the walk stands.
    ///
    /// # Errors
    /// As [`Recording::read`].
    pub(crate) fn is_at_end(&mut self) -> anyhow::Result<bool> {
        Ok(self.verified.is_empty() && self.recording.peek()?.is_none())
    }

    /// The next height, read and executed; `None` after the last settled one.
    ///
    /// # Errors
    /// If the journal is damaged, or the height differs from what the record says of it.
    pub fn step(&mut self) -> anyhow::Result<Option<Step>> {
        let Some(next) = self.read_verified()? else { return Ok(None) };
        let walked = next.and_then(|step| self.execute(&step).map(|()| step));
        Ok(Some(walked.map_err(|difference| Failure::Mismatch(difference.to_string()))?))
    }

    /// Walks up to `height` and stands after it.
    ///
    /// # Errors
    /// As [`Walker::step`], and if the session ends before, or the walk is past it.
    pub fn walk_to(&mut self, height: Height) -> anyhow::Result<()> {
        self.last = height;
        while self.height() < height {
            if self.step()?.is_none() {
                break;
            }
        }
        // Whoever goes on from there wants what follows.
        self.last = Height(u64::MAX);
        let reached = self.height();
        match reached.cmp(&height) {
            std::cmp::Ordering::Less => Err(Failure::Data(format!("the session ends at height {reached}")).into()),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => {
                Err(Failure::Data(format!("the walk is at height {reached} already, past {height}")).into())
            }
        }
    }

    /// Reads the next height without executing or verifying it: for those who check it first, or in batches. Every height that
    /// was read must be executed, in order.
    ///
    /// # Errors
    /// As [`Recording::read`].
    pub fn read(&mut self) -> anyhow::Result<Option<Step>> {
        match self.verified.pop_front() {
            Some(step) => Ok(Some(step)),
            None => self.recording.read(),
        }
    }

    /// Executes a height that was read, and compares nothing of what comes out: for those who look for what differs. False
    /// if its block is none that can follow; the walk ends there.
    pub fn execute_only(&mut self, step: &Step) -> bool {
        // The block is asked what it follows: that this may be wrong is why somebody looks.
        let context = self.context(step.decided.block.header.root_chain);
        let turns = self.machine.validators_at(context.height);
        let header = &step.decided.block.header;
        let follows = check_block_form(&step.decided.block, &context).and_then(|()| check_turn(header, &turns)).is_ok();
        follows && self.machine.restore(&step.decided, Some(step.settled.beacon)).is_some()
    }

    /// What the next block is checked against.
    fn context(&self, root_chain: Hash) -> BlockContext<'_> {
        let chain = self.machine.chain();
        BlockContext {
            chain: &self.setup().chain,
            height: chain.decided.next(),
            parent: chain.parent,
            parent_time_ms: chain.parent_time_ms,
            root_chain,
            validators: BlockValidators::unchanging(&self.validators),
            issuers: &self.issuers,
            has_pledged: self.setup().genesis.has_pledged(),
        }
    }

    /// Executes a height that was read, and compares what comes out.
    ///
    /// # Errors
    /// The first thing that differs; the walk ends there.
    pub fn execute(&mut self, step: &Step) -> Result<(), Difference> {
        let Step { decided, settled } = step;
        let header = &decided.block.header;
        let chain = self.machine.chain();
        assert_eq!(chain.decided, chain.settled, "each height is settled before the next is executed");
        let height = chain.decided.next();
        let differs = |component, row, field: &str, expected: String, found: String| {
            Err(Difference { height: height.0, component, row, field: field.into(), expected, found })
        };
        let context = self.context(chain.root_chain_for(height));
        let turns = self.machine.validators_at(height);
        let checked = check_block_form(&decided.block, &context).and_then(|()| check_turn(header, &turns));
        if let Err(error) = checked {
            return Err(refused_block(&decided.block, &context, &turns, &error));
        }
        if let Err(error) = check_certificate_form(&decided.certificate, &self.validators, height, &header.hash()) {
            return Err(refused_certificate(height.0, &decided.certificate, &error));
        }
        let again = self.machine.restore(decided, Some(settled.beacon)).expect("a height with a beacon is settled");
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
            let [again, found] = [&again, settled].map(|one| one.verdicts[row].name().to_owned());
            return differs("Settled", row as u64, "verdict", again, found);
        }
        if again.verdicts.len() != settled.verdicts.len() {
            let (again, found) = (again.verdicts.len().to_string(), settled.verdicts.len().to_string());
            return differs("Settled", 0, "verdicts", again, found);
        }
        Ok(())
    }

    /// The last height that was executed.
    pub fn height(&self) -> Height {
        self.machine.chain().settled
    }

    /// The machine: the report of the last height, the columns after it. Rolls and resolutions are in the report only
    /// after [`Machine::watch`].
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.machine
    }

    /// The chain's constants.
    pub fn setup(&self) -> &Setup {
        self.machine.setup()
    }

    /// The record that is walked.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// The machine where the walk stands.
    pub fn into_machine(self) -> Machine {
        self.machine
    }
}

/// Says why a walk does not begin with a snapshot. No header names the newest ones yet: every session that ends has some such, and
/// nothing is wrong with them.
fn passed_over(at: Height, problem: &anyhow::Error) {
    if problem.is::<Unnamed>() {
        tracing::debug!("snapshot {at} does not serve: {problem:#}");
    } else {
        tracing::warn!("snapshot {at} does not serve: {problem:#}");
    }
}

/// The refusal of a session of which nothing can be executed again.
pub(crate) fn nothing_executable(retired: Height) -> Failure {
    Failure::Data(format!(
        "the journal gave up what its heights up to {retired} decided (storage.bytes_max), and no snapshot at or above can \
         be loaded: nothing can be executed again"
    ))
}

/// Refuses a snapshot that is none of this genesis before a state is made for it: it takes a hundred bytes of a pack to say that there is
/// one.
pub(crate) fn check_groups(stored: &StoredSnapshot, setup: &Setup) -> anyhow::Result<()> {
    let (found, groups) = (stored.groups(), ImageLayout::new(Capacity::of(&setup.genesis)).groups());
    anyhow::ensure!(found == groups, "it has {found} groups, and an image of this genesis has {groups}");
    Ok(())
}

/// What a walk can begin with.
struct Base<'a> {
    dir: &'a Path,
    setup: Setup,
    backend: Arc<dyn Backend>,
    catalog: &'a Catalog,
    reading: ReadOptions,
}

impl<'a> Base<'a> {
    fn open(dir: &'a Path, reading: ReadOptions, catalog: &'a Catalog) -> anyhow::Result<Self> {
        let (genesis, chain) = read_genesis(dir)?;
        let setup = Setup::new(genesis, chain)?;
        Ok(Self { dir, setup, backend: Arc::new(FileBackend), catalog, reading })
    }

    /// A walk from the snapshot of a height.
    ///
    /// # Errors
    /// A [`Failure`] if no snapshot can be begun with; anything else if this one cannot.
    fn walker(&self, at: Height) -> anyhow::Result<Walker> {
        let (walker, is_recorded) = self.loaded(at)?;
        if is_recorded || self.reading.origin == Origin::Own {
            return Ok(walker);
        }
        // Nothing of this height is left from which its root chain follows, so that the header that names it says nothing of the
        // root. The next height is executed: the root chain after it follows from its own root, and has a header that names it.
        let mut trial = walker;
        trial.until(at.next());
        trial.step().map_err(|problem| anyhow::anyhow!("behind it the record differs: {problem:#}"))?;
        if trial.height() < at.next() {
            return Err(Unnamed.into());
        }
        let Walker { recording, machine, verifier, .. } = &mut trial;
        let verifier = verifier.as_ref().expect("what a stranger recorded is verified");
        recording.check_named(machine, Some(&|above| verifier.decided(above)))?;
        Ok(self.loaded(at)?.0)
    }

    /// A walk from the snapshot at a height, and whether the record has that height itself.
    fn loaded(&self, at: Height) -> anyhow::Result<(Walker, bool)> {
        let stored = StoredSnapshot::open(&self.backend, self.dir, self.catalog, at)?;
        check_groups(&stored, &self.setup)?;
        let mut machine = self.reading.machine(self.setup.clone())?;
        let note = machine.load_stored(stored.height, &stored.note, stored.values(), |index, group| {
            stored.read_group(index, group)
        })?;
        // A snapshot is believed where its rows lead to its root, and the record has that root at its height; a stranger's, where
        // a quorum signed it too, for the record is whatever its maker wrote.
        let verifier = match self.reading.origin {
            Origin::Stranger => Some(Verifier::new(&self.setup)?),
            Origin::Own => None,
        };
        let proof = |above: &Decided| verifier.as_ref().map_or(Ok(()), |verifier| verifier.decided(above));
        let proof = verifier.is_some().then_some(&proof as Proof<'_>);
        let recording = Recording::after_snapshot(self.dir, &mut machine, proof)?;
        let is_recorded = check_snapshot(self.dir, &note, verifier.as_ref())?;
        let walker = Walker::begin(recording, machine, Some(note), self.reading)?;
        Ok((walker, is_recorded))
    }
}

/// The snapshots of a session. A stranger's index is not opened: the packs themselves say what they hold, each record under
/// its own hash.
///
/// # Errors
/// If the packs, or the index of a session of one's own, cannot be read.
pub fn snapshots_of(dir: &Path, origin: Origin) -> anyhow::Result<Catalog> {
    let chain = read_genesis(dir)?.1;
    let backend: Arc<dyn Backend> = Arc::new(FileBackend);
    Ok(match origin {
        Origin::Own => read_catalog(&backend, dir, &chain)?,
        Origin::Stranger => Catalog::from_packs(&backend, dir, &chain)?.0,
    })
}

/// A walk that stands after `height` of a session, or after its last settled height. It begins at the nearest snapshot below that,
/// if there is one; every height above it is verified and executed, and its root compared.
///
/// # Errors
/// If the session does not reach the height, is damaged, or differs from its replay.
pub fn walk_to(dir: &Path, height: Option<Height>, reading: ReadOptions) -> anyhow::Result<Walker> {
    let mut walker = Walker::near(dir, reading, height.unwrap_or(Height(u64::MAX)))?;
    match height {
        Some(height) => walker.walk_to(height)?,
        None => while walker.step()?.is_some() {},
    }
    Ok(walker)
}
