//! Amounts of chips: unsigned, checked, never rounded except where a payout says so.

use std::fmt;

use bytemuck::{Pod, Zeroable};

/// An amount of chips, the smallest unit (RULES.md R1). Arithmetic on it is checked: the engine's own sums cannot
/// overflow because genesis bounds the supply, so an overflow is a broken invariant and stops the node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug, Pod, Zeroable)]
#[repr(transparent)]
pub struct Chips(pub u64);

const _: () = assert!(size_of::<Chips>() == 8, "rows and messages hold chips as 8 bytes");

impl Chips {
    /// No chips.
    pub const ZERO: Self = Self(0);

    /// The sum, or `None` where it would overflow.
    #[inline]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference, or `None` where `other` is larger.
    #[inline]
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(rest) => Some(Self(rest)),
            None => None,
        }
    }

    /// The sum, or the most that 8 bytes hold where it is larger: for what only counts, and is nobody's chips.
    #[inline]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// The difference, or zero where `other` is larger.
    #[inline]
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl std::ops::Add for Chips {
    type Output = Self;
    #[inline]
    fn add(self, other: Self) -> Self {
        self.checked_add(other).expect("sums of chips stay below the supply")
    }
}

impl std::ops::Sub for Chips {
    type Output = Self;
    #[inline]
    fn sub(self, other: Self) -> Self {
        self.checked_sub(other).expect("chips are taken only from where they lie")
    }
}

impl std::ops::AddAssign for Chips {
    #[inline]
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl std::ops::SubAssign for Chips {
    #[inline]
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl std::iter::Sum for Chips {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, |sum, chips| sum + chips)
    }
}

impl fmt::Display for Chips {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A payout "to 1": the profit on a wager is `floor(wager * num / den)` (R1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ratio {
    /// Numerator.
    pub num: u32,
    /// Denominator, never zero.
    pub den: u32,
}

// The largest wager at the largest ratio is paid without an overflow.
const _: () = assert!(Ratio::new(u32::MAX, 1).floor_of(u32::MAX) == (u32::MAX as u64).pow(2));
const _: () = assert!(Ratio::ZERO.ceil_of(u32::MAX) == 0, "where there is no commission, none is rounded up to");

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self { num: 0, den: 1 };

    /// `num : den`.
    pub const fn new(num: u32, den: u32) -> Self {
        assert!(den != 0, "a payout ratio has a denominator");
        Self { num, den }
    }

    /// `floor(wager * num / den)`. Both factors are below 2^32, so the product fits.
    #[inline]
    pub const fn floor_of(self, wager: u32) -> u64 {
        (wager as u64 * self.num as u64) / self.den as u64
    }

    /// `ceil(wager * num / den)`, for commission that is charged in advance (R1).
    #[inline]
    pub const fn ceil_of(self, wager: u32) -> u64 {
        (wager as u64 * self.num as u64).div_ceil(self.den as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_written_as_numbers_are() {
        assert_eq!(format!("{}|{:>6}|{:<6}|", Chips(12_345), Chips(12), Chips(0)), "12345|    12|0     |");
    }
}
