//! Who the holder of a key is on the network.

use net::tls::{Identity, IdentityError, KeyRules};
use order::signature::{NetKey, key_is_acceptable, verify};

/// The one verdict on keys and signatures, for the network.
const RULES: KeyRules =
    KeyRules { accept: key_is_acceptable, verify: |key, bytes, signature| verify(key, bytes, signature) };

/// Who the holder of a key is on the network.
///
/// # Errors
/// If the TLS library refuses the key.
pub fn identity(key: &NetKey) -> Result<Identity, IdentityError> {
    let signer = key.clone();
    Identity::new(&key.handshake_seed(), key.public(), move |bytes| signer.sign(bytes), RULES)
}
