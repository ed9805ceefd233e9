//! Dice from a beacon, or from a beacon and a player's value: one stream of bytes for each table and roll, no modulo bias.

use engine::message::certificate::Beacon;
use engine::{Dice, Hash, TableId};

/// The BLAKE3 key derivation context of dice: `b3sum --derive-key` of the 88 bytes gives the same stream.
pub const DICE_CONTEXT: &str = "bitcraps dice 1";
/// Bytes from here on are passed over: 252 is the largest multiple of 6 that a byte can reach.
const BYTE_LIMIT: u8 = 252;
/// Bytes that the dice of all tables of a height share: beacon and rules hash.
const SHARED_BYTES: u64 = (size_of::<Beacon>() + size_of::<Hash>()) as u64;
/// Bytes that follow them for one roll: table and roll.
const ROLL_BYTES: usize = size_of::<TableId>() + size_of::<u32>();

// Each face has as many bytes below the limit as every other, and a higher limit would not keep that.
const _: () = assert!(BYTE_LIMIT.is_multiple_of(6));
const _: () = assert!(BYTE_LIMIT as usize + 6 > u8::MAX as usize + 1);
// What the documents say that whoever checks a roll by hand feeds to a hash.
const _: () = assert!(SHARED_BYTES + ROLL_BYTES as u64 == 88);

/// The dice of one roll: BLAKE3 (derive key, [`DICE_CONTEXT`]) of beacon 48, rules hash 32, table u32, roll u32, read
/// as a stream; bytes under 252, modulo 6, plus 1.
pub fn dice(beacon: &Beacon, table: TableId, roll: u32, rules: &Hash) -> Dice {
    DiceRoller::new(beacon, rules).dice(table, roll)
}

/// The BLAKE3 key derivation context of dice that a player brings half of.
pub const BOTH_CONTEXT: &str = "bitcraps dice of both 1";

// Names of one length that differ would do too; that these do is seen from their lengths.
const _: () = assert!(BOTH_CONTEXT.len() != DICE_CONTEXT.len());

/// The dice of one roll of a pledged table: BLAKE3 (derive key, [`BOTH_CONTEXT`]) of the beacon 48 of the block that closed
/// the bets, the opened value 32, rules hash 32, table u32, roll u32, read as [`dice`] reads its stream.
pub fn dice_of_both(beacon: &Beacon, value: &Hash, table: TableId, roll: u32, rules: &Hash) -> Dice {
    let mut hasher = blake3::Hasher::new_derive_key(BOTH_CONTEXT);
    hasher.update(beacon).update(value).update(rules).update(&table.0.to_le_bytes()).update(&roll.to_le_bytes());
    let expected = SHARED_BYTES + (size_of::<Hash>() + ROLL_BYTES) as u64;
    assert_eq!(hasher.count(), expected, "fields of fixed length: no two rolls have one input");
    let mut stream = hasher.finalize_xof();
    two_faces(|block| stream.fill(block))
}

/// The dice of many tables of one height that play by the same rules. What they share, beacon and rules, comes first,
/// so that its block is compressed once.
#[derive(Clone, Debug)]
pub struct DiceRoller {
    shared: blake3::Hasher,
}

impl DiceRoller {
    /// For one height's beacon and one set of rules.
    pub fn new(beacon: &Beacon, rules: &Hash) -> Self {
        let mut shared = blake3::Hasher::new_derive_key(DICE_CONTEXT);
        shared.update(beacon).update(rules);
        assert_eq!(shared.count(), SHARED_BYTES, "what a roll adds begins at a fixed place");
        Self { shared }
    }

    /// The dice of one roll of one table.
    pub fn dice(&self, table: TableId, roll: u32) -> Dice {
        let mut own = [0; ROLL_BYTES];
        own[..4].copy_from_slice(&table.0.to_le_bytes());
        own[4..].copy_from_slice(&roll.to_le_bytes());
        let mut stream = self.shared.clone().update(&own).finalize_xof();
        two_faces(|block| stream.fill(block))
    }
}

/// The first two bytes of a stream that are under [`BYTE_LIMIT`], as faces.
fn two_faces(mut fill: impl FnMut(&mut [u8; 64])) -> Dice {
    let mut first = None;
    loop {
        let mut block = [0; 64];
        fill(&mut block);
        // Bytes above the limit are passed over, not folded: faces 1 to 4 would come up more often.
        for face in block.into_iter().filter(|byte| *byte < BYTE_LIMIT).map(|byte| byte % 6 + 1) {
            match first {
                None => first = Some(face),
                Some(first) => return Dice::new(first, face).expect("a remainder of 6, plus 1, is a face"),
            }
        }
    }
}

#[cfg(test)]
mod tests;
