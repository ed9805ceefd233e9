//! What the client knows of the game, and the sentences that news become.

mod seat_lost;
mod seat;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use engine::component::{Account, BetFlags, BetRow, Seat, Table};
use engine::io::{Resolution, RollReport, Verdict};
use engine::limits::{PLAY_LINES_KEPT, PLAY_ROLLS_KEPT, SEAT_BETS_MAX, SEATS_MAX, SPOTS};
use engine::message::intent::{IntentId, IntentKind, Working};
use engine::{AccountId, Chips, Height, Puck, Spot, TableId};
use systems::catalogue::{BETS, Family, Placement, bet_of, flat_of, has_travelled};
use systems::ledger::held;
use systems::{Catalogue, Setup};

pub use seat_lost::SeatLost;

use super::odds::OddsBook;
use words::sentences::{Severity, profit, receipt_words, resolution_words, roll_words};
use words::wish::Wish;

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
    /// Which one it is: a pledge or an opening may have its key and number.
    pub id: IntentId,
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
    /// The last roll that a quorum of validators answers for, as the node says, by table.
    certified: BTreeMap<TableId, u32>,
    /// The lowest number that was not given to an intent.
    next_number: u64,
    /// The account was opened, and its row has not come yet.
    opened: bool,
    /// The table that the player left, until the player sits down again.
    left: Option<TableId>,
    /// The last intent of the player's that was accepted at a table.
    own_intent: Option<OwnIntent>,
}

/// The player's last intent that was accepted at a table.
#[derive(Clone, Copy)]
struct OwnIntent {
    table: TableId,
    /// By the chain's clock of activity, which counts from the chain's start and is never told: it only says whether another
    /// intent was accepted.
    last_ms: u64,
    /// When it was first seen, by the node's time.
    seen_ms: u64,
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
            certified: BTreeMap::new(),
            next_number: 1,
            opened: false,
            left: None,
            own_intent: None,
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
        if self.log.len() == PLAY_LINES_KEPT {
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
        self.opened &= account.is_none();
        self.account = account;
        self.note_own_intent();
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

    /// Says why there is no such table, if there is none.
    ///
    /// # Errors
    /// One line with the range.
    pub fn check_table(&self, table: TableId) -> Result<(), String> {
        let tables = self.setup.genesis.tables;
        if table.0 < tables {
            Ok(())
        } else {
            Err(format!("there is no table {table}; the tables are 0 to {}", tables - 1))
        }
    }

    /// A table's rows. Those of a table that is not watched are dropped, as are bets on spots that no table has. Says
    /// whether the player lost the seat by it, and why.
    pub fn set_table(&mut self, table: TableId, row: Table, mut seats: Vec<SeatView>) -> Option<SeatLost> {
        seats.truncate(SEATS_MAX as usize);
        for view in &mut seats {
            view.bets.retain(|bet| bet.spot.index() < SPOTS);
            view.bets.truncate(SEAT_BETS_MAX);
        }
        if table != self.watched {
            return None;
        }
        // A node that is lost may have told of rolls that there never were: none of those that come is dropped for them.
        if let Some(last) = self.rolled.get_mut(&table) {
            *last = row.roll_number.min(*last);
        }
        let before = self.held();
        self.table = Some(TableView { row, seats });
        let lost = before.and_then(|before| self.seat_lost(&before));
        self.note_own_intent();
        let lost = lost?;
        self.lost = self.lost.saturating_add(lost.forfeited().unwrap_or_default().0);
        self.say(lost.severity(), lost.sentence());
        Some(lost)
    }

    /// The settled height.
    pub fn settled(&mut self, height: Height) {
        self.height = self.height.max(height);
    }

    /// The chain's time.
    pub fn time(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// The number for an intent that is sent now: one that no intent on its way has.
    pub fn take_number(&mut self, kind: IntentKind) -> u64 {
        let number = match self.account {
            Some((_, account)) => self.next_number.max(account.number_highest + 1),
            // An account that is opened begins with number 1.
            None if kind == IntentKind::Open && !self.opened => 1,
            None => self.next_number.max(2),
        };
        self.next_number = if number == 1 && self.in_flight.is_empty() { 2 } else { self.next_number.max(number + 1) };
        number
    }

    /// The number of an account's opening that is on its way: a second one would have the same.
    pub fn opening(&self) -> Option<u64> {
        self.in_flight.iter().find(|sent| sent.wish.kind == IntentKind::Open).map(|sent| sent.id.number)
    }

    /// Whether another intent may go out: where as many as an account's window has numbers are on their way, the next one
    /// waits for an answer.
    pub fn may_send(&self) -> bool {
        self.in_flight.len() < IN_FLIGHT_MAX
    }

    /// An intent went out for the watched table.
    pub fn sent(&mut self, id: IntentId, wish: Wish) {
        assert!(self.in_flight.iter().all(|sent| sent.id.number != id.number), "a number is given once");
        assert!(self.may_send(), "nothing that was sent is forgotten before its receipt");
        if wish.kind == IntentKind::Sit {
            self.left = None;
        }
        self.in_flight.push(InFlight { id, wish, table: self.watched, acknowledged: false });
    }

    /// The node has an intent.
    pub fn acknowledged(&mut self, id: &IntentId) {
        self.in_flight.iter_mut().filter(|sent| sent.id == *id).for_each(|sent| sent.acknowledged = true);
    }

    /// The intent without a receipt that an answer is to, if it is to one of those.
    pub fn in_flight(&self, id: &IntentId) -> Option<&InFlight> {
        self.in_flight.iter().find(|sent| sent.id == *id)
    }

    /// What became of an intent. A receipt of anything else is passed over.
    pub fn receipt(&mut self, id: &IntentId, verdict: Verdict, height: Height) {
        let Some(sent) = self.take_sent(id) else { return };
        self.settled(height);
        let is_done = |kind| verdict == Verdict::Applied && sent.wish.kind == kind;
        self.opened |= self.account.is_none() && is_done(IntentKind::Open);
        self.left = is_done(IntentKind::Leave).then_some(sent.table).or(self.left);
        let (severity, text) = receipt_words(&sent.wish, verdict);
        self.say(severity, text);
    }

    /// The node had no room for an intent; it may be sent again.
    pub fn shed(&mut self, id: &IntentId, reason: &str) {
        let Some(sent) = self.take_sent(id) else { return };
        self.say(Severity::Warning, format!("{}: not taken, {reason}; try again", sent.wish.words()));
    }

    fn take_sent(&mut self, id: &IntentId) -> Option<InFlight> {
        let place = self.in_flight.iter().position(|sent| sent.id == *id)?;
        Some(self.in_flight.remove(place))
    }

    /// A roll of any table is certified: the node says that a quorum of validators answers for what it did.
    pub fn certified(&mut self, table: TableId, roll: u32) {
        if table.0 < self.setup.genesis.tables {
            let last = self.certified.entry(table).or_default();
            *last = roll.max(*last);
        }
    }

    /// Another node is connected, which has called nothing certified yet.
    pub fn forget_certified(&mut self) {
        self.certified.clear();
    }

    /// The last roll of the watched table that is certified. None where one validator would answer for itself.
    pub fn certified_roll(&self) -> Option<u32> {
        let has_quorum = self.setup.genesis.validators.len() > 1;
        self.certified.get(&self.watched).copied().filter(|_| has_quorum)
    }

    /// A roll of any table and what it decided there. A roll that is told again is dropped.
    pub fn rolled(&mut self, roll: RollReport, mut resolutions: Vec<Resolution>) {
        if roll.table.0 >= self.setup.genesis.tables {
            return;
        }
        resolutions.retain(|one| one.spot.index() < SPOTS);
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
                gain @ 0.. => self.won = self.won.saturating_add(gain.unsigned_abs()),
                loss => self.lost = self.lost.saturating_add(loss.unsigned_abs()),
            }
            self.say(severity, text);
        }
    }

    fn show_roll(&mut self, roll: RollReport, resolutions: Vec<Resolution>) {
        self.say(Severity::Info, roll_words(&roll));
        if self.rolls.len() == PLAY_ROLLS_KEPT {
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

    /// Whether every seat of the watched table is somebody else's.
    pub fn is_full(&self) -> bool {
        let seats = self.setup.genesis.seats;
        self.own_seat().is_none() && self.table.as_ref().is_some_and(|view| view.row.occupied.count_ones() >= seats)
    }

    /// What somebody does who wants a seat, where every seat is taken: in 33 columns, which is all that a narrow picture has.
    pub fn full_words(&self) -> &'static str {
        match self.setup.genesis.tables {
            1 => "every seat is taken: wait for one",
            _ => "every seat is taken: ] next table",
        }
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

    /// Milliseconds until the player, who holds the dice, may roll; `None` if there is nothing to wait for.
    pub fn may_roll_in_ms(&self) -> Option<u64> {
        let row = self.table.as_ref().filter(|view| view.row.roll_called == 0)?.row;
        let may_ms = self.may_roll_ms(&row)?;
        self.is_shooter().then(|| may_ms.saturating_sub(self.now_ms))
    }

    /// The block time from which on a table's shooter may roll; `None` while nobody plays.
    pub fn may_roll_ms(&self, row: &Table) -> Option<u64> {
        (row.next_roll_ms != Table::NEVER).then(|| row.opened_ms.saturating_add(self.setup.genesis.window_min_ms))
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

#[cfg(test)]
mod tests;
