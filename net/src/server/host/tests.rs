use std::net::SocketAddr;
use std::task::Waker;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use engine::genesis::KeySource;

use super::*;
use crate::client::RawConnection;
use crate::memory::{Conditions, Network};
use crate::server::{ChainInfo, Server, ServerConfig};
use crate::tls::{Identity, Key, KeyRules};

fn identity(seed: u8) -> Identity {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("a seed");
    let public: Key = pair.public_key().as_ref().try_into().expect("32 bytes");
    let rules = KeyRules {
        accept: |key| *key != [0; 32],
        verify: |key, bytes, signature| UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature).is_ok(),
    };
    let sign = move |bytes: &[u8; 128]| pair.sign(bytes).as_ref().try_into().expect("64 bytes");
    Identity::new(&[seed; 32], public, sign, rules).expect("an identity")
}

fn at(host: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], 7_400))
}

#[test]
fn what_is_marked_while_others_are_served_has_its_turn_at_once() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let network = Network::new(1, Conditions::NONE);
        let config = ServerConfig { listen: at(1), ..ServerConfig::default() };
        let chain = ChainInfo { id: [5; 32], genesis: vec![7; 100], tables: 8, seats: 8, keys: KeySource::Seed };
        let started = Server::with_host(network.socket(at(1)), at(1), config, chain, identity(1));
        let (_server, mut host) = started.expect("a server");
        let mut cx = Context::from_waker(Waker::noop());
        let (endpoint, player) = (network.endpoint(at(2)).expect("an endpoint"), identity(2));
        let connecting = RawConnection::connect(&endpoint, &player, at(1));
        tokio::pin!(connecting);
        let connected = loop {
            tokio::select! {
                connected = &mut connecting => break connected,
                () = tokio::time::sleep(Duration::from_millis(1)) => host.turn(&mut cx),
            }
        };
        let _player = connected.expect("let in");
        // Until neither side has anything to say.
        for _ in 0..100 {
            host.turn(&mut cx);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        host.turn(&mut cx);
        assert!(host.next_due() > host.now, "nothing was left over");
        let Some(Some(Peer { stage: Stage::Open(open), .. })) = host.peers.first() else { panic!("it is connected") };
        // As one is that another connection with the same node makes this one doubt, after its own turn has come.
        host.common.doubted.push(open.id);
        host.quic.mark(0);
        host.turn(&mut cx);
        assert_eq!(host.next_due(), host.now, "it has something to say");
        host.turn(&mut cx);
        assert!(host.next_due() > host.now, "and has said it");
    });
}
