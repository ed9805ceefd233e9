//! The resource manager: takes the signals of each reading, keeps their levels, and has reactions done and taken back.

use std::sync::Arc;
use std::time::Instant;

use super::level::{Level, LevelState, Resource};
use super::reactions::{Handles, Levels, REACTIONS, Reaction};
use super::signals::{ROOM, SIGNALS};
use crate::history::History;
use crate::metrics::Unit;
use crate::reading::{ResourceReading, Sources};

/// Something that changed, for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Event {
    /// What, and why.
    pub text: String,
    /// Whether it is for the worse.
    pub is_worse: bool,
}

/// How one reaction stands.
struct State {
    rule: &'static Reaction,
    strength: Level,
    begun: u64,
    /// When it was done last.
    done: Option<Instant>,
}

/// A node's resources.
pub struct Resources {
    handles: Handles,
    signals: [LevelState; SIGNALS.len()],
    levels: Levels,
    reactions: [State; REACTIONS.len()],
}

impl Resources {
    /// The resources of a node that starts: nothing is scarce yet.
    pub fn new(sources: &Sources) -> Self {
        let handles = Handles {
            throttles: sources.throttles.clone(),
            network: sources.network.as_ref().map(|network| network.throttle()),
            pool: sources.pool.clone(),
            trim: sources.memory.trim,
            asked: Arc::default(),
        };
        Self::with(handles)
    }

    fn with(handles: Handles) -> Self {
        Self {
            handles,
            signals: std::array::from_fn(|_| LevelState::default()),
            levels: Levels::default(),
            reactions: REACTIONS.each_ref().map(|rule| State { rule, strength: Level::Low, begun: 0, done: None }),
        }
    }

    /// Looks at the newest reading, and does what follows from it. Gives what changed.
    pub fn step(&mut self, history: &History) -> Vec<Event> {
        let Some(newest) = history.newest() else { return Vec::new() };
        let now = newest.at;
        let before = std::mem::take(&mut self.levels);
        let mut why = [const { String::new() }; Resource::ALL.len()];
        for (state, signal) in self.signals.iter_mut().zip(&SIGNALS) {
            let value = signal.value.value(history);
            let level = state.step(signal.bounds, value, now);
            let of = &mut self.levels.resources[signal.resource as usize];
            if level > *of {
                *of = level;
                let share = match value {
                    None => "not known now".into(),
                    // By what is nearly nothing, anything is many times as much.
                    Some(value) if value > 1.0 => "more than 100 %".into(),
                    Some(value) => Unit::Ratio.written(value),
                };
                why[signal.resource as usize] = format!("{}: {share}", signal.title);
            }
            if signal.name == ROOM {
                self.levels.room = level;
            }
        }
        let mut events = Vec::new();
        for (resource, why) in Resource::ALL.into_iter().zip(why) {
            let (was, is) = (before.of(resource), self.levels.of(resource));
            let why = if why.is_empty() { "all of it is well again".to_owned() } else { why };
            if was != is {
                let text = format!("{}: {} -> {} ({why})", resource.name(), was.name(), is.name());
                events.push(Event { text, is_worse: is > was });
            }
        }
        events.extend(self.react(now));
        events
    }

    fn react(&mut self, now: Instant) -> Vec<Event> {
        let mut events = Vec::new();
        for state in &mut self.reactions {
            let Reaction { name, because, begins, ends, again, .. } = state.rule;
            let strength = (state.rule.strength)(&self.levels);
            let is_due =
                strength > Level::Low && again.is_some_and(|again| state.done.is_none_or(|at| now - at >= again));
            if strength == state.strength && !is_due {
                continue;
            }
            (state.rule.act)(&self.handles, strength);
            state.done = Some(now);
            match (std::mem::replace(&mut state.strength, strength), strength) {
                (Level::Low, Level::Medium | Level::High) => {
                    state.begun += 1;
                    let scarce = because.iter().filter(|resource| self.levels.of(**resource) > Level::Low);
                    let why: Vec<String> =
                        scarce.map(|one| format!("{} is {}", one.name(), self.levels.of(*one).name())).collect();
                    events.push(Event { text: format!("{name}: {begins}, since {}", why.join(", ")), is_worse: true });
                }
                (Level::Medium | Level::High, Level::Low) => {
                    events.push(Event { text: format!("{name} is over: {ends}"), is_worse: false });
                }
                _ => {}
            }
        }
        events
    }

    /// Takes everything back: a node that nobody watches any more is held back no more.
    pub fn release(&mut self) {
        for state in &mut self.reactions {
            (state.rule.act)(&self.handles, Level::Low);
            state.strength = Level::Low;
        }
    }

    /// How it stands.
    pub fn reading(&self) -> ResourceReading {
        ResourceReading {
            levels: self.levels.resources,
            begun: self.reactions.iter().map(|state| (state.rule.name, state.begun)).collect(),
            on: self
                .reactions
                .iter()
                .filter(|state| state.strength > Level::Low)
                .map(|state| state.rule.name)
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use net::server::Throttle;
    use node::readings::BUCKET_ENDS_US;
    use node::throttles::Throttles;

    use super::*;
    use crate::reading::{NetworkReading, Reading};

    /// How often memory was given back by this thread.
    static TRIMS: AtomicU64 = AtomicU64::new(0);

    fn trim() {
        TRIMS.fetch_add(1, Ordering::Relaxed);
    }

    /// A node that is watched for seconds, as a reading says that it is.
    struct Watched {
        resources: Resources,
        throttles: Throttles,
        network: Arc<Throttle>,
        history: History,
        now: Instant,
    }

    impl Watched {
        fn new() -> Self {
            let (throttles, network): (Throttles, Arc<Throttle>) = Default::default();
            let handles = Handles {
                throttles: throttles.clone(),
                network: Some(Arc::clone(&network)),
                pool: None,
                trim,
                asked: Arc::default(),
            };
            let (history, now) = (History::default(), Instant::now());
            Self { resources: Resources::with(handles), throttles, network, history, now }
        }

        /// Watches for seconds; gives what is told.
        fn watch(&mut self, seconds: u64, how: impl Fn(&mut Reading)) -> Vec<String> {
            let mut told = Vec::new();
            for _ in 0..seconds {
                self.now += Duration::from_secs(1);
                let mut reading = well(self.now);
                how(&mut reading);
                self.history.push(reading);
                told.extend(self.resources.step(&self.history).into_iter().map(|event| event.text));
            }
            told
        }

        fn on(&self) -> Vec<&'static str> {
            self.resources.reading().on
        }
    }

    /// A node of which nothing is scarce.
    fn well(at: Instant) -> Reading {
        let mut reading = Reading::empty(at);
        (reading.memory_budget, reading.process.memory_bytes) = (Some(1_000), Some(700));
        (reading.disk_free_bytes, reading.disk_reserve_bytes) = (Some(1_000), 10);
        reading.network = Some(NetworkReading::quiet());
        reading
    }

    /// Longer than any level takes to fall.
    const CALM: u64 = 15;

    #[test]
    fn scarce_memory_is_given_back_then_newcomers_are_refused_and_all_of_it_is_taken_back() {
        let mut node = Watched::new();
        assert_eq!(node.watch(20, |_| ()), [""; 0]);
        let before = TRIMS.load(Ordering::Relaxed);
        let told = node.watch(5, |reading| reading.process.memory_bytes = Some(800));
        assert_eq!(
            told,
            [
                "memory: low -> medium (memory of the process by its budget: 80.0 %)",
                "trim_memory: memory that is not needed now is given back, every 30 s, since memory is medium",
            ]
        );
        assert_eq!((node.on(), node.network.is_closed()), (vec!["trim_memory"], false));
        let told = node.watch(60, |reading| reading.process.memory_bytes = Some(950));
        assert!(told[0].starts_with("memory: medium -> high"), "{told:?}");
        assert_eq!(node.on(), ["trim_memory", "refuse_newcomers", "pause_snapshots"]);
        assert!(node.network.is_closed() && !node.throttles.tick.lets_snapshots_begin());
        let trims = TRIMS.load(Ordering::Relaxed) - before;
        assert!((3..=4).contains(&trims), "every 30 s, and where it grew worse: {trims}");
        let told = node.watch(CALM, |_| ());
        assert_eq!(told.len(), 4, "a level and three reactions: {told:?}");
        assert!(told[0].starts_with("memory: high -> low") && node.on().is_empty());
        assert!(!node.network.is_closed() && node.throttles.tick.lets_snapshots_begin());
        assert_eq!(node.resources.reading().begun[..2], [("trim_memory", 1), ("refuse_newcomers", 1)]);
    }

    #[test]
    fn memory_that_would_be_used_up_in_seconds_is_scarce_before_it_is() {
        let mut node = Watched::new();
        let bytes = AtomicU64::new(100);
        let told = node.watch(12, |reading| {
            reading.process.memory_bytes = Some(bytes.fetch_add(40, Ordering::Relaxed));
        });
        assert!(
            told[0].starts_with("memory: low -> medium (share of the memory left that is taken a second"),
            "{told:?}"
        );
    }

    #[test]
    fn busy_processors_slow_what_can_wait_but_not_what_makes_room() {
        let mut node = Watched::new();
        let busy = |reading: &mut Reading| reading.pressure.cpu = Some(0.95);
        let usual = node.network.turn(false);
        node.watch(5, busy);
        assert_eq!(node.on(), ["slow_background", "larger_batches"]);
        assert_eq!(node.throttles.tick.groups(64), 4);
        assert_eq!(node.network.turn(false), usual + Duration::from_millis(3));
        node.watch(5, |reading| {
            busy(reading);
            reading.disk_free_bytes = Some(30);
        });
        assert_eq!(node.on(), ["larger_batches", "retire_early"], "a disk without room needs its segments compressed");
        node.watch(CALM, |_| ());
        assert_eq!((node.on().len(), node.throttles.tick.groups(64), node.network.turn(false)), (0, 64, usual));
    }

    #[test]
    fn full_buffers_thin_what_is_watched_and_then_close_the_door() {
        let mut node = Watched::new();
        let reserved = |bytes| {
            move |reading: &mut Reading| {
                reading.network.as_mut().expect("a network").reserved_bytes = bytes;
            }
        };
        node.watch(5, reserved(85));
        assert_eq!((node.on(), node.network.is_thin()), (vec!["thin_updates"], true));
        node.watch(5, reserved(99));
        assert_eq!(node.on(), ["refuse_newcomers", "thin_updates"]);
        node.watch(CALM, reserved(1));
        assert!(node.on().is_empty() && !node.network.is_thin() && !node.network.is_closed());
    }

    #[test]
    fn of_a_disk_without_a_byte_no_share_of_nothing_is_told() {
        let told = Watched::new().watch(5, |reading| reading.disk_free_bytes = Some(0));
        let says = "disk: low -> high (what is to stay free on the disk by what is free: more than 100 %)";
        assert_eq!(told[0], says, "{told:?}");
    }

    /// What is kept for validators is taken from the start: it is none of the others' business.
    #[test]
    fn buffers_that_are_kept_for_validators_are_not_scarce() {
        let mut node = Watched::new();
        let kept = |reserved: u64| {
            move |reading: &mut Reading| {
                let network = reading.network.as_mut().expect("a network");
                (network.kept_bytes, network.reserved_bytes) = (94, reserved);
            }
        };
        node.watch(20, kept(95));
        assert!(node.on().is_empty(), "{:?}", node.on());
        node.watch(5, kept(100));
        assert_eq!(node.on(), ["refuse_newcomers", "thin_updates"]);
    }

    #[test]
    fn a_disk_without_a_byte_left_is_short_of_room() {
        let mut node = Watched::new();
        node.watch(5, |reading| reading.disk_free_bytes = Some(0));
        assert_eq!(node.on(), ["pause_snapshots", "retire_early"]);
        node.watch(CALM, |reading| reading.disk_free_bytes = Some(0));
        assert_eq!(node.on(), ["pause_snapshots", "retire_early"], "nor is it well after a while");
    }

    #[test]
    fn a_disk_that_takes_half_a_second_for_each_block_is_scarce_though_few_ticks_wait_for_it() {
        let mut node = Watched::new();
        let counted = Cell::new([0; BUCKET_ENDS_US.len() + 1]);
        let sync = |micros: u64| {
            let counted = &counted;
            move |reading: &mut Reading| {
                let mut counts = counted.get();
                counts[BUCKET_ENDS_US.partition_point(|end| *end < micros)] += 2;
                counted.set(counts);
                reading.tick.sync.counts = counts;
            }
        };
        node.watch(10, sync(100));
        assert!(node.on().is_empty(), "{:?}", node.on());
        node.watch(10, sync(600_000));
        assert_eq!(node.on(), ["pause_snapshots"]);
        node.watch(CALM + 10, sync(100));
        assert!(node.on().is_empty(), "{:?}", node.on());
    }

    #[test]
    fn a_slow_disk_pauses_snapshots_and_gives_nothing_up() {
        let mut node = Watched::new();
        node.watch(5, |reading| reading.tick.unsynced_ticks = engine::limits::STALLING_TICKS as u64);
        assert_eq!(node.on(), ["pause_snapshots"]);
        node.watch(5, |reading| reading.disk_free_bytes = Some(15));
        assert_eq!(node.on(), ["pause_snapshots", "retire_early"]);
        node.resources.release();
        assert!(node.on().is_empty() && node.throttles.tick.lets_snapshots_begin(), "nobody watches any more");
    }
}
