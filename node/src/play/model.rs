//! What the client knows of the game, and the sentences that news become.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use engine::component::{Account, BetFlags, BetRow, Seat, Table};
use engine::io::{BetResult, Resolution, RollReport, Verdict};
use engine::message::intent::Working;
use engine::{AccountId, Chips, Height, Puck, RollEvent, Spot, TableId};
use systems::catalogue::{BETS, Family, Placement, bet_of, flat_of, has_travelled, number_of};
use systems::ledger::held;
use systems::{Catalogue, Setup};

use super::action::Wish;
use super::names::spot_words;
use super::odds::OddsBook;
use crate::cli::thousands;

/// Rolls that are remembered.
pub const ROLLS_KEPT: usize = 100;
/// Lines of the log that are remembered.
pub const LINES_KEPT: usize = 200;
/// Intents that may be on their way at once; the account's window of numbers holds no more.
pub const IN_FLIGHT_MAX: usize = engine::limits::NUMBER_WINDOW as usize;

/// How the client stands with its node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Link {
    /// It calls the node.
    Connecting {
        /// Calls so far.
        attempt: u32,
    },
    /// The node answers.
    Up {
        /// Milliseconds there and back.
        rtt_ms: u32,
    },
    /// It lost the node.
    Down {
        /// Why.
        why: String,
        /// Seconds until it calls again.
        retry_s: u32,
    },
}

/// What a line of the log is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// Something happened.
    Info,
    /// Something went well.
    Good,
    /// Chips were lost.
    Bad,
    /// Something was refused or failed, and may want an answer.
    Warning,
}

/// A line of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line {
    /// What it is about.
    pub severity: Severity,
    /// A sentence.
    pub text: String,
}

/// A seat with its bets in spot order.
#[derive(Clone, PartialEq, Debug)]
pub struct SeatView {
    /// The seat's row.
    pub seat: Seat,
    /// Its bets.
    pub bets: Vec<BetRow>,
}

/// An intent without a receipt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InFlight {
    /// Its number.
    pub number: u64,
    /// What it asks.
    pub wish: Wish,
    /// The table it is for.
    pub table: TableId,
    /// Whether the node said that it has it.
    pub acknowledged: bool,
}

/// The watched table as the node last told it.
#[derive(Clone, PartialEq, Debug)]
pub struct TableView {
    /// The table's row.
    pub row: Table,
    /// Its seats, by number.
    pub seats: Vec<SeatView>,
}

/// What the client knows.
pub struct Game {
    setup: Setup,
    /// What bets are worth; a thread of its own may fill it.
    pub odds: Arc<OddsBook>,
    /// The connection.
    pub link: Link,
    /// The node's name.
    pub node: String,
    /// The node's address.
    pub address: String,
    /// The player's public key.
    pub key: [u8; 32],
    /// The player's account, once it is open.
    pub account: Option<(AccountId, Account)>,
    /// The table that is watched.
    pub watched: TableId,
    /// What is known of it, once the node has told.
    pub table: Option<TableView>,
    /// The watched table's last rolls, oldest first.
    pub rolls: VecDeque<RollReport>,
    /// What the watched table's last roll decided, of all seats.
    pub resolutions: Vec<Resolution>,
    /// The log, oldest first.
    pub log: VecDeque<Line>,
    /// Intents without a receipt, oldest first.
    pub in_flight: Vec<InFlight>,
    /// The chain's time in milliseconds, as the client reckons it.
    pub now_ms: u64,
    /// The last settled height that the node told.
    pub height: Height,
    /// Chips won by own bets in this session.
    pub won: u64,
    /// Chips lost by own bets in this session.
    pub lost: u64,
    /// The last roll that was taken in, by table.
    rolled: BTreeMap<TableId, u32>,
}

impl Game {
    /// Nothing known but the chain, the node and the player's key; watches table 0.
    pub fn new(setup: Setup, node: String, address: String, key: [u8; 32]) -> Self {
        Self {
            odds: Arc::new(OddsBook::new(setup.clone())),
            now_ms: setup.genesis.start_ms,
            setup,
            link: Link::Connecting { attempt: 1 },
            node,
            address,
            key,
            account: None,
            watched: TableId(0),
            table: None,
            rolls: VecDeque::new(),
            resolutions: Vec::new(),
            log: VecDeque::new(),
            in_flight: Vec::new(),
            height: Height::GENESIS,
            won: 0,
            lost: 0,
            rolled: BTreeMap::new(),
        }
    }

    /// The chain's constants.
    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    /// The number of the rules that the watched table plays by.
    pub fn rules(&self) -> usize {
        self.setup.genesis.rules_of(self.watched.0)
    }

    /// What the watched table plays by.
    pub fn catalogue(&self) -> &Catalogue {
        &self.setup.catalogues[self.rules()]
    }

    /// Adds a line to the log; the oldest goes when it is full.
    pub fn say(&mut self, severity: Severity, text: impl Into<String>) {
        if self.log.len() == LINES_KEPT {
            self.log.pop_front();
        }
        self.log.push_back(Line { severity, text: text.into() });
    }

    /// The connection changed. A new measurement of a standing one is no news.
    pub fn set_link(&mut self, link: Link) {
        match (&self.link, &link) {
            (Link::Up { .. }, Link::Up { .. }) | (_, Link::Connecting { .. }) => {}
            (_, Link::Up { .. }) => self.say(Severity::Good, format!("connected to {}", self.node)),
            (Link::Down { why: before, .. }, Link::Down { why, .. }) if before == why => {}
            (_, Link::Down { why, .. }) => self.say(Severity::Warning, format!("connection lost: {why}")),
        }
        self.link = link;
    }

    /// The player's account as the node tells it.
    pub fn set_account(&mut self, account: Option<(AccountId, Account)>) {
        self.account = account;
    }

    /// Watches another table; what was known of the last one goes.
    pub fn watch(&mut self, table: TableId) {
        if table != self.watched {
            self.watched = table;
            self.table = None;
            self.rolls.clear();
            self.resolutions.clear();
        }
    }

    /// A table's rows. Those of a table that is not watched are dropped.
    pub fn set_table(&mut self, table: TableId, row: Table, seats: Vec<SeatView>) {
        if table == self.watched {
            self.table = Some(TableView { row, seats });
        }
    }

    /// The settled height.
    pub fn settled(&mut self, height: Height) {
        self.height = self.height.max(height);
    }

    /// The chain's time.
    pub fn time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// An intent went out for the watched table.
    pub fn sent(&mut self, number: u64, wish: Wish) {
        if self.in_flight.len() == IN_FLIGHT_MAX {
            self.in_flight.remove(0);
        }
        self.in_flight.push(InFlight { number, wish, table: self.watched, acknowledged: false });
    }

    /// The node has an intent.
    pub fn acknowledged(&mut self, number: u64) {
        if let Some(sent) = self.in_flight.iter_mut().find(|sent| sent.number == number) {
            sent.acknowledged = true;
        }
    }

    /// What became of an intent.
    pub fn receipt(&mut self, number: u64, verdict: Verdict, height: Height) {
        self.settled(height);
        let sent = self.take_sent(number);
        let (severity, text) = receipt_words(sent.as_ref(), number, verdict);
        self.say(severity, text);
    }

    /// The node had no room for an intent; it may be sent again.
    pub fn shed(&mut self, number: u64, reason: &str) {
        let sent = self.take_sent(number);
        let words = sent.map_or(format!("intent {number}"), |sent| sent.wish.words());
        self.say(Severity::Warning, format!("{words}: not taken, {reason}; try again"));
    }

    fn take_sent(&mut self, number: u64) -> Option<InFlight> {
        let place = self.in_flight.iter().position(|sent| sent.number == number)?;
        Some(self.in_flight.remove(place))
    }

    /// A roll of any table and what it decided there. A roll that is told again is dropped.
    pub fn rolled(&mut self, roll: RollReport, resolutions: Vec<Resolution>) {
        let last = self.rolled.entry(roll.table).or_default();
        if roll.roll_number <= *last {
            return;
        }
        *last = roll.roll_number;
        let own: Vec<Resolution> = resolutions.iter().filter(|one| self.is_own(one)).copied().collect();
        if roll.table == self.watched {
            self.show_roll(roll, resolutions);
        } else if !own.is_empty() {
            self.say(Severity::Info, format!("table {}: {}", roll.table, roll_words(&roll)));
        }
        let catalogue = self.setup.genesis.rules_of(roll.table.0);
        for one in own {
            let commission = self.setup.catalogues[catalogue].commission(one.spot);
            let (severity, text) = resolution_words(&one, profit(&one, commission));
            match profit(&one, commission) {
                gain @ 0.. => self.won += gain.unsigned_abs(),
                loss => self.lost += loss.unsigned_abs(),
            }
            self.say(severity, text);
        }
    }

    fn show_roll(&mut self, roll: RollReport, resolutions: Vec<Resolution>) {
        self.say(Severity::Info, roll_words(&roll));
        if self.rolls.len() == ROLLS_KEPT {
            self.rolls.pop_front();
        }
        self.rolls.push_back(roll);
        self.resolutions = resolutions;
        // The rows follow; until they do, the dice and the puck are this roll's.
        if let Some(view) = self.table.as_mut().filter(|view| view.row.roll_number < roll.roll_number) {
            view.row.roll_number = roll.roll_number;
            view.row.dice = roll.dice.faces();
            view.row.point = roll.puck.to_byte();
            view.row.shooter = roll.shooter;
        }
    }

    fn is_own(&self, resolution: &Resolution) -> bool {
        self.account.is_some_and(|(id, _)| id == resolution.account)
    }

    /// The player's seat at the watched table.
    pub fn own_seat(&self) -> Option<(usize, &SeatView)> {
        let (id, _) = self.account?;
        let seats = &self.table.as_ref()?.seats;
        seats.iter().enumerate().find(|(_, view)| view.seat.account == id)
    }

    /// The player's bet on a spot.
    pub fn own_bet(&self, spot: Spot) -> Option<BetRow> {
        self.own_seat()?.1.bets.iter().find(|bet| bet.spot == spot).copied()
    }

    /// The other players' wagers on a spot together.
    pub fn others_on(&self, spot: Spot) -> u64 {
        let own = self.own_seat().map(|(number, _)| number);
        let seats = self.table.iter().flat_map(|view| view.seats.iter().enumerate());
        let bets = seats.filter(|(number, _)| Some(*number) != own).flat_map(|(_, view)| &view.bets);
        bets.filter(|bet| bet.spot == spot).map(|bet| u64::from(bet.amount)).sum()
    }

    /// Chips that lie in a seat's bets, with commission held in advance.
    pub fn in_bets(&self, view: &SeatView) -> Chips {
        view.bets.iter().map(|bet| held(bet.amount, self.catalogue().commission(bet.spot))).sum()
    }

    /// The watched table's puck.
    pub fn puck(&self) -> Puck {
        self.table.as_ref().and_then(|view| Puck::from_byte(view.row.point)).unwrap_or(Puck::Off)
    }

    /// Milliseconds until the watched table rolls; `None` while nobody plays.
    pub fn until_roll_ms(&self) -> Option<u64> {
        let next = self.table.as_ref()?.row.next_roll_ms;
        if next == Table::NEVER { None } else { Some(next.saturating_sub(self.now_ms)) }
    }

    /// Chips won or lost by own bets in this session.
    pub fn session(&self) -> i128 {
        i128::from(self.won) - i128::from(self.lost)
    }

    /// Whether the player holds the dice.
    pub fn is_shooter(&self) -> bool {
        let shooter = self.table.as_ref().map(|view| usize::from(view.row.shooter));
        self.own_seat().is_some_and(|(number, _)| Some(number) == shooter)
    }

    /// Whether a bet on a spot acts on the next roll.
    pub fn works(&self, spot: Spot, flags: BetFlags) -> bool {
        flags.works(self.catalogue().default_working(self.puck()).contains(spot))
    }

    /// The setting that turns a standing bet from working to off or back.
    pub fn toggled(&self, bet: BetRow) -> Working {
        if self.works(bet.spot, bet.flags) { Working::Off } else { Working::On }
    }

    /// The most that odds on a spot may be, by the player's flat bet under them and the table's multiple.
    pub fn odds_limit(&self, spot: Spot) -> Option<u64> {
        let flat = flat_of(spot)?;
        let wager = self.own_bet(flat).map_or(0, |bet| u64::from(bet.amount));
        Some(wager * u64::from(self.catalogue().odds_cap(spot, self.puck())))
    }

    /// Why the node would refuse a bet on a spot as things stand, as far as the client can tell.
    pub fn closed(&self, spot: Spot) -> Option<&'static str> {
        let family = BETS[bet_of(spot).index()].family;
        let own = self.own_bet(spot);
        match (family.placement(), self.puck()) {
            _ if has_travelled(spot) => Some("a come bet starts under `new` and travels here"),
            (Placement::PuckOff, Puck::On(_)) => Some("opens with the puck OFF"),
            (Placement::PuckOn, Puck::Off) => Some("opens with the puck ON"),
            _ if own.is_some_and(|bet| family.is_hand() && bet.flags.seen()) => Some("locked: it has seen a roll"),
            _ if matches!(family, Family::Odds(_))
                && flat_of(spot).is_some_and(|flat| self.own_bet(flat).is_none()) =>
            {
                Some("needs your flat bet under it")
            }
            _ => None,
        }
    }
}

/// Chips that a decided bet brought or cost, against what was held for it.
fn profit(one: &Resolution, commission: engine::Ratio) -> i64 {
    match one.result {
        BetResult::Travel(_) => 0,
        _ => one.credit.0 as i64 - held(one.wager, commission).0 as i64,
    }
}

/// What a roll did, in words.
pub fn event_words(event: RollEvent, puck: Puck) -> String {
    match (event, puck) {
        (RollEvent::PointEstablished, Puck::On(point)) => format!("the point is {point}"),
        (RollEvent::Natural, _) => "natural".into(),
        (RollEvent::Craps, _) => "craps".into(),
        (RollEvent::PointMade, _) => "point made".into(),
        (RollEvent::SevenOut, _) => "seven out".into(),
        _ => "no decision".into(),
    }
}

/// A roll in words: `roll 421: 5-3 is 8, no decision`.
pub fn roll_words(roll: &RollReport) -> String {
    let [a, b] = roll.dice.faces();
    format!("roll {}: {a}-{b} is {}, {}", roll.roll_number, roll.dice.total(), event_words(roll.event, roll.puck))
}

/// What a roll did to a bet, in words: `field wins: 5 pays 10`.
pub fn resolution_words(one: &Resolution, profit: i64) -> (Severity, String) {
    let (name, wager) = (spot_words(one.spot), thousands(one.wager.into()));
    match one.result {
        BetResult::Win => (Severity::Good, format!("{name} wins: {wager} pays {}", signed(profit.into()))),
        BetResult::Lose => (Severity::Bad, format!("{name} loses {}", thousands(profit.unsigned_abs()))),
        BetResult::Push => (Severity::Info, format!("{name} pushes: {wager} come back")),
        BetResult::Return => (Severity::Info, format!("{name} was off: {wager} come back")),
        BetResult::Travel(to) => {
            (Severity::Info, format!("{name} travels: {wager} now on {}", number_of(to).unwrap_or(0)))
        }
    }
}

/// What became of an intent, in words: `5 on field: placed`.
pub fn receipt_words(sent: Option<&InFlight>, number: u64, verdict: Verdict) -> (Severity, String) {
    let words = sent.map_or(format!("intent {number}"), |sent| sent.wish.words());
    match verdict {
        Verdict::Applied => (Severity::Info, format!("{words}: {}", sent.map_or("done", |sent| sent.wish.done()))),
        Verdict::OddsReturned => (Severity::Info, format!("{words}: done, its odds came back too")),
        Verdict::Refused(refusal) => {
            (Severity::Warning, format!("{words} refused: {} ({})", refusal.sentence(), refusal.name()))
        }
    }
}

/// A gain without its sign, a loss with it.
fn signed(chips: i128) -> String {
    let text = thousands(chips.unsigned_abs() as u64);
    if chips < 0 { format!("-{text}") } else { text }
}

/// A result with its sign, zero without.
pub fn result_words(chips: i128) -> String {
    if chips > 0 { format!("+{}", signed(chips)) } else { signed(chips) }
}

#[cfg(test)]
mod tests {
    use engine::message::intent::IntentKind;
    use engine::message::refusal::Refusal;

    use super::*;
    use crate::play::fixture::{game, playing, resolution, roll, spot, standing};

    fn last(game: &Game) -> &str {
        game.log.back().map_or("", |line| &line.text)
    }

    fn field() -> Wish {
        Wish::new(IntentKind::Bet).on(bet_of(spot("field", 0)), 0).amount(5)
    }

    #[test]
    fn receipts_become_sentences() {
        let mut game = playing();
        game.sent(7, field());
        game.sent(8, field());
        game.sent(9, field());
        game.acknowledged(7);
        assert!(game.in_flight[0].acknowledged && !game.in_flight[1].acknowledged);
        game.receipt(7, Verdict::Applied, Height(20_000));
        assert_eq!((last(&game), game.height), ("5 on field: placed", Height(20_000)));
        game.receipt(8, Verdict::Refused(Refusal::InsufficientFunds), Height::GENESIS);
        assert_eq!(last(&game), "5 on field refused: there are not enough chips (INSUFFICIENT_FUNDS)");
        assert_eq!(game.height, Height(20_000), "heights do not fall");
        game.shed(9, "the node is busy");
        assert_eq!(last(&game), "5 on field: not taken, the node is busy; try again");
        assert!(game.in_flight.is_empty());
        game.receipt(3, Verdict::OddsReturned, Height(1));
        assert_eq!(last(&game), "intent 3: done, its odds came back too");
    }

    #[test]
    fn wins_and_losses_become_sentences_and_a_result() {
        let mut game = standing();
        let one = |name, number, wager, credit, result| vec![resolution(name, number, wager, credit, result)];
        game.rolled(roll(1, [1, 1], Puck::Off), one("field", 0, 5, 15, BetResult::Win));
        assert_eq!((last(&game), game.session()), ("field wins: 5 pays 10", 10));
        game.rolled(roll(2, [3, 4], Puck::Off), one("place_6", 0, 12, 0, BetResult::Lose));
        assert_eq!((last(&game), game.session()), ("place 6 loses 12", -2));
        game.rolled(roll(3, [6, 6], Puck::Off), one("dont_pass", 0, 30, 30, BetResult::Push));
        assert_eq!((last(&game), game.session()), ("don't pass pushes: 30 come back", -2));
        let report = roll(4, [3, 3], Puck::On(4));
        game.rolled(report, one("come", 0, 10, 0, BetResult::Travel(spot("come", 6))));
        assert_eq!((last(&game), game.session()), ("come travels: 10 now on 6", -2));
        let lines = game.log.len();
        game.rolled(report, one("field", 0, 5, 15, BetResult::Win));
        assert_eq!((game.log.len(), game.session()), (lines, -2), "a roll told again is no second win");
    }

    #[test]
    fn commission_held_in_advance_counts_as_put_down() {
        let mut game = standing();
        game.watch(TableId(1));
        assert_eq!(game.rules(), 1);
        let lost = Resolution { table: TableId(1), ..resolution("buy_4", 0, 20, 0, BetResult::Lose) };
        game.rolled(RollReport { table: TableId(1), ..roll(1, [3, 4], Puck::Off) }, vec![lost]);
        assert_eq!((last(&game), game.session()), ("buy 4 loses 21", -21));
    }

    #[test]
    fn a_roll_moves_dice_and_puck_before_the_rows_come() {
        let mut game = playing();
        game.rolled(roll(422, [1, 6], Puck::On(6)), Vec::new());
        assert_eq!(game.puck(), Puck::Off);
        let elsewhere = RollReport { table: TableId(2), ..roll(9, [2, 2], Puck::Off) };
        let own = Resolution { table: TableId(2), ..resolution("field", 0, 5, 10, BetResult::Win) };
        game.rolled(elsewhere, vec![own]);
        assert_eq!((game.puck(), game.rolls.len()), (Puck::Off, 10), "another table's roll moves nothing here");
        assert_eq!(last(&game), "field wins: 5 pays 5");
    }

    #[test]
    fn what_is_kept_is_bounded_and_goes_with_the_table() {
        let mut game = standing();
        for number in 422..900 {
            game.rolled(roll(number, [3, 4], Puck::Off), Vec::new());
            game.sent(u64::from(number), field());
        }
        assert_eq!((game.rolls.len(), game.log.len(), game.in_flight.len()), (ROLLS_KEPT, LINES_KEPT, IN_FLIGHT_MAX));
        game.watch(TableId(2));
        assert!(game.rolls.is_empty() && game.table.is_none());
        let view = playing().table.expect("a table");
        game.set_table(TableId(0), view.row, view.seats);
        assert!(game.table.is_none(), "rows of a table that is no longer watched are late");
    }

    #[test]
    fn the_rows_say_what_can_be_bet_and_what_works() {
        let game = playing();
        assert_eq!(game.in_bets(game.own_seat().expect("a seat").1), Chips(125));
        assert_eq!(game.others_on(spot("place_6", 0)), 1_200);
        assert_eq!(game.closed(spot("dont_pass", 0)), Some("opens with the puck OFF"));
        assert_eq!(game.closed(spot("odds_come", 4)), Some("needs your flat bet under it"));
        assert_eq!(game.closed(spot("odds_come", 9)), None);
        assert_eq!(game.odds_limit(spot("odds_pass", 0)), Some(50));
        assert_eq!(game.odds_limit(spot("odds_come", 9)), Some(40));
        let place = |name| game.own_bet(spot(name, 0)).expect("a bet");
        assert_eq!([place("place_6"), place("place_8")].map(|bet| game.toggled(bet)), [Working::Off, Working::On]);
        assert_eq!(game.until_roll_ms(), Some(4_200));
        assert!(game.is_shooter());
    }

    #[test]
    fn a_link_is_news_when_it_comes_and_goes() {
        let mut game = game();
        let down = |retry_s| Link::Down { why: "timed out".into(), retry_s };
        [Link::Up { rtt_ms: 9 }, Link::Up { rtt_ms: 8 }, down(2), down(1), Link::Connecting { attempt: 2 }]
            .into_iter()
            .for_each(|link| game.set_link(link));
        let lines: Vec<&str> = game.log.iter().map(|line| &*line.text).collect();
        assert_eq!(lines, ["connected to dev-alpha", "connection lost: timed out"]);
        assert_eq!(result_words(1_250), "+1,250");
        assert_eq!(result_words(-3), "-3");
    }
}
