//! Why a node did not take an intent.

use crate::message::DecodeError;

/// Why a node did not take an intent. The discriminants are part of the protocol and never change meaning.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum ShedReason {
    /// More intents wait than this node holds.
    Busy = 1,
    /// The connection sent more intents than its rate allows.
    RateLimit = 2,
    /// The connection has as many intents without an answer as its credit allows.
    NoCredit = 3,
    /// A field of the intent cannot be so.
    Malformed = 4,
    /// This node takes no intents now: it ends.
    Closed = 5,
    /// Another intent with the same number waits for a block.
    NumberWaits = 6,
    /// The same intent came over another connection later; its receipt goes there.
    Moved = 7,
    /// This node's disk is full.
    DiskFull = 8,
    /// The connection or its address asked for more accounts than it may in a minute.
    OpenRate = 9,
    /// This node's clock was set back: no block that it makes now can be before the intent's expiry.
    ClockBehind = 10,
    /// A pledge, and no table of this chain takes any.
    NoPledges = 11,
}

// Names and sentences are found by the number: one out of place would tell a player another reason.
const _: () = {
    let mut index = 0;
    while index < ShedReason::ALL.len() {
        assert!(ShedReason::ALL[index].0 as usize == index + 1);
        index += 1;
    }
};

impl ShedReason {
    /// All reasons, with the name and the sentence that a person reads.
    pub const ALL: [(Self, &'static str, &'static str); 11] = [
        (Self::Busy, "BUSY", "more intents wait than the node holds; send it again a little later"),
        (Self::RateLimit, "RATE_LIMIT", "more intents in a second than one connection may send; send it again later"),
        (Self::NoCredit, "NO_CREDIT", "too many intents without an answer; wait for receipts first"),
        (Self::Malformed, "MALFORMED", "a field of the intent cannot be so"),
        (Self::Closed, "CLOSED", "the node takes no intents now; send it to another node, or later"),
        (Self::NumberWaits, "NUMBER_WAITS", "another intent with this number waits; take a new number"),
        (Self::Moved, "MOVED", "the same intent came over another connection; its receipt goes there"),
        (
            Self::DiskFull,
            "DISK_FULL",
            "the node's disk is full, so it takes no intents; send it again when there is room",
        ),
        (
            Self::OpenRate,
            "OPEN_RATE",
            "more new accounts in a minute than the node allows one connection, or one address; try again later",
        ),
        (
            Self::ClockBehind,
            "CLOCK_BEHIND",
            "the node's clock was set back, and the intent ends before the chain's next block; send it again when the clock has caught up",
        ),
        (Self::NoPledges, "NO_PLEDGES", "no table of this chain takes pledges: its dice follow from the beacon alone"),
    ];

    /// Whether the node is to blame, which is short of room or of time: whatever a sender does, he has none of these from a node
    /// that has enough of both.
    pub fn is_shortage(self) -> bool {
        match self {
            Self::Busy | Self::Closed | Self::DiskFull | Self::ClockBehind => true,
            Self::RateLimit | Self::NoCredit | Self::OpenRate => false,
            Self::Malformed | Self::NumberWaits | Self::Moved | Self::NoPledges => false,
        }
    }

    /// The name that output uses.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize - 1].1
    }

    /// The sentence that a person reads.
    pub fn sentence(self) -> &'static str {
        Self::ALL[self as usize - 1].2
    }
}

impl TryFrom<u8> for ShedReason {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, Self::Error> {
        let known = Self::ALL.into_iter().find(|(reason, ..)| *reason as u8 == byte);
        known.map(|(reason, ..)| reason).ok_or(DecodeError::Value { field: "reason of shedding", found: byte.into() })
    }
}
