//! The network of a node: who it is there, and what it tells those who connect.

use keys::identity;
use net::server::{Chain, Server, ServerConfig, StartError};
use order::signature::NetKey;
use systems::Machine;

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
        keys: setup.genesis.keys,
    }
}

/// Listens for a machine's players and peers.
///
/// # Errors
/// If the address, the threads or the key cannot be had.
pub fn listen(machine: &Machine, genesis: Vec<u8>, key: &NetKey, config: ServerConfig) -> Result<Server, StartError> {
    Server::start(config, chain(machine, genesis), identity(key)?)
}
