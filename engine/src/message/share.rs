//! A validator's share of a beacon, in an envelope that its vote key signed.
//!
//! Whoever has enough shares can forge the others, so a bare share proves nothing about its author. The envelope does.

use bytemuck::{Pod, Zeroable};

use super::certificate::Beacon;
use super::{DecodeError, Hash, check_height, decode_pod};
use crate::ids::Height;

/// What every share's signature covers first.
pub const SHARE_DOMAIN: [u8; 32] = *b"bitcraps share 1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// A share of the beacon over a decided block. Layout: 128 bytes, no padding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct ShareBody {
    /// The decided block's hash.
    pub block: Hash,
    /// The decided height.
    pub height: Height,
    /// How often the group's shares were dealt anew.
    pub epoch: u64,
    /// The author's slot.
    pub slot: u32,
    /// Zero.
    pub reserved: [u8; 12],
    /// A BLS12-381 signature in G1, compressed, under the author's share of the group key.
    pub share: Beacon,
    /// Zero.
    pub more_reserved: [u8; 16],
}

/// A signed share. Layout: 192 bytes, three cache lines; the body, then the signature.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Share {
    /// The share, and what it is for.
    pub body: ShareBody,
    /// Ed25519 of the author's vote key over [`ShareBody::signed`].
    pub signature: [u8; 64],
}

const _: () = assert!(size_of::<ShareBody>() == 128);
const _: () = assert!(size_of::<Share>() == 192);

const _: () = assert!(std::mem::offset_of!(Share, signature) == size_of::<ShareBody>());

impl ShareBody {
    /// A share of the beacon over a decided block.
    pub fn new(height: Height, block: Hash, epoch: u64, slot: u32, share: Beacon) -> Self {
        Self { block, height, epoch, slot, reserved: [0; 12], share, more_reserved: [0; 16] }
    }

    /// The 64 bytes that the signature covers after domain and chain: height, epoch, slot, 12 zeros, and the BLAKE3 of
    /// block and share.
    pub fn signed(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..8].copy_from_slice(&self.height.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.epoch.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.slot.to_le_bytes());
        let mut hasher = blake3::Hasher::new_derive_key("bitcraps share 1");
        hasher.update(&self.block).update(&self.share);
        bytes[32..].copy_from_slice(hasher.finalize().as_bytes());
        bytes
    }
}

impl Share {
    /// Reads exactly one share.
    ///
    /// # Errors
    /// Another length, a height that no chain has, or reserved bytes that are not zero.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let share: Self = decode_pod("share", bytes)?;
        check_height(share.body.height)?;
        // The signature leaves them out: anybody could change them, and the author would seem to contradict itself.
        if share.body.reserved != [0; 12] || share.body.more_reserved != [0; 16] {
            return Err(DecodeError::Value { field: "share reserved", found: 1 });
        }
        Ok(share)
    }
}
