//! What a simulated player brings to the dice of a pledged table. It keeps nothing on a disk: a session of simulated players has
//! nobody who could lose a secret, but for those who withhold on purpose.

use engine::columns::Rows;
use engine::message::pledge::{PledgeRow, pledge_end};
use engine::{Hash, TableId};
use systems::Setup;

use super::player::Player;
use super::strategy::Strategy;

/// Openings of one pledge: few, so that pledging anew is seen often.
const OPENINGS: u32 = 32;
/// Milliseconds after which a row without an effect is sent again.
const AGAIN_MS: u64 = 1_000;
/// How often a reckless player withholds a roll: once in so many.
const WITHHOLDS: u64 = 40;

/// A chain of hashes for one table, and what was sent of it.
#[derive(Default)]
pub(super) struct Half {
    table: TableId,
    first: u32,
    /// The ends from the first roll on, the secret last.
    ends: Vec<Hash>,
    /// The roll that the last row was for, whether that was an opening, and when it was sent.
    sent: Option<(u32, bool, u64)>,
    /// The last roll that is not opened on purpose.
    withheld: Option<u32>,
}

impl Half {
    fn end(&self, roll: u32) -> Option<&Hash> {
        self.ends.get(roll.checked_sub(self.first)? as usize)
    }

    /// Begins a chain at a roll. The secret follows from the key and the roll, so that a seed gives the same session again.
    fn begin(&mut self, chain: &Hash, table: TableId, key: &[u8; 32], roll: u32) {
        let mut secret = blake3::Hasher::new_derive_key("bitcraps simulated secret 1");
        secret.update(chain).update(key).update(&table.0.to_le_bytes()).update(&roll.to_le_bytes());
        let mut ends = vec![*secret.finalize().as_bytes()];
        for roll in (roll..roll + OPENINGS).rev() {
            ends.push(pledge_end(chain, table, key, roll, ends.last().expect("the secret")));
        }
        ends.reverse();
        *self = Self { table, first: roll, ends, ..Self::default() };
    }
}

impl Player {
    /// A pledge or an opening, if its table waits for one.
    pub fn bring_half(&mut self, rows: &Rows<'_>, setup: &Setup, now_ms: u64) -> Option<PledgeRow> {
        let (account, table) = (self.account?, self.home);
        let row = rows.tables.get(table.index()).filter(|row| setup.is_pledged(row))?;
        let seat = &rows.seats[table.index() * rows.seats_per_table()];
        if seat.account != account || !seat.is_seated() {
            return None;
        }
        let (pledge, roll) = (&rows.pledges[table.index()], row.roll_number + 1);
        let opens = pledge.is_frozen();
        let is_own = self.half.table == table && self.half.end(roll) == Some(&pledge.end);
        let was_sent = |(of, opened, at_ms)| (of, opened) == (roll, opens) && now_ms < at_ms + AGAIN_MS;
        if self.half.sent.is_some_and(was_sent) || self.half.withheld == Some(roll) || (opens && !is_own) {
            return None;
        }
        let value = self.half.end(roll + 1).copied().filter(|_| is_own);
        let unsigned = match value {
            Some(_) if !opens => return None,
            Some(value) => {
                if self.strategy == Strategy::Reckless && self.rng.once_in(WITHHOLDS) {
                    self.half.withheld = Some(roll);
                    return None;
                }
                PledgeRow::opening(self.public, table, roll, value, pledge.block)
            }
            None => {
                self.half.begin(&setup.chain, table, &self.public, roll);
                let end = *self.half.end(roll).expect("the first roll");
                PledgeRow::pledge(self.public, table, roll, pledge.number + 1, end, [0; 32])
            }
        };
        self.half.sent = Some((roll, opens, now_ms));
        Some(self.key.sign_pledge(unsigned, &setup.chain))
    }
}
