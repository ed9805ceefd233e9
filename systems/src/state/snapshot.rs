//! Snapshots of a machine: taken while it goes on, and loaded before it does.

use engine::image::{self, DirtyMap, GroupBlock, GroupSaver, Saved};
use engine::io::Receipt;
use engine::limits::GROUP_BYTES;
use engine::message::block::{Block, Decided};
use engine::message::certificate::Settled;
use engine::message::note::ChainNote;
use engine::{Hash, Height};
use thiserror::Error;

use super::saving::SavingParts;
use crate::exchange::answers::Answers;
use crate::exchange::chain::{Chain, Closings};
use crate::exchange::sender::Sender;
use crate::machine::Machine;
use crate::settle::mark::mark_block;

pub use super::check_rows::LoadError;

/// A recorded height that the snapshot contradicts, or that contradicts itself.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum RecallError {
    /// Not as many verdicts as intents and pledges.
    #[error("the settled frame has {found} verdicts for {expected} intents and pledges")]
    Verdicts {
        /// Intents and pledges of the block.
        expected: usize,
        /// Verdicts found.
        found: usize,
    },
    /// The journal has another block, root or root chain at the snapshot's height.
    #[error("the journal's {field} is not that of the snapshot")]
    Differs {
        /// What differs.
        field: &'static str,
    },
}

impl Machine {
    fn saving<R>(&mut self, work: impl FnOnce(SavingParts<'_>) -> R) -> R {
        let (mut columns, setup, index, due, mut marks, mut saver, mut dirty) =
            self.saving.get_mut(&mut self.world).expect("the world has its columns");
        work(SavingParts {
            rows: &columns.rows(),
            setup: &setup,
            index: &index,
            due: &due,
            marks: &mut marks,
            saver: &mut saver,
            dirty: &mut dirty,
        })
    }

    /// Begins a snapshot of the state after the last settled height: of every group that changed since the last one
    /// began. Returns where the chain stands, and how many groups there are; nothing before the first height.
    ///
    /// # Panics
    /// If one is under way.
    pub fn begin_snapshot(&mut self) -> Option<(ChainNote, usize)> {
        let note = self.chain().note()?;
        let height = self.read(|rows| rows.house.height);
        assert_eq!(note.height, height, "the image is of the height that its note names");
        let groups = self.begin_saving();
        assert!(groups <= self.layout.groups(), "a snapshot is of groups of the image");
        Some((note, groups))
    }

    /// [`Machine::begin_snapshot`] for machines that settle without a chain.
    ///
    /// # Panics
    /// If one is under way.
    pub fn begin_saving(&mut self) -> usize {
        self.saving(|parts| parts.saver.begin(parts.dirty))
    }

    /// The snapshot that is under way, if one is.
    pub fn saver(&self) -> &GroupSaver {
        self.world.resource()
    }

    /// Copies up to `most` groups that no height asked for yet.
    pub fn sweep_snapshot(&mut self, most: usize) -> usize {
        self.saving(|parts| parts.saver.sweep(parts.rows, most))
    }

    /// Blocks of groups that are ready for the disk.
    pub fn take_blocks(&mut self, into: &mut Vec<GroupBlock>) {
        self.world.resource_mut::<GroupSaver>().take_full(into);
    }

    /// A block that is on disk can be filled again.
    pub fn give_back_block(&mut self, block: GroupBlock) {
        self.world.resource_mut::<GroupSaver>().give_back(block);
    }

    /// Every group was handed out.
    ///
    /// # Panics
    /// If one was not.
    pub fn end_snapshot(&mut self) {
        self.world.resource_mut::<GroupSaver>().end();
    }

    /// Gives the snapshot up that is under way, or that was handed out and did not reach the disk.
    pub fn give_up_snapshot(&mut self) {
        self.saving(|parts| parts.saver.give_up(parts.dirty));
    }

    /// Saves what a block is going to write, if a snapshot is under way: a part of it at a time. The block must wait until
    /// all is saved.
    pub fn save_before(&mut self, block: &Block) -> Saved {
        if self.saver().left() == 0 {
            return Saved::All;
        }
        self.saving(|parts| {
            let height = Some(block.header.height);
            assert_eq!(height, Some(parts.rows.house.height.next()), "groups are saved for the height that comes next");
            // A height that waits comes here tick after tick: it is marked once.
            if parts.marks.of != height {
                mark_block(parts.setup, parts.rows, parts.index, parts.due, block, &mut parts.marks.map);
                parts.marks.of = height;
            }
            parts.saver.save(parts.rows, &parts.marks.map)
        })
    }

    /// Loads a snapshot: `read` puts a group's bytes where it is told to. The root is computed and compared, and every row
    /// checked.
    ///
    /// # Errors
    /// If a group cannot be read, the root is another, or a row is none of a state; the machine must then be loaded again or
    /// thrown away.
    pub fn load<E: Send>(
        &mut self,
        note: &ChainNote,
        read: impl Fn(usize, &mut [u8; GROUP_BYTES]) -> Result<(), E> + Sync,
    ) -> Result<(), LoadError<E>> {
        let mut columns = self.columns.get_mut(&mut self.world).expect("the world has its columns");
        let read = |index: usize, group: &mut [u8; GROUP_BYTES]| read(index, group).map_err(LoadError::Read);
        image::fill(&self.layout, &mut columns.rows(), read)?;
        // The root is computed from what now lies in the columns, not from what was read: a group in the wrong place shows.
        self.world.resource_mut::<DirtyMap>().mark_all();
        let of = self.read(|rows| (rows.house.height, rows.house.time_ms));
        if self.root() != note.root || of != (note.height, note.time_ms) {
            return Err(LoadError::Root);
        }
        self.take_up()?;
        self.world.resource_mut::<Chain>().stand(note);
        assert_eq!(self.chain().settled, of.0, "the chain stands where its image does");
        // All of it is on the disk that it came from: the next snapshot has what changes from here on.
        let mut dirty = self.world.resource_mut::<DirtyMap>();
        dirty.clear();
        dirty.forget_changed();
        Ok(())
    }

    /// Loads a stored snapshot of `height`, which has groups with these chaining values and the bytes of a note. Returns
    /// where the chain stands then.
    ///
    /// # Errors
    /// As [`Machine::load`], and if the note is of another height or the image has another size.
    pub fn load_stored<E: Send>(
        &mut self,
        height: Height,
        note: &[u8],
        values: &[Hash],
        read: impl Fn(usize, &mut [u8; GROUP_BYTES]) -> Result<(), E> + Sync,
    ) -> Result<ChainNote, LoadError<E>> {
        let note = ChainNote::decode(note).map_err(LoadError::Note)?;
        if note.height != height {
            return Err(LoadError::Height(note.height));
        }
        // What costs nothing to look at comes first: a gigabyte is read only where it can be the right one.
        let (found, expected) = (values.len(), self.layout.groups());
        if found != expected {
            return Err(LoadError::Groups { found, expected });
        }
        if image::root_of(values) != note.root {
            return Err(LoadError::Values);
        }
        self.load(&note, read)?;
        Ok(note)
    }

    /// Takes a recorded height at or below the one that was loaded: its receipts are known again. The snapshot's own
    /// height is compared with it.
    ///
    /// # Errors
    /// If the frames contradict each other or the snapshot.
    pub fn recall(&mut self, decided: &Decided, settled: &Settled) -> Result<(), RecallError> {
        let (intents, height) = (&decided.block.intents, settled.height);
        let expected = intents.len() + decided.block.pledges.len();
        if expected != settled.verdicts.len() {
            return Err(RecallError::Verdicts { expected, found: settled.verdicts.len() });
        }
        let mut chain = self.world.resource_mut::<Chain>();
        if height == chain.settled {
            let differs = |field| Err(RecallError::Differs { field });
            if decided.block.header.hash() != chain.parent {
                return differs("block");
            }
            if settled.root != chain.root {
                return differs("root");
            }
            if settled.root_chain != chain.root_chains[0] {
                return differs("root chain");
            }
        }
        chain.remember(height, decided.block.header.time_ms);
        // Bets that it closed may wait for their opening still.
        if self.setup().has_pledged() {
            let header = &decided.block.header;
            self.world.resource_mut::<Closings>().keep(header.hash(), header, &decided.certificate);
        }
        // Nobody asks a machine that only settles.
        let Some(mut answers) = self.world.get_resource_mut::<Answers>() else { return Ok(()) };
        for (index, (intent, verdict)) in intents.iter().zip(&settled.verdicts).enumerate() {
            answers.wait(intent, &Sender::NOBODY);
            answers.answer(&Receipt { id: intent.id(), height, index: index as u32, verdict: *verdict });
        }
        Ok(())
    }

    /// Goes back to genesis: where no snapshot can be loaded, after one was tried.
    ///
    /// # Panics
    /// If heights were settled since.
    pub fn reset(&mut self) {
        let mut fresh = Self::new(self.setup().clone(), 1);
        let mut image = Vec::with_capacity(self.layout.bytes() as usize);
        let all: Result<(), std::convert::Infallible> = fresh.export(|part| {
            image.extend_from_slice(part);
            Ok(())
        });
        all.expect("writing to a vector cannot fail");
        let settled = self.chain().settled;
        assert_eq!(settled, Height::GENESIS, "a machine that settled heights does not go back");
        assert_eq!(image.len() as u64, self.layout.bytes(), "the image has the length that its layout says");
        self.import(&image).expect("the image of the same genesis");
        assert_eq!(self.read(|rows| rows.house.height), Height::GENESIS, "the state is that before the first height");
    }
}
