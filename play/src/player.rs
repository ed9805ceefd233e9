//! A player at a node: the key, the connection, and what the node tells, put into the model.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use engine::io::Watched;
use engine::limits::PEER_WATCHES_MAX;
use engine::message::intent::IntentKind;
use engine::{Hash, Height, TableId};
use net::client::{Command, Event, Lost};
use net::session::CloseCode;
use net::wire::AnswerVerdict;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::lines::{self, event_line};
use super::model::{Game, Link, SeatView};
use super::player_keys::PlayerKeys;
use super::pledging::{PledgeStep, Pledging};
use super::problems::words_at;
use uncertified::Uncertified;
use words::Failure;
use words::sentences::Severity;
use words::wish::Wish;

mod clock;
mod connecting;
mod uncertified;

use clock::Clock;

/// Tables that are watched beside the one that is looked at: what a connection may watch, without that and the account.
const ALSO_MAX: usize = PEER_WATCHES_MAX - 2;
/// Silence after which a player is told that the connection is lost.
const SILENCE: Duration = Duration::from_secs(3);

/// A player at a node.
pub struct Player {
    runtime: Runtime,
    client: tokio::task::JoinHandle<()>,
    commands: mpsc::Sender<Command>,
    events: Receiver<Heard>,
    keys: PlayerKeys,
    chain: Hash,
    /// The node that is tried or connected.
    at: String,
    /// The key of each node that was met, by its address.
    met: BTreeMap<String, [u8; 32]>,
    /// The node's time.
    clock: Clock,
    /// The table that is looked at.
    wanted: TableId,
    /// When the node was asked last how far the chain is certified.
    asked: Instant,
    /// Rolls that were shown, and that no quorum answers for yet.
    uncertified: Uncertified,
    /// The player's half of the dice, on a chain that has such tables.
    pledging: Option<Pledging>,
    /// Tables that are watched for the rolls that may wait there, beside the one that is looked at.
    also: BTreeSet<TableId>,
    /// Tables that will be, once others are seen not to be the player's.
    later: Vec<TableId>,
}

/// Where a node is, and which key it has to prove.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeAt {
    /// `host:port`.
    pub address: String,
    /// Its key, if only that one is taken.
    pub key: Option<[u8; 32]>,
}

/// How often a node is asked how far the chain is certified, while a roll waits for that.
const ASK_EVERY: Duration = Duration::from_secs(1);

enum Heard {
    Event(Box<Event>),
    Ended(Lost),
}

/// Something a program that reads lines is told.
type Tell<'a> = &'a mut dyn FnMut(String);

/// Tells the watched table as it is known.
fn tell_table(game: &Game, tell: Tell<'_>) {
    let Some(view) = &game.table else { return };
    let (may_roll_ms, own) = (game.may_roll_ms(&view.row), game.own_seat());
    tell(event_line(lines::Event::Table(game.watched, &view.row, may_roll_ms, own)));
}

impl Player {
    fn tell(&self, command: Command) {
        // The client takes commands even while it is not connected.
        let _ = self.commands.blocking_send(command);
    }

    /// The node's time, as this program reckons it.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Signs what a person wants, and sends it until it has its receipt. An account that is being opened is not opened
    /// again: the answer is the opening's number.
    ///
    /// # Panics
    /// If [`Game::may_send`] says that it may not.
    pub fn send(&mut self, wish: Wish, game: &mut Game) -> u64 {
        if wish.kind == IntentKind::Open
            && let Some(number) = game.opening()
        {
            return number;
        }
        let number = game.take_number(wish.kind);
        let body = wish.body(self.keys.public(), number, self.clock.expiry_s(), game.watched);
        let intent = self.keys.account.sign(body, &self.chain);
        game.sent(intent.id(), wish);
        self.tell(Command::Send(vec![intent]));
        number
    }

    /// Watches another table.
    ///
    /// # Errors
    /// If there is no such table.
    pub fn watch(&mut self, table: TableId, game: &mut Game) -> Result<(), String> {
        game.check_table(table)?;
        if table != self.wanted {
            // A roll that was called just now may wait there soon.
            if self.may_sit(self.wanted, game) {
                if self.also.len() >= ALSO_MAX && !self.also.contains(&table) {
                    return Err(format!("you sit at {ALSO_MAX} other tables with half of their dice: leave one first"));
                }
                self.also.insert(self.wanted);
            } else {
                self.tell(Command::Watch(Watched::Table(self.wanted), false));
                let wanted = self.wanted;
                self.pledging.iter_mut().for_each(|pledging| pledging.forget(wanted));
            }
            self.also.remove(&table);
            self.later.retain(|later| *later != table);
            self.wanted = table;
        }
        game.watch(table);
        self.tell(Command::Watch(Watched::Table(table), true));
        Ok(())
    }

    /// Watches the next table, if somebody else has every seat of this one. Says whether it does.
    pub fn pass_full_table(&mut self, game: &mut Game) -> bool {
        let here = game.watched;
        // A roll of the player's may wait here, also before the node has told of the account.
        let has_half = self.pledging.as_ref().is_some_and(|pledging| pledging.tables().contains(&here));
        let next = TableId((here.0 + 1) % game.setup().genesis.tables);
        next != here && game.is_full() && !has_half && self.watch(next, game).is_ok()
    }

    /// Takes what the node told within a time; `tell` hears each event as a line for programs. Says whether something came.
    ///
    /// # Errors
    /// If the connection is lost for good.
    pub fn hear(&mut self, within: Duration, game: &mut Game, tell: Tell<'_>) -> anyhow::Result<bool> {
        self.ask_certified();
        self.bring_half(game, tell);
        let mut heard = match self.events.recv_timeout(within) {
            Ok(heard) => heard,
            Err(RecvTimeoutError::Timeout) => {
                game.time(self.now_ms());
                return Ok(false);
            }
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the client has stopped"),
        };
        // What is heard is heard now, also the first time and after this program stood still.
        game.time(self.now_ms());
        loop {
            match heard {
                Heard::Event(event) => {
                    if let Event::Up { node, address, .. } = &*event
                        && let Some(expected) = self.met.insert(address.clone(), *node)
                        && *node != expected
                    {
                        let lost = Lost::Key { expected, found: *node };
                        return Err(Failure::Unreachable(format!("after the connection was lost, {lost}")).into());
                    }
                    self.take(*event, game, tell);
                }
                Heard::Ended(lost) => {
                    let is_other_chain = matches!(lost, Lost::Closed { code: CloseCode::Chain, .. });
                    let then = if is_other_chain { "; start `play` again for the new game there" } else { "" };
                    let words = words_at(&self.at, &lost);
                    return Err(Failure::Unreachable(format!("{words}{then}")).into());
                }
            }
            match self.events.try_recv() {
                Ok(next) => heard = next,
                Err(_) => break,
            }
        }
        game.time(self.now_ms());
        Ok(true)
    }

    fn take(&mut self, event: Event, game: &mut Game, tell: Tell<'_>) {
        match event {
            Event::Connecting { attempt, address } => {
                self.at = address;
                self.link(Link::Connecting { attempt }, game, tell);
            }
            Event::Up { welcome, node, rtt, .. } => {
                if self.uncertified.connected(node) {
                    game.forget_certified();
                }
                self.clock = Clock::told(welcome.standing.now_ms);
                self.link(Link::Up { rtt_ms: rtt.as_millis() as u32 }, game, tell);
            }
            Event::Down { reason, pause } => {
                self.link(
                    Link::Down { why: words_at(&self.at, &reason), retry_s: pause.as_secs().max(1) as u32 },
                    game,
                    tell,
                );
            }
            Event::Answer(answer) => {
                // One of a pledge or an opening has an intent's key, and may have its number: what came of those the table shows.
                let Some(sent) = game.in_flight(&answer.id) else { return };
                match answer.verdict {
                    AnswerVerdict::Acknowledged => game.acknowledged(&answer.id),
                    AnswerVerdict::Receipt { height, verdict, .. } => {
                        tell(event_line(lines::Event::Receipt(sent, verdict, height)));
                        game.receipt(&answer.id, verdict, height);
                    }
                    AnswerVerdict::Shed(reason) => {
                        tell(event_line(lines::Event::Shed(answer.id.number, reason.name())));
                        game.shed(&answer.id, reason.sentence());
                    }
                }
            }
            Event::Account(row) => {
                game.settled(row.height);
                let id = |game: &Game| game.account.map(|(id, _)| id);
                let before = id(game);
                game.set_account(row.account);
                self.watch_seats(game);
                if let Some((id, account)) = &row.account {
                    tell(event_line(lines::Event::Account(*id, account)));
                }
                // Which seat is the player's is known only with the account: what was told of the table before said none.
                if id(game) != before {
                    tell_table(game, tell);
                }
            }
            Event::Table { update, whole } => self.table(*update, whole, game, tell),
            Event::ClockSet { by_ms, now_ms } => {
                self.clock = Clock::told(now_ms);
                tell(event_line(lines::Event::ClockSet(by_ms)));
                let way = if by_ms < 0 { "back" } else { "forward" };
                let seconds = by_ms.unsigned_abs() / 1_000;
                game.say(Severity::Warning, format!("the node's clock was set {way} by {seconds} s"));
            }
            Event::Status(status) => self.certified(status.standing.certified, game, tell),
            Event::Genesis(_) => {}
        }
    }

    /// Rolls up to a height are certified: the node says that a quorum of validators answers for what they did.
    fn certified(&mut self, height: Height, game: &mut Game, tell: Tell<'_>) {
        for (table, roll, height) in self.uncertified.take_up_to(height) {
            tell(event_line(lines::Event::Certified(table, roll, height)));
            game.certified(table, roll);
        }
    }

    /// Asks how far the chain is certified, if a roll waits for that.
    fn ask_certified(&mut self) {
        if !self.uncertified.is_empty() && self.asked.elapsed() >= ASK_EVERY {
            self.asked = Instant::now();
            self.tell(Command::AskStatus);
        }
    }

    /// The nodes that were met, with their keys.
    pub fn met(&self) -> impl Iterator<Item = (&str, [u8; 32])> {
        self.met.iter().map(|(address, key)| (address.as_str(), *key))
    }

    fn link(&self, link: Link, game: &mut Game, tell: Tell<'_>) {
        tell(event_line(lines::Event::Link(&link)));
        game.set_link(link);
    }

    fn table(&mut self, update: engine::io::TableUpdate, whole: bool, game: &mut Game, tell: Tell<'_>) {
        if update.id == game.watched || self.also.contains(&update.id) {
            self.show_half(&update, whole, game, tell);
        }
        if update.id != game.watched {
            return self.watch_seats(game);
        }
        game.settled(update.height);
        let mut seats = match (&game.table, whole) {
            (_, true) => Vec::new(),
            (Some(table), false) => table.seats.clone(),
            // What changed at a table of which nothing is known yet: the whole comes.
            (None, false) => return,
        };
        if whole {
            let count = game.setup().genesis.seats as usize;
            let empty = SeatView { seat: engine::component::Seat::EMPTY, bets: Vec::new() };
            seats = vec![empty; count];
        }
        for seat in update.seats {
            if let Some(view) = seats.get_mut(usize::from(seat.seat)) {
                *view = SeatView { seat: seat.row, bets: seat.bets };
            }
        }
        let own = game.own_seat().map(|(number, _)| number);
        let lost = game.set_table(update.id, update.table, seats);
        if let (Some(lost), Some(seat)) = (lost, own) {
            tell(event_line(lines::Event::Seat(update.id, seat, lost)));
        }
        if let Some(roll) = update.roll {
            tell(event_line(lines::Event::Roll(&roll)));
            self.uncertified.shown((update.id, roll.roll_number, update.height));
            let account = game.account.map(|(id, _)| id);
            for one in update.resolutions.iter().filter(|one| Some(one.account) == account) {
                tell(event_line(lines::Event::Resolution(one)));
            }
            game.rolled(roll, update.resolutions);
        }
        tell_table(game, tell);
    }

    /// What a table shows of both halves of its dice.
    fn show_half(&mut self, update: &engine::io::TableUpdate, whole: bool, game: &mut Game, tell: Tell<'_>) {
        let Some(pledging) = &mut self.pledging else { return };
        let account = game.account.map(|(id, _)| id);
        if let Some(halves) = pledging.show(update, whole, account) {
            tell(event_line(lines::Event::Halves(update.id, &halves)));
            game.say(Severity::Info, halves.words(update.id));
        }
        self.bring_half(game, tell);
    }

    /// Whether the player may sit at a table with half of its dice, as far as is known.
    fn may_sit(&self, table: TableId, game: &Game) -> bool {
        let (Some(pledging), Some((account, _))) = (&self.pledging, game.account) else { return false };
        let is_strange = pledging.sits(table, account) == Some(false) && game.in_flight.is_empty();
        game.setup().genesis.is_pledged(table.0) && !is_strange
    }

    /// Watches tables where a roll of the player's may wait, and no more those at which somebody else sits.
    fn watch_seats(&mut self, game: &Game) {
        let (Some(pledging), Some((account, _))) = (&mut self.pledging, game.account) else { return };
        // What is under way may be a seat.
        let is_strange = |table: &TableId| game.in_flight.is_empty() && pledging.sits(*table, account) == Some(false);
        let strange: Vec<TableId> = self.also.iter().copied().filter(is_strange).collect();
        for table in strange {
            pledging.forget(table);
            self.also.remove(&table);
            let _ = self.commands.blocking_send(Command::Watch(Watched::Table(table), false));
        }
        while self.also.len() < ALSO_MAX
            && let Some(table) = self.later.pop()
        {
            self.also.insert(table);
            let _ = self.commands.blocking_send(Command::Watch(Watched::Table(table), true));
        }
    }

    /// Opens what waits to be opened, and pledges what is to be pledged at the watched table.
    fn bring_half(&mut self, game: &mut Game, tell: Tell<'_>) {
        if self.pledging.as_mut().is_some_and(Pledging::try_book) {
            self.find_waiting(&game.setup().genesis);
            self.watch_seats(game);
        }
        let (now_ms, here, account) = (self.now_ms(), game.watched, game.account.map(|(id, _)| id));
        let Some(pledging) = &mut self.pledging else { return };
        for step in pledging.steps(account, here, &self.keys.account, now_ms) {
            match step {
                PledgeStep::Say(severity, text) => {
                    // A program whose roll will not be opened loses its bets by it, and sees no log.
                    if severity == Severity::Warning {
                        tell(event_line(lines::Event::Warning(&text)));
                    }
                    game.say(severity, text);
                }
                PledgeStep::Leave => {
                    let why = "it does not show a decided block that closed the bets of your roll";
                    let _ = self.commands.blocking_send(Command::Leave(why));
                }
                PledgeStep::Send(row) => _ = self.commands.blocking_send(Command::Pledge(vec![row])),
            }
        }
    }

    /// Ends the connection, after what waits was sent.
    pub fn close(self) {
        self.tell(Command::Close);
        let Self { runtime, client, .. } = self;
        // A node that does not answer is not waited for.
        let _ = runtime.block_on(async { tokio::time::timeout(Duration::from_millis(300), client).await });
        runtime.shutdown_timeout(Duration::from_millis(300));
    }
}
