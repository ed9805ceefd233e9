//! Pledges and openings: a player's half of a table's dice.
//!
//! At a pledged table ([`DiceSource::Both`](crate::rules::DiceSource::Both)) the player pledges the end of a chain of
//! hashes before a roll, and opens it once the block is decided that closed the bets: the end's preimage, which is the end
//! for the roll after. Neither the player nor the validators alone can foresee such dice or choose them (RULES.md R13).
//!
//! ```text
//!  secret = end(r + n) -> ... -> end(r + 1) -> end(r)      end(k) = hash of chain, table, key, k and end(k + 1)
//!                                 opens roll r   pledged for roll r
//! ```

use bytemuck::{Pod, Zeroable};

use super::intent::IntentId;
use super::{DecodeError, Hash, decode_pod};
use crate::ids::TableId;

/// What the signature of a pledge or an opening covers first.
pub const PLEDGE_DOMAIN: [u8; 32] = *b"bitcraps pledge 1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// What a row says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum PledgeKind {
    /// `value` is the hash of what will be opened.
    Pledge = 1,
    /// `value` is what was pledged.
    Opening = 2,
}

impl TryFrom<u8> for PledgeKind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            1 => Ok(Self::Pledge),
            2 => Ok(Self::Opening),
            _ => Err(DecodeError::Value { field: "pledge kind", found: byte.into() }),
        }
    }
}

/// A signed pledge or opening. Layout: 192 bytes, three cache lines, no padding; the signature covers [`PledgeRow::signed`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct PledgeRow {
    /// The player's account key.
    pub key: [u8; 32],
    /// The table.
    pub table: u32,
    /// The roll that it is for.
    pub roll: u32,
    /// A [`PledgeKind`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 7],
    /// Of a pledge, above that of every pledge before it at this table: a copy of an old one replaces no newer one. Zero of
    /// an opening, which only its block can take.
    pub number: u64,
    /// Zero.
    pub reserved_after: [u8; 8],
    /// The end of a chain of hashes, or what it is the hash of.
    pub value: Hash,
    /// Of a pledge, whatever the player says; no rule asks for it, and this program leaves it zero. Of an opening, the block
    /// that closed the bets.
    pub block: Hash,
    /// Ed25519 of the account's key.
    pub signature: [u8; 64],
}

const _: () = assert!(size_of::<PledgeRow>() == 192);
// The signature covers all that stands before it: a byte that it left out could be anybody's.
const _: () = assert!(std::mem::offset_of!(PledgeRow, signature) == 128);

/// The end of a chain of hashes whose preimage is `value`: one step. Each has in it for what it may be used, so that a copy is
/// worth nothing at another table, for another key, at another roll or on another chain.
pub fn pledge_end(chain: &Hash, table: TableId, key: &[u8; 32], roll: u32, value: &Hash) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key("bitcraps pledge end 1");
    hasher.update(chain).update(&table.0.to_le_bytes()).update(key).update(&roll.to_le_bytes()).update(value);
    *hasher.finalize().as_bytes()
}

impl PledgeRow {
    /// A pledge of `end` for roll `roll` of a table, not signed yet.
    pub fn pledge(key: [u8; 32], table: TableId, roll: u32, number: u64, end: Hash) -> Self {
        let kind = PledgeKind::Pledge as u8;
        Self { key, table: table.0, roll, kind, number, value: end, ..Self::zeroed() }
    }

    /// The opening of roll `roll`, whose bets `block` closed; not signed yet.
    pub fn opening(key: [u8; 32], table: TableId, roll: u32, value: Hash, block: Hash) -> Self {
        Self { key, table: table.0, roll, kind: PledgeKind::Opening as u8, value, block, ..Self::zeroed() }
    }

    /// The 64 bytes that the signature covers after domain and chain: the BLAKE3 of the row's first 128 bytes, then zeros.
    pub fn signed(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(blake3::hash(&bytemuck::bytes_of(self)[..128]).as_bytes());
        bytes
    }

    /// Whether it is an opening.
    pub fn is_opening(&self) -> bool {
        self.kind == PledgeKind::Opening as u8
    }

    /// What tells this row from every other, as intents have it: as its number, table and roll.
    pub fn id(&self) -> IntentId {
        let mark = std::array::from_fn(|byte| self.signature[byte]);
        IntentId { key: self.key, number: u64::from(self.table) << 32 | u64::from(self.roll), mark }
    }

    /// Reads exactly one row.
    ///
    /// # Errors
    /// Another length, or a field that cannot be so.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let row: Self = decode_pod("pledge", bytes)?;
        row.check_form().map(|_| row)
    }

    /// Checks that every field holds what it may.
    ///
    /// # Errors
    /// Names the first field that does not.
    pub fn check_form(&self) -> Result<PledgeKind, DecodeError> {
        let kind = PledgeKind::try_from(self.kind)?;
        match self {
            _ if self.roll == 0 => Err(DecodeError::Value { field: "pledge roll", found: 0 }),
            _ if self.reserved != [0; 7] || self.reserved_after != [0; 8] => {
                Err(DecodeError::NotZero { field: "pledge reserved" })
            }
            // A number that nothing asks for would be a second way to write the same opening.
            _ if kind == PledgeKind::Opening && self.number != 0 => {
                Err(DecodeError::Value { field: "opening number", found: self.number })
            }
            // In a table's row it stands for nothing that was pledged.
            _ if self.value == [0; 32] => Err(DecodeError::Value { field: "pledge value", found: 0 }),
            _ => Ok(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_cannot_be_are_refused() {
        let row = PledgeRow { roll: 7, kind: 2, value: [1; 32], ..PledgeRow::zeroed() };
        assert_eq!(row.check_form(), Ok(PledgeKind::Opening));
        for wrong in [
            PledgeRow { roll: 0, ..row },
            PledgeRow { kind: 0, ..row },
            PledgeRow { kind: 3, ..row },
            PledgeRow { reserved: [1; 7], ..row },
            PledgeRow { reserved_after: [1; 8], ..row },
            PledgeRow { number: 1, ..row },
            PledgeRow { value: [0; 32], ..row },
        ] {
            assert!(wrong.check_form().is_err());
        }
    }
}
