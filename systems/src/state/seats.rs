//! What seats need in intake and after a roll alike: who shoots next, who is seen off, and what a player who leaves gets
//! back.

use engine::component::{Seat, SeatBets, SpotMask, Table};
use engine::{Chips, Genesis, Puck};

use crate::catalogue::Catalogue;
use crate::settle::ledger::held;

/// The next seat clockwise whose player may act, the present one last.
pub fn next_shooter(seats: &[Seat], shooter: u8) -> Option<u8> {
    let count = seats.len();
    assert!(shooter == Table::NO_SHOOTER || usize::from(shooter) < count, "the dice are at a seat, or with nobody");
    let from = if shooter == Table::NO_SHOOTER { count - 1 } else { usize::from(shooter) };
    (1..=count).map(|step| (from + step) % count).find(|seat| seats[*seat].is_seated()).map(|seat| seat as u8)
}

/// Whether a player is absent: no intent of theirs was accepted here for as long as genesis allows.
pub fn is_absent(seat: &Seat, genesis: &Genesis, active_ms: u64) -> bool {
    seat.is_seated() && seat.last_intent_ms.saturating_add(genesis.idle_ms) <= active_ms
}

/// Whether a seat holds no bet, and none was decided on it for as long as genesis lets a seat be kept from others.
pub fn is_bare(seat: &Seat, genesis: &Genesis, active_ms: u64) -> bool {
    seat.is_seated() && seat.spots.is_empty() && seat.last_bet_ms.saturating_add(genesis.idleness.seat_ms) <= active_ms
}

/// Whether all of so many seats of a table are taken, and somebody was refused one within that time.
pub fn is_wanted(table: &Table, seats: u32, genesis: &Genesis, active_ms: u64) -> bool {
    let is_full = table.occupied.count_ones() == seats;
    is_full && table.wanted_ms > 0 && table.wanted_ms.saturating_add(genesis.idleness.seat_ms) > active_ms
}

/// A player stopped acting: if they held the dice, the next player takes them with the same point (R2). A table whose
/// last seat became free is at rest, with the puck OFF.
///
/// Says whether the table is between hands by it: another player got the dice with the puck OFF, or nobody is left. Then its
/// bank is to be balanced: no roll may ever come at which that could be done later.
#[must_use]
pub fn hand_over((table, seats): (&mut Table, &[Seat]), seat: u8) -> bool {
    assert!(usize::from(seat) < seats.len(), "whoever stopped acting has a seat at this table");
    let shot = table.shooter;
    if table.shooter == seat {
        table.shooter = next_shooter(seats, seat).unwrap_or(Table::NO_SHOOTER);
    }
    let shoots = seats.get(usize::from(table.shooter)).is_some_and(Seat::is_seated);
    assert!(shoots || table.shooter == Table::NO_SHOOTER, "the dice are with a player who may act, or with nobody");
    if table.occupied == 0 {
        assert_eq!(table.felt, Chips::ZERO, "a table that nobody sits at has no bet");
        assert_eq!(table.exposure, Chips::ZERO, "a table without a bet can lose nothing");
        // The next player begins a new hand: a point that nobody's bet stands on would be a come-out that never was.
        table.point = 0;
        table.roll_called = 0;
        table.next_roll_ms = Table::NEVER;
    }
    table.occupied == 0 || (table.point == 0 && shoots && table.shooter != shot)
}

/// The bets that go back to a player who leaves: those that could be taken down. Contract bets and locked hand bets
/// stay until they are decided (R3).
pub fn returnable(bets: SeatBets<'_>, catalogue: &Catalogue, puck: Puck) -> SpotMask {
    bets.iter().filter(|bet| catalogue.may_take_down(*bet, puck).is_ok()).map(|bet| bet.spot).collect()
}

/// What some bets hold together.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Worth {
    /// Wagers, with commission held in advance.
    pub chips: Chips,
    /// What the bank would pay if each won its most.
    pub exposure: Chips,
}

/// What the bets on `spots` hold together.
pub fn worth(bets: SeatBets<'_>, spots: &SpotMask, catalogue: &Catalogue) -> Worth {
    let mut worth = Worth::default();
    for bet in bets.iter().filter(|bet| spots.contains(bet.spot)) {
        worth.chips += held(bet.amount, catalogue.commission(bet.spot));
        worth.exposure += Chips(catalogue.max_win(bet.spot).floor_of(bet.amount));
    }
    worth
}
