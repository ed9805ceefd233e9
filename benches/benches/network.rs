//! The network: intents to and answers from a node's edge, and connections, against bare quinn in the same run, client and
//! server on the same cores. `answers` has as many as there can be; `paced` has ten a second on each connection, and says
//! what one of them costs the server.
//!
//! `cargo test` shrinks everything: then the figures mean nothing.

use std::io::{self, IoSliceMut};
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use benches::beside::{Beside, beside, criterion, group};
use benches::tiny;
use bytemuck::Zeroable;
use criterion::{Criterion, Throughput};
use engine::Height;
use engine::io::{ChainProgress, Input, Output, Receipt, Verdict};
use engine::message::intent::Intent;
use keys::identity;
use net::client::{Endpoint, RawConnection, socket};
use net::server::{ChainInfo, Server, ServerConfig};
use net::transport::{Carrier, bind};
use net::wire::{AnswerVerdict, Hello, Role, ToClient, ToNode};
use order::signature::NetKey;
use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, Runtime as _, TokioRuntime, UdpPoller};
use tokio::runtime::Runtime;

/// Requests of one connection that are under way.
const UNDER_WAY: usize = 8;
/// Bytes of a request and of its response: an intent's message and an answer's.
const REQUEST: usize = 8 + 128;
const RESPONSE: usize = 8 + 64;
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
const SOCKET_BYTES: usize = 8 << 20;
/// The threads of a server that is measured, whose names begin so.
const SERVER: &str = "server";
/// Between two requests of one connection, where they are paced.
const PACE: Duration = Duration::from_millis(100);

struct Size {
    connections: usize,
    requests: usize,
    /// The same where they are paced, after a tenth as many that are not counted.
    paced: usize,
}

fn main() {
    let size = match tiny() {
        true => Size { connections: 4, requests: 20, paced: 3 },
        false => Size { connections: 1_000, requests: 200, paced: 50 },
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
    paced(&mut criterion, &size);
    criterion.final_summary();
}

/// The server's processor time for messages at a steady pace, ours and bare quinn's in turn.
fn paced(criterion: &mut Criterion, size: &Size) {
    let mut group =
        group(criterion, "network/paced".into(), Throughput::Elements((size.connections * size.paced) as u64));
    let name = format!("connections={}", size.connections);
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let priced = |prices: &mut Vec<Price>, price: Price| {
        let cpu = price.cpu;
        prices.push(price);
        cpu
    };
    let taken: Beside = beside(
        &mut group,
        &name,
        || priced(&mut ours, Price::of(size, Ours::start(size))),
        || priced(&mut bare, Price::of(size, Bare::start())),
    );
    taken.print(&format!("network/paced/{name}: processor time of the server"), "bare quinn");
    for (whose, prices) in [("ours", &ours), ("bare quinn", &bare)] {
        let middle = |pick: fn(&Price) -> f64| {
            let mut figures: Vec<f64> = prices.iter().map(pick).collect();
            figures.sort_by(f64::total_cmp);
            figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
        };
        println!(
            "network/paced/{name}/{whose}: {:.1} us a message, {:.2} packets in, {:.2} out, {:.2} calls of the socket; \
             answered P50 {:.1}, P95 {:.1} ms",
            middle(|price| price.cpu_us),
            middle(|price| price.packets_in),
            middle(|price| price.packets_out),
            middle(|price| price.calls),
            middle(|price| price.p50_ms),
            middle(|price| price.p95_ms),
        );
    }
    group.finish();
}

/// What each message cost a server, and how long it took.
struct Price {
    /// Of all messages.
    cpu: Duration,
    cpu_us: f64,
    packets_in: f64,
    packets_out: f64,
    calls: f64,
    p50_ms: f64,
    p95_ms: f64,
}

impl Price {
    fn of<S: Service>(size: &Size, service: S) -> Self {
        let runtime = runtime("client");
        let service = Arc::new(service);
        let price = runtime.block_on(async {
            let mut waiting: Vec<_> = connect_all(size.connections, &service).await.into_iter().map(Some).collect();
            // The first ones are not counted: windows open, timers settle.
            let unpaid = size.paced.div_ceil(10);
            let before = tokio::spawn({
                let service = Arc::clone(&service);
                async move {
                    tokio::time::sleep(PACE * unpaid as u32).await;
                    (cpu_s(), service.traffic().read())
                }
            });
            let began = tokio::time::Instant::now();
            let (count, paced) = (size.connections, size.paced);
            let talks = all(count, |number| {
                let talk = waiting[number].take().expect("each once");
                // Spread over the pace, as those who do not know of each other are.
                pace::<S>(talk, began + PACE * number as u32 / count as u32, unpaid, paced)
            })
            .await;
            let ((cpu, then), (cpu_now, now)) =
                (before.await.expect("it only waits"), (cpu_s(), service.traffic().read()));
            let (talks, took): (Vec<_>, Vec<_>) = talks.into_iter().unzip();
            drop(talks);
            let mut took: Vec<f64> = took.into_iter().flatten().collect();
            took.sort_by(f64::total_cmp);
            let messages = (count * paced) as f64;
            let each = |now: u64, then: u64| (now - then) as f64 / messages;
            Self {
                cpu: Duration::from_secs_f64(cpu_now - cpu),
                cpu_us: (cpu_now - cpu) * 1e6 / messages,
                packets_in: each(now[0], then[0]),
                packets_out: each(now[1], then[1]),
                calls: each(now[2], then[2]),
                p50_ms: took[took.len() / 2] * 1e3,
                p95_ms: took[took.len() * 95 / 100] * 1e3,
            }
        });
        runtime.shutdown_timeout(Duration::from_secs(2));
        Arc::into_inner(service).expect("every task has ended").end();
        price
    }
}

/// Sends a request at each beat and hears its response; the times that those took that count.
async fn pace<S: Service>(
    mut talk: S::Talk,
    from: tokio::time::Instant,
    unpaid: usize,
    paced: usize,
) -> (S::Talk, Vec<f64>) {
    let mut took = Vec::with_capacity(paced);
    for number in 0..unpaid + paced {
        tokio::time::sleep_until(from + PACE * number as u32).await;
        let sent = Instant::now();
        S::ask(&mut talk, number as u64).await;
        let mut heard = 0;
        while heard == 0 {
            heard += S::hear(&mut talk).await;
        }
        if number >= unpaid {
            took.push(sent.elapsed().as_secs_f64());
        }
    }
    (talk, took)
}

/// Processor time that the threads of the server have had, in seconds.
fn cpu_s() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let read = |file| std::fs::read_to_string(task.path().join(file)).ok();
        let is_servers = read("comm")?.starts_with(SERVER);
        is_servers.then(|| read("schedstat")?.split_whitespace().next()?.parse::<u64>().ok())?
    });
    nanos.sum::<u64>() as f64 / 1e9
}

/// A server's socket that counts.
#[derive(Debug)]
struct Counting {
    socket: Arc<dyn AsyncUdpSocket>,
    traffic: Arc<Traffic>,
}

/// Packets in and out, and calls of the socket that the system answered.
#[derive(Default, Debug)]
struct Traffic([AtomicU64; 3]);

impl Traffic {
    fn add(&self, which: usize, count: usize) {
        self.0[which].fetch_add(count as u64, Ordering::Relaxed);
    }

    fn read(&self) -> [u64; 3] {
        std::array::from_fn(|which| self.0[which].load(Ordering::Relaxed))
    }
}

impl Counting {
    /// A socket at a free port, inside the caller's runtime; where it is.
    fn bind(traffic: &Arc<Traffic>) -> (Arc<Self>, SocketAddr) {
        let bound = bind(LOCAL, SOCKET_BYTES).expect("a socket");
        let socket = TokioRuntime.wrap_udp_socket(bound.socket).expect("a socket of the runtime");
        (Arc::new(Self { socket, traffic: Arc::clone(traffic) }), bound.address)
    }
}

impl AsyncUdpSocket for Counting {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Arc::clone(&self.socket).create_io_poller()
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let packets = transmit.segment_size.map_or(1, |size| transmit.contents.len().div_ceil(size));
        self.traffic.add(1, packets);
        self.traffic.add(2, 1);
        self.socket.try_send(transmit)
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        metas: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let received = self.socket.poll_recv(cx, buffers, metas);
        if let Poll::Ready(Ok(count)) = &received {
            let packets = metas[..*count].iter().map(|meta| meta.len.div_ceil(meta.stride.max(1))).sum();
            self.traffic.add(0, packets);
            self.traffic.add(2, 1);
        }
        received
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    fn max_transmit_segments(&self) -> usize {
        self.socket.max_transmit_segments()
    }

    fn max_receive_segments(&self) -> usize {
        self.socket.max_receive_segments()
    }

    fn may_fragment(&self) -> bool {
        self.socket.may_fragment()
    }
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
    fn traffic(&self) -> &Traffic;
    fn end(self);
}

/// Connects clients over four sockets, all at the same time.
async fn connect_all<S: Service>(count: usize, service: &Arc<S>) -> Vec<S::Talk> {
    let endpoints: Vec<Endpoint> = (0..4).map(|_| socket(LOCAL, SOCKET_BYTES).expect("a socket")).collect();
    all(count, |number| {
        let (service, endpoint) = (Arc::clone(service), endpoints[number % endpoints.len()].clone());
        async move { service.connect(number, endpoint).await }
    })
    .await
}

impl Took {
    fn of<S: Service>(size: &Size, service: S) -> Self {
        let runtime = runtime("client");
        let service = Arc::new(service);
        let took = runtime.block_on(async {
            let began = Instant::now();
            let talks = connect_all(size.connections, &service).await;
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

fn runtime(name: &str) -> Runtime {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(1).thread_name(name).enable_all().build().expect("a runtime")
}

/// This project's edge: a session for each connection, and a thread in the place of the tick that answers everything.
struct Ours {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    tick: std::thread::JoinHandle<()>,
    traffic: Arc<Traffic>,
    runtime: Runtime,
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
        let (runtime, traffic) = (runtime(SERVER), Arc::default());
        let (mut server, address) = {
            let _inside = runtime.enter();
            let (socket, address) = Counting::bind(&traffic);
            (Server::on(Carrier::Other(socket), address, config, chain, key).expect("a server"), address)
        };
        server.publish(ChainProgress::default());
        let stop = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stop);
        let tick = std::thread::Builder::new().name(format!("{SERVER} tick"));
        let tick = tick.spawn(move || {
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

    fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.tick.join().expect("the tick does not panic");
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}

/// quinn alone: one stream a connection, a response for each request, no message is looked at.
struct Bare {
    address: SocketAddr,
    client: quinn::ClientConfig,
    traffic: Arc<Traffic>,
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
        let (runtime, traffic) = (runtime(SERVER), Arc::default());
        let address = {
            let _inside = runtime.enter();
            let (socket, address) = Counting::bind(&traffic);
            let (config, inside) = (quinn::EndpointConfig::default(), Arc::new(TokioRuntime));
            let endpoint = Endpoint::new_with_abstract_socket(config, Some(server), socket, inside);
            let endpoint = endpoint.expect("an endpoint");
            runtime.spawn(async move {
                while let Some(incoming) = endpoint.accept().await {
                    tokio::spawn(echo(incoming));
                }
            });
            address
        };
        Self { address, client, traffic, runtime }
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

    fn traffic(&self) -> &Traffic {
        &self.traffic
    }

    fn end(self) {
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
