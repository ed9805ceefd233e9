//! Whether a node is alive and ready. Ready means that it makes progress: each of its threads moves, and what it took goes on.
//! Where it does not, reasons say what stands still.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use engine::io::SlotList;
use node::readings::TickReadings;
use node::threads::WatchedThread;
use serde::Serialize;

use crate::reading::Reading;

/// How long intents, a table that is due or a decided height may wait before that is no progress. A beacon, or a quorum,
/// takes much less.
const PROGRESS_WITHIN: Duration = Duration::from_secs(10);
/// How long a reading says how the node is: where none is taken any more, what it knew does not grow older.
const KNOWN_FOR: Duration = Duration::from_secs(2);
/// How long the tick's thread may stand still before the process is of no use any more: whoever restarts it may do so.
const ALIVE_WITHIN: Duration = Duration::from_secs(60);
/// How often a worker of the pool is asked, and how long its answer may take: a stage of a large tick is in it.
const WORKER_PERIOD: Duration = Duration::from_secs(2);

/// A thread and when it was last seen to have moved.
struct Seen {
    thread: WatchedThread,
    turns: u64,
    moved: Instant,
}

impl Seen {
    fn new(thread: WatchedThread, now: Instant) -> Self {
        Self { turns: thread.turns.load(Ordering::Relaxed), thread, moved: now }
    }

    fn look(&mut self, now: Instant) {
        let turns = self.thread.turns.load(Ordering::Relaxed);
        if turns != self.turns {
            (self.turns, self.moved) = (turns, now);
        }
    }

    /// How long it has stood still, if that is too long: told before twice its period has passed.
    fn frozen(&self, now: Instant) -> Option<Frozen> {
        let still = now - self.moved;
        let is_too_long = self.turns > 0 && still > self.thread.period * 3 / 2;
        is_too_long.then(|| Frozen { name: self.thread.name.clone(), still })
    }
}

/// A thread that stands still.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frozen {
    /// Its name.
    pub name: String,
    /// For how long.
    pub still: Duration,
}

/// Watches whether threads move.
pub struct ThreadWatch {
    seen: Vec<Seen>,
    workers: Option<WorkerWatch>,
}

/// Asks each worker of a pool to say that it moves. The tick's thread is worker 0 and watched as itself.
struct WorkerWatch {
    pool: Arc<rayon::ThreadPool>,
    /// How often each was asked, and how often it has answered.
    asked: u64,
    answered: Vec<Arc<AtomicU64>>,
    /// Since when each owes an answer.
    owes: Vec<Option<Instant>>,
}

/// Answers that worker 0 may owe: it gives them when it joins others, and once a second. One that does not tick gives none.
const TICK_OWES_MAX: u64 = 64;

impl WorkerWatch {
    fn new(pool: Arc<rayon::ThreadPool>) -> Option<Self> {
        let workers = pool.current_num_threads();
        let answered = (0..workers).map(|_| Arc::default()).collect();
        (workers > 1).then(|| Self { pool, asked: 0, answered, owes: vec![None; workers] })
    }

    fn answers(&self, worker: usize) -> u64 {
        self.answered[worker].load(Ordering::Relaxed)
    }

    fn look(&mut self, now: Instant) {
        for worker in 1..self.answered.len() {
            if self.answers(worker) == self.asked {
                self.owes[worker] = None;
            }
        }
        let all_answered = self.owes.iter().skip(1).all(Option::is_none);
        if !all_answered || self.asked - self.answers(0) >= TICK_OWES_MAX {
            return;
        }
        self.asked += 1;
        self.owes.iter_mut().skip(1).for_each(|owes| *owes = Some(now));
        let answered = self.answered.clone();
        self.pool.spawn_broadcast(move |context| {
            answered[context.index()].fetch_add(1, Ordering::Relaxed);
        });
    }

    fn frozen(&self, now: Instant) -> impl Iterator<Item = Frozen> {
        let owing = self.owes.iter().enumerate().filter_map(|(worker, since)| Some((worker, (*since)?)));
        owing.filter_map(move |(worker, since)| {
            let still = now - since;
            (still > WORKER_PERIOD).then(|| Frozen { name: format!("worker-{worker}"), still })
        })
    }
}

impl ThreadWatch {
    /// Watches these threads, and the workers of a pool beside the tick's.
    pub fn new(threads: &[WatchedThread], pool: Option<Arc<rayon::ThreadPool>>) -> Self {
        let now = Instant::now();
        let seen = threads.iter().map(|thread| Seen::new(thread.clone(), now)).collect();
        Self { seen, workers: pool.and_then(WorkerWatch::new) }
    }

    /// Watches threads in place of those of their name that were watched before.
    pub fn replace(&mut self, name: &str, threads: Vec<WatchedThread>) {
        let now = Instant::now();
        self.seen.retain(|seen| seen.thread.name != name);
        self.seen.extend(threads.into_iter().map(|thread| Seen::new(thread, now)));
    }

    /// Looks who has moved; to be called several times in the shortest period.
    pub fn look(&mut self, now: Instant) {
        self.seen.iter_mut().for_each(|seen| seen.look(now));
        if let Some(workers) = &mut self.workers {
            workers.look(now);
        }
    }

    /// The threads that stand still.
    pub fn frozen(&self, now: Instant) -> Vec<Frozen> {
        let workers = self.workers.iter().flat_map(|workers| workers.frozen(now));
        self.seen.iter().filter_map(|seen| seen.frozen(now)).chain(workers).collect()
    }

    /// Whether the tick's thread has stood still for so long that the process is of no use.
    pub fn is_alive(&self, now: Instant) -> bool {
        self.seen.iter().all(|seen| seen.thread.name != "tick" || now - seen.moved < ALIVE_WITHIN)
    }
}

/// Watches whether what the node took goes on.
pub struct ProgressWatch {
    last: Option<TickReadings>,
    noted: Instant,
    decided: Instant,
    settled: Instant,
}

impl ProgressWatch {
    /// Progress counts from now on.
    pub fn new(now: Instant) -> Self {
        Self { last: None, noted: now, decided: now, settled: now }
    }

    /// Takes note of a reading.
    pub fn note(&mut self, tick: &TickReadings, now: Instant) {
        // A node where nothing waits has nothing to decide, and is not late with it. Bets that lie wait without any intent: for
        // them a height is begun.
        // A disk is found full when something is to be written: that waits, whatever is turned away behind it.
        let nothing_waits = tick.unanswered == 0 && tick.height_under_way == 0 && tick.disk_full == 0;
        if self.last.is_none_or(|last| last.decided != tick.decided) || nothing_waits {
            self.decided = now;
        }
        if self.last.is_none_or(|last| last.settled != tick.settled) || tick.decided == tick.settled {
            self.settled = now;
        }
        (self.last, self.noted) = (Some(*tick), now);
    }

    /// For how long something had waited without any progress at the last reading: 0 where all goes on.
    pub fn stalled(&self) -> Duration {
        (self.noted - self.decided).max(self.noted - self.settled)
    }

    /// Why the node is not ready; nothing if it is.
    pub fn reasons(&self, now: Instant) -> Vec<String> {
        let Some(tick) = &self.last.filter(|tick| tick.ticks > 0 || tick.disk_full > 0) else {
            return vec!["the node has not ticked yet".into()];
        };
        let mut reasons = Vec::new();
        if tick.disk_full > 0 {
            reasons.push(disk_full(tick).into());
        }
        if tick.lost_its_votes > 0 {
            reasons.push("this validator votes on nothing until it can know what it signed".into());
        }
        // Whoever comes or goes while the disk is full is not taken up, and no height is decided here for no other reason.
        if tick.disk_full > 0 {
            return reasons;
        }
        if tick.lacks_quorum() {
            let (heard, validators, quorum) = (tick.heard, tick.validators, tick.quorum());
            reasons.push(format!("it hears {heard} of {validators} validators, a quorum is {quorum}"));
        }
        let known = now.min(self.noted + KNOWN_FOR);
        let (undecided, unsettled) = (known - self.decided, known - self.settled);
        if unsettled > PROGRESS_WITHIN {
            let missing = match tick.missing_shares() {
                SlotList(0) => String::new(),
                missing => format!("; no share of the beacon came from validators {missing}"),
            };
            reasons.push(format!(
                "height {} is decided, and nothing above height {} has been settled for {:.0} s{missing}",
                tick.decided,
                tick.settled,
                unsettled.as_secs_f64()
            ));
        } else if undecided > PROGRESS_WITHIN {
            let waits = match tick.unanswered {
                0 => format!("height {} is under way", tick.decided + 1),
                count => format!("{count} intents wait"),
            };
            reasons.push(format!("{waits}, and no height has been decided for {:.0} s", undecided.as_secs_f64()));
        }
        reasons
    }
}

/// What stands still while the disk is full: whether others go on without this node, who is called at night must know.
fn disk_full(tick: &TickReadings) -> &'static str {
    match (tick.validators, tick.heard) {
        (1, 1) => "the disk is full: this node is the only validator, and the chain stands still until there is room",
        // It has no slot: nobody waits for it.
        (_, 0) => "the disk is full: this node stands still until there is room",
        _ => {
            "the disk is full: this node stands still until there is room, and the other validators go on while they are a quorum"
        }
    }
}

/// How a node is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Health {
    /// Whether the process is of use; one that is not may be restarted.
    pub live: bool,
    /// Whether it makes progress.
    pub ready: bool,
    /// Why it is not ready.
    pub reasons: Vec<String>,
    /// The last settled height on disk.
    pub height: u64,
}

impl Health {
    /// How a node is by what was seen of it.
    pub fn of(threads: &ThreadWatch, progress: &ProgressWatch, newest: Option<&Reading>, now: Instant) -> Self {
        let frozen = threads.frozen(now);
        let still = |frozen: &Frozen| {
            format!("the thread `{}` has not moved for {:.1} s", frozen.name, frozen.still.as_secs_f64())
        };
        let mut reasons: Vec<String> = frozen.iter().map(still).collect();
        reasons.extend(progress.reasons(now));
        reasons.extend(newest.and_then(short_of_room));
        let height = newest.map_or(0, |reading| reading.tick.settled);
        Self { live: threads.is_alive(now), ready: reasons.is_empty(), reasons, height }
    }
}

/// That less is free than is to stay free. A node finds a full disk when it writes, and one that nobody plays with writes nothing.
fn short_of_room(reading: &Reading) -> Option<String> {
    let (free, reserve) = (reading.disk_free_bytes?, reading.disk_reserve_bytes);
    (free < reserve && reading.tick.disk_full == 0).then(|| {
        format!(
            "the disk has {} free, less than the {} that are to stay free (storage.min_free)",
            ByteSize(free),
            ByteSize(reserve)
        )
    })
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_node_is_not_ready_while_less_is_free_than_is_to_stay_so() {
        let now = Instant::now();
        let mut reading = Reading::empty(now);
        assert_eq!(short_of_room(&reading), None, "the system does not say what is free");
        (reading.disk_free_bytes, reading.disk_reserve_bytes) = (Some(1 << 30), 1 << 30);
        assert_eq!(short_of_room(&reading), None);
        reading.disk_free_bytes = Some(1 << 20);
        let (threads, mut progress) = (ThreadWatch::new(&[], None), ProgressWatch::new(now));
        progress.note(&TickReadings { ticks: 1, ..TickReadings::zeroed() }, now);
        let health = Health::of(&threads, &progress, Some(&reading), now);
        let why = "the disk has 1.0 MiB free, less than the 1.0 GiB that are to stay free (storage.min_free)";
        assert_eq!((health.ready, health.reasons), (false, vec![why.to_owned()]));
        reading.tick.disk_full = 1;
        assert_eq!(short_of_room(&reading), None, "the tick says it itself");
    }

    #[test]
    fn a_thread_that_stands_still_is_named_before_twice_its_period() {
        let turns = Arc::new(AtomicU64::new(1));
        let mut watch = ThreadWatch::new(&[WatchedThread::new("storage", SECOND, Arc::clone(&turns))], None);
        let began = Instant::now();
        watch.look(began);
        assert!(watch.frozen(began + SECOND).is_empty());
        let frozen = watch.frozen(began + 2 * SECOND);
        assert_eq!(frozen.first().map(|frozen| &*frozen.name), Some("storage"));
        turns.store(2, Ordering::Relaxed);
        watch.look(began + 2 * SECOND);
        assert!(watch.frozen(began + 3 * SECOND).is_empty(), "it moves again");
    }

    #[test]
    fn a_process_is_of_no_use_where_its_tick_has_stood_still_for_a_minute_and_for_no_other_thread() {
        let (storage, tick) = (Arc::new(AtomicU64::new(1)), Arc::new(AtomicU64::new(1)));
        let watched = |name, turns: &Arc<AtomicU64>| WatchedThread::new(name, SECOND, Arc::clone(turns));
        let mut watch = ThreadWatch::new(&[watched("storage", &storage), watched("tick", &tick)], None);
        let began = Instant::now();
        watch.look(began);
        // The other one stands still from here on.
        tick.store(2, Ordering::Relaxed);
        let moved = began + 600 * SECOND;
        watch.look(moved);
        assert!(watch.is_alive(moved) && watch.is_alive(moved + 59 * SECOND));
        assert!(!watch.is_alive(moved + 61 * SECOND));
        assert!(!Health::of(&watch, &ProgressWatch::new(began), None, moved + 61 * SECOND).live);
    }

    #[test]
    fn a_thread_that_was_not_started_is_not_missed() {
        let watch = ThreadWatch::new(&[WatchedThread::new("serving", SECOND, Arc::default())], None);
        assert!(watch.frozen(Instant::now() + 100 * SECOND).is_empty());
    }

    #[test]
    fn a_worker_that_is_kept_from_answering_is_named() {
        let pool = Arc::new(rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("threads"));
        let mut watch = ThreadWatch::new(&[], Some(Arc::clone(&pool)));
        let (let_go, wait) = std::sync::mpsc::channel::<()>();
        let (say, hear) = std::sync::mpsc::channel();
        let wait = std::sync::Mutex::new(wait);
        pool.spawn_broadcast(move |context| {
            if context.index() == 1 {
                let wait = wait.lock().expect("no other takes it");
                say.send(()).expect("somebody hears");
                let _ = wait.recv();
            }
        });
        hear.recv().expect("worker 1 is at it");
        let began = Instant::now();
        watch.look(began);
        let frozen = watch.frozen(began + 2 * WORKER_PERIOD);
        assert_eq!(frozen.iter().map(|frozen| &*frozen.name).collect::<Vec<_>>(), ["worker-1"]);
        let_go.send(()).expect("it waits");
        while watch.workers.as_ref().is_some_and(|workers| workers.answers(1) < 1) {
            std::thread::yield_now();
        }
        watch.look(began);
        assert!(watch.frozen(began + WORKER_PERIOD).is_empty());
    }

    #[test]
    fn ready_means_that_what_was_taken_goes_on() {
        let began = Instant::now();
        let mut watch = ProgressWatch::new(began);
        let late = began + PROGRESS_WITHIN + SECOND;
        let tick = TickReadings { ticks: 1, decided: 5, settled: 5, ..TickReadings::zeroed() };
        assert_eq!(watch.reasons(began).len(), 1, "it has not ticked yet");
        watch.note(&tick, began);
        watch.note(&tick, late);
        assert!(watch.reasons(late).is_empty(), "nothing waits");

        watch = ProgressWatch::new(began);
        let waiting = TickReadings { unanswered: 3, ..tick };
        watch.note(&waiting, began);
        watch.note(&waiting, late);
        let reasons = watch.reasons(late);
        assert!(reasons.len() == 1 && reasons[0].contains("3 intents wait"), "{reasons:?}");
        watch.note(&TickReadings { decided: 6, ..waiting }, late);
        assert!(watch.reasons(late).is_empty(), "a height was decided");

        let later = late + PROGRESS_WITHIN + SECOND;
        watch.note(&TickReadings { decided: 6, ..tick }, later);
        let reasons = watch.reasons(later);
        assert!(reasons.len() == 1 && reasons[0].contains("height 6 is decided"), "{reasons:?}");

        watch.note(&TickReadings { decided: 6, missing_shares: [1 << 2 | 1 << 3, 0], ..tick }, later);
        let reasons = watch.reasons(later);
        assert!(reasons[0].ends_with("no share of the beacon came from validators 2, 3"), "{reasons:?}");

        watch.note(&TickReadings { disk_full: 1, lost_its_votes: 1, ..tick }, later);
        assert_eq!(watch.reasons(later).len(), 2);

        watch.note(&TickReadings { validators: 4, heard: 2, ..tick }, later);
        assert_eq!(watch.reasons(later), ["it hears 2 of 4 validators, a quorum is 3"]);
        for (validators, heard, why) in [(4, 3, "a quorum"), (4, 0, "it has no slot"), (1, 1, "it is alone")] {
            watch.note(&TickReadings { validators, heard, ..tick }, later);
            assert!(watch.reasons(later).is_empty(), "{why}");
        }

        watch.note(&tick, later);
        assert!(watch.reasons(later + 100 * SECOND).is_empty(), "nothing is known of the time since");
    }

    #[test]
    fn a_full_disk_is_no_progress_and_says_nothing_of_who_is_heard() {
        let began = Instant::now();
        let mut watch = ProgressWatch::new(began);
        let full = TickReadings { ticks: 1, disk_full: 1, validators: 4, heard: 1, ..TickReadings::zeroed() };
        let late = began + PROGRESS_WITHIN + SECOND;
        watch.note(&full, began);
        watch.note(&full, late);
        assert_eq!(watch.stalled(), PROGRESS_WITHIN + SECOND, "what was to be written waits");
        let reasons = watch.reasons(late);
        assert!(reasons.len() == 1 && reasons[0].ends_with("go on while they are a quorum"), "{reasons:?}");
        assert!(
            disk_full(&TickReadings { validators: 1, ..full }).contains("and the chain stands still"),
            "it is alone"
        );
        for validators in [1, 4] {
            let follows = TickReadings { validators, heard: 0, ..full };
            assert_eq!(disk_full(&follows), "the disk is full: this node stands still until there is room");
        }
        watch.note(&TickReadings { disk_full: 0, ..full }, late);
        assert_eq!(watch.reasons(late), ["it hears 1 of 4 validators, a quorum is 3"]);
        assert_eq!(watch.stalled(), Duration::ZERO);
    }

    #[test]
    fn bets_that_lie_where_too_few_vote_are_no_progress_though_nobody_sends_an_intent() {
        let began = Instant::now();
        let mut watch = ProgressWatch::new(began);
        let late = began + PROGRESS_WITHIN + SECOND;
        let tick = TickReadings { ticks: 1, decided: 5, settled: 5, ..TickReadings::zeroed() };
        let begun = TickReadings { height_under_way: 1, ..tick };
        watch.note(&tick, began);
        watch.note(&begun, began + PROGRESS_WITHIN);
        assert!(watch.reasons(began + PROGRESS_WITHIN).is_empty(), "it may take as long");
        watch.note(&begun, late);
        assert_eq!(watch.reasons(late), ["height 6 is under way, and no height has been decided for 11 s"]);
        assert_eq!(watch.stalled(), PROGRESS_WITHIN + SECOND);
        watch.note(&TickReadings { decided: 6, settled: 6, ..begun }, late);
        assert!(watch.reasons(late).is_empty() && watch.stalled().is_zero(), "it was decided");
    }
}
