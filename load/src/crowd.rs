//! A crowd: simulated players who are clients like any, spread over several nodes. When the node of one dies, it goes on at
//! another with the same numbers.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context;
use engine::io::{Verdict, Watched};
use engine::message::intent::{Intent, IntentBody, IntentId, IntentKind};
use engine::message::refusal::Refusal;
use engine::{AccountId, BetId, Genesis, Hash, TableId};
use keys::identity;
use net::client::{Client, ClientConfig, Command, Event, socket};
use net::wire::{Answer, AnswerVerdict};
use order::keys::DevKeys;
use order::signature::{NetKey, PlayerKey};
use order::validators::Validators;
use systems::catalogue::bet_named;
use tokio::runtime::Runtime;
use tokio::sync::mpsc::{self, error::TrySendError};

use crate::bringing::Bringing;
use crate::players::Chance;
use crate::users::{expiry_s, now};

/// Seconds until an intent expires.
const EXPIRY_S: u64 = 30;
/// Chips that a player sits down with.
const BUY_IN: u64 = 4_000;
/// Chips of a bet.
const BET: u64 = 5;
/// What they bet on: bets that are open in any phase.
const BETS: [&str; 3] = ["field", "any_craps", "any_seven"];
/// What the players' chances follow from: they are the same in every run.
const CROWD_SEED: u64 = 1;
/// The shortest and the longest time between two bets of a player.
const THINKS_MS: (u64, u64) = (400, 2_000);
/// How often a player at a pledged table looks whether something is to be sent again.
const LOOKS: Duration = Duration::from_millis(500);
/// How long a player waits who has no chips left, or no seat.
const RESTS: Duration = Duration::from_secs(10);
/// Commands that may wait at one client, and events that may wait for its player.
const COMMANDS: usize = 64;
const EVENTS: usize = 1_024;

/// What came of the intents of a crowd.
#[derive(Default, Debug)]
pub struct Counted {
    /// Intents that were sent.
    pub sent: AtomicU64,
    /// Intents without a last answer.
    pub unanswered: AtomicU64,
    /// Intents that a block applied.
    pub applied: AtomicU64,
    /// Rolls of pledged tables that they opened, each as often as that was sent.
    pub opened: AtomicU64,
    /// Intents that were refused in a block, or expired.
    pub refused: AtomicU64,
    /// Intents that no node took.
    pub shed: AtomicU64,
    /// Second last answers about one intent, or answers about none that was sent: there must be none.
    pub wrong: AtomicU64,
    /// The first of them.
    pub first_wrong: OnceLock<String>,
    /// Players who are connected.
    pub connected: AtomicU64,
}

impl Counted {
    fn count_wrong(&self, what: impl FnOnce() -> String) {
        self.wrong.fetch_add(1, Ordering::Relaxed);
        self.first_wrong.get_or_init(what);
    }
}

/// Simulated players at several nodes.
pub struct Crowd {
    /// What came of their intents.
    pub counted: Arc<Counted>,
    rests: Arc<AtomicBool>,
    players: Vec<tokio::task::JoinHandle<()>>,
}

impl Crowd {
    /// Lets `count` players play, each at one of the nodes first.
    ///
    /// # Errors
    /// If there is no socket.
    pub fn start(
        runtime: &Runtime,
        keys: &DevKeys,
        count: u32,
        genesis: &Genesis,
        chain: Hash,
        nodes: &[SocketAddr],
    ) -> anyhow::Result<Self> {
        let tables = genesis.tables;
        let validators = Arc::new(Validators::of_genesis(genesis)?);
        let _inside = runtime.enter();
        let endpoint = socket(SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)), 8 << 20).context("a UDP socket")?;
        let (counted, rests): (Arc<Counted>, Arc<AtomicBool>) = Default::default();
        let mut players = Vec::new();
        for number in 0..count {
            let key = keys.player(number);
            let net = NetKey::from_seed(blake3::hash(&key.public()).as_bytes());
            let mut at: Vec<SocketAddr> = nodes.to_vec();
            at.rotate_left(number as usize % nodes.len());
            let config = ClientConfig {
                address: at[0].to_string(),
                node: None,
                others: at[1..].iter().map(|at| (at.to_string(), None)).collect(),
                chain: Some(chain),
                program: concat!("bitcraps crowd ", env!("CARGO_PKG_VERSION")).into(),
                reconnect: true,
            };
            // Soon after its node is gone, a player is at the next one.
            let client = Client::new(config, endpoint.clone(), &identity(&net)?)?.lost_after(Duration::from_secs(3));
            let table = TableId(number % tables);
            let half = genesis.has_pledged();
            let half = half.then(|| Bringing::new(keys.player(number), chain, Arc::clone(&validators), table));
            let player = Player {
                key,
                chain,
                table,
                tables,
                half,
                account: None,
                next: 1,
                chance: Chance::new(CROWD_SEED, number.into()),
                is_seated: false,
                has_bet: false,
                open: BTreeMap::new(),
                counted: Arc::clone(&counted),
                rests: Arc::clone(&rests),
            };
            players.push(tokio::spawn(player.play(client)));
        }
        Ok(Self { counted, rests, players })
    }

    /// The players send nothing new, and wait for the answers to what they sent.
    pub fn rest(&self) {
        self.rests.store(true, Ordering::Relaxed);
    }

    /// Nobody plays any more.
    pub fn stop(self) {
        self.players.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

struct Player {
    key: PlayerKey,
    chain: Hash,
    table: TableId,
    tables: u32,
    /// What it brings to the dice, on a chain with pledged tables.
    half: Option<Bringing>,
    account: Option<AccountId>,
    next: u64,
    chance: Chance,
    is_seated: bool,
    has_bet: bool,
    /// Intents without a last answer.
    open: BTreeMap<IntentId, IntentKind>,
    counted: Arc<Counted>,
    rests: Arc<AtomicBool>,
}

impl Player {
    async fn play(mut self, client: Client) {
        let (commands, commands_in) = mpsc::channel(COMMANDS);
        let (events, mut heard) = mpsc::channel(EVENTS);
        let counted = Arc::clone(&self.counted);
        let hear = move |event| {
            // This task does nothing but hear them. One that was stopped hears no more, and its client a moment later.
            if let Err(TrySendError::Full(event)) = events.try_send(event) {
                counted.count_wrong(|| format!("no room for {event:?}"));
            }
        };
        let account = Watched::Account(self.key.public());
        let runs = tokio::spawn(async move { client.run(commands_in, hear).await });
        if commands.send(Command::Watch(account, true)).await.is_err() {
            return;
        }
        let mut acts_at = tokio::time::Instant::now() + Duration::from_millis(self.chance.below(500));
        let mut has_looked = false;
        let mut watches = None;
        loop {
            if !self.look_on(&commands, &mut watches).await {
                break;
            }
            tokio::select! {
                event = heard.recv() => match event {
                    None => break,
                    Some(event) => {
                        has_looked |= matches!(event, Event::Account(_));
                        if self.hear(event) {
                            acts_at = tokio::time::Instant::now() + RESTS;
                        }
                    }
                },
                () = tokio::time::sleep(LOOKS), if self.half.is_some() => {}
                () = tokio::time::sleep_until(acts_at) => {
                    // What it knows of its account comes first: which numbers are used.
                    if has_looked && self.open.is_empty() && !self.rests.load(Ordering::Relaxed) {
                        let intent = self.next_intent();
                        if commands.send(Command::Send(vec![intent])).await.is_err() {
                            break;
                        }
                    }
                    let thinks = THINKS_MS.0 + self.chance.below(THINKS_MS.1 - THINKS_MS.0);
                    acts_at = tokio::time::Instant::now() + Duration::from_millis(thinks);
                }
            }
        }
        runs.abort();
    }

    /// Watches the table where it sits or would, if that is a pledged one, and pledges and opens there. Says whether the
    /// client still runs.
    async fn look_on(&mut self, commands: &mpsc::Sender<Command>, watches: &mut Option<TableId>) -> bool {
        let Some(half) = &mut self.half else { return true };
        if *watches != Some(self.table) {
            half.go_to(self.table);
            if let Some(before) = watches.replace(self.table)
                && commands.send(Command::Watch(Watched::Table(before), false)).await.is_err()
            {
                return false;
            }
            if commands.send(Command::Watch(Watched::Table(self.table), true)).await.is_err() {
                return false;
            }
        }
        let Some(row) = self.account.and_then(|account| half.next(account)) else { return true };
        if row.is_opening() {
            self.counted.opened.fetch_add(1, Ordering::Relaxed);
        }
        commands.send(Command::Pledge(vec![row])).await.is_ok()
    }

    fn next_intent(&mut self) -> Intent {
        let may_call = self.half.as_ref().zip(self.account).is_some_and(|(half, account)| half.may_call(account));
        let kind = match (self.next, self.is_seated) {
            (1, _) => IntentKind::Open,
            (_, false) => IntentKind::Sit,
            // A pledged table rolls for no other reason.
            _ if may_call && self.has_bet => IntentKind::Roll,
            _ => IntentKind::Bet,
        };
        self.has_bet = kind == IntentKind::Bet;
        let expiry_s = expiry_s(now().as_secs() + EXPIRY_S);
        let body = IntentBody::new(kind, self.key.public(), self.next, expiry_s);
        let body = match kind {
            IntentKind::Sit => body.at(self.table).amount(BUY_IN),
            IntentKind::Bet => body.at(self.table).on(self.bet(), 0).amount(BET),
            IntentKind::Roll => body.at(self.table),
            _ => body,
        };
        let intent = self.key.sign(body, &self.chain);
        self.next += 1;
        self.open.insert(intent.id(), kind);
        self.counted.sent.fetch_add(1, Ordering::Relaxed);
        self.counted.unanswered.fetch_add(1, Ordering::Relaxed);
        intent
    }

    fn bet(&mut self) -> BetId {
        let name = BETS[self.chance.below(BETS.len() as u64) as usize];
        bet_named(name).expect("a bet of the catalogue")
    }

    /// Takes what the node says. Says whether there is nothing to do for a while.
    fn hear(&mut self, event: Event) -> bool {
        match event {
            Event::Up { .. } => _ = self.counted.connected.fetch_add(1, Ordering::Relaxed),
            Event::Down { .. } => {
                let fewer = |count: u64| Some(count.saturating_sub(1));
                let _ = self.counted.connected.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
            }
            Event::Account(row) => {
                self.account = row.account.map(|(id, _)| id);
                if let Some((_, account)) = row.account.filter(|_| self.open.is_empty()) {
                    self.next = self.next.max(account.number_highest + 1).max(2);
                }
            }
            Event::Table { update, whole } => {
                self.half.iter_mut().for_each(|half| half.show(&update, whole));
            }
            // What came of a pledge or an opening, the table shows.
            Event::Answer(answer) if self.half.is_some() && !self.open.contains_key(&answer.id) => {}
            Event::Answer(answer) if answer.is_final() => return self.answered(&answer),
            _ => {}
        }
        false
    }

    fn answered(&mut self, answer: &Answer) -> bool {
        let Some(kind) = self.open.remove(&answer.id) else {
            self.counted.count_wrong(|| format!("no intent waits for {answer:?}"));
            return false;
        };
        self.counted.unanswered.fetch_sub(1, Ordering::Relaxed);
        let AnswerVerdict::Receipt { verdict, .. } = answer.verdict else {
            self.counted.shed.fetch_add(1, Ordering::Relaxed);
            // An account that did not open used no number.
            self.next = if kind == IntentKind::Open { 1 } else { self.next };
            return true;
        };
        let Verdict::Refused(refusal) = verdict else {
            self.counted.applied.fetch_add(1, Ordering::Relaxed);
            self.is_seated |= kind == IntentKind::Sit;
            return false;
        };
        self.counted.refused.fetch_add(1, Ordering::Relaxed);
        match (kind, refusal) {
            (IntentKind::Open, Refusal::AccountExists) => false,
            (IntentKind::Open, _) => {
                self.next = 1;
                true
            }
            // It sits there from a session before.
            (IntentKind::Sit, Refusal::AlreadySeated) => {
                self.is_seated = true;
                false
            }
            // A pledged table has one seat: another one may be free.
            (IntentKind::Sit, Refusal::TableFull) if self.half.is_some() => {
                self.table = TableId((self.table.0 + 1) % self.tables);
                true
            }
            (IntentKind::Sit, _) => true,
            // The roll before waits for its opening, or its window is young.
            (_, Refusal::Frozen | Refusal::WindowOpen) => false,
            (_, Refusal::UnknownPlayer) => {
                self.is_seated = false;
                false
            }
            _ => true,
        }
    }
}
