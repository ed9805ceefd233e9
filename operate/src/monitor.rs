//! The monitor: a thread beside the node that takes a reading every second and answers HTTP.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use node::startup::PhaseTimes;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::http::{BOUNDS, routes, serve};
use crate::reading::Sources;
use crate::service::Watchdog;
use crate::starting::Starting;
use crate::watching::{MonitorConfig, Shared};

/// How often it is looked which threads have moved: several times in the shortest period of a thread.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Looks for each reading.
const LOOKS_PER_READING: u32 = 4;
/// Looks for each line of status in the log: 25 s.
const LOOKS_PER_STATUS: u32 = 100;

/// Why a monitor does not start.
#[derive(Error, Debug)]
pub enum MonitorError {
    /// The address cannot be had.
    #[error("cannot serve the dashboard on {address}: {error}; `monitoring.listen` names another address, or \"off\"")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The system refuses a thread.
    #[error("cannot start the monitor's thread: {0}")]
    Thread(io::Error),
}

/// An address that is taken, so that a node that cannot have it says so before it touches its session.
pub struct Listening {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listening {
    /// Takes an address.
    ///
    /// # Errors
    /// If it cannot be had.
    pub fn at(address: SocketAddr) -> Result<Self, MonitorError> {
        let bound = TcpListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            Ok(Self { listener, address })
        });
        bound.map_err(|error| MonitorError::Bind { address, error })
    }

    /// Answers there that the node starts, until what this gives is dropped.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn while_starting(&self) -> io::Result<Starting> {
        Starting::at(self.listener.try_clone()?)
    }

    /// The address, with the port that the system gave.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A monitor, while it runs.
pub struct Monitor {
    /// Where it listens, if it does.
    pub address: Option<SocketAddr>,
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Monitor {
    /// Watches a node from now on, on a thread of its own; answers where it listens.
    ///
    /// # Errors
    /// If the system refuses the thread.
    pub fn start(listening: Option<Listening>, config: MonitorConfig, sources: Sources) -> Result<Self, MonitorError> {
        let address = listening.as_ref().map(Listening::address);
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(MonitorError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::new(Shared::new(config, sources).map_err(MonitorError::Thread)?);
        let watched = Arc::clone(&shared);
        let run = move || {
            let shared = watched;
            runtime.block_on(async {
                tokio::select! {
                    _ = stopped => {}
                    () = look(&shared) => {}
                    () = answer(&shared, listening) => {}
                }
            });
            runtime.shutdown_background();
        };
        let thread = std::thread::Builder::new().name("monitor".into()).spawn(run).map_err(MonitorError::Thread)?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// The node is ready: says how long its start took.
    pub fn started(&self, times: PhaseTimes) {
        self.shared.started(times);
    }

    /// The node has stopped by a fault: whoever is told of alerts hears it. `is_invariant` says that it broke an invariant.
    pub fn tell_stopped(&self, why: &str, is_invariant: bool) {
        self.shared.tell_stopped(why, is_invariant);
    }

    /// Watches no more, at once. What it gives is to be kept until the node has ended: dropped, it gives the alerts that wait
    /// a moment to be told.
    pub fn stop(self) -> LastAlerts {
        LastAlerts(Arc::clone(&self.shared))
    }

    /// What can be changed while it runs, by whom [`Changer::change`] is called.
    pub fn changer(&self) -> Changer {
        Changer(Arc::clone(&self.shared))
    }
}

/// Changes what a monitor is told.
#[derive(Clone)]
pub struct Changer(Arc<Shared>);

impl Changer {
    /// Takes another configuration, all but its title.
    ///
    /// # Errors
    /// If the system refuses a thread: then all stays as it was.
    pub fn change(&self, config: MonitorConfig) -> Result<(), MonitorError> {
        self.0.change(config).map_err(MonitorError::Thread)
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // One that panicked has said so, and the node does not end for it.
            let _ = thread.join();
        }
        self.shared.end();
    }
}

/// Alerts that wait to be told although nobody watches any more.
pub struct LastAlerts(Arc<Shared>);

impl Drop for LastAlerts {
    fn drop(&mut self) {
        self.0.end_telling();
    }
}

/// Answers for as long as it can. Where it cannot, the node is watched all the same.
async fn answer(shared: &Arc<Shared>, listening: Option<Listening>) {
    if let Some(Listening { listener, .. }) = listening {
        match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => serve(listener, routes(Arc::clone(shared)), BOUNDS).await,
            Err(error) => tracing::error!("the dashboard is not served: {error}"),
        }
    }
    std::future::pending::<()>().await;
}

/// Looks at threads, takes a reading every second, and says now and then how the node is.
async fn look(shared: &Shared) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    let mut watchdog = Watchdog::asked_for();
    for count in 1_u32.. {
        every.tick().await;
        shared.look();
        watchdog.look(Instant::now(), || shared.health().live);
        if count.is_multiple_of(LOOKS_PER_READING) {
            shared.take_reading();
            shared.give_back();
        }
        if count.is_multiple_of(LOOKS_PER_STATUS) {
            tracing::info!("{}", shared.status());
        }
    }
}
