//! Settle: what one decided height does to the state, once its beacon is known.
//!
//! ```text
//!  intake -> roll, openings -> resolve -> crossing -> idle -> invariants -> root
//! ```

pub mod block;
pub mod mark;

pub mod intake;
pub mod roll;
pub mod openings;
pub mod felt;
pub mod resolve;
pub mod crossing;
pub mod idle;
pub mod turns;
pub mod invariants;
pub mod root;

pub mod ledger;

use bevy_ecs::schedule::Schedule;

use crate::schedule::ScheduleBuilder;

/// The schedule of a settled height. The list, read from top to bottom, is what happens.
pub fn settle_schedule() -> Schedule {
    ScheduleBuilder::beginning("note_failed_rounds")
        .then("note_failed_rounds", turns::note_failed_rounds)
        .then("apply_intents", intake::apply_intents)
        .then("roll_dice", roll::roll_dice)
        .then("attend_pledged_tables", openings::attend_pledged_tables)
        .then("note_felt", felt::note_felt)
        .then("resolve_bets", resolve::resolve_bets)
        .then("settle_accounts", crossing::settle_accounts)
        .then("free_idle_accounts", idle::free_idle_accounts)
        .then("check_invariants", invariants::check_invariants)
        .then("update_root", root::update_root)
        .end()
}
