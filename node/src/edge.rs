//! The two doors of a node: the network, and players of its own process.

use crossbeam_channel::Receiver;
use engine::io::{ChainProgress, Input, OrderProgress, Output, Receipt};
use engine::message::intent::Intent;
use engine::message::pledge::PledgeRow;
use net::server::Server;
use systems::Machine;
use tokio::time::Instant;

/// Where a node's inputs come from, and its outputs go to.
///
/// Other nodes are connections like any: [`Input::Joined`] says that one is a node, [`Input::Node`] what it said, and
/// [`Output::ToNode`] goes to one of them or to all. On the way it is bytes: [`net::wire::encode_node`] makes them, and
/// [`net::wire::Decoder::between_nodes`] reads them. What is handed to [`Edge::send`] may leave at once: a vote or a share
/// is handed over when what it says is on disk.
pub trait Edge {
    /// What arrived since the last time, in order; a bounded number. Returns whether it looked for intents: while very many arrive,
    /// only every fourth call does.
    fn take_inputs(&mut self, inputs: &mut Vec<Input>) -> bool;

    /// The intents alone that arrived since the last time, a bounded number: whatever else did stays where it is. One that has them in
    /// no queue of their own has none to give.
    fn take_intents(&mut self, _inputs: &mut Vec<Input>) {}

    /// Says, once, that something arrived on which a height may wait: where time is the wall's, a tick may begin for it
    /// before it is due.
    fn urgent(&self) -> Option<&Receiver<()>> {
        None
    }

    /// Gives outputs to those whom they concern, without waiting. Says whether everything is on its way.
    fn send(&mut self, outputs: &mut Vec<Output>) -> bool;

    /// Whether everything that was sent is on its way. While it is not, nothing more is taken from there.
    fn is_flowing(&mut self) -> bool {
        self.send(&mut Vec::new())
    }

    /// Says where the chain stands.
    fn publish(&mut self, standing: ChainProgress);

    /// Says what this node's part in the order of blocks is at.
    fn publish_order(&mut self, _order: OrderProgress) {}

    /// The clock was set: says to everyone who is connected where the chain stands and what time it is here.
    fn tell_time(&mut self, standing: ChainProgress) {
        self.publish(standing);
    }

    /// Tells everyone that the node ends.
    fn close(self: Box<Self>);
}

impl Edge for Server {
    fn take_inputs(&mut self, inputs: &mut Vec<Input>) -> bool {
        Server::take_inputs(self, inputs, Instant::now())
    }

    fn take_intents(&mut self, inputs: &mut Vec<Input>) {
        Server::take_intents(self, inputs);
    }

    fn urgent(&self) -> Option<&Receiver<()>> {
        Some(Server::urgent(self))
    }

    fn send(&mut self, outputs: &mut Vec<Output>) -> bool {
        Server::send(self, outputs)
    }

    fn publish(&mut self, standing: ChainProgress) {
        Server::publish(self, standing, Instant::now());
    }

    fn publish_order(&mut self, order: OrderProgress) {
        Server::publish_order(self, order);
    }

    fn tell_time(&mut self, standing: ChainProgress) {
        Server::tell_time(self, standing, Instant::now());
    }

    fn close(self: Box<Self>) {
        Server::close(*self);
    }
}

/// Players that live in the node's own process: they hold keys and sign intents, and use no other door than a client would.
pub trait LocalPlayers {
    /// The intents that the players send at `now_ms`, in milliseconds since the Unix epoch, after they looked at the tables.
    fn act(&mut self, machine: &mut Machine, now_ms: u64, start_ms: u64) -> Vec<Intent>;

    /// What the players pledge and open at `now_ms`, in milliseconds since the Unix epoch.
    fn pledge(&mut self, _machine: &mut Machine, _now_ms: u64) -> Vec<PledgeRow> {
        Vec::new()
    }

    /// Tells them of a receipt for one of them.
    fn hear(&mut self, receipt: &Receipt);
}
