//! Why a seat that was the player's is theirs no more.

use engine::Chips;
use engine::component::{Seat, Table};
use engine::message::intent::IntentKind;
use words::sentences::Severity;
use words::thousands;

use super::{Game, InFlight};

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

/// The player's seat at the watched table, as the node told it last.
pub(super) struct Held {
    table: Table,
    seat: Seat,
    /// What its bets hold, with commission.
    chips: Chips,
}

impl Game {
    pub(super) fn held(&self) -> Option<Held> {
        let (_, view) = self.own_seat()?;
        Some(Held { table: self.table.as_ref()?.row, seat: view.seat, chips: self.in_bets(view) })
    }

    /// Why the player may not act any more from a seat that was theirs.
    pub(super) fn seat_lost(&self, before: &Held) -> Option<SeatLost> {
        let now = self.own_seat().map(|(_, view)| view.seat);
        if now.is_none()
            && let Some(forfeited) = self.forfeited(before)
        {
            return Some(forfeited);
        }
        let asked = |sent: &InFlight| sent.wish.kind == IntentKind::Leave && sent.table == self.watched;
        let left = self.left == Some(self.watched) || self.in_flight.iter().any(asked);
        let silent_ms = self.now_ms.saturating_sub(before.seat.last_intent_ms);
        SeatLost::between(&before.seat, now.as_ref(), left, silent_ms, self.setup.genesis.idle_ms)
    }

    /// Whether the bets of a seat that has gone went to nobody: no roll and no resolution tells of that.
    fn forfeited(&self, before: &Held) -> Option<SeatLost> {
        let now = self.table.as_ref()?.row;
        // The number of a roll that nobody opened is used up, without dice.
        let is_next = now.roll_number == before.table.roll_number.saturating_add(1);
        let called = before.table.roll_called == 1 && is_next && now.dice == [0, 0];
        // Without its only player nobody can call a roll for the bets that stay.
        let stayed = before.seat.is_leaving() && now.roll_number == before.table.roll_number;
        let is_pledged = self.setup.genesis.is_pledged(self.watched.0);
        (is_pledged && (called || stayed)).then_some(SeatLost::Forfeited { chips: before.chips, called })
    }
}
