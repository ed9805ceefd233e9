//! Delivering: what the tick gave out, to the connections it concerns.

use engine::PeerId;
use engine::io::{Input, Output, TableUpdate};
use engine::message::node::NodeMessage;

use super::{Counters, Host, Peer, SAMPLE, Stage};
use crate::server::lanes::Parcel;
use crate::server::peer::Open;
use crate::server::visitors::{Kind, Visit};
use crate::session::{Close, CloseCode};
use crate::wire::{AccountRow, Answer, AnswerVerdict, ToClient, encode_table};

impl Host {
    /// Gives out what the tick has given since the last turn.
    pub(super) fn deliver(&mut self) {
        let mut bytes = Vec::new();
        while let Ok(batch) = self.outputs.try_recv() {
            batch.outputs.into_iter().for_each(|output| self.give(output, &mut bytes));
            // Something that was watched changed, and nobody knows what: everyone who watches is told the whole again.
            if batch.missed {
                let now = self.now;
                self.each_open(|open| {
                    if !open.talk.watching().is_empty() {
                        open.updates.miss(now);
                    }
                    Ok(())
                });
            }
        }
        while let Some((since, peer)) = self.coalescing.take_due(self.now) {
            // Most have their receipts by now: their connection is not even looked at.
            if self.open_of(peer).is_some_and(|open| open.answers.release(since)) {
                self.to(peer, |_| Ok(()));
            }
        }
        let published = *self.common.published.borrow();
        // Steps are counted and not flagged: where the clock was set twice between two turns, it is told once, and
        // rightly.
        if std::mem::replace(&mut self.steps, published.steps) != published.steps {
            let message = ToClient::Standing(published.standing);
            // Nothing comes before the welcome, which says the same.
            self.each_open(|open| if open.has_joined { open.control(&message) } else { Ok(()) });
        }
        if self.now >= self.next.1 {
            self.next.1 = self.now + SAMPLE;
            self.sample();
        }
    }

    fn give(&mut self, output: Output, bytes: &mut Vec<u8>) {
        match output {
            Output::Receipt { to, receipt } => self.to(to, |open| open.answer(Answer::receipt(&receipt))),
            Output::Acknowledged { to, id } => {
                let acknowledged = Answer { id, verdict: AnswerVerdict::Acknowledged };
                // It is not counted for one that has left: a crowd that goes would make the acknowledgements of those
                // who stay wait.
                if self.common.slots.row(to).is_none() {
                    return;
                }
                if self.coalescing.count_and_defer(to, self.now) {
                    let now = self.now;
                    self.open_of(to).into_iter().for_each(|open| open.answers.hold(acknowledged, now));
                } else {
                    self.to(to, |open| open.answer(acknowledged));
                }
            }
            Output::Shed { to, id, reason } => {
                self.to(to, |open| open.answer(Answer { id, verdict: AnswerVerdict::Shed(reason) }));
            }
            Output::Table(update) => self.update_table(&update, bytes),
            Output::Account { to, key, height, account } => {
                bytes.clear();
                ToClient::Account(AccountRow { key, height, account: account.map(|account| *account) }).encode(bytes);
                self.update(to, bytes, false);
            }
            Output::Ban { peer, key, address, offence } => {
                Counters::add(&self.common.counters.banned, 1);
                self.common.admission.ban(key, address, self.now);
                let text = format!("too much of {}", offence.name());
                let visit = Visit { kind: Kind::Banned, reason: offence.name(), text: &text, address, key: Some(key) };
                self.common.visitors.note(self.now, &visit);
                if let Some(row) = self.common.slots.row(peer) {
                    self.put_out(row, &Close::new(CloseCode::Banned, text));
                }
            }
            // The node gave these to its disk before anything came here.
            Output::Decided(_) | Output::Settled(_) | Output::Log { .. } | Output::Evidence(_) => {}
            Output::Fence { .. } | Output::Serve { .. } | Output::Diverged(_) => {}
            Output::ToNode { to, message } => self.say(to, &message),
            // An alarm is for the operator, who finds it in the log.
            Output::Alarm(_) => {}
        }
    }

    /// Something is said to one node, or to all.
    fn say(&mut self, to: Option<PeerId>, message: &NodeMessage) {
        let (parcel, decided) = (Parcel::of(message, to.is_some()), self.common.standing().decided);
        let nodes: Vec<PeerId> = to.map_or_else(|| self.common.nodes.ids().collect(), |one| vec![one]);
        for node in nodes {
            let mut left_out = 0;
            self.to(node, |open| {
                left_out = open.lanes.as_mut().map_or(0, |lanes| lanes.say(&parcel, decided));
                Ok(())
            });
            Counters::add(&self.common.counters.lanes_left_out, left_out);
        }
    }

    fn update_table(&mut self, update: &TableUpdate, bytes: &mut Vec<u8>) {
        bytes.clear();
        encode_table(update, bytes);
        if let Some(peer) = update.to {
            return self.update(peer, bytes, false);
        }
        let thin = self.throttle.is_thin();
        // The list is copied: a watcher that is put out for not reading leaves it while it is gone through.
        let watchers = self.common.watchers.get(&update.id).cloned().unwrap_or_default();
        watchers.into_iter().for_each(|peer| self.update(peer, bytes, thin));
    }

    /// Something that a peer watches changed.
    fn update(&mut self, peer: PeerId, bytes: &[u8], thin: bool) {
        let (now, counters) = (self.now, std::sync::Arc::clone(&self.common.counters));
        self.to(peer, |open| {
            let has_room = open.updates.push(bytes, thin, now);
            if !matches!(has_room, Ok(true)) {
                Counters::add(&counters.updates_skipped, 1);
            }
            has_room.map(|_| ())
        });
    }

    fn open_of(&mut self, peer: PeerId) -> Option<&mut Open> {
        match &mut self.peers[self.common.slots.row(peer)?] {
            Some(Peer { stage: Stage::Open(open), .. }) => Some(open),
            _ => None,
        }
    }

    /// Does something to a connection that is open, and puts it out if that says so.
    fn to(&mut self, peer: PeerId, what: impl FnOnce(&mut Open) -> Result<(), Close>) {
        let Some(row) = self.common.slots.row(peer) else { return };
        let Some(Peer { stage: Stage::Open(open), .. }) = &mut self.peers[row] else { return };
        match what(open) {
            Ok(()) => self.quic.mark(row),
            Err(close) => self.put_out(row, &close),
        }
    }

    fn each_open(&mut self, mut what: impl FnMut(&mut Open) -> Result<(), Close>) {
        for row in 0..self.peers.len() {
            if let Some(Peer { stage: Stage::Open(open), .. }) = &self.peers[row] {
                self.to(open.id, &mut what);
            }
        }
    }

    /// The round trip of every connection, and for the nodes that opened one, where this one stands and whom it knows.
    fn sample(&mut self) {
        let standing = ToClient::Standing(self.common.standing());
        let known = self.common.records();
        for row in 0..self.peers.len() {
            let Some(Peer { stage: Stage::Open(open), .. }) = &self.peers[row] else { continue };
            let (peer, is_node) = (open.id, open.is_node);
            let Some(line) = self.quic.line(row) else { continue };
            let micros = u32::try_from(line.rtt().as_micros()).unwrap_or(u32::MAX);
            // A sample that the tick has no room for is not worth waiting for.
            let _ = self.common.events.try_send(Input::RoundTrip { peer, micros });
            if is_node {
                self.to(peer, |open| {
                    open.control(&standing)?;
                    if known.is_empty() { Ok(()) } else { open.control(&ToClient::Peers(known.clone())) }
                });
            }
        }
    }
}
