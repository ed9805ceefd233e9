//! A node's side of one connection, without the connection: bytes in, events out. Holds what the peer may still do.

use std::num::NonZeroU32;

use engine::PeerId;
use engine::io::{Input, Offence, ShedReason, Watched};
use engine::limits::{PEER_CREDIT, PEER_WATCHES_MAX};
use engine::message::intent::{Intent, IntentId};
use governor::DefaultDirectRateLimiter;
use governor::{Quota, RateLimiter};
use thiserror::Error;

use crate::wire::{Answer, AnswerVerdict, Decoder, Hello, PeerRecord, ToNode, WireError};

/// Intents above rate or credit after which the peer counts as flooding.
const FLOOD_INTENTS: u32 = 256;

/// Why a connection is closed. The numbers are part of the protocol and never change meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u32)]
pub enum CloseCode {
    /// Nothing is wrong.
    Done = 0,
    /// Another version of the protocol.
    Version = 1,
    /// Another chain.
    Chain = 2,
    /// The node has as many connections as it takes.
    Full = 3,
    /// The key or the address is banned.
    Banned = 4,
    /// The peer does not read what is sent to it.
    SlowReader = 5,
    /// Bytes that are no message, or a message out of place.
    Malformed = 6,
    /// The peer did not say what it had to in time.
    Timeout = 7,
    /// The node ends.
    Shutdown = 8,
    /// The address has as many connections as one may have.
    AddressLimit = 9,
}

impl CloseCode {
    /// All codes, with the name and the sentence that a person reads.
    pub const ALL: [(Self, &'static str, &'static str); 10] = [
        (Self::Done, "DONE", "the connection ended as it should"),
        (Self::Version, "VERSION", "the node speaks another version of the protocol"),
        (Self::Chain, "CHAIN", "the node keeps another chain"),
        (Self::Full, "FULL", "the node has as many connections as it takes; try again later"),
        (Self::Banned, "BANNED", "this key or address is banned for a while"),
        (Self::SlowReader, "SLOW_READER", "what the node sent was not read in time"),
        (Self::Malformed, "MALFORMED", "the node did not understand what it was sent"),
        (Self::Timeout, "TIMEOUT", "the node waited too long for a message"),
        (Self::Shutdown, "SHUTDOWN", "the node ends; it may come back"),
        (Self::AddressLimit, "ADDRESS_LIMIT", "this address has as many connections as one may have"),
    ];

    /// The name that output uses.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// The sentence that a person reads.
    pub fn sentence(self) -> &'static str {
        Self::ALL[self as usize].2
    }

    /// The code with this number.
    pub fn of(number: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|(code, ..)| *code as u64 == number).map(|(code, ..)| code)
    }
}

/// A connection that must be closed, and why.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
#[error("{}: {text}", .code.name())]
pub struct Close {
    /// The code.
    pub code: CloseCode,
    /// Details for a person.
    pub text: String,
}

impl Close {
    /// With its details.
    pub fn new(code: CloseCode, text: impl ToString) -> Self {
        Self { code, text: text.to_string() }
    }
}

impl From<WireError> for Close {
    fn from(error: WireError) -> Self {
        let code = if matches!(error, WireError::Version { .. }) { CloseCode::Version } else { CloseCode::Malformed };
        Self::new(code, error)
    }
}

/// What arrived.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// The first message.
    Hello(Hello),
    /// For the tick.
    Input(Input),
    /// An answer that needs no tick.
    Answer(Answer),
    /// The genesis is wanted.
    AskGenesis,
    /// Another node's peers.
    Peers(Vec<PeerRecord>),
}

/// A node's side of one connection.
pub struct Session {
    peer: PeerId,
    decoder: Decoder<ToNode>,
    limiter: DefaultDirectRateLimiter,
    /// Intents without a last answer, at most [`PEER_CREDIT`].
    unanswered: Vec<IntentId>,
    watching: Vec<Watched>,
    /// Intents above rate or credit since the peer was last told on.
    flooded: u32,
}

impl Session {
    /// A new connection that may send so many intents a second, and twice as many in a burst.
    pub fn new(peer: PeerId, intents_per_s: NonZeroU32) -> Self {
        let quota = Quota::per_second(intents_per_s).allow_burst(intents_per_s.saturating_mul(TWO));
        Self {
            peer,
            decoder: Decoder::for_node(),
            limiter: RateLimiter::direct(quota),
            unanswered: Vec::new(),
            watching: Vec::new(),
            flooded: 0,
        }
    }

    /// What the peer watches.
    pub fn watching(&self) -> &[Watched] {
        &self.watching
    }

    /// Whether the first message came.
    pub fn is_open(&self) -> bool {
        self.decoder.role().is_some()
    }

    /// Bytes of a message that has not come to its end.
    pub fn unfinished(&self) -> usize {
        self.decoder.unfinished()
    }

    /// Takes bytes as they arrived.
    ///
    /// # Errors
    /// If the connection must be closed. The events before it stand.
    pub fn take(&mut self, bytes: &[u8], events: &mut Vec<Event>) -> Result<(), Close> {
        self.decoder.push(bytes);
        while let Some(message) = self.decoder.next_message()? {
            self.message(message, events)?;
        }
        Ok(())
    }

    fn message(&mut self, message: ToNode, events: &mut Vec<Event>) -> Result<(), Close> {
        match message {
            ToNode::Hello(hello) => events.push(Event::Hello(hello)),
            ToNode::Intents(intents) => self.intents(intents, events),
            ToNode::Watch(watches) => {
                for (what, on) in watches {
                    self.watch(what, on, events)?;
                }
            }
            ToNode::AskGenesis => {
                if self.limiter.check().is_ok() {
                    events.push(Event::AskGenesis);
                }
            }
            ToNode::Peers(peers) => events.push(Event::Peers(peers)),
            ToNode::Standing(standing) => {
                let (decided, settled) = (standing.decided, standing.settled);
                events.push(Event::Input(Input::Told { peer: self.peer, decided, settled }));
            }
        }
        Ok(())
    }

    /// Those within rate and credit go on; the others are shed at once.
    fn intents(&mut self, mut intents: Vec<Intent>, events: &mut Vec<Event>) {
        intents.retain(|intent| {
            let id = intent.id();
            let again = self.unanswered.contains(&id);
            let reason = if self.limiter.check().is_err() {
                ShedReason::RateLimit
            } else if !again && self.unanswered.len() >= PEER_CREDIT as usize {
                ShedReason::NoCredit
            } else {
                if !again {
                    self.unanswered.push(id);
                }
                return true;
            };
            events.push(Event::Answer(Answer { id, verdict: AnswerVerdict::Shed(reason) }));
            self.flooded += 1;
            false
        });
        if self.flooded >= FLOOD_INTENTS {
            self.flooded = 0;
            events.push(Event::Input(Input::Offended { peer: self.peer, offence: Offence::Flood }));
        }
        if !intents.is_empty() {
            events.push(Event::Input(Input::Intents { from: self.peer, intents }));
        }
    }

    fn watch(&mut self, what: Watched, on: bool, events: &mut Vec<Event>) -> Result<(), Close> {
        match (self.watching.iter().position(|watched| *watched == what), on) {
            (None, true) if self.watching.len() == PEER_WATCHES_MAX => {
                return Err(Close::new(CloseCode::Malformed, format!("more than {PEER_WATCHES_MAX} watched")));
            }
            (None, true) => self.watching.push(what),
            (Some(place), false) => _ = self.watching.swap_remove(place),
            // Asked again: the whole is sent again.
            (Some(_), true) => {}
            (None, false) => return Ok(()),
        }
        events.push(Event::Input(Input::Watch { peer: self.peer, what, on }));
        Ok(())
    }

    /// An answer goes out; a last one gives its credit back.
    pub fn answered(&mut self, answer: &Answer) {
        if !answer.is_final() {
            return;
        }
        if let Some(place) = self.unanswered.iter().position(|waiting| *waiting == answer.id) {
            self.unanswered.swap_remove(place);
        }
    }
}

const TWO: NonZeroU32 = NonZeroU32::new(2).expect("two is not zero");
