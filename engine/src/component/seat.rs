use bevy_ecs::component::Component;
use bytemuck::{Pod, Zeroable};

use super::row::{ChainStart, Fields, Row, fields};
use crate::bits::ones_of;
use crate::chips::Chips;
use crate::ids::{AccountId, Spot};
use crate::limits::SPOT_WORDS;

/// A set of spots. Layout: 24 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct SpotMask(pub [u64; SPOT_WORDS]);

const _: () = assert!(size_of::<SpotMask>() == SPOT_WORDS * 8);

impl SpotMask {
    /// No spot.
    pub const EMPTY: Self = Self([0; SPOT_WORDS]);

    /// Whether the spot is in the set.
    #[inline]
    pub const fn contains(&self, spot: Spot) -> bool {
        self.0[(spot.0 >> 6) as usize] >> (spot.0 & 63) & 1 == 1
    }

    /// Puts a spot in.
    #[inline]
    pub const fn insert(&mut self, spot: Spot) {
        self.0[(spot.0 >> 6) as usize] |= 1 << (spot.0 & 63);
    }

    /// Takes a spot out.
    #[inline]
    pub const fn remove(&mut self, spot: Spot) {
        self.0[(spot.0 >> 6) as usize] &= !(1 << (spot.0 & 63));
    }

    /// Both sets' common spots.
    #[inline]
    pub const fn and(&self, other: &Self) -> Self {
        Self([self.0[0] & other.0[0], self.0[1] & other.0[1], self.0[2] & other.0[2]])
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.0[0] | self.0[1] | self.0[2] == 0
    }

    /// How many there are.
    #[inline]
    pub const fn count(&self) -> u32 {
        self.0[0].count_ones() + self.0[1].count_ones() + self.0[2].count_ones()
    }

    /// How many lie below `spot`: the row of its bet among a seat's rows.
    #[inline]
    pub const fn rank(&self, spot: Spot) -> usize {
        let word = (spot.0 >> 6) as usize;
        // Word by word: rows are packed in the order of spots, so that their place is how many stand before.
        let mut below = (self.0[word] & ((1 << (spot.0 & 63)) - 1)).count_ones();
        let mut lower = 0;
        while lower < word {
            below += self.0[lower].count_ones();
            lower += 1;
        }
        below as usize
    }

    /// The spots in ascending order.
    #[inline]
    pub fn iter(self) -> impl Iterator<Item = Spot> {
        ones_of(self.0).map(|bit| Spot(bit as u8))
    }
}

impl FromIterator<Spot> for SpotMask {
    fn from_iter<I: IntoIterator<Item = Spot>>(spots: I) -> Self {
        let mut mask = Self::EMPTY;
        spots.into_iter().for_each(|spot| mask.insert(spot));
        mask
    }
}

/// A seat at a table; table `t` owns rows `t * seats ..`. Layout: 64 bytes, one cache line, no padding. Units: chips;
/// milliseconds of the clock of activity. The mask of its bets lies here, so that a roll that concerns none of them touches
/// nothing else of the seat.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Seat {
    /// The player's chips at the table that are in no bet.
    pub rail: Chips,
    /// Wagers that were won or lost since the player sat down, up to the most the field holds.
    pub wagered: Chips,
    /// When an intent of the player was last accepted here.
    pub last_intent_ms: u64,
    /// The spots that hold a bet; their rows are packed in this order.
    pub spots: SpotMask,
    /// Who sits here; [`AccountId::NONE`] in an empty seat.
    pub account: AccountId,
    /// A [`SeatStatus`].
    pub status: u8,
    /// Zero.
    pub reserved: [u8; 3],
    /// When the player sat down, or a bet of the seat was last decided.
    pub last_bet_ms: u64,
}

const _: () = assert!(size_of::<Seat>() == 64);
const _: () = assert!(align_of::<Seat>() == 64);

/// What a seat is doing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum SeatStatus {
    /// Nobody sits here.
    Empty = 0,
    /// A player who may act.
    Seated = 1,
    /// The player left or is absent; bets that cannot be returned stay until they are decided.
    Leaving = 2,
}

impl Seat {
    /// An empty seat.
    pub const EMPTY: Self = Self {
        rail: Chips::ZERO,
        wagered: Chips::ZERO,
        last_intent_ms: 0,
        spots: SpotMask::EMPTY,
        account: AccountId::NONE,
        status: SeatStatus::Empty as u8,
        reserved: [0; 3],
        last_bet_ms: 0,
    };

    /// Whether a player sits here who may act.
    #[inline]
    pub fn is_seated(&self) -> bool {
        self.status == SeatStatus::Seated as u8
    }

    /// Whether the seat waits only for its last bets.
    #[inline]
    pub fn is_leaving(&self) -> bool {
        self.status == SeatStatus::Leaving as u8
    }
}

impl Row for Seat {
    const FIELDS: Fields = fields!(Seat: rail wagered last_intent_ms spots account status reserved last_bet_ms);

    fn first(_start: &ChainStart<'_>, _row: usize) -> Self {
        Self::EMPTY
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_hold_rank_and_list_every_spot() {
        let spots = [0u8, 1, 63, 64, 100, 127, 128, 171].map(Spot);
        let mut mask: SpotMask = spots.into_iter().collect();
        assert_eq!(mask.iter().collect::<Vec<_>>(), spots);
        for (rank, spot) in spots.into_iter().enumerate() {
            assert!(mask.contains(spot));
            assert_eq!(mask.rank(spot), rank);
        }
        mask.remove(Spot(64));
        assert!(!mask.contains(Spot(64)));
        assert_eq!(mask.rank(Spot(171)), 6);
        assert_eq!(mask.count(), 7);
    }
}
