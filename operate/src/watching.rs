//! What the monitor knows of its node: readings, health and alerts, for whoever answers.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant, SystemTime};

use engine::limits::VIEWERS_MAX;
use node::config::AlertsConfig;
use node::startup::PhaseTimes;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use crate::alerts::channels::Channels;
use crate::alerts::rules::AlertLevel;
use crate::alerts::state::{Alerts, Change};
use crate::disk::{DiskReading, DiskWatch};
use crate::health::{Health, ProgressWatch, ThreadWatch};
use crate::history::{Expr, History};
use crate::past::Past;
use crate::reading::{Memory, OwnReading, Reader, Reading, ResourceReading, Sources};
use crate::resources::manager::{Event, Resources};
use crate::tiles::tiles;

/// What the alerts that wait may take together to be told when the node has ended: a unit's time to stop is 30 s.
const TOLD_WITHIN: Duration = Duration::from_secs(2);
/// How long a reading that is being taken is waited for: one that hangs must not hang whoever answers.
const TAKEN_WITHIN: Duration = Duration::from_millis(500);
/// What is told on the page of channels that fail: of the last ten minutes.
const UNTOLD: Expr = Expr::Increase("bitcraps_alerts_untold_total", 600);
/// The tiles that a line of status has, those that say something now.
const STATUS_TILES: [&str; 7] = ["height", "intents", "receipt", "decision", "connections", "cpu", "memory"];

/// What a monitor is told beside what it reads.
#[derive(Clone, Debug)]
pub struct MonitorConfig {
    /// Names under which it may be asked, beside addresses.
    pub hosts: Vec<String>,
    /// What the page is called.
    pub title: String,
    /// Where alerts are told beside the log.
    pub alerts: AlertsConfig,
    /// Bytes of memory that the node may use; 0 for what the machine, or its control group, has.
    pub memory_budget: u64,
}

/// What the answers share. Four take its locks: the thread that looks, the one that looks at the disk, the one that answers, and
/// whoever changes what they are told; of these the second and the last never hold two. Whoever holds two took the history's last,
/// but for the reader's, which is taken alone: it is held for as long as the system takes to say how it is.
pub(crate) struct Shared {
    pub(crate) title: String,
    hosts: Mutex<Vec<String>>,
    reader: Mutex<Reader>,
    /// Held for as long as the disk takes to answer, by the thread alone that asks it.
    disk: Mutex<DiskWatch>,
    /// What that found last.
    found: Mutex<DiskReading>,
    threads: Mutex<ThreadWatch>,
    progress: Mutex<ProgressWatch>,
    history: Mutex<History>,
    alerts: Mutex<Alerts>,
    resources: Mutex<Resources>,
    channels: Mutex<Channels>,
    /// Times that a channel did not take a change.
    untold: Arc<AtomicU64>,
    memory: Memory,
    /// What answers about the game's past, if anything does.
    pub(crate) past: Option<Past>,
    start: OnceLock<PhaseTimes>,
    /// Counts the readings, and wakes the pages.
    taken: watch::Sender<u64>,
    viewers: AtomicU64,
    scrapes: AtomicU64,
    scrape_us: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("a panic of one of the monitor's threads ends both")
}

/// Milliseconds since the Unix epoch.
fn now_ms() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis() as u64
}

impl Shared {
    pub(crate) fn new(config: MonitorConfig, mut sources: Sources) -> io::Result<Self> {
        let untold = Arc::default();
        let channels = Channels::start(config.alerts.clone(), &config.title, &untold)?;
        sources.threads.extend(channels.threads().1);
        let threads = ThreadWatch::new(&sources.threads, sources.pool.clone());
        let resources = Resources::new(&sources);
        let (memory, past) = (sources.memory, sources.past.take().map(Past::new));
        let disk = DiskWatch::new(sources.data.clone(), sources.journal_bytes_max);
        let mut reader = Reader::new(sources);
        reader.set_memory_budget(config.memory_budget);
        Ok(Self {
            title: config.title,
            hosts: Mutex::new(config.hosts),
            reader: Mutex::new(reader),
            found: Mutex::new(disk.now()),
            disk: Mutex::new(disk),
            threads: Mutex::new(threads),
            progress: Mutex::new(ProgressWatch::new(Instant::now())),
            history: Mutex::default(),
            alerts: Mutex::default(),
            resources: Mutex::new(resources),
            channels: Mutex::new(channels),
            untold,
            memory,
            past,
            start: OnceLock::new(),
            taken: watch::Sender::new(0),
            viewers: AtomicU64::new(0),
            scrapes: AtomicU64::new(0),
            scrape_us: AtomicU64::new(0),
        })
    }

    /// Notes how long the node's start took; the first one said stays.
    pub(crate) fn started(&self, times: PhaseTimes) {
        self.start.get_or_init(|| times);
    }

    /// How long the node's start took, once it is over.
    pub(crate) fn start(&self) -> Option<PhaseTimes> {
        self.start.get().copied()
    }

    /// Notes that /metrics was answered.
    pub(crate) fn scraped(&self, took: Duration) {
        self.scrapes.fetch_add(1, Ordering::Relaxed);
        self.scrape_us.store(took.as_micros() as u64, Ordering::Relaxed);
    }

    /// A reading of now for whoever asks. One that is being taken is waited for: those of the history are older than what was answered
    /// last, and counters that go back are a restart to a Prometheus. Where it hangs, the newest of these has to do: the thread that
    /// answers is the one that can say so.
    pub(crate) fn read_for_answer(&self) -> Reading {
        let newest = || lock(&self.history).newest().cloned();
        let until = Instant::now() + TAKEN_WITHIN;
        let taken = loop {
            match self.reader.try_lock() {
                Ok(mut reader) => break Some(reader.take()),
                Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
                Err(_) => break None,
            }
        };
        let taken = taken.or_else(newest).unwrap_or_else(|| Reading::empty(Instant::now()));
        self.with_own(taken)
    }

    /// A reading with what only the monitor knows.
    fn with_own(&self, reading: Reading) -> Reading {
        let now = Instant::now();
        let mut threads = lock(&self.threads);
        threads.look(now);
        let frozen: Vec<String> = threads.frozen(now).into_iter().map(|frozen| frozen.name).collect();
        drop(threads);
        let stalled = lock(&self.progress).stalled();
        let alerts = lock(&self.alerts).on().len() as u64;
        let own = OwnReading {
            scrapes: self.scrapes.load(Ordering::Relaxed),
            scrape_seconds: self.scrape_us.load(Ordering::Relaxed) as f64 / 1e6,
            viewers: self.viewers.load(Ordering::Relaxed),
            untold: self.untold.load(Ordering::Relaxed),
        };
        let resources = lock(&self.resources).reading();
        let start = self.start();
        let DiskReading { session_bytes, session_growth, free_bytes: disk_free_bytes } = *lock(&self.found);
        let reading = Reading { session_bytes, session_growth, disk_free_bytes, ..reading };
        Reading { frozen, stalled, alerts, resources, start, own, ..reading }
    }

    /// Takes a reading: what it changes is told.
    pub(crate) fn take_reading(&self) {
        let taken = Reading { systems: Vec::new(), ..lock(&self.reader).take() };
        let reading = self.with_own(taken);
        lock(&self.progress).note(&reading.tick, reading.at);
        lock(&self.history).push(reading);
        for Event { text, is_worse } in lock(&self.resources).step(&lock(&self.history)) {
            match is_worse {
                true => tracing::warn!("{text}"),
                false => tracing::info!("{text}"),
            }
        }
        let changes = lock(&self.alerts).step(&lock(&self.history));
        let channels = lock(&self.channels);
        changes.into_iter().for_each(|change| channels.tell(change));
        drop(channels);
        self.taken.send_modify(|taken| *taken += 1);
    }

    /// Looks at the session's disk. Where that hangs, this never ends, and nothing else waits for it.
    pub(crate) fn look_at_disk(&self) {
        let mut disk = lock(&self.disk);
        disk.look(Instant::now());
        let found = disk.now();
        // Readings wait for what was found, and must not wait for the disk.
        drop(disk);
        *lock(&self.found) = found;
    }

    /// Gives back to the system what the node's threads have let go of.
    pub(crate) fn give_back(&self) {
        (self.memory.give_back)();
    }

    /// Takes other names, another budget, and tells changes elsewhere from now on. The title stays.
    ///
    /// # Errors
    /// If the system refuses a thread: then all stays as it was.
    pub(crate) fn change(&self, config: MonitorConfig) -> io::Result<()> {
        // Where they stay what they are, so does what waits at them, in its order.
        let are_same = lock(&self.channels).are_of(&config.alerts);
        if !are_same {
            let channels = Channels::start(config.alerts, &self.title, &self.untold)?;
            let (name, threads) = channels.threads();
            lock(&self.threads).replace(name, threads);
            // What waits at the old ones is told by them, and nobody waits for that.
            *lock(&self.channels) = channels;
        }
        *lock(&self.hosts) = config.hosts;
        lock(&self.reader).set_memory_budget(config.memory_budget);
        Ok(())
    }

    /// Whether the node has this name, beside its addresses.
    pub(crate) fn is_named(&self, name: &str) -> bool {
        lock(&self.hosts).iter().any(|known| known.eq_ignore_ascii_case(name))
    }

    /// Looks which threads have moved.
    pub(crate) fn look(&self) {
        lock(&self.threads).look(Instant::now());
    }

    /// How the node is.
    pub(crate) fn health(&self) -> Health {
        let (now, mut threads) = (Instant::now(), lock(&self.threads));
        // Where the thread stands still that looks, whoever asks looks.
        threads.look(now);
        Health::of(&threads, &lock(&self.progress), lock(&self.history).newest(), now)
    }

    /// Nobody watches any more.
    pub(crate) fn end(&self) {
        lock(&self.resources).release();
    }

    /// Tells that the node has stopped, and why: the last that is told. It goes into the log by whoever ends for it.
    pub(crate) fn tell_stopped(&self, why: &str, is_invariant: bool) {
        let (rule, title, page) = match is_invariant {
            true => (
                "Conservation",
                "chips do not add up, or another invariant is broken: the node has stopped",
                "conservation",
            ),
            false => ("Stopped", "the node has stopped by itself", "stopped"),
        };
        let (level, before, at_ms) = (AlertLevel::Critical, AlertLevel::None, now_ms());
        let (why, page) = (why.to_owned(), format!("runbook/{page}.md"));
        lock(&self.channels).tell(Change { rule, title, level, before, why, at_ms, page });
    }

    /// Tells that all that is on is over: nobody looks any more, and the next start begins with nothing that is on.
    pub(crate) fn tell_over(&self) {
        let over = lock(&self.alerts).end(now_ms());
        let channels = lock(&self.channels);
        over.into_iter().for_each(|change| channels.tell(change));
    }

    /// Nobody is told any more, once what waits had its time.
    pub(crate) fn end_telling(&self) {
        lock(&self.channels).end(TOLD_WITHIN);
    }

    /// How scarce resources are.
    pub(crate) fn resources(&self) -> ResourceReading {
        lock(&self.resources).reading()
    }

    /// The last minutes.
    pub(crate) fn history(&self) -> MutexGuard<'_, History> {
        lock(&self.history)
    }

    /// How the node is, in a line for the log.
    pub(crate) fn status(&self) -> String {
        let health = self.health();
        let alerts = lock(&self.alerts).on().len();
        let history = self.history();
        let shown = STATUS_TILES.iter().filter_map(|id| tiles().find(|tile| tile.id == *id));
        let known = shown.filter_map(|tile| Some((tile, tile.value.value(&history)?)));
        let words: Vec<String> = known
            .map(|(tile, value)| {
                let per = if tile.per_second { "/s" } else { "" };
                format!("{} {}{per}", tile.title.to_lowercase(), tile.unit.written(value))
            })
            .collect();
        let ready = if health.ready { "ready".into() } else { format!("NOT READY: {}", health.reasons.join("; ")) };
        format!("{ready}; {}; alerts {alerts}", words.join(", "))
    }

    /// What a page is told each second.
    pub(crate) fn event(&self) -> Value {
        let health = self.health();
        let alerts = json!(lock(&self.alerts).on());
        let history = self.history();
        let (mut values, mut limits) = (Map::new(), Map::new());
        for tile in tiles() {
            values.insert(tile.id.to_owned(), json!(tile.value.value(&history)));
            if let Some(limit) = &tile.limit {
                limits.insert(tile.id.to_owned(), json!(limit.value.value(&history)));
            }
        }
        let newest = history.newest();
        json!({
            "time_ms": newest.map(|reading| reading.at_ms),
            "uptime_s": newest.map(|reading| reading.uptime.as_secs()),
            "ready": health.ready,
            "reasons": health.reasons,
            "alerts": alerts,
            "untold": UNTOLD.value(&history).unwrap_or(0.0),
            "values": values,
            "limits": limits,
        })
    }
}

/// A page that follows the node; it is counted while it is there.
pub(crate) struct Viewer {
    shared: Arc<Shared>,
    taken: watch::Receiver<u64>,
}

impl Viewer {
    /// Lets a page in, if there is room.
    pub(crate) fn enter(shared: &Arc<Shared>) -> Option<Self> {
        let enter = |viewers: u64| (viewers < VIEWERS_MAX).then_some(viewers + 1);
        shared.viewers.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).ok()?;
        Some(Self { shared: Arc::clone(shared), taken: shared.taken.subscribe() })
    }

    /// Waits for the next reading; false once there will be none.
    pub(crate) async fn next(&mut self) -> bool {
        self.taken.changed().await.is_ok()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.shared.viewers.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use node::throttles::Throttles;

    use super::*;

    fn config(webhook: &str) -> MonitorConfig {
        let alerts = AlertsConfig { webhook: webhook.into(), ..AlertsConfig::default() };
        MonitorConfig { hosts: Vec::new(), title: "node".into(), alerts, memory_budget: 0 }
    }

    fn shared(data: &std::path::Path) -> Arc<Shared> {
        let sources = Sources {
            readings: Arc::default(),
            threads: Vec::new(),
            network: None,
            pool: None,
            data: data.to_owned(),
            disk_reserve: 0,
            journal_bytes_max: 0,
            throttles: Throttles::default(),
            memory: Memory { trim: || (), give_back: || () },
            past: None,
        };
        Arc::new(Shared::new(config(""), sources).expect("a thread"))
    }

    /// What another thread finds, which may wait for ever; its end is not waited for.
    fn within_seconds<T: Send + 'static>(find: impl FnOnce() -> T + Send + 'static) -> T {
        let (say, hear) = mpsc::channel();
        std::thread::spawn(move || _ = say.send(find()));
        hear.recv_timeout(Duration::from_secs(10)).expect("nobody waits for the disk")
    }

    #[test]
    fn nothing_waits_for_a_disk_that_hangs() {
        let dir = tempfile::tempdir().expect("a directory");
        let shared = shared(dir.path());
        lock(&shared.disk).hang();
        let looks = Arc::clone(&shared);
        std::thread::spawn(move || looks.look_at_disk());
        while shared.disk.try_lock().is_ok() {
            std::thread::yield_now();
        }
        let asked = Arc::clone(&shared);
        let ask = move || {
            asked.take_reading();
            (asked.read_for_answer().disk_free_bytes, asked.health().ready)
        };
        let (free, ready) = within_seconds(ask);
        assert!(free.is_some() && !ready, "the disk is as it was, and a node that has not ticked is not ready");
        assert_eq!(shared.history().all().count(), 1, "alerts are compared with what is read now");
    }

    #[test]
    fn a_scrape_that_meets_a_reading_is_newer_than_the_one_before() {
        let dir = tempfile::tempdir().expect("a directory");
        let shared = shared(dir.path());
        shared.take_reading();
        let before = shared.read_for_answer().at;
        let held = lock(&shared.reader);
        let asks = Arc::clone(&shared);
        let asked = std::thread::spawn(move || asks.read_for_answer());
        std::thread::sleep(Duration::from_millis(20));
        drop(held);
        assert!(asked.join().expect("an answer").at > before);
        // One that hangs is not waited for.
        let _held = lock(&shared.reader);
        let asks = Arc::clone(&shared);
        assert!(within_seconds(move || asks.read_for_answer()).at < before);
    }

    #[test]
    fn who_is_told_of_alerts_stays_where_nothing_else_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let shared = shared(dir.path());
        let of = |shared: &Shared| lock(&shared.channels).threads().1;
        assert!(of(&shared).is_empty(), "nobody is told");
        shared.change(config("http://127.0.0.1:1/")).expect("a thread");
        let began = of(&shared).remove(0).turns;
        let again = MonitorConfig { hosts: vec!["other".into()], ..config("http://127.0.0.1:1/") };
        shared.change(again).expect("no thread");
        assert!(
            Arc::ptr_eq(&began, &of(&shared)[0].turns) && shared.is_named("other"),
            "what waits there is told there"
        );
        shared.change(config("http://127.0.0.1:2/")).expect("a thread");
        assert!(!Arc::ptr_eq(&began, &of(&shared)[0].turns));
    }
}
