//! Forward: intents that entered here go to the other nodes, which may propose before this one does.
//!
//! One hop, from the node that a client is connected to, in one order for each pair of nodes. Whoever receives them passes
//! them on to nobody.

use bevy_ecs::system::ResMut;
use engine::limits::NODE_INTENTS_MAX;
use engine::message::node::NodeMessage;

use super::tick::{Inbox, Outbox};

/// System: passes on what entered here and was verified in this tick.
pub fn pass_on_intents(mut inbox: ResMut<'_, Inbox>, mut outbox: ResMut<'_, Outbox>) {
    for intents in inbox.accepted.chunks(NODE_INTENTS_MAX) {
        outbox.tell(NodeMessage::Intents(intents.to_vec()));
    }
    inbox.accepted.clear();
}
