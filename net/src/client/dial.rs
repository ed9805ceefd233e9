//! One connection to a node: what a client's end of it keeps to, and why there is none.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use engine::limits::RECEIVE_WINDOW;
use quinn::{ClientConfig, Connection, Endpoint};
use tokio::time::timeout;

use super::lost::Lost;
use crate::tls::{Identity, IdentityError};
use crate::transport::{SERVER_NAME, client_transport};

/// How long a node may take to answer a handshake, and to say welcome.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What a client's connections keep to. One counts as lost after so long a silence.
///
/// # Errors
/// If the key cannot be used.
pub(super) fn quic_config(identity: &Identity, alpn: &[u8], silence: Duration) -> Result<ClientConfig, IdentityError> {
    let mut config = ClientConfig::new(Arc::new(identity.client_config(alpn)?));
    config.transport_config(client_transport(RECEIVE_WINDOW, silence));
    Ok(config)
}

/// Connects to the node that `address` names, and waits until the handshake has ended.
///
/// # Errors
/// Why there is no connection.
pub(super) async fn dial(
    endpoint: &Endpoint,
    config: ClientConfig,
    at: SocketAddr,
    address: &str,
) -> Result<Connection, Lost> {
    let connecting = endpoint.connect_with(config, at, SERVER_NAME).map_err(|error| Lost::Other(error.to_string()))?;
    match timeout(PATIENCE, connecting).await {
        Ok(connected) => connected.map_err(|error| Lost::of(&error, address)),
        Err(_) => Err(Lost::Silent(address.to_owned())),
    }
}
