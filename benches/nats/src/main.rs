//! Many connections to a JetStream server, each of which publishes at a steady pace and waits for the acknowledgement of one
//! message before it sends the next; what came of them, and what they cost the server, as one JSON object. A message's time counts
//! from when it was due, as that of an intent does in `load`: one that waits behind another has waited.
//!
//!     nats-load ADDRESS PID CONNECTIONS RATE WARM_S COUNTED_S
//!
//! PID is the server's process on this machine. The messages of the first WARM_S seconds are sent and not counted.

use std::error::Error;
use std::fs;
use std::time::Duration;

use async_nats::ConnectOptions;
use async_nats::jetstream::context::ContextBuilder;
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, Context};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

type Failure = Box<dyn Error + Send + Sync>;

const SUBJECT: &str = "bets";
/// As many as a signed intent has.
const MESSAGE_BYTES: usize = 128;
/// Between the last connection and the first message.
const CALM: Duration = Duration::from_millis(200);
/// An acknowledgement that has not come by then is none.
const PATIENCE: Duration = Duration::from_secs(30);
const CONNECTIONS_MAX: u32 = 10_000;
const RATE_MAX: u32 = 1_000_000;
const SECONDS_MAX: u32 = 3_600;

struct Plan {
    address: String,
    server: u32,
    connections: u32,
    /// Messages a second of all connections together.
    rate: u32,
    warm: Duration,
    counted: Duration,
}

impl Plan {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let mut next = |what: &str| arguments.next().ok_or(format!("{what} is missing"));
        let address = next("ADDRESS")?;
        let mut number = |what: &str, most: u32| -> Result<u32, Failure> {
            let found: u32 = next(what)?.parse().map_err(|_| format!("{what} is no number"))?;
            match (1..=most).contains(&found) {
                true => Ok(found),
                false => Err(format!("{what} is {found}, and may be 1 to {most}").into()),
            }
        };
        Ok(Self {
            address,
            server: number("PID", u32::MAX)?,
            connections: number("CONNECTIONS", CONNECTIONS_MAX)?,
            rate: number("RATE", RATE_MAX)?,
            warm: Duration::from_secs(number("WARM_S", SECONDS_MAX)?.into()),
            counted: Duration::from_secs(number("COUNTED_S", SECONDS_MAX)?.into()),
        })
    }

    /// Between two messages of one connection.
    fn pace(&self) -> Duration {
        Duration::from_secs(1) * self.connections / self.rate
    }
}

/// What came of one connection in the counted part, or of all.
#[derive(Default)]
struct Heard {
    sent: u64,
    failed: u64,
    /// Those whose acknowledgement came in the counted part.
    acknowledged: u64,
    /// From when a message was due in the counted part to its acknowledgement, or to the end where that did not come before.
    took: Vec<Duration>,
}

impl Heard {
    fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.failed += other.failed;
        self.acknowledged += other.acknowledged;
        self.took.extend(other.took);
    }

    fn ms(&self, percent: usize) -> f64 {
        let at = self.took.len().saturating_sub(1) * percent / 100;
        self.took.get(at).map_or(0.0, Duration::as_secs_f64) * 1e3
    }
}

fn main() -> Result<(), Failure> {
    let plan = Plan::read(std::env::args().skip(1))?;
    // One thread beside the server, as the benches of the network have.
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(1).enable_all().build()?.block_on(measure(&plan))
}

async fn measure(plan: &Plan) -> Result<(), Failure> {
    let mut contexts = Vec::new();
    for _ in 0..plan.connections {
        // Buffers for an acknowledgement, not for a stream of messages: a thousand clients are one process here.
        let options = ConnectOptions::new().client_capacity(4).read_buffer_capacity(1_024);
        let client = options.connect(&plan.address).await?;
        contexts.push(ContextBuilder::new().timeout(PATIENCE).build(client));
    }
    let first = contexts.first().ok_or("there is no connection")?;
    let subjects = vec![SUBJECT.to_owned()];
    let stream = Config { name: SUBJECT.to_owned(), subjects, storage: StorageType::File, ..Config::default() };
    first.create_stream(stream).await?;

    let began = Instant::now() + CALM;
    let (from, until) = (began + plan.warm, began + plan.warm + plan.counted);
    let mut tasks = JoinSet::new();
    for (number, context) in (0_u32..).zip(contexts) {
        // Spread over the pace, as those who do not know of each other are.
        let beats = Beats { next: began + plan.pace() * number / plan.connections, pace: plan.pace() };
        tasks.spawn(publish(async move || acknowledged(&context).await, beats, from, until));
    }
    let server = plan.server.to_string();
    sleep_until(from).await;
    let (server_before, own_before) = (ticks(&server)?, ticks("self")?);
    sleep_until(until).await;
    let (server_ticks, own_ticks) = (ticks(&server)? - server_before, ticks("self")? - own_before);

    let mut all = Heard::default();
    while let Some(heard) = tasks.join_next().await {
        all.add(heard?);
    }
    all.took.sort_unstable();
    let due = u128::from(plan.rate) * plan.counted.as_millis() / 1_000;
    println!(
        "{{\"due\":{due},\"sent\":{},\"acknowledged\":{},\"failed\":{},\"p50_ms\":{:.3},\"p95_ms\":{:.3},\"p99_ms\":{:.3},\
         \"server_ticks\":{server_ticks},\"own_ticks\":{own_ticks}}}",
        all.sent,
        all.acknowledged,
        all.failed,
        all.ms(50),
        all.ms(95),
        all.ms(99),
    );
    Ok(())
}

/// When a connection sends.
struct Beats {
    next: Instant,
    pace: Duration,
}

impl Beats {
    fn skip_to(&mut self, from: Instant) {
        while self.next < from {
            self.next += self.pace;
        }
    }
}

/// Publishes at each beat until the end. Where an acknowledgement comes after the next beat, that one is sent at once, so that
/// what is due does not become less by slowness; only what the first seconds left undone is not made up for in those that count.
async fn publish<E>(
    mut acknowledge: impl AsyncFnMut() -> Result<(), E>,
    mut beats: Beats,
    from: Instant,
    until: Instant,
) -> Heard {
    let mut heard = Heard::default();
    while beats.next < until {
        if Instant::now() >= from {
            beats.skip_to(from);
        }
        let due = beats.next;
        sleep_until(due).await;
        let sent = Instant::now();
        if sent >= until {
            break;
        }
        heard.sent += u64::from(sent >= from);
        match timeout_at(until, acknowledge()).await {
            Ok(Ok(())) => {
                heard.acknowledged += u64::from(Instant::now() >= from);
                heard.took.extend((due >= from).then(|| due.elapsed()));
            }
            Ok(Err(_)) => heard.failed += 1,
            // It is under way, and the counted part is over.
            Err(_) => break,
        }
        beats.next += beats.pace;
    }
    // What is under way, and what was due and waits behind that, has waited until now at least.
    while beats.next < until {
        heard.took.extend((beats.next >= from).then(|| until - beats.next));
        beats.next += beats.pace;
    }
    heard
}

async fn acknowledged(context: &Context) -> Result<(), jetstream::context::PublishError> {
    context.publish(SUBJECT, vec![7; MESSAGE_BYTES].into()).await?.await?;
    Ok(())
}

/// Processor time that a process has had, in the system's ticks.
fn ticks(pid: &str) -> Result<u64, Failure> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| format!("process {pid}: {error}"))?;
    // The name stands in parentheses and may hold anything; the fields after it begin with the third.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let [user, system] = [11, 12].map(|at| fields.get(at).and_then(|field| field.parse::<u64>().ok()));
    Ok(user.ok_or("no user time")? + system.ok_or("no system time")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_waited_since_it_was_due() -> Result<(), Failure> {
        const PACE: Duration = Duration::from_millis(20);
        // Twenty are due, and a server that takes three paces for each acknowledges six of them at most.
        let slow = async || -> Result<(), Failure> {
            tokio::time::sleep(PACE * 3).await;
            Ok(())
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let mut heard = runtime.block_on(async {
            let began = Instant::now();
            publish(slow, Beats { next: began, pace: PACE }, began, began + PACE * 20).await
        });
        heard.took.sort_unstable();
        assert!((1..=6).contains(&heard.acknowledged), "{}", heard.acknowledged);
        assert_eq!(heard.took.len(), 20, "all that was due has waited");
        // The one in the middle has waited for seven paces, of which its own publish is three at most.
        assert!(heard.ms(50) > 100.0 && heard.ms(100) < 400.0, "{:?}", heard.took);
        Ok(())
    }
}
