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
        assert_eq!(here.borrow().seen[&other].left, 1);
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
        node.borrow().server().publish(ChainProgress { now_ms: 1_000_000_000, ..ChainProgress::default() });
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
