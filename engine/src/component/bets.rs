use bevy_ecs::component::Component;
use bytemuck::{Pod, Zeroable};

use super::row::{Fields, Row, fields};
use super::seat::{Seat, SpotMask};
use crate::ids::Spot;
use crate::limits::{SEAT_BETS_COLD, SEAT_BETS_HOT, SEAT_BETS_MAX};
use crate::message::intent::Working;

/// One bet. Layout: 8 bytes, no padding. Units: chips.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct BetRow {
    /// The wager; never zero in a row that is in use.
    pub amount: u32,
    /// What the bet has counted so far: the state of its automaton.
    pub progress: u16,
    /// Where it lies.
    pub spot: Spot,
    /// Working setting, and whether it has seen a roll.
    pub flags: BetFlags,
}

const _: () = assert!(size_of::<BetRow>() == 8);

/// The flags of a bet: the low two bits are a [`Working`], the third says that a hand bet has seen a roll.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct BetFlags(pub u8);

// A setting that spilled over would say that a bet has seen a roll, and lock it.
const _: () = assert!(BetFlags::WORKING & BetFlags::SEEN == 0);
const _: () = assert!(Working::On as u8 | Working::Off as u8 <= BetFlags::WORKING);

impl BetFlags {
    const WORKING: u8 = 0b011;
    const SEEN: u8 = 0b100;

    /// The bet's working setting.
    #[inline]
    pub fn working(self) -> Working {
        match self.0 & Self::WORKING {
            1 => Working::On,
            2 => Working::Off,
            _ => Working::Default,
        }
    }

    /// The same flags with another working setting.
    #[inline]
    pub fn with_working(self, working: Working) -> Self {
        Self(self.0 & !Self::WORKING | working as u8)
    }

    /// Whether the bet has seen a roll.
    #[inline]
    pub fn seen(self) -> bool {
        self.0 & Self::SEEN != 0
    }

    /// The same flags of a bet that has seen a roll.
    #[inline]
    pub fn with_seen(self) -> Self {
        Self(self.0 | Self::SEEN)
    }

    /// Whether the bet acts on a roll, where `default` is what it does when nothing was said.
    #[inline]
    pub fn works(self, default: bool) -> bool {
        let setting = self.0 & Self::WORKING;
        // Without a branch: it is asked for every bet at every roll, and no two bets in a row need have said the same.
        (setting == Working::On as u8) | (default & (setting == 0))
    }
}

/// A seat's first 8 bets, packed in the order of their spots; unused rows are zero. Layout: 64 bytes, one cache line.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Bets {
    /// In use from the front, spots ascending.
    pub rows: [BetRow; SEAT_BETS_HOT],
}

/// A seat's further 24 bets. Layout: 192 bytes, three cache lines.
#[derive(Component, Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct MoreBets {
    /// What did not fit the first 8, spots ascending.
    pub rows: [BetRow; SEAT_BETS_COLD],
}

const _: () = assert!(size_of::<Bets>() == 64);
const _: () = assert!(align_of::<Bets>() == 64);
const _: () = assert!(size_of::<MoreBets>() == 192);
const _: () = assert!(align_of::<MoreBets>() == 64);

impl Row for Bets {
    const FIELDS: Fields = fields!(rows[BetRow]: amount progress spot flags);
}

impl Row for MoreBets {
    const FIELDS: Fields = Bets::FIELDS;
}

/// A seat's bets to read: mask, hot and cold rows as one list.
#[derive(Clone, Copy)]
pub struct SeatBets<'a> {
    /// The seat's mask.
    pub spots: SpotMask,
    /// Rows 0 to 7.
    pub hot: &'a Bets,
    /// Rows 8 to 31.
    pub cold: &'a MoreBets,
}

impl<'a> SeatBets<'a> {
    /// The row with this number.
    #[inline]
    pub fn row(&self, index: usize) -> BetRow {
        if index < SEAT_BETS_HOT { self.hot.rows[index] } else { self.cold.rows[index - SEAT_BETS_HOT] }
    }

    /// The bet on a spot.
    #[inline]
    pub fn get(&self, spot: Spot) -> Option<BetRow> {
        self.spots.contains(spot).then(|| self.row(self.spots.rank(spot)))
    }

    /// The bets in the order of their spots.
    pub fn iter(self) -> impl Iterator<Item = BetRow> {
        (0..self.spots.count() as usize).map(move |index| self.row(index))
    }
}

/// A seat's bets to write. Keeps mask and packed rows in step.
pub struct SeatBetsMut<'a> {
    /// The seat whose mask they follow.
    pub seat: &'a mut Seat,
    /// Rows 0 to 7.
    pub hot: &'a mut Bets,
    /// Rows 8 to 31.
    pub cold: &'a mut MoreBets,
}

impl SeatBetsMut<'_> {
    /// The same, to read.
    #[inline]
    pub fn view(&self) -> SeatBets<'_> {
        SeatBets { spots: self.seat.spots, hot: self.hot, cold: self.cold }
    }

    /// The row with this number.
    #[inline]
    pub fn row_mut(&mut self, index: usize) -> &mut BetRow {
        if index < SEAT_BETS_HOT { &mut self.hot.rows[index] } else { &mut self.cold.rows[index - SEAT_BETS_HOT] }
    }

    /// The bet on a spot.
    #[inline]
    pub fn get_mut(&mut self, spot: Spot) -> Option<&mut BetRow> {
        if !self.seat.spots.contains(spot) {
            return None;
        }
        let index = self.seat.spots.rank(spot);
        Some(self.row_mut(index))
    }

    /// Puts a bet on a free spot; the rows behind it move up.
    ///
    /// # Panics
    /// If the spot is taken or the seat is full: the caller has refused both.
    pub fn insert(&mut self, row: BetRow) {
        let count = self.seat.spots.count() as usize;
        assert!(count < SEAT_BETS_MAX, "a seat holds at most 32 bets");
        assert!(!self.seat.spots.contains(row.spot), "a spot holds one bet");
        let index = self.seat.spots.rank(row.spot);
        // From behind: each row moves to where the one after it has left.
        for to in (index + 1..=count).rev() {
            *self.row_mut(to) = self.view().row(to - 1);
        }
        *self.row_mut(index) = row;
        self.seat.spots.insert(row.spot);
        assert_eq!(self.view().get(row.spot), Some(row), "a bet is found at its spot");
    }

    /// Takes the bet off a spot; the rows behind it move down and the freed row is zeroed.
    ///
    /// # Panics
    /// If there is none.
    pub fn remove(&mut self, spot: Spot) -> BetRow {
        assert!(self.seat.spots.contains(spot), "a bet is taken from where it lies");
        let index = self.seat.spots.rank(spot);
        let removed = self.view().row(index);
        assert_eq!(removed.spot, spot, "mask and rows agree on where a bet lies");
        self.seat.spots.remove(spot);
        let count = self.seat.spots.count() as usize;
        for to in index..count {
            *self.row_mut(to) = self.view().row(to + 1);
        }
        *self.row_mut(count) = BetRow::default();
        removed
    }

    /// Takes every bet in `gone` off at once, in one walk over the rows.
    #[inline]
    pub fn remove_all(&mut self, gone: &SpotMask) {
        let count = self.seat.spots.count() as usize;
        let mut kept = 0;
        for index in 0..count {
            let row = self.view().row(index);
            if !gone.contains(row.spot) {
                if kept != index {
                    *self.row_mut(kept) = row;
                }
                kept += 1;
            }
        }
        // What is not in use is zero: the root of a state must not say what lay there before.
        for index in kept..count {
            *self.row_mut(index) = BetRow::default();
        }
        for (spots, gone) in self.seat.spots.0.iter_mut().zip(gone.0) {
            *spots &= !gone;
        }
        assert_eq!(self.seat.spots.count() as usize, kept, "mask and rows agree on what was kept");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat() -> (Seat, Bets, MoreBets) {
        (Seat::EMPTY, Bets::zeroed(), MoreBets::zeroed())
    }

    fn row(spot: u8) -> BetRow {
        BetRow { amount: u32::from(spot) + 1, spot: Spot(spot), ..BetRow::default() }
    }

    #[test]
    fn rows_stay_packed_in_spot_order_across_hot_and_cold() {
        let (mut seat, mut hot, mut cold) = seat();
        let mut bets = SeatBetsMut { seat: &mut seat, hot: &mut hot, cold: &mut cold };
        let mut spots: Vec<u8> = (0..32u32).map(|n| (n * 37 % 172) as u8).collect();
        spots.iter().for_each(|spot| bets.insert(row(*spot)));
        spots.sort_unstable();
        assert_eq!(bets.view().iter().collect::<Vec<_>>(), spots.iter().map(|s| row(*s)).collect::<Vec<_>>());

        let removed = spots.remove(7);
        assert_eq!(bets.remove(Spot(removed)), row(removed));
        let gone: SpotMask = spots.iter().step_by(3).map(|spot| Spot(*spot)).collect();
        bets.remove_all(&gone);
        spots.retain(|spot| !gone.contains(Spot(*spot)));
        assert_eq!(bets.view().iter().collect::<Vec<_>>(), spots.iter().map(|s| row(*s)).collect::<Vec<_>>());

        for spot in spots {
            assert_eq!(bets.remove(Spot(spot)), row(spot));
        }
        assert_eq!((*bets.seat, *bets.hot, *bets.cold), self::seat());
    }

    #[test]
    fn flags_hold_setting_and_seen_apart() {
        let flags = BetFlags::default().with_seen().with_working(Working::Off);
        assert!(flags.seen() && flags.working() == Working::Off && !flags.works(true));
        let flags = flags.with_working(Working::Default);
        assert!(flags.seen() && flags.works(true) && !flags.works(false));
        assert!(flags.with_working(Working::On).works(false));
    }
}
