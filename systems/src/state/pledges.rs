//! What a pledge or an opening must hold against the state: in intake, which applies it, and at a node's door, which keeps none
//! that could not be applied. And what is kept of forfeits, so that an opening that comes too late gets into the record.

use std::collections::VecDeque;

use bevy_ecs::resource::Resource;
use engine::columns::Rows;
use engine::limits::FORFEITS_KEPT_MAX;
use engine::message::pledge::{PledgeRow, pledge_end};
use engine::message::refusal::Refusal;
use engine::{AccountId, Hash, TableId};

use crate::state::setup::Setup;

/// Checks a row of the account `id` in the order of R13, but for the deadline: only a block has a time for that. `is_open`
/// says that the block opened the table's roll already. Gives the seat.
///
/// # Errors
/// The first reason to refuse it.
pub fn check_pledge(
    row: &PledgeRow,
    id: AccountId,
    rows: &Rows<'_>,
    setup: &Setup,
    is_open: bool,
) -> Result<usize, Refusal> {
    let table = row.table as usize;
    let state = rows.tables.get(table).ok_or(Refusal::UnknownTable)?;
    if !setup.is_pledged(state) {
        return Err(Refusal::TakesNoPledge);
    }
    if row.roll != state.roll_number + 1 {
        return Err(Refusal::StaleRoll);
    }
    // Such a table has one seat.
    let seat = table * rows.seats_per_table();
    if rows.seats[seat].account != id || !rows.seats[seat].is_seated() {
        return Err(Refusal::UnknownPlayer);
    }
    let stands = &rows.pledges[table];
    assert_eq!(state.roll_called, u8::from(stands.is_frozen()), "a roll of a pledged table waits once it was called");
    match (row.is_opening(), stands.is_frozen()) {
        (true, false) => Err(Refusal::NothingToOpen),
        (true, true) if is_open => Err(Refusal::NothingToOpen),
        (true, true) if row.block != stands.block => Err(Refusal::OtherBlock),
        (true, true) if !opens(row, &stands.end, &setup.chain) => Err(Refusal::WrongValue),
        (false, true) => Err(Refusal::Frozen),
        (false, false) if row.number <= stands.number => Err(Refusal::PledgeBehind),
        _ => Ok(seat),
    }
}

/// Whether what an opening shows is what was pledged.
fn opens(row: &PledgeRow, end: &Hash, chain: &Hash) -> bool {
    pledge_end(chain, TableId(row.table), &row.key, row.roll, &row.value) == *end
}

/// A roll that was forfeited, and that nobody opened in any block yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forfeit {
    /// The player's key.
    pub key: [u8; 32],
    /// The pledged table whose roll it was.
    pub table: TableId,
    /// Which of the table's rolls, from 1.
    pub roll: u32,
    /// What was pledged for it.
    pub end: Hash,
    /// The block that closed its bets.
    pub block: Hash,
}

/// The last forfeits, the oldest first. Node-local: an opening that comes too late goes into a block once, so that audits
/// show what it would have rolled.
#[derive(Resource, Default, Debug)]
pub struct Forfeits(VecDeque<Forfeit>);

impl Forfeits {
    /// Takes note of one.
    pub fn keep(&mut self, forfeit: Forfeit) {
        assert!(forfeit.roll > 0, "rolls are numbered from 1");
        assert!(forfeit.end != [0; 32], "only a roll that something was pledged for waits");
        // The oldest goes: players make forfeits as they like, and must not make a node hold more and more of them.
        if self.0.len() == FORFEITS_KEPT_MAX {
            self.0.pop_front();
        }
        self.0.push_back(forfeit);
        assert!(self.0.len() <= FORFEITS_KEPT_MAX, "what is kept is bounded");
    }

    fn place(&self, row: &PledgeRow, chain: &Hash) -> Option<usize> {
        self.0.iter().position(|kept| {
            // The hash comes last: whoever sends openings at random must not make a node compute one for each forfeit.
            let is_it = (kept.table.0, kept.roll, kept.key, kept.block) == (row.table, row.roll, row.key, row.block);
            is_it && opens(row, &kept.end, chain)
        })
    }

    /// Whether an opening is that of a forfeited roll, and would be the first one in a block.
    pub fn is_late(&self, row: &PledgeRow, chain: &Hash) -> bool {
        row.is_opening() && self.place(row, chain).is_some()
    }

    /// An opening was in a block, and too late.
    pub fn recorded(&mut self, row: &PledgeRow, chain: &Hash) {
        self.place(row, chain).map(|place| self.0.remove(place));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_opening_is_wanted_once_and_only_with_what_was_pledged() {
        let (chain, key, value) = ([1; 32], [2; 32], [3; 32]);
        let right = PledgeRow::opening(key, TableId(4), 5, value, [6; 32]);
        let end = pledge_end(&chain, TableId(4), &key, 5, &value);
        let mut forfeits = Forfeits::default();
        forfeits.keep(Forfeit { key, table: TableId(4), roll: 5, end, block: [6; 32] });
        for wrong in [
            PledgeRow { key: [9; 32], ..right },
            PledgeRow { table: 9, ..right },
            PledgeRow { roll: 9, ..right },
            PledgeRow { value: [9; 32], ..right },
            PledgeRow { block: [9; 32], ..right },
        ] {
            assert!(!forfeits.is_late(&wrong, &chain), "{wrong:?}");
            forfeits.recorded(&wrong, &chain);
        }
        assert!(forfeits.is_late(&right, &chain));
        forfeits.recorded(&right, &chain);
        assert!(!forfeits.is_late(&right, &chain));
        let other = Forfeit { key, table: TableId(1), roll: 5, end, block: [6; 32] };
        (0..FORFEITS_KEPT_MAX + 9).for_each(|_| forfeits.keep(other));
    }
}
