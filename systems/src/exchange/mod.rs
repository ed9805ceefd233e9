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
mod refused;
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

use bevy_ecs::schedule::Schedule;

use self::planted::Planted;
use crate::schedule::ScheduleBuilder;

pub use fault::ExchangeError;
pub use tick::{Clock, Inbox, Pending};

/// The schedule of a tick. The list, read from top to bottom, is what happens.
pub fn exchange_schedule<P: Planted>() -> Schedule {
    let mut schedule = ScheduleBuilder::beginning("hear_nodes")
        .then("hear_nodes", nodes::hear_nodes)
        .then("update_peers", peers::update_peers)
        .then("verify_messages", messages::verify_messages)
        .then("take_inputs", ingress::take_inputs::<P>)
        .then("verify_intents", verify::verify_intents)
        .then("take_pledges", pledges::take_pledges)
        .then("pass_on_intents", forward::pass_on_intents)
        .then("order_blocks", order::order_blocks::<P>)
        .then("make_beacons", beacon::make_beacons)
        .then("catch_up", catch_up::catch_up::<P>)
        .then("judge_peers", peers::judge_peers)
        .then("tell_watchers", watch::tell_watchers)
        .end();
    P::add_systems(&mut schedule);
    schedule
}
