//! Forward: intents that entered here go to the other nodes, which may propose before this one does.
//!
//! One hop, from the node that a client is connected to, in one order for each pair of nodes. Whoever receives them passes
//! them on to nobody.

use bevy_ecs::system::{Res, ResMut};
use engine::limits::NODE_INTENTS_MAX;
use engine::message::intent::Intent;
use engine::message::node::NodeMessage;

use super::answers::Answers;
use super::nodes::Nodes;
use super::order::Orderer;
use super::sender::Origin;
use super::tick::{Inbox, Outbox, Pending};

/// System: passes on what entered here and was verified in this tick. A node that votes on nothing tells those that connect
/// what entered before and is in no block yet: whoever heard it may be gone since, and it can propose nothing itself.
pub fn pass_on_intents(
    orderer: Res<'_, Orderer>,
    nodes: Res<'_, Nodes>,
    answers: Res<'_, Answers>,
    pending: Res<'_, Pending>,
    mut inbox: ResMut<'_, Inbox>,
    mut outbox: ResMut<'_, Outbox>,
) {
    assert!(outbox.is_heard || inbox.accepted.is_empty(), "nothing is kept to be passed on where nobody hears it");
    for intents in inbox.accepted.chunks(NODE_INTENTS_MAX) {
        outbox.tell(NodeMessage::Intents(intents.to_vec()));
    }
    inbox.accepted.clear();
    // A validator proposes itself what others did not hear.
    if nodes.joined.is_empty() || orderer.is_voting() {
        return;
    }
    let entered = pending.queue.iter().filter(|waiting| waiting.origin == Origin::Here).map(|waiting| waiting.intent);
    let open: Vec<Intent> = entered.filter(|intent| answers.is_open(&intent.id())).collect();
    for peer in &nodes.joined {
        for intents in open.chunks(NODE_INTENTS_MAX) {
            outbox.tell_one(*peer, NodeMessage::Intents(intents.to_vec()));
        }
    }
}
