//! Which request placed a bet: what joins the sheets of bets and payouts.
//!
//! A bet has no number of its own in the state: it is what lies on a spot of a seat. Its name in the sheets is therefore the
//! intent that placed it, as `HEIGHT:INDEX`, which is the same in every export of the session. It is kept while the bet
//! lies, through raises and travels, and forgotten when a roll, its player or the house takes the bet off.

use std::collections::BTreeMap;

use engine::io::{BetResult, Resolution, Verdict};
use engine::message::intent::{IntentBody, IntentKind};
use engine::{AccountId, BetId, Height, Spot, TableId};
use systems::Machine;
use systems::catalogue::{odds_on, spot_of, standing_spot};

/// The intent that placed a bet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The height of its block.
    pub height: Height,
    /// Its place in the block.
    pub index: u32,
}

impl std::fmt::Display for Placed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.height.0, self.index)
    }
}

/// A bet that lies on a spot.
#[derive(Clone, Copy)]
struct Lying {
    /// Nothing if it lay before the export began.
    placed: Option<Placed>,
    /// Its player has asked to leave since, in the same block: the bet went back, unless it is one that must stay.
    doubtful: bool,
}

/// A player at a table: an account has one seat there.
type At = (TableId, AccountId);

/// The bets that lie, by player and spot.
pub struct PlacedBets {
    bets: BTreeMap<(At, Spot), Lying>,
    /// Bets that a roll of this height moved. They lie where they moved to once the roll is over: the same roll may decide
    /// the bet that lay there before.
    travelled: Vec<((At, Spot), Lying)>,
    /// Whose bets are to be compared with the table when the height is over.
    touched: Vec<At>,
}

impl PlacedBets {
    /// The bets that lie before the first exported height: nobody knows which intents placed them.
    pub fn before(machine: &mut Machine) -> Self {
        let unknown = Lying { placed: None, doubtful: false };
        let bets = machine.read(|rows| {
            let per_table = rows.seats_per_table();
            let seats = rows.seats.iter().enumerate().filter(|(_, seat)| !seat.spots.is_empty());
            let lying = seats.flat_map(|(index, seat)| {
                let at = (TableId((index / per_table) as u32), seat.account);
                seat.spots.iter().map(move |spot| ((at, spot), unknown))
            });
            lying.collect()
        });
        Self { bets, travelled: Vec::new(), touched: Vec::new() }
    }

    /// Takes note of an applied request at a bet. Gives the intent that placed the bet.
    pub fn request(
        &mut self,
        intent: Placed,
        account: AccountId,
        body: &IntentBody,
        kind: IntentKind,
        verdict: Verdict,
    ) -> Option<Placed> {
        let (at, bet) = ((TableId(body.target), account), BetId(body.bet));
        if kind == IntentKind::Bet {
            let fresh = Lying { placed: Some(intent), doubtful: false };
            let lying = self.bets.entry((at, spot_of(bet, body.box_number)?)).or_insert(fresh);
            // The bet that lay there went back when its player asked to leave: this intent has placed a new one.
            if lying.doubtful {
                *lying = fresh;
            }
            return lying.placed;
        }
        let spot = standing_spot(bet, body.box_number)?;
        if kind != IntentKind::TakeDown {
            return self.bets.get(&(at, spot))?.placed;
        }
        // Odds cannot lie without the bet that they are on, so they came back with it.
        if verdict == Verdict::OddsReturned {
            odds_on(spot).and_then(|odds| self.bets.remove(&(at, odds)));
        }
        self.bets.remove(&(at, spot))?.placed
    }

    /// Takes note of a player who asked to leave.
    pub fn leave(&mut self, table: TableId, account: AccountId) {
        self.touched.push((table, account));
        self.of((table, account)).for_each(|lying| lying.doubtful = true);
    }

    /// Takes note of a player who left at a roll.
    pub fn seen_off(&mut self, table: TableId, account: AccountId) {
        self.touched.push((table, account));
    }

    /// Takes note of what a roll did to a bet. Gives the intent that placed it.
    pub fn resolution(&mut self, resolution: &Resolution) -> Option<Placed> {
        let at = (resolution.table, resolution.account);
        let lying = self.bets.remove(&(at, resolution.spot))?;
        if let BetResult::Travel(to) = resolution.result {
            self.travelled.push(((at, to), lying));
        }
        lying.placed
    }

    /// Ends the height that was just executed: bets lie where they moved to, and those that went back to players who left
    /// are forgotten.
    pub fn end_height(&mut self, machine: &mut Machine) {
        for (place, lying) in self.travelled.drain(..) {
            let before = self.bets.insert(place, lying);
            assert!(before.is_none(), "a bet moves to a spot that the same roll has cleared");
        }
        for at in std::mem::take(&mut self.touched) {
            // The table itself says which bets went back: some must stay until they are decided, whoever leaves.
            let lying = machine.read(|rows| {
                let per_table = rows.seats_per_table();
                let first = at.0.index() * per_table;
                let seat = (first..first + per_table).find(|seat| rows.seats[*seat].account == at.1);
                seat.map(|seat| rows.seats[seat].spots)
            });
            self.bets.retain(|(of, spot), _| *of != at || lying.is_some_and(|spots| spots.contains(*spot)));
            self.of(at).for_each(|lying| lying.doubtful = false);
        }
    }

    fn of(&mut self, at: At) -> impl Iterator<Item = &mut Lying> {
        self.bets.range_mut((at, Spot(0))..=(at, Spot(u8::MAX))).map(|(_, lying)| lying)
    }
}
