//! What every Ed25519 signature of this system covers.

use super::Hash;

/// Domain, chain id, body: so that a signature is valid for one kind of message of one chain. An intent, a vote, a
/// proposal and a peer's record each have a domain of their own.
pub fn signed_bytes(domain: &[u8; 32], chain: &Hash, body: &[u8; 64]) -> [u8; 128] {
    let mut bytes = [0; 128];
    bytes[..32].copy_from_slice(domain);
    bytes[32..64].copy_from_slice(chain);
    bytes[64..].copy_from_slice(body);
    bytes
}
