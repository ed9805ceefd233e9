//! Players and abusers over real sockets: who plays is paid, through kills and reconnects; who abuses the node is refused
//! with a code and counted, and the others do not notice.

mod abusers;
mod kills;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, Command as Process, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use audit::reading::ReadOptions;
use audit::replay::{ReplayConfig, replay};
use audit::walker::walk_to;
use bytemuck::Zeroable;
use engine::io::{ShedReason, Verdict, Watched};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;
use engine::{Height, TableId, hex};
use keys::identity;
use net::client::{Client, ClientConfig, Command, Event, Lost, RawConnection, socket};
use net::server::{Counters, ServerConfig};
use net::session::CloseCode;
use net::wire::{Answer, AnswerVerdict, Hello, Role, ToClient, ToNode, VERSION};
use node::clock::Time;
use node::config::Config;
use node::init::{NewChain, create, open_keys};
use node::layers::Layered;
use node::network::listen;
use node::open::{Options, open};
use node::recording::Driving;
use node::snapshots::SnapshotPace;
use node::totals::Totals;
use order::signature::{NetKey, PlayerKey};
use storage::Session;
use systems::catalogue::bet_named;
use tokio::sync::mpsc;

use super::lines::Lines;

/// How long anything may take that must come.
const PATIENCE: Duration = Duration::from_secs(30);

fn chain(tables: u32, window_ms: u64) -> NewChain {
    let (seats, accounts, grant, per_height) = (8, 200, 10_000, 100);
    let dice = engine::rules::DiceSource::Beacon;
    NewChain { name: "test".into(), tables, seats, accounts, grant, per_height, window_ms, dice }
}

/// A node on a thread of its own.
struct TestNode {
    address: SocketAddr,
    counters: Arc<Counters>,
    chain: engine::Hash,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<Totals>>,
    session: PathBuf,
    _dir: tempfile::TempDir,
}

fn now_ms() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as u64
}

impl TestNode {
    fn start(new: &NewChain, bounds: impl FnOnce(ServerConfig) -> ServerConfig) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let place = dir.path().join("node");
        let created = create(&place, new, Config::default(), None).expect("a new node");
        let config = Layered::load(&created.config, &[]).expect("its configuration").config;
        let (keys, setup) = open_keys(&config, false).expect("its keys");
        let genesis = storage::genesis_bytes(&config.node.data).expect("its genesis");
        let server = bounds(ServerConfig {
            connections_per_address_max: 1_000,
            connects_per_address_per_s: NonZeroU32::new(10_000).expect("not zero"),
            opens_per_address_per_min: NonZeroU32::new(10_000).expect("not zero"),
            handshake_timeout: Duration::from_millis(700),
            listen: ([127, 0, 0, 1], 0).into(),
            ..ServerConfig::default()
        });
        let stop = Arc::new(AtomicBool::new(false));
        let session = config.node.data.clone();
        let (told, tells) = std::sync::mpsc::channel();
        let ends = Arc::clone(&stop);
        let data = session.clone();
        let chain = setup.chain;
        let thread = std::thread::spawn(move || {
            let _pool = engine::pool::build(1).expect("a pool");
            let options = Options {
                keys: keys.validator,
                threads: 1,
                peers: server.connections_max,
                writing: storage::Writing::default(),
                pace: SnapshotPace::default(),
                driving: Driving::Threads,
                sign_from: None,
                network: Some(keys.net.public()),
            };
            let opened = open(Session::open(&data).expect("a session"), setup, options, |_| ()).expect("a new session");
            let network = listen(&opened.machine.setup().genesis, genesis, &keys.net, server).expect("a socket");
            told.send((network.address, network.counters())).expect("the test waits");
            let mut node = opened.into_node(None, Time::Wall);
            node.listen(network);
            node.run(None, &ends, |_, _, _| ()).expect("the node runs");
            node.close()
        });
        let (address, counters) = tells.recv().expect("the node starts");
        Self { address, counters, chain, stop, thread: Some(thread), session, _dir: dir }
    }

    fn count(&self, name: &str) -> u64 {
        self.counters.list().into_iter().find(|(known, _)| *known == name).expect("a counter").1
    }

    fn stop(&mut self) -> Totals {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().expect("ended once").join().expect("the node does not panic")
    }

    /// Ends the node, and replays what it recorded.
    fn end(mut self) -> (Totals, PathBuf, tempfile::TempDir) {
        let totals = self.stop();
        let outcome = audit(&self.session);
        assert_eq!(outcome.root_chain, totals.root_chain, "the session leads to where the node was");
        (totals, self.session, self._dir)
    }
}

/// Everything in a session is checked, on a thread of its own, since a thread has one pool.
fn audit(session: &Path) -> audit::replay::Outcome {
    std::thread::scope(|scope| {
        let run = || {
            let _pool = engine::pool::build(2).expect("a pool");
            let config = ReplayConfig::all(ReadOptions::stranger(2));
            let outcome = replay(session, &config, |_| ()).expect("a whole session");
            assert_eq!(outcome.difference, None);
            outcome
        };
        scope.spawn(run).join().expect("the replay does not panic")
    })
}

fn seed(name: &str) -> [u8; 32] {
    *blake3::hash(name.as_bytes()).as_bytes()
}

/// A player's keys, numbers, and what was heard.
struct TestPlayer {
    key: PlayerKey,
    chain: engine::Hash,
    next: u64,
    commands: mpsc::Sender<Command>,
    events: mpsc::UnboundedReceiver<Event>,
    answers: Vec<Answer>,
}

fn expiry_s() -> u32 {
    u32::try_from(now_ms() / 1_000 + 40).expect("until 2106")
}

impl TestPlayer {
    fn connect(name: &str, address: SocketAddr, chain: engine::Hash) -> Self {
        let endpoint = socket(([127, 0, 0, 1], 0).into(), 1 << 20).expect("a socket");
        let config = ClientConfig {
            address: address.to_string(),
            others: Vec::new(),
            node: None,
            chain: Some(chain),
            program: "test".into(),
            reconnect: true,
        };
        let identity = identity(&NetKey::from_seed(&seed(name))).expect("a key");
        let client = Client::new(config, endpoint, &identity).expect("a client");
        let (commands, commands_in) = mpsc::channel(256);
        let (events_in, events) = mpsc::unbounded_channel();
        tokio::spawn(client.run(commands_in, move |event| _ = events_in.send(event)));
        let key = PlayerKey::from_seed(&seed(name));
        Self { key, chain, next: 1, commands, events, answers: Vec::new() }
    }

    fn sign(&mut self, fill: impl FnOnce(IntentBody) -> IntentBody, kind: IntentKind) -> Intent {
        let number = self.next;
        self.next += 1;
        self.key.sign(fill(IntentBody::new(kind, self.key.public(), number, expiry_s())), &self.chain)
    }

    async fn send(&self, intents: Vec<Intent>) {
        self.commands.send(Command::Send(intents)).await.expect("the client runs");
    }

    /// Sends and waits for the receipt.
    async fn ask(&mut self, kind: IntentKind, fill: impl FnOnce(IntentBody) -> IntentBody) -> Verdict {
        let intent = self.sign(fill, kind);
        self.send(vec![intent]).await;
        self.receipt(intent.body.number).await.1
    }

    async fn next_event(&mut self) -> Event {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("something comes in time");
        let event = event.expect("the client runs");
        if let Event::Answer(answer) = &event {
            self.answers.push(*answer);
        }
        event
    }

    /// The receipt of an intent: its height and verdict.
    async fn receipt(&mut self, number: u64) -> (Height, Verdict) {
        loop {
            let found = self.answers.iter().find_map(|answer| match answer.verdict {
                AnswerVerdict::Receipt { height, verdict, .. } if answer.id.number == number => Some((height, verdict)),
                AnswerVerdict::Shed(reason) if answer.id.number == number => {
                    panic!("intent {number} was shed: {reason:?}")
                }
                _ => None,
            });
            if let Some(found) = found {
                return found;
            }
            self.next_event().await;
        }
    }

    async fn sit(&mut self, table: u32) {
        assert_eq!(self.ask(IntentKind::Open, |body| body).await, Verdict::Applied);
        assert_eq!(self.ask(IntentKind::Sit, |body| body.at(TableId(table)).amount(5_000)).await, Verdict::Applied);
    }

    fn bet(&mut self, table: u32, amount: u64) -> Intent {
        let field = bet_named("field").expect("a bet of the catalogue");
        self.sign(|body| body.at(TableId(table)).on(field, 0).amount(amount), IntentKind::Bet)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// Cage, rails and wagers of an account in a state.
fn chips_of(machine: &mut systems::Machine, key: &[u8; 32]) -> u64 {
    let account = machine.account_of(key).expect("an account");
    machine.read(|rows| {
        let seats = rows.seats.iter().enumerate().filter(|(_, seat)| seat.account == account);
        let at_tables: u64 = seats
            .map(|(number, seat)| {
                seat.rail.0 + rows.seat_bets(number).iter().map(|bet| u64::from(bet.amount)).sum::<u64>()
            })
            .sum();
        rows.accounts[account.index()].cage.0 + at_tables
    })
}

#[test]
fn players_bet_are_paid_and_agree_with_the_record_to_the_chip() {
    let node = TestNode::start(&chain(2, 400), |bounds| bounds);
    let runtime = runtime();
    let (address, id) = (node.address, node.chain);
    let balances = runtime.block_on(async {
        let mut players: Vec<TestPlayer> =
            (0..5).map(|number| TestPlayer::connect(&format!("player {number}"), address, id)).collect();
        for player in &mut players {
            player.sit(1).await;
            let public = player.key.public();
            player.commands.send(Command::Watch(Watched::Table(TableId(1)), true)).await.expect("runs");
            player.commands.send(Command::Watch(Watched::Account(public), true)).await.expect("runs");
        }
        for round in 0..6 {
            let mut last = Height::GENESIS;
            // A field bet loses once, or wins once, twice or three times, what was put down: those of 20 never make up for the
            // one of 5, and nobody ends as they began.
            let amount = if round == 0 { 5 } else { 20 };
            for player in &mut players {
                let bet = player.bet(1, amount);
                player.send(vec![bet]).await;
                let (height, verdict) = player.receipt(bet.body.number).await;
                assert_eq!(verdict, Verdict::Applied);
                last = last.max(height);
            }
            // The next roll decides every field bet; one of the last bet's own height came after it.
            let mut rolled = false;
            while !rolled {
                let event = players[0].next_event().await;
                rolled =
                    matches!(&event, Event::Table { update, .. } if update.roll.is_some() && update.height >= last);
            }
        }
        let mut balances = Vec::new();
        for player in &mut players {
            assert_eq!(player.ask(IntentKind::Leave, |body| body.at(TableId(1))).await, Verdict::Applied);
            // The account follows, once nothing is at the table any more.
            let until = Instant::now() + PATIENCE;
            let cage = loop {
                assert!(Instant::now() < until, "the account never shows that the player left");
                if let Event::Account(row) = player.next_event().await
                    && let Some((_, account)) = row.account
                    && account.seats == 0
                    && account.number_highest == player.next - 1
                {
                    break account.cage.0;
                }
            };
            balances.push((player.key.public(), cage));
        }
        balances
    });
    drop(runtime);
    let (totals, session, _dir) = node.end();
    assert!(totals.counts.rolls >= 6 && totals.counts.bets_resolved >= 30, "{totals:?}");
    let mut machine = std::thread::spawn(move || {
        let _pool = engine::pool::build(1).expect("a pool");
        walk_to(&session, None, ReadOptions::default()).expect("a state").into_machine()
    })
    .join()
    .expect("no panic");
    for (key, cage) in &balances {
        assert_eq!(chips_of(&mut machine, key), *cage);
    }
    assert!(balances.iter().all(|(_, cage)| *cage != 10_000), "bets were won and lost: {balances:?}");
}

#[test]
fn the_same_intent_sent_again_has_one_receipt_and_one_effect() {
    let node = TestNode::start(&chain(1, 60_000), |bounds| bounds);
    let runtime = runtime();
    runtime.block_on(async {
        let mut player = TestPlayer::connect("again", node.address, node.chain);
        player.sit(0).await;
        let bet = player.bet(0, 7);
        player.send(vec![bet]).await;
        let first = player.receipt(bet.body.number).await;
        // Over another connection, under another network key, after the receipt: the same receipt.
        let mut other = TestPlayer::connect("another connection", node.address, node.chain);
        let receipts = |answers: &[Answer]| answers.iter().filter(|answer| answer.is_final()).count();
        for times in 1..=2 {
            other.send(vec![bet]).await;
            while receipts(&other.answers) < times {
                other.next_event().await;
            }
        }
        assert_eq!(other.receipt(bet.body.number).await, first);
        // Another intent with the used number is refused.
        player.next = bet.body.number;
        let another = player.bet(0, 9);
        other.answers.clear();
        other.send(vec![another]).await;
        assert_eq!(other.receipt(another.body.number).await.1, Verdict::Refused(Refusal::NumberUsed));
        // Through reconnects while they wait.
        for _ in 0..5 {
            let bet = player.bet(0, 1);
            player.commands.send(Command::Send(vec![bet])).await.expect("runs");
            player.commands.send(Command::Reconnect).await.expect("runs");
            assert_eq!(player.receipt(bet.body.number).await.1, Verdict::Applied);
        }
    });
    drop(runtime);
    let (totals, session, _dir) = node.end();
    assert_eq!(totals.counts.bets_placed, 6, "one for the bet that was sent three times, and five");
    assert_eq!(audit(&session).counts.bets_placed, 6);
}

#[test]
fn a_storm_of_reconnects_leaves_everyone_with_their_receipts() {
    let node = TestNode::start(&chain(8, 1_000), |bounds| bounds);
    let runtime = runtime();
    runtime.block_on(async {
        let mut players: Vec<TestPlayer> =
            (0..40).map(|number| TestPlayer::connect(&format!("storm {number}"), node.address, node.chain)).collect();
        for (number, player) in players.iter_mut().enumerate() {
            player.sit(number as u32 / 8).await;
        }
        for _ in 0..3 {
            let mut sent = Vec::new();
            for (number, player) in players.iter_mut().enumerate() {
                let bet = player.bet(number as u32 / 8, 100);
                sent.push(bet.body.number);
                player.send(vec![bet]).await;
                player.commands.send(Command::Reconnect).await.expect("runs");
            }
            for (player, number) in players.iter_mut().zip(sent) {
                assert_eq!(player.receipt(number).await.1, Verdict::Applied);
            }
        }
    });
    drop(runtime);
    let (totals, ..) = node.end();
    assert_eq!(totals.counts.bets_placed, 120);
}

#[test]
fn a_node_that_ends_answers_what_it_acknowledged_and_says_goodbye() {
    let node = TestNode::start(&chain(1, 60_000), |bounds| bounds);
    let runtime = runtime();
    let stop = Arc::clone(&node.stop);
    runtime.block_on(async {
        let mut player = TestPlayer::connect("last", node.address, node.chain);
        player.sit(0).await;
        let bets: Vec<Intent> = (0..60).map(|_| player.bet(0, 1)).collect();
        let numbers: Vec<u64> = bets.iter().map(|bet| bet.body.number).collect();
        player.send(bets).await;
        while player.answers.iter().filter(|answer| numbers.contains(&answer.id.number)).count() < 60 {
            player.next_event().await;
        }
        stop.store(true, Ordering::Relaxed);
        for number in numbers {
            assert_eq!(player.receipt(number).await.1, Verdict::Applied);
        }
        loop {
            if let Event::Down { reason, .. } = player.next_event().await {
                assert!(matches!(reason, Lost::Closed { code: CloseCode::Shutdown, .. }), "{reason}");
                break;
            }
        }
    });
    drop(runtime);
    node.end();
}

#[test]
fn another_key_at_the_same_address_is_refused_by_the_client() {
    let mut node = TestNode::start(&chain(1, 1_000), |bounds| bounds);
    let runtime = runtime();
    let lost = runtime.block_on(async {
        let config = ClientConfig {
            address: node.address.to_string(),
            others: Vec::new(),
            node: Some([3; 32]),
            chain: None,
            program: "test".into(),
            reconnect: true,
        };
        let endpoint = socket(([127, 0, 0, 1], 0).into(), 1 << 20).expect("a socket");
        let client = Client::new(config, endpoint, &identity(&NetKey::from_seed(&seed("pins"))).expect("a key"))
            .expect("a client");
        let (_commands, commands) = mpsc::channel(1);
        client.run(commands, |_| ()).await.expect_err("another key")
    });
    assert!(matches!(lost, Lost::Key { expected, .. } if expected == [3; 32]), "{lost}");
    assert!(lost.to_string().contains(&hex(&[3; 32])));
    drop(runtime);
    assert_eq!(node.stop().counts.bets_placed, 0);
}
