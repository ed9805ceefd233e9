//! Roll: the dice of every table that is due, from the height's beacon, but for pledged tables.

use bevy_ecs::resource::Resource;
use bevy_ecs::system::{Res, ResMut};
use engine::bits::ones_of;
use engine::columns::Columns;
use engine::component::Table;
use engine::limits::{CHUNK_TABLES, RULES_MAX};
use engine::{Dice, TableId};
use order::dice::DiceRoller;
use rayon::prelude::*;

use super::block::{Current, Draw};
use crate::state::due::DueTimes;
use crate::state::setup::Setup;

/// Words of a chunk's mask of tables.
const WORDS: usize = CHUNK_TABLES / 64;

// The tables beyond the last whole word would never roll.
const _: () = assert!(CHUNK_TABLES.is_multiple_of(64));

/// Which tables rolled at this height: a bit each, by chunk.
#[derive(Resource, Default)]
pub struct Rolled {
    /// The masks.
    pub chunks: Vec<[u64; WORDS]>,
}

impl Rolled {
    /// None of this many tables.
    pub fn none(tables: usize) -> Self {
        Self { chunks: vec![[0; WORDS]; tables.div_ceil(CHUNK_TABLES)] }
    }
}

/// The tables of a mask, in order.
pub fn tables_of(mask: [u64; WORDS]) -> impl Iterator<Item = usize> {
    ones_of(mask)
}

/// The dice of a height by set of rules, or the given ones of a script.
struct Source {
    given: Option<Dice>,
    draws: [Option<DiceRoller>; RULES_MAX],
}

impl Source {
    fn new(setup: &Setup, draw: &Draw) -> Self {
        let (given, beacon) = match draw {
            Draw::Given(dice) => (Some(*dice), None),
            Draw::Beacon(beacon) => (None, Some(beacon)),
        };
        assert!(setup.catalogues.len() <= RULES_MAX, "every set of rules has its dice");
        // Each set of rules has dice of its own, so that no table's rolls say what those under other rules will be.
        let roller = |set: usize| Some(DiceRoller::new(beacon?, &setup.catalogues.get(set)?.hash()));
        Self { given, draws: std::array::from_fn(roller) }
    }

    fn dice(&self, table: TableId, row: &Table) -> Dice {
        assert!(row.roll_number > 0, "table {table}: a roll is counted before its dice are drawn");
        self.given.unwrap_or_else(|| {
            let draw = self.draws[usize::from(row.rules)].as_ref();
            draw.expect("a table's rules are among those of genesis").dice(table, row.roll_number)
        })
    }
}

/// System: draws the dice of every due table and moves its roll number. Tables in chunks without a due one are not
/// looked at.
pub fn roll_dice(
    setup: Res<'_, Setup>,
    current: Res<'_, Current>,
    due: Res<'_, DueTimes>,
    mut columns: Columns<'_, '_>,
    mut rolled: ResMut<'_, Rolled>,
) {
    let rows = columns.rows();
    let (due, time_ms) = (&*due, current.time_ms);
    // Most heights of a quiet chain roll nothing, and hash nothing for dice.
    if due.earliest().is_none_or(|earliest| earliest > time_ms) {
        return;
    }
    assert!(rolled.chunks.iter().all(|mask| *mask == [0; WORDS]), "the rolls of the last height were resolved");
    // What is zipped ends with the shortest: tables without a mask would never roll.
    assert_eq!(rolled.chunks.len(), rows.tables.len().div_ceil(CHUNK_TABLES), "every chunk of tables has its mask");
    let source = Source::new(&setup, &current.draw);
    rows.tables.par_chunks_mut(CHUNK_TABLES).zip(&mut rolled.chunks).enumerate().for_each(
        |(chunk, (tables, rolled))| {
            if !due.is_due(chunk, time_ms) {
                return;
            }
            // Pledged tables are due for other reasons; their dice are drawn from what was opened.
            let rolls = |table: &Table| table.is_due(time_ms) && !setup.is_pledged(table);
            for (place, table) in tables.iter_mut().enumerate().filter(|(_, table)| rolls(table)) {
                assert!(table.occupied != 0, "only a table that somebody sits at rolls");
                assert!(table.opened_ms <= time_ms, "the window of a roll opens before the dice fall");
                table.begin_roll();
                table.opened_ms = time_ms;
                let id = TableId((chunk * CHUNK_TABLES + place) as u32);
                table.dice = source.dice(id, table).faces();
                rolled[place / 64] |= 1 << (place % 64);
            }
            // Times that were not kept with their tables would leave bets lying, or have every height look for a roll in vain.
            let is_due = *rolled != [0; WORDS] || tables.iter().any(|table| table.is_due(time_ms));
            assert!(is_due, "chunk {chunk}: it is due with a table that is due");
        },
    );
}
