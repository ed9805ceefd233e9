//! A client's end of a connection: sends intents until each has its receipt, through as many connections as it takes.
//!
//! ```text
//!  commands -> [ intents without a receipt ] -> credit -> connection -> answers, updates -> events
//!                        ^ sent again, the same bytes, after every reconnect
//! ```

mod lost;
mod event;
mod dial;
mod redial;
mod sending;
mod dialogue;
mod talk;
pub mod fleet;
mod raw;
pub mod status;

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use engine::limits::RECEIVE_WINDOW;
pub use quinn::Endpoint;
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::dial::quic_config;
use self::dialogue::Dialogue;
pub use self::event::{ClientConfig, Command, Event};
pub use self::lost::Lost;
pub use self::raw::RawConnection;
use self::redial::Redial;
use crate::tls::{Identity, IdentityError};
use crate::transport::{Carrier, bind, client_transport, endpoint};
use crate::wire::ALPN;

/// Silence after which a connection is lost, where nothing else was said.
pub const IDLE: Duration = Duration::from_secs(30);

/// A socket that clients share.
///
/// # Errors
/// If it cannot be had. Must be called inside a runtime.
pub fn socket(local: SocketAddr, buffer_bytes: usize) -> io::Result<Endpoint> {
    endpoint(Carrier::Udp(bind(local, buffer_bytes)?.socket))
}

/// A socket for nodes at any address: of both IPv6 and IPv4, or of IPv4 alone where there is no IPv6.
///
/// # Errors
/// If it cannot be had. Must be called inside a runtime.
pub fn any_socket(buffer_bytes: usize) -> io::Result<Endpoint> {
    let both = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0));
    socket(both, buffer_bytes).or_else(|_| socket(SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, 0)), buffer_bytes))
}

/// A client: one identity, one node.
pub struct Client {
    endpoint: Endpoint,
    quic: quinn::ClientConfig,
    /// Since when moments are counted.
    started: Instant,
    redial: Redial,
    dialogue: Dialogue,
}

enum Ended {
    Asked,
    Again,
    Lost(Lost),
}

impl Client {
    /// A client that is not connected yet.
    ///
    /// # Errors
    /// If the key cannot be used.
    pub fn new(config: ClientConfig, endpoint: Endpoint, identity: &Identity) -> Result<Self, IdentityError> {
        Self::speaking(ALPN, config, endpoint, identity)
    }

    /// A client that speaks another version of the protocol: for tests of its refusal.
    ///
    /// # Errors
    /// If the key cannot be used.
    pub fn speaking(
        alpn: &[u8],
        config: ClientConfig,
        endpoint: Endpoint,
        identity: &Identity,
    ) -> Result<Self, IdentityError> {
        let quic = quic_config(identity, alpn, IDLE)?;
        let (redial, dialogue) = (Redial::new(&config, &identity.key), Dialogue::new(&config));
        Ok(Self { endpoint, quic, started: Instant::now(), redial, dialogue })
    }

    /// This client, whose connection counts as lost after so long a silence: for a person who looks at it.
    #[must_use]
    pub fn lost_after(mut self, silence: Duration) -> Self {
        self.quic.transport_config(client_transport(RECEIVE_WINDOW, silence));
        self
    }

    /// Runs until it is told to close, or nothing more can be had. `hear` is called for every event, in order.
    ///
    /// # Errors
    /// Why there is no connection, where trying again cannot help or was not wanted.
    pub async fn run(
        mut self,
        mut commands: mpsc::Receiver<Command>,
        mut hear: impl FnMut(Event) + Send,
    ) -> Result<(), Lost> {
        loop {
            hear(self.redial.begin());
            let lost = match self.connected(&mut commands, &mut hear).await {
                Ended::Asked => return Ok(()),
                Ended::Again => {
                    self.redial.again();
                    continue;
                }
                Ended::Lost(lost) => lost,
            };
            let Some(pause) = self.redial.lost(&lost, self.started.elapsed()) else { return Err(lost) };
            hear(Event::Down { reason: lost, pause });
            if self.wait(pause, &mut commands, &mut hear).await {
                return Ok(());
            }
        }
    }

    /// Takes commands while there is no connection. Says whether to end.
    async fn wait(
        &mut self,
        pause: Duration,
        commands: &mut mpsc::Receiver<Command>,
        hear: &mut (impl FnMut(Event) + Send),
    ) -> bool {
        let until = Instant::now() + pause;
        loop {
            match tokio::time::timeout_at(until, commands.recv()).await {
                Err(_) => return false,
                Ok(None | Some(Command::Close)) => return true,
                Ok(Some(command)) => {
                    // What would be sent now is dropped: the next connection asks for what is watched and wanted, and
                    // sends what has no receipt; a pledge is the player's to send again.
                    let mut later = Vec::new();
                    self.dialogue.take(command, self.started.elapsed(), &mut later, &mut *hear);
                }
            }
        }
    }
}
