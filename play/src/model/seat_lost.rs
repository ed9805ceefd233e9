//! Why a seat that was the player's is theirs no more.

use engine::Chips;
use engine::component::Seat;
use words::sentences::Severity;
use words::thousands;

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
    /// The bets of a pledged table went to nobody (R13).
    Forfeited {
        /// What they held, with commission.
        chips: Chips,
        /// Whether their roll was called, and not opened in time; otherwise nobody rolled for bets that had to stay.
        called: bool,
    },
}

impl SeatLost {
    /// The reason as programs get it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Absent { .. } => "absent",
            Self::NoBet => "no_bet",
            Self::Decided => "decided",
            Self::Forfeited { .. } => "forfeited",
        }
    }

    /// Chips that were lost with the seat, if any were.
    pub fn forfeited(self) -> Option<Chips> {
        if let Self::Forfeited { chips, .. } = self { Some(chips) } else { None }
    }

    pub(super) fn severity(self) -> Severity {
        match self {
            Self::Left => Severity::Info,
            Self::Forfeited { .. } => Severity::Bad,
            Self::Absent { .. } | Self::NoBet | Self::Decided => Severity::Warning,
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
            Self::Forfeited { chips, called } => {
                let why =
                    if called { "your roll was not opened in time" } else { "nobody rolled for the bets that stayed" };
                format!("{why}: {} in bets are lost, and your rail is back in the cage", thousands(chips.0))
            }
        }
    }

    /// What became of a seat between two words of the node, if the player may not act from it any more: `now` is the
    /// player's seat at the table, `left` says that the player asked to leave, `is_given_up` that somebody else wanted the seat,
    /// which had no bet. Otherwise nothing was heard of the player for `idle_ms`.
    pub(super) fn between(
        before: &Seat,
        now: Option<&Seat>,
        left: bool,
        is_given_up: bool,
        idle_ms: u64,
    ) -> Option<Self> {
        match (before.is_leaving(), now.map(Seat::is_leaving)) {
            // Nothing changed, or the player sat down again.
            (false, Some(false)) | (true, Some(_)) => None,
            (true, None) => Some(Self::Decided),
            (false, _) if left => Some(Self::Left),
            (false, _) if is_given_up => Some(Self::NoBet),
            (false, _) => Some(Self::Absent { idle_ms }),
        }
    }
}
