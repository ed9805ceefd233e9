//! The network: intents to and answers from a node's edge, and connections, against bare quinn in the same run, client and
//! server on the same cores.
//!
//! `cargo test` shrinks everything: then the figures mean nothing.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use benches::beside::{Beside, beside, criterion, group};
use benches::tiny;
use bytemuck::Zeroable;
use criterion::Throughput;
use engine::Height;
use engine::io::{ChainProgress, Input, Output, Receipt, Verdict};
use engine::message::intent::Intent;
use keys::identity;
use net::client::{Endpoint, RawConnection, socket};
use net::server::{ChainInfo, Server, ServerConfig};
use net::wire::{AnswerVerdict, Hello, Role, ToClient, ToNode};
use order::signature::NetKey;
use tokio::runtime::Runtime;

/// Requests of one connection that are under way.
const UNDER_WAY: usize = 8;
/// Bytes of a request and of its response: an intent's message and an answer's.
const REQUEST: usize = 8 + 128;
const RESPONSE: usize = 8 + 64;
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const SOCKET_BYTES: usize = 8 << 20;

struct Size {
    connections: usize,
    requests: usize,
}

fn main() {
    let size = match tiny() {
        true => Size { connections: 4, requests: 20 },
        false => Size { connections: 1_000, requests: 200 },
    };
    let mut criterion = criterion();
    let mut row = |what: &str, count: usize, pick: fn(&Took) -> Duration| {
        let mut group = group(&mut criterion, format!("network/{what}"), Throughput::Elements(count as u64));
        let name = format!("connections={}", size.connections);
        let ours = || pick(&Took::of(&size, Ours::start(&size)));
        let limit = || pick(&Took::of(&size, Bare::start()));
        let taken: Beside = beside(&mut group, &name, ours, limit);
        taken.print(&format!("network/{what}/{name}"), "bare quinn");
        group.finish();
    };
    row("answers", size.connections * size.requests, |took| took.requests);
    row("connect", size.connections, |took| took.connects);
    criterion.final_summary();
}

/// What all connections together took to come in, and to have their requests answered.
struct Took {
    connects: Duration,
    requests: Duration,
}

/// A server that answers each request with one response, and its clients.
trait Service: Send + Sync + 'static {
    type Talk: Send + 'static;

    fn connect(&self, number: usize, endpoint: Endpoint) -> impl Future<Output = Self::Talk> + Send;
    fn ask(talk: &mut Self::Talk, number: u64) -> impl Future<Output = ()> + Send;
    /// Hears some responses; how many.
    fn hear(talk: &mut Self::Talk) -> impl Future<Output = usize> + Send;
    fn end(self);
}

impl Took {
    fn of<S: Service>(size: &Size, service: S) -> Self {
        let runtime = runtime();
        let service = Arc::new(service);
        let took = runtime.block_on(async {
            let endpoints: Vec<Endpoint> = (0..4).map(|_| socket(LOCAL, SOCKET_BYTES).expect("a socket")).collect();
            let began = Instant::now();
            let talks = all(size.connections, |number| {
                let (service, endpoint) = (Arc::clone(&service), endpoints[number % endpoints.len()].clone());
                async move { service.connect(number, endpoint).await }
            })
            .await;
            let connects = began.elapsed();
            let began = Instant::now();
            let mut waiting: Vec<_> = talks.into_iter().map(Some).collect();
            let requests = size.requests;
            let talks = all(size.connections, |number| {
                let talk = waiting[number].take().expect("each once");
                exchange::<S>(talk, requests)
            })
            .await;
            let answered = began.elapsed();
            drop(talks);
            Self { connects, requests: answered }
        });
        runtime.shutdown_timeout(Duration::from_secs(2));
        Arc::into_inner(service).expect("every task has ended").end();
        took
    }
}

/// Sends so many requests, some of them under way at a time, and hears every response.
async fn exchange<S: Service>(mut talk: S::Talk, requests: usize) -> S::Talk {
    let (mut sent, mut heard) = (0, 0);
    while heard < requests {
        while sent < requests && sent - heard < UNDER_WAY {
            S::ask(&mut talk, sent as u64).await;
            sent += 1;
        }
        heard += S::hear(&mut talk).await;
    }
    talk
}

/// Runs a task for each connection, all at the same time.
async fn all<F: Future<Output: Send> + Send + 'static>(
    count: usize,
    mut task: impl FnMut(usize) -> F,
) -> Vec<F::Output> {
    let tasks: Vec<_> = (0..count).map(|number| tokio::spawn(task(number))).collect();
    let mut done = Vec::with_capacity(count);
    for task in tasks {
        done.push(task.await.expect("a task does not panic"));
    }
    done
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// This project's edge: a session for each connection, and a thread in the place of the tick that answers everything.
struct Ours {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    tick: std::thread::JoinHandle<()>,
}

impl Ours {
    fn start(size: &Size) -> Self {
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
        let mut server = Server::start(config, chain, key).expect("a server");
        server.publish(ChainProgress::default());
        let (address, stop) = (server.address, Arc::new(AtomicBool::new(false)));
        let ends = Arc::clone(&stop);
        let tick = std::thread::spawn(move || {
            let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
            while !ends.load(Ordering::Relaxed) {
                server.take_inputs(&mut inputs);
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
        Self { address, stop, tick }
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
        let mut talk = RawConnection::connect(&endpoint, &key, self.address).await.expect("a connection");
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

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tick.join().expect("the tick does not panic");
    }
}

/// quinn alone: one stream a connection, a response for each request, no message is looked at.
struct Bare {
    address: SocketAddr,
    client: quinn::ClientConfig,
    runtime: Runtime,
}

impl Bare {
    fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["bitcraps".to_owned()]).expect("a certificate");
        let certificate = made.cert.der().clone();
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        let server = quinn::ServerConfig::with_single_cert(vec![certificate.clone()], key.into()).expect("a server");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(certificate).expect("a root");
        let client = quinn::ClientConfig::with_root_certificates(Arc::new(roots)).expect("a client");
        let runtime = runtime();
        let address = {
            let _inside = runtime.enter();
            let bound = net::transport::bind(LOCAL, SOCKET_BYTES).expect("a socket");
            let config = quinn::EndpointConfig::default();
            let endpoint = Endpoint::new(config, Some(server), bound.socket, Arc::new(quinn::TokioRuntime));
            let endpoint = endpoint.expect("an endpoint");
            runtime.spawn(async move {
                while let Some(incoming) = endpoint.accept().await {
                    tokio::spawn(echo(incoming));
                }
            });
            bound.address
        };
        Self { address, client, runtime }
    }
}

async fn echo(incoming: quinn::Incoming) {
    let Ok(connection) = incoming.await else { return };
    let Ok((mut send, mut recv)) = connection.accept_bi().await else { return };
    let (mut unfinished, response) = (0, [0; RESPONSE]);
    while let Ok(Some(chunk)) = recv.read_chunk(16 * 1024, true).await {
        unfinished += chunk.bytes.len();
        let responses = vec![response; unfinished / REQUEST].concat();
        unfinished %= REQUEST;
        if send.write_all(&responses).await.is_err() {
            return;
        }
    }
}

struct BareTalk {
    send: quinn::SendStream,
    recv: quinn::RecvStream,
    unfinished: usize,
}

impl Service for Bare {
    type Talk = BareTalk;

    async fn connect(&self, _number: usize, endpoint: Endpoint) -> BareTalk {
        let connecting = endpoint.connect_with(self.client.clone(), self.address, "bitcraps").expect("a connection");
        let (mut send, mut recv) = connecting.await.expect("a handshake").open_bi().await.expect("a stream");
        // As ours does: connected is who had an answer.
        send.write_all(&[0; REQUEST]).await.expect("sent");
        recv.read_exact(&mut [0; RESPONSE]).await.expect("a response");
        BareTalk { send, recv, unfinished: 0 }
    }

    async fn ask(talk: &mut BareTalk, _number: u64) {
        talk.send.write_all(&[0; REQUEST]).await.expect("sent");
    }

    async fn hear(talk: &mut BareTalk) -> usize {
        let chunk = talk.recv.read_chunk(16 * 1024, true).await.expect("a response").expect("the stream goes on");
        talk.unfinished += chunk.bytes.len();
        let responses = talk.unfinished / RESPONSE;
        talk.unfinished %= RESPONSE;
        responses
    }

    fn end(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
