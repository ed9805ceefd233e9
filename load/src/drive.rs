//! Driving: connects the users, sends what is due when it is due, and hears what comes back.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use engine::io::Watched;
use engine::message::intent::Intent;
use net::client::fleet::{Fleet, FleetClient};
use net::client::{ClientConfig, Command, Event, IDLE, Lost};

use super::scenario::Load;
use super::schedule::{self, Heard, lock};
use super::signing::SignedAhead;
use super::users::{FIRST_BET, User, Users};
use keys::identity;

/// Silence after which a user whose node is one of several goes on at another.
const LOST_AFTER: Duration = Duration::from_secs(2);
/// What the system is asked for, for the clients' socket.
const SOCKET_BYTES: usize = 8 << 20;

/// The connected users of a run.
pub struct Driver {
    fleet: Fleet,
    users: Arc<Users>,
    heard: Arc<Heard>,
    /// How long it took until all users were connected.
    pub connected_in: Duration,
}

impl Driver {
    /// Connects every user.
    ///
    /// # Errors
    /// If they are not all connected in time.
    pub fn connect(load: &Load, nodes: &[SocketAddr], users: Users) -> anyhow::Result<Self> {
        let address = *nodes.first().context("there is no node to connect to")?;
        let local: SocketAddr =
            if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { (std::net::Ipv6Addr::UNSPECIFIED, 0).into() };
        let users = Arc::new(users);
        let heard = Arc::new(Heard::new(users.list().len(), schedule::slots(load)));
        let began = Instant::now();
        let client = |(number, user): (usize, &User)| -> anyhow::Result<FleetClient> {
            let config = ClientConfig {
                address: nodes[number % nodes.len()].to_string(),
                others: (1..nodes.len()).map(|more| (nodes[(number + more) % nodes.len()].to_string(), None)).collect(),
                node: None,
                chain: None,
                program: concat!("bitcraps load ", env!("CARGO_PKG_VERSION")).into(),
                reconnect: true,
            };
            let lost_after = if nodes.len() > 1 { LOST_AFTER } else { IDLE };
            Ok(FleetClient { config, identity: identity(&user.net)?, lost_after })
        };
        let clients = users.list().iter().enumerate().map(client).collect::<anyhow::Result<Vec<FleetClient>>>()?;
        let hears = Arc::clone(&heard);
        let mut start = None;
        let hear = move |number, event: Result<Event, Lost>| match event {
            // The clock starts anew once, after the preparation.
            Ok(Event::Answer(answer)) if answer.id.number >= FIRST_BET => {
                let start = *start.get_or_insert_with(|| *lock(&hears.start));
                hears.answered(number, start, &answer);
            }
            Ok(event) => hears.hear(number, began, event),
            Err(lost) => hears.fail(format!("user {number} lost its connection for good: {lost}")),
        };
        let fleet = Fleet::start(local, SOCKET_BYTES, clients, hear)?;
        let mut driver = Self { fleet, users, heard, connected_in: Duration::ZERO };
        let count = driver.users.list().len() as u64;
        driver.heard.wait("connect", count, |heard| heard.connections().users)?;
        driver.connected_in = began.elapsed();
        driver.prepare(load)?;
        Ok(driver)
    }

    /// Opens every account and takes every seat.
    fn prepare(&self, load: &Load) -> anyhow::Result<()> {
        let count = self.users.list().len();
        let each = |intent: &dyn Fn(usize) -> Intent| -> anyhow::Result<()> {
            let told = (0..count).all(|user| self.fleet.tell(user, Command::Send(vec![intent(user)])));
            if told { Ok(()) } else { bail!("the clients have stopped") }
        };
        let count = count as u64;
        each(&|user| self.users.open(user))?;
        self.heard.wait("open an account", count, |heard| heard.prepared.load(Ordering::Relaxed))?;
        each(&|user| self.users.sit(user))?;
        self.heard.wait("sit down", 2 * count, |heard| heard.prepared.load(Ordering::Relaxed))?;
        for (number, user) in self.users.list().iter().enumerate().take(load.watchers as usize) {
            let _ = self.fleet.tell(number, Command::Watch(Watched::Table(user.table), true));
        }
        Ok(())
    }

    /// What was heard.
    pub fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Sends every intent when it is due; `on_progress` is called about ten times a second. Gives after how long that or `stop` ended
    /// it, where that was before the last intent.
    ///
    /// # Errors
    /// If the signing thread stopped.
    pub fn run(
        &self,
        load: &Load,
        signed: SignedAhead,
        stop: &AtomicBool,
        on_progress: impl FnMut(Duration, &Heard) -> ControlFlow<()>,
    ) -> anyhow::Result<Option<Duration>> {
        let users = self.users.list().len() as u64;
        let mut churned = 0;
        let send = |now: Duration, due: Option<(usize, Intent)>| {
            if let Some((user, intent)) = due
                && !self.fleet.try_tell(user, Command::Send(vec![intent]))
            {
                // Clients so far behind that their queue is full: the intent was offered all the same, and is lost.
                self.heard.unsent.fetch_add(1, Ordering::Relaxed);
            }
            while churned < (load.churn * now.as_secs_f64()) as u64 {
                let _ = self.fleet.try_tell((u64::wrapping_mul(churned, 7_919) % users) as usize, Command::Reconnect);
                churned += 1;
                lock(&self.heard.connections).counted.asked = churned;
            }
        };
        schedule::run(load, &self.users, signed, &self.heard, stop, send, on_progress)
    }

    /// Closes every connection, and gives what was heard.
    pub fn close(self) -> Arc<Heard> {
        self.fleet.close();
        self.heard
    }
}
