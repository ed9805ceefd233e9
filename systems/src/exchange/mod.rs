//! Exchange: what a node does every tick, before anything is settled.
//!
//! ```text
//!  inputs -> nodes -> peers, ingress -> verify -> pending -------> order ==decided==> (synced) -> beacon -> ready to settle
//!             |        answers: who waits for which receipt         |                              |
//!             messages -> tally, bodies, evidence ----------------- +        shares -------------- +    catch_up, watch
//! ```
//! One validator is the same exchange with a set of one. Nothing here is replicated. What must reach the disk or the players goes to the outbox.

pub mod sender;
mod trust;
pub mod lanes;
pub mod tick;
pub mod fault;
pub mod planted;

pub mod nodes;
pub mod peers;
pub mod messages;
pub mod tally;
pub mod bodies;
pub mod evidence;
pub mod ingress;
pub mod answers;
pub mod verify;
pub mod pledges;
pub mod forward;
pub mod order;
pub mod logged;
pub mod recover;
pub mod chain;
pub mod beacon;
pub mod catch_up;
pub mod watch;

use bevy_ecs::schedule::{IntoScheduleConfigs, Schedule};

use self::planted::Planted;

pub use fault::ExchangeError;
pub use tick::{Clock, Inbox, Pending};

/// The schedule of a tick. The list, read from top to bottom, is what happens.
pub fn exchange_schedule<P: Planted>() -> Schedule {
    let mut schedule = crate::schedule::chained();
    schedule.add_systems(
        (
            nodes::hear_nodes,
            peers::update_peers,
            messages::verify_messages,
            ingress::take_inputs::<P>,
            verify::verify_intents,
            pledges::take_pledges,
            forward::pass_on_intents,
            order::order_blocks::<P>,
            beacon::make_beacons,
            catch_up::catch_up::<P>,
            peers::judge_peers,
            watch::tell_watchers,
        )
            .chain(),
    );
    P::add_systems(&mut schedule);
    schedule
}
