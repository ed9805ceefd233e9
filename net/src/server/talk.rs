//! What a peer says, whichever side opened the connection: bytes in, events out.

use std::time::Duration;

use engine::io::{Input, Offence, Watched};
use engine::{Hash, PeerId};

use crate::session::{Close, CloseCode, Event, Handled, Inflow, Session};
use crate::wire::{Answer, ToClient};

/// A node's ear for one connection.
pub(super) enum Talk {
    /// The peer opened it.
    Heard(Session),
    /// This node opened it, to another node: no intent comes over such a one.
    Dialled(Inflow<ToClient>),
}

impl Talk {
    /// Takes bytes as they arrived.
    ///
    /// # Errors
    /// If the connection must be closed. The events before it stand.
    pub(super) fn take(
        &mut self,
        bytes: &[u8],
        now: Duration,
        (peer, chain): (PeerId, &Hash),
        events: &mut Vec<Event>,
    ) -> Result<(), Close> {
        let inflow = match self {
            Self::Heard(session) => return session.take(bytes, now, events),
            Self::Dialled(inflow) => inflow,
        };
        let taken = inflow.take(bytes, now, |_, message| hear_node(message, peer, chain, events));
        if inflow.take_offence() {
            events.push(Event::Input(Input::Offended { peer, offence: Offence::Flood }));
        }
        taken
    }

    /// Messages since the last time.
    pub(super) fn take_handled(&mut self) -> Handled {
        match self {
            Self::Heard(session) => session.take_handled(),
            Self::Dialled(inflow) => inflow.take_handled(),
        }
    }

    /// When the message that is awaited or has begun must be whole.
    pub(super) fn deadline(&self) -> Option<Duration> {
        match self {
            Self::Heard(session) => session.deadline(),
            Self::Dialled(inflow) => inflow.deadline(),
        }
    }

    /// Bytes of a message that has not come to its end.
    pub(super) fn unfinished(&self) -> usize {
        match self {
            Self::Heard(session) => session.unfinished(),
            Self::Dialled(_) => 0,
        }
    }

    /// What the peer watches.
    pub(super) fn watching(&self) -> &[Watched] {
        match self {
            Self::Heard(session) => session.watching(),
            Self::Dialled(_) => &[],
        }
    }

    /// Intents and pledges that wait for their last answer.
    pub(super) fn unanswered(&self) -> usize {
        match self {
            Self::Heard(session) => session.unanswered(),
            Self::Dialled(_) => 0,
        }
    }

    /// An answer goes out.
    pub(super) fn answered(&mut self, answer: &Answer) {
        if let Self::Heard(session) = self {
            session.answered(answer);
        }
    }

    /// Whether this node opened the connection.
    pub(super) fn is_dialled(&self) -> bool {
        matches!(self, Self::Dialled(_))
    }
}

/// Takes what a dialled node says.
fn hear_node(message: ToClient, peer: PeerId, chain: &Hash, events: &mut Vec<Event>) -> Result<(), Close> {
    match message {
        // Two nodes of different chains would tell each other votes that no key there signed.
        ToClient::Welcome(welcome) if welcome.chain != *chain => {
            return Err(Close::new(CloseCode::Chain, "it keeps another chain"));
        }
        ToClient::Standing(standing) => {
            let (decided, settled) = (standing.decided, standing.settled);
            events.push(Event::Input(Input::Told { peer, decided, settled }));
        }
        ToClient::Peers(records) => events.push(Event::Peers(records)),
        // The decoder lets nothing through that is said to players.
        _ => {}
    }
    Ok(())
}
