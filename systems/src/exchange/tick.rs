//! What one tick has: its time, what came in, what waits for a block, what goes out.

use std::collections::VecDeque;

use bevy_ecs::resource::Resource;
use engine::io::{Input, Offence, Output, Receipt, ShedReason, Verdict};
use engine::message::intent::Intent;
use engine::message::refusal::Refusal;
use engine::{Height, PeerId, Tick};

/// The time of this tick: the only clock there is.
#[derive(Resource, Clone, Copy, Default, Debug)]
pub struct Clock {
    /// The tick.
    pub tick: Tick,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// What came in for this tick.
#[derive(Resource, Default)]
pub struct Inbox {
    /// As it arrived.
    pub inputs: Vec<Input>,
    /// Intents of well-formed bodies, to be verified.
    pub intents: Vec<Intent>,
    /// Who sent each of them.
    pub senders: Vec<PeerId>,
    /// What peers did that they may not do.
    pub offences: Vec<(PeerId, Offence)>,
    /// Who wants to watch what, and who left.
    pub watches: Vec<Input>,
    /// No intents are taken any more: the node ends.
    pub closed: bool,
    /// The last group that is on disk.
    pub synced: u64,
}

/// Verified intents that wait for a block. Bounded: what does not fit is shed and counted.
#[derive(Resource, Default)]
pub struct Pending {
    /// In order of arrival.
    pub queue: VecDeque<Intent>,
    /// Intents since the start that this node did not take.
    pub shed: u64,
}

/// What goes out of this tick.
#[derive(Resource, Default)]
pub struct Outbox {
    /// In the order in which it came about.
    pub outputs: Vec<Output>,
}

impl Outbox {
    pub(super) fn refuse(&mut self, to: PeerId, intent: &Intent, refusal: Refusal) {
        let verdict = Verdict::Refused(refusal);
        let receipt = Receipt { id: intent.id(), height: Height::GENESIS, index: 0, verdict };
        self.outputs.push(Output::Receipt { to, receipt });
    }

    pub(super) fn acknowledge(&mut self, to: PeerId, intent: &Intent) {
        self.outputs.push(Output::Acknowledged { to, id: intent.id() });
    }

    pub(super) fn shed(&mut self, to: PeerId, intent: &Intent, reason: ShedReason) {
        self.outputs.push(Output::Shed { to, id: intent.id(), reason });
    }
}
