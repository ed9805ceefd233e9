//! A fleet: many clients by one owner, for loads. Each is a client like any, with its own key and connection.
//!
//! ```text
//!  turn: receive -> expire -> take orders -> dial -> serve -> send
//! ```
//! A client of its own ([`super::Client`]) has a task, a queue and wake-ups, which cost more than what it says: a program that
//! simulates a thousand would measure itself. Here they are rows, as a node's connections are to the node.

mod row;
mod owner;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use crossbeam_channel::Sender;
use engine::limits::FLEET_ORDERS_MAX;
use tokio::sync::Notify;

use self::owner::Owner;
pub use self::row::{FleetClient, FleetError};
use super::event::{Command, Event};
use super::lost::Lost;
use crate::quic::drive::{Rest, drive};
use crate::transport::{Carrier, bind};

/// Many clients, while they run.
pub struct Fleet {
    orders: Sender<(usize, Command)>,
    wake: Arc<Notify>,
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Fleet {
    /// Starts the clients, on a thread of their own and over one socket that is bound at `local`. `hear` is called there for every
    /// event of each, by its place in `clients`, in order; [`Lost`] where a client is not there any more.
    ///
    /// # Errors
    /// If the socket or the thread cannot be had, or a key or an address cannot be used.
    pub fn start(
        local: SocketAddr,
        buffer_bytes: usize,
        clients: Vec<FleetClient>,
        hear: impl FnMut(usize, Result<Event, Lost>) + Send + 'static,
    ) -> Result<Self, FleetError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut fleet, owner) = {
            // The socket belongs to the runtime that waits for it.
            let _inside = runtime.enter();
            Self::with_owner(Carrier::Udp(bind(local, buffer_bytes)?.socket), clients, hear)?
        };
        let woken = Arc::clone(&fleet.wake);
        let turns = move || runtime.block_on(drive(owner, woken, Rest::Asleep));
        fleet.thread = Some(std::thread::Builder::new().name("clients".into()).spawn(turns)?);
        Ok(fleet)
    }

    /// Starts a fleet over what carries packets, inside the caller's runtime.
    ///
    /// # Errors
    /// If a key or an address cannot be used.
    pub fn on(
        carrier: Carrier,
        clients: Vec<FleetClient>,
        hear: impl FnMut(usize, Result<Event, Lost>) + Send + 'static,
    ) -> Result<Self, FleetError> {
        let (fleet, owner) = Self::with_owner(carrier, clients, hear)?;
        tokio::spawn(drive(owner, Arc::clone(&fleet.wake), Rest::Awaited));
        Ok(fleet)
    }

    fn with_owner(
        carrier: Carrier,
        clients: Vec<FleetClient>,
        hear: impl FnMut(usize, Result<Event, Lost>) + Send + 'static,
    ) -> Result<(Self, Owner), FleetError> {
        let (orders, orders_in) = crossbeam_channel::bounded(FLEET_ORDERS_MAX);
        let (wake, ends): (Arc<Notify>, Arc<AtomicBool>) = Default::default();
        let owner = Owner::new(carrier, &clients, orders_in, Arc::clone(&ends), Box::new(hear))?;
        Ok((Self { orders, wake, ends, thread: None }, owner))
    }

    /// Tells a client something; waits while too much is told, so that it must not be called where `hear` is. Says whether the
    /// clients still run. Intents and what is watched are kept for the next connection; anything else is dropped where there
    /// is none.
    pub fn tell(&self, client: usize, command: Command) -> bool {
        let told = self.orders.send((client, command)).is_ok();
        self.wake.notify_one();
        told
    }

    /// Tells a client something without waiting. Says whether there was room for it.
    pub fn try_tell(&self, client: usize, command: Command) -> bool {
        let told = self.orders.try_send((client, command)).is_ok();
        self.wake.notify_one();
        told
    }

    /// Ends every connection, and waits a moment until the nodes have heard it, unless the runtime is the caller's.
    pub fn close(self) {
        drop(self);
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // One that panicked has told so on its own thread.
            let _ = thread.join();
        }
    }
}
