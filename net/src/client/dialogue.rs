//! What a client says and hears, without a connection and without a clock: whoever carries it hands it moments and bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use engine::component::Table;
use engine::io::{ChainProgress, ShedReason, Watched};
use engine::message::intent::IntentId;
use engine::message::pledge::PledgeRow;
use engine::{Hash, Height, TableId};

use super::event::{ClientConfig, Command, Event};
use super::lost::Lost;
use super::redial::STOOD;
use super::sending::Sending;
use crate::session::CloseCode;
use crate::wire::{Answer, AnswerVerdict, Hello, Role, TableMessage, ToClient, ToNode, Welcome};

/// How long a client waits until it asks a node that is behind again for what it shows.
const WATCH_AGAIN: Duration = Duration::from_millis(250);
/// Heights by which a node may be behind what another one has shown: it has them before anybody waits long.
const BEHIND_HEIGHTS: u64 = 200;
/// How long a client waits for a node that is less far behind. Where none comes in that time, what it has seen may be what no chain
/// has: one node that lied would otherwise keep it from all others for ever.
const BEHIND_FOR: Duration = Duration::from_secs(60);

/// How long a client of several nodes waits at one that does not say what became of an opening. Bets are lost with a roll that is not
/// opened in time, and that is 15 s on most chains: there must be time for the next node, whatever else this one shows.
const OPENING_SILENCE: Duration = Duration::from_secs(5);

/// Everything about a client that outlives a connection, and what it makes of what it hears. Moments are counted from its start.
pub(super) struct Dialogue {
    program: String,
    /// The chain, once it is known: an intent is signed for one.
    chain: Option<Hash>,
    has_others: bool,
    sending: Sending,
    /// The node's time when it last said it, and the moment of that.
    node_clock: (u64, Duration),
    watching: BTreeSet<Watched>,
    genesis_wanted: bool,
    /// The highest height of which this client has seen anything.
    seen: Height,
    /// The highest height that was seen before the present connection: what its node shows of the time before that is not shown.
    /// What one node says comes in order, but on two streams: a receipt may overtake the roll that was before it.
    seen_before: Height,
    /// Since when every node that kept this client for a while was too far behind.
    behind_since: Option<Duration>,
    /// When the present connection was taken up.
    taken_up: Duration,
    /// What the present node showed older than that, and when it is asked for again.
    doubted: BTreeSet<Watched>,
    watched_again_at: Option<Duration>,
    /// Openings that were sent over the present connection, where there are others: since when nothing has come of each.
    openings: BTreeMap<IntentId, (PledgeRow, Duration)>,
}

impl Dialogue {
    pub(super) fn new(config: &ClientConfig) -> Self {
        let has_others = !config.others.is_empty();
        Self {
            program: config.program.clone(),
            chain: config.chain,
            has_others,
            sending: Sending::new(has_others),
            node_clock: (0, Duration::ZERO),
            watching: BTreeSet::new(),
            genesis_wanted: false,
            seen: Height::GENESIS,
            seen_before: Height::GENESIS,
            behind_since: None,
            taken_up: Duration::ZERO,
            doubted: BTreeSet::new(),
            watched_again_at: None,
            openings: BTreeMap::new(),
        }
    }

    /// Whether there are other nodes, for which this one may be left.
    pub(super) fn has_others(&self) -> bool {
        self.has_others
    }

    /// Whether anything is watched: who watches nothing has no second stream to look at.
    pub(super) fn watches(&self) -> bool {
        !self.watching.is_empty()
    }

    /// What is said first.
    pub(super) fn say_hello(&self, out: &mut Vec<u8>) {
        ToNode::Hello(Hello { chain: self.chain, program: self.program.clone(), role: Role::Client }).encode(out);
    }

    /// Takes up what the node said first, if it keeps the chain that this client wants and is not too far behind. Everything
    /// watched is watched again; the intents follow, as credit allows.
    ///
    /// # Errors
    /// Why this client does not stay.
    pub(super) fn welcomed(&mut self, welcome: &Welcome, now: Duration, out: &mut Vec<u8>) -> Result<(), Lost> {
        if let Some(chain) = self.chain
            && chain != welcome.chain
        {
            let text = format!("it keeps {}", engine::hex(&welcome.chain));
            return Err(Lost::Closed { code: CloseCode::Chain, text });
        }
        // A later connection must be to the same one, also where none was named.
        self.chain = Some(welcome.chain);
        let behind = self.seen.0.saturating_sub(welcome.standing.settled.0);
        // Where there are other nodes, one that is far behind is left for the next: here receipts would come late, or
        // never.
        if behind > BEHIND_HEIGHTS && self.has_others {
            if now < *self.behind_since.get_or_insert(now) + BEHIND_FOR {
                return Err(Lost::Behind(behind));
            }
            (self.seen, self.behind_since) = (welcome.standing.settled, None);
        }
        self.taken_up = now;
        self.seen_before = self.seen;
        self.sending.connected(welcome.credit);
        self.node_clock = (welcome.standing.now_ms, now);
        // What the node before showed is forgotten: this one is asked for the whole of everything.
        self.doubted.clear();
        self.watched_again_at = None;
        self.openings.clear();
        if self.genesis_wanted {
            ToNode::AskGenesis.encode(out);
        }
        let watching: Vec<(Watched, bool)> = self.watching.iter().map(|what| (*what, true)).collect();
        if !watching.is_empty() {
            ToNode::Watch(watching).encode(out);
        }
        Ok(())
    }

    /// Takes a command; what must be sent for it is appended, but for intents: those are sent as credit allows.
    pub(super) fn take(&mut self, command: Command, now: Duration, out: &mut Vec<u8>, mut hear: impl FnMut(Event)) {
        match command {
            Command::Send(intents) => {
                for intent in intents {
                    // A client without room says so at once: whoever gave the intent would wait for an answer for ever.
                    if !self.sending.give(intent) {
                        let verdict = AnswerVerdict::Shed(ShedReason::NoCredit);
                        hear(Event::Answer(Answer { id: intent.id(), verdict }));
                    }
                }
            }
            Command::Watch(what, on) => {
                // What is watched is remembered whether there is a connection or not: the next one asks for all of it.
                if on {
                    self.watching.insert(what);
                } else {
                    self.watching.remove(&what);
                }
                ToNode::Watch(vec![(what, on)]).encode(out);
            }
            Command::Pledge(rows) => {
                // Each is sent again and again until the table shows what came of it: the first time counts.
                for row in rows.iter().filter(|row| self.has_others && row.is_opening()) {
                    self.openings.entry(row.id()).or_insert((*row, now));
                }
                ToNode::Pledges(rows).encode(out);
            }
            Command::AskGenesis => {
                self.genesis_wanted = true;
                ToNode::AskGenesis.encode(out);
            }
            Command::AskStatus => ToNode::AskStatus.encode(out),
            // A connection has ended by these before they come here; where there is none, the next one is tried anyway.
            Command::Reconnect | Command::Leave(_) | Command::Close => {}
        }
    }

    /// Appends the intents that may be sent now.
    pub(super) fn send_intents(&mut self, now: Duration, out: &mut Vec<u8>) {
        let intents = self.sending.take_sendable(now);
        if !intents.is_empty() {
            ToNode::Intents(intents).encode(out);
        }
    }

    /// Appends what is due though nobody asked for it now: intents that may be sent, and what is watched again.
    pub(super) fn go_on(&mut self, now: Duration, out: &mut Vec<u8>) {
        self.send_intents(now, out);
        if self.watched_again_at.is_some_and(|at| at <= now) {
            self.watched_again_at = None;
            let doubted = std::mem::take(&mut self.doubted);
            let again: Vec<(Watched, bool)> =
                doubted.into_iter().filter(|what| self.watching.contains(what)).map(|what| (what, true)).collect();
            if !again.is_empty() {
                ToNode::Watch(again).encode(out);
            }
        }
    }

    /// When [`Dialogue::go_on`] has something to say though nothing was heard.
    pub(super) fn resumes_at(&self, now: Duration) -> Option<Duration> {
        let given_up_at = self.unopened_at();
        self.sending.resumes_at(now).into_iter().chain(self.watched_again_at).chain(given_up_at).min()
    }

    /// When [`Dialogue::gives_up`], if nothing is heard until then.
    pub(super) fn silent_at(&self) -> Option<Duration> {
        self.sending.silent_at().into_iter().chain(self.unopened_at()).min()
    }

    /// When the node has not said for too long what became of an opening.
    fn unopened_at(&self) -> Option<Duration> {
        self.openings.values().map(|(_, since)| *since + OPENING_SILENCE).min()
    }

    /// A table is shown: what became of the rolls before it is no question any more.
    fn rolled(&mut self, id: TableId, table: &Table) {
        self.openings.retain(|_, (row, _)| row.table != id.0 || row.roll > table.roll_number);
    }

    /// Whether the node has been silent for so long that another one is to be tried.
    pub(super) fn gives_up(&mut self, now: Duration) -> bool {
        let is_unopened = self.unopened_at().is_some_and(|at| at <= now);
        if is_unopened {
            self.openings.clear();
        }
        self.sending.gives_up(now) || is_unopened
    }

    /// The node shows something of a height.
    fn see(&mut self, height: Height, now: Duration) {
        if height > self.seen {
            self.seen = height;
            self.sending.shown(now);
        }
    }

    /// Something that the node showed is older than what was seen before it: it is watched again after a while.
    fn doubt(&mut self, what: Watched, now: Duration) {
        self.doubted.insert(what);
        self.watched_again_at = self.watched_again_at.or(Some(now + WATCH_AGAIN));
    }

    /// Takes what the node says, but for its welcome.
    pub(super) fn hear(&mut self, message: ToClient, now: Duration, mut hear: impl FnMut(Event)) {
        // One that lied is welcome in each round again, if it ends the connection at once.
        if now >= self.taken_up + STOOD {
            self.behind_since = None;
        }
        match message {
            ToClient::Answers(answers) => {
                for answer in answers {
                    if let AnswerVerdict::Receipt { height, .. } = answer.verdict {
                        self.see(height, now);
                        // One that was turned away is sent again, and waits as before.
                        self.openings.remove(&answer.id);
                    }
                    if self.sending.answered(&answer, now) {
                        hear(Event::Answer(answer));
                    }
                }
            }
            ToClient::Genesis(bytes) => {
                self.genesis_wanted = false;
                hear(Event::Genesis(bytes));
            }
            // What a node that is behind shows was so before what this client has seen already: it is asked again for
            // the whole, until it has caught up.
            ToClient::Account(account) if account.height < self.seen_before => {
                self.doubt(Watched::Account(account.key), now);
            }
            ToClient::Table(TableMessage { update, .. }) if update.height < self.seen_before => {
                self.doubt(Watched::Table(update.id), now);
            }
            ToClient::Account(account) => {
                self.see(account.height, now);
                hear(Event::Account(account));
            }
            // A change without the table that it changes is of no use: the whole was asked for, and comes.
            ToClient::Table(TableMessage { update, whole: false })
                if self.doubted.contains(&Watched::Table(update.id)) => {}
            ToClient::Table(TableMessage { update, whole }) => {
                self.see(update.height, now);
                self.rolled(update.id, &update.table);
                hear(Event::Table { update, whole });
            }
            ToClient::Standing(ChainProgress { now_ms, .. }) => {
                let (then_ms, then) = self.node_clock;
                let expected_ms = then_ms.saturating_add((now - then).as_millis() as u64);
                self.node_clock = (now_ms, now);
                hear(Event::ClockSet { by_ms: now_ms.wrapping_sub(expected_ms) as i64, now_ms });
            }
            ToClient::Status(status) => hear(Event::Status(status)),
            // The decoder lets none of these through: they are said to nodes, or first.
            ToClient::Welcome(_) | ToClient::Peers(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use engine::genesis::KeySource;
    use engine::io::{TableUpdate, Verdict};
    use engine::message::intent::{Intent, IntentBody, IntentKind};

    use super::*;

    const NOW: Duration = Duration::from_secs(9);
    const TABLE: TableId = TableId(3);

    /// A client of several nodes that watches a table.
    fn dialogue() -> Dialogue {
        dialogue_of(vec![("b".to_owned(), None)])
    }

    fn dialogue_of(others: Vec<(String, Option<crate::tls::Key>)>) -> Dialogue {
        let (address, program) = ("a".to_owned(), "test".to_owned());
        let config = ClientConfig { address, node: None, others, chain: None, program, reconnect: true };
        let mut dialogue = Dialogue::new(&config);
        dialogue.take(Command::Watch(Watched::Table(TABLE), true), NOW, &mut Vec::new(), |_| {});
        dialogue
    }

    fn welcomed(dialogue: &mut Dialogue, settled: u64, now: Duration) -> Result<(), Lost> {
        let welcome = Welcome {
            chain: [5; 32],
            standing: ChainProgress { settled: Height(settled), ..ChainProgress::default() },
            name: String::new(),
            tables: 4,
            seats: 8,
            credit: 64,
            intents_per_s: 100,
            keys: KeySource::Seed,
        };
        dialogue.welcomed(&welcome, now, &mut Vec::new())
    }

    /// The height of the table that a client shows when it hears of one, if it does.
    fn shown(dialogue: &mut Dialogue, height: u64, whole: bool) -> Option<Height> {
        shown_after(dialogue, height, whole, 0)
    }

    /// The same of a table after so many rolls.
    fn shown_after(dialogue: &mut Dialogue, height: u64, whole: bool, rolls: u32) -> Option<Height> {
        let update = TableUpdate {
            to: None,
            id: TABLE,
            height: Height(height),
            time_ms: 1,
            table: Table { roll_number: rolls, ..Table::zeroed() },
            seats: Vec::new(),
            roll: None,
            resolutions: Vec::new(),
            pledge: None,
            closing: None,
        };
        let mut shown = None;
        let message = TableMessage { update: Box::new(update), whole };
        dialogue.hear(ToClient::Table(message), NOW, |event| {
            if let Event::Table { update, .. } = event {
                shown = Some(update.height);
            }
        });
        shown
    }

    fn receipt(dialogue: &mut Dialogue, height: u64) {
        let verdict = AnswerVerdict::Receipt { height: Height(height), index: 0, verdict: Verdict::Applied };
        let answer = Answer { id: IntentId { key: [1; 32], number: 1, mark: [2; 16] }, verdict };
        dialogue.hear(ToClient::Answers(vec![answer]), NOW, |_| {});
    }

    #[test]
    fn a_roll_that_a_later_receipt_overtakes_is_shown_and_what_another_node_shows_of_before_is_not() {
        let mut dialogue = dialogue();
        welcomed(&mut dialogue, 8, NOW).expect("it stays");
        receipt(&mut dialogue, 10);
        assert_eq!(shown(&mut dialogue, 9, false), Some(Height(9)), "the two came over two streams");
        assert_eq!(shown(&mut dialogue, 11, false), Some(Height(11)));
        // Another connection, to a node that has not settled as much.
        welcomed(&mut dialogue, 9, NOW).expect("it is not far behind");
        assert_eq!(shown(&mut dialogue, 10, true), None);
        assert_eq!(dialogue.resumes_at(NOW), Some(NOW + WATCH_AGAIN), "it is asked again");
        assert_eq!(shown(&mut dialogue, 11, false), None, "a change is of no use without the whole");
        assert_eq!(shown(&mut dialogue, 11, true), Some(Height(11)));
    }

    #[test]
    fn a_node_that_shows_nothing_new_and_has_an_intent_is_given_up() {
        let second = Duration::from_secs(1);
        for (height, gives_up) in [(0, true), (1, false)] {
            let mut dialogue = dialogue();
            welcomed(&mut dialogue, 8, NOW - 5 * second).expect("it stays");
            let body = IntentBody::new(IntentKind::Roll, [1; 32], 1, 50);
            let intent = Intent { body, signature: [2; 64] };
            dialogue.take(Command::Send(vec![intent]), NOW - 5 * second, &mut Vec::new(), |_| {});
            dialogue.send_intents(NOW - 5 * second, &mut Vec::new());
            assert_eq!(dialogue.resumes_at(NOW), Some(NOW + 5 * second));
            assert_eq!(shown(&mut dialogue, height, true), Some(Height(height)), "nothing was seen before");
            assert_eq!(dialogue.gives_up(NOW + 5 * second), gives_up, "at height {height}");
        }
    }

    #[test]
    fn a_node_that_does_not_say_what_became_of_an_opening_is_left_in_time_for_the_next() {
        let second = Duration::from_secs(1);
        let row = PledgeRow::opening([1; 32], TABLE, 7, [3; 32], [4; 32]);
        let answer = |dialogue: &mut Dialogue, verdict| {
            dialogue.hear(ToClient::Answers(vec![Answer { id: row.id(), verdict }]), NOW, |_| {});
        };
        let applied = AnswerVerdict::Receipt { height: Height(9), index: 0, verdict: Verdict::Applied };
        type Meanwhile<'a> = &'a dyn Fn(&mut Dialogue);
        let cases: [(&str, Meanwhile<'_>, bool); 8] = [
            ("nothing", &|_| {}, true),
            ("newer heights", &|dialogue| _ = shown_after(dialogue, 9, true, 6), true),
            ("another roll's receipt", &|dialogue| receipt(dialogue, 9), true),
            ("that it has it", &|dialogue| answer(dialogue, AnswerVerdict::Acknowledged), true),
            ("that it is busy", &|dialogue| answer(dialogue, AnswerVerdict::Shed(ShedReason::Busy)), true),
            ("the receipt", &|dialogue| answer(dialogue, applied), false),
            ("the roll", &|dialogue| _ = shown_after(dialogue, 9, true, 7), false),
            ("another connection", &|dialogue| welcomed(dialogue, 8, NOW).expect("it stays"), false),
        ];
        for (name, meanwhile, gives_up) in cases {
            let mut dialogue = dialogue();
            welcomed(&mut dialogue, 8, NOW - second).expect("it stays");
            let mut out = Vec::new();
            dialogue.take(Command::Pledge(vec![row]), NOW, &mut out, |_| {});
            assert!(!out.is_empty(), "it is sent");
            assert_eq!(dialogue.silent_at(), Some(NOW + OPENING_SILENCE));
            meanwhile(&mut dialogue);
            // It is sent again while the table shows that the roll waits.
            if gives_up {
                dialogue.take(Command::Pledge(vec![row]), NOW + second, &mut Vec::new(), |_| {});
                assert_eq!(dialogue.resumes_at(NOW), Some(NOW + OPENING_SILENCE), "{name}");
            }
            assert!(!dialogue.gives_up(NOW + 4 * second), "{name}");
            assert_eq!(dialogue.gives_up(NOW + OPENING_SILENCE), gives_up, "{name}");
            assert!(!dialogue.gives_up(NOW + 99 * second), "{name}: the next one begins anew");
        }
        // A pledge costs no bets, and a client that has no others waits for ever.
        let pledge = PledgeRow::pledge([1; 32], TABLE, 7, 5, [3; 32]);
        for (mut dialogue, row) in [(dialogue(), pledge), (dialogue_of(Vec::new()), row)] {
            welcomed(&mut dialogue, 8, NOW).expect("it stays");
            dialogue.take(Command::Pledge(vec![row]), NOW, &mut Vec::new(), |_| {});
            assert!(dialogue.resumes_at(NOW).is_none() && !dialogue.gives_up(NOW + 99 * second));
        }
    }

    #[test]
    fn a_node_that_lied_about_the_height_keeps_a_client_from_others_for_a_minute() {
        let mut dialogue = dialogue();
        welcomed(&mut dialogue, 1_000, NOW).expect("it stays");
        assert_eq!(shown(&mut dialogue, engine::limits::HEIGHT_MAX, true), Some(Height(engine::limits::HEIGHT_MAX)));
        let second = Duration::from_secs(1);
        for tried in 0..60 {
            let settled = 1_000 + u64::from(tried);
            let lost = welcomed(&mut dialogue, settled, NOW + second * tried);
            assert!(matches!(lost, Err(Lost::Behind(_))), "after {tried} s: {lost:?}");
        }
        welcomed(&mut dialogue, 1_060, NOW + BEHIND_FOR).expect("nobody has what it has seen");
        assert_eq!(shown(&mut dialogue, 1_061, true), Some(Height(1_061)));
        // From here on what is seen counts as before.
        let lost = welcomed(&mut dialogue, 860, NOW + BEHIND_FOR);
        assert!(matches!(lost, Err(Lost::Behind(201))), "{lost:?}");
        // A minute in which some node that was near enough stayed for a while does not count.
        welcomed(&mut dialogue, 861, NOW + BEHIND_FOR).expect("it is near enough");
        let later = NOW + BEHIND_FOR * 2;
        dialogue.hear(ToClient::Answers(Vec::new()), later, |_| {});
        let lost = welcomed(&mut dialogue, 860, later);
        assert!(matches!(lost, Err(Lost::Behind(201))), "{lost:?}");
    }

    #[test]
    fn a_node_that_lies_again_in_each_round_keeps_a_client_from_others_no_longer() {
        let mut dialogue = dialogue();
        let second = Duration::from_secs(1);
        for tried in 0..60 {
            let now = NOW + second * tried;
            welcomed(&mut dialogue, 9_000, now).expect("it is ahead of all others");
            assert_eq!(shown(&mut dialogue, 9_000, true), Some(Height(9_000)));
            dialogue.hear(ToClient::Answers(Vec::new()), now + second / 2, |_| {});
            let lost = welcomed(&mut dialogue, 1_000, now);
            assert!(matches!(lost, Err(Lost::Behind(8_000))), "after {tried} s: {lost:?}");
        }
        welcomed(&mut dialogue, 1_060, NOW + BEHIND_FOR).expect("nobody has what it has seen");
    }
}
