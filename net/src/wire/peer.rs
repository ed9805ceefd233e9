//! Where a node can be found.

use bytemuck::{Pod, Zeroable};
use engine::Hash;
use engine::bytes::{DecodeError, zeros};
use engine::limits::MESSAGE_RECORDS_MAX;
use engine::message::signed::signed_bytes;

use super::payload::Body;

/// Where a node can be found, signed by its network key. Layout: 128 bytes, no padding; the signature covers the first 64
/// under [`PeerRecord::DOMAIN`] and the chain id.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct PeerRecord {
    /// The node's network key.
    pub key: [u8; 32],
    /// Its IP address, IPv4 as IPv4-mapped IPv6.
    pub address: [u8; 16],
    /// When it signed, in seconds since the Unix epoch.
    pub time_s: u64,
    /// Its UDP port.
    pub port: u16,
    /// Zero.
    pub reserved: [u8; 6],
    /// Ed25519.
    pub signature: [u8; 64],
}

const _: () = assert!(size_of::<PeerRecord>() == 128);

impl PeerRecord {
    /// What a record's signature covers first.
    pub const DOMAIN: [u8; 32] = *b"bitcraps peer 1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

    /// What the signature covers: domain, chain id, the first 64 bytes.
    pub fn signed_bytes(&self, chain: &Hash) -> [u8; 128] {
        let body = bytemuck::bytes_of(self).first_chunk().expect("a record is longer than what it signs");
        signed_bytes(&Self::DOMAIN, chain, body)
    }
}

impl Body for PeerRecord {
    type Bytes = Self;
    const LIST_MAX: usize = MESSAGE_RECORDS_MAX;

    fn to_bytes(&self) -> Self {
        *self
    }

    fn of_bytes(bytes: &Self) -> Result<Self, DecodeError> {
        zeros("peer", &bytes.reserved)?;
        Ok(*bytes)
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        let address = std::net::Ipv4Addr::new(10, 0, 0, 9).to_ipv6_mapped().octets();
        vec![
            Self { key: [4; 32], address, time_s: 1_800_000_000, port: 4_100, reserved: [0; 6], signature: [5; 64] };
            2
        ]
    }
}
