//! How a bet that is decided ends.

use engine::Ratio;

/// What a bet that ended pays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pay {
    /// The wager and this profit.
    Win(Ratio),
    /// The wager.
    Push,
    /// Nothing.
    Lose,
}

/// A win of `num : den`.
pub const fn win(num: u32, den: u32) -> Pay {
    Pay::Win(Ratio::new(num, den))
}
