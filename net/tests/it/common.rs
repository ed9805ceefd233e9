//! Who takes part in the tests of connections, and where.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use net::memory::{Conditions, Network};
use net::tls::{Identity, Key, KeyRules};
use tokio::task::{LocalSet, spawn_local};

/// How often a node of these tests ticks.
pub const TICK: Duration = Duration::from_millis(5);

/// The address of a host of the network in memory.
pub fn at(host: u32) -> SocketAddr {
    let [c, b, a, _] = host.to_le_bytes();
    SocketAddr::from(([10, a, b, c], 7_400))
}

/// A seed and its keys, by a name.
pub fn key_pair(name: &str) -> ([u8; 32], Ed25519KeyPair) {
    let seed = *blake3::hash(name.as_bytes()).as_bytes();
    (seed, Ed25519KeyPair::from_seed_unchecked(&seed).expect("a seed"))
}

/// The same as an identity that signs, and knows what others sign.
pub fn identity(name: &str) -> Identity {
    let (seed, pair) = key_pair(name);
    let public: Key = pair.public_key().as_ref().try_into().expect("32 bytes");
    let rules = KeyRules {
        accept: |key| *key != [0; 32],
        verify: |key, bytes, signature| UnparsedPublicKey::new(&ED25519, key).verify(bytes, signature).is_ok(),
    };
    let sign = move |bytes: &[u8; 128]| pair.sign(bytes).as_ref().try_into().expect("64 bytes");
    Identity::new(&seed, public, sign, rules).expect("an identity")
}

/// Runs something in virtual time, from one seed.
pub fn run<R>(seed: u64, what: impl AsyncFnOnce(Network) -> R) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let delay = (Duration::from_millis(1), Duration::from_millis(3));
    let network = Network::new(seed, Conditions { delay, ..Conditions::NONE });
    LocalSet::new().block_on(&runtime.expect("a runtime"), what(network))
}

/// Has a node tick for as long as somebody holds it.
pub fn keep_ticking<N: 'static>(node: &Rc<RefCell<N>>, tick: fn(&mut N)) {
    let node = Rc::downgrade(node);
    spawn_local(async move {
        let mut clock = tokio::time::interval(TICK);
        loop {
            clock.tick().await;
            let Some(node) = node.upgrade() else { return };
            tick(&mut node.borrow_mut());
        }
    });
}
