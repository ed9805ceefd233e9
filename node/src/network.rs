//! The network of a node: who it is there, and what it tells those who connect.

use engine::Genesis;
use keys::identity;
use net::server::{ChainInfo, Server, ServerConfig, StartError};
use order::signature::NetKey;

/// What a chain's node tells those who connect.
///
/// # Panics
/// If the genesis has more seats than any may have.
pub fn chain(genesis: &Genesis, bytes: Vec<u8>) -> ChainInfo {
    ChainInfo {
        id: Genesis::chain_id(&bytes),
        genesis: bytes,
        tables: genesis.tables,
        seats: u8::try_from(genesis.seats).expect("genesis bounds the seats"),
        keys: genesis.keys,
    }
}

/// Listens for the players and peers of a chain, whose genesis was read from `bytes`.
///
/// # Errors
/// If the address, the threads or the key cannot be had.
pub fn listen(genesis: &Genesis, bytes: Vec<u8>, key: &NetKey, config: ServerConfig) -> Result<Server, StartError> {
    Server::start(config, chain(genesis, bytes), identity(key)?)
}
