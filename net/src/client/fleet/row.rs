//! One client of a fleet: how far it has come, and its connection.

use std::net::SocketAddr;
use std::time::Duration;

use engine::limits::RECEIVE_WINDOW;
use quinn_proto::{Connection, StreamId, WriteError};
use thiserror::Error;

use crate::client::dial::quic_config;
use crate::client::dialogue::Dialogue;
use crate::client::event::ClientConfig;
use crate::client::lost::Lost;
use crate::client::redial::Redial;
use crate::quic::{Read, read};
use crate::tls::{Identity, IdentityError, Key};
use crate::wire::{ALPN, Decoder, ToClient, WireError};

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

/// How one client of a fleet connects.
pub struct FleetClient {
    /// Where the client connects, and as whom: addresses in numbers, since a fleet asks nobody for names.
    pub config: ClientConfig,
    /// The network key that the client proves.
    pub identity: Identity,
    /// Silence after which the connection counts as lost.
    pub lost_after: Duration,
}

/// One client.
pub(super) struct Row {
    pub(super) quic: quinn_proto::ClientConfig,
    pub(super) redial: Redial,
    pub(super) dialogue: Dialogue,
    pub(super) stage: ClientStage,
}

/// How far a client has come.
pub(super) enum ClientStage {
    /// The client connects at that moment.
    Pause(Duration),
    /// The connection has that row of [`Quic`]; the handshake must end by then.
    Handshake(usize, Duration),
    /// The connection has that row, and its handshake has ended.
    Talk(usize, Box<Talk>),
    /// The client has ended, and dials no more.
    Gone,
}

/// A connection whose handshake has ended.
pub(super) struct Talk {
    pub(super) node: Key,
    /// What the client says, and the answers.
    pub(super) stream: StreamId,
    pub(super) answers: Decoder<ToClient>,
    /// The node's own stream, once it is there.
    pub(super) updates: Option<(StreamId, Decoder<ToClient>)>,
    /// What it says, and how much of that is written.
    pub(super) out: Vec<u8>,
    pub(super) written: usize,
    /// Whether one of the streams may have something to be read.
    pub(super) is_readable: bool,
    /// Until when the node must say welcome; nothing once it has.
    pub(super) welcome_by: Option<Duration>,
}

impl Row {
    pub(super) fn new(client: &FleetClient) -> Result<Self, FleetError> {
        for address in
            std::iter::once(&client.config.address).chain(client.config.others.iter().map(|(other, _)| other))
        {
            address.parse::<SocketAddr>().map_err(|_| FleetError::Address(address.clone()))?;
        }
        let quic = quic_config(&client.identity, ALPN, client.lost_after)?;
        let redial = Redial::new(&client.config, &client.identity.key);
        Ok(Self { quic, redial, dialogue: Dialogue::new(&client.config), stage: ClientStage::Pause(Duration::ZERO) })
    }

    /// The row of its connection, if it has one.
    pub(super) fn line(&self) -> Option<usize> {
        match self.stage {
            ClientStage::Handshake(row, _) | ClientStage::Talk(row, _) => Some(row),
            ClientStage::Pause(_) | ClientStage::Gone => None,
        }
    }

    /// When it has something to do though nothing arrives.
    pub(super) fn due(&self, now: Duration) -> Option<Duration> {
        match &self.stage {
            ClientStage::Pause(at) | ClientStage::Handshake(_, at) => Some(*at),
            ClientStage::Talk(_, talk) => talk.welcome_by.or_else(|| self.dialogue.resumes_at(now)),
            ClientStage::Gone => None,
        }
    }
}

/// Takes what a stream has. Says whether it goes on.
pub(super) fn read_all(
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
    pub(super) fn write(&mut self, quic: &mut Connection) -> Result<bool, Lost> {
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
