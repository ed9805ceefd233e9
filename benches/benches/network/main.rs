//! The network: intents to and answers from a node's edge, and connections, against bare quinn in the same run, client and
//! server on the same cores. `answers` has as many as there can be; `paced` has ten a second on each connection, and says
//! what one of them costs the server.
//!
//! `cargo test` shrinks everything: then the figures mean nothing.

mod bare;
mod counting;
mod ours;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use benches::beside::{Beside, beside, criterion, group};
use benches::tiny;
use criterion::{Criterion, Throughput};
use net::client::{Endpoint, socket};
use tokio::runtime::Runtime;

use bare::Bare;
use counting::Traffic;
use ours::Ours;

/// Requests of one connection that are under way.
const UNDER_WAY: usize = 8;
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
        let prices = taken.ours.counted(prices);
        let middle = |pick: fn(&Price) -> f64| {
            let mut figures: Vec<f64> = prices.iter().map(pick).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        // Another one was asked for by name.
        if prices.is_empty() {
            continue;
        }
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

/// Sends a request at each beat and hears its response; the times from the beat that those took that count: one that waits for
/// the response before it is late by that too.
async fn pace<S: Service>(
    mut talk: S::Talk,
    from: tokio::time::Instant,
    unpaid: usize,
    paced: usize,
) -> (S::Talk, Vec<f64>) {
    let mut took = Vec::with_capacity(paced);
    for number in 0..unpaid + paced {
        let due = from + PACE * number as u32;
        tokio::time::sleep_until(due).await;
        S::ask(&mut talk, number as u64).await;
        let mut heard = 0;
        while heard == 0 {
            heard += S::hear(&mut talk).await;
        }
        if number >= unpaid {
            took.push(due.elapsed().as_secs_f64());
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
