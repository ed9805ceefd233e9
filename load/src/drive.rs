//! Driving: connects the users, sends what is due when it is due, and hears what comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use engine::io::Watched;
use engine::limits::LOAD_COMMANDS_MAX;
use engine::message::intent::Intent;
use net::client::{Client, ClientConfig, Command, Endpoint, Event, Lost, socket};
use tokio::runtime::Runtime;
use tokio::sync::mpsc;

use super::scenario::Load;
use super::schedule::{self, Heard, lock};
use super::signing::SignedAhead;
use super::users::{FIRST_BET, Users};
use keys::identity;

/// Intents of one user that can be told apart while they are under way: as many as come at ten a second until the first of them
/// expires, and half as many again. An answer to an older one would not be counted, and the intent be called lost.
const SLOTS: usize = 512;
/// Silence after which a user whose node is one of several goes on at another.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// UDP sockets that the clients share.
const SOCKETS: usize = 4;
/// What the system is asked for, for each socket.
const SOCKET_BYTES: usize = 8 << 20;

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
    pub fn connect(load: &Load, nodes: &[SocketAddr], users: Users) -> anyhow::Result<Self> {
        let address = *nodes.first().context("a node")?;
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
        let heard = Arc::new(Heard::new(users.list().len(), SLOTS));
        let began = Instant::now();
        let mut clients = Vec::with_capacity(users.list().len());
        for (number, user) in users.list().iter().enumerate() {
            let config = ClientConfig {
                address: nodes[number % nodes.len()].to_string(),
                others: (1..nodes.len()).map(|more| (nodes[(number + more) % nodes.len()].to_string(), None)).collect(),
                node: None,
                chain: None,
                program: concat!("bitcraps load ", env!("CARGO_PKG_VERSION")).into(),
                reconnect: true,
            };
            let client = Client::new(config, endpoints[number % SOCKETS].clone(), &identity(&user.net)?)?;
            let client = if nodes.len() > 1 { client.lost_after(LOST_AFTER) } else { client };
            let (commands, commands_in) = mpsc::channel(LOAD_COMMANDS_MAX);
            clients.push(commands);
            let hear = Arc::clone(&heard);
            runtime.spawn(async move {
                let mut start = None;
                let ended: Result<(), Lost> = client
                    .run(commands_in, |event| {
                        // The clock starts anew once, after the preparation.
                        if matches!(&event, Event::Answer(answer) if answer.id.number >= FIRST_BET) {
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
        let mut driver = Self { runtime, endpoints, clients, users, heard, address, connected_in: Duration::ZERO };
        let count = driver.clients.len() as u64;
        driver.heard.wait("connect", count, |heard| heard.up.load(Ordering::Relaxed))?;
        driver.connected_in = began.elapsed();
        driver.prepare(load)?;
        Ok(driver)
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
        self.heard.wait("open an account", count, |heard| heard.prepared.load(Ordering::Relaxed))?;
        each(&|user| self.users.sit(user))?;
        self.heard.wait("sit down", 2 * count, |heard| heard.prepared.load(Ordering::Relaxed))?;
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

    /// Sends every intent when it is due; `on_progress` is called about ten times a second.
    ///
    /// # Errors
    /// If the signing thread stopped.
    pub fn run(
        &self,
        load: &Load,
        signed: SignedAhead,
        stop: &AtomicBool,
        on_progress: impl FnMut(Duration, &Heard),
    ) -> anyhow::Result<()> {
        let users = self.clients.len() as u64;
        let mut churned = 0;
        let send = |now: Duration, due: Option<(usize, Intent)>| {
            if let Some((user, intent)) = due
                && self.clients[user].try_send(Command::Send(vec![intent])).is_err()
            {
                // A client so far behind that its queue is full: the intent was offered all the same, and is lost.
                self.heard.unsent.fetch_add(1, Ordering::Relaxed);
            }
            while churned < (load.churn * now.as_secs_f64()) as u64 {
                let _ = self.clients[(u64::wrapping_mul(churned, 7_919) % users) as usize].try_send(Command::Reconnect);
                churned += 1;
            }
        };
        schedule::run(load, &self.users, signed, &self.heard, stop, send, on_progress)
    }

    /// Closes every connection, and gives what was heard.
    pub fn close(self) -> Arc<Heard> {
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
        self.heard
    }
}
