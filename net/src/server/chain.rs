//! The chain that a node keeps, as it tells those who connect.

use engine::Hash;
use engine::genesis::KeySource;

/// What a node tells those who connect.
#[derive(Clone, Debug)]
pub struct ChainInfo {
    /// The chain id.
    pub id: Hash,
    /// The bytes of the genesis.
    pub genesis: Vec<u8>,
    /// Craps tables.
    pub tables: u32,
    /// Seats of each.
    pub seats: u8,
    /// Where its keys come from.
    pub keys: KeySource,
}
