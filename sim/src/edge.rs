//! A node's edge in the simulation: what goes out of a tick becomes bytes of messages, and bytes become what a tick takes
//! in. The encoders are those of sockets.

use std::cell::RefCell;
use std::rc::Rc;

use engine::io::{ChainProgress, Input, Output};
use engine::message::intent::Intent;
use engine::message::node::NodeMessage;
use engine::message::pledge::PledgeRow;
use engine::{Hash, PeerId};
use net::wire::{Answer, AnswerVerdict, Decoder, Hello, Role, ToClient, ToNode, WireError, encode_node};
use node::edge::Edge;

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
    fn take_inputs(&mut self, inputs: &mut Vec<Input>) -> bool {
        inputs.append(&mut self.0.borrow_mut().inputs);
        true
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

/// The network key of a node: what its connections prove.
pub fn network_key(node: u32) -> [u8; 32] {
    *blake3::hash(&node.to_le_bytes()).as_bytes()
}

/// The row of a player at a node: nodes come first.
pub fn player_peer(player: u32, nodes: u32) -> PeerId {
    PeerId { slot: nodes + player, generation: 0 }
}

/// Which player's row it is.
pub fn player(peer: PeerId, nodes: u32) -> Option<u32> {
    if matches!(peer, PeerId::NONE | PeerId::LOCAL) { None } else { peer.slot.checked_sub(nodes) }
}

/// What a node says to another, as bytes.
pub fn to_node(message: &NodeMessage) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_node(message, &mut bytes);
    bytes
}

/// What a node reads from another's bytes.
///
/// # Errors
/// If they are no messages between nodes.
pub fn read_node(bytes: &[u8]) -> Result<Vec<NodeMessage>, WireError> {
    let mut decoder = Decoder::between_nodes();
    decoder.push(bytes);
    let mut messages = Vec::new();
    while let Some(message) = decoder.next_message()? {
        messages.push(message);
    }
    Ok(messages)
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
pub fn letter(chain: Hash, intents: Vec<Intent>, pledges: Vec<PledgeRow>) -> Vec<u8> {
    let hello = Hello { chain: Some(chain), program: "sim".into(), role: Role::Client };
    let mut bytes = Vec::new();
    ToNode::Hello(hello).encode(&mut bytes);
    if !intents.is_empty() {
        ToNode::Intents(intents).encode(&mut bytes);
    }
    if !pledges.is_empty() {
        ToNode::Pledges(pledges).encode(&mut bytes);
    }
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
        match message {
            ToNode::Intents(intents) => inputs.push(Input::Intents { from, intents }),
            ToNode::Pledges(pledges) => inputs.push(Input::Pledges { from, pledges }),
            _ => {}
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
