//! Pledges and openings: a player's half of a table's dice.
//!
//! A player pledges a value by its hash before a roll, and opens it after the beacon is known, so that neither the player
//! nor the validators can choose dice alone. Tables with such dice do not exist yet; the rows have their place in blocks so
//! that blocks need not change again.

use bytemuck::{Pod, Zeroable};

use super::intent::IntentId;
use super::{DecodeError, Hash};

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

/// A signed pledge or opening. Layout: 192 bytes, three cache lines, no padding; the signature covers the first 128.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct PledgeRow {
    /// The shooter's account key.
    pub key: [u8; 32],
    /// The table.
    pub table: u32,
    /// The roll that it is for.
    pub roll: u32,
    /// A [`PledgeKind`].
    pub kind: u8,
    /// Zero.
    pub reserved: [u8; 23],
    /// A hash, or what it is the hash of.
    pub value: [u8; 32],
    /// Of a pledge, the last block that the player saw; of an opening, the block that decided the pledge.
    pub block: Hash,
    /// Ed25519 of the account's key.
    pub signature: [u8; 64],
}

const _: () = assert!(size_of::<PledgeRow>() == 192);

impl PledgeRow {
    /// What tells this row from every other, as intents have it: as its number, table and roll.
    pub fn id(&self) -> IntentId {
        let mark = std::array::from_fn(|byte| self.signature[byte]);
        IntentId { key: self.key, number: u64::from(self.table) << 32 | u64::from(self.roll), mark }
    }

    /// Checks that every field holds what it may.
    ///
    /// # Errors
    /// Names the first field that does not.
    pub fn check_form(&self) -> Result<PledgeKind, DecodeError> {
        let kind = PledgeKind::try_from(self.kind)?;
        match self {
            _ if self.roll == 0 => Err(DecodeError::Value { field: "pledge roll", found: 0 }),
            _ if self.reserved != [0; 23] => Err(DecodeError::Value { field: "pledge reserved", found: 1 }),
            _ => Ok(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_that_cannot_be_are_refused() {
        let row = PledgeRow { roll: 7, kind: 2, ..PledgeRow::zeroed() };
        assert_eq!(row.check_form(), Ok(PledgeKind::Opening));
        for wrong in [
            PledgeRow { roll: 0, ..row },
            PledgeRow { kind: 0, ..row },
            PledgeRow { kind: 3, ..row },
            PledgeRow { reserved: [1; 23], ..row },
        ] {
            assert!(wrong.check_form().is_err());
        }
    }
}
