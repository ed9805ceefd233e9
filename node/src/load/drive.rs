//! Driving: connects the users, sends what is due when it is due, and hears what comes back.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc as std_mpsc};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use engine::io::{Verdict, Watched};
use engine::message::intent::Intent;
use net::client::{Client, ClientConfig, Command, Endpoint, Event, Lost, socket};
use net::wire::AnswerVerdict;
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::recorder::Recorder;
use super::scenario::Load;
use super::users::{Due, FIRST_BET, Users};
use crate::network::identity;

/// Commands that may wait at one client.
const COMMANDS: usize = 64;
/// Intents that are signed before they are due.
const SIGNED_AHEAD: usize = 40_000;
/// Intents of one user that can be told apart while they are under way.
const SLOTS: usize = 128;
/// UDP sockets that the clients share.
const SOCKETS: usize = 4;
/// How long a part of the preparation may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// What the system is asked for, for each socket.
const SOCKET_BYTES: usize = 8 << 20;

/// What clients write and the driver reads.
pub struct Heard {
    /// Where time begins.
    start: Mutex<Instant>,
    recorder: Mutex<Recorder>,
    due: Due,
    up: AtomicU64,
    reconnects: AtomicU64,
    prepared: AtomicU64,
    updates: AtomicU64,
    problem: Mutex<Option<String>>,
}

/// A guard of a lock whose holder may have panicked: what it guards is counts.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Heard {
    fn new(users: usize) -> Self {
        Self {
            start: Mutex::new(Instant::now()),
            recorder: Mutex::default(),
            due: Due::new(users, SLOTS),
            up: AtomicU64::new(0),
            reconnects: AtomicU64::new(0),
            prepared: AtomicU64::new(0),
            updates: AtomicU64::new(0),
            problem: Mutex::default(),
        }
    }

    fn fail(&self, problem: String) {
        lock(&self.problem).get_or_insert(problem);
    }

    fn hear(&self, user: usize, start: Instant, event: Event) {
        match event {
            Event::Up { .. } => _ = self.up.fetch_add(1, Ordering::Relaxed),
            Event::Down { .. } => _ = self.reconnects.fetch_add(1, Ordering::Relaxed),
            Event::Table { .. } => _ = self.updates.fetch_add(1, Ordering::Relaxed),
            Event::Answer(answer) if answer.number < FIRST_BET => match answer.verdict {
                AnswerVerdict::Acknowledged => {}
                AnswerVerdict::Receipt { verdict: Verdict::Applied, .. } => {
                    self.prepared.fetch_add(1, Ordering::Relaxed);
                }
                AnswerVerdict::Receipt { verdict, .. } => {
                    self.fail(format!("user {user} cannot take part: {verdict:?}"));
                }
                AnswerVerdict::Shed(reason) => self.fail(format!("user {user} cannot take part: {}", reason.name())),
            },
            Event::Answer(answer) => {
                let now = start.elapsed();
                let due = Duration::from_micros(self.due.get(user, answer.number));
                lock(&self.recorder).answered(answer.verdict, due, now);
            }
            Event::Connecting { .. } | Event::Genesis(_) | Event::Account(_) => {}
        }
    }

    /// Looks at what was recorded so far.
    pub fn read<R>(&self, look: impl FnOnce(&Recorder) -> R) -> R {
        look(&lock(&self.recorder))
    }

    /// Connections that were lost and made again.
    pub fn reconnects(&self) -> u64 {
        self.reconnects.load(Ordering::Relaxed)
    }

    /// Updates of watched tables that arrived.
    pub fn updates(&self) -> u64 {
        self.updates.load(Ordering::Relaxed)
    }
}

/// The connected users of a run.
pub struct Driver {
    runtime: Runtime,
    endpoints: Vec<Endpoint>,
    clients: Vec<mpsc::Sender<Command>>,
    users: Arc<Users>,
    heard: Arc<Heard>,
    address: SocketAddr,
    /// How long it took until all users were connected.
    pub connected_in: Duration,
}



impl Driver {
    /// Connects every user.
    ///
    /// # Errors
    /// If they are not all connected in time.
    pub fn connect(load: &Load, address: SocketAddr, users: Users) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("clients")
            .enable_all()
            .build()
            .context("the clients' threads")?;
        let inside = runtime.enter();
        let local: SocketAddr =
            if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
        let endpoints: Vec<_> =
            (0..SOCKETS).map(|_| socket(local, SOCKET_BYTES)).collect::<Result<_, _>>().context("a UDP socket")?;
        let users = Arc::new(users);
        let heard = Arc::new(Heard::new(users.list().len()));
        let began = Instant::now();
        let mut clients = Vec::with_capacity(users.list().len());
        for (number, user) in users.list().iter().enumerate() {
            let config = ClientConfig {
                address: address.to_string(),
                node: None,
                chain: None,
                program: concat!("bitcraps load ", env!("CARGO_PKG_VERSION")).into(),
                reconnect: true,
            };
            let client = Client::new(config, endpoints[number % SOCKETS].clone(), &identity(&user.net)?)?;
            let (commands, commands_in) = mpsc::channel(COMMANDS);
            clients.push(commands);
            let hear = Arc::clone(&heard);
            runtime.spawn(async move {
                let mut start = None;
                let ended: Result<(), Lost> = client
                    .run(commands_in, |event| {
                        // The clock starts anew once, after the preparation.
                        if matches!(&event, Event::Answer(answer) if answer.number >= FIRST_BET) {
                            let start = *start.get_or_insert_with(|| *lock(&hear.start));
                            hear.hear(number, start, event);
                        } else {
                            hear.hear(number, began, event);
                        }
                    })
                    .await;
                if let Err(lost) = ended {
                    hear.fail(format!("user {number} lost its connection for good: {lost}"));
                }
            });
        }
        drop(inside);
        let mut driver =
            Self { runtime, endpoints, clients, users, heard, address, connected_in: Duration::ZERO };
        let count = driver.clients.len() as u64;
        driver.wait("connect", count, |heard| heard.up.load(Ordering::Relaxed))?;
        driver.connected_in = began.elapsed();
        driver.prepare(load)?;
        Ok(driver)
    }

    fn wait(&self, what: &str, count: u64, done: impl Fn(&Heard) -> u64) -> anyhow::Result<()> {
        let began = Instant::now();
        while done(&self.heard) < count {
            if let Some(problem) = lock(&self.heard.problem).take() {
                bail!("{problem}");
            }
            if began.elapsed() > PATIENCE {
                bail!("only {} of {count} users could {what} within {} s", done(&self.heard), PATIENCE.as_secs());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Opens every account and takes every seat.
    fn prepare(&self, load: &Load) -> anyhow::Result<()> {
        let count = self.clients.len() as u64;
        let each = |intent: &dyn Fn(usize) -> Intent| -> anyhow::Result<()> {
            for (user, client) in self.clients.iter().enumerate() {
                client.blocking_send(Command::Send(vec![intent(user)])).context("a client has stopped")?;
            }
            Ok(())
        };
        each(&|user| self.users.open(user))?;
        self.wait("open an account", count, |heard| heard.prepared.load(Ordering::Relaxed))?;
        each(&|user| self.users.sit(user))?;
        self.wait("sit down", 2 * count, |heard| heard.prepared.load(Ordering::Relaxed))?;
        for (user, client) in self.clients.iter().enumerate().take(load.watchers as usize) {
            let table = Watched::Table(self.users.list()[user].table);
            client.blocking_send(Command::Watch(table, true)).context("a client has stopped")?;
        }
        Ok(())
    }

    /// The runtime of the clients, and their sockets, for others who connect.
    pub fn others(&self) -> (&Runtime, &[Endpoint], SocketAddr) {
        (&self.runtime, &self.endpoints, self.address)
    }

    /// What was heard.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Sends every intent when it is due, while `look` is called about ten times a second with the time since the start.
    /// Returns early if `stop` is set.
    ///
    /// # Errors
    /// If a client stopped.
    pub fn run(&self, load: &Load, stop: &AtomicBool, mut look: impl FnMut(Duration, &Heard)) -> anyhow::Result<()> {
        let count = load.intents();
        let users = self.clients.len() as u64;
        let (signed_in, signed) = std_mpsc::sync_channel::<(u64, Intent)>(SIGNED_AHEAD.min((2.0 * load.rate) as usize + 64));
        let signer = Arc::clone(&self.users);
        // Ends with its receiver.
        let signing = std::thread::spawn(move || {
            for number in 0..count {
                let user = number % users;
                let intent = signer.bet(user as usize, FIRST_BET + number / users);
                if signed_in.send((user, intent)).is_err() {
                    return;
                }
            }
        });
        // A moment to sign ahead.
        std::thread::sleep(Duration::from_millis(500));
        let start = Instant::now();
        *lock(&self.heard.start) = start;
        let mut number = 0;
        let mut churned = 0;
        let mut looked = Duration::ZERO;
        while number < count && !stop.load(Ordering::Relaxed) {
            let now = start.elapsed();
            let first = number;
            while number < count && load.due(number) <= now {
                let due = load.due(number);
                let (user, intent) = signed.recv().context("the signing thread has stopped")?;
                self.heard.due.set(user as usize, intent.body.number, due.as_micros() as u64);
                // A client that is so far behind that its queue is full loses the intent: it is offered all the same.
                let _ = self.clients[user as usize].try_send(Command::Send(vec![intent]));
                number += 1;
            }
            if number > first {
                let mut recorder = lock(&self.heard.recorder);
                (first..number).for_each(|number| recorder.offered(load.due(number)));
            }
            while churned < (load.churn * now.as_secs_f64()) as u64 {
                let _ = self.clients[(churned.wrapping_mul(7_919) % users) as usize].try_send(Command::Reconnect);
                churned += 1;
            }
            if now >= looked {
                looked = now + Duration::from_millis(100);
                look(now, &self.heard);
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        drop(signed);
        signing.join().map_err(|_| anyhow::anyhow!("the signing thread panicked"))?;
        // What is under way may still arrive: as long as an intent may be applied.
        let asked = Instant::now();
        while self.heard.read(Recorder::unanswered) > 0 && asked.elapsed() < Duration::from_secs(35) {
            look(start.elapsed(), &self.heard);
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Closes every connection.
    pub fn close(self) {
        for client in &self.clients {
            let _ = client.try_send(Command::Close);
        }
        let endpoints = self.endpoints.clone();
        self.runtime.block_on(async {
            for endpoint in &endpoints {
                let _ = tokio::time::timeout(Duration::from_secs(2), endpoint.wait_idle()).await;
            }
        });
        self.runtime.shutdown_timeout(Duration::from_secs(1));
    }
}
