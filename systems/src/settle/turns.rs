//! Turns: proposers whose rounds failed lose their first turn for a while. It stands in their rows, so that it is certified
//! like everything else, and the same on every node.

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use engine::columns::{Column, Columns};
use engine::component::Validator;
use engine::image::DirtyMap;
use engine::limits::SKIP_HEIGHTS;
use engine::{Genesis, Height};
use order::validators::Validators;

use super::block::Current;

/// The validators, and up to when each of them loses its first turn: what the rows say, for those who order blocks.
#[derive(Resource, Clone)]
pub struct Turns {
    /// None where genesis names keys that are none: a world that only settles needs no votes.
    set: Option<Validators>,
    skipped_until: Vec<Height>,
}

impl Turns {
    /// Before anybody failed.
    pub fn none(genesis: &Genesis) -> Self {
        Self {
            set: Validators::of_genesis(genesis).ok(),
            skipped_until: vec![Height::GENESIS; genesis.validators.len()],
        }
    }

    /// As the rows say.
    pub fn read(&mut self, rows: &[Validator]) {
        assert!(rows.len() >= self.skipped_until.len(), "every validator has its row");
        self.skipped_until.iter_mut().zip(rows).for_each(|(until, row)| *until = row.skipped_until);
    }

    /// The validators of `height`. Right from when the height but one before it is settled.
    ///
    /// # Panics
    /// If the validators of genesis cannot be.
    pub fn at(&self, height: Height) -> Validators {
        let set = self.set.as_ref().expect("a chain that is ordered has validators");
        set.skipping(set.skipped_at(height, &self.skipped_until))
    }

    /// Takes note of whose rounds failed before `height` was decided with a block of `round`. One height after another, without
    /// a gap: whose turns they were follows from the heights before.
    pub fn note_failed(&mut self, height: Height, round: u32) {
        // Nearly every block is decided in its first round: nobody failed.
        if round == 0 {
            return;
        }
        let validators = self.at(height);
        assert_eq!(validators.count(), self.skipped_until.len(), "whoever votes may lose a turn");
        validators.note_failed(height, round, &mut self.skipped_until);
        let last = Height(height.0 + 2 + SKIP_HEIGHTS);
        assert!(
            self.skipped_until.iter().all(|until| *until <= last),
            "a turn is lost for so many heights, and no longer"
        );
    }
}

/// System: writes into the validators' rows whose rounds failed before this height was decided.
pub fn note_failed_rounds(
    current: Res<'_, Current>,
    mut turns: ResMut<'_, Turns>,
    mut columns: Columns<'_, '_>,
    mut dirty: ResMut<'_, DirtyMap>,
) {
    // Nobody failed, and no row is looked at.
    if current.part.round == 0 {
        return;
    }
    turns.note_failed(current.height, current.part.round);
    let rows = columns.rows();
    for (slot, until) in turns.skipped_until.iter().enumerate() {
        // Only a row that changes is marked, since a mark is a group to be hashed again.
        if rows.validators[slot].skipped_until != *until {
            assert!(rows.validators[slot].skipped_until < *until, "a turn that was lost does not come back early");
            assert!(rows.validators[slot].voting_power > 0, "slot {slot}: only who votes has a turn to lose");
            rows.validators[slot].skipped_until = *until;
            dirty.mark(Column::Validators, slot);
        }
    }
}
