//! What happens, as plain functions in the order in which data meets them.
//!
//! ```text
//!  ingress -> verify -> order -> beacon                             (the exchange schedule: every tick of a validator)
//!  intake -> roll -> resolve -> settle -> invariants -> root      (the settle schedule: one decided height)
//! ```
//! No IO, no clock, no threads of its own: blocks, beacons and time come in, receipts and roots go out.

pub mod accounts;
pub mod activity;
pub mod block;
pub mod catalogue;
mod chunk;
pub mod due;
pub mod exchange;
pub mod intake;
pub mod invariants;
pub mod ledger;
pub mod machine;
pub mod mark;
pub mod odds;
pub mod resolve;
pub mod roll;
pub mod seats;
pub mod settle;
pub mod setup;
pub mod snapshot;

pub use block::{Counts, Draw, Report};
pub use catalogue::Catalogue;
pub use machine::Machine;
pub use setup::Setup;
