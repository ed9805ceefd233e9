//! Withholding gains nothing: a bounded game with every move in every phase, solved exactly.
//!
//! The player of a pledged table knows the dice of a closed roll before anybody else. Whatever it then does, its best play is
//! worth as much as the best play of one who opens every roll. The same game under three planted rules, each of which the
//! engine does not have, must be worth more: else the game would show nothing.

use std::collections::BTreeMap;

use crate::common::bet;
use bytemuck::Zeroable;
use engine::component::{BetFlags, BetRow, Bets, MoreBets, Seat, SeatBets, SeatBetsMut, SpotMask};
use engine::dice::ROLLS;
use engine::{Chips, Dice, Puck, TableRules};
use systems::Catalogue;
use systems::catalogue::{self, BETS, Placement};
use systems::settle::resolve::resolve_seat;
use systems::state::seats::{returnable, worth};

/// What happens to a roll that waits.
#[derive(Clone, Copy)]
struct Rules {
    /// Every roll is opened: the player does not use what it knows.
    opens_always: bool,
    /// Bets of a roll that is not opened return to the rail.
    withheld_returns: bool,
    /// Bets may be taken down while the roll waits.
    takes_down: bool,
    /// Another value may be pledged while the roll waits, once.
    pledges_again: bool,
}

/// The rules of the engine: R13.
const SOUND: Rules = Rules { opens_always: false, withheld_returns: false, takes_down: false, pledges_again: false };
const HONEST: Rules = Rules { opens_always: true, ..SOUND };

/// A seat, its bets, and the puck.
#[derive(Clone, Copy)]
struct Table {
    seat: Seat,
    hot: Bets,
    cold: MoreBets,
    puck: Puck,
}

impl Table {
    fn new(rail: u64) -> Self {
        let seat = Seat { rail: Chips(rail), ..Seat::EMPTY };
        Self { seat, hot: Bets::zeroed(), cold: MoreBets::zeroed(), puck: Puck::Off }
    }

    fn bets(&self) -> SeatBets<'_> {
        SeatBets { spots: self.seat.spots, hot: &self.hot, cold: &self.cold }
    }

    fn bets_mut(&mut self) -> SeatBetsMut<'_> {
        SeatBetsMut { seat: &mut self.seat, hot: &mut self.hot, cold: &mut self.cold }
    }

    fn key(&self, rolls: u32, phase: u8) -> Vec<u8> {
        let mut key = vec![phase, rolls as u8, self.puck.to_byte()];
        key.extend(self.seat.rail.0.to_le_bytes());
        key.extend(self.bets().iter().flat_map(|bet| bytemuck::bytes_of(&bet).to_vec()));
        key
    }

    /// The bets of some spots go back to the rail.
    fn taken_down(&self, spots: &SpotMask, catalogue: &Catalogue) -> Self {
        let mut after = *self;
        let chips = worth(self.bets(), spots, catalogue).chips;
        after.bets_mut().remove_all(spots);
        after.seat.rail += chips;
        after
    }

    /// One chip on a bet, if it may be placed.
    fn with_bet(&self, name: &str) -> Option<Self> {
        let id = bet(name);
        let spot = catalogue::spot_of(id, 0)?;
        let allowed = match BETS[id.index()].family.placement() {
            Placement::Any => true,
            Placement::PuckOff => self.puck == Puck::Off,
            Placement::PuckOn => self.puck != Puck::Off,
        };
        if !allowed || self.seat.rail < Chips(1) || self.seat.spots.contains(spot) {
            return None;
        }
        let mut after = *self;
        after.seat.rail -= Chips(1);
        after.bets_mut().insert(BetRow { amount: 1, progress: 0, spot, flags: BetFlags::default() });
        Some(after)
    }

    fn rolled(&self, dice: Dice, catalogue: &Catalogue) -> Self {
        let mut after = *self;
        let (row, working) = (catalogue.row(self.puck, dice), *catalogue.default_working(self.puck));
        let outcome = resolve_seat(&mut after.bets_mut(), catalogue, row, &working, |_, _, _| {});
        after.seat.rail += outcome.credit;
        after.puck = self.puck.roll(dice).1;
        after
    }
}

struct Game {
    catalogue: Catalogue,
    rules: Rules,
    /// What a chip counts for: a power of 36, so that every expectation is a whole number.
    scale: i128,
    known: BTreeMap<Vec<u8>, i128>,
}

impl Game {
    const BETS: [&'static str; 5] = ["pass", "dont_pass", "field", "any_seven", "big_6"];

    fn worth(rules: Rules, rail: u64, rolls: u32) -> i128 {
        let catalogue = Catalogue::new(&TableRules::default()).expect("CANON-1");
        // A roll that is pledged for again counts twice.
        let mut game = Self { catalogue, rules, scale: 36i128.pow(2 * rolls), known: BTreeMap::new() };
        game.between(&Table::new(rail), rolls)
    }

    /// Between rolls: leave, or be absent, which is the same; take a bet down; place one or two; roll.
    fn between(&mut self, table: &Table, rolls: u32) -> i128 {
        if let Some(worth) = self.known.get(&table.key(rolls, 0)) {
            return *worth;
        }
        let back = returnable(table.bets(), &self.catalogue, table.puck);
        let left = table.taken_down(&back, &self.catalogue);
        let mut best = i128::from(left.seat.rail.0) * self.scale;
        if rolls > 0 {
            let mut plays = vec![*table];
            plays.extend(back.iter().map(|spot| table.taken_down(&SpotMask::from_iter([spot]), &self.catalogue)));
            for name in Self::BETS {
                let more: Vec<Table> = plays.iter().filter_map(|table| table.with_bet(name)).collect();
                plays.extend(more);
            }
            for play in plays.iter().filter(|play| !play.seat.spots.is_empty()) {
                best = best.max(self.closed(play, rolls, true));
            }
        }
        self.known.insert(table.key(rolls, 0), best);
        best
    }

    /// The bets are closed. The player knows the dice, and moves.
    fn closed(&mut self, table: &Table, rolls: u32, may_pledge: bool) -> i128 {
        let key = table.key(rolls, 1 + u8::from(may_pledge));
        if let Some(worth) = self.known.get(&key) {
            return *worth;
        }
        let mut sum = 0;
        for roll in 0..ROLLS {
            let dice = Dice::from_roll_index(roll);
            let rolled = table.rolled(dice, &self.catalogue);
            let mut best = self.between(&rolled, rolls - 1);
            if !self.rules.opens_always {
                best = best.max(self.withheld(table, rolls));
            }
            if self.rules.takes_down {
                let back = returnable(table.bets(), &self.catalogue, table.puck);
                let fewer = table.taken_down(&back, &self.catalogue).rolled(dice, &self.catalogue);
                best = best.max(self.between(&fewer, rolls - 1));
            }
            if self.rules.pledges_again && may_pledge {
                best = best.max(self.closed(table, rolls, false));
            }
            sum += best * i128::from(dice.ways());
        }
        assert_eq!(sum % 36, 0, "an expectation is a whole number of this scale");
        self.known.insert(key, sum / 36);
        sum / 36
    }

    /// The roll is not opened: the bets are forfeited, the player is seen off with the rail, and may sit down again.
    fn withheld(&mut self, table: &Table, rolls: u32) -> i128 {
        let all = table.seat.spots;
        let back = if self.rules.withheld_returns {
            table.taken_down(&all, &self.catalogue).seat.rail
        } else {
            table.seat.rail
        };
        self.between(&Table::new(back.0), rolls - 1)
    }
}

#[test]
fn whoever_withholds_gains_nothing_and_would_under_other_rules() {
    let worth = |rules| Game::worth(rules, 3, 3);
    let honest = worth(HONEST);
    assert_eq!(worth(SOUND), honest, "foreseeing the dice of a closed roll is worth nothing");
    let planted = [
        ("bets return", Rules { withheld_returns: true, ..SOUND }),
        ("take-down while the roll waits", Rules { takes_down: true, ..SOUND }),
        ("a pledge while the roll waits", Rules { pledges_again: true, ..SOUND }),
    ];
    for (name, rules) in planted {
        assert!(worth(rules) > honest, "{name}: the game must show what it would be worth");
    }
}
