//! The components: fixed-layout rows, each a multiple of a cache line. All but those of peers are replicated.

mod row;

mod account;
mod bets;
mod house;
mod peer;
mod pledge;
mod seat;
mod table;

pub use account::*;
pub use bets::*;
pub use house::*;
pub use peer::*;
pub use pledge::*;
pub use row::{ChainStart, Fields, Row, count_on};
pub use seat::*;
pub use table::*;
