//! The network of a node: who it is there, and what it tells those who connect.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use keys::identity;
use net::server::{Chain, Server, ServerConfig, StartError};
use order::signature::NetKey;
use systems::Machine;

/// The bounds of a node's network where nothing else was said.
pub fn defaults(listen: SocketAddr) -> ServerConfig {
    let per_s = |count| NonZeroU32::new(count).expect("not zero");
    ServerConfig {
        listen,
        name: String::new(),
        connections_max: 2_048,
        connections_per_address_max: 64,
        connects_per_address_per_s: per_s(20),
        intents_per_connection_per_s: per_s(100),
        buffer_bytes_max: 128 << 20,
        idle_timeout: Duration::from_secs(30),
        handshake_timeout: Duration::from_secs(5),
        ban: Duration::from_secs(600),
        socket_buffer_bytes: 8 << 20,
        threads: 1,
        peers: Vec::new(),
        mdns: false,
    }
}

/// What a machine's node tells those who connect.
///
/// # Panics
/// If the genesis has more seats than any may have.
pub fn chain(machine: &Machine, genesis: Vec<u8>) -> Chain {
    let setup = machine.setup();
    Chain {
        id: setup.chain,
        genesis,
        tables: setup.genesis.tables,
        seats: u8::try_from(setup.genesis.seats).expect("genesis bounds the seats"),
        insecure_keys: setup.genesis.insecure_keys,
    }
}

/// Listens for a machine's players and peers.
///
/// # Errors
/// If the address, the threads or the key cannot be had.
pub fn listen(machine: &Machine, genesis: Vec<u8>, key: &NetKey, config: ServerConfig) -> Result<Server, StartError> {
    Server::start(config, chain(machine, genesis), identity(key)?)
}
