//! Players and a node over a network that loses, delays, reorders, doubles and cuts off, in virtual time: the session code
//! is the one that runs over sockets. Every intent has one receipt, whatever befell its packets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use audit::reading::ReadOptions;
use audit::replay::{ReplayConfig, replay};
use engine::genesis::Genesis;
use engine::io::Verdict;
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::{Hash, TableId};
use keys::identity;
use net::client::{Client, ClientConfig, Command, Event};
use net::memory::{Conditions, Network, Traffic};
use net::server::{Server, ServerConfig};
use net::wire::{Answer, AnswerVerdict};
use node::clock::{Pace, QUANTUM_MS, Time};
use node::init::{NewChain, create, open_keys};
use node::network::chain;
use node::open::{Options, StartedNode, open};
use node::recording::Driving;
use node::snapshots::SnapshotPace;
use node::totals::Totals;
use order::signature::{NetKey, PlayerKey};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use storage::Session;
use systems::catalogue::bet_named;
use tokio::sync::mpsc;
use tokio::task::LocalSet;

/// The chain's own pace: a block each so many milliseconds.
const BLOCK_MS: u64 = 50;
/// Bets of each player.
const BETS: u64 = 24;
/// Players of a run.
const PLAYERS: u16 = 4;
/// Virtual time after which a run has failed.
const PATIENCE: Duration = Duration::from_secs(600);

fn at(host: u8) -> SocketAddr {
    ([10, 0, 0, host], 4_100).into()
}

/// A session with a slower chain than `init` makes, so that an hour of virtual time is cheap.
pub(crate) fn session(dir: &std::path::Path) -> (node::config::Config, Vec<u8>) {
    let new = NewChain {
        name: "sim".into(),
        tables: 1,
        seats: 8,
        accounts: 20,
        grant: 10_000,
        per_height: 20,
        window_ms: 4_000,
        dice: engine::rules::DiceSource::Beacon,
    };
    let created = create(&dir.join("made"), &new, node::config::Config::default(), None).expect("a node");
    let mut config = node::layers::Layered::load(&created.config, &[]).expect("its configuration").config;
    let bytes = storage::genesis_bytes(&config.node.data).expect("its genesis");
    let genesis: Genesis = serde_json::from_slice(&bytes).expect("its genesis");
    let slower = serde_json::to_vec(&Genesis { block_interval_ms: BLOCK_MS, ..genesis }).expect("plain data");
    config.node.data = dir.join("session");
    drop(Session::create(&config.node.data, &slower).expect("a session"));
    (config, slower)
}

/// What a player's program did and heard.
struct Played {
    key: PlayerKey,
    /// The last answer to each number, and how many receipts it had.
    receipts: BTreeMap<u64, (AnswerVerdict, u32)>,
    reconnects: u32,
}

/// Plays: an account, a seat, bets at random times, and now and then another connection.
async fn play(network: Network, host: u8, node: SocketAddr, chain: Hash, now_ms: u64, seed: u64) -> Played {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ u64::from(host) << 32);
    let name = *blake3::hash(format!("player {host}").as_bytes()).as_bytes();
    let key = PlayerKey::from_seed(&name);
    let config = ClientConfig {
        address: node.to_string(),
        others: Vec::new(),
        node: None,
        chain: Some(chain),
        program: "sim".into(),
        reconnect: true,
    };
    let endpoint = network.endpoint(at(host)).expect("an endpoint");
    let client = Client::new(config, endpoint, &identity(&NetKey::from_seed(&name)).expect("a key")).expect("a client");
    let (commands, commands_in) = mpsc::channel(64);
    let (events_in, mut events) = mpsc::unbounded_channel();
    let began = tokio::time::Instant::now();
    let running = tokio::spawn(client.run(commands_in, move |event| _ = events_in.send(event)));
    let sign = |kind, number: u64, fill: &dyn Fn(IntentBody) -> IntentBody| -> Intent {
        let expiry_s = (now_ms + began.elapsed().as_millis() as u64) / 1_000 + 55;
        let body = IntentBody::new(kind, key.public(), number, u32::try_from(expiry_s).expect("until 2106"));
        key.sign(fill(body), &chain)
    };
    let mut played = Played { key: key.clone(), receipts: BTreeMap::new(), reconnects: 0 };
    let field = bet_named("field").expect("a bet");
    let (mut sent, mut due) = (0, tokio::time::Instant::now());
    let last = BETS + 2;
    while (played.receipts.len() as u64) < last {
        // The account and the seat come one after the other; bets do not wait.
        let ready = sent < 2 && played.receipts.len() as u64 == sent || sent >= 2 && played.receipts.len() >= 2;
        if ready && sent < last && tokio::time::Instant::now() >= due {
            sent += 1;
            let intent = match sent {
                1 => sign(IntentKind::Open, 1, &|body| body),
                2 => sign(IntentKind::Sit, 2, &|body| body.at(TableId(0)).amount(5_000)),
                number => sign(IntentKind::Bet, number, &|body| body.at(TableId(0)).on(field, 0).amount(5)),
            };
            commands.send(Command::Send(vec![intent])).await.expect("the client runs");
            due = tokio::time::Instant::now() + Duration::from_millis(rng.next_u64() % 1_500);
            if rng.next_u64() % 8 == 0 {
                commands.send(Command::Reconnect).await.expect("the client runs");
            }
        }
        match tokio::time::timeout(Duration::from_millis(100), events.recv()).await {
            Err(_) => {}
            Ok(Some(Event::Answer(Answer { id, verdict }))) if verdict != AnswerVerdict::Acknowledged => {
                let (before, times) = played.receipts.entry(id.number).or_insert((verdict, 0));
                assert_eq!(*before, verdict, "seed {seed}: two answers to intent {} of player {host}", id.number);
                *times += 1;
            }
            Ok(Some(Event::Up { .. })) => played.reconnects += 1,
            Ok(Some(_)) => {}
            Ok(None) => panic!("seed {seed}: player {host} ended: {:?}", running.await),
        }
    }
    commands.send(Command::Close).await.expect("the client runs");
    running.await.expect("no panic").expect("closed as asked");
    played
}

/// Opens a node on a session, with its network key.
pub(crate) fn opened(config: &node::config::Config) -> (StartedNode, NetKey) {
    let (keys, setup) = open_keys(config, false).expect("its keys");
    let options = Options {
        keys: keys.validator,
        threads: 1,
        peers: 64,
        writing: config.writing(),
        pace: SnapshotPace::default(),
        driving: Driving::Threads,
        sign_from: None,
        network: None,
    };
    let session = Session::open(&config.node.data).expect("a session");
    (open(session, setup, options, |_| ()).expect("opened"), keys.net)
}

/// One run from a seed. Returns what befell its packets.
fn run(seed: u64) -> (Traffic, u32) {
    let dir = tempfile::tempdir().expect("a folder");
    let (config, genesis) = session(dir.path());
    let (opened, net_key) = opened(&config);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("one");
    let network = Network::new(seed, Conditions::NONE);
    let (totals, players, traffic) = LocalSet::new().block_on(&runtime, async {
        let (carrier, here) = (network.socket(at(1)), at(1));
        let bounds = ServerConfig { connections_per_address_max: 64, listen: here, ..ServerConfig::default() };
        let chain = chain(&opened.machine.setup().genesis, genesis);
        let (id, now_ms) = (chain.id, opened.machine.setup().genesis.start_ms);
        let server = Server::on(carrier, here, bounds, chain, identity(&net_key).expect("a key")).expect("a server");
        let mut node = opened.into_node(None, Time::Virtual(Pace::Max));
        node.listen(server);
        // The node's time is that of its ticks, and runs as the paused clock does.
        let stop = Rc::new(AtomicBool::new(false));
        let ends = Rc::clone(&stop);
        let running = tokio::task::spawn_local(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(QUANTUM_MS));
            while !ends.load(Ordering::Relaxed) {
                ticks.tick().await;
                node.step().expect("the node runs");
            }
            node.totals.clone()
        });
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut between = |low: u64, high: u64| low + rng.next_u64() % (high - low);
        let delay = between(0, 80);
        network.set(Conditions {
            lost: between(0, 120) as u32,
            doubled: between(0, 80) as u32,
            delay: (Duration::from_millis(delay), Duration::from_millis(delay + between(0, 60))),
        });
        let played = async {
            let mut players = Vec::new();
            for player in 0..PLAYERS {
                let host = 10 + player as u8;
                players.push(tokio::task::spawn_local(play(network.clone(), host, here, id, now_ms, seed)));
            }
            // Now the node, now a player is cut off, for shorter and for longer than a connection lives in silence.
            for cut in 0..6 {
                tokio::time::sleep(Duration::from_millis(between(500, 4_000))).await;
                let whom = if cut % 3 == 0 { here } else { at(10 + between(0, PLAYERS.into()) as u8) };
                network.cut(whom, true);
                tokio::time::sleep(Duration::from_millis(if cut == 4 { 33_000 } else { between(100, 6_000) })).await;
                network.cut(whom, false);
            }
            let mut done = Vec::new();
            for player in players {
                done.push(player.await.expect("a player does not panic"));
            }
            done
        };
        let players = tokio::time::timeout(PATIENCE, played).await.expect("everyone has every receipt in time");
        let traffic = network.traffic();
        stop.store(true, Ordering::Relaxed);
        (running.await.expect("the node does not panic"), players, traffic)
    });
    drop(runtime);
    check(seed, &config.node.data, &totals, &players);
    (traffic, players.iter().map(|player| player.reconnects).sum())
}

/// Every intent has one verdict, every bet was placed once, and the record says the same.
fn check(seed: u64, session: &std::path::Path, totals: &Totals, players: &[Played]) {
    let mut applied = 0;
    for player in players {
        assert_eq!(player.receipts.len() as u64, BETS + 2, "seed {seed}");
        for (number, (verdict, times)) in &player.receipts {
            assert!(*times >= 1);
            match verdict {
                AnswerVerdict::Receipt { verdict: Verdict::Applied, .. } => applied += u64::from(*number > 2),
                // One that was cut off for longer than its intent could wait.
                AnswerVerdict::Receipt { verdict: Verdict::Refused(refusal), .. } => {
                    assert_eq!(refusal.name(), "EXPIRED", "seed {seed}, intent {number} of {:?}", player.key);
                }
                other => panic!("seed {seed}, intent {number} of {:?}: {other:?}", player.key),
            }
        }
    }
    assert_eq!(totals.counts.bets_placed, applied, "seed {seed}: what was applied had a receipt that says so");
    assert!(applied >= u64::from(PLAYERS) * BETS / 2, "seed {seed}: only {applied} bets");
    let config = ReplayConfig::all(ReadOptions::default());
    let outcome = replay(session, &config, |_| ()).expect("a whole session");
    assert_eq!(outcome.difference, None, "seed {seed}");
    assert_eq!((outcome.root_chain, outcome.counts.bets_placed), (totals.root_chain, applied), "seed {seed}");
}

#[test]
fn every_intent_has_one_receipt_whatever_befalls_its_packets() {
    let _pool = engine::pool::build(1).expect("a pool");
    let seeds = std::env::var("BITCRAPS_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(24);
    let mut all = Traffic::default();
    let mut connections = 0;
    for seed in 0..seeds {
        let (traffic, ups) = run(seed);
        all.sent += traffic.sent;
        all.lost += traffic.lost;
        all.doubled += traffic.doubled;
        all.overtaken += traffic.overtaken;
        connections += ups;
    }
    println!("{seeds} seeds, {connections} connections: {all:?}");
    assert!(all.lost > 0 && all.doubled > 0 && all.overtaken > 0 && connections > seeds as u32 * u32::from(PLAYERS));
}
