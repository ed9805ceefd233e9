//! The node and its snapshots: those that it takes, those that others ask for, and one at which its journal begins.

use engine::Height;
use engine::io::Input;
use engine::message::node::NodeMessage;
use storage::{Frame, FrameKind, SyncGroup};

use super::Node;
use crate::arriving::{Arriving, Turn};
use crate::clock::QUANTUM_MS;
use crate::serving::{Asked, Asker};
use crate::snapshots::SnapshotTurn;

impl Node {
    /// What other nodes say about snapshots goes from disk to disk, past the exchange.
    pub(super) fn hear_snapshots(&mut self) {
        let is_about = |input: &mut Input| match input {
            Input::Node { message, .. } => matches!(
                **message,
                NodeMessage::AskSnapshot(_) | NodeMessage::Snapshot(_) | NodeMessage::AskPart(_) | NodeMessage::Part(_)
            ),
            _ => false,
        };
        let heard: Vec<Input> = self.inputs.extract_if(.., is_about).collect();
        for input in heard {
            let Input::Node { from, message } = input else { continue };
            let asked = match *message {
                NodeMessage::AskSnapshot(height) => Asked::Snapshot(height),
                NodeMessage::AskPart(row) => Asked::Part(row),
                said => {
                    self.in_arrival(|arriving, turn| arriving.hear(from, said, turn));
                    continue;
                }
            };
            // Only what is on this disk is told: a crash may take back the rest, and whoever was told would have it alone.
            self.serving.ask(Asker::of(&self.machine, from), asked, self.standing.decided);
        }
    }

    fn in_arrival(&mut self, work: impl FnOnce(&mut Arriving, &mut Turn<'_>)) {
        let Some(arriving) = &mut self.arriving else { return };
        // Time is counted in ticks: a session that is stepped gives up a question at the same tick each time that it is
        // run.
        let now_ms = self.clock.tick().0 * QUANTUM_MS;
        let mut outputs = Vec::new();
        let (machine, snapshots, inputs) = (&self.machine, &mut self.snapshots, &mut self.inputs);
        work(arriving, &mut Turn { now_ms, machine, snapshots, outputs: &mut outputs, inputs });
        if let Some(network) = &mut self.network {
            network.send(&mut outputs);
        }
    }

    /// Fetches a snapshot where this session has nothing, and nobody has the first blocks any more. The journal begins at it
    /// once it is on disk.
    pub(super) fn arrive(&mut self) {
        let is_new = self.machine.chain().decided == Height::GENESIS;
        if self.arriving.is_none() && is_new && self.machine.past_is_gone() {
            self.arriving = self.arrival.take().map(Arriving::new);
        }
        // Whoever said that the first blocks are gone had no snapshot to show, and somebody had those blocks.
        if !is_new && self.arriving.as_ref().is_some_and(|arriving| !arriving.has_begun()) {
            self.arriving = None;
        }
        self.in_arrival(Arriving::turn);
        // Until a snapshot is proven, heights are asked for as well: a chain that is younger than its first one has nothing else.
        if self.arriving.as_ref().is_some_and(Arriving::has_begun) {
            self.machine.await_snapshot();
        }
        let Some(note) = self.arriving.as_ref().and_then(Arriving::arrived) else { return };
        if self.base.is_none() {
            // The tick that is under way may hand over a group under its own number, and numbers only grow.
            let id = self.clock.tick().0 + 1;
            let frame = Frame { kind: FrameKind::Base, height: note.height, body: note.encode() };
            self.storage.submit(SyncGroup { id, frames: vec![frame], ..SyncGroup::default() });
            self.base = Some(id);
        }
    }

    /// Whether the journal is about to begin at a snapshot: the node does nothing else any more.
    pub(super) fn take_arrived(&mut self) -> anyhow::Result<bool> {
        if self.base.is_some() {
            self.hear_disk(self.clock.at())?;
        }
        Ok(self.base.is_some())
    }

    /// Whether a snapshot of other nodes is on disk: whoever runs this node closes it and opens its session again.
    pub fn has_arrived(&self) -> bool {
        self.arrived
    }

    /// Gives the snapshot that is under way its share of the tick. One that is complete says which heights it needs.
    pub(super) fn snapshot(&mut self, settled: bool) {
        let snapshots = &mut self.snapshots;
        let taken = snapshots.counts.taken;
        let turn = SnapshotTurn { tick: self.clock.tick(), settled, on_disk: self.standing.settled };
        snapshots.turn(&mut self.machine, &self.throttle, turn);
        // What a start needs moves up with a snapshot that is on disk, and never before that.
        if let Some(height) = snapshots.needed_from().filter(|_| snapshots.counts.taken > taken) {
            self.storage.keep_from(height);
        }
    }
}
