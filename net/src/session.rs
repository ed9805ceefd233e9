//! A node's side of one connection, without the connection: bytes in, events out. Holds what the peer may still do.

use std::num::NonZeroU32;
use std::time::Duration;

use engine::PeerId;
use engine::io::{Input, Offence, ShedReason, Watched};
use engine::limits::{MESSAGE_INTENTS_MAX, PEER_CREDIT, PEER_PLEDGE_CREDIT, PEER_WATCHES_MAX};
use engine::message::intent::{Intent, IntentId, IntentKind};
use engine::message::pledge::PledgeRow;
use engine::rate::{Meter, Rate};
use thiserror::Error;

use crate::budget::{Budget, INTENT_COST, Priced};
use crate::wire::{Answer, AnswerVerdict, Decoder, Hello, Message, PeerRecord, ToNode, WireError};

/// How long a pledge holds its credit for sure. The same row may come over another connection, which has its answer then.
const PLEDGE_WAITS: Duration = Duration::from_secs(10);

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
    /// A node with this network key is connected already.
    KeyInUse = 10,
}

// A code finds its name by its number.
const _: () = {
    let mut place = 0;
    while place < CloseCode::ALL.len() {
        assert!(CloseCode::ALL[place].0 as usize == place);
        place += 1;
    }
};

impl CloseCode {
    /// All codes, with the name and the sentence that a person reads.
    pub const ALL: [(Self, &'static str, &'static str); 11] = [
        (Self::Done, "DONE", "the connection ended as it should"),
        (Self::Version, "VERSION", "the node speaks another version of the protocol"),
        (Self::Chain, "CHAIN", "the node keeps another chain"),
        (Self::Full, "FULL", "the node has no room for another connection; try again later"),
        (Self::Banned, "BANNED", "this key or address is banned for a while"),
        (Self::SlowReader, "SLOW_READER", "what the node sent was not read in time"),
        (Self::Malformed, "MALFORMED", "the node did not understand what it was sent"),
        (Self::Timeout, "TIMEOUT", "the node waited too long for a message"),
        (Self::Shutdown, "SHUTDOWN", "the node ends; it may come back"),
        (Self::AddressLimit, "ADDRESS_LIMIT", "this address has as many connections as one may have"),
        (Self::KeyInUse, "KEY_IN_USE", "a node with this network key is connected already"),
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
    /// Why, as a program reads it; QUIC carries it to the other side.
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
    /// The status is wanted.
    AskStatus,
    /// Another node's peers.
    Peers(Vec<PeerRecord>),
}

/// What arrives over one connection: bytes are cut into messages, each of which must be whole in time and is paid for.
///
/// Time is an argument, counted from any moment that stays the same.
pub(crate) struct Inflow<M> {
    decoder: Decoder<M>,
    budget: Budget,
    patience: Duration,
    /// When the message that is awaited or has begun must be whole.
    deadline: Option<Duration>,
    handled: u32,
    dropped: u32,
}

/// Messages of one connection since they were last counted.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Handled {
    /// Messages that were handled; of intents, each one.
    pub handled: u32,
    /// Messages that the budget could not pay.
    pub dropped: u32,
}

impl<M: Message + Priced> Inflow<M> {
    /// A connection that began now and has to say something within `patience`.
    pub(crate) fn new(decoder: Decoder<M>, intents_per_s: NonZeroU32, patience: Duration, now: Duration) -> Self {
        Self {
            decoder,
            budget: Budget::new(intents_per_s),
            patience,
            deadline: Some(now + patience),
            handled: 0,
            dropped: 0,
        }
    }

    /// Takes bytes as they arrived, and hands on each whole message that the budget pays for. One whose parts are paid
    /// for on their own is handed on unpaid.
    ///
    /// # Errors
    /// What cannot be a message, or what `handle` refuses.
    pub(crate) fn take(
        &mut self,
        bytes: &[u8],
        now: Duration,
        mut handle: impl FnMut(&mut Self, M) -> Result<(), Close>,
    ) -> Result<(), Close> {
        self.decoder.push(bytes);
        let mut one_ended = false;
        while let Some(message) = self.decoder.next_message()? {
            one_ended = true;
            match message.price() {
                // What cannot be paid is passed over and costs nothing more; whoever goes on like that becomes an
                // offender.
                Some(units) if !self.budget.spend(units, now) => {
                    self.dropped += 1;
                    continue;
                }
                Some(_) => self.handled += 1,
                None => {}
            }
            handle(self, message)?;
        }
        // One deadline for a message, however many pieces it comes in.
        self.deadline = match (self.decoder.unfinished() > 0, self.deadline) {
            (true, Some(deadline)) if !one_ended => Some(deadline),
            (true, _) => Some(now + self.patience),
            (false, _) => None,
        };
        Ok(())
    }

    fn pay_intent(&mut self, now: Duration) -> bool {
        let paid = self.budget.spend(INTENT_COST, now);
        self.handled += u32::from(paid);
        self.dropped += u32::from(!paid);
        paid
    }

    /// When the message that is awaited or has begun must be whole.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Whether what was asked for in vain has become an offence, which is said once.
    pub(crate) fn take_offence(&mut self) -> bool {
        self.budget.take_offence()
    }

    /// Messages since the last time.
    pub(crate) fn take_handled(&mut self) -> Handled {
        let Self { handled, dropped, .. } = self;
        Handled { handled: std::mem::take(handled), dropped: std::mem::take(dropped) }
    }
}

/// The bounds of one connection.
#[derive(Clone, Copy, Debug)]
pub struct SessionBounds {
    /// Intents a second, twice as many in a burst: its budget.
    pub intents_per_s: NonZeroU32,
    /// Accounts that it may ask for in a minute.
    pub opens_per_min: NonZeroU32,
    /// Time for its hello, and for each message that it begins.
    pub patience: Duration,
}

/// A node's side of one connection.
pub struct Session {
    inflow: Inflow<ToNode>,
    talk: Talk,
}

/// What was said so far.
struct Talk {
    peer: PeerId,
    /// Intents without a last answer, at most [`PEER_CREDIT`].
    unanswered: Vec<IntentId>,
    /// Pledges and openings without one, at most [`PEER_PLEDGE_CREDIT`], and since when: the first to come is the first.
    pledged: Vec<(Duration, IntentId)>,
    watching: Vec<Watched>,
    opens: Rate,
    /// Accounts that were asked for.
    opened: Meter,
}

impl Session {
    /// A connection that began now.
    pub fn new(peer: PeerId, bounds: &SessionBounds, now: Duration) -> Self {
        let SessionBounds { intents_per_s, opens_per_min, patience } = *bounds;
        let opens = Rate::new(opens_per_min.get(), Duration::from_secs(60), opens_per_min.get());
        let (unanswered, pledged, watching) = (Vec::new(), Vec::new(), Vec::new());
        let talk = Talk { peer, unanswered, pledged, watching, opens, opened: Meter::default() };
        Self { inflow: Inflow::new(Decoder::for_node(), intents_per_s, patience, now), talk }
    }

    /// What the peer watches.
    pub fn watching(&self) -> &[Watched] {
        &self.talk.watching
    }

    /// Bytes of a message that has not come to its end.
    pub fn unfinished(&self) -> usize {
        self.inflow.decoder.unfinished()
    }

    /// When the hello, or the message that has begun, must be whole.
    pub fn deadline(&self) -> Option<Duration> {
        self.inflow.deadline()
    }

    /// Messages since the last time.
    pub fn take_handled(&mut self) -> Handled {
        self.inflow.take_handled()
    }

    /// Takes bytes as they arrived.
    ///
    /// # Errors
    /// If the connection must be closed. The events before it stand.
    pub fn take(&mut self, bytes: &[u8], now: Duration, events: &mut Vec<Event>) -> Result<(), Close> {
        let Self { inflow, talk } = self;
        let taken = inflow.take(bytes, now, |inflow, message| talk.hear(message, inflow, now, events));
        // The offence is told even where the connection ends: the score is that of the key, which may come back.
        if inflow.take_offence() {
            events.push(Event::Input(Input::Offended { peer: talk.peer, offence: Offence::Flood }));
        }
        taken
    }

    /// Intents and pledges that wait for their last answer, at most [`PEER_CREDIT`] and [`PEER_PLEDGE_CREDIT`].
    pub fn unanswered(&self) -> usize {
        self.talk.unanswered.len() + self.talk.pledged.len()
    }

    /// An answer goes out; a last one gives its credit back.
    pub fn answered(&mut self, answer: &Answer) {
        self.talk.answered(answer);
    }
}

impl Talk {
    fn hear(
        &mut self,
        message: ToNode,
        inflow: &mut Inflow<ToNode>,
        now: Duration,
        events: &mut Vec<Event>,
    ) -> Result<(), Close> {
        match message {
            ToNode::Hello(hello) => events.push(Event::Hello(hello)),
            ToNode::Intents(intents) => self.intents(intents, inflow, now, events),
            ToNode::Watch(watches) => {
                for (what, on) in watches {
                    self.watch(what, on, events)?;
                }
            }
            ToNode::AskGenesis => events.push(Event::AskGenesis),
            ToNode::AskStatus => events.push(Event::AskStatus),
            ToNode::Pledges(pledges) => self.pledges(pledges, now, events),
            ToNode::Peers(peers) => events.push(Event::Peers(peers)),
            ToNode::Standing(standing) => {
                let (decided, settled) = (standing.decided, standing.settled);
                events.push(Event::Input(Input::Told { peer: self.peer, decided, settled }));
            }
        }
        Ok(())
    }

    /// Intents within budget and credit go on to the tick; the others are shed at once.
    fn intents(
        &mut self,
        mut intents: Vec<Intent>,
        inflow: &mut Inflow<ToNode>,
        now: Duration,
        events: &mut Vec<Event>,
    ) {
        intents.retain(|intent| {
            let id = intent.id();
            // One that waits already takes no second credit, and asks for no second account.
            let again = self.unanswered.contains(&id);
            let reason = if !inflow.pay_intent(now) {
                ShedReason::RateLimit
            } else if !again && self.unanswered.len() >= PEER_CREDIT as usize {
                // It was told how much it may send: one that goes on sending more is on its way to an offence.
                inflow.budget.exceed(INTENT_COST);
                ShedReason::NoCredit
            } else if asks_for_account(intent) && !again && !self.opened.spend(1, &self.opens, now) {
                ShedReason::OpenRate
            } else {
                if !again {
                    self.unanswered.push(id);
                }
                return true;
            };
            events.push(Event::Answer(Answer { id, verdict: AnswerVerdict::Shed(reason) }));
            false
        });
        assert!(self.unanswered.len() <= PEER_CREDIT as usize, "no more is without an answer than there is credit for");
        match events.last_mut() {
            _ if intents.is_empty() => {}
            // Several messages that came together are one batch for the tick, no larger than that of one message may be.
            Some(Event::Input(Input::Intents { from, intents: before }))
                if *from == self.peer && before.len() + intents.len() <= MESSAGE_INTENTS_MAX =>
            {
                before.append(&mut intents);
            }
            _ => events.push(Event::Input(Input::Intents { from: self.peer, intents })),
        }
    }

    /// Pledges within credit go on to the tick; the others are shed at once. All of them were paid for with their message.
    fn pledges(&mut self, mut pledges: Vec<PledgeRow>, now: Duration, events: &mut Vec<Event>) {
        pledges.retain(|row| {
            let id = row.id();
            // One that waits already takes no second credit.
            if self.pledged.iter().any(|(_, waits)| *waits == id) {
                return true;
            }
            if self.pledged.len() == PEER_PLEDGE_CREDIT as usize {
                if self.pledged.first().is_some_and(|(since, _)| now < *since + PLEDGE_WAITS) {
                    events.push(Event::Answer(Answer { id, verdict: AnswerVerdict::Shed(ShedReason::NoCredit) }));
                    return false;
                }
                self.pledged.remove(0);
            }
            self.pledged.push((now, id));
            true
        });
        assert!(self.pledged.len() <= PEER_PLEDGE_CREDIT as usize, "no more waits than there is credit for");
        if !pledges.is_empty() {
            events.push(Event::Input(Input::Pledges { from: self.peer, pledges }));
        }
    }

    fn watch(&mut self, what: Watched, on: bool, events: &mut Vec<Event>) -> Result<(), Close> {
        match (self.watching.iter().position(|watched| *watched == what), on) {
            (None, true) if self.watching.len() == PEER_WATCHES_MAX => {
                return Err(Close::new(CloseCode::Malformed, format!("more than {PEER_WATCHES_MAX} watched")));
            }
            (None, true) => self.watching.push(what),
            (Some(place), false) => _ = self.watching.swap_remove(place),
            // It is asked for again, so the tick sends the whole of it again.
            (Some(_), true) => {}
            // The tick knows of no such watch, and needs not hear that it ends.
            (None, false) => return Ok(()),
        }
        assert!(self.watching.len() <= PEER_WATCHES_MAX, "what a peer watches is bounded");
        events.push(Event::Input(Input::Watch { peer: self.peer, what, on }));
        Ok(())
    }

    fn answered(&mut self, answer: &Answer) {
        if !answer.is_final() {
            return;
        }
        if let Some(place) = self.unanswered.iter().position(|waiting| *waiting == answer.id) {
            self.unanswered.swap_remove(place);
        }
        self.pledged.retain(|(_, waiting)| *waiting != answer.id);
    }
}

/// Whether an intent opens an account for anybody who asks: the one thing that is looked at here, since each takes a slot
/// and a grant of the house. Vouchers are bounded by their issuer.
pub(crate) fn asks_for_account(intent: &Intent) -> bool {
    intent.body.kind == IntentKind::Open as u8
}

#[cfg(test)]
mod tests;
