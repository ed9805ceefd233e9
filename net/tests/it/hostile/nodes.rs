//! Other nodes that mean this one no good.

use super::*;
use aws_lc_rs::signature::KeyPair;

/// A node that is known has larger windows, and no more time: on a lane a byte a second makes no message either.
#[test]
fn a_known_node_that_sends_a_byte_a_second_is_put_out() {
    run(1, async |network| {
        let known = engine::hex(&identity("known").key);
        let peers = vec![format!("{known}@{}", at(99))];
        let node = Node::start(&network, 1, |config| ServerConfig { peers, ..config });
        let mut connection = raw(&network, 3, "known", Role::Node).await;
        connection.open_lane().await.expect("a known node has lanes");
        let mut bytes = Vec::new();
        encode_node(&NodeMessage::Votes(vec![Vote::zeroed(); 16]), &mut bytes);
        let (lost, took) = drips(&mut connection, &bytes).await;
        assert!(matches!(lost, Lost::Closed { code: CloseCode::Timeout, .. }), "{lost}");
        assert!(took < Duration::from_secs(30), "{took:?}");
        after(1).await;
        assert!(node.borrow().present.is_empty());
    });
}

#[test]
fn a_node_that_says_so_itself_is_allowed_what_a_player_is_until_it_is_known() {
    run(4, async |network| {
        let known = engine::hex(&identity("known").key);
        let peers = vec![format!("{known}@{}", at(99))];
        let node = Node::start(&network, 1, |config| ServerConfig { peers, followers_max: 0, ..config });
        // Those that this node dials in vain reserve something for a while.
        let settled = async || {
            let mut least = u64::MAX;
            for _ in 0..100 {
                tokio::time::sleep(Duration::from_millis(200)).await;
                least = least.min(node.borrow().server().reserved_bytes());
            }
            least
        };
        assert_eq!(settled().await, 0);
        let _stranger = raw(&network, 2, "stranger", Role::Node).await;
        assert_eq!(settled().await, PLAYING_BYTES);
        let _known = raw(&network, 3, "known", Role::Node).await;
        assert_eq!(settled().await, PLAYING_BYTES + NODE_BYTES);
    });
}

#[test]
fn a_ban_reaches_a_node_that_this_one_dialled_and_it_is_not_dialled_again() {
    run(5, async |network| {
        let there = Node::start(&network, 2, |config| config);
        let here = Node::start(&network, 1, |config| ServerConfig { peers: vec![at(2).to_string()], ..config });
        after(10).await;
        let (other, own) = (identity("node 2").key, identity("node 1").key);
        let dialled = here.borrow().present.iter().find(|(_, (key, _))| *key == other).map(|(peer, _)| *peer);
        assert!(there.borrow().present.values().any(|(key, _)| *key == own));
        {
            let mut here = here.borrow_mut();
            let mut outputs = Vec::new();
            (0..2).for_each(|_| here.judge(dialled.expect("it was dialled"), Offence::FalsePeer, &mut outputs));
            assert_eq!(outputs.len(), 1);
            here.outputs = outputs;
        }
        after(1).await;
        assert!(here.borrow().present.is_empty() && there.borrow().present.is_empty(), "the connection has ended");
        assert_eq!((here.borrow().seen[&other].left, here.borrow().count("closed")), (1, 1));
        after(300).await;
        assert!(here.borrow().present.is_empty() && there.borrow().present.is_empty(), "nor is there another");
        after(700).await;
        assert_eq!(here.borrow().present.len(), 1, "a ban ends");
    });
}

#[test]
fn records_of_peers_are_verified_once_and_a_false_one_is_an_offence() {
    run(7, async |network| {
        let node = Node::start(&network, 1, |config| config);
        node.borrow()
            .server()
            .publish(ChainProgress { now_ms: 1_000_000_000, ..ChainProgress::default() }, Instant::now());
        let mut teller = raw(&network, 2, "teller", Role::Node).await;
        let (_, pair) = key_pair("third");
        let mut record = PeerRecord {
            key: pair.public_key().as_ref().try_into().expect("32 bytes"),
            time_s: 1_000_000,
            port: 9,
            ..PeerRecord::zeroed()
        };
        record.signature = pair.sign(&record.signed_bytes(&CHAIN)).as_ref().try_into().expect("64 bytes");
        for _ in 0..5 {
            teller.say(&ToNode::Peers(vec![record])).await.expect("sent");
            after(1).await;
        }
        assert_eq!(node.borrow().server().nodes_known(), 1);
        // The same record under a false signature says nothing new, so that nobody looks at it.
        let mut false_one = PeerRecord { signature: [9; 64], ..record };
        teller.say(&ToNode::Peers(vec![false_one])).await.expect("sent");
        after(1).await;
        let teller_key = identity("teller").key;
        assert_eq!(node.borrow().seen[&teller_key].offences, []);
        false_one.time_s += 1;
        teller.say(&ToNode::Peers(vec![false_one])).await.expect("sent");
        after(1).await;
        assert_eq!(node.borrow().seen[&teller_key].offences, [Offence::FalsePeer]);
        assert_eq!(node.borrow().server().nodes_known(), 1);
    });
}

/// Where the node of a host is, as that node signs it.
fn record_of(host: u32) -> PeerRecord {
    let (_, pair) = key_pair(&format!("node {host}"));
    let SocketAddr::V4(address) = at(host) else { panic!("hosts have addresses of IPv4") };
    let mut record = PeerRecord {
        key: identity(&format!("node {host}")).key,
        address: address.ip().to_ipv6_mapped().octets(),
        time_s: 1_000_000,
        port: address.port(),
        ..PeerRecord::zeroed()
    };
    record.signature = pair.sign(&record.signed_bytes(&CHAIN)).as_ref().try_into().expect("64 bytes");
    record
}

#[test]
fn of_several_nodes_that_are_learnt_of_in_one_moment_no_more_are_followers_than_there_may_be() {
    run(9, async |network| {
        let _others: Vec<Shared> = (2..=4).map(|host| Node::start(&network, host, |config| config)).collect();
        let known = engine::hex(&identity("known").key);
        let peers = vec![format!("{known}@{}", at(99))];
        let node = Node::start(&network, 1, |config| ServerConfig { peers, followers_max: 1, ..config });
        node.borrow()
            .server()
            .publish(ChainProgress { now_ms: 1_000_000_000, ..ChainProgress::default() }, Instant::now());
        let mut teller = raw(&network, 5, "known", Role::Node).await;
        teller.say(&ToNode::Peers((2..=4).map(record_of).collect())).await.expect("sent");
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let node = node.borrow();
            let followers = node.present.values().filter(|(key, _)| *key != identity("known").key).count();
            assert!(followers <= 1, "{followers} followers");
        }
        let node = node.borrow();
        assert_eq!((node.server().nodes_known(), node.present.len()), (3, 2), "the teller, and one of three");
    });
}

#[test]
fn of_two_nodes_that_learn_of_each_other_in_one_moment_each_has_a_place_for_the_connection_that_stays() {
    run(10, async |network| {
        let known = engine::hex(&identity("known").key);
        let nodes = [1, 2].map(|host| {
            let peers = vec![format!("{known}@{}", at(99))];
            let node = Node::start(&network, host, |config| ServerConfig { peers, followers_max: 1, ..config });
            node.borrow()
                .server()
                .publish(ChainProgress { now_ms: 1_000_000_000, ..ChainProgress::default() }, Instant::now());
            node
        });
        let mut tellers = Vec::new();
        for host in [1, 2] {
            let endpoint = endpoint(&network, 10 + host);
            let mut teller = RawConnection::connect(&endpoint, &identity("known"), at(host)).await.expect("let in");
            let hello = Hello { chain: None, program: "test".into(), role: Role::Node };
            teller.say(&ToNode::Hello(hello)).await.expect("sent");
            tellers.push((teller, endpoint));
        }
        after(1).await;
        for ((teller, _), other) in tellers.iter_mut().zip([2, 1]) {
            teller.say(&ToNode::Peers(vec![record_of(other)])).await.expect("sent");
        }
        after(5).await;
        for node in &nodes {
            // The node that is dialled in vain reserves something from time to time.
            let mut least = u64::MAX;
            for _ in 0..50 {
                tokio::time::sleep(Duration::from_millis(100)).await;
                least = least.min(node.borrow().server().reserved_bytes());
            }
            assert_eq!(least, 2 * NODE_BYTES, "the teller, and the other node");
        }
    });
}

#[test]
fn of_two_validators_that_dial_each_other_in_one_moment_one_connection_stays_where_there_is_room_for_one() {
    run(11, async |network| {
        let way = Duration::from_millis(400);
        network.set(Conditions { delay: (way, way), ..Conditions::NONE });
        let key = |host: u32| identity(&format!("node {host}")).key;
        let start = |host: u32, other: u32| {
            let validators = vec![format!("{}@{}", engine::hex(&key(other)), at(other))];
            let buffer_bytes_max = NODE_BYTES + (1 << 20);
            Node::start(&network, host, |config| ServerConfig { validators, buffer_bytes_max, ..config })
        };
        let (low, high) = if key(1) < key(2) { (1, 2) } else { (2, 1) };
        // The one of the higher key leaves it to the other one to dial for a second, and that one comes only then.
        let there = start(high, low);
        after(1).await;
        let here = start(low, high);
        after(4).await;
        for (node, other, left) in [(&here, high, 0), (&there, low, 1)] {
            let node = node.borrow();
            assert_eq!((node.present.len(), node.seen[&key(other)].left), (1, left), "that of the lower key stays");
            assert_eq!(node.server().reserved_bytes(), NODE_BYTES, "what is kept for the validator is its own");
            assert_eq!(node.count("refused_full"), 0);
        }
    });
}
