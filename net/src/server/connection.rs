//! One connection: its reader, and a writer for each of its two streams.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use engine::PeerId;
use engine::io::{Input, Offence, ShedReason, Watched};
use engine::limits::HALF_OPEN_MAX;
use engine::message::intent::Intent;
use quinn::{Endpoint, Incoming, SendStream, VarInt};
use tokio::sync::Notify;
use tokio::time::{timeout, timeout_at};

use super::admission::Allowance;
use super::visitors::{Departure, Kind, Visit, ending};
use super::{Counters, Shared, lock};
use crate::session::{Close, CloseCode, Event, Session, SessionBounds, asks_for_account};
use crate::tls::{Key, peer_key};
use crate::transport::{
    ANSWERS_QUEUE_BYTES, CONTROL_QUEUE_BYTES, IDLE_MESSAGE_BYTES, NODE_WINDOW, QUEUE_BYTES, RECEIVE_WINDOW,
    SEND_WINDOW, address_bytes,
};
use crate::wire::{Answer, AnswerVerdict, Role, ToClient, encode_answers, genesis_header};

/// Bytes that are read at once.
const READ_BYTES: usize = RECEIVE_WINDOW as usize;
/// Answers that may wait to be written.
const ANSWERS_QUEUED_MAX: usize = ANSWERS_QUEUE_BYTES / size_of::<Answer>();
/// How long a peer may be behind with what it watches.
pub(super) const BEHIND: Duration = Duration::from_secs(10);

// An intent within its credit is answered twice at most.
const _: () = assert!(ANSWERS_QUEUED_MAX >= engine::limits::PEER_CREDIT as usize);

/// A connection as others in this process reach it, whichever side opened it.
pub(super) struct Connection {
    pub(super) id: PeerId,
    pub(super) quic: quinn::Connection,
    state: Mutex<State>,
    answers_wait: Notify,
    updates_wait: Notify,
    /// Why this node put it out, if it did.
    pub(super) put_out: OnceLock<Close>,
    /// Another node at the other end, which opened the connection.
    pub(super) is_node: AtomicBool,
    counters: Arc<Counters>,
}

struct State {
    /// What the peer may still do; `None` where this node opened the connection, since no intent comes over such a one.
    session: Option<Session>,
    /// Whole messages, which go before answers.
    control: Vec<u8>,
    genesis_wanted: bool,
    status_wanted: bool,
    answers: Vec<Answer>,
    updates: Vec<u8>,
    /// Since when updates were left out.
    behind: Option<Duration>,
}

/// Lets connections in, as long as the endpoint is open.
pub(super) async fn accept(endpoint: Endpoint, shared: Arc<Shared>) {
    let half_open = Arc::new(AtomicU32::new(0));
    while let Some(incoming) = endpoint.accept().await {
        let address = address_bytes(incoming.remote_address().ip());
        if !incoming.remote_address_validated() && half_open.load(Ordering::Relaxed) >= HALF_OPEN_MAX {
            Counters::add(&shared.counters.retried, 1);
            // It may come back with the token, which proves that it is where it says.
            let _ = incoming.retry();
            continue;
        }
        let admitted = lock(&shared.admission).admit(address, shared.now());
        if let Err(code) = admitted {
            let counter = match code {
                CloseCode::Banned => &shared.counters.refused_banned,
                CloseCode::AddressLimit => &shared.counters.refused_address,
                _ => &shared.counters.refused_full,
            };
            Counters::add(counter, 1);
            let visit = Visit { kind: Kind::Refused, reason: code.name(), text: code.sentence(), address, key: None };
            shared.visitors.note(shared.now(), &visit);
            incoming.refuse();
            continue;
        }
        half_open.fetch_add(1, Ordering::Relaxed);
        let mut entered = Entered::new(Arc::clone(&shared), address);
        let (shared, half_open) = (Arc::clone(&shared), Arc::clone(&half_open));
        tokio::spawn(async move {
            let shaken = timeout(shared.config.handshake_timeout, handshake(incoming)).await;
            half_open.fetch_sub(1, Ordering::Relaxed);
            match shaken {
                Ok(Some((quic, key))) => serve(quic, key, &mut entered).await,
                failed => {
                    Counters::add(&shared.counters.handshakes_failed, 1);
                    let text = if failed.is_err() { "its handshake took too long" } else { "its handshake failed" };
                    let visit = Visit { kind: Kind::Refused, reason: "HANDSHAKE", text, address, key: None };
                    shared.visitors.note(shared.now(), &visit);
                }
            }
        });
    }
}

async fn handshake(incoming: Incoming) -> Option<(quinn::Connection, Key)> {
    let quic = incoming.accept().ok()?.await.ok()?;
    let key = peer_key(&quic)?;
    Some((quic, key))
}

/// A connection that was let in, with what it may hold; it leaves when this is dropped.
pub(super) struct Entered {
    shared: Arc<Shared>,
    pub(super) address: [u8; 16],
    allowed: Allowance,
}

impl Entered {
    /// For a connection that admission has just let in.
    pub(super) fn new(shared: Arc<Shared>, address: [u8; 16]) -> Self {
        Self { shared, address, allowed: Allowance::Idle }
    }

    /// Allows it more, unless it has that already.
    ///
    /// # Errors
    /// If all connections together have no room for it: it must not go on with less than it needs.
    pub(super) fn promote(&mut self, to: Allowance) -> Result<(), Close> {
        if self.allowed.bytes() >= to.bytes() {
            return Ok(());
        }
        if !lock(&self.shared.admission).promote(self.allowed, to) {
            Counters::add(&self.shared.counters.refused_full, 1);
            return Err(Close::new(CloseCode::Full, "no room in net.buffer_bytes_max"));
        }
        self.allowed = to;
        Ok(())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        lock(&self.shared.admission).release(self.address, self.allowed);
    }
}

pub(super) fn close(quic: &quinn::Connection, close: &Close) {
    quic.close(VarInt::from_u32(close.code as u32), close.text.as_bytes());
}

/// Turns a connection away whose key is known now.
fn refuse(quic: &quinn::Connection, key: Key, code: CloseCode, entered: &Entered) {
    let (text, address) = (code.sentence(), entered.address);
    let visit = Visit { kind: Kind::Refused, reason: code.name(), text, address, key: Some(key) };
    entered.shared.visitors.note(entered.shared.now(), &visit);
    close(quic, &Close::new(code, text));
}

/// One connection that a peer opened, from its handshake to its end.
async fn serve(quic: quinn::Connection, key: Key, entered: &mut Entered) {
    let shared = &Arc::clone(&entered.shared);
    if lock(&shared.admission).is_banned(&key, shared.now()) {
        Counters::add(&shared.counters.refused_banned, 1);
        return refuse(&quic, key, CloseCode::Banned, entered);
    }
    let Some(id) = shared.take_row() else {
        Counters::add(&shared.counters.refused_full, 1);
        return refuse(&quic, key, CloseCode::Full, entered);
    };
    Counters::add(&shared.counters.accepted, 1);
    let config = &shared.config;
    let bounds = SessionBounds {
        intents_per_s: config.intents_per_connection_per_s,
        opens_per_min: config.opens_per_connection_per_min,
        patience: config.handshake_timeout,
    };
    let session = Session::new(id, &bounds, shared.now());
    let connection = Connection::new(id, quic.clone(), Some(session), shared);
    shared.install(id, Arc::clone(&connection));
    let mut reader = Reader { shared, entered, connection: &connection, key, joined: false, watches: false };
    let result = reader.run().await;
    let broke = quic.close_reason();
    if let Err(reason) = &result {
        Counters::add(&shared.counters.closed, 1);
        if reason.code == CloseCode::Malformed && reader.joined {
            shared.tell(Input::Offended { peer: id, offence: Offence::Malformed }).await;
        }
        close(&quic, reason);
    } else {
        close(&quic, &Close::new(CloseCode::Done, ""));
    }
    let joined = reader.joined;
    let address = reader.entered.address;
    for what in connection.watching() {
        reader.unwatch(what);
    }
    connection.answers_wait.notify_one();
    connection.updates_wait.notify_one();
    if connection.is_node.load(Ordering::Relaxed) {
        shared.nodes.left(&key);
    }
    let Departure { reason, text } = ending(connection.put_out.get(), result, broke);
    shared.visitors.note(shared.now(), &Visit { kind: Kind::Went, reason, text: &text, address, key: Some(key) });
    if joined {
        shared.tell(Input::Left(id)).await;
    }
    shared.leave_row(id);
}

struct Reader<'a> {
    shared: &'a Arc<Shared>,
    entered: &'a mut Entered,
    connection: &'a Arc<Connection>,
    key: Key,
    /// Whether the tick knows of the connection.
    joined: bool,
    /// Whether the second stream is open.
    watches: bool,
}

impl Reader<'_> {
    /// Reads until the peer ends, which is no error, or must be closed.
    async fn run(&mut self) -> Result<(), Close> {
        let patience = self.shared.config.handshake_timeout;
        let late = |what: &str| Close::new(CloseCode::Timeout, format!("no {what} within {} ms", patience.as_millis()));
        let accepted = timeout(patience, self.connection.quic.accept_bi()).await;
        let Ok((send, mut recv)) = accepted.map_err(|_| late("stream"))? else { return Ok(()) };
        let _ = send.set_priority(1);
        tokio::spawn(write_answers(Arc::clone(self.connection), send, Arc::clone(self.shared)));
        let mut events = Vec::new();
        loop {
            let deadline = self.connection.with_session(|session| session.deadline());
            let read = recv.read_chunk(READ_BYTES, true);
            let chunk = match deadline {
                Some(deadline) => {
                    timeout_at(self.shared.started + deadline, read).await.map_err(|_| late("whole message"))?
                }
                None => read.await,
            };
            let Ok(Some(chunk)) = chunk else { return Ok(()) };
            let now = self.shared.now();
            let (taken, handled, unfinished) = self.connection.with_session(|session| {
                let taken = session.take(&chunk.bytes, now, &mut events);
                (taken, session.take_handled(), session.unfinished())
            });
            self.shared.counters.add_handled(handled);
            for event in events.drain(..) {
                self.take(event).await?;
            }
            taken?;
            if unfinished > IDLE_MESSAGE_BYTES {
                self.play()?;
            }
        }
    }

    async fn take(&mut self, event: Event) -> Result<(), Close> {
        match event {
            Event::Hello(hello) => {
                if hello.chain.is_some_and(|chain| chain != self.shared.chain.id) {
                    let ours = engine::hex(&self.shared.chain.id);
                    return Err(Close::new(CloseCode::Chain, format!("this node keeps chain {ours}")));
                }
                let node = hello.role == Role::Node;
                if node {
                    self.allow_node()?;
                }
                let (peer, address) = (self.connection.id, self.entered.address);
                let reason = if node { "node" } else { "player" };
                let visit = Visit { kind: Kind::Came, reason, text: "", address, key: Some(self.key) };
                self.shared.visitors.note(self.shared.now(), &visit);
                self.joined = true;
                self.shared.tell(Input::Joined { peer, key: self.key, address, node }).await;
                // The welcome comes first: the router tells nodes where this one stands as soon as they are marked.
                self.connection.control(&ToClient::Welcome(self.shared.welcome()));
                if node {
                    self.connection.is_node.store(true, Ordering::Relaxed);
                    self.shared.nodes.joined(self.key);
                }
            }
            Event::Input(Input::Intents { from, intents }) => {
                self.play()?;
                Counters::add(&self.shared.counters.intents, intents.len() as u64);
                let intents = self.rate_opens(intents);
                if intents.is_empty() {
                    return Ok(());
                }
                if let Err(full) = self.shared.intents.try_send(Input::Intents { from, intents })
                    && let Input::Intents { intents, .. } = full.into_inner()
                {
                    for intent in intents {
                        self.shed(Answer { id: intent.id(), verdict: AnswerVerdict::Shed(ShedReason::Busy) });
                    }
                }
            }
            Event::Input(Input::Watch { peer, what, on }) => {
                self.play()?;
                if on {
                    self.watch(what);
                } else {
                    self.unwatch(what);
                }
                self.shared.tell(Input::Watch { peer, what, on }).await;
            }
            Event::Input(input) => {
                if let Input::Told { settled, .. } = input {
                    self.shared.nodes.told(self.key, settled);
                }
                self.shared.tell(input).await;
            }
            Event::Answer(answer) => self.shed(answer),
            Event::AskGenesis => {
                lock(&self.connection.state).genesis_wanted = true;
                self.connection.answers_wait.notify_one();
            }
            // Asked again before it was written, it is written once.
            Event::AskStatus => {
                lock(&self.connection.state).status_wanted = true;
                self.connection.answers_wait.notify_one();
            }
            Event::Peers(records) => self.shared.nodes.hear(self.connection.id, &records, self.shared),
        }
        Ok(())
    }

    /// Sheds what asks for more accounts than the address may in a minute.
    fn rate_opens(&self, mut intents: Vec<Intent>) -> Vec<Intent> {
        let now = self.shared.now();
        intents.retain(|intent| {
            let may = !asks_for_account(intent) || lock(&self.shared.admission).open(self.entered.address, now);
            if !may {
                self.shed(Answer { id: intent.id(), verdict: AnswerVerdict::Shed(ShedReason::OpenRate) });
            }
            may
        });
        intents
    }

    fn shed(&self, answer: Answer) {
        Counters::add(&self.shared.counters.shed, 1);
        self.connection.answer(answer);
    }

    /// The peer says that it is a node. One that this node does not know gets what a player gets.
    fn allow_node(&mut self) -> Result<(), Close> {
        if !self.shared.nodes.is_known(&self.key) {
            return self.play();
        }
        self.entered.promote(Allowance::Node)?;
        self.connection.quic.set_receive_window(VarInt::from_u32(NODE_WINDOW));
        self.connection.quic.set_send_window(NODE_WINDOW.into());
        Ok(())
    }

    /// The peer does more than look in: it may hold more.
    fn play(&mut self) -> Result<(), Close> {
        if self.entered.allowed == Allowance::Idle {
            self.entered.promote(Allowance::Playing)?;
            self.connection.quic.set_receive_window(VarInt::from_u32(RECEIVE_WINDOW));
            self.connection.quic.set_send_window(SEND_WINDOW.into());
        }
        Ok(())
    }

    fn watch(&mut self, what: Watched) {
        if !self.watches {
            self.watches = true;
            tokio::spawn(write_updates(Arc::clone(self.connection), Arc::clone(self.shared)));
        }
        if let Watched::Table(table) = what {
            let mut watchers = lock(&self.shared.watchers);
            let watchers = watchers.entry(table).or_default();
            if !watchers.contains(&self.connection.id) {
                watchers.push(self.connection.id);
            }
        }
    }

    fn unwatch(&self, what: Watched) {
        let Watched::Table(table) = what else { return };
        let mut watchers = lock(&self.shared.watchers);
        if let Some(peers) = watchers.get_mut(&table) {
            peers.retain(|peer| *peer != self.connection.id);
            if peers.is_empty() {
                watchers.remove(&table);
            }
        }
    }
}

impl Connection {
    /// A connection to a peer with a row; it has a session if the peer opened it.
    pub(super) fn new(id: PeerId, quic: quinn::Connection, session: Option<Session>, shared: &Shared) -> Arc<Self> {
        let (control, answers, updates) = (Vec::new(), Vec::new(), Vec::new());
        let (genesis_wanted, status_wanted) = (false, false);
        let state = State { session, control, genesis_wanted, status_wanted, answers, updates, behind: None };
        Arc::new(Self {
            id,
            quic,
            state: Mutex::new(state),
            answers_wait: Notify::new(),
            updates_wait: Notify::new(),
            put_out: OnceLock::new(),
            is_node: AtomicBool::new(false),
            counters: Arc::clone(&shared.counters),
        })
    }

    fn with_session<R>(&self, work: impl FnOnce(&mut Session) -> R) -> R {
        work(lock(&self.state).session.as_mut().expect("a connection that a peer opened has a session"))
    }

    /// Bytes that wait in this process for the connection, to be read or to be written.
    pub(super) fn held_bytes(&self) -> usize {
        let state = lock(&self.state);
        let unfinished = state.session.as_ref().map_or(0, Session::unfinished);
        let answers = state.answers.capacity() * size_of::<Answer>();
        unfinished + answers + state.control.capacity() + state.updates.capacity()
    }

    fn watching(&self) -> Vec<Watched> {
        self.with_session(|session| session.watching().to_vec())
    }

    /// A message that goes before all answers. A peer that does not read them is put out.
    pub(super) fn control(&self, message: &ToClient) {
        let mut state = lock(&self.state);
        // A node that this one dialled is told what it is told by whoever dialled it, and nothing would write this.
        if state.session.is_none() {
            return;
        }
        message.encode(&mut state.control);
        let full = state.control.len() > CONTROL_QUEUE_BYTES;
        drop(state);
        if full {
            self.put_out_slow("what a node tells another");
        } else {
            self.answers_wait.notify_one();
        }
    }

    /// An answer to an intent. A peer that does not read its answers is put out.
    pub(super) fn answer(&self, answer: Answer) {
        let mut state = lock(&self.state);
        if let Some(session) = &mut state.session {
            session.answered(&answer);
        }
        if answer.is_final() {
            // What an acknowledgement that waits here would say, this says too.
            state.answers.retain(|waits| waits.is_final() || waits.id != answer.id);
        }
        state.answers.push(answer);
        let full = state.answers.len() > ANSWERS_QUEUED_MAX;
        drop(state);
        if full {
            self.put_out_slow("answers");
        } else {
            self.answers_wait.notify_one();
        }
    }

    /// An acknowledgement that goes with the next answer, unless that is its own receipt, or by [`Connection::send_held`].
    pub(super) fn hold(&self, acknowledged: Answer) {
        // No more can wait than the peer has credit for.
        lock(&self.state).answers.push(acknowledged);
    }

    /// What was held is sent.
    pub(super) fn send_held(&self) {
        if !lock(&self.state).answers.is_empty() {
            self.answers_wait.notify_one();
        }
    }

    /// What changed at something the peer watches. One that is behind gets the whole once it has caught up.
    pub(super) fn update(&self, bytes: &[u8], now: Duration) {
        let mut state = lock(&self.state);
        let first = state.updates.is_empty();
        if !first && state.updates.len() + bytes.len() > QUEUE_BYTES {
            let behind = *state.behind.get_or_insert(now);
            drop(state);
            Counters::add(&self.counters.updates_skipped, 1);
            if now - behind > BEHIND {
                self.put_out_slow("what it watches");
            }
            return;
        }
        state.updates.extend_from_slice(bytes);
        drop(state);
        if first {
            self.updates_wait.notify_one();
        }
    }

    /// Updates were left out for everyone: whoever watches something is told the whole of it again.
    pub(super) fn catch_up(&self, now: Duration) {
        let mut state = lock(&self.state);
        if state.session.as_ref().is_some_and(|session| !session.watching().is_empty()) {
            state.behind.get_or_insert(now);
            self.updates_wait.notify_one();
        }
    }

    fn put_out_slow(&self, what: &str) {
        if self.quic.close_reason().is_none() {
            Counters::add(&self.counters.slow_readers, 1);
            self.put_out(Close::new(CloseCode::SlowReader, format!("{what} was not read")));
        }
    }

    /// Closes it for what the peer did or did not do.
    pub(super) fn put_out(&self, reason: Close) {
        // The first reason counts. It is known before the reader finds the connection closed.
        let reason = self.put_out.get_or_init(|| reason);
        close(&self.quic, reason);
    }
}

/// Writes control messages and answers, many at once, until the connection ends.
async fn write_answers(connection: Arc<Connection>, mut send: SendStream, shared: Arc<Shared>) {
    let mut bytes = Vec::new();
    let mut answers = Vec::new();
    loop {
        connection.answers_wait.notified().await;
        let (genesis_wanted, status_wanted) = {
            let mut state = lock(&connection.state);
            std::mem::swap(&mut bytes, &mut state.control);
            std::mem::swap(&mut answers, &mut state.answers);
            (std::mem::take(&mut state.genesis_wanted), std::mem::take(&mut state.status_wanted))
        };
        if status_wanted {
            ToClient::Status(shared.status()).encode(&mut bytes);
        }
        if genesis_wanted {
            // Written from where it lies: it may be larger than all that a connection may hold.
            let header = genesis_header(shared.chain.genesis.len());
            bytes.extend_from_slice(&header);
            let written = send.write_all(&bytes).await.is_ok() && send.write_all(&shared.chain.genesis).await.is_ok();
            if !written {
                return;
            }
            bytes.clear();
        }
        encode_answers(&answers, &mut bytes);
        answers.clear();
        if !bytes.is_empty() && send.write_all(&bytes).await.is_err() || connection.quic.close_reason().is_some() {
            return;
        }
        bytes.clear();
    }
}

/// Writes what changed at what the peer watches, until the connection ends.
async fn write_updates(connection: Arc<Connection>, shared: Arc<Shared>) {
    let Ok(mut send) = connection.quic.open_uni().await else { return };
    let mut bytes = Vec::new();
    loop {
        connection.updates_wait.notified().await;
        std::mem::swap(&mut bytes, &mut lock(&connection.state).updates);
        if !bytes.is_empty() && send.write_all(&bytes).await.is_err() || connection.quic.close_reason().is_some() {
            return;
        }
        bytes.clear();
        let caught_up = lock(&connection.state).behind.take().is_some();
        if caught_up {
            for what in connection.watching() {
                shared.tell(Input::Watch { peer: connection.id, what, on: true }).await;
            }
        }
    }
}
