//! Spots: where a seat's bets lie (R0). Most bets have one spot, whose number is the bet's; come, don't come and their
//! odds have one for each box number.

use engine::dice::{BOX_NUMBERS, box_index};
use engine::limits::{BETS as BET_COUNT, SPOTS};
use engine::{BetId, Spot};

use super::bets::BETS;
use super::family::{Family, Flat};

/// The bets with spots beyond their own: the bet, and the index of the box number that its own spot has, if any.
const NUMBERED: [BetId; 5] = [BetId(2), BetId(3), BetId(31), BetId(32), BetId(94)];

// A spot is a byte. Bets are found by the numbers that stand here and in `flat_of`.
const _: () = assert!(BET_COUNT < SPOTS && SPOTS <= 1 << u8::BITS);
const _: () = assert!(matches!(BETS[0].family, Family::Pass));
const _: () = assert!(matches!(BETS[1].family, Family::DontPass));
const _: () = assert!(matches!(BETS[2].family, Family::Come));
const _: () = assert!(matches!(BETS[3].family, Family::DontCome));

/// What lies on a spot.
#[derive(Clone, Copy, Debug)]
struct SpotLabel {
    bet: BetId,
    /// 0 for none.
    number: u8,
}

/// Come and don't come have a spot without a number, for the pending bet; odds start at 4.
const fn own_number(bet: BetId) -> u8 {
    match BETS[bet.0 as usize].family {
        Family::Odds(Flat::Come | Flat::DontCome | Flat::Put) => BOX_NUMBERS[0],
        _ => 0,
    }
}

const LABELS: [SpotLabel; SPOTS] = {
    let mut labels = [SpotLabel { bet: BetId(0), number: 0 }; SPOTS];
    let mut spot = 0;
    while spot < BET_COUNT {
        let bet = BetId(spot as u8);
        labels[spot] = SpotLabel { bet, number: own_number(bet) };
        spot += 1;
    }
    let mut index = 0;
    while index < NUMBERED.len() {
        assert!(matches!(BETS[NUMBERED[index].0 as usize].family, Family::Come | Family::DontCome | Family::Odds(_)));
        let mut box_number = 0;
        while box_number < BOX_NUMBERS.len() {
            let number = BOX_NUMBERS[box_number];
            if number != own_number(NUMBERED[index]) {
                labels[spot] = SpotLabel { bet: NUMBERED[index], number };
                spot += 1;
            }
            box_number += 1;
        }
        index += 1;
    }
    assert!(spot == SPOTS, "the catalogue fills every spot");
    labels
};

/// The bet that lies on a spot.
#[inline]
pub const fn bet_of(spot: Spot) -> BetId {
    LABELS[spot.0 as usize].bet
}

/// The box number of a spot, where it has one.
#[inline]
pub const fn number_of(spot: Spot) -> Option<u8> {
    match LABELS[spot.0 as usize].number {
        0 => None,
        number => Some(number),
    }
}

/// Whether the spot is that of a come or don't come that has travelled.
#[inline]
pub const fn has_travelled(spot: Spot) -> bool {
    let place = LABELS[spot.0 as usize];
    place.number != 0 && matches!(BETS[place.bet.0 as usize].family, Family::Come | Family::DontCome)
}

fn spot_with(bet: BetId, number: u8) -> Option<Spot> {
    (0..SPOTS).find(|spot| LABELS[*spot].bet == bet && LABELS[*spot].number == number).map(|spot| Spot(spot as u8))
}

/// The spot of a come or don't come that travels to a box number.
pub fn travelled_spot(bet: BetId, number: u8) -> Option<Spot> {
    // Number 0 is in the labels too, of bets without one: it is none that a bet travels to.
    box_index(number).and_then(|_| spot_with(bet, number))
}

/// Where a new bet goes: `None` if it needs a box number and `number` is none (`BAD_TARGET`). A number that the bet
/// does not need is ignored; come and don't come start without one.
pub fn spot_of(bet: BetId, number: u8) -> Option<Spot> {
    match own_number(bet) {
        0 => Some(Spot(bet.0)),
        _ => travelled_spot(bet, number),
    }
}

/// Where a standing bet lies: as [`spot_of`], but come and don't come with a box number are those that travelled there.
pub fn standing_spot(bet: BetId, number: u8) -> Option<Spot> {
    match BETS[bet.index()].family {
        Family::Come | Family::DontCome if number != 0 => travelled_spot(bet, number),
        _ => spot_of(bet, number),
    }
}

/// The flat bet's spot that odds on this spot stand on; `None` for every other bet.
pub fn flat_of(odds: Spot) -> Option<Spot> {
    let number = LABELS[odds.index()].number;
    match BETS[bet_of(odds).index()].family {
        Family::Odds(Flat::Pass) => Some(Spot(0)),
        Family::Odds(Flat::DontPass) => Some(Spot(1)),
        Family::Odds(Flat::Come) => spot_with(BetId(2), number),
        Family::Odds(Flat::DontCome) => spot_with(BetId(3), number),
        Family::Odds(Flat::Put) => {
            BETS.iter().find(|bet| matches!(bet.family, Family::Put(n) if n == number)).map(|bet| Spot(bet.id.0))
        }
        _ => None,
    }
}

/// The spot of the odds that may stand on a flat bet's spot.
pub fn odds_on(flat: Spot) -> Option<Spot> {
    (0..SPOTS).map(|spot| Spot(spot as u8)).find(|odds| flat_of(*odds) == Some(flat))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spot_has_its_own_bet_and_number() {
        for spot in (0..SPOTS).map(|spot| Spot(spot as u8)) {
            let (bet, number) = (bet_of(spot), number_of(spot).unwrap_or(0));
            assert_eq!(standing_spot(bet, number), Some(spot), "{bet} {number}");
        }
        assert_eq!(spot_of(BetId(2), 6), Some(Spot(2)), "a new come bet is pending");
        assert_eq!(spot_of(BetId(31), 7), None);
        assert_eq!(spot_of(BetId(0), 6), Some(Spot(0)), "a number that is not needed is ignored");
    }

    #[test]
    fn odds_stand_on_one_flat_bet_each() {
        let odds: Vec<_> = (0..SPOTS).map(|spot| Spot(spot as u8)).filter(|spot| flat_of(*spot).is_some()).collect();
        assert_eq!(odds.len(), 2 + 3 * 6);
        for spot in odds {
            assert_eq!(odds_on(flat_of(spot).expect("odds")), Some(spot));
        }
        assert_eq!(odds_on(Spot(2)), None, "a pending come bet takes no odds");
    }
}
