//! What players see, and what they wish for.

use engine::columns::Rows;
use engine::component::{BetRow, Table};
use engine::dice::BOX_NUMBERS;
use engine::limits::BETS as BET_COUNT;
use engine::message::intent::{IntentBody, IntentKind, Working};
use engine::{AccountId, BetId, Chips, Puck, TableId};
use systems::catalogue::{BETS, Family, Flat, Placement, bet_of, number_of};

use super::chance::Chance;

/// How a player bets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Strategy {
    /// The line, with odds.
    LineAndOdds,
    /// Come after come, with odds on each.
    ComeTraveller,
    /// The numbers: place, buy, lay, yes, no, hardways.
    Numbers,
    /// One-roll bets of all kinds.
    Props,
    /// Bets on the whole hand.
    Hands,
    /// Anything, right or wrong.
    Reckless,
}

impl Strategy {
    /// All strategies.
    pub const ALL: [Self; 6] =
        [Self::LineAndOdds, Self::ComeTraveller, Self::Numbers, Self::Props, Self::Hands, Self::Reckless];
}

/// What a player sees of the table they are at.
pub struct View {
    pub tables: u32,
    pub table: Table,
    pub cage: Chips,
    pub number_highest: u64,
    pub table_full: bool,
    pub seat: Option<SeatView>,
}

/// What a seated player sees of their own seat.
pub struct SeatView {
    pub rail: Chips,
    pub bets: Vec<BetRow>,
    pub is_shooter: bool,
    opened_ms: u64,
}

impl View {
    /// What the player with `account` sees at `table`.
    pub fn of(rows: &Rows<'_>, account: AccountId, table: TableId, seats: usize) -> Self {
        let row = rows.tables[table.index()];
        let range = table.index() * seats..(table.index() + 1) * seats;
        let own = range.clone().find(|seat| rows.seats[*seat].account == account && rows.seats[*seat].is_seated());
        let free = range
            .clone()
            .any(|seat| rows.seats[seat].account == AccountId::NONE || rows.seats[seat].account == account);
        let seat = own.map(|seat| SeatView {
            rail: rows.seats[seat].rail,
            bets: rows.seat_bets(seat).iter().collect(),
            is_shooter: usize::from(row.shooter) == seat - range.start,
            opened_ms: row.opened_ms,
        });
        let own = &rows.accounts[account.index()];
        let tables = rows.tables.len() as u32;
        Self { tables, table: row, cage: own.cage, number_highest: own.number_highest, table_full: !free, seat }
    }
}

impl SeatView {
    /// Whether a shooter in no hurry would roll by now.
    pub fn may_roll(&self, now_ms: u64) -> bool {
        now_ms >= self.opened_ms + 400
    }

    fn has(&self, bet: BetId) -> bool {
        self.bets.iter().any(|row| bet_of(row.spot) == bet)
    }
}

/// Something a player wants to do at the table.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub kind: IntentKind,
    bet: BetId,
    number: u8,
    amount: u64,
    working: Working,
    roll: u32,
}

impl Wish {
    pub fn new(kind: IntentKind) -> Self {
        Self { kind, bet: BetId(0), number: 0, amount: 0, working: Working::Default, roll: 0 }
    }

    fn bet(bet: BetId, amount: u64) -> Self {
        Self { bet, amount, ..Self::new(IntentKind::Bet) }
    }

    fn number(self, number: u8) -> Self {
        Self { number, ..self }
    }

    fn on(kind: IntentKind, row: &BetRow) -> Self {
        Self { bet: bet_of(row.spot), number: number_of(row.spot).unwrap_or(0), ..Self::new(kind) }
    }

    /// The intent's body; the table is added by whoever sends it.
    pub fn fill(&self, body: IntentBody) -> IntentBody {
        let body = body.roll(self.roll);
        match self.kind {
            IntentKind::Bet => body.on(self.bet, self.number).amount(self.amount).working(self.working),
            IntentKind::TakeDown => body.on(self.bet, self.number),
            IntentKind::SetAmount => body.on(self.bet, self.number).amount(self.amount),
            IntentKind::SetWorking => body.on(self.bet, self.number).working(self.working),
            IntentKind::Sit => body.amount(self.amount),
            _ => body,
        }
    }
}

fn bets_of(wanted: impl Fn(Family) -> bool) -> Vec<BetId> {
    BETS.iter().filter(|bet| wanted(bet.family)).map(|bet| bet.id).collect()
}

fn is_number_bet(family: Family) -> bool {
    matches!(
        family,
        Family::Place(_)
            | Family::PlaceLose(_)
            | Family::Buy(_)
            | Family::Lay(_)
            | Family::Yes(_)
            | Family::No(_)
            | Family::Hard(_)
            | Family::Big(_)
            | Family::Put(_)
    )
}

const PASS: BetId = BetId(0);
const DONT_PASS: BetId = BetId(1);
const COME: BetId = BetId(2);
const DONT_COME: BetId = BetId(3);

fn odds_on(flat: Flat) -> BetId {
    let odds = BETS.iter().find(|bet| matches!(bet.family, Family::Odds(on) if on == flat));
    odds.expect("each flat bet has odds").id
}

impl Strategy {
    /// What a player wants to do now.
    pub fn wishes(self, view: &View, seat: &SeatView, rng: &mut Chance) -> Vec<Wish> {
        let unit = 10 * (1 + rng.below(3));
        match self {
            Self::LineAndOdds => line(view, seat, rng, unit),
            Self::ComeTraveller => come(view, seat, rng, unit),
            Self::Numbers => numbers(view, seat, rng, unit),
            Self::Props => vec![Wish::bet(*rng.pick(&bets_of(Family::is_one_roll)), unit)],
            Self::Hands if view.table.point == 0 => {
                // Now and then the long shot, for more than the bank can pay.
                let amount = if rng.once_in(10) { 60 * unit } else { unit / 5 };
                vec![Wish::bet(*rng.pick(&bets_of(Family::is_hand)), amount)]
            }
            Self::Hands => vec![Wish::bet(*rng.pick(&[4, 64, 66, 67].map(BetId)), unit)],
            Self::Reckless => reckless(view, seat, rng),
        }
    }
}

fn line(view: &View, seat: &SeatView, rng: &mut Chance, unit: u64) -> Vec<Wish> {
    let dark = rng.once_in(3);
    match view.table.puck() {
        Puck::Off if !seat.has(PASS) && !seat.has(DONT_PASS) => {
            vec![Wish::bet(if dark { DONT_PASS } else { PASS }, unit)]
        }
        Puck::On(_) => {
            let flat = if seat.has(PASS) { Flat::Pass } else { Flat::DontPass };
            if seat.has(PASS) || seat.has(DONT_PASS) {
                return vec![Wish::bet(odds_on(flat), 6 * unit / 3)];
            }
            let box_number = rng.pick(&BOX_NUMBERS);
            let put = BETS.iter().find(|bet| matches!(bet.family, Family::Put(n) if n == *box_number));
            let put = put.expect("every box number has a put bet").id;
            if seat.has(put) {
                vec![Wish::bet(odds_on(Flat::Put), unit).number(*box_number)]
            } else {
                vec![Wish::bet(put, unit)]
            }
        }
        Puck::Off => Vec::new(),
    }
}

fn come(view: &View, seat: &SeatView, rng: &mut Chance, unit: u64) -> Vec<Wish> {
    if view.table.point == 0 {
        return if seat.has(PASS) { Vec::new() } else { vec![Wish::bet(PASS, unit)] };
    }
    let travelled: Vec<&BetRow> = seat.bets.iter().filter(|row| systems::catalogue::has_travelled(row.spot)).collect();
    let come = if rng.once_in(4) { DONT_COME } else { COME };
    if travelled.is_empty() || rng.once_in(2) {
        return vec![Wish::bet(come, unit)];
    }
    let flat = rng.pick(&travelled);
    let number = number_of(flat.spot).expect("it has travelled");
    let odds = odds_on(if bet_of(flat.spot) == COME { Flat::Come } else { Flat::DontCome });
    let standing = seat.bets.iter().find(|row| bet_of(row.spot) == odds && number_of(row.spot) == Some(number));
    match standing {
        None => vec![Wish::bet(odds, 2 * u64::from(flat.amount)).number(number)],
        Some(odds) if rng.once_in(2) => {
            let working = *rng.pick(&[Working::On, Working::Off, Working::Default]);
            vec![Wish { working, ..Wish::on(IntentKind::SetWorking, odds) }]
        }
        Some(odds) => vec![Wish::on(IntentKind::TakeDown, odds)],
    }
}

fn numbers(view: &View, seat: &SeatView, rng: &mut Chance, unit: u64) -> Vec<Wish> {
    let open =
        |family: Family| is_number_bet(family) && (family.placement() == Placement::Any || view.table.point != 0);
    let own = &seat.bets;
    match rng.below(6) {
        0 if !own.is_empty() => vec![Wish::on(IntentKind::TakeDown, rng.pick(own))],
        1 if !own.is_empty() => {
            let row = rng.pick(own);
            vec![Wish { amount: u64::from(row.amount) + unit, ..Wish::on(IntentKind::SetAmount, row) }]
        }
        2 if !own.is_empty() => {
            vec![Wish {
                working: *rng.pick(&[Working::On, Working::Off]),
                ..Wish::on(IntentKind::SetWorking, rng.pick(own))
            }]
        }
        _ => vec![Wish::bet(*rng.pick(&bets_of(open)), unit)],
    }
}

/// Whatever comes to mind: amounts and bets that are often wrong, and now and then a spree over the whole layout.
fn reckless(view: &View, seat: &SeatView, rng: &mut Chance) -> Vec<Wish> {
    let any_bet = BetId(rng.below(BET_COUNT as u64 + 3) as u8);
    let number = *rng.pick(&[0, 4, 5, 6, 7, 8, 9, 10]);
    let amount = *rng.pick(&[0, 1, 5, 10, 25, 100, 500, 2_000, 20_000, 3_000_000_000]);
    let own = &seat.bets;
    let working = *rng.pick(&[Working::Default, Working::Default, Working::On, Working::Off]);
    let wish = |kind| Wish { bet: any_bet, number, amount, working, ..Wish::new(kind) };
    let on_own = |kind, row: &BetRow| Wish { amount, working, ..Wish::on(kind, row) };
    match rng.below(16) {
        0..=4 => vec![wish(IntentKind::Bet)],
        5 => vec![wish(IntentKind::TakeDown)],
        6 => vec![wish(IntentKind::SetAmount), wish(IntentKind::SetWorking)],
        7 => vec![Wish::new(IntentKind::Roll), Wish::new(IntentKind::Roll)],
        8 => vec![Wish::new(IntentKind::PassDice)],
        9 => vec![Wish { amount, ..Wish::new(IntentKind::Sit) }],
        10 => vec![Wish { roll: view.table.roll_number + rng.below(3) as u32, ..wish(IntentKind::Bet) }],
        11 if rng.once_in(4) => (0..BET_COUNT as u8).step_by(3).map(|bet| Wish::bet(BetId(bet), 1)).collect(),
        _ if own.is_empty() => vec![Wish::bet(*rng.pick(&[0, 1, 2, 3].map(BetId)), 10)],
        12 => vec![on_own(IntentKind::SetAmount, rng.pick(own))],
        13 => vec![on_own(IntentKind::SetWorking, rng.pick(own))],
        14 => vec![on_own(IntentKind::TakeDown, rng.pick(own))],
        _ => vec![Wish {
            number: number_of(own[0].spot).unwrap_or(number),
            ..Wish::bet(odds_on(*rng.pick(&[Flat::Come, Flat::DontCome, Flat::Put])), amount)
        }],
    }
}
