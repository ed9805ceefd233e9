//! What happens, as plain functions in the order in which data meets them.
//!
//! ```text
//!  ingress -> verify -> order -> beacon                             (the exchange schedule: every tick of a validator)
//!  intake -> roll -> resolve -> settle -> invariants -> root      (the settle schedule: one decided height)
//! ```
//! No IO, no clock, no threads of its own: blocks, beacons and time come in, receipts and roots go out.

pub mod catalogue;
pub mod odds;

pub mod state;

pub mod exchange;
pub mod settle;

pub mod schedule;

pub mod machine;

pub use catalogue::Catalogue;
pub use machine::Machine;
pub use schedule::chained;
pub use settle::block::{Counts, Draw, FeltBet, Report};
pub use state::setup::Setup;

// The modules that other crates reach into.
pub use settle::ledger;
pub use state::{activity, check_rows, snapshot};
