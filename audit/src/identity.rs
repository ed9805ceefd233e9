//! Which session it is.

use std::path::Path;

use engine::hex;
use serde::Serialize;
use storage::read_genesis;

/// Characters of a chain's name that are shown.
const NAME_CHARS: usize = 80;
/// What a session says it is. The chain id is computed from its genesis, and the rest is in that.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Identity {
    /// The chain id, in hex.
    pub chain: String,
    /// The name that its genesis gives it, with what does not print escaped.
    pub name: String,
    /// Where its keys come from.
    pub keys: &'static str,
    /// What that means for the dice, where somebody can foresee them.
    pub warning: Option<&'static str>,
}

/// Reads what a session says it is.
///
/// # Errors
/// If there is no session, or its genesis cannot be read.
pub fn identity(dir: &Path) -> anyhow::Result<Identity> {
    let (genesis, chain) = read_genesis(dir)?;
    // Whoever made the session chose the name: a terminal must not act on it.
    let name = genesis.name.chars().take(NAME_CHARS).flat_map(char::escape_debug).collect();
    Ok(Identity { chain: hex(&chain), name, keys: genesis.keys.name(), warning: genesis.keys.warning() })
}
