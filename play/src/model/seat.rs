//! Why a seat that was the player's is theirs no more.

use engine::Chips;
use engine::component::{Seat, Table};
use engine::message::intent::IntentKind;
use words::sentences::Severity;
use words::thousands;

use super::{Game, InFlight, OwnIntent};

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
    /// player's seat at the table, `left` says that the player asked to leave, `is_given_up` that somebody else wanted the seat,
    /// which had no bet. Otherwise nothing was heard of the player for `idle_ms`.
    fn between(before: &Seat, now: Option<&Seat>, left: bool, is_given_up: bool, idle_ms: u64) -> Option<Self> {
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

/// The player's seat at the watched table, as the node told it last.
pub(super) struct Held {
    table: Table,
    seat: Seat,
    /// What its bets hold, with commission.
    chips: Chips,
}

impl Game {
    /// Whether the player has a seat at the watched table to act from. Whoever is leaving has one, and may only sit down again.
    pub fn may_act(&self) -> bool {
        self.own_seat().is_some_and(|(_, view)| view.seat.is_seated())
    }

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
        SeatLost::between(&before.seat, now.as_ref(), left, self.is_given_up(before), self.setup.genesis.idle_ms)
    }

    /// Whether a seat went because it had no bet, and somebody else wanted it.
    fn is_given_up(&self, before: &Held) -> bool {
        // Both are moments of the clock of activity: the seat goes only to somebody who asked after its last bet.
        let wanted_ms = self.table.as_ref().map_or(0, |view| view.row.wanted_ms);
        let is_wanted = before.seat.spots.is_empty() && wanted_ms > before.seat.last_bet_ms;
        let is_absent = self.silent_ms().saturating_add(SLACK_MS) >= self.setup.genesis.idle_ms;
        is_wanted && !is_absent
    }

    /// How long no new intent of the player's was seen to be accepted at the watched table.
    fn silent_ms(&self) -> u64 {
        let here = self.own_intent.filter(|own| own.table == self.watched);
        here.map_or(0, |own| self.now_ms.saturating_sub(own.seen_ms))
    }

    /// Takes note of the player's last intent that was accepted at the watched table, and of when it was first seen.
    pub(super) fn note_own_intent(&mut self) {
        let Some((_, view)) = self.own_seat() else { return };
        let (table, last_ms, seen_ms) = (self.watched, view.seat.last_intent_ms, self.now_ms);
        if self.own_intent.is_none_or(|own| (own.table, own.last_ms) != (table, last_ms)) {
            self.own_intent = Some(OwnIntent { table, last_ms, seen_ms });
        }
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
