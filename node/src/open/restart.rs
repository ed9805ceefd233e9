//! From the snapshot that was loaded, or genesis, through the frames of the journal.
//!
//! ```text
//!  frames below the snapshot -> receipts; frames above it -> executed; what is not settled -> decided again
//! ```

use std::collections::VecDeque;

use anyhow::bail;
use engine::Height;
use engine::limits::UNSETTLED_RECORDED_MAX;
use engine::message::block::Decided;
use engine::message::certificate::Settled;
use engine::message::note::ChainNote;
use engine::message::{DecodeError, expect_height};
use storage::{Frame, FrameKind, JournalReader};
use systems::Machine;
use words::{Failure, thousands};

use super::found::SessionFound;
use crate::stopped::StopNotes;

/// Takes the journal's frames: those of the last minute before the snapshot for their receipts, those above it to be
/// executed. Returns the last decided height.
pub(super) fn execute(
    machine: &mut Machine,
    reader: &mut JournalReader,
    note: Option<&ChainNote>,
    found: &mut SessionFound,
    on_step: &dyn Fn(&str),
    stopped: &StopNotes,
) -> anyhow::Result<Height> {
    let mut restart = Restart::at(machine, note, found);
    while let Some(Frame { kind, height, body }) = reader.next_frame()? {
        match kind {
            FrameKind::Decided => restart.decided(height, &body)?,
            FrameKind::Settled => restart.settled(height, &body, on_step)?,
            FrameKind::Base => restart.base(height, &body)?,
            // Evidence changes no state, so there is nothing to execute.
            FrameKind::Evidence => {}
            // A start needs nothing below its snapshot: what was given up is met only where no snapshot could be
            // loaded.
            FrameKind::Retired => bail!(given_up(height, restart.found)),
        }
    }
    restart.end(stopped)
}

/// A machine on its way from a snapshot, or genesis, through the frames of its journal.
struct Restart<'a> {
    machine: &'a mut Machine,
    /// The snapshot that was loaded, if one was, and its height.
    note: Option<&'a ChainNote>,
    from: Height,
    found: &'a mut SessionFound,
    /// Blocks that were decided, and of which the journal has not said yet what they led to.
    unsettled: VecDeque<Decided>,
    /// Whether the journal reached the snapshot, or begins at it: one that did neither lacks heights above it.
    reached: bool,
}

impl<'a> Restart<'a> {
    fn at(machine: &'a mut Machine, note: Option<&'a ChainNote>, found: &'a mut SessionFound) -> Self {
        let from = note.map_or(Height::GENESIS, |note| note.height);
        Self { machine, note, from, found, unsettled: VecDeque::new(), reached: note.is_none() }
    }

    /// A block waits until the journal says what it led to.
    fn decided(&mut self, height: Height, body: &[u8]) -> anyhow::Result<()> {
        let decided = Decided::decode(body).map_err(wrong(FrameKind::Decided, height))?;
        expect_height(decided.block.header.height, height).map_err(wrong(FrameKind::Decided, height))?;
        self.unsettled.push_back(decided);
        // A node writes no such record; one that is read must not fill the memory all the same.
        if self.unsettled.len() > UNSETTLED_RECORDED_MAX {
            bail!(Failure::Data(format!(
                "the journal has more than {UNSETTLED_RECORDED_MAX} decided heights that are not settled"
            )));
        }
        Ok(())
    }

    /// A journal that begins at a snapshot has no block of that height to compare with it: the base frame stands for it.
    fn base(&mut self, height: Height, body: &[u8]) -> anyhow::Result<()> {
        if self.note.is_none() {
            bail!(base_lost(height, self.found));
        }
        self.reached |= begins_at(body, self.note).map_err(wrong(FrameKind::Base, height))?;
        Ok(())
    }

    /// A height is whole: what the snapshot has of it is recalled, what it has not is executed.
    fn settled(&mut self, height: Height, body: &[u8], on_step: &dyn Fn(&str)) -> anyhow::Result<()> {
        let settled = Settled::decode(body).map_err(wrong(FrameKind::Settled, height))?;
        expect_height(settled.height, height).map_err(wrong(FrameKind::Settled, height))?;
        // The reader may begin between a block and what it led to: such a height lies below all that a start needs.
        if self.unsettled.front().is_none_or(|decided| decided.block.header.height > height) && height <= self.from {
            return Ok(());
        }
        let decided = self.unsettled.pop_front().filter(|decided| decided.block.header.height == height);
        let Some(decided) = decided else {
            bail!(Failure::Data(format!("the journal says what height {height} led to, but not what it is")));
        };
        if height <= self.from {
            // The snapshot has the state of these heights: only their receipts are taken up, for intents that are sent
            // again.
            let recall = self.machine.recall(&decided, &settled);
            recall.map_err(|error| Failure::Data(format!("height {height}: {error}; `db check` looks further")))?;
            self.reached |= height == self.from;
            return Ok(());
        }
        settle_again(self.machine, &decided, &settled)?;
        self.found.executed += 1;
        if self.found.executed.is_multiple_of(64) {
            on_step(&format!("executing height {}", thousands(height.0)));
        }
        Ok(())
    }

    /// The journal has no further frame: what it does not settle is decided again. Returns the last decided height.
    fn end(self, stopped: &StopNotes) -> anyhow::Result<Height> {
        let Self { machine, from, found, unsettled, reached, .. } = self;
        if !reached {
            bail!(Failure::Data(format!(
                "the journal ends before height {from}, whose snapshot was taken when the journal had it on disk: journal/ is \
                 damaged, or from a backup that is older than snapshots/"
            )));
        }
        let chain = machine.chain();
        assert_eq!(chain.settled.0, from.0 + found.executed, "each height above the snapshot was executed once");
        assert_eq!(chain.decided, chain.settled, "what is decided and not settled still waits");
        decide_again(machine, &unsettled, stopped)?;
        let waiting = machine.chain().unsettled.len();
        assert_eq!(waiting, unsettled.len(), "what the record does not settle waits for its beacon");
        Ok(machine.chain().decided)
    }
}

/// Why a session cannot go on that has such a frame.
fn wrong(kind: FrameKind, height: Height) -> impl FnOnce(DecodeError) -> Failure {
    move |error| Failure::Data(format!("the {kind:?} frame of height {height}: {error}"))
}

/// Why a session cannot go on whose journal begins at a snapshot that is damaged or gone.
fn base_lost(height: Height, found: &SessionFound) -> Failure {
    Failure::Data(format!(
        "the journal begins at the snapshot of height {height}, which cannot be loaded; with an empty directory, the \
         same genesis and keys the others give one again; {}",
        found.repaired.join("; ")
    ))
}

/// Why a session cannot go on whose journal has retired what leads to its last height, and whose snapshots are damaged or gone.
fn given_up(height: Height, found: &SessionFound) -> Failure {
    Failure::Data(format!(
        "the journal gave up what height {height} decided (storage.bytes_max), and no snapshot above it can be loaded: \
         restore the session from a backup; {}",
        found.repaired.join("; ")
    ))
}

/// Executes a height that the record has in whole, and compares what comes out.
fn settle_again(machine: &mut Machine, decided: &Decided, settled: &Settled) -> anyhow::Result<()> {
    let height = settled.height;
    if !follows(machine, decided) {
        bail!(Failure::Data(format!("the block of height {height} does not follow the one before it")));
    }
    let led_to = machine.restore(decided, Some(settled.beacon));
    if led_to.as_ref() != Some(settled) {
        bail!(Failure::Mismatch(format!(
            "height {height}: the record leads to another state than it says; `replay` shows where"
        )));
    }
    assert_eq!(machine.chain().settled, height, "what was executed is the height that the record has");
    Ok(())
}

/// Takes decided heights of which the record does not say what they led to: their beacons are put together again.
fn decide_again(machine: &mut Machine, unsettled: &VecDeque<Decided>, stopped: &StopNotes) -> anyhow::Result<()> {
    for decided in unsettled {
        let (height, block) = (decided.block.header.height, decided.block.header.hash());
        if !follows(machine, decided) {
            bail!(Failure::Data(format!("the block of height {height} does not follow the one before it")));
        }
        // Settling it again would stop the node again, at each start, before anybody can look into it. Its kind tells a
        // manager of services that a further start ends here too.
        if let Some(note) = stopped.poison(height, &block).map_err(Failure::Data)? {
            bail!(Failure::Data(format!(
                "{}; this node does not settle it again while stopped/poison-{height}.json says so: remove that file to \
                 try with a mended program",
                note.problem
            )));
        }
        machine.restore(decided, None);
    }
    Ok(())
}

/// Whether a journal that was begun at a snapshot from another node begins at the one that was loaded: it has no frames of
/// that height, and the snapshot's root is all that there is to compare.
fn begins_at(base: &[u8], note: Option<&ChainNote>) -> Result<bool, DecodeError> {
    let base = ChainNote::decode(base)?;
    let same =
        |note: &&ChainNote| (note.height, note.block, note.root_chains) == (base.height, base.block, base.root_chains);
    Ok(note.is_some_and(|note| same(&note)))
}

/// Whether a block is the next one of the chain.
fn follows(machine: &Machine, decided: &Decided) -> bool {
    let (header, chain) = (&decided.block.header, machine.chain());
    header.height == chain.decided.next() && header.parent == chain.parent && header.time_ms > chain.parent_time_ms
}
