use bevy_ecs::component::Component;
use bytemuck::{Pod, Zeroable};

use super::row::{Fields, Row, fields};
use crate::message::Hash;
use crate::message::certificate::Beacon;

/// What the player of a pledged table brought for the coming roll, and what closed its bets. Layout: 128 bytes, two cache
/// lines, no padding. Zero while nothing is pledged; all but `end` and `number` are zero while no roll waits for its opening.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Pledge {
    /// The end of the player's chain of hashes: whoever opens the coming roll must show what it is the hash of.
    pub end: Hash,
    /// The block that closed the bets of the roll that waits.
    pub block: Hash,
    /// Its beacon.
    pub beacon: Beacon,
    /// Up to when the roll may be opened, by the [clock of openings](super::House::opening_ms); zero while none waits.
    pub open_until_ms: u64,
    /// The number of the player's last pledge.
    pub number: u64,
}

const _: () = assert!(size_of::<Pledge>() == 128);
const _: () = assert!(align_of::<Pledge>() == 64);

impl Pledge {
    /// Whether a roll waits for its opening: nothing else is accepted at the table.
    #[inline]
    pub fn is_frozen(&self) -> bool {
        self.open_until_ms != 0
    }

    /// The bets were closed by a block: the roll waits for its opening.
    pub fn freeze(&mut self, block: Hash, beacon: Beacon, open_until_ms: u64) {
        assert!(self.end != [0; 32], "bets are closed where something is pledged");
        assert!(!self.is_frozen(), "bets are closed once");
        (self.block, self.beacon, self.open_until_ms) = (block, beacon, open_until_ms);
        assert!(self.is_frozen(), "openings have a deadline");
    }

    /// The roll was opened with `value`, which is the end for the roll after.
    pub fn thaw(&mut self, value: Hash) {
        assert!(self.is_frozen(), "only a roll that waits is opened");
        // The number stays: a copy of an old pledge must not replace what the player opened with.
        *self = Self { end: value, number: self.number, ..Self::zeroed() };
        assert!(!self.is_frozen(), "the table goes on once its roll was opened");
    }
}

impl Row for Pledge {
    const FIELDS: Fields = fields!(Pledge: end block beacon open_until_ms number);
}
