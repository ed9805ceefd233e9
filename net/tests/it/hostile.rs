//! A node's end of the network under those who mean it no good, over real QUIC in virtual time. The test is the tick: it
//! answers intents, tells watchers, keeps scores and bans. Nothing here depends on how fast the machine is.

mod behind;
mod crowds;
mod floods;
mod nodes;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use crate::common::{at, identity, key_pair, run};
use bytemuck::Zeroable;
use engine::component::Table;
use engine::genesis::KeySource;
use engine::io::{ChainProgress, Input, Offence, Output, Receipt, ShedReason, TableUpdate, Verdict, Watched};
use engine::limits::{
    ADDRESS_UNPROVEN_MAX, ANSWERS_QUEUE_BYTES, BANNED_KEYS_OF_ADDRESS, MESSAGE_INTENTS_MAX, PEER_CREDIT,
    PEER_PLEDGE_CREDIT, RECEIVE_WINDOW, SCORE_BAN, SEND_WINDOW,
};
use engine::message::intent::{Intent, IntentBody, IntentId, IntentKind};
use engine::message::node::NodeMessage;
use engine::message::pledge::PledgeRow;
use engine::message::vote::Vote;
use engine::{Height, PeerId, TableId};
use net::budget::{ENTRY_COST, INTENT_COST, WATCH_COST};
use net::client::{Client, ClientConfig, Command, Endpoint, Event, Lost, RawConnection};
use net::memory::{Conditions, Network};
use net::server::{ChainInfo, Server, ServerConfig};
use net::session::CloseCode;
use net::tls::Key;
use net::transport::{NODE_BYTES, PLAYING_BYTES};
use net::wire::{Answer, AnswerVerdict, Hello, PeerRecord, Role, ToClient, ToNode, encode_node};
use tokio::sync::mpsc;
use tokio::task::spawn_local;
use tokio::time::Instant;

const TICK: Duration = Duration::from_millis(5);
const PER_S: u32 = 100;
const CHAIN: [u8; 32] = [5; 32];

fn config(listen: SocketAddr) -> ServerConfig {
    let per_s = |count| NonZeroU32::new(count).expect("not zero");
    ServerConfig {
        listen,
        name: "test".into(),
        connections_per_address_max: 2_048,
        connects_per_address_per_s: per_s(10_000),
        intents_per_connection_per_s: per_s(PER_S),
        buffer_bytes_max: 256 << 20,
        ..ServerConfig::default()
    }
}

/// What the tick saw of one key.
#[derive(Clone, Default, Debug)]
struct Seen {
    intents: u64,
    watches: u64,
    offences: Vec<Offence>,
    banned: bool,
    left: u32,
}

/// A node whose tick is this test's.
struct Node {
    server: Option<Server>,
    seen: BTreeMap<Key, Seen>,
    present: BTreeMap<PeerId, (Key, [u8; 16])>,
    scores: BTreeMap<PeerId, u32>,
    /// Pledges that came, of which the tick says nothing.
    pledged: Vec<(PeerId, IntentId)>,
    /// What the tick gives out next, beside its answers.
    outputs: Vec<Output>,
    /// It takes intents, acknowledges them, and says no more of them.
    withholds: bool,
}

type Shared = Rc<RefCell<Node>>;

fn points(offence: Offence) -> u32 {
    match offence {
        Offence::BadSignature => 10,
        Offence::Flood => 25,
        _ => 50,
    }
}

impl Node {
    fn start(network: &Network, host: u32, change: impl FnOnce(ServerConfig) -> ServerConfig) -> Shared {
        let address = at(host);
        let chain = ChainInfo { id: CHAIN, genesis: vec![7; 200_000], tables: 8, seats: 8, keys: KeySource::Seed };
        let config = change(config(address));
        let server = Server::on(network.socket(address), address, config, chain, identity(&format!("node {host}")));
        let node = Rc::new(RefCell::new(Self {
            server: Some(server.expect("a server")),
            seen: BTreeMap::new(),
            present: BTreeMap::new(),
            scores: BTreeMap::new(),
            pledged: Vec::new(),
            outputs: Vec::new(),
            withholds: false,
        }));
        let ticks = Rc::clone(&node);
        spawn_local(async move {
            let mut clock = tokio::time::interval(TICK);
            loop {
                clock.tick().await;
                ticks.borrow_mut().tick();
            }
        });
        node
    }

    fn tick(&mut self) {
        let mut server = self.server.take().expect("a server");
        let mut inputs = Vec::new();
        server.take_inputs(&mut inputs, Instant::now());
        let mut outputs = std::mem::take(&mut self.outputs);
        for input in inputs {
            self.take(input, &mut outputs);
        }
        server.send(&mut outputs);
        self.server = Some(server);
    }

    fn of(&mut self, peer: PeerId) -> Option<&mut Seen> {
        let (key, _) = self.present.get(&peer)?;
        self.seen.get_mut(key)
    }

    fn take(&mut self, input: Input, outputs: &mut Vec<Output>) {
        match input {
            Input::Joined { peer, key, address, .. } => {
                assert!(self.present.insert(peer, (key, address)).is_none(), "a row has one connection");
                self.seen.entry(key).or_default();
            }
            Input::Left(peer) => {
                self.of(peer).expect("who leaves has joined").left += 1;
                self.present.remove(&peer);
            }
            Input::Intents { from, intents } => {
                let Some(seen) = self.of(from) else { return };
                seen.intents += intents.len() as u64;
                if self.withholds {
                    let ids = intents.iter().map(|intent| intent.id());
                    return outputs.extend(ids.map(|id| Output::Acknowledged { to: from, id }));
                }
                outputs.extend(intents.iter().map(|intent| {
                    let receipt = Receipt { id: intent.id(), height: Height(1), index: 0, verdict: Verdict::Applied };
                    Output::Receipt { to: from, receipt }
                }));
            }
            Input::Watch { peer, what, on } => {
                let seen = self.of(peer).expect("who watches has joined, and not left");
                seen.watches += 1;
                if let (Watched::Account(key), true) = (what, on) {
                    outputs.push(Output::Account { to: peer, key, height: Height(1), account: None });
                }
            }
            Input::Pledges { from, pledges } => self.pledged.extend(pledges.iter().map(|row| (from, row.id()))),
            Input::Offended { peer, offence } => self.judge(peer, offence, outputs),
            _ => {}
        }
    }

    fn judge(&mut self, peer: PeerId, offence: Offence, outputs: &mut Vec<Output>) {
        let Some((key, address)) = self.present.get(&peer).copied() else { return };
        let score = self.scores.entry(peer).or_default();
        *score += points(offence);
        let seen = self.seen.entry(key).or_default();
        seen.offences.push(offence);
        if *score >= SCORE_BAN && !seen.banned {
            seen.banned = true;
            outputs.push(Output::Ban { peer, key, address, offence });
        }
    }

    fn server(&self) -> &Server {
        self.server.as_ref().expect("a server")
    }

    fn count(&self, name: &str) -> u64 {
        let counters = self.server().counters();
        counters.list().into_iter().find(|(known, _)| *known == name).expect("a counter").1
    }
}

async fn after(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn endpoint(network: &Network, host: u32) -> Endpoint {
    network.endpoint(at(host)).expect("an endpoint")
}

/// A connection to the node at host 1 that has said hello.
async fn raw(network: &Network, host: u32, name: &str, role: Role) -> RawConnection {
    let mut raw = RawConnection::connect(&endpoint(network, host), &identity(name), at(1)).await.expect("let in");
    let hello = Hello { chain: None, program: "test".into(), role };
    raw.say(&ToNode::Hello(hello)).await.expect("sent");
    raw
}

fn intent(key: Key, number: u64) -> Intent {
    let body = IntentBody::new(IntentKind::Roll, key, number, 1_000_000).at(TableId(0));
    Intent { body, signature: [3; 64] }
}

/// A client that keeps to the rules, and what became of its intents.
struct Player {
    commands: mpsc::Sender<Command>,
    events: mpsc::UnboundedReceiver<Event>,
    key: Key,
    receipts: u64,
    losses: u64,
}

impl Player {
    fn connect(network: &Network, host: u32, name: &str) -> Self {
        Self::among(network, host, name, Vec::new())
    }

    /// A client of the node at host 1, and of others.
    fn among(network: &Network, host: u32, name: &str, others: Vec<(String, Option<Key>)>) -> Self {
        let config = ClientConfig {
            address: at(1).to_string(),
            others,
            node: None,
            chain: Some(CHAIN),
            program: "test".into(),
            reconnect: true,
        };
        let client = Client::new(config, endpoint(network, host), &identity(name)).expect("a client");
        let (commands, commands_in) = mpsc::channel(256);
        let (events_in, events) = mpsc::unbounded_channel();
        spawn_local(client.run(commands_in, move |event| _ = events_in.send(event)));
        Self { commands, events, key: identity(name).key, receipts: 0, losses: 0 }
    }

    async fn send(&self, numbers: std::ops::Range<u64>) {
        let intents = numbers.map(|number| intent(self.key, number)).collect();
        self.commands.send(Command::Send(intents)).await.expect("the client runs");
    }

    /// Counts the receipts that have come, and lost connections. Nothing of a player is shed.
    fn listen(&mut self) -> u64 {
        while let Ok(event) = self.events.try_recv() {
            match event {
                Event::Answer(answer) => match answer.verdict {
                    AnswerVerdict::Receipt { .. } => self.receipts += 1,
                    AnswerVerdict::Shed(reason) => panic!("an intent was shed: {}", reason.name()),
                    AnswerVerdict::Acknowledged => {}
                },
                Event::Down { .. } => self.losses += 1,
                _ => {}
            }
        }
        self.receipts
    }
}

/// Sends bytes one by one, a second apart, until the connection ends: how it did, and after how long.
async fn drips(connection: &mut RawConnection, bytes: &[u8]) -> (Lost, Duration) {
    let began = Instant::now();
    for byte in bytes {
        if connection.send(&[*byte]).await.is_err() {
            break;
        }
        after(1).await;
    }
    (connection.closed().await, began.elapsed())
}

#[test]
fn whoever_has_not_said_hello_when_the_clock_is_set_hears_the_welcome_first() {
    run(23, async |network| {
        let node = Node::start(&network, 1, |config| config);
        let connected = RawConnection::connect(&endpoint(&network, 2), &identity("early"), at(1)).await;
        let mut connection = connected.expect("let in");
        after(1).await;
        let standing = |now_ms| ChainProgress { now_ms, ..ChainProgress::default() };
        node.borrow().server().tell_time(standing(5_000), Instant::now());
        after(1).await;
        let hello = Hello { chain: None, program: "test".into(), role: Role::Client };
        connection.say(&ToNode::Hello(hello)).await.expect("sent");
        let first = connection.hear().await;
        assert!(matches!(&first, Ok(ToClient::Welcome(welcome)) if welcome.standing.now_ms >= 5_000), "{first:?}");
        node.borrow().server().tell_time(standing(9_000), Instant::now());
        let second = connection.hear().await;
        assert!(matches!(&second, Ok(ToClient::Standing(told)) if told.now_ms >= 9_000), "{second:?}");
    });
}

#[test]
fn a_byte_a_second_makes_no_message() {
    run(1, async |network| {
        let node = Node::start(&network, 1, |config| config);
        let mut connection = raw(&network, 2, "slow", Role::Client).await;
        after(20).await;
        let mut bytes = Vec::new();
        ToNode::Intents(vec![Intent::zeroed(); MESSAGE_INTENTS_MAX]).encode(&mut bytes);
        let (lost, took) = drips(&mut connection, &bytes).await;
        assert!(matches!(lost, Lost::Closed { code: CloseCode::Timeout, .. }), "{lost}");
        assert!(took < Duration::from_secs(8), "{took:?}");
        assert_eq!(node.borrow().count("closed"), 1);
    });
}

#[test]
fn whoever_says_something_before_hello_is_banned() {
    run(1, async |network| {
        let node = Node::start(&network, 1, |config| config);
        let unasked = async |name: &str| {
            let mut raw = RawConnection::connect(&endpoint(&network, 2), &identity(name), at(1)).await?;
            raw.say(&ToNode::AskGenesis).await?;
            Err::<(), Lost>(raw.closed().await)
        };
        for number in 0..BANNED_KEYS_OF_ADDRESS {
            let lost = unasked(&format!("liar {number}")).await.expect_err("it is closed");
            assert!(matches!(lost, Lost::Closed { code: CloseCode::Malformed, .. }), "{lost}");
            let again = unasked(&format!("liar {number}")).await.expect_err("it is not let in again");
            assert!(matches!(again, Lost::Closed { code: CloseCode::Banned, .. } | Lost::Refused), "{again}");
            after(1).await;
        }
        assert_eq!(node.borrow().count("banned"), u64::from(BANNED_KEYS_OF_ADDRESS));
        let other_key = unasked("another key").await.expect_err("nor is anybody from there");
        assert!(matches!(other_key, Lost::Closed { code: CloseCode::Banned, .. } | Lost::Refused), "{other_key}");
    });
}

#[test]
fn of_ninety_intents_given_while_a_client_reconnects_ninety_are_answered() {
    const { assert!(90 > PEER_CREDIT) };
    run(6, async |network| {
        let node = Node::start(&network, 1, |config| config);
        let mut player = Player::connect(&network, 2, "player");
        after(1).await;
        player.commands.send(Command::Reconnect).await.expect("runs");
        for number in 1..=90 {
            player.send(number..number + 1).await;
        }
        after(5).await;
        assert_eq!((player.listen(), player.losses), (90, 0));
        // The same while no packet comes through, for longer than a connection lives in silence.
        network.cut(at(1), true);
        player.send(91..181).await;
        after(40).await;
        assert_eq!(player.listen(), 90, "nothing comes through");
        network.cut(at(1), false);
        after(60).await;
        assert_eq!(player.listen(), 180);
        assert!(player.losses >= 1);
        assert_eq!(node.borrow().seen[&player.key].intents, 180);
    });
}

#[test]
fn where_changes_are_thin_a_watcher_is_told_the_whole_once_a_second_and_receipts_go_on() {
    run(22, async |network| {
        let node = Node::start(&network, 1, |config| config);
        let mut player = Player::connect(&network, 2, "honest");
        let (name, table) = ("watcher", TableId(1));
        let mut watcher = raw(&network, 3, name, Role::Client).await;
        watcher.say(&ToNode::Watch(vec![(Watched::Table(table), true)])).await.expect("sent");
        let read = spawn_local(async move { while watcher.hear().await.is_ok() {} });
        let changes = Rc::clone(&node);
        spawn_local(async move {
            loop {
                let update = TableUpdate {
                    to: None,
                    id: table,
                    height: Height(1),
                    time_ms: 1,
                    table: Table::zeroed(),
                    seats: Vec::new(),
                    roll: None,
                    resolutions: Vec::new(),
                    pledge: None,
                    closing: None,
                };
                changes.borrow_mut().outputs.push(Output::Table(Box::new(update)));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        let wholes = || node.borrow().seen[&identity(name).key].watches;
        after(3).await;
        assert_eq!((wholes(), node.borrow().count("updates_skipped")), (1, 0), "it was told each change");
        let throttle = node.borrow().server().throttle();
        throttle.thin_updates(true);
        player.send(1..51).await;
        after(10).await;
        assert!((9..=11).contains(&wholes()), "the whole is asked for once a second: {} times", wholes());
        assert!(node.borrow().count("updates_skipped") >= 150, "in place of each change");
        assert_eq!((player.listen(), player.losses), (50, 0), "answers are not thinned");
        throttle.thin_updates(false);
        after(2).await;
        let (skipped, asked) = (node.borrow().count("updates_skipped"), wholes());
        after(5).await;
        assert_eq!((node.borrow().count("updates_skipped"), wholes()), (skipped, asked), "all changes again");
        read.abort();
    });
}
