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

use bevy_ecs::schedule::{IntoScheduleConfigs, Schedule};

/// The schedule of a settled height. The list, read from top to bottom, is what happens.
pub fn settle_schedule() -> Schedule {
    let mut schedule = crate::schedule::chained();
    schedule.add_systems(
        (
            turns::note_failed_rounds,
            intake::apply_intents,
            roll::roll_dice,
            openings::attend_pledged_tables,
            felt::note_felt,
            resolve::resolve_bets,
            crossing::settle_accounts,
            idle::free_idle_accounts,
            invariants::check_invariants,
            root::update_root,
        )
            .chain(),
    );
    schedule
}
