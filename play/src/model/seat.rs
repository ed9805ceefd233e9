//! Why a seat that was the player's is theirs no more.

use engine::component::Seat;

/// How far the client's idea of the node's time may be behind.
const SLACK_MS: u64 = 5_000;

/// Why a player's seat is no longer theirs to act from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SeatLost {
    /// The player left.
    Left,
    /// Nothing was heard of the player for too long.
    Absent {
        /// Milliseconds that the table waits.
        idle_ms: u64,
    },
    /// The player had no bet on the table.
    NoBet,
    /// The bets that had to stay when the player left, or was absent, are decided.
    Decided,
}

impl SeatLost {
    /// The reason as programs get it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Absent { .. } => "absent",
            Self::NoBet => "no_bet",
            Self::Decided => "decided",
        }
    }

    /// The reason for people.
    pub(super) fn sentence(self) -> String {
        match self {
            Self::Left => {
                "you left the table; your chips go back to the cage, but for bets that must stay until they are decided"
                    .into()
            }
            Self::Absent { idle_ms } => format!(
                "your seat was given up: nothing came from you for {} s; your chips are back in the cage, but for bets that \
                 must stay until they are decided",
                idle_ms / 1_000
            ),
            Self::NoBet => "your seat was given up: you had no bet on the table; your rail is back in the cage".into(),
            Self::Decided => {
                "your last bets are decided, and your seat is free; your chips are back in the cage".into()
            }
        }
    }

    /// What became of a seat between two words of the node, if the player may not act from it any more: `now` is the
    /// player's seat at the table, `left` says that the player asked to leave, `silent_ms` is how long nothing came from
    /// the player, of which the table takes `idle_ms`.
    pub(super) fn between(before: &Seat, now: Option<&Seat>, left: bool, silent_ms: u64, idle_ms: u64) -> Option<Self> {
        match (before.is_leaving(), now.map(Seat::is_leaving)) {
            // Nothing changed, or the player sat down again.
            (false, Some(false)) | (true, Some(_)) => None,
            (true, None) => Some(Self::Decided),
            (false, _) if left => Some(Self::Left),
            (false, _) if silent_ms + SLACK_MS >= idle_ms => Some(Self::Absent { idle_ms }),
            (false, _) => Some(Self::NoBet),
        }
    }
}
