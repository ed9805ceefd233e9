//! What one tick has: its time, what came in, what waits for a block, what goes out.

use std::collections::{BTreeMap, VecDeque};

use bevy_ecs::resource::Resource;
use engine::io::{Input, Offence, Output, Receipt, ShedReason, Verdict};
use engine::limits::{FOREIGN_MAX, NODE_INTENTS_MAX, PENDING_MAX, TICK_MS, UNPROVEN_MAX, VALIDATORS_MAX};
use engine::message::intent::{Intent, IntentId};
use engine::message::node::NodeMessage;
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;
use engine::{Height, PeerId, Tick};

use super::lanes::PledgeLanes;
use super::sender::{Origin, Sender};
use super::trust::Trust;

// Whoever passes intents on is not told which were dropped: a share that holds none would lose them all.
const _: () = assert!(FOREIGN_MAX / VALIDATORS_MAX as usize > 0);
const _: () = assert!(UNPROVEN_MAX >= NODE_INTENTS_MAX as u64, "a first message is looked at whole");

/// The time of this tick: the only clock there is.
#[derive(Resource, Clone, Copy, Default, Debug)]
pub struct Clock {
    /// The tick.
    pub tick: Tick,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

impl Clock {
    /// Milliseconds of ticks: what timers run on. The wall's clock may be set back or far ahead; ticks go on.
    pub fn elapsed_ms(&self) -> u64 {
        self.tick.0 * TICK_MS
    }
}

/// What came in for this tick.
#[derive(Resource, Default)]
pub struct Inbox {
    /// As it arrived.
    pub inputs: Vec<Input>,
    /// Intents of well-formed bodies, to be verified.
    pub intents: Vec<Intent>,
    /// Who sent each of them.
    pub senders: Vec<Sender>,
    /// Pledges and openings of well-formed bodies, to be verified, and who sent each.
    pub pledges: Vec<(Sender, PledgeRow)>,
    /// Those that entered here, verified, and are passed on to the other nodes.
    pub accepted: Vec<Intent>,
    /// What peers did that they may not do.
    pub offences: Vec<(PeerId, Offence)>,
    /// Who wants to watch what, and who left.
    pub watches: Vec<Input>,
    /// No intents are taken any more: the node ends.
    pub closed: bool,
    /// The last group that is on disk.
    pub synced: u64,
}

/// A verified intent that waits for a block.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Its signature was verified.
    pub intent: Intent,
    /// Where it entered.
    pub origin: Origin,
}

/// Verified intents that wait for a block. Bounded for each origin: what does not fit is shed and counted.
#[derive(Resource, Default)]
pub struct Pending {
    /// In order of arrival.
    pub queue: VecDeque<Waiting>,
    /// How many of them entered elsewhere, by origin.
    foreign: BTreeMap<Origin, usize>,
    /// How many more of those are looked at.
    pub(crate) trust: Trust,
    /// Intents since the start that this node did not take.
    pub shed: u64,
    /// Pledges and openings, in lanes of their own: no flood of intents keeps an opening from its deadline.
    pub pledges: PledgeLanes,
}

impl Pending {
    /// How many intents of an origin may wait beside those that do.
    pub(super) fn room(&self, origin: Origin, validators: usize) -> usize {
        let foreign: usize = self.foreign.values().sum();
        assert!(foreign <= self.queue.len(), "what entered elsewhere is counted once");
        match origin {
            // What came from other nodes is left out of the count: their flood must not take the room of this node's
            // clients.
            Origin::Here => PENDING_MAX.saturating_sub(self.queue.len() - foreign),
            _ => {
                (FOREIGN_MAX / validators.max(1)).saturating_sub(self.foreign.get(&origin).copied().unwrap_or_default())
            }
        }
    }

    pub(super) fn push(&mut self, intent: Intent, origin: Origin) {
        if origin != Origin::Here {
            *self.foreign.entry(origin).or_default() += 1;
        }
        self.queue.push_back(Waiting { intent, origin });
        // Each validator has a share of the foreign ones, and so have those that follow: one share more than validators.
        assert!(self.queue.len() <= PENDING_MAX + 2 * FOREIGN_MAX, "what others make a node hold is bounded");
    }

    /// Lets those go that need not wait any more.
    pub(crate) fn retain(&mut self, mut waits: impl FnMut(&Intent) -> bool) {
        let Self { queue, foreign, .. } = self;
        queue.retain(|waiting| {
            let stays = waits(&waiting.intent);
            if !stays && let Some(count) = foreign.get_mut(&waiting.origin) {
                assert!(*count > 0, "whatever leaves was counted when it came");
                *count -= 1;
            }
            stays
        });
        assert!(foreign.values().sum::<usize>() <= queue.len(), "what entered elsewhere is counted once");
    }
}

/// What goes out of this tick.
#[derive(Resource, Default)]
pub struct Outbox {
    /// In the order in which it came about.
    pub outputs: Vec<Output>,
    /// Another node is connected.
    pub is_heard: bool,
}

impl Outbox {
    /// Says something to every other node, if there is one.
    pub(super) fn tell(&mut self, message: NodeMessage) {
        if self.is_heard {
            self.outputs.push(Output::ToNode { to: None, message: Box::new(message) });
        }
    }

    /// Says something to one node.
    pub(super) fn tell_one(&mut self, to: PeerId, message: NodeMessage) {
        self.outputs.push(Output::ToNode { to: Some(to), message: Box::new(message) });
    }

    pub(super) fn refuse(&mut self, to: PeerId, intent: &Intent, refusal: Refusal) {
        let verdict = Verdict::Refused(refusal);
        let receipt = Receipt { id: intent.id(), height: Height::GENESIS, index: 0, verdict };
        self.outputs.push(Output::Receipt { to, receipt });
    }

    /// The time of a settled block has passed the intent's expiry.
    pub(crate) fn expire(&mut self, to: PeerId, id: IntentId, height: Height) {
        let verdict = Verdict::Refused(Refusal::Expired);
        self.outputs.push(Output::Receipt { to, receipt: Receipt { id, height, index: 0, verdict } });
    }

    pub(super) fn acknowledge(&mut self, to: PeerId, intent: &Intent) {
        self.outputs.push(Output::Acknowledged { to, id: intent.id() });
    }

    pub(super) fn shed(&mut self, to: PeerId, intent: &Intent, reason: ShedReason) {
        self.shed_id(to, intent.id(), reason);
    }

    pub(super) fn shed_id(&mut self, to: PeerId, id: IntentId, reason: ShedReason) {
        self.outputs.push(Output::Shed { to, id, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    fn intent(number: u64) -> Intent {
        let mut intent = Intent::zeroed();
        intent.body.number = number;
        intent
    }

    #[test]
    fn what_enters_elsewhere_takes_no_room_from_others() {
        let mut pending = Pending::default();
        let share = FOREIGN_MAX / 4;
        assert_eq!(pending.room(Origin::Validator(2), 4), share);
        (0..share as u64).for_each(|number| pending.push(intent(number), Origin::Validator(2)));
        assert_eq!(pending.room(Origin::Validator(2), 4), 0);
        assert_eq!(pending.room(Origin::Validator(3), 4), share);
        assert_eq!(pending.room(Origin::Follower, 4), share);
        assert_eq!(pending.room(Origin::Here, 4), PENDING_MAX);
        pending.push(intent(1 << 40), Origin::Here);
        assert_eq!(pending.room(Origin::Here, 4), PENDING_MAX - 1);
        pending.retain(|intent| intent.body.number >= 100);
        assert_eq!(pending.room(Origin::Validator(2), 4), 100);
        assert_eq!(pending.queue.len(), share - 100 + 1);
    }
}
