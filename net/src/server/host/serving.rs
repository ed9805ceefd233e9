//! Serving: each connection that was moved is heard, and written to.

use std::time::Duration;

use engine::io::{Input, ShedReason, Watched};
use engine::limits::{IDLE_MESSAGE_BYTES, LANES, NODE_SEND_WINDOW, NODE_WINDOW, RECEIVE_WINDOW, SEND_WINDOW};
use engine::message::intent::Intent;
use engine::message::node::NodeMessage;
use quinn_proto::{Connection, Dir, Event as Moved, StreamEvent, StreamId, VarInt};

use super::{Common, Counters, Host, Peer, Stage};
use crate::quic::{Read, Said, read};
use crate::server::admission::Allowance;
use crate::server::lanes::Lanes;
use crate::server::nodes::Second;
use crate::server::outbox::BEHIND;
use crate::server::peer::{Open, late};
use crate::server::visitors::{Kind, NODE, PLAYER, VISITOR, Visit};
use crate::session::{Close, CloseCode, Event, asks_for_account};
use crate::transport::MESSAGE_BYTES;
use crate::wire::{Answer, AnswerVerdict, HEADER_BYTES, Role, ToClient, ToNode};

/// Bytes that are read at once, where the outbox has room for the answers to them.
const READ_BYTES: usize = 4 * 1024;
/// How often a node that was dialled is told where this one stands, and whom it knows.
const TELL_EVERY: Duration = Duration::from_secs(5);

impl Host {
    /// Serves every connection that was moved since the last turn, each once.
    pub(super) fn serve(&mut self) {
        // Those that are marked meanwhile wait for the next turn: two that answer each other must not keep it going for
        // ever.
        for _ in 0..self.quic.marked() {
            let Some(row) = self.quic.take_marked() else { return };
            // It was drained after it was marked.
            if self.quic.line(row).is_none() {
                continue;
            }
            self.hear_moves(row);
            self.converse(row);
            let said = self.quic.say(row, self.moment());
            match said {
                Said::Due(due) => {
                    let due = due.map(|due| due.saturating_duration_since(self.started.into_std()));
                    let due = due.into_iter().chain(self.due(row)).min();
                    self.dues.set(row, due);
                }
                Said::Drained => {
                    // Most connections have ended here some time before they are drained; one that QUIC lost outright
                    // ends now.
                    self.end(row, &Close::new(CloseCode::Done, ""));
                    self.dues.set(row, None);
                }
            }
        }
    }

    /// What QUIC says of the connection itself.
    fn hear_moves(&mut self, row: usize) {
        while let Some(moved) = self.quic.event(row) {
            match moved {
                Moved::Connected => self.connected(row),
                Moved::ConnectionLost { reason } => match &mut self.peers[row] {
                    Some(Peer { stage: Stage::Open(open), .. }) => {
                        open.ending.get_or_insert(Ok(()));
                        open.broke = Some(reason);
                    }
                    Some(_) => self.fail(row, "its handshake failed"),
                    None => {}
                },
                Moved::Stream(StreamEvent::Readable { .. } | StreamEvent::Opened { .. }) => {
                    if let Some(Peer { stage: Stage::Open(open), .. }) = &mut self.peers[row] {
                        open.is_readable = true;
                    }
                }
                Moved::Stream(_) | Moved::HandshakeDataReady | Moved::DatagramReceived | Moved::DatagramsUnblocked => {}
            }
        }
    }

    /// Takes what a peer says and writes what it is told; ends the connection if either says so.
    fn converse(&mut self, row: usize) {
        let (Some(Some(peer)), Some(line)) = (self.peers.get_mut(row), self.quic.line(row)) else { return };
        let Peer { address, allowed, stage, .. } = peer;
        let open = match stage {
            Stage::Handshake(by) if *by <= self.now => return self.fail(row, "its handshake took too long"),
            Stage::Handshake(_) => return,
            Stage::Open(open) => open,
        };
        let (now, common) = (self.now, &mut self.common);
        let mut conversation = Conversation { open, address: *address, allowed, line, common, now };
        // What a peer said is heard before anything is written: the answers leave in the same packet.
        let ended = conversation.listen().and_then(|goes_on| {
            conversation.hear_lanes()?;
            conversation.tell_node()?;
            conversation.write();
            Ok(goes_on)
        });
        conversation.count_held();
        // A connection whose words the tick had no room for is looked at in every turn until it has.
        let has_stalled_lane = conversation.open.lanes.as_ref().is_some_and(|lanes| lanes.is_stalled());
        if conversation.open.is_stalled() || has_stalled_lane {
            self.stalled.push(row);
        }
        match ended {
            Ok(true) => {}
            Ok(false) => self.end(row, &Close::new(CloseCode::Done, "")),
            Err(close) => self.put_out(row, &close),
        }
        self.settle_doubles();
    }

    /// Of two connections with one node one ends, and one that may be dead is asked for a sign of life.
    fn settle_doubles(&mut self) {
        for (ends, stays) in std::mem::take(&mut self.common.replaced) {
            let (ends, stays) = (self.common.slots.row(ends), self.common.slots.row(stays));
            if let Some(ends) = ends {
                self.give_place(ends, stays);
            }
        }
        for peer in std::mem::take(&mut self.common.doubted) {
            if let Some(row) = self.common.slots.row(peer) {
                self.quic.ping(row);
            }
        }
    }

    /// A connection with a node ends for another one with the same node, if that still is there, which has its place: what is kept for
    /// a validator goes over to it, and there need be no room for both.
    pub(super) fn give_place(&mut self, ends: usize, stays: Option<usize>) {
        if let Some(stays) = stays
            && let Ok([Some(ends), Some(stays)]) = self.peers.get_disjoint_mut([ends, stays])
            // One that nobody told this node of may have had the place of a player.
            && ends.allowed.bytes() == stays.allowed.bytes()
        {
            std::mem::swap(&mut ends.allowed, &mut stays.allowed);
        }
        self.end(ends, &Close::new(CloseCode::KeyInUse, CloseCode::KeyInUse.sentence()));
    }
}

/// One connection, and all that it touches while it is heard and written to.
struct Conversation<'a> {
    open: &'a mut Open,
    address: [u8; 16],
    allowed: &'a mut Allowance,
    line: &'a mut Connection,
    common: &'a mut Common,
    now: Duration,
}

impl Conversation<'_> {
    /// Reads what there is, unless the tick has no room for what this peer said before. Says whether the connection goes on.
    fn listen(&mut self) -> Result<bool, Close> {
        self.open.untold.flush(&self.common.events);
        // What was heard before goes first: the tick takes a peer at its word in the order in which it spoke.
        while let Some(event) = (!self.open.is_stalled()).then(|| self.open.unheard.pop_front()).flatten() {
            self.take(event)?;
        }
        while !self.open.is_stalled() {
            // An error waits until all that was said before it is taken: the intents before it stand.
            if let Some(Err(close)) = self.open.ending.take_if(|ending| ending.is_err()) {
                return Err(close);
            }
            let readable = self.readable();
            self.open.answers.keep_time(readable == 0, self.now)?;
            if readable == 0 {
                // It is heard again once it has read: QUIC says when the stream takes more.
                return Ok(true);
            }
            match self.stream().filter(|_| self.open.is_readable).map(|stream| read(self.line, stream, readable)) {
                Some(Read::Bytes(bytes)) => {
                    self.hear(&bytes)?;
                    // A window full of intents that are shed has more answers than wait at once.
                    self.write_answers();
                }
                Some(Read::Nothing) => self.open.is_readable = false,
                Some(Read::Ended) => return Ok(false),
                // The connection has ended, and all that came before its end was read.
                None if self.open.ending.is_some() => return Ok(false),
                None => return self.be_in_time().map(|()| true),
            }
        }
        Ok(true)
    }

    /// Bytes of which the outbox has room for all answers. Whoever asks faster than it reads is not heard meanwhile, and QUIC holds
    /// it back: put out would be one who reads all that it is told, since what is on its way to it counts as not read.
    fn readable(&mut self) -> usize {
        let bytes = |open: &Open| match open.answers.room(open.talk.unanswered()) {
            0 => 0,
            intents => (HEADER_BYTES + intents * size_of::<Intent>()).saturating_sub(open.talk.unfinished()),
        };
        if self.open.broke.is_some() {
            // What it said before it was lost is heard to the end, and nobody is there to be answered.
            self.open.answers.forget();
        } else if bytes(self.open) == 0 {
            // What waited may have room on the stream by now.
            self.write_answers();
        }
        // What is read ahead is held with the message that has begun.
        let ahead = if *self.allowed == Allowance::Idle { IDLE_MESSAGE_BYTES } else { READ_BYTES };
        bytes(self.open).min(ahead).min(MESSAGE_BYTES - self.open.talk.unfinished())
    }

    /// The stream that carries what the peer says, once it is there.
    fn stream(&mut self) -> Option<StreamId> {
        if self.open.answers.stream.is_none() {
            let is_dialled = self.open.talk.is_dialled();
            let mut streams = self.line.streams();
            let stream = if is_dialled { streams.open(Dir::Bi) } else { streams.accept(Dir::Bi) }?;
            let _ = self.line.send_stream(stream).set_priority(1);
            self.open.answers.stream = Some(stream);
            // QUIC does not tell of bytes that came with the packet that opened the stream: they are looked for.
            self.open.is_readable = true;
        }
        self.open.answers.stream
    }

    /// What the peer has to say must be whole in time.
    fn be_in_time(&self) -> Result<(), Close> {
        if self.open.talk.deadline().is_some_and(|deadline| deadline <= self.now) {
            let what = if self.open.answers.stream.is_some() { "whole message" } else { "stream" };
            return Err(late(what, self.common.config.handshake_timeout));
        }
        Ok(())
    }

    fn hear(&mut self, bytes: &[u8]) -> Result<(), Close> {
        assert!(self.common.heard.is_empty(), "what one chunk said is taken before the next is read");
        let mut events = std::mem::take(&mut self.common.heard);
        let from = (self.open.id, &self.common.chain.id);
        let heard = self.open.talk.take(bytes, self.now, from, &mut events);
        self.common.counters.add_handled(self.open.talk.take_handled());
        let mut taken = Ok(());
        for event in events.drain(..) {
            if self.open.is_stalled() {
                self.open.unheard.push_back(event);
            } else if taken.is_ok() {
                taken = self.take(event);
            }
        }
        self.common.heard = events;
        taken?;
        match heard {
            Err(close) if self.open.is_stalled() => self.open.ending = Some(Err(close)),
            heard => heard?,
        }
        if self.open.talk.unfinished() > IDLE_MESSAGE_BYTES { self.play() } else { Ok(()) }
    }

    fn take(&mut self, event: Event) -> Result<(), Close> {
        match event {
            Event::Hello(hello) => self.join(hello.chain, hello.role == Role::Node),
            Event::Input(Input::Intents { from, intents }) => {
                self.play()?;
                Counters::add(&self.common.counters.intents, intents.len() as u64);
                let intents = self.rate_opens(intents)?;
                if intents.is_empty() {
                    return Ok(());
                }
                // A tick that is behind takes no more intents: their senders hear that at once, and nobody waits in
                // memory.
                if let Err(full) = self.common.intents.try_send(Input::Intents { from, intents })
                    && let Input::Intents { intents, .. } = full.into_inner()
                {
                    Counters::add(&self.common.counters.busy, intents.len() as u64);
                    for intent in intents {
                        self.shed(Answer { id: intent.id(), verdict: AnswerVerdict::Shed(ShedReason::Busy) })?;
                    }
                }
                Ok(())
            }
            Event::Input(input) => self.pass_on(input),
            Event::Answer(answer) => self.shed(answer),
            Event::AskGenesis => {
                self.open.answers.ask_genesis();
                Ok(())
            }
            Event::AskStatus => {
                self.open.answers.ask_status();
                Ok(())
            }
            Event::Peers(records) => {
                let common = &*self.common;
                let now_s = common.standing().now_ms / 1_000;
                common.errands.verify(self.open.id, common.nodes.news(&records, now_s));
                Ok(())
            }
        }
    }

    /// An input for the tick that is no intent.
    fn pass_on(&mut self, input: Input) -> Result<(), Close> {
        match &input {
            Input::Watch { what, on, .. } => {
                self.play()?;
                let (what, on) = (*what, *on);
                self.open.updates.is_wanted |= on;
                match what {
                    Watched::Table(table) if on => self.common.watch(table, self.open.id),
                    Watched::Table(table) => self.common.unwatch(table, self.open.id),
                    Watched::Account(_) => {}
                }
            }
            Input::Pledges { .. } => self.play()?,
            Input::Told { settled, .. } => self.common.nodes.told(self.open.key, *settled),
            _ => {}
        }
        self.open.untold.tell(input, &self.common.events);
        Ok(())
    }

    /// The peer has said hello.
    fn join(&mut self, chain: Option<engine::Hash>, node: bool) -> Result<(), Close> {
        // An intent of another chain has another signature: telling it now spares the player a refusal for each.
        if chain.is_some_and(|chain| chain != self.common.chain.id) {
            let ours = engine::hex(&self.common.chain.id);
            return Err(Close::new(CloseCode::Chain, format!("this node keeps chain {ours}")));
        }
        let has_lanes = node && self.allow_node()?;
        let (peer, key, address) = (self.open.id, self.open.key, self.address);
        // Who only asks how the node is stays a visitor: whoever watches it does so every few seconds.
        self.came(if node { NODE } else { VISITOR });
        self.open.has_joined = true;
        self.open.untold.tell(Input::Joined { peer, key, address, node: has_lanes }, &self.common.events);
        // The welcome is written before this peer counts as a node: what nodes are told must not come before it.
        self.open.control(&ToClient::Welcome(self.common.welcome()))?;
        if node {
            self.open.is_node = true;
            self.common.nodes.joined(key, peer, false, self.now);
        }
        if has_lanes {
            self.open.lanes = Some(Box::new(Lanes::new()));
        }
        Ok(())
    }

    /// Sheds what asks for more accounts than the address may in a minute.
    fn rate_opens(&mut self, mut intents: Vec<Intent>) -> Result<Vec<Intent>, Close> {
        let mut shed = Vec::new();
        // The bound of an address is over all of its connections: a stranger with a key for each would otherwise have
        // that of a connection many times.
        intents.retain(|intent| {
            let may = !asks_for_account(intent) || self.common.admission.open(self.address, self.now);
            if !may {
                shed.push(Answer { id: intent.id(), verdict: AnswerVerdict::Shed(ShedReason::OpenRate) });
            }
            may
        });
        shed.into_iter().try_for_each(|answer| self.shed(answer))?;
        Ok(intents)
    }

    fn shed(&mut self, answer: Answer) -> Result<(), Close> {
        Counters::add(&self.common.counters.shed, 1);
        self.open.answer(answer)
    }

    /// The peer says that it is a node. Says whether it gets what goes between nodes: one that this node was not told of,
    /// and is not one of a few that follow, gets what a player gets.
    fn allow_node(&mut self) -> Result<bool, Close> {
        let (key, common) = (self.open.key, &mut *self.common);
        let replaced = match common.nodes.second(&key, false, self.now) {
            Second::None => None,
            Second::Stays { ends } => Some(ends),
            Second::Ends { stays } => {
                common.doubted.push(stays);
                return Err(Close::new(CloseCode::KeyInUse, CloseCode::KeyInUse.sentence()));
            }
        };
        let (allowance, is_follower) = match (common.nodes.is_validator(&key), common.nodes.is_known(&key)) {
            (true, _) => (Allowance::Validator, false),
            (_, true) => (Allowance::Node, false),
            // One whose place this one takes was dialled though nobody named it: it is a follower until it ends, which it
            // does at once.
            _ if replaced.is_some() || common.followers < common.config.followers_max => (Allowance::Node, true),
            _ => return self.play().map(|()| false),
        };
        if let Some(ends) = replaced {
            // The other one is taken from the list at once: a node is in it once, and this one joins before that has ended. Room for
            // both is not asked for: without it both would end, since the node at the other end keeps this one alone.
            *self.allowed = common.admission.replace(*self.allowed);
            common.nodes.left(&key, ends, self.now);
            common.replaced.push((ends, self.open.id));
        } else {
            common.promote(self.allowed, allowance)?;
        }
        self.open.is_follower = is_follower;
        common.followers += u32::from(is_follower);
        // Only now is there room for lanes: a stranger that opens some before is held back by QUIC itself.
        self.line.set_receive_window(VarInt::from_u32(NODE_WINDOW));
        self.line.set_send_window(NODE_SEND_WINDOW.into());
        self.line.set_max_concurrent_streams(Dir::Uni, VarInt::from_u32(LANES as u32));
        Ok(true)
    }

    /// Takes what another node says over its lanes, as far as the tick has room.
    fn hear_lanes(&mut self) -> Result<(), Close> {
        // The tick drops what somebody says of whom it does not know, and a claim is made once for a connection.
        if self.open.untold.holds_joined() {
            return Ok(());
        }
        let Some(lanes) = &mut self.open.lanes else { return Ok(()) };
        let (key, nodes) = (self.open.key, &mut self.common.nodes);
        lanes.read(self.line, (self.now, self.open.id), &self.common.intake, |message| {
            if let NodeMessage::Standing(standing) = message {
                nodes.told(key, standing.settled);
            }
        })
    }

    /// Notes for the log who it is.
    fn came(&mut self, reason: &'static str) {
        let visit = Visit { kind: Kind::Came, reason, text: "", address: self.address, key: Some(self.open.key) };
        self.common.visitors.note(self.now, &visit);
    }

    /// The peer does more than look in: it may hold more.
    fn play(&mut self) -> Result<(), Close> {
        // A connection that only looks in holds a tenth of this; most of a crowd never gets here.
        if *self.allowed == Allowance::Idle {
            self.common.promote(self.allowed, Allowance::Playing)?;
            self.came(PLAYER);
            self.line.set_receive_window(VarInt::from_u32(RECEIVE_WINDOW));
            self.line.set_send_window(SEND_WINDOW.into());
        }
        Ok(())
    }

    /// Tells a node that was dialled where this one stands and whom it knows, from time to time.
    fn tell_node(&mut self) -> Result<(), Close> {
        if !self.open.talk.is_dialled() {
            return Ok(());
        }
        let (next, since) = &mut self.open.telling;
        // Its time to read begins anew once it has read all.
        if self.open.answers.is_written() {
            *since = None;
        }
        match *since {
            Some(since) if self.now >= since + BEHIND => {
                return Err(Close::new(CloseCode::SlowReader, "what a node tells another was not read"));
            }
            None if self.now >= *next => {
                *next = self.now + TELL_EVERY;
                *since = Some(self.now);
                let (standing, known) = (self.common.standing(), self.common.records());
                self.open.answers.tell(|bytes| {
                    ToNode::Standing(standing).encode(bytes);
                    if !known.is_empty() {
                        ToNode::Peers(known).encode(bytes);
                    }
                });
            }
            _ => {}
        }
        Ok(())
    }

    /// Writes what both streams take.
    fn write(&mut self) {
        self.write_answers();
        let Self { open, line, common, now, .. } = self;
        if let Some(lanes) = &mut open.lanes {
            lanes.write(line);
        }
        if open.talk.is_dialled() && open.answers.is_written() {
            open.telling.1 = None;
        }
        if open.updates.write(line, *now) {
            // It was left behind and has caught up: watching again has the tick send the whole of each.
            for what in open.talk.watching() {
                open.untold.tell(Input::Watch { peer: open.id, what: *what, on: true }, &common.events);
            }
        }
    }

    fn write_answers(&mut self) {
        let common = &*self.common;
        self.open.answers.write(self.line, &common.chain.genesis, || common.status());
    }

    /// Counts what waits for the connection.
    fn count_held(&mut self) {
        let held = self.open.held_bytes();
        self.common.held = self.common.held - self.open.counted + held;
        self.open.counted = held;
    }
}
