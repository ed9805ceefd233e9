//! What a simulated player brings to the dice of a pledged table. It keeps nothing on a disk: a session of simulated players has
//! nobody who could lose a secret, but for those who withhold on purpose.

use engine::message::pledge::{PledgeRow, pledge_end};
use engine::{Hash, TableId};

/// Openings of one pledge: few, so that pledging anew is seen often.
const OPENINGS: u32 = 32;
/// Milliseconds after which a row without an effect is sent again.
pub(super) const AGAIN_MS: u64 = 1_000;
/// How often a reckless player withholds a roll: once in so many.
pub(super) const WITHHOLDS: u64 = 40;

/// A chain of hashes for one table, and what was sent of it.
#[derive(Default)]
pub(crate) struct Half {
    pub(super) table: TableId,
    first: u32,
    /// The ends from the first roll on, the secret last.
    ends: Vec<Hash>,
    /// The roll that the last row was for, whether that was an opening, and when it was sent.
    pub(super) sent: Option<(u32, bool, u64)>,
    /// The last roll that is not opened on purpose.
    pub(super) withheld: Option<u32>,
    /// What would have opened it, and is sent when it is too late: a client that comes back after the deadline does that.
    pub(super) late: Option<PledgeRow>,
}

impl Half {
    pub(crate) fn end(&self, roll: u32) -> Option<&Hash> {
        self.ends.get(roll.checked_sub(self.first)? as usize)
    }

    /// Begins a chain at a roll. The secret follows from the key and the roll, so that a seed gives the same session again.
    pub(crate) fn begin(&mut self, chain: &Hash, table: TableId, key: &[u8; 32], roll: u32) {
        let mut secret = blake3::Hasher::new_derive_key("bitcraps simulated secret 1");
        secret.update(chain).update(key).update(&table.0.to_le_bytes()).update(&roll.to_le_bytes());
        let mut ends = vec![*secret.finalize().as_bytes()];
        for roll in (roll..roll + OPENINGS).rev() {
            ends.push(pledge_end(chain, table, key, roll, ends.last().expect("the secret")));
        }
        ends.reverse();
        *self = Self { table, first: roll, ends, late: self.late, ..Self::default() };
    }
}
