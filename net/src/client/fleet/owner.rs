//! The owner of a fleet's connections: all that happens to them happens in its turns.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use crossbeam_channel::Receiver;
use engine::limits::{FLEET_ORDERS_MAX, FLEET_OUT_BYTES_MAX, FLEET_TURN_DUE_MAX, HEARTBEAT};
use quinn_proto::{Dir, Endpoint, EndpointConfig, Event as Moved, StreamEvent};
use tokio::time::Instant;

use super::row::{ClientStage, FleetClient, FleetError, Row, Talk, read_all};
use crate::client::dial::PATIENCE;
use crate::client::event::{Command, Event};
use crate::client::lost::Lost;
use crate::quic::drive::Turning;
use crate::quic::dues::Dues;
use crate::quic::{Packets, Quic, Said};
use crate::session::{Close, CloseCode};
use crate::tls::proven_key;
use crate::transport::{Carrier, reachable};
use crate::wire::{Decoder, Role, ToClient};

/// How long a turn waits after one that served so many connections at most. What arrives meanwhile is taken together; but what
/// a client hears late counts as the node's delay, so that where a turn costs little it comes soon.
const TURNS: [(usize, Duration); 2] = [(4, Duration::from_micros(250)), (16, Duration::from_millis(1))];
/// How long a turn waits after one that served more connections.
const LONG_TURN: Duration = Duration::from_millis(2);
/// How long the nodes have to hear that the clients end.
const FAREWELL: Duration = Duration::from_secs(2);

/// What is called for every event of each client.
type Hear = Box<dyn FnMut(usize, Result<Event, Lost>) + Send>;

/// The owner of all clients' connections.
pub(super) struct Owner {
    quic: Quic,
    /// The address of its socket.
    local: IpAddr,
    /// Whose connection each row of [`Quic`] is, and when QUIC has something to do for it.
    clients: Vec<Option<usize>>,
    quic_dues: Dues,
    rows: Vec<Row>,
    dues: Dues,
    orders: Receiver<(usize, Command)>,
    ends: Arc<AtomicBool>,
    farewell: Option<Duration>,
    started: Instant,
    now: Duration,
    is_behind: bool,
    /// Connections that the last turn served.
    served: usize,
    hear: Hear,
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
        TURNS.iter().find(|(served, _)| self.served <= *served).map_or(LONG_TURN, |(_, turn)| *turn)
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
        // What was marked while others were served has its turn without a packet that brings it about.
        self.is_behind = has_more || dials || !is_sent || self.quic.marked() > 0;
    }

    fn has_ended(&self) -> bool {
        self.farewell.is_some_and(|until| self.now >= until || self.quic.open() == 0)
    }
}

impl Owner {
    /// Clients that are not connected yet.
    pub(super) fn new(
        carrier: Carrier,
        clients: &[FleetClient],
        orders: Receiver<(usize, Command)>,
        ends: Arc<AtomicBool>,
        hear: Hear,
    ) -> Result<Self, FleetError> {
        let packets = Packets::over(carrier)?;
        let local = packets.local()?.ip();
        let endpoint = Endpoint::new(Arc::new(EndpointConfig::default()), None, packets.keeps_whole(), None);
        let rows = clients.iter().map(Row::new).collect::<Result<Vec<Row>, FleetError>>()?;
        let mut dues = Dues::default();
        (0..rows.len()).for_each(|client| dues.set(client, Some(Duration::ZERO)));
        Ok(Self {
            // A connection that is made again takes another row while the one before drains.
            quic: Quic::new(endpoint, packets, 2 * rows.len()),
            local,
            clients: Vec::new(),
            quic_dues: Dues::default(),
            rows,
            dues,
            orders,
            ends,
            farewell: None,
            started: Instant::now(),
            now: Duration::ZERO,
            is_behind: false,
            served: 0,
            hear,
        })
    }

    /// This turn's moment as QUIC counts.
    fn moment(&self) -> std::time::Instant {
        (self.started + self.now).into_std()
    }

    /// Takes what the clients are told.
    fn take_orders(&mut self) {
        let moment = self.moment();
        for _ in 0..FLEET_ORDERS_MAX {
            let Ok((client, command)) = self.orders.try_recv() else { return };
            let row = &mut self.rows[client];
            if matches!(command, Command::Reconnect | Command::Close) {
                if let Some(line) = row.line() {
                    self.quic.close(line, &Close::new(CloseCode::Done, ""), moment);
                    row.redial.again();
                    row.stage = ClientStage::Pause(self.now);
                }
                // Who has no connection makes another anyway, or is not there any more.
                if matches!(command, Command::Close) {
                    row.stage = ClientStage::Gone;
                }
                self.dues.set(client, row.due(self.now));
                continue;
            }
            if let Command::Leave(why) = command {
                if matches!(row.stage, ClientStage::Talk(..)) && row.dialogue.has_others() {
                    self.lose(client, Lost::Other(why.into()));
                }
                continue;
            }
            let hear = &mut self.hear;
            let mut later = Vec::new();
            let out = match &mut row.stage {
                ClientStage::Talk(line, talk) if talk.welcome_by.is_none() => {
                    self.quic.mark(*line);
                    &mut talk.out
                }
                // What would be sent now is dropped: the next connection asks for what is watched and wanted, and sends what
                // has no receipt.
                _ => &mut later,
            };
            row.dialogue.take(command, self.now, out, |event| hear(client, Ok(event)));
            if out.len() > FLEET_OUT_BYTES_MAX {
                self.lose(client, Lost::Other("the node reads nothing".into()));
            }
        }
    }

    /// Does what is due: connects those whose pause is over, and ends what took too long. Says whether there is more to do.
    fn dial(&mut self) -> bool {
        let due: Vec<usize> = self.dues.expired(self.now).take(FLEET_TURN_DUE_MAX).collect();
        for client in &due {
            match &self.rows[*client].stage {
                ClientStage::Pause(_) => self.connect(*client),
                ClientStage::Handshake(..) => self.lose_silent(*client),
                ClientStage::Talk(_, talk) if talk.welcome_by.is_some() => self.lose_silent(*client),
                ClientStage::Talk(line, _) => {
                    self.quic.mark(*line);
                    self.dues.set(*client, None);
                }
                ClientStage::Gone => self.dues.set(*client, None),
            }
        }
        due.len() == FLEET_TURN_DUE_MAX
    }

    fn connect(&mut self, client: usize) {
        let (moment, by) = (self.moment(), self.now + PATIENCE);
        let row = &mut self.rows[client];
        (self.hear)(client, Ok(row.redial.begin()));
        let at: SocketAddr = row.redial.address.parse().expect("addresses were read at the start");
        let Some(at) = reachable(self.local, [at]) else {
            let problem = format!("a socket at {} cannot reach it", self.local);
            let address = row.redial.address.clone();
            return self.lose(client, Lost::Address { address, problem });
        };
        match self.quic.connect(row.quic.clone(), at, moment) {
            Ok(line) => {
                row.stage = ClientStage::Handshake(line, by);
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
        let moment = self.moment();
        let row = &mut self.rows[client];
        if let Some(line) = row.line() {
            let (code, text) = match &lost {
                Lost::Wire(error) => (CloseCode::Malformed, error.to_string()),
                _ => (CloseCode::Done, String::new()),
            };
            self.quic.close(line, &Close::new(code, text), moment);
        }
        let heard = match row.redial.lost(&lost, self.now) {
            Some(pause) => {
                row.stage = ClientStage::Pause(self.now + pause);
                Ok(Event::Down { reason: lost, pause })
            }
            None => {
                row.stage = ClientStage::Gone;
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
                    if let ClientStage::Talk(_, talk) = &mut self.rows[client].stage {
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
        let is_written = self.write(client, line)?;
        if is_written {
            self.listen(client, line)?;
        }
        let row = &mut self.rows[client];
        if let ClientStage::Talk(_, talk) = &mut row.stage
            && talk.welcome_by.is_none()
        {
            if row.dialogue.gives_up(now) {
                return Err(Lost::Silent(row.redial.address.clone()));
            }
            if is_written {
                row.dialogue.go_on(now, &mut talk.out);
            }
        }
        if is_written {
            self.write(client, line)?;
        }
        self.dues.set(client, self.rows[client].due(now));
        Ok(())
    }

    /// Writes what there is to say. Says whether all of it is written.
    fn write(&mut self, client: usize, line: usize) -> Result<bool, Lost> {
        let quic = self.quic.line(line).expect("it is served");
        match &mut self.rows[client].stage {
            ClientStage::Talk(_, talk) => talk.write(quic),
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
        row.stage = ClientStage::Talk(line, Box::new(talk));
        Ok(())
    }

    /// Reads what there is of both streams.
    fn listen(&mut self, client: usize, line: usize) -> Result<(), Lost> {
        let Self { rows, quic, hear, now, .. } = self;
        let Row { redial, dialogue, stage, .. } = &mut rows[client];
        let (ClientStage::Talk(_, talk), Some(quic)) = (stage, quic.line(line)) else { return Ok(()) };
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
                redial.came_up(*now);
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
            row.stage = ClientStage::Gone;
        }
        (0..self.rows.len()).for_each(|client| self.dues.set(client, None));
        self.farewell = Some(self.now + FAREWELL);
        self.serve();
    }
}
