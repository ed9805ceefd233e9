//! The limit that resolution is compared with: the same arithmetic by hand over plain arrays, without ledger, totals,
//! dirty groups, reports, world or assertions, in the layouts that were tried.

use engine::component::{BetRow, SpotMask};
use engine::{Dice, Puck};
use systems::Catalogue;
use systems::catalogue::{Pay, Transition};

/// A table of plain numbers.
#[derive(Clone, Copy)]
pub struct RawTable {
    /// The bank.
    pub bank: u64,
    /// Chips in bets.
    pub felt: u64,
    /// What the bank must cover.
    pub exposure: u64,
    /// The puck.
    pub puck: Puck,
    /// The dice that were rolled.
    pub dice: Dice,
}

/// How a seat's mask, rail and bets lie.
pub trait Layout: Send {
    /// The mask of occupied spots.
    fn spots(&self) -> SpotMask;
    /// The row with this number.
    fn row(&self, index: usize) -> BetRow;
    /// Writes a row.
    fn set(&mut self, index: usize, row: BetRow);
    /// Writes the mask.
    fn set_spots(&mut self, spots: SpotMask);
    /// Credits the rail.
    fn credit(&mut self, chips: u64);
}

/// A seat with its mask and rail in one line, 8 bets in the next, 24 in three more.
#[repr(C, align(64))]
#[derive(Clone)]
pub struct SplitSeat {
    spots: SpotMask,
    rail: u64,
}

/// The layout of the engine: [`SplitSeat`], hot rows, cold rows, in three arrays.
pub struct Split<'a> {
    /// The seat.
    pub seat: &'a mut SplitSeat,
    /// Rows 0 to 7.
    pub hot: &'a mut [BetRow; 8],
    /// Rows 8 to 31.
    pub cold: &'a mut [BetRow; 24],
}

impl SplitSeat {
    /// A seat with these spots.
    pub fn new(spots: SpotMask) -> Self {
        Self { spots, rail: 0 }
    }
}

impl Layout for Split<'_> {
    fn spots(&self) -> SpotMask {
        self.seat.spots
    }

    fn row(&self, index: usize) -> BetRow {
        if index < 8 { self.hot[index] } else { self.cold[index - 8] }
    }

    fn set(&mut self, index: usize, row: BetRow) {
        if index < 8 { self.hot[index] = row } else { self.cold[index - 8] = row }
    }

    fn set_spots(&mut self, spots: SpotMask) {
        self.seat.spots = spots;
    }

    fn credit(&mut self, chips: u64) {
        self.seat.rail += chips;
    }
}

/// One row of five lines: mask, rail, 32 bets.
#[repr(C, align(64))]
#[derive(Clone)]
pub struct Whole {
    spots: SpotMask,
    rail: u64,
    rows: [BetRow; 32],
}

impl Whole {
    /// A seat with these bets, in the order of their spots.
    pub fn new(spots: SpotMask, rows: impl Iterator<Item = BetRow>) -> Self {
        let mut whole = Self { spots, rail: 0, rows: [BetRow::default(); 32] };
        whole.rows.iter_mut().zip(rows).for_each(|(row, bet)| *row = bet);
        whole
    }
}

impl Layout for &mut Whole {
    fn spots(&self) -> SpotMask {
        self.spots
    }

    fn row(&self, index: usize) -> BetRow {
        self.rows[index]
    }

    fn set(&mut self, index: usize, row: BetRow) {
        self.rows[index] = row;
    }

    fn set_spots(&mut self, spots: SpotMask) {
        self.spots = spots;
    }

    fn credit(&mut self, chips: u64) {
        self.rail += chips;
    }
}

/// Resolves one table's seats. Returns the bets examined.
#[inline]
pub fn resolve(table: &mut RawTable, seats: impl Iterator<Item = impl Layout>, catalogue: &Catalogue) -> u64 {
    let row = catalogue.row(table.puck, table.dice);
    let default = catalogue.default_working(table.puck);
    let mut examined = 0;
    for mut seat in seats {
        let spots = seat.spots();
        examined += u64::from(spots.count());
        let hit = spots.and(&row.affected);
        if hit.is_empty() {
            continue;
        }
        let mut gone = SpotMask::EMPTY;
        let (mut credit, mut off) = (0, 0);
        for spot in hit.iter() {
            let index = spots.rank(spot);
            let bet = seat.row(index);
            let works = bet.flags.works(default.contains(spot));
            let pay = match catalogue.transition(row, spot, bet.progress, works) {
                Transition::End(pay) => pay,
                Transition::Return => Pay::Push,
                Transition::Advance(progress) => {
                    seat.set(index, BetRow { progress, ..bet });
                    continue;
                }
                Transition::Stay | Transition::Travel(_) => continue,
            };
            let wager = u64::from(bet.amount);
            off += wager;
            credit += match pay {
                Pay::Win(ratio) => wager + ratio.floor_of(bet.amount),
                Pay::Push => wager,
                Pay::Lose => 0,
            };
            table.exposure = table.exposure.wrapping_sub(catalogue.max_win(spot).floor_of(bet.amount));
            gone.insert(spot);
        }
        if gone.is_empty() {
            continue;
        }
        let (count, mut kept) = (spots.count() as usize, 0);
        for index in 0..count {
            let bet = seat.row(index);
            if !gone.contains(bet.spot) {
                seat.set(kept, bet);
                kept += 1;
            }
        }
        for index in kept..count {
            seat.set(index, BetRow::default());
        }
        seat.set_spots(SpotMask(std::array::from_fn(|word| spots.0[word] & !gone.0[word])));
        seat.credit(credit);
        table.felt = table.felt.wrapping_sub(off);
        table.bank = table.bank.wrapping_add(off).wrapping_sub(credit);
    }
    table.puck = table.puck.roll(table.dice).1;
    examined
}
