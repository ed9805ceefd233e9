//! The replicated components: fixed-layout rows, each a multiple of a cache line.

mod account;
mod bets;
mod house;
mod seat;
mod table;

pub use account::{Account, AccountKey, AccountStatus};
pub use bets::{BetFlags, BetRow, Bets, MoreBets, SeatBets, SeatBetsMut};
pub use house::{GroupKey, House, RulesHash, Validator};
pub use seat::{Seat, SeatStatus, SpotMask};
pub use table::Table;
