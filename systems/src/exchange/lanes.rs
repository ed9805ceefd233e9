//! Lanes: where pledges and openings wait for a block.
//!
//! ```text
//!  openings of rolls that wait  [table 0][table 1]..    first in a block: they have a deadline
//!  pledges                      [table 0][table 1]..
//!  openings that come too late  [table 0][table 1]..    for the record alone
//!  early: passed on by a node that has settled more than this one; a share for each origin
//! ```
//! A lane has one place for each table, and only a row that would be applied as things stand takes it, with the signature of
//! the player who sits there: nobody can take another's place.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use engine::limits::{EARLY_PLEDGE_WAITS_MS, EARLY_PLEDGES_MAX, TABLES_MAX};
use engine::message::intent::IntentId;
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;
use engine::{Height, PeerId};

use super::sender::{Origin, Sender};

/// Where a row waits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PledgeLane {
    /// It opens a roll that waits.
    Opening = 0,
    /// It is a pledge.
    Pledge = 1,
    /// It opens a roll that was forfeited.
    Late = 2,
}

/// A verified row that waits for a block, or is in one and waits for its receipt.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    row: PledgeRow,
    /// Who waits with it here.
    to: PeerId,
    /// Which of all that came it is: the first to come goes first.
    number: u64,
}

/// A row that this node cannot judge before it has settled more; its signature was not looked at yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Early {
    /// The row.
    pub row: PledgeRow,
    /// Who passed it on.
    pub sender: Sender,
    /// Until when it is kept, however often it is judged: in milliseconds of ticks.
    pub until_ms: u64,
}

impl Early {
    /// One that came now.
    pub fn at(now_ms: u64, (sender, row): (Sender, PledgeRow)) -> Self {
        Self { row, sender, until_ms: now_ms + EARLY_PLEDGE_WAITS_MS }
    }
}

/// Verified pledges and openings that wait. Bounded: a place for each table in each lane, and as many as the decided blocks have
/// that are not settled yet.
#[derive(Default, Debug)]
pub struct PledgeLanes {
    lanes: [BTreeMap<u32, Waiting>; 3],
    /// In decided blocks.
    decided: BTreeMap<IntentId, Waiting>,
    early: Vec<Early>,
    /// The height at which what waits was held against the state last.
    settled: Height,
    taken: u64,
}

impl PledgeLanes {
    /// Whether nothing waits for a block, nor for this node to settle more.
    pub fn is_empty(&self) -> bool {
        !self.waits() && self.early.is_empty()
    }

    /// Whether one waits for a block.
    pub fn waits(&self) -> bool {
        self.lanes.iter().any(|lane| !lane.is_empty())
    }

    /// Those that wait for a block: openings first, of each lane in order of arrival.
    pub(super) fn to_propose(&self) -> impl Iterator<Item = &PledgeRow> {
        let mut rows: Vec<(usize, u64, &PledgeRow)> = Vec::new();
        for (lane, waiting) in self.lanes.iter().enumerate() {
            rows.extend(waiting.values().map(|waiting| (lane, waiting.number, &waiting.row)));
        }
        rows.sort_unstable_by_key(|(lane, number, _)| (*lane, *number));
        rows.into_iter().map(|(_, _, row)| row)
    }

    /// They are in a decided block, and go into no other.
    pub(super) fn decide(&mut self, rows: &[PledgeRow]) {
        for row in rows {
            let mut decided = Waiting { row: *row, to: PeerId::NONE, number: 0 };
            for lane in &mut self.lanes {
                if lane.get(&row.table).is_some_and(|waiting| waiting.row == *row) {
                    decided = lane.remove(&row.table).expect("looked at above");
                }
            }
            // One that a faulty proposer puts into blocks twice keeps whoever waits for it.
            self.decided.entry(row.id()).or_insert(decided);
        }
    }

    /// One has its receipt: says who waits for that here.
    pub(crate) fn answer(&mut self, id: &IntentId) -> Option<PeerId> {
        self.decided.remove(id).map(|waiting| waiting.to).filter(|to| *to != PeerId::NONE)
    }

    /// Whether a row waits here, for a block or for its receipt; `sender` waits with it then. Only the last connection that brings
    /// a row has its answer: a client says the same row again until its table shows it, and after a while without an answer
    /// its first connection counts that row as answered.
    pub(super) fn knows(&mut self, row: &PledgeRow, sender: &Sender) -> bool {
        let of_table = self.lanes.iter_mut().filter_map(|lane| lane.get_mut(&row.table));
        let known = of_table.chain(self.decided.get_mut(&row.id())).find(|waiting| waiting.row == *row);
        let Some(waiting) = known else { return false };
        if sender.waits() != PeerId::NONE {
            waiting.to = sender.waits();
        }
        true
    }

    /// Takes a row whose signature verifies, and that fits the state. Where another one has its place, a pledge with a higher
    /// number takes that, and who waited with the other is told; an opening waits already. Says whether it was taken.
    pub(super) fn take(
        &mut self,
        lane: PledgeLane,
        row: &PledgeRow,
        sender: &Sender,
        tell: impl FnOnce(PeerId, IntentId),
    ) -> bool {
        assert_eq!(row.is_opening(), lane != PledgeLane::Pledge, "openings and pledges wait in lanes of their own");
        let place = &mut self.lanes[lane as usize];
        if let Some(before) = place.get(&row.table) {
            if lane != PledgeLane::Pledge || before.row.number >= row.number {
                return false;
            }
            assert_eq!(before.row.table, row.table, "a row takes the place of another of its table");
            tell(before.to, before.row.id());
        }
        self.taken += 1;
        place.insert(row.table, Waiting { row: *row, to: sender.waits(), number: self.taken });
        assert!(place.len() <= TABLES_MAX as usize, "a lane has one place for each table");
        true
    }

    /// Keeps a row that another node passed on until this one has settled more, if its origin has room.
    pub(super) fn keep_early(&mut self, early: Early, validators: usize) {
        let origin = early.sender.origin;
        let of_origin = self.early.iter().filter(|other| other.sender.origin == origin).count();
        let is_new = self.early.iter().all(|other| other.row != early.row);
        if is_new && origin != Origin::Here && of_origin < EARLY_PLEDGES_MAX / validators.max(1) {
            self.early.push(early);
        }
        // Each validator has a share, and so have those that follow: one share more than there are validators.
        assert!(self.early.len() <= 2 * EARLY_PLEDGES_MAX, "what others make a node hold is bounded");
    }

    /// Takes note of the last settled height. If it is another than before, lets those go that `fits` refuses, and says who
    /// waited with each; those that were early are given back, to be judged again.
    pub(super) fn settle(
        &mut self,
        settled: Height,
        now_ms: u64,
        mut fits: impl FnMut(&PledgeRow) -> Result<PledgeLane, Refusal>,
        mut tell: impl FnMut(PeerId, IntentId, Refusal),
    ) -> Vec<Early> {
        assert!(settled >= self.settled, "a chain does not go back");
        // The same state would give every row the same answer again.
        if std::mem::replace(&mut self.settled, settled) == settled {
            self.early.retain(|early| now_ms < early.until_ms);
            return Vec::new();
        }
        let mut moved = Vec::new();
        for (at, lane) in self.lanes.iter_mut().enumerate() {
            lane.retain(|_, waiting| match fits(&waiting.row) {
                Ok(now) if now as usize == at => true,
                Ok(now) => {
                    moved.push((now, *waiting));
                    false
                }
                Err(reason) => {
                    tell(waiting.to, waiting.row.id(), reason);
                    false
                }
            });
        }
        // The deadline of an opening has passed: it goes on for the record, if none of an earlier roll has that place still.
        for (lane, waiting) in moved {
            assert_eq!(waiting.row.is_opening(), lane != PledgeLane::Pledge, "an opening does not become a pledge");
            match self.lanes[lane as usize].entry(waiting.row.table) {
                Entry::Vacant(place) => _ = place.insert(waiting),
                Entry::Occupied(_) => tell(waiting.to, waiting.row.id(), Refusal::NothingToOpen),
            }
        }
        let early = std::mem::take(&mut self.early);
        early.into_iter().filter(|early| now_ms < early.until_ms).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::TableId;
    use engine::limits::VALIDATORS_MAX;

    fn pledge(table: u32, number: u64) -> PledgeRow {
        PledgeRow { signature: [number as u8; 64], ..PledgeRow::pledge([1; 32], TableId(table), 1, number, [2; 32]) }
    }

    fn opening(table: u32) -> PledgeRow {
        PledgeRow::opening([1; 32], TableId(table), 1, [2; 32], [3; 32])
    }

    fn of(origin: Origin) -> Sender {
        Sender { peer: PeerId { slot: 4, generation: 0 }, origin }
    }

    fn take(lanes: &mut PledgeLanes, lane: PledgeLane, row: &PledgeRow) -> bool {
        lanes.take(lane, row, &of(Origin::Here), |_, _| ())
    }

    #[test]
    fn openings_go_first_and_each_lane_has_one_place_for_a_table() {
        let mut lanes = PledgeLanes::default();
        for table in (0..50).rev() {
            assert!(take(&mut lanes, PledgeLane::Pledge, &pledge(table, 5)));
            assert!(!take(&mut lanes, PledgeLane::Pledge, &pledge(table, 4)));
            assert!(take(&mut lanes, PledgeLane::Pledge, &pledge(table, 6)));
        }
        assert!(take(&mut lanes, PledgeLane::Late, &opening(9)));
        assert!(
            take(&mut lanes, PledgeLane::Opening, &opening(7)) && take(&mut lanes, PledgeLane::Opening, &opening(3))
        );
        assert!(!take(&mut lanes, PledgeLane::Opening, &PledgeRow { signature: [8; 64], ..opening(7) }));
        let rows: Vec<PledgeRow> = lanes.to_propose().copied().collect();
        assert_eq!(rows.len(), 53);
        assert_eq!((rows[0], rows[1], rows[2], rows[52]), (opening(7), opening(3), pledge(49, 6), opening(9)));
    }

    #[test]
    fn what_is_decided_waits_for_its_receipt_and_for_no_other_block() {
        let mut lanes = PledgeLanes::default();
        assert!(take(&mut lanes, PledgeLane::Opening, &opening(7)) && lanes.waits());
        lanes.decide(&[opening(7), pledge(3, 1)]);
        assert!(!lanes.waits() && lanes.knows(&opening(7), &of(Origin::Follower)));
        assert_eq!(lanes.answer(&opening(7).id()), Some(of(Origin::Here).peer));
        assert_eq!(lanes.answer(&pledge(3, 1).id()), None, "nobody here waits for it");
        assert!(!lanes.knows(&opening(7), &of(Origin::Here)) && lanes.decided.is_empty());
    }

    #[test]
    fn what_comes_early_has_a_share_for_each_origin_and_goes_when_its_time_is_over() {
        let mut lanes = PledgeLanes::default();
        let share = EARLY_PLEDGES_MAX / VALIDATORS_MAX as usize;
        for (table, origin) in (0..).zip([Origin::Here, Origin::Follower, Origin::Validator(3), Origin::Validator(4)]) {
            for number in 0..share as u64 + 9 {
                lanes.keep_early(Early::at(100, (of(origin), pledge(table, number))), VALIDATORS_MAX as usize);
            }
        }
        assert_eq!(lanes.early.len(), 3 * share, "those who are here are told at once");
        let mut again = lanes.settle(Height(1), 100, |_| Err(Refusal::StaleRoll), |_, _, _| ());
        assert_eq!((again.len(), lanes.early.len()), (3 * share, 0));
        // Judged again and again, the same row has one place, and goes when its time is over.
        let early = again.remove(0);
        lanes.keep_early(early, 4);
        lanes.keep_early(Early::at(150, (early.sender, early.row)), 4);
        assert_eq!(lanes.early.len(), 1);
        let again = lanes.settle(Height(2), 200, |_| Err(Refusal::StaleRoll), |_, _, _| ());
        assert_eq!(again[0].until_ms, 100 + EARLY_PLEDGE_WAITS_MS);
        lanes.keep_early(again[0], 4);
        let fits = |_: &PledgeRow| Err(Refusal::StaleRoll);
        assert!(lanes.settle(Height(2), 100 + EARLY_PLEDGE_WAITS_MS - 1, fits, |_, _, _| ()).is_empty());
        assert_eq!(lanes.early.len(), 1);
        lanes.settle(Height(2), 100 + EARLY_PLEDGE_WAITS_MS, fits, |_, _, _| ());
        assert!(lanes.is_empty());
    }

    #[test]
    fn what_fits_no_more_is_let_go_and_whoever_waits_is_told() {
        let mut lanes = PledgeLanes::default();
        assert!(
            take(&mut lanes, PledgeLane::Opening, &opening(7)) && take(&mut lanes, PledgeLane::Opening, &opening(8))
        );
        assert!(take(&mut lanes, PledgeLane::Pledge, &pledge(7, 1)));
        let mut told = Vec::new();
        let fits = |row: &PledgeRow| match (row.is_opening(), row.table) {
            (true, 7) => Ok(PledgeLane::Late),
            (true, _) => Ok(PledgeLane::Opening),
            _ => Err(Refusal::PledgeBehind),
        };
        lanes.settle(Height(1), 0, fits, |to, id, why| told.push((to, id, why)));
        assert_eq!(told, [(of(Origin::Here).peer, pledge(7, 1).id(), Refusal::PledgeBehind)]);
        let rows: Vec<PledgeRow> = lanes.to_propose().copied().collect();
        assert_eq!(rows, [opening(8), opening(7)], "one is late by now");
        // The next roll of that table is forfeited too, before the late one of the roll before is in a block.
        let next = PledgeRow { roll: 2, ..opening(7) };
        assert!(take(&mut lanes, PledgeLane::Opening, &next));
        told.clear();
        lanes.settle(Height(2), 0, fits, |to, id, why| told.push((to, id, why)));
        assert_eq!(told, [(of(Origin::Here).peer, next.id(), Refusal::NothingToOpen)]);
        let rows: Vec<PledgeRow> = lanes.to_propose().copied().collect();
        assert_eq!(rows, [opening(8), opening(7)], "the place is taken");
    }
}
