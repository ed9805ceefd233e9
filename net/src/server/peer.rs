//! Peer: one connection as the server knows it, from the moment it was let in.

use std::collections::VecDeque;
use std::time::Duration;

use crossbeam_channel::Sender;
use engine::PeerId;
use engine::io::Input;
use quinn_proto::ConnectionError;

use super::admission::Allowance;
use super::lanes::Lanes;
use super::nodes::Candidate;
use super::outbox::{Answers, BEHIND, Updates};
use super::talk::Talk;
use crate::session::{Close, CloseCode, Event};
use crate::tls::Key;
use crate::wire::{Answer, ToClient};

/// A connection that was let in, with what it may hold.
pub(super) struct Peer {
    pub(super) address: [u8; 16],
    pub(super) allowed: Allowance,
    /// Its handshake may have been begun in another's name, as long as that has not ended.
    pub(super) is_unproven: bool,
    /// Whom this node dialled, if the connection is its own.
    pub(super) dialled: Option<Candidate>,
    pub(super) stage: Stage,
}

/// How far a connection has come.
pub(super) enum Stage {
    /// Its handshake must end by then.
    Handshake(Duration),
    /// Its key is proven.
    Open(Box<Open>),
}

/// A connection whose key is proven.
pub(super) struct Open {
    pub(super) id: PeerId,
    pub(super) key: Key,
    pub(super) talk: Talk,
    /// Whether the tick knows of it.
    pub(super) has_joined: bool,
    /// Another node at the other end, whichever side opened the connection.
    pub(super) is_node: bool,
    /// What goes between nodes, if the other node is allowed that.
    pub(super) lanes: Option<Box<Lanes>>,
    /// It is one of the nodes that nobody told this one of, and is counted among those.
    pub(super) is_follower: bool,
    /// Whether the peer's stream may have something to be read.
    pub(super) is_readable: bool,
    pub(super) answers: Answers,
    pub(super) updates: Updates,
    pub(super) untold: Untold,
    /// What was heard and not taken, since the tick had no room for what came before.
    pub(super) unheard: VecDeque<Event>,
    /// How QUIC lost the connection, once it has.
    pub(super) broke: Option<ConnectionError>,
    /// How the connection ends once all that was heard is taken.
    pub(super) ending: Option<Result<(), Close>>,
    /// A node that was dialled: when it is told again where this one stands, and since when it is told.
    pub(super) telling: (Duration, Option<Duration>),
    /// What was counted as held.
    pub(super) counted: usize,
}

impl Open {
    /// A connection that has just been shaken hands over.
    pub(super) fn new(id: PeerId, key: Key, talk: Talk, now: Duration) -> Self {
        let is_dialled = talk.is_dialled();
        Self {
            id,
            key,
            talk,
            has_joined: is_dialled,
            is_node: is_dialled,
            lanes: None,
            is_follower: false,
            is_readable: false,
            answers: Answers::default(),
            updates: Updates::default(),
            untold: Untold::default(),
            unheard: VecDeque::new(),
            broke: None,
            ending: None,
            telling: (now, None),
            counted: 0,
        }
    }

    /// Bytes that wait in this process for the connection, to be read or to be written.
    pub(super) fn held_bytes(&self) -> usize {
        let lanes = self.lanes.as_ref().map_or(0, |lanes| lanes.held_bytes());
        self.talk.unfinished() + self.answers.held_bytes() + self.updates.held_bytes() + lanes
    }

    /// When something is due though nothing arrives.
    pub(super) fn due(&self) -> Option<Duration> {
        let telling = match self.telling {
            _ if !self.talk.is_dialled() => None,
            (_, Some(since)) => Some(since + BEHIND),
            (next, None) => Some(next),
        };
        let lanes = self.lanes.as_ref().and_then(|lanes| lanes.due());
        // Whoever is not heard cannot end a message: it has time to read instead.
        let said = self.answers.patience().or_else(|| self.talk.deadline());
        said.into_iter().chain(telling).chain(lanes).chain(self.updates.due()).min()
    }

    /// Whether the tick has no room for what this connection has to tell it: nothing more is read meanwhile.
    pub(super) fn is_stalled(&self) -> bool {
        !self.untold.0.is_empty()
    }

    /// A message that goes before all answers. A node that this one dialled is told what it is told by whoever dialled it.
    ///
    /// # Errors
    /// If the peer does not read them.
    pub(super) fn control(&mut self, message: &ToClient) -> Result<(), Close> {
        if self.talk.is_dialled() { Ok(()) } else { self.answers.control(message) }
    }

    /// An answer to an intent.
    ///
    /// # Errors
    /// If the peer does not read them.
    pub(super) fn answer(&mut self, answer: Answer) -> Result<(), Close> {
        self.talk.answered(&answer);
        self.answers.answer(answer)
    }
}

/// What the tick must be told and had no room for.
#[derive(Default)]
pub(super) struct Untold(VecDeque<Input>);

impl Untold {
    /// Gives the tick an input that must not be lost: it waits while the tick is behind.
    pub(super) fn tell(&mut self, input: Input, events: &Sender<Input>) {
        // The input goes straight to the tick, which nearly always has room: a queue for one would cost each connection
        // a kilobyte.
        // What waits goes first: the tick must not hear that a peer has left before it hears that it came.
        if !self.flush(events) {
            self.0.push_back(input);
        } else if let Err(full) = events.try_send(input)
            && full.is_full()
        {
            self.0.push_back(full.into_inner());
        }
    }

    /// Whether the tick does not know yet that the peer has joined, which is the first that it is told.
    pub(super) fn holds_joined(&self) -> bool {
        matches!(self.0.front(), Some(Input::Joined { .. }))
    }

    /// Gives the tick what it has room for. Says whether that was all.
    pub(super) fn flush(&mut self, events: &Sender<Input>) -> bool {
        while let Some(input) = self.0.pop_front() {
            // A tick that is gone needs no input.
            if let Err(full) = events.try_send(input)
                && full.is_full()
            {
                self.0.push_front(full.into_inner());
                return false;
            }
        }
        true
    }
}

/// A peer that did not say in time what it had to.
pub(super) fn late(what: &str, patience: Duration) -> Close {
    Close::new(CloseCode::Timeout, format!("no {what} within {} ms", patience.as_millis()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_tick_has_no_room_for_waits_in_its_order() {
        let (events, tick) = crossbeam_channel::bounded(2);
        let input = |slot| Input::Left(PeerId { slot, generation: 1 });
        let mut untold = Untold::default();
        (0..4).for_each(|slot| untold.tell(input(slot), &events));
        assert!(!untold.flush(&events), "the tick has room for two");
        let told: Vec<Input> = tick.try_iter().collect();
        assert_eq!(told, [input(0), input(1)]);
        untold.tell(input(4), &events);
        assert_eq!(tick.try_iter().collect::<Vec<_>>(), [input(2), input(3)], "nothing overtakes what waits");
        assert!(untold.flush(&events));
        assert_eq!(tick.try_iter().collect::<Vec<_>>(), [input(4)]);
        drop(tick);
        untold.tell(input(5), &events);
        assert!(untold.flush(&events), "a tick that is gone keeps nothing waiting");
    }
}
