//! Bodies that are the bytes of what they carry: intents, pledges, the genesis.

use engine::bytes::DecodeError;
use engine::limits::{GENESIS_BYTES_MAX, MESSAGE_INTENTS_MAX, MESSAGE_PLEDGES_MAX};
use engine::message::intent::Intent;
use engine::message::pledge::PledgeRow;

use super::payload::Body;

/// Nothing about an intent is checked here: the tick does that.
impl Body for Intent {
    type Bytes = Self;
    const LIST_MAX: usize = MESSAGE_INTENTS_MAX;

    fn to_bytes(&self) -> Self {
        *self
    }

    fn of_bytes(bytes: &Self) -> Result<Self, DecodeError> {
        Ok(*bytes)
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        use engine::TableId;
        use engine::message::intent::{IntentBody, IntentKind};
        let body = |number| IntentBody::new(IntentKind::Sit, [2; 32], number, 1_800_000_030).at(TableId(3)).amount(500);
        [1, 2].map(|number| Self { body: body(number), signature: [7; 64] }).to_vec()
    }
}

/// Nothing about a pledge is checked here but its form.
impl Body for PledgeRow {
    type Bytes = Self;
    const LIST_MAX: usize = MESSAGE_PLEDGES_MAX;

    fn to_bytes(&self) -> Self {
        *self
    }

    fn of_bytes(bytes: &Self) -> Result<Self, DecodeError> {
        bytes.check_form().map(|_| *bytes)
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        vec![Self {
            key: [2; 32],
            table: 3,
            roll: 9,
            kind: 1,
            reserved: [0; 7],
            number: 0,
            reserved_after: [0; 8],
            value: [5; 32],
            block: [6; 32],
            signature: [7; 64],
        }]
    }
}

/// The genesis, byte for byte as its file is.
impl Body for u8 {
    type Bytes = Self;
    const LIST_MAX: usize = GENESIS_BYTES_MAX as usize;

    fn to_bytes(&self) -> Self {
        *self
    }

    fn of_bytes(bytes: &Self) -> Result<Self, DecodeError> {
        Ok(*bytes)
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        b"{\"version\":1}".to_vec()
    }
}
