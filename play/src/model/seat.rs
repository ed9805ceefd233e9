//! The player's seat at the watched table, and what became of it.

use engine::Chips;
use engine::component::{Seat, Table};
use engine::message::intent::IntentKind;

use super::seat_lost::SeatLost;
use super::{Game, InFlight, OwnIntent};

/// How far the client's idea of the node's time may be behind.
const SLACK_MS: u64 = 5_000;

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
