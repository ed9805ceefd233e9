//! Asking a node how it is: for people and programs that look after it.

use std::net::SocketAddr;
use std::time::Duration;

use engine::io::NodeStatus;
use quinn::Endpoint;
use tokio::time::timeout;

use super::{Lost, RawConnection};
use crate::tls::{Identity, Key};
use crate::wire::{Hello, Role, ToClient, ToNode, Welcome};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection over which a node is asked how it is.
pub struct Asking {
    connection: RawConnection,
    at: SocketAddr,
    /// What the node said when it was connected to.
    pub welcome: Welcome,
    /// The key that it proved.
    pub key: Key,
}

impl Asking {
    /// Connects to a node.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn connect(endpoint: &Endpoint, identity: &Identity, at: SocketAddr) -> Result<Self, Lost> {
        let mut connection = RawConnection::connect(endpoint, identity, at).await?;
        let program = concat!("bitcraps ", env!("CARGO_PKG_VERSION")).to_owned();
        connection.say(&ToNode::Hello(Hello { chain: None, program, role: Role::Client })).await?;
        let first = timeout(PATIENCE, connection.hear()).await.map_err(|_| Lost::Silent(at.to_string()))??;
        let ToClient::Welcome(welcome) = first else { return Err(Lost::Other("the node said no welcome".into())) };
        let key = connection.key().ok_or_else(|| Lost::Other("the node proved no key".into()))?;
        Ok(Self { connection, at, welcome, key })
    }

    /// Asks the node how it is.
    ///
    /// # Errors
    /// Why it did not answer.
    pub async fn ask(&mut self) -> Result<NodeStatus, Lost> {
        self.connection.say(&ToNode::AskStatus).await?;
        loop {
            let heard = timeout(PATIENCE, self.connection.hear()).await;
            match heard.map_err(|_| Lost::Silent(self.at.to_string()))?? {
                ToClient::Status(status) => return Ok(status),
                // Everybody hears it when the node's clock is set.
                ToClient::Standing(_) => {}
                _ => return Err(Lost::Other("the node answered something else".into())),
            }
        }
    }

    /// Ends the connection.
    pub fn close(self) {
        self.connection.close();
    }
}
