//! Nodes among themselves, over real QUIC in virtual time: who connects with whom, and what passes on which lane.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::{Ipv6Addr, SocketAddr, UdpSocket};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use crate::common::{at, identity, keep_ticking, run};
use engine::genesis::KeySource;
use engine::io::{Input, Output, Watched};
use engine::limits::{EDGE_INPUTS_MAX, PEER_WATCHES_MAX};
use engine::message::node::{BlockRow, NodeKind, NodeMessage};
use engine::message::snapshot::{Part, PartKind, PartRow};
use engine::message::vote::{Vote, VoteBody, VoteKind};
use engine::{Height, PeerId, TableId};
use net::client::RawConnection;
use net::memory::Network;
use net::server::{ChainInfo, Server, ServerConfig};
use net::tls::Key;
use net::wire::{Hello, Role, ToNode};
use tokio::task::spawn_local;
use tokio::time::Instant;

const CHAIN: [u8; 32] = [5; 32];

fn key(host: u32) -> Key {
    identity(&format!("node {host}")).key
}

/// A node whose tick is this test's.
struct Node {
    server: Server,
    nodes: BTreeMap<PeerId, Key>,
    heard: Vec<(Key, NodeMessage)>,
    outputs: Vec<Output>,
    /// Its tick stands: it takes nothing, and gives nothing out.
    stands: bool,
}

type Shared = Rc<RefCell<Node>>;

impl Node {
    /// The validator of a host, which knows the others.
    fn start(network: &Network, host: u32, others: &[u32]) -> Shared {
        Self::start_as(network, host, &format!("node {host}"), others)
    }

    fn start_as(network: &Network, host: u32, name: &str, others: &[u32]) -> Shared {
        let validators = others.iter().map(|host| format!("{}@{}", engine::hex(&key(*host)), at(*host))).collect();
        let config = ServerConfig {
            listen: at(host),
            validators,
            buffer_bytes_max: 256 << 20,
            // So much that one player alone fills what the tick has room for.
            intents_per_connection_per_s: NonZeroU32::new(50_000).expect("not zero"),
            ..ServerConfig::default()
        };
        let chain = ChainInfo { id: CHAIN, genesis: vec![7; 2_000], tables: 8, seats: 8, keys: KeySource::Seed };
        let server = Server::on(network.socket(at(host)), at(host), config, chain, identity(name)).expect("a server");
        let (nodes, heard, outputs, stands) = (BTreeMap::new(), Vec::new(), Vec::new(), false);
        let node = Rc::new(RefCell::new(Self { server, nodes, heard, outputs, stands }));
        keep_ticking(&node, Self::tick);
        node
    }

    fn tick(&mut self) {
        if self.stands {
            return;
        }
        let mut inputs = Vec::new();
        self.server.take_inputs(&mut inputs, Instant::now());
        for input in inputs {
            match input {
                Input::Joined { peer, key, node: true, .. } => {
                    assert!(self.nodes.insert(peer, key).is_none(), "a row has one connection");
                }
                Input::Left(peer) => _ = self.nodes.remove(&peer),
                Input::Node { from, message } => {
                    self.heard.push((*self.nodes.get(&from).expect("who speaks has joined"), *message));
                }
                _ => {}
            }
        }
        let mut outputs = std::mem::take(&mut self.outputs);
        self.server.send(&mut outputs);
    }

    fn say(&mut self, message: NodeMessage) {
        self.outputs.push(Output::ToNode { to: None, message: Box::new(message) });
    }

    fn connected(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.nodes.values().copied().collect();
        keys.sort_unstable();
        keys
    }
}

async fn after(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}

fn keys(hosts: &[u32]) -> Vec<Key> {
    let mut keys: Vec<Key> = hosts.iter().map(|host| key(*host)).collect();
    keys.sort_unstable();
    keys
}

fn vote(height: u64) -> NodeMessage {
    let body = VoteBody::new(VoteKind::Prevote, Height(height), 0, None, 1);
    NodeMessage::Votes(vec![Vote { body, signature: [1; 64] }])
}

fn part(first: u32) -> NodeMessage {
    let row = PartRow::new(Height(64), PartKind::Groups, first, 64);
    NodeMessage::Part(Part { row, bytes: vec![9; 64 * 16_384] })
}

#[test]
fn validators_have_one_connection_each_and_hear_each_other() {
    run(1, async |network| {
        let others = |host: u32| (1..=4).filter(|other| *other != host).collect::<Vec<u32>>();
        let nodes: Vec<Shared> = (1..=4).map(|host| Node::start(&network, host, &others(host))).collect();
        after(3_000).await;
        for (host, node) in (1..).zip(&nodes) {
            assert_eq!(node.borrow().connected(), keys(&others(host)), "node {host}");
            node.borrow_mut().say(vote(host.into()));
            node.borrow_mut().say(NodeMessage::AskBody(BlockRow { height: Height(9), block: [1; 32] }));
        }
        after(100).await;
        for node in &nodes {
            let node = node.borrow();
            let count = |kind| node.heard.iter().filter(|(_, message)| message.kind() == kind).count();
            assert_eq!((count(NodeKind::Votes), count(NodeKind::AskBody)), (3, 3));
        }
    });
}

#[test]
fn a_vote_overtakes_history_that_was_said_before() {
    run(2, async |network| {
        let (one, other) = (Node::start(&network, 1, &[2]), Node::start(&network, 2, &[1]));
        after(3_000).await;
        // The first one is on its way when the vote is said.
        (0..2).for_each(|first| one.borrow_mut().say(part(64 * first)));
        after(20).await;
        one.borrow_mut().say(vote(1));
        after(5_000).await;
        let kinds: Vec<NodeKind> = other.borrow().heard.iter().map(|(_, message)| message.kind()).collect();
        assert_eq!(kinds, [NodeKind::Votes, NodeKind::Part, NodeKind::Part]);
    });
}

#[test]
fn what_the_tick_does_not_take_is_bounded_and_comes_later() {
    run(3, async |network| {
        let (one, other) = (Node::start(&network, 1, &[2]), Node::start(&network, 2, &[1]));
        after(3_000).await;
        // The other one's tick stands while much is said to it.
        other.borrow_mut().stands = true;
        for round in 0..200 {
            one.borrow_mut().say(part(64 * round));
            after(50).await;
        }
        let held = other.borrow().server.held_bytes();
        assert!(held < 16 << 20, "{held}");
        other.borrow_mut().stands = false;
        after(20_000).await;
        let heard = other.borrow().heard.len();
        assert!((3..200).contains(&heard), "{heard}: some were left out, to be asked for again");
        one.borrow_mut().say(vote(1));
        after(100).await;
        assert_eq!(other.borrow().heard.last().map(|(_, message)| message.kind()), Some(NodeKind::Votes));
    });
}

#[test]
fn what_a_node_says_waits_until_the_tick_has_room_to_hear_that_it_joined() {
    run(6, async |network| {
        let one = Node::start(&network, 1, &[2]);
        one.borrow_mut().stands = true;
        let endpoint = network.endpoint(at(3)).expect("an endpoint");
        spawn_local(async move {
            let mut player = RawConnection::connect(&endpoint, &identity("player"), at(1)).await.expect("let in");
            let hello = Hello { chain: None, program: "test".into(), role: Role::Client };
            player.say(&ToNode::Hello(hello)).await.expect("sent");
            let watches = vec![(Watched::Table(TableId(0)), true); PEER_WATCHES_MAX];
            for _ in 0..EDGE_INPUTS_MAX / PEER_WATCHES_MAX {
                player.say(&ToNode::Watch(watches.clone())).await.expect("sent");
            }
            std::future::pending::<()>().await;
        });
        after(2_000).await;
        let other = Node::start(&network, 2, &[1]);
        after(3_000).await;
        other.borrow_mut().say(vote(1));
        after(100).await;
        let mut inputs = Vec::new();
        one.borrow_mut().server.take_inputs(&mut inputs, Instant::now());
        assert_eq!(inputs.len(), EDGE_INPUTS_MAX, "there was no room for more");
        let is_of_node = |input: &Input| matches!(input, Input::Joined { node: true, .. } | Input::Node { .. });
        assert!(!inputs.iter().any(is_of_node), "the tick hears of nobody whom it does not know");
        one.borrow_mut().stands = false;
        after(100).await;
        assert_eq!(one.borrow().connected(), keys(&[2]));
        let kinds: Vec<NodeKind> = one.borrow().heard.iter().map(|(_, message)| message.kind()).collect();
        assert_eq!(kinds, [NodeKind::Votes], "nothing was lost");
    });
}

#[test]
fn a_lost_connection_is_back_a_second_after_the_network_is() {
    run(4, async |network| {
        let (one, other) = (Node::start(&network, 1, &[2]), Node::start(&network, 2, &[1]));
        after(3_000).await;
        for away_s in [6, 60, 600] {
            network.cut(at(2), true);
            after(1_000 * away_s).await;
            assert!(one.borrow().connected().is_empty() && other.borrow().connected().is_empty(), "found lost");
            network.cut(at(2), false);
            let healed = Instant::now();
            while one.borrow().connected().is_empty() || other.borrow().connected().is_empty() {
                after(10).await;
            }
            // A handshake that was under way in vain takes its two seconds.
            assert!(healed.elapsed() < Duration::from_millis(3_500), "after {away_s} s: {:?}", healed.elapsed());
        }
    });
}

#[test]
fn a_second_node_with_the_same_key_is_refused_while_the_first_lives() {
    run(5, async |network| {
        let one = Node::start(&network, 1, &[2]);
        let first = Node::start(&network, 2, &[1]);
        after(5_000).await;
        let before: Vec<PeerId> = one.borrow().nodes.keys().copied().collect();
        let second = Node::start_as(&network, 3, "node 2", &[1]);
        after(30_000).await;
        let now: Vec<PeerId> = one.borrow().nodes.keys().copied().collect();
        assert_eq!(now, before, "the first one's connection stands");
        one.borrow_mut().say(vote(7));
        after(100).await;
        assert_eq!((first.borrow().heard.len(), second.borrow().heard.len()), (1, 0));
        // The first one is gone: the second one is let in, or found.
        network.cut(at(2), true);
        drop(first);
        after(8_000).await;
        assert_eq!(one.borrow().connected(), keys(&[2]));
        one.borrow_mut().say(vote(8));
        after(100).await;
        assert_eq!(second.borrow().heard.len(), 1);
    });
}

#[test]
fn a_node_that_listens_at_all_addresses_reaches_a_peer_of_ipv4() {
    let all = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
    if let Err(error) = UdpSocket::bind(all) {
        return println!("skipped, since this machine has no IPv6: {error}");
    }
    let start = |name: &str, listen: SocketAddr, peers: Vec<String>| {
        let config = ServerConfig { listen, peers, ..ServerConfig::default() };
        let chain = ChainInfo { id: CHAIN, genesis: vec![7; 2_000], tables: 8, seats: 8, keys: KeySource::Seed };
        Server::start(config, chain, identity(name)).expect("a server")
    };
    let peer = start("peer", SocketAddr::from(([127, 0, 0, 1], 0)), Vec::new());
    let mut node = start("node", all, vec![peer.address.to_string()]);
    let (until, mut inputs) = (std::time::Instant::now() + Duration::from_secs(30), Vec::new());
    let has_joined = |input: &Input| matches!(input, Input::Joined { key, node: true, .. } if *key == peer.key());
    while !inputs.iter().any(has_joined) {
        assert!(std::time::Instant::now() < until, "the peer never joined");
        std::thread::sleep(Duration::from_millis(10));
        node.take_inputs(&mut inputs, Instant::now());
    }
}
