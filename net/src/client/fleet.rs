//! A fleet: many clients by one owner, for loads. Each is a client like any, with its own key and connection.
//!
//! ```text
//!  turn: receive -> expire -> take orders -> dial -> serve -> send
//! ```
//! A client of its own ([`super::Client`]) has a task, a queue and wake-ups, which cost more than what it says: a program that
//! simulates a thousand would measure itself. Here they are rows, as a node's connections are to the node.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use engine::limits::{FLEET_ORDERS_MAX, FLEET_OUT_BYTES_MAX, FLEET_TURN_DUE_MAX, HEARTBEAT, RECEIVE_WINDOW};
use quinn_proto::{Connection, Dir, Endpoint, EndpointConfig, Event as Moved, StreamEvent, StreamId, WriteError};
use thiserror::Error;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::dialogue::Dialogue;
use super::redial::Redial;
use super::{ClientConfig, Command, Event, Lost, PATIENCE};
use crate::quic::drive::{Rest, Turning, drive};
use crate::quic::dues::Dues;
use crate::quic::{Packets, Quic, Read, Said, read};
use crate::session::{Close, CloseCode};
use crate::tls::{Identity, IdentityError, Key, proven_key};
use crate::transport::{Carrier, bind, client_transport};
use crate::wire::{ALPN, Decoder, Role, ToClient, WireError};

/// How long a turn waits after one in which many connections were served: what arrives meanwhile is taken together.
const TURN: Duration = Duration::from_millis(1);
/// The same after one in which few were: what a client hears late counts as the node's delay, and here costs little.
const SHORT_TURN: Duration = Duration::from_micros(250);
/// Connections served in a turn that are few.
const FEW: usize = 4;
/// How long the nodes have to hear that the clients end.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why a fleet does not start.
#[derive(Error, Debug)]
pub enum FleetError {
    /// No socket, or no thread.
    #[error("cannot have a socket for the clients: {0}")]
    Socket(#[from] std::io::Error),
    /// A key cannot be used.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// An address is none.
    #[error("{0} is no address of a node: HOST:PORT, in numbers")]
    Address(String),
}

/// A client of a fleet.
pub struct FleetClient {
    /// Where it connects, and as whom: addresses in numbers.
    pub config: ClientConfig,
    /// Its key.
    pub identity: Identity,
    /// Silence after which its connection counts as lost.
    pub lost_after: Duration,
}

/// Many clients, while they run.
pub struct Fleet {
    orders: Sender<(usize, Command)>,
    wake: Arc<Notify>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Starts the clients, on a thread of their own and over one socket that is bound at `local`. `hear` is called there for every
    /// event of each, by its place in `clients`, in order; [`Lost`] where a client is not there any more.
    ///
    /// # Errors
    /// If the socket or the thread cannot be had, or a key or an address cannot be used.
    pub fn start(
        local: SocketAddr,
        buffer_bytes: usize,
        clients: Vec<FleetClient>,
        hear: impl FnMut(usize, Result<Event, Lost>) + Send + 'static,
    ) -> Result<Self, FleetError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut fleet, owner) = {
            // The socket belongs to the runtime that waits for it.
            let _inside = runtime.enter();
            Self::with_owner(Carrier::Udp(bind(local, buffer_bytes)?.socket), clients, hear)?
        };
        let woken = Arc::clone(&fleet.wake);
        let turns = move || runtime.block_on(drive(owner, woken, Rest::Asleep));
        fleet.thread = Some(std::thread::Builder::new().name("clients".into()).spawn(turns)?);
        Ok(fleet)
    }

    /// The same over what carries packets, inside the caller's runtime.
    ///
    /// # Errors
    /// If a key or an address cannot be used.
    pub fn on(
        carrier: Carrier,
        clients: Vec<FleetClient>,
        hear: impl FnMut(usize, Result<Event, Lost>) + Send + 'static,
    ) -> Result<Self, FleetError> {
        let (fleet, owner) = Self::with_owner(carrier, clients, hear)?;
        tokio::spawn(drive(owner, Arc::clone(&fleet.wake), Rest::Awaited));
        Ok(fleet)
    }

    fn with_owner(
        carrier: Carrier,
        clients: Vec<FleetClient>,
        hear: impl FnMut(usize, Result<Event, Lost>) + Send + 'static,
    ) -> Result<(Self, Owner), FleetError> {
        let packets = Packets::over(carrier)?;
        let endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, packets.keeps_whole(), None);
        let rows = clients.iter().map(Row::new).collect::<Result<Vec<Row>, FleetError>>()?;
        let (orders, orders_in) = crossbeam_channel::bounded(FLEET_ORDERS_MAX);
        let (wake, ends): (Arc<Notify>, Arc<AtomicBool>) = Default::default();
        let mut dues = Dues::default();
        (0..rows.len()).for_each(|client| dues.set(client, Some(Duration::ZERO)));
        let owner = Owner {
            // A connection that is made again takes another row while the one before drains.
            quic: Quic::new(endpoint, packets, 2 * rows.len()),
            clients: Vec::new(),
            quic_dues: Dues::default(),
            rows,
            dues,
            due: Vec::new(),
            orders: orders_in,
            ends: Arc::clone(&ends),
            farewell: None,
            started: Instant::now(),
            now: Duration::ZERO,
            is_behind: false,
            served: 0,
            hear: Box::new(hear),
        };
        Ok((Self { orders, wake, ends, thread: None }, owner))
    }

    /// Tells a client something; waits while too much is told, so that it must not be called where `hear` is. Says whether the
    /// clients still run. Intents and what is watched are kept for the next connection; anything else is dropped where there
    /// is none.
    pub fn tell(&self, client: usize, command: Command) -> bool {
        let told = self.orders.send((client, command)).is_ok();
        self.wake.notify_one();
        told
    }

    /// The same without waiting. Says whether there was room for it.
    pub fn try_tell(&self, client: usize, command: Command) -> bool {
        let told = self.orders.try_send((client, command)).is_ok();
        self.wake.notify_one();
        told
    }

    /// Ends every connection, and waits a moment until the nodes have heard it, unless the runtime is the caller's.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // One that panicked has told so on its own thread.
            let _ = thread.join();
        }
    }
}

/// One client.
struct Row {
    quic: quinn_proto::ClientConfig,
    redial: Redial,
    dialogue: Dialogue,
    stage: Stage,
}

/// How far a client has come.
enum Stage {
    /// It connects at that moment.
    Pause(Duration),
    /// Its connection has that row of [`Quic`]; its handshake must end by then.
    Handshake(usize, Duration),
    /// Its connection has that row.
    Talk(usize, Box<Talk>),
    /// It is not there any more.
    Gone,
}

/// A connection whose handshake has ended.
struct Talk {
    node: Key,
    /// What the client says, and the answers.
    stream: StreamId,
    answers: Decoder<ToClient>,
    /// The node's own stream, once it is there.
    updates: Option<(StreamId, Decoder<ToClient>)>,
    /// What it says, and how much of that is written.
    out: Vec<u8>,
    written: usize,
    /// Whether one of the streams may have something to be read.
    is_readable: bool,
    /// Until when the node must say welcome; nothing once it has.
    welcome_by: Option<Duration>,
}

impl Row {
    fn new(client: &FleetClient) -> Result<Self, FleetError> {
        for address in
            std::iter::once(&client.config.address).chain(client.config.others.iter().map(|(other, _)| other))
        {
            address.parse::<SocketAddr>().map_err(|_| FleetError::Address(address.clone()))?;
        }
        let mut quic = quinn_proto::ClientConfig::new(Arc::new(client.identity.client_config(ALPN)?));
        quic.transport_config(client_transport(RECEIVE_WINDOW, client.lost_after));
        let redial = Redial::new(&client.config, &client.identity.key);
        Ok(Self { quic, redial, dialogue: Dialogue::new(&client.config), stage: Stage::Pause(Duration::ZERO) })
    }

    /// The row of its connection, if it has one.
    fn line(&self) -> Option<usize> {
        match self.stage {
            Stage::Handshake(row, _) | Stage::Talk(row, _) => Some(row),
            Stage::Pause(_) | Stage::Gone => None,
        }
    }

    /// When it has something to do though nothing arrives.
    fn due(&self, now: Duration) -> Option<Duration> {
        match &self.stage {
            Stage::Pause(at) | Stage::Handshake(_, at) => Some(*at),
            Stage::Talk(_, talk) => talk.welcome_by.or_else(|| self.dialogue.resumes_at(now)),
            Stage::Gone => None,
        }
    }
}

struct Owner {
    quic: Quic,
    /// Whose connection each row of [`Quic`] is, and when QUIC has something to do for it.
    clients: Vec<Option<usize>>,
    quic_dues: Dues,
    rows: Vec<Row>,
    dues: Dues,
    /// Clients that are due in this turn.
    due: Vec<usize>,
    orders: Receiver<(usize, Command)>,
    ends: Arc<AtomicBool>,
    farewell: Option<Duration>,
    started: Instant,
    now: Duration,
    is_behind: bool,
    /// Connections that the last turn served.
    served: usize,
    hear: Box<dyn FnMut(usize, Result<Event, Lost>) + Send>,
}

impl Turning for Owner {
    fn started(&self) -> Instant {
        self.started
    }

    fn next_due(&self) -> Duration {
        if self.is_behind {
            return self.now;
        }
        let dues = self.dues.next().into_iter().chain(self.quic_dues.next()).chain(self.farewell);
        dues.fold(self.now + HEARTBEAT, Ord::min)
    }

    fn last_turn(&self) -> Duration {
        self.now
    }

    fn waits(&self) -> Duration {
        if self.served <= FEW { SHORT_TURN } else { TURN }
    }

    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.now = self.started.elapsed();
        self.quic.poll_receive(cx, self.moment())
    }

    fn turn(&mut self, cx: &mut Context<'_>) {
        self.now = self.started.elapsed();
        let moment = self.moment();
        let has_more = self.quic.receive(cx, moment);
        for row in self.quic_dues.expired(self.now) {
            self.quic.expire(row, moment);
        }
        self.take_orders();
        let dials = self.dial();
        self.serve();
        if self.ends.load(Ordering::Relaxed) && self.farewell.is_none() {
            self.end();
        }
        let is_sent = self.quic.send();
        self.is_behind = has_more || dials || !is_sent;
    }

    fn has_ended(&self) -> bool {
        self.farewell.is_some_and(|until| self.now >= until || self.quic.open() == 0)
    }
}

impl Owner {
    /// This turn's moment as QUIC counts.
    fn moment(&self) -> std::time::Instant {
        (self.started + self.now).into_std()
    }

    /// Takes what the clients are told.
    fn take_orders(&mut self) {
        for _ in 0..FLEET_ORDERS_MAX {
            let Ok((client, command)) = self.orders.try_recv() else { return };
            let row = &mut self.rows[client];
            if matches!(command, Command::Reconnect | Command::Close) {
                if let Some(line) = row.line() {
                    self.quic.close(line, &Close::new(CloseCode::Done, ""), (self.started + self.now).into_std());
                    row.redial.again();
                    row.stage = Stage::Pause(self.now);
                }
                // Who has no connection makes another anyway, or is not there any more.
                if matches!(command, Command::Close) {
                    row.stage = Stage::Gone;
                }
                self.dues.set(client, row.due(self.now));
                continue;
            }
            let hear = &mut self.hear;
            let mut later = Vec::new();
            let out = match &mut row.stage {
                Stage::Talk(line, talk) if talk.welcome_by.is_none() => {
                    self.quic.mark(*line);
                    &mut talk.out
                }
                // What would be sent now is dropped: the next connection asks for what is watched and wanted, and sends what
                // has no receipt.
                _ => &mut later,
            };
            row.dialogue.take(command, out, |event| hear(client, Ok(event)));
            if out.len() > FLEET_OUT_BYTES_MAX {
                self.lose(client, Lost::Other("the node reads nothing".into()));
            }
        }
    }

    /// Does what is due: connects those whose pause is over, and ends what took too long. Says whether there is more to do.
    fn dial(&mut self) -> bool {
        self.due.clear();
        self.due.extend(self.dues.expired(self.now).take(FLEET_TURN_DUE_MAX));
        let due = std::mem::take(&mut self.due);
        for client in &due {
            match &self.rows[*client].stage {
                Stage::Pause(_) => self.connect(*client),
                Stage::Handshake(..) => self.lose_silent(*client),
                Stage::Talk(_, talk) if talk.welcome_by.is_some() => self.lose_silent(*client),
                Stage::Talk(line, _) => {
                    self.quic.mark(*line);
                    self.dues.set(*client, None);
                }
                Stage::Gone => self.dues.set(*client, None),
            }
        }
        let has_more = due.len() == FLEET_TURN_DUE_MAX;
        self.due = due;
        has_more
    }

    fn connect(&mut self, client: usize) {
        let (moment, by) = (self.moment(), self.now + PATIENCE);
        let row = &mut self.rows[client];
        (self.hear)(client, Ok(row.redial.begin()));
        let at: SocketAddr = row.redial.address.parse().expect("addresses were read at the start");
        match self.quic.connect(row.quic.clone(), at, moment) {
            Ok(line) => {
                row.stage = Stage::Handshake(line, by);
                if self.clients.len() <= line {
                    self.clients.resize(line + 1, None);
                }
                assert!(self.clients[line].replace(client).is_none(), "a connection is one client's");
                self.dues.set(client, Some(by));
            }
            Err(error) => self.lose(client, Lost::Other(error.to_string())),
        }
    }

    fn lose_silent(&mut self, client: usize) {
        let address = self.rows[client].redial.address.clone();
        self.lose(client, Lost::Silent(address));
    }

    /// A client has no connection any more, and tries again if that is wanted.
    fn lose(&mut self, client: usize, lost: Lost) {
        let row = &mut self.rows[client];
        if let Some(line) = row.line() {
            let (code, text) = match &lost {
                Lost::Wire(error) => (CloseCode::Malformed, error.to_string()),
                _ => (CloseCode::Done, String::new()),
            };
            self.quic.close(line, &Close::new(code, text), (self.started + self.now).into_std());
        }
        let heard = match row.redial.lost(&lost) {
            Some(pause) => {
                row.stage = Stage::Pause(self.now + pause);
                Ok(Event::Down { reason: lost, pause })
            }
            None => {
                row.stage = Stage::Gone;
                Err(lost)
            }
        };
        self.dues.set(client, row.due(self.now));
        (self.hear)(client, heard);
    }

    /// Serves every connection that was moved since the last turn, each once.
    fn serve(&mut self) {
        self.served = self.quic.marked();
        for _ in 0..self.served {
            let Some(line) = self.quic.take_marked() else { return };
            if self.quic.line(line).is_none() {
                continue;
            }
            let client = self.clients[line].filter(|client| self.rows[*client].line() == Some(line));
            if let Some(client) = client
                && let Err(lost) = self.converse(client, line)
            {
                self.lose(client, lost);
            }
            match self.quic.say(line, self.moment()) {
                Said::Due(due) => {
                    let due = due.map(|due| due.saturating_duration_since(self.started.into_std()));
                    self.quic_dues.set(line, due);
                }
                Said::Drained => {
                    self.quic_dues.set(line, None);
                    self.clients[line] = None;
                }
            }
        }
    }

    /// Hears what QUIC and the node say to a client, and says what it has to.
    fn converse(&mut self, client: usize, line: usize) -> Result<(), Lost> {
        let (now, mut lost) = (self.now, None);
        while let Some(moved) = self.quic.event(line) {
            match moved {
                Moved::Connected => self.connected(client, line)?,
                Moved::ConnectionLost { reason } => lost = Some(reason),
                Moved::Stream(StreamEvent::Opened { .. } | StreamEvent::Readable { .. }) => {
                    if let Stage::Talk(_, talk) = &mut self.rows[client].stage {
                        talk.is_readable = true;
                    }
                }
                _ => {}
            }
        }
        if let Some(reason) = lost {
            // What came before it was lost is heard: a receipt may be among it.
            let _ = self.listen(client, line);
            return Err(Lost::of(&reason, &self.rows[client].redial.address));
        }
        // A node that does not read is not read either: whatever it says may have this client say more.
        if self.write(client, line)? {
            self.listen(client, line)?;
            let row = &mut self.rows[client];
            if let Stage::Talk(_, talk) = &mut row.stage
                && talk.welcome_by.is_none()
            {
                row.dialogue.go_on(now, &mut talk.out);
            }
            self.write(client, line)?;
        }
        self.dues.set(client, self.rows[client].due(now));
        Ok(())
    }

    /// Writes what there is to say. Says whether all of it is written.
    fn write(&mut self, client: usize, line: usize) -> Result<bool, Lost> {
        let quic = self.quic.line(line).expect("it is served");
        match &mut self.rows[client].stage {
            Stage::Talk(_, talk) => talk.write(quic),
            _ => Ok(true),
        }
    }

    /// The handshake has ended.
    fn connected(&mut self, client: usize, line: usize) -> Result<(), Lost> {
        let row = &mut self.rows[client];
        let quic = self.quic.line(line).expect("it is served");
        let found = proven_key(quic.crypto_session().peer_identity());
        let found = found.ok_or_else(|| Lost::Other("the node proved no key".into()))?;
        if let Some(expected) = row.redial.node
            && expected != found
        {
            return Err(Lost::Key { expected, found });
        }
        let stream = quic.streams().open(Dir::Bi).ok_or_else(|| Lost::Other("the node takes no stream".into()))?;
        let mut out = Vec::new();
        row.dialogue.say_hello(&mut out);
        let talk = Talk {
            node: found,
            stream,
            answers: Decoder::for_opener(Role::Client),
            updates: None,
            out,
            written: 0,
            is_readable: false,
            welcome_by: Some(self.now + PATIENCE),
        };
        row.stage = Stage::Talk(line, Box::new(talk));
        Ok(())
    }

    /// Reads what there is of both streams.
    fn listen(&mut self, client: usize, line: usize) -> Result<(), Lost> {
        let Self { rows, quic, hear, now, .. } = self;
        let Row { redial, dialogue, stage, .. } = &mut rows[client];
        let (Stage::Talk(_, talk), Some(quic)) = (stage, quic.line(line)) else { return Ok(()) };
        if !std::mem::take(&mut talk.is_readable) {
            return Ok(());
        }
        if talk.updates.is_none() {
            talk.updates = quic.streams().accept(Dir::Uni).map(|stream| (stream, Decoder::for_updates(Role::Client)));
        }
        let rtt = quic.rtt();
        let Talk { node, stream, answers, updates, out, welcome_by, .. } = &mut **talk;
        let mut take = |message: ToClient| -> Result<(), Lost> {
            if let ToClient::Welcome(welcome) = message {
                dialogue.welcomed(&welcome, *now, out)?;
                *welcome_by = None;
                redial.came_up();
                hear(client, Ok(Event::Up { welcome, node: *node, address: redial.address.clone(), rtt }));
            } else {
                dialogue.hear(message, *now, |event| hear(client, Ok(event)));
            }
            Ok(())
        };
        let mut goes_on = read_all(quic, *stream, answers, &mut take)?;
        if let Some((stream, decoder)) = updates {
            goes_on &= read_all(quic, *stream, decoder, &mut take)?;
        }
        if goes_on { Ok(()) } else { Err(Lost::Other("the connection ended".into())) }
    }

    /// Every connection hears that its client ends.
    fn end(&mut self) {
        let moment = self.moment();
        for row in &mut self.rows {
            if let Some(line) = row.line() {
                self.quic.close(line, &Close::new(CloseCode::Done, ""), moment);
            }
            row.stage = Stage::Gone;
        }
        (0..self.rows.len()).for_each(|client| self.dues.set(client, None));
        self.farewell = Some(self.now + FAREWELL);
        self.serve();
    }
}

/// Takes what a stream has. Says whether it goes on.
fn read_all(
    quic: &mut Connection,
    stream: StreamId,
    decoder: &mut Decoder<ToClient>,
    take: &mut impl FnMut(ToClient) -> Result<(), Lost>,
) -> Result<bool, Lost> {
    loop {
        match read(quic, stream, RECEIVE_WINDOW as usize) {
            Read::Bytes(bytes) => {
                decoder.push(&bytes);
                while let Some(message) = decoder.next_message().map_err(|error: WireError| Lost::Wire(error))? {
                    take(message)?;
                }
            }
            Read::Nothing => return Ok(true),
            Read::Ended => return Ok(false),
        }
    }
}

impl Talk {
    /// Writes what the stream takes. Says whether that was all.
    fn write(&mut self, quic: &mut Connection) -> Result<bool, Lost> {
        while self.written < self.out.len() {
            match quic.send_stream(self.stream).write(&self.out[self.written..]) {
                Ok(count) => self.written += count,
                Err(WriteError::Blocked) => return Ok(false),
                Err(error) => return Err(Lost::Other(error.to_string())),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(true)
    }
}
