//! A fleet of clients by one owner, over real QUIC in virtual time, against a node's end of the network whose tick is the test's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{at, identity, keep_ticking, run};
use engine::genesis::KeySource;
use engine::io::{Input, Output, Receipt, Verdict, Watched};
use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::{Height, TableId};
use net::client::fleet::{Fleet, FleetClient, FleetError};
use net::client::{ClientConfig, Command, Event, Lost};
use net::memory::Network;
use net::server::{ChainInfo, Server, ServerConfig};
use net::tls::Key;
use net::wire::AnswerVerdict;
use tokio::time::Instant;

const CHAIN: [u8; 32] = [5; 32];
const CLIENTS: usize = 4;

/// A node whose tick is this test's: it acknowledges each intent, and gives its receipt with the next tick, unless it is mute.
struct Node {
    server: Server,
    intents: u64,
    /// Ticks that took some.
    taking: u32,
    receipts: Vec<Output>,
    is_mute: bool,
}

fn start(network: &Network, host: u32) -> Rc<RefCell<Node>> {
    let config = ServerConfig {
        listen: at(host),
        connections_per_address_max: 100,
        intents_per_connection_per_s: NonZeroU32::new(10_000).expect("not zero"),
        ..ServerConfig::default()
    };
    let chain = ChainInfo { id: CHAIN, genesis: vec![7; 2_000], tables: 8, seats: 8, keys: KeySource::Seed };
    let server = Server::on(network.socket(at(host)), at(host), config, chain, identity(&format!("node {host}")));
    let node = Rc::new(RefCell::new(Node {
        server: server.expect("a server"),
        intents: 0,
        taking: 0,
        receipts: Vec::new(),
        is_mute: false,
    }));
    keep_ticking(&node, Node::tick);
    node
}

impl Node {
    fn tick(&mut self) {
        let (mut inputs, mut outputs) = (Vec::new(), std::mem::take(&mut self.receipts));
        self.server.take_inputs(&mut inputs, Instant::now());
        self.taking += u32::from(inputs.iter().any(|input| matches!(input, Input::Intents { .. })));
        for input in inputs {
            match input {
                Input::Intents { from, intents } => {
                    self.intents += intents.len() as u64;
                    let receipt = |intent: &Intent| Receipt {
                        id: intent.id(),
                        height: Height(1),
                        index: 0,
                        verdict: Verdict::Applied,
                    };
                    if self.is_mute {
                        continue;
                    }
                    outputs.extend(intents.iter().map(|intent| Output::Acknowledged { to: from, id: intent.id() }));
                    let receipts = intents.iter().map(|intent| Output::Receipt { to: from, receipt: receipt(intent) });
                    self.receipts.extend(receipts);
                }
                Input::Watch { peer, what: Watched::Account(key), on: true } => {
                    outputs.push(Output::Account { to: peer, key, height: Height(1), account: None });
                }
                _ => {}
            }
        }
        self.server.send(&mut outputs);
    }
}

/// What a fleet has heard, by client.
#[derive(Default)]
struct Heard {
    up: BTreeMap<usize, u32>,
    down: Vec<(usize, Lost)>,
    acknowledged: u64,
    receipts: BTreeMap<(usize, u64), u32>,
    accounts: u32,
    gone: Vec<(usize, Lost)>,
}

fn name(client: usize) -> String {
    format!("client {client}")
}

fn of(client: usize, hosts: &[u32], node: Option<Key>) -> FleetClient {
    let config = ClientConfig {
        address: at(hosts[0]).to_string(),
        others: hosts[1..].iter().map(|host| (at(*host).to_string(), None)).collect(),
        node,
        chain: Some(CHAIN),
        program: "test".into(),
        reconnect: true,
    };
    FleetClient { config, identity: identity(&name(client)), lost_after: Duration::from_secs(3) }
}

fn fleet(network: &Network, clients: Vec<FleetClient>) -> (Fleet, Arc<Mutex<Heard>>) {
    let heard: Arc<Mutex<Heard>> = Arc::default();
    let hears = Arc::clone(&heard);
    let hear = move |client, event: Result<Event, Lost>| {
        let mut heard = hears.lock().expect("one thread");
        match event {
            Ok(Event::Up { .. }) => *heard.up.entry(client).or_default() += 1,
            Ok(Event::Down { reason, .. }) => heard.down.push((client, reason)),
            Ok(Event::Answer(answer)) => match answer.verdict {
                AnswerVerdict::Acknowledged => heard.acknowledged += 1,
                AnswerVerdict::Receipt { .. } => {
                    *heard.receipts.entry((client, answer.id.number)).or_default() += 1;
                }
                AnswerVerdict::Shed(reason) => panic!("an intent was shed: {}", reason.name()),
            },
            Ok(Event::Account(_)) => heard.accounts += 1,
            Ok(_) => {}
            Err(lost) => heard.gone.push((client, lost)),
        }
    };
    (Fleet::on(network.socket(at(9)), clients, hear).expect("a fleet"), heard)
}

fn send(fleet: &Fleet, client: usize, numbers: std::ops::Range<u64>) {
    let key = identity(&name(client)).key;
    let body = |number| IntentBody::new(IntentKind::Roll, key, number, 1_000_000).at(TableId(0));
    let intents = numbers.map(|number| Intent { body: body(number), signature: [3; 64] }).collect();
    assert!(fleet.try_tell(client, Command::Send(intents)), "there is room");
}

async fn after(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

#[test]
fn every_client_of_a_fleet_is_connected_and_each_intent_has_one_receipt() {
    run(1, async |network| {
        let node = start(&network, 1);
        let (fleet, heard) = fleet(&network, (0..CLIENTS).map(|client| of(client, &[1], None)).collect());
        after(500).await;
        assert_eq!(heard.lock().expect("one thread").up, (0..CLIENTS).map(|client| (client, 1)).collect());
        // More than the credit of one: the rest follows the first receipts.
        (0..CLIENTS).for_each(|client| send(&fleet, client, 0..100));
        fleet.tell(3, Command::Watch(Watched::Account([9; 32]), true));
        after(8_000).await;
        let heard = heard.lock().expect("one thread");
        assert_eq!(heard.receipts.len(), CLIENTS * 100);
        assert!(heard.receipts.values().all(|count| *count == 1));
        assert_eq!((heard.accounts, heard.down.len(), heard.gone.len()), (1, 0, 0));
        assert_eq!(node.borrow().intents, CLIENTS as u64 * 100, "nothing was sent twice");
    });
}

#[test]
fn what_has_no_receipt_is_sent_again_over_the_next_connection() {
    run(2, async |network| {
        let node = start(&network, 1);
        let (fleet, heard) = fleet(&network, (0..2).map(|client| of(client, &[1], None)).collect());
        after(200).await;
        node.borrow_mut().is_mute = true;
        (0..2).for_each(|client| send(&fleet, client, 0..5));
        after(200).await;
        assert_eq!((heard.lock().expect("one thread").receipts.len(), node.borrow().intents), (0, 10));
        node.borrow_mut().is_mute = false;
        fleet.tell(0, Command::Reconnect);
        after(500).await;
        let heard = heard.lock().expect("one thread");
        assert_eq!((heard.up[&0], heard.up[&1]), (2, 1));
        assert_eq!(heard.receipts.keys().filter(|(client, _)| *client == 0).count(), 5);
        assert_eq!(heard.receipts.len(), 5, "who was not told to reconnect still waits");
        assert_eq!(node.borrow().intents, 15, "the same five again");
    });
}

#[test]
fn clients_go_on_at_the_next_node_and_give_up_on_one_with_another_key() {
    run(3, async |network| {
        let (_first, second) = (start(&network, 1), start(&network, 2));
        // Nobody is at host 3.
        let clients = vec![of(0, &[3, 2], None), of(1, &[1], Some([1; 32])), of(2, &[3], None)];
        let (fleet, heard) = fleet(&network, clients);
        send(&fleet, 0, 0..5);
        after(12_000).await;
        let heard = heard.lock().expect("one thread");
        assert_eq!(heard.up, BTreeMap::from([(0, 1)]));
        assert_eq!((heard.receipts.len(), second.borrow().intents), (5, 5));
        assert!(matches!(heard.gone[..], [(1, Lost::Key { .. })]), "{:?}", heard.gone);
        let silent = |of: usize| heard.down.iter().filter(|(client, _)| *client == of).count();
        assert!(silent(0) == 1 && silent(2) >= 2, "{:?}", heard.down);
        assert!(heard.down.iter().all(|(_, lost)| matches!(lost, Lost::Silent(_))), "{:?}", heard.down);
    });
}

#[test]
fn clients_leave_a_node_that_lives_and_says_what_became_of_nothing() {
    run(7, async |network| {
        let (first, second) = (start(&network, 1), start(&network, 2));
        first.borrow_mut().is_mute = true;
        let (fleet, heard) = fleet(&network, vec![of(0, &[1, 2], None)]);
        after(200).await;
        send(&fleet, 0, 0..5);
        after(9_000).await;
        assert_eq!((heard.lock().expect("one thread").down.len(), second.borrow().intents), (0, 0));
        after(3_000).await;
        let heard = heard.lock().expect("one thread");
        assert!(matches!(heard.down[..], [(0, Lost::Silent(_))]), "{:?}", heard.down);
        assert_eq!((heard.receipts.len(), second.borrow().intents), (5, 5));
    });
}

#[test]
fn a_client_that_is_to_leave_its_node_goes_to_the_next_one_and_stays_where_there_is_none() {
    run(8, async |network| {
        let _nodes = [1, 2].map(|host| start(&network, host));
        let (fleet, heard) = fleet(&network, vec![of(0, &[1, 2], None), of(1, &[1], None)]);
        after(200).await;
        (0..2).for_each(|client| assert!(fleet.try_tell(client, Command::Leave("it lacks a block"))));
        after(1_000).await;
        let heard = heard.lock().expect("one thread");
        assert_eq!(heard.up, BTreeMap::from([(0, 2), (1, 1)]));
        assert!(matches!(&heard.down[..], [(0, Lost::Other(why))] if why == "it lacks a block"), "{:?}", heard.down);
    });
}

/// What came of so many intents a second in half a second: the intents, those acknowledged before their receipts, and of a hundred
/// ticks those that took intents. The first of them, in which the node finds out how many there are, are not counted.
async fn half_second_of(
    per_s: u64,
    from: u64,
    node: &Rc<RefCell<Node>>,
    fleet: &Fleet,
    heard: &Mutex<Heard>,
) -> (u64, u64, u32) {
    let each_ms = per_s / 1_000 / CLIENTS as u64;
    assert_eq!(each_ms * 1_000 * CLIENTS as u64, per_s, "all send alike");
    let counts = || {
        let heard = heard.lock().expect("one thread");
        (heard.receipts.len() as u64, heard.acknowledged, node.borrow().taking)
    };
    let mut before = counts();
    for ms in 0..800 {
        if ms == 300 {
            before = counts();
        }
        let first = from + ms * each_ms;
        (0..CLIENTS).for_each(|client| send(fleet, client, first..first + each_ms));
        after(1).await;
    }
    let now = counts();
    (now.0 - before.0, now.1 - before.1, now.2 - before.2)
}

#[test]
fn while_many_intents_arrive_they_are_taken_together_and_acknowledged_by_their_receipts() {
    run(6, async |network| {
        let node = start(&network, 1);
        let (fleet, heard) = fleet(&network, (0..CLIENTS).map(|client| of(client, &[1], None)).collect());
        after(500).await;
        let (receipts, acknowledged, taking) = half_second_of(4_000, 0, &node, &fleet, &heard).await;
        assert!(receipts.abs_diff(2_000) < 200 && acknowledged.abs_diff(receipts) < 200, "{receipts}, {acknowledged}");
        assert!(taking > 90, "{taking} of 100 ticks");
        let (receipts, acknowledged, taking) = half_second_of(8_000, 10_000, &node, &fleet, &heard).await;
        assert!(receipts.abs_diff(4_000) < 400, "{receipts}");
        assert_eq!(acknowledged, 0, "each receipt came without one");
        assert!((20..=26).contains(&taking), "{taking} of 100 ticks");
        after(500).await;
        let (receipts, acknowledged, taking) = half_second_of(4_000, 20_000, &node, &fleet, &heard).await;
        assert!(acknowledged.abs_diff(receipts) < 200 && taking > 90, "{receipts}, {acknowledged}, {taking}");
        after(500).await;
        let heard = heard.lock().expect("one thread");
        assert!(heard.receipts.values().all(|count| *count == 1) && heard.down.is_empty());
        assert_eq!(heard.receipts.len() as u64, 800 * (4 + 8 + 4), "each has its receipt");
    });
}

#[test]
fn a_fleet_that_ends_says_so() {
    run(4, async |network| {
        let node = start(&network, 1);
        let (fleet, _) = fleet(&network, (0..CLIENTS).map(|client| of(client, &[1], None)).collect());
        after(500).await;
        assert_eq!(node.borrow().server.connections(), CLIENTS as u32);
        fleet.close();
        after(1_000).await;
        assert_eq!(node.borrow().server.connections(), 0, "no connection is left to time out");
    });
}

#[test]
fn an_address_that_is_no_number_is_refused_at_once() {
    run(5, async |network| {
        let mut nowhere = of(0, &[1], None);
        nowhere.config.others = vec![("localhost:7400".into(), None)];
        let refused = Fleet::on(network.socket(at(9)), vec![nowhere], |_, _| {});
        assert!(matches!(refused, Err(FleetError::Address(address)) if address == "localhost:7400"));
    });
}

#[test]
fn a_fleet_at_all_addresses_reaches_a_node_of_ipv4() {
    let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    if let Err(error) = UdpSocket::bind(all) {
        return println!("skipped, since this machine has no IPv6: {error}");
    }
    let config = ServerConfig { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..ServerConfig::default() };
    let chain = ChainInfo { id: CHAIN, genesis: vec![7; 2_000], tables: 8, seats: 8, keys: KeySource::Seed };
    let node = Server::start(config, chain, identity("node")).expect("a server");
    let client = of(0, &[1], None);
    let config = ClientConfig { address: node.address.to_string(), ..client.config };
    let (ups, up) = std::sync::mpsc::channel();
    let fleet = Fleet::start(all, 1 << 16, vec![FleetClient { config, ..client }], move |_, event| {
        if matches!(event, Ok(Event::Up { .. })) {
            // A test that has failed hears nothing more.
            let _ = ups.send(());
        }
    });
    up.recv_timeout(Duration::from_secs(30)).expect("it comes up");
    fleet.expect("a fleet").close();
}
