//! Walking a session: its heights one by one as they were recorded, each executed again and compared.
//!
//! ```text
//!  journal -> Recording: decided and settled frames paired -> Walker: form, chain, dice, bets, payouts, root -> Step
//! ```
//! The engine is the node's own. Of what the record says only the beacon is used, for the dice; everything else is
//! compared. Signatures are not verified here: `replay` does that beside the walk. Whoever walks has built the pool of
//! its thread (`engine::pool::build`).

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use engine::message::block::Decided;
use engine::message::certificate::Settled;
use engine::{Hash, Height, hex};
use order::block::{BlockContext, check_block_form, check_turn};
use order::certificate::check_certificate_form;
use order::signature::PublicKey;
use order::validators::Validators;
use serde::Serialize;
use storage::backend::{Backend, FileBackend};
use storage::snapshot::{Catalog, StoredSnapshot, read_catalog};
use storage::{Frame, FrameKind, JournalReader, Tail};
use systems::exchange::verify::issuers;
use systems::{Machine, Setup};

use storage::read_genesis;
use words::Failure;

/// The first thing in which a session differs from its replay, or from another session.
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

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { height, component, row, field, expected, found } = self;
        write!(f, "height {height}: {component} row {row}, {field}: expected {expected}, found {found}")
    }
}

/// The journal keeps no more than header, certificate and root of a height.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error(
    "the journal gave up what height {0} decided (storage.bytes_max): only its header, certificate and root are left, so it \
     cannot be executed again"
)]
pub struct GivenUp(pub Height);

/// One recorded height: what was decided, and what it led to.
#[derive(Clone, Debug)]
pub struct Step {
    /// The block with this node's certificate.
    pub decided: Decided,
    /// The beacon, and the state that the record says it led to.
    pub settled: Settled,
}

/// The settled heights of a session in order, as they were recorded.
pub struct Recording {
    journal: JournalReader,
    waiting: VecDeque<Decided>,
    /// A height that was read and is to be read again.
    ahead: Option<Step>,
    /// Up to this height nothing is needed: that the journal gave bodies up there is no fault.
    known: Height,
}

impl Recording {
    /// The record of a session.
    ///
    /// # Errors
    /// If the directory is no session.
    pub fn open(dir: &Path) -> anyhow::Result<Self> {
        Self::open_at(dir, Height::GENESIS)
    }

    /// The record of a session from a height on: nothing before is read.
    ///
    /// # Errors
    /// If the directory is no session.
    pub fn open_at(dir: &Path, from: Height) -> anyhow::Result<Self> {
        Ok(Self {
            journal: JournalReader::open_at(dir, from)?,
            waiting: VecDeque::new(),
            ahead: None,
            known: Height::GENESIS,
        })
    }

    /// The record of a session from the first height on that the journal still has whole.
    ///
    /// # Errors
    /// If the directory is no session, or its journal is damaged.
    pub fn whole(dir: &Path) -> anyhow::Result<Self> {
        Ok(Self { known: last_retired(dir)?, ..Self::open(dir)? })
    }

    /// The next settled height, or `None` after the last.
    ///
    /// # Errors
    /// If the journal is damaged, or its frames cannot be.
    pub fn read(&mut self) -> anyhow::Result<Option<Step>> {
        if let Some(step) = self.ahead.take() {
            return Ok(Some(step));
        }
        while let Some(Frame { kind, height, body }) = self.journal.next_frame()? {
            let wrong = |error| Failure::Data(format!("the {kind:?} frame of height {height}: {error}"));
            match kind {
                FrameKind::Retired if height <= self.known => {}
                FrameKind::Retired => {
                    return Err(GivenUp(height).into());
                }
                FrameKind::Decided => self.waiting.push_back(Decided::decode(&body).map_err(wrong)?),
                // What validators did beside the chain, and where a journal began, change nothing that is executed.
                FrameKind::Evidence | FrameKind::Base => {}
                // What a block led to, whose body was given up or lies before the place where reading began.
                FrameKind::Settled if height <= self.known && !self.waits(height) => {}
                FrameKind::Settled => {
                    let settled = Settled::decode(&body).map_err(wrong)?;
                    let decided = self.waiting.pop_front();
                    let decided = decided.with_context(|| format!("height {height} is settled but not decided"));
                    let decided = decided.map_err(|error| Failure::Data(error.to_string()))?;
                    return Ok(Some(Step { decided, settled }));
                }
            }
        }
        Ok(None)
    }

    /// Whether the block of a height was read and is not settled yet.
    fn waits(&self, height: Height) -> bool {
        self.waiting.front().is_some_and(|decided| decided.block.header.height == height)
    }

    /// The record behind a snapshot that a machine has loaded; its own height is compared with the record, where that
    /// still has it whole.
    fn after_snapshot(dir: &Path, machine: &mut Machine) -> anyhow::Result<Self> {
        let at = machine.chain().settled;
        let mut recording = Self { known: at, ..Self::open_at(dir, at)? };
        match recording.read()? {
            Some(step) if step.settled.height == at => machine.recall(&step.decided, &step.settled)?,
            Some(step) if step.settled.height == at.next() => recording.ahead = Some(step),
            Some(step) => anyhow::bail!("the journal goes on at height {}", step.settled.height),
            None => anyhow::bail!("the journal ends before it"),
        }
        Ok(recording)
    }

    /// Decided heights that no settled frame has followed so far.
    pub fn unsettled(&self) -> u64 {
        self.waiting.len() as u64
    }

    /// What follows the last frame, if it is no clean end; known after the last height was read.
    pub fn torn(&self) -> Option<String> {
        match &self.journal.end()?.tail {
            Tail::Torn { at, bytes } => Some(format!("{bytes} bytes of an unfinished group: {at}")),
            Tail::Clean => None,
        }
    }
}

/// The last height whose body the journal gave up; genesis if it gave up none.
fn last_retired(dir: &Path) -> anyhow::Result<Height> {
    let mut journal = JournalReader::open(dir)?;
    let mut last = Height::GENESIS;
    while let Some(frame) = journal.next_frame()? {
        match frame.kind {
            FrameKind::Retired => last = frame.height,
            FrameKind::Decided => break,
            FrameKind::Settled | FrameKind::Evidence | FrameKind::Base => {}
        }
    }
    Ok(last)
}

/// A machine that executes a session's heights again.
pub struct Walker {
    recording: Recording,
    machine: Machine,
    validators: Validators,
    issuers: Vec<PublicKey>,
}

impl Walker {
    /// A walk from genesis. `threads` changes nothing but speed.
    ///
    /// # Errors
    /// If there is no session, or its genesis cannot be.
    pub fn open(dir: &Path, threads: usize) -> anyhow::Result<Self> {
        let (genesis, chain) = read_genesis(dir)?;
        let setup = Setup::new(genesis, chain)?;
        let validators = Validators::of_genesis(&setup.genesis).map_err(|error| Failure::Data(error.to_string()))?;
        let (recording, issuers) = (Recording::open(dir)?, issuers(&setup));
        Ok(Self { recording, machine: Machine::new(setup, threads), validators, issuers })
    }

    /// A walk from the newest good snapshot at or below `height`, or from genesis if there is none. As a restart does, it
    /// trusts the snapshot whose root it has computed, and that the journal has the same root there.
    ///
    /// # Errors
    /// If there is no session, or its genesis or snapshots cannot be read.
    pub fn near(dir: &Path, threads: usize, height: Height) -> anyhow::Result<Self> {
        let (genesis, chain) = read_genesis(dir)?;
        let setup = Setup::new(genesis, chain)?;
        let backend: Arc<dyn Backend> = Arc::new(FileBackend);
        let catalog = read_catalog(&backend, dir, &chain)?;
        for at in catalog.snapshots.range(..=height).rev().map(|(at, _)| *at) {
            match Self::from_snapshot(dir, &setup, &backend, &catalog, at, threads) {
                Ok(walker) => return Ok(walker),
                Err(problem) => tracing::warn!("snapshot {at} does not serve: {problem:#}"),
            }
        }
        Self::open(dir, threads)
    }

    /// A walk over everything that can still be executed: from genesis, or, where the journal gave up its oldest bodies,
    /// from the first good snapshot behind them.
    ///
    /// # Errors
    /// If there is no session, its genesis cannot be, or no snapshot serves.
    pub fn earliest(dir: &Path, threads: usize) -> anyhow::Result<Self> {
        // Genesis first: a session of another format is refused by its name, not as a damaged journal.
        let (genesis, chain) = read_genesis(dir)?;
        let retired = last_retired(dir)?;
        if retired == Height::GENESIS {
            return Self::open(dir, threads);
        }
        let setup = Setup::new(genesis, chain)?;
        let backend: Arc<dyn Backend> = Arc::new(FileBackend);
        let catalog = read_catalog(&backend, dir, &chain)?;
        for at in catalog.snapshots.range(retired..).map(|(at, _)| *at) {
            match Self::from_snapshot(dir, &setup, &backend, &catalog, at, threads) {
                Ok(walker) => return Ok(walker),
                Err(problem) => tracing::warn!("snapshot {at} does not serve: {problem:#}"),
            }
        }
        let problem = format!(
            "the journal gave up what its heights up to {retired} decided (storage.bytes_max), and no snapshot at or above \
             can be loaded: nothing can be executed again"
        );
        Err(Failure::Data(problem).into())
    }

    fn from_snapshot(
        dir: &Path,
        setup: &Setup,
        backend: &Arc<dyn Backend>,
        catalog: &Catalog,
        at: Height,
        threads: usize,
    ) -> anyhow::Result<Self> {
        let mut machine = Machine::new(setup.clone(), threads);
        let stored = StoredSnapshot::open(backend, dir, catalog, at)?;
        machine.load_stored(stored.height, &stored.note, stored.values(), |index, group| {
            stored.read_group(index, group)
        })?;
        let recording = Recording::after_snapshot(dir, &mut machine)?;
        let validators = Validators::of_genesis(&setup.genesis).map_err(|error| Failure::Data(error.to_string()))?;
        Ok(Self { recording, machine, validators, issuers: issuers(setup) })
    }

    /// The next height, read and executed; `None` after the last settled one.
    ///
    /// # Errors
    /// If the journal is damaged, or the height differs from what the record says of it.
    pub fn step(&mut self) -> anyhow::Result<Option<Step>> {
        let Some(step) = self.read()? else { return Ok(None) };
        self.execute(&step).map_err(|difference| Failure::Mismatch(difference.to_string()))?;
        Ok(Some(step))
    }

    /// Walks up to `height` and stands after it.
    ///
    /// # Errors
    /// As [`Walker::step`], and if the session ends before, or the walk is past it.
    pub fn walk_to(&mut self, height: Height) -> anyhow::Result<()> {
        while self.height() < height {
            if self.step()?.is_none() {
                break;
            }
        }
        let reached = self.height();
        match reached.cmp(&height) {
            std::cmp::Ordering::Less => Err(Failure::Data(format!("the session ends at height {reached}")).into()),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => {
                Err(Failure::Data(format!("the walk is at height {reached} already, past {height}")).into())
            }
        }
    }

    /// Reads the next height without executing it: for those who check it first, or in batches. Every height that was
    /// read must be executed, in order.
    ///
    /// # Errors
    /// As [`Recording::read`].
    pub fn read(&mut self) -> anyhow::Result<Option<Step>> {
        self.recording.read()
    }

    /// Executes a height that was read, and compares nothing of what comes out: for those who look for what differs. False
    /// if its block is none that can follow; the walk ends there.
    pub fn execute_only(&mut self, step: &Step) -> bool {
        let Self { machine, validators, issuers, .. } = self;
        let context = BlockContext {
            chain: &machine.setup().chain,
            height: machine.chain().decided.next(),
            parent: machine.chain().parent,
            parent_time_ms: machine.chain().parent_time_ms,
            root_chain: step.decided.block.header.root_chain,
            validators,
            next_validators: validators,
            parent_validators: validators,
            issuers,
        };
        let turns = machine.validators_at(context.height);
        let header = &step.decided.block.header;
        let follows = check_block_form(&step.decided.block, &context).and_then(|()| check_turn(header, &turns)).is_ok();
        follows && machine.restore(&step.decided, Some(step.settled.beacon)).is_some()
    }

    /// Executes a height that was read, and compares what comes out.
    ///
    /// # Errors
    /// The first thing that differs; the walk ends there.
    pub fn execute(&mut self, step: &Step) -> Result<(), Difference> {
        let Self { machine, validators, issuers, .. } = self;
        let Step { decided, settled } = step;
        let header = &decided.block.header;
        let height = machine.chain().decided.next();
        let differs = |component, row, field: &str, expected: String, found: String| {
            Err(Difference { height: height.0, component, row, field: field.into(), expected, found })
        };
        let context = BlockContext {
            chain: &machine.setup().chain,
            height,
            parent: machine.chain().parent,
            parent_time_ms: machine.chain().parent_time_ms,
            root_chain: machine.chain().root_chain_for(height),
            validators,
            next_validators: validators,
            parent_validators: validators,
            issuers,
        };
        let turns = machine.validators_at(height);
        let checked = check_block_form(&decided.block, &context).and_then(|()| check_turn(header, &turns));
        if let Err(error) = checked {
            return differs("Block", 0, "header", error.to_string(), format!("block {}", hex(&header.hash())));
        }
        if let Err(error) = check_certificate_form(&decided.certificate, validators, height, &header.hash()) {
            return differs("Certificate", 0, "signatures", error.to_string(), hex(&decided.certificate.hash()));
        }
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

/// A machine with the state of a session after `height`, or after its last settled height, and the root of that state.
/// The nearest snapshot is taken where there is one; every height above it is executed and its root compared; signatures
/// are not verified.
///
/// # Errors
/// If the session does not reach the height, is damaged, or differs from its replay.
pub fn state_at(dir: &Path, height: Option<Height>, threads: usize) -> anyhow::Result<(Machine, Hash)> {
    let mut walker = Walker::near(dir, threads, height.unwrap_or(Height(u64::MAX)))?;
    match height {
        Some(height) => walker.walk_to(height)?,
        None => while walker.step()?.is_some() {},
    }
    let mut machine = walker.into_machine();
    let root = machine.root();
    Ok((machine, root))
}
