//! The state as bytes: its root, and going out and coming back in whole.

use std::convert::Infallible;

use bevy_ecs::system::{ResMut, SystemState};
use engine::Hash;
use engine::columns::Columns;
use engine::image::{self, DirtyMap, ImageLayout, RootTree};
use engine::limits::CHUNK_TABLES;

use super::Machine;
use crate::settle::invariants;
use crate::settle::ledger::Ledger;
use crate::settle::mark::WrittenGroups;
use crate::settle::turns::Turns;
use crate::state::accounts::AccountIndex;
use crate::state::check_rows::{LoadError, RowError, check_keys, check_rows};
use crate::state::due::DueTimes;
use crate::state::setup::Setup;

impl Machine {
    /// Checks the rows of a state that came from elsewhere, and derives what is node-local from them.
    pub(crate) fn take_up(&mut self) -> Result<(), RowError> {
        let setup = self.world.resource::<Setup>().clone();
        // The rows come before what is derived from them: counting and indexing assert what settling keeps.
        self.read(|rows| check_rows(&setup, rows))?;
        self.derive();
        let (mut columns, index) = self.lookup.get_mut(&mut self.world).expect("the world has its columns");
        check_keys(&columns.rows(), &index)
    }

    /// Derives everything node-local from the columns.
    pub(crate) fn derive(&mut self) {
        let setup = self.world.resource::<Setup>().clone();
        let mut turns = self.world.resource::<Turns>().clone();
        let (ledger, due, index) = self.read(|rows| {
            turns.read(rows.validators);
            let (due, index) = (DueTimes::of(rows.tables), AccountIndex::of(rows.accounts, rows.keys));
            (invariants::recount(&setup, rows), due, index)
        });
        let chunks = self.layout.capacity.tables.div_ceil(CHUNK_TABLES);
        assert_eq!(ledger.tables.len(), chunks, "every chunk of tables has its totals");
        *self.world.resource_mut::<Turns>() = turns;
        *self.world.resource_mut::<Ledger>() = ledger;
        *self.world.resource_mut::<DueTimes>() = due;
        *self.world.resource_mut::<AccountIndex>() = index;
        // Marks that were made for other rows are worth nothing, whatever height they were for.
        self.world.resource_mut::<DirtyMap>().mark_all();
        self.world.resource_mut::<WrittenGroups>().of = None;
    }

    /// The root of the columns as they are.
    pub fn root(&mut self) -> Hash {
        let mut state =
            SystemState::<(Columns<'_, '_>, ResMut<'_, RootTree>, ResMut<'_, DirtyMap>)>::new(&mut self.world);
        let (mut columns, mut tree, mut dirty) = state.get_mut(&mut self.world).expect("the world has its columns");
        tree.update(&columns.rows(), &mut dirty)
    }

    /// Hands out the image in parts.
    ///
    /// # Errors
    /// What `write` returns.
    pub fn export<E>(&mut self, write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        let layout = self.layout.clone();
        self.read(|rows| image::export(&layout, rows, write))
    }

    /// Loads an image of the same genesis.
    ///
    /// # Errors
    /// If it does not fit the capacities, or a row is none of a state; the machine must then be loaded again or thrown away.
    pub fn import(&mut self, bytes: &[u8]) -> Result<(), LoadError<Infallible>> {
        let mut columns = self.columns.get_mut(&mut self.world).expect("the world has its columns");
        image::import(&self.layout, &mut columns.rows(), bytes)?;
        Ok(self.take_up()?)
    }

    /// Where the columns lie in the image.
    pub fn layout(&self) -> &ImageLayout {
        &self.layout
    }

    /// How many groups of the image the last root hashed again.
    pub fn touched_groups(&self) -> usize {
        self.world.resource::<RootTree>().touched_groups()
    }
}
