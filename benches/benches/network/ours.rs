//! This project's server under the bench.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytemuck::Zeroable;
use engine::Height;
use engine::io::{ChainProgress, Input, Output, Receipt, Verdict};
use engine::message::intent::Intent;
use keys::identity;
use net::client::{Endpoint, Lost, RawConnection};
use net::server::{ChainInfo, Server, ServerConfig};
use net::transport::Carrier;
use net::wire::{AnswerVerdict, Hello, Role, ToClient, ToNode};
use order::signature::NetKey;
use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::counting::{Counting, Traffic};
use super::{LOCAL, SERVER, SOCKET_BYTES, Service, Size, runtime};

/// This project's edge: a session for each connection, and a thread in the place of the tick that answers everything.
pub struct Ours {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    tick: std::thread::JoinHandle<()>,
    traffic: Arc<Traffic>,
    runtime: Runtime,
}

impl Ours {
    pub fn start(size: &Size) -> Self {
        let connections = size.connections as u32 + 8;
        let much = NonZeroU32::new(1_000_000).expect("not zero");
        let config = ServerConfig {
            connections_max: connections,
            connections_per_address_max: connections,
            connects_per_address_per_s: much,
            intents_per_connection_per_s: much,
            opens_per_connection_per_min: much,
            opens_per_address_per_min: much,
            socket_buffer_bytes: SOCKET_BYTES as u64,
            listen: LOCAL,
            ..ServerConfig::default()
        };
        let chain =
            ChainInfo { id: [1; 32], genesis: vec![b' '], tables: 1, seats: 8, keys: engine::genesis::KeySource::Seed };
        let key = identity(&NetKey::from_seed(&[2; 32])).expect("a key");
        let (runtime, traffic) = (runtime(SERVER), Arc::default());
        let (mut server, address) = {
            let _inside = runtime.enter();
            let (socket, address) = Counting::bind(&traffic);
            (Server::on(Carrier::Other(socket), address, config, chain, key).expect("a server"), address)
        };
        server.publish(ChainProgress::default(), Instant::now());
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        let tick = std::thread::Builder::new().name(format!("{SERVER} tick"));
        let tick = tick.spawn(move || {
            let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
            while !ends.load(Ordering::Relaxed) {
                server.take_inputs(&mut inputs, Instant::now());
                for input in inputs.drain(..) {
                    if let Input::Intents { from, intents } = input {
                        outputs.extend(intents.iter().map(|intent| answer(from, intent)));
                    }
                }
                server.send(&mut outputs);
                // As a tick would, but shorter: what is measured is the edge.
                std::thread::sleep(Duration::from_micros(500));
            }
            server.close();
        });
        Self { address, stop, tick: tick.expect("a thread"), traffic, runtime }
    }
}

fn answer(to: engine::PeerId, intent: &Intent) -> Output {
    let receipt = Receipt { id: intent.id(), height: Height(1), index: 0, verdict: Verdict::Applied };
    Output::Receipt { to, receipt }
}

impl Service for Ours {
    type Talk = RawConnection;

    async fn connect(&self, number: usize, endpoint: Endpoint) -> RawConnection {
        let key = identity(&NetKey::from_seed(blake3::hash(&number.to_le_bytes()).as_bytes())).expect("a key");
        // Of a thousand at once some lose their packets where the system's buffers are small, and give up after some seconds, as bare
        // quinn does not: they try again, as every client does, and the time is in the figure.
        let mut tries_left = 4;
        let mut talk = loop {
            match RawConnection::connect(&endpoint, &key, self.address).await {
                Ok(talk) => break talk,
                Err(Lost::Silent(_)) if tries_left > 0 => tries_left -= 1,
                Err(lost) => panic!("a connection: {lost:?}"),
            }
        };
        let hello = Hello { chain: None, program: "bench".into(), role: Role::Client };
        talk.say(&ToNode::Hello(hello)).await.expect("sent");
        assert!(matches!(talk.hear().await, Ok(ToClient::Welcome(_))));
        talk
    }

    async fn ask(talk: &mut RawConnection, number: u64) {
        let mut intent = Intent::zeroed();
        intent.body.number = number;
        talk.say(&ToNode::Intents(vec![intent])).await.expect("sent");
    }

    async fn hear(talk: &mut RawConnection) -> usize {
        let Ok(ToClient::Answers(answers)) = talk.hear().await else { panic!("only answers come") };
        assert!(answers.iter().all(|answer| matches!(answer.verdict, AnswerVerdict::Receipt { .. })));
        answers.len()
    }

    fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tick.join().expect("the tick does not panic");
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
