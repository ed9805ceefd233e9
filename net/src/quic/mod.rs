//! QUIC by one owner: connections are rows, moved by nothing but what arrives, what is due and what is written.
//!
//! `quinn-proto` is QUIC without sockets, clocks and tasks. A connection that was moved is marked, and once a turn each
//! marked one is asked what it has to say: to the application, to the endpoint, and to its peer.

mod packets;
pub(crate) mod dues;
pub(crate) mod drive;

use std::collections::VecDeque;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use engine::limits::TURN_BATCHES_MAX;
use quinn_proto::{
    ClientConfig, ConnectError, Connection, ConnectionHandle, DatagramEvent, Endpoint, Event, Incoming, ReadError,
    StreamId, Transmit, VarInt,
};

pub(crate) use self::packets::Packets;
use crate::session::Close;
use crate::transport::SERVER_NAME;

/// The endpoint and its connections.
pub(crate) struct Quic {
    endpoint: Endpoint,
    packets: Packets,
    /// By the number of their handle, which the endpoint gives again once a connection is drained.
    lines: Vec<Option<Connection>>,
    /// Rows to be asked what they have to say, each once.
    marked: VecDeque<usize>,
    is_marked: Vec<bool>,
    arrived: VecDeque<Incoming>,
    /// Packets that arrived and were sent since they were last counted.
    counted: (u64, u64),
}

/// What a connection gave when it was asked.
pub(crate) enum Said {
    /// When its timers are due.
    Due(Option<Instant>),
    /// It is gone, and its row may be another's.
    Drained,
}

impl Quic {
    /// `rows` is how many connections there may be, those that are still shaking hands among them.
    pub(crate) fn new(endpoint: Endpoint, packets: Packets, rows: usize) -> Self {
        let (marked, arrived) = (VecDeque::new(), VecDeque::new());
        // A row is 6 KiB. In a list that grows, all of them would be copied within a turn, and what the list leaves
        // behind each time would stay in memory; rows that nobody used yet take none.
        let lines = Vec::with_capacity(rows);
        Self { endpoint, packets, lines, marked, is_marked: Vec::new(), arrived, counted: (0, 0) }
    }

    /// Takes some of what has arrived.
    pub(crate) fn poll_receive(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<()> {
        let Self { endpoint, packets, lines, marked, is_marked, arrived, .. } = self;
        let mut responses = Vec::new();
        let received = packets.poll_receive(cx, |packet| {
            let (meta, bytes) = (packet.meta, BytesMut::from(packet.bytes));
            let mut response = Vec::new();
            match endpoint.handle(now, meta.addr, meta.dst_ip, packet.ecn(), bytes, &mut response) {
                Some(DatagramEvent::NewConnection(incoming)) => arrived.push_back(incoming),
                Some(DatagramEvent::ConnectionEvent(ConnectionHandle(row), event)) => {
                    lines[row].as_mut().expect("the endpoint knows who is connected").handle_event(event);
                    if !std::mem::replace(&mut is_marked[row], true) {
                        marked.push_back(row);
                    }
                }
                Some(DatagramEvent::Response(transmit)) => responses.push((transmit, response)),
                None => {}
            }
        });
        responses.into_iter().for_each(|(transmit, response)| self.respond(transmit, response));
        received.map(|count| self.counted.0 += count as u64)
    }

    /// Takes all that has arrived, as far as a turn takes it. Says whether there may be more.
    pub(crate) fn receive(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        (0..TURN_BATCHES_MAX).all(|_| self.poll_receive(cx, now).is_ready())
    }

    /// The next connection that wants in.
    pub(crate) fn take_arrived(&mut self) -> Option<Incoming> {
        self.arrived.pop_front()
    }

    /// What the endpoint says without a connection. Where there is no room it is lost, as it may be on its way.
    fn respond(&mut self, transmit: Transmit, response: Vec<u8>) {
        if self.packets.has_room() {
            self.counted.1 += 1;
            self.packets.push(transmit, response);
        }
    }

    /// Lets a connection in: its handshake begins, and its row is known. `None` if it cannot even begin.
    pub(crate) fn accept(&mut self, incoming: Incoming, now: Instant) -> Option<usize> {
        let mut response = Vec::new();
        match self.endpoint.accept(incoming, now, &mut response, None) {
            Ok((handle, line)) => Some(self.install(handle, line)),
            Err(error) => {
                if let Some(transmit) = error.response {
                    self.respond(transmit, response);
                }
                None
            }
        }
    }

    /// Turns a connection away.
    pub(crate) fn refuse(&mut self, incoming: Incoming) {
        let mut response = Vec::new();
        let transmit = self.endpoint.refuse(incoming, &mut response);
        self.respond(transmit, response);
    }

    /// Asks whoever wants in to come back with a token, which proves that it is where it says.
    pub(crate) fn retry(&mut self, incoming: Incoming) {
        let mut response = Vec::new();
        match self.endpoint.retry(incoming, &mut response) {
            Ok(transmit) => self.respond(transmit, response),
            // It has come with a token already, so there is nothing more to prove.
            Err(error) => self.refuse(error.into_incoming()),
        }
    }

    /// Opens a connection to a node.
    pub(crate) fn connect(
        &mut self,
        config: ClientConfig,
        at: std::net::SocketAddr,
        now: Instant,
    ) -> Result<usize, ConnectError> {
        let (handle, line) = self.endpoint.connect(now, config, at, SERVER_NAME)?;
        Ok(self.install(handle, line))
    }

    fn install(&mut self, ConnectionHandle(row): ConnectionHandle, line: Connection) -> usize {
        if self.lines.len() <= row {
            self.lines.resize_with(row + 1, || None);
            self.is_marked.resize(row + 1, false);
        }
        assert!(self.lines[row].replace(line).is_none(), "a row has one connection");
        self.mark(row);
        row
    }

    /// The row will be asked what it has to say.
    pub(crate) fn mark(&mut self, row: usize) {
        if !std::mem::replace(&mut self.is_marked[row], true) {
            self.marked.push_back(row);
        }
    }

    /// Rows that are marked.
    pub(crate) fn marked(&self) -> usize {
        self.marked.len()
    }

    /// The next marked row, which is marked no longer.
    pub(crate) fn take_marked(&mut self) -> Option<usize> {
        let row = self.marked.pop_front()?;
        assert!(self.is_marked[row], "a row waits to be asked only while it is marked");
        self.is_marked[row] = false;
        Some(row)
    }

    /// A connection, until it is drained.
    pub(crate) fn line(&mut self, row: usize) -> Option<&mut Connection> {
        self.lines.get_mut(row)?.as_mut()
    }

    /// What a connection has to tell the application.
    pub(crate) fn event(&mut self, row: usize) -> Option<Event> {
        self.line(row)?.poll()
    }

    /// The timers of a connection that are due do what they do.
    pub(crate) fn expire(&mut self, row: usize, now: Instant) {
        if let Some(line) = self.line(row) {
            line.handle_timeout(now);
            self.mark(row);
        }
    }

    /// Ends a connection and says why; what it still has to say follows.
    pub(crate) fn close(&mut self, row: usize, close: &Close, now: Instant) {
        let Some(line) = self.line(row) else { return };
        line.close(now, VarInt::from_u32(close.code as u32), Bytes::copy_from_slice(close.text.as_bytes()));
        self.mark(row);
    }

    /// Asks for a sign of life: a connection whose peer is gone ends by what comes back, or by nothing.
    pub(crate) fn ping(&mut self, row: usize) {
        if let Some(line) = self.line(row) {
            line.ping();
            self.mark(row);
        }
    }

    /// Sends what a connection has to send, and tells the endpoint what it must know of it.
    pub(crate) fn say(&mut self, row: usize, now: Instant) -> Said {
        let Self { endpoint, packets, lines, .. } = self;
        let line = lines[row].as_mut().expect("it is not drained");
        let (mut drained, mut is_complete) = (false, true);
        loop {
            let segments = packets.segments();
            is_complete &= loop {
                if !packets.has_room() {
                    break false;
                }
                let mut packet = packets.buffer();
                let Some(transmit) = line.poll_transmit(now, segments, &mut packet) else {
                    packets.give_back(packet);
                    break true;
                };
                self.counted.1 += transmit.segment_size.map_or(1, |size| transmit.size.div_ceil(size)) as u64;
                packets.push(transmit, packet);
            };
            let mut is_answered = false;
            while let Some(event) = line.poll_endpoint_events() {
                drained |= event.is_drained();
                if let Some(answer) = endpoint.handle_event(ConnectionHandle(row), event) {
                    line.handle_event(answer);
                    is_answered = true;
                }
            }
            // An answer of the endpoint may give the connection something more to send.
            if !is_answered {
                break;
            }
        }
        if drained {
            // The endpoint gives the number to another connection from now on.
            self.lines[row] = None;
            return Said::Drained;
        }
        let due = line.poll_timeout();
        if !is_complete {
            // The system has no room: the rest follows in the next turn.
            self.mark(row);
        }
        Said::Due(due)
    }

    /// Sends what waits. Says whether the system had room for all of it.
    pub(crate) fn send(&mut self) -> bool {
        self.packets.send();
        !self.packets.is_blocked()
    }

    /// Connections that are not drained.
    pub(crate) fn open(&self) -> usize {
        self.endpoint.open_connections()
    }

    /// Packets that arrived and were sent since the last time.
    pub(crate) fn take_counted(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.counted)
    }
}

/// What a stream has to be read.
pub(crate) enum Read {
    Bytes(Bytes),
    Nothing,
    Ended,
}

/// Reads so many bytes of a stream at most.
pub(crate) fn read(line: &mut Connection, stream: StreamId, most: usize) -> Read {
    let mut stream = line.recv_stream(stream);
    let Ok(mut chunks) = stream.read(true) else { return Read::Ended };
    let read = match chunks.next(most) {
        Ok(Some(chunk)) => Read::Bytes(chunk.bytes),
        Ok(None) | Err(ReadError::Reset(_)) => Read::Ended,
        Err(ReadError::Blocked) => Read::Nothing,
    };
    // Whether QUIC has something to send now need not be remembered: whatever was moved is asked for what it has to
    // say.
    let _ = chunks.finalize();
    read
}
