//! The monitor: a thread beside the node that takes a reading every second, and one that answers HTTP. They are two so that each is
//! watched by the other. A third asks the disk for its room: one that hangs holds up that thread alone, and alerts tell so.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use node::startup::PhaseTimes;
use node::threads::WatchedThread;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::http::{BOUNDS, routes, serve};
use crate::reading::Sources;
use crate::service::Watchdog;
use crate::starting::Starting;
use crate::watching::{MonitorConfig, Shared};

/// How often it is looked which threads have moved: several times in the shortest period of a thread.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How often the two threads of the monitor turn, at least.
const OWN_PERIOD: Duration = Duration::from_secs(1);
/// How often the disk is looked at, and how long that may take: the files of a large session are added up on a slow disk.
const DISK_EVERY: Duration = Duration::from_secs(1);
const DISK_PERIOD: Duration = Duration::from_secs(15);
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
    /// Its threads, each with what ends it when it is dropped.
    looks: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
    /// Ends the thread that looks at the disk, which is not waited for: it may hang.
    asks_disk: Option<mpsc::Sender<()>>,
    answers: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Monitor {
    /// Watches a node from now on, on a thread of its own; answers on another where it listens.
    ///
    /// # Errors
    /// If the system refuses a thread.
    pub fn start(
        listening: Option<Listening>,
        config: MonitorConfig,
        mut sources: Sources,
    ) -> Result<Self, MonitorError> {
        let address = listening.as_ref().map(Listening::address);
        let [looked, asked, answered] = std::array::from_fn(|_| Arc::new(AtomicU64::new(0)));
        sources.threads.push(WatchedThread::new("monitor", OWN_PERIOD, Arc::clone(&looked)));
        sources.threads.push(WatchedThread::new("disk", DISK_PERIOD, Arc::clone(&asked)));
        if listening.is_some() {
            sources.threads.push(WatchedThread::new("dashboard", OWN_PERIOD, Arc::clone(&answered)));
        }
        let shared = Arc::new(Shared::new(config, sources).map_err(MonitorError::Thread)?);
        let mut monitor = Self { address, shared, looks: None, asks_disk: None, answers: None };
        let shared = Arc::clone(&monitor.shared);
        let (stop, stopped) = mpsc::channel();
        monitor.asks_disk = Some(stop);
        drop(spawn("disk", move || look_at_disk(&shared, &asked, &stopped))?);
        let shared = Arc::clone(&monitor.shared);
        let (stop, stopped) = mpsc::channel();
        monitor.looks = Some((stop, spawn("monitor", move || look(&shared, &looked, &stopped))?));
        if let Some(listening) = listening {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(MonitorError::Thread)?;
            let shared = Arc::clone(&monitor.shared);
            let (stop, stopped) = oneshot::channel();
            let run = move || {
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = beat(&answered) => {}
                        () = answer(&shared, listening) => {}
                    }
                });
                runtime.shutdown_background();
            };
            monitor.answers = Some((stop, spawn("dashboard", run)?));
        }
        Ok(monitor)
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
        // One that panicked has said so, and the node does not end for it.
        if let Some((stop, thread)) = self.answers.take() {
            drop(stop);
            let _ = thread.join();
        }
        if let Some((stop, thread)) = self.looks.take() {
            drop(stop);
            let _ = thread.join();
        }
        drop(self.asks_disk.take());
        self.shared.end();
    }
}

/// Alerts that wait to be told although nobody watches any more.
pub struct LastAlerts(Arc<Shared>);

impl LastAlerts {
    /// The node has ended as it was asked to: whoever was told that an alert is on hears that it is over.
    pub fn tell_over(&self) {
        self.0.tell_over();
    }
}

impl Drop for LastAlerts {
    fn drop(&mut self) {
        self.0.end_telling();
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, MonitorError> {
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(MonitorError::Thread)
}

/// Answers for as long as it can. Where it cannot, the node is watched all the same.
async fn answer(shared: &Arc<Shared>, listening: Listening) {
    match tokio::net::TcpListener::from_std(listening.listener) {
        Ok(listener) => serve(listener, routes(Arc::clone(shared)), BOUNDS).await,
        Err(error) => tracing::error!("the dashboard is not served: {error}"),
    }
    std::future::pending::<()>().await;
}

/// Shows that the thread moves that answers.
async fn beat(turns: &AtomicU64) {
    let mut every = tokio::time::interval(LOOK_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
    loop {
        every.tick().await;
        turns.fetch_add(1, Ordering::Relaxed);
    }
}

/// Looks at the disk until it is stopped.
fn look_at_disk(shared: &Shared, turns: &AtomicU64, stopped: &mpsc::Receiver<()>) {
    while stopped.recv_timeout(DISK_EVERY) == Err(RecvTimeoutError::Timeout) {
        turns.fetch_add(1, Ordering::Relaxed);
        shared.look_at_disk();
    }
}

/// Looks at threads, takes a reading every second, and says now and then how the node is, until it is stopped.
fn look(shared: &Shared, turns: &AtomicU64, stopped: &mpsc::Receiver<()>) {
    let (mut watchdog, mut due) = (Watchdog::asked_for(), Instant::now());
    for count in 1_u32.. {
        let wait = due.saturating_duration_since(Instant::now());
        if stopped.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
            return;
        }
        // Looks that were missed are not made up for.
        due = (due + LOOK_EVERY).max(Instant::now());
        turns.fetch_add(1, Ordering::Relaxed);
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
