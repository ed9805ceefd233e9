//! Players of a simulation: programs that hold a key, send signed intents to nodes, and send them again until they hear.
//!
//! They do what makes nodes wrong: they use a number twice at two nodes, send to another node than before, sign falsely.

use std::collections::BTreeMap;

use engine::io::{ShedReason, Verdict};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;
use engine::{BetId, Hash, TableId};
use net::wire::{Answer, AnswerVerdict};
use order::signature::PlayerKey;

use crate::draw::Draw;
use crate::half::{Half, Look, Row};
use crate::queue::Time;

/// Intents that a player has without an answer, at most.
const OPEN_MAX: usize = 6;
/// Until an intent is sent again.
const AGAIN: Time = 1_000_000;
/// Seconds that an intent lives.
const EXPIRY_S: u64 = 12;

/// One intent that waits for its last word.
struct Sent {
    intent: Intent,
    /// The nodes that it was sent to.
    to: Vec<u32>,
    again: Time,
    times: u32,
}

/// A player's program.
pub struct Player {
    key: PlayerKey,
    chain: Hash,
    table: TableId,
    bet: BetId,
    nodes: u32,
    /// The node that it sends to first.
    home: u32,
    number: u64,
    sent: Vec<Sent>,
    opened: bool,
    seated: bool,
    act: Time,
    draw: Draw,
    /// Its half of the dice, where it sits at a pledged table.
    half: Option<Half>,
    /// It takes a receipt for that of whatever it sent under the number: what a planted bug needs to be seen.
    by_number: bool,
    /// Milliseconds since the Unix epoch when the simulation began.
    start_ms: u64,
    /// Last words that it heard, by what they were.
    pub heard: BTreeMap<&'static str, u64>,
}

/// What a player sends to a node.
pub struct Letter {
    /// The node.
    pub node: u32,
    /// Its intents.
    pub intents: Vec<Intent>,
    /// Its pledges and openings.
    pub pledges: Vec<PledgeRow>,
}

impl Letter {
    fn of(node: u32, intent: Intent) -> Self {
        Self { node, intents: vec![intent], pledges: Vec::new() }
    }
}

impl Player {
    /// Player `number` of a seed, at a table.
    pub fn new(
        number: u32,
        seed: u64,
        key: PlayerKey,
        chain: Hash,
        nodes: u32,
        table: TableId,
        bet: BetId,
        start_ms: u64,
    ) -> Self {
        let mut draw = Draw::new(seed, &format!("player {number}"));
        Self {
            key,
            chain,
            table,
            bet,
            nodes,
            home: number % nodes,
            number: 0,
            sent: Vec::new(),
            opened: false,
            seated: false,
            act: draw.below(300_000),
            draw,
            half: None,
            by_number: false,
            start_ms,
            heard: BTreeMap::new(),
        }
    }

    /// Its table is a pledged one.
    pub fn bring_half(&mut self) {
        self.half = Some(Half::new(self.chain, self.table));
    }

    /// Its table, if that is a pledged one.
    pub fn pledged_table(&self) -> Option<TableId> {
        self.half.as_ref().map(|_| self.table)
    }

    /// Rolls that its program did not open, since what became of the one before is not known to it.
    pub fn unsure(&self) -> u64 {
        self.half.as_ref().map_or(0, |half| half.unsure)
    }

    /// The node that it asks now how its table stands: mostly the one that it sends to first.
    pub fn looks_at(&mut self) -> u32 {
        if self.draw.below(4) > 0 { self.home } else { self.draw.below(self.nodes.into()) as u32 }
    }

    /// What it brings to its table's dice after a look at the table, and what it sends to which nodes.
    pub fn bring(&mut self, now: Time, node: u32, look: &Look) -> (Vec<Row>, Vec<Letter>) {
        let Some(half) = &mut self.half else { return Default::default() };
        let rows = half.act(look, &self.key, now, &mut self.draw);
        let pledges: Vec<PledgeRow> = rows.iter().map(|row| row.row).collect();
        let mut letters = Vec::new();
        if !pledges.is_empty() {
            letters.push(Letter { node, intents: Vec::new(), pledges: pledges.clone() });
            // Twice, and at two nodes.
            if self.draw.below(5) == 0 {
                letters.push(Letter { node: (node + 1) % self.nodes, intents: Vec::new(), pledges });
            }
        }
        (rows, letters)
    }

    /// Hears an answer that may be about a pledge or an opening. Returns that.
    pub fn hear_pledge(&mut self, answer: &Answer) -> Option<Row> {
        self.half.as_mut()?.hear(answer)
    }

    /// Lets it look at the numbers of receipts only.
    pub fn look_at_numbers(&mut self) {
        self.by_number = true;
    }

    /// Lets it begin nothing more: it sends what it has sent again until it hears the last word on each, and gives none up.
    pub fn begin_nothing_more(&mut self) {
        self.act = Time::MAX;
    }

    /// What waits for its last word: the number of each, and the nodes that it was sent to.
    pub fn waits(&self) -> impl Iterator<Item = (u64, &[u32])> {
        self.sent.iter().map(|sent| (sent.intent.body.number, &*sent.to))
    }

    /// When it does something next.
    pub fn wakes(&self) -> Time {
        self.sent.iter().map(|sent| sent.again).fold(self.act, Time::min)
    }

    fn sign(&mut self, now: Time, kind: IntentKind, number: u64, amount: u64) -> Intent {
        let expiry_s = u32::try_from((self.start_ms + now / 1_000) / 1_000 + EXPIRY_S).expect("until 2106");
        let body = IntentBody::new(kind, self.key.public(), number, expiry_s);
        let body = match kind {
            IntentKind::Open => body,
            IntentKind::Bet => body.at(self.table).on(self.bet, 0).amount(amount),
            IntentKind::Sit => body.at(self.table).amount(amount),
            _ => body.at(self.table),
        };
        self.key.sign(body, &self.chain)
    }

    fn keep(&mut self, now: Time, node: u32, intent: Intent, letters: &mut Vec<Letter>) {
        let spread = self.draw.below(AGAIN / 2);
        self.sent.push(Sent { intent, to: vec![node], again: now + AGAIN + spread, times: 1 });
        letters.push(Letter::of(node, intent));
    }

    /// What it sends at a time.
    pub fn act(&mut self, now: Time) -> Vec<Letter> {
        let mut letters = Vec::new();
        self.send_again(now, &mut letters);
        if now < self.act {
            return letters;
        }
        self.act = now + self.draw.between(120_000, 700_000);
        if self.sent.len() >= OPEN_MAX || ((!self.opened || !self.seated) && !self.sent.is_empty()) {
            return letters;
        }
        let kind = match () {
            () if !self.opened => IntentKind::Open,
            () if !self.seated => IntentKind::Sit,
            // A pledged table rolls for no other reason.
            () if self.draw.in_thousand(if self.half.is_some() { 450 } else { 150 }) => IntentKind::Roll,
            () if self.draw.in_thousand(20) => IntentKind::Leave,
            () => IntentKind::Bet,
        };
        self.number += 1;
        let amount = if kind == IntentKind::Sit { 2_000 } else { 5 };
        let intent = self.sign(now, kind, self.number, amount);
        let node = self.home;
        match self.draw.below(100) {
            // The same number at another node: one of the two is applied at most.
            0..12 if kind == IntentKind::Bet && self.nodes > 1 => {
                let other = (node + 1 + self.draw.below(u64::from(self.nodes) - 1) as u32) % self.nodes;
                let another = self.sign(now, kind, self.number, 6);
                self.keep(now, node, intent, &mut letters);
                self.keep(now, other, another, &mut letters);
            }
            // A signature that is none, and has another mark. Its number stays free.
            12..14 => {
                let mut wrong = intent;
                wrong.signature[4] ^= 1;
                letters.push(Letter::of(node, wrong));
                self.keep(now, node, intent, &mut letters);
            }
            _ => self.keep(now, node, intent, &mut letters),
        }
        letters
    }

    fn send_again(&mut self, now: Time, letters: &mut Vec<Letter>) {
        for sent in self.sent.iter_mut().filter(|sent| sent.again <= now) {
            sent.times += 1;
            // A node that does not answer may be gone: every third time another is asked.
            let last = *sent.to.last().expect("it was sent somewhere");
            let node = if sent.times.is_multiple_of(3) { (last + 1) % self.nodes } else { last };
            if !sent.to.contains(&node) {
                sent.to.push(node);
            }
            sent.again = now + AGAIN + self.draw.below(AGAIN / 2);
            letters.push(Letter::of(node, sent.intent));
        }
        // What can be applied no more and was never answered is given up a minute later, but where that is what is looked for.
        if self.act == Time::MAX {
            return;
        }
        let now_s = (self.start_ms + now / 1_000) / 1_000;
        self.sent.retain(|sent| u64::from(sent.intent.body.expiry_s) + 60 > now_s);
    }

    /// Hears an answer of a node. Returns what it is about: the intent with this number that was sent there, if it was one.
    pub fn hear(&mut self, node: u32, answer: &Answer) -> Option<Intent> {
        let is = |sent: &Sent| {
            let id = sent.intent.id();
            id == answer.id || (self.by_number && (id.key, id.number) == (answer.id.key, answer.id.number))
        };
        let place = self.sent.iter().position(|sent| is(sent) && sent.to.contains(&node))?;
        let intent = self.sent[place].intent;
        match answer.verdict {
            AnswerVerdict::Acknowledged => {}
            AnswerVerdict::Shed(reason) => {
                *self.heard.entry(reason.name()).or_default() += 1;
                // Another with this number is before it there; what came of that one is its own answer.
                if reason == ShedReason::NumberWaits && self.sent[place].times > 4 {
                    self.sent.remove(place);
                }
            }
            AnswerVerdict::Receipt { verdict, .. } => {
                self.sent.remove(place);
                self.take(&intent, verdict);
            }
        }
        Some(intent)
    }

    fn take(&mut self, intent: &Intent, verdict: Verdict) {
        let kind = IntentKind::try_from(intent.body.kind).expect("it was signed here");
        let (name, refusal) = match verdict {
            Verdict::Applied | Verdict::OddsReturned => ("APPLIED", None),
            Verdict::Refused(refusal) => (refusal.name(), Some(refusal)),
        };
        *self.heard.entry(name).or_default() += 1;
        match (kind, refusal) {
            (IntentKind::Open, None | Some(Refusal::AccountExists)) => self.opened = true,
            (IntentKind::Sit, None | Some(Refusal::AlreadySeated)) => self.seated = true,
            (IntentKind::Leave, None) | (_, Some(Refusal::UnknownPlayer)) => self.seated = false,
            (_, Some(Refusal::UnknownAccount)) => self.opened = false,
            _ => {}
        }
    }
}
