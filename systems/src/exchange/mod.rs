//! Exchange: what a validator does every tick, before anything is settled.
//!
//! ```text
//!  inputs -> peers, ingress -> verify -> pending -> order ==decided==> (synced) -> beacon -> ready to settle
//!             |  answers: who waits for which receipt                          watch: what changed, for those who look on
//! ```
//! Nothing here is replicated. What must reach the disk or the players goes to the outbox.

pub mod tick;

pub mod peers;
pub mod ingress;
pub mod answers;
pub mod verify;
pub mod order;
pub mod chain;
pub mod beacon;
pub mod watch;

use bevy_ecs::schedule::{IntoScheduleConfigs, Schedule};

pub use tick::{Clock, Inbox, Pending};

/// The schedule of a tick. The list, read from top to bottom, is what happens.
pub fn exchange_schedule() -> Schedule {
    let mut schedule = crate::schedule::chained();
    schedule.add_systems(
        (
            peers::update_peers,
            ingress::take_inputs,
            verify::verify_intents,
            peers::judge_peers,
            order::order_blocks,
            beacon::make_beacons,
            watch::tell_watchers,
        )
            .chain(),
    );
    schedule
}
