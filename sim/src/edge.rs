//! A node's edge in the simulation: what goes out of a tick becomes bytes of messages, and bytes become what a tick takes
//! in. The encoders are those of sockets.

use std::cell::RefCell;
use std::rc::Rc;

use engine::io::{ChainProgress, Input, Output};
use engine::message::intent::Intent;
use engine::{Hash, PeerId};
use net::wire::{Answer, AnswerVerdict, Decoder, Hello, Role, ToClient, ToNode, WireError};
use node::edge::Edge;

use crate::network::End;

/// What lies between a node and the network.
#[derive(Default)]
pub struct Lines {
    /// What arrived and no tick took yet.
    pub inputs: Vec<Input>,
    /// What the node gave out and nobody carried away yet.
    pub outputs: Vec<Output>,
    /// Where the node says that its chain stands.
    pub standing: ChainProgress,
}

/// The node's side of its lines.
pub struct SimEdge(pub Rc<RefCell<Lines>>);

impl Edge for SimEdge {
    fn take_inputs(&mut self, inputs: &mut Vec<Input>) {
        inputs.append(&mut self.0.borrow_mut().inputs);
    }

    fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        self.0.borrow_mut().outputs.append(outputs);
        true
    }

    fn publish(&mut self, standing: ChainProgress) {
        self.0.borrow_mut().standing = standing;
    }

    fn close(self: Box<Self>) {}
}

/// The network key of whoever has a row.
pub fn network_key(slot: u32) -> [u8; 32] {
    let mut key = [0; 32];
    key[..4].copy_from_slice(&slot.to_le_bytes());
    key[31] = 1;
    key
}

/// The row of an end at a node: validators first, then players.
pub fn peer(end: End, nodes: u32) -> PeerId {
    let slot = match end {
        End::Node(slot) => slot,
        End::Player(player) => nodes + player,
    };
    PeerId { slot, generation: 0 }
}

/// Whose row it is.
pub fn end(peer: PeerId, nodes: u32) -> Option<End> {
    match peer {
        PeerId::NONE | PeerId::LOCAL => None,
        PeerId { slot, .. } if slot < nodes => Some(End::Node(slot)),
        PeerId { slot, .. } => Some(End::Player(slot - nodes)),
    }
}

/// What a player reads from a node's bytes.
///
/// # Errors
/// If they are no messages to a client.
pub fn read_answers(bytes: &[u8]) -> Result<Vec<Answer>, WireError> {
    let mut decoder = Decoder::for_updates(Role::Client);
    decoder.push(bytes);
    let mut answers = Vec::new();
    while let Some(message) = decoder.next_message()? {
        if let ToClient::Answers(some) = message {
            answers.extend(some);
        }
    }
    Ok(answers)
}

/// What a player's program sends: each letter is a connection of its own, which begins as every connection does.
pub fn letter(chain: Hash, intents: Vec<Intent>) -> Vec<u8> {
    let hello = Hello { chain: Some(chain), program: "sim".into(), role: Role::Client };
    let mut bytes = Vec::new();
    ToNode::Hello(hello).encode(&mut bytes);
    ToNode::Intents(intents).encode(&mut bytes);
    bytes
}

/// What a node reads from a player's bytes.
///
/// # Errors
/// If they are no messages to a node.
pub fn read_letter(from: PeerId, bytes: &[u8]) -> Result<Vec<Input>, WireError> {
    let mut decoder = Decoder::for_node();
    decoder.push(bytes);
    let mut inputs = Vec::new();
    while let Some(message) = decoder.next_message()? {
        if let ToNode::Intents(intents) = message {
            inputs.push(Input::Intents { from, intents });
        }
    }
    Ok(inputs)
}

/// What a node tells a player, as bytes; nothing if the output is for nobody out there.
pub fn to_player(output: &Output) -> Option<(PeerId, Vec<u8>)> {
    let (to, answer) = match output {
        Output::Receipt { to, receipt } => (*to, Answer::receipt(receipt)),
        Output::Acknowledged { to, id } => (*to, Answer { id: *id, verdict: AnswerVerdict::Acknowledged }),
        Output::Shed { to, id, reason } => (*to, Answer { id: *id, verdict: AnswerVerdict::Shed(*reason) }),
        _ => return None,
    };
    let mut bytes = Vec::new();
    ToClient::Answers(vec![answer]).encode(&mut bytes);
    Some((to, bytes))
}
