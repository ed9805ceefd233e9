//! The components: fixed-layout rows, each a multiple of a cache line. All but those of peers are replicated.

mod account;
mod bets;
mod house;
mod peer;
mod seat;
mod table;

pub use account::{Account, AccountKey, AccountStatus};
pub use bets::{BetFlags, BetRow, Bets, MoreBets, SeatBets, SeatBetsMut};
pub use house::{GroupKey, House, RulesHash, Validator};
pub use peer::{Peer, PeerKey, PeerStatus};
pub use seat::{Seat, SeatStatus, SpotMask};
pub use table::Table;
