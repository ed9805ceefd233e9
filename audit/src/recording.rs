//! The record of a session, read in order: heights that were decided, with what they led to.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use engine::limits::UNSETTLED_RECORDED_MAX;
use engine::message::block::Decided;
use engine::message::certificate::Settled;
use engine::{Hash, Height, hex};
use storage::backend::FileBackend;
use storage::{FrameKind, JournalReader, Tail};
use systems::Machine;
use words::Failure;

use crate::difference::Difference;
use crate::recorded::Recorded;

/// Says whether a quorum decided a block.
pub(crate) type Proof<'a> = &'a dyn Fn(&Decided) -> Result<(), Difference>;

/// The journal keeps no more than header, certificate and root of a height.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error(
    "the journal gave up what height {0} decided (storage.bytes_max): only its header, certificate and root are left, so it \
     cannot be executed again"
)]
pub struct GivenUp(pub Height);

/// A session ends before the header that would name a state.
#[derive(thiserror::Error, Clone, Copy, PartialEq, Eq, Debug)]
#[error("no validator has signed its root: the header two heights above would name it")]
pub(crate) struct Unnamed;

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
    /// Heights that were read and are to be read again.
    ahead: VecDeque<Step>,
    /// Up to this height nothing is needed: that the journal gave bodies up there is no fault.
    known: Height,
}

/// Refuses a record that decides without end: no node wrote it.
pub(crate) fn check_waiting(waiting: usize) -> Result<(), Failure> {
    if waiting <= UNSETTLED_RECORDED_MAX {
        return Ok(());
    }
    Err(Failure::Data(format!(
        "{waiting} heights in a row are decided and not settled; there are never more than {UNSETTLED_RECORDED_MAX}"
    )))
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
        Ok(Self::of(JournalReader::open_at(dir, from)?, Height::GENESIS))
    }

    fn of(journal: JournalReader, known: Height) -> Self {
        Self { journal, waiting: VecDeque::new(), ahead: VecDeque::new(), known }
    }

    /// The record of a session from the first height on that the journal still has whole.
    ///
    /// # Errors
    /// If the directory is no session, or its journal is damaged.
    pub fn whole(dir: &Path) -> anyhow::Result<Self> {
        Ok(Self::of(JournalReader::open_whole(Arc::new(FileBackend), dir)?, last_retired(dir)?))
    }

    /// The next settled height, or `None` after the last.
    ///
    /// # Errors
    /// If the journal is damaged, or its frames cannot be.
    pub fn read(&mut self) -> anyhow::Result<Option<Step>> {
        match self.ahead.pop_front() {
            Some(step) => Ok(Some(step)),
            None => self.read_journal(),
        }
    }

    fn read_journal(&mut self) -> anyhow::Result<Option<Step>> {
        while let Some(frame) = self.journal.next_frame()? {
            let height = frame.height;
            match frame.kind {
                FrameKind::Retired if height <= self.known => continue,
                FrameKind::Retired => return Err(GivenUp(height).into()),
                // The block that led to this was given up, or lies before the place where reading began.
                FrameKind::Settled if height <= self.known && !self.waits(height) => continue,
                // A journal that begins at a snapshot has nothing of the heights up to there.
                FrameKind::Base if height > self.known => return Err(GivenUp(height).into()),
                // What validators did beside the chain, and where a journal began, change nothing that is executed.
                FrameKind::Evidence | FrameKind::Base => continue,
                FrameKind::Decided | FrameKind::Settled => {}
            }
            match Recorded::of(&frame)? {
                Recorded::Decided(decided) => {
                    self.waiting.push_back(decided);
                    check_waiting(self.waiting.len())?;
                }
                Recorded::Settled(settled) => {
                    // Heights are settled in the order in which they were decided, so it can only be the oldest that
                    // waits.
                    let decided = self.waiting.pop_front().filter(|decided| decided.block.header.height == height);
                    let decided =
                        decided.ok_or_else(|| Failure::Data(format!("height {height} is settled but not decided")))?;
                    return Ok(Some(Step { decided, settled }));
                }
                Recorded::Retired(_) | Recorded::Base(_) | Recorded::Evidence => {
                    unreachable!("those were passed over or refused above")
                }
            }
        }
        Ok(None)
    }

    /// Looks at the next settled height, which is read again.
    ///
    /// # Errors
    /// As [`Recording::read`].
    pub fn peek(&mut self) -> anyhow::Result<Option<&Step>> {
        if self.ahead.is_empty() {
            let next = self.read_journal()?;
            self.ahead.extend(next);
        }
        Ok(self.ahead.front())
    }

    /// Whether the block of a height was read and is not settled yet.
    fn waits(&self, height: Height) -> bool {
        self.waiting.front().is_some_and(|decided| decided.block.header.height == height)
    }

    /// The record behind a snapshot that a machine has loaded; its own height is compared with the record, where that
    /// still has it whole. The headers of the two heights that follow repeat the root chain that leads to it, and with a
    /// proof the second of them must be there.
    pub(crate) fn after_snapshot(dir: &Path, machine: &mut Machine, proof: Option<Proof<'_>>) -> anyhow::Result<Self> {
        let at = machine.chain().settled;
        let mut recording = Self { known: at, ..Self::open_at(dir, at)? };
        match recording.read()? {
            Some(step) if step.settled.height == at => machine.recall(&step.decided, &step.settled)?,
            Some(step) if step.settled.height == at.next() => recording.ahead.push_back(step),
            Some(step) => anyhow::bail!("the journal goes on at height {}", step.settled.height),
            None => anyhow::bail!("the journal ends before it"),
        }
        recording.check_named(machine, proof)?;
        Ok(recording)
    }

    /// Compares a state with the headers of the next two heights, as far as they were decided. The root that a record has is
    /// whatever its maker wrote there; with a proof, the header two heights above must be there, which names the state, and
    /// a quorum must have signed it.
    ///
    /// # Errors
    /// If they name another state, or nothing that validators signed names this one.
    pub(crate) fn check_named(&mut self, machine: &Machine, proof: Option<Proof<'_>>) -> anyhow::Result<()> {
        // A state is named by the header two heights above it, so that many are looked at, settled or not.
        while self.ahead.len() < 2 {
            let Some(step) = self.read_journal()? else { break };
            self.ahead.push_back(step);
        }
        let settled = self.ahead.iter().map(|step| &step.decided);
        let next: Vec<&Decided> = settled.chain(&self.waiting).take(2).collect();
        let chain = machine.chain();
        let at = chain.settled;
        for (height, decided) in [at.next(), at.next().next()].into_iter().zip(&next) {
            let header = &decided.block.header;
            let found = header.height;
            anyhow::ensure!(found == height, "the journal has height {found} where {height} belongs");
            let (found, expected) = (hex(&header.root_chain), hex(&chain.root_chain_for(height)));
            anyhow::ensure!(
                found == expected,
                "height {height} was decided after another state than it has: root chain {found}, not {expected}"
            );
        }
        let Some(proof) = proof else { return Ok(()) };
        let Some(above) = next.get(1) else {
            return Err(Unnamed.into());
        };
        proof(above).map_err(|forged| anyhow::anyhow!("{forged}"))
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
pub(crate) fn last_retired(dir: &Path) -> anyhow::Result<Height> {
    let mut journal = JournalReader::open_whole(Arc::new(FileBackend), dir)?;
    let mut last = journal.decided();
    while let Some(frame) = journal.next_frame()? {
        match frame.kind {
            FrameKind::Retired | FrameKind::Base => last = frame.height,
            // Bodies are given up from the oldest on: the first whole block ends them, whatever else stood behind those before.
            FrameKind::Decided => {
                last = last.min(frame.height.back(1));
                break;
            }
            FrameKind::Settled | FrameKind::Evidence => {}
        }
    }
    Ok(last)
}

/// The last settled height of a session and its root chain, or `None` if it has none. Only the end of the journal is read.
///
/// # Errors
/// If the directory is no session, or its journal is damaged.
pub fn last_settled(dir: &Path) -> anyhow::Result<Option<(Height, Hash)>> {
    // The height is above everything: the end is found, and no frame is handed out.
    let mut end = JournalReader::open_at(dir, Height(u64::MAX))?;
    while end.next_frame()?.is_some() {}
    // The last settled height lies no further below the last decided one than that.
    let from = end.decided().back(UNSETTLED_RECORDED_MAX as u64);
    let mut journal = JournalReader::open_at(dir, from)?;
    let mut last = None;
    while let Some(frame) = journal.next_frame()? {
        if let Recorded::Settled(settled) = Recorded::of(&frame)? {
            last = Some((settled.height, settled.root_chain));
        }
    }
    Ok(last)
}

/// The first height after which a session records a root chain, and the one that it records after another height. Nothing is kept of
/// the others: there may be any number of them.
///
/// # Errors
/// If the directory is no session, or its journal is damaged.
pub fn find_root_chain(dir: &Path, wanted: &Hash, at: Height) -> anyhow::Result<(Option<Height>, Option<Hash>)> {
    let mut journal = JournalReader::open(dir)?;
    let (mut first, mut found) = (None, None);
    while let Some(frame) = journal.next_frame()? {
        if frame.kind != FrameKind::Settled {
            continue;
        }
        if let Recorded::Settled(Settled { height, root_chain, .. }) = Recorded::of(&frame)? {
            if root_chain == *wanted {
                first.get_or_insert(height);
            }
            if height == at {
                found = Some(root_chain);
            }
        }
    }
    Ok((first, found))
}

/// The recorded root chain after each of some heights, as far as the session reaches.
///
/// # Errors
/// If the directory is no session, or its journal is damaged.
pub fn root_chains(dir: &Path, heights: Range<u64>) -> anyhow::Result<BTreeMap<u64, Hash>> {
    let mut journal = JournalReader::open_at(dir, Height(heights.start))?;
    let mut chains = BTreeMap::new();
    while let Some(frame) = journal.next_frame()? {
        // What a block led to may stand that many heights behind it.
        let is_past = frame.height.0 >= heights.end.saturating_add(UNSETTLED_RECORDED_MAX as u64);
        if is_past || chains.len() as u64 == heights.end - heights.start {
            break;
        }
        if frame.kind == FrameKind::Settled
            && heights.contains(&frame.height.0)
            && let Recorded::Settled(settled) = Recorded::of(&frame)?
        {
            chains.insert(settled.height.0, settled.root_chain);
        }
    }
    Ok(chains)
}
