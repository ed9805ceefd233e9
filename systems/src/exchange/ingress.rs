//! Ingress: what came in, sorted.

use std::collections::BTreeMap;

use bevy_ecs::system::{Res, ResMut};
use engine::Height;
use engine::io::{Input, Output, ShedReason};
use engine::message::intent::{Expiry, Intent, is_past};
use engine::message::node::NodeMessage;
use engine::message::refusal::Refusal;

use super::answers::{Answers, Known};
use super::chain::Chain;
use super::nodes::Nodes;
use super::order::Orderer;
use super::planted::Planted;
use super::sender::{Origin, Sender};
use super::tick::{Clock, Inbox, Outbox, Pending};

/// System: sorts what came in. An intent that is known is answered as before; malformed and untimely ones are turned
/// away, and what would overfill the queue is shed. The rest goes on to be verified.
pub fn take_inputs<P: Planted>(
    clock: Res<'_, Clock>,
    chain: Res<'_, Chain>,
    nodes: Res<'_, Nodes>,
    orderer: Res<'_, Orderer>,
    mut inbox: ResMut<'_, Inbox>,
    mut answers: ResMut<'_, Answers>,
    mut pending: ResMut<'_, Pending>,
    mut outbox: ResMut<'_, Outbox>,
) {
    let Inbox { inputs, intents, senders, pledges, synced, watches, closed, .. } = &mut *inbox;
    intents.clear();
    senders.clear();
    let mut taking = Taking {
        clock: *clock,
        parent_ms: chain.parent_time_ms,
        settled: (chain.settled, chain.settled_time_ms()),
        closed: *closed,
        taken: BTreeMap::new(),
        room: 0,
        answers: &mut answers,
        pending: &mut pending,
        outbox: &mut outbox,
        intents,
        senders,
    };
    let validators = orderer.validators.count();
    for input in inputs.drain(..) {
        match input {
            Input::Synced { group } => *synced = group.max(*synced),
            Input::Watch { .. } | Input::Left(_) => watches.push(input),
            Input::Intents { from, intents: arrived } => {
                taking.all::<P>(Sender { peer: from, origin: Origin::Here }, arrived, validators);
            }
            Input::Pledges { from, pledges: rows } => {
                let sender = Sender { peer: from, origin: Origin::Here };
                pledges.extend(rows.into_iter().map(|row| (sender, row)));
            }
            // One that only follows proposes nothing, and passes on what entered here only. One that listens proposes soon.
            Input::Node { from, message } if orderer.knows_its_votes() => {
                let origin = nodes.validator(from).map_or(Origin::Follower, Origin::Validator);
                let sender = Sender { peer: from, origin };
                match *message {
                    NodeMessage::Intents(arrived) => taking.all::<P>(sender, arrived, validators),
                    NodeMessage::Pledges(rows) => pledges.extend(rows.into_iter().map(|row| (sender, row))),
                    // What else there is was taken by `hear_nodes`.
                    _ => {}
                }
            }
            // And by `update_peers`.
            Input::Node { .. } => {}
            Input::Joined { .. } | Input::Offended { .. } | Input::Told { .. } | Input::RoundTrip { .. } => {}
        }
    }
    assert_eq!(taking.intents.len(), taking.senders.len(), "every intent that goes on has a sender");
}

/// What becomes of an intent that came in.
enum Judgement {
    /// It goes on to be verified.
    Taken,
    /// No block may have it, which its sender hears as a block would say it.
    Refused(Refusal),
    /// The chain's time has passed its expiry.
    Expired,
    /// This node does not take it now.
    Shed(ShedReason),
}

struct Taking<'a> {
    clock: Clock,
    /// The time of the last decided block.
    parent_ms: u64,
    /// The last settled height, and its block's time.
    settled: (Height, u64),
    closed: bool,
    /// How many of this tick's intents go on to be verified, by origin.
    taken: BTreeMap<Origin, usize>,
    /// How many more intents of the present sender's origin may wait.
    room: usize,
    answers: &'a mut Answers,
    pending: &'a mut Pending,
    outbox: &'a mut Outbox,
    intents: &'a mut Vec<Intent>,
    senders: &'a mut Vec<Sender>,
}

impl Taking<'_> {
    fn all<P: Planted>(&mut self, sender: Sender, arrived: Vec<Intent>, validators: usize) {
        let (origin, tick) = (sender.origin, self.clock.tick);
        let taken = self.taken.get(&origin).copied().unwrap_or_default();
        // Those taken in this tick are not in the queue yet: they are verified first.
        let places = self.pending.room(origin, validators).saturating_sub(taken);
        self.room = places.min(self.pending.trust.left(&sender, tick));
        let (before, room) = (self.senders.len(), self.room);
        arrived.into_iter().for_each(|intent| self.one::<P>(sender, intent));
        let count = self.senders.len() - before;
        assert_eq!(self.intents.len(), self.senders.len(), "every intent that goes on has a sender");
        assert_eq!(self.room + count, room, "every intent that goes on takes a place");
        assert!(count <= places, "no more go on than may wait");
        *self.taken.entry(origin).or_default() += count;
        self.pending.trust.look(&sender, count, tick);
    }

    fn one<P: Planted>(&mut self, sender: Sender, intent: Intent) {
        let (from, here) = (sender.peer, sender.origin == Origin::Here);
        if intent.body.check_form().is_err() {
            return self.turn_away(sender, &intent, ShedReason::Malformed);
        }
        match self.answers.look_up(&intent) {
            // Its client was told that it is refused, and hears of nothing that becomes of it now.
            Known::New if self.answers.is_late_copy(&intent, &sender) => return,
            Known::New => {}
            // Only who asks here is answered here.
            _ if !here => return,
            Known::Answered(receipt) => return self.outbox.outputs.push(Output::Receipt { to: from, receipt }),
            Known::NumberWaits => return self.turn_away(sender, &intent, ShedReason::NumberWaits),
            Known::Waits => {
                if let Some(before) = self.answers.redirect(&intent, from) {
                    self.outbox.shed(before, &intent, ShedReason::Moved);
                }
                return self.outbox.acknowledge(from, &intent);
            }
        }
        match self.judge::<P>(&intent) {
            Judgement::Taken => {
                self.room -= 1;
                self.intents.push(intent);
                self.senders.push(sender);
            }
            Judgement::Refused(refusal) if here => self.outbox.refuse(from, &intent, refusal),
            Judgement::Expired if here => self.outbox.expire(from, intent.id(), self.settled.0),
            Judgement::Refused(_) | Judgement::Expired => {}
            Judgement::Shed(reason) => self.turn_away(sender, &intent, reason),
        }
    }

    /// What becomes of an intent of which nothing is known, or that may be tried again.
    fn judge<P: Planted>(&self, intent: &Intent) -> Judgement {
        let (by_clock, by_chain) = (intent.body.expiry(self.clock.now_ms), intent.body.expiry(self.parent_ms + 1));
        if P::EXPIRED_BY_CLOCK && by_clock == Expiry::Passed {
            return Judgement::Refused(Refusal::Expired);
        }
        // Every block to come has a time above its parent's: none that this node makes now could take it.
        if by_clock == Expiry::Within && by_chain == Expiry::Passed {
            return Judgement::Shed(ShedReason::ClockBehind);
        }
        // Only the time of a settled block ends an intent: a copy of it may be in a block that others decide. One that is
        // late by this node's clock alone is taken, goes into no block, and waits until the chain says so.
        if is_past(intent.body.expiry_s, self.settled.1) {
            return Judgement::Expired;
        }
        if by_clock == Expiry::TooFar {
            return Judgement::Refused(Refusal::ExpiresTooLate);
        }
        if self.closed {
            return Judgement::Shed(ShedReason::Closed);
        }
        // Nor is there room for those after it, which may build on it.
        if self.room == 0 {
            return Judgement::Shed(ShedReason::Busy);
        }
        Judgement::Taken
    }

    fn turn_away(&mut self, sender: Sender, intent: &Intent, reason: ShedReason) {
        self.pending.shed += 1;
        if sender.origin == Origin::Here {
            self.outbox.shed(sender.peer, intent, reason);
        }
    }
}
