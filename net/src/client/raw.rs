//! A connection that says what it is told, message by message: for asking a node how it is, and for tests and load runs of
//! what a client must not do.

use std::net::SocketAddr;

use engine::limits::RECEIVE_WINDOW;
use quinn::{Endpoint, RecvStream, VarInt};

use super::IDLE;
use super::dial::{dial, quic_config};
use super::lost::Lost;
use crate::session::CloseCode;
use crate::tls::{Identity, Key, proven_key};
use crate::wire::{ALPN, Decoder, Role, ToClient, ToNode};

/// A connection without a session, for tests and load runs of what a client must not do: sends any bytes, reads or does
/// not read.
pub struct RawConnection {
    quic: quinn::Connection,
    send: quinn::SendStream,
    /// Where what it says goes instead, once it has opened one.
    lane: Option<quinn::SendStream>,
    recv: RecvStream,
    decoder: Decoder<ToClient>,
    address: String,
}

impl RawConnection {
    /// Connects and opens the stream, and says nothing.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(endpoint: &Endpoint, identity: &Identity, at: SocketAddr) -> Result<Self, Lost> {
        let config = quic_config(identity, ALPN, IDLE).map_err(|error| Lost::Other(error.to_string()))?;
        let address = at.to_string();
        let quic = dial(endpoint, config, at, &address).await?;
        let (send, recv) = quic.open_bi().await.map_err(|error| Lost::of(&error, &address))?;
        Ok(Self { quic, send, lane: None, recv, decoder: Decoder::for_opener(Role::Client), address })
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Lost> {
        match self.lane.as_mut().unwrap_or(&mut self.send).write_all(bytes).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.lost()),
        }
    }

    /// Sends a message.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn say(&mut self, message: &ToNode) -> Result<(), Lost> {
        if let ToNode::Hello(hello) = message {
            self.decoder.open_as(hello.role);
        }
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.send(&bytes).await
    }

    /// The next message.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn hear(&mut self) -> Result<ToClient, Lost> {
        loop {
            if let Some(message) = self.decoder.next_message()? {
                return Ok(message);
            }
            match self.recv.read_chunk(RECEIVE_WINDOW as usize, true).await {
                Ok(Some(chunk)) => self.decoder.push(&chunk.bytes),
                _ => return Err(self.lost()),
            }
        }
    }

    /// Opens a lane, as a node does that the other one knows; what is sent from now on goes there.
    ///
    /// # Errors
    /// Why the connection ended.
    pub async fn open_lane(&mut self) -> Result<(), Lost> {
        match self.quic.open_uni().await {
            Ok(lane) => {
                self.lane = Some(lane);
                Ok(())
            }
            Err(_) => Err(self.lost()),
        }
    }

    /// The key that the node proved.
    pub fn key(&self) -> Option<Key> {
        proven_key(self.quic.peer_identity())
    }

    /// Waits until the node ends the connection.
    pub async fn closed(&self) -> Lost {
        Lost::of(&self.quic.closed().await, &self.address)
    }

    /// Ends the connection, as a client does.
    pub fn close(&self) {
        self.quic.close(VarInt::from_u32(CloseCode::Done as u32), b"");
    }

    fn lost(&self) -> Lost {
        let reason = self.quic.close_reason();
        reason.map_or(Lost::Other("the stream ended".into()), |error| Lost::of(&error, &self.address))
    }
}
