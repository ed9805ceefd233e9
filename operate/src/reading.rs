//! A reading: everything that is known of a node at one moment, and where it is read from.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use bytemuck::Zeroable;
use net::server::{Counters, Gauges, Server, ServerConfig, Throttle};
use node::readings::{Histogram, Readings, TickReadings};
use node::run::Node;
use node::startup::PhaseTimes;
use node::threads::WatchedThread;
use node::throttles::Throttles;

use crate::past::PastCommand;
use crate::process::{ControlGroup, EndedThreads, Machine, Pressure, ProcessReading, has_ended};
use crate::resources::level::{Level, Resource};

/// How often the network's thread turns, at least.
const NETWORK_PERIOD: Duration = Duration::from_secs(1);

/// What a node offers to be read, and what it may use.
pub struct Sources {
    /// What its tick measures.
    pub readings: Arc<Readings>,
    /// Its threads.
    pub threads: Vec<WatchedThread>,
    /// Its network, if it has one.
    pub network: Option<NetworkSource>,
    /// The tick's pool; its workers are asked whether they move.
    pub pool: Option<Arc<rayon::ThreadPool>>,
    /// The session's directory.
    pub data: PathBuf,
    /// Bytes that are to stay free where it lies.
    pub disk_reserve: u64,
    /// Bytes that its journal may have; 0 for no bound.
    pub journal_bytes_max: u64,
    /// What may be held back of its work.
    pub throttles: Throttles,
    /// How its threads let go of memory.
    pub memory: Memory,
    /// How its past is read, if it is.
    pub past: Option<PastCommand>,
}

/// How the threads of a process let go of memory that they do not need.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Lets go of what the allocator keeps for the thread that calls it. A tick may wait for it: the system is asked for nothing.
    pub trim: fn(),
    /// Gives back to the system what no thread has; it takes as long as there is memory to give back.
    pub give_back: fn(),
}

/// A network that is read.
pub struct NetworkSource {
    counters: Arc<Counters>,
    gauges: Arc<Gauges>,
    throttle: Arc<Throttle>,
    connections_max: u32,
    buffer_bytes_max: u64,
    kept_bytes: u64,
}

impl NetworkSource {
    /// What may be held back of it.
    pub fn throttle(&self) -> Arc<Throttle> {
        Arc::clone(&self.throttle)
    }
}

/// Where the disk is taken for short although nothing is to stay free there: snapshots need as much.
const RESERVE_LEAST: u64 = 64 << 20;

impl Sources {
    /// What a node offers that is about to run.
    pub fn of(node: &Node, data: &Path, memory: Memory) -> Self {
        let (readings, threads, throttles) = (node.readings(), node.threads(), node.throttles());
        let (data, disk_reserve) = (data.to_owned(), RESERVE_LEAST);
        Self {
            readings,
            threads,
            network: None,
            pool: None,
            data,
            disk_reserve,
            journal_bytes_max: 0,
            throttles,
            memory,
            past: None,
        }
    }

    /// With so many bytes that are to stay free on the disk.
    pub fn with_reserve(self, min_free: u64) -> Self {
        Self { disk_reserve: min_free.max(RESERVE_LEAST), ..self }
    }

    /// With so many bytes that its journal may have; 0 for no bound.
    pub fn with_journal_max(self, bytes_max: u64) -> Self {
        Self { journal_bytes_max: bytes_max, ..self }
    }

    /// With its network too.
    pub fn with_network(mut self, server: &Server, config: &ServerConfig) -> Self {
        let gauges = server.gauges();
        self.threads.push(WatchedThread::new("net", NETWORK_PERIOD, Arc::clone(&gauges.turns)));
        self.network = Some(NetworkSource {
            counters: server.counters(),
            gauges,
            throttle: server.throttle(),
            connections_max: config.connections_max,
            buffer_bytes_max: config.buffer_bytes_max,
            kept_bytes: config.reserved_bytes(),
        });
        self
    }
}

/// The network at a moment.
#[derive(Clone, Debug)]
pub struct NetworkReading {
    /// What has happened, by name.
    pub counters: Vec<(&'static str, u64)>,
    /// Connections.
    pub connections: u64,
    /// Connections that there may be (`net.connections_max`).
    pub connections_max: u64,
    /// Bytes that the connections that there are may hold together now.
    pub reserved_bytes: u64,
    /// Bytes that connections may hold together (`net.buffer_bytes_max`).
    pub buffer_bytes_max: u64,
    /// Bytes of both that are kept for validators, whether they are connected or not.
    pub kept_bytes: u64,
    /// Bytes that wait for them in this process.
    pub held_bytes: u64,
    /// Other nodes that are known.
    pub nodes_known: u64,
    /// 1 while so many intents arrive that they share what each would cost alone.
    pub coalesces: u64,
}

impl NetworkReading {
    fn take(source: &NetworkSource) -> Self {
        let gauges = &source.gauges;
        Self {
            counters: source.counters.list().to_vec(),
            connections: gauges.connections.load(Ordering::Relaxed).into(),
            connections_max: source.connections_max.into(),
            reserved_bytes: gauges.reserved.load(Ordering::Relaxed),
            buffer_bytes_max: source.buffer_bytes_max,
            kept_bytes: source.kept_bytes,
            held_bytes: gauges.held.load(Ordering::Relaxed) as u64,
            nodes_known: gauges.nodes_known.load(Ordering::Relaxed) as u64,
            coalesces: gauges.coalesces.load(Ordering::Relaxed).into(),
        }
    }

    /// A counter by its name; nothing if the network counts nothing of that name, which a test forbids.
    pub fn counter(&self, name: &str) -> Option<u64> {
        self.counters.iter().find(|(of, _)| *of == name).map(|(_, count)| *count)
    }
}

#[cfg(test)]
impl NetworkReading {
    /// One connection of a hundred, and a hundredth of the buffers.
    pub(crate) fn quiet() -> Self {
        Self {
            counters: Vec::new(),
            connections: 1,
            connections_max: 100,
            reserved_bytes: 1,
            buffer_bytes_max: 100,
            kept_bytes: 0,
            held_bytes: 0,
            nodes_known: 0,
            coalesces: 0,
        }
    }
}

/// How scarce resources are, and what is done about it.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct ResourceReading {
    /// By the number of the resource.
    pub levels: [Level; Resource::ALL.len()],
    /// How often each reaction began, by its name.
    pub begun: Vec<(&'static str, u64)>,
    /// The names of the reactions that are on.
    pub on: Vec<&'static str>,
}

/// What the monitor has done itself.
#[derive(Clone, Copy, PartialEq, Default, Debug)]
pub struct OwnReading {
    /// Scrapes that were answered.
    pub scrapes: u64,
    /// How long the last one took, in seconds.
    pub scrape_seconds: f64,
    /// Pages that follow what happens.
    pub viewers: u64,
    /// Times that a channel did not take an alert.
    pub untold: u64,
}

/// Everything that is known of a node at one moment.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The moment, for rates.
    pub at: Instant,
    /// The moment by the wall's clock, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// Since the monitor started.
    pub uptime: Duration,
    /// What the tick measures.
    pub tick: TickReadings,
    /// How long each system takes; none in the readings that are kept, of which there are many.
    pub systems: Vec<(&'static str, Histogram)>,
    /// The network, if there is one.
    pub network: Option<NetworkReading>,
    /// This process.
    pub process: ProcessReading,
    /// Its machine.
    pub pressure: Pressure,
    /// What may be used of it.
    pub machine: Machine,
    /// Bytes of memory that the node may use.
    pub memory_budget: Option<u64>,
    /// Bytes of the session's files.
    pub session_bytes: Option<u64>,
    /// Bytes a second by which they grow: in the last minutes or, once the journal has come to its bound, in the last hours.
    pub session_growth: Option<f64>,
    /// Bytes that are free where they lie.
    pub disk_free_bytes: Option<u64>,
    /// Bytes that the session's journal may have; 0 for no bound.
    pub journal_bytes_max: u64,
    /// Bytes of its control group, without what the system takes back first, and of at most.
    pub group: Option<(u64, u64)>,
    /// Bytes that are to stay free on the disk.
    pub disk_reserve_bytes: u64,
    /// How scarce resources are.
    pub resources: ResourceReading,
    /// Threads that stand still, by name.
    pub frozen: Vec<String>,
    /// For how long something has waited without any progress.
    pub stalled: Duration,
    /// How long the start took, once it is over.
    pub start: Option<PhaseTimes>,
    /// Alerts that are on.
    pub alerts: u64,
    /// The monitor.
    pub own: OwnReading,
}

impl Reading {
    /// A reading of which nothing is known yet.
    pub(crate) fn empty(at: Instant) -> Self {
        Self {
            at,
            at_ms: 0,
            uptime: Duration::ZERO,
            tick: TickReadings::zeroed(),
            systems: Vec::new(),
            network: None,
            process: ProcessReading::default(),
            pressure: Pressure::default(),
            machine: Machine::default(),
            memory_budget: None,
            session_bytes: None,
            session_growth: None,
            disk_free_bytes: None,
            journal_bytes_max: 0,
            group: None,
            disk_reserve_bytes: 0,
            resources: ResourceReading::default(),
            frozen: Vec::new(),
            stalled: Duration::ZERO,
            start: None,
            alerts: 0,
            own: OwnReading::default(),
        }
    }
}

impl Reading {
    /// What of the free disk is not to stay free.
    pub(crate) fn disk_room(&self) -> Option<u64> {
        self.disk_free_bytes.map(|free| free.saturating_sub(self.disk_reserve_bytes))
    }

    /// The room that the session will fill; nothing where its bound stops it before that. What grows beyond the bound, that bound
    /// does not stop.
    pub(crate) fn disk_to_fill(&self) -> Option<u64> {
        let (room, has) = (self.disk_room()?, self.session_bytes?);
        let fits = self.journal_bytes_max.checked_sub(has).is_some_and(|more| more > 0 && more <= room);
        (!fits).then_some(room)
    }

    /// Seconds until the session has filled that, at the pace at which it grows; nothing where it does not grow.
    pub(crate) fn disk_fills(&self) -> Option<f64> {
        let growth = self.session_growth.filter(|growth| *growth > 0.0)?;
        self.disk_to_fill().map(|room| room as f64 / growth)
    }
}

/// Takes readings.
pub struct Reader {
    sources: Sources,
    machine: Machine,
    group: Option<ControlGroup>,
    unified: Option<ControlGroup>,
    memory_budget: u64,
    started: Instant,
    ended: EndedThreads,
}

impl Reader {
    /// Readings of a node that starts now.
    pub fn new(sources: Sources) -> Self {
        let (machine, group, unified) = (Machine::take(), ControlGroup::of_this_process(), ControlGroup::unified());
        let (started, ended) = (Instant::now(), EndedThreads::default());
        Self { sources, machine, group, unified, memory_budget: 0, started, ended }
    }

    /// What is read.
    pub fn sources(&self) -> &Sources {
        &self.sources
    }

    /// Measures by another budget of memory from now on; 0 for what the machine, or its control group, has.
    pub fn set_memory_budget(&mut self, bytes: u64) {
        self.memory_budget = bytes;
    }

    /// A reading of now. What only the monitor knows is left for it to fill in, and so is the disk: it may hang, and no reading waits
    /// for it.
    pub fn take(&mut self) -> Reading {
        let at = Instant::now();
        let mut process = ProcessReading::take();
        process.ended = self.ended.note(&process.threads, has_ended);
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let budget = (self.memory_budget > 0).then_some(self.memory_budget);
        Reading {
            at,
            at_ms: wall.as_millis() as u64,
            uptime: at - self.started,
            tick: self.sources.readings.read(),
            systems: self.sources.readings.read_systems(),
            network: self.sources.network.as_ref().map(NetworkReading::take),
            process,
            pressure: Pressure::take(self.unified.as_ref()),
            machine: self.machine,
            // A budget beyond what there is would be none.
            memory_budget: budget.into_iter().chain(self.machine.memory_bytes).min(),
            group: self.group.as_ref().and_then(|group| group.used().zip(group.bound())),
            disk_reserve_bytes: self.sources.disk_reserve,
            journal_bytes_max: self.sources.journal_bytes_max,
            ..Reading::empty(at)
        }
    }
}
